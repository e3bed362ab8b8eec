//! A room shard driven by hand: gifts in, feed out, and the same again from its rows and its log.

mod anonymous;
mod combos;
mod feed;
mod recovery;
mod settings;
mod world;
