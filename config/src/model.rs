//! Every key there is, with what it does and its default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::AuthConfig;
use crate::cql::CqlConfig;
use crate::events::EventsConfig;
use crate::gateway::{FramesConfig, GatewayConfig, WsConfig};
use crate::kafka::KafkaConfig;
use crate::limits::LimitsConfig;
use crate::mirror::MirrorConfig;
use crate::recharge::RechargeConfig;
use crate::rooms::RoomsConfig;
use crate::values::{ByteSize, span};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    pub ledger: LedgerConfig,
    pub data: DataConfig,
    pub log: LogConfig,
    pub store: StoreConfig,
    pub mirror: MirrorConfig,
    pub events: EventsConfig,
    pub engine: EngineConfig,
    pub http: HttpConfig,
    pub auth: AuthConfig,
    pub limits: LimitsConfig,
    pub recharge: RechargeConfig,
    pub rooms: RoomsConfig,
    pub frames: FramesConfig,
    pub gateway: GatewayConfig,
    pub ws: WsConfig,
    pub log_output: LogOutputConfig,
    /// Rooms and who may receive gifts there. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub room: Vec<RoomConfig>,
}

/// `[ledger]`: one set of shards with its logs and its store. Written down when it is created; a mismatch refuses to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LedgerConfig {
    /// Prefixes folders, topics, tables and keys: a-z, 0-9 and _, a letter first, at most 32. Default: main.
    pub name: String,
    /// Shards that users are spread over, 1 to 4096; it can never be changed later. Default: 256.
    pub wallet_shards: u16,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        LedgerConfig { name: "main".into(), wallet_shards: 256 }
    }
}

/// `[data]`: where embedded storage lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataConfig {
    /// The folder that one process owns; it is made when it is not there. Default: ./largesse-data.
    pub dir: PathBuf,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig { dir: "./largesse-data".into() }
    }
}

/// `[log]`: the write-ahead log, where every event becomes durable before anyone is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// `embedded`: files in the data folder; `kafka`: topics that several processes share. Default: embedded.
    pub kind: LogKind,
    /// Embedded: size of one file of the log, allocated at once. Default: 64 MiB.
    pub segment_bytes: ByteSize,
    /// Most that the log may take of what is still needed: on disk where it is embedded, of what this process has not moved
    /// into the store in Kafka; near it new commands are told `overloaded`. Default: 4 GiB.
    pub bytes_max: ByteSize,
    pub kafka: KafkaConfig,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            kind: LogKind::Embedded,
            segment_bytes: ByteSize::mib(64),
            bytes_max: ByteSize::gib(4),
            kafka: KafkaConfig::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogKind {
    #[default]
    Embedded,
    Kafka,
}

/// `[store]`: the rows of balances, receipts and history, which are views of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreConfig {
    /// `embedded`: a database in the data folder. `cql`: ScyllaDB or Cassandra, see `[store.cql]`. Default: embedded.
    pub kind: StoreKind,
    /// Memory of the embedded store for blocks read from disk. Default: 128 MiB.
    pub cache_bytes: ByteSize,
    pub cql: CqlConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { kind: StoreKind::Embedded, cache_bytes: ByteSize::mib(128), cql: CqlConfig::default() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    #[default]
    Embedded,
    Cql,
}

/// `[engine]`: limits of shards, relays and flusher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EngineConfig {
    /// Threads for shards and for the connections of callers; 0 takes as many as there are cores, but one. Default: 0.
    pub workers: usize,
    /// Commands one shard may have under way; beyond, callers are told `overloaded` at once. Default: 4096.
    pub permits_per_shard: usize,
    /// Of those, how many may wait for a row of the store. Default: 1024.
    pub prefetch_permits: usize,
    /// Records of one shard on their way to the log at once; meanwhile the next one gathers. Default: 2.
    pub records_in_flight_max: usize,
    /// A record that has grown to this takes no further event. Default: 256 KiB.
    pub record_bytes_max: ByteSize,
    /// Memory of one shard for ids it has seen; older ones are looked up in the store. Default: 8 MiB.
    pub window_bytes_max: ByteSize,
    /// How long ids stay in that memory while there is room. Default: 10 min.
    #[serde(with = "span")]
    pub window_age: Duration,
    /// Wallets one shard keeps in memory; idle ones beyond leave when they are flushed. Default: 100000.
    pub wallets_max: usize,
    /// How long receipts and history are kept; an older id is refused, never judged afresh. Default: 400 days.
    #[serde(with = "span")]
    pub history: Duration,
    /// Longest a credit waits for company on its way to another shard. Default: 5 ms.
    #[serde(with = "span")]
    pub relay_age_max: Duration,
    /// Accounts that fill a batch of credits before its age does. Default: 8192.
    pub relay_credits_max: usize,
    /// How long the flusher lets events gather before it moves them into the store. Default: 1 s.
    #[serde(with = "span")]
    pub flush_every: Duration,
    /// Events that one flush takes at most. Default: 20000.
    pub flush_events_max: usize,
    /// How much of the log one flush takes at most. Default: 4 MiB.
    pub flush_bytes_max: ByteSize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            workers: 0,
            permits_per_shard: 4_096,
            prefetch_permits: 1_024,
            records_in_flight_max: 2,
            record_bytes_max: ByteSize::kib(256),
            window_bytes_max: ByteSize::mib(8),
            window_age: Duration::from_secs(600),
            wallets_max: 100_000,
            history: Duration::from_secs(400 * 86_400),
            relay_age_max: Duration::from_millis(5),
            relay_credits_max: 8_192,
            flush_every: Duration::from_secs(1),
            flush_events_max: 20_000,
            flush_bytes_max: ByteSize::mib(4),
        }
    }
}

/// `[http]`: the two doors, and how long a request may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpConfig {
    /// Address for viewers and services. Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Address for administrators, health and metrics. Default: 127.0.0.1:8081.
    pub admin_listen: SocketAddr,
    /// Connections open at a time on each address; further ones wait. Default: 20000.
    pub connections_max: usize,
    /// Largest body of a request; only a catalog may be larger. Default: 64 KiB.
    pub body_bytes_max: ByteSize,
    /// Largest catalog an administrator may send. Default: 8 MiB.
    pub catalog_bytes_max: ByteSize,
    /// A command that was not decided by then never will be. Default: 2 s.
    #[serde(with = "span")]
    pub deadline: Duration,
    /// How much longer its answer may take before the caller is told `outcome_unknown`. Default: 3 s.
    #[serde(with = "span")]
    pub answer_patience: Duration,
    /// How long a read waits for what it was asked to wait for. Default: 3 s.
    #[serde(with = "span")]
    pub read_patience: Duration,
    /// Origins of web pages that may call, such as "https://app.example.com". Default: [].
    pub origins: Vec<String>,
    /// How long a stop still answers newcomers, to send them elsewhere. Default: 250 ms.
    #[serde(with = "span")]
    pub stop_notice: Duration,
    /// How long a stop waits for requests under way. Default: 10 s.
    #[serde(with = "span")]
    pub stop_patience: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            connections_max: 20_000,
            body_bytes_max: ByteSize::kib(64),
            catalog_bytes_max: ByteSize::mib(8),
            deadline: Duration::from_secs(2),
            answer_patience: Duration::from_secs(3),
            read_patience: Duration::from_secs(3),
            origins: Vec::new(),
            stop_notice: Duration::from_millis(250),
            stop_patience: Duration::from_secs(10),
        }
    }
}

/// `[log-output]`: what the process says about itself, on stderr.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogOutputConfig {
    /// `text` for people, `json` for machines: one object a line. Default: json.
    pub format: OutputFormat,
    /// A level, or levels per module such as `info,largesse_storage=debug`. Default: info.
    pub level: String,
}

impl Default for LogOutputConfig {
    fn default() -> Self {
        LogOutputConfig { format: OutputFormat::Json, level: "info".into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputFormat {
    Text,
    Json,
}

/// `[[room]]`: a room and who receives gifts there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoomConfig {
    /// The room's number, above 0.
    pub id: u64,
    /// Users who can be sent gifts there.
    pub hosts: Vec<u64>,
}
