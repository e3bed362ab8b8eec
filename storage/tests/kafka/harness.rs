//! Where the broker is, and ledgers that leave nothing behind.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_storage::log::kafka::KafkaOptions;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

pub const SHAPE: LedgerShape = LedgerShape { wallet_shards: 8, hash_version: 1 };

/// The shared broker's address. `None` only when somebody said that servers shall be left out.
pub fn brokers() -> Option<String> {
    if std::env::var("LARGESSE_TEST_SERVICES").is_ok_and(|value| value == "off") {
        eprintln!("left out: LARGESSE_TEST_SERVICES=off");
        return None;
    }
    Some(std::env::var("LARGESSE_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:19092".into()))
}

pub fn options(brokers: &str) -> KafkaOptions {
    KafkaOptions {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        producers: 2,
        replication: 1,
        min_insync_replicas: 1,
        request_timeout: Duration::from_secs(10),
        cut_every: Some(Duration::from_millis(100)),
        ..KafkaOptions::default()
    }
}

/// A ledger of its own for one test; its topics go with it.
pub struct TestLedger {
    pub name: LedgerName,
    pub options: KafkaOptions,
}

impl TestLedger {
    pub fn new(brokers: &str) -> TestLedger {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Seeded by the system, so another one each time.
        let random = RandomState::new().build_hasher().finish();
        let name = format!("t{random:x}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        TestLedger { name: name.parse().unwrap(), options: options(brokers) }
    }

    pub fn topic(&self, kind: &str) -> String {
        format!("{}.{kind}", self.name)
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.options.brokers.join(",")).create().unwrap()
    }

    pub fn delete(&self, kinds: &[&str]) {
        let topics: Vec<String> = kinds.iter().map(|kind| self.topic(kind)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let options = AdminOptions::new()
            .request_timeout(Some(Duration::from_secs(10)))
            .operation_timeout(Some(Duration::from_secs(10)));
        // Some may be gone already.
        let admin = self.admin();
        drop(block_on(admin.delete_topics(&topics, &options)));
        // It takes a moment until brokers tell nobody of them any more.
        let patience = Duration::from_secs(10);
        let are_there =
            |all: &rdkafka::metadata::Metadata| all.topics().iter().any(|topic| topics.contains(&topic.name()));
        while admin.inner().fetch_metadata(None, patience).is_ok_and(|all| are_there(&all)) {}
    }
}

impl Drop for TestLedger {
    fn drop(&mut self) {
        self.delete(&["control", "wallet", "room", "ledger", "events", "positions", "dlq"]);
    }
}
