//! The one thread that writes: group commit.
//!
//! What queued up while the last sync ran shares the next one. A group becomes one batch, or two where a segment ends;
//! each batch is one write and one sync, and only then are its records indexed, told to readers and answered for.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use largesse_engine::log::{AppendError, LogError};
use largesse_engine::node::threads;
use largesse_engine::units::{Epoch, Position};

use super::Shared;
use super::format::{BATCH_HEADER_BYTES, BatchBuffer, FRAME_HEADER_BYTES};
use super::index::lock;
use super::queue::{By, Item};
use super::segment::Segment;

pub(super) struct Writer {
    shared: Arc<Shared>,
    current: Arc<Segment>,
    /// Where the next batch starts. Everything before it is durable.
    end: u64,
    batch: BatchBuffer,
    /// Items of the batch in the order of their arrival, each with what it will be told if the sync succeeds.
    answers: Vec<(Item, Result<u64, AppendError>)>,
}

/// The disk failed, so nobody can say what is on it. The process has to end.
struct Failed(io::Error);

/// The writer thread. A panic here can only be an answer's, and would leave everybody else without one for ever.
pub(super) fn run(writer: Writer) {
    let shared = writer.shared.clone();
    threads::hurry();
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run())).is_err() {
        let message = "the log's writer thread panicked".to_string();
        shared.has_failed.store(true, Ordering::Release);
        (shared.options.fatal)(&message);
        shared.queue.end(&LogError::Unavailable(message));
        shared.shards.close();
    }
}

impl Writer {
    pub fn new(shared: Arc<Shared>, current: Arc<Segment>, end: u64) -> Writer {
        Writer { shared, current, end, batch: BatchBuffer::default(), answers: Vec::new() }
    }

    fn run(mut self) {
        let mut group = VecDeque::new();
        let group_bytes_max = self.shared.options.group_bytes_max;
        self.batch.start(self.current.base, self.end);
        while self.shared.queue.take(&mut group, group_bytes_max) {
            if let Err(failed) = self.write(&mut group) {
                self.fail(failed, group);
                return;
            }
        }
        let ended = self.leave_mark();
        self.end_with(&LogError::Closed);
        if let Err(failed) = ended {
            self.fail(failed, group);
        }
    }

    fn write(&mut self, group: &mut VecDeque<Item>) -> Result<(), Failed> {
        while let Some(item) = group.pop_front() {
            let placed = match self.judge(&item) {
                Ok(()) => match self.place(&item) {
                    Ok(placed) => placed,
                    Err(failed) => {
                        group.push_front(item);
                        return Err(failed);
                    }
                },
                Err(refusal) => Err(refusal),
            };
            if let (By::Owner(_), Err(AppendError::Failed(error))) = (item.by, &placed) {
                // What comes later under this epoch rests on this record.
                lock(&item.shard.owner).broken = Some(error.clone());
            }
            self.answers.push((item, placed));
        }
        self.commit()
    }

    fn judge(&self, item: &Item) -> Result<(), AppendError> {
        if let By::Owner(epoch) = item.by {
            lock(&item.shard.owner).judge(epoch)?;
        }
        item.refused.clone().map_or(Ok(()), |error| Err(AppendError::Failed(error)))
    }

    /// Adds the record to the batch, going on in the next segment where this one is full.
    fn place(&mut self, item: &Item) -> Result<Result<u64, AppendError>, Failed> {
        let needed = FRAME_HEADER_BYTES + item.record.len() as u64;
        if self.batch.end() + needed > self.current.limit() {
            self.commit()?;
            match self.shared.keeper.go_on(&self.shared.segments) {
                Ok(next) => self.go_on_in(next),
                Err(why) => return Ok(Err(AppendError::Failed(LogError::Full(why)))),
            }
        }
        let position = self.batch.push(item.shard.id.to_u32(), &item.record);
        if item.by == By::Claimer {
            // From here on nothing of an older epoch gets in, though the claim is not durable yet: should it get lost,
            // what was refused after it is not in the log either.
            let mut owner = lock(&item.shard.owner);
            owner.epoch = Some(Epoch(position));
            owner.claimed = owner.epoch;
            owner.broken = None;
        }
        Ok(Ok(position))
    }

    fn go_on_in(&mut self, next: Arc<Segment>) {
        self.current = next;
        // `end` stays the end of the last batch until the new segment's first one is durable: it is that batch's mark.
        self.batch.start(self.current.base, self.current.start());
        self.shared.free.store(self.current.limit() - self.current.start(), Ordering::Release);
    }

    /// Writes the batch, syncs it, and answers for it.
    fn commit(&mut self) -> Result<(), Failed> {
        if !self.batch.is_empty() {
            self.write_batch().map_err(Failed)?;
            self.publish();
            self.batch.start(self.current.base, self.end);
        }
        for (item, answer) in self.answers.drain(..) {
            item.answer(answer.map(Position));
        }
        Ok(())
    }

    fn write_batch(&mut self) -> io::Result<()> {
        let started = Instant::now();
        let file = self.current.file();
        let (at, batch_end) = (self.batch.at(), self.batch.end());
        let bytes = self.batch.finish(self.end);
        metrics::histogram!("largesse_log_batch_bytes").record(bytes.len() as f64);
        file.write_all_at(bytes, at - self.current.base)?;
        (self.shared.options.sync)(&file)?;
        self.end = batch_end;
        metrics::histogram!("largesse_log_append_seconds").record(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Makes durable records known: to the index first, so that whoever is woken finds them.
    fn publish(&mut self) {
        let records = self.answers.iter().filter_map(|(item, placed)| placed.as_ref().ok().map(|at| (item, *at)));
        let mut cache = lock(&self.shared.cache);
        for (item, position) in records.clone() {
            let len = super::format::short(item.record.len() as u64);
            item.shard.push(&self.current, position, len);
            cache.push(position, item.record.clone());
        }
        drop(cache);
        self.shared.end.store(self.end, Ordering::Release);
        self.shared.free.store(self.current.limit() - self.end, Ordering::Release);
        for (item, position) in records {
            item.shard.tell(position);
        }
    }

    /// A last batch without records. It says that all before it was synced, so that damage to what was written last is
    /// known from a torn tail.
    fn leave_mark(&mut self) -> Result<(), Failed> {
        if self.end + BATCH_HEADER_BYTES > self.current.limit() || self.end < self.current.start() {
            return Ok(());
        }
        self.batch.start(self.current.base, self.end);
        self.write_batch().map_err(Failed)?;
        self.shared.end.store(self.end, Ordering::Release);
        Ok(())
    }

    fn fail(&mut self, Failed(why): Failed, group: VecDeque<Item>) {
        let message = format!("cannot write {}: {why}", self.current.path.display());
        self.shared.has_failed.store(true, Ordering::Release);
        (self.shared.options.fatal)(&message);
        // Only tests come back from there.
        let error = LogError::Unavailable(message);
        for (item, answer) in self.answers.drain(..) {
            item.answer(answer.and(Err(AppendError::Unknown)));
        }
        for item in group {
            item.answer(Err(AppendError::Failed(error.clone())));
        }
        self.end_with(&error);
    }

    fn end_with(&self, error: &LogError) {
        self.shared.queue.end(error);
        self.shared.shards.close();
    }
}
