//! Rooms: their feeds in partitions of a bounded number of entries, and what they are besides in a fixed number of parts.
//!
//! Late and repeated writes lose by their timestamps, and so do those to what was deleted: by itself, or with its group.

use std::collections::VecDeque;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::room::event::RowGroup;
use largesse_engine::store::{FEED_ROW_ITEMS_MAX, FeedQuery, FeedRow, FlushBatch, RoomRow};
use largesse_engine::units::{RoomId, RoomSeq, ShardId};

use super::error::Failed;
use super::place;
use super::read::Paged;
use super::statements::PAGE_PACKED_ROWS;
use super::write::Rows;
use super::{CqlStore, values};

/// Entries of a feed whose rows lie in one partition. Stored rows depend on it: it can never be changed.
const BUCKET_ENTRIES: u64 = 32_768;
/// Parts of what a room is besides its feed; a board can have a million rows. It can never be changed either.
pub const PARTS: i32 = 16;

/// A page then reads two partitions at most to find where it begins.
const _: () = assert!((FEED_ROW_ITEMS_MAX as u64) < BUCKET_ENTRIES);

type FeedColumns = (i64, i64, Vec<u8>);
type StateColumns = (i64, Vec<u8>, Vec<u8>, i64);

/// Which partition of its room's feed a row lies in, by the number of its first entry.
fn bucket(first: RoomSeq) -> i64 {
    (first.get() / BUCKET_ENTRIES).cast_signed()
}

/// The part of its room that a row lies in: FNV-1a (Fowler, Noll, Vo) of its key, and then as users are scattered.
fn part(key: &[u8]) -> i32 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = place::scatter(key.iter().fold(0xcbf2_9ce4_8422_2325, fold));
    i32::try_from(hash % u64::from(PARTS.cast_unsigned())).expect("there are few parts")
}

impl CqlStore {
    /// All of them can be written in any order.
    pub(super) fn rooms<'a>(&'a self, batch: &'a FlushBatch) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let mut writes = self.feed_rows(batch);
        writes.extend(self.state_rows(batch));
        writes.extend(self.deleted_rows(batch));
        writes.extend(self.ended_groups(batch));
        writes
    }

    /// A fuller row has a later last entry than its shorter self.
    fn feed_rows<'a>(&'a self, batch: &'a FlushBatch) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let shard = place::shard(batch.shard);
        let rows = batch.feed.iter().map(|row| {
            let (room, bucket, packed) = (place::room(row.room), bucket(row.first), values::items(&row.items));
            let (first, last) = (place::room_seq(row.first), place::room_seq(row.last));
            ((room, bucket), 64 + packed.len(), (shard, room, bucket, first, last, packed, last))
        });
        self.batches_of(&self.statements.rooms.feed, Rows::new(rows))
    }

    fn state_rows<'a>(&'a self, batch: &'a FlushBatch) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let shard = place::shard(batch.shard);
        let rows = batch.rooms.iter().filter(|row| !row.value.is_empty()).map(|row| {
            let (room, part, group) = (place::room(row.room), part(&row.key), place::group(row.group));
            let (key, value, seq) = (&row.key[..], values::state(&row.value), place::seq(row.seq));
            ((room, part), 64 + key.len() + value.len(), (shard, room, part, group, key, value, seq, seq))
        });
        self.batches_of(&self.statements.rooms.state, Rows::new(rows))
    }

    fn deleted_rows<'a>(&'a self, batch: &'a FlushBatch) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let shard = place::shard(batch.shard);
        let rows = batch.rooms.iter().filter(|row| row.value.is_empty()).map(|row| {
            let (room, part, group) = (place::room(row.room), part(&row.key), place::group(row.group));
            ((room, part), 64 + row.key.len(), (place::seq(row.seq), shard, room, part, group, &row.key[..]))
        });
        self.batches_of(&self.statements.rooms.delete, Rows::new(rows))
    }

    fn ended_groups<'a>(&'a self, batch: &'a FlushBatch) -> Vec<BoxFuture<'a, Result<(), Failed>>> {
        let shard = place::shard(batch.shard);
        let groups = batch.ended.iter().flat_map(|ended| (0..PARTS).map(move |part| (ended, part)));
        let rows = groups.map(|(ended, part)| {
            let (room, group) = (place::room(ended.room), place::group(ended.group));
            ((room, part), 48, (place::seq(ended.seq), shard, room, part, group))
        });
        self.batches_of(&self.statements.rooms.end, Rows::new(rows))
    }

    pub(super) async fn room(&self, shard: ShardId, room: RoomId) -> Result<Vec<RoomRow>, Failed> {
        let asked = (0..PARTS).map(|part| {
            let values = (place::shard(shard), place::room(room), part);
            self.select::<StateColumns, _>(&self.statements.rooms.load, values)
        });
        let asked: Vec<_> = asked.collect();
        let found: Vec<VecDeque<StateColumns>> =
            stream::iter(asked).buffer_unordered(PARTS as usize).try_collect().await?;
        let rows = found.into_iter().flatten().map(|(group, key, value, seq)| {
            let (group, seq) = (RowGroup(group.cast_unsigned()), place::read_seq(seq));
            Ok(RoomRow { room, group, key, value: values::read_state(value)?, seq })
        });
        let mut rows = rows.collect::<Result<Vec<_>, Failed>>()?;
        rows.sort_unstable_by(|one, other| (one.group, &one.key).cmp(&(other.group, &other.key)));
        Ok(rows)
    }

    pub(super) async fn feed(&self, query: &FeedQuery) -> Result<Vec<FeedRow>, Failed> {
        let wanted = RoomSeq(query.after.get().saturating_add(1).min(i64::MAX.cast_unsigned()));
        let mut from = self.first_row_with(query, wanted).await?.unwrap_or(wanted);
        let mut rows = Vec::new();
        while rows.len() < query.limit {
            let end = self.feed_in(query, from, &mut rows).await?;
            // The first row of the next partition begins where one of this partition ends.
            let next = (from.get() / BUCKET_ENTRIES + 1) * BUCKET_ENTRIES;
            if end.is_none_or(|last| last.get() + 1 < next) {
                break;
            }
            from = RoomSeq(next);
        }
        Ok(rows)
    }

    /// Where the first row begins that holds this entry. A row holds [`FEED_ROW_ITEMS_MAX`] entries at most, so that is at
    /// most so far before it.
    async fn first_row_with(&self, query: &FeedQuery, wanted: RoomSeq) -> Result<Option<RoomSeq>, Failed> {
        let lowest = RoomSeq(wanted.get().saturating_sub(FEED_ROW_ITEMS_MAX as u64 - 1));
        for bucket in bucket(lowest)..=bucket(wanted) {
            let (shard, room) = (place::shard(query.shard), place::room(query.room));
            let values = (shard, room, bucket, place::room_seq(lowest), place::room_seq(wanted));
            let found = self.select::<(i64, i64), _>(&self.statements.rooms.feed_rows, values).await?;
            let holder = found.into_iter().find(|(_, last)| place::read_room_seq(*last) >= wanted);
            if let Some((first, _)) = holder {
                return Ok(Some(place::read_room_seq(first)));
            }
        }
        Ok(None)
    }

    /// Adds the rows of one partition from here on, as many as are missing; tells the last entry that was met.
    async fn feed_in(
        &self,
        query: &FeedQuery,
        from: RoomSeq,
        rows: &mut Vec<FeedRow>,
    ) -> Result<Option<RoomSeq>, Failed> {
        let mut statement = self.statements.rooms.feed_page.clone();
        statement.set_page_size(i32::try_from(query.limit).unwrap_or(i32::MAX).clamp(1, PAGE_PACKED_ROWS));
        let values = (place::shard(query.shard), place::room(query.room), bucket(from), place::room_seq(from));
        let mut found = Paged::<FeedColumns>::new(&statement, &values)?;
        let mut end = None;
        while rows.len() < query.limit {
            found.fill(self).await?;
            let Some((first, last, packed)) = found.rows.pop_front() else { break };
            let (first, last) = (place::read_room_seq(first), place::read_room_seq(last));
            end = end.max(Some(last));
            if last > query.after {
                rows.push(FeedRow { room: query.room, first, last, items: values::read_items(packed)? });
            }
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where rows lie is fixed for ever: if this fails, nobody finds what they have.
    #[test]
    fn rows_stay_where_they_are() {
        assert_eq!([1, 32_767, 32_768, 65_536].map(|first| bucket(RoomSeq(first))), [0, 0, 1, 2]);
        assert_eq!([&b""[..], b"\0", b"\x01\x07", b"\x02\x01\x07"].map(part), [6, 11, 8, 15]);
    }

    #[test]
    fn parts_are_of_like_size() {
        let mut counts = [0; PARTS as usize];
        for user in 0..16_000_u32 {
            counts[usize::try_from(part(&user.to_be_bytes())).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
