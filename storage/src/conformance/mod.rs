//! What every implementation of a storage trait must do, as tests that any crate can run against its own.

pub mod log;
pub mod rooms;
pub mod store;
