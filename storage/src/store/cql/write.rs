//! A flush: lists the hours that are new, then rows in batches of one partition each, and last the checkpoint.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::BoxFuture;
use futures::stream::{self, TryStreamExt};
use largesse_engine::store::{Checkpoint, FlushBatch, ReceivedRow, SentRow};
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::Batch;

use super::error::Failed;
use super::hours::{self, Listing, Side};
use super::place::{self, Hour, SentKey};
use super::statements::{BATCH_ROWS_MAX, RowBatches};
use super::{CqlStore, values};

/// A batch that has grown to this takes no further row.
const BATCH_BYTES_MAX: usize = 48 << 10;

/// Rows of one statement on their way into batches.
pub struct Rows<Partition, Row> {
    rows: Vec<(Partition, usize, Row)>,
}

impl<Partition: Ord + Copy, Row> Rows<Partition, Row> {
    /// Each with its partition and about how many bytes it has.
    pub fn new(rows: impl Iterator<Item = (Partition, usize, Row)>) -> Rows<Partition, Row> {
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|(partition, _, _)| *partition);
        Rows { rows }
    }

    /// Those of one partition together, as many as fit.
    fn batches(self) -> Vec<Vec<Row>> {
        let (mut batches, mut bytes, mut last): (Vec<Vec<Row>>, usize, Option<Partition>) = (Vec::new(), 0, None);
        for (partition, size, row) in self.rows {
            match batches.last_mut() {
                Some(batch)
                    if last == Some(partition) && batch.len() < BATCH_ROWS_MAX && bytes + size <= BATCH_BYTES_MAX =>
                {
                    batch.push(row);
                    bytes += size;
                }
                _ => {
                    batches.push(vec![row]);
                    bytes = size;
                }
            }
            last = Some(partition);
        }
        batches
    }
}

/// A received row with what goes into its columns.
struct PackedRow<'a> {
    row: &'a ReceivedRow,
    entries: Vec<u8>,
    spread: i32,
}

impl CqlStore {
    pub(super) async fn flush(&self, batch: &FlushBatch) -> Result<(), Failed> {
        let started = Instant::now();
        let sent: Vec<_> = batch.sent.iter().map(|row| (SentKey::of(row.id, row.stored.at), row)).collect();
        let received = self.list(batch, &sent).await?;
        let mut writes = self.balances(batch);
        writes.extend(self.sent_rows(batch, &sent));
        writes.extend(self.pointer_rows(batch, &sent));
        writes.extend(self.received_rows(&received));
        writes.extend(self.rooms(batch));
        self.all(writes).await?;
        self.write_checkpoint(&batch.checkpoint).await?;
        let rows = batch.balances.len() + batch.sent.len() + received.len() + batch.feed.len() + batch.rooms.len() + 1;
        metrics::counter!("largesse_store_rows_written_total").increment(rows as u64);
        metrics::histogram!("largesse_store_write_seconds").record(started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn all(&self, writes: Vec<BoxFuture<'_, Result<(), Failed>>>) -> Result<(), Failed> {
        let writes = stream::iter(writes.into_iter().map(Ok));
        writes.try_for_each_concurrent(self.options.batches_in_flight_max, |write| write).await
    }

    /// Lists hours that hold rows from now on, and says where the received ones go.
    async fn list<'a>(
        &self,
        batch: &'a FlushBatch,
        sent: &[(SentKey, &SentRow)],
    ) -> Result<Vec<PackedRow<'a>>, Failed> {
        let mut packed: Vec<PackedRow<'_>> = batch
            .received
            .iter()
            .filter(|row| !row.entries.is_empty())
            .map(|row| PackedRow { row, entries: values::entries(&row.entries), spread: 0 })
            .collect();
        let mut wanted: BTreeMap<(Side, u64, Hour), (Listing, u64)> = BTreeMap::new();
        let mut want = |listing: Listing, bytes: usize| {
            let key = (listing.side, listing.user.get(), listing.hour);
            let (known, sum) = wanted.entry(key).or_insert((listing, 0));
            known.spreads = known.spreads.max(listing.spreads);
            *sum += bytes as u64;
        };
        for (key, row) in sent {
            let (shard, user, hour) = (batch.shard, row.user, key.hour());
            want(Listing { shard, user, side: Side::Sent, hour, spreads: 1 }, 0);
        }
        for PackedRow { row, entries, .. } in &packed {
            let (shard, user, hour) = (row.shard, row.user, Hour::of_slot(row.slot));
            let spreads = u16::from(row.spread) + 1;
            want(Listing { shard, user, side: Side::Received, hour, spreads }, entries.len());
        }
        let mut fresh = Vec::new();
        for (listing, bytes) in wanted.values_mut() {
            let (spreads, is_listed) = self.listed.count(*listing, *bytes);
            listing.spreads = spreads;
            if !is_listed {
                fresh.push(*listing);
            }
        }
        self.all(self.hour_rows(&fresh)).await?;
        self.listed.remember(&fresh);
        for PackedRow { row, spread, .. } in &mut packed {
            let listed = wanted.get(&(Side::Received, row.user.get(), Hour::of_slot(row.slot)));
            let spreads = listed.map_or(1, |(listing, _)| listing.spreads);
            *spread = hours::spread_of(row.source, row.spread, spreads);
        }
        Ok(packed)
    }

    fn hour_rows(&self, listings: &[Listing]) -> Vec<BoxFuture<'_, Result<(), Failed>>> {
        let rows = listings.iter().map(|listing| {
            let (shard, sub, user) = (place::shard(listing.shard), self.layout.sub(listing.user), listing.user);
            let (side, hour) = (listing.side.column(), listing.hour.column());
            let (spreads, timestamp) = (i32::from(listing.spreads), i64::from(listing.spreads));
            ((shard, sub), 48, (shard, sub, place::user(user), side, hour, spreads, timestamp))
        });
        self.batches_of(&self.statements.hour, Rows::new(rows))
    }

    fn balances<'a>(&'a self, batch: &'a FlushBatch) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let shard = place::shard(batch.shard);
        let rows = batch.balances.iter().map(|row| {
            let (sub, seq) = (self.layout.sub(row.user), place::seq(row.seq));
            let amount = row.amount.get().cast_signed();
            (sub, 56, (shard, sub, place::user(row.user), place::asset(row.asset), amount, seq, seq))
        });
        self.batches_of(&self.statements.balance, Rows::new(rows))
    }

    fn sent_rows<'a>(
        &'a self,
        batch: &'a FlushBatch,
        sent: &'a [(SentKey, &SentRow)],
    ) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let shard = place::shard(batch.shard);
        let rows = sent.iter().map(|(key, row)| {
            let (sub, hour, stored) = (self.layout.sub(row.user), key.hour(), &row.stored);
            let seq = place::seq(stored.seq);
            let (id, head, event) = (place::uuid(key.id), &key.head[..], &stored.event[..]);
            let user = place::user(row.user);
            let row = (shard, sub, hour.column(), user, id, head, seq, place::time(stored.at), event, seq);
            ((sub, hour), 96 + event.len(), row)
        });
        self.batches_of(&self.statements.sent, Rows::new(rows))
    }

    /// For events whose own id does not say where they lie.
    fn pointer_rows<'a>(
        &'a self,
        batch: &'a FlushBatch,
        sent: &'a [(SentKey, &SentRow)],
    ) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let shard = place::shard(batch.shard);
        let rows = sent.iter().filter(|(key, row)| key.id != row.id).map(|(key, row)| {
            let (sub, seq) = (self.layout.sub(row.user), place::seq(row.stored.seq));
            (sub, 72, (shard, sub, place::user(row.user), place::uuid(row.id), place::uuid(key.id), seq))
        });
        self.batches_of(&self.statements.pointer, Rows::new(rows))
    }

    /// A fuller row has a later last event than its shorter self.
    fn received_rows<'a>(&'a self, packed: &'a [PackedRow<'_>]) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let rows = packed.iter().map(|PackedRow { row, entries, spread }| {
            let (shard, sub, hour) = (place::shard(row.shard), self.layout.sub(row.user), Hour::of_slot(row.slot));
            let (user, slot, source) = (place::user(row.user), place::slot(row.slot), place::shard(row.source));
            let (first, last) = (place::seq(row.first), place::seq(row.last));
            let columns = (shard, sub, hour.column(), *spread, user, slot, source, first, last, &entries[..], last);
            ((shard, sub, hour, *spread), 96 + entries.len(), columns)
        });
        self.batches_of(&self.statements.received, Rows::new(rows))
    }

    pub(super) fn batches_of<'a, Partition: Ord + Copy, Row: SerializeRow + Send + Sync + 'a>(
        &'a self,
        statements: &'a RowBatches,
        rows: Rows<Partition, Row>,
    ) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let batches = rows.batches().into_iter();
        let sent = batches.map(|rows| Box::pin(self.send(statements.of(rows.len()), rows)) as BoxFuture<'_, _>);
        sent.collect()
    }

    async fn send<Row: SerializeRow>(&self, batch: &Batch, rows: Vec<Row>) -> Result<(), Failed> {
        let _permit = self.batches.acquire().await.expect("it is never closed");
        self.connected.session.batch(batch, rows).await?;
        self.gate.answered();
        Ok(())
    }

    /// Its two halves go forward each by itself.
    async fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Failed> {
        let shard = place::shard(checkpoint.shard);
        let next = place::seq(checkpoint.fold.next);
        let position = checkpoint.position.get().cast_signed();
        let rows = (next, next, position, place::time(checkpoint.time), values::rows_half(checkpoint), shard);
        let relay_next = place::seq(checkpoint.relay_fold.next);
        let relay_position = checkpoint.relay_position.get().cast_signed();
        let relays = (relay_position, relay_next, relay_position, values::relay_half(checkpoint), shard);
        let _permit = self.batches.acquire().await.expect("it is never closed");
        self.connected.session.batch(&self.statements.checkpoint, (rows, relays)).await?;
        self.gate.answered();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_one_partition_and_no_larger_than_its_limits() {
        let small = (0..200).map(|row| (row % 3, 10, row));
        let batches = Rows::new(small).batches();
        assert!(batches.iter().all(|rows| rows.iter().all(|row| row % 3 == rows[0] % 3)));
        assert!(batches.iter().all(|rows| rows.len() <= BATCH_ROWS_MAX));
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 200);
        assert_eq!(batches.len(), 6, "67 rows of each of three partitions");
        let large = (0..5).map(|row| (0, BATCH_BYTES_MAX, row));
        assert_eq!(Rows::new(large).batches().len(), 5, "a row that is too large for company travels alone");
    }
}
