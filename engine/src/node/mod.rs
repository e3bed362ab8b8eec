//! One process that owns shards: starts their actors, relays and flushers, keeps them running, and stops them in order.

pub mod actor;
pub mod backoff;
pub mod door;
mod hosted;
pub mod inbox;
mod local;
mod relays;
mod rooms;
mod stages;
mod tasks;
pub mod threads;
mod trust;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::Actor;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::accumulator::AccumulatorLimits;
use crate::clock::Clock;
use crate::control::{ControlMachine, ControlRows};
use crate::flush::{FlushLimits, Flushed};
use crate::ledger::LedgerShape;
use crate::log::Logs;
use crate::node::actor::Hosted;
use crate::node::door::Door;
use crate::node::hosted::{RelayActors, Relays, RoomEnv};
use crate::node::local::{LocalControl, LocalRooms, LocalWallets};
use crate::node::relays::{Carry, RelayActor, RelayMsg};
use crate::node::rooms::{Follower, RoomTimes};
use crate::node::tasks::{FlushTask, OwnTask};
use crate::resolve::ControlView;
use crate::room::rooms::{RoomLimits, Rooms};
use crate::room::rows::RoomRows;
use crate::room::settings::Room;
use crate::service::{Patience, Service};
use crate::shard::ShardLimits;
use crate::store::Store;
use crate::units::{NodeId, Seq, ShardId, ShardKind};
use crate::wallet::rows::WalletRows;
use crate::wallet::wallets::{AcknowledgedBy, WalletLimits, Wallets};

#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub node: NodeId,
    pub shape: LedgerShape,
    pub wallets: WalletLimits,
    pub room_limits: RoomLimits,
    pub shards: ShardLimits,
    pub accumulators: AccumulatorLimits,
    pub flush: FlushLimits,
    /// How long the flusher lets events gather.
    pub flush_every: Duration,
    /// Commands of callers under way in one shard.
    pub permits_per_shard: usize,
    /// Threads for shards; 0 takes as many as there are cores, but one.
    pub workers: usize,
    pub patience: Patience,
    /// Rooms of the configuration; one that was set at run time replaces the one here.
    pub rooms: Vec<Room>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("{shard} cannot be served: {why}")]
    Shard { shard: ShardId, why: String },
    #[error("the thread for shards could not be started: {0}")]
    Thread(String),
}

/// How a shard is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardHealth {
    Starting,
    Serving,
    /// It failed and tries again.
    Retrying(String),
    /// It found a contradiction and waits for someone to look.
    Halted(String),
    Stopped,
}

pub struct Node {
    service: Service,
    wallets: Arc<LocalWallets>,
    rooms: Arc<LocalRooms>,
    control: Arc<Door<ControlMachine>>,
    healths: Vec<(ShardId, watch::Receiver<ShardHealth>)>,
    flushed: Vec<(ShardId, watch::Receiver<Flushed>)>,
    relays: Vec<ractor::ActorRef<RelayMsg>>,
    /// Tasks around the room shards.
    around_rooms: Vec<JoinHandle<()>>,
    owners: Vec<JoinHandle<()>>,
    flushers: Vec<JoinHandle<()>>,
    stopping: watch::Sender<Stopping>,
    workers: tasks::Workers,
}

/// How long a start may take: a shard recovers a million events in seconds.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// In this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stopping {
    No,
    /// Shards finish what was admitted.
    Drain,
    /// Flushers finish what the log holds.
    Flush,
}

impl Node {
    /// Starts every shard of the ledger and waits until each serves.
    pub async fn start(
        options: NodeOptions,
        logs: Arc<dyn Logs>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Node, StartError> {
        let workers = tasks::Workers::start(options.workers)?;
        let (stopping, _) = watch::channel(Stopping::No);
        let mut starting = Starting {
            options,
            logs,
            store,
            clock,
            stopping,
            workers,
            began: tokio::time::Instant::now(),
            healths: Vec::new(),
            flushed: Vec::new(),
            owners: Vec::new(),
            flushers: Vec::new(),
        };
        let relays: Relays = Arc::new(OnceLock::new());
        let (wallets, flushed) = starting.start_wallets(&relays);
        let wallets = Arc::new(LocalWallets { shape: starting.options.shape, doors: wallets, flushed });
        let (control, view) = starting.start_control();
        let (rooms, times) = starting.start_rooms(&view);
        let actors = starting.start_relays(&wallets, &rooms).await?;
        let relay_actors = actors.wallets.iter().chain(&actors.rooms).cloned().collect();
        relays.set(actors).map_err(|_| ()).expect("relays are set once");
        let mut healths = std::mem::take(&mut starting.healths);
        for (shard, health) in &mut healths {
            wait_until_serving(*shard, health).await?;
        }
        let around_rooms = starting.start_around_rooms(&rooms, times, view.clone()).await;
        let service = Service {
            wallets: Arc::clone(&wallets) as Arc<dyn crate::handle::Wallets>,
            rooms: Arc::clone(&rooms) as Arc<dyn crate::handle::Rooms>,
            control: Arc::new(LocalControl { door: Arc::clone(&control), view }),
            store: starting.store,
            clock: starting.clock,
            patience: starting.options.patience,
        };
        Ok(Node {
            service,
            wallets,
            rooms,
            control,
            healths,
            flushed: starting.flushed,
            relays: relay_actors,
            around_rooms,
            owners: starting.owners,
            flushers: starting.flushers,
            stopping: starting.stopping,
            workers: starting.workers,
        })
    }

    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// The threads that shards live on, if they have some of their own: whoever talks to shards lives best among them.
    pub fn runtimes(&self) -> Vec<tokio::runtime::Handle> {
        self.workers.runtimes()
    }

    /// A question that can be asked again and again: does every shard serve? The error names those that do not.
    pub fn readiness(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let healths = self.healths.clone();
        move || {
            let told = |(shard, health): &(ShardId, watch::Receiver<ShardHealth>)| match &*health.borrow() {
                ShardHealth::Serving => None,
                ShardHealth::Starting => Some(format!("{shard} is starting")),
                ShardHealth::Retrying(why) => Some(format!("{shard} has no owner: {why}")),
                ShardHealth::Halted(why) => Some(format!("{shard} halted: {why}")),
                ShardHealth::Stopped => Some(format!("{shard} has stopped")),
            };
            let unready: Vec<_> = healths.iter().filter_map(told).collect();
            if unready.is_empty() { Ok(()) } else { Err(unready.join("; ")) }
        }
    }

    /// How each shard is doing, to be watched.
    pub fn healths(&self) -> Vec<(ShardId, watch::Receiver<ShardHealth>)> {
        self.healths.clone()
    }

    /// How far the store is behind each shard's log: last event there and here.
    pub fn lag(&self) -> impl Iterator<Item = (ShardId, Flushed, crate::units::Seq)> + '_ {
        self.flushed.iter().map(|(shard, flushed)| {
            let index = usize::from(shard.index);
            let last = match shard.kind {
                ShardKind::Control => self.control.standing().last,
                ShardKind::Wallet => self.wallets.doors[index].standing().last,
                ShardKind::Room => self.rooms.doors[index].standing().last,
            };
            (*shard, *flushed.borrow(), last)
        })
    }

    /// Resolves once the store holds everything that was decided so far.
    pub async fn drain_store(&self) {
        for door in &self.wallets.doors {
            let last = door.standing().last;
            crate::handle::Wallets::flushed(&*self.wallets, door.shard, last, Duration::from_secs(3_600)).await;
        }
    }

    /// Finishes what was admitted, moves it to the store, and ends everything.
    pub async fn stop(self) {
        self.wallets.doors.iter().for_each(|door| door.is_closing.store(true, Ordering::Release));
        self.rooms.doors.iter().for_each(|door| door.is_closing.store(true, Ordering::Release));
        self.control.is_closing.store(true, Ordering::Release);
        self.around_rooms.iter().for_each(JoinHandle::abort);
        self.stopping.send_replace(Stopping::Drain);
        for owner in self.owners {
            let _ended = owner.await;
        }
        self.stopping.send_replace(Stopping::Flush);
        for flusher in self.flushers {
            let _ended = flusher.await;
        }
        self.relays.iter().for_each(|relay| relay.stop(None));
        self.workers.stop();
    }
}

/// Waits through failures that may pass, but not for ever: whoever starts a process wants to know why it does not serve.
async fn wait_until_serving(shard: ShardId, health: &mut watch::Receiver<ShardHealth>) -> Result<(), StartError> {
    let decided = health.wait_for(|health| !matches!(health, ShardHealth::Starting | ShardHealth::Retrying(_)));
    let is_gone = matches!(tokio::time::timeout(START_PATIENCE, decided).await, Ok(Err(_closed)));
    if is_gone {
        return Err(StartError::Shard { shard, why: "its task ended".into() });
    }
    let settled = health.borrow().clone();
    match settled {
        ShardHealth::Retrying(why) => Err(StartError::Shard { shard, why }),
        ShardHealth::Halted(why) => Err(StartError::Shard { shard, why }),
        ShardHealth::Starting => {
            let why = format!("its recovery took longer than {} s", START_PATIENCE.as_secs());
            Err(StartError::Shard { shard, why })
        }
        ShardHealth::Serving | ShardHealth::Stopped => Ok(()),
    }
}

/// A node on its way.
struct Starting {
    options: NodeOptions,
    logs: Arc<dyn Logs>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    stopping: watch::Sender<Stopping>,
    workers: tasks::Workers,
    began: tokio::time::Instant,
    healths: Vec<(ShardId, watch::Receiver<ShardHealth>)>,
    flushed: Vec<(ShardId, watch::Receiver<Flushed>)>,
    owners: Vec<JoinHandle<()>>,
    flushers: Vec<JoinHandle<()>>,
}

impl Starting {
    fn start_wallets(&mut self, relays: &Relays) -> (Vec<Arc<Door<Wallets>>>, Vec<watch::Receiver<Flushed>>) {
        let (mut doors, mut progress) = (Vec::new(), Vec::new());
        for shard in self.options.shape.wallet_shards() {
            let (shape, limits) = (self.options.shape, self.options.wallets);
            let fresh = move || Wallets::new(shard, shape, limits);
            let rows = move || WalletRows::new(shard, shape);
            let (door, flushed) = self.start_shard(shard, fresh, rows, Arc::clone(relays));
            doors.push(door);
            progress.push(flushed);
        }
        (doors, progress)
    }

    fn start_control(&mut self) -> (Arc<Door<ControlMachine>>, watch::Receiver<Arc<ControlView>>) {
        let rooms: HashMap<_, _> = self.options.rooms.iter().map(|room| (room.id, room.clone())).collect();
        let catalog = Arc::new(crate::catalog::Catalog::empty());
        let view = watch::Sender::new(Arc::new(ControlView {
            catalog,
            rooms: Arc::new(rooms),
            keys: Arc::default(),
            seq: Seq::NONE,
        }));
        let seen = view.subscribe();
        let (door, _) = self.start_shard(ShardId::CONTROL, ControlMachine::default, ControlRows::default, view);
        (door, seen)
    }

    fn start_rooms(&mut self, view: &watch::Receiver<Arc<ControlView>>) -> (Arc<LocalRooms>, Arc<RoomTimes>) {
        let (news, times) = (LocalRooms::channel(), Arc::new(RoomTimes::default()));
        let (shape, limits) = (self.options.shape, self.options.room_limits);
        let mut doors = Vec::new();
        for shard in shape.all_rooms() {
            let env = RoomEnv { news: news.clone(), times: Arc::clone(&times) };
            let fresh = move || Rooms::new(shard, shape, limits);
            let (door, _) = self.start_shard(shard, fresh, move || RoomRows::new(shard, shape), env);
            doors.push(door);
        }
        (Arc::new(LocalRooms { shape, doors, view: view.clone(), news }), times)
    }

    /// Begins once all shards serve, and returns when each room has been brought its settings, or cannot be.
    async fn start_around_rooms(
        &self,
        rooms: &Arc<LocalRooms>,
        times: Arc<RoomTimes>,
        view: watch::Receiver<Arc<ControlView>>,
    ) -> Vec<JoinHandle<()>> {
        let rooms = || Arc::clone(rooms) as Arc<dyn crate::handle::Rooms>;
        let (is_first_done, mut first_done) = watch::channel(false);
        let follower = Follower { rooms: rooms(), view };
        let tasks = vec![
            self.workers.spawn(0, times.run(rooms(), Arc::clone(&self.clock))),
            self.workers.spawn(0, follower.run(is_first_done)),
        ];
        let _gone = first_done.wait_for(|is_done| *is_done).await;
        tasks
    }

    fn start_shard<M: Hosted, R: crate::flush::Rows>(
        &mut self,
        shard: ShardId,
        fresh: impl Fn() -> M + Send + Sync + 'static,
        rows: impl Fn() -> R + Send + Sync + 'static,
        env: M::Env,
    ) -> (Arc<Door<M>>, watch::Receiver<Flushed>) {
        let permits = self.options.permits_per_shard;
        let internal = usize::from(self.options.shape.wallet_shards) + 64;
        let door = Arc::new(Door::new(shard, Arc::clone(&self.logs), permits, internal));
        let (health, seen_health) = watch::channel(ShardHealth::Starting);
        let (flushed, seen_flushed) = watch::channel(Flushed::default());
        let own = OwnTask {
            door: Arc::clone(&door),
            alarm: self.workers.alarm(usize::from(shard.index)),
            log: self.logs.shard(shard),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            env,
            node: self.options.node,
            limits: self.options.shards,
            fresh: Box::new(fresh),
            health,
            stopping: self.stopping.subscribe(),
        };
        let flush = FlushTask {
            door: Arc::clone(&door),
            log: self.logs.shard(shard),
            store: Arc::clone(&self.store),
            limits: self.options.flush,
            every: self.options.flush_every,
            began: self.began,
            rows: Box::new(rows),
            progress: flushed,
            stopping: self.stopping.subscribe(),
        };
        self.owners.push(self.workers.spawn(usize::from(shard.index), own.run()));
        self.flushers.push(self.workers.spawn_background(flush.run()));
        self.healths.push((shard, seen_health));
        self.flushed.push((shard, seen_flushed.clone()));
        (door, seen_flushed)
    }

    async fn start_relays(
        &self,
        wallets: &Arc<LocalWallets>,
        rooms: &Arc<LocalRooms>,
    ) -> Result<RelayActors, StartError> {
        let mut actors = RelayActors { wallets: Vec::new(), rooms: Vec::new() };
        for destination in self.options.shape.wallet_shards() {
            let handle = Arc::clone(wallets) as Arc<dyn crate::handle::Wallets>;
            let carry: Carry = Arc::new(move |parts| handle.relay(destination, parts));
            actors.wallets.push(self.start_relay(destination, wallets, carry).await?);
        }
        for destination in self.options.shape.all_rooms() {
            let handle = Arc::clone(rooms) as Arc<dyn crate::handle::Rooms>;
            let carry: Carry = Arc::new(move |parts| handle.relay(destination, parts));
            actors.rooms.push(self.start_relay(destination, wallets, carry).await?);
        }
        Ok(actors)
    }

    async fn start_relay(
        &self,
        destination: ShardId,
        wallets: &Arc<LocalWallets>,
        carry: Carry,
    ) -> Result<ractor::ActorRef<RelayMsg>, StartError> {
        let sources: Vec<_> = wallets.doors.clone();
        let notify = Arc::new(move |destination: ShardId, answer: crate::relay::Acknowledged| {
            if let Some(source) = sources.get(usize::from(answer.source)) {
                source.tell(actor::ShardMsg::Signal(AcknowledgedBy { destination, answer }));
            }
        });
        let (clock, limits) = (Arc::clone(&self.clock), self.options.accumulators);
        let relay = RelayActor { destination, carry, clock, limits, notify };
        let spawned = self.workers.spawn(usize::from(destination.index), Actor::spawn(None, relay, ())).await;
        let started = spawned.map_err(|error| error.to_string());
        let started = started.and_then(|spawned| spawned.map_err(|error| error.to_string()));
        let (actor, _ended) = started.map_err(|why| StartError::Shard { shard: destination, why })?;
        Ok(actor)
    }
}
