//! All figures of `docs/benchmarks.md`, one after the other.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::child::own_binary;
use super::markdown;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

const EXAMPLES: &str = "\
Examples:
  largesse bench suite --json figures.json
  largesse bench suite --quick
  largesse bench suite --only http
  largesse bench suite --seconds 20 --viewers 100000 --json short.json

Every row is a command that can be run by itself; it runs in a process and on a ledger of its own. Rows at half the load
take half of what the row of the highest load reached. The file is written after every row.";

/// Run every bench of docs/benchmarks.md and print its tables.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Suite {
    /// Where the figures are kept as JSON, for `bench compare`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A few seconds and few viewers per row: shows that everything runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// How long each row sends [default: 60, or 2 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Viewers with money [default: 1000000, or 10000 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    viewers: Option<u64>,
    /// Threads for shards, in the rows that have shards in their own process.
    #[arg(long, value_name = "N")]
    workers: Option<u64>,
    /// Only rows whose name has this in it; several times for several.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
}

/// What `--json` writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub version: String,
    pub commit: String,
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// As it can be run by itself.
    pub command: String,
    /// What it answered with `-o json`.
    pub report: Value,
}

/// One row before it has run.
struct Plan {
    name: &'static str,
    args: Vec<String>,
    /// Half of what this row reached is its rate.
    half_of: Option<&'static str>,
}

impl Suite {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let mut figures = Figures {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("LARGESSE_BUILD_COMMIT").into(),
            rows: Vec::new(),
        };
        let plans = self.plans();
        let wanted: Vec<_> = plans.iter().filter(|plan| self.is_wanted(plan, &plans)).collect();
        if wanted.is_empty() {
            let names: Vec<_> = plans.iter().map(|plan| plan.name).collect();
            return Err(Failure::usage("--only leaves no row").help(format_args!("rows are: {}", names.join("; "))));
        }
        if let Some(file) = &self.json {
            // Before anything slow, so that a folder that is not there is told at once.
            save(file, &figures)?;
        }
        for (number, plan) in (1..).zip(&wanted) {
            let mut args = plan.args.clone();
            if let Some(full) = plan.half_of {
                args.extend(["--rate".into(), half_of(full, &figures)?]);
            }
            output::remark(&format!("[{number}/{}] {}: largesse {}", wanted.len(), plan.name, args.join(" ")));
            let report = run_row(plan.name, &args)?;
            let command = format!("largesse {}", args.join(" "));
            figures.rows.push(Row { name: plan.name.into(), command, report });
            if let Some(file) = &self.json {
                save(file, &figures)?;
            }
        }
        let json = serde_json::to_value(&figures).map_err(Failure::new)?;
        output::print(format, &json, || markdown::tables(&figures))
    }

    /// A row that others take their rate from runs when they do.
    fn is_wanted(&self, plan: &Plan, plans: &[Plan]) -> bool {
        let is_named = |plan: &Plan| self.only.is_empty() || self.only.iter().any(|text| plan.name.contains(text));
        is_named(plan) || plans.iter().any(|other| other.half_of == Some(plan.name) && is_named(other))
    }

    fn plans(&self) -> Vec<Plan> {
        let engine = |name, rest: &str| self.plan(name, "engine", rest, None);
        let half = |name, rest: &str, full| self.plan(name, "engine", rest, Some(full));
        let (http_short, http_viewers) = if self.quick { ("--turns 2", "1000") } else { ("--turns 4", "10000") };
        vec![
            engine("1 host, batches of 1,024", "--hosts 1 --batch 1024 --callers 16"),
            engine("1 host, batches of 64", "--hosts 1 --batch 64 --callers 32"),
            engine("1 host, one at a time", "--hosts 1 --batch 1 --callers 64"),
            engine("64 hosts, batches of 1,024", "--hosts 64 --batch 1024 --callers 16"),
            engine("64 hosts, batches of 64", "--hosts 64 --batch 64 --callers 32"),
            engine("64 hosts, one at a time", "--hosts 64 --batch 1 --callers 64"),
            engine("one caller, one at a time", "--hosts 1 --batch 1 --callers 1"),
            half("half load, batches of 1,024", "--hosts 1 --batch 1024 --callers 16", "1 host, batches of 1,024"),
            half("half load, batches of 64", "--hosts 1 --batch 64 --callers 32", "1 host, batches of 64"),
            half("half load, one at a time", "--hosts 1 --batch 1 --callers 64", "1 host, one at a time"),
            engine("sustained, 1 host", "--hosts 1 --batch 64 --callers 32 --sustained"),
            engine("sustained, 64 hosts", "--hosts 64 --batch 64 --callers 32 --sustained"),
            self.recovery("recovery", None),
            self.recovery("idle wallets", Some(0)),
            Plan {
                name: "http",
                args: words(&format!(
                    "bench http --viewers {http_viewers} --connections 64 {http_short} --seconds {}",
                    self.seconds()
                )),
                half_of: None,
            },
            Plan {
                name: "viewers over sockets",
                args: words(&format!("bench ws --sockets {} --seconds {}", self.viewers().min(9_500), self.seconds())),
                half_of: None,
            },
        ]
    }

    fn plan(&self, name: &'static str, bench: &str, rest: &str, half_of: Option<&'static str>) -> Plan {
        let mut args =
            words(&format!("bench {bench} {rest} --viewers {} --seconds {}", self.viewers(), self.seconds()));
        args.extend(self.workers.iter().flat_map(|workers| ["--workers".into(), workers.to_string()]));
        Plan { name, args, half_of }
    }

    fn recovery(&self, name: &'static str, unflushed: Option<u64>) -> Plan {
        let viewers = self.viewers();
        let unflushed = unflushed.unwrap_or(viewers);
        let mut args = words(&format!("bench recovery --viewers {viewers} --unflushed {unflushed}"));
        args.extend(self.workers.iter().flat_map(|workers| ["--workers".into(), workers.to_string()]));
        Plan { name, args, half_of: None }
    }

    fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { 2 } else { 60 })
    }

    fn viewers(&self) -> u64 {
        self.viewers.unwrap_or(if self.quick { 10_000 } else { 1_000_000 })
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn half_of(name: &str, figures: &Figures) -> Result<String, Failure> {
    let row = figures.rows.iter().find(|row| row.name == name);
    let rate = row.and_then(|row| row.report["gifts_per_second"].as_f64());
    let rate = rate.filter(|rate| *rate >= 2.0);
    let rate = rate.ok_or_else(|| Failure::new(format_args!("the row `{name}` has no rate to take half of")))?;
    Ok(format!("{:.0}", rate / 2.0))
}

/// In a process of its own, so that no row inherits memory or threads of the one before.
fn run_row(name: &str, args: &[String]) -> Result<Value, Failure> {
    let told = |what: &dyn std::fmt::Display| Failure::new(format_args!("{name}: {what}"));
    let mut command = own_binary()?;
    command.args(args).args(["-o", "json"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().map_err(|error| told(&error))?;
    let done = child.wait_with_output().map_err(|error| told(&error))?;
    if !done.status.success() {
        let is_wrong = done.status.code() == Some(Exit::Problems as i32);
        let failure = told(&format_args!("it ended with {}; what it said is above", done.status));
        return Err(if is_wrong { failure.exit(Exit::Problems) } else { failure });
    }
    serde_json::from_slice(&done.stdout).map_err(|error| told(&error))
}

/// In one step: whoever reads it meanwhile finds the old file or the new one.
fn save(file: &Path, figures: &Figures) -> Result<(), Failure> {
    let told = |error: std::io::Error| Failure::new(format_args!("cannot write {}: {error}", file.display()));
    let text = serde_json::to_string_pretty(figures).map_err(Failure::new)?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(dir).map_err(told)?;
    writeln!(new, "{text}").map_err(told)?;
    new.persist(file).map_err(|error| told(error.error)).map(|_file| ())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Cli;

    fn suite(more: &str) -> Suite {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            suite: Suite,
        }
        Only::parse_from(std::iter::once("suite").chain(more.split_whitespace())).suite
    }

    #[test]
    fn every_row_is_a_command_that_parses_and_has_a_name_of_its_own() {
        Cli::command().debug_assert();
        let plans = suite("--workers 2").plans();
        for plan in &plans {
            let line = std::iter::once("largesse".to_owned()).chain(plan.args.iter().cloned());
            if let Err(error) = Cli::try_parse_from(line) {
                panic!("{}: {error}", plan.name);
            }
            assert_eq!(plans.iter().filter(|other| other.name == plan.name).count(), 1, "{}", plan.name);
            if let Some(full) = plan.half_of {
                assert!(plans.iter().any(|other| other.name == full && other.half_of.is_none()), "{full}");
            }
        }
    }

    #[test]
    fn a_row_at_half_load_brings_the_one_it_is_half_of() {
        let suite = suite("--only half --only http");
        let plans = suite.plans();
        let wanted: Vec<_> = plans.iter().filter(|plan| suite.is_wanted(plan, &plans)).map(|plan| plan.name).collect();
        assert_eq!(wanted.len(), 7, "{wanted:?}");
        assert!(wanted.contains(&"1 host, batches of 64") && !wanted.contains(&"64 hosts, batches of 64"));
    }
}
