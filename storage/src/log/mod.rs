//! The logs of a ledger: `embedded` in files of this process, `memory` for tests and simulation.

pub mod embedded;
pub mod memory;
