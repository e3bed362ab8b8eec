//! The heart of Largesse: who has how much, and how that changes.
//!
//! It holds the state machines, the relay between them, and the shells that run them against a log and a store. It does
//! no IO of its own, and outside the shells it reads no clock and draws no random number. Modules in reading order:

pub mod codec;
pub mod event_id;
pub mod ledger;
pub mod per_asset;
pub mod units;

pub mod fold;
pub mod log;
pub mod record;
pub mod store;

pub mod accumulator;
pub mod audit;
pub mod catalog;
pub mod control;
pub mod flush;
pub mod machine;
pub mod node;
pub mod relay;
pub mod resolve;
pub mod room;
pub mod sabotage;
pub mod shard;
pub mod wallet;

pub mod clock;
pub mod handle;
pub mod service;
