//! Kafka killed, frozen, cut off: sending is told `shard_unavailable` or `outcome_unknown`, and goes on afterwards.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::own::Own;
use super::proxy::{Proxy, Way};
use super::stage::{PATIENCE, Probes, Stage};
use crate::harness::Dice;
use crate::setup;

const PROBER: u64 = 7001;
/// How long a frozen or silent broker stays away.
const AWAY: Duration = Duration::from_secs(10);

/// Where brokers are reached, with time-outs that fit into a test.
pub fn engines(brokers: &str, copies: u16) -> String {
    let in_sync = copies.div_ceil(2);
    format!(
        "[log]\nkind = \"kafka\"\n[log.kafka]\nbrokers = {brokers}\nproducers = 2\nreplication = {copies}\n\
         min-insync-replicas = {in_sync}\nrequest-timeout = \"3 s\"\ndelivery-timeout = \"6 s\"\n\
         [engine]\nflush-every = \"50 ms\"\n"
    )
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Killed,
    Frozen,
    Cut(Way),
}

impl Harm {
    async fn begin(self, kafka: &Own, proxy: &Proxy) {
        match self {
            Harm::Killed => kafka.signal(1, Signal::KILL),
            Harm::Frozen => kafka.signal(1, Signal::STOP),
            Harm::Cut(way) => proxy.set(way),
        }
    }

    async fn end(self, kafka: &Own, proxy: &Proxy) {
        match self {
            Harm::Killed => kafka.up().await,
            Harm::Frozen => kafka.signal(1, Signal::CONT),
            Harm::Cut(_) => proxy.set(Way::Open),
        }
    }
}

/// How sending goes while the log is away, for `span` and at least until it was noticed.
async fn is_told_so(stage: &Stage, probes: &mut Probes, span: Duration) {
    let (began, client) = (Instant::now(), &stage.server.client);
    let mut told_so = 0;
    while began.elapsed() < span || told_so == 0 {
        assert!(began.elapsed() < PATIENCE, "nobody noticed that the log is away");
        let told = probes.fresh_gift(client, PROBER).await;
        match told.answer.code() {
            "shard_unavailable" | "outcome_unknown" => told_so += 1,
            // One that was on its way, or the first of many that queue.
            "" | "overloaded" => {}
            other => panic!("{other}: {}", told.answer.body),
        }
        // Deadline and patience, and some for a busy machine.
        assert!(told.after < Duration::from_secs(10), "it was told after {:?} only", told.after);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn survives(kafka: &Own, proxy: &Proxy, harm: Harm, dice: &mut Dice) {
    let name = format!("a{:x}", rand::random::<u64>());
    let brokers = format!("[\"127.0.0.1:{}\"]", proxy.port);
    let stage = Stage::start(&name, &engines(&brokers, 1), dice).await;
    let mut probes = Probes::default();
    stage.server.client.recharge(PROBER, 1_000_000, "prober").await.ok();
    for _ in 0..20 {
        probes.fresh_gift(&stage.server.client, PROBER).await.answer.ok();
    }
    harm.begin(kafka, proxy).await;
    is_told_so(&stage, &mut probes, if matches!(harm, Harm::Killed) { Duration::ZERO } else { AWAY }).await;
    harm.end(kafka, proxy).await;
    let after = probes.paid(&stage.server.client, PROBER, PATIENCE).await;
    println!("{harm:?}: sending goes on after {after:?}");
    stage.is_over(9);
    stage.ends_well(&probes).await;
}

const HARMS: [Harm; 4] = [Harm::Frozen, Harm::Killed, Harm::Cut(Way::Broken), Harm::Cut(Way::Silent)];

/// One broker for all, one after the other: it takes a while to start.
async fn survives_all(harms: impl FnOnce(&mut Dice) -> Vec<Harm>) {
    if !setup::has_servers() {
        return;
    }
    let mut dice = Dice::seeded();
    let proxy = Proxy::new().await;
    let kafka = Own::kafka(1, Some(proxy.port)).await;
    proxy.leads_to(kafka.port);
    for harm in harms(&mut dice) {
        survives(&kafka, &proxy, harm, &mut dice).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_become_of_a_broker() {
    survives_all(|_| HARMS.into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; `./test --long` runs it"]
async fn what_can_become_of_a_broker_again_and_again() {
    survives_all(|dice| (0..20).map(|_| *dice.pick(&HARMS)).collect()).await;
}
