//! Runs `clients/scenarios.json` with the Rust client.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use largesse_client::{Client, Failure, FileOutbox, Gift, GiftReceipt, Options, Receipt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::proxy::{Fault, Proxy};
use crate::harness::{Config, Launch, Scratch, Server, root, until};

const FIRST_VIEWER: u64 = 4_001;
const ATTEMPT: Duration = Duration::from_secs(1);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

#[derive(Deserialize)]
struct File {
    scenarios: Vec<Scenario>,
}

#[derive(Deserialize)]
struct Scenario {
    name: String,
    coins: u64,
    #[serde(default)]
    clock_ahead_s: i64,
    patience_ms: Option<u64>,
    give_up_ms: Option<u64>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    Faults { faults: Faults },
    Send { send: Value, reports: Report, takes_ms: Option<u64> },
    Start { start: Value },
    UntilSends { until_sends: usize },
    Await { r#await: Report },
    Crash { crash: bool },
    Resume { resume: Vec<Report> },
    Recharge { recharge: u64 },
    Release { release: bool },
    Expect { expect: Expected },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    #[serde(default)]
    sends: Vec<Fault>,
    #[serde(default)]
    looks: Vec<Fault>,
}

/// What a client says; what is not there is not compared.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    outcome: String,
    total: Option<u64>,
    replayed: Option<bool>,
    code: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    applied: Option<usize>,
    coins: Option<u64>,
    sends: Option<usize>,
    looks: Option<usize>,
    keys: Option<usize>,
    outbox: Option<usize>,
}

/// The server, which the proxy can have killed and started again.
struct World {
    scratch: Scratch,
    server: Arc<Mutex<Option<Server>>>,
    proxy: Arc<Proxy>,
}

impl World {
    async fn start() -> World {
        let scratch = Scratch::new();
        let (kill, kills) = mpsc::channel(1);
        let proxy = Arc::new(Proxy::start(kill).await);
        let server = Launch::serve(&scratch.data(), &config()).ready().await;
        server.client.apply_catalog(|_| ()).await;
        proxy.aim(Some(&server.client.public));
        let server = Arc::new(Mutex::new(Some(server)));
        tokio::spawn(keep_killing(kills, scratch.data(), Arc::clone(&server), Arc::clone(&proxy)));
        World { scratch, server, proxy }
    }
}

fn config() -> Config {
    Config::new(&[2001, 2002])
}

async fn keep_killing(
    mut kills: mpsc::Receiver<oneshot::Sender<()>>,
    data: std::path::PathBuf,
    server: Arc<Mutex<Option<Server>>>,
    proxy: Arc<Proxy>,
) {
    while let Some(done) = kills.recv().await {
        let mut server = server.lock().await;
        proxy.aim(None);
        server.take().unwrap().kill();
        let next = Launch::serve(&data, &config()).ready().await;
        proxy.aim(Some(&next.client.public));
        *server = Some(next);
        // A proxy that was stopped meanwhile needs no answer.
        let _gone = done.send(());
    }
}

fn clock(ahead: i64) -> fn() -> SystemTime {
    #[allow(clippy::disallowed_methods, reason = "this is where the time comes from")]
    match ahead {
        0 => SystemTime::now,
        300 => || SystemTime::now() + Duration::from_secs(300),
        -300 => || SystemTime::now() - Duration::from_secs(300),
        other => panic!("no clock is {other} s ahead"),
    }
}

/// One scenario on its way.
struct Run<'a> {
    world: &'a World,
    scenario: &'a Scenario,
    viewer: u64,
    token: String,
    client: Arc<Client>,
    /// A gift that was begun by an earlier step.
    begun: Option<JoinHandle<Result<GiftReceipt, Failure>>>,
}

async fn open(world: &World, scenario: &Scenario, token: &str, outbox: &Path) -> Arc<Client> {
    let mut options = Options::new(&world.proxy.url, token);
    options.attempt = ATTEMPT;
    options.backoff = BACKOFF;
    options.patience = Duration::from_millis(scenario.patience_ms.unwrap_or(20_000));
    options.give_up = scenario.give_up_ms.map(Duration::from_millis);
    options.clock = clock(scenario.clock_ahead_s);
    Arc::new(Client::open(options, FileOutbox::open(outbox).unwrap()).await.unwrap())
}

impl Run<'_> {
    fn outbox(&self) -> std::path::PathBuf {
        self.world.scratch.path().join(format!("outbox-{}", self.viewer))
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Faults { faults } => self.world.proxy.faults(&faults.sends, &faults.looks),
            Step::Send { send, reports, takes_ms } => {
                let began = Instant::now();
                let outcome = self.client.send_gift(self.gift(send)).await;
                assert_reports(&of_gift(outcome), reports);
                let took = began.elapsed();
                assert!(took >= Duration::from_millis(takes_ms.unwrap_or(0)), "it took only {took:?}");
            }
            Step::Start { start } => {
                let (client, gift) = (Arc::clone(&self.client), self.gift(start));
                self.begun = Some(tokio::spawn(async move { client.send_gift(gift).await }));
            }
            Step::UntilSends { until_sends } => self.world.proxy.until_sends(*until_sends).await,
            Step::Await { r#await } => {
                let outcome = self.begun.take().unwrap().await.unwrap();
                assert_reports(&of_gift(outcome), r#await);
            }
            Step::Crash { crash } => {
                assert!(crash);
                self.crash().await;
            }
            Step::Resume { resume } => {
                let settled = self.client.resume().await;
                assert_eq!(settled.len(), resume.len(), "{settled:?}");
                for (settled, reports) in settled.into_iter().zip(resume) {
                    let outcome = settled.outcome.map(|receipt| match receipt {
                        Receipt::Gift(receipt) => receipt,
                        other @ (Receipt::Transfer(_) | Receipt::Recharge(_)) => {
                            panic!("the receipt of something else: {other:?}")
                        }
                    });
                    assert_reports(&of_gift(outcome), reports);
                }
            }
            Step::Recharge { recharge } => self.recharge(*recharge).await,
            Step::Release { release } => {
                assert!(release);
                self.world.proxy.release().await;
            }
            Step::Expect { expect } => self.expect(expect).await,
        }
    }

    /// Nothing of the client is left but its outbox.
    async fn crash(&mut self) {
        if let Some(begun) = self.begun.take() {
            begun.abort();
            assert!(begun.await.unwrap_err().is_cancelled());
        }
        let dead = Options::new(&self.world.proxy.url, "");
        let nobody = Arc::new(Client::open(dead, largesse_client::MemoryOutbox::default()).await.unwrap());
        let client = std::mem::replace(&mut self.client, nobody);
        drop(Arc::into_inner(client).unwrap());
        self.client = open(self.world, self.scenario, &self.token, &self.outbox()).await;
    }

    async fn recharge(&self, amount: u64) {
        let server = self.world.server.lock().await;
        let transaction = format!("{}-{amount}", self.viewer);
        server.as_ref().unwrap().client.recharge(self.viewer, amount, &transaction).await.ok();
    }

    fn gift(&self, said: &Value) -> Gift {
        let number = |value: &Value| value.as_u64().unwrap();
        let to = said["to"].as_array().unwrap().iter().map(|host| host.as_str().unwrap().parse().unwrap());
        let count = u16::try_from(number(&said["count"])).unwrap();
        let mut gift = Gift::new(1001, u32::try_from(number(&said["gift_id"])).unwrap(), count, to);
        gift.key = said["event_id"].as_str().map(|key| key.replace("{viewer}", &self.viewer.to_string()));
        gift
    }

    /// How many entries the file has that are not settled.
    fn kept(&self) -> usize {
        let text = std::fs::read_to_string(self.outbox()).unwrap();
        let mut kept = BTreeSet::new();
        // The last line may be half written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let line: Value = serde_json::from_str(line).unwrap();
            match (line["put"]["id"].as_str(), line["remove"].as_str()) {
                (Some(id), _) => drop(kept.insert(id.to_owned())),
                (_, Some(id)) => drop(kept.remove(id)),
                (None, None) => panic!("neither: {line}"),
            }
        }
        kept.len()
    }

    async fn expect(&self, expect: &Expected) {
        let server = self.world.server.lock().await;
        let books = &server.as_ref().unwrap().client;
        let (items, _) = books.history(self.viewer, "sent", "gift").await;
        let seen = self.world.proxy.seen();
        if let Some(wanted) = expect.outbox {
            // What is settled is taken out soon, and not before the client has told.
            let is_so = || async { (self.kept() == wanted).then_some(()) };
            until(&format!("{wanted} entries are kept"), Duration::from_secs(10), is_so).await;
        }
        let found = json!({"applied": items.len(), "coins": books.coins(self.viewer).await, "sends": seen.sends,
            "looks": seen.looks, "keys": seen.keys.len()});
        let or = |wanted: Option<usize>, name: &str| wanted.map_or(found[name].clone(), Value::from);
        let coins = expect.coins.map_or(found["coins"].clone(), Value::from);
        let wanted = json!({"applied": or(expect.applied, "applied"), "coins": coins, "sends": or(expect.sends, "sends"),
            "looks": or(expect.looks, "looks"), "keys": or(expect.keys, "keys")});
        assert_eq!(found, wanted);
    }
}

fn of_gift(outcome: Result<GiftReceipt, Failure>) -> Report {
    let report = |outcome: &str| Report { outcome: outcome.into(), total: None, replayed: None, code: None };
    match outcome {
        Ok(GiftReceipt { total, replayed, .. }) => {
            Report { total: Some(total), replayed: Some(replayed), ..report("applied") }
        }
        Err(Failure::Refused(problem)) => Report { code: Some(problem.code.to_string()), ..report("refused") },
        Err(Failure::GivenUp) => report("given_up"),
        Err(Failure::Pending { .. }) => report("pending"),
        Err(other) => panic!("{other}"),
    }
}

#[track_caller]
fn assert_reports(told: &Report, wanted: &Report) {
    let is_compared = |told: &Option<u64>, wanted: &Option<u64>| wanted.is_none() || told == wanted;
    let fits = told.outcome == wanted.outcome
        && is_compared(&told.total, &wanted.total)
        && (wanted.replayed.is_none() || told.replayed == wanted.replayed)
        && told.code == wanted.code;
    assert!(fits, "the client reports {told:?}, and should {wanted:?}");
}

async fn run(world: &World, scenario: &Scenario, viewer: u64) {
    world.proxy.reset();
    let token = world.server.lock().await.as_ref().unwrap().client.token(viewer);
    let outbox = world.scratch.path().join(format!("outbox-{viewer}"));
    let client = open(world, scenario, &token, &outbox).await;
    let mut run = Run { world, scenario, viewer, token, client, begun: None };
    run.recharge(scenario.coins).await;
    for (place, step) in scenario.steps.iter().enumerate() {
        println!("{} · step {}", scenario.name, place + 1);
        run.step(step).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_of_the_clients_ends_as_it_should() {
    let text = std::fs::read_to_string(root().join("clients/scenarios.json")).unwrap();
    let file: File = serde_json::from_str(&text).unwrap();
    assert!(file.scenarios.len() >= 20);
    let world = World::start().await;
    for (viewer, scenario) in (FIRST_VIEWER..).zip(&file.scenarios) {
        run(&world, scenario, viewer).await;
    }
}
