//! What every log must do.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::log::Logs;
use largesse_engine::record::RECORD_BYTES_MAX;
use largesse_storage::conformance::log::{self, LogUnderTest};
use largesse_storage::log::kafka::KafkaLogs;

use crate::harness::{SHAPE, TestLedger, brokers};

struct Kafka {
    ledger: TestLedger,
}

impl Kafka {
    fn connect(&self) -> BoxFuture<'_, Arc<dyn Logs>> {
        async {
            let logs = KafkaLogs::open(self.ledger.options.clone(), &self.ledger.name, SHAPE).await;
            let logs: Arc<dyn Logs> = Arc::new(logs.unwrap());
            logs
        }
        .boxed()
    }
}

impl LogUnderTest for Kafka {
    fn open(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.connect()
    }

    /// Another process, as far as a broker can tell.
    fn second(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.connect()
    }

    fn reopen(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.connect()
    }

    fn record_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX
    }
}

/// The suite's own macro makes no test that can be left out.
macro_rules! each {
    ($($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                if let Some(brokers) = brokers() {
                    let mut kafka = Kafka { ledger: TestLedger::new(&brokers) };
                    log::run(log::$case(&mut kafka));
                }
            }
        )*
    };
}

each! {
    starts_empty
    what_was_appended_is_read_back
    is_read_in_pieces
    takes_records_of_every_size
    answers_in_order
    a_newer_claim_replaces_the_owner
    many_owners_and_one_truth
    gives_up_what_was_truncated
    wakes_who_waits
    the_end_comes_after_everything
    shards_do_not_disturb_each_other
    keeps_what_it_answered_for
    an_owner_before_the_restart_is_not_believed
}
