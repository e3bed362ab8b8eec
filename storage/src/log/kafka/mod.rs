//! The shard log in Kafka: one topic per kind of shard, one partition per shard, one message per record.
//!
//! Anyone can append, so nobody is fenced here: an owner believes its records while their offsets are contiguous, and
//! reads back otherwise. Durable means that every replica in sync has it. Offset 0 of each partition holds a founding
//! record, so that an empty partition is one that lost its log; positions begin at 1.

pub(crate) mod client;
mod cuts;
mod error;
mod kept;
mod plate;
mod producer;
pub(crate) mod ranges;
mod reader;
mod security;
pub(crate) mod side;
mod topics;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::{AppendDone, AppendError, Fencing, LogError, LogRoom, Logs, ShardLog};
use largesse_engine::record::{Claim, LogEntry, RecordHeader, encode_claim};
use largesse_engine::units::{Epoch, Position, ShardId};
use tokio::sync::watch;

use self::client::{Topics, unavailable};
use self::cuts::Cuts;
pub use self::error::{OpenError, Problem};
use self::kept::{Kept, KeptOf};
use self::producer::{Answer, Appends, Producer, Producers};
use self::ranges::{Range, Ranges};
use self::reader::{Broken, Purpose, Reader, Slot, Stream};
pub use self::security::{Login, Mechanism, Security, Tls};
use self::topics::Prepared;
pub use self::topics::delete_ledger;
use crate::ledger_id::LedgerId;

#[derive(Clone, Debug, PartialEq)]
pub struct KafkaOptions {
    /// Addresses of some brokers; the others are learnt from them.
    pub brokers: Vec<String>,
    pub security: Security,
    /// Producers of this process, each with a connection of its own to every broker.
    pub producers: usize,
    /// Copies of each partition, and how many must have a record before it counts as durable.
    pub replication: u16,
    pub min_insync_replicas: u16,
    /// How long the driver tries to deliver a record before nobody knows what became of it.
    pub delivery_timeout: Duration,
    /// How long a broker may take to answer.
    pub request_timeout: Duration,
    /// How often what is not needed any more is given up; `None` keeps everything.
    pub cut_every: Option<Duration>,
    /// How much may lie there that the store does not have yet, of all shards of this process.
    pub bytes_max: u64,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        KafkaOptions {
            brokers: vec!["127.0.0.1:9092".into()],
            security: Security::default(),
            producers: 4,
            replication: 3,
            min_insync_replicas: 2,
            delivery_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            cut_every: Some(Duration::from_secs(10)),
            bytes_max: 4 << 30,
        }
    }
}

/// The first position of every log: offset 0 holds the founding record.
const FIRST: u64 = 1;
/// How often a log is asked for its end while somebody waits far behind it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What finding a claim reads at once.
const READ_BYTES: usize = 1 << 20;

/// The logs of one ledger.
pub struct KafkaLogs {
    ledger: Prepared,
    shared: Arc<Shared>,
    shards: Mutex<HashMap<ShardId, Arc<KafkaShardLog>>>,
}

/// All connections of a process to one ledger's topics.
struct Shared {
    topics: Topics,
    producers: Producers,
    ranges: Ranges,
    follower: Arc<Reader>,
    replayer: Arc<Reader>,
    cuts: Cuts,
    kept: Arc<Kept>,
    patience: Duration,
}

impl KafkaLogs {
    /// Opens the ledger's topics, which are made if the ledger is new, and checks everything that the fence rests on.
    pub async fn open(options: KafkaOptions, ledger: &LedgerName, shape: LedgerShape) -> Result<KafkaLogs, OpenError> {
        let prepared = topics::prepare(&options, ledger, Some(shape)).await?;
        KafkaLogs::connect(&options, ledger, prepared)
    }

    /// Opens the topics of a ledger that is there, for a tool that only reads.
    pub async fn open_read_only(options: KafkaOptions, ledger: &LedgerName) -> Result<KafkaLogs, OpenError> {
        let options = KafkaOptions { cut_every: None, ..options };
        let prepared = topics::prepare(&options, ledger, None).await?;
        KafkaLogs::connect(&options, ledger, prepared)
    }

    fn connect(options: &KafkaOptions, ledger: &LedgerName, prepared: Prepared) -> Result<KafkaLogs, OpenError> {
        let topics = Topics::of(ledger);
        let shared = Shared {
            producers: Producers::new(options),
            ranges: Ranges::start(options, topics.clone())?,
            follower: Reader::start(options, ledger, Purpose::Follow)?,
            replayer: Reader::start(options, ledger, Purpose::Replay)?,
            cuts: Cuts::start(options, topics.clone())?,
            kept: Kept::new(options.bytes_max),
            patience: options.request_timeout,
            topics,
        };
        Ok(KafkaLogs { ledger: prepared, shared: Arc::new(shared), shards: Mutex::default() })
    }

    pub fn shape(&self) -> LedgerShape {
        self.ledger.shape
    }

    /// Whether there are shards for rooms. A ledger of the first versions has none until somebody opens it for writing.
    pub fn has_rooms(&self) -> bool {
        self.ledger.rooms
    }

    /// What tells this ledger from others of its name; those of the first versions have none.
    pub fn id(&self) -> Option<&LedgerId> {
        self.ledger.id.as_ref()
    }

    /// What a shard's partition keeps: its first position, and the one after its last.
    pub async fn kept(&self, shard: ShardId) -> Result<(Position, Position), LogError> {
        let range = self.shared.ranges.of(shard).await?;
        Ok((Position(range.first.max(FIRST)), Position(range.end.max(FIRST))))
    }

    /// As if every producer had met an error that it cannot mend: its shards have to claim again.
    #[doc(hidden)]
    pub fn fail_producers(&self, why: &str) {
        self.shared.producers.fail(why);
    }

    fn shard_log(&self, shard: ShardId) -> Arc<KafkaShardLog> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(KafkaShardLog::new(shard, Arc::clone(&self.shared)));
        Arc::clone(shards.entry(shard).or_insert_with(make))
    }
}

impl Logs for KafkaLogs {
    fn shard(&self, shard: ShardId) -> Arc<dyn ShardLog> {
        self.shard_log(shard)
    }

    fn room(&self) -> LogRoom {
        let kept = &self.shared.kept;
        LogRoom { bytes_used: kept.bytes(), bytes_max: kept.bytes_max(), is_tight: kept.is_tight() }
    }

    fn is_tight(&self) -> bool {
        self.shared.kept.is_tight()
    }

    /// Nothing breaks beyond the limit. Only when credits arrive can what they were sent by be given up.
    fn is_full(&self) -> bool {
        false
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.follower.ask_to_stop();
        self.replayer.ask_to_stop();
        self.cuts.stop();
        self.ranges.stop();
        self.follower.stop();
        self.replayer.stop();
    }
}

/// The log of one shard.
struct KafkaShardLog {
    shard: ShardId,
    shared: Arc<Shared>,
    appends: Arc<Appends>,
    /// The one that the last claim went through: records of an epoch never change over to another.
    producer: Mutex<Option<Arc<Producer>>>,
    /// The position after the last record of which this process knows that it is durable.
    known_end: Arc<watch::Sender<u64>>,
    kept: Arc<KeptOf>,
}

impl KafkaShardLog {
    fn new(shard: ShardId, shared: Arc<Shared>) -> KafkaShardLog {
        let known_end = Arc::new(watch::Sender::new(0));
        let end = Arc::clone(&known_end);
        let review = move |answer: Answer| {
            let position = answer?;
            let known = *end.borrow();
            if position.get() < known {
                return Err(went_back(shard, known, position.get()).into());
            }
            end.send_replace(position.get() + 1);
            Ok(position)
        };
        let appends = Appends::new(shared.topics.place(shard), review);
        let kept = Arc::new(KeptOf::new(Arc::clone(&shared.kept)));
        KafkaShardLog { shard, shared, appends, producer: Mutex::default(), known_end, kept }
    }

    fn producer(&self, is_claiming: bool) -> Result<Arc<Producer>, LogError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*producer
            && (producer.failure().is_none() || !is_claiming)
        {
            return Ok(Arc::clone(producer));
        }
        let fresh = self.shared.producers.get(usize::from(self.shard.index)).map_err(|error| unavailable(&error))?;
        Ok(Arc::clone(producer.insert(fresh)))
    }

    fn send(&self, is_claim: bool, record: &Bytes, done: AppendDone) {
        match self.producer(is_claim) {
            Ok(producer) => self.appends.send(Ok(&producer), record, done),
            Err(error) => self.appends.send(Err(error), record, done),
        }
    }

    fn known_end(&self) -> u64 {
        *self.known_end.borrow()
    }

    async fn range(&self) -> Result<Range, LogError> {
        self.shared.ranges.of(self.shard).await
    }

    async fn do_claim(&self, claim: Claim) -> Result<Epoch, LogError> {
        let known = self.known_end();
        // If nobody can say where the claim is, it is looked for from here.
        let before = self.range().await?.end;
        if before < known {
            return Err(went_back(self.shard, known, before));
        }
        let (tell, told) = oneshot::channel();
        let done: AppendDone = Box::new(move |answer| {
            // Whoever claimed may have given up waiting.
            let _ = tell.send(answer);
        });
        self.send(true, &encode_claim(claim), done);
        match told.await {
            Ok(Ok(position)) => Ok(Epoch(position.get())),
            Ok(Err(AppendError::Unknown)) => {
                let found = self.find_claim(Position(before), claim).await?;
                found.ok_or_else(|| LogError::Unavailable("the claim is not in the log".into()))
            }
            Ok(Err(AppendError::Failed(error))) => Err(error),
            Ok(Err(error @ AppendError::Fenced(_))) => Err(LogError::Unavailable(error.to_string())),
            Err(oneshot::Canceled) => Err(LogError::Closed),
        }
    }

    /// The latest copy of a claim: the one that counts.
    async fn find_claim(&self, from: Position, claim: Claim) -> Result<Option<Epoch>, LogError> {
        let (mut from, mut found) = (from, None);
        loop {
            let entries = self.do_read(from, READ_BYTES).await?;
            let Some(last) = entries.last() else { return Ok(found) };
            from = last.position.after();
            let is_it = |entry: &&LogEntry| entry.header == RecordHeader::Claim(claim);
            found = entries.iter().rev().find(is_it).map(|entry| Epoch(entry.position.get())).or(found);
        }
    }

    fn slots(&self) -> (Arc<Slot>, Arc<Slot>) {
        let place = self.shared.topics.place(self.shard);
        (self.shared.follower.slot(self.shard, place), self.shared.replayer.slot(self.shard, place))
    }

    async fn do_read(&self, asked: Position, bytes_max: usize) -> Result<Vec<LogEntry>, LogError> {
        let at = asked.get().max(FIRST);
        let (follower, replayer) = self.slots();
        let slot = if follower.is_at(at) { follower } else { replayer };
        let reading = tokio::time::timeout(self.shared.patience, self.read_stream(&slot, asked, at, bytes_max)).await;
        if let Ok(Ok(entries)) = &reading {
            entries.iter().for_each(|entry| self.kept.add(entry.position.get(), entry.events.len()));
        }
        reading.unwrap_or_else(|_too_late| {
            // Whatever it waits for, a fresh one may find.
            if let Ok(mut stream) = slot.stream.try_lock() {
                stream.end();
            }
            Err(LogError::Unavailable("kafka does not answer".into()))
        })
    }

    async fn read_stream(
        &self,
        slot: &Slot,
        asked: Position,
        at: u64,
        bytes_max: usize,
    ) -> Result<Vec<LogEntry>, LogError> {
        let mut stream = slot.stream.lock().await;
        let mut news = slot.news();
        let mut is_there = self.known_end() > at;
        let mut is_fresh = !stream.is_at(at);
        if is_fresh {
            if !self.has_at(asked, at).await? {
                return Ok(Vec::new());
            }
            is_there = true;
            stream.begin(at)?;
        }
        loop {
            news.mark_unchanged();
            match stream.take(bytes_max) {
                Ok(entries) if !entries.is_empty() => return Ok(entries),
                Ok(_) => {}
                Err(broken) => {
                    self.mend(&mut stream, asked, at, broken, is_fresh).await?;
                    (is_fresh, is_there) = (true, false);
                }
            }
            if is_there {
                // The stream outlives this, and with it the sender.
                let _moved = news.changed().await;
            } else if self.has_at(asked, at).await? {
                is_there = true;
            } else {
                return Ok(Vec::new());
            }
        }
    }

    /// Whether a record lies at this offset.
    async fn has_at(&self, asked: Position, at: u64) -> Result<bool, LogError> {
        let range = self.range().await?;
        if at < range.first {
            return Err(LogError::Truncated { shard: self.shard, asked, first: Position(range.first) });
        }
        Ok(at < range.end)
    }

    /// A stream that broke begins once more; one that breaks again right away is told.
    async fn mend(
        &self,
        stream: &mut Stream,
        asked: Position,
        at: u64,
        broken: Broken,
        is_fresh: bool,
    ) -> Result<(), LogError> {
        stream.end();
        if let Broken::Log(error) = broken {
            return Err(error);
        }
        let error = told(self.shard, broken);
        // What was cut meanwhile is the likely reason.
        if !self.has_at(asked, at).await? {
            return Ok(());
        }
        if is_fresh {
            return Err(error);
        }
        stream.begin(at)
    }

    async fn do_wait(&self, from: Position) -> Result<(), LogError> {
        let at = from.get().max(FIRST);
        let (slot, _) = self.slots();
        let mut ends = self.known_end.subscribe();
        loop {
            let mut news = slot.news();
            if self.known_end() > at {
                return Ok(());
            }
            let is_near = {
                let mut stream = slot.stream.lock().await;
                if !stream.is_at(at) {
                    let range = self.range().await?;
                    if range.end > at {
                        return Ok(());
                    }
                    if range.end == at {
                        stream.begin(at)?;
                    }
                }
                match stream.is_at(at).then(|| stream.has_some()).transpose() {
                    Ok(Some(true)) => return Ok(()),
                    Ok(near) => near.is_some(),
                    Err(broken) => {
                        stream.end();
                        return Err(told(self.shard, broken));
                    }
                }
            };
            tokio::select! {
                _moved = news.changed() => {}
                _grown = ends.wait_for(|end| *end > at) => {}
                () = tokio::time::sleep(LOOK_EVERY), if !is_near => {}
            }
        }
    }
}

fn told(shard: ShardId, broken: Broken) -> LogError {
    match broken {
        Broken::Log(error) => error,
        Broken::Driver(error) => unavailable(&error),
        Broken::Hole { wanted, got } => {
            let why = format!("nothing lies between it and {got}; was the topic compacted?");
            LogError::Damaged { shard, place: format!("offset {wanted}"), why }
        }
    }
}

fn went_back(shard: ShardId, known: u64, now: u64) -> LogError {
    let why = format!("it had records up to {known} and now goes on at {now}: the topic was deleted or lost records");
    LogError::Damaged { shard, place: format!("offset {now}"), why }
}

impl ShardLog for KafkaShardLog {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        self.do_claim(claim).boxed()
    }

    fn append(&self, _epoch: Epoch, record: Bytes, done: AppendDone) {
        let (kept, bytes) = (Arc::clone(&self.kept), record.len());
        let done = move |answer: Answer| {
            // One of which nobody knows is counted when it is read.
            if let Ok(position) = &answer {
                kept.add(position.get(), bytes);
            }
            done(answer);
        };
        self.send(false, &record, Box::new(done));
    }

    fn read(&self, from: Position, bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        self.do_read(from, bytes_max).boxed()
    }

    fn wait_for(&self, from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.do_wait(from).boxed()
    }

    fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.kept.give_up(position.get());
        self.shared.cuts.want(self.shard, position.get());
        async { Ok(()) }.boxed()
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        async { Ok(Position(self.range().await?.end.max(FIRST))) }.boxed()
    }

    fn fencing(&self) -> Fencing {
        Fencing::ByPosition
    }
}
