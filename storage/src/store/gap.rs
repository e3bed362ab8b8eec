//! Whether a store and the logs it is a view of still fit together, asked before anybody serves.

use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::{LogError, Logs};
use largesse_engine::store::Store;
use largesse_engine::units::{Position, ShardId};

/// Why nobody can serve from these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GapError {
    #[error(
        "the store has nothing of {shard}, and its log begins only at {first}: what came before is in neither; restore \
         the store from a backup that is not older than this, or correct the configuration if it names another store"
    )]
    StoreLost { shard: ShardId, first: Position },
    #[error(
        "the store has {shard} up to {at}, and its log begins only at {first}: what lies between is in neither; restore \
         the store from a backup that is not older than this, or correct the configuration if it names another store"
    )]
    StoreBehind { shard: ShardId, at: Position, first: Position },
}

/// Shards that are looked at together.
const AT_ONCE: usize = 16;

/// A shard is recovered from its checkpoint on, or from the beginning of its log; that must be there. Where log or store
/// cannot be asked now, nothing is said: whoever recovers the shard asks again, and waits.
pub async fn check(logs: &dyn Logs, store: &dyn Store, shape: LedgerShape) -> Result<(), GapError> {
    let shards = shape.wallet_shards().chain(shape.all_rooms()).chain([ShardId::CONTROL]);
    let checks: Vec<_> = shards.map(|shard| check_shard(logs, store, shard)).collect();
    stream::iter(checks).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

async fn check_shard(logs: &dyn Logs, store: &dyn Store, shard: ShardId) -> Result<(), GapError> {
    let first = match logs.shard(shard).read(Position::START, 1).await {
        Err(LogError::Truncated { first, .. }) => first,
        Ok(_) | Err(_) => return Ok(()),
    };
    // Asked after the log, which is cut only when a checkpoint beyond the cut was written.
    let Ok(checkpoint) = store.checkpoint(shard).await else { return Ok(()) };
    match checkpoint.map(|at| at.relay_position) {
        None => Err(GapError::StoreLost { shard, first }),
        Some(at) if at < first => Err(GapError::StoreBehind { shard, at, first }),
        Some(_) => Ok(()),
    }
}
