//! The Rust client against the real server, with damage in between and with restarts under load.

mod calls;
mod example;
mod load;
mod proxy;
mod scenarios;
