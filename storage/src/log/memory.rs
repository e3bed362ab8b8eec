//! A log in memory that behaves like Kafka: contiguous offsets per shard, anyone can append, nobody is fenced by it.
//!
//! It has no thread and no clock. By hand, each append and each claim waits until a test or the simulator says that it
//! lands and how it is answered, in any combination: landed and answered as unknown, landed twice, answered as failed and
//! landed later behind another's claim, never landed. Automatically, each lands and is answered within the call, but for
//! the faults that were planned for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use largesse_engine::log::{AppendDone, AppendError, Fencing, LogError, LogRoom, Logs, ShardLog};
use largesse_engine::record::{Claim, LogEntry, RecordHeader, encode_claim};
use largesse_engine::units::{Epoch, Position, ShardId};
use tokio::sync::watch;

/// The logs of all shards. Clones see the same records, as several processes would.
#[derive(Clone)]
pub struct MemoryLogs {
    world: Arc<Mutex<World>>,
}

/// Names one append or claim that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// An append or claim that has not been answered, or was answered and may still land.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub ticket: Ticket,
    pub shard: ShardId,
    /// `None` for a claim.
    pub epoch: Option<Epoch>,
    /// Where it has landed so far, each time.
    pub landed: Vec<Position>,
    pub is_answered: bool,
}

/// What the writer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The position at which it landed first.
    Landed,
    Unknown,
    Failed(LogError),
}

/// What befalls one append or claim when the log answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never lands, and the writer is told so.
    Lost,
    /// It never lands, and the writer is told that nobody knows.
    LostUnknown,
    /// It lands, and the writer is told that nobody knows.
    LandedUnknown,
    /// It lands twice.
    Copied,
    /// The writer is told that nobody knows; it stays pending and lands when the test says so.
    Late,
}

#[derive(Default)]
struct World {
    is_by_hand: bool,
    shards: BTreeMap<ShardId, Partition>,
    waiting: BTreeMap<Ticket, Waiting>,
    tickets: u64,
}

struct Partition {
    /// Offset of the oldest record kept.
    first: u64,
    records: VecDeque<Bytes>,
    grown: watch::Sender<u64>,
    faults: VecDeque<Fault>,
    read_faults: VecDeque<LogError>,
}

struct Waiting {
    pending: Pending,
    record: Bytes,
    done: Option<AppendDone>,
}

impl Default for Partition {
    fn default() -> Self {
        Partition {
            first: 0,
            records: VecDeque::new(),
            grown: watch::Sender::new(0),
            faults: VecDeque::new(),
            read_faults: VecDeque::new(),
        }
    }
}

impl Partition {
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn push(&mut self, record: Bytes) -> Position {
        let position = Position(self.next());
        self.records.push_back(record);
        self.grown.send_replace(self.next());
        position
    }

    fn cut(&mut self, position: u64) {
        while self.first < position && self.records.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn entry(&self, shard: ShardId, position: u64) -> Option<Result<LogEntry, LogError>> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let entry = LogEntry::decode(Position(position), self.records.get(index)?);
        Some(entry.map_err(|error| {
            let place = format!("offset {position}");
            LogError::Damaged { shard, place, why: error.to_string() }
        }))
    }

    /// The latest copy of a claim: the one that counts.
    fn find_claim(&self, shard: ShardId, claim: Claim) -> Option<Epoch> {
        let is_it = |entry: &LogEntry| entry.header == RecordHeader::Claim(claim);
        let positions = (self.first..self.next()).rev();
        let mut entries = positions.filter_map(|position| self.entry(shard, position)?.ok());
        entries.find(is_it).map(|entry| Epoch(entry.position.get()))
    }
}

impl MemoryLogs {
    /// Each append lands and is answered within the call.
    pub fn automatic() -> MemoryLogs {
        MemoryLogs { world: Arc::default() }
    }

    /// Each append waits for [`MemoryLogs::land`] and [`MemoryLogs::answer`].
    pub fn by_hand() -> MemoryLogs {
        MemoryLogs { world: Arc::new(Mutex::new(World { is_by_hand: true, ..World::default() })) }
    }

    /// All that waits, in the order in which it was asked for.
    pub fn pending(&self) -> Vec<Pending> {
        self.lock().waiting.values().map(|waiting| waiting.pending.clone()).collect()
    }

    /// Puts the record at the end of its log, without telling its writer. Done twice, there is a copy.
    pub fn land(&self, ticket: Ticket) -> Position {
        let mut world = self.lock();
        let world = &mut *world;
        let waiting = world.waiting.get_mut(&ticket).expect("a ticket is landed while it is pending");
        let partition = world.shards.entry(waiting.pending.shard).or_default();
        let position = partition.push(waiting.record.clone());
        waiting.pending.landed.push(position);
        position
    }

    /// Tells the writer. The record may still land afterwards, until it is forgotten.
    ///
    /// Answers of one epoch leave in the order of its appends, which is what a log promises: an earlier one without an
    /// answer is a mistake of the test.
    pub fn answer(&self, ticket: Ticket, answer: Answer) {
        let mut world = self.lock();
        let waiting = &world.waiting[&ticket].pending;
        let is_before = |other: &Pending| {
            other.shard == waiting.shard && other.epoch == waiting.epoch && !other.is_answered && other.ticket < ticket
        };
        let is_first = waiting.epoch.is_none() || !world.waiting.values().any(|other| is_before(&other.pending));
        assert!(is_first, "an earlier append of the same epoch has no answer yet");
        let waiting = world.waiting.get_mut(&ticket).expect("looked up above");
        let done = waiting.done.take().expect("a ticket is answered once");
        waiting.pending.is_answered = true;
        let result = match answer {
            Answer::Landed => Ok(*waiting.pending.landed.first().expect("only what has landed has a position")),
            Answer::Unknown => Err(AppendError::Unknown),
            Answer::Failed(error) => Err(AppendError::Failed(error)),
        };
        drop(world);
        done(result);
    }

    /// It will not land any more. One that was not answered never will be, as if its writer had died.
    pub fn forget(&self, ticket: Ticket) {
        let forgotten = self.lock().waiting.remove(&ticket);
        // Dropped outside the lock: the answer may own anything.
        drop(forgotten);
    }

    /// Lands once, answers and forgets: what happens on a good day.
    pub fn complete(&self, ticket: Ticket) -> Position {
        let position = self.land(ticket);
        self.answer(ticket, Answer::Landed);
        self.forget(ticket);
        position
    }

    /// The next append or claim of the shard that is not by hand suffers this; planned faults queue up.
    pub fn plan(&self, shard: ShardId, fault: Fault) {
        self.lock().shards.entry(shard).or_default().faults.push_back(fault);
    }

    /// The next read of the shard fails with this; planned faults queue up.
    pub fn plan_read_error(&self, shard: ShardId, error: LogError) {
        self.lock().shards.entry(shard).or_default().read_faults.push_back(error);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, shard: ShardId, epoch: Option<Epoch>, record: Bytes, done: AppendDone) {
        let mut world = self.lock();
        world.tickets += 1;
        let ticket = Ticket(world.tickets);
        let pending = Pending { ticket, shard, epoch, landed: Vec::new(), is_answered: false };
        world.waiting.insert(ticket, Waiting { pending, record, done: Some(done) });
        if world.is_by_hand {
            return;
        }
        let fault = world.shards.entry(shard).or_default().faults.pop_front();
        drop(world);
        let landings = match fault {
            None | Some(Fault::LandedUnknown) => 1,
            Some(Fault::Copied) => 2,
            Some(Fault::Lost | Fault::LostUnknown | Fault::Late) => 0,
        };
        for _ in 0..landings {
            self.land(ticket);
        }
        let answer = match fault {
            None | Some(Fault::Copied) => Answer::Landed,
            Some(Fault::Lost) => Answer::Failed(LogError::Unavailable("a planned fault".into())),
            Some(Fault::LostUnknown | Fault::LandedUnknown | Fault::Late) => Answer::Unknown,
        };
        self.answer(ticket, answer);
        if fault != Some(Fault::Late) {
            self.forget(ticket);
        }
    }
}

impl Logs for MemoryLogs {
    fn shard(&self, shard: ShardId) -> Arc<dyn ShardLog> {
        Arc::new(MemoryShardLog { logs: self.clone(), shard })
    }

    fn room(&self) -> LogRoom {
        let world = self.lock();
        let records = world.shards.values().flat_map(|partition| &partition.records);
        let bytes_used = records.map(|record| record.len() as u64).sum();
        LogRoom { bytes_used, bytes_max: u64::MAX, is_tight: false }
    }

    fn is_tight(&self) -> bool {
        false
    }

    fn is_full(&self) -> bool {
        false
    }
}

struct MemoryShardLog {
    logs: MemoryLogs,
    shard: ShardId,
}

impl MemoryShardLog {
    fn with<T>(&self, act: impl FnOnce(&mut Partition) -> T) -> T {
        act(self.logs.lock().shards.entry(self.shard).or_default())
    }
}

impl ShardLog for MemoryShardLog {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        let (tell, told) = oneshot::channel();
        let done: AppendDone = Box::new(move |result| {
            // Whoever claimed may have given up waiting.
            let _ = tell.send(result);
        });
        self.logs.submit(self.shard, None, encode_claim(claim), done);
        let claimed = async move {
            match told.await {
                Ok(Ok(position)) => Ok(Epoch(position.get())),
                // Only the log itself can tell, by the nonce.
                Ok(Err(AppendError::Unknown)) => {
                    let found = self.with(|partition| partition.find_claim(self.shard, claim));
                    found.ok_or_else(|| LogError::Unavailable("the claim is not in the log".into()))
                }
                Ok(Err(AppendError::Failed(error))) => Err(error),
                Ok(Err(error @ AppendError::Fenced(_))) => Err(LogError::Unavailable(error.to_string())),
                Err(oneshot::Canceled) => Err(LogError::Closed),
            }
        };
        claimed.boxed()
    }

    fn append(&self, epoch: Epoch, record: Bytes, done: AppendDone) {
        self.logs.submit(self.shard, Some(epoch), record, done);
    }

    fn read(&self, from: Position, bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        let read = self.with(|partition| {
            if let Some(error) = partition.read_faults.pop_front() {
                return Err(error);
            }
            if from.get() < partition.first {
                let first = Position(partition.first);
                return Err(LogError::Truncated { shard: self.shard, asked: from, first });
            }
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for position in from.get()..partition.next() {
                let entry = partition.entry(self.shard, position).expect("between first and next");
                let entry = entry?;
                bytes += entry.events.len();
                if bytes > bytes_max && !entries.is_empty() {
                    break;
                }
                entries.push(entry);
            }
            Ok(entries)
        });
        async { read }.boxed()
    }

    fn wait_for(&self, from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        let mut grown = self.with(|partition| partition.grown.subscribe());
        let waited = async move {
            let grown = grown.wait_for(|next| *next > from.get()).await;
            grown.map(|_| ()).map_err(|_| LogError::Closed)
        };
        waited.boxed()
    }

    fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.with(|partition| partition.cut(position.get()));
        async { Ok(()) }.boxed()
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        let end = self.with(|partition| Position(partition.next()));
        async move { Ok(end) }.boxed()
    }

    fn fencing(&self) -> Fencing {
        Fencing::ByPosition
    }
}

#[cfg(test)]
mod tests;
