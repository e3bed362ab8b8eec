//! The real binary as its users meet it: a process of its own, real sockets, real files, and real kills.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod api_docs;
mod bad_input;
mod cli;
mod clients;
mod clock;
mod crash;
mod doors;
mod events;
mod fencing;
mod folder;
mod gateways;
mod harness;
mod metrics;
mod mirror;
mod readme;
mod retry;
mod room_socket;
mod servers;
mod setup;
mod shim;
mod slow_disk;
mod warming;
