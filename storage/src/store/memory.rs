//! A store in memory, for tests and simulations: obvious, deterministic, and able to lose an answer on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use largesse_engine::codec;
use largesse_engine::event_id::EventId;
use largesse_engine::room::event::RowGroup;
use largesse_engine::sabotage::{self, Rule};
use largesse_engine::store::{
    BalanceRow, Checkpoint, FeedQuery, FeedRow, FlushBatch, HistorySlot, Page, ReceivedEntry, ReceivedQuery,
    ReceivedRow, RoomRow, SentQuery, Store, StoreError, StoredEvent,
};
use largesse_engine::units::{AssetId, RoomId, RoomSeq, Seq, ShardId, Time, UserId};

use super::PAGE_ITEMS_MAX;

/// Clones share their rows and faults, as connections to one database would.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    rows: Rows,
    answers_to_lose: u32,
}

/// The stored id, and what it lacks of the caller's.
type SentKey = (ShardId, UserId, EventId, Option<EventId>);
type ReceivedKey = (ShardId, UserId, HistorySlot, ShardId, Seq);

#[derive(Clone, Default)]
struct Rows {
    balances: BTreeMap<(ShardId, UserId, AssetId), BalanceRow>,
    sent: BTreeMap<SentKey, StoredEvent>,
    pointers: BTreeMap<(ShardId, UserId, EventId), SentKey>,
    received: BTreeMap<ReceivedKey, ReceivedRow>,
    feed: BTreeMap<(ShardId, RoomId, RoomSeq), FeedRow>,
    /// Rows that are gone stay, with an empty value, and so do the ends of groups: nothing that is late brings them back.
    rooms: BTreeMap<(ShardId, RoomId, RowGroup, Vec<u8>), RoomRow>,
    ended: BTreeMap<(ShardId, RoomId, RowGroup), Seq>,
    checkpoints: BTreeMap<ShardId, Checkpoint>,
}

impl MemoryStore {
    /// The next writes are carried out, but the writer is told that the store was not reached.
    pub fn lose_answers(&self, writes: u32) {
        self.state().answers_to_lose = writes;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read<T>(&self, read: impl FnOnce(&Rows) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(&self.state().rows)
    }

    async fn apply(&self, batch: FlushBatch) -> Result<(), StoreError> {
        let mut state = self.state();
        state.rows.apply(batch);
        if state.answers_to_lose > 0 {
            state.answers_to_lose -= 1;
            return Err(StoreError::Unavailable("the answer was lost".into()));
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn forgets_for(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        Box::pin(self.read(move |rows| Ok(users.iter().map(|user| rows.balances_of(shard, *user)).collect())))
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        Box::pin(self.read(move |rows| Ok(keys.iter().map(|(user, id)| rows.receipt(shard, *user, *id)).collect())))
    }

    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.apply(batch))
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        Box::pin(self.read(move |rows| Ok(rows.checkpoints.get(&shard).cloned())))
    }

    fn page_sent(&self, query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        Box::pin(self.read(move |rows| rows.page_sent(&query)))
    }

    fn page_received(&self, query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        Box::pin(self.read(move |rows| rows.page_received(&query)))
    }

    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        Box::pin(self.read(move |rows| {
            let of_room =
                rows.rooms.iter().filter(|(key, row)| (key.0, key.1) == (shard, room) && !row.value.is_empty());
            Ok(of_room.map(|(_, row)| row.clone()).collect())
        }))
    }

    fn page_feed(&self, query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        Box::pin(self.read(move |rows| Ok(rows.page_feed(&query))))
    }

    fn scan_balances(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        Box::pin(self.read(move |rows| {
            let of_shard = rows.balances.iter().filter(|(key, _)| key.0 == shard);
            let rest = of_shard.filter(|(key, _)| after.is_none_or(|after| (key.1, key.2) > after));
            Ok(rest.take(limit).map(|(_, row)| *row).collect())
        }))
    }
}

impl Rows {
    fn apply(&mut self, batch: FlushBatch) {
        let shard = batch.shard;
        for row in batch.balances {
            let stored = self.balances.entry((shard, row.user, row.asset)).or_insert(row);
            if row.seq >= stored.seq {
                *stored = row;
            }
        }
        for row in batch.sent {
            let stored_id = row.id.stored_as(row.stored.at);
            let key = (shard, row.user, stored_id, (stored_id != row.id).then_some(row.id));
            if stored_id != row.id {
                self.pointers.insert((shard, row.user, row.id), key);
            }
            self.sent.insert(key, row.stored);
        }
        for row in batch.received.into_iter().filter(|row| !row.entries.is_empty()) {
            let key = (row.shard, row.user, row.slot, row.source, row.first);
            if self.received.get(&key).is_none_or(|stored| row.last >= stored.last) {
                self.received.insert(key, row);
            }
        }
        for row in batch.feed {
            let stored = self.feed.entry((shard, row.room, row.first)).or_insert_with(|| row.clone());
            if row.last >= stored.last {
                *stored = row;
            }
        }
        for row in batch.rooms {
            if self.ended.get(&(shard, row.room, row.group)).is_some_and(|ended| row.seq <= *ended) {
                continue;
            }
            let key = (shard, row.room, row.group, row.key.clone());
            let stored = self.rooms.entry(key).or_insert_with(|| row.clone());
            if row.seq >= stored.seq {
                *stored = row;
            }
        }
        for ended in batch.ended {
            let last = self.ended.entry((shard, ended.room, ended.group)).or_default();
            *last = ended.seq.max(*last);
            self.rooms.retain(|(of, room, group, _), row| {
                (*of, *room, *group) != (shard, ended.room, ended.group) || row.seq > ended.seq
            });
        }
        let checkpoint = match self.checkpoints.remove(&shard) {
            Some(stored) => batch.checkpoint.over(stored),
            None => batch.checkpoint,
        };
        self.checkpoints.insert(shard, checkpoint);
    }

    fn balances_of(&self, shard: ShardId, user: UserId) -> Vec<BalanceRow> {
        let all = (shard, user, AssetId(0))..=(shard, user, AssetId(u16::MAX));
        self.balances.range(all).map(|(_, row)| *row).collect()
    }

    fn receipt(&self, shard: ShardId, user: UserId, id: EventId) -> Option<StoredEvent> {
        let direct = (shard, user, id, None);
        let key = if id.time().is_some() { &direct } else { self.pointers.get(&(shard, user, id))? };
        self.sent.get(key).cloned()
    }

    fn page_feed(&self, query: &FeedQuery) -> Vec<FeedRow> {
        let of_room = self.feed.iter().filter(|(key, _)| (key.0, key.1) == (query.shard, query.room));
        let wanted = of_room.filter(|(_, row)| row.last > query.after);
        wanted.take(query.limit).map(|(_, row)| row.clone()).collect()
    }

    fn page_sent(&self, query: &SentQuery) -> Result<Page<StoredEvent>, StoreError> {
        let owner = (b's', query.shard, query.user);
        let below: Option<(EventId, Option<EventId>)> = read_cursor(query.cursor.as_ref(), owner)?;
        let of_user = self.sent.iter().rev().filter(|(key, _)| (key.0, key.1) == (query.shard, query.user));
        let wanted = of_user.filter(|(key, _)| {
            is_within(key.2.time().unwrap_or_default(), query.since, query.until)
                && below.is_none_or(|below| (key.2, key.3) < below)
        });
        let found = wanted.map(|(key, stored)| ((key.2, key.3), stored.clone())).collect();
        Ok(cut(found, query.limit, owner))
    }

    fn page_received(&self, query: &ReceivedQuery) -> Result<Page<ReceivedEntry>, StoreError> {
        let owner = (b'r', query.shard, query.user);
        let below: Option<(HistorySlot, ShardId, Seq, usize)> = read_cursor(query.cursor.as_ref(), owner)?;
        let mut events: BTreeMap<(HistorySlot, ShardId, Seq), Vec<ReceivedEntry>> = BTreeMap::new();
        for (key, row) in self.received.iter().filter(|(key, _)| (key.0, key.1) == (query.shard, query.user)) {
            for same_event in row.entries.chunk_by(|one, other| one.seq == other.seq) {
                let place = (key.2, key.3, same_event[0].seq);
                events.entry(place).or_insert_with(|| same_event.to_vec());
            }
        }
        let entries = events.into_iter().rev().flat_map(|((slot, source, seq), entries)| {
            entries.into_iter().enumerate().rev().map(move |(number, entry)| ((slot, source, seq, number), entry))
        });
        let found = entries
            .filter(|(_, entry)| is_within(entry.at, query.since, query.until))
            .filter(|(place, _)| below.is_none_or(|below| *place < below))
            .collect();
        Ok(cut(found, query.limit, owner))
    }
}

fn is_within(at: Time, since: Option<Time>, until: Option<Time>) -> bool {
    since.is_none_or(|since| since <= at) && until.is_none_or(|until| at <= until)
}

/// Which list of whom a cursor belongs to.
type Owner = (u8, ShardId, UserId);

fn read_cursor<Place: bincode::Decode<()>>(cursor: Option<&Bytes>, owner: Owner) -> Result<Option<Place>, StoreError> {
    let Some(cursor) = cursor else { return Ok(None) };
    match codec::decode::<(Owner, Place)>(cursor) {
        Ok((made_for, place)) if made_for == owner => Ok(Some(place)),
        _ => Err(StoreError::CursorInvalid),
    }
}

fn cut<Place: bincode::Encode, T>(mut found: Vec<(Place, T)>, limit: usize, owner: Owner) -> Page<T> {
    let limit = limit.clamp(1, PAGE_ITEMS_MAX);
    let is_more = found.len() > limit;
    // One more than the page shows: the next page then begins behind an item that nobody saw.
    found.truncate(if sabotage::is(Rule::PagesWithoutGaps) { limit + 1 } else { limit });
    let last = found.last().filter(|_| is_more);
    let next = last.map(|(place, _)| Bytes::from(codec::encode(&(owner, place))));
    Page { items: found.into_iter().take(limit).map(|(_, item)| item).collect(), next }
}
