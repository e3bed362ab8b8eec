//! Servers that fail: killed, frozen, cut off, slow. What clients were told stays true, they are told at once what cannot be
//! done meanwhile, and everything goes on afterwards.
//!
//! These tests start servers of their own, on ports from `LARGESSE_TEST_OWN_PORTS` (19700) on, and put a proxy before them.

mod brokers;
mod log_away;
mod lost;
mod own;
mod proxy;
mod stage;
mod store_away;
