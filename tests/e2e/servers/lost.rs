//! Servers that have lost what they held, or hold what belongs to others: noticed and refused, with what to do.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use scylla::client::session_builder::SessionBuilder;
use serde_json::json;

use super::own::{Own, PASSWORD};
use super::stage::audit;
use crate::harness::{Client, Config, Launch, Scratch, until};
use crate::setup;

const SENDER: u64 = 3001;
const PATIENCE: Duration = Duration::from_secs(60);

/// A ledger with its log in Kafka and its rows in Cassandra, both shared; they go with it.
struct Ledger {
    name: String,
}

impl Ledger {
    fn new() -> Ledger {
        Ledger { name: format!("l{:x}", rand::random::<u64>()) }
    }

    fn config(&self) -> Config {
        let more = format!("{}\n{}\n[engine]\nflush-every = \"50 ms\"\n", self.log(), rows(&self.name));
        Config { ledger: self.name.clone(), wallet_shards: 2, more, ..Config::new(&[2001]) }
    }

    fn log(&self) -> String {
        let brokers = setup::kafka();
        format!(
            "[log]\nkind = \"kafka\"\n[log.kafka]\nbrokers = [\"{brokers}\"]\nreplication = 1\nmin-insync-replicas = 1\n\
             # Nothing is given up but by the test.\ncut = false"
        )
    }

    fn launch(&self, scratch: &Scratch) -> Launch {
        Launch::serve_as_written(&scratch.data(), &self.config())
    }

    /// Cuts both wallet logs before everything that they hold now, as nobody may but Largesse.
    fn cut(&self, client: &AdminClient<DefaultClientContext>) {
        let mut all = TopicPartitionList::new();
        for partition in 0..2 {
            all.add_partition_offset(&format!("{}.wallet", self.name), partition, Offset::End).unwrap();
        }
        block_on(client.delete_records(&all, &AdminOptions::new())).unwrap();
    }
}

fn rows(keyspace: &str) -> String {
    let node = setup::cassandra();
    format!(
        "[store]\nkind = \"cql\"\n[store.cql]\nnodes = [\"{node}\"]\nkeyspace = \"{keyspace}\"\nreplication = 1\n\
         partitions = 16\nmigrate-at-start = true\nforgets-for = \"0 s\""
    )
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", setup::kafka()).create().unwrap()
}

async fn drop_rows(keyspace: &str) {
    let session = SessionBuilder::new().known_node(setup::cassandra()).build().await.unwrap();
    session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {keyspace}"), ()).await.unwrap();
}

impl Drop for Ledger {
    fn drop(&mut self) {
        setup::delete_topics(&setup::kafka(), &self.name);
        let name = self.name.clone();
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(drop_rows(&name));
        });
        let _failed = dropping.join();
    }
}

async fn open(client: &Client) {
    client.apply_catalog(|_| ()).await;
    client.recharge(SENDER, 1_000, "first").await.ok();
    roses(client, "a", 20).await;
}

async fn roses(client: &Client, name: &str, count: u64) {
    for number in 0..count {
        let body = json!({"gift_id": 1, "count": 1, "to": [2001]});
        client.gift(SENDER, &format!("{name}-{number}"), &body).await.ok();
    }
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// In order, since each goes on where the one before stopped: rows lost, made again; log cut, rows lost, refused; topic
/// deleted, refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes and drops many tables; `./test --long` runs it"]
async fn what_was_lost_is_made_again_or_refused() {
    if !setup::has_servers() {
        return;
    }
    let (ledger, scratch) = (Ledger::new(), Scratch::new());
    let server = ledger.launch(&scratch).ready().await;
    open(&server.client).await;
    server.stop();
    audit(&scratch);

    drop_rows(&ledger.name).await;
    let server = ledger.launch(&scratch).ready().await;
    assert_eq!(server.client.coins(SENDER).await, 980, "the log has everything");
    let are_listed = || async {
        let (items, _) = server.client.history(SENDER, "sent", "gift").await;
        (items.len() == 20).then_some(())
    };
    until("the rows are written again", PATIENCE, are_listed).await;
    server.stop();
    audit(&scratch);

    let server = ledger.launch(&scratch).env("LARGESSE__ENGINE__FLUSH_EVERY", "1 min").ready().await;
    assert_eq!(server.client.coins(SENDER).await, 980);
    roses(&server.client, "b", 5).await;
    server.kill();
    // Cut by somebody else, farther than the rows go: what lies between is nowhere.
    ledger.cut(&admin());
    let ended = ledger.launch(&scratch).refused().await;
    assert_says(&ended.stderr, &["its log begins only at", "restore the store from a backup"]);
    drop_rows(&ledger.name).await;
    let ended = ledger.launch(&scratch).refused().await;
    assert_says(&ended.stderr, &["the store has nothing of", "its log begins only at", "restore the store"]);

    let topic = format!("{}.wallet", ledger.name);
    block_on(admin().delete_topics(&[topic.as_str()], &AdminOptions::new())).unwrap();
    let ended = ledger.launch(&scratch).refused().await;
    assert_says(&ended.stderr, &[&topic, "is gone, though the ledger exists"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_one_log_are_not_taken_for_a_view_of_another() {
    if !setup::has_servers() {
        return;
    }
    let (ledger, scratch) = (Ledger::new(), Scratch::new());
    let server = ledger.launch(&scratch).ready().await;
    open(&server.client).await;
    server.stop();
    // Somebody deletes everything in Kafka and begins anew, with another data folder.
    setup::delete_topics(&setup::kafka(), &ledger.name);
    let other = Scratch::new();
    let ended = ledger.launch(&other).refused().await;
    assert_says(&ended.stderr, &["are of the log with the id", "correct where the log is"]);
    // With the folder of before it is the folder that knows.
    let ended = ledger.launch(&scratch).refused().await;
    assert_says(&ended.stderr, &["belongs to the ledger with the id", "choose another data.dir"]);
    // Two folders with logs of their own cannot share rows either.
    let keyspace = Ledger::new();
    let folders = [Scratch::new(), Scratch::new()];
    let config = Config { more: rows(&keyspace.name), wallet_shards: 2, ..Config::new(&[2001]) };
    let first = Launch::serve_as_written(&folders[0].data(), &config).ready().await;
    open(&first.client).await;
    let ended = Launch::serve_as_written(&folders[1].data(), &config).refused().await;
    assert_says(&ended.stderr, &["are of the log with the id", "another keyspace or name"]);
    first.stop();
    Launch::serve_as_written(&folders[0].data(), &config).ready().await.stop();
}

/// As users do who have to log in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_wants_a_password_gets_it() {
    if !setup::has_servers() {
        return;
    }
    let kafka = Own::kafka(1, None).await;
    let (scratch, file) = (Scratch::new(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), PASSWORD).unwrap();
    let config = |user: &str| {
        let more = format!(
            "[log]\nkind = \"kafka\"\n[log.kafka]\nbrokers = [\"127.0.0.1:{}\"]\nreplication = 1\nmin-insync-replicas = 1\n\
             request-timeout = \"2 s\"\ndelivery-timeout = \"4 s\"\nsecurity-protocol = \"sasl-plaintext\"\nuser = \"{user}\"\n\
             password-file = {:?}\n",
            kafka.port + 2,
            file.path()
        );
        Config { wallet_shards: 2, more, ..Config::new(&[2001]) }
    };
    let server = Launch::serve_as_written(&scratch.data(), &config("largesse")).ready().await;
    open(&server.client).await;
    server.stop();
    audit(&scratch);
    let ended = Launch::serve_as_written(&scratch.data(), &config("somebody")).refused().await;
    assert_says(&ended.stderr, &["refuses this login", "log.kafka.user"]);
}
