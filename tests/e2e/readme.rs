//! The README does what it says: its commands are run as they stand there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Launch, Scratch, largesse, root};
use crate::setup;

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The blocks that stand between lines "```kind" and "```".
fn blocks(kind: &str) -> Vec<String> {
    let opening = format!("```{kind}");
    let mut blocks = Vec::new();
    let mut current: Option<Vec<String>> = None;
    for line in readme().lines() {
        current = match current {
            None if line == opening => Some(Vec::new()),
            None if line.starts_with("```") => Some(vec!["another kind".into()]),
            Some(lines) if line == "```" => {
                if lines.first().is_none_or(|first| first != "another kind") {
                    blocks.push(lines.join("\n"));
                }
                None
            }
            Some(mut lines) => {
                lines.push(line.into());
                Some(lines)
            }
            None => None,
        };
    }
    blocks
}

fn coins(balances: &Value) -> u64 {
    let all = balances["balances"].as_array().unwrap();
    all.iter().find(|balance| balance["asset"] == "coin").map_or(0, |balance| balance["amount"].as_u64().unwrap())
}

#[tokio::test]
async fn the_readme_lines_pay_once_and_show_it() {
    let scratch = Scratch::new();
    // The lines read `largesse-data/dev.env`, so the folder has the name it has by default.
    let data = scratch.path().join("largesse-data");
    let server = Launch::dev(&data).ready().await;
    let scripts = blocks("sh");
    assert_eq!(scripts.len(), 1, "the README has one block of lines to try");

    let ran = Command::new("bash").args(["-euo", "pipefail", "-c", &scripts[0]]).current_dir(scratch.path()).output();
    let ran = ran.unwrap();
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{stdout}\n{}\n{}", String::from_utf8_lossy(&ran.stderr), server.stderr());

    let documents = stdout.lines().filter(|line| line.starts_with('{'));
    let documents: Vec<Value> = documents.map(|line| serde_json::from_str(line).unwrap()).collect();
    let [recharge, receipt, first_host, second_host, history, again, left] = &documents[..] else {
        panic!("seven documents were expected:\n{stdout}")
    };
    assert_eq!((&recharge["amount"], &recharge["balance_after"]), (&10_000.into(), &110_000.into()));
    assert_eq!((&receipt["total"], &receipt["balance_after"]), (&100.into(), &109_900.into()));
    assert_eq!((coins(first_host), coins(second_host)), (50, 50));
    assert_eq!(coins(left), 109_900);

    let mut replayed = receipt.clone();
    replayed["replayed"] = true.into();
    assert_eq!(*again, replayed, "the same receipt, marked as replayed");
    let headers: Vec<_> = stdout.lines().map(str::to_ascii_lowercase).collect();
    assert_eq!(headers.iter().filter(|line| line.trim_end() == "idempotency-replayed: true").count(), 1, "{stdout}");

    let items = history["items"].as_array().unwrap();
    let of_kind = |kind: &str| items.iter().filter(|item| item["kind"] == kind).cloned().collect::<Vec<_>>();
    let gifts = of_kind("gift");
    assert_eq!(gifts.len(), 1, "{history}");
    assert_eq!((&gifts[0]["event_id"], &gifts[0]["amount"]), (&receipt["event_id"], &100.into()));
    assert_eq!(gifts[0]["peers"], serde_json::json!(["2001", "2002"]));
    assert!(of_kind("recharge").iter().any(|item| item["amount"] == 10_000), "{history}");
    server.stop();
    setup::forget(&data);
}

#[test]
fn the_readme_has_two_commands_and_both_are_there() {
    let commands = blocks("");
    assert_eq!(commands, ["cargo run --release -- dev", "./test"]);
    let help = largesse().args(["dev", "--help"]).output().unwrap();
    assert!(help.status.success());
    for path in ["test", ".ci/run"] {
        let mode = fs::metadata(root().join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{path} can be run by everybody");
    }
    let script = fs::read_to_string(root().join(".ci/run")).unwrap();
    let lines: Vec<_> = script.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect();
    assert_eq!(lines, [r#"exec "$(dirname "$0")/../test" "$@""#], "it runs what people run, and nothing more");
}
