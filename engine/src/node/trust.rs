//! When a store may be trusted to keep what it has acknowledged.
//!
//! A database that acknowledges before it syncs forgets the last seconds when it is killed. So for as long as it may forget,
//! the log keeps the records and the shard its memory; then its checkpoint is read again. If that still stands where it
//! was written, nothing before it can be forgotten any more; if it went back, the flusher begins again from there.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::flush::Written;

/// The span is divided into so many steps, and as many things wait at most.
const STEPS: u32 = 16;

/// What a store was given and may still forget.
pub struct Trust {
    /// How long it may forget.
    span: Duration,
    /// Each with when it had been written, oldest first.
    waiting: VecDeque<(Instant, Written)>,
    /// Written since the last of these.
    later: Option<Written>,
}

impl Trust {
    pub fn new(span: Duration) -> Trust {
        Trust { span, waiting: VecDeque::new(), later: None }
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.later.is_some()
    }

    pub fn wrote(&mut self, written: Written) {
        self.later = Some(written);
    }

    /// The newest that is old enough by now, if any is.
    pub fn due(&mut self, now: Instant) -> Option<Written> {
        let is_apart = |(at, _): &(Instant, Written)| now.duration_since(*at) >= self.span / STEPS;
        if self.waiting.back().is_none_or(is_apart)
            && let Some(written) = self.later.take()
        {
            self.waiting.push_back((now, written));
        }
        let mut due = None;
        while let Some((_, written)) = self.waiting.pop_front_if(|(at, _)| now.duration_since(*at) >= self.span) {
            due = Some(written);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flush::Flushed;
    use crate::units::{Position, Seq, Time};

    fn written(number: u64) -> Written {
        let flushed = Flushed { seq: Seq(number), position: Position(number), time: Time(number) };
        Written { flushed, keep_from: Position(number) }
    }

    #[test]
    fn a_store_that_keeps_everything_is_trusted_at_once() {
        let mut trust = Trust::new(Duration::ZERO);
        trust.wrote(written(1));
        assert_eq!(trust.due(Instant::now()), Some(written(1)));
        assert!(!trust.is_waiting());
    }

    #[test]
    fn nothing_is_due_before_its_time_and_the_list_stays_short() {
        let (began, mut trust) = (Instant::now(), Trust::new(Duration::from_secs(16)));
        let mut due = Vec::new();
        for millis in 0..40_000 {
            let now = began + Duration::from_millis(millis);
            trust.wrote(written(millis));
            let found = trust.due(now);
            assert!(found.is_none_or(|found| found.flushed.seq.get() + 16_000 <= millis), "{millis}: {found:?}");
            due.extend(found);
            assert!(trust.waiting.len() <= STEPS as usize + 1);
        }
        assert!(due.len() >= 20, "{} were trusted in the end", due.len());
        assert_eq!(trust.due(began + Duration::from_secs(41)), Some(written(25_000)));
        // What came last is not forgotten either.
        assert_eq!(trust.due(began + Duration::from_secs(57)), Some(written(39_999)));
        assert!(!trust.is_waiting());
    }
}
