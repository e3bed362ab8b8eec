//! Recovery beside a flusher and other owners that do not wait for it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use futures::future::BoxFuture;
use largesse_engine::codec;
use largesse_engine::fold::Fold;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::{AppendDone, Fencing, LogError, Logs, ShardLog};
use largesse_engine::record::{Claim, LogEntry};
use largesse_engine::shard::Ownership;
use largesse_engine::shard::recover::{RecoverError, recover};
use largesse_engine::store::{Checkpoint, FlushBatch, Store};
use largesse_engine::units::{Epoch, NodeId, Position, Seq, ShardId, Time};
use largesse_engine::wallet::books::Books;
use largesse_engine::wallet::wallets::{WalletLimits, Wallets};
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::log::memory::MemoryLogs;
use largesse_storage::store::memory::MemoryStore;

const SHARD: ShardId = ShardId::wallet(0);

fn claim(nonce: u8) -> Claim {
    Claim { node: NodeId(1), nonce: [nonce; 16] }
}

/// A log whose claim is followed, before the claimer hears of it, by a checkpoint of others.
struct Overtaken {
    log: Arc<dyn ShardLog>,
    store: Arc<MemoryStore>,
    batch: FlushBatch,
}

impl ShardLog for Overtaken {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        Box::pin(async move {
            let epoch = self.log.claim(claim).await?;
            self.store.write(self.batch.clone()).await.unwrap();
            Ok(epoch)
        })
    }

    fn append(&self, epoch: Epoch, record: Bytes, done: AppendDone) {
        self.log.append(epoch, record, done);
    }

    fn read(&self, from: Position, bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        self.log.read(from, bytes_max)
    }

    fn wait_for(&self, from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.wait_for(from)
    }

    fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.truncate_before(position)
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        self.log.end()
    }

    fn fencing(&self) -> Fencing {
        self.log.fencing()
    }
}

/// Recovers behind one earlier claim, with a checkpoint that reaches `position`, folded up to `epoch`, right after the claim.
fn recover_with(position: u64, epoch: u64) -> Result<Ownership, RecoverError> {
    let shape = LedgerShape::new(1);
    let limits = WalletLimits {
        window: WindowLimits { bytes_max: 1 << 20, age_millis: 1_000 },
        wallets_max: 10,
        history_millis: 1 << 40,
        hash_seed: 7,
    };
    let (logs, store) = (MemoryLogs::automatic(), Arc::new(MemoryStore::default()));
    let log = logs.shard(SHARD);
    let fold = Fold { epoch: Some(Epoch(epoch)), next: Seq::FIRST };
    let position = Position(position);
    let state = codec::encode(&Books::new(shape));
    let checkpoint =
        Checkpoint { shard: SHARD, position, relay_position: position, relay_fold: fold, fold, time: Time(5), state };
    block_on(async {
        log.claim(claim(1)).await.unwrap();
        let batch = FlushBatch::new(checkpoint);
        let log = Overtaken { log, store: Arc::clone(&store), batch };
        recover(SHARD, &mut Wallets::new(SHARD, shape, limits), &log, &*store, claim(2)).await
    })
}

#[test]
fn a_flusher_may_pass_the_claim_before_its_owner_reads_the_checkpoint() {
    let owned = recover_with(2, 1).unwrap();
    assert_eq!(owned, Ownership { epoch: Epoch(1), next: Seq::FIRST, time: Time(5) });
}

#[test]
fn a_checkpoint_of_a_later_owner_fences_and_is_no_reason_to_halt() {
    assert_eq!(recover_with(4, 3), Err(RecoverError::Fenced(Epoch(3))));
}
