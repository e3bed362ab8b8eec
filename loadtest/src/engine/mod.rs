//! How many durable gifts a second the engine takes: real shard actors, the embedded log with its syncs, the embedded
//! store, in this one process, and nothing in front of them.

mod callers;
mod crowd;
mod held;
pub mod recovery;
mod replay;
mod report;
mod room;
mod servers;
pub mod sustained;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use largesse_engine::ledger::LedgerShape;
use largesse_storage::audit::DataDirError;
use serde::Serialize;

use self::callers::{Drive, Told};
use self::crowd::Crowd;
pub use self::replay::Replay;
pub use self::report::{Books, EngineReport, Memory};
pub use self::room::{Feed, News};
use self::servers::Place;
pub use self::servers::Servers;
use self::sustained::Sustained;
use self::world::{Driven, Setup, World};
use crate::machine::{Machine, cpu_seconds, resident_bytes};
use crate::progress::{Progress, Stage};

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
    /// Search for the highest rate that the store keeps up with, and measure at it; see [`sustained`].
    pub sustained: bool,
    pub wallet_shards: u16,
    /// Threads for shards; 0 takes as many as there are cores, but one.
    pub workers: usize,
    /// Where log and rows are, if not in the folder.
    pub servers: Servers,
    /// Where the ledger is made; a temporary folder without.
    pub data: Option<PathBuf>,
    /// Write some of what was flushed again, into an empty store with nothing else going on.
    pub replay: bool,
    /// Audit the ledger afterwards; the log is kept whole for it.
    pub audit: bool,
}

impl Default for EngineBench {
    fn default() -> Self {
        EngineBench {
            viewers: 1_000_000,
            hosts: 1,
            batch: 64,
            callers: 32,
            duration: Duration::from_secs(60),
            rate: None,
            sustained: false,
            wallet_shards: 16,
            workers: 0,
            servers: Servers::default(),
            data: None,
            replay: false,
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
    #[error("the ledger lost something: {0}")]
    Lost(String),
    #[error(transparent)]
    Audit(#[from] DataDirError),
}

impl EngineBench {
    fn check(&self) -> Result<(), BenchError> {
        let complaint = if !(1..=VIEWERS_MAX).contains(&self.viewers) {
            "viewers must be 1 to 100,000,000"
        } else if !(1..=10_000).contains(&self.hosts) {
            "hosts must be 1 to 10,000"
        } else if !(1..=4_096).contains(&self.batch) {
            "a batch must have 1 to 4,096 gifts"
        } else if !(1..=10_000).contains(&self.callers) {
            "callers must be 1 to 10,000"
        } else if self.duration.is_zero() || self.duration > DURATION_MAX {
            "a bench must run for 1 second to 1 day"
        } else if self.rate == Some(0) {
            "a rate must be at least 1 gift a second"
        } else if self.rate.is_some() && self.sustained {
            "a sustained rate is searched for, so none can be given"
        } else if !(1..=SHARDS_MAX).contains(&self.wallet_shards) {
            "wallet shards must be 1 to 4,096"
        } else {
            return Ok(());
        };
        Err(BenchError::Invalid(complaint.into()))
    }

    fn setup(&self, place: Place) -> Setup {
        // Every caller has one batch under way, and all of them may go to one shard.
        Setup { place, permits: self.callers * self.batch, workers: self.workers, audit: self.audit }
    }

    fn drive(&self) -> Drive {
        let (batch, callers) = (self.batch, self.callers);
        Drive { batch, callers, duration: self.duration, rate: self.rate, lag_max: None }
    }
}

pub const VIEWERS_MAX: u64 = 100_000_000;
pub const SHARDS_MAX: u16 = 4_096;
const DURATION_MAX: Duration = Duration::from_secs(86_400);

/// What was measured while callers ran.
struct Measured {
    driven: Driven,
    cpu_seconds: f64,
    log_bytes: Option<u64>,
    flush_lag_events: u64,
    sustained: Option<Sustained>,
    /// Everything that callers were told, the search for a rate included.
    all: Told,
}

/// Makes a ledger, funds its viewers, lets them send, and adds up.
pub async fn run(bench: EngineBench, progress: Progress<'_>) -> Result<EngineReport, BenchError> {
    bench.check()?;
    let shape = LedgerShape::new(bench.wallet_shards);
    let crowd = Arc::new(Crowd::new(shape, bench.viewers, bench.hosts)?);
    let memory = Memory { at_start_bytes: resident_bytes(), ..Memory::default() };
    let (dir, _temporary) = folder(bench.data.as_ref())?;
    let place = bench.servers.place();
    let ran = run_at(&place, bench, crowd, &dir, memory, progress).await;
    // What an earlier error left is deleted as well; that error is the one to be told.
    let deleted = place.delete().await;
    let report = ran?;
    deleted.map(|()| report)
}

async fn run_at(
    place: &Place,
    bench: EngineBench,
    crowd: Arc<Crowd>,
    dir: &Path,
    mut memory: Memory,
    progress: Progress<'_>,
) -> Result<EngineReport, BenchError> {
    let world = World::start(&bench.setup(place.clone()), crowd, dir).await?;
    memory.before_funding_bytes = resident_bytes();
    let began = Instant::now();
    let received_before = world.received().await?;
    world.fund(progress).await?;
    world.drain(progress).await;
    let funding_seconds = began.elapsed().as_secs_f64();
    memory.after_funding_bytes = resident_bytes();
    if bench.replay {
        world.keep_flushes();
    }
    let (began, rows_before) = (Instant::now(), world.stored_rows());
    let shown_before = room::last(&world.service).await?;
    let measured = if bench.sustained {
        sustained::search(&world, &bench.drive(), progress).await?
    } else {
        let seconds = bench.duration.as_secs();
        progress(Stage::Sending { seconds, rate: bench.rate });
        measure(&world, bench.drive()).await?
    };
    memory.at_end_bytes = resident_bytes();
    let ended = Instant::now();
    world.drain(progress).await;
    let drain_seconds = ended.elapsed().as_secs_f64();
    let store_rows_per_second = (world.stored_rows() - rows_before) as f64 / began.elapsed().as_secs_f64();
    let kept = world.kept_flushes();
    let received = world.wait_for_credits(&measured.all).await? - received_before;
    let feed = room::read(&world.service, shown_before, received, ended).await?;
    world.stop().await;
    let replayed = if bench.replay {
        progress(Stage::Replaying);
        Some(place.replay(kept, LedgerShape::new(bench.wallet_shards)).await?)
    } else {
        None
    };
    let audit = if bench.audit {
        progress(Stage::Auditing);
        Some(place.audit(dir).await?)
    } else {
        None
    };
    let machine = Machine::here(dir);
    memory.per_viewer_bytes = memory.growth_per(bench.viewers);
    Ok(EngineReport::new(bench, machine, &measured)
        .with(funding_seconds, drain_seconds, memory)
        .with_rows(store_rows_per_second, replayed)
        .with_feed(feed)
        .with_books(Books { paid: measured.all.paid, received }, measured.all.unknown, audit))
}

async fn measure(world: &World, drive: Drive) -> Result<Measured, BenchError> {
    let log_before = world.log_bytes().await;
    let cpu_before = cpu_seconds();
    let driven = world.drive(drive).await?;
    let cpu_seconds = cpu_seconds() - cpu_before;
    let flush_lag_events = world.lag();
    let log_bytes = world.log_bytes().await.zip(log_before).map(|(after, before)| after.saturating_sub(before));
    let mut all = Told::new(world.crowd.shape.wallet_shards);
    all.add(&driven.told);
    Ok(Measured { driven, cpu_seconds, log_bytes, flush_lag_events, sustained: None, all })
}

/// The folder that was named, or one that goes when the second is dropped.
fn folder(named: Option<&PathBuf>) -> Result<(PathBuf, Option<tempfile::TempDir>), BenchError> {
    match named {
        Some(dir) => Ok((dir.clone(), None)),
        None => {
            let temporary = tempfile::tempdir().map_err(|error| BenchError::Start(error.to_string()))?;
            Ok((temporary.path().to_path_buf(), Some(temporary)))
        }
    }
}
