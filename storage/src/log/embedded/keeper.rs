//! The helper thread that keeps the folder: it prepares the next segment ahead, and gives back what nobody needs.
//!
//! Giving back is safe at every moment. First `truncated.json` says durably from where each shard's records are kept;
//! then segments without any live record are deleted, oldest first, each deletion durable before the next; and where a
//! few live records hold back more than the configured amount, segments are rewritten beside themselves with only those
//! records, at the offsets where they were, and put in place by one rename.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use largesse_engine::units::ShardId;
use serde::{Deserialize, Serialize};

use super::format::{
    BATCH_HEADER_BYTES, BatchAt, FRAME_HEADER_BYTES, FrameAt, SEGMENT_HEADER_BYTES, Step, batch_header, next_batch,
    size, skip_frame,
};
use super::index::lock;
use super::segment::Segment;
use super::{OpenError, Shared};
use crate::folder::{FolderError, sync_dir, write_atomically};

/// What the keeper thread and those who ask it share.
#[derive(Debug)]
pub(super) struct Keeper {
    state: Mutex<State>,
    /// Room in the prepared segment, for those who only want to know that.
    prepared_bytes: AtomicU64,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    prepared: Option<Arc<Segment>>,
    /// Where the segment to be prepared next starts.
    next_base: u64,
    /// Why no segment could be prepared, the last time it was tried.
    stuck: Option<String>,
    /// How often it was tried.
    attempts: u64,
    wants_retry: bool,
    wants_reclaim: bool,
    is_working: bool,
    is_stopping: bool,
}

enum Job {
    Prepare { base: u64 },
    Reclaim,
    Stop,
}

impl Keeper {
    /// `last_limit` is the end of the segment in which the log ends.
    pub fn new(prepared: Option<Arc<Segment>>, last_limit: u64) -> Keeper {
        let next_base = prepared.as_ref().map_or(last_limit, |segment| segment.limit());
        // What a crash kept from being deleted is looked for at the start.
        let prepared_bytes = prepared.as_ref().map_or(0, |segment| segment.room()).into();
        let state = State { prepared, next_base, wants_reclaim: true, ..State::default() };
        Keeper { state: Mutex::new(state), prepared_bytes, changed: Condvar::new() }
    }

    /// Closes the current segment and goes on in the next, waiting for it if need be. The error says why there is none;
    /// it was tried once more just now.
    pub fn go_on(&self, segments: &Segments) -> Result<Arc<Segment>, String> {
        let mut state = lock(&self.state);
        let asked_at = state.attempts;
        loop {
            if let Some(next) = state.prepared.take() {
                self.prepared_bytes.store(0, Ordering::Release);
                // Under the lock, so that the keeper counts it in when it prepares the one after.
                lock(&segments.by_base).insert(next.base, next.clone());
                // All of the one just closed may have been given up already.
                state.wants_reclaim = true;
                self.changed.notify_all();
                return Ok(next);
            }
            match &state.stuck {
                _ if state.is_stopping => return Err("it is being closed".into()),
                Some(why) if state.attempts > asked_at => return Err(why.clone()),
                Some(_) => {
                    state.wants_retry = true;
                    self.changed.notify_all();
                }
                None => (),
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn prepared_bytes(&self) -> u64 {
        self.prepared_bytes.load(Ordering::Acquire)
    }

    pub fn reclaim(&self) {
        lock(&self.state).wants_reclaim = true;
        self.changed.notify_all();
    }

    pub fn stop(&self) {
        lock(&self.state).is_stopping = true;
        self.changed.notify_all();
    }

    /// Waits until nothing is left to do that can be done now.
    pub fn settled(&self) {
        let mut state = lock(&self.state);
        while !state.is_stopping && (state.is_working || state.wants_reclaim || state.wants_preparing()) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn wait_until_prepared(&self) {
        let mut state = lock(&self.state);
        while !state.is_stopping && state.prepared.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next_job(&self, retry: std::time::Duration) -> Job {
        let mut state = lock(&self.state);
        state.is_working = false;
        self.changed.notify_all();
        loop {
            let job = match &*state {
                State { is_stopping: true, .. } => Job::Stop,
                // The writer may be about to wait for it, unless only reclaiming can help.
                State { stuck: None, .. } if state.wants_preparing() => Job::Prepare { base: state.next_base },
                State { wants_reclaim: true, .. } => Job::Reclaim,
                State { .. } if state.wants_preparing() => Job::Prepare { base: state.next_base },
                State { .. } => {
                    let is_stuck = state.stuck.is_some() && state.prepared.is_none();
                    if is_stuck {
                        // Others can free the disk, and nobody tells us.
                        let (guard, waited) =
                            self.changed.wait_timeout(state, retry).unwrap_or_else(PoisonError::into_inner);
                        state = guard;
                        state.wants_retry |= waited.timed_out();
                    } else {
                        state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                    continue;
                }
            };
            if matches!(job, Job::Reclaim) {
                state.wants_reclaim = false;
            }
            state.is_working = true;
            return job;
        }
    }

    fn prepared(&self, result: Result<Arc<Segment>, String>) {
        let mut state = lock(&self.state);
        state.attempts += 1;
        state.wants_retry = false;
        match result {
            Ok(segment) => {
                state.next_base = segment.limit();
                self.prepared_bytes.store(segment.room(), Ordering::Release);
                state.prepared = Some(segment);
                state.stuck = None;
            }
            Err(why) => {
                if state.stuck.is_none() {
                    tracing::warn!(why, "no room to prepare the log's next segment, nothing new will be admitted");
                }
                state.stuck = Some(why);
            }
        }
        self.changed.notify_all();
    }
}

impl State {
    fn wants_preparing(&self) -> bool {
        self.prepared.is_none() && (self.stuck.is_none() || self.wants_retry)
    }
}

/// All segments in use, oldest first; the last is the one being written.
#[derive(Debug, Default)]
pub(super) struct Segments {
    by_base: Mutex<BTreeMap<u64, Arc<Segment>>>,
}

impl Segments {
    pub fn new(segments: impl IntoIterator<Item = Arc<Segment>>) -> Segments {
        let by_base = segments.into_iter().map(|segment| (segment.base, segment)).collect();
        Segments { by_base: Mutex::new(by_base) }
    }

    /// All but the current one.
    fn sealed(&self) -> Vec<Arc<Segment>> {
        let by_base = lock(&self.by_base);
        let sealed = by_base.len().saturating_sub(1);
        by_base.values().take(sealed).cloned().collect()
    }

    pub fn allocated(&self) -> u64 {
        lock(&self.by_base).values().map(|segment| segment.allocated()).sum()
    }
}

/// Content of `truncated.json`: from where each shard's records are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Truncated {
    format: u32,
    first: BTreeMap<String, u64>,
}

impl Truncated {
    const FILE: &str = "truncated.json";
    const FORMAT: u32 = 1;

    pub fn load(dir: &Path) -> Result<HashMap<ShardId, u64>, OpenError> {
        let file = dir.join(Self::FILE);
        let json = match std::fs::read(&file) {
            Ok(json) => json,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
            Err(why) => return Err(FolderError::from_io("read", &file, why).into()),
        };
        let damaged = |why: String| OpenError::Folder(FolderError::Damaged { file: file.clone(), why });
        let truncated: Truncated = serde_json::from_slice(&json).map_err(|why| damaged(why.to_string()))?;
        if truncated.format > Self::FORMAT {
            return Err(OpenError::Newer { file, found: truncated.format, known: Self::FORMAT });
        }
        let parse = |(shard, first): (String, u64)| Ok((shard.parse().map_err(damaged)?, first));
        truncated.first.into_iter().map(parse).collect()
    }

    fn save(dir: &Path, first: &HashMap<ShardId, u64>) -> Result<(), FolderError> {
        let first = first.iter().map(|(shard, first)| (shard.to_string(), *first)).collect();
        let json = serde_json::to_vec_pretty(&Truncated { format: Self::FORMAT, first });
        write_atomically(&dir.join(Self::FILE), &json.expect("names and numbers are valid JSON"))
    }
}

/// The keeper thread. Should it panic, the log goes on as long as there is room, and then says that it is full.
pub(super) fn run(shared: &Shared) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(shared))).is_err() {
        tracing::error!("the thread that prepares the log's segments panicked, restart the process");
        shared.keeper.stop();
    }
}

fn work(shared: &Shared) {
    loop {
        match shared.keeper.next_job(shared.options.retry) {
            Job::Prepare { base } => shared.keeper.prepared(prepare(shared, base)),
            Job::Reclaim => match reclaim(shared) {
                // Space came back, so preparing may work now.
                Ok(true) => lock(&shared.keeper.state).wants_retry = true,
                Ok(false) => (),
                // Nothing is lost by it but space; the next truncation tries again.
                Err(error) => tracing::warn!(%error, "cannot give back what the log no longer needs"),
            },
            Job::Stop => return,
        }
    }
}

fn prepare(shared: &Shared, base: u64) -> Result<Arc<Segment>, String> {
    let options = &shared.options;
    let held = shared.segments.allocated();
    if held + options.segment_bytes > options.bytes_max {
        return Err(format!("the log holds {held} bytes and may hold {}", options.bytes_max));
    }
    let segment = Segment::create(&shared.dir, &shared.ledger, base, options.segment_bytes);
    let segment = segment.map(Arc::new).map_err(|error| error.to_string())?;
    keep_spare(&shared.dir);
    Ok(segment)
}

/// A few blocks to give back first when the disk has none left, since even deleting needs a file to be written.
const SPARE_FILE: &str = "spare";
const SPARE_BYTES: usize = 16 << 10;

fn keep_spare(dir: &Path) {
    let spare = dir.join(SPARE_FILE);
    if std::fs::metadata(&spare).is_ok_and(|spare| spare.len() == SPARE_BYTES as u64) {
        return;
    }
    if let Err(error) = std::fs::write(&spare, vec![0; SPARE_BYTES]) {
        let _ = std::fs::remove_file(&spare);
        tracing::warn!(%error, "no room for a few spare blocks");
    }
}

/// Gives space back. True if there was any to give.
fn reclaim(shared: &Shared) -> Result<bool, FolderError> {
    let sealed = shared.segments.sealed();
    let dead = sealed.iter().take_while(|segment| segment.is_dead()).count();
    let (dead, kept) = sealed.split_at(dead);
    let held: u64 = kept.iter().map(|segment| segment.allocated()).sum();
    let sparse: Vec<_> = match held > shared.options.hold_bytes_max {
        true => kept.iter().filter(|segment| segment.is_worth_rewriting()).collect(),
        false => Vec::new(),
    };
    if dead.is_empty() && sparse.is_empty() {
        return Ok(false);
    }
    let first: HashMap<ShardId, u64> =
        shared.shards.all().iter().map(|shard| (shard.id, shard.first())).filter(|(_, first)| *first > 0).collect();
    match Truncated::save(&shared.dir, &first) {
        Err(FolderError::DiskFull(_)) if std::fs::remove_file(shared.dir.join(SPARE_FILE)).is_ok() => {
            Truncated::save(&shared.dir, &first)?;
        }
        saved => saved?,
    }
    for segment in dead {
        std::fs::remove_file(&segment.path).map_err(|why| FolderError::from_io("delete", &segment.path, why))?;
        sync_dir(&shared.dir)?;
        lock(&shared.segments.by_base).remove(&segment.base);
    }
    for segment in sparse {
        rewrite(segment, &first).map_err(|why| FolderError::from_io("rewrite", &segment.path, why))?;
        sync_dir(&shared.dir)?;
    }
    Ok(true)
}

/// Puts a copy of the segment in its place that holds only records which can still be asked for. Where the others were,
/// the file has holes, which take no space.
fn rewrite(segment: &Segment, first: &HashMap<ShardId, u64>) -> std::io::Result<()> {
    let old = segment.read(segment.base, segment.size)?;
    let path = segment.path.with_extension("new");
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
    file.set_len(segment.size)?;
    file.write_all_at(&old[..size(SEGMENT_HEADER_BYTES)], 0)?;
    let mut copy = Copy { file: &file, base: segment.base, dead: None };
    let is_live = |frame: &FrameAt| {
        let shard = ShardId::from_u32(frame.shard).filter(|_| !frame.is_skip());
        shard.is_some_and(|shard| first.get(&shard).is_none_or(|first| frame.position >= *first))
    };
    let (mut at, mut frames) = (segment.start(), Vec::new());
    loop {
        match next_batch(&old, segment.base, at, &mut frames) {
            Step::Batch(batch) => {
                match frames.iter().any(is_live) {
                    true => copy.batch(&old, batch, &frames, &is_live)?,
                    false => copy.skip(batch),
                }
                at = batch.end;
            }
            Step::End => break,
            // Left as it is for people to look at; no more of it may get lost.
            Step::Damaged { at, why } => {
                let _ = std::fs::remove_file(&path);
                return Err(std::io::Error::other(format!("damaged at offset {}: {why}", at - segment.base)));
            }
        }
    }
    copy.end_skipping()?;
    file.sync_all()?;
    std::fs::rename(&path, &segment.path)?;
    segment.replace_file(file)
}

/// The new file of a segment being rewritten.
struct Copy<'a> {
    file: &'a File,
    base: u64,
    /// Batches without live records that lie side by side and become one.
    dead: Option<BatchAt>,
}

impl Copy<'_> {
    /// Only the first batch's mark is kept: it is the one that ties the segment to the one before.
    fn skip(&mut self, batch: BatchAt) {
        self.dead = Some(BatchAt { end: batch.end, ..self.dead.unwrap_or(batch) });
    }

    fn end_skipping(&mut self) -> std::io::Result<()> {
        let Some(batch) = self.dead.take() else { return Ok(()) };
        let (start, length) = (batch.at + BATCH_HEADER_BYTES, batch.end - batch.at - BATCH_HEADER_BYTES);
        let records = u32::from(length > 0);
        self.put(batch.at, &batch_header(self.base, batch.at, length, records, batch.synced))?;
        match length {
            0 => Ok(()),
            _ => self.put(start, &skip_frame(self.base, start, length)),
        }
    }

    fn batch(
        &mut self,
        old: &[u8],
        batch: BatchAt,
        frames: &[FrameAt],
        is_live: &impl Fn(&FrameAt) -> bool,
    ) -> std::io::Result<()> {
        self.end_skipping()?;
        let mut records = 0;
        for run in frames.chunk_by(|one, next| is_live(one) == is_live(next)) {
            let (from, to) = (run[0].position, run[run.len() - 1].end());
            if is_live(&run[0]) {
                self.put(from, &old[size(from - self.base)..size(to - self.base)])?;
                records += u32::try_from(run.len()).expect("a batch has fewer records than bytes");
            } else {
                self.put(from, &skip_frame(self.base, from, to - from))?;
                records += 1;
            }
        }
        let length = batch.end - batch.at - BATCH_HEADER_BYTES;
        self.put(batch.at, &batch_header(self.base, batch.at, length, records, batch.synced))
    }

    fn put(&self, position: u64, bytes: &[u8]) -> std::io::Result<()> {
        debug_assert!(bytes.len() as u64 >= FRAME_HEADER_BYTES, "nothing smaller than a head is ever written");
        self.file.write_all_at(bytes, position - self.base)
    }
}
