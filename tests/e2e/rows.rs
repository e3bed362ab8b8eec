//! Where the servers of these tests keep their rows: in the data folder or, with `LARGESSE_TEST_STORE=cql`, in the Cassandra
//! that `scripts/services up cassandra` starts, with a keyspace per data folder.

use std::path::Path;
use std::process::Command;

use scylla::client::session_builder::SessionBuilder;

pub fn are_in_a_database() -> bool {
    match std::env::var("LARGESSE_TEST_STORE").as_deref() {
        Ok("cql") => true,
        Ok("embedded") | Err(_) => false,
        Ok(other) => panic!("LARGESSE_TEST_STORE: `{other}` is no store; known are embedded, cql"),
    }
}

fn node() -> String {
    std::env::var("LARGESSE_TEST_CASSANDRA").unwrap_or_else(|_| "127.0.0.1:19042".into())
}

fn keyspace(data: &Path) -> String {
    let hash = data
        .to_string_lossy()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("e2e_{hash:016x}")
}

/// Tells a command where the rows of this data folder are.
pub fn configure(command: &mut Command, data: &Path) {
    if are_in_a_database() {
        command
            .env("LARGESSE__STORE__KIND", "cql")
            .env("LARGESSE__STORE__CQL__NODES", format!("[\"{}\"]", node()))
            .env("LARGESSE__STORE__CQL__KEYSPACE", keyspace(data))
            .env("LARGESSE__STORE__CQL__REPLICATION", "1")
            .env("LARGESSE__STORE__CQL__MIGRATE_AT_START", "true");
    }
}

/// Deletes all rows of this data folder.
pub fn lose(data: &Path) {
    if are_in_a_database() {
        drop_keyspace(data);
    } else {
        std::fs::remove_dir_all(data.join("store")).unwrap();
    }
}

/// On a thread of its own, since the test's runtime may be the one that waits.
pub fn drop_keyspace(data: &Path) {
    let statement = format!("DROP KEYSPACE IF EXISTS {}", keyspace(data));
    let dropping = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let session = SessionBuilder::new().known_node(node()).build().await;
            let session = session.expect("`scripts/services up cassandra` starts the server that tests need");
            session.query_unpaged(statement, ()).await.unwrap();
        });
    });
    dropping.join().unwrap();
}
