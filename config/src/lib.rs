//! The configuration: typed, documented, strict, and checked before anything starts.
//!
//! Values come from, in rising order of precedence, the defaults in the types, the profile, the file, the environment
//! and the flags. A key that no type knows is refused with the nearest one that exists. This crate knows no other crate
//! of Largesse: what a value means for the engine is the business of whoever hands it on.

mod auth;
mod check;
mod cql;
mod environment;
mod events;
mod gateway;
mod kafka;
mod limits;
mod load;
mod mirror;
mod model;
mod origin;
mod recharge;
mod redis;
mod rooms;
mod values;

#[cfg(test)]
mod tests;

pub use auth::{Algorithm, AuthConfig, KeySource, ReadKeyError, RoomPassConfig, ServiceKey, ViewerConfig, ViewerKey};
pub use check::{Problem, Problems};
pub use cql::CqlConfig;
pub use environment::{Environment, Profile, UnknownName};
pub use events::EventsConfig;
pub use gateway::{FramesConfig, GatewayConfig, WsConfig};
pub use kafka::{KafkaConfig, SaslMechanism, SecurityProtocol};
pub use limits::{LimitsConfig, RateLimit};
pub use load::{Flag, LoadError, Loaded, Sources};
pub use mirror::MirrorConfig;
pub use model::{
    Config, DataConfig, EngineConfig, HttpConfig, LedgerConfig, LogConfig, LogKind, LogOutputConfig, OutputFormat,
    RoomConfig, StoreConfig, StoreKind,
};
pub use origin::Setting;
pub use recharge::{
    AlipayConfig, AppleConfig, DouyinConfig, HmacConfig, ProductConfig, RechargeConfig, WechatConfig, WechatKey,
};
pub use redis::{RedisKind, RedisServers};
pub use rooms::{RoomsConfig, ZoneOffset};
pub use values::{ByteSize, Secret};
