//! Events out, as a consumer in another language sees them, and dead letters as people handle them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};

use crate::harness::{Config, Launch, Scratch, Server, largesse, root, until};
use crate::setup;

const VIEWERS: [u64; 2] = [5001, 5002];
const HOSTS: [u64; 2] = [2001, 2002];
const PATIENCE: Duration = Duration::from_secs(60);
/// Events of gifts fit into it, one by one; that of a payment with the longest of numbers does not.
const MESSAGE_BYTES_MAX: &str = "560";

struct World {
    brokers: String,
    ledger: String,
    scratch: Scratch,
}

impl World {
    /// `None` only when somebody said that servers shall be left out.
    fn new() -> Option<World> {
        if !setup::has_servers() {
            return None;
        }
        Some(World {
            brokers: setup::kafka(),
            ledger: format!("e{:x}", rand::random::<u64>()),
            scratch: Scratch::new(),
        })
    }

    fn launch(&self, more: &str) -> Launch {
        let more = format!(
            "[log.kafka]\nreplication = 1\nmin-insync-replicas = 1\n[events]\nenabled = true\nbrokers = [\"{}\"]\n\
             partitions = 3\nretry-first = \"1 h\"\n{more}",
            self.brokers
        );
        let config = Config { more, wallet_shards: 4, ..Config::new(&HOSTS) };
        Launch::serve(&self.scratch.data(), &config).env("LARGESSE__LEDGER__NAME", &self.ledger)
    }

    fn topic(&self) -> String {
        format!("{}.events", self.ledger)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    fn make_topic(&self) {
        let name = self.topic();
        let topic = NewTopic::new(&name, 3, TopicReplication::Fixed(1)).set("max.message.bytes", MESSAGE_BYTES_MAX);
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = block_on(self.admin().create_topics([&topic], &options)).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    fn allow_larger(&self) {
        let name = self.topic();
        let alter = AlterConfig::new(ResourceSpecifier::Topic(&name)).set("max.message.bytes", "1000000");
        block_on(self.admin().alter_configs([&alter], &AdminOptions::new())).unwrap();
    }

    fn command(&self, args: &[&str]) -> Output {
        let data = self.scratch.data();
        let mut command = largesse();
        setup::configure(&mut command, &data);
        command.env("LARGESSE__LEDGER__NAME", &self.ledger).args(args).arg("--config").arg(data.with_extension("toml"));
        command.args(["--profile", "dev", "--data"]).arg(data);
        command.output().unwrap()
    }

    #[track_caller]
    fn dlq(&self, exit: i32, args: &[&str]) -> Value {
        let ran = self.command(&[&["dlq"], args, &["-o", "json"]].concat());
        let (told, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ran.status.code(), Some(exit), "{args:?}: {told}{said}");
        if told.is_empty() { Value::Null } else { serde_json::from_str(&told).unwrap() }
    }

    /// What the example in Python makes of the topic as it is now, and of what it has seen before.
    fn consume(&self) -> Value {
        let database = self.scratch.path().join("sums.db");
        let ran = Command::new(python())
            .arg(root().join("examples/consumer/events.py"))
            .args(["--until-end", "--brokers", &self.brokers, "--topic", &self.topic(), "--database"])
            .arg(database)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice(&ran.stdout).unwrap()
    }

    /// Consumes until every balance is the sum of the user's events.
    async fn until_sums_agree(&self, server: &Server) -> Value {
        until("the sums of events are the balances", PATIENCE, || async {
            // Asked anew each time: credits of hosts are on their way for a moment.
            let mut balances = BTreeMap::new();
            for user in VIEWERS.into_iter().chain(HOSTS) {
                balances.insert(user, server.client.coins(user).await.cast_signed());
            }
            let told = self.consume();
            let sums = told["sums"].as_array().unwrap().iter().filter(|sum| sum["asset"] == 1);
            let sums: BTreeMap<u64, i64> =
                sums.map(|sum| (sum["user"].as_u64().unwrap(), sum["amount"].as_i64().unwrap())).collect();
            (sums == balances).then_some(told)
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let topics = ["events", "positions", "dlq", "wallet", "room", "control", "ledger"]
            .map(|kind| format!("{}.{kind}", self.ledger));
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        // Some were never made.
        drop(block_on(self.admin().delete_topics(&topics, &AdminOptions::new())));
    }
}

/// With what the example needs; installed once.
fn python() -> PathBuf {
    let tools = root().join("target/consumer-tools");
    let (wanted, installed) = (root().join("examples/consumer/requirements.txt"), tools.join("installed"));
    let run = |program: &Path, args: &[&std::ffi::OsStr]| {
        let ran = Command::new(program).args(args).output().unwrap();
        assert!(ran.status.success(), "{program:?}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let want = std::fs::read(&wanted).unwrap();
    if std::fs::read(&installed).ok() != Some(want.clone()) {
        run(Path::new("python3"), &["-m".as_ref(), "venv".as_ref(), tools.as_os_str()]);
        let args = ["install", "--quiet", "--disable-pip-version-check", "-r"].map(AsRef::as_ref);
        run(&tools.join("bin/pip"), &[&args[..], &[wanted.as_os_str()]].concat());
        std::fs::write(installed, want).unwrap();
    }
    tools.join("bin/python3")
}

async fn play(server: &Server, from: u64, to: u64) {
    for number in from..to {
        let viewer = VIEWERS[usize::try_from(number).unwrap() % VIEWERS.len()];
        let gift = json!({"gift_id": 1, "count": 1 + number % 3, "to": HOSTS});
        server.client.gift(viewer, &format!("gift-{number}"), &gift).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_in_python_sees_every_change_once_also_over_a_kill() {
    let Some(world) = World::new() else { return };
    let server = world.launch("").ready().await;
    server.client.apply_catalog(|_| {}).await;
    for viewer in VIEWERS {
        server.client.recharge(viewer, 10_000, &format!("order-{viewer}")).await.ok();
    }
    play(&server, 0, 40).await;
    let told = world.until_sums_agree(&server).await;
    assert!(told["counted"].as_u64().unwrap() >= 122, "{told}");

    play(&server, 40, 60).await;
    server.kill();
    let server = world.launch("").ready().await;
    play(&server, 60, 80).await;
    let told = world.until_sums_agree(&server).await;
    // The second process went on where the first had stopped, or shortly before: not from the beginning.
    let (read, counted) = (told["read"].as_u64().unwrap(), told["counted"].as_u64().unwrap());
    assert!(counted >= 242 && read <= counted + 100, "{told}");
    let metrics = server.client.http.get(format!("{}/metrics", server.client.admin)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("largesse_events_published_total"), "{metrics}");
    assert!(metrics.contains("largesse_dead_letters{reason=\"too_large\"} 0"), "{metrics}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_retried_and_discarded() {
    let Some(world) = World::new() else { return };
    world.make_topic();
    let server = world.launch("").ready().await;
    server.client.apply_catalog(|_| {}).await;
    let long = |letter: &str| letter.repeat(128);
    for (viewer, letter) in VIEWERS.into_iter().zip(["a", "b"]) {
        server.client.recharge(viewer, 10_000, &long(letter)).await.ok();
    }
    play(&server, 0, 10).await;
    let letters = until("both payments are dead letters", PATIENCE, || async {
        let letters = world.dlq(0, &["list"])["letters"].as_array().unwrap().clone();
        (letters.len() == 2).then_some(letters)
    })
    .await;
    let ids: Vec<&str> = letters.iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    assert!(
        letters.iter().all(|letter| letter["reason"] == "too_large" && letter["state"] == "waiting"),
        "{letters:?}"
    );
    // Gifts went through meanwhile: only the payments are missing in the sums.
    until("the gifts have arrived", PATIENCE, || async {
        let told = world.consume();
        (told["counted"].as_u64().unwrap() >= 30).then_some(())
    })
    .await;

    let shown = world.dlq(0, &["show", ids[0]]);
    assert_eq!(shown["content"]["message"]["id"], ids[0], "{shown}");
    assert!(shown["origin"]["offset"].is_u64() && shown["why"].as_str().unwrap().contains("too large"), "{shown}");
    world.dlq(1, &["show", "wallet-0.1.9"]);
    world.dlq(2, &["discard", ids[1]]);
    world.dlq(2, &["retry"]);
    let told = world.dlq(1, &["retry", ids[0]]);
    assert_eq!(told["letters"][0]["outcome"], "failed", "still too large: {told}");
    assert_eq!(world.dlq(0, &["show", ids[0]])["tries"], 2);

    world.allow_larger();
    until("the broker takes larger messages", PATIENCE, || async {
        let ran = world.command(&["dlq", "retry", ids[0], "--by", "ann"]);
        ran.status.success().then_some(())
    })
    .await;
    world.dlq(1, &["retry", ids[0]]);
    let told = world.dlq(3, &["discard", ids[1], "nobody", "--reason", "booked by hand", "--by", "ann"]);
    assert_eq!(told["letters"][0]["outcome"], "discarded", "{told}");
    assert_eq!(world.dlq(0, &["list"])["count"], 0);
    let all = world.dlq(0, &["list", "--all"]);
    let states: BTreeMap<&str, &str> = all["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (letter["id"].as_str().unwrap(), letter["state"].as_str().unwrap()))
        .collect();
    assert_eq!((states[ids[0]], states[ids[1]]), ("published", "discarded"));
    let discarded = world.dlq(0, &["show", ids[1]]);
    assert_eq!((&discarded["by"], &discarded["discard_reason"]), (&json!("ann"), &json!("booked by hand")));
    server.stop();
    // They are there without a server, too.
    let table = world.command(&["dlq", "list", "--all"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("ID") && table.contains("discarded"), "{table}");
}

/// Gifts never wait for events: here the brokers never answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gifts_go_on_without_the_brokers_of_events() {
    let Some(mut world) = World::new() else { return };
    let real = std::mem::replace(&mut world.brokers, "127.0.0.1:9".into());
    let server = world.launch("").ready().await;
    server.client.apply_catalog(|_| {}).await;
    for viewer in VIEWERS {
        server.client.recharge(viewer, 10_000, &format!("order-{viewer}")).await.ok();
    }
    play(&server, 0, 20).await;
    assert_eq!(world.dlq(0, &["list"])["count"], 0, "what cannot be sent now is no dead letter");
    server.stop();
    // The log has kept it all.
    world.brokers = real;
    let server = world.launch("").ready().await;
    let told = world.until_sums_agree(&server).await;
    assert!(told["counted"].as_u64().unwrap() >= 62, "{told}");
    server.stop();
}

/// The decoder that was written from the page about records reads what the program wrote.
#[test]
fn the_decoder_in_python_reads_every_golden_event() {
    let run = |flag: &str, file: &Path| {
        let ran = Command::new("python3").arg(root().join("examples/consumer/records.py")).arg(flag).arg(file).output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice::<Value>(&ran.stdout).unwrap()
    };
    let golden = root().join("engine/golden");
    let is_wallet_event = |name: &str| {
        ["gift_sent", "recharged", "transferred", "credits_applied", "transaction_bound"]
            .iter()
            .any(|kind| name.starts_with(kind))
    };
    let mut kinds = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(&golden).unwrap() {
        let path = entry.unwrap().path();
        if is_wallet_event(path.file_name().unwrap().to_str().unwrap()) {
            kinds.insert(run("--event-hex", &path)["kind"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    let full = run("--event-hex", &golden.join("gift_sent-full.hex"));
    assert_eq!(full["credits"][2], json!({"user": 9, "amount": 986, "balance": 1000, "spread": 0}), "{full}");
    assert_eq!((&full["points"]["balance"], &full["combo"]), (&json!(140), &json!(u64::MAX)));
    let claim = run("--hex", &golden.join("record-claim.hex"));
    assert_eq!(claim, json!({"claim": {"node": 3, "nonce": "09".repeat(16)}}));
}
