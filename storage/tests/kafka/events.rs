//! Events out against a real broker: at least once, going on where it stopped, and a letter for what cannot go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::codec;
use largesse_engine::fold::Fold;
use largesse_engine::log::{Logs, ShardLog};
use largesse_engine::node::ShardHealth;
use largesse_engine::node::backoff::Ladder;
use largesse_engine::record::{Claim, EventsHeader, encode_events};
use largesse_engine::store::{Checkpoint, FlushBatch, Store};
use largesse_engine::units::{Amount, AssetId, Epoch, NodeId, Position, Seq, ShardId, Time, UserId};
use largesse_engine::wallet::command::RechargeSaid;
use largesse_engine::wallet::event::{Channel, Recharged, WalletEvent};
use largesse_storage::events::{self, Attempt, Events, EventsOptions, Wire};
use largesse_storage::folder::DataFolder;
use largesse_storage::letters::{Book, Content, Entry, Held, LetterFolder, LetterLog, LetterTopic, Reason, State};
use largesse_storage::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};
use largesse_storage::store::memory::MemoryStore;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use serde_json::Value;
use tokio::sync::watch;

use crate::harness::{SHAPE, TestLedger, brokers};

const SHARD: ShardId = ShardId::wallet(3);
const PATIENCE: Duration = Duration::from_secs(60);

/// One embedded log, whose first shards this process owns, and its events.
struct World {
    ledger: TestLedger,
    dir: tempfile::TempDir,
    logs: Arc<EmbeddedLogs>,
    store: MemoryStore,
    writer: Writer,
    health: watch::Sender<ShardHealth>,
    publishing: Option<(Arc<dyn Logs>, Events)>,
    consumer: BaseConsumer,
    /// Where events find the brokers, if not where the test does.
    door: Option<String>,
    hold_max: Duration,
}

/// Appends as an owner does.
struct Writer {
    log: Arc<dyn ShardLog>,
    epoch: Epoch,
    number: u64,
    next: u64,
}

impl Writer {
    async fn claim(log: Arc<dyn ShardLog>) -> Writer {
        let epoch = log.claim(Claim { node: NodeId(1), nonce: [7; 16] }).await.unwrap();
        Writer { log, epoch, number: 0, next: 1 }
    }

    async fn append(&mut self, count: u32, events: &[u8]) -> Position {
        self.number += 1;
        let first = Seq(self.next);
        let header = EventsHeader { epoch: self.epoch, number: self.number, first, count, time: SystemClock.now() };
        self.next += u64::from(count);
        let (tell, told) = oneshot::channel();
        self.log.append(self.epoch, encode_events(header, events), Box::new(|answer| drop(tell.send(answer))));
        told.await.unwrap().unwrap()
    }

    /// A record with one recharge for each transaction.
    async fn recharges(&mut self, transactions: &[&str]) -> Position {
        let events: Vec<u8> =
            transactions.iter().flat_map(|transaction| codec::encode(&recharge(transaction))).collect();
        self.append(u32::try_from(transactions.len()).unwrap(), &events).await
    }
}

fn recharge(transaction: &str) -> WalletEvent {
    let amount = Amount::new(5).unwrap();
    let said = RechargeSaid {
        channel: Channel::Manual,
        transaction: transaction.into(),
        user: UserId(3001),
        asset: AssetId(1),
        amount,
    };
    WalletEvent::Recharged(Recharged { said, balance: amount, trace: Some([0xab; 16]) })
}

/// What a consumer saw of one message.
#[derive(Clone, Debug)]
struct Seen {
    key: String,
    headers: BTreeMap<String, String>,
    value: Value,
}

impl Seen {
    fn transaction(&self) -> &str {
        self.value["messageBody"]["objId"].as_str().unwrap()
    }
}

impl World {
    async fn new(brokers: &str) -> World {
        let ledger = TestLedger::new(brokers);
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path(), &ledger.name, SHAPE).unwrap();
        let options =
            EmbeddedLogOptions { segment_bytes: 8 << 20, reserve_bytes: 4 << 20, ..EmbeddedLogOptions::default() };
        let logs = Arc::new(EmbeddedLogs::open(&folder, options).unwrap());
        let writer = Writer::claim(logs.shard(SHARD)).await;
        let (health, _) = watch::channel(ShardHealth::Serving);
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", ledger.options.brokers.join(","))
            .set("group.id", ledger.topic("test"))
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", "200")
            .create()
            .unwrap();
        consumer.subscribe(&[&ledger.topic("events")]).unwrap();
        let store = MemoryStore::default();
        let hold_max = Duration::from_secs(3_600);
        World { ledger, dir, logs, store, writer, health, publishing: None, consumer, door: None, hold_max }
    }

    fn options(&self) -> EventsOptions {
        let mut kafka = self.ledger.options.clone();
        if let Some(door) = &self.door {
            kafka.brokers = vec![door.clone()];
            kafka.request_timeout = Duration::from_millis(500);
        }
        EventsOptions {
            ledger: self.ledger.name.clone(),
            shape: SHAPE,
            kafka,
            topic: self.ledger.topic("events"),
            partitions: 3,
            in_flight_max: 80,
            hold_max: self.hold_max,
            ladder: Ladder { first: Duration::from_millis(20), longest: Duration::from_millis(100), tries: Some(3) },
            log_is_kafka: false,
        }
    }

    fn letters(&self) -> LetterFolder {
        LetterFolder::new(self.dir.path())
    }

    fn start(&mut self) -> Arc<dyn Logs> {
        let logs: Arc<dyn Logs> = Arc::clone(&self.logs) as Arc<dyn Logs>;
        let letters = Arc::new(self.letters());
        let (held, prepared) = events::prepare(self.options(), logs, letters, Arc::new(SystemClock));
        let healths = vec![(SHARD, self.health.subscribe())];
        let events = prepared.start(Arc::new(self.store.clone()), healths).unwrap();
        self.publishing = Some((Arc::clone(&held), events));
        held
    }

    async fn stop(&mut self) {
        if let Some((_, events)) = self.publishing.take() {
            events.stop().await;
        }
    }

    /// Messages until one of this transaction came.
    async fn until(&self, transaction: &str) -> Vec<Seen> {
        let (began, mut seen) = (Instant::now(), Vec::<Seen>::new());
        while seen.last().is_none_or(|last| last.transaction() != transaction) {
            assert!(began.elapsed() < PATIENCE, "no {transaction}, only {seen:?}");
            if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(50)) {
                let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
                let headers = message.headers().unwrap().iter();
                seen.push(Seen {
                    key: text(message.key()),
                    headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
                    value: serde_json::from_slice(message.payload().unwrap()).unwrap(),
                });
            }
            tokio::task::yield_now().await;
        }
        seen
    }

    /// The letters, once they are as wanted.
    async fn until_letters(&self, wanted: impl Fn(&Book) -> bool) -> Vec<Held> {
        let began = Instant::now();
        loop {
            let mut book = Book::default();
            self.letters().read(&mut book).await.unwrap();
            if wanted(&book) {
                return book.letters().cloned().collect();
            }
            let known: Vec<_> = book.letters().collect();
            assert!(began.elapsed() < PATIENCE, "the letters are not as wanted: {known:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn make_topic(&self, max_message_bytes: &str) {
        let topic = self.ledger.topic("events");
        let topic = NewTopic::new(&topic, 3, TopicReplication::Fixed(1)).set("max.message.bytes", max_message_bytes);
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let made = futures::executor::block_on(self.ledger.admin().create_topics([&topic], &options)).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    fn allow_larger(&self) {
        self.limit("events", "1000000");
    }

    fn limit(&self, kind: &str, message_bytes_max: &str) {
        let topic = self.ledger.topic(kind);
        let alter = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", message_bytes_max);
        let altered = self.ledger.admin();
        futures::executor::block_on(altered.alter_configs([&alter], &AdminOptions::new())).unwrap();
    }
}

fn transactions(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(Seen::transaction).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_comes_out_and_a_restart_goes_on_where_it_was() {
    let Some(brokers) = brokers() else { return };
    let mut world = World::new(&brokers).await;
    world.writer.recharges(&["a", "b"]).await;
    world.writer.recharges(&["c"]).await;
    let held = world.start();
    let seen = world.until("c").await;
    assert_eq!(transactions(&seen), ["a", "b", "c"], "what was there before is published too");
    let first = &seen[0];
    assert_eq!(first.key, "3001", "keyed by user");
    assert_eq!(first.headers["traceId"], "ab".repeat(16));
    assert_eq!((&*first.headers["messageId"], &*first.headers["seq"]), ("wallet-3.1.0", "1"));
    let mut names: Vec<&String> = first.value.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["eventId", "eventType", "messageBody", "opUserId"]);

    let end = world.writer.recharges(&["d"]).await;
    assert_eq!(transactions(&world.until("d").await), ["d"]);
    // Once its position is written down the log may go.
    let log = held.shard(SHARD);
    log.truncate_before(Position(end.get() + 1)).await.unwrap();
    world.stop().await;

    world.writer.recharges(&["e"]).await;
    world.start();
    // At least once: what was published shortly before the stop may come again, what was written down may not.
    let again = world.until("e").await;
    assert!(again.len() <= 2 && again.iter().all(|seen| matches!(seen.transaction(), "d" | "e")), "{again:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_becomes_a_letter_and_the_rest_goes_on() {
    let Some(brokers) = brokers() else { return };
    let mut world = World::new(&brokers).await;
    world.make_topic("1500");
    let large = "x".repeat(2_000);
    world.writer.recharges(&["a", &large, "b"]).await;
    world.start();
    let seen = world.until("b").await;
    assert!(seen.iter().any(|seen| seen.transaction() == "a"), "{:?}", transactions(&seen));
    // First by itself, then three times up its ladder, and then it is a person's turn.
    let letters = world.until_letters(|book| book.letters().any(|held| held.state == State::Dead)).await;
    let [held] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((held.letter.reason, held.tries), (Reason::TooLarge, 4), "{held:?}");
    assert_eq!((held.letter.origin.shard, held.letter.origin.seq), (SHARD, Seq(2)));
    assert_eq!(held.letter.id, "wallet-3.2.0");

    let wire = Wire::new(&world.options());
    let refused = events::attempt(&wire, &world.options(), held).await;
    assert!(matches!(&refused, Attempt::Refused(why) if why.contains("too large")), "{refused:?}");
    world.allow_larger();
    let began = Instant::now();
    while events::attempt(&wire, &world.options(), held).await != Attempt::Published {
        assert!(began.elapsed() < PATIENCE, "the broker takes larger messages now");
    }
    events::settle(&world.letters(), held, &Attempt::Published, "ann", SystemClock.now()).await.unwrap();
    let late = world.until(&large).await;
    assert_eq!(late.last().unwrap().headers["messageId"], "wallet-3.2.0", "the same message, late");
    let settled = world.until_letters(|book| book.open().count() == 0).await;
    assert!(matches!(&settled[0].state, State::Published { by, .. } if by == "ann"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_is_kept_with_its_bytes() {
    let Some(brokers) = brokers() else { return };
    let mut world = World::new(&brokers).await;
    world.writer.recharges(&["a"]).await;
    // As a newer program might write it: an event that is known, and then one that is not.
    let good = codec::encode(&recharge("b"));
    let unknown = [99, 1, 2, 3];
    let position = world.writer.append(2, &[&good[..], &unknown[..]].concat()).await;
    world.writer.recharges(&["c"]).await;
    world.start();
    assert_eq!(transactions(&world.until("c").await), ["a", "b", "c"]);
    let letters = world.until_letters(|book| book.open().count() == 1).await;
    let letter = &letters[0].letter;
    assert_eq!((letter.reason, letter.origin.offset), (Reason::Undecodable, position.get()));
    assert_eq!((letter.origin.seq, letter.origin.last_seq), (Seq(3), Seq(3)));
    assert_eq!(letter.content, Content::Bytes("63010203".into()));
    assert_eq!(letters[0].state, State::Dead, "this program will not know it later either");
    let wire = Wire::new(&world.options());
    let attempt = events::attempt(&wire, &world.options(), &letters[0]).await;
    assert!(matches!(attempt, Attempt::Refused(_)), "{attempt:?}");
    // A program that knows it would read it from those bytes.
    let mut known = letters[0].clone();
    known.letter.content =
        Content::Bytes(codec::encode(&recharge("late")).iter().map(|byte| format!("{byte:02x}")).collect());
    assert_eq!(events::attempt(&wire, &world.options(), &known).await, Attempt::Published);
    let late = world.until("late").await;
    assert_eq!(late[0].headers["messageId"], "wallet-3.3.0");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_before_it_was_published_is_named() {
    let Some(brokers) = brokers() else { return };
    let mut world = World::new(&brokers).await;
    world.writer.recharges(&["a"]).await;
    world.start();
    world.until("a").await;
    // By the time that this one is out, the position of the one before is written down.
    world.writer.recharges(&["z"]).await;
    world.until("z").await;
    world.stop().await;
    world.writer.recharges(&["b", "c"]).await;
    let cut = world.writer.recharges(&["d"]).await;
    world.store.write(checkpoint(&world, cut, 5)).await.unwrap();
    // As if Kafka had been away for longer than the log is held.
    world.logs.shard(SHARD).truncate_before(cut).await.unwrap();
    world.start();
    let seen = world.until("d").await;
    let letters = world.until_letters(|book| book.open().count() == 1).await;
    let letter = &letters[0].letter;
    assert_eq!((letter.reason, &letter.content), (Reason::Cut, &Content::Gone));
    // Nothing is missing that is not named: what was not seen is in there.
    assert_eq!(letter.origin.last_seq, Seq(4), "{letter:?}");
    assert!(letter.origin.seq <= Seq(3), "{letter:?}");
    assert_eq!(transactions(&seen), ["d"]);
    world.stop().await;
}

/// Brokers that nobody reaches before it is opened: they are listened for, and never answer.
struct Door(std::net::TcpListener);

impl Door {
    fn new() -> Door {
        Door(std::net::TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    async fn open(self, brokers: String) {
        self.0.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(self.0).unwrap();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = tokio::net::TcpStream::connect(&brokers).await.unwrap();
                tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut near, &mut far).await) });
            }
        });
    }
}

/// Brokers are away from the first start on, so nobody ever wrote down a position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_before_there_was_a_position_is_named() {
    let Some(brokers) = brokers() else { return };
    let mut world = World::new(&brokers).await;
    let door = Door::new();
    (world.door, world.hold_max) = (Some(door.address()), Duration::ZERO);
    world.writer.recharges(&["a", "b"]).await;
    let cut = world.writer.recharges(&["c"]).await;
    let held = world.start();
    world.store.write(checkpoint(&world, cut, 3)).await.unwrap();
    let (log, began) = (held.shard(SHARD), Instant::now());
    while log.read(Position::START, 1).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the log is not let go");
        log.truncate_before(cut).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    door.open(brokers).await;
    assert_eq!(transactions(&world.until("c").await), ["c"]);
    let letters = world.until_letters(|book| book.open().count() == 1).await;
    let letter = &letters[0].letter;
    assert_eq!((letter.reason, letter.origin.seq, letter.origin.last_seq), (Reason::Cut, Seq(1), Seq(2)), "{letter:?}");
    world.stop().await;
}

/// Positions can be read and not be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_is_named_once_though_no_position_can_be_written() {
    let Some(brokers) = brokers() else { return };
    let mut world = World::new(&brokers).await;
    world.writer.recharges(&["a"]).await;
    world.start();
    world.until("a").await;
    world.stop().await;
    world.limit("positions", "10");
    let cut = async |world: &mut World, transaction: &str, next| {
        let position = world.writer.recharges(&[transaction]).await;
        world.store.write(checkpoint(world, position, next)).await.unwrap();
        world.logs.shard(SHARD).truncate_before(position).await.unwrap();
    };
    world.writer.recharges(&["b", "c"]).await;
    cut(&mut world, "d", 4).await;
    world.start();
    world.until_letters(|book| book.open().count() == 1).await;
    cut(&mut world, "e", 5).await;
    world.limit("positions", "1000000");
    world.until("e").await;
    let letters = world.until_letters(|book| book.open().count() >= 2).await;
    let mut named: Vec<_> =
        letters.iter().map(|held| (held.letter.origin.seq.get(), held.letter.origin.last_seq.get())).collect();
    named.sort_unstable();
    // The position of the first may have been written down or not.
    assert!(matches!(named[..], [(1 | 2, 3), (4, 4)]), "{named:?}");
    world.stop().await;
}

fn checkpoint(world: &World, position: Position, next: u64) -> FlushBatch {
    let fold = Fold { epoch: Some(world.writer.epoch), next: Seq(next) };
    let checkpoint = Checkpoint {
        shard: SHARD,
        position,
        relay_position: position,
        relay_fold: fold,
        fold,
        time: Time(1),
        state: Vec::new(),
    };
    FlushBatch::new(checkpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_own_the_shard_publishes_nothing() {
    let Some(brokers) = brokers() else { return };
    let mut world = World::new(&brokers).await;
    world.health.send_replace(ShardHealth::Retrying("another owner".into()));
    world.start();
    world.writer.recharges(&["a"]).await;
    let quiet = Instant::now() + Duration::from_millis(500);
    while Instant::now() < quiet {
        assert!(!matches!(world.consumer.poll(Duration::from_millis(50)), Some(Ok(_))), "it is another's to publish");
    }
    world.health.send_replace(ShardHealth::Serving);
    assert_eq!(transactions(&world.until("a").await), ["a"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_lie_in_a_topic_where_the_log_is_in_kafka() {
    let Some(brokers) = brokers() else { return };
    let ledger = TestLedger::new(&brokers);
    let letters = LetterTopic::new(&ledger.options, &ledger.name).unwrap();
    let mut book = Book::default();
    letters.read(&mut book).await.unwrap();
    letters.trim(Time(1)).await.unwrap();
    assert_eq!(book.letters().count(), 0, "no topic is no letters");
    let filed = |id: &str| {
        let text = format!(
            r#"{{"entry":"filed","id":"{id}","reason":"invalid","why":"w","origin":{{"topic":"t","partition":3,"offset":7,
            "shard":{{"kind":"wallet","index":3}},"seq":1,"last_seq":1,"at":5}},"filed_at":10,"next_try":null,"content":"gone"}}"#
        );
        serde_json::from_str::<Entry>(&text).unwrap()
    };
    let discarded =
        |id: &str, at| Entry::Discarded { id: id.into(), at: Time(at), by: "ann".into(), reason: "r".into() };
    for entry in [filed("a"), discarded("a", 30), filed("b"), filed("c"), discarded("c", 31)] {
        letters.append(entry).await.unwrap();
    }
    letters.read(&mut book).await.unwrap();
    assert_eq!((book.letters().count(), book.open().count()), (3, 1));
    // Another process sees the same, and goes on from where it was.
    let other = LetterTopic::new(&ledger.options, &ledger.name).unwrap();
    let mut seen = Book::default();
    other.read(&mut seen).await.unwrap();
    letters.append(discarded("b", 99)).await.unwrap();
    other.read(&mut seen).await.unwrap();
    assert_eq!((seen.letters().count(), seen.open().count()), (3, 0));
    // What was settled long ago goes from the front, and no further.
    letters.trim(Time(60)).await.unwrap();
    let mut kept = Book::default();
    letters.read(&mut kept).await.unwrap();
    let kept: Vec<_> = kept.letters().map(|held| held.letter.id.as_str()).collect();
    assert_eq!(kept, ["b", "c"], "c lies behind b, which is still needed");
}
