//! The binary as people run it: `largesse dev` and the client commands against it, over a restart.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value;

/// A running `largesse dev`, ended when it goes out of scope.
struct Dev {
    process: Child,
    ready: Value,
}

/// The binary, with nothing of this process's environment that it could mistake for its own.
fn largesse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_largesse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LARGESSE") {
            command.env_remove(name);
        }
    }
    command
}

impl Dev {
    fn start(data: &Path) -> Dev {
        let mut command = largesse();
        command.args(["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "-o", "json", "--data"]);
        let mut process = command.arg(data).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Dev { process, ready }
    }

    /// Asks it to end, as a service manager would.
    fn stop(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Ended already when the test went well.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn run(data: &Path, line: &str) -> Output {
    largesse().args(line.split_whitespace()).arg("--data").arg(data).output().unwrap()
}

/// The JSON that a command answers with.
#[track_caller]
fn ask(data: &Path, line: &str) -> Value {
    let output = run(data, &format!("{line} -o json"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exit code and what is told.
fn refused(data: &Path, line: &str) -> (Option<i32>, String) {
    let output = run(data, line);
    assert!(output.stdout.is_empty(), "errors are no data: {line}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn amount(balances: &Value, asset: &str) -> u64 {
    let items = balances["balances"].as_array().unwrap();
    items.iter().find(|item| item["asset"] == asset).map_or(0, |item| item["amount"].as_u64().unwrap())
}

const GIFT: &str = "gift send --from 3001 --room 1001 --gift rose --count 5 --to 2001 --to 2002 --key k-1";

#[test]
fn a_gift_pays_once_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let dev = Dev::start(data);
    assert_eq!(dev.ready["room"], "1001");
    let first = ask(data, GIFT);
    assert_eq!(
        (&first["total"], &first["balance_after"], &first["replayed"]),
        (&10.into(), &99_990.into(), &false.into())
    );
    let position = format!("{}:{}", first["position"]["shard"], first["position"]["seq"]);
    assert_eq!(amount(&ask(data, &format!("account get 2001 --after {position}")), "coin"), 5);
    assert!(dev.stop().success(), "a stop that was asked for is a success");

    let dev = Dev::start(data);
    let again = ask(data, GIFT);
    assert_eq!((&again["replayed"], &again["position"]), (&true.into(), &first["position"]));
    assert_eq!(amount(&ask(data, "account get 3001"), "coin"), 99_990, "neither gift nor demo coins came twice");
    assert_eq!(amount(&ask(data, "account get 2002"), "coin"), 5);
    let history = ask(data, "account history 3001");
    assert_eq!(history["items"].as_array().unwrap().last().unwrap()["kind"], "recharge");
    assert!(dev.stop().success());
}

#[test]
fn what_goes_wrong_has_its_exit_code_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let dev = Dev::start(data);
    for (line, code, told) in [
        ("gift send --from 3001 --room 1001 --gift lion --count 9999 --to 2001", 1, "insufficient_funds"),
        ("gift send --from 3001 --room 1001 --gift rose --to 7", 1, "host_not_in_room"),
        ("gift send --from 3001 --room 1001 --gift no-such --to 2001", 2, "catalog list"),
        ("gift send --from 3001 --room 1001 --gift 1 --to 2001 --token wrong", 1, "unauthenticated"),
        ("gift get nothing --from 3001", 1, "event_unknown"),
        ("account get 3001 --addr 127.0.0.1:1 --token x", 5, "nobody answers"),
        ("account get 3001 --addr https://127.0.0.1:1 --token x", 5, "nobody answers"),
        ("catalog apply /nowhere.toml --reason x", 2, "/nowhere.toml"),
        ("dev --listen 0.0.0.0:0", 2, "127.0.0.1"),
        ("dev --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", 1, "in use by process"),
    ] {
        let (found, text) = refused(data, line);
        assert_eq!(found, Some(code), "{line}: {text}");
        assert!(text.contains(told), "{line}: {text}");
    }
    assert!(dev.stop().success());
}

#[test]
fn a_recharge_counts_once_and_a_catalog_shows_its_changes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let dev = Dev::start(data);
    for replayed in [false, true] {
        let receipt = ask(data, "account recharge 77 --amount 500 --transaction t-1");
        assert_eq!((&receipt["replayed"], &receipt["balance_after"]), (&replayed.into(), &500.into()));
    }
    let catalog = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/catalog.toml")).unwrap();
    let changed = data.join("changed.toml");
    std::fs::write(&changed, catalog.replacen("price = 1\n", "price = 2\n", 1)).unwrap();
    let apply = format!("catalog apply {}", changed.display());
    let planned = ask(data, &format!("{apply} --dry-run"));
    assert_eq!(planned["changes"].as_array().unwrap().len(), 1);
    assert_eq!(planned["changes"][0]["change"], "repriced");
    assert_eq!(ask(data, &format!("{apply} --reason dearer"))["version"], 2);
    assert_eq!(ask(data, &format!("{apply} --dry-run"))["changes"].as_array().unwrap().len(), 0);
    assert!(ask(data, "catalog list --room 1001")["gifts"].as_array().unwrap().len() >= 60);
    assert!(dev.stop().success());
}

#[test]
fn serving_takes_its_keys_from_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("largesse.toml");
    let key = "lgk_0123456789abcdef0123456789abcdef";
    let text = format!(
        "[ledger]\nwallet-shards = 4\n[http]\nlisten = \"127.0.0.1:0\"\nadmin-listen = \"127.0.0.1:0\"\n\
         [[auth.service-keys]]\nname = \"pay\"\nkey = \"{key}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = largesse();
    command.args(["serve", "-o", "json", "--config"]).arg(&config).arg("--data").arg(dir.path().join("data"));
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let dev = Dev { process, ready: serde_json::from_str(&line).unwrap() };
    let addr = dev.ready["listen"].as_str().unwrap();
    let nothing = ask(dir.path(), &format!("account get 5 --addr {addr} --service-key {key}"));
    assert_eq!(nothing["balances"].as_array().unwrap().len(), 0);
    let (code, told) = refused(dir.path(), &format!("account get 5 --addr {addr} --service-key {key}0"));
    assert_eq!(code, Some(1), "{told}");
    assert!(dev.stop().success());
}

#[test]
fn a_configuration_with_problems_ends_with_4() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("largesse.toml");
    let check = || largesse().args(["config", "check", "-o", "json", "--config"]).arg(&config).output().unwrap();
    std::fs::write(&config, "[log]\nsegmnt-bytes = 1\n").unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("did you mean `log.segment-bytes`?"));
    std::fs::write(&config, "[log]\nsegment-bytes = \"32 MiB\"\n").unwrap();
    assert_eq!(check().status.code(), Some(0));
}
