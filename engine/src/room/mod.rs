//! The rules about rooms: what viewers see of gifts, numbered without gaps and counted exactly.
//!
//! A room shard is fed by relays from the wallet shards, so every gift comes once, whatever fails. It refuses nothing: the
//! money has moved already. What it shows is an event of its own log, so a feed that is read again has the same entries.

pub mod event;
pub mod gift;
pub mod person;
pub mod settings;

pub mod board;
pub mod books;
pub mod combo;
pub mod command;
mod draft;
mod effect;
pub mod plugin;
pub mod rooms;
pub mod rows;
pub mod state;

#[cfg(test)]
mod tests;
