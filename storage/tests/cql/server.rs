//! The shared server with a keyspace of its own for each test, and a private server for tests that hurt it.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_storage::conformance::store::Fixture;
use largesse_storage::store::cql::{CqlOptions, CqlStore, migrate};
use rustix::process::{Pid, Signal, kill_process};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

pub const SHAPE: LedgerShape = LedgerShape { wallet_shards: 4, hash_version: 1 };

/// The shared server's address, which is where `scripts/services` starts it. `None` only when somebody said that servers
/// shall be left out.
fn shared() -> Option<String> {
    if std::env::var("LARGESSE_TEST_SERVICES").is_ok_and(|value| value == "off") {
        eprintln!("left out: LARGESSE_TEST_SERVICES=off");
        return None;
    }
    Some(std::env::var("LARGESSE_TEST_CASSANDRA").unwrap_or_else(|_| "127.0.0.1:19042".into()))
}

fn options(node: String, keyspace: &str) -> CqlOptions {
    // The servers that tests start sync before they acknowledge.
    let forgets_for = Duration::ZERO;
    CqlOptions { nodes: vec![node], keyspace: keyspace.into(), replication: 1, forgets_for, ..CqlOptions::default() }
}

/// Tables of one ledger in a keyspace that nobody else uses; dropped with it.
pub struct Keyspace {
    pub options: CqlOptions,
}

impl Keyspace {
    pub async fn new() -> Option<Keyspace> {
        let keyspace = Keyspace::without_tables()?;
        keyspace.migrate().await;
        Some(keyspace)
    }

    pub fn without_tables() -> Option<Keyspace> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Some(Keyspace { options: options(shared()?, &format!("test_{process}_{number}")) })
    }

    pub async fn migrate(&self) {
        if let Err(error) = migrate(&self.options, &LedgerName::default(), SHAPE).await {
            panic!("{error}\nTests need a server: `scripts/services up cassandra` starts one.");
        }
    }

    pub async fn store(&self) -> CqlStore {
        CqlStore::open(&LedgerName::default(), SHAPE, self.options.clone()).await.unwrap()
    }

    /// To read rows as anyone else would.
    pub async fn session(&self) -> Session {
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

/// A server that nobody else uses; it ends with this.
pub struct PrivateServer {
    dir: tempfile::TempDir,
    port: u16,
    pub options: CqlOptions,
}

impl PrivateServer {
    pub async fn start() -> Option<PrivateServer> {
        shared()?;
        let port = std::env::var("LARGESSE_TEST_OWN_CASSANDRA_PORT").ok().and_then(|port| port.parse().ok());
        let port = port.unwrap_or(19_600);
        let options = options(format!("127.0.0.1:{port}"), "private");
        let server = PrivateServer { dir: tempfile::tempdir().unwrap(), port, options };
        server.up();
        migrate(&server.options, &LedgerName::default(), SHAPE).await.unwrap();
        Some(server)
    }

    /// Starts it, also again, and waits until it answers.
    pub fn up(&self) {
        self.services("up");
    }

    fn services(&self, verb: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let run = Command::new(root.join("scripts/services"))
            .args([verb, "cassandra"])
            .env("LARGESSE_SERVICES_DIR", self.dir.path())
            .env("LARGESSE_CASSANDRA_PORT", self.port.to_string())
            .env("LARGESSE_CASSANDRA_MEMORY", "512m")
            .output()
            .unwrap();
        assert!(run.status.success(), "{verb}: {}", String::from_utf8_lossy(&run.stderr));
    }

    fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.dir.path().join("cassandra/pid")).unwrap();
        let pid = pid.lines().next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub async fn store(&self, read_timeout: Duration) -> CqlStore {
        let options = CqlOptions { read_timeout, write_timeout: read_timeout, ..self.options.clone() };
        CqlStore::open(&LedgerName::default(), SHAPE, options).await.unwrap()
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.thaw_if_there();
        self.services("down");
    }
}

impl PrivateServer {
    /// One that is frozen does not end when it is asked to.
    fn thaw_if_there(&self) {
        if let Ok(pid) = std::fs::read_to_string(self.dir.path().join("cassandra/pid"))
            && let Some(pid) = pid.lines().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw)
        {
            let _gone = kill_process(pid, Signal::CONT);
        }
    }
}
