//! What a shard needs of its log. Implementations live in `storage` and all pass one conformance suite.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::record::{Claim, LogEntry};
use crate::units::{Epoch, Position, ShardId};

/// All the logs of one ledger.
pub trait Logs: Send + Sync + 'static {
    /// The log of one shard; asked for the same shard twice it is the same log.
    fn shard(&self, shard: ShardId) -> std::sync::Arc<dyn ShardLog>;

    /// How full the log is, for the door.
    fn room(&self) -> LogRoom;

    /// [`LogRoom::is_tight`] alone, which is asked for every command.
    fn is_tight(&self) -> bool;

    /// Whether there is no place even for what shards send each other, which is never more than what callers were let in
    /// for before.
    fn is_full(&self) -> bool;
}

/// How much a log holds and may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRoom {
    pub bytes_used: u64,
    pub bytes_max: u64,
    /// Too little is left for everything that may be under way: nothing new is admitted.
    pub is_tight: bool,
}

/// The log of one shard.
///
/// Readers fold what `read` returns by [`crate::fold::Fold`]; a log may hold records that do not count.
pub trait ShardLog: Send + Sync + 'static {
    /// Takes the shard over: appends the claim and returns its position, durable, as the new epoch.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>>;

    /// Queues one record written under `epoch`. `done` is called exactly once, from any thread, and for the records of
    /// one epoch in the order in which they were appended.
    fn append(&self, epoch: Epoch, record: Bytes, done: AppendDone);

    /// Durable records from `from` on, in order, at least one if there is one, and about `bytes_max` bytes at most.
    /// Empty at the end. [`LogError::Truncated`] when `from` lies below the first position kept.
    fn read(&self, from: Position, bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>>;

    /// Resolves as soon as a durable record lies at or after `from`.
    fn wait_for(&self, from: Position) -> BoxFuture<'_, Result<(), LogError>>;

    /// Gives up what lies before `position`. Only a permission: a log may keep more.
    fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>>;

    /// The first position after everything that is durable now.
    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>>;

    fn fencing(&self) -> Fencing;
}

/// Whose word an owner may take that its record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// The log itself refuses older epochs: an accepted append counts.
    ByLog,
    /// Anyone can append. An owner believes its records while the positions it is told are contiguous, and reads back
    /// otherwise; its reads and refusals wait for a record of its own that came after them.
    ByPosition,
}

pub type AppendDone = Box<dyn FnOnce(Result<Position, AppendError>) + Send>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It may or may not be in the log. Only reading can tell.
    #[error("the log cannot say whether the record was written")]
    Unknown,
    /// It is not in the log and never will be.
    #[error("the shard was claimed by another owner at {0}")]
    Fenced(Epoch),
    #[error(transparent)]
    Failed(#[from] LogError),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("the log of {shard} starts at {first}, what was asked for at {asked} is gone")]
    Truncated { shard: ShardId, asked: Position, first: Position },
    #[error("the log of {shard} is damaged at {place}: {why}")]
    Damaged { shard: ShardId, place: String, why: String },
    #[error("the log is full: {0}")]
    Full(String),
    #[error("the log cannot be reached: {0}")]
    Unavailable(String),
    #[error("the log was closed")]
    Closed,
}
