//! Cassandra killed, frozen, slow, cut off: users in memory whose keys have a time go on at full rate; the others are told
//! `store_unavailable` at once, and hold up nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::json;

use super::own::Own;
use super::proxy::{Proxy, Way};
use super::stage::{PATIENCE, PROBED, Probes, Stage};
use crate::harness::{Client, Dice};
use crate::setup;

/// They send all the time, under keys that have a time.
const REGULARS: [u64; 4] = [7101, 7102, 7103, 7104];
/// Nobody has them in memory.
const STRANGER: u64 = 7200;
const PROBER: u64 = 7001;
const READ_TIMEOUT: Duration = Duration::from_millis(700);
/// How long the rate is taken.
const MEASURED: Duration = Duration::from_secs(3);
/// Most that somebody waits who is told at once, on a machine that has much else to do.
const AT_ONCE: Duration = Duration::from_millis(400);

fn engines(port: u16, keyspace: &str, forgets_for: &str) -> String {
    format!(
        "[store]\nkind = \"cql\"\n[store.cql]\nnodes = [\"127.0.0.1:{port}\"]\nkeyspace = \"{keyspace}\"\nreplication = 1\n\
         partitions = 32\nmigrate-at-start = true\nread-timeout = \"{} ms\"\nforgets-for = \"{forgets_for}\"\n\
         [engine]\nflush-every = \"100 ms\"\n",
        READ_TIMEOUT.as_millis()
    )
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Killed,
    Frozen,
    On(Way),
}

impl Harm {
    fn begin(self, cassandra: &Own, proxy: &Proxy) {
        match self {
            Harm::Killed => cassandra.signal(1, Signal::KILL),
            Harm::Frozen => cassandra.signal(1, Signal::STOP),
            Harm::On(way) => proxy.set(way),
        }
    }

    async fn end(self, cassandra: &Own, proxy: &Proxy) {
        match self {
            Harm::Killed => cassandra.up().await,
            Harm::Frozen => cassandra.signal(1, Signal::CONT),
            Harm::On(_) => proxy.set(Way::Open),
        }
    }
}

/// Gifts per second of the regulars, none of which may fail, and the longest of them.
async fn rate(client: &Client, span: Duration) -> (f64, Duration) {
    let (count, is_over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let sending = REGULARS.map(|user| {
        let (client, count, is_over) = (client.clone(), Arc::clone(&count), Arc::clone(&is_over));
        tokio::spawn(async move {
            let (body, mut longest) = (json!({"gift_id": 1, "count": 1, "to": [PROBED[1]]}), Duration::ZERO);
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.gift(user, &uuid::Uuid::now_v7().to_string(), &body).await.ok();
                longest = longest.max(began.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
            }
            longest
        })
    });
    let began = Instant::now();
    tokio::time::sleep(span).await;
    let rate = f64::from(count.load(Ordering::Relaxed)) / began.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    let mut longest = Duration::ZERO;
    for sender in sending {
        longest = longest.max(sender.await.unwrap());
    }
    (rate, longest)
}

/// Everybody who needs a row is told so, and only who finds it out waits for it.
async fn others_are_told(client: &Client, probes: &mut Probes, span: Duration) {
    let (began, mut waited, mut told_so) = (Instant::now(), Vec::new(), 0);
    while began.elapsed() < span || told_so < 10 {
        assert!(began.elapsed() < PATIENCE, "nobody noticed that the store is away");
        let told = probes.fresh_gift(client, PROBER).await;
        match told.answer.code() {
            "store_unavailable" => {
                assert!(told.answer.body["retryable"] == true, "{}", told.answer.body);
                told_so += 1;
                waited.push(told.after);
            }
            // One that had been asked for just before.
            "" => assert_eq!(told_so, 0, "{}", told.answer.body),
            other => panic!("{other}: {}", told.answer.body),
        }
        let stranger = probes.gift(client, STRANGER, &uuid::Uuid::now_v7().to_string()).await;
        let is_told = ["store_unavailable", "insufficient_funds"].contains(&stranger.answer.code());
        assert!(is_told, "{}", stranger.answer.body);
    }
    waited.sort();
    let (middle, longest) = (waited[waited.len() / 2], waited[waited.len() - 1]);
    println!("{told_so} were told that the store is away, half of them within {middle:?}, all within {longest:?}");
    assert!(middle < AT_ONCE && longest < READ_TIMEOUT * 3, "{middle:?} {longest:?}");
}

async fn survives(cassandra: &Own, proxy: &Proxy, harm: Harm, dice: &mut Dice) {
    let name = format!("s{:x}", rand::random::<u64>());
    let stage = Stage::start("main", &engines(proxy.port, &name, "0 s"), dice).await;
    let (client, mut probes) = (stage.server.client.clone(), Probes::default());
    for user in REGULARS.into_iter().chain([PROBER]) {
        client.recharge(user, 1_000_000, &format!("first of {user}")).await.ok();
    }
    let (before, _) = rate(&client, MEASURED).await;
    harm.begin(cassandra, proxy);
    let ((during, longest), ()) =
        tokio::join!(rate(&client, MEASURED), others_are_told(&client, &mut probes, MEASURED));
    println!("{harm:?}: {before:.0} gifts/s before, {during:.0} while the store is away, the longest took {longest:?}");
    harm.end(cassandra, proxy).await;
    let after = probes.paid(&client, PROBER, PATIENCE).await;
    println!("{harm:?}: who needs the store goes on after {after:?}");
    // Those who are told share the processor with those who send.
    assert!(during > before / 3.0, "{before} gifts/s before, {during} while the store is away");
    assert!(longest < READ_TIMEOUT * 2, "somebody who needs no row waited {longest:?}");
    stage.is_over(9);
    stage.ends_well(&probes).await;
}

/// A way that is slow and not too slow is only slow: nobody is sent away.
async fn is_patient(proxy: &Proxy, dice: &mut Dice) {
    let name = format!("s{:x}", rand::random::<u64>());
    let stage = Stage::start("main", &engines(proxy.port, &name, "0 s"), dice).await;
    let (client, mut probes) = (stage.server.client.clone(), Probes::default());
    client.recharge(PROBER, 1_000_000, "first").await.ok();
    proxy.set(Way::Slow(Duration::from_millis(100)));
    for _ in 0..40 {
        let told = probes.fresh_gift(&client, PROBER).await;
        assert_eq!(told.answer.status, StatusCode::OK, "{}", told.answer.body);
    }
    proxy.set(Way::Open);
    stage.is_over(9);
    stage.ends_well(&probes).await;
}

/// One server for all, one after the other: it takes half a minute to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a database takes half a minute to start; `./test --long` runs it"]
async fn what_can_become_of_a_database() {
    if !setup::has_servers() {
        return;
    }
    let mut dice = Dice::seeded();
    let proxy = Proxy::new().await;
    let cassandra = Own::cassandra("batch").await;
    proxy.leads_to(cassandra.port);
    for harm in [Harm::Frozen, Harm::On(Way::Broken), Harm::On(Way::Slow(Duration::from_secs(2))), Harm::Killed] {
        survives(&cassandra, &proxy, harm, &mut dice).await;
    }
    is_patient(&proxy, &mut dice).await;
}

/// It is killed right after it has acknowledged rows that it had not synced, and is back before anybody asks it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a database takes half a minute to start; `./test --long` runs it"]
async fn what_a_database_forgets_is_written_again() {
    if !setup::has_servers() {
        return;
    }
    let mut dice = Dice::seeded();
    let proxy = Proxy::new().await;
    let cassandra = Own::cassandra("periodic").await;
    proxy.leads_to(cassandra.port);
    let stage = Stage::start("main", &engines(proxy.port, "forgets", "12 s"), &mut dice).await;
    let (client, mut probes) = (stage.server.client.clone(), Probes::default());
    client.recharge(PROBER, 1_000_000, "first").await.ok();
    for _ in 0..50 {
        probes.fresh_gift(&client, PROBER).await.answer.ok();
    }
    let is_listed = || async {
        let (items, _) = client.history(PROBER, "sent", "gift").await;
        (items.len() == 50).then_some(())
    };
    crate::harness::until("the rows are written", PATIENCE, is_listed).await;
    cassandra.signal(1, Signal::KILL);
    cassandra.up().await;
    probes.paid(&client, PROBER, PATIENCE).await;
    stage.is_over(9);
    stage.ends_well(&probes).await;
}
