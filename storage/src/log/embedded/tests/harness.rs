//! What the tests share: a folder that is opened and reopened, and a disk that syncs when told.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, mpsc};

use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::{AppendError, LogError, Logs};
use largesse_engine::record::{Claim, EventsHeader, RecordHeader, encode_events};
use largesse_engine::units::{Epoch, NodeId, Position, Seq, ShardId, Time};
use tempfile::TempDir;

use crate::conformance::log::LogUnderTest;
use crate::folder::DataFolder;
use crate::log::embedded::{EmbeddedLogOptions, EmbeddedLogs, OpenError};

/// An embedded log in a temporary folder, for the conformance suite.
pub(super) struct Embedded {
    dir: TempDir,
    options: EmbeddedLogOptions,
    logs: Option<Arc<EmbeddedLogs>>,
}

impl Embedded {
    pub fn new(options: EmbeddedLogOptions) -> Embedded {
        Embedded { dir: tempfile::tempdir().unwrap(), options, logs: None }
    }
}

impl LogUnderTest for Embedded {
    fn open(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        let (dir, options) = (self.dir.path(), &self.options);
        let logs = self.logs.get_or_insert_with(|| Arc::new(open(dir, options).unwrap())).clone();
        async move { logs as Arc<dyn Logs> }.boxed()
    }

    fn second(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.open()
    }

    fn reopen(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.logs.take().unwrap().close();
        self.open()
    }

    fn record_bytes_max(&self) -> usize {
        self.options.record_bytes_max
    }
}

pub(super) fn open(dir: &Path, options: &EmbeddedLogOptions) -> Result<EmbeddedLogs, OpenError> {
    let folder = DataFolder::open(dir, &LedgerName::default(), LedgerShape::new(16))?;
    EmbeddedLogs::open(&folder, options.clone())
}

pub(super) fn open_read_only(dir: &Path) -> Result<EmbeddedLogs, OpenError> {
    EmbeddedLogs::open_read_only(&DataFolder::open_read_only(dir)?)
}

pub(super) fn claim(logs: &EmbeddedLogs, shard: ShardId) -> Result<Epoch, LogError> {
    block_on(logs.shard(shard).claim(Claim { node: NodeId(1), nonce: [0; 16] }))
}

pub(super) type Answer = mpsc::Receiver<Result<Position, AppendError>>;

/// Queues a record whose events are `bytes`.
pub(super) fn queue(logs: &EmbeddedLogs, shard: ShardId, epoch: Epoch, bytes: &[u8]) -> Answer {
    let header = EventsHeader { epoch, number: 1, first: Seq(1), count: 1, time: Time(1) };
    let (tell, told) = mpsc::sync_channel(1);
    let done = move |result| tell.send(result).unwrap_or_default();
    logs.shard(shard).append(epoch, encode_events(header, bytes), Box::new(done));
    told
}

pub(super) fn append(logs: &EmbeddedLogs, shard: ShardId, epoch: Epoch, bytes: &[u8]) -> Result<Position, AppendError> {
    queue(logs, shard, epoch, bytes).recv().unwrap()
}

/// Positions and contents of all records of events from `from` on.
pub(super) fn contents(logs: &EmbeddedLogs, shard: ShardId, from: Position) -> Vec<(Position, Vec<u8>)> {
    let (log, mut from, mut all) = (logs.shard(shard), from, Vec::new());
    loop {
        let entries = block_on(log.read(from, 1 << 20)).unwrap();
        let Some(last) = entries.last() else { return all };
        from = last.position.after();
        let events = entries.iter().filter(|entry| matches!(entry.header, RecordHeader::Events(_)));
        all.extend(events.map(|entry| (entry.position, entry.events.to_vec())));
    }
}

pub(super) fn end(logs: &EmbeddedLogs) -> Position {
    block_on(logs.shard(ShardId::CONTROL).end()).unwrap()
}

pub(super) fn truncate(logs: &EmbeddedLogs, shard: ShardId, position: Position) {
    block_on(logs.shard(shard).truncate_before(position)).unwrap();
}

/// The segment files, oldest first.
pub(super) fn segments(dir: &Path) -> Vec<PathBuf> {
    let listing = crate::log::embedded::segment::list(&dir.join("wal")).unwrap();
    listing.segments.into_iter().map(|(_, path)| path).collect()
}

/// A copy of the folder as it is now, what was written and not synced included.
pub(super) fn copy(dir: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for part in ["wal", "store"] {
        std::fs::create_dir(to.path().join(part)).unwrap();
    }
    for part in ["", "wal"] {
        for entry in std::fs::read_dir(dir.join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.path().join(part).join(entry.file_name())).unwrap();
            }
        }
    }
    to
}

/// Changes bytes of a file in place.
pub(super) fn change(file: &Path, act: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    act(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

/// Where the log syncs when the test says so. Nothing is really synced: tests make their own crashes.
#[derive(Default)]
pub(super) struct Disk {
    state: Mutex<DiskState>,
    changed: Condvar,
}

#[derive(Default)]
struct DiskState {
    begun: u64,
    /// So many syncs may succeed; `None` lets all.
    allowed: Option<u64>,
    is_broken: bool,
    last_words: Option<String>,
}

impl Disk {
    pub fn new() -> Arc<Disk> {
        Arc::default()
    }

    pub fn options(self: &Arc<Self>, options: EmbeddedLogOptions) -> EmbeddedLogOptions {
        let (disk, fatal) = (self.clone(), self.clone());
        EmbeddedLogOptions {
            sync: Arc::new(move |_: &File| disk.sync()),
            fatal: Arc::new(move |why| fatal.change(|state| state.last_words = Some(why.into()))),
            ..options
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let number = state.begun;
        state.begun += 1;
        self.changed.notify_all();
        while !state.is_broken && state.allowed.is_some_and(|allowed| number >= allowed) {
            state = self.changed.wait(state).unwrap();
        }
        match state.allowed.is_some_and(|allowed| number >= allowed) {
            true => Err(io::Error::other("the test broke the disk")),
            false => Ok(()),
        }
    }

    fn change(&self, act: impl FnOnce(&mut DiskState)) {
        act(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&DiskState) -> bool) {
        let mut state = self.state.lock().unwrap();
        while !until(&state) {
            state = self.changed.wait(state).unwrap();
        }
    }

    /// The next sync, and all later ones, wait.
    pub fn hold(&self) {
        self.change(|state| state.allowed = Some(state.begun));
    }

    /// Waits until a sync is held.
    pub fn wait_for_held(&self) {
        self.wait(|state| state.allowed.is_some_and(|allowed| state.begun > allowed));
    }

    /// Lets one held sync succeed.
    pub fn release_one(&self) {
        self.change(|state| state.allowed = state.allowed.map(|allowed| allowed + 1));
    }

    pub fn release(&self) {
        self.change(|state| state.allowed = None);
    }

    /// What is held fails, and the log says its last words.
    pub fn fail(&self) -> String {
        self.change(|state| state.is_broken = true);
        self.wait(|state| state.last_words.is_some());
        self.state.lock().unwrap().last_words.clone().unwrap()
    }

    pub fn syncs(&self) -> u64 {
        self.state.lock().unwrap().begun
    }
}
