//! How long answers took.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// From when something was meant to begin until it was answered, in microseconds. With a rate that includes the time it had
/// to wait for its caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

/// Longer ones count as this long.
const LONGEST_US: u64 = 600_000_000;

/// Latencies in microseconds, to three digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Latencies(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds are valid"))
    }
}

impl Latencies {
    pub fn note(&mut self, took: Duration, times: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US);
        self.0.saturating_record_n(micros.max(1), times);
    }

    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub fn summary(&self) -> Latency {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Latency { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us: self.0.max() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_every_time_it_took_that_long() {
        let mut latencies = Latencies::default();
        latencies.note(Duration::from_micros(100), 989);
        latencies.note(Duration::from_millis(5), 11);
        let mut all = Latencies::default();
        all.add(&latencies);
        let Latency { p50_us, p99_us, max_us, .. } = all.summary();
        assert_eq!(p50_us, 100);
        assert!((5_000..5_010).contains(&p99_us) && max_us >= p99_us, "{p99_us} {max_us}");
    }
}
