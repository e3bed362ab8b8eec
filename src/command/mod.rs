//! The commands, one file per noun.

use std::future::Future;

use crate::args::{Cli, Command};
use crate::exit::Failure;

pub mod account;
pub mod audit;
pub mod bench;
pub mod catalog;
pub mod config;
pub mod dev;
pub mod dlq;
mod explain;
pub mod gift;
mod kafka;
pub mod key;
pub mod log;
pub mod room;
mod room_feed;
mod room_log;
pub mod serve;
pub mod store;
pub mod token;
mod topic_log;

pub fn run(cli: Cli) -> Result<(), Failure> {
    let format = cli.output;
    match cli.command {
        Command::Dev(dev) => dev.run(format),
        Command::Serve(serve) => serve.run(format),
        Command::Config(config) => config.run(format),
        Command::Token(token) => token.run(format),
        Command::Key(key) => ask(key.run(format)),
        Command::Gift(gift) => ask(gift.run(format)),
        Command::Account(account) => ask(account.run(format)),
        Command::Room(room) => ask(room.run(format)),
        Command::Catalog(catalog) => ask(catalog.run(format)),
        Command::Audit(audit) => audit.run(format),
        Command::Log(log) => log.run(format),
        Command::Dlq(dlq) => dlq.run(format),
        Command::Store(store) => store.run(format),
        Command::Bench(bench) => bench.run(format),
    }
}

/// Runs a client on this thread.
fn ask(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(format_args!("cannot start: {error}")))?.block_on(work)
}
