//! What a run of the engine bench says.

use largesse_engine::audit::Report;
use serde::Serialize;

use super::replay::Replay;
use super::room::{Feed, News};
use super::sustained::Sustained;
use super::{EngineBench, Measured};
use crate::latency::Latency;
use crate::machine::Machine;

#[derive(Clone, Debug, Serialize)]
pub struct EngineReport {
    pub bench: EngineBench,
    pub machine: Machine,
    /// How long funding the viewers took, which is not part of what is measured.
    pub funding_seconds: f64,
    /// From the first batch to the last answer.
    pub seconds: f64,
    pub gifts: u64,
    pub gifts_per_second: f64,
    /// Processor time of the whole process, callers included.
    pub cpu_seconds_per_million: f64,
    /// Of that, what the callers' own thread took: drawing senders, making commands, taking answers.
    pub callers_cpu_seconds_per_million: f64,
    pub latency: Latency,
    pub refused: u64,
    /// Gifts that were sent away before anything was decided.
    pub overloaded: u64,
    /// Gifts whose outcome the callers were not told.
    pub unknown: u64,
    /// Gifts that began later than intended, when a rate was asked for.
    pub late: u64,
    /// None when the log was cut meanwhile, as in Kafka without an audit.
    pub log_bytes_per_gift: Option<f64>,
    /// Events that the store did not have yet when the last answer came, and the most there were at any time.
    pub flush_lag_events: u64,
    pub flush_lag_events_max: u64,
    pub drain_seconds: f64,
    /// Rows that the store took, from the first gift until it had everything.
    pub store_rows_per_second: f64,
    /// The same rows into an empty store with nothing else going on, when that was asked for.
    pub replay: Option<Replay>,
    /// The search for the rate at which this was measured, when it was asked for.
    pub sustained: Option<Sustained>,
    pub memory: Memory,
    pub books: Books,
    pub news: News,
    pub feed: Feed,
    /// Gifts of unknown outcome in all of the run.
    unknown_in_all: u64,
    pub audit: Option<Report>,
}

/// Memory of the process in use at several moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Before the ledger is opened, the bench's own lists of viewers included.
    pub at_start_bytes: u64,
    pub before_funding_bytes: u64,
    /// All viewers have money and rows, and nothing is left to flush.
    pub after_funding_bytes: u64,
    /// When the last gift was answered.
    pub at_end_bytes: u64,
    /// What funding added, per viewer: the wallet, the id of its recharge, and what store and log cache.
    pub per_viewer_bytes: u64,
}

impl Memory {
    pub(super) fn growth_per(&self, viewers: u64) -> u64 {
        self.after_funding_bytes.saturating_sub(self.before_funding_bytes) / viewers.max(1)
    }
}

/// What the callers were told against what the hosts hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    pub paid: u64,
    pub received: u64,
}

impl EngineReport {
    pub(super) fn new(bench: EngineBench, machine: Machine, measured: &Measured) -> EngineReport {
        let (driven, told) = (&measured.driven, &measured.driven.told);
        let per_gift = |value: f64| if told.gifts > 0 { value / told.gifts as f64 } else { 0.0 };
        EngineReport {
            bench,
            machine,
            funding_seconds: 0.0,
            seconds: driven.seconds,
            gifts: told.gifts,
            gifts_per_second: told.gifts as f64 / driven.seconds,
            cpu_seconds_per_million: per_gift(measured.cpu_seconds * 1e6),
            callers_cpu_seconds_per_million: per_gift(told.cpu_seconds * 1e6),
            latency: told.latency.summary(),
            refused: told.refused,
            overloaded: told.overloaded,
            unknown: told.unknown,
            late: told.late,
            log_bytes_per_gift: measured.log_bytes.map(|bytes| per_gift(bytes as f64)),
            flush_lag_events: measured.flush_lag_events,
            flush_lag_events_max: driven.lags.iter().map(|(_, lag)| *lag).max().unwrap_or_default(),
            drain_seconds: 0.0,
            store_rows_per_second: 0.0,
            replay: None,
            sustained: measured.sustained.clone(),
            memory: Memory::default(),
            books: Books::default(),
            news: driven.news,
            feed: Feed::default(),
            unknown_in_all: 0,
            audit: None,
        }
    }

    pub(super) fn with_rows(self, store_rows_per_second: f64, replay: Option<Replay>) -> EngineReport {
        EngineReport { store_rows_per_second, replay, ..self }
    }

    pub(super) fn with(self, funding_seconds: f64, drain_seconds: f64, memory: Memory) -> EngineReport {
        EngineReport { funding_seconds, drain_seconds, memory, ..self }
    }

    pub(super) fn with_feed(self, feed: Feed) -> EngineReport {
        EngineReport { feed, ..self }
    }

    pub(super) fn with_books(self, books: Books, unknown_in_all: u64, audit: Option<Report>) -> EngineReport {
        EngineReport { books, unknown_in_all, audit, ..self }
    }

    /// Whether the callers' own account, the room's feed, and the audit agree with the ledger. Gifts of unknown outcome may or may not be in.
    pub fn is_right(&self) -> bool {
        let Books { paid, received } = self.books;
        let agrees = received >= paid && received <= paid + self.unknown_in_all * super::PRICE;
        agrees && self.feed.value == received && self.audit.as_ref().is_none_or(|audit| audit.is_clean)
    }
}
