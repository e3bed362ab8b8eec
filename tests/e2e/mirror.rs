//! The mirror in a real Redis, seen with `redis-cli` as others see it; and an account explained.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Client, Launch, Scratch, largesse, until};
use crate::setup::{self, Setup, setup};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that nobody else uses.
pub struct Redis {
    child: Child,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl Redis {
    /// `None` when somebody said that servers shall be left out.
    pub async fn start() -> Option<Redis> {
        if !setup::has_servers() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let redis = Redis { child: spawn(port, dir.path()), port, dir };
        redis.until_it_answers().await;
        Some(redis)
    }

    async fn until_it_answers(&self) {
        until("redis-server answers", PATIENCE, async || (self.cli(&["PING"]) == "PONG").then_some(())).await;
    }

    pub fn cli(&self, words: &[&str]) -> String {
        let told = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        String::from_utf8_lossy(&told.stdout).trim().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub async fn kill_and_start_again(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.child = spawn(self.port, self.dir.path());
        self.until_it_answers().await;
    }

    /// What the variables of a process say that shall use it.
    fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("LARGESSE__MIRROR__KIND", "redis".into()),
            // Whatever the ledger is called.
            ("LARGESSE__MIRROR__PREFIX", String::new()),
            ("LARGESSE__MIRROR__NODES", format!("[\"127.0.0.1:{}\"]", self.port)),
            ("LARGESSE__MIRROR__CHECK_EVERY", "50 ms".into()),
        ]
    }

    fn coins(&self, user: u64) -> String {
        self.cli(&["HGET", &format!("I.asset.{user}.coin"), "amount"])
    }

    async fn until_it_shows(&self, client: &Client, user: u64) {
        // Asked anew each time: what was sent to a user arrives a moment after the gift was answered.
        let shows = async || (self.coins(user) == client.coins(user).await.to_string()).then_some(());
        until(&format!("the coins of {user} in the mirror"), PATIENCE, shows).await;
    }
}

fn spawn(port: u16, dir: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    let started = command.arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    started.unwrap_or_else(|error| panic!("redis-server: {error}; `scripts/services up redis` installs it"))
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn rose() -> Value {
    json!({"gift_id": 1, "count": 1, "to": [2001]})
}

/// Sends one gift after the other; each must be applied. The number of them, once it is told to stop.
fn send_on(client: &Client, stop: &Arc<AtomicBool>, sent: &Arc<AtomicU64>) -> tokio::task::JoinHandle<()> {
    let (client, stop, sent) = (client.clone(), Arc::clone(stop), Arc::clone(sent));
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let number = sent.load(Ordering::Relaxed);
            client.gift(3002, &format!("mirror-{number}"), &rose()).await.ok();
            sent.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[tokio::test]
async fn others_read_balances_in_redis_and_no_gift_notices_when_it_goes() {
    let Some(mut redis) = Redis::start().await else { return };
    let scratch = Scratch::new();
    let settings = redis.settings();
    let launch = Launch::dev(&scratch.data());
    let server = settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).ready().await;
    let client = &server.client;
    redis.until_it_shows(client, 3002).await;
    assert_eq!(redis.coins(3002), "100000");
    let gift: Value = serde_json::from_str(&redis.cli(&["HGET", "I.gift.1", "record"])).unwrap();
    assert_eq!((&gift["name"], &gift["price"]), (&json!("Rose"), &json!(1)));
    let room: Value = serde_json::from_str(&redis.cli(&["HGET", "I.room.1001", "record"])).unwrap();
    assert_eq!(room["hosts"], json!(["2001", "2002"]));

    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sending = send_on(client, &stop, &sent);
    let some_more = async || {
        let goal = sent.load(Ordering::Relaxed) + 20;
        until("gifts go on", PATIENCE, async || (sent.load(Ordering::Relaxed) >= goal).then_some(())).await;
    };
    some_more().await;
    redis.cli(&["FLUSHALL"]);
    some_more().await;
    redis.kill_and_start_again().await;
    some_more().await;
    redis.signal(Signal::STOP);
    some_more().await;
    redis.signal(Signal::CONT);
    some_more().await;
    stop.store(true, Ordering::Relaxed);
    sending.await.unwrap();

    assert_eq!(client.coins(3002).await, 100_000 - sent.load(Ordering::Relaxed));
    for user in [2001, 3001, 3002, 3003] {
        redis.until_it_shows(client, user).await;
    }
    let has_gifts = async || redis.cli(&["HGET", "I.gifts", "ids"]).starts_with("1 2 3 ").then_some(());
    until("gifts are there again", PATIENCE, has_gifts).await;
    server.stop();
}

fn explain(data: &Path, redis: &Redis) -> (Output, Value) {
    let mut command = largesse();
    command.args(["account", "explain", "3002", "-o", "json", "--data"]).arg(data);
    command.envs(redis.settings());
    setup::configure(&mut command, data);
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (output, report)
}

/// How the sides stand on the coins of the user.
fn coins(report: &Value) -> Vec<(String, u64)> {
    let rows = report["balances"].as_array().unwrap().iter().filter(|row| row["asset"] == "coin");
    rows.map(|row| (row["side"].as_str().unwrap().to_owned(), row["amount"].as_u64().unwrap())).collect()
}

fn side<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["sides"].as_array().unwrap().iter().find(|side| side["side"] == name).unwrap()
}

#[tokio::test]
async fn an_account_is_explained_by_all_who_know_it() {
    let Some(redis) = Redis::start().await else { return };
    let (scratch, settings) = (Scratch::new(), redis.settings());
    let data = scratch.data();
    let launch = Launch::dev(&data);
    let server = settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).ready().await;
    for number in 0..3 {
        server.client.gift(3002, &format!("explain-{number}"), &rose()).await.ok();
    }
    redis.until_it_shows(&server.client, 3002).await;

    let (output, report) = explain(&data, &redis);
    assert_eq!(output.status.code(), Some(0), "{report}");
    let told = coins(&report);
    for name in ["log", "actor", "mirror"] {
        assert!(told.contains(&(name.into(), 99_997)), "{name}: {report}");
        assert!(side(&report, name)["seq"].as_u64().unwrap() >= 4, "{name}: {report}");
    }
    if setup() == Setup::Embedded {
        assert!(side(&report, "store")["unread"].as_str().unwrap().contains("running process"), "{report}");
    }

    // Somebody meddles with a copy.
    redis.cli(&["HSET", "I.asset.3002.coin", "amount", "5"]);
    let (output, report) = explain(&data, &redis);
    assert_eq!(output.status.code(), Some(4), "{report}");
    let meddled = report["balances"].as_array().unwrap().iter().find(|row| row["side"] == "mirror").unwrap();
    assert_eq!((&meddled["differs"]["expected"], &meddled["differs"]["found"]), (&json!(99_997), &json!(5)));
    assert_eq!(meddled["differs"]["seq"], meddled["seq"], "the event whose balance it should be");
    redis.cli(&["HSET", "I.asset.3002.coin", "amount", "99997"]);

    // Nobody serves any more: the store can be read, and that the actor cannot is said.
    server.stop();
    let (output, report) = explain(&data, &redis);
    assert_eq!(output.status.code(), Some(3), "{report}");
    let told = coins(&report);
    for name in ["log", "store", "mirror"] {
        assert!(told.contains(&(name.into(), 99_997)), "{name}: {report}");
    }
    assert!(side(&report, "actor")["unread"].as_str().unwrap().contains("nobody answers"), "{report}");

    // Without a log the others still say what they know.
    if setup() == Setup::Embedded {
        std::fs::rename(data.join("wal"), data.join("wal-away")).unwrap();
        let (output, report) = explain(&data, &redis);
        assert_eq!(output.status.code(), Some(3), "{report}");
        assert!(side(&report, "log")["unread"].is_string(), "{report}");
        assert_eq!(coins(&report), [("store".into(), 99_997), ("mirror".into(), 99_997)]);
    }
}
