//! Which topics a command reads that looks at logs in Kafka.

use clap::Args;
use largesse_config::{Config, LogKind};
use largesse_engine::ledger::LedgerName;
use largesse_storage::log::kafka::KafkaOptions;

use crate::exit::Failure;
use crate::logs;

#[derive(Clone, Debug, Args)]
pub struct Kafka {
    /// Read the logs from these brokers, and neither from the data folder nor from where the configuration says:
    /// `host:port`, separated by commas.
    #[arg(long = "kafka", value_name = "BROKERS", value_delimiter = ',')]
    pub brokers: Vec<String>,
    /// Which ledger of those in Kafka [default: ledger.name].
    #[arg(long, value_name = "NAME")]
    pub ledger: Option<LedgerName>,
}

impl Kafka {
    /// `None` when the logs are in the data folder.
    pub fn topics(&self, config: &Config) -> Result<Option<(KafkaOptions, LedgerName)>, Failure> {
        if self.brokers.is_empty() && config.log.kind == LogKind::Embedded {
            return match &self.ledger {
                None => Ok(None),
                Some(ledger) => {
                    Err(Failure::usage(format_args!("--ledger {ledger} is one in Kafka, but the log is in a folder"))
                        .help("name brokers with --kafka, or a configuration whose log is in Kafka with --config"))
                }
            };
        }
        let ledger = match &self.ledger {
            Some(ledger) => ledger.clone(),
            None => config.ledger.name.parse().map_err(Failure::new)?,
        };
        let mut options = logs::kafka_options(config)?;
        if !self.brokers.is_empty() {
            options.brokers.clone_from(&self.brokers);
        }
        Ok(Some((options, ledger)))
    }
}
