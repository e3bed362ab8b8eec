//! `largesse audit`: does everything in a ledger add up?

use std::path::PathBuf;

use clap::Args;
use largesse_config::StoreKind;
use largesse_engine::audit::{AuditOptions, Report, Start, StoreAudit};
use serde_json::json;

use crate::command::config::Pick;
use crate::command::kafka::Kafka;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::{run, stores};

const EXAMPLES: &str = "\
Examples:
  largesse audit
  largesse audit --data /var/lib/largesse -o json
  largesse audit --kafka 127.0.0.1:9092 --ledger main
  largesse audit --data /var/lib/largesse --config largesse.toml

With a configuration that names Kafka for its log or a database as its store, those are read.
Beside a running process the logs are audited; stop it to compare the rows of its store as well.
Ends with 4 when something is off, and names the first event that differs.";

/// Fold the logs of a ledger again and compare every balance, credit, id and row.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Audit {
    /// The data folder.
    #[arg(long, env = "LARGESSE_DATA", default_value = "./largesse-data", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    kafka: Kafka,
    /// Problems to list; all are counted.
    #[arg(long, default_value_t = 100, value_name = "N")]
    problems: usize,
    #[command(flatten)]
    pick: Pick,
}

impl Audit {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        run::block_on(async {
            let options = AuditOptions { problems_max: self.problems, ..AuditOptions::default() };
            let config = self.pick.load()?.config;
            let rows = match config.store.kind {
                StoreKind::Embedded => None,
                StoreKind::Cql => Some(stores::cql_options(&config.store.cql)?),
            };
            let report = match (self.kafka.topics(&config)?, rows) {
                // A folder that is not there is none that anybody meant.
                (Some((kafka, ledger)), rows) => {
                    let dir = self.data.is_dir().then_some(self.data.as_path());
                    largesse_storage::audit::topics(kafka, &ledger, dir, rows, options).await
                }
                (None, Some(rows)) => largesse_storage::audit::data_dir_with_cql(&self.data, rows, options).await,
                (None, None) => largesse_storage::audit::data_dir(&self.data, options).await,
            };
            let report = report.map_err(Failure::new)?;
            let json = serde_json::to_value(&report).map_err(Failure::new)?;
            output::print(format, &json!(json), || text(&report))?;
            verdict(&report)
        })
    }
}

/// What the exit code says of a report.
pub fn verdict(report: &Report) -> Result<(), Failure> {
    match report.problems.first() {
        _ if report.is_clean => Ok(()),
        Some(first) => {
            let count = report.problems_found;
            let what = format!("the ledger does not add up: {count} problems, the first in {first}");
            Err(Failure::new(what).exit(Exit::Problems))
        }
        None => Err(Failure::new("the ledger does not add up").exit(Exit::Problems)),
    }
}

/// A report for people.
pub fn text(report: &Report) -> String {
    let shards = report.shards.iter().map(|shard| {
        let start = match shard.start {
            Start::Beginning => "the beginning",
            Start::Checkpoint => "the checkpoint",
            Start::Middle => "the middle",
        };
        let events = format!("{}..={}", shard.first, shard.last);
        let positions = format!("{}..{}", shard.from, shard.to);
        let counts = [shard.events, shard.accounts].map(|count| count.to_string());
        let mut row = vec![shard.shard.to_string(), start.into(), positions, events];
        row.extend(counts);
        row
    });
    let mut parts = vec![output::table(&["shard", "from", "positions", "seq", "#events", "#accounts"], shards)];
    let assets = report.assets.iter().map(|asset| {
        let name = asset.name.clone().unwrap_or_else(|| asset.asset.to_string());
        let sums = [asset.issued, asset.burned, asset.balances, asset.in_flight].map(|sum| sum.to_string());
        std::iter::once(name).chain(sums).collect()
    });
    if !report.assets.is_empty() {
        parts.push(output::table(&["asset", "#issued", "#burned", "#balances", "#in flight"], assets));
    }
    parts.push(match &report.store {
        StoreAudit::Compared { balances, receipts, checkpoints } => {
            format!("compared with the store: {balances} balances, {receipts} receipts, {checkpoints} checkpoints")
        }
        StoreAudit::NotCompared(why) => format!("not compared with the store: {why}"),
    });
    let relays = report.relays;
    parts.push(format!(
        "{} ids are there once; {} relayed ranges arrived whole, {} credits are in flight",
        report.ids, relays.ranges, relays.in_flight
    ));
    if relays.before_log > 0 {
        parts.push(format!("{} relayed ranges lie before what the log still has", relays.before_log));
    }
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    parts.push(match report.is_clean {
        true => "everything adds up".into(),
        false => format!("{} problems:\n{}", report.problems_found, problems.join("\n")),
    });
    parts.join("\n\n")
}
