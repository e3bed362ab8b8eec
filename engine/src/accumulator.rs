//! Sums credits on their way to one destination shard until count, bytes or age says "now".
//!
//! It owns nothing: the sources remember what is not acknowledged and send it again, so whatever is in here may be lost.

use crate::relay::CreditPart;
use crate::units::{Amount, Time};
use crate::wallet::outbox::merged;

#[derive(Clone, Copy, Debug)]
pub struct AccumulatorLimits {
    /// Accounts in one batch. One event must hold them all.
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
    parts: Vec<CreditPart>,
    credits: usize,
    opened: Time,
}

impl Accumulator {
    pub fn new(limits: AccumulatorLimits) -> Accumulator {
        Accumulator { limits, parts: Vec::new(), credits: 0, opened: Time::ZERO }
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes a part in. One that does not go on where the gathered one of its source ends is left to its source, which
    /// sends it again.
    pub fn push(&mut self, part: CreditPart, now: Time) {
        if self.parts.is_empty() {
            self.opened = now;
        }
        match self.parts.iter_mut().find(|gathered| gathered.source == part.source) {
            None => {
                self.credits += part.credits.len();
                self.parts.push(part);
            }
            Some(gathered) if gathered.up_to == part.after && self.credits < self.limits.credits_max => {
                self.credits -= gathered.credits.len();
                merge(gathered, part);
                self.credits += gathered.credits.len();
            }
            Some(_) => {}
        }
    }

    /// Whether it is time to send, and why.
    pub fn is_due(&self, now: Time) -> Option<CloseReason> {
        if self.parts.is_empty() {
            None
        } else if self.credits >= self.limits.credits_max {
            Some(CloseReason::Count)
        } else if self.opened.plus_millis(self.limits.age_millis) <= now {
            Some(CloseReason::Age)
        } else {
            None
        }
    }

    /// The next batch: whole parts up to the limit, at least one.
    pub fn take(&mut self) -> Vec<CreditPart> {
        let mut credits = 0;
        let fits = self.parts.iter().take_while(|part| {
            credits += part.credits.len();
            credits <= self.limits.credits_max
        });
        let count = fits.count().max(1).min(self.parts.len());
        let batch: Vec<_> = self.parts.drain(..count).collect();
        self.credits = self.parts.iter().map(|part| part.credits.len()).sum();
        batch
    }
}

fn merge(gathered: &mut CreditPart, part: CreditPart) {
    gathered.up_to = part.up_to;
    for (asset, sum) in part.sums.iter() {
        let total: &mut Amount = gathered.sums.entry(asset);
        *total = total.checked_add(*sum).expect("all money there is fits an amount");
    }
    gathered.credits = merged(std::mem::take(&mut gathered.credits), part.credits);
}
