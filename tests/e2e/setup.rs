//! On which engines the servers of these tests run: everything in the data folder or, with `LARGESSE_TEST_SETUP=servers`,
//! the log in the Kafka and the rows in the Cassandra that `scripts/services up` starts. There each data folder has a
//! ledger and a keyspace of its own, which go with it.

use std::path::Path;
use std::process::Command;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use scylla::client::session_builder::SessionBuilder;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    Embedded,
    Servers,
}

/// The one that this run is about.
pub fn setup() -> Setup {
    match std::env::var("LARGESSE_TEST_SETUP").as_deref() {
        Ok("servers") => Setup::Servers,
        Ok("embedded") | Err(_) => Setup::Embedded,
        Ok(other) => panic!("LARGESSE_TEST_SETUP: `{other}` is no set-up; known are embedded, servers"),
    }
}

/// For a test about something that only a data folder has; the other set-up leaves it out.
pub fn has_everything_in_its_folder(why: &str) -> bool {
    let is_embedded = setup() == Setup::Embedded;
    if !is_embedded {
        eprintln!("left out with Kafka and Cassandra: {why}");
    }
    is_embedded
}

pub fn cassandra() -> String {
    std::env::var("LARGESSE_TEST_CASSANDRA").unwrap_or_else(|_| "127.0.0.1:19042".into())
}

pub fn kafka() -> String {
    std::env::var("LARGESSE_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:19092".into())
}

/// Whether the servers that tests start or talk to may be used. `false` only when somebody said that they shall be left out.
pub fn has_servers() -> bool {
    let is_off = std::env::var("LARGESSE_TEST_SERVICES").is_ok_and(|value| value == "off");
    if is_off {
        eprintln!("left out: LARGESSE_TEST_SERVICES=off");
    }
    !is_off
}

/// Name of the ledger in this data folder.
pub fn ledger(data: &Path) -> String {
    match setup() {
        Setup::Embedded => "main".into(),
        Setup::Servers => own_name(data),
    }
}

/// Another one for each folder.
fn own_name(data: &Path) -> String {
    let hash = data
        .to_string_lossy()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("e2e_{hash:016x}")
}

/// Tells a command where log and rows of this data folder are.
pub fn configure(command: &mut Command, data: &Path) {
    if setup() == Setup::Embedded {
        return;
    }
    for (key, value) in [
        ("LEDGER__NAME", own_name(data)),
        ("LOG__KIND", "kafka".into()),
        ("LOG__KAFKA__BROKERS", format!("[\"{}\"]", kafka())),
        ("LOG__KAFKA__PRODUCERS", "2".into()),
        ("LOG__KAFKA__REPLICATION", "1".into()),
        ("LOG__KAFKA__MIN_INSYNC_REPLICAS", "1".into()),
        ("STORE__KIND", "cql".into()),
        ("STORE__CQL__NODES", format!("[\"{}\"]", cassandra())),
        ("STORE__CQL__KEYSPACE", own_name(data)),
        ("STORE__CQL__REPLICATION", "1".into()),
        ("STORE__CQL__PARTITIONS", "64".into()),
        ("STORE__CQL__MIGRATE_AT_START", "true".into()),
        // The server of `scripts/services` syncs before it acknowledges.
        ("STORE__CQL__FORGETS_FOR", "0 s".into()),
    ] {
        command.env(format!("LARGESSE__{key}"), value);
    }
}

/// Deletes all rows of this data folder.
pub fn lose_rows(data: &Path) {
    match setup() {
        Setup::Embedded => std::fs::remove_dir_all(data.join("store")).unwrap(),
        Setup::Servers => drop_keyspace(data),
    }
}

/// Deletes what servers hold of this data folder.
pub fn forget(data: &Path) {
    if setup() == Setup::Servers {
        drop_keyspace(data);
        delete_topics(&kafka(), &own_name(data));
    }
}

pub fn delete_topics(brokers: &str, ledger: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topics = ["control", "wallet", "room", "ledger"].map(|kind| format!("{ledger}.{kind}"));
    // Some may never have been made.
    drop(block_on(admin.delete_topics(&topics.each_ref().map(String::as_str), &AdminOptions::new())));
}

/// On a thread of its own, since the test's runtime may be the one that waits.
fn drop_keyspace(data: &Path) {
    let statement = format!("DROP KEYSPACE IF EXISTS {}", own_name(data));
    let dropping = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let session = SessionBuilder::new().known_node(cassandra()).build().await;
            let session = session.expect("`scripts/services up cassandra` starts the server that tests need");
            session.query_unpaged(statement, ()).await.unwrap();
        });
    });
    dropping.join().unwrap();
}
