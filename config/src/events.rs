//! `[events]`: changes of accounts as messages for other programs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::values::span;

/// `[events]`: every change of an account as a JSON message in Kafka, for programs that want to follow along. It works
/// with either log, and gifts never wait for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EventsConfig {
    /// Whether events are published. Default: false.
    pub enabled: bool,
    /// The topic they go to. Default: `<ledger>.events`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The brokers that take them, each `host:port`. Default: those of log.kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<Vec<String>>,
    /// Partitions that the topic is made with; one that is there keeps its own. Default: 16.
    pub partitions: u16,
    /// Messages on their way at once, of all shards together. Default: 16384.
    pub in_flight_max: usize,
    /// How long events that cannot be published may hold the log; then it is cut, and a dead letter names what was not
    /// published. Of an embedded log they hold half at most. Default: 1 days.
    #[serde(with = "span")]
    pub hold_max: Duration,
    /// How often a message that the broker refuses is tried again by itself. Default: 16.
    pub retries: u32,
    /// About how long the first of these waits. Default: 10 s.
    #[serde(with = "span")]
    pub retry_first: Duration,
    /// And the last. Default: 2 h.
    #[serde(with = "span")]
    pub retry_longest: Duration,
}

impl Default for EventsConfig {
    fn default() -> Self {
        EventsConfig {
            enabled: false,
            topic: None,
            brokers: None,
            partitions: 16,
            in_flight_max: 16_384,
            hold_max: Duration::from_secs(86_400),
            retries: 16,
            retry_first: Duration::from_secs(10),
            retry_longest: Duration::from_secs(7_200),
        }
    }
}
