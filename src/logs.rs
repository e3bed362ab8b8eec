//! The log that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use largesse_config::{Config, KafkaConfig, LogKind, SaslMechanism};
use largesse_engine::log::Logs;
use largesse_storage::folder::DataFolder;
use largesse_storage::ledger_id::LedgerId;
use largesse_storage::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};
use largesse_storage::log::kafka::{KafkaLogs, KafkaOptions, Login, Mechanism, Security, Tls};

use crate::exit::Failure;

/// How often records that nobody needs any more are given up.
const CUT_EVERY: Duration = Duration::from_secs(10);

/// Opens it for the ledger that the folder belongs to, and sees to it that the folder belongs to no other.
pub async fn open(config: &Config, folder: &Arc<DataFolder>) -> Result<Arc<dyn Logs>, Failure> {
    match config.log.kind {
        LogKind::Embedded => {
            let logs = EmbeddedLogs::open(folder, embedded_options(config)).map_err(Failure::new)?;
            let id = folder.id().cloned().unwrap_or_else(LedgerId::fresh);
            folder.belong_to(&id).map_err(Failure::new)?;
            Ok(Arc::new(logs))
        }
        LogKind::Kafka => {
            refuse_embedded_log(folder)?;
            let logs = KafkaLogs::open(kafka_options(config)?, folder.ledger(), folder.shape()).await;
            let logs = logs.map_err(Failure::new)?;
            if let Some(id) = logs.id() {
                folder.belong_to(id).map_err(Failure::new)?;
            }
            Ok(Arc::new(logs))
        }
    }
}

fn embedded_options(config: &Config) -> EmbeddedLogOptions {
    let defaults = EmbeddedLogOptions::default();
    let segment_bytes = config.log.segment_bytes.get();
    EmbeddedLogOptions {
        segment_bytes,
        bytes_max: config.log.bytes_max.get(),
        reserve_bytes: defaults.reserve_bytes.min(segment_bytes / 2),
        ..defaults
    }
}

/// Money in a log that nobody reads any more would be gone without a word.
fn refuse_embedded_log(folder: &DataFolder) -> Result<(), Failure> {
    if !folder.has_log() {
        return Ok(());
    }
    let what = format!("log.kind is `kafka`, but {} holds an embedded log", folder.dir().display());
    Err(Failure::new(what).help("choose another data.dir, or set log.kind to `embedded`; a log cannot move over"))
}

pub fn kafka_options(config: &Config) -> Result<KafkaOptions, Failure> {
    let kafka = &config.log.kafka;
    Ok(KafkaOptions {
        brokers: kafka.brokers.clone(),
        security: security(kafka)?,
        producers: kafka.producers,
        replication: kafka.replication,
        min_insync_replicas: kafka.min_insync_replicas,
        delivery_timeout: kafka.delivery_timeout,
        request_timeout: kafka.request_timeout,
        cut_every: kafka.cut.then_some(CUT_EVERY),
        bytes_max: config.log.bytes_max.get(),
    })
}

fn security(kafka: &KafkaConfig) -> Result<Security, Failure> {
    let protocol = kafka.security_protocol;
    let login = match (&kafka.user, kafka.password()) {
        (Some(user), Some(password)) if protocol.logs_in() => Some(Login {
            mechanism: match kafka.sasl_mechanism {
                SaslMechanism::Plain => Mechanism::Plain,
                SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
            },
            user: user.clone(),
            password: password.read().map_err(Failure::new)?.expose().into(),
        }),
        (Some(_) | None, _) => None,
    };
    let tls = protocol.is_encrypted().then(|| Tls { ca_file: kafka.ca_file.clone() });
    Ok(Security { tls, login })
}
