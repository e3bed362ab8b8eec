//! Events out and dead letters, as the configuration wants them.

use std::sync::Arc;

use largesse_config::{Config, LogKind};
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::node::backoff::Ladder;
use largesse_storage::events::EventsOptions;
use largesse_storage::letters::{LetterFolder, LetterLog, LetterTopic};

use crate::exit::Failure;
use crate::run::kafka_options;

pub fn options(config: &Config) -> Result<EventsOptions, Failure> {
    let events = &config.events;
    let ledger: LedgerName = config.ledger.name.parse().map_err(Failure::new)?;
    let mut kafka = kafka_options(&config.log.kafka);
    if let Some(brokers) = &events.brokers {
        kafka.brokers.clone_from(brokers);
    }
    Ok(EventsOptions {
        topic: events.topic.clone().unwrap_or_else(|| EventsOptions::topic_of(&ledger)),
        ledger,
        shape: LedgerShape::new(config.ledger.wallet_shards),
        kafka,
        partitions: events.partitions,
        in_flight_max: events.in_flight_max,
        hold_max: events.hold_max,
        ladder: Ladder { first: events.retry_first, longest: events.retry_longest, tries: Some(events.retries) },
        log_is_kafka: config.log.kind == LogKind::Kafka,
    })
}

/// Where dead letters are: beside the log.
pub fn letters(config: &Config) -> Result<Arc<dyn LetterLog>, Failure> {
    Ok(match config.log.kind {
        LogKind::Embedded => Arc::new(LetterFolder::new(&config.data.dir)),
        LogKind::Kafka => {
            let ledger: LedgerName = config.ledger.name.parse().map_err(Failure::new)?;
            Arc::new(LetterTopic::new(&kafka_options(&config.log.kafka), &ledger).map_err(Failure::new)?)
        }
    })
}
