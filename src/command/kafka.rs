//! Which topics a command reads that looks at logs in Kafka.

use clap::Args;
use largesse_engine::ledger::LedgerName;
use largesse_storage::log::kafka::KafkaOptions;

#[derive(Clone, Debug, Args)]
pub struct Kafka {
    /// Read the logs from these brokers instead of the data folder: `host:port`, separated by commas.
    #[arg(long = "kafka", value_name = "BROKERS", value_delimiter = ',')]
    pub brokers: Vec<String>,
    /// With --kafka: which ledger.
    #[arg(long, default_value_t, value_name = "NAME", requires = "brokers")]
    pub ledger: LedgerName,
}

impl Kafka {
    /// `None` when the logs are in the data folder.
    pub fn options(&self) -> Option<KafkaOptions> {
        if self.brokers.is_empty() {
            return None;
        }
        Some(KafkaOptions { brokers: self.brokers.clone(), ..KafkaOptions::default() })
    }
}
