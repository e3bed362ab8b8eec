//! Log and store as a node sees them: every call is a request to the world, which decides when it is carried out, when it
//! is answered, and how.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::event_id::EventId;
use largesse_engine::log::{AppendDone, Fencing, LogError, ShardLog};
use largesse_engine::record::{Claim, LogEntry};
use largesse_engine::store::{
    BalanceRow, Checkpoint, FeedQuery, FeedRow, FlushBatch, Page, ReceivedEntry, ReceivedQuery, RoomRow, SentQuery,
    Store, StoreError, StoredEvent,
};
use largesse_engine::units::{AssetId, Epoch, Position, RoomId, ShardId, UserId};

pub type CallId = u64;

/// What a node asked for.
#[derive(Clone, Debug)]
pub enum Request {
    Claim(ShardId, Claim),
    Read(ShardId, Position, usize),
    Truncate(ShardId, Position),
    LoadWallets(ShardId, Vec<UserId>),
    LoadReceipts(ShardId, Vec<(UserId, EventId)>),
    LoadRoom(ShardId, RoomId),
    Write(Box<FlushBatch>),
    Checkpoint(ShardId),
    /// Not of log or store: the shard's task waits this many microseconds.
    Sleep(ShardId, u64),
}

impl Request {
    /// The shard that it is about.
    fn shard(&self) -> ShardId {
        match self {
            Request::Claim(shard, _)
            | Request::Read(shard, _, _)
            | Request::Truncate(shard, _)
            | Request::LoadWallets(shard, _)
            | Request::LoadReceipts(shard, _)
            | Request::LoadRoom(shard, _)
            | Request::Checkpoint(shard)
            | Request::Sleep(shard, _) => *shard,
            Request::Write(batch) => batch.shard,
        }
    }
}

#[derive(Debug)]
pub enum Answer {
    Claimed(Result<Epoch, LogError>),
    Entries(Result<Vec<LogEntry>, LogError>),
    Truncated(Result<(), LogError>),
    Wallets(Result<Vec<Vec<BalanceRow>>, StoreError>),
    Receipts(Result<Vec<Option<StoredEvent>>, StoreError>),
    Room(Result<Vec<RoomRow>, StoreError>),
    Written(Result<(), StoreError>),
    Checkpoint(Result<Option<Checkpoint>, StoreError>),
    Slept,
}

/// One life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    pub node: usize,
    pub number: u64,
}

#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    next: CallId,
    asked: Vec<(CallId, Life, Request)>,
    answers: BTreeMap<CallId, Answer>,
    /// Who asked.
    waiting: BTreeMap<CallId, (Life, ShardId)>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ask(&self, life: Life, request: Request) -> Call {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        inner.waiting.insert(id, (life, request.shard()));
        inner.asked.push((id, life, request));
        Call { id, calls: self.clone() }
    }

    pub fn take_asked(&self) -> Vec<(CallId, Life, Request)> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Who is still waiting for it.
    pub fn answer(&self, id: CallId, answer: Answer) -> Option<(Life, ShardId)> {
        let mut inner = self.lock();
        let waiting = inner.waiting.get(&id).copied();
        if waiting.is_some() {
            inner.answers.insert(id, answer);
        }
        waiting
    }
}

/// Resolves when the world answers. Dropping it is what a crash does: the request may still be carried out.
pub struct Call {
    id: CallId,
    calls: Calls,
}

impl Future for Call {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Answer> {
        match self.calls.lock().answers.remove(&self.id) {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut inner = self.calls.lock();
        inner.waiting.remove(&self.id);
        inner.answers.remove(&self.id);
    }
}

macro_rules! answered {
    ($self:ident, $request:expr, $variant:ident) => {{
        let call = $self.calls.ask($self.life, $request);
        async move {
            match call.await {
                Answer::$variant(answer) => answer,
                other => unreachable!("the world answered {other:?}"),
            }
        }
        .boxed()
    }};
}

pub struct SimLog {
    pub calls: Calls,
    pub life: Life,
    pub shard: ShardId,
    pub fencing: Fencing,
}

impl ShardLog for SimLog {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        answered!(self, Request::Claim(self.shard, claim), Claimed)
    }

    fn append(&self, _epoch: Epoch, _record: Bytes, _done: AppendDone) {
        unreachable!("the world carries out appends itself")
    }

    fn read(&self, from: Position, bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        answered!(self, Request::Read(self.shard, from, bytes_max), Entries)
    }

    fn wait_for(&self, _from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        unreachable!("only the tasks that the simulator replaces wait for records")
    }

    fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        answered!(self, Request::Truncate(self.shard, position), Truncated)
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        unreachable!("nothing that is simulated asks for the end")
    }

    fn fencing(&self) -> Fencing {
        self.fencing
    }
}

pub struct SimStore {
    pub calls: Calls,
    pub life: Life,
}

impl Store for SimStore {
    fn forgets_for(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        answered!(self, Request::LoadWallets(shard, users), Wallets)
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        answered!(self, Request::LoadReceipts(shard, keys), Receipts)
    }

    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        answered!(self, Request::LoadRoom(shard, room), Room)
    }

    fn page_feed(&self, _query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        unreachable!("pages are views; no owner asks for one")
    }

    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        answered!(self, Request::Write(Box::new(batch)), Written)
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        answered!(self, Request::Checkpoint(shard), Checkpoint)
    }

    fn page_sent(&self, _query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        unreachable!("pages are views; no owner asks for one")
    }

    fn page_received(&self, _query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        unreachable!("pages are views; no owner asks for one")
    }

    fn scan_balances(
        &self,
        _shard: ShardId,
        _after: Option<(UserId, AssetId)>,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        unreachable!("only audits scan")
    }
}
