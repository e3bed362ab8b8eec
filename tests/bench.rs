//! The benches as people run them, each for a moment: what they measure adds up, and their answers have the fields that
//! `docs/benchmarks.md` is made of. Nothing here judges how fast anything is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

use std::process::{Command, Output};

use serde_json::Value;

fn run(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_largesse"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LARGESSE")) {
        command.env_remove(name);
    }
    command.args(line.split_whitespace()).output().unwrap()
}

/// The one document of a bench that goes well.
#[track_caller]
fn json(line: &str) -> Value {
    let output = run(&format!("{line} -o json"));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{line}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}: {error}: {stdout}"))
}

#[track_caller]
fn is_positive(report: &Value, paths: &[&str]) {
    for path in paths {
        let figure = report.pointer(path).and_then(Value::as_f64);
        assert!(figure.is_some_and(|figure| figure > 0.0), "{path} is {figure:?} in {report}");
    }
}

#[test]
fn gifts_through_the_engine_add_up() {
    let report = json("bench engine --viewers 500 --seconds 1 --hosts 3 --batch 16 --callers 4");
    let paths = ["/gifts", "/gifts_per_second", "/cpu_seconds_per_million", "/latency/p999_us", "/log_bytes_per_gift"];
    is_positive(&report, &paths);
    is_positive(&report, &["/callers_cpu_seconds_per_million", "/memory/at_start_bytes", "/memory/at_end_bytes"]);
    assert_eq!(report["books"]["paid"], report["books"]["received"]);
    assert_eq!(report["audit"]["is_clean"], true);
    is_positive(&report, &["/news/count", "/feed/entries"]);
    assert_eq!((&report["feed"]["gifts"], &report["feed"]["value"]), (&report["gifts"], &report["books"]["paid"]));
}

#[test]
fn viewers_over_sockets_see_every_gift_and_none_keeps_a_buffer() {
    let report = json("bench ws --sockets 3000 --seconds 1");
    is_positive(&report, &["/gifts", "/ticks", "/deliveries", "/bytes_per_frame", "/connects_per_second"]);
    is_positive(&report, &["/cpu_us_per_connect", "/cpu_seconds_per_million_deliveries", "/latency/p99_us"]);
    assert_eq!((&report["wrong"], &report["first_wrong"]), (&Value::from(0), &Value::Null));
    // What the request was read into is 8 KB, which every socket once kept.
    let bytes = report["bytes_per_socket"].as_f64().unwrap();
    assert!((500.0..8_000.0).contains(&bytes), "{bytes} bytes for each socket that is quiet");
}

#[test]
fn a_killed_ledger_serves_again_and_knows_its_gifts() {
    let report = json("bench recovery --viewers 300 --unflushed 600 --wallet-shards 4");
    is_positive(&report, &["/seconds", "/log_seconds", "/store_seconds", "/shards_seconds", "/first_gifts_seconds"]);
    assert!(report["unflushed_events"].as_u64().unwrap() >= 600);
    assert_eq!(report["sent_again"], 600);
    assert_eq!(report["books"]["paid"], report["books"]["received"]);
    assert_eq!(report["audit"]["is_clean"], true);
}

#[test]
fn gifts_over_http_add_up_beside_a_bare_handler() {
    let report = json("bench http --viewers 50 --hosts 2 --connections 4 --seconds 1 --turns 2 --wallet-shards 4");
    for side in ["gifts", "bare"] {
        let paths = ["requests", "requests_per_second", "latency/p50_us", "client_cpu_us_per_request"];
        let paths = paths.map(|path| format!("/{side}/{path}"));
        is_positive(&report, &paths.each_ref().map(String::as_str));
        assert_eq!(report[side]["errors"], 0, "{report}");
        assert_eq!(report[side]["turns"].as_array().unwrap().len(), 2);
    }
    is_positive(&report, &["/ratio", "/books/paid"]);
    assert_eq!(report["books"]["paid"], report["books"]["received"]);
    assert_eq!(report["mismatches"], serde_json::json!([]));
    assert_eq!(report["audit"]["is_clean"], true);
    // Warming up is booked, and not measured.
    assert!(report["books"]["paid"].as_u64() >= report["gifts"]["requests"].as_u64());
}

#[test]
fn a_suite_writes_figures_that_can_be_compared() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("figures.json");
    let shown = file.display();
    let only = "--only one_caller --only half_load,_batches_of_64 --only sockets";
    let mut command = Command::new(env!("CARGO_BIN_EXE_largesse"));
    command.args(["bench", "suite", "--seconds", "1", "--viewers", "300", "--json"]).arg(&file);
    for name in only.split("--only ").filter(|name| !name.is_empty()) {
        command.args(["--only", name.trim().replace('_', " ").as_str()]);
    }
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    for words in [
        "| one caller, one at a time |",
        "--rate ",
        "| 1 host, batches of 64 |",
        "`largesse bench engine --hosts 1",
        "| 300 |",
    ] {
        assert!(stdout.contains(words), "`{words}` is not in\n{stdout}");
    }
    let same = json(&format!("bench compare {shown} {shown} --noise 0"));
    let changes = same["changes"].as_array().unwrap();
    assert!(changes.len() >= 13, "{same}");
    assert!(changes.iter().all(|change| change["percent"] == 0.0), "{same}");
}

#[test]
fn what_makes_no_sense_is_told_before_anything_starts() {
    for (line, words) in [
        ("bench engine --hosts 0", "hosts must be"),
        ("bench engine --seconds 0", "--seconds"),
        ("bench engine --rate 5 --sustained", "cannot be used with"),
        ("bench recovery --wallet-shards 5000", "wallet shards must be"),
        ("bench http --connections 0", "connections must be"),
        ("bench suite --only nothing", "rows are: 1 host"),
        ("bench suite --quick --json /nowhere/f.json", "/nowhere/f.json"),
        ("bench compare Cargo.toml Cargo.toml", "holds no figures"),
    ] {
        let output = run(line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{line}: {:?} {stderr}", output.status);
        assert!(stderr.contains(words), "{line}: {stderr}");
    }
}
