//! The flusher against a log and a store in memory: what it repeats is the same, and what it gives up nobody needs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::codec;
use largesse_engine::flush::{FlushError, FlushLimits, Flusher, Settled};
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::{LogError, Logs, ShardLog};
use largesse_engine::record::{Claim, EventsHeader, encode_events};
use largesse_engine::store::{
    BalanceRow, Checkpoint, FeedQuery, FeedRow, FlushBatch, Page, ReceivedEntry, ReceivedQuery, RoomRow, SentQuery,
    Store, StoreError, StoredEvent,
};
use largesse_engine::units::{Amount, AssetId, Epoch, NodeId, Position, RoomId, Seq, ShardId, Time, UserId};
use largesse_engine::wallet::command::RechargeSaid;
use largesse_engine::wallet::event::{Channel, Recharged, WalletEvent};
use largesse_engine::wallet::rows::WalletRows;
use largesse_storage::log::memory::MemoryLogs;
use largesse_storage::mirror::{Mirror, MirrorOptions, Topology};
use largesse_storage::store::memory::MemoryStore;

const SHARD: ShardId = ShardId::wallet(0);
const ANN: UserId = UserId(1);

/// A shard whose every event gives Ann one coin.
struct World {
    log: Arc<dyn ShardLog>,
    store: MemoryStore,
    settled: Settled,
    epoch: Epoch,
    next: Seq,
    records: u64,
}

impl World {
    async fn new() -> World {
        let log = MemoryLogs::automatic().shard(SHARD);
        let epoch = log.claim(Claim { node: NodeId(1), nonce: [1; 16] }).await.unwrap();
        let settled = Settled::default();
        settled.store(u64::MAX, Ordering::Release);
        World { log, store: MemoryStore::default(), settled, epoch, next: Seq::FIRST, records: 0 }
    }

    fn settle(&self, seq: u64) {
        self.settled.store(seq, Ordering::Release);
    }

    fn append(&mut self, events: u32) {
        let mut bytes = Vec::new();
        for place in 0..u64::from(events) {
            let number = self.next.get() + place;
            let said = RechargeSaid {
                channel: Channel::Manual,
                transaction: number.to_string().into(),
                user: ANN,
                asset: AssetId(1),
                amount: Amount::new(1).unwrap(),
            };
            let event = Recharged { said, balance: Amount::new(number).unwrap(), trace: None };
            codec::encode_into(&WalletEvent::Recharged(event), &mut bytes);
        }
        self.records += 1;
        let time = Time(1_000 + self.next.get());
        let header = EventsHeader { epoch: self.epoch, number: self.records, first: self.next, count: events, time };
        self.next = header.next();
        let done = |answer: Result<_, _>| assert!(answer.is_ok());
        self.log.append(self.epoch, encode_events(header, &bytes), Box::new(done));
    }

    async fn flusher_into(&self, store: Arc<dyn Store>) -> Flusher<WalletRows> {
        self.flusher_with(store, FlushLimits::default()).await
    }

    async fn flusher_with(&self, store: Arc<dyn Store>, limits: FlushLimits) -> Flusher<WalletRows> {
        let rows = WalletRows::new(SHARD, LedgerShape::new(1));
        let (log, settled) = (Arc::clone(&self.log), Arc::clone(&self.settled));
        Flusher::start(SHARD, log, store, rows, settled, limits).await.unwrap()
    }

    async fn flusher(&self) -> Flusher<WalletRows> {
        self.flusher_into(Arc::new(self.store.clone())).await
    }

    async fn checkpoint(&self) -> Checkpoint {
        self.store.checkpoint(SHARD).await.unwrap().expect("something was flushed")
    }

    /// The first position that the log still has.
    async fn first_kept(&self) -> Position {
        match self.log.read(Position::START, 1).await {
            Ok(entries) => entries[0].position,
            Err(LogError::Truncated { first, .. }) => first,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn flush_all(flusher: &mut Flusher<WalletRows>) {
    while flusher.step().await.unwrap().is_some() {}
}

/// Everything that was flushed into a store.
async fn rows(store: &MemoryStore) -> (Vec<BalanceRow>, Vec<StoredEvent>, Option<Checkpoint>) {
    let query = SentQuery { shard: SHARD, user: ANN, since: None, until: None, cursor: None, limit: 100 };
    let balances = store.scan_balances(SHARD, None, 100).await.unwrap();
    (balances, store.page_sent(query).await.unwrap().items, store.checkpoint(SHARD).await.unwrap())
}

#[tokio::test]
async fn a_flush_that_is_repeated_writes_the_same_rows() {
    let (mut world, mut straight) = (World::new().await, World::new().await);
    for world in [&mut world, &mut straight] {
        world.append(3);
        world.append(2);
    }
    flush_all(&mut straight.flusher().await).await;

    // The store has everything, but the flusher is told otherwise and begins again from what it knew.
    world.store.lose_answers(1);
    let failed = world.flusher().await.step().await.unwrap_err();
    assert!(matches!(failed, FlushError::Store(StoreError::Unavailable(_))), "{failed}");
    flush_all(&mut world.flusher().await).await;
    assert_eq!(rows(&world.store).await, rows(&straight.store).await);
    assert_eq!(rows(&world.store).await.1.len(), 5);
}

/// Writes the rows of a batch, and dies before its checkpoint.
struct DiesHalfway(MemoryStore);

impl Store for DiesHalfway {
    fn forgets_for(&self) -> Duration {
        self.0.forgets_for()
    }

    fn write(&self, mut batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            batch.checkpoint = self.0.checkpoint(batch.shard).await?.expect("there was a flush before");
            self.0.write(batch).await?;
            Err(StoreError::Unavailable("the process is gone".into()))
        }
        .boxed()
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        self.0.checkpoint(shard)
    }

    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        self.0.load_wallets(shard, users)
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, largesse_engine::event_id::EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        self.0.load_receipts(shard, keys)
    }

    fn page_sent(&self, query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        self.0.page_sent(query)
    }

    fn page_received(&self, query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        self.0.page_received(query)
    }

    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        self.0.load_room(shard, room)
    }

    fn page_feed(&self, query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        self.0.page_feed(query)
    }

    fn scan_balances(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        self.0.scan_balances(shard, after, limit)
    }
}

#[tokio::test]
async fn a_crash_between_rows_and_checkpoint_changes_nothing_in_the_end() {
    let mut world = World::new().await;
    world.append(2);
    flush_all(&mut world.flusher().await).await;
    world.append(3);
    let before = world.checkpoint().await;
    world.flusher_into(Arc::new(DiesHalfway(world.store.clone()))).await.step().await.unwrap_err();
    assert_eq!(world.checkpoint().await, before);
    assert_eq!(rows(&world.store).await.0[0].seq, Seq(5), "the rows are there");

    world.append(1);
    flush_all(&mut world.flusher().await).await;
    let (balances, sent, checkpoint) = rows(&world.store).await;
    assert_eq!((balances[0].amount.get(), balances[0].seq, sent.len()), (6, Seq(6), 6));
    assert_eq!(checkpoint.unwrap().fold.next, Seq(7));
}

#[tokio::test]
async fn what_is_not_acknowledged_holds_the_log_back() {
    let mut world = World::new().await;
    world.settle(0);
    let mut flusher = world.flusher().await;
    (0..4).for_each(|_| world.append(2));
    flush_all(&mut flusher).await;
    let checkpoint = world.checkpoint().await;
    assert_eq!((checkpoint.position, checkpoint.relay_position), (Position(5), Position(1)));
    assert!(!flusher.is_settled());

    // Half of a record is not enough.
    for (settled, begins) in [(1, 1), (2, 2), (3, 2), (5, 3), (7, 4)] {
        world.settle(settled);
        world.append(1);
        flush_all(&mut flusher).await;
        let checkpoint = world.checkpoint().await;
        assert_eq!(checkpoint.relay_position, Position(begins), "events up to {settled} are acknowledged");
        assert_eq!(world.first_kept().await, Position(begins));
        assert_eq!(checkpoint.relay_fold.next, Seq(2 * begins - 1), "reading begins with the first of that record");
    }
    world.settle(u64::MAX);
    flush_all(&mut flusher).await;
    let checkpoint = world.checkpoint().await;
    assert_eq!(checkpoint.relay_position, checkpoint.position, "told even though nothing new was flushed");
    assert!(flusher.is_settled());
}

#[tokio::test]
async fn a_restarted_flusher_still_holds_back_what_was_not_acknowledged() {
    let mut world = World::new().await;
    world.settle(0);
    (0..3).for_each(|_| world.append(1));
    flush_all(&mut world.flusher().await).await;
    let mut flusher = world.flusher().await;
    world.settle(2);
    world.append(1);
    flush_all(&mut flusher).await;
    assert_eq!(world.checkpoint().await.relay_position, Position(1), "it no longer knows where event 3 begins");
    world.settle(3);
    world.append(1);
    flush_all(&mut flusher).await;
    assert_eq!(world.checkpoint().await.relay_position, Position(4));
}

#[tokio::test]
async fn however_much_waits_nothing_unacknowledged_is_given_up() {
    let mut world = World::new().await;
    world.settle(0);
    let mut flusher = world.flusher().await;
    for _ in 0..5_000 {
        world.append(1);
    }
    flush_all(&mut flusher).await;
    for settled in [1, 2, 3, 4, 5, 4_000] {
        world.settle(settled);
        world.append(1);
        flush_all(&mut flusher).await;
        let checkpoint = world.checkpoint().await;
        assert!(
            checkpoint.relay_fold.next <= Seq(settled + 1),
            "event {} was not acknowledged, but reading begins at {}",
            settled + 1,
            checkpoint.relay_fold.next
        );
    }
}

#[tokio::test]
async fn an_idle_shard_does_not_hold_the_log_back() {
    let mut world = World::new().await;
    world.append(1);
    let mut flusher = world.flusher().await;
    flush_all(&mut flusher).await;
    for _ in 0..1_500 {
        world.append(0);
    }
    while world.checkpoint().await.position < Position(1_000) {
        // `None` is no end here: records without events are taken in quietly.
        flusher.step().await.unwrap();
        assert!(flusher.flushed().position <= Position(1_502));
    }
    assert!(world.first_kept().await >= Position(1_000));
    assert_eq!(world.checkpoint().await.fold.next, Seq(2));
}

#[tokio::test]
async fn a_checkpoint_only_goes_forward() {
    let mut world = World::new().await;
    world.settle(0);
    (0..3).for_each(|_| world.append(1));
    let one_event = FlushLimits { events_max: 1, ..FlushLimits::default() };
    let mut slow = world.flusher_with(Arc::new(world.store.clone()), one_event).await;
    slow.step().await.unwrap();
    assert_eq!(world.checkpoint().await.fold.next, Seq(2));
    flush_all(&mut world.flusher().await).await;
    let newest = rows(&world.store).await;
    // It does not know that it has been overtaken, and writes the second event only now.
    assert_eq!(slow.step().await.unwrap().map(|flushed| flushed.seq), Some(Seq(2)));
    assert_eq!(rows(&world.store).await, newest);
    assert_eq!(newest.0[0].amount.get(), 3);
}

#[tokio::test]
async fn records_without_events_do_not_hide_those_behind_them() {
    let mut world = World::new().await;
    for _ in 0..3 {
        world.append(0);
    }
    world.append(2);
    // Room for one record at a time, so that whole batches have nothing in them to move.
    let limits = FlushLimits { bytes_max: 1, ..FlushLimits::default() };
    let mut flusher = world.flusher_with(Arc::new(world.store.clone()), limits).await;
    flush_all(&mut flusher).await;
    assert_eq!(flusher.flushed().seq, Seq(2), "whoever stops when nothing is left to move would leave these");
}

#[tokio::test]
async fn a_checkpoint_has_the_time_of_the_last_record_also_of_one_without_events() {
    let mut world = World::new().await;
    world.append(2);
    world.append(0);
    flush_all(&mut world.flusher().await).await;
    // Somebody was answered at that time; whoever owns the shard next must not begin before it.
    assert_eq!(world.checkpoint().await.time, Time(1_003));
}

/// Acknowledges before it is sure.
#[derive(Clone, Default)]
struct Forgets(Arc<Mutex<MemoryStore>>);

impl Forgets {
    fn now(&self) -> MemoryStore {
        self.0.lock().unwrap().clone()
    }

    /// Killed, and back with what it had synced: nothing.
    fn forget(&self) {
        *self.0.lock().unwrap() = MemoryStore::default();
    }
}

impl Store for Forgets {
    fn forgets_for(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.now().write(batch).await }.boxed()
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        async move { self.now().checkpoint(shard).await }.boxed()
    }

    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        async move { self.now().load_wallets(shard, users).await }.boxed()
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, largesse_engine::event_id::EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        async move { self.now().load_receipts(shard, keys).await }.boxed()
    }

    fn page_sent(&self, query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        async move { self.now().page_sent(query).await }.boxed()
    }

    fn page_received(&self, query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        async move { self.now().page_received(query).await }.boxed()
    }

    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        async move { self.now().load_room(shard, room).await }.boxed()
    }

    fn page_feed(&self, query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        async move { self.now().page_feed(query).await }.boxed()
    }

    fn scan_balances(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        async move { self.now().scan_balances(shard, after, limit).await }.boxed()
    }
}

#[tokio::test]
async fn the_log_is_kept_until_the_store_cannot_forget_any_more() {
    let (mut world, store) = (World::new().await, Forgets::default());
    world.append(3);
    let mut flusher = world.flusher_into(Arc::new(store.clone())).await;
    flush_all(&mut flusher).await;
    let (written, start) = (flusher.written(), world.first_kept().await);
    store.forget();
    let forgot = flusher.confirm(written).await.unwrap_err();
    assert!(matches!(forgot, FlushError::Forgotten { .. }), "{forgot}");
    assert_eq!(world.first_kept().await, start, "whoever forgot needs it again");

    // Begun again, it writes everything once more.
    let mut flusher = world.flusher_into(Arc::new(store.clone())).await;
    flush_all(&mut flusher).await;
    let early = flusher.written();
    world.append(2);
    flush_all(&mut flusher).await;
    assert_eq!(rows(&store.now()).await.1.len(), 5);
    flusher.confirm(early).await.unwrap();
    assert_eq!(world.first_kept().await, early.keep_from, "the store is further, and only this much was waited for");
    flusher.confirm(flusher.written()).await.unwrap();
    world.append(1);
    assert_eq!(world.first_kept().await, flusher.written().keep_from);
}

#[tokio::test]
async fn a_mirror_over_it_makes_no_store_more_trustworthy() {
    let nowhere = Topology::Single { node: "127.0.0.1:1".into(), database: 0 };
    let options = MirrorOptions { topology: nowhere, ..MirrorOptions::default() };
    let mirror = Mirror::start(options, Arc::new(Forgets::default()), LedgerShape::new(1), Vec::new()).unwrap();
    assert_eq!(mirror.store().forgets_for(), Duration::from_secs(1));
    mirror.stop().await;
}
