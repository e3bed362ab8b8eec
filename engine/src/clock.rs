//! The only place where the engine can learn the time, used by shells and never by state machines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::units::Time;

pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Time;

    /// Something that was decided before has this time, so nothing is earlier from here on.
    fn not_before(&self, _time: Time) {}
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Never goes back, and never stands still: deadlines, relays and retries rest on it.
///
/// While the clock behind it says less than was said before, because it was set back or because the ledger's last event
/// was made under one that was ahead, time goes on at half speed until that clock has caught up.
#[derive(Debug)]
pub struct SteadyClock<C> {
    behind: C,
    latest: AtomicU64,
    /// Since when time goes on by itself, and what it was then.
    alone: Mutex<Option<(Instant, u64)>>,
}

impl<C: Clock> SteadyClock<C> {
    pub fn new(behind: C) -> SteadyClock<C> {
        SteadyClock { behind, latest: AtomicU64::new(0), alone: Mutex::new(None) }
    }

    fn slowly(&self) -> u64 {
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = self.latest.load(Ordering::Relaxed);
        let &mut (began, from) = alone.get_or_insert_with(|| (Instant::now(), latest));
        let passed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let time = from.saturating_add(passed / 2);
        if time < latest {
            // It was overtaken since, by the clock behind it or by a recovered shard.
            *alone = Some((Instant::now(), latest));
        }
        time
    }
}

impl<C: Clock> Clock for SteadyClock<C> {
    fn now(&self) -> Time {
        let now = self.behind.now().get();
        let latest = self.latest.fetch_max(now, Ordering::Relaxed);
        if now >= latest {
            return Time(now);
        }
        let time = self.slowly();
        Time(self.latest.fetch_max(time, Ordering::Relaxed).max(time))
    }

    fn not_before(&self, time: Time) {
        self.latest.fetch_max(time.get(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Time {
            Time(self.0.load(Ordering::Relaxed))
        }
    }

    fn passes(clock: &impl Clock, from: Time) -> Time {
        let began = Instant::now();
        loop {
            let now = clock.now();
            assert!(now >= from, "it went back");
            if now > from {
                return now;
            }
            assert!(began.elapsed().as_secs() < 10, "it stands still");
            std::thread::yield_now();
        }
    }

    #[test]
    fn time_goes_on_while_the_clock_behind_it_is_set_back() {
        let clock = SteadyClock::new(Hand::default());
        let set = |time| clock.behind.0.store(time, Ordering::Relaxed);
        set(10_000_000);
        assert_eq!(clock.now(), Time(10_000_000));
        set(5);
        let later = passes(&clock, passes(&clock, Time(10_000_000)));
        set(20_000_000);
        assert!(later < Time(20_000_000));
        assert_eq!(clock.now(), Time(20_000_000));
        // A second time as well.
        set(6);
        passes(&clock, passes(&clock, Time(20_000_000)));
    }

    #[test]
    fn nothing_is_earlier_than_what_was_recovered() {
        let clock = SteadyClock::new(Hand::default());
        clock.not_before(Time(700));
        passes(&clock, Time(700));
        clock.not_before(Time(900_000));
        passes(&clock, Time(900_000));
        clock.not_before(Time(3));
        passes(&clock, Time(900_000));
    }
}
