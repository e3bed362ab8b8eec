//! Where logs and rows live. Only this crate knows files, databases and brokers.

pub mod conformance;
pub mod store;
