//! `[store.cql]`: the store in ScyllaDB or Cassandra.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::KeySource;
use crate::values::{Secret, span};

/// `[store.cql]`: where the database is, and how it is used when `store.kind` is `cql`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CqlConfig {
    /// Addresses of some of its nodes, `host:port`; they tell the others. Default: ["127.0.0.1:9042"].
    pub nodes: Vec<String>,
    /// The keyspace that holds the tables: a-z, 0-9 and _, a letter first, at most 48. Default: largesse.
    pub keyspace: String,
    /// The datacenter near this process, where rows are read and written; needed when there are several. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// Copies of each row, when `store migrate` makes the keyspace; one that is there keeps its own. Default: 3.
    pub replication: u16,
    /// Partitions of each table over all shards, for history in each hour; it can never be changed later. Default: 1024.
    pub partitions: u32,
    /// As whom to log in. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// That user's password. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file that holds the password instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Batches of rows on their way at once; more wait. Default: 64.
    pub batches_in_flight_max: usize,
    /// Reads on their way at once; more wait. Default: 256.
    pub reads_in_flight_max: usize,
    /// How long a connection may take to open. Default: 5 s.
    #[serde(with = "span")]
    pub connect_timeout: Duration,
    /// How long a read may take before the caller is told `store_unavailable`. Default: 1 s.
    #[serde(with = "span")]
    pub read_timeout: Duration,
    /// How long one batch of a flush may take before the flush begins again. Default: 5 s.
    #[serde(with = "span")]
    pub write_timeout: Duration,
    /// How long the database may forget what it has acknowledged, as one does that is killed before it has synced
    /// (Cassandra: `commitlog_sync_period`). The log and this process keep everything for so long. Default: 15 s.
    #[serde(with = "span")]
    pub forgets_for: Duration,
    /// Make or upgrade the tables when the server starts, as `store migrate` does; for one server only. Default: false.
    pub migrate_at_start: bool,
}

impl Default for CqlConfig {
    fn default() -> Self {
        CqlConfig {
            nodes: vec!["127.0.0.1:9042".into()],
            keyspace: "largesse".into(),
            datacenter: None,
            replication: 3,
            partitions: 1_024,
            user: None,
            password: None,
            password_file: None,
            batches_in_flight_max: 64,
            reads_in_flight_max: 256,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(1),
            write_timeout: Duration::from_secs(5),
            forgets_for: Duration::from_secs(15),
            migrate_at_start: false,
        }
    }
}

impl CqlConfig {
    pub fn password(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.password.as_ref(), self.password_file.as_ref())
    }
}
