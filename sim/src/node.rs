//! A node: the seats of its shards, with what runs there, and its relays.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::accumulator::{Accumulator, AccumulatorLimits};
use largesse_engine::flush::{FlushError, FlushLimits, Flushed, Flusher, Settled};
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::{LogError, ShardLog};
use largesse_engine::node::actor::Fetching;
use largesse_engine::record::{Claim, LogEntry};
use largesse_engine::shard::recover::{RecoverError, recover};
use largesse_engine::shard::{Ownership, Shard};
use largesse_engine::store::Store;
use largesse_engine::units::ShardId;
use largesse_engine::wallet::rows::WalletRows;
use largesse_engine::wallet::wallets::{WalletLimits, Wallets};

use crate::calls::{Calls, Life, Request};

/// Names one command batch that was handed to an owner.
pub type CallKey = u64;
pub type Recovered = (Wallets, Result<Ownership, RecoverError>);

pub struct Node {
    /// Which of its lives this is.
    pub life: u64,
    pub is_up: bool,
    /// It notices nothing until then, in microseconds of the world.
    pub asleep_until: u64,
    /// How far its clock is off, in milliseconds.
    pub skew: i64,
    pub seats: Vec<Seat>,
    pub relays: Vec<Relay>,
}

/// Where one shard is, or could be, served.
pub struct Seat {
    /// This node thinks that the shard is its to own.
    pub wants: bool,
    pub owner: Owner,
    pub is_claim_due: bool,
    pub pause_micros: u64,
    pub flusher: Option<BoxFuture<'static, FlushError>>,
    pub is_flusher_due: bool,
    pub progress: Progress,
    pub settled: Settled,
}

pub enum Owner {
    None,
    Recovering(u64, BoxFuture<'static, Recovered>),
    Serving(Box<Serving>),
}

pub struct Serving {
    /// Names this owner among all that there ever were.
    pub number: u64,
    pub shard: Shard<Wallets, CallKey>,
    pub fetches: Vec<Fetching<Wallets>>,
    pub reading: Option<BoxFuture<'static, Result<Vec<LogEntry>, LogError>>>,
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
    pub fn new(shards: u16, accumulators: AccumulatorLimits) -> Node {
        let mut node = Node { life: 0, is_up: true, asleep_until: 0, skew: 0, seats: Vec::new(), relays: Vec::new() };
        node.seats = (0..shards).map(|_| Seat::default()).collect();
        node.forget(accumulators);
        node
    }

    /// What a crash does to memory.
    pub fn forget(&mut self, accumulators: AccumulatorLimits) {
        self.life += 1;
        self.relays = self
            .seats
            .iter()
            .map(|_| Relay { accumulator: Accumulator::new(accumulators), sending: None, is_timed: false })
            .collect();
        for seat in &mut self.seats {
            *seat = Seat { wants: seat.wants, ..Seat::default() };
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
    shape: LedgerShape,
    limits: WalletLimits,
    log: Arc<dyn ShardLog>,
    store: Arc<dyn Store>,
    claim: Claim,
) -> BoxFuture<'static, Recovered> {
    async move {
        let mut machine = Wallets::new(shard, shape, limits);
        let owned = recover(shard, &mut machine, &*log, &*store, claim).await;
        (machine, owned)
    }
    .boxed()
}

/// What a flusher's task does on a node: batch after batch, and a pause when there is nothing left.
pub struct Flushing {
    pub shard: ShardId,
    pub shape: LedgerShape,
    pub log: Arc<dyn ShardLog>,
    pub store: Arc<dyn Store>,
    pub settled: Settled,
    pub limits: FlushLimits,
    pub progress: Progress,
    pub calls: Calls,
    pub life: Life,
    pub every_micros: u64,
}

impl Flushing {
    pub fn start(self) -> BoxFuture<'static, FlushError> {
        async move {
            match self.run().await {
                Err(error) => error,
                Ok(never) => match never {},
            }
        }
        .boxed()
    }

    async fn run(self) -> Result<std::convert::Infallible, FlushError> {
        let rows = WalletRows::new(self.shard, self.shape);
        let mut flusher = Flusher::start(self.shard, self.log, self.store, rows, self.settled, self.limits).await?;
        self.progress.push(flusher.flushed());
        loop {
            while let Some(flushed) = flusher.step().await? {
                self.progress.push(flushed);
            }
            self.calls.ask(self.life, Request::Sleep(self.every_micros)).await;
        }
    }
}
