//! The rules about money, and nothing but rules.

pub mod command;
pub mod event;
pub mod outcome;
