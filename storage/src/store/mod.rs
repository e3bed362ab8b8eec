//! Stores: rows that are views of the logs. All of them pass [`crate::conformance::store`].

pub mod cql;
pub mod embedded;
pub mod gap;
pub mod memory;

/// Most items on one page, whatever was asked for.
pub const PAGE_ITEMS_MAX: usize = 1_000;
