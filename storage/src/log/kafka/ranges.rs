//! Where partitions begin and end: questions that come while one is under way are asked together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use largesse_engine::log::LogError;
use largesse_engine::node::backoff::{Backoff, Ladder};
use largesse_engine::units::ShardId;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::KafkaOptions;
use super::client::{Context, Topics, base_config, unavailable};

/// What a partition keeps: the first offset, and the one after the last that every replica in sync has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub end: u64,
}

/// Far more than shards can ask at once; beyond, an asker is told that the log is away.
const QUESTIONS_MAX: usize = 65_536;
/// How often the driver's own messages are heard while nobody asks.
const IDLE: Duration = Duration::from_millis(500);
/// Between two questions that get no answer. Leaders move within such times.
pub const TRY_AGAIN: Ladder =
    Ladder { first: Duration::from_millis(50), longest: Duration::from_millis(500), tries: None };

/// What was told of each shard, and why the others could not be told.
struct Told<T> {
    found: BTreeMap<ShardId, T>,
    error: Option<LogError>,
}

struct Question {
    shard: ShardId,
    tell: oneshot::Sender<Result<Range, LogError>>,
}

pub struct Ranges {
    questions: Mutex<Option<SyncSender<Question>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ranges {
    pub fn start(options: &KafkaOptions, topics: Topics) -> Result<Ranges, KafkaError> {
        let mut config = base_config(options);
        config.set("isolation.level", "read_uncommitted");
        let client: BaseConsumer<Context> = config.create_with_context(Context)?;
        let (ask, asked) = sync_channel(QUESTIONS_MAX);
        let patience = options.request_timeout;
        let thread = std::thread::Builder::new()
            .name("kafka-ranges".into())
            .spawn(move || Asker { client, topics, patience }.run(&asked))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Ranges { questions: Mutex::new(Some(ask)), thread: Mutex::new(Some(thread)) })
    }

    /// As of some moment after this was called.
    pub async fn of(&self, shard: ShardId) -> Result<Range, LogError> {
        let (tell, told) = oneshot::channel();
        let sent = match &*self.questions.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(questions) => questions.try_send(Question { shard, tell }),
            None => return Err(LogError::Closed),
        };
        match sent {
            Ok(()) => told.await.unwrap_or(Err(LogError::Closed)),
            Err(TrySendError::Full(_)) => Err(LogError::Unavailable("too many wait for kafka".into())),
            Err(TrySendError::Disconnected(_)) => Err(LogError::Closed),
        }
    }

    pub fn stop(&self) {
        drop(self.questions.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that asks kafka for offsets panicked");
        }
    }
}

struct Asker {
    client: BaseConsumer<Context>,
    topics: Topics,
    patience: Duration,
}

impl Asker {
    fn run(&self, asked: &Receiver<Question>) {
        loop {
            match asked.recv_timeout(IDLE) {
                Ok(first) => {
                    let questions: Vec<Question> = std::iter::once(first).chain(asked.try_iter()).collect();
                    self.answer(questions);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // No message ever comes; this hears what the driver has to say.
            drop(self.client.poll(Duration::ZERO));
        }
    }

    fn answer(&self, questions: Vec<Question>) {
        let shards: BTreeSet<ShardId> = questions.iter().map(|question| question.shard).collect();
        let began = Instant::now();
        let mut backoff = Backoff::new(TRY_AGAIN);
        let mut ranges = BTreeMap::new();
        let mut missing = shards;
        let mut error = LogError::Unavailable("kafka does not answer".into());
        while !missing.is_empty() {
            match self.look_up(&missing) {
                Ok(told) => {
                    missing.retain(|shard| !told.found.contains_key(shard));
                    ranges.extend(told.found);
                    error = told.error.unwrap_or(error);
                }
                Err(failed) => error = unavailable(&failed),
            }
            if missing.is_empty() || began.elapsed() >= self.patience {
                break;
            }
            // Leaders move; the driver has asked for the new ones.
            drop(self.client.poll(backoff.wait()));
        }
        for Question { shard, tell } in questions {
            // Who asked may have gone.
            let _gone = tell.send(ranges.get(&shard).copied().ok_or_else(|| error.clone()));
        }
    }

    fn look_up(&self, shards: &BTreeSet<ShardId>) -> Result<Told<Range>, KafkaError> {
        // The end first: what is cut in between is not taken for a record that is missing.
        let ends = self.offsets(shards, Offset::End)?;
        let firsts = self.offsets(shards, Offset::Beginning)?;
        let both = ends.found.into_iter().filter_map(|(shard, end)| {
            let first = *firsts.found.get(&shard)?;
            Some((shard, Range { first, end: end.max(first) }))
        });
        Ok(Told { found: both.collect(), error: ends.error.or(firsts.error) })
    }

    fn offsets(&self, shards: &BTreeSet<ShardId>, which: Offset) -> Result<Told<u64>, KafkaError> {
        let mut asked = TopicPartitionList::with_capacity(shards.len());
        for shard in shards {
            let (topic, partition) = self.topics.place(*shard);
            asked.add_partition_offset(topic, partition, which)?;
        }
        let told = self.client.offsets_for_times(asked, self.patience)?;
        let (mut found, mut error) = (BTreeMap::new(), None);
        for shard in shards {
            let (topic, partition) = self.topics.place(*shard);
            let Some(element) = told.find_partition(topic, partition) else { continue };
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => {
                    found.extend(u64::try_from(offset).ok().map(|offset| (*shard, offset)));
                }
                (Ok(()), _) => error = Some(LogError::Unavailable(format!("kafka does not know the end of {shard}"))),
                (Err(why), _) => error = Some(unavailable(&why)),
            }
        }
        Ok(Told { found, error })
    }
}

/// Whether an error says that there is no such topic or partition.
pub fn is_missing(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}
