//! The Kafka log against a real broker, which `scripts/services up kafka` starts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

mod checks;
mod conformance;
mod events;
mod failures;
mod harness;
