//! How long to wait before the next attempt.

use std::time::Duration;

/// Each wait is about twice as long as the one before. Half of it is drawn, so that many clients that were turned away at
/// the same moment do not come back at the same moment.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { next: min.min(max), max }
    }

    /// The next wait, and never less than the server asked for.
    pub fn wait(&mut self, retry_after: Option<Duration>) -> Duration {
        let whole = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        let drawn = whole.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        match retry_after {
            Some(asked) => asked.max(drawn) + whole.min(asked).mul_f64(rand::random::<f64>() / 4.0),
            None => drawn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_are_spread() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(min, max);
        let mut whole = min;
        for _ in 0..10 {
            let wait = backoff.wait(None);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(max);
        }
        let waits: std::collections::BTreeSet<_> = (0..20).map(|_| Backoff::new(max, max).wait(None)).collect();
        assert!(waits.len() > 10, "all the same: {waits:?}");
    }

    #[test]
    fn what_the_server_asks_for_is_the_least() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        for _ in 0..50 {
            let wait = backoff.wait(Some(Duration::from_secs(3)));
            assert!(wait >= Duration::from_secs(3) && wait < Duration::from_secs(4), "{wait:?}");
        }
    }
}
