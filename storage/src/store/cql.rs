//! The store in ScyllaDB or Cassandra, by CQL; nothing here relies on what only one of them has.
//!
//! Rows that are flushed together lie in few partitions, and rows of one partition travel as one unlogged batch, which the
//! database carries out as a whole. Every write has the number of its event as its timestamp: what is late or repeated
//! changes nothing, and two flushers of one shard cannot undo each other. No lightweight transactions.
//!
//! Partitions are bounded: what grows with the number of users is split by a hash of the user, what grows with time lies
//! in partitions of an hour, a room's feed in partitions of so many entries. `docs/store.md` describes the tables for whoever reads them by other means.

mod connect;
mod error;
mod gate;
mod hours;
mod merge;
mod page;
mod place;
mod read;
mod rooms;
mod schema;
mod statements;
mod values;
mod write;

use std::future::Future;
use std::time::Duration;

use futures::future::BoxFuture;
use largesse_engine::event_id::EventId;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::store::{
    BalanceRow, Checkpoint, FeedQuery, FeedRow, FlushBatch, Page, ReceivedEntry, ReceivedQuery, RoomRow, SentQuery,
    Store, StoreError, StoredEvent,
};
use largesse_engine::units::{AssetId, RoomId, ShardId, UserId};
use tokio::sync::Semaphore;

use self::connect::Connected;
use self::error::Failed;
pub use self::error::OpenError;
use self::gate::Gate;
use self::hours::Listed;
use self::place::Layout;
use self::schema::{Identity, Tables};
pub use self::schema::{Plan, SCHEMA, Step};
use self::statements::Statements;
use crate::ledger_id::LedgerId;

/// A page or a scan asks many times; each time it has the patience of one read.
const LONG_READ_TIMES: u32 = 5;
/// Loading a room asks as many times as its boards are long, which is up to a million rows each.
const ROOM_READ_TIMES: u32 = 60;

#[derive(Clone, Debug)]
pub struct CqlOptions {
    /// Addresses of some of the database's nodes; it tells the others.
    pub nodes: Vec<String>,
    pub keyspace: String,
    /// The near one; may be left out where there is only one.
    pub datacenter: Option<String>,
    /// Copies of each row, when the keyspace is made.
    pub replication: u16,
    /// Partitions of each table, over all shards and, where history is concerned, per hour. Fixed when the tables are made.
    pub partitions: u32,
    pub credentials: Option<Credentials>,
    /// Batches on their way at once, of all shards.
    pub batches_in_flight_max: usize,
    /// Reads on their way at once.
    pub reads_in_flight_max: usize,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    /// How long the database may forget what it has acknowledged.
    pub forgets_for: Duration,
}

impl Default for CqlOptions {
    fn default() -> Self {
        CqlOptions {
            nodes: vec!["127.0.0.1:9042".into()],
            keyspace: "largesse".into(),
            datacenter: None,
            replication: 3,
            partitions: 1_024,
            credentials: None,
            batches_in_flight_max: 64,
            reads_in_flight_max: 256,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(5),
            forgets_for: Duration::from_secs(15),
        }
    }
}

#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

pub struct CqlStore {
    connected: Connected,
    tables: Tables,
    statements: Statements,
    layout: Layout,
    gate: Gate,
    listed: Listed,
    batches: Semaphore,
    reads: Semaphore,
    options: CqlOptions,
}

/// What it would take to bring the tables to this program's version.
pub async fn plan(options: &CqlOptions, ledger: &LedgerName, shape: LedgerShape) -> Result<Plan, OpenError> {
    schema::plan(options, ledger, shape).await.map(|(plan, _)| plan)
}

pub use self::schema::{Located, delete_keyspace, locate, migrate};

impl CqlStore {
    /// Connects, and makes sure that the tables are there, of this version, and of this ledger.
    pub async fn open(ledger: &LedgerName, shape: LedgerShape, options: CqlOptions) -> Result<CqlStore, OpenError> {
        let connected = Connected::open(&options).await?;
        let tables = Tables::new(&options.keyspace, ledger);
        schema::check(&connected, &tables, &Identity::new(ledger, shape, options.partitions)).await?;
        let statements = Statements::prepare(&connected, &tables).await?;
        Ok(CqlStore {
            connected,
            tables,
            statements,
            layout: Layout::new(options.partitions, shape.wallet_shards),
            gate: Gate::new(),
            listed: Listed::default(),
            batches: Semaphore::new(options.batches_in_flight_max),
            reads: Semaphore::new(options.reads_in_flight_max),
            options,
        })
    }

    /// Makes sure that the rows are a view of this log, and of no other from now on. For whoever writes.
    pub async fn belong_to(&self, id: &LedgerId) -> Result<(), OpenError> {
        schema::belong_to(&self.connected, &self.tables, id).await
    }

    /// The same for whoever only reads.
    pub async fn refuse_other_log(&self, id: &LedgerId) -> Result<(), OpenError> {
        schema::refuse_other_log(&self.connected, &self.tables, id).await
    }

    /// A read of a few rows, within the patience of one.
    async fn short<T>(&self, reading: impl Future<Output = Result<T, Failed>>) -> Result<T, StoreError> {
        self.within(self.options.read_timeout, reading).await
    }

    async fn long<T>(&self, reading: impl Future<Output = Result<T, Failed>>) -> Result<T, StoreError> {
        self.within(self.options.read_timeout * LONG_READ_TIMES, reading).await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        reading: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, StoreError> {
        let pass = self.gate.enter()?;
        let read = tokio::time::timeout(patience, reading).await;
        read.unwrap_or_else(|_| Err(Failed::no_answer(patience))).map_err(|failed| {
            if failed.is_silence {
                self.gate.unanswered(pass, &failed.error);
            }
            failed.error
        })
    }
}

impl Store for CqlStore {
    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        Box::pin(async move { self.short(self.wallets(shard, &users)).await })
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        Box::pin(async move { self.short(self.receipts(shard, &keys)).await })
    }

    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.flush(&batch).await.map_err(|failed| failed.error) })
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        Box::pin(self.short(self.stored_checkpoint(shard)))
    }

    fn forgets_for(&self) -> Duration {
        self.options.forgets_for
    }

    fn page_sent(&self, query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        Box::pin(async move { self.long(self.sent(&query)).await })
    }

    fn page_received(&self, query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        Box::pin(async move { self.long(self.received(&query)).await })
    }

    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        let patience = self.options.read_timeout * ROOM_READ_TIMES;
        Box::pin(self.within(patience, self.room(shard, room)))
    }

    fn page_feed(&self, query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        Box::pin(async move { self.long(self.feed(&query)).await })
    }

    fn scan_balances(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        Box::pin(self.long(self.scan(shard, after, limit)))
    }
}
