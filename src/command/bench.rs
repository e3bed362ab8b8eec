//! `largesse bench`: what this machine can do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use largesse_loadtest::engine::{self, EngineBench, EngineReport};

use crate::command::audit;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::run;

const EXAMPLES: &str = "\
Examples:
  largesse bench engine
  largesse bench engine --viewers 1000000 --batch 1024 --callers 16 --seconds 30
  largesse bench engine --batch 1 --callers 512
  largesse bench engine --rate 50000 -o json

With --rate, latency counts from when a gift was meant to be sent. The ledger is audited at the end: a figure of a
ledger that does not add up ends with 4.";

/// Measure, and audit what was measured.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Bench {
    /// Gifts through shards, log and store of one process, without HTTP.
    #[command(after_help = EXAMPLES)]
    Engine(Engine),
}

#[derive(Debug, Args)]
pub struct Engine {
    /// Viewers with money; who sends follows Zipf's law.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    viewers: u64,
    /// Hosts who receive.
    #[arg(long, default_value_t = 1, value_name = "N")]
    hosts: u64,
    /// Gifts that a caller sends at once.
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,
    /// Callers, each with one batch under way.
    #[arg(long, default_value_t = 32, value_name = "N")]
    callers: usize,
    /// How long to send.
    #[arg(long, default_value_t = 10, value_name = "N")]
    seconds: u64,
    /// Gifts a second in all [default: as many as are answered].
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Wallet shards of the ledger.
    #[arg(long, default_value_t = 16, value_name = "N")]
    wallet_shards: u16,
    /// Threads of their own for shards; 0 shares the callers'.
    #[arg(long, default_value_t = 0, value_name = "N")]
    workers: usize,
    /// Where the ledger is made and kept [default: a folder that is deleted afterwards].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Do not audit the ledger afterwards.
    #[arg(long)]
    no_audit: bool,
}

impl Bench {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let Bench::Engine(engine) = self;
        run::block_on(engine.run(format))
    }
}

impl Engine {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let bench = EngineBench {
            viewers: self.viewers,
            hosts: self.hosts,
            batch: self.batch,
            callers: self.callers,
            duration: Duration::from_secs(self.seconds),
            rate: self.rate,
            wallet_shards: self.wallet_shards,
            workers: self.workers,
            data: self.data.clone(),
            audit: !self.no_audit,
        };
        output::remark(&format!("funding {} viewers, then sending for {} s", self.viewers, self.seconds));
        let report = engine::run(bench).await.map_err(|error| match error {
            engine::BenchError::Invalid(what) => Failure::usage(what),
            error @ (engine::BenchError::Start(_) | engine::BenchError::Funding(_) | engine::BenchError::Audit(_)) => {
                Failure::new(error)
            }
        })?;
        let json = serde_json::to_value(&report).map_err(Failure::new)?;
        output::print(format, &json, || text(&report))?;
        if let Some(found) = &report.audit {
            audit::verdict(found)?;
        }
        if !report.is_right() {
            let what = format!("callers paid {}, hosts received {}", report.books.paid, report.books.received);
            return Err(Failure::new(what).exit(Exit::Problems));
        }
        Ok(())
    }
}

fn text(report: &EngineReport) -> String {
    let machine = &report.machine;
    let build = if machine.is_optimized { "optimized" } else { "a development build: slower than it could be" };
    let latency = &report.latency;
    let verdict = match &report.audit {
        None => "left out".into(),
        Some(found) if found.is_clean => "everything adds up".into(),
        Some(found) => format!("{} problems", found.problems_found),
    };
    let (paid, received) = (report.books.paid, report.books.received);
    output::fields([
        ("durable gifts/s", format!("{:.0}", report.gifts_per_second)),
        ("gifts", format!("{} in {:.1} s", report.gifts, report.seconds)),
        ("CPU s per million", format!("{:.2}, callers included", report.cpu_seconds_per_million)),
        ("latency p50", millis(latency.p50_us)),
        ("latency p99", millis(latency.p99_us)),
        ("latency p99.9", millis(latency.p999_us)),
        ("latency max", millis(latency.max_us)),
        ("not decided", format!("{} overloaded, {} refused", report.overloaded, report.refused)),
        ("outcome unknown", report.unknown.to_string()),
        ("begun late", report.bench.rate.map(|_| report.late.to_string()).unwrap_or_default()),
        ("log bytes per gift", format!("{:.1}", report.log_bytes_per_gift)),
        (
            "flush lag at the end",
            format!("{} events, gone after {:.2} s", report.flush_lag_events, report.drain_seconds),
        ),
        ("paid and received", format!("{paid} and {received} coins")),
        ("audit", verdict),
        ("machine", format!("{} cores, {}, Linux {}, {build}", machine.cores, machine.cpu, machine.kernel)),
    ])
}

fn millis(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1_000.0)
}
