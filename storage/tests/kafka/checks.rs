//! Topics that are not as they must be are refused, each with what to change.

use std::collections::HashMap;

use futures::executor::block_on;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::{LogError, Logs};
use largesse_engine::record::{Claim, EventsHeader, encode_events};
use largesse_engine::units::{Epoch, NodeId, Position, Seq, ShardId, Time};
use largesse_storage::log::kafka::{KafkaLogs, KafkaOptions, OpenError};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::harness::{SHAPE, TestLedger, brokers};

async fn open(ledger: &TestLedger) -> Result<KafkaLogs, OpenError> {
    KafkaLogs::open(ledger.options.clone(), &ledger.name, SHAPE).await
}

async fn refused(ledger: &TestLedger) -> String {
    match open(ledger).await {
        Ok(_) => panic!("it was opened, though it must not be"),
        Err(error) => error.to_string(),
    }
}

async fn write_one(logs: &KafkaLogs, shard: ShardId) -> (Epoch, Position) {
    let log = logs.shard(shard);
    let epoch = log.claim(Claim { node: NodeId(1), nonce: [7; 16] }).await.unwrap();
    let header = EventsHeader { epoch, number: 1, first: Seq::FIRST, count: 1, time: Time(1) };
    let (tell, told) = futures::channel::oneshot::channel();
    log.append(epoch, encode_events(header, b"x"), Box::new(move |answer| drop(tell.send(answer))));
    (epoch, told.await.unwrap().unwrap())
}

const GOOD: [(&str, &str); 7] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("unclean.leader.election.enable", "false"),
    ("message.timestamp.type", "LogAppendTime"),
    ("min.insync.replicas", "1"),
    ("max.message.bytes", "1048576"),
];

fn alter(ledger: &TestLedger, kind: &str, settings: &HashMap<&str, &str>) {
    let topic = ledger.topic(kind);
    let change = AlterConfig { specifier: ResourceSpecifier::Topic(&topic), entries: settings.clone() };
    for result in block_on(ledger.admin().alter_configs([&change], &AdminOptions::new())).unwrap() {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_refused_one_by_one() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    drop(open(&ledger).await.unwrap());
    let wrong = [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1073741824"),
        ("unclean.leader.election.enable", "true"),
        ("message.timestamp.type", "CreateTime"),
        ("max.message.bytes", "500000"),
    ];
    for (kind, (key, value)) in ["wallet", "control", "room", "ledger"].into_iter().cycle().zip(wrong) {
        let mut settings: HashMap<_, _> = GOOD.into();
        settings.insert(key, value);
        alter(&ledger, kind, &settings);
        let why = refused(&ledger).await;
        let topic = ledger.topic(kind);
        assert!(why.contains(&format!("topic {topic}: {key} is {value}, it must be ")), "{why}");
        assert!(why.contains(&format!("--entity-name {topic} --add-config {key}=")), "{why}");
        assert_eq!(why.lines().count(), 2, "that and nothing else: {why}");
        alter(&ledger, kind, &GOOD.into());
    }
    drop(open(&ledger).await.expect("everything was mended"));
    let more = KafkaOptions { replication: 2, min_insync_replicas: 2, ..ledger.options.clone() };
    let why = KafkaLogs::open(more, &ledger.name, SHAPE).await.err().unwrap().to_string();
    assert!(why.contains("a partition has 1 copies, log.kafka.replication is 2"), "{why}");
    assert!(why.contains("min.insync.replicas is 1, it must be 2 or more"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions_is_refused() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    drop(open(&ledger).await.unwrap());
    let other = KafkaLogs::open(ledger.options.clone(), &ledger.name, LedgerShape { wallet_shards: 16, ..SHAPE }).await;
    assert!(matches!(other.err(), Some(OpenError::OtherShape { found: SHAPE, .. })));
    let other = KafkaLogs::open(ledger.options.clone(), &ledger.name, LedgerShape { hash_version: 2, ..SHAPE }).await;
    assert!(matches!(other.err(), Some(OpenError::OtherShape { found: SHAPE, .. })));
    let topic = ledger.topic("wallet");
    let more = NewPartitions::new(&topic, 9);
    block_on(ledger.admin().create_partitions([&more], &AdminOptions::new())).unwrap()[0].clone().unwrap();
    let why = loop {
        // It takes a moment until the broker tells of it.
        if let Err(error) = open(&ledger).await {
            break error.to_string();
        }
    };
    assert!(why.contains("it has 9 partitions, the ledger has 8 such shards"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_were_deleted_are_missed() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    let nobody = KafkaLogs::open_read_only(ledger.options.clone(), &ledger.name).await;
    assert!(matches!(nobody.err(), Some(OpenError::NoLedger { .. })));
    let logs = open(&ledger).await.unwrap();
    write_one(&logs, ShardId::wallet(3)).await;

    ledger.delete(&["wallet"]);
    let why = refused(&ledger).await;
    assert!(why.contains(&format!("topic {} is gone", ledger.topic("wallet"))), "{why}");
    // Made anew by hand, exactly as it was: still its records are missing, for new processes and for running ones.
    let topic = ledger.topic("wallet");
    let new = NewTopic::new(&topic, 8, TopicReplication::Fixed(1));
    let new = GOOD.iter().fold(new, |new, (key, value)| new.set(key, value));
    loop {
        let made = block_on(ledger.admin().create_topics([&new], &AdminOptions::new())).unwrap();
        if made[0].is_ok() {
            break;
        }
    }
    let why = refused(&ledger).await;
    assert!(why.contains("is empty, though the ledger exists"), "{why}");
    let claim = logs.shard(ShardId::wallet(3)).claim(Claim { node: NodeId(1), nonce: [8; 16] }).await;
    assert!(matches!(claim, Err(LogError::Damaged { .. })), "{claim:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_their_ledger_are_no_new_ledger() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    drop(open(&ledger).await.unwrap());
    // Nothing but founding records: whoever made it did not come to the end.
    ledger.delete(&["ledger"]);
    let logs = open(&ledger).await.expect("it is made to the end");
    write_one(&logs, ShardId::CONTROL).await;
    ledger.delete(&["ledger"]);
    let why = refused(&ledger).await;
    assert!(why.contains(&format!("topic {} holds records", ledger.topic("control"))), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_has_an_id_of_its_own_as_long_as_its_topics_live() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    let first = open(&ledger).await.unwrap().id().cloned();
    assert!(first.is_some());
    assert_eq!(open(&ledger).await.unwrap().id().cloned(), first);
    let read_only = KafkaLogs::open_read_only(ledger.options.clone(), &ledger.name).await.unwrap();
    assert_eq!(read_only.id().cloned(), first);
    drop(read_only);
    ledger.delete(&["control", "wallet", "room", "ledger"]);
    let again = loop {
        // It takes a moment until all of them are gone.
        if let Ok(logs) = open(&ledger).await {
            break logs.id().cloned();
        }
    };
    assert!(again.is_some() && again != first, "{again:?} after {first:?}");
}

/// As a program of the first version left it: no topic of rooms, and a record that says nothing of them.
async fn make_first_version(ledger: &TestLedger) -> String {
    let id = open(ledger).await.unwrap().id().unwrap().to_string();
    ledger.delete(&["room", "ledger"]);
    let plate =
        format!(r#"{{"format":1,"ledger":"{}","wallet_shards":8,"hash_version":1,"id":"{id}"}}"#, ledger.name.as_str());
    make_topic(ledger, "ledger", 1);
    send(ledger, "ledger", &plate);
    id
}

/// A topic that was just deleted may take a moment to be gone.
fn make_topic(ledger: &TestLedger, kind: &str, partitions: i32) {
    let topic = ledger.topic(kind);
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    let new = GOOD.iter().fold(new, |new, (key, value)| new.set(key, value));
    while block_on(ledger.admin().create_topics([&new], &AdminOptions::new())).unwrap()[0].is_err() {}
}

fn send(ledger: &TestLedger, kind: &str, payload: &str) {
    let brokers = ledger.options.brokers.join(",");
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    producer.send(BaseRecord::<(), str>::to(&ledger.topic(kind)).partition(0).payload(payload)).unwrap();
    producer.flush(std::time::Duration::from_secs(10)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_before_there_were_rooms_gets_their_topic_once() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    let id = make_first_version(&ledger).await;
    let read_only = KafkaLogs::open_read_only(ledger.options.clone(), &ledger.name).await.unwrap();
    assert!(!read_only.has_rooms(), "whoever only reads adds nothing");
    drop(read_only);
    let logs = open(&ledger).await.unwrap();
    assert!(logs.has_rooms());
    assert_eq!(logs.id().unwrap().to_string(), id, "it is the same ledger");
    for shard in SHAPE.all_rooms() {
        assert_eq!(logs.kept(shard).await, Ok((Position(1), Position(1))), "{shard} was founded");
    }
    assert_eq!(write_one(&logs, ShardId::room(7)).await, (Epoch(1), Position(2)));
    drop(logs);
    let again = open(&ledger).await.unwrap();
    assert_eq!((again.has_rooms(), again.id().unwrap().to_string()), (true, id));
    assert_eq!(again.kept(ShardId::room(7)).await, Ok((Position(1), Position(3))), "what it holds is left alone");
    drop(again);

    // From now on it is missed like every other.
    ledger.delete(&["room"]);
    let gone = format!("topic {} is gone", ledger.topic("room"));
    let why = refused(&ledger).await;
    assert!(why.contains(&gone), "{why}");
    let why = KafkaLogs::open_read_only(ledger.options.clone(), &ledger.name).await.err().unwrap().to_string();
    assert!(why.contains(&gone), "{why}");
    make_topic(&ledger, "room", 8);
    let why = refused(&ledger).await;
    assert!(why.contains(&format!("of topic {} is empty, though the ledger exists", ledger.topic("room"))), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_the_topic_of_rooms_can_be_interrupted_but_takes_over_no_log() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    make_first_version(&ledger).await;
    make_topic(&ledger, "room", 8);
    send(&ledger, "room", "whoever made it did not come to the end");
    assert!(open(&ledger).await.expect("it is made to the end").has_rooms());

    let other = TestLedger::new(&brokers);
    make_first_version(&other).await;
    make_topic(&other, "room", 8);
    send(&other, "room", "one");
    send(&other, "room", "another");
    let why = refused(&other).await;
    assert!(why.contains(&format!("topic {} holds records", other.topic("room"))), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn near_its_limit_the_log_is_tight_until_something_is_given_up() {
    let Some(brokers) = brokers() else { return };
    let mut ledger = TestLedger::new(&brokers);
    ledger.options.bytes_max = 100;
    let logs = open(&ledger).await.unwrap();
    let shard = ShardId::wallet(0);
    assert!(!logs.is_tight());
    let (_, mut last) = write_one(&logs, shard).await;
    while !logs.is_tight() {
        last = write_one(&logs, shard).await.1;
    }
    assert!(!logs.is_full(), "relays may go on");
    let used = logs.room().bytes_used;
    // Reading them, as the flusher does, counts nothing twice.
    let log = logs.shard(shard);
    assert!(!log.read(Position::START, 1 << 20).await.unwrap().is_empty());
    assert_eq!(logs.room().bytes_used, used);
    log.truncate_before(last.after()).await.unwrap();
    assert_eq!((logs.room().bytes_used, logs.is_tight()), (0, false));
    // Another process counts what it reads.
    let other = open(&ledger).await.unwrap();
    write_one(&logs, shard).await;
    let read = other.shard(shard).read(last.after(), 1 << 20).await.unwrap();
    assert!(!read.is_empty() && other.room().bytes_used > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    let topic = ledger.topic("ledger");
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    block_on(ledger.admin().create_topics([&new], &AdminOptions::new())).unwrap()[0].clone().unwrap();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    producer.send(BaseRecord::<(), str>::to(&topic).payload(r#"{"format": 99, "shards": "many"}"#)).unwrap();
    producer.flush(std::time::Duration::from_secs(10)).unwrap();
    let why = refused(&ledger).await;
    assert!(why.contains("has format 99, this program knows formats up to 1"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_is_told_and_never_skipped() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    let logs = open(&ledger).await.unwrap();
    let shard = ShardId::wallet(1);
    let (epoch, last) = write_one(&logs, shard).await;
    assert_eq!((epoch, last), (Epoch(1), Position(2)), "offset 0 holds the founding record");
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(&ledger.topic("wallet"), 1, Offset::Offset(2)).unwrap();
    block_on(ledger.admin().delete_records(&cut, &AdminOptions::new())).unwrap();
    let log = logs.shard(shard);
    let truncated = |asked| Err(LogError::Truncated { shard, asked, first: Position(2) });
    assert_eq!(log.read(Position::START, 100).await, truncated(Position::START));
    assert_eq!(log.read(Position(1), 100).await, truncated(Position(1)));
    assert_eq!(log.read(Position(2), 100).await.unwrap().len(), 1);
    assert_eq!(logs.kept(shard).await, Ok((Position(2), Position(3))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_fails_for_good_ends_its_epochs_only() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    let logs = open(&ledger).await.unwrap();
    let log = logs.shard(ShardId::wallet(0));
    let (epoch, _) = write_one(&logs, ShardId::wallet(0)).await;
    logs.fail_producers("as a test wants it");
    let header = EventsHeader { epoch, number: 2, first: Seq(2), count: 1, time: Time(1) };
    let (tell, told) = futures::channel::oneshot::channel();
    log.append(epoch, encode_events(header, b"x"), Box::new(move |answer| drop(tell.send(answer))));
    let answer = told.await.unwrap();
    assert!(answer.as_ref().is_err_and(|error| error.to_string().contains("as a test wants it")), "{answer:?}");
    let (again, position) = write_one(&logs, ShardId::wallet(0)).await;
    assert!(again > epoch && position.get() == again.get() + 1, "a fresh claim goes on with a fresh producer");
}
