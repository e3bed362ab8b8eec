//! Two suites side by side.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::suite::Figures;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

const EXAMPLES: &str = "\
Examples:
  largesse bench compare before.json after.json
  largesse bench compare before.json after.json --noise 5 -o json

Figures of two runs on one machine differ by some percent without any reason; what differs by less than --noise counts as
the same. Latency is shown and judges nothing: it varies more than that. Ends with 4 when a rate, its cost or a recovery
has become worse.";

/// Compare two files of `bench suite --json`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Compare {
    /// The figures to compare with.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The figures in question.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Percent by which figures differ without any reason.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    noise: u8,
}

/// What is compared, where it lies in a report, and whether more of it is better.
const FIGURES: [(&str, &str, bool); 11] = [
    ("gifts/s", "/gifts_per_second", true),
    ("sustained gifts/s", "/sustained/gifts_per_second", true),
    ("CPU s per million", "/cpu_seconds_per_million", false),
    ("requests/s", "/gifts/requests_per_second", true),
    ("part of the bare handler's", "/ratio", true),
    ("server CPU us a request", "/gifts/server_cpu_us_per_request", false),
    ("bytes per quiet socket", "/bytes_per_socket", false),
    ("server CPU us to connect", "/cpu_us_per_connect", false),
    ("CPU s per million deliveries", "/cpu_seconds_per_million_deliveries", false),
    ("seconds until it serves", "/seconds", false),
    ("p99 us", "/latency/p99_us", false),
];

/// Shown, and not judged.
const LATENCY: &str = "/latency/p99_us";

#[derive(Clone, Debug, PartialEq)]
struct Change {
    row: String,
    figure: &'static str,
    before: f64,
    after: f64,
    percent: f64,
    verdict: &'static str,
}

impl Compare {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let (before, after) = (read(&self.before)?, read(&self.after)?);
        for (figures, other) in [(&before, &after), (&after, &before)] {
            for row in figures.rows.iter().filter(|row| other.rows.iter().all(|other| other.name != row.name)) {
                output::remark(&format!("`{}` is only in one of the files", row.name));
            }
        }
        let changes = changes(&before, &after, f64::from(self.noise));
        if changes.is_empty() {
            return Err(Failure::usage("the two files have no row in common"));
        }
        let json = changes.iter().map(|change| {
            json!({
                "row": change.row, "figure": change.figure, "before": change.before, "after": change.after,
                "percent": change.percent, "verdict": change.verdict,
            })
        });
        let json = json!({"noise_percent": self.noise, "changes": json.collect::<Vec<_>>()});
        output::print(format, &json, || table(&changes))?;
        match changes.iter().filter(|change| change.verdict == WORSE).count() {
            0 => Ok(()),
            worse => {
                let what = format!("{worse} figures are worse by more than {} %", self.noise);
                Err(Failure::new(what).exit(Exit::Problems))
            }
        }
    }
}

const WORSE: &str = "worse";

fn read(path: &Path) -> Result<Figures, Failure> {
    let told = |error: &dyn std::fmt::Display| {
        Failure::usage(format_args!("{} holds no figures: {error}", path.display()))
            .help("`largesse bench suite --json FILE` writes such a file")
    };
    let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
    serde_json::from_str(&text).map_err(|error| told(&error))
}

fn changes(before: &Figures, after: &Figures, noise: f64) -> Vec<Change> {
    let mut changes = Vec::new();
    for row in &after.rows {
        let Some(known) = before.rows.iter().find(|known| known.name == row.name) else { continue };
        let is_recovery = row.command.starts_with("largesse bench recovery");
        for (figure, path, more_is_better) in FIGURES {
            // Other benches have seconds too: how long they ran.
            if path == "/seconds" && !is_recovery {
                continue;
            }
            let at = |report: &Value| report.pointer(path).and_then(Value::as_f64);
            let (Some(before), Some(after)) = (at(&known.report), at(&row.report)) else { continue };
            let percent = if before == 0.0 { 0.0 } else { (after - before) / before * 100.0 };
            let verdict = match percent {
                _ if path == LATENCY => "",
                percent if percent.abs() <= noise => "same",
                percent if (percent > 0.0) == more_is_better => "better",
                _ => WORSE,
            };
            changes.push(Change { row: row.name.clone(), figure, before, after, percent, verdict });
        }
    }
    changes
}

fn table(changes: &[Change]) -> String {
    let rows = changes.iter().map(|change| {
        let figure = |figure: f64| if figure >= 1_000.0 { format!("{figure:.0}") } else { format!("{figure:.2}") };
        vec![
            change.row.clone(),
            change.figure.to_owned(),
            figure(change.before),
            figure(change.after),
            format!("{:+.1} %", change.percent),
            change.verdict.to_owned(),
        ]
    });
    output::table(&["row", "figure", "#before", "#after", "#change", "verdict"], rows)
}

#[cfg(test)]
mod tests {
    use super::super::suite::Row;
    use super::*;

    fn figures(command: &str, report: Value) -> Figures {
        let rows = vec![Row { name: "r".into(), command: command.into(), report }];
        Figures { version: "1".into(), commit: "c".into(), rows }
    }

    #[test]
    fn only_what_differs_by_more_than_noise_is_better_or_worse() {
        let report = |rate: f64, cpu: f64, p99: u64| json!({"gifts_per_second": rate, "cpu_seconds_per_million": cpu, "latency": {"p99_us": p99}, "seconds": rate});
        let before = figures("largesse bench engine --hosts 1", report(100.0, 2.0, 10));
        let after = figures("largesse bench engine --hosts 1", report(95.0, 2.5, 90));
        let verdicts: Vec<_> =
            changes(&before, &after, 10.0).iter().map(|change| (change.figure, change.verdict)).collect();
        assert_eq!(verdicts, [("gifts/s", "same"), ("CPU s per million", "worse"), ("p99 us", "")]);
        let better = changes(&after, &before, 4.0);
        assert_eq!((better[0].verdict, better[1].verdict), ("better", "better"));
    }

    #[test]
    fn a_recovery_is_judged_by_its_seconds() {
        let at = |seconds: f64| figures("largesse bench recovery --viewers 1", json!({"seconds": seconds}));
        assert_eq!(changes(&at(1.0), &at(2.0), 10.0)[0].verdict, "worse");
    }
}
