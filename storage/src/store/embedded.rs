//! The store on a local disk, in an LSM database (fjall).
//!
//! One thread writes: each flush batch goes in as one atomic batch with its checkpoint, and one sync covers all batches
//! that queued up meanwhile. A batch is acknowledged only after that sync, since the log may then be cut.
//!
//! Reads of a few keys are answered on the calling thread. Such rows are nearly always in a memtable or the block cache,
//! where a hop to another thread would cost more than the read; a cold one is one or two reads of 4 KiB. Longer reads and
//! pages go to tokio's blocking threads, a bounded number at a time.
//!
//! The folder is locked by the process that has it open, for reading too: an audit beside a running process asks that
//! process, or reads a copy that was made while it was stopped.

mod error;
mod keys;
mod page;
mod rooms;
mod tables;
mod values;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use futures::future::BoxFuture;
use largesse_engine::event_id::EventId;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::node::threads;
use largesse_engine::store::{
    BalanceRow, Checkpoint, FeedQuery, FeedRow, FlushBatch, Page, ReceivedEntry, ReceivedQuery, RoomRow, SentQuery,
    Store, StoreError, StoredEvent,
};
use largesse_engine::units::{AssetId, RoomId, ShardId, UserId};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::error::OpenError;
use self::error::read_failed;
use self::tables::{Identity, Tables};
use self::writer::{Job, Writer};

/// Jobs that wait for the writer. A flusher has one batch under way, and waits here when the disk is behind.
const JOBS_MAX: usize = 32;
/// Reads of up to this many keys are answered on the calling thread.
const INLINE_KEYS_MAX: usize = 16;
/// Longer reads at a time; beyond, the caller is told to come back.
const LONG_READS_MAX: usize = 64;

#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Memory for blocks that were read. Default: 128 MiB.
    pub cache_bytes: u64,
    /// Threads that write tables and compact them. Default: 2.
    pub worker_threads: usize,
    /// Nothing is written while less than this is free on the disk: a database that meets a full disk half-way takes no
    /// more writes until it is opened again. Default: 256 MiB.
    pub free_bytes_min: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { cache_bytes: 128 << 20, worker_threads: 2, free_bytes_min: 256 << 20 }
    }
}

pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// `None` only while this is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    long_reads: Arc<Semaphore>,
}

struct Shared {
    folder: PathBuf,
    identity: Identity,
    options: StoreOptions,
    state: RwLock<State>,
}

enum State {
    Open(Tables),
    /// Between a failure and the next successful opening; says why.
    Closed(String),
}

impl EmbeddedStore {
    /// Opens the store of this ledger in `folder`, which is made if it does not exist.
    pub fn open(
        folder: &Path,
        ledger: LedgerName,
        shape: LedgerShape,
        options: StoreOptions,
    ) -> Result<EmbeddedStore, OpenError> {
        let identity = Identity::new(ledger, shape);
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let (tell, opened) = std::sync::mpsc::sync_channel(1);
        let place = folder.to_path_buf();
        // Opened by the writer's own thread: the library's threads give way as the thread does that starts them.
        let run = move || {
            threads::give_way();
            let opened = Tables::open(&place, &identity, &options).map(|tables| {
                let state = RwLock::new(State::Open(tables));
                Arc::new(Shared { folder: place, identity, options, state })
            });
            let writer = opened.as_ref().ok().map(|shared| Writer::new(shared.clone()));
            // Nobody can have stopped waiting for it.
            let _ = tell.send(opened);
            if let Some(writer) = writer {
                writer.run(queue);
            }
        };
        let failed = |error| OpenError::from_io(folder.into(), &error);
        let writer = std::thread::Builder::new().name("store-writer".into()).spawn(run).map_err(failed)?;
        let shared = opened.recv().map_err(std::io::Error::other).map_err(failed)??;
        let long_reads = Arc::new(Semaphore::new(LONG_READS_MAX));
        Ok(EmbeddedStore { shared, jobs: Some(jobs), writer: Some(writer), long_reads })
    }

    async fn ask_writer<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let stopped = || StoreError::Unavailable("the store's writer has stopped; restart this process".into());
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(job(done)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn read<T: Send + 'static>(
        &self,
        keys: usize,
        read: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let runtime = tokio::runtime::Handle::try_current().ok().filter(|_| keys > INLINE_KEYS_MAX);
        let Some(runtime) = runtime else { return read(self.shared.tables().get()?) };
        let Ok(permit) = self.long_reads.clone().try_acquire_owned() else {
            return Err(StoreError::Unavailable("overloaded: too many long reads are under way; try again".into()));
        };
        let shared = self.shared.clone();
        let task = runtime.spawn_blocking(move || {
            let _permit = permit;
            read(shared.tables().get()?)
        });
        task.await.map_err(|error| StoreError::Damaged(format!("a read ended early: {error}")))?
    }
}

impl Drop for EmbeddedStore {
    /// Waits until what is under way is written and the folder is free again.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Store for EmbeddedStore {
    fn forgets_for(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        let count = users.len();
        let read = move |tables: &Tables| users.iter().map(|user| balances_of(tables, shard, *user)).collect();
        Box::pin(self.read(count, read))
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        let count = keys.len();
        let read = move |tables: &Tables| keys.iter().map(|(user, id)| receipt(tables, shard, *user, *id)).collect();
        Box::pin(self.read(count, read))
    }

    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask_writer(|done| Job::Write(Box::new(batch), done)))
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        Box::pin(self.ask_writer(move |done| Job::Checkpoint(shard, done)))
    }

    fn page_sent(&self, query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        Box::pin(self.read(usize::MAX, move |tables| page::sent(&tables.sent, &query)))
    }

    fn page_received(&self, query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        Box::pin(self.read(usize::MAX, move |tables| page::received(&tables.received, &query)))
    }

    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        Box::pin(self.read(usize::MAX, move |tables| rooms::load_room(tables, shard, room)))
    }

    fn page_feed(&self, query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        Box::pin(self.read(usize::MAX, move |tables| rooms::page_feed(tables, &query)))
    }

    fn scan_balances(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        Box::pin(self.read(limit, move |tables| scan_balances(tables, shard, after, limit)))
    }
}

fn balances_of(tables: &Tables, shard: ShardId, user: UserId) -> Result<Vec<BalanceRow>, StoreError> {
    tables.balance.prefix(keys::user(shard, user)).map(balance_row).collect()
}

fn balance_row(row: fjall::Guard) -> Result<BalanceRow, StoreError> {
    let (key, value) = row.into_inner().map_err(read_failed)?;
    let (user, asset) = keys::read_balance(&key)?;
    let (amount, seq) = values::read_balance(&value)?;
    Ok(BalanceRow { user, asset, amount, seq })
}

fn receipt(tables: &Tables, shard: ShardId, user: UserId, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
    let direct = keys::with_tail(shard, user, id.as_bytes());
    let key = if id.time().is_some() {
        direct
    } else {
        match tables.receipt_pointer.get(direct).map_err(read_failed)? {
            Some(tail) => keys::with_tail(shard, user, &tail),
            None => return Ok(None),
        }
    };
    let value = tables.sent.get(key).map_err(read_failed)?;
    value.map(|value| values::read_sent(&value)).transpose()
}

fn scan_balances(
    tables: &Tables,
    shard: ShardId,
    after: Option<(UserId, AssetId)>,
    limit: usize,
) -> Result<Vec<BalanceRow>, StoreError> {
    let low = after.map_or_else(
        || std::ops::Bound::Included(keys::shard(shard).to_vec()),
        |(user, asset)| std::ops::Bound::Excluded(keys::balance(shard, user, asset).to_vec()),
    );
    let high = std::ops::Bound::Included(keys::balance(shard, UserId(u64::MAX), AssetId(u16::MAX)).to_vec());
    tables.balance.range::<Vec<u8>, _>((low, high)).take(limit).map(balance_row).collect()
}

/// The tables, kept open while this is held.
struct Opened<'a>(RwLockReadGuard<'a, State>);

impl Opened<'_> {
    fn get(&self) -> Result<&Tables, StoreError> {
        match &*self.0 {
            State::Open(tables) => Ok(tables),
            State::Closed(why) => Err(StoreError::Unavailable(why.clone())),
        }
    }
}

impl Shared {
    fn tables(&self) -> Opened<'_> {
        // A panic while it was held cannot have left the state half-changed: it is only ever replaced.
        Opened(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_closed(&self) -> bool {
        matches!(*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Closed(_))
    }

    fn replace(&self, state: State) -> State {
        std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), state)
    }

    /// Closes the database and opens it again, which is what makes it writable after a failed write.
    fn reopen(&self) -> Result<(), StoreError> {
        // Dropped before it is opened again, as the folder is locked; outside the lock, so that reads fail and do not wait.
        drop(self.replace(State::Closed(format!("the store in {:?} is being reopened; try again", self.folder))));
        match Tables::open(&self.folder, &self.identity, &self.options) {
            Ok(tables) => {
                self.replace(State::Open(tables));
                tracing::info!(folder = %self.folder.display(), "the store takes writes again");
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                self.replace(State::Closed(why.clone()));
                Err(StoreError::Unavailable(why))
            }
        }
    }

    fn write_failed(&self, error: &fjall::Error) -> StoreError {
        tracing::error!(folder = %self.folder.display(), %error, "writing to the store failed");
        StoreError::Unavailable(format!("writing to {:?} failed: {error}", self.folder))
    }

    fn check_free_space(&self) -> Result<(), StoreError> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.options.free_bytes_min {
            return Err(StoreError::Unavailable(format!(
                "only {} MiB are free for {:?}, and {} MiB must stay free; free some space",
                free >> 20,
                self.folder,
                self.options.free_bytes_min >> 20,
            )));
        }
        Ok(())
    }
}
