//! From checkpoint and log to a shard that serves: the first start and every recovery are this one path.

use crate::codec;
use crate::fold::{Fold, Verdict};
use crate::log::{LogError, ShardLog};
use crate::machine::{Impossible, Machine};
use crate::record::{Claim, EventsHeader, LogEntry};
use crate::shard::Ownership;
use crate::store::{Checkpoint, Store, StoreError};
use crate::units::{Epoch, Position, Seq, ShardId, Time};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Impossible(#[from] Impossible),
    /// Someone else claimed the shard while this one was replaying.
    #[error("another owner claimed the shard at {0}")]
    Fenced(Epoch),
}

/// How much is read from the log at once.
pub const READ_BYTES: usize = 1 << 20;

/// Claims the shard and brings `machine`, which is fresh, to where the log is at the claim.
pub async fn recover<M: Machine>(
    shard: ShardId,
    machine: &mut M,
    log: &dyn ShardLog,
    store: &dyn Store,
    claim: Claim,
) -> Result<Ownership, RecoverError> {
    let before = store.checkpoint(shard).await?.map_or(Position::START, |at| at.position);
    let epoch = log.claim(claim).await?;
    if before > Position(epoch.get()) {
        // A claim lies behind all that was durable when it was made, and so behind every checkpoint before it. Told at
        // once: with each further claim the log would come nearer to a checkpoint that is not of its records.
        let what = format!("the store has {shard} up to {before}, its log ends at {epoch}: the log lost records");
        return Err(Impossible(what).into());
    }
    // Read after the claim: what the owner before had flushed is then surely in it, or in the log.
    let checkpoint = store.checkpoint(shard).await?;
    if let Some(newer) = checkpoint.as_ref().and_then(|at| at.fold.epoch).filter(|newer| *newer > epoch) {
        // Its rows may be of events that this owner will never read.
        return Err(RecoverError::Fenced(newer));
    }
    machine.restore(checkpoint.as_ref())?;
    let mut replay = Replay::new(shard, epoch, checkpoint.as_ref());
    while !replay.is_done {
        let entries = log.read(replay.position, READ_BYTES).await?;
        if entries.is_empty() {
            let what = format!("the log of {shard} ends at {} and not at its own claim {epoch}", replay.position);
            return Err(Impossible(what).into());
        }
        for entry in &entries {
            replay.take(machine, entry)?;
        }
    }
    replay.begin_applying(machine);
    Ok(Ownership { epoch, next: replay.fold.next, time: replay.time })
}

struct Replay {
    shard: ShardId,
    epoch: Epoch,
    position: Position,
    fold: Fold,
    time: Time,
    /// Until here events are in the checkpoint, and are only read again for what they hand on.
    checkpoint: Position,
    next_at_checkpoint: Seq,
    is_applying: bool,
    is_done: bool,
}

impl Replay {
    fn new(shard: ShardId, epoch: Epoch, checkpoint: Option<&Checkpoint>) -> Replay {
        let (position, fold, time, end, next) = match checkpoint {
            Some(at) => (at.relay_position, at.relay_fold, at.time, at.position, at.fold.next),
            None => (Position::START, Fold::default(), Time::ZERO, Position::START, Seq::FIRST),
        };
        Replay {
            shard,
            epoch,
            position,
            fold,
            time,
            checkpoint: end,
            next_at_checkpoint: next,
            is_applying: false,
            // The flusher may have passed the claim already: nothing counts behind it that this owner did not write.
            is_done: position > Position(epoch.get()),
        }
    }

    fn take<M: Machine>(&mut self, machine: &mut M, entry: &LogEntry) -> Result<(), RecoverError> {
        if self.is_done {
            return Ok(());
        }
        if entry.position >= self.checkpoint {
            self.begin_applying(machine);
            if self.fold.next < self.next_at_checkpoint {
                return Err(self.lost_records().into());
            }
        }
        self.position = entry.position.after();
        match self.fold.offer(entry) {
            Verdict::Claimed(epoch) if epoch == self.epoch => {
                self.is_done = true;
                if self.fold.next < self.next_at_checkpoint {
                    return Err(self.lost_records().into());
                }
            }
            Verdict::Claimed(epoch) if epoch > self.epoch => return Err(RecoverError::Fenced(epoch)),
            Verdict::Claimed(_) | Verdict::Skipped(_) => {}
            Verdict::Believed(header) => self.events(machine, header, &entry.events)?,
        }
        Ok(())
    }

    fn events<M: Machine>(&mut self, machine: &mut M, header: EventsHeader, events: &[u8]) -> Result<(), Impossible> {
        let mut rest = events;
        for place in 0..u64::from(header.count) {
            let seq = header.first.plus(place);
            let (event, used) = codec::decode_front::<M::Event>(rest)
                .map_err(|error| Impossible(format!("event {seq} of {}: {error}", self.shard)))?;
            if self.is_applying {
                machine.apply(seq, header.time, &event, &rest[..used]);
            } else {
                machine.reread(seq, header.time, &event);
            }
            rest = &rest[used..];
        }
        machine.cut();
        if self.is_applying {
            // A record without events has a time too: somebody was answered at it.
            self.time = self.time.max(header.time);
            machine.durable(Seq(header.next().get() - 1), self.time);
        }
        Ok(())
    }

    fn begin_applying<M: Machine>(&mut self, machine: &mut M) {
        if !self.is_applying {
            self.is_applying = true;
            machine.reread_done();
        }
    }

    fn lost_records(&self) -> Impossible {
        Impossible(format!(
            "the store has {} up to event {}, its log only has events before {}: the log lost records",
            self.shard,
            self.next_at_checkpoint.get() - 1,
            self.fold.next
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;
    use crate::control::ControlMachine;
    use crate::log::{AppendDone, Fencing};
    use crate::store::*;
    use crate::units::{AssetId, Epoch, RoomId, UserId};

    /// A log that ends with the claim at 5, and a store whose checkpoint was written in that very moment.
    struct QuickFlusher {
        checkpoint: Checkpoint,
        /// Whether there is a checkpoint yet.
        is_flushed: AtomicBool,
    }

    impl ShardLog for QuickFlusher {
        fn claim(&self, _claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
            self.is_flushed.store(true, Ordering::Relaxed);
            async { Ok(Epoch(5)) }.boxed()
        }

        fn append(&self, _epoch: Epoch, _record: Bytes, _done: AppendDone) {
            unreachable!("recovery appends nothing but its claim")
        }

        fn read(&self, from: Position, _bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
            assert_eq!(from, Position(6), "reading goes on at the checkpoint");
            async { Ok(Vec::new()) }.boxed()
        }

        fn wait_for(&self, _from: Position) -> BoxFuture<'_, Result<(), LogError>> {
            unreachable!("recovery waits for nothing")
        }

        fn truncate_before(&self, _position: Position) -> BoxFuture<'_, Result<(), LogError>> {
            unreachable!("recovery cuts nothing")
        }

        fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
            async { Ok(Position(6)) }.boxed()
        }

        fn fencing(&self) -> Fencing {
            Fencing::ByLog
        }
    }

    impl Store for QuickFlusher {
        fn forgets_for(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }

        fn checkpoint(&self, _shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
            let checkpoint = self.is_flushed.load(Ordering::Relaxed).then(|| self.checkpoint.clone());
            async { Ok(checkpoint) }.boxed()
        }

        fn load_wallets(
            &self,
            _shard: ShardId,
            _users: Vec<UserId>,
        ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
            unreachable!("recovery reads no rows")
        }

        fn load_receipts(
            &self,
            _shard: ShardId,
            _keys: Vec<(UserId, crate::event_id::EventId)>,
        ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
            unreachable!("recovery reads no rows")
        }

        fn write(&self, _batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
            unreachable!("recovery writes nothing")
        }

        fn page_sent(&self, _query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
            unreachable!("recovery reads no rows")
        }

        fn page_received(&self, _query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
            unreachable!("recovery reads no rows")
        }

        fn load_room(&self, _shard: ShardId, _room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
            unreachable!("recovery reads no rows")
        }

        fn page_feed(&self, _query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
            unreachable!("recovery reads no rows")
        }

        fn scan_balances(
            &self,
            _shard: ShardId,
            _after: Option<(UserId, AssetId)>,
            _limit: usize,
        ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
            unreachable!("recovery reads no rows")
        }
    }

    fn recover_with_checkpoint_of(epoch: u64, is_flushed: bool) -> Result<Ownership, RecoverError> {
        let fold = Fold { epoch: Some(Epoch(epoch)), next: Seq(3) };
        let position = Position(epoch).after();
        let checkpoint = Checkpoint {
            shard: ShardId::CONTROL,
            position,
            relay_position: position,
            relay_fold: fold,
            fold,
            time: Time(7),
            state: codec::encode(&None::<crate::control::CatalogSet>),
        };
        let both = QuickFlusher { checkpoint, is_flushed: AtomicBool::new(is_flushed) };
        let claim = Claim { node: crate::units::NodeId(1), nonce: [0; 16] };
        let mut machine = ControlMachine::default();
        recover(ShardId::CONTROL, &mut machine, &both, &both, claim).now_or_never().expect("nothing here waits")
    }

    #[test]
    fn a_flusher_that_has_read_our_own_claim_already_is_no_lost_record() {
        let owner = recover_with_checkpoint_of(5, false).unwrap();
        assert_eq!((owner.epoch, owner.next, owner.time), (Epoch(5), Seq(3), Time(7)));
    }

    #[test]
    fn a_later_claim_met_before_the_own_one_means_someone_else_owns_the_shard() {
        let claim = |position| {
            let claim = crate::record::encode_claim(Claim { node: crate::units::NodeId(2), nonce: [1; 16] });
            LogEntry::decode(Position(position), &claim).unwrap()
        };
        let (mut replay, mut machine) = (Replay::new(ShardId::CONTROL, Epoch(5), None), ControlMachine::default());
        replay.take(&mut machine, &claim(4)).unwrap();
        assert_eq!(replay.take(&mut machine, &claim(6)), Err(RecoverError::Fenced(Epoch(6))));
    }

    #[test]
    fn a_checkpoint_under_a_later_claim_means_someone_else_owns_the_shard() {
        assert!(matches!(recover_with_checkpoint_of(9, false), Err(RecoverError::Fenced(Epoch(9)))));
    }

    #[test]
    fn a_log_that_ends_before_a_checkpoint_of_earlier_lost_records() {
        for epoch in [5, 9] {
            assert!(matches!(recover_with_checkpoint_of(epoch, true), Err(RecoverError::Impossible(_))), "of {epoch}");
        }
    }
}
