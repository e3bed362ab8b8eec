//! What a run of the engine bench says.

use largesse_engine::audit::Report;
use serde::Serialize;

use super::EngineBench;
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
    pub latency: Latency,
    pub refused: u64,
    /// Gifts that were sent away before anything was decided.
    pub overloaded: u64,
    /// Gifts whose outcome the callers were not told.
    pub unknown: u64,
    /// Gifts that began later than intended, when a rate was asked for.
    pub late: u64,
    pub log_bytes_per_gift: f64,
    /// Events that the store did not have yet when the last answer came.
    pub flush_lag_events: u64,
    pub drain_seconds: f64,
    pub books: Books,
    pub audit: Option<Report>,
}

/// From when a batch was meant to begin until its last gift was answered, in microseconds. With a rate that includes the
/// time it had to wait for its caller.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

/// What the callers were told against what the hosts hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Books {
    pub paid: u64,
    pub received: u64,
}

impl EngineReport {
    /// Whether the callers' own account and the audit agree with the ledger. Gifts of unknown outcome may or may not be in.
    pub fn is_right(&self) -> bool {
        let Books { paid, received } = self.books;
        let agrees = received >= paid && received <= paid + self.unknown * super::PRICE;
        agrees && self.audit.as_ref().is_none_or(|audit| audit.is_clean)
    }
}
