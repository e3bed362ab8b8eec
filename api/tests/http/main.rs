//! The routers in front of a real node on embedded storage.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod anonymous;
mod assets;
mod catalog;
mod credentials;
mod described;
mod garbage;
mod gateway;
mod gifts;
mod history;
mod lookups;
mod ops;
mod payments;
mod refused;
mod rooms;
mod serving;
mod sockets;
mod station;
mod streams;
mod transfers;
mod who;
mod world;
