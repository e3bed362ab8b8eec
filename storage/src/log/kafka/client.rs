//! What all clients of a broker have in common: settings, and where their messages go.

use std::time::Duration;

use largesse_engine::ledger::LedgerName;
use largesse_engine::log::LogError;
use largesse_engine::units::{ShardId, ShardKind};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaOptions;

/// Tells what the driver has to say as everything else in this process does.
pub struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, message, "kafka");
            }
            // A broker that is away is told again and again on this level; who needs it hears it as an error of its own.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::debug!(facility, message, "kafka");
            }
            RDKafkaLogLevel::Debug => tracing::trace!(facility, message, "kafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Context {}

/// Where the shards of one ledger are.
#[derive(Clone, Debug)]
pub struct Topics {
    pub control: String,
    pub wallet: String,
    pub room: String,
}

impl Topics {
    pub fn of(ledger: &LedgerName) -> Topics {
        Topics {
            control: ledger.log_name(ShardKind::Control),
            wallet: ledger.log_name(ShardKind::Wallet),
            room: ledger.log_name(ShardKind::Room),
        }
    }

    /// Topic and partition of a shard.
    pub fn place(&self, shard: ShardId) -> (&str, i32) {
        let topic = match shard.kind {
            ShardKind::Control => &self.control,
            ShardKind::Wallet => &self.wallet,
            ShardKind::Room => &self.room,
        };
        (topic, i32::from(shard.index))
    }
}

pub fn base_config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", options.brokers.join(","))
        .set("client.id", "largesse")
        .set("socket.timeout.ms", millis(options.request_timeout))
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "1000")
        // A topic that is missing is told, never made by asking for it.
        .set("allow.auto.create.topics", "false");
    options.security.configure(&mut config);
    config
}

pub fn millis(span: Duration) -> String {
    span.as_millis().to_string()
}

pub fn unavailable(error: &KafkaError) -> LogError {
    LogError::Unavailable(format!("kafka: {}", describe(error)))
}

/// The broker's own words where there are some.
pub fn describe(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            "the topic is gone".to_owned()
        }
        _ => error.to_string(),
    }
}
