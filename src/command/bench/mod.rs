//! `largesse bench`: what this machine can do.

mod bare;
mod child;
mod compare;
mod engine;
mod http;
mod markdown;
mod recovery;
mod show;
mod suite;
mod ws;

use clap::Subcommand;

use crate::exit::Failure;
use crate::output::Format;
use crate::run;

const EXAMPLES: &str = "\
Examples:
  largesse bench engine --batch 1024 --callers 16
  largesse bench http
  largesse bench ws
  largesse bench suite --json figures.json
  largesse bench compare before.json after.json

Each bench adds up what it measured: a figure of a ledger that does not add up ends with 4.";

/// Measure, and audit what was measured.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Bench {
    Engine(engine::Engine),
    Recovery(recovery::Recovery),
    Http(http::Http),
    Ws(ws::Ws),
    Suite(suite::Suite),
    Compare(compare::Compare),
    #[command(hide = true)]
    Prepare(recovery::Prepare),
    #[command(hide = true)]
    BareHandler(bare::BareHandler),
}

impl Bench {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        match self {
            Bench::Engine(engine) => run::block_on(engine.run(format)),
            Bench::Recovery(recovery) => recovery.run(format),
            Bench::Http(http) => http.run(format),
            Bench::Ws(ws) => ws.run(format),
            Bench::Suite(suite) => suite.run(format),
            Bench::Compare(compare) => compare.run(format),
            Bench::Prepare(prepare) => run::block_on(prepare.run()),
            Bench::BareHandler(bare) => run::block_on(bare.run()),
        }
    }
}
