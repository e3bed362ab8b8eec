//! The command line against a running server: data on stdout in both forms, words on stderr, and exit codes.

use std::io::BufRead;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{As, Call, Launch, Scratch, largesse, root};
use crate::setup::{Setup, setup};

fn run(data: &Path, line: &str) -> Output {
    largesse().args(line.split_whitespace()).env("LARGESSE_DATA", data).output().unwrap()
}

/// The one document of a command that goes well.
#[track_caller]
fn json(data: &Path, line: &str) -> Value {
    let output = run(data, &format!("{line} -o json"));
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}: {stdout}{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{line}: one document on one line: {stdout}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}: {error}: {stdout}"))
}

/// What people see.
#[track_caller]
fn table(data: &Path, line: &str) -> String {
    let output = run(data, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_made_survives_a_restart_and_its_revocation_does_too() {
    let scratch = Scratch::new();
    let data = &scratch.data();
    let server = Launch::dev(data).ready().await;
    let made = json(data, "key create shop --scope recharges --scope read --reason opening");
    let shop = made["key"].as_str().unwrap().to_owned();
    let other = table(data, "key create other --scope all --signing");
    assert!(other.starts_with("lgk_"), "{other}");
    let listed = table(data, "key list");
    assert!(listed.contains("shop") && listed.contains("recharges") && listed.contains("opening"), "{listed}");
    assert!(!listed.contains("lgk_"), "a key is shown once: {listed}");
    let revoked = json(data, "key revoke other --reason leaked");
    assert_eq!(revoked["revoked"], true);
    server.kill();

    let server = Launch::dev(data).ready().await;
    let get = |key: &str| run(data, &format!("account get 2001 --service-key {key}"));
    assert!(get(&shop).status.success());
    let refused = get(other.trim());
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && stderr.contains("unauthenticated"), "{stderr}");
    let token = json(data, "token gen --user 3001");
    let token = token["token"].as_str().unwrap();
    assert_eq!(json(data, &format!("token verify {token}"))["user"], "3001");
    assert_eq!(run(data, &format!("token verify {token}x")).status.code(), Some(4));
    for (scope, is_read_only) in
        [("", false), ("--scope write", false), ("--scope read --scope write", false), ("--scope read", true)]
    {
        let made = json(data, &format!("token gen --user 3001 {scope}"));
        let told = json(data, &format!("token verify {}", made["token"].as_str().unwrap()));
        assert_eq!(told["read_only"], is_read_only, "{scope}: {made}");
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_answers_in_json_and_for_people() {
    let scratch = Scratch::new();
    let data = &scratch.data();
    let server = Launch::dev(data).ready().await;

    let sent = json(data, "gift send --from 3001 --room 1001 --gift rose --count 3 --to 2001 --to 2002 --key k");
    assert_eq!((&sent["total"], &sent["replayed"]), (&6.into(), &false.into()));
    let got = json(data, "gift get k --from 3001");
    assert_eq!(got, sent);
    let recharged = json(data, "account recharge 3001 --amount 6 --transaction order-1");
    assert_eq!(recharged["balance_after"], 100_000);
    let after = format!("{}:{}", sent["position"]["shard"], sent["position"]["seq"]);
    let balances = json(data, &format!("account get 2001 --after {after}"));
    assert_eq!(balances["balances"][0], serde_json::json!({"asset": "coin", "amount": 3}));
    let history = json(data, "account history 3001 --kind gift");
    assert_eq!(history["items"][0]["event_id"], "k");
    let page = json(data, "account history 3001 --limit 1");
    let cursor = page["cursor"].as_str().unwrap();
    let next = json(data, &format!("account history 3001 --limit 1 --cursor {cursor}"));
    assert_ne!(next["items"][0], page["items"][0]);
    for line in ["catalog list", "catalog list --room 1001"] {
        let listed = json(data, line);
        let gifts = listed.get("gifts").or(listed.get("gift")).unwrap().as_array().unwrap().len();
        assert!(gifts >= 60, "{line} lists {gifts}");
    }
    let file = root().join("config/catalog.toml");
    let planned = json(data, &format!("catalog apply {} --dry-run", file.display()));
    assert_eq!(planned["changes"], serde_json::json!([]));
    assert_eq!(json(data, "config check")["ok"], true);
    assert_eq!(json(data, "config print --profile dev")["ledger"]["wallet-shards"], 16);
    assert!(json(data, "config print --origin")["settings"].as_array().unwrap().len() > 20);

    for (line, words) in [
        ("gift get k --from 3001", &["2001 2002", "applied"][..]),
        ("account get 3001", &["ASSET", "coin", "100000"]),
        ("account history 3001", &["recharge", "gift", "2001 2002"]),
        ("catalog list", &["Rose", "玫瑰"]),
        ("config print", &["[ledger]", "wallet-shards = 16"]),
    ] {
        let shown = table(data, line);
        for word in words {
            assert!(shown.contains(word), "`{word}` is not in the answer of `{line}`:\n{shown}");
        }
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_token_is_that_user_and_no_other() {
    let scratch = Scratch::new();
    let data = &scratch.data();
    let server = Launch::dev(data).ready().await;
    let client = &server.client;
    client.recharge(4711, 8, "first").await.ok();
    let made = json(data, "token gen --user 4711 --ttl 5m");
    assert_eq!(made["user"], "4711");
    let token = made["token"].as_str().unwrap().to_owned();
    let balances = client.call(Call::get(As::Bearer(token.clone()), "/v1/me/balances")).await.ok();
    assert_eq!(balances["balances"][0]["amount"], 8);
    let others = client.call(Call::get(As::Bearer(token), "/v1/users/3001/balances")).await;
    assert_eq!(others.code(), "forbidden");
    assert_eq!(table(data, "token gen --user 4711").trim().split('.').count(), 3, "for people it is the token alone");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_tried_before_it_is_applied() {
    let scratch = Scratch::new();
    let data = &scratch.data();
    let server = Launch::dev(data).ready().await;
    let text = std::fs::read_to_string(root().join("config/catalog.toml")).unwrap();
    let (good, bad) = (scratch.path().join("good.toml"), scratch.path().join("bad.toml"));
    std::fs::write(&good, text.replacen("price = 5\n", "price = 7\n", 1)).unwrap();
    std::fs::write(&bad, text.replacen("price = 5\n", "prize = 7\n", 1)).unwrap();

    let planned = json(data, &format!("catalog apply {} --dry-run", good.display()));
    assert_eq!((&planned["dry_run"], &planned["changes"][0]["detail"]), (&true.into(), &"5 coin -> 7 coin".into()));
    let price = || {
        let listed = json(data, "catalog list --room 1001");
        listed["gifts"].as_array().unwrap().iter().find(|gift| gift["gift_id"] == 9).unwrap()["price"].clone()
    };
    assert_eq!(price(), 5, "a dry run changes nothing");
    let refused = run(data, &format!("catalog apply {} --reason x", bad.display()));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("bad.toml") && said.contains("prize") && said.contains("nothing was changed"), "{said}");
    let unexplained = run(data, &format!("catalog apply {}", good.display()));
    assert_eq!(unexplained.status.code(), Some(2), "a change needs its reason");
    json(data, &format!("catalog apply {} --reason dearer", good.display()));
    assert_eq!(price(), 7);
    server.stop();
}

/// The documents of a command that writes one per line.
#[track_caller]
fn lines(data: &Path, line: &str) -> Vec<Value> {
    let output = run(data, &format!("{line} -o json"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_opened_followed_and_closed() {
    let scratch = Scratch::new();
    let data = &scratch.data();
    let server = Launch::dev(data).ready().await;
    let open = "room open 7001 --host 2001 --host 2002 --gift 1 --goal coin:5 --pk 2001:2002:coin:5 --reason tonight";
    let opened = json(data, open);
    assert_eq!((&opened["live"]["state"], &opened["gifts"]), (&"open".into(), &serde_json::json!([1])));
    assert_eq!(opened["plugins"].as_array().unwrap().len(), 2, "{opened}");
    assert_eq!(json(data, "room get 7001"), opened);
    let mut follow = largesse();
    follow.args("room feed 7001 --follow -o json".split_whitespace()).env("LARGESSE_DATA", data);
    let mut follow = follow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut followed = std::io::BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&followed.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["kind"], "live_start", "what was there before");
    for (key, count) in [("k1", 2), ("k2", 3)] {
        json(data, &format!("gift send --from 3001 --room 7001 --gift rose --count {count} --to 2001 --key {key}"));
    }
    let mut seen = vec![next()];
    while seen.last().unwrap()["kind"] != "goal_reached" {
        seen.push(next());
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    let spent: u64 = seen.iter().filter_map(|item| item["delta"]["value"].as_u64()).sum();
    assert_eq!(spent, 5, "{seen:?}");
    assert_eq!(lines(data, "room feed 7001 --after 1")[..seen.len()], seen, "the feed is what was followed");

    let board = json(data, "room top 7001 --side hosts --period day --user 2001 --asset coin --limit 3");
    let first = serde_json::json!({ "rank": 1, "user_id": "2001", "value": 5 });
    assert_eq!((&board["entries"], &board["own"]), (&serde_json::json!([first]), &first));
    for (line, words) in [
        (
            "room get 7001",
            &["2001 2002", "1 open", "goal 5 of 5 coin", "PK 2001 5 : 2002 0 coin", "5 coin in 2 gifts"][..],
        ),
        ("room top 7001", &["RANK", "3001", "5"]),
        ("room feed 7001", &["live_start", "3001 -> 2001", "goal_reached"]),
        ("log tail --shard control", &["room_set", "tonight"]),
    ] {
        if line.starts_with("log") && setup() != Setup::Embedded {
            continue; // Its log is not in the folder.
        }
        let shown = table(data, &line.replace("log tail", &format!("log tail --data {}", data.display())));
        for word in words {
            assert!(shown.contains(word), "`{word}` is not in the answer of `{line}`:\n{shown}");
        }
    }
    let closed = json(data, "room close 7001 --reason over");
    assert_eq!((&closed["live"]["state"], &closed["hosts"]), (&"closed".into(), &opened["hosts"]));
    for (line, code, word) in [
        ("gift send --from 3001 --room 7001 --gift rose --to 2001", 1, "room_closed"),
        ("room get 9", 1, "room_unknown"),
        ("room open 7001 --host 2001 --pk 2001:2002:coin", 1, "host_not_in_room"),
        ("room open 7001 --host 2001 --goal coin", 2, "coin:10000"),
        ("room open 7001", 2, "--host"),
        ("room top 7001 --period month", 2, "month"),
        ("room close 7001 --addr http://127.0.0.1:9 --service-key lgk_x", 5, "nobody answers"),
    ] {
        let output = run(data, line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(word), "{line}: {said}");
    }
    server.stop();
}

#[test]
fn wrong_arguments_and_absent_servers_have_their_exit_codes() {
    let scratch = Scratch::new();
    let data = &scratch.data();
    for (line, code, word) in [
        ("gift send --from 3001", 2, "--room"),
        ("no-such-command", 2, "no-such-command"),
        ("account get abc", 2, "invalid"),
        ("gift get k --from 3001", 2, "--token"),
        ("dev --listen 0.0.0.0:0", 2, "127.0.0.1"),
        ("account get 3001 --addr http://127.0.0.1:9 --service-key lgk_x", 5, "nobody answers"),
        ("catalog list --room 1 --addr http://127.0.0.1:9", 5, "127.0.0.1:9"),
    ] {
        let output = run(data, line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(word), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}: words are no data");
    }
    for command in ["audit", "log inspect", "account explain 3001"] {
        let lost = run(data, &format!("{command} --ledger shadow --profile dev"));
        let said = String::from_utf8_lossy(&lost.stderr).into_owned();
        assert_eq!(lost.status.code(), Some(2), "{command}: {said}");
        assert!(said.contains("--ledger shadow") && said.contains("name brokers with --kafka"), "{command}: {said}");
    }
}

#[test]
fn a_misspelt_key_is_told_with_what_was_meant() {
    let scratch = Scratch::new();
    let file = scratch.path().join("my.toml");
    std::fs::write(&file, "[http]\nlisen = \"127.0.0.1:0\"\n").unwrap();
    let line = format!("config check --config {}", file.display());
    let output = run(&scratch.data(), &format!("{line} -o json"));
    assert_eq!(output.status.code(), Some(4));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["ok"], &told["problems"][0]["key"]), (&false.into(), &"http.lisen".into()));
    assert!(told["problems"][0]["why"].as_str().unwrap().contains("did you mean `http.listen`?"), "{told}");
    let serve = run(&scratch.data(), &format!("serve --config {}", file.display()));
    let said = String::from_utf8_lossy(&serve.stderr);
    assert_eq!(serve.status.code(), Some(1), "{said}");
    assert!(said.contains("did you mean `http.listen`?") && said.contains("my.toml"), "{said}");
    assert!(!scratch.data().exists(), "a wrong configuration touches nothing");
}
