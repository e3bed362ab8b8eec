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
    let epoch = log.claim(claim).await?;
    // Read after the claim: what the owner before had flushed is then surely in it, or in the log.
    let checkpoint = store.checkpoint(shard).await?;
    machine.restore(checkpoint.as_ref())?;
    let mut replay = Replay::new(shard, epoch, checkpoint.as_ref());
    // The flusher follows the log beside us. If it has moved the checkpoint right behind our claim, nothing is left to
    // read: nobody can have written under this epoch yet. Any other place beyond the claim is still an error below.
    replay.is_done = replay.fold.epoch == Some(epoch) && replay.position == Position(epoch.get()).after();
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
            is_done: false,
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
                machine.reread(seq, &event);
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
