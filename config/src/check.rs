//! What no single key can say: relations between them. All problems are told at once.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::{Algorithm, AuthConfig, ServiceKey, ViewerKey};
use crate::cql::CqlConfig;
use crate::mirror::MirrorConfig;
use crate::model::Config;
use crate::values::{ByteSize, Secret, span};

/// A key that does not fit the others, or no run of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub why: String,
}

/// At least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.0.iter().enumerate() {
            let newline = if place == 0 { "" } else { "\n" };
            write!(f, "{newline}  {}: {}", problem.key, problem.why)?;
        }
        Ok(())
    }
}

const WALLET_SHARDS_MAX: u16 = 4_096;
/// HS256 signs with SHA-256: a shorter secret is weaker than the signature.
const SECRET_BYTES_MIN: usize = 32;

#[derive(Default)]
pub(crate) struct Checks(Vec<Problem>);

impl Checks {
    pub(crate) fn that(&mut self, holds: bool, key: &str, why: impl Into<String>) {
        if !holds {
            self.0.push(Problem { key: key.into(), why: why.into() });
        }
    }

    pub(crate) fn done(self) -> Result<(), Problems> {
        if self.0.is_empty() { Ok(()) } else { Err(Problems(self.0)) }
    }

    pub(crate) fn at_least_one(&mut self, value: usize, key: &str) {
        self.that(value > 0, key, "must be at least 1");
    }
}

impl Config {
    pub fn validate(&self) -> Result<(), Problems> {
        let mut checks = Checks::default();
        self.check_ledger(&mut checks);
        self.check_log(&mut checks);
        self.store.cql.check(&mut checks);
        self.mirror.check(&mut checks);
        self.check_engine(&mut checks);
        self.check_http(&mut checks);
        self.auth.check(&mut checks);
        self.check_rooms(&mut checks);
        self.rooms.check(&mut checks);
        self.check_recharge(&mut checks);
        checks.that(!self.log_output.level.is_empty(), "log-output.level", "is empty; write `info`, say");
        self.frames.check(&mut checks);
        self.gateway.check(&mut checks);
        self.ws.check(&mut checks);
        checks.done()
    }

    fn check_ledger(&self, checks: &mut Checks) {
        let name = &self.ledger.name;
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && name.len() <= 32;
        let why = format!("`{name}` cannot name a ledger: use a-z, 0-9 and _, a letter first, at most 32");
        checks.that(is_name, "ledger.name", why);
        let shards = self.ledger.wallet_shards;
        let why = format!("{shards} is not 1 to {WALLET_SHARDS_MAX}");
        checks.that((1..=WALLET_SHARDS_MAX).contains(&shards), "ledger.wallet-shards", why);
        checks.that(!self.data.dir.as_os_str().is_empty(), "data.dir", "is empty; name a folder");
    }

    fn check_log(&self, checks: &mut Checks) {
        let segment = self.log.segment_bytes;
        let is_sane = (ByteSize::mib(2)..=ByteSize::gib(2)).contains(&segment);
        checks.that(is_sane, "log.segment-bytes", "must be 2 MiB to 2 GiB");
        let why = format!("{} must hold at least four segments of log.segment-bytes = {segment}", self.log.bytes_max);
        checks.that(self.log.bytes_max.get() / 4 >= segment.get(), "log.bytes-max", why);
        self.check_kafka(checks);
        self.check_events(checks);
    }

    fn check_events(&self, checks: &mut Checks) {
        let events = &self.events;
        if let Some(brokers) = &events.brokers {
            check_nodes(brokers, "events.brokers", checks);
        }
        let is_topic = |topic: &String| {
            let all_allowed = topic.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
            all_allowed && (1..=249).contains(&topic.len()) && topic != "." && topic != ".."
        };
        let why = "cannot name a topic: use letters, digits, ., _ and -, at most 249";
        checks.that(events.topic.as_ref().is_none_or(is_topic), "events.topic", why);
        let name = &self.ledger.name;
        let is_taken = |topic: &String| {
            let own = ["control", "wallet", "room", "ledger", "positions", "dlq"];
            own.iter().any(|kind| *topic == format!("{name}.{kind}"))
        };
        let why = "is a topic of the ledger itself; choose another name";
        checks.that(!events.topic.as_ref().is_some_and(is_taken), "events.topic", why);
        checks.that((1..=10_000).contains(&events.partitions), "events.partitions", "must be 1 to 10000");
        let shards = usize::from(self.ledger.wallet_shards);
        let why = format!("must be at least ledger.wallet-shards = {shards}, one for each, and at most 1000000");
        checks.that((shards..=1_000_000).contains(&events.in_flight_max), "events.in-flight-max", why);
        let is_sane = (Duration::from_secs(1)..=Duration::from_secs(365 * 86_400)).contains(&events.hold_max);
        checks.that(is_sane, "events.hold-max", "must be 1 s to 1 year");
        checks.that(events.retries <= 100, "events.retries", "must be at most 100");
        let is_sane = (Duration::from_millis(1)..=events.retry_longest).contains(&events.retry_first);
        checks.that(is_sane, "events.retry-first", "must be 1 ms or more, and not more than events.retry-longest");
        let is_sane = events.retry_longest <= Duration::from_secs(30 * 86_400);
        checks.that(is_sane, "events.retry-longest", "must be at most 30 days");
    }

    fn check_kafka(&self, checks: &mut Checks) {
        let kafka = &self.log.kafka;
        check_nodes(&kafka.brokers, "log.kafka.brokers", checks);
        checks.that((1..=64).contains(&kafka.producers), "log.kafka.producers", "must be 1 to 64");
        checks.that(kafka.replication > 0, "log.kafka.replication", "must be at least 1");
        checks.that(kafka.min_insync_replicas > 0, "log.kafka.min-insync-replicas", "must be at least 1");
        let why = format!(
            "{} must not be more than log.kafka.replication = {}",
            kafka.min_insync_replicas, kafka.replication
        );
        let fits = kafka.min_insync_replicas <= kafka.replication;
        checks.that(fits, "log.kafka.min-insync-replicas", why);
        let is_sane = (Duration::from_millis(500)..=Duration::from_secs(300)).contains(&kafka.request_timeout);
        checks.that(is_sane, "log.kafka.request-timeout", "must be 500 ms to 5 min");
        let is_sane = (kafka.request_timeout..=Duration::from_secs(900)).contains(&kafka.delivery_timeout);
        let why = "must be at least log.kafka.request-timeout, and at most 15 min";
        checks.that(is_sane, "log.kafka.delivery-timeout", why);
        self.check_kafka_security(checks);
    }

    fn check_kafka_security(&self, checks: &mut Checks) {
        let kafka = &self.log.kafka;
        let (user, password) = (kafka.user.is_some(), kafka.password().is_some());
        one_of(checks, "log.kafka.password", kafka.password.as_ref(), kafka.password_file.as_ref());
        if kafka.security_protocol.logs_in() {
            checks.that(user, "log.kafka.user", "is needed to log in by log.kafka.security-protocol");
            checks.that(password, "log.kafka.password-file", "or log.kafka.password is needed for log.kafka.user");
        } else {
            let why = "would not be used: set log.kafka.security-protocol to `sasl-ssl` or `sasl-plaintext`";
            checks.that(!user && !password, "log.kafka.user", why);
        }
        let is_used = kafka.ca_file.is_none() || kafka.security_protocol.is_encrypted();
        let why = "would not be used: set log.kafka.security-protocol to `ssl` or `sasl-ssl`";
        checks.that(is_used, "log.kafka.ca-file", why);
    }

    fn check_engine(&self, checks: &mut Checks) {
        let engine = &self.engine;
        checks.that(engine.workers <= 1_024, "engine.workers", "must be at most 1024");
        checks.at_least_one(engine.permits_per_shard, "engine.permits-per-shard");
        checks.at_least_one(engine.prefetch_permits, "engine.prefetch-permits");
        let why = format!(
            "{} must not be more than engine.permits-per-shard = {}, of which they are a part",
            engine.prefetch_permits, engine.permits_per_shard
        );
        checks.that(engine.prefetch_permits <= engine.permits_per_shard, "engine.prefetch-permits", why);
        let is_sane = (1..=64).contains(&engine.records_in_flight_max);
        checks.that(is_sane, "engine.records-in-flight-max", "must be 1 to 64");
        let is_sane = (ByteSize::kib(16)..=ByteSize::kib(448)).contains(&engine.record_bytes_max);
        let why = "must be 16 KiB to 448 KiB: with one more event it has to fit into the log's largest record";
        checks.that(is_sane, "engine.record-bytes-max", why);
        checks.that(engine.window_bytes_max >= ByteSize::kib(64), "engine.window-bytes-max", "must be at least 64 KiB");
        checks.at_least_one(engine.wallets_max, "engine.wallets-max");
        let why = "must be at least 1 h: clients retry for a while, and an id older than this is refused";
        checks.that(engine.history >= Duration::from_secs(3_600), "engine.history", why);
        checks.at_least_one(engine.relay_credits_max, "engine.relay-credits-max");
        checks.that(engine.relay_credits_max <= 16_384, "engine.relay-credits-max", "must be at most 16384");
        let why = format!(
            "{} must be shorter than http.read-patience = {}, which waits for credits to arrive",
            span::to_text(engine.relay_age_max),
            span::to_text(self.http.read_patience)
        );
        checks.that(engine.relay_age_max < self.http.read_patience, "engine.relay-age-max", why);
        let is_sane = (Duration::from_millis(10)..=Duration::from_secs(60)).contains(&engine.flush_every);
        checks.that(is_sane, "engine.flush-every", "must be 10 ms to 1 min");
        checks.at_least_one(engine.flush_events_max, "engine.flush-events-max");
        let is_sane = (ByteSize::mib(1)..=ByteSize::mib(64)).contains(&engine.flush_bytes_max);
        checks.that(is_sane, "engine.flush-bytes-max", "must be 1 MiB to 64 MiB");
    }

    fn check_http(&self, checks: &mut Checks) {
        let http = &self.http;
        let is_shared = http.listen == http.admin_listen && http.listen.port() != 0;
        let why = format!("{} is http.listen too; the admin port must be one of its own", http.admin_listen);
        checks.that(!is_shared, "http.admin-listen", why);
        checks.at_least_one(http.connections_max, "http.connections-max");
        let is_sane = (ByteSize::kib(64)..=ByteSize::mib(64)).contains(&http.catalog_bytes_max);
        checks.that(is_sane, "http.catalog-bytes-max", "must be 64 KiB to 64 MiB");
        checks.that(http.body_bytes_max >= ByteSize::kib(1), "http.body-bytes-max", "must be at least 1 KiB");
        checks.that(http.body_bytes_max <= ByteSize::mib(64), "http.body-bytes-max", "must be at most 64 MiB");
        for (key, span) in [("http.deadline", http.deadline), ("http.answer-patience", http.answer_patience)] {
            let is_sane = (Duration::from_millis(10)..=Duration::from_secs(60)).contains(&span);
            checks.that(is_sane, key, "must be 10 ms to 1 min");
        }
        let limit = Duration::from_secs(60);
        checks.that(http.read_patience <= limit, "http.read-patience", "must be at most 1 min");
        checks.that(http.stop_patience <= limit * 10, "http.stop-patience", "must be at most 10 min");
        checks.that(http.stop_notice <= limit, "http.stop-notice", "must be at most 1 min");
        let is_origin = |text: &&String| {
            let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
            rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(fits))
        };
        if let Some(wrong) = http.origins.iter().find(|origin| !is_origin(origin)) {
            let why = format!("`{wrong}` is no origin; write scheme, host and port only, in lower case");
            checks.that(false, "http.origins", why);
        }
        checks.at_least_one(self.limits.tracked_max, "limits.tracked-max");
        checks.that(self.limits.proxies <= 8, "limits.proxies", "must be at most 8");
    }

    fn check_recharge(&self, checks: &mut Checks) {
        let recharge = &self.recharge;
        checks.that(!recharge.asset.is_empty(), "recharge.asset", "is empty; name an asset of the catalog");
        for (place, product) in recharge.products.iter().enumerate() {
            let key = format!("recharge.products.{place}");
            let others = &recharge.products[..place];
            checks.that(product.amount > 0, &format!("{key}.amount"), "must be at least 1");
            let is_repeated = others.iter().any(|other| other.id == product.id);
            checks.that(!is_repeated, &format!("{key}.id"), format!("`{}` is listed twice", product.id));
            let is_repeated = product.price.is_some() && others.iter().any(|other| other.price == product.price);
            checks.that(!is_repeated, &format!("{key}.price"), "another product has the same price: which was bought?");
        }
        if let Some(wechat) = &recharge.wechat {
            let (key, file) = (wechat.api_v3_key.as_ref(), wechat.api_v3_key_file.as_ref());
            one_of(checks, "recharge.wechat.api-v3-key", key, file);
            let why = "needs its api-v3-key or api-v3-key-file";
            checks.that(wechat.api_v3_key().is_some(), "recharge.wechat", why);
            checks.that(!wechat.keys.is_empty(), "recharge.wechat.keys", "is empty; name the platform's key");
        }
        if let Some(douyin) = &recharge.douyin {
            one_of(checks, "recharge.douyin.token", douyin.token.as_ref(), douyin.token_file.as_ref());
            let is_there = douyin.platform_key_file.is_some() || douyin.token().is_some();
            checks.that(is_there, "recharge.douyin", "needs platform-key-file, or token or token-file");
        }
        for (place, channel) in recharge.hmac.iter().enumerate() {
            let key = format!("recharge.hmac.{place}");
            one_of(checks, &format!("{key}.secret"), channel.secret.as_ref(), channel.secret_file.as_ref());
            checks.that(channel.secret().is_some(), &key, "needs its secret or secret-file");
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let is_taken = matches!(channel.name.as_str(), "apple" | "wechat" | "alipay" | "douyin")
                || recharge.hmac[..place].iter().any(|other| other.name == channel.name);
            let is_name = !channel.name.is_empty() && channel.name.len() <= 32 && channel.name.chars().all(is_plain);
            let why = format!("`{}` cannot name a channel: use a-z, 0-9 and -, and each name once", channel.name);
            checks.that(is_name && !is_taken, &format!("{key}.name"), why);
        }
    }

    fn check_rooms(&self, checks: &mut Checks) {
        for (place, room) in self.room.iter().enumerate() {
            let key = format!("room.{place}");
            checks.that(room.id > 0, &format!("{key}.id"), "0 is not a room");
            let is_repeated = self.room[..place].iter().any(|other| other.id == room.id);
            checks.that(!is_repeated, &format!("{key}.id"), format!("room {} is listed twice", room.id));
            checks.that(!room.hosts.contains(&0), &format!("{key}.hosts"), "0 is not a user");
            for (at, host) in room.hosts.iter().enumerate() {
                let is_repeated = room.hosts[..at].contains(host);
                checks.that(!is_repeated, &format!("{key}.hosts"), format!("host {host} is listed twice"));
            }
        }
    }
}

impl CqlConfig {
    fn check(&self, checks: &mut Checks) {
        checks.that(!self.nodes.is_empty(), "store.cql.nodes", "is empty; name one node at least");
        for node in &self.nodes {
            let port = node.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
            let why = format!("`{node}` is no address; write a host and a port, such as \"127.0.0.1:9042\"");
            checks.that(matches!(port, Some(Ok(1..))), "store.cql.nodes", why);
        }
        let keyspace = &self.keyspace;
        let is_name = keyspace.starts_with(|first: char| first.is_ascii_lowercase())
            && keyspace.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && keyspace.len() <= 48;
        let why = format!("`{keyspace}` cannot name a keyspace: use a-z, 0-9 and _, a letter first, at most 48");
        checks.that(is_name, "store.cql.keyspace", why);
        let is_plain = |name: &String| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        let why = "may have letters, digits, _, - and . only";
        checks.that(self.datacenter.as_ref().is_none_or(is_plain), "store.cql.datacenter", why);
        checks.that((1..=100).contains(&self.replication), "store.cql.replication", "must be 1 to 100");
        checks.that((1..=1 << 20).contains(&self.partitions), "store.cql.partitions", "must be 1 to 1048576");
        one_of(checks, "store.cql.password", self.password.as_ref(), self.password_file.as_ref());
        let why = "and store.cql.password belong together; give both or none";
        checks.that(self.user.is_some() == self.password().is_some(), "store.cql.user", why);
        let in_flight = [
            ("store.cql.batches-in-flight-max", self.batches_in_flight_max),
            ("store.cql.reads-in-flight-max", self.reads_in_flight_max),
        ];
        for (key, value) in in_flight {
            checks.that((1..=16_384).contains(&value), key, "must be 1 to 16384");
        }
        let timeouts = [
            ("store.cql.connect-timeout", self.connect_timeout),
            ("store.cql.read-timeout", self.read_timeout),
            ("store.cql.write-timeout", self.write_timeout),
        ];
        for (key, span) in timeouts {
            let is_sane = (Duration::from_millis(10)..=Duration::from_secs(60)).contains(&span);
            checks.that(is_sane, key, "must be 10 ms to 1 min");
        }
        checks.that(self.forgets_for <= Duration::from_secs(3_600), "store.cql.forgets-for", "must be at most 1 h");
    }
}

impl MirrorConfig {
    fn check(&self, checks: &mut Checks) {
        self.servers().check("mirror", checks);
        one_of(checks, "mirror.password", self.password.as_ref(), self.password_file.as_ref());
        let lives = [
            ("mirror.asset-ttl", self.asset_ttl),
            ("mirror.user-ttl", self.user_ttl),
            ("mirror.room-ttl", self.room_ttl),
            ("mirror.gift-ttl", self.gift_ttl),
        ];
        for (key, span) in lives {
            let is_sane = (Duration::from_secs(1)..=Duration::from_secs(365 * 86_400)).contains(&span);
            checks.that(is_sane, key, "must be 1 s to 365 days");
        }
        let why = "must be 1000 to 100000000";
        checks.that((1_000..=100_000_000).contains(&self.rows_max), "mirror.rows-max", why);
        let timeouts = [
            ("mirror.check-every", self.check_every),
            ("mirror.connect-timeout", self.connect_timeout),
            ("mirror.response-timeout", self.response_timeout),
        ];
        for (key, span) in timeouts {
            let is_sane = (Duration::from_millis(10)..=Duration::from_secs(60)).contains(&span);
            checks.that(is_sane, key, "must be 10 ms to 1 min");
        }
    }
}

impl AuthConfig {
    fn check(&self, checks: &mut Checks) {
        let viewer = &self.viewer;
        let has_published = viewer.jwks_file.is_some() || viewer.jwks_url.is_some();
        let now = ViewerKey {
            algorithm: viewer.algorithm,
            secret: viewer.secret.clone(),
            secret_file: viewer.secret_file.clone(),
            public_key_file: viewer.public_key_file.clone(),
        };
        now.check("auth.viewer", has_published, checks);
        if let Some(previous) = &viewer.previous {
            previous.check("auth.viewer.previous", false, checks);
            let why = "needs its secret, secret-file or public-key-file; or leave the section out";
            checks.that(previous.source().is_some(), "auth.viewer.previous", why);
        }
        let is_sane = viewer.leeway <= Duration::from_secs(300);
        checks.that(is_sane, "auth.viewer.leeway", "must be at most 5 min: it lengthens the life of every token");
        let why = "is given twice, as a file and as a URL; keep one";
        checks.that(viewer.jwks_file.is_none() || viewer.jwks_url.is_none(), "auth.viewer.jwks-file", why);
        let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        let is_sane = viewer.jwks_url.as_ref().is_none_or(is_url);
        checks.that(is_sane, "auth.viewer.jwks-url", "must start with https:// (or http:// on a network of your own)");
        let is_sane = (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&viewer.jwks_every);
        checks.that(is_sane, "auth.viewer.jwks-every", "must be 1 s to 1 day");
        let pass = &self.room_pass;
        one_of(checks, "auth.room-pass.secret", pass.secret.as_ref(), pass.secret_file.as_ref());
        let is_long = pass.secret.as_ref().is_none_or(|secret| secret.expose().len() >= SECRET_BYTES_MIN);
        checks.that(is_long, "auth.room-pass.secret", format!("must have at least {SECRET_BYTES_MIN} bytes"));
        let is_sane = (Duration::from_secs(5)..=Duration::from_secs(86_400)).contains(&pass.ttl);
        checks.that(is_sane, "auth.room-pass.ttl", "must be 5 s to 1 day");
        for (place, service) in self.service_keys.iter().enumerate() {
            let key = format!("auth.service-keys.{place}");
            service.check(&key, checks);
            let is_repeated = self.service_keys[..place].iter().any(|other| other.name == service.name);
            checks.that(!is_repeated, &key, format!("`{}` is listed twice", service.name));
        }
        one_of(checks, "auth.admin-key", self.admin_key.as_ref(), self.admin_key_file.as_ref());
        let is_long = self.admin_key.as_ref().is_none_or(|key| key.expose().len() >= SECRET_BYTES_MIN);
        checks.that(is_long, "auth.admin-key", format!("must have at least {SECRET_BYTES_MIN} characters"));
    }
}

impl ServiceKey {
    fn check(&self, at: &str, checks: &mut Checks) {
        checks.that(!self.name.is_empty(), &format!("{at}.name"), "is empty");
        one_of(checks, &format!("{at}.key"), self.key.as_ref(), self.key_file.as_ref());
        checks.that(self.source().is_some(), at, format!("`{}` needs its key or key-file", self.name));
        let is_ours = |key: &Secret| key.expose().starts_with("lgk_") && key.expose().len() >= SECRET_BYTES_MIN;
        let why = format!("must start with `lgk_` and have at least {SECRET_BYTES_MIN} characters");
        checks.that(self.key.as_ref().is_none_or(is_ours), &format!("{at}.key"), why);
    }
}

impl ViewerKey {
    fn check(&self, at: &str, has_other: bool, checks: &mut Checks) {
        one_of(checks, &format!("{at}.secret"), self.secret.as_ref(), self.secret_file.as_ref());
        let is_long = self.secret.as_ref().is_none_or(|secret| secret.expose().len() >= SECRET_BYTES_MIN);
        checks.that(is_long, &format!("{at}.secret"), format!("must have at least {SECRET_BYTES_MIN} bytes"));
        let has_secret = self.secret.is_some() || self.secret_file.is_some();
        match self.algorithm {
            Algorithm::Hs256 => {
                let why = "is for RS256 and ES256; HS256 takes secret or secret-file";
                checks.that(self.public_key_file.is_none(), &format!("{at}.public-key-file"), why);
            }
            Algorithm::Rs256 | Algorithm::Es256 => {
                let why = "is for HS256; RS256 and ES256 take public-key-file";
                checks.that(!has_secret, &format!("{at}.secret"), why);
                let why = "is needed for RS256 and ES256";
                checks.that(has_other || self.public_key_file.is_some(), &format!("{at}.public-key-file"), why);
            }
        }
    }
}

pub(crate) fn check_nodes(nodes: &[String], key: &str, checks: &mut Checks) {
    checks.that(!nodes.is_empty(), key, "is empty; name at least one as host:port");
    for node in nodes {
        let port = node.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let is_address = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
        checks.that(is_address, key, format!("`{node}` is not host:port"));
    }
}

pub(crate) fn one_of(checks: &mut Checks, key: &str, inline: Option<&Secret>, file: Option<&PathBuf>) {
    checks.that(inline.is_none() || file.is_none(), key, "is given twice, inline and as a file; keep one");
}
