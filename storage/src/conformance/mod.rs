//! What every implementation of a trait must pass, whatever it is made of.

pub mod store;
