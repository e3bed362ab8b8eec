//! The world: one queue of events, one clock, one source of chance. Everything that happens is one event of it.

mod admin;
mod chaos;
mod drain;
mod feed;
mod history;
mod logs;
pub(crate) mod rooms;
mod seats;
mod talk;

pub(crate) use admin::GIFTS;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use largesse_engine::accumulator::Accumulator;
use largesse_engine::codec;
use largesse_engine::control::ControlRows;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::{AppendError, Fencing, LogError};
use largesse_engine::record::{Claim, encode_claim};
use largesse_engine::relay::{Acknowledged, RelayPart};
use largesse_engine::resolve::ControlView;
use largesse_engine::room::command::{RoomCommand, RoomOutcome};
use largesse_engine::room::rooms::Rooms;
use largesse_engine::room::rows::RoomRows;
use largesse_engine::shard::recover::{READ_BYTES, RecoverError};
use largesse_engine::shard::{Effect, Stop};
use largesse_engine::store::StoreError;
use largesse_engine::units::{CatalogVersion, Epoch, NodeId, Position, RoomId, RoomSeq, Seq, ShardId, ShardKind, Time};
use largesse_engine::wallet::command::WalletCommand;
use largesse_engine::wallet::outcome::WalletOutcome;
use largesse_engine::wallet::rows::WalletRows;
use largesse_engine::wallet::wallets::{AcknowledgedBy, Wallets};

use crate::calls::{Answer, CallId, Calls, Life, Request, SimLog, SimStore};
use crate::clients::{Operation, Sent};
use crate::disk::Disk;
use crate::node::{
    CallKey, Effects, Flushing, Fresh, Node, Outcomes, Outputs, Owner, PAUSE_FIRST, PAUSE_LONGEST, Recovered, Serving,
    place_of, poll, recovering,
};
use crate::rng::Rng;
use crate::swarm::{Chaos, Faults, Swarm};
use crate::trace::Trace;
use crate::truth::Truth;

/// When the world begins, in milliseconds.
const BEGIN: u64 = 1_700_000_000_000;
const TICK_MICROS: u64 = 100_000;

pub struct World {
    pub seed: u64,
    pub rng: Rng,
    pub swarm: Swarm,
    pub shape: LedgerShape,
    pub truth: Truth,
    pub disk: Disk,
    pub nodes: Vec<Node>,
    pub operations: Vec<Operation>,
    pub trace: Trace,
    pub is_healed: bool,
    pub(crate) now: u64,
    /// Milliseconds that all clocks were moved ahead at once.
    leap: u64,
    skew_most: i64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(crate) calls: Calls,
    requests: BTreeMap<CallId, (Life, Request)>,
    pending_answers: BTreeMap<CallId, Answer>,
    appends: BTreeMap<u64, Append>,
    chains: BTreeMap<(ShardId, Epoch), Chain>,
    pub(crate) batches: BTreeMap<CallKey, Batch>,
    numbers: u64,
    /// Seats at which something may go on: a call of theirs was answered, or something began.
    dirty: BTreeSet<(usize, ShardId)>,
    log_down_until: u64,
    store_down_until: u64,
    /// What a node knows of the control shard when it starts.
    view: Arc<ControlView>,
    pub(crate) changes: Vec<admin::Change>,
    pub(crate) readers: Vec<history::Reader>,
    pub(crate) feeds: Vec<feed::FeedReader>,
}

#[derive(Debug)]
pub(crate) enum Event {
    Execute(CallId),
    Answer(CallId),
    Land(u64),
    AppendAnswered(u64),
    Arrive {
        life: Life,
        shard: ShardId,
        batch: Vec<Sent>,
    },
    Told {
        sent: Sent,
        outcome: Option<WalletOutcome>,
    },
    RelayArrive {
        from: Life,
        to: usize,
        destination: ShardId,
        parts: Vec<RelayPart>,
        key: CallKey,
    },
    RelayAnswer {
        to: Life,
        destination: ShardId,
        key: CallKey,
        answer: Option<Vec<Acknowledged>>,
    },
    RelayDue {
        life: Life,
        destination: ShardId,
    },
    Tick(Life),
    Client,
    Chaos,
    Claim {
        life: Life,
        shard: ShardId,
    },
    Flush {
        life: Life,
        shard: ShardId,
    },
    /// A node hears what the control shard's log says.
    Follow(Life),
    /// Somebody changes the catalog, or tries to.
    Admin,
    AdminArrive {
        life: Life,
        change: usize,
    },
    /// The next step of somebody who reads history.
    History(usize),
    /// The next step of somebody who reads the feed of a room.
    Feed(usize),
    /// Rooms that a node waits for may be due.
    RoomTimes(Life),
    RoomArrive {
        to: Life,
        asked: Arc<rooms::Asked>,
    },
    RoomTold {
        asked: Arc<rooms::Asked>,
        outcome: Option<Box<RoomOutcome>>,
    },
    Restart(usize),
    Poll,
}

struct Append {
    life: Life,
    shard: ShardId,
    epoch: Epoch,
    owner: u64,
    number: u64,
    record: Bytes,
    landed: Option<Position>,
    answer: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Position,
    Unknown,
    Failed,
    Fenced(Epoch),
}

/// Records of one epoch land in order, and are answered in order, unless a fault says otherwise.
#[derive(Clone, Copy, Default)]
struct Chain {
    land: u64,
    answer: u64,
    is_broken: bool,
}

/// Commands that were handed to an owner.
pub(crate) enum Batch {
    Clients {
        shard: ShardId,
        /// The number of the owner.
        owner: u64,
        sent: Vec<Sent>,
        /// What the log held when they arrived: none of it may be missing from the answers.
        last: Seq,
    },
    Relay {
        to: Life,
        key: CallKey,
        destination: ShardId,
    },
    Admin {
        owner: u64,
        change: usize,
    },
    Room {
        owner: u64,
        asked: Arc<rooms::Asked>,
        /// The entry after the last one that the room had when it arrived, and its last event.
        before: (RoomSeq, Seq),
    },
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> World {
        let mut rng = Rng::new(seed);
        let swarm = Swarm::draw(&mut rng);
        let shape = LedgerShape::new(swarm.shards);
        let view = admin::empty_view(&swarm);
        let nodes = (0..swarm.nodes).map(|_| Node::new(swarm.shards, swarm.accumulators, Arc::clone(&view))).collect();
        let mut world = World {
            seed,
            rng,
            shape,
            truth: Truth::new(shape, swarm.rooms),
            disk: Disk::default(),
            nodes,
            operations: Vec::new(),
            trace,
            is_healed: false,
            now: 0,
            leap: 0,
            skew_most: 0,
            order: 0,
            events: BTreeMap::new(),
            calls: Calls::default(),
            requests: BTreeMap::new(),
            pending_answers: BTreeMap::new(),
            appends: BTreeMap::new(),
            chains: BTreeMap::new(),
            batches: BTreeMap::new(),
            numbers: 0,
            dirty: BTreeSet::new(),
            log_down_until: 0,
            store_down_until: 0,
            view,
            changes: Vec::new(),
            readers: Vec::new(),
            feeds: Vec::new(),
            swarm,
        };
        world.begin_catalog();
        world.begin_feeds();
        for shard in world.all_shards() {
            let node = world.rng.index(world.nodes.len());
            world.nodes[node].seats[place_of(shard)].wants = true;
        }
        (0..world.nodes.len()).for_each(|node| world.begin_life(node));
        let admin = world.swarm.admin_every_micros;
        world.schedule(admin, Event::Admin);
        for _ in 0..world.swarm.users {
            world.schedule(1_000, Event::Client);
        }
        let chaos = world.swarm.chaos_every_micros;
        world.schedule(chaos, Event::Chaos);
        world
    }

    // ---- time ----

    pub(crate) fn schedule(&mut self, after_micros: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + after_micros, self.order), event);
    }

    /// What a perfect clock shows.
    pub fn true_time(&self) -> Time {
        Time(BEGIN + self.leap + self.now / 1_000)
    }

    pub(crate) fn clock(&self, node: usize) -> Time {
        let behind = self.true_time().get().saturating_add_signed(self.nodes[node].skew);
        Time(if self.swarm.has_steady_clocks { self.nodes[node].steady(behind, self.now) } else { behind })
    }

    /// Handles one event. False when there is none left before `until`.
    pub fn step(&mut self, until: u64) -> bool {
        let Some(entry) = self.events.first_entry() else { return false };
        if entry.key().0 > until {
            self.now = until;
            return false;
        }
        let ((at, _), event) = entry.remove_entry();
        self.now = at;
        if let Some(node) = event.node()
            && self.nodes[node].asleep_until > self.now
        {
            // It finds this in its mailbox when it wakes, in the order in which it came.
            let wait = self.nodes[node].asleep_until - self.now;
            self.schedule(wait, event);
            return true;
        }
        self.handle(event);
        self.poll_all();
        true
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Execute(call) => self.execute(call),
            Event::Answer(call) => {
                if let Some(answer) = self.pending_answers.remove(&call) {
                    let waiting = self.calls.answer(call, answer);
                    self.dirty.extend(waiting.map(|(life, shard)| (life.node, shard)));
                }
            }
            Event::Land(append) => self.land(append),
            Event::AppendAnswered(append) => self.append_answered(append),
            Event::Arrive { life, shard, batch } => self.arrive(life, shard, batch),
            Event::Told { sent, outcome } => self.told(&sent, outcome),
            Event::RelayArrive { from, to, destination, parts, key } => {
                self.relay_arrive(from, to, destination, parts, key);
            }
            Event::RelayAnswer { to, destination, key, answer } => self.relay_answer(to, destination, key, answer),
            Event::RelayDue { life, destination } => {
                if self.is_alive(life) {
                    self.nodes[life.node].relay(destination).is_timed = false;
                    self.relay_go(life.node, destination);
                }
            }
            Event::Tick(life) => self.tick(life),
            Event::Client => self.client(),
            Event::Chaos => self.chaos(),
            Event::Claim { life, shard } => self.claim(life, shard),
            Event::Flush { life, shard } => self.flush(life, shard),
            Event::Follow(life) => self.follow(life),
            Event::Admin => self.administer(),
            Event::AdminArrive { life, change } => self.admin_arrive(life, change),
            Event::History(reader) => self.history_step(reader),
            Event::Feed(reader) => self.feed_step(reader),
            Event::RoomTimes(life) => self.room_times(life),
            Event::RoomArrive { to, asked } => self.room_arrive(to, asked),
            Event::RoomTold { asked, outcome } => self.room_told(&asked, outcome.map(|outcome| *outcome)),
            Event::Restart(node) => self.restart(node),
            Event::Poll => self.poll_later(),
        }
    }

    fn is_alive(&self, life: Life) -> bool {
        self.nodes[life.node].is_up && self.nodes[life.node].life == life.number
    }

    pub(crate) fn life(&self, node: usize) -> Life {
        Life { node, number: self.nodes[node].life }
    }

    /// The control shard, all wallet shards and all room shards.
    pub(crate) fn all_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        std::iter::once(ShardId::CONTROL).chain(self.shape.wallet_shards()).chain(self.shape.all_rooms())
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn faults(&self) -> Faults {
        if self.is_healed { Faults::default() } else { self.swarm.faults }
    }

    /// Up to `most`, mostly short.
    fn latency(&mut self, most: u64) -> u64 {
        let most = if self.rng.chance(700) { most / 4 } else { most };
        self.rng.between(1, most.max(1))
    }

    // ---- nodes ----

    fn begin_life(&mut self, node: usize) {
        let life = self.life(node);
        self.schedule(TICK_MICROS, Event::Tick(life));
        self.schedule(1, Event::Follow(life));
        for shard in self.all_shards() {
            self.seek(node, shard, 1);
            self.seek_flusher(node, shard, 1);
        }
    }

    /// Claims the shard after a while, if this node is to own it and does not.
    fn seek(&mut self, node: usize, shard: ShardId, after: u64) {
        let life = self.life(node);
        if !self.nodes[node].is_up || self.nodes[node].is_closing {
            return;
        }
        let seat = &mut self.nodes[node].seats[place_of(shard)];
        if seat.wants && !seat.is_claim_due && seat.owner.number().is_none() {
            seat.is_claim_due = true;
            self.schedule(after, Event::Claim { life, shard });
        }
    }

    fn seek_flusher(&mut self, node: usize, shard: ShardId, after: u64) {
        let life = self.life(node);
        let everywhere = self.swarm.flush_everywhere;
        // While the node stops, a flusher that fails is the last: the log keeps what the store did not take.
        if !self.nodes[node].is_up || self.nodes[node].seats[place_of(shard)].is_ending.load(Ordering::Acquire) {
            return;
        }
        let seat = &mut self.nodes[node].seats[place_of(shard)];
        if (seat.wants || everywhere) && seat.flusher.is_none() && !seat.is_flusher_due {
            seat.is_flusher_due = true;
            self.schedule(after, Event::Flush { life, shard });
        }
    }

    fn log(&self, life: Life, shard: ShardId) -> Arc<SimLog> {
        Arc::new(SimLog { calls: self.calls.clone(), life, shard, fencing: self.swarm.fencing })
    }

    fn store(&self, life: Life) -> Arc<SimStore> {
        Arc::new(SimStore { calls: self.calls.clone(), life })
    }

    /// Advances whatever got an answer.
    pub(crate) fn poll_all(&mut self) {
        while let Some((node, shard)) = self.dirty.pop_first() {
            if self.nodes[node].is_awake(self.now) {
                self.poll_seat(node, shard);
            }
        }
        self.take_asked();
    }

    /// Whoever has slept finds the answers that came meanwhile.
    fn poll_later(&mut self) {
        let shards: Vec<ShardId> = self.all_shards().collect();
        for node in 0..self.nodes.len() {
            self.dirty.extend(shards.iter().map(|shard| (node, *shard)));
        }
    }

    fn tick(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        self.schedule(TICK_MICROS, Event::Tick(life));
        let now = self.clock(life.node);
        for shard in self.all_shards() {
            let seat = &mut self.nodes[life.node].seats[place_of(shard)];
            if let Some(serving) = seat.owner.serving() {
                serving.shard.tick(now);
                if serving.shard.is_idle() {
                    seat.pause_micros = PAUSE_FIRST;
                }
                self.pump(life.node, shard);
            }
            self.seek(life.node, shard, 1_000);
            self.seek_flusher(life.node, shard, 1_000);
        }
        self.room_times(life);
        self.bring_settings(life.node);
    }
}

impl Event {
    /// The node that this happens to, if it happens inside of one.
    fn node(&self) -> Option<usize> {
        match self {
            Event::Arrive { life, .. }
            | Event::RelayDue { life, .. }
            | Event::Tick(life)
            | Event::Claim { life, .. }
            | Event::Flush { life, .. }
            | Event::AdminArrive { life, .. }
            | Event::RoomTimes(life)
            | Event::RoomArrive { to: life, .. }
            | Event::Follow(life) => Some(life.node),
            Event::RoomTold { asked, .. } => asked.node(),
            Event::RelayArrive { to, .. } => Some(*to),
            Event::RelayAnswer { to, .. } => Some(to.node),
            Event::Execute(_)
            | Event::Answer(_)
            | Event::Land(_)
            | Event::AppendAnswered(_)
            | Event::Told { .. }
            | Event::Client
            | Event::Admin
            | Event::History(_)
            | Event::Feed(_)
            | Event::Chaos
            | Event::Restart(_)
            | Event::Poll => None,
        }
    }
}
