//! The embedded log: one write-ahead log per process, shared by all its shards.
//!
//! One `fdatasync` covers all that wait. Records lie in preallocated segment files; a position is the record's offset in
//! all of them laid end to end. `format` has the bytes, `writer` group commit, `keeper` the segments' coming and going,
//! `scan` what happens when a log is opened, `index` and `read` how records are found again.

pub mod follow;
mod format;
mod index;
mod inspect;
mod keeper;
mod queue;
mod read;
mod scan;
mod segment;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use largesse_engine::ledger::LedgerName;
use largesse_engine::log::{AppendDone, AppendError, Fencing, LogError, LogRoom, Logs, ShardLog};
use largesse_engine::record::{Claim, LogEntry, RECORD_BYTES_MAX, RecordHeader, encode_claim};
use largesse_engine::units::{Epoch, Position, ShardId};

use self::format::{BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use self::index::{Cache, Shard, Shards, lock};
pub use self::inspect::{Inspection, RawEntry, RawKind};
use self::keeper::{Keeper, Segments, Truncated};
use self::queue::{By, Item, Queue};
pub use self::scan::OpenError;
use self::segment::Segment;
use self::writer::Writer;
use crate::folder::DataFolder;

/// Told when the disk failed under the log. It must not return: after a failed sync nobody knows what the disk holds.
pub type FatalHandler = Arc<dyn Fn(&str) + Send + Sync>;

/// Makes what was written to a file durable.
pub type SyncFile = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

#[derive(Clone)]
pub struct EmbeddedLogOptions {
    /// Size of a segment file. At least one segment is prepared ahead. Default: 64 MiB.
    pub segment_bytes: u64,
    /// Most bytes on the disk. Near it, only as much is admitted as the flusher frees. Default: 8 GiB.
    pub bytes_max: u64,
    /// Room that is kept for what was admitted already: with less, `room()` says that it is tight. Default: 24 MiB.
    pub reserve_bytes: u64,
    /// A few old records may hold back this much before the segments are rewritten without the rest. Default: 1 GiB.
    pub hold_bytes_max: u64,
    /// Most bytes of one group commit. Default: 8 MiB.
    pub group_bytes_max: usize,
    /// Most bytes that wait for the writer; permits at the door keep far below it. Default: 256 MiB.
    pub queue_bytes_max: usize,
    /// The latest records are kept in memory up to this, for the flusher. Default: 64 MiB.
    pub cache_bytes_max: usize,
    /// Largest record. Only tests with tiny segments have a reason to lower it.
    pub record_bytes_max: usize,
    /// When no segment can be prepared: how long until it is tried again. Default: 1 s.
    pub retry: Duration,
    pub fatal: FatalHandler,
    /// `fdatasync`, unless a test wants to watch or to fail it.
    #[doc(hidden)]
    pub sync: SyncFile,
}

impl Default for EmbeddedLogOptions {
    fn default() -> Self {
        EmbeddedLogOptions {
            segment_bytes: 64 << 20,
            bytes_max: 8 << 30,
            reserve_bytes: 24 << 20,
            hold_bytes_max: 1 << 30,
            group_bytes_max: 8 << 20,
            queue_bytes_max: 256 << 20,
            cache_bytes_max: 64 << 20,
            record_bytes_max: RECORD_BYTES_MAX,
            retry: Duration::from_secs(1),
            fatal: Arc::new(|why| {
                tracing::error!(why, "the log's disk failed, the process ends");
                #[allow(clippy::print_stderr, reason = "the last words of the process")]
                {
                    eprintln!("the log's disk failed, the process ends: {why}");
                }
                std::process::abort();
            }),
            sync: Arc::new(File::sync_data),
        }
    }
}

impl EmbeddedLogOptions {
    /// The smallest limits, so that tests reach the edges.
    pub fn test_min() -> EmbeddedLogOptions {
        EmbeddedLogOptions {
            segment_bytes: 16 << 10,
            reserve_bytes: 4 << 10,
            hold_bytes_max: 256 << 10,
            group_bytes_max: 8 << 10,
            cache_bytes_max: 4 << 10,
            record_bytes_max: 4 << 10,
            retry: Duration::from_millis(20),
            ..EmbeddedLogOptions::default()
        }
    }

    fn check(&self) -> Result<(), OpenError> {
        let record = self.record_bytes_max as u64 + BATCH_HEADER_BYTES + FRAME_HEADER_BYTES + SEGMENT_HEADER_BYTES;
        let complaint = if self.segment_bytes < record {
            format!("a segment of {} bytes cannot hold a record, which needs up to {record}", self.segment_bytes)
        } else if self.segment_bytes > 2 << 30 {
            format!("a segment of {} bytes is too large, at most 2 GiB", self.segment_bytes)
        } else if self.bytes_max < 3 * self.segment_bytes {
            format!("{} bytes in all are less than three segments of {}", self.bytes_max, self.segment_bytes)
        } else if self.reserve_bytes > self.segment_bytes - SEGMENT_HEADER_BYTES {
            format!("a reserve of {} does not fit into a segment of {}", self.reserve_bytes, self.segment_bytes)
        } else if self.record_bytes_max > RECORD_BYTES_MAX {
            format!("records have at most {RECORD_BYTES_MAX} bytes, not {}", self.record_bytes_max)
        } else {
            return Ok(());
        };
        Err(OpenError::Options(complaint))
    }
}

/// What the handles and both threads share.
struct Shared {
    /// Holds the folder's lock for as long as a thread can write; handles that outlive the threads only read.
    folder: Mutex<Option<Arc<DataFolder>>>,
    ledger: LedgerName,
    is_read_only: bool,
    dir: PathBuf,
    options: EmbeddedLogOptions,
    queue: Queue,
    shards: Shards,
    segments: Segments,
    keeper: Keeper,
    cache: Mutex<Cache>,
    /// First position after everything durable.
    end: AtomicU64,
    /// Bytes left in the current segment.
    free: AtomicU64,
    has_failed: AtomicBool,
}

/// The logs of all shards of one data folder.
pub struct EmbeddedLogs {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl EmbeddedLogs {
    /// Opens the log for writing, making it if there is none. Refuses one that has lost anything it answered for.
    pub fn open(folder: &Arc<DataFolder>, options: EmbeddedLogOptions) -> Result<EmbeddedLogs, OpenError> {
        if folder.is_read_only() {
            return Err(OpenError::ReadOnly(folder.dir().to_path_buf()));
        }
        options.check()?;
        let dir = folder.wal();
        let shards = Shards::default();
        let mut found = load(folder, true, &shards)?;
        found.repair(&dir, &*options.sync)?;
        if found.segments.is_empty() {
            let first = Segment::create(&dir, folder.ledger(), 0, options.segment_bytes)?;
            found.end = first.start();
            found.segments.push(Arc::new(first));
        }
        let current = found.segments.last().expect("made just now if there was none").clone();
        let end = found.end;
        let shared = Arc::new(Shared {
            folder: Mutex::new(Some(folder.clone())),
            ledger: folder.ledger().clone(),
            is_read_only: false,
            dir,
            queue: Queue::new(options.queue_bytes_max),
            shards,
            segments: Segments::new(found.segments),
            keeper: Keeper::new(found.prepared, current.limit()),
            cache: Mutex::new(Cache::new(options.cache_bytes_max)),
            end: end.into(),
            free: (current.limit() - end).into(),
            has_failed: false.into(),
            options,
        });
        let threads = start_threads(&shared, current, end)?;
        let logs = EmbeddedLogs { shared, threads: Mutex::new(Some(threads)) };
        if logs.room().is_tight {
            // Otherwise the first callers would be sent away while the next segment is being prepared.
            logs.settled();
        }
        Ok(logs)
    }

    /// Opens the log as it is now for a tool that only reads, also beside a running process. Appends are refused.
    pub fn open_read_only(folder: &Arc<DataFolder>) -> Result<EmbeddedLogs, OpenError> {
        let options = EmbeddedLogOptions { cache_bytes_max: 0, ..EmbeddedLogOptions::default() };
        let (shards, found) = load_beside_a_writer(folder)?;
        let shared = Arc::new(Shared {
            folder: Mutex::new(None),
            ledger: folder.ledger().clone(),
            is_read_only: true,
            dir: folder.wal(),
            queue: Queue::new(0),
            shards,
            segments: Segments::new(found.segments),
            keeper: Keeper::new(None, 0),
            cache: Mutex::new(Cache::new(0)),
            end: found.end.into(),
            free: 0.into(),
            has_failed: false.into(),
            options,
        });
        shared.queue.end(&LogError::Unavailable("it was opened for reading only".into()));
        shared.shards.close();
        shared.keeper.stop();
        Ok(EmbeddedLogs { shared, threads: Mutex::new(None) })
    }

    /// Writes all that is queued, then ends both threads. Later appends are refused with [`LogError::Closed`].
    pub fn close(&self) {
        let Some(Threads { writer, keeper }) = lock(&self.threads).take() else { return };
        self.shared.queue.close();
        // The last handle may be dropped by an answer, on the writer's own thread, which cannot wait for itself.
        let is_writer = writer.thread().id() == std::thread::current().id();
        if !is_writer {
            writer.join().expect("the writer catches its panics");
        }
        self.shared.keeper.stop();
        keeper.join().expect("the keeper catches its panics");
        if !is_writer {
            lock(&self.shared.folder).take();
        }
    }

    /// Waits until the next segment is prepared, or cannot be, and everything that can be given back is.
    pub fn settled(&self) {
        self.shared.keeper.settled();
    }

    /// Waits until a segment is prepared, however long the disk stays full.
    #[doc(hidden)]
    pub fn wait_until_prepared(&self) {
        self.shared.keeper.wait_until_prepared();
    }

    /// All shards that have records in the log or were asked for.
    pub fn shards(&self) -> Vec<ShardId> {
        let mut shards: Vec<_> = self.shared.shards.all().iter().map(|shard| shard.id).collect();
        shards.sort_unstable();
        shards
    }
}

impl Drop for EmbeddedLogs {
    fn drop(&mut self) {
        self.close();
    }
}

fn start_threads(shared: &Arc<Shared>, current: Arc<Segment>, end: u64) -> Result<Threads, OpenError> {
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
        spawned.map_err(|why| crate::folder::FolderError::from_io("start a thread for", &shared.dir, why))
    };
    let writer = Writer::new(shared.clone(), current, end);
    let for_keeper = shared.clone();
    let keeper = spawn("log-keeper", Box::new(move || keeper::run(&for_keeper)))?;
    match spawn("log-writer", Box::new(move || writer::run(writer))) {
        Ok(writer) => Ok(Threads { writer, keeper }),
        Err(error) => {
            shared.keeper.stop();
            Err(error.into())
        }
    }
}

/// Reads the whole log and fills the shards' indexes.
fn load(folder: &DataFolder, writable: bool, shards: &Shards) -> Result<scan::Scanned, OpenError> {
    let dir = folder.wal();
    let mut known: HashMap<u32, Option<Arc<Shard>>, foldhash::fast::RandomState> = HashMap::default();
    let found = scan::scan(&dir, folder.ledger(), writable, &mut |segment, frame, record| {
        let shard = known.entry(frame.shard).or_insert_with(|| ShardId::from_u32(frame.shard).map(|id| shards.get(id)));
        let Some(shard) = shard.as_ref().filter(|_| !frame.is_skip()) else { return };
        shard.push(segment, frame.position, frame.len);
        shard.tell(frame.position);
        let is_claim =
            LogEntry::decode(Position(frame.position), &Bytes::copy_from_slice(&record[..record.len().min(64)]))
                .is_ok_and(|entry| matches!(entry.header, RecordHeader::Claim(_)));
        if is_claim {
            lock(&shard.owner).claimed = Some(Epoch(frame.position));
        }
    })?;
    // Read after the segments: a writer beside us says here what it is about to delete before it does.
    let truncated = Truncated::load(&dir)?;
    for (id, first) in &truncated {
        shards.get(*id).truncate(*first);
    }
    let start = found.segments.first().map_or(0, |segment| segment.base);
    let lost_all = found.segments.is_empty() && !truncated.is_empty();
    let lost_start = start > 0 && truncated.is_empty();
    if lost_all || lost_start {
        let to = truncated.values().copied().max().unwrap_or(start);
        return Err(OpenError::Missing { dir, from: 0, to });
    }
    Ok(found)
}

/// A writer goes on while its files are read one after the other, so what looks damaged may just have been read too
/// early. Real damage stays.
fn load_beside_a_writer(folder: &DataFolder) -> Result<(Shards, scan::Scanned), OpenError> {
    const TRIES: usize = 5;
    let mut tries = 1;
    loop {
        let shards = Shards::default();
        match load(folder, false, &shards) {
            Ok(found) => return Ok((shards, found)),
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

impl Logs for EmbeddedLogs {
    fn shard(&self, shard: ShardId) -> Arc<dyn ShardLog> {
        Arc::new(EmbeddedShardLog { shared: self.shared.clone(), shard: self.shared.shards.get(shard) })
    }

    fn room(&self) -> LogRoom {
        let shared = &self.shared;
        let bytes_used = shared.segments.allocated().saturating_sub(shared.free.load(Ordering::Acquire));
        LogRoom { bytes_used, bytes_max: shared.options.bytes_max, is_tight: self.is_tight() }
    }

    fn is_tight(&self) -> bool {
        let shared = &self.shared;
        let free = shared.free.load(Ordering::Acquire) + shared.keeper.prepared_bytes();
        free < shared.options.reserve_bytes || shared.has_failed.load(Ordering::Acquire)
    }

    fn is_full(&self) -> bool {
        self.is_tight()
    }
}

/// One shard's view of the shared log.
struct EmbeddedShardLog {
    shared: Arc<Shared>,
    shard: Arc<Shard>,
}

impl EmbeddedShardLog {
    fn push(&self, by: By, record: Bytes, done: AppendDone) {
        assert!(
            record.len() <= self.shared.options.record_bytes_max,
            "batches are cut below the largest record, this one has {} bytes",
            record.len()
        );
        self.shared.queue.push(Item { shard: self.shard.clone(), by, record, done, refused: None });
    }
}

impl ShardLog for EmbeddedShardLog {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        let (tell, told) = oneshot::channel();
        let done: AppendDone = Box::new(move |result| {
            // Whoever claimed may have given up waiting.
            let _ = tell.send(result);
        });
        self.push(By::Claimer, encode_claim(claim), done);
        let claimed = async move {
            match told.await {
                Ok(Ok(position)) => Ok(Epoch(position.get())),
                Ok(Err(AppendError::Failed(error))) => Err(error),
                Ok(Err(error @ (AppendError::Unknown | AppendError::Fenced(_)))) => {
                    Err(LogError::Unavailable(error.to_string()))
                }
                Err(oneshot::Canceled) => Err(LogError::Closed),
            }
        };
        claimed.boxed()
    }

    fn append(&self, epoch: Epoch, record: Bytes, done: AppendDone) {
        self.push(By::Owner(epoch), record, done);
    }

    fn read(&self, from: Position, bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        read::read(&self.shared, &self.shard, from, bytes_max).boxed()
    }

    fn wait_for(&self, from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.shard.wait_for(from.get()).boxed()
    }

    fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        // Never beyond the end: what is not there yet cannot be given up.
        let position = position.get().min(self.shared.end.load(Ordering::Acquire));
        if !self.shared.is_read_only && self.shard.truncate(position) {
            self.shared.keeper.reclaim();
        }
        async { Ok(()) }.boxed()
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        let end = Position(self.shared.end.load(Ordering::Acquire));
        async move { Ok(end) }.boxed()
    }

    fn fencing(&self) -> Fencing {
        Fencing::ByLog
    }
}

#[cfg(test)]
mod tests;
