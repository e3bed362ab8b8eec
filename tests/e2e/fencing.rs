//! Two processes own the same shards in one Kafka. One is frozen under load, the other takes over, the first wakes with
//! writes, reads and refusals waiting in it: it tells nobody anything that is not so, and stops being the owner.
//!
//! The log is shared, and each process has a store of its own in a folder of its own: a store is a view that its flusher
//! makes of the whole log, whoever wrote it. So nothing is cut off here, and both views must pass the audit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use largesse_engine::ledger::LedgerName;
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::crash::check;
use crate::crash::player::{Player, World, without_replayed};
use crate::harness::{Answer, As, Call, Client, Config, Dice, Launch, Scratch, Server, largesse, until};
use crate::setup;

const VIEWERS: [u64; 4] = [5001, 5002, 5003, 5004];
const HOSTS: [u64; 4] = [2001, 2002, 2003, 2004];
/// Sends while one owner is frozen; what is left must be what the other owner said last.
const PROBER: u64 = 7001;
/// The prober's host, whom no player knows.
const PROBED: u64 = 2999;
/// Each round has one of these, who has nothing until the new owner is told otherwise.
const POOR: u64 = 8000;
const PATIENCE: Duration = Duration::from_secs(60);
const COINS: u64 = 1_000_000;

struct Ledger {
    brokers: String,
    name: LedgerName,
}

impl Ledger {
    async fn start(&self, scratch: &Scratch) -> Server {
        let hosts: Vec<u64> = HOSTS.into_iter().chain([PROBED]).collect();
        let more = format!(
            "[log]\nkind = \"kafka\"\n[log.kafka]\nbrokers = [\"{}\"]\nproducers = 2\nreplication = 1\n\
             min-insync-replicas = 1\ncut = false\n[engine]\nflush-every = \"50 ms\"",
            self.brokers
        );
        let config = Config { more, wallet_shards: 4, ..Config::new(&hosts) };
        Launch::serve_as_written(&scratch.data(), &config)
            .env("LARGESSE__LEDGER__NAME", self.name.as_str())
            .ready()
            .await
    }

    /// Everything adds up, in the topics and in the view that this folder is.
    fn audit(&self, scratch: &Scratch) {
        let ran = largesse()
            .args(["audit", "-o", "json", "--kafka", &self.brokers, "--ledger", self.name.as_str(), "--data"])
            .arg(scratch.data())
            .output()
            .unwrap();
        let (told, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ran.status.code(), Some(0), "{told}{said}");
        let told: Value = serde_json::from_str(&told).unwrap();
        assert!(told["store"]["compared"].is_object(), "the store was compared as well: {told}");
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        setup::delete_topics(&self.brokers, self.name.as_str());
    }
}

/// What the prober was told, by key.
type Receipts = BTreeMap<String, Value>;

fn gift() -> Value {
    json!({"gift_id": 1, "count": 1, "to": [PROBED]})
}

/// Asks until somebody vouches for something: the process may be claiming just now.
async fn settled(client: &Client, call: Call) -> Value {
    until(&format!("{call:?} is answered"), PATIENCE, || async {
        let answer = client.try_call(&call).await.ok()?;
        (answer.status == StatusCode::OK).then_some(answer.body)
    })
    .await
}

fn gift_of(user: u64, key: &str) -> Call {
    Call::post(As::Viewer(user), "/v1/rooms/1001/gifts", &gift()).key(key)
}

fn recharge_of(user: u64, amount: u64, transaction: &str) -> Call {
    Call::post(As::Service, "/v1/recharges", &crate::harness::recharge_body(user, amount, transaction))
}

fn waiting(client: &Client, call: Call) -> tokio::task::JoinHandle<Option<Answer>> {
    let client = client.clone();
    tokio::spawn(async move { client.try_call(&call).await.ok() })
}

/// How often a process has noticed that another owner came after it.
fn fenced(server: &Server) -> usize {
    server.stderr().matches("another owner claimed").count()
}

struct Round<'a> {
    number: u32,
    /// The owner until now, which is frozen, and who takes over from it.
    old: &'a Server,
    new: &'a Server,
    serving: &'a watch::Sender<Option<(u32, Client)>>,
}

impl Round<'_> {
    async fn play(self, dice: &mut Dice, receipts: &mut Receipts) {
        let (number, poor) = (self.number, POOR + u64::from(self.number));
        let (old, new) = (&self.old.client, &self.new.client);
        // Not a wait for anything: the moment at which it freezes is what is drawn.
        tokio::time::sleep(Duration::from_millis(100 + dice.below(400))).await;
        let early: Vec<_> = (0..5)
            .map(|place| format!("early-{number}-{place}"))
            .map(|key| (waiting(old, gift_of(PROBER, &key)), key))
            .collect();
        let noticed = fenced(self.old);
        self.old.process.signal(Signal::STOP);
        self.new.process.signal(Signal::CONT);
        self.serving.send_replace(Some((number, new.clone())));

        settled(new, recharge_of(poor, 1_000, &format!("poor-{number}"))).await;
        let key = format!("taken-over-{number}");
        let receipt = settled(new, gift_of(PROBER, &key)).await;
        let left = receipt["balance_after"].as_u64().unwrap();
        receipts.insert(key, receipt);

        // All of these arrive after the new owner has answered, so none of them may rest on what was before.
        let write_key = format!("woken-{number}");
        let write = waiting(old, gift_of(PROBER, &write_key));
        let read = waiting(old, Call::get(As::Viewer(PROBER), "/v1/me/balances"));
        let unknown = waiting(old, Call::get(As::Viewer(PROBER), format!("/v1/gifts/taken-over-{number}")));
        let refusal = waiting(old, gift_of(poor, &format!("poor-{number}")));
        // They have reached its sockets when it wakes.
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.old.process.signal(Signal::CONT);

        if let Some(answer) = read.await.unwrap().filter(|answer| answer.status == StatusCode::OK) {
            let coins = answer.body["balances"].as_array().unwrap().iter().find(|balance| balance["asset"] == "coin");
            let coins = coins.map_or(0, |balance| balance["amount"].as_u64().unwrap());
            assert!(coins <= left, "round {number}: a stale read: {coins}, and the new owner had said {left}");
        }
        if let Some(answer) = refusal.await.unwrap() {
            assert_ne!(answer.code(), "insufficient_funds", "round {number}: a stale refusal: {}", answer.body);
        }
        if let Some(answer) = unknown.await.unwrap() {
            assert_ne!(answer.code(), "event_unknown", "round {number}: a stale answer: {}", answer.body);
        }
        for (answer, key) in early.into_iter().chain([(write, write_key)]) {
            if let Some(answer) = answer.await.unwrap().filter(|answer| answer.status == StatusCode::OK) {
                receipts.insert(key, answer.body);
            }
        }
        let old = self.old;
        until("the old owner stops", PATIENCE, || async { (fenced(old) > noticed).then_some(()) }).await;
        self.old.process.signal(Signal::STOP);
    }
}

async fn two_owners(rounds: u32) {
    if !setup::has_servers() {
        return;
    }
    let brokers = setup::kafka();
    let mut dice = Dice::seeded();
    let began = Instant::now();
    let ledger = Ledger { brokers, name: format!("f{:x}", rand::random::<u64>()).parse().unwrap() };
    let scratches = [Scratch::new(), Scratch::new()];
    let first = ledger.start(&scratches[0]).await;
    first.client.apply_catalog(|_| ()).await;
    settled(&first.client, recharge_of(PROBER, COINS, "prober")).await;
    first.process.signal(Signal::STOP);
    let second = ledger.start(&scratches[1]).await;

    let (serving, seen) = watch::channel(Some((0, second.client.clone())));
    let (stop, stopping) = watch::channel(false);
    let world =
        Arc::new(World { hosts: HOSTS.into(), seen, stopping, may_freeze: true, settled_within: Duration::MAX });
    let players: Vec<_> = VIEWERS
        .iter()
        .map(|user| tokio::spawn(Player::new(*user, true, dice.fork(), Arc::clone(&world)).play()))
        .collect();
    let mut receipts = Receipts::new();
    let (mut old, mut new) = (&second, &first);
    for number in 1..=rounds {
        Round { number, old, new, serving: &serving }.play(&mut dice, &mut receipts).await;
        std::mem::swap(&mut old, &mut new);
    }
    stop.send_replace(true);
    let mut books = Vec::new();
    for player in players {
        books.push(player.await.unwrap());
    }
    for server in [&first, &second] {
        let said = server.stderr();
        assert!(!said.contains("ERROR") && !said.contains("panicked"), "{said}");
    }
    // Whoever served last is `old` now, and the other one is frozen. That one may have claimed some shards once more before
    // it was, which their owner finds out, and puts right, when it is asked for something there.
    for user in VIEWERS.into_iter().chain(HOSTS).chain([PROBER]) {
        settled(&old.client, Call::get(As::Service, format!("/v1/users/{user}/balances"))).await;
    }
    check::everything(&old.client, &books, &HOSTS).await;
    for (key, receipt) in &receipts {
        let found = settled(&old.client, Call::get(As::Viewer(PROBER), format!("/v1/gifts/{key}"))).await;
        assert_eq!(without_replayed(&found), without_replayed(receipt), "{key} was acknowledged");
    }
    let fenced = fenced(&first) + fenced(&second);
    let (last, frozen) = if rounds.is_multiple_of(2) { (second, first) } else { (first, second) };
    frozen.kill();
    last.stop();
    scratches.iter().for_each(|scratch| ledger.audit(scratch));
    let gifts: usize = books.iter().map(|book| book.gifts.len()).sum();
    let unknown: usize = books.iter().map(|book| book.unknown).sum();
    println!(
        "{rounds} rounds, {fenced} owners fenced, {gifts} gifts, {unknown} attempts without an answer, {} probes \
         acknowledged; {:?}",
        receipts.len(),
        began.elapsed()
    );
    assert!(gifts > 20 * rounds as usize && fenced >= rounds as usize, "too little happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_wakes_too_late_tells_nobody_anything() {
    two_owners(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; `./test --long` runs it"]
async fn an_owner_that_wakes_too_late_tells_nobody_anything_fifty_times() {
    two_owners(60).await;
}
