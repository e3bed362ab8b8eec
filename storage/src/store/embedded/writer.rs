//! The one thread that writes: batches that queued up while the last sync ran share the next one.
//!
//! Rows go through the library's journal and memtables in one atomic batch. Its sorted ingestion, which writes a table
//! per call, was tried for the `sent` rows and lost: on two cores, with batches of 20,000 of them, it took 3.9 CPU
//! seconds per million rows against 2.4 and wrote 255,000 rows a second against 350,000, because its small tables are
//! compacted over and over; and it could not be atomic with the checkpoint.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::{Keyspace, OwnedWriteBatch, PersistMode};
use largesse_engine::store::{BalanceRow, Checkpoint, FeedRow, FlushBatch, ReceivedRow, RoomRow, SentRow, StoreError};
use largesse_engine::units::{Position, Seq, ShardId};
use tokio::sync::{mpsc, oneshot};

use super::error::read_failed;
use super::keys::{self, Place};
use super::rooms::Ended;
use super::tables::Tables;
use super::{Shared, values};

/// Most batches behind one sync.
const GROUP_MAX: usize = 16;
/// Syncs follow each other no closer than this, unless a group is full: the log shares the disk, and its syncs are those
/// that somebody waits for.
const SYNC_PAUSE: Duration = Duration::from_millis(20);
/// Most rows of ended groups that leave with the batch that ends them. A board can have a million.
const ENDED_ROWS_MAX: usize = 4_096;

pub enum Job {
    Write(Box<FlushBatch>, oneshot::Sender<Result<(), StoreError>>),
    /// Asked in line with the writes, so that only a checkpoint that is on disk is ever told.
    Checkpoint(ShardId, oneshot::Sender<Result<Option<Checkpoint>, StoreError>>),
}

/// How far a stored checkpoint is: its rows, and what was handed on.
#[derive(Clone, Copy, Debug)]
struct Progress {
    rows: (Seq, Position),
    relay: Position,
}

fn progress(checkpoint: &Checkpoint) -> Progress {
    Progress { rows: checkpoint.progress(), relay: checkpoint.relay_position }
}

pub struct Writer {
    shared: Arc<Shared>,
    /// How far each shard's stored checkpoint is. Nobody else writes, so it is asked for only once.
    stored: HashMap<ShardId, Progress>,
    health: Health,
    scratch: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Health {
    Good,
    /// The library takes no more writes after a failed one. It does again when it was opened afresh.
    Reopen,
    /// A sync failed, so what the kernel still shows may not be on the disk, now or ever.
    Broken(String),
}

impl Writer {
    pub fn new(shared: Arc<Shared>) -> Writer {
        Writer { shared, stored: HashMap::new(), health: Health::Good, scratch: Vec::new() }
    }

    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        let mut served = None::<Instant>;
        while jobs.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            let pause = served.map_or(Duration::ZERO, |served| SYNC_PAUSE.saturating_sub(served.elapsed()));
            if group.len() < GROUP_MAX && !pause.is_zero() {
                gather(&mut group, &mut jobs, pause);
            }
            self.serve(&mut group);
            served = Some(Instant::now());
        }
    }

    fn serve(&mut self, group: &mut Vec<Job>) {
        let started = Instant::now();
        if let Err(error) = self.make_ready() {
            group.drain(..).for_each(|job| job.refuse(&error));
            return;
        }
        let (mut written, mut asked) = (Vec::with_capacity(group.len()), Vec::new());
        let mut outcome = Ok(());
        for job in group.drain(..) {
            match job {
                Job::Write(batch, done) => {
                    if outcome.is_ok() {
                        outcome = self.write(*batch);
                    }
                    written.push(done);
                }
                Job::Checkpoint(shard, done) => asked.push((shard, done)),
            }
        }
        if outcome.is_ok() && !written.is_empty() {
            outcome = self.sync();
            metrics::histogram!("largesse_store_write_seconds").record(started.elapsed().as_secs_f64());
        }
        // Whoever asked may have gone; then nobody counts on the answer.
        for done in written {
            let _ = done.send(outcome.clone());
        }
        for (shard, done) in asked {
            let _ = done.send(outcome.clone().and_then(|()| self.read_checkpoint(shard)));
        }
    }

    /// Nothing is handed to the library that it could choke on: after a failed write it is no use until reopened.
    fn make_ready(&mut self) -> Result<(), StoreError> {
        if let Health::Broken(why) = &self.health {
            return Err(StoreError::Unavailable(why.clone()));
        }
        self.shared.check_free_space()?;
        if matches!(self.health, Health::Reopen) || self.shared.is_closed() {
            self.stored.clear();
            self.shared.reopen()?;
            self.health = Health::Good;
        }
        match self.shared.tables().get()?.lagging() {
            Some(table) => Err(StoreError::Unavailable(format!("table {table} waits for the disk; try again later"))),
            None => Ok(()),
        }
    }

    fn write(&mut self, batch: FlushBatch) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let tables = shared.tables();
        let tables = tables.get()?;
        let batch = in_order(batch);
        let shard = batch.shard;
        let stored = self.stored_progress(tables, shard)?;
        let is_new = stored.is_none_or(|stored| batch.checkpoint.progress() > stored.rows);
        let ended = self.remove_ended(tables, &batch)?;
        let rows = OwnedWriteBatch::with_capacity(tables.db.clone(), row_count(&batch) + ended.len());
        let covered = stored.map_or(Seq::FIRST, |stored| stored.rows.0);
        let mut out = Out { rows, only_forward: !is_new, covered };
        ended.iter().for_each(|key| out.rows.remove(&tables.room_state, &key[..]));
        let mut value = std::mem::take(&mut self.scratch);
        batch.balances.iter().try_for_each(|row| out.balance(tables, shard, row, &mut value))?;
        batch.sent.iter().for_each(|row| out.sent(tables, shard, row, &mut value));
        batch.received.iter().try_for_each(|row| out.received(tables, row, &mut value))?;
        batch.feed.iter().try_for_each(|row| out.feed(tables, shard, row, &mut value))?;
        batch.rooms.iter().try_for_each(|row| out.room_row(tables, shard, row, &mut value))?;
        let mut checkpoint = batch.checkpoint;
        let new = progress(&checkpoint);
        if stored.is_some_and(|stored| new.rows < stored.rows || new.relay < stored.relay)
            && let Some(stored) = read_checkpoint(tables, shard)?
        {
            checkpoint = checkpoint.over(stored);
        }
        values::checkpoint(&checkpoint, &mut value);
        out.put(&tables.checkpoint, &keys::shard(shard), &value);
        self.stored.insert(shard, progress(&checkpoint));
        self.scratch = value;
        metrics::counter!("largesse_store_rows_written_total").increment(out.rows.len() as u64);
        self.commit(out.rows)
    }

    /// Removes what ended, but for some rows that are to go together with the batch: their keys.
    ///
    /// Should the process die in between, the rows that are gone are those of a group whose end is in the log already, and
    /// nobody shows what the log says has ended.
    fn remove_ended(&mut self, tables: &Tables, batch: &FlushBatch) -> Result<Vec<Vec<u8>>, StoreError> {
        if batch.ended.is_empty() {
            return Ok(Vec::new());
        }
        let shard = batch.shard;
        let again: HashSet<Vec<u8>> =
            batch.rooms.iter().map(|row| keys::room_row(shard, row.room, row.group, &row.key)).collect();
        let mut ended: Vec<Vec<u8>> = Vec::new();
        Ended::of(batch).for_each_stored(tables, shard, |key| {
            if again.contains(key) {
                return Ok(());
            }
            if ended.len() == ENDED_ROWS_MAX {
                let mut rows = OwnedWriteBatch::with_capacity(tables.db.clone(), ended.len());
                ended.drain(..).for_each(|key| rows.remove(&tables.room_state, key));
                self.commit(rows)?;
            }
            ended.push(key.to_vec());
            Ok(())
        })?;
        Ok(ended)
    }

    fn commit(&mut self, rows: OwnedWriteBatch) -> Result<(), StoreError> {
        let rows = rows.durability(Some(PersistMode::Buffer));
        rows.commit().map_err(|error| {
            self.health = Health::Reopen;
            self.shared.write_failed(&error)
        })
    }

    /// One for all batches of the group, and the moment from which the log may be cut.
    fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.shared.tables().get()?.db.persist(PersistMode::SyncData);
        synced.map_err(|error| {
            let failed = self.shared.write_failed(&error);
            // Otherwise something failed in the library's own threads, which sync nothing of ours.
            let is_ours = !matches!(error, fjall::Error::Poisoned);
            self.health = if is_ours {
                Health::Broken(format!(
                    "syncing the store in {:?} failed ({error}); check the disk, then restart this process",
                    self.shared.folder
                ))
            } else {
                Health::Reopen
            };
            failed
        })
    }

    fn stored_progress(&mut self, tables: &Tables, shard: ShardId) -> Result<Option<Progress>, StoreError> {
        if let Some(known) = self.stored.get(&shard) {
            return Ok(Some(*known));
        }
        let stored = read_checkpoint(tables, shard)?.as_ref().map(progress);
        self.stored.extend(stored.map(|stored| (shard, stored)));
        Ok(stored)
    }

    fn read_checkpoint(&self, shard: ShardId) -> Result<Option<Checkpoint>, StoreError> {
        read_checkpoint(self.shared.tables().get()?, shard)
    }
}

/// Leaves the disk alone for a while and takes what came meanwhile.
fn gather(group: &mut Vec<Job>, jobs: &mut mpsc::Receiver<Job>, pause: Duration) {
    #[expect(clippy::disallowed_methods, reason = "it is the time that is waited for")]
    std::thread::sleep(pause);
    while group.len() < GROUP_MAX
        && let Ok(job) = jobs.try_recv()
    {
        group.push(job);
    }
}

impl Job {
    fn refuse(self, error: &StoreError) {
        match self {
            Job::Write(_, done) => drop(done.send(Err(error.clone()))),
            Job::Checkpoint(_, done) => drop(done.send(Err(error.clone()))),
        }
    }
}

fn read_checkpoint(tables: &Tables, shard: ShardId) -> Result<Option<Checkpoint>, StoreError> {
    let value = tables.checkpoint.get(keys::shard(shard)).map_err(read_failed)?;
    value.map(|value| values::read_checkpoint(&value)).transpose()
}

fn row_count(batch: &FlushBatch) -> usize {
    batch.balances.len() + batch.sent.len() + batch.received.len() + batch.feed.len() + batch.rooms.len() + 1
}

/// Sorted by key, with one row per key: the library orders two writes of one key in one batch by nothing at all.
/// The flusher hands rows over like this already, and sorting what is sorted costs next to nothing.
fn in_order(mut batch: FlushBatch) -> FlushBatch {
    batch.balances.sort_by_key(|row| (row.user, row.asset, Reverse(row.seq)));
    batch.balances.dedup_by_key(|row| (row.user, row.asset));
    batch.sent.sort_by_key(|row| (row.user, row.id.stored_as(row.stored.at), row.id));
    batch.sent.dedup_by_key(|row| (row.user, row.id, row.id.stored_as(row.stored.at)));
    batch.received.retain(|row| !row.entries.is_empty());
    batch.received.sort_by_key(|row| (row.shard, row.user, row.slot, row.source, row.first, Reverse(row.last)));
    batch.received.dedup_by_key(|row| (row.shard, row.user, row.slot, row.source, row.first));
    batch.feed.sort_by_key(|row| (row.room, row.first, Reverse(row.last)));
    batch.feed.dedup_by_key(|row| (row.room, row.first));
    let ended = Ended::of(&batch);
    batch.rooms.retain(|row| !ended.has(row));
    batch.rooms.sort_by(|one, other| {
        let key = |row: &RoomRow| (row.room, row.group);
        key(one).cmp(&key(other)).then_with(|| one.key.cmp(&other.key)).then(other.seq.cmp(&one.seq))
    });
    batch.rooms.dedup_by(|one, other| (one.room, one.group, &one.key) == (other.room, other.group, &other.key));
    batch
}

/// Rows on their way into the library.
///
/// The checkpoint of a batch decides for all of its rows. One beyond the stored checkpoint brings of every account a row
/// that is at least as new as the stored one, since each stored row came with a checkpoint that was not beyond the
/// stored one either. Only a batch that is repeated or late is compared row by row; equal rows are written again, so
/// that a repeat after a failure ends in a sync of its own.
struct Out {
    rows: OwnedWriteBatch,
    only_forward: bool,
    /// Events before this one left their rows when the stored checkpoint was written.
    covered: Seq,
}

impl Out {
    fn put(&mut self, table: &Keyspace, key: &[u8], value: &[u8]) {
        self.rows.insert(table, key, value);
    }

    fn balance(
        &mut self,
        tables: &Tables,
        shard: ShardId,
        row: &BalanceRow,
        value: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let key = keys::balance(shard, row.user, row.asset);
        if self.only_forward
            && let Some(stored) = tables.balance.get(key).map_err(read_failed)?
            && values::read_balance(&stored)?.1 > row.seq
        {
            return Ok(());
        }
        values::balance(row.amount, row.seq, value);
        self.put(&tables.balance, &key, value);
        Ok(())
    }

    /// An event never changes, so its row can be written any number of times.
    fn sent(&mut self, tables: &Tables, shard: ShardId, row: &SentRow, value: &mut Vec<u8>) {
        let tail = keys::sent_tail(row.id, row.stored.at);
        values::sent(&row.stored, value);
        self.put(&tables.sent, &keys::with_tail(shard, row.user, &tail), value);
        if row.id.stored_as(row.stored.at) != row.id {
            self.put(&tables.receipt_pointer, &keys::with_tail(shard, row.user, row.id.as_bytes()), &tail);
        }
    }

    fn received(&mut self, tables: &Tables, row: &ReceivedRow, value: &mut Vec<u8>) -> Result<(), StoreError> {
        let first = Place { slot: row.slot, source: row.source.to_u32(), seq: row.first };
        let key = keys::received(row.shard, row.user, first);
        if self.only_forward
            && let Some(stored) = tables.received.get(key).map_err(read_failed)?
            && values::read_received_last(&stored)? > row.last
        {
            return Ok(());
        }
        values::received(row, value);
        self.put(&tables.received, &key, value);
        Ok(())
    }

    fn feed(&mut self, tables: &Tables, shard: ShardId, row: &FeedRow, value: &mut Vec<u8>) -> Result<(), StoreError> {
        let key = keys::feed(shard, row.room, row.first);
        if self.only_forward
            && let Some(stored) = tables.room_feed.get(key).map_err(read_failed)?
            && values::read_feed(&stored)?.0 > row.last
        {
            return Ok(());
        }
        values::feed(row, value);
        self.put(&tables.room_feed, &key, value);
        Ok(())
    }

    /// Nothing is kept of a row that is gone. So one that comes late and is not there was deleted, by itself or with its
    /// group, if the stored checkpoint covers its event.
    fn room_row(
        &mut self,
        tables: &Tables,
        shard: ShardId,
        row: &RoomRow,
        value: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let key = keys::room_row(shard, row.room, row.group, &row.key);
        if self.only_forward {
            let is_late = match tables.room_state.get(&key).map_err(read_failed)? {
                Some(stored) => values::read_room_row(&stored)?.0 > row.seq,
                None => row.seq < self.covered,
            };
            if is_late {
                return Ok(());
            }
        }
        if row.value.is_empty() {
            self.rows.remove(&tables.room_state, key);
        } else {
            values::room_row(row, value);
            self.put(&tables.room_state, &key, value);
        }
        Ok(())
    }
}
