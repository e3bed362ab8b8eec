//! Where logs and rows live.
//!
//! The engine says what it needs of a log and of a store; this crate keeps the promise, embedded in the process or by
//! real servers. It knows files and protocols and no rule about money. One conformance suite per trait holds all
//! implementations to the same behaviour.

pub mod audit;
pub mod events;
pub mod explain;
pub mod folder;
pub mod frames;
pub mod ledger_id;
pub mod letters;
pub mod log;
pub mod mirror;
pub mod store;

mod redis_link;

#[doc(hidden)]
pub mod conformance;
