//! Rooms: pages of their feeds, what they are besides, and what of that has ended.

use std::collections::BTreeMap;

use largesse_engine::room::event::RowGroup;
use largesse_engine::store::{FEED_ROW_ITEMS_MAX, FeedQuery, FeedRow, FlushBatch, RoomRow, StoreError};
use largesse_engine::units::{RoomId, RoomSeq, Seq, ShardId};

use super::error::read_failed;
use super::tables::Tables;
use super::{keys, values};

pub fn load_room(tables: &Tables, shard: ShardId, room: RoomId) -> Result<Vec<RoomRow>, StoreError> {
    let rows = tables.room_state.prefix(keys::room(shard, room)).map(|row| {
        let (key, value) = row.into_inner().map_err(read_failed)?;
        let (group, own) = keys::read_room_row(&key)?;
        let (seq, value) = values::read_room_row(&value)?;
        Ok(RoomRow { room, group, key: own.to_vec(), value: value.to_vec(), seq })
    });
    rows.collect()
}

/// A row holds [`FEED_ROW_ITEMS_MAX`] entries at most, so the one with the wanted entry begins at most so far before it.
pub fn page_feed(tables: &Tables, query: &FeedQuery) -> Result<Vec<FeedRow>, StoreError> {
    let lowest = RoomSeq(query.after.get().saturating_sub(FEED_ROW_ITEMS_MAX as u64 - 1));
    let low = keys::feed(query.shard, query.room, lowest);
    let high = keys::feed(query.shard, query.room, RoomSeq(u64::MAX));
    let mut rows = Vec::new();
    for row in tables.room_feed.range(low..=high) {
        if rows.len() == query.limit {
            break;
        }
        let (key, value) = row.into_inner().map_err(read_failed)?;
        let (last, items) = values::read_feed(&value)?;
        if last > query.after {
            rows.push(FeedRow { room: query.room, first: keys::read_feed(&key)?, last, items: items.to_vec() });
        }
    }
    Ok(rows)
}

/// Groups that a flush ends, each with the last event that counts for its end.
pub struct Ended(BTreeMap<(RoomId, RowGroup), Seq>);

impl Ended {
    pub fn of(batch: &FlushBatch) -> Ended {
        let mut ended: BTreeMap<_, Seq> = BTreeMap::new();
        for group in &batch.ended {
            let last = ended.entry((group.room, group.group)).or_default();
            *last = group.seq.max(*last);
        }
        Ended(ended)
    }

    pub fn has(&self, row: &RoomRow) -> bool {
        self.0.get(&(row.room, row.group)).is_some_and(|last| row.seq <= *last)
    }

    /// Calls `remove` with the key of each stored row that has ended.
    pub fn for_each_stored(
        &self,
        tables: &Tables,
        shard: ShardId,
        mut remove: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for ((room, group), last) in &self.0 {
            for row in tables.room_state.prefix(keys::group(shard, *room, *group)) {
                let (key, value) = row.into_inner().map_err(read_failed)?;
                if values::read_room_row(&value)?.0 <= *last {
                    remove(&key)?;
                }
            }
        }
        Ok(())
    }
}
