//! A store that can be held, so that a ledger has events which are in the log only, and that counts what it is given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use largesse_engine::event_id::EventId;
use largesse_engine::store::{
    BalanceRow, Checkpoint, FeedQuery, FeedRow, FlushBatch, Page, ReceivedEntry, ReceivedQuery, RoomRow, SentQuery,
    Store, StoreError, StoredEvent,
};
use largesse_engine::units::{AssetId, RoomId, ShardId, UserId};
use tokio::sync::watch;

use super::replay::{self, ROWS_MAX};

pub struct HeldStore {
    store: Arc<dyn Store>,
    holding: watch::Sender<Holding>,
    rows: AtomicU64,
    /// The first flushes since it was told to keep some.
    kept: Mutex<Option<Kept>>,
}

#[derive(Default)]
struct Kept {
    batches: Vec<FlushBatch>,
    rows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    No,
    /// Writes wait.
    Wait,
    /// Writes fail, so that whoever waits can end.
    Refuse,
}

impl HeldStore {
    pub fn new(store: Arc<dyn Store>) -> HeldStore {
        HeldStore { store, holding: watch::Sender::new(Holding::No), rows: AtomicU64::new(0), kept: Mutex::new(None) }
    }

    /// Rows that it has taken so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// From now on keeps copies of what it takes, up to [`ROWS_MAX`] rows.
    pub fn keep(&self) {
        *self.lock() = Some(Kept::default());
    }

    pub fn take_kept(&self) -> Vec<FlushBatch> {
        self.lock().take().unwrap_or_default().batches
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants_more(&self) -> bool {
        self.lock().as_ref().is_some_and(|kept| kept.rows < ROWS_MAX)
    }

    /// It has taken so many rows; with a copy of them where one is wanted.
    fn note(&self, rows: u64, copy: Option<FlushBatch>) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if let (Some(kept), Some(copy)) = (self.lock().as_mut(), copy) {
            kept.rows += rows;
            kept.batches.push(copy);
        }
    }

    pub fn hold(&self) {
        self.holding.send_replace(Holding::Wait);
    }

    /// Ends the waiting, if there is any: what was held back stays in the log only.
    pub fn refuse(&self) {
        self.holding.send_if_modified(|holding| {
            let is_held = *holding == Holding::Wait;
            if is_held {
                *holding = Holding::Refuse;
            }
            is_held
        });
    }
}

impl Store for HeldStore {
    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        self.store.load_wallets(shard, users)
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        self.store.load_receipts(shard, keys)
    }

    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        if *self.holding.borrow() == Holding::No {
            let (rows, copy) = (replay::rows(&batch), self.wants_more().then(|| batch.clone()));
            return Box::pin(async move {
                self.store.write(batch).await?;
                self.note(rows, copy);
                Ok(())
            });
        }
        let mut holding = self.holding.subscribe();
        Box::pin(async move {
            // The sender lives as long as this store; without it there is nothing to wait for either.
            let _refused_or_gone = holding.wait_for(|holding| *holding == Holding::Refuse).await;
            Err(StoreError::Unavailable("it is held".into()))
        })
    }

    fn forgets_for(&self) -> Duration {
        self.store.forgets_for()
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        self.store.checkpoint(shard)
    }

    fn page_sent(&self, query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        self.store.page_sent(query)
    }

    fn page_received(&self, query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        self.store.page_received(query)
    }

    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        self.store.load_room(shard, room)
    }

    fn page_feed(&self, query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        self.store.page_feed(query)
    }

    fn scan_balances(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        self.store.scan_balances(shard, after, limit)
    }
}
