//! How long whoever failed waits before it tries again: longer each time, up to a limit, and never all at once.
//!
//! There is one of these for the whole program. Waits grow exponentially from the first to the longest; each is drawn
//! from the upper half of its step, so that those who failed together do not come back together.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The steps of waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ladder {
    /// No wait is longer than this after the first failure.
    pub first: Duration,
    /// Nor than this after any.
    pub longest: Duration,
    /// After so many waits it is over; `None` goes on for ever.
    pub tries: Option<u32>,
}

impl Ladder {
    /// For what must go on: a shard without its owner, a flusher, a stream.
    pub const ENDLESS: Ladder =
        Ladder { first: Duration::from_millis(20), longest: Duration::from_secs(2), tries: None };

    /// The wait after that many failures, from 1; `None` when the ladder has ended.
    pub fn wait(&self, failures: u32) -> Option<Duration> {
        self.steps().nth(failures.max(1) as usize - 1)
    }

    /// Half of each step is certain and half is drawn.
    fn steps(&self) -> ExponentialBackoff {
        let steps = ExponentialBuilder::new()
            .with_min_delay(self.first / 2)
            .with_max_delay(self.longest.max(self.first) / 2)
            .with_factor(self.factor())
            .with_jitter();
        match self.tries {
            Some(tries) => steps.with_max_times(tries as usize).build(),
            None => steps.without_max_times().build(),
        }
    }

    /// Doubles; a ladder that ends reaches its longest step with its last.
    fn factor(&self) -> f32 {
        let Some(tries @ 2..) = self.tries else { return 2.0 };
        let whole = self.longest.max(self.first).as_secs_f64() / self.first.as_secs_f64().max(1e-9);
        #[allow(clippy::cast_possible_truncation, reason = "a factor of some digits is as good as one of many")]
        let factor = whole.powf(1.0 / f64::from(tries - 1)) as f32;
        factor.max(1.0)
    }
}

/// Where somebody stands on an endless ladder, or one that ends.
#[derive(Debug)]
pub struct Backoff {
    ladder: Ladder,
    steps: ExponentialBackoff,
}

impl Backoff {
    pub fn new(ladder: Ladder) -> Backoff {
        Backoff { ladder, steps: ladder.steps() }
    }

    /// The next wait; at the end of a ladder that ends, its longest.
    pub fn wait(&mut self) -> Duration {
        self.steps.next().unwrap_or(self.ladder.longest)
    }

    /// It went well: the next failure is a first one.
    pub fn reset(&mut self) {
        self.steps = self.ladder.steps();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: Ladder =
        Ladder { first: Duration::from_secs(10), longest: Duration::from_secs(7_200), tries: Some(16) };

    #[test]
    fn waits_grow_to_the_longest_and_none_is_over_it() {
        for _ in 0..200 {
            let mut step = HOURS.first;
            for failures in 1..=16 {
                let wait = HOURS.wait(failures).unwrap();
                let slack = Duration::from_millis(50);
                assert!(wait + slack >= step / 2 && wait <= step + slack, "{failures}: {wait:?} of {step:?}");
                step = step.mul_f32(HOURS.factor()).min(HOURS.longest);
            }
            assert_eq!(HOURS.wait(17), None, "sixteen tries and no more");
        }
        assert!(HOURS.wait(16).unwrap() >= Duration::from_secs(3_599), "the last step is the longest");
    }

    #[test]
    fn an_endless_ladder_never_ends_and_begins_again() {
        let mut backoff = Backoff::new(Ladder::ENDLESS);
        let waits: Vec<Duration> = (0..100).map(|_| backoff.wait()).collect();
        assert!(waits[0] <= Ladder::ENDLESS.first);
        assert!(waits.iter().all(|wait| *wait <= Ladder::ENDLESS.longest));
        assert!(waits[99] >= Ladder::ENDLESS.longest / 2);
        backoff.reset();
        assert!(backoff.wait() <= Ladder::ENDLESS.first);
    }

    #[test]
    fn those_who_failed_together_come_back_apart() {
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| HOURS.wait(10).unwrap()).collect();
        assert!(waits.len() > 25, "{waits:?}");
    }

    #[test]
    fn odd_ladders_stand() {
        let one = Ladder { tries: Some(1), ..HOURS };
        assert!(one.wait(1).is_some() && one.wait(2).is_none());
        assert_eq!(Ladder { tries: Some(0), ..HOURS }.wait(1), None);
        let flat = Ladder { longest: HOURS.first, ..HOURS };
        assert!(flat.wait(9).unwrap() <= HOURS.first);
    }
}
