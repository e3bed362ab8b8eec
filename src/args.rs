//! The command line as one tree of nouns; each has a file of its own under `command`.

use clap::{Parser, Subcommand};

use crate::command::{account, audit, bench, catalog, config, dev, dlq, gift, key, log, room, serve, store, token};
use crate::output::Format;

const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("LARGESSE_BUILD_COMMIT"), ", ", env!("LARGESSE_BUILD_DATE"), ")");

const EXAMPLES: &str = "\
Examples:
  largesse dev                                   a ledger to play with, on this machine
  largesse gift send --from 3001 --room 1001 --gift rose --count 5 --to 2001
  largesse account get 2001
  largesse serve --config largesse.toml

Exit codes: 0 ok, 1 failed, 2 usage, 3 partly, 4 a check found problems, 5 unreachable.";

/// The engine behind gifts in live rooms: every gift pays once, and nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "largesse", version = VERSION, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// How answers are written.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Dev(dev::Dev),
    Serve(serve::Serve),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Gift(gift::Gift),
    #[command(subcommand)]
    Account(account::Account),
    #[command(subcommand)]
    Room(room::Room),
    #[command(subcommand)]
    Catalog(catalog::Catalog),
    Audit(audit::Audit),
    #[command(subcommand)]
    Log(log::Log),
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    #[command(subcommand)]
    Store(store::Store),
    #[command(subcommand)]
    Bench(bench::Bench),
}
