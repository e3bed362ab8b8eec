//! What has to be read from the store again, shard by shard, page by page.

use std::collections::BTreeSet;

use largesse_engine::store::{BalanceRow, Checkpoint, Store};
use largesse_engine::units::{AssetId, Seq, ShardId, UserId};

use super::MirrorError;
use super::entry::AsOf;

/// Rows that are read and written at once.
const PAGE_ROWS: usize = 1_000;

/// Shards that are not as the store has them, and how far the one at work is.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    shards: BTreeSet<ShardId>,
    at_work: Option<AtWork>,
}

#[derive(Debug)]
struct AtWork {
    shard: ShardId,
    checkpoint: Checkpoint,
    after: Option<(UserId, AssetId)>,
}

/// One step of a refresh.
#[derive(Debug)]
pub(super) enum Step {
    Rows {
        shard: ShardId,
        as_of: AsOf,
        rows: Vec<BalanceRow>,
    },
    /// The shard is as its checkpoint says.
    Done {
        shard: ShardId,
        checkpoint: Checkpoint,
    },
}

/// How far a checkpoint's rows are.
pub(super) fn as_of(checkpoint: &Checkpoint) -> AsOf {
    AsOf { at: checkpoint.time, seq: Seq(checkpoint.fold.next.get() - 1) }
}

impl Refresh {
    pub fn want(&mut self, shard: ShardId) {
        self.shards.insert(shard);
    }

    /// Whatever was done so far is not worth anything any more.
    pub fn want_all(&mut self, shards: impl Iterator<Item = ShardId>) {
        self.at_work = None;
        self.shards.extend(shards);
    }

    /// Whether this shard is not as it should be yet.
    pub fn wants(&self, shard: ShardId) -> bool {
        self.shards.contains(&shard) || self.at_work.as_ref().is_some_and(|work| work.shard == shard)
    }

    pub fn is_idle(&self) -> bool {
        self.at_work.is_none() && self.shards.is_empty()
    }

    /// Shards that are left.
    pub fn left(&self) -> usize {
        self.shards.len() + usize::from(self.at_work.is_some())
    }

    /// Reads the next page. Rows can be newer than the checkpoint that was read before them: their seq says so, and the
    /// flush that wrote them is on its way here.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Option<Step>, MirrorError> {
        while self.at_work.is_none() {
            let Some(&shard) = self.shards.first() else { return Ok(None) };
            let checkpoint = store.checkpoint(shard).await?;
            self.shards.remove(&shard);
            self.at_work = checkpoint.map(|checkpoint| AtWork { shard, checkpoint, after: None });
        }
        let Some(work) = &self.at_work else { return Ok(None) };
        let (shard, after) = (work.shard, work.after);
        let rows = match shard {
            ShardId::CONTROL => Vec::new(),
            _wallets => store.scan_balances(shard, after, PAGE_ROWS).await?,
        };
        if rows.is_empty() {
            let done = self.at_work.take().map(|work| Step::Done { shard, checkpoint: work.checkpoint });
            return Ok(done);
        }
        let step = Step::Rows { shard, as_of: as_of(&work.checkpoint), rows };
        Ok(Some(step))
    }

    /// The rows of the last step are written.
    pub fn written(&mut self, last: Option<&BalanceRow>) {
        if let (Some(work), Some(row)) = (&mut self.at_work, last) {
            work.after = Some((row.user, row.asset));
        }
    }

    /// The shard that was done could not be written down as such.
    pub fn undone(&mut self, shard: ShardId) {
        self.shards.insert(shard);
    }
}
