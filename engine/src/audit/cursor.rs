//! One shard's log, read record by record by the one rule of believing.

use std::collections::VecDeque;
use std::sync::Arc;

use bincode::Decode;
use bytes::Bytes;

use super::report::{Place, Problems};
use crate::codec;
use crate::fold::{Fold, Skipped, Verdict};
use crate::log::{Fencing, LogError, ShardLog};
use crate::record::{EventsHeader, LogEntry, RecordHeader};
use crate::units::{Epoch, Position, Seq, ShardId, Time};

pub(super) struct Cursor<E> {
    pub shard: ShardId,
    log: Arc<dyn ShardLog>,
    read_bytes: usize,
    buffer: VecDeque<LogEntry>,
    /// Reading goes on here.
    pub position: Position,
    /// Before `next`.
    pub chain: Chain,
    /// Stop before the first entry that does not lie before this, once.
    pub stop_at: Option<Position>,
    pub next: Option<Record<E>>,
    pub records: u64,
    pub events: u64,
    pub skipped: u64,
    is_at_end: bool,
    has_told_skip: bool,
}

/// What the next record has to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub fold: Fold,
    /// False before the first record of a log that begins somewhere.
    pub is_anchored: bool,
    pub time: Time,
}

pub(super) struct Record<E> {
    pub position: Position,
    pub header: EventsHeader,
    /// With the bytes of each.
    pub events: Vec<(E, Bytes)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `next` holds a record.
    Record,
    /// Everything before `stop_at` has been read, and it was told once.
    Stopped,
    End,
}

impl<E: Decode<()>> Cursor<E> {
    pub fn new(shard: ShardId, log: Arc<dyn ShardLog>, read_bytes: usize, position: Position, chain: Chain) -> Self {
        Cursor {
            shard,
            log,
            read_bytes,
            buffer: VecDeque::new(),
            position,
            chain,
            stop_at: None,
            next: None,
            records: 0,
            events: 0,
            skipped: 0,
            is_at_end: false,
            has_told_skip: false,
        }
    }

    /// Seq of the last event that was taken.
    pub fn last(&self) -> Seq {
        Seq(self.chain.fold.next.get().saturating_sub(1))
    }

    /// Makes sure that `next` holds the next record that counts.
    pub async fn load(&mut self, problems: &mut Problems) -> Result<Step, LogError> {
        loop {
            if self.next.is_some() {
                return Ok(Step::Record);
            }
            if self.buffer.is_empty() && !self.is_at_end {
                self.fill(problems).await?;
            }
            let reached = self.buffer.front().map_or(self.position, |entry| entry.position);
            if self.stop_at.is_some_and(|stop| reached >= stop) {
                self.stop_at = None;
                return Ok(Step::Stopped);
            }
            let Some(entry) = self.buffer.pop_front() else { return Ok(Step::End) };
            self.position = entry.position.after();
            self.offer(entry, problems);
        }
    }

    async fn fill(&mut self, problems: &mut Problems) -> Result<(), LogError> {
        match self.log.read(self.position, self.read_bytes).await {
            Ok(entries) => {
                self.is_at_end = entries.is_empty();
                self.buffer = entries.into();
                Ok(())
            }
            Err(LogError::Damaged { place, why, .. }) => {
                let at = Place { position: Some(self.position), ..Place::of(self.shard) };
                problems.add(at, format_args!("the log at {place}"), "a record", why);
                self.is_at_end = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn offer(&mut self, entry: LogEntry, problems: &mut Problems) {
        let chain = &mut self.chain;
        if !chain.is_anchored
            && let RecordHeader::Events(header) = entry.header
        {
            chain.fold = Fold { epoch: Some(chain.fold.epoch.unwrap_or(header.epoch)), next: header.first };
            chain.is_anchored = true;
        }
        let next = chain.fold.next;
        match chain.fold.offer(&entry) {
            Verdict::Claimed(_) => {}
            Verdict::Skipped(why) => self.tell_skip(&entry, why, next, problems),
            Verdict::Believed(header) if header.count == 0 => self.check_time(entry.position, header, problems),
            Verdict::Believed(header) => {
                self.check_time(entry.position, header, problems);
                self.decode(entry, header, problems);
            }
        }
    }

    fn check_time(&mut self, position: Position, header: EventsHeader, problems: &mut Problems) {
        if header.time < self.chain.time {
            let at = Place::at(self.shard, header.first, position);
            problems.add(at, "time of the record", format_args!("{} or later", self.chain.time), header.time);
        }
        self.chain.time = self.chain.time.max(header.time);
    }

    fn decode(&mut self, entry: LogEntry, header: EventsHeader, problems: &mut Problems) {
        let mut events = Vec::with_capacity(header.count as usize);
        let mut rest = entry.events;
        for place in 0..u64::from(header.count) {
            match codec::decode_front::<E>(&rest) {
                Ok((event, used)) => events.push((event, rest.split_to(used))),
                Err(error) => {
                    let at = Place::at(self.shard, header.first.plus(place), entry.position);
                    problems.add(at, "event", "one that can be read", error);
                    break;
                }
            }
        }
        if events.len() as u64 == u64::from(header.count) && !rest.is_empty() {
            let at = Place::at(self.shard, header.first, entry.position);
            let expected = format!("{} events", header.count);
            problems.add(at, "record", expected, format_args!("{} bytes after them", rest.len()));
        }
        self.records += 1;
        self.events += events.len() as u64;
        self.next = Some(Record { position: entry.position, header, events });
    }

    /// Where the log itself refuses older owners and gaps, a record that does not count has no business there. Where
    /// anyone can append it may be a leftover.
    fn tell_skip(&mut self, entry: &LogEntry, why: Skipped, next: Seq, problems: &mut Problems) {
        self.skipped += 1;
        let RecordHeader::Events(header) = entry.header else { return };
        if self.log.fencing() == Fencing::ByPosition || std::mem::replace(&mut self.has_told_skip, true) {
            return;
        }
        let at = Place::at(self.shard, next, entry.position);
        let epoch = self.chain.fold.epoch.map_or("none".into(), |Epoch(epoch)| epoch.to_string());
        let found = match why {
            Skipped::OldEpoch => format!("one of epoch {}", header.epoch),
            Skipped::AfterLoss => format!("event {}: a record between was lost", header.first),
            Skipped::Copy => format!("event {} again", header.first),
        };
        problems.add(at, "record", format_args!("one that begins with event {next}, of epoch {epoch}"), found);
    }
}
