//! Events out: every change of an account as a JSON message in Kafka, for programs that want to follow along.
//!
//! It reads the durable log behind everybody else and keeps a position of its own, so no gift ever waits for it: at least
//! once, in order per shard, never skipping without a dead letter that says what was skipped. The log may be in Kafka too
//! or embedded.

mod hold;
pub mod message;
mod positions;
mod publisher;
mod redrive;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use largesse_engine::clock::Clock;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::Logs;
use largesse_engine::node::backoff::Ladder;
use largesse_engine::node::{ShardHealth, threads};
use largesse_engine::record::EventsHeader;
use largesse_engine::store::Store;
use largesse_engine::units::{Position, Seq, ShardId, ShardKind, Time};
use tokio::sync::{Notify, watch};

pub use self::hold::{HeldLogs, Holds};
use self::positions::Positions;
use self::publisher::{Failed, Publisher};
pub use self::redrive::{Attempt, attempt, settle};
pub use self::wire::{Sent, Wire};
use crate::letters::{Content, Entry, Letter, LetterLog, LettersError, Origin, Reason};
use crate::log::kafka::KafkaOptions;

#[derive(Clone, Debug, PartialEq)]
pub struct EventsOptions {
    pub ledger: LedgerName,
    pub shape: LedgerShape,
    /// The brokers that take events.
    pub kafka: KafkaOptions,
    pub topic: String,
    /// Partitions that the topic is made with.
    pub partitions: u16,
    /// Messages on their way at once, of all shards together; at least one per shard.
    pub in_flight_max: usize,
    /// How long unpublished events may hold the log.
    pub hold_max: Duration,
    /// When and how often what was refused is tried again by itself.
    pub ladder: Ladder,
    /// Whether shards' logs lie in Kafka: then a letter names topic and partition.
    pub log_is_kafka: bool,
}

impl EventsOptions {
    /// What the topic is called unless somebody says otherwise.
    pub fn topic_of(ledger: &LedgerName) -> String {
        format!("{ledger}.events")
    }
}

/// What all publishers of a process share.
struct Shared {
    options: EventsOptions,
    in_flight_per_shard: usize,
    wire: Wire,
    positions: Positions,
    letters: Arc<dyn LetterLog>,
    store: Arc<dyn Store>,
    holds: Arc<Holds>,
    clock: Arc<dyn Clock>,
    filed: Notify,
    /// When somebody was last told of a failure.
    told: Mutex<Option<Instant>>,
}

/// Not more often than this is an outage told.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl Shared {
    async fn file(&self, letter: Letter) -> Result<(), LettersError> {
        let (id, reason, why) = (letter.id.clone(), letter.reason, letter.why.clone());
        self.letters.append(Entry::Filed(Box::new(letter))).await?;
        tracing::warn!(id, %reason, why, "an event became a dead letter; see `largesse dlq show`");
        metrics::counter!("largesse_dead_letters_filed_total", "reason" => reason.name()).increment(1);
        self.filed.notify_one();
        Ok(())
    }

    fn next_try(&self, failures: u32) -> Option<Time> {
        let wait = self.options.ladder.wait(failures)?;
        Some(self.clock.now().plus_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    fn origin(&self, shard: ShardId, header: EventsHeader, last_seq: Seq, position: Position) -> Origin {
        let is_kafka = self.options.log_is_kafka;
        Origin {
            topic: is_kafka.then(|| self.options.ledger.log_name(ShardKind::Wallet)),
            partition: is_kafka.then(|| i32::from(shard.index)),
            offset: position.get(),
            shard,
            seq: header.first,
            last_seq,
            at: header.time,
        }
    }

    fn tell_failure(&self, error: &Failed) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(%error, "events cannot be published now; the log keeps them for a while, gifts go on");
        }
    }
}

fn letter(
    id: String,
    reason: Reason,
    why: String,
    origin: Origin,
    next_try: Option<Time>,
    content: Content,
    clock: &dyn Clock,
) -> Letter {
    Letter { id, reason, why, origin, filed_at: clock.now(), next_try, content }
}

/// Everything that publishing needs, before there is a node.
pub struct Prepared {
    options: EventsOptions,
    logs: Arc<dyn Logs>,
    letters: Arc<dyn LetterLog>,
    holds: Arc<Holds>,
    clock: Arc<dyn Clock>,
}

/// Publishes while it lives.
pub struct Events {
    stopping: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The logs as the node is to use them, which are held until they are published.
pub fn prepare(
    options: EventsOptions,
    logs: Arc<dyn Logs>,
    letters: Arc<dyn LetterLog>,
    clock: Arc<dyn Clock>,
) -> (Arc<dyn Logs>, Prepared) {
    let (held, holds) = HeldLogs::new(Arc::clone(&logs), Arc::clone(&clock), options.hold_max);
    (Arc::new(held), Prepared { options, logs, letters, holds, clock })
}

impl Prepared {
    /// Publishes the shards that this process owns, on a thread that gives way to all others.
    pub fn start(
        self,
        store: Arc<dyn Store>,
        healths: Vec<(ShardId, watch::Receiver<ShardHealth>)>,
    ) -> Result<Events, String> {
        let shards = usize::from(self.options.shape.wallet_shards);
        // Made by the thread that gives way, so that what the driver starts gives way too.
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (stopping, stopped) = watch::channel(false);
        let run = move || {
            threads::give_way();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let started = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
                let positions = Positions::new(&self.options)?;
                Ok((runtime, positions))
            });
            let (runtime, positions) = match started {
                Ok(started) => started,
                Err(why) => return drop(tell.send(Err(why))),
            };
            drop(tell.send(Ok(())));
            let shared = Arc::new(Shared {
                in_flight_per_shard: (self.options.in_flight_max / shards).max(1),
                wire: Wire::new(&self.options),
                positions,
                letters: self.letters,
                store,
                holds: self.holds,
                clock: self.clock,
                filed: Notify::new(),
                told: Mutex::default(),
                options: self.options,
            });
            runtime.block_on(publish_all(&shared, &*self.logs, healths, &stopped));
            // A question that Kafka does not answer would hold up the end of the process.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("events".into()).spawn(run).map_err(|error| error.to_string())?;
        told.recv().map_err(|_| "the thread that publishes events ended".to_owned())??;
        Ok(Events { stopping, thread: Some(thread) })
    }
}

async fn publish_all(
    shared: &Arc<Shared>,
    logs: &dyn Logs,
    healths: Vec<(ShardId, watch::Receiver<ShardHealth>)>,
    stopped: &watch::Receiver<bool>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for (shard, health) in healths.into_iter().filter(|(shard, _)| shard.kind == ShardKind::Wallet) {
        let (log, shared) = (logs.shard(shard), Arc::clone(shared));
        tasks.spawn(Publisher { shard, log, shared, health, stopping: stopped.clone() }.run());
    }
    tasks.spawn(redrive::run(Arc::clone(shared), stopped.clone()));
    while let Some(ended) = tasks.join_next().await {
        if let Err(panic) = ended {
            tracing::error!(%panic, "a publisher of events ended; the log keeps what it did not publish");
        }
    }
}

impl Events {
    /// Finishes what is being published. What was not is published after the next start.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        let Some(thread) = self.thread.take() else { return };
        // Its last message may take as long as the driver has patience.
        let joined = tokio::task::spawn_blocking(move || thread.join().is_err()).await;
        if joined.unwrap_or(true) {
            tracing::error!("the thread that publishes events panicked");
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
    }
}
