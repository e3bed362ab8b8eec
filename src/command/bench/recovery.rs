//! How long a killed ledger takes to serve again.

use std::path::{Path, PathBuf};

use clap::Args;
use largesse_loadtest::engine::recovery::{self, Prepared, RecoveryBench, RecoveryReport};

use super::child::{self, Ready, own_binary};
use super::engine::failure;
use super::show::{self, Watch};
use crate::command::audit;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::run;

const EXAMPLES: &str = "\
Examples:
  largesse bench recovery
  largesse bench recovery --unflushed 0
  largesse bench recovery --wallet-shards 1 -o json

A process of its own makes the ledger and is killed; the time counts until every shard has answered a durable gift.
With `--unflushed 0` nothing is in memory after the start, so what reading every wallet adds is what idle ones take.";

/// Time until a killed ledger serves again, and what its wallets take in memory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Recovery {
    #[command(flatten)]
    ledger: Ledger,
    /// Where the ledger is made and kept [default: a folder that is deleted afterwards].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Make a ledger for `bench recovery`, say so, and wait to be killed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  largesse bench prepare --viewers 1000 --unflushed 1000 --data /tmp/ledger")]
pub struct Prepare {
    #[command(flatten)]
    ledger: Ledger,
    /// Where the ledger is made.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct Ledger {
    /// Viewers with money.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    viewers: u64,
    /// Gifts that only the log has; viewers send them in turn.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    unflushed: u64,
    /// Hosts who receive.
    #[arg(long, default_value_t = 1, value_name = "N")]
    hosts: u64,
    /// Wallet shards of the ledger.
    #[arg(long, default_value_t = 16, value_name = "N")]
    wallet_shards: u16,
    /// Threads for shards; 0 takes as many as there are cores, but one.
    #[arg(long, default_value_t = 0, value_name = "N")]
    workers: usize,
    /// Do not audit the ledger afterwards.
    #[arg(long)]
    no_audit: bool,
}

impl Ledger {
    fn bench(&self) -> RecoveryBench {
        RecoveryBench {
            viewers: self.viewers,
            unflushed: self.unflushed,
            hosts: self.hosts,
            wallet_shards: self.wallet_shards,
            workers: self.workers,
            audit: !self.no_audit,
        }
    }

    fn args(&self) -> Vec<String> {
        let numbers = [
            ("--viewers", self.viewers),
            ("--unflushed", self.unflushed),
            ("--hosts", self.hosts),
            ("--wallet-shards", self.wallet_shards.into()),
            ("--workers", self.workers as u64),
        ];
        let mut args: Vec<String> =
            numbers.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]).collect();
        args.extend(self.no_audit.then(|| "--no-audit".into()));
        args
    }
}

impl Recovery {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let bench = self.ledger.bench();
        bench.check().map_err(failure)?;
        let temporary = tempfile::tempdir().map_err(Failure::new)?;
        let dir = self.data.as_deref().unwrap_or(temporary.path());
        let mut command = own_binary()?;
        command.args(["bench", "prepare", "--data"]).arg(dir).args(self.ledger.args());
        let ready = Ready::start("the process that makes the ledger", &mut command)?;
        let prepared: Prepared = serde_json::from_value(ready.told.clone()).map_err(Failure::new)?;
        ready.kill()?;
        run::block_on(measure(bench, prepared, dir, format))
    }
}

async fn measure(bench: RecoveryBench, prepared: Prepared, dir: &Path, format: Format) -> Result<(), Failure> {
    let watch = Watch::new();
    let report = recovery::measure(bench, prepared, dir, &|stage| watch.tell(stage)).await.map_err(failure)?;
    let json = serde_json::to_value(&report).map_err(Failure::new)?;
    output::print(format, &json, || text(&report))?;
    if let Some(found) = &report.audit {
        audit::verdict(found)?;
    }
    if report.is_right() {
        return Ok(());
    }
    let what = format!("callers paid {}, hosts received {}", report.books.paid, report.books.received);
    Err(Failure::new(what).exit(Exit::Problems))
}

impl Prepare {
    pub async fn run(&self) -> Result<(), Failure> {
        let watch = Watch::new();
        let bench = self.ledger.bench();
        let ready = recovery::prepare(&bench, &self.data, &|stage| watch.tell(stage)).await.map_err(failure)?;
        output::line(&serde_json::to_string(&ready.prepared).map_err(Failure::new)?)?;
        child::parent_gone().await;
        ready.stop().await;
        Ok(())
    }
}

fn text(report: &RecoveryReport) -> String {
    let seconds = |seconds: f64| format!("{seconds:.3} s");
    let memory = &report.memory;
    let [start, after, all] =
        [memory.at_start_bytes, memory.after_start_bytes, memory.after_reading_all_bytes].map(show::mebibytes);
    output::fields([
        ("serving again after", seconds(report.seconds)),
        ("  files of the log", seconds(report.log_seconds)),
        ("  the store", seconds(report.store_seconds)),
        ("  all shards", seconds(report.shards_seconds)),
        ("  a durable gift on each", seconds(report.first_gifts_seconds)),
        ("wallets", report.bench.viewers.to_string()),
        (
            "events in the log only",
            format!("{}, in the store after {:.2} s", report.unflushed_events, report.drain_seconds),
        ),
        (
            "memory",
            format!(
                "{start} at the start, {after} serving, {all} with all wallets ({} bytes each)",
                memory.per_wallet_bytes
            ),
        ),
        ("sent again", format!("{} gifts of before the kill, all known", report.sent_again)),
        ("paid and received", format!("{} and {} coins", report.books.paid, report.books.received)),
        ("audit", show::verdict(report.audit.as_ref())),
        ("machine", show::machine(&report.machine)),
    ])
}
