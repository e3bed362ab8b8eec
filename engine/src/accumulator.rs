//! Sums what is on its way to one destination shard until its weight or age says "now".
//!
//! It owns nothing: the sources remember what is not acknowledged and send it again, so whatever is in here may be lost.

use crate::relay::RelayPart;
use crate::units::Time;
use crate::wallet::outbox::PART_CREDITS_MAX;

#[derive(Clone, Copy, Debug)]
pub struct AccumulatorLimits {
    /// Accounts in one batch, or as much as that many in gifts. One event must hold them all.
    pub credits_max: usize,
    /// Longest that a part waits for company.
    pub age_millis: u64,
}

impl Default for AccumulatorLimits {
    fn default() -> Self {
        AccumulatorLimits { credits_max: 8_192, age_millis: 5 }
    }
}

/// Why a batch goes now; the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    Count,
    Age,
}

impl CloseReason {
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Count => "count",
            CloseReason::Age => "age",
        }
    }
}

#[derive(Debug)]
pub struct Accumulator {
    limits: AccumulatorLimits,
    parts: Vec<RelayPart>,
    /// Of all parts.
    weight: usize,
    opened: Time,
}

impl Accumulator {
    pub fn new(limits: AccumulatorLimits) -> Accumulator {
        Accumulator { limits, parts: Vec::new(), weight: 0, opened: Time::ZERO }
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes a part in. One that does not go on where the gathered ones of its source end is left to its source, which
    /// sends it again. What goes on there waits for a later batch when this one is full: a source has few parts under
    /// way, and left to it they would go one at a time, each after it had been silent for a while.
    pub fn push(&mut self, part: RelayPart, now: Time) {
        if self.parts.is_empty() {
            self.opened = now;
        }
        match self.parts.iter_mut().rev().find(|gathered| gathered.source == part.source) {
            Some(gathered) if gathered.up_to != part.after => {}
            Some(gathered) if self.weight < self.limits.credits_max && are_joined(gathered, &part) => {
                self.weight -= gathered.weight();
                gathered.merge(part);
                self.weight += gathered.weight();
            }
            Some(_) | None => {
                self.weight += part.weight();
                self.parts.push(part);
            }
        }
    }

    /// Whether it is time to send, and why.
    pub fn is_due(&self, now: Time) -> Option<CloseReason> {
        if self.parts.is_empty() {
            None
        } else if self.weight >= self.limits.credits_max {
            Some(CloseReason::Count)
        } else if now < self.opened || self.opened.plus_millis(self.limits.age_millis) <= now {
            // Opened in the future: by a clock that has been set back since.
            Some(CloseReason::Age)
        } else {
            None
        }
    }

    /// The next batch: whole parts up to the limit, at least one, and at most one of each source.
    pub fn take(&mut self) -> Vec<RelayPart> {
        let (mut batch, mut rest): (Vec<RelayPart>, Vec<RelayPart>) = (Vec::new(), Vec::new());
        let (mut weight, mut is_full) = (0, false);
        for part in self.parts.drain(..) {
            if batch.iter().any(|taken| taken.source == part.source) {
                rest.push(part);
                continue;
            }
            is_full |= !batch.is_empty() && weight + part.weight() > self.limits.credits_max;
            if is_full {
                rest.push(part);
            } else {
                weight += part.weight();
                batch.push(part);
            }
        }
        self.weight = rest.iter().map(RelayPart::weight).sum();
        self.parts = rest;
        batch
    }
}

/// Credits of one account are one, however many there are. Gifts are not: the largest part that a source cuts is as much as
/// one event can surely hold.
fn are_joined(gathered: &RelayPart, part: &RelayPart) -> bool {
    part.gifts.is_empty() || gathered.weight() + part.weight() <= PART_CREDITS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Amount, AssetId, Seq, UserId};
    use crate::wallet::event::RemoteCredit;

    /// One coin for each of so many users.
    fn part(source: u16, after: u64, up_to: u64, users: u64) -> RelayPart {
        let one = Amount::new(1).unwrap();
        let credit = |user| RemoteCredit { user: UserId(user), asset: AssetId(1), amount: one };
        RelayPart {
            source,
            after: Seq(after),
            up_to: Seq(up_to),
            before: [(AssetId(1), u128::from(after))].into_iter().collect(),
            sums: [(AssetId(1), u128::from(users))].into_iter().collect(),
            credits: (1..=users).map(credit).collect(),
            gifts: Vec::new(),
        }
    }

    fn accumulator() -> Accumulator {
        Accumulator::new(AccumulatorLimits { credits_max: 10, age_millis: 5 })
    }

    #[test]
    fn parts_that_follow_each_other_become_one_and_accounts_are_summed_up() {
        let mut accumulator = accumulator();
        accumulator.push(part(0, 0, 3, 2), Time(0));
        accumulator.push(part(0, 3, 7, 4), Time(0));
        accumulator.push(part(1, 0, 1, 1), Time(0));
        let batch = accumulator.take();
        let shown: Vec<_> = batch.iter().map(|part| (part.source, part.after, part.up_to)).collect();
        assert_eq!(shown, [(0, Seq(0), Seq(7)), (1, Seq(0), Seq(1))]);
        let amounts: Vec<_> = batch[0].credits.iter().map(|credit| credit.amount.get()).collect();
        assert_eq!(amounts, [2, 2, 1, 1]);
        assert_eq!(batch[0].sums.get(AssetId(1)), Some(&6));
        assert_eq!(batch[0].before, part(0, 0, 3, 2).before, "what was sent before the first of them");
        assert!(accumulator.is_empty());
    }

    #[test]
    fn a_part_that_leaves_a_gap_or_was_gathered_already_is_left_to_its_source() {
        let mut accumulator = accumulator();
        accumulator.push(part(0, 0, 3, 1), Time(0));
        accumulator.push(part(0, 4, 5, 1), Time(0));
        accumulator.push(part(0, 0, 3, 1), Time(0));
        assert_eq!(accumulator.take(), [part(0, 0, 3, 1)]);
    }

    #[test]
    fn it_is_time_when_there_are_enough_or_the_oldest_has_waited_long_enough() {
        let mut accumulator = accumulator();
        assert_eq!(accumulator.is_due(Time(100)), None);
        accumulator.push(part(0, 0, 1, 9), Time(100));
        accumulator.push(part(0, 1, 2, 1), Time(104));
        assert_eq!(accumulator.is_due(Time(104)), None);
        assert_eq!(accumulator.is_due(Time(105)), Some(CloseReason::Age));
        accumulator.push(part(1, 0, 1, 1), Time(104));
        assert_eq!(accumulator.is_due(Time(104)), Some(CloseReason::Count));
    }

    #[test]
    fn a_batch_has_whole_parts_up_to_the_limit_and_at_least_one() {
        let mut accumulator = accumulator();
        accumulator.push(part(0, 0, 1, 12), Time(0));
        accumulator.push(part(1, 0, 1, 6), Time(0));
        accumulator.push(part(2, 0, 1, 4), Time(0));
        accumulator.push(part(3, 0, 1, 1), Time(0));
        let sources = |batch: Vec<RelayPart>| batch.iter().map(|part| part.source).collect::<Vec<_>>();
        assert_eq!(sources(accumulator.take()), [0]);
        assert_eq!(sources(accumulator.take()), [1, 2]);
        assert_eq!(sources(accumulator.take()), [3]);
    }

    #[test]
    fn what_a_full_batch_has_no_room_for_waits_for_a_later_one_in_order() {
        let mut accumulator = accumulator();
        accumulator.push(part(0, 0, 1, 10), Time(0));
        accumulator.push(part(0, 1, 2, 11), Time(0));
        accumulator.push(part(0, 2, 3, 4), Time(0));
        accumulator.push(part(0, 3, 4, 1), Time(0));
        accumulator.push(part(0, 2, 3, 4), Time(0));
        assert_eq!(accumulator.take(), [part(0, 0, 1, 10)], "a batch is one event, which has to hold it");
        assert_eq!(accumulator.is_due(Time(0)), Some(CloseReason::Count));
        assert_eq!(accumulator.take(), [part(0, 1, 2, 11)]);
        accumulator.push(part(0, 4, 5, 1), Time(0));
        let batches: Vec<_> = std::iter::repeat_with(|| accumulator.take()).take_while(|it| !it.is_empty()).collect();
        let ranges: Vec<_> = batches.iter().map(|batch| (batch.len(), batch[0].after, batch[0].up_to)).collect();
        assert_eq!(ranges, [(1, Seq(2), Seq(3)), (1, Seq(3), Seq(5))]);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_no_batch_up() {
        let mut accumulator = accumulator();
        accumulator.push(part(0, 0, 1, 1), Time(3_600_000));
        assert_eq!(accumulator.is_due(Time(3_600_000)), None);
        assert_eq!(accumulator.is_due(Time(1_000)), Some(CloseReason::Age));
    }
}
