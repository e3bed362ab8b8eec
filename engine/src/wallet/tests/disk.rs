//! A log and a store that are plain lists, for tests that drive a shard by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::event_id::EventId;
use crate::log::{AppendDone, Fencing, LogError, ShardLog};
use crate::record::{Claim, LogEntry, encode_claim};
use crate::store::{
    BalanceRow, Checkpoint, FeedQuery, FeedRow, FlushBatch, Page, ReceivedEntry, ReceivedQuery, RoomRow, SentQuery,
    Store, StoreError, StoredEvent,
};
use crate::units::{AssetId, Epoch, NodeId, Position, RoomId, ShardId, UserId};

/// Position is index. What was given up stays in the list, but can no longer be read.
#[derive(Clone, Default)]
pub struct ListLog(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    entries: Vec<LogEntry>,
    first: Position,
}

impl ListLog {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap()
    }

    pub fn put(&self, record: &Bytes) -> Position {
        let mut log = self.lock();
        let position = Position(log.entries.len() as u64);
        log.entries.push(LogEntry::decode(position, record).unwrap());
        position
    }

    /// Everything ever written, also what was given up.
    pub fn all(&self) -> Vec<LogEntry> {
        self.lock().entries.clone()
    }
}

impl ShardLog for ListLog {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        let position = self.put(&encode_claim(claim));
        ready(Ok(Epoch(position.get()))).boxed()
    }

    fn append(&self, _epoch: Epoch, record: Bytes, done: AppendDone) {
        done(Ok(self.put(&record)));
    }

    fn read(&self, from: Position, _bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        let log = self.lock();
        let first = log.first;
        let read = if from < first {
            Err(LogError::Truncated { shard: ShardId::wallet(0), asked: from, first })
        } else {
            // A few at a time, so that readers have to come back.
            Ok(log.entries.iter().filter(|entry| entry.position >= from).take(5).cloned().collect())
        };
        ready(read).boxed()
    }

    fn wait_for(&self, _from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        ready(Ok(())).boxed()
    }

    fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        let mut log = self.lock();
        log.first = log.first.max(position);
        ready(Ok(())).boxed()
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        ready(Ok(Position(self.lock().entries.len() as u64))).boxed()
    }

    fn fencing(&self) -> Fencing {
        Fencing::ByLog
    }
}

#[derive(Clone, Default)]
pub struct ListStore(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    balances: BTreeMap<(ShardId, UserId, AssetId), BalanceRow>,
    events: BTreeMap<(ShardId, UserId, EventId), StoredEvent>,
    checkpoints: BTreeMap<ShardId, Checkpoint>,
}

impl ListStore {
    pub fn balances(&self, shard: ShardId, user: UserId) -> Vec<BalanceRow> {
        let rows = self.0.lock().unwrap();
        rows.balances.iter().filter(|((of, held, _), _)| (*of, *held) == (shard, user)).map(|(_, row)| *row).collect()
    }

    pub fn put_balance(&self, shard: ShardId, row: BalanceRow) {
        self.0.lock().unwrap().balances.insert((shard, row.user, row.asset), row);
    }

    pub fn receipt(&self, shard: ShardId, user: UserId, id: EventId) -> Option<StoredEvent> {
        self.0.lock().unwrap().events.get(&(shard, user, id)).cloned()
    }
}

impl Store for ListStore {
    fn forgets_for(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        ready(Ok(users.into_iter().map(|user| self.balances(shard, user)).collect())).boxed()
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        ready(Ok(keys.into_iter().map(|(user, id)| self.receipt(shard, user, id)).collect())).boxed()
    }

    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut rows = self.0.lock().unwrap();
        for row in batch.balances {
            let newest = rows.balances.entry((batch.shard, row.user, row.asset)).or_insert(row);
            if row.seq >= newest.seq {
                *newest = row;
            }
        }
        for row in batch.sent {
            rows.events.insert((batch.shard, row.user, row.id), row.stored);
        }
        let is_forward = rows.checkpoints.get(&batch.shard).is_none_or(|at| at.position <= batch.checkpoint.position);
        if is_forward {
            rows.checkpoints.insert(batch.shard, batch.checkpoint);
        }
        ready(Ok(())).boxed()
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        ready(Ok(self.0.lock().unwrap().checkpoints.get(&shard).cloned())).boxed()
    }

    fn page_sent(&self, _query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        ready(Err(StoreError::Unavailable("no pages in here".into()))).boxed()
    }

    fn page_received(&self, _query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        ready(Err(StoreError::Unavailable("no pages in here".into()))).boxed()
    }

    fn load_room(&self, _shard: ShardId, _room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        ready(Err(StoreError::Unavailable("no rooms in here".into()))).boxed()
    }

    fn page_feed(&self, _query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        ready(Err(StoreError::Unavailable("no pages in here".into()))).boxed()
    }

    fn scan_balances(
        &self,
        _shard: ShardId,
        _after: Option<(UserId, AssetId)>,
        _limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        ready(Err(StoreError::Unavailable("no scans in here".into()))).boxed()
    }
}

pub fn claim(nonce: u8) -> Claim {
    Claim { node: NodeId(1), nonce: [nonce; 16] }
}
