//! Gifts through shards, log and store of this one process.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use largesse_loadtest::engine::sustained::Sustained;
use largesse_loadtest::engine::{self, BenchError, EngineBench, EngineReport, Feed, News, Servers};

use super::show::{self, Watch};
use crate::command::audit;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

const EXAMPLES: &str = "\
Examples:
  largesse bench engine
  largesse bench engine --hosts 64 --batch 1024 --callers 16 --seconds 60
  largesse bench engine --batch 1 --callers 1
  largesse bench engine --batch 1024 --callers 16 --rate 500000
  largesse bench engine --batch 1024 --callers 16 --sustained
  largesse bench engine --viewers 10000 --seconds 5 -o json
  largesse bench engine --log kafka --store cql --viewers 10000 --batch 1024 --callers 16

Latency counts from when a batch was meant to be sent; with --rate that is a moment of the clock, whatever the answers
before it took.

--sustained looks for the highest rate at which the store keeps up. First callers hold back whenever the store is 200,000
events behind, for half of --seconds: that is what it digests. Then gifts come by the clock at 95, 85, 70 and 50 % of
that, --seconds each. The first rate holds of which at least 98 % were accepted and at which, over the second half, the
lag's slope was at most 2 % of the rate; all figures are of that run.

With --log kafka or --store cql the ledger has topics and a keyspace of its own, which are deleted afterwards;
`scripts/services up` starts both where these options look for them.

The ledger is audited at the end: a figure of a ledger that does not add up ends with 4.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogAt {
    Embedded,
    Kafka,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum StoreAt {
    Embedded,
    Cql,
}

/// Gifts through shards, log and store of one process, without HTTP.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Engine {
    /// Viewers with money; who sends follows Zipf's law.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
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
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Gifts a second in all [default: as many as are answered].
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Look for the highest rate at which the store keeps up, and measure at it; see below.
    #[arg(long, conflicts_with = "rate")]
    sustained: bool,
    /// Wallet shards of the ledger.
    #[arg(long, default_value_t = 16, value_name = "N")]
    wallet_shards: u16,
    /// Threads for shards; 0 takes as many as there are cores, but one.
    #[arg(long, default_value_t = 0, value_name = "N")]
    workers: usize,
    /// Where the log is.
    #[arg(long, value_enum, default_value_t = LogAt::Embedded)]
    log: LogAt,
    /// With --log kafka: the brokers, `host:port`, separated by commas.
    #[arg(long, value_name = "BROKERS", value_delimiter = ',', default_value = "127.0.0.1:19092")]
    brokers: Vec<String>,
    /// Where the rows are.
    #[arg(long, value_enum, default_value_t = StoreAt::Embedded)]
    store: StoreAt,
    /// With --store cql: nodes of the database, `host:port`, separated by commas.
    #[arg(long, value_name = "NODES", value_delimiter = ',', default_value = "127.0.0.1:19042")]
    nodes: Vec<String>,
    /// Copies of each record in Kafka and of each row in the database.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    replication: u16,
    /// Where the ledger is made and kept [default: a folder that is deleted afterwards].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write some of what was flushed again, into an empty store with nothing else going on, and compare.
    #[arg(long)]
    replay: bool,
    /// Do not audit the ledger afterwards.
    #[arg(long)]
    no_audit: bool,
}

impl Engine {
    pub async fn run(&self, format: Format) -> Result<(), Failure> {
        let bench = EngineBench {
            viewers: self.viewers,
            hosts: self.hosts,
            batch: self.batch,
            callers: self.callers,
            duration: Duration::from_secs(self.seconds),
            rate: self.rate,
            sustained: self.sustained,
            wallet_shards: self.wallet_shards,
            workers: self.workers,
            servers: Servers {
                kafka: (self.log == LogAt::Kafka).then(|| self.brokers.clone()),
                cql: (self.store == StoreAt::Cql).then(|| self.nodes.clone()),
                replication: self.replication,
            },
            data: self.data.clone(),
            replay: self.replay,
            audit: !self.no_audit,
        };
        let watch = Watch::new();
        let report = engine::run(bench, &|stage| watch.tell(stage)).await.map_err(failure)?;
        let json = serde_json::to_value(&report).map_err(Failure::new)?;
        output::print(format, &json, || text(&report))?;
        if let Some(found) = &report.audit {
            audit::verdict(found)?;
        }
        if !report.is_right() {
            let (books, shown) = (report.books, report.feed.value);
            let what =
                format!("callers paid {}, hosts received {}, the room showed {shown}", books.paid, books.received);
            return Err(Failure::new(what).exit(Exit::Problems));
        }
        Ok(())
    }
}

/// What became of a bench that could not be run to its end.
pub fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Invalid(what) => Failure::usage(what),
        error @ BenchError::Lost(_) => Failure::new(error).exit(Exit::Problems),
        error @ (BenchError::Start(_) | BenchError::Funding(_) | BenchError::Audit(_)) => Failure::new(error),
    }
}

fn text(report: &EngineReport) -> String {
    let (paid, received) = (report.books.paid, report.books.received);
    let (all, callers) = (report.cpu_seconds_per_million, report.callers_cpu_seconds_per_million);
    let mut fields = vec![
        ("durable gifts/s", format!("{:.0}", report.gifts_per_second)),
        ("gifts", format!("{} in {:.1} s", report.gifts, report.seconds)),
        ("CPU s per million", format!("{all:.2}, of which {callers:.2} for the callers")),
    ];
    fields.extend(show::latency(&report.latency));
    fields.extend([
        ("not decided", format!("{} overloaded, {} refused", report.overloaded, report.refused)),
        ("outcome unknown", report.unknown.to_string()),
        ("begun late", report.bench.rate.map(|_| report.late.to_string()).unwrap_or_default()),
        ("log bytes per gift", report.log_bytes_per_gift.map(|bytes| format!("{bytes:.1}")).unwrap_or_default()),
        (
            "flush lag at the end",
            format!(
                "{} events, gone after {:.2} s; {} at the most",
                report.flush_lag_events, report.drain_seconds, report.flush_lag_events_max
            ),
        ),
        ("rows/s into the store", rows(report)),
        ("sustained gifts/s", report.sustained.as_ref().map(sustained).unwrap_or_default()),
        ("memory", memory(report)),
        ("paid and received", format!("{paid} and {received} coins")),
        ("the room's news", news(report)),
        ("the room's feed", feed(report)),
        ("audit", show::verdict(report.audit.as_ref())),
        ("machine", show::machine(&report.machine)),
    ]);
    output::fields(fields)
}

fn news(report: &EngineReport) -> String {
    let News { count, missed, longest_wait_ms, .. } = report.news;
    let missed = if missed > 0 { format!(" and {missed} that were not looked at") } else { String::new() };
    format!("{count}{missed}; the longest wait for some took {longest_wait_ms} ms")
}

fn feed(report: &EngineReport) -> String {
    let Feed { entries, gifts, value, behind_ms } = report.feed;
    format!("{gifts} gifts of {value} coins in {entries} entries, all read {behind_ms} ms after the last answer")
}

fn rows(report: &EngineReport) -> String {
    let taken = report.store_rows_per_second;
    match report.replay {
        Some(replay) => format!("{taken:.0}; {:.0} of the same with nothing else going on", replay.rows_per_second),
        None => format!("{taken:.0}"),
    }
}

fn sustained(found: &Sustained) -> String {
    let digested = format!("the store digests {:.0}", found.digested_per_second);
    let tried = found.holds.iter().map(|hold| {
        let word = if hold.holds { "held" } else { "did not hold" };
        format!("{} {word} (lag {:+.0} a second)", hold.rate, hold.lag_growth_per_second)
    });
    let rate = found.gifts_per_second.map_or("none that was tried".into(), |rate| format!("{rate:.0}"));
    format!("{rate}; {digested}; {}", tried.collect::<Vec<_>>().join(", "))
}

fn memory(report: &EngineReport) -> String {
    let memory = &report.memory;
    let [start, funded, end] =
        [memory.at_start_bytes, memory.after_funding_bytes, memory.at_end_bytes].map(show::mebibytes);
    format!(
        "{start} at the start, {funded} with all viewers funded ({} bytes each), {end} at the end",
        memory.per_viewer_bytes
    )
}
