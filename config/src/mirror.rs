//! `[mirror]`: copies of balances, gifts, rooms and users in Redis, for other services to read.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::KeySource;
use crate::redis::{RedisKind, RedisServers};
use crate::values::{Secret, span};

/// `[mirror]`: where Redis is, and how long copies live there. Gifts never wait for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MirrorConfig {
    /// `off`; `redis`: one server; `redis-cluster`: servers that share the keys. Default: off.
    pub kind: RedisKind,
    /// The server, `host:port`; of a cluster some, which tell the others. Default: ["127.0.0.1:6379"].
    pub nodes: Vec<String>,
    /// Which database of a single server; a cluster has one only. Default: 0.
    pub database: u16,
    /// As whom to log in. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password to log in with. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file that holds the password instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Stands before every key. Without it: nothing for the ledger `main`, else the ledger's name and `:`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How long a balance lives after it was last written. Default: 1 days.
    #[serde(with = "span")]
    pub asset_ttl: Duration,
    /// How long a user lives after it was last written. Default: 1 days.
    #[serde(with = "span")]
    pub user_ttl: Duration,
    /// How long a room lives; it is written anew before. Default: 1 days.
    #[serde(with = "span")]
    pub room_ttl: Duration,
    /// How long a gift lives; it is written anew before. Default: 7 days.
    #[serde(with = "span")]
    pub gift_ttl: Duration,
    /// Balances that may wait for Redis; beyond, they are forgotten and read from the store again. Default: 200000.
    pub rows_max: usize,
    /// How often Redis is asked whether it still has everything. Default: 1 s.
    #[serde(with = "span")]
    pub check_every: Duration,
    /// How long a connection may take to open. Default: 1 s.
    #[serde(with = "span")]
    pub connect_timeout: Duration,
    /// How long an answer may take before it is tried again over a new connection. Default: 1 s.
    #[serde(with = "span")]
    pub response_timeout: Duration,
}

impl Default for MirrorConfig {
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        MirrorConfig {
            kind: RedisKind::Off,
            nodes: vec!["127.0.0.1:6379".into()],
            database: 0,
            user: None,
            password: None,
            password_file: None,
            prefix: None,
            asset_ttl: day,
            user_ttl: day,
            room_ttl: day,
            gift_ttl: 7 * day,
            rows_max: 200_000,
            check_every: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }
}

impl MirrorConfig {
    pub fn servers(&self) -> RedisServers<'_> {
        RedisServers {
            kind: self.kind,
            nodes: &self.nodes,
            database: self.database,
            user: self.user.as_deref(),
            password: KeySource::of(self.password.as_ref(), self.password_file.as_ref()),
            prefix: self.prefix.as_deref(),
        }
    }
}
