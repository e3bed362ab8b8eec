//! The one rule by which everybody reads a shard's log.
//!
//! A record counts if its epoch is the latest claim's and its first `Seq` is the next. Everything else is skipped:
//! leftovers of an older owner, a record whose predecessor was lost, a second copy.

use bincode::{Decode, Encode};

use crate::record::{EventsHeader, LogEntry, RecordHeader};
use crate::sabotage::{self, Rule};
use crate::units::{Epoch, Seq};

/// What the rule needs to remember between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Fold {
    /// The latest claim; `None` before the first.
    pub epoch: Option<Epoch>,
    /// The `Seq` that the next event must have.
    pub next: Seq,
}

impl Default for Fold {
    fn default() -> Self {
        Fold { epoch: None, next: Seq::FIRST }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// From here on only records of this epoch can count.
    Claimed(Epoch),
    Believed(EventsHeader),
    Skipped(Skipped),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Written by an owner that had been replaced.
    OldEpoch,
    /// A record before it was lost, so it rests on something that never happened.
    AfterLoss,
    /// It has been counted already.
    Copy,
}

impl Fold {
    pub fn offer(&mut self, entry: &LogEntry) -> Verdict {
        match entry.header {
            RecordHeader::Claim(_) => {
                let epoch = Epoch(entry.position.get());
                self.epoch = Some(epoch);
                Verdict::Claimed(epoch)
            }
            RecordHeader::Events(header) if Some(header.epoch) != self.epoch => Verdict::Skipped(Skipped::OldEpoch),
            RecordHeader::Events(header) if header.first > self.next && !sabotage::is(Rule::SeqChain) => {
                Verdict::Skipped(Skipped::AfterLoss)
            }
            RecordHeader::Events(header) if header.first < self.next => Verdict::Skipped(Skipped::Copy),
            RecordHeader::Events(header) => {
                self.next = header.next();
                Verdict::Believed(header)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::record::{Claim, encode_claim, encode_events};
    use crate::units::{NodeId, Position, Time};

    /// `claim` or `epoch:first+count`, one position after the other.
    #[track_caller]
    fn check(log: &str, want: Expect) {
        let mut fold = Fold::default();
        let mut told = String::new();
        for (position, word) in log.split_whitespace().enumerate() {
            let position = Position(position as u64);
            let bytes = match word.split_once(':') {
                None => encode_claim(Claim { node: NodeId(1), nonce: [0; 16] }),
                Some((epoch, events)) => {
                    let (first, count) = events.split_once('+').unwrap();
                    let (first, count) = (Seq(first.parse().unwrap()), count.parse().unwrap());
                    let epoch = Epoch(epoch.parse().unwrap());
                    encode_events(EventsHeader { epoch, number: 1, first, count, time: Time(0) }, b"")
                }
            };
            let verdict = match fold.offer(&LogEntry::decode(position, &bytes).unwrap()) {
                Verdict::Claimed(epoch) => format!("claimed {epoch}"),
                Verdict::Believed(header) => format!("believed, next {}", header.next()),
                Verdict::Skipped(why) => format!("skipped {why:?}"),
            };
            told += &format!("{word}: {verdict}\n");
        }
        want.assert_eq(&told);
    }

    #[test]
    fn leftovers_losses_and_copies_are_skipped() {
        check(
            "claim 0:1+2 0:3+1 0:5+1 0:3+1 claim 0:4+1 5:4+2 5:6+0 5:6+1",
            expect![[r#"
                claim: claimed 0
                0:1+2: believed, next 3
                0:3+1: believed, next 4
                0:5+1: skipped AfterLoss
                0:3+1: skipped Copy
                claim: claimed 5
                0:4+1: skipped OldEpoch
                5:4+2: believed, next 6
                5:6+0: believed, next 6
                5:6+1: believed, next 7
            "#]],
        );
    }

    #[test]
    fn nothing_counts_before_the_first_claim() {
        check(
            "0:1+1 claim",
            expect![[r#"
            0:1+1: skipped OldEpoch
            claim: claimed 1
        "#]],
        );
    }
}
