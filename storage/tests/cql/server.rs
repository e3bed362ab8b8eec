//! The shared server, and a keyspace of its own for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_storage::conformance::store::Fixture;
use largesse_storage::store::cql::{CqlOptions, CqlStore, migrate};
use scylla::client::session_builder::SessionBuilder;

pub const SHAPE: LedgerShape = LedgerShape { wallet_shards: 16, hash_version: 1 };

/// Where `scripts/services` starts Cassandra.
pub fn address() -> String {
    let port = std::env::var("LARGESSE_CASSANDRA_PORT").unwrap_or_else(|_| "19042".into());
    format!("127.0.0.1:{port}")
}

pub fn options(address: &str, keyspace: &str) -> CqlOptions {
    CqlOptions { nodes: vec![address.into()], keyspace: keyspace.into(), replication: 1, ..CqlOptions::default() }
}

/// Tables of one ledger in a keyspace that nobody else uses; dropped with it.
pub struct Keyspace {
    pub options: CqlOptions,
}

impl Keyspace {
    pub async fn new() -> Keyspace {
        let keyspace = Keyspace::without_tables();
        keyspace.migrate().await;
        keyspace
    }

    pub fn without_tables() -> Keyspace {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Keyspace { options: options(&address(), &format!("test_{process}_{number}")) }
    }

    pub async fn migrate(&self) {
        if let Err(error) = migrate(&self.options, &LedgerName::default(), SHAPE).await {
            panic!("{error}\nTests need a server: `scripts/services up cassandra` starts one.");
        }
    }

    pub async fn store(&self) -> CqlStore {
        CqlStore::open(&LedgerName::default(), SHAPE, self.options.clone()).await.unwrap()
    }

    /// Rows as anyone else would read them.
    pub async fn session(&self) -> scylla::client::session::Session {
        let session = SessionBuilder::new().known_nodes(&self.options.nodes).build().await.unwrap();
        session.use_keyspace(&self.options.keyspace, false).await.unwrap();
        session
    }
}

impl Fixture for Keyspace {
    type Store = CqlStore;

    async fn open(&self) -> CqlStore {
        self.store().await
    }
}

impl Drop for Keyspace {
    /// On a thread of its own: the test's runtime is busy with dropping this.
    fn drop(&mut self) {
        let (nodes, name) = (self.options.nodes.clone(), self.options.keyspace.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(session) = SessionBuilder::new().known_nodes(nodes).build().await {
                    let _left_behind = session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await;
                }
            });
        });
        let _ended = dropping.join();
    }
}
