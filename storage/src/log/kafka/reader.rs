//! Reading: two consumers per process, each with a stream per shard.
//!
//! One *follows*: who waits for new records, the flusher, reads there, and records come in large pieces. The other
//! *replays*: recovery, reading back and tools read there at once, and a stream that nobody reads any more is let go.
//! A stream is one partition's queue of what was fetched ahead; it is bounded, and stops fetching when it is full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use largesse_engine::ledger::LedgerName;
use largesse_engine::log::LogError;
use largesse_engine::record::{LogEntry, RECORD_BYTES_MAX};
use largesse_engine::units::{Position, ShardId};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::{Mutex as AsyncMutex, watch};

use super::KafkaOptions;
use super::client::{Context, base_config, unavailable};
use super::producer::FRAME_BYTES;

/// What a consumer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Follow,
    Replay,
}

/// A stream for replay that nobody has read for this long is let go.
const LINGER: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);
/// No stream: nobody reads there, or somebody is at it.
const NOWHERE: u64 = u64::MAX;

/// One consumer and the streams that it feeds.
pub struct Reader {
    purpose: Purpose,
    client: Arc<BaseConsumer<Context>>,
    streams: Mutex<HashMap<ShardId, Arc<Slot>>>,
    is_stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A shard's stream. Whoever reads holds the lock; where it stands can be seen without.
pub struct Slot {
    pub stream: AsyncMutex<Stream>,
    view: Arc<View>,
}

/// What can be seen of a stream by those who do not hold it.
struct View {
    /// Offset of the record that comes next, or [`NOWHERE`].
    next: AtomicU64,
    /// Counts up when records have arrived, or the stream was moved.
    news: watch::Sender<u64>,
}

impl Slot {
    pub fn is_at(&self, offset: u64) -> bool {
        self.view.next.load(Ordering::Acquire) == offset
    }

    /// Changes when records have arrived, or the stream was moved.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.view.news.subscribe()
    }
}

impl View {
    fn has_news(&self) {
        self.news.send_modify(|count| *count += 1);
    }
}

impl Reader {
    pub fn start(options: &KafkaOptions, ledger: &LedgerName, purpose: Purpose) -> Result<Arc<Reader>, KafkaError> {
        let (wait_millis, bytes_min, ahead_kib) = match purpose {
            Purpose::Follow => ("50", "65536", "256"),
            Purpose::Replay => ("10", "1", "1024"),
        };
        let mut config = base_config(options);
        config
            // The driver reads only as a member of some group; nothing is ever committed to it.
            .set("group.id", format!("{ledger}.largesse"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_uncommitted")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", wait_millis)
            .set("fetch.min.bytes", bytes_min)
            .set("fetch.message.max.bytes", (RECORD_BYTES_MAX + FRAME_BYTES).to_string())
            .set("queued.max.messages.kbytes", ahead_kib)
            .set("queued.min.messages", "1000000")
            .set("fetch.queue.backoff.ms", "2")
            .set("fetch.error.backoff.ms", "50");
        let client: BaseConsumer<Context> = config.create_with_context(Context)?;
        let reader = Arc::new(Reader {
            purpose,
            client: Arc::new(client),
            streams: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let run = {
            let reader = Arc::clone(&reader);
            move || reader.attend()
        };
        let thread = std::thread::Builder::new().name("kafka-reader".into()).spawn(run);
        let thread = thread.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        *reader.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(reader)
    }

    /// Hears what concerns no single partition, and lets streams go.
    fn attend(&self) {
        let mut looked = Instant::now();
        while !self.is_stopping.load(Ordering::Acquire) {
            match self.client.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    tracing::warn!(topic = message.topic(), offset = message.offset(), "a record came past its stream");
                }
                Some(Err(error)) => tracing::debug!(%error, "kafka"),
            }
            if self.purpose == Purpose::Replay && looked.elapsed() >= POLL {
                looked = Instant::now();
                self.let_go();
            }
        }
    }

    fn let_go(&self) {
        let streams: Vec<_> = self.lock_streams().values().cloned().collect();
        for slot in streams {
            if let Ok(mut stream) = slot.stream.try_lock()
                && stream.queue.is_some()
                && stream.read.elapsed() >= LINGER
            {
                stream.end();
            }
        }
    }

    /// Told beforehand, so that several stop at the same time.
    pub fn ask_to_stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    pub fn stop(&self) {
        self.ask_to_stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a kafka consumer panicked");
        }
        // The streams hold the consumer, and it them.
        self.lock_streams().clear();
    }

    pub fn slot(&self, shard: ShardId, (topic, partition): (&str, i32)) -> Arc<Slot> {
        let make = || {
            let view = Arc::new(View { next: AtomicU64::new(NOWHERE), news: watch::Sender::new(0) });
            let stream = Stream {
                client: Arc::clone(&self.client),
                shard,
                topic: topic.to_owned(),
                partition,
                queue: None,
                next: 0,
                held: None,
                read: Instant::now(),
                view: Arc::clone(&view),
            };
            Arc::new(Slot { stream: AsyncMutex::new(stream), view })
        };
        Arc::clone(self.lock_streams().entry(shard).or_insert_with(make))
    }

    fn lock_streams(&self) -> std::sync::MutexGuard<'_, HashMap<ShardId, Arc<Slot>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records of one partition from some offset on.
pub struct Stream {
    client: Arc<BaseConsumer<Context>>,
    shard: ShardId,
    topic: String,
    partition: i32,
    queue: Option<PartitionQueue<Context>>,
    /// Offset of the record that comes next.
    next: u64,
    /// Came already, but did not fit into what was asked for.
    held: Option<LogEntry>,
    read: Instant,
    view: Arc<View>,
}

impl Stream {
    pub fn is_at(&self, offset: u64) -> bool {
        self.queue.is_some() && self.next == offset
    }

    /// Begins anew at this offset, which must not lie behind the end.
    pub fn begin(&mut self, offset: u64) -> Result<(), LogError> {
        self.end();
        let queue = self.client.split_partition_queue(&self.topic, self.partition);
        let mut queue = queue.ok_or_else(|| LogError::Unavailable(format!("kafka has no queue for {}", self.shard)))?;
        let view = Arc::clone(&self.view);
        queue.set_nonempty_callback(move || view.has_news());
        self.assign(offset).map_err(|error| unavailable(&error))?;
        self.queue = Some(queue);
        self.go_to(offset);
        self.read = Instant::now();
        Ok(())
    }

    fn go_to(&mut self, next: u64) {
        self.next = next;
        self.view.next.store(next, Ordering::Release);
    }

    fn assign(&self, offset: u64) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        list.add_partition_offset(&self.topic, self.partition, offset)?;
        self.client.incremental_assign(&list)
    }

    /// Fetches nothing any more.
    pub fn end(&mut self) {
        self.held = None;
        if self.queue.take().is_none() {
            return;
        }
        self.view.next.store(NOWHERE, Ordering::Release);
        self.view.has_news();
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, self.partition);
        if let Err(error) = self.client.incremental_unassign(&list) {
            tracing::warn!(shard = %self.shard, %error, "kafka does not let go of a partition");
        }
    }

    /// What has been fetched, about as much as was asked for, at least one if there is one; never waits.
    pub fn take(&mut self, bytes_max: usize) -> Result<Vec<LogEntry>, Broken> {
        self.read = Instant::now();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = self.pop()? {
            bytes += entry.events.len();
            if bytes > bytes_max && !entries.is_empty() {
                self.held = Some(entry);
                break;
            }
            self.go_to(entry.position.get() + 1);
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Whether a record has been fetched.
    pub fn has_some(&mut self) -> Result<bool, Broken> {
        self.read = Instant::now();
        self.held = self.pop()?;
        Ok(self.held.is_some())
    }

    fn pop(&mut self) -> Result<Option<LogEntry>, Broken> {
        if let Some(entry) = self.held.take() {
            return Ok(Some(entry));
        }
        let Some(queue) = &self.queue else { return Ok(None) };
        loop {
            let message = match queue.poll(Duration::ZERO) {
                None => return Ok(None),
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(Broken::Driver(error)),
            };
            let Ok(offset) = u64::try_from(message.offset()) else { continue };
            if offset < self.next {
                continue;
            }
            if offset > self.next {
                return Err(Broken::Hole { wanted: self.next, got: offset });
            }
            let record = Bytes::copy_from_slice(message.payload().unwrap_or_default());
            return match LogEntry::decode(Position(offset), &record) {
                Ok(entry) => Ok(Some(entry)),
                Err(error) => {
                    let place = format!("offset {offset} of {}-{}", self.topic, self.partition);
                    let why = error.to_string();
                    Err(Broken::Log(LogError::Damaged { shard: self.shard, place, why }))
                }
            };
        }
    }
}

/// Why a stream does not go on.
#[derive(Debug)]
pub enum Broken {
    Driver(KafkaError),
    /// Offsets have no holes where nobody compacts and nobody uses transactions.
    Hole {
        wanted: u64,
        got: u64,
    },
    Log(LogError),
}
