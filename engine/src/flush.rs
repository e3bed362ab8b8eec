//! Write-behind: moves what the log already holds into the store, and says how far it is.
//!
//! It reads believed records from the log, never an actor's memory. Rows of a batch are written first and its checkpoint
//! last, so whatever is repeated after a crash writes the same rows again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec;
use crate::fold::{Fold, Verdict};
use crate::log::{LogError, ShardLog};
use crate::machine::Impossible;
use crate::sabotage::{self, Rule};
use crate::store::{Checkpoint, FlushBatch, Store, StoreError};
use crate::units::{Position, Seq, ShardId, Time};

/// A state machine's events as rows.
pub trait Rows: Send + 'static {
    /// The state as of `checkpoint`, or before the first event.
    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible>;

    /// Takes one event into the batch; returns how many bytes it occupied.
    fn take(&mut self, seq: Seq, at: Time, events: &[u8]) -> Result<usize, Impossible>;

    /// The rows since the last call, and the state after them; fills everything but the positions of the checkpoint.
    fn finish(&mut self, batch: &mut FlushBatch);
}

/// Up to which event of a shard everything was acknowledged, as its owner knows it; written by the owner.
pub type Settled = Arc<AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Impossible(#[from] Impossible),
    #[error("the store had {shard} up to {written} and now has it up to {found}: it forgot what it had acknowledged")]
    Forgotten { shard: ShardId, written: Position, found: Position },
}

/// How far a shard's flusher is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    pub seq: Seq,
    pub position: Position,
    /// Of the last flushed event.
    pub time: Time,
}

impl Flushed {
    /// Up to when the store has everything of a shard whose owner stands at `last`, with no later event before `time`.
    /// To be read after both, or something could slip between.
    pub fn complete_until(&self, last: Seq, time: Time) -> Time {
        let has_all = self.seq >= last || sabotage::is(Rule::CompleteUntil);
        let until = if has_all { time } else { self.time };
        // More events may still come within the last millisecond.
        until.minus_millis(1)
    }
}

/// What the store has acknowledged, and what of the log is needed no more once the store can be trusted to keep that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub flushed: Flushed,
    pub keep_from: Position,
}

pub struct Flusher<R> {
    shard: ShardId,
    log: Arc<dyn ShardLog>,
    store: Arc<dyn Store>,
    rows: R,
    settled: Settled,
    bytes_max: usize,
    events_max: usize,
    position: Position,
    fold: Fold,
    time: Time,
    /// Records that are flushed but may not be settled: where reading would have to begin for them.
    unsettled: VecDeque<Mark>,
    truncated: Position,
    /// The relay position of the last checkpoint.
    relay_position: Position,
    /// Entries without events since the last checkpoint.
    idle_entries: usize,
}

/// The state of the fold before a record.
#[derive(Clone, Copy, Debug)]
struct Mark {
    position: Position,
    fold: Fold,
    last: Seq,
}

/// Marks are kept at most this many; beyond, two become one, which only makes reading begin earlier.
const MARKS_MAX: usize = 4_096;
const IDLE_ENTRIES_MAX: usize = 1_000;

impl<R: Rows> Flusher<R> {
    /// Begins where the store stands.
    pub async fn start(
        shard: ShardId,
        log: Arc<dyn ShardLog>,
        store: Arc<dyn Store>,
        mut rows: R,
        settled: Settled,
        limits: FlushLimits,
    ) -> Result<Flusher<R>, FlushError> {
        let checkpoint = store.checkpoint(shard).await?;
        rows.restore(checkpoint.as_ref())?;
        let (position, fold, time) = match &checkpoint {
            Some(at) => (at.position, at.fold, at.time),
            None => (Position::START, Fold::default(), Time::ZERO),
        };
        let mut unsettled = VecDeque::new();
        if let Some(at) = checkpoint.as_ref().filter(|at| at.relay_position < at.position) {
            let last = Seq(at.fold.next.get() - 1);
            unsettled.push_back(Mark { position: at.relay_position, fold: at.relay_fold, last });
        }
        let relay_position = checkpoint.map_or(Position::START, |at| at.relay_position);
        Ok(Flusher {
            shard,
            log,
            store,
            rows,
            settled,
            bytes_max: limits.bytes_max,
            events_max: limits.events_max,
            position,
            fold,
            time,
            unsettled,
            truncated: Position::START,
            relay_position,
            idle_entries: IDLE_ENTRIES_MAX,
        })
    }

    pub fn flushed(&self) -> Flushed {
        Flushed { seq: Seq(self.fold.next.get() - 1), position: self.position, time: self.time }
    }

    /// Whether everything that was flushed is also acknowledged.
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// Moves one batch. `None` when there was nothing to move, up to the end of the log.
    pub async fn step(&mut self) -> Result<Option<Flushed>, FlushError> {
        loop {
            let (is_moved, is_end) = self.read_and_write().await?;
            if is_moved || is_end {
                return Ok(is_moved.then(|| self.flushed()));
            }
        }
    }

    /// Whether something was moved, and whether the log ends here.
    async fn read_and_write(&mut self) -> Result<(bool, bool), FlushError> {
        let entries = self.log.read(self.position, self.bytes_max).await?;
        let mut events = 0;
        let (position, before) = (self.position, self.fold.next);
        for entry in &entries {
            if events >= self.events_max {
                break;
            }
            let mark = Mark { position: entry.position, fold: self.fold, last: Seq::NONE };
            self.position = entry.position.after();
            if let Verdict::Believed(header) = self.fold.offer(entry) {
                self.time = self.time.max(header.time);
                events += header.count as usize;
                self.take(header.first, header.count, header.time, &entry.events)?;
                if header.count > 0 {
                    self.unsettled.push_back(Mark { last: Seq(header.next().get() - 1), ..mark });
                }
            }
        }
        self.forget_settled();
        let (relay_position, relay_fold) = match self.unsettled.front() {
            Some(mark) => (mark.position, mark.fold),
            None => (self.position, self.fold),
        };
        self.idle_entries += entries.len();
        let has_events = self.fold.next != before;
        let is_settled_now = relay_position != self.relay_position && self.unsettled.is_empty();
        // Claims and empty records alone are rarely worth a write, but must not hold the log back for ever.
        let is_overdue = self.position != position && self.idle_entries >= IDLE_ENTRIES_MAX;
        if !(has_events || is_settled_now || is_overdue) {
            return Ok((false, entries.is_empty()));
        }
        self.write(relay_position, relay_fold).await?;
        Ok((true, entries.is_empty()))
    }

    fn take(&mut self, first: Seq, count: u32, at: Time, events: &[u8]) -> Result<(), Impossible> {
        let mut rest = events;
        for place in 0..u64::from(count) {
            let used = self.rows.take(first.plus(place), at, rest)?;
            rest = &rest[used..];
        }
        Ok(())
    }

    async fn write(&mut self, relay_position: Position, relay_fold: Fold) -> Result<(), FlushError> {
        let checkpoint = Checkpoint {
            shard: self.shard,
            position: self.position,
            relay_position,
            relay_fold,
            fold: self.fold,
            time: self.time,
            state: Vec::new(),
        };
        let mut batch = FlushBatch::new(checkpoint);
        self.rows.finish(&mut batch);
        self.store.write(batch).await?;
        self.relay_position = relay_position;
        self.idle_entries = 0;
        if self.store.forgets_for().is_zero() { self.cut(self.written().keep_from).await } else { Ok(()) }
    }

    pub fn written(&self) -> Written {
        Written { flushed: self.flushed(), keep_from: self.relay_position.min(self.position) }
    }

    /// For a store that may forget, once it would have: either it still has what was written, and the log is cut, or what
    /// it has forgotten must be written again.
    pub async fn confirm(&mut self, written: Written) -> Result<(), FlushError> {
        let found = self.store.checkpoint(self.shard).await?;
        let (position, relay) = found.map_or((Position::START, Position::START), |at| (at.position, at.relay_position));
        if position < written.flushed.position || relay < written.keep_from {
            let written = written.flushed.position;
            return Err(FlushError::Forgotten { shard: self.shard, written, found: position.min(relay) });
        }
        self.cut(written.keep_from).await
    }

    async fn cut(&mut self, keep_from: Position) -> Result<(), FlushError> {
        if keep_from > self.truncated {
            self.log.truncate_before(keep_from).await?;
            self.truncated = keep_from;
        }
        Ok(())
    }

    fn forget_settled(&mut self) {
        let settled = Seq(self.settled.load(Ordering::Acquire));
        while self.unsettled.pop_front_if(|mark| mark.last <= settled).is_some() {}
        if self.unsettled.len() > MARKS_MAX {
            let marks: Vec<Mark> = self.unsettled.drain(..).collect();
            // The first of each pair stands for both: it goes when the second may.
            self.unsettled.extend(marks.chunks(2).map(|pair| Mark { last: pair[pair.len() - 1].last, ..pair[0] }));
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct FlushLimits {
    /// About how much of the log one batch takes.
    pub bytes_max: usize,
    /// About how many events one batch takes.
    pub events_max: usize,
}

impl Default for FlushLimits {
    fn default() -> Self {
        FlushLimits { bytes_max: 4 << 20, events_max: 20_000 }
    }
}

/// Decodes the event at the front of `events`.
pub fn front<E: bincode::Decode<()>>(shard: ShardId, seq: Seq, events: &[u8]) -> Result<(E, usize), Impossible> {
    codec::decode_front(events).map_err(|error| Impossible(format!("event {seq} of {shard}: {error}")))
}
