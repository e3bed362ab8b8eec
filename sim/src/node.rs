//! A node: the seats of its shards, with what runs there, and its relays.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::accumulator::{Accumulator, AccumulatorLimits};
use largesse_engine::control::{ControlMachine, ControlOutcome, Shown};
use largesse_engine::flush::{FlushError, FlushLimits, Flushed, Flusher, Rows, Settled};
use largesse_engine::log::{AppendError, LogError, ShardLog};
use largesse_engine::node::actor::Fetching;
use largesse_engine::record::{Claim, LogEntry};
use largesse_engine::resolve::ControlView;
use largesse_engine::room::command::RoomOutcome;
use largesse_engine::room::rooms::{RoomOutput, Rooms};
use largesse_engine::shard::recover::{RecoverError, recover};
use largesse_engine::shard::{Effect, Shard, ShardLimits};
use largesse_engine::store::Store;
use largesse_engine::units::{Epoch, Position, Seq, ShardId, ShardKind, Time};
use largesse_engine::wallet::outbox::Outgoing;
use largesse_engine::wallet::outcome::WalletOutcome;
use largesse_engine::wallet::wallets::Wallets;

use crate::calls::{Calls, Life, Request};
use crate::world::rooms::NodeRooms;

/// Names one command batch that was handed to an owner.
pub type CallKey = u64;
pub type Recovered = Result<Inside, RecoverError>;

pub struct Node {
    /// Which of its lives this is.
    pub life: u64,
    pub is_up: bool,
    /// It notices nothing until then, in microseconds of the world.
    pub asleep_until: u64,
    /// How far its clock is off, in milliseconds.
    pub skew: i64,
    /// The control shard's, then those of wallets and rooms in turn; see [`place_of`].
    pub seats: Vec<Seat>,
    /// One to each shard of wallets or rooms; see [`Node::relay`].
    pub relays: Vec<Relay>,
    pub rooms: NodeRooms,
    /// What it knows of the control shard.
    pub view: Arc<ControlView>,
    /// It is being stopped in order.
    pub is_closing: bool,
    /// The latest time that its clock has shown in this life, and when that was.
    shown: Cell<(u64, u64)>,
}

/// Where one shard is, or could be, served.
pub struct Seat {
    /// This node thinks that the shard is its to own.
    pub wants: bool,
    pub owner: Owner,
    pub is_claim_due: bool,
    pub pause_micros: u64,
    pub flusher: Option<BoxFuture<'static, Option<FlushError>>>,
    pub is_flusher_due: bool,
    pub progress: Progress,
    pub settled: Settled,
    /// The last event and the time of its owner, as others are told.
    pub standing: (Seq, Time),
    /// How far the store is, as the flusher here last said.
    pub flushed: Flushed,
    /// Its owner finishes what it admitted, and admits nothing more.
    pub is_draining: bool,
    /// What the owner had done when it had drained; its flusher has to bring all of it into the store.
    pub drained: Option<Drained>,
    /// The node that gets the shard when this one has drained.
    pub next_node: Option<usize>,
    /// Told to its flusher.
    pub is_ending: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug)]
pub struct Drained {
    pub epoch: Epoch,
    pub next: Seq,
}

pub enum Owner {
    None,
    Recovering(u64, BoxFuture<'static, Recovered>),
    Serving(Box<Serving>),
}

pub struct Serving {
    /// Names this owner among all that there ever were.
    pub number: u64,
    pub shard: Inside,
    pub fetches: Vec<Fetching<Wallets>>,
    pub room_fetches: Vec<Fetching<Rooms>>,
    pub reading: Option<BoxFuture<'static, Result<Vec<LogEntry>, LogError>>>,
    /// The last event that was in its state when it was last compared with what is true.
    pub compared: Seq,
    /// Rooms in memory at that time.
    pub resident: usize,
    /// The last event that it recovered; what came since is its own.
    pub recovered: Seq,
}

/// Where the seat of a shard is among those of a node.
pub fn place_of(shard: ShardId) -> usize {
    match shard.kind {
        ShardKind::Control => 0,
        ShardKind::Wallet => 1 + 2 * usize::from(shard.index),
        ShardKind::Room => 2 + 2 * usize::from(shard.index),
    }
}

/// What an actor wraps: one of the three machines there are.
pub enum Inside {
    Wallets(Box<Shard<Wallets, CallKey>>),
    Rooms(Box<Shard<Rooms, CallKey>>),
    Control(Box<Shard<ControlMachine, CallKey>>),
}

/// Outcomes of one batch.
pub enum Outcomes {
    Wallets(Vec<WalletOutcome>),
    Rooms(Vec<RoomOutcome>),
    Control(Vec<ControlOutcome>),
}

/// The effects of these machines.
pub enum Effects {
    Wallets(Vec<Effect<Wallets, CallKey>>),
    Rooms(Vec<Effect<Rooms, CallKey>>),
    Control(Vec<Effect<ControlMachine, CallKey>>),
}

macro_rules! inside {
    ($self:expr, $shard:ident => $what:expr) => {
        match $self {
            Inside::Wallets($shard) => $what,
            Inside::Rooms($shard) => $what,
            Inside::Control($shard) => $what,
        }
    };
}

impl Inside {
    pub fn wallets(&mut self) -> Option<&mut Shard<Wallets, CallKey>> {
        match self {
            Inside::Wallets(shard) => Some(shard),
            Inside::Rooms(_) | Inside::Control(_) => None,
        }
    }

    pub fn rooms(&mut self) -> Option<&mut Shard<Rooms, CallKey>> {
        match self {
            Inside::Rooms(shard) => Some(shard),
            Inside::Wallets(_) | Inside::Control(_) => None,
        }
    }

    pub fn control(&mut self) -> Option<&mut Shard<ControlMachine, CallKey>> {
        match self {
            Inside::Wallets(_) | Inside::Rooms(_) => None,
            Inside::Control(shard) => Some(shard),
        }
    }

    pub fn epoch(&self) -> Epoch {
        inside!(self, shard => shard.epoch())
    }

    pub fn last(&self) -> Seq {
        inside!(self, shard => shard.last())
    }

    pub fn time(&self) -> Time {
        inside!(self, shard => shard.time())
    }

    pub fn is_idle(&self) -> bool {
        inside!(self, shard => shard.is_idle())
    }

    pub fn in_flight(&self) -> usize {
        inside!(self, shard => shard.in_flight())
    }

    pub fn waiting(&self) -> usize {
        inside!(self, shard => shard.waiting())
    }

    pub fn pump(&mut self, now: Time) {
        inside!(self, shard => shard.pump(now));
    }

    pub fn tick(&mut self, now: Time) {
        inside!(self, shard => shard.tick(now));
    }

    pub fn flushed(&mut self, seq: Seq, now: Time) {
        inside!(self, shard => shard.flushed(seq, now));
    }

    pub fn appended(&mut self, number: u64, answer: Result<Position, AppendError>, now: Time) {
        inside!(self, shard => shard.appended(number, answer, now));
    }

    pub fn read_back(&mut self, entries: &[LogEntry], is_end: bool, now: Time) {
        inside!(self, shard => shard.read_back(entries, is_end, now));
    }

    pub fn take_effects(&mut self) -> Effects {
        match self {
            Inside::Wallets(shard) => Effects::Wallets(shard.take_effects()),
            Inside::Rooms(shard) => Effects::Rooms(shard.take_effects()),
            Inside::Control(shard) => Effects::Control(shard.take_effects()),
        }
    }
}

/// Parts to hand on, news for the node's view, or news of rooms.
#[derive(Default)]
pub struct Outputs {
    pub parts: Outgoing,
    pub shown: Option<Shown>,
    pub rooms: RoomOutput,
}

pub struct Relay {
    pub accumulator: Accumulator,
    pub sending: Option<CallKey>,
    pub is_timed: bool,
}

/// What a flusher has announced and its owner has not heard yet.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<VecDeque<Flushed>>>);

impl Progress {
    fn push(&self, flushed: Flushed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(flushed);
    }

    pub fn pop(&self) -> Option<Flushed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Node {
    pub fn new(shards: u16, accumulators: AccumulatorLimits, view: Arc<ControlView>) -> Node {
        let mut node = Node {
            life: 0,
            is_up: true,
            asleep_until: 0,
            skew: 0,
            seats: Vec::new(),
            relays: Vec::new(),
            rooms: NodeRooms::default(),
            view: Arc::clone(&view),
            is_closing: false,
            shown: Cell::default(),
        };
        node.seats = (0..=2 * shards).map(|_| Seat::default()).collect();
        node.forget(accumulators, view);
        node
    }

    /// What a crash does to memory.
    pub fn forget(&mut self, accumulators: AccumulatorLimits, view: Arc<ControlView>) {
        self.life += 1;
        self.view = view;
        self.is_closing = false;
        self.shown.take();
        self.rooms = NodeRooms::default();
        self.relays = self
            .seats
            .iter()
            .skip(1)
            .map(|_| Relay { accumulator: Accumulator::new(accumulators), sending: None, is_timed: false })
            .collect();
        for seat in &mut self.seats {
            *seat = Seat { wants: seat.wants, ..Seat::default() };
        }
    }

    pub fn relay(&mut self, destination: ShardId) -> &mut Relay {
        &mut self.relays[place_of(destination) - 1]
    }

    /// What a clock shows that never goes back, and never stands still, while the one behind it says `behind`.
    pub fn steady(&self, behind: u64, now_micros: u64) -> u64 {
        let (latest, since) = self.shown.get();
        // Half as fast as it should until the one behind it has caught up.
        let shown = behind.max(latest + (now_micros - since) / 2_000);
        if shown > latest {
            self.shown.set((shown, now_micros));
        }
        shown
    }

    /// Something that was decided before has this time.
    pub fn not_before(&self, time: u64, now_micros: u64) {
        if self.shown.get().0 < time {
            self.shown.set((time, now_micros));
        }
    }

    pub fn is_awake(&self, now: u64) -> bool {
        self.is_up && self.asleep_until <= now
    }
}

pub const PAUSE_FIRST: u64 = 20_000;
pub const PAUSE_LONGEST: u64 = 2_000_000;

impl Default for Seat {
    fn default() -> Self {
        Seat {
            wants: false,
            owner: Owner::None,
            is_claim_due: false,
            pause_micros: PAUSE_FIRST,
            flusher: None,
            is_flusher_due: false,
            progress: Progress::default(),
            settled: Settled::default(),
            standing: Default::default(),
            flushed: Flushed::default(),
            is_draining: false,
            drained: None,
            next_node: None,
            is_ending: Arc::default(),
        }
    }
}

impl Owner {
    pub fn serving(&mut self) -> Option<&mut Serving> {
        match self {
            Owner::Serving(serving) => Some(serving),
            Owner::None | Owner::Recovering(..) => None,
        }
    }

    pub fn number(&self) -> Option<u64> {
        match self {
            Owner::None => None,
            Owner::Recovering(number, _) => Some(*number),
            Owner::Serving(serving) => Some(serving.number),
        }
    }
}

/// Advances a future by hand. Nobody is woken: the world asks again after every answer it gives.
pub fn poll<T>(future: &mut BoxFuture<'static, T>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(future).poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

pub fn recovering(
    shard: ShardId,
    mut machine: Fresh,
    limits: ShardLimits,
    log: Arc<dyn ShardLog>,
    store: Arc<dyn Store>,
    claim: Claim,
) -> BoxFuture<'static, Recovered> {
    async move {
        let fencing = log.fencing();
        match &mut machine {
            Fresh::Wallets(wallets) => recover(shard, &mut **wallets, &*log, &*store, claim).await,
            Fresh::Rooms(rooms) => recover(shard, &mut **rooms, &*log, &*store, claim).await,
            Fresh::Control(control) => recover(shard, &mut **control, &*log, &*store, claim).await,
        }
        .map(|owner| match machine {
            Fresh::Wallets(wallets) => Inside::Wallets(Box::new(Shard::new(shard, *wallets, limits, fencing, owner))),
            Fresh::Rooms(rooms) => Inside::Rooms(Box::new(Shard::new(shard, *rooms, limits, fencing, owner))),
            Fresh::Control(control) => Inside::Control(Box::new(Shard::new(shard, *control, limits, fencing, owner))),
        })
    }
    .boxed()
}

/// A machine without any state.
pub enum Fresh {
    Wallets(Box<Wallets>),
    Rooms(Box<Rooms>),
    Control(Box<ControlMachine>),
}

/// What a flusher's task does on a node: batch after batch, and a pause when there is nothing left.
pub struct Flushing<R> {
    pub shard: ShardId,
    pub rows: R,
    pub log: Arc<dyn ShardLog>,
    pub store: Arc<dyn Store>,
    pub settled: Settled,
    pub limits: FlushLimits,
    pub progress: Progress,
    pub calls: Calls,
    pub life: Life,
    pub every_micros: u64,
    /// Owners have drained: what the log holds by now is the last of it.
    pub is_ending: Arc<AtomicBool>,
}

impl<R: Rows> Flushing<R> {
    /// Resolves when it has failed, or when all is flushed and the node stops.
    pub fn start(self) -> BoxFuture<'static, Option<FlushError>> {
        self.run().map(Result::err).boxed()
    }

    async fn run(self) -> Result<(), FlushError> {
        let Flushing { shard, log, store, rows, settled, limits, .. } = self;
        let mut flusher = Flusher::start(shard, log, store, rows, settled, limits).await?;
        self.progress.push(flusher.flushed());
        loop {
            let is_last = self.is_ending.load(Ordering::Acquire);
            while let Some(flushed) = flusher.step().await? {
                self.progress.push(flushed);
            }
            if is_last {
                return Ok(());
            }
            self.calls.ask(self.life, Request::Sleep(shard, self.every_micros)).await;
        }
    }
}
