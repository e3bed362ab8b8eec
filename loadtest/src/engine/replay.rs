//! What the store takes alone: flushes of a run, written again into an empty store while nothing else goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::future::try_join_all;
use largesse_engine::store::{FlushBatch, Store};
use serde::Serialize;

use super::BenchError;

/// Rows that are kept for it at the most: some seconds' worth.
pub const ROWS_MAX: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Replay {
    pub rows: u64,
    pub seconds: f64,
    pub rows_per_second: f64,
}

/// Rows of a flush, whichever tables they are in; its checkpoint is not counted.
pub fn rows(batch: &FlushBatch) -> u64 {
    (batch.balances.len() + batch.sent.len() + batch.received.len()) as u64
}

/// Each shard's flushes one after the other, shards side by side, as flushers do.
pub async fn replay(store: Arc<dyn Store>, batches: Vec<FlushBatch>) -> Result<Replay, BenchError> {
    let count = batches.iter().map(rows).sum();
    let mut by_shard: BTreeMap<_, Vec<FlushBatch>> = BTreeMap::new();
    for batch in batches {
        by_shard.entry(batch.shard).or_default().push(batch);
    }
    let began = Instant::now();
    let shards = by_shard.into_values().map(|batches| {
        let store = Arc::clone(&store);
        async move {
            for batch in batches {
                store.write(batch).await?;
            }
            Ok(())
        }
    });
    try_join_all(shards)
        .await
        .map_err(|error: largesse_engine::store::StoreError| BenchError::Start(error.to_string()))?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Replay { rows: count, seconds, rows_per_second: count as f64 / seconds })
}
