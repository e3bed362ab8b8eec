//! What can be wrong with a ledger's topics, and what to do about it.

use std::fmt;

use largesse_engine::ledger::{LedgerName, LedgerShape};
use rdkafka::error::KafkaError;

use super::client::describe;
use super::plate::FORMAT;

/// Why a ledger's topics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("kafka at {brokers} cannot be used: {why}")]
    Unavailable { brokers: String, why: String },
    #[error("kafka cannot be used: {}", describe(.0))]
    Driver(#[from] KafkaError),
    #[error(
        "this program was built without {0} to kafka; build it with `--features kafka-tls`, or choose another \
         log.kafka.security-protocol"
    )]
    Unsupported(&'static str),
    #[error("kafka at {brokers} refuses this login: check log.kafka.user, its password and log.kafka.sasl-mechanism")]
    Refused { brokers: String },
    #[error(
        "no encrypted connection to kafka at {brokers} comes about: check log.kafka.ca-file and the brokers' certificates"
    )]
    Distrusted { brokers: String },
    #[error("there is no ledger `{ledger}` at {brokers}: check both, or start the server once to create it")]
    NoLedger { ledger: LedgerName, brokers: String },
    #[error(
        "topic {topic} has format {found}, this program knows formats up to {FORMAT}: start the newer program that wrote it"
    )]
    Newer { topic: String, found: u32 },
    #[error("topic {topic} is damaged: {why}")]
    Damaged { topic: String, why: String },
    #[error(
        "the ledger of topic {topic} was created with {found_shards} wallet shards and hash version {found_hash}, the \
         configuration says {asked_shards} and {asked_hash}: these can never change, correct the configuration",
        found_shards = .found.wallet_shards, found_hash = .found.hash_version,
        asked_shards = .asked.wallet_shards, asked_hash = .asked.hash_version
    )]
    OtherShape { topic: String, found: LedgerShape, asked: LedgerShape },
    #[error(
        "topic {topic} is gone, though the ledger exists: money would be lost; restore it, or remove the ledger's other \
         topics and its store as well to begin anew"
    )]
    Gone { topic: String },
    #[error(
        "partition {partition} of topic {topic} is empty, though the ledger exists: its log was deleted; restore it, or \
         remove all topics of the ledger and its store to begin anew"
    )]
    Emptied { topic: String, partition: i32 },
    #[error(
        "topic {topic} holds records, but {plate} does not say which ledger they are of: restore it, or remove both"
    )]
    Orphans { topic: String, plate: String },
    #[error("the topics of the ledger are not as they must be:\n{}", list(.0))]
    Settings(Vec<Problem>),
}

/// One thing that is not as it must be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub topic: String,
    pub what: String,
    pub change: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  topic {}: {}; {}", self.topic, self.what, self.change)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
