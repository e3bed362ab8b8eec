//! A broker that dies and one that freezes: every record is answered once, in order, and truly.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::channel::oneshot;
use largesse_engine::fold::{Fold, Verdict};
use largesse_engine::log::{AppendError, LogError, Logs, ShardLog};
use largesse_engine::record::{Claim, EventsHeader, LogEntry, encode_events};
use largesse_engine::units::{Epoch, NodeId, Position, Seq, ShardId, Time};
use largesse_storage::log::kafka::KafkaLogs;

use crate::harness::{SHAPE, TestLedger, brokers};

/// A broker that no other test talks to.
struct OwnBroker {
    dir: tempfile::TempDir,
    port: u16,
}

impl OwnBroker {
    fn start(offset: u16) -> OwnBroker {
        let base = std::env::var("LARGESSE_TEST_OWN_KAFKA_PORT").ok().and_then(|port| port.parse::<u16>().ok());
        let broker = OwnBroker { dir: tempfile::tempdir().unwrap(), port: base.unwrap_or(19_500) + offset };
        broker.services("up");
        broker
    }

    fn services(&self, verb: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/services");
        let status = Command::new(script)
            .args([verb, "kafka"])
            .env("LARGESSE_SERVICES_DIR", self.dir.path())
            .env("LARGESSE_KAFKA_PORT", self.port.to_string())
            .env("LARGESSE_KAFKA_BROKERS", "1")
            .status();
        assert!(status.unwrap().success(), "scripts/services {verb} kafka");
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.dir.path().join("kafka-1/pid")).unwrap();
        let status = Command::new("kill").args([signal, pid.lines().next().unwrap()]).status();
        assert!(status.unwrap().success());
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.services("down");
    }
}

const SHARD: ShardId = ShardId::wallet(0);

struct Owner {
    log: Arc<dyn ShardLog>,
    epoch: Epoch,
    number: u64,
    first: u64,
}

type Answer = Result<Position, AppendError>;

impl Owner {
    async fn claim(logs: &KafkaLogs, nonce: u8, first: u64) -> Result<Owner, LogError> {
        let log = logs.shard(SHARD);
        let epoch = log.claim(Claim { node: NodeId(1), nonce: [nonce; 16] }).await?;
        Ok(Owner { log, epoch, number: 0, first })
    }

    fn append(&mut self, order: &Arc<AtomicUsize>) -> oneshot::Receiver<(usize, Answer)> {
        let (epoch, number) = (self.epoch, self.number + 1);
        let header = EventsHeader { epoch, number, first: Seq(self.first + self.number), count: 1, time: Time(1) };
        self.number = number;
        let (tell, told) = oneshot::channel();
        let order = Arc::clone(order);
        let done = move |answer| drop(tell.send((order.fetch_add(1, Ordering::Relaxed), answer)));
        self.log.append(self.epoch, encode_events(header, &number.to_le_bytes()), Box::new(done));
        told
    }
}

async fn read_all(log: &dyn ShardLog) -> Vec<LogEntry> {
    let (mut all, mut from) = (Vec::new(), Position::START);
    loop {
        let entries = log.read(from, 1 << 20).await.expect("reads");
        let Some(last) = entries.last() else { return all };
        from = last.position.after();
        all.extend(entries);
    }
}

/// Appends while `harm` is done to the broker; what came of it must hold afterwards.
async fn survives(broker: &OwnBroker, harm: impl AsyncFnOnce(&OwnBroker)) {
    let mut ledger = TestLedger::new(&broker.address());
    ledger.options.request_timeout = Duration::from_secs(6);
    ledger.options.delivery_timeout = Duration::from_secs(40);
    let logs = KafkaLogs::open(ledger.options.clone(), &ledger.name, SHAPE).await.unwrap();
    let mut owner = Owner::claim(&logs, 1, 1).await.unwrap();
    let order = Arc::new(AtomicUsize::new(0));
    let (before, during) = (200, 200);
    let mut answers: Vec<_> = (0..before).map(|_| owner.append(&order)).collect();
    let first = answers.remove(0).await.unwrap();
    assert_eq!(first.0, 0);
    let (harmed, more) = tokio::join!(harm(broker), async {
        let mut more = Vec::new();
        for _ in 0..during {
            more.push(owner.append(&order));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        more
    });
    let () = harmed;
    answers.extend(more);
    let mut acknowledged = vec![first.1.unwrap()];
    for (place, answer) in (1..).zip(answers) {
        let (told_as, answer) = answer.await.expect("every append is answered");
        assert_eq!(told_as, place, "in order");
        match answer {
            Ok(position) => acknowledged.push(position),
            Err(AppendError::Unknown) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let entries = read_all(&*logs.shard(SHARD)).await;
    assert!(entries.windows(2).all(|pair| pair[0].position.after() == pair[1].position), "offsets have no holes");
    let mut fold = Fold::default();
    let mut believed = Vec::new();
    for entry in &entries {
        if let Verdict::Believed(header) = fold.offer(entry) {
            assert_eq!(entry.events, header.number.to_le_bytes().to_vec());
            believed.push(entry.position);
        }
    }
    let lost: Vec<_> = acknowledged.iter().filter(|position| !believed.contains(position)).collect();
    assert!(lost.is_empty(), "acknowledged and not believed: {lost:?}");
    assert!(acknowledged.len() > before / 2, "only {} were acknowledged", acknowledged.len());
    // And it goes on under a new owner.
    let mut next = Owner::claim(&logs, 2, fold.next.get()).await.unwrap();
    let (_, position) = next.append(&order).await.unwrap();
    assert_eq!(position.unwrap().get(), next.epoch.get() + 1);
    drop(logs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_loses_nothing() {
    if brokers().is_none() {
        return;
    }
    let broker = OwnBroker::start(0);
    survives(&broker, async |broker| {
        broker.signal("-KILL");
        tokio::task::block_in_place(|| broker.services("up"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_freezes_for_ten_seconds_loses_nothing() {
    if brokers().is_none() {
        return;
    }
    let broker = OwnBroker::start(20);
    survives(&broker, async |broker| {
        broker.signal("-STOP");
        tokio::time::sleep(Duration::from_secs(10)).await;
        broker.signal("-CONT");
    })
    .await;
}
