//! The load generator that is also a money checker.
//!
//! Whatever it measures it also adds up: what the callers were told, what the ledger holds, and what an audit says of it.

pub mod engine;
pub mod http;
pub mod ws;

pub mod latency;
pub mod machine;
mod popularity;
pub mod progress;
