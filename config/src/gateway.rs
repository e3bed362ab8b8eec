//! `[frames]`, `[gateway]` and `[ws]`: sockets, in one process or in many in front of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::KeySource;
use crate::check::{Checks, Problems, one_of};
use crate::model::Config;
use crate::redis::{RedisKind, RedisServers};
use crate::values::{Secret, span};

/// `[frames]`: what rooms show, through Redis to gateways. Nobody waits for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FramesConfig {
    /// `off`; `redis`: one server; `redis-cluster`: servers that share the channels. Default: off.
    pub kind: RedisKind,
    /// The server, `host:port`; of a cluster some, which tell the others. Default: ["127.0.0.1:6379"].
    pub nodes: Vec<String>,
    /// Which database of a single server to log in to; channels are the same in all. Default: 0.
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
    /// Stands before every channel. Without it: the ledger's name and `:`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How long a connection may take to open. Default: 1 s.
    #[serde(with = "span")]
    pub connect_timeout: Duration,
    /// How long an answer may take before a new connection is made. Default: 1 s.
    #[serde(with = "span")]
    pub response_timeout: Duration,
}

impl Default for FramesConfig {
    fn default() -> Self {
        FramesConfig {
            kind: RedisKind::Off,
            nodes: vec!["127.0.0.1:6379".into()],
            database: 0,
            user: None,
            password: None,
            password_file: None,
            prefix: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }
}

impl FramesConfig {
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

    pub(crate) fn check(&self, checks: &mut Checks) {
        self.servers().check("frames", checks);
        one_of(checks, "frames.password", self.password.as_ref(), self.password_file.as_ref());
        let timeouts =
            [("frames.connect-timeout", self.connect_timeout), ("frames.response-timeout", self.response_timeout)];
        for (key, span) in timeouts {
            let is_sane = (Duration::from_millis(10)..=Duration::from_secs(60)).contains(&span);
            checks.that(is_sane, key, "must be 10 ms to 1 min");
        }
    }
}

/// `[gateway]`: for `serve --role gateway`, which holds sockets and passes on what else it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GatewayConfig {
    /// Public addresses of processes that own shards, such as "http://10.0.0.5:8080", tried in turn. Default: [].
    pub upstreams: Vec<String>,
    /// A service's key that those processes know, with the scope `gateway`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A file that holds the key instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// How long a room with viewers may be quiet before it is asked whether frames were lost. Default: 5 s.
    #[serde(with = "span")]
    pub doubts_after: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig { upstreams: Vec::new(), key: None, key_file: None, doubts_after: Duration::from_secs(5) }
    }
}

impl GatewayConfig {
    pub fn key(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.key.as_ref(), self.key_file.as_ref())
    }

    pub(crate) fn check(&self, checks: &mut Checks) {
        for upstream in &self.upstreams {
            let why = format!("`{upstream}` is no address; write http://host:port, without a path");
            checks.that(authority(upstream).is_some(), "gateway.upstreams", why);
        }
        one_of(checks, "gateway.key", self.key.as_ref(), self.key_file.as_ref());
        let is_ours = |key: &Secret| key.expose().starts_with("lgk_");
        checks.that(self.key.as_ref().is_none_or(is_ours), "gateway.key", "must be a service's key, `lgk_…`");
        let is_sane = (Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&self.doubts_after);
        checks.that(is_sane, "gateway.doubts-after", "must be 100 ms to 1 h");
    }

    /// `host:port` of each.
    pub fn authorities(&self) -> impl Iterator<Item = &str> {
        self.upstreams.iter().filter_map(|upstream| authority(upstream))
    }
}

fn authority(upstream: &str) -> Option<&str> {
    let rest = upstream.strip_prefix("http://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':')?;
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._[]:".contains(c));
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    (is_host && is_port).then_some(rest)
}

impl Config {
    /// What a process needs beside all that [`Config::validate`] asks for, if it is to be a gateway.
    pub fn validate_gateway(&self) -> Result<(), Problems> {
        let mut checks = Checks::default();
        let why = "is empty; a gateway needs the address of a process that owns shards";
        checks.that(!self.gateway.upstreams.is_empty(), "gateway.upstreams", why);
        let why = "is missing; a gateway needs a service's key with the scope `gateway`, here or in gateway.key-file";
        checks.that(self.gateway.key().is_some(), "gateway.key", why);
        let why = "is \"off\"; what rooms show comes to a gateway through Redis, so set \"redis\" or \"redis-cluster\", \
                   as in the process that owns the shards";
        checks.that(self.frames.kind != RedisKind::Off, "frames.kind", why);
        checks.done()
    }
}

/// `[ws]`: sockets of this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WsConfig {
    /// Open at a time; further ones are told `overloaded`. Default: 100000.
    pub sockets_max: usize,
    /// How often a socket is asked whether anybody is there. Default: 25 s.
    #[serde(with = "span")]
    pub ping_every: Duration,
    /// How long a client may take to say who it is. Default: 5 s.
    #[serde(with = "span")]
    pub auth_timeout: Duration,
}

impl Default for WsConfig {
    fn default() -> Self {
        WsConfig { sockets_max: 100_000, ping_every: Duration::from_secs(25), auth_timeout: Duration::from_secs(5) }
    }
}

impl WsConfig {
    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.at_least_one(self.sockets_max, "ws.sockets-max");
        let is_sane = (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&self.ping_every);
        checks.that(is_sane, "ws.ping-every", "must be 100 ms to 10 min");
        let is_sane = (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.auth_timeout);
        checks.that(is_sane, "ws.auth-timeout", "must be 100 ms to 1 min");
    }
}
