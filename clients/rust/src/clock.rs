//! The server's time, as far as its answers tell.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::outbox::{Entry, NEVER_SENT};

/// How far the estimate can be off: `Date` has whole seconds, and an answer takes its time.
pub const SLACK: Duration = Duration::from_secs(2);

/// This machine's clock and how far the server's is from it. Deadlines and keys are made from it; a wrong one costs time,
/// since requests come too late or keys have to be made again, and never money.
pub struct ServerClock {
    local: fn() -> SystemTime,
    ahead: AtomicI64,
    is_known: AtomicBool,
}

impl ServerClock {
    pub fn new(local: fn() -> SystemTime) -> ServerClock {
        ServerClock { local, ahead: AtomicI64::new(0), is_known: AtomicBool::new(false) }
    }

    /// In milliseconds since 1970.
    pub fn now(&self) -> u64 {
        self.local_now().saturating_add_signed(self.ahead.load(Ordering::Relaxed))
    }

    /// How far the server's clock is ahead of this machine's, in milliseconds.
    pub fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// By how much this machine's clock is wrong for certain: 0 where it is as good as the estimate.
    pub fn off(&self) -> i64 {
        let ahead = self.ahead();
        if Duration::from_millis(ahead.unsigned_abs()) > SLACK { ahead } else { 0 }
    }

    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// The server answered and told no time: then this machine's has to do.
    pub fn saw_none(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// A `Date` header: the server's time is within the second that it names.
    pub fn saw_date(&self, date: &str) {
        if let Ok(date) = httpdate::parse_http_date(date) {
            self.saw(millis(date) + 500);
        }
    }

    pub fn saw(&self, server_now: u64) {
        let ahead = i64::try_from(i128::from(server_now) - i128::from(self.local_now())).unwrap_or(0);
        self.ahead.store(ahead, Ordering::Relaxed);
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// When an entry was asked for, by the server's clock.
    pub fn made_at(&self, entry: &Entry) -> u64 {
        let off = if entry.horizon == NEVER_SENT { self.off() } else { 0 };
        entry.made_at.saturating_add_signed(off)
    }

    fn local_now(&self) -> u64 {
        millis((self.local)())
    }
}

/// `2026-01-31T23:59:59.999Z` in milliseconds since 1970.
pub fn parse_time(text: &str) -> Option<u64> {
    humantime::parse_rfc3339(text).ok().map(millis)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_what_the_server_says() {
        let clock = ServerClock::new(|| UNIX_EPOCH + Duration::from_secs(1_000));
        assert_eq!((clock.now(), clock.is_known()), (1_000_000, false));
        clock.saw_date("Thu, 01 Jan 1970 00:10:00 GMT");
        assert_eq!((clock.now(), clock.is_known()), (600_500, true));
        clock.saw_date("yesterday");
        assert_eq!(clock.now(), 600_500);
        clock.saw(5_000_000);
        assert_eq!(clock.now(), 5_000_000);
        assert_eq!(parse_time("1970-01-01T00:00:01.250Z"), Some(1_250));
        assert_eq!(parse_time("soon"), None);
    }
}
