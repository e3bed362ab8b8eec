//! The mirror, and frames of rooms, against real Redis servers, each started by the test that uses it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

mod catalog;
mod cluster;
mod failures;
mod frames;
mod rows;
mod server;
mod world;
