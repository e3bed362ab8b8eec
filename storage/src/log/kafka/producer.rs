//! Writing: a few producers per process, and each shard's appends answered once and in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use largesse_engine::log::{AppendDone, AppendError, LogError};
use largesse_engine::record::RECORD_BYTES_MAX;
use largesse_engine::units::Position;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};

use super::KafkaOptions;
use super::client::{Context, base_config, millis};

/// Room for the framing of a record beside the record itself.
pub const FRAME_BYTES: usize = 4 << 10;
/// The largest batch is one record of the largest size, or several that together stay below this.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How long a poll waits, and so how long stopping may take.
const POLL: Duration = Duration::from_millis(100);

const _: () = assert!(BATCH_BYTES_MAX <= RECORD_BYTES_MAX);

/// What the appender of a record is told.
pub type Answer = Result<Position, AppendError>;

/// The producers of a process. Each shard writes through one of them: a broker keeps order per producer and partition,
/// and a record that times out holds up its whole connection.
pub struct Producers {
    options: KafkaOptions,
    slots: Vec<Mutex<Option<Arc<Producer>>>>,
}

impl Producers {
    pub fn new(options: &KafkaOptions) -> Producers {
        let slots = (0..options.producers.max(1)).map(|_| Mutex::default());
        Producers { options: options.clone(), slots: slots.collect() }
    }

    /// The producer of this slot: started when it is first asked for, and again when the last has failed for good.
    pub fn get(&self, number: usize) -> Result<Arc<Producer>, KafkaError> {
        let mut slot = lock(&self.slots[number % self.slots.len()]);
        match &*slot {
            Some(producer) if producer.failure().is_none() => Ok(Arc::clone(producer)),
            Some(_) | None => Ok(Arc::clone(slot.insert(Producer::start(&self.options)?))),
        }
    }

    pub fn fail(&self, why: &str) {
        for slot in &self.slots {
            lock(slot).iter().for_each(|producer| producer.fail(why));
        }
    }
}

/// One idempotent producer and the thread that hears what became of its records.
pub struct Producer {
    client: Arc<BaseProducer<Deliveries>>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    pub fn start(options: &KafkaOptions) -> Result<Arc<Producer>, KafkaError> {
        let mut config = base_config(options);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", "5")
            .set("linger.ms", "0")
            .set("batch.size", BATCH_BYTES_MAX.to_string())
            .set("message.max.bytes", (RECORD_BYTES_MAX + FRAME_BYTES).to_string())
            .set("delivery.timeout.ms", millis(options.delivery_timeout))
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "500")
            // Shards bound what they have under way; these only bound a mistake.
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "1048576");
        let client: BaseProducer<Deliveries> = config.create_with_context(Deliveries::default())?;
        let client = Arc::new(client);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let run = {
            let (client, is_stopping) = (Arc::clone(&client), Arc::clone(&is_stopping));
            move || poll(&client, &is_stopping)
        };
        let thread = std::thread::Builder::new().name("kafka-producer".into()).spawn(run);
        let thread = thread.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Arc::new(Producer { client, is_stopping, thread: Some(thread) }))
    }

    /// Why this producer will never write again.
    pub fn failure(&self) -> Option<&str> {
        self.client.context().failure.get().map(String::as_str)
    }

    /// As if the driver had found an error that it cannot mend.
    fn fail(&self, why: &str) {
        self.client.context().fail(why);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        // Its last owner may be a record that it answers itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the thread of a kafka producer panicked");
        }
    }
}

fn poll(client: &BaseProducer<Deliveries>, is_stopping: &AtomicBool) {
    let mut is_purged = false;
    while !is_stopping.load(Ordering::Acquire) {
        client.poll(POLL);
        if !is_purged && client.context().failure.get().is_some() {
            // What it still holds is answered now: nobody knows what became of it.
            client.purge(PurgeConfig::default().queue().inflight());
            is_purged = true;
        }
    }
}

/// Hears what became of each record.
#[derive(Default)]
struct Deliveries {
    failure: OnceLock<String>,
}

impl Deliveries {
    fn fail(&self, why: &str) {
        if self.failure.set(why.to_owned()).is_ok() {
            tracing::warn!(why, "a kafka producer failed; its shards claim again");
            metrics::counter!("largesse_kafka_producer_failures_total").increment(1);
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.fail(reason);
        }
        Context.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Token>;

    fn delivery(&self, result: &DeliveryResult<'_>, token: Box<Token>) {
        let answer = match result {
            Ok(message) => {
                metrics::histogram!("largesse_log_append_seconds").record(token.sent.elapsed());
                // The broker may have had it already, and have forgotten where.
                u64::try_from(message.offset()).map(Position).map_err(|_| AppendError::Unknown)
            }
            Err((error, _)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                    self.fail(&error.to_string());
                }
                tracing::debug!(%error, "a record was not acknowledged");
                Err(AppendError::Unknown)
            }
        };
        token.appends.settle(token.number, answer);
    }
}

/// Says whose record it was.
struct Token {
    appends: Arc<Appends>,
    number: u64,
    sent: Instant,
}

type Review = Box<dyn Fn(Answer) -> Answer + Send + Sync>;

/// The appends of one shard that wait for their answers.
///
/// The driver answers the records of a partition in order as long as all goes well; one that is still queued may time out
/// before one that is on its way. So answers are kept here until it is their turn.
pub struct Appends {
    topic: String,
    partition: i32,
    state: Mutex<State>,
    /// Sees every answer, in order, before the appender does; it may know better.
    review: Review,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Number of the first that waits.
    first: u64,
    /// Somebody is telling answers and will go on until none is left whose turn it is.
    is_telling: bool,
}

struct Waiting {
    done: AppendDone,
    answer: Option<Answer>,
}

impl Appends {
    pub fn new(
        (topic, partition): (&str, i32),
        review: impl Fn(Answer) -> Answer + Send + Sync + 'static,
    ) -> Arc<Appends> {
        let state = Mutex::new(State::default());
        Arc::new(Appends { topic: topic.to_owned(), partition, state, review: Box::new(review) })
    }

    /// Sends one record; `done` is called once, after those of all records before.
    pub fn send(self: &Arc<Self>, producer: Result<&Producer, LogError>, record: &Bytes, done: AppendDone) {
        let mut state = lock(&self.state);
        let number = state.first + state.waiting.len() as u64;
        state.waiting.push_back(Waiting { done, answer: None });
        // Sent under the lock, so that the driver gets them in the order in which they wait.
        let refused = match producer {
            Err(error) => Some(error),
            Ok(producer) => self.hand_over(producer, number, record),
        };
        drop(state);
        if let Some(error) = refused {
            self.settle(number, Err(AppendError::Failed(error)));
        }
    }

    fn hand_over(self: &Arc<Self>, producer: &Producer, number: u64, record: &Bytes) -> Option<LogError> {
        if let Some(why) = producer.failure() {
            return Some(LogError::Unavailable(format!("its kafka producer failed: {why}")));
        }
        let token = Box::new(Token { appends: Arc::clone(self), number, sent: Instant::now() });
        let message: BaseRecord<'_, (), [u8], Box<Token>> =
            BaseRecord::with_opaque_to(&self.topic, token).partition(self.partition).payload(record);
        match producer.client.send(message) {
            Ok(()) => None,
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                Some(LogError::Full("the kafka producer's queue".into()))
            }
            Err((error, _)) => Some(LogError::Unavailable(format!("kafka: {error}"))),
        }
    }

    fn settle(&self, number: u64, answer: Answer) {
        let mut state = lock(&self.state);
        let place = number.checked_sub(state.first).and_then(|place| usize::try_from(place).ok());
        let waiting = place.and_then(|place| state.waiting.get_mut(place));
        waiting.expect("a record is answered once").answer = Some(answer);
        if state.is_telling {
            return;
        }
        state.is_telling = true;
        loop {
            let mut ready = Vec::new();
            while let Some(waiting) = state.waiting.pop_front_if(|waiting| waiting.answer.is_some()) {
                state.first += 1;
                ready.push(waiting);
            }
            if ready.is_empty() {
                state.is_telling = false;
                return;
            }
            // Whoever is told may append again.
            drop(state);
            for Waiting { done, answer } in ready {
                done((self.review)(answer.expect("only answered ones were taken")));
            }
            state = lock(&self.state);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn answers_wait_for_their_turn() {
        let appends = Appends::new(("topic", 0), |answer| answer);
        let (tell, told) = mpsc::sync_channel(8);
        for number in 0..4_u64 {
            let tell = tell.clone();
            let done = Box::new(move |answer| tell.send((number, answer)).unwrap());
            lock(&appends.state).waiting.push_back(Waiting { done, answer: None });
        }
        let unknown = Err(AppendError::Unknown);
        appends.settle(1, unknown.clone());
        appends.settle(3, Ok(Position(9)));
        assert!(told.try_recv().is_err(), "the first has no answer yet");
        appends.settle(0, Ok(Position(7)));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(0, Ok(Position(7))), (1, unknown.clone())]);
        appends.settle(2, unknown.clone());
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(2, unknown), (3, Ok(Position(9)))]);
    }
}
