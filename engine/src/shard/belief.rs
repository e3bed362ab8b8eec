//! Which of its own records an owner may believe.
//!
//! A log that refuses older epochs vouches for what it accepts. In a log that anyone can append to, an owner believes its
//! records while the positions it is told are contiguous, since then nobody else wrote in between; anything else is read
//! back through the same fold that every reader uses, before anyone is answered.

use std::collections::VecDeque;

use crate::fold::{Fold, Skipped, Verdict};
use crate::log::{AppendError, Fencing};
use crate::record::{LogEntry, RecordHeader};
use crate::units::{Epoch, Position, Seq};

#[derive(Debug)]
pub struct Belief {
    fencing: Fencing,
    epoch: Epoch,
    /// Appended and not yet believed, oldest first.
    in_flight: VecDeque<InFlight>,
    /// Everything before this has been accounted for.
    expected: Position,
    /// What every reader believes just before `expected`.
    fold: Fold,
    is_reading_back: bool,
    /// An answer that cannot be judged arrived while reading back: read once more.
    reads_again: bool,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    next: Seq,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pending,
    At(Position),
    Unknown,
}

/// What follows from a piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    Nothing,
    /// Every record up to this one counts.
    Believed {
        number: u64,
        last: Seq,
    },
    /// Only the log can tell: read from here.
    ReadBack(Position),
}

/// Why an owner must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("another owner claimed the shard at {0}")]
    Fenced(Epoch),
    #[error("a record of its own did not get into the log")]
    Record,
    #[error("the log failed: {0}")]
    Log(AppendError),
}

impl Belief {
    pub fn new(fencing: Fencing, epoch: Epoch, next: Seq) -> Belief {
        Belief {
            fencing,
            epoch,
            in_flight: VecDeque::new(),
            expected: Position(epoch.get()).after(),
            fold: Fold { epoch: Some(epoch), next },
            is_reading_back: false,
            reads_again: false,
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub fn appended(&mut self, number: u64, next: Seq) {
        self.in_flight.push_back(InFlight { number, next, fate: Fate::Pending });
    }

    /// The log's answer to the oldest record that has none.
    pub fn answered(&mut self, number: u64, answer: Result<Position, AppendError>) -> Result<Conclusion, Lost> {
        match (self.fencing, answer) {
            (_, Err(AppendError::Fenced(epoch))) => Err(Lost::Fenced(epoch)),
            (_, Err(error @ AppendError::Failed(_))) | (Fencing::ByLog, Err(error @ AppendError::Unknown)) => {
                Err(Lost::Log(error))
            }
            (Fencing::ByLog, Ok(_)) => Ok(self.believe(number)),
            (Fencing::ByPosition, Ok(position)) => self.placed(number, position),
            (Fencing::ByPosition, Err(AppendError::Unknown)) => {
                self.set_fate(number, Fate::Unknown);
                Ok(self.read_back())
            }
        }
    }

    fn placed(&mut self, number: u64, position: Position) -> Result<Conclusion, Lost> {
        let is_oldest = self.in_flight.front().is_some_and(|oldest| oldest.number == number);
        if position == self.expected && is_oldest && !self.is_reading_back {
            self.expected = position.after();
            let conclusion = self.believe(number);
            if let Conclusion::Believed { last, .. } = &conclusion {
                self.fold.next = last.next();
            }
            return Ok(conclusion);
        }
        self.set_fate(number, Fate::At(position));
        if !self.in_flight.iter().any(|record| record.number == number) {
            return Ok(Conclusion::Nothing); // Reading back has found it already.
        }
        if position < self.expected {
            return Err(Lost::Record); // Reading back has passed it, and it did not count.
        }
        // Who is reading already gets there.
        Ok(if self.is_reading_back { Conclusion::Nothing } else { self.read_back() })
    }

    /// Durable records from where [`Conclusion::ReadBack`] said; `is_end` when nothing lies behind them.
    pub fn read(&mut self, entries: &[LogEntry], is_end: bool) -> Result<Conclusion, Lost> {
        let mut believed = Conclusion::Nothing;
        for entry in entries {
            if entry.position < self.expected {
                continue;
            }
            self.expected = entry.position.after();
            let mine = match entry.header {
                RecordHeader::Events(header) => header.epoch == self.epoch,
                RecordHeader::Claim(_) => false,
            };
            match self.fold.offer(entry) {
                Verdict::Claimed(epoch) => return Err(Lost::Fenced(epoch)),
                Verdict::Believed(header) => match self.believe(header.number) {
                    Conclusion::Nothing => {}
                    news @ (Conclusion::Believed { .. } | Conclusion::ReadBack(_)) => believed = news,
                },
                Verdict::Skipped(Skipped::AfterLoss) if mine => return Err(Lost::Record),
                Verdict::Skipped(Skipped::AfterLoss | Skipped::OldEpoch | Skipped::Copy) => {}
            }
        }
        if is_end {
            // Answers that came meanwhile may go on exactly here; then nothing lies in between.
            while let Some(&InFlight { number, next, fate: Fate::At(at) }) = self.in_flight.front()
                && at == self.expected
            {
                self.expected = at.after();
                self.fold.next = next;
                believed = self.believe(number);
            }
            // A reader may lag behind what was acknowledged; what lies at a known place will be found there.
            let lags = self.in_flight.iter().any(|record| matches!(record.fate, Fate::At(at) if at >= self.expected));
            self.is_reading_back = std::mem::take(&mut self.reads_again) || lags;
            let is_lost = |record: &InFlight| match record.fate {
                Fate::Pending => false,
                Fate::At(position) => position < self.expected,
                Fate::Unknown => !self.is_reading_back,
            };
            if self.in_flight.iter().any(is_lost) {
                return Err(Lost::Record);
            }
        }
        Ok(believed)
    }

    /// Whether the log must be read (again), and from where.
    pub fn reading_from(&self) -> Option<Position> {
        self.is_reading_back.then_some(self.expected)
    }

    fn read_back(&mut self) -> Conclusion {
        if self.is_reading_back {
            self.reads_again = true;
            return Conclusion::Nothing;
        }
        self.is_reading_back = true;
        Conclusion::ReadBack(self.expected)
    }

    fn believe(&mut self, number: u64) -> Conclusion {
        let mut believed = Conclusion::Nothing;
        while let Some(record) = self.in_flight.pop_front_if(|record| record.number <= number) {
            let last = Seq(record.next.get() - 1);
            believed = Conclusion::Believed { number: record.number, last };
        }
        believed
    }

    fn set_fate(&mut self, number: u64, fate: Fate) {
        if let Some(record) = self.in_flight.iter_mut().find(|record| record.number == number) {
            record.fate = fate;
        }
    }
}
