//! The logs of a ledger: `embedded` in files of this process, `kafka` in topics that several share, `memory` for tests and
//! simulation.

pub mod embedded;
pub mod kafka;
pub mod memory;
