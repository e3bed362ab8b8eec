//! How many durable gifts a second the engine takes: real shard actors, the embedded log with its syncs, the embedded
//! store, in this one process, and nothing in front of them.

mod callers;
mod report;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use largesse_engine::audit::AuditOptions;
use largesse_storage::audit::{DataDirError, data_dir};
use serde::Serialize;

pub use self::report::{Books, EngineReport, Latency};
use self::world::World;
use crate::machine::{Machine, cpu_seconds};

/// What one gift costs, in coins.
pub const PRICE: u64 = 1;

#[derive(Clone, Debug, Serialize)]
pub struct EngineBench {
    /// Viewers with money; who of them sends follows Zipf's law.
    pub viewers: u64,
    /// Hosts who receive, each as often.
    pub hosts: u64,
    /// Gifts that a caller sends at once; all of one batch go to one shard.
    pub batch: usize,
    /// Callers at a time, each with one batch under way.
    pub callers: usize,
    pub duration: Duration,
    /// Gifts a second in all, spread evenly, whatever the answers take; without it callers go on as soon as they are
    /// answered.
    pub rate: Option<u64>,
    pub wallet_shards: u16,
    /// Threads of their own for shards; 0 shares those of the callers.
    pub workers: usize,
    /// Where the ledger is made; a temporary folder without.
    pub data: Option<PathBuf>,
    /// Audit the ledger afterwards; the log is kept whole for it.
    pub audit: bool,
}

impl Default for EngineBench {
    fn default() -> Self {
        EngineBench {
            viewers: 100_000,
            hosts: 1,
            batch: 64,
            callers: 32,
            duration: Duration::from_secs(10),
            rate: None,
            wallet_shards: 16,
            workers: 0,
            data: None,
            audit: true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{0}")]
    Invalid(String),
    #[error("the ledger could not be started: {0}")]
    Start(String),
    #[error("the viewers could not be funded: {0}")]
    Funding(String),
    #[error(transparent)]
    Audit(#[from] DataDirError),
}

impl EngineBench {
    fn check(&self) -> Result<(), BenchError> {
        let complaint = if self.viewers == 0 || self.viewers > 100_000_000 {
            "viewers must be 1 to 100,000,000"
        } else if self.hosts == 0 || self.hosts > 10_000 {
            "hosts must be 1 to 10,000"
        } else if self.batch == 0 || self.batch > 4_096 {
            "a batch must have 1 to 4,096 gifts"
        } else if self.callers == 0 || self.callers > 10_000 {
            "callers must be 1 to 10,000"
        } else if self.rate == Some(0) {
            "a rate must be at least 1 gift a second"
        } else if !(1..=4_096).contains(&self.wallet_shards) {
            "wallet shards must be 1 to 4,096"
        } else {
            return Ok(());
        };
        Err(BenchError::Invalid(complaint.into()))
    }
}

/// Makes a ledger, funds its viewers, lets them send, and adds up.
pub async fn run(bench: EngineBench) -> Result<EngineReport, BenchError> {
    bench.check()?;
    let temporary = match &bench.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(|error| BenchError::Start(error.to_string()))?),
    };
    let dir = match (&bench.data, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(temporary)) => temporary.path().to_path_buf(),
        (None, None) => return Err(BenchError::Invalid("there is no folder".into())),
    };
    let world = World::start(&bench, &dir).await?;
    let began = Instant::now();
    let received_before = world.received().await?;
    world.fund().await?;
    world.node.drain_store().await;
    let funding_seconds = began.elapsed().as_secs_f64();

    let log_before = world.log_end().await;
    let cpu_before = cpu_seconds();
    let began = Instant::now();
    let told = callers::run(&world).await;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu_before;
    let log_bytes = world.log_end().await.saturating_sub(log_before);
    let flush_lag_events = world.lag();
    let began = Instant::now();
    world.node.drain_store().await;
    let drain_seconds = began.elapsed().as_secs_f64();
    let received = world.wait_for_credits(&told).await? - received_before;
    world.stop().await;

    let audit = if bench.audit { Some(data_dir(&dir, AuditOptions::default()).await?) } else { None };
    let gifts = told.gifts;
    let per_gift = |value: f64| if gifts > 0 { value / gifts as f64 } else { 0.0 };
    Ok(EngineReport {
        machine: Machine::here(),
        funding_seconds,
        seconds,
        gifts,
        gifts_per_second: gifts as f64 / seconds,
        cpu_seconds_per_million: per_gift(cpu * 1e6),
        latency: latency(&told.latency),
        refused: told.refused,
        overloaded: told.overloaded,
        unknown: told.unknown,
        late: told.late,
        log_bytes_per_gift: per_gift(log_bytes as f64),
        flush_lag_events,
        drain_seconds,
        books: Books { paid: told.paid, received },
        audit,
        bench,
    })
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let at = |quantile| histogram.value_at_quantile(quantile);
    Latency { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us: histogram.max() }
}
