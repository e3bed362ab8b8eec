//! What all sections say that connect to Redis.

use serde::{Deserialize, Serialize};

use crate::auth::KeySource;
use crate::check::{Checks, check_nodes};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedisKind {
    #[default]
    Off,
    Redis,
    RedisCluster,
}

/// One section's servers.
#[derive(Clone, Copy, Debug)]
pub struct RedisServers<'a> {
    pub kind: RedisKind,
    pub nodes: &'a [String],
    pub database: u16,
    pub user: Option<&'a str>,
    pub password: Option<KeySource<'a>>,
    pub prefix: Option<&'a str>,
}

impl RedisServers<'_> {
    pub(crate) fn check(&self, section: &str, checks: &mut Checks) {
        let key = |name: &str| format!("{section}.{name}");
        check_nodes(self.nodes, &key("nodes"), checks);
        let is_single = self.nodes.len() <= 1 || self.kind == RedisKind::RedisCluster;
        let why = format!("names several servers; set {section}.kind = \"redis-cluster\", or name one");
        checks.that(is_single, &key("nodes"), why);
        let fits = self.database == 0 || self.kind != RedisKind::RedisCluster;
        checks.that(fits, &key("database"), "must be 0, as a cluster has no other");
        let why = format!("needs {section}.password or {section}.password-file");
        checks.that(self.user.is_none() || self.password.is_some(), &key("user"), why);
        let is_plain = |prefix: &str| {
            prefix.len() <= 64
                && prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'))
        };
        let why = "may have letters, digits, _, -, . and : only, at most 64";
        checks.that(self.prefix.is_none_or(is_plain), &key("prefix"), why);
    }
}
