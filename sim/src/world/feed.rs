//! One reader per room, from the beginning of its feed to the end of the world: page after page, out of the owner's memory
//! and the store as one list. What the pages add up to has to be what gifts debited.

use largesse_engine::room::command::Chunk;
use largesse_engine::room::event::{FeedItem, FeedWhat};
use largesse_engine::store::{FEED_ROW_ITEMS_MAX, FeedQuery};
use largesse_engine::units::AssetId;

use super::rooms::Asker;
use super::*;

#[derive(Debug)]
pub(crate) struct FeedReader {
    pub room: RoomId,
    /// The last entry that it has.
    pub last: RoomSeq,
    /// Only of what it got.
    pub sums: BTreeMap<AssetId, u128>,
    limit: usize,
    /// Of the answer that it waits for.
    key: Option<CallKey>,
    /// The owner has forgotten what comes next: the store has to have it.
    asks_store: bool,
}

impl World {
    pub(super) fn begin_feeds(&mut self) {
        for room in self.swarm.all_rooms() {
            let limit = *self.rng.pick(&[1, 2, 5, 100]);
            let (last, sums) = (RoomSeq::NONE, BTreeMap::new());
            self.feeds.push(FeedReader { room, last, sums, limit, key: None, asks_store: false });
            self.schedule(10_000, Event::Feed(self.feeds.len() - 1));
        }
    }

    pub(super) fn feed_step(&mut self, number: usize) {
        let reader = &mut self.feeds[number];
        let (room, after, limit) = (reader.room, reader.last, reader.limit);
        if std::mem::take(&mut reader.asks_store) {
            if self.store_down_until <= self.now && !self.rng.chance(self.faults().store_failed) {
                let rows = limit.div_ceil(FEED_ROW_ITEMS_MAX) + 1;
                let query = FeedQuery { shard: self.shape.room_of(room), room, after, limit: rows };
                let rows = self.disk.page_feed(query).into_iter();
                let chunk = |row: largesse_engine::store::FeedRow| {
                    let items: Vec<FeedItem> = codec::decode(&row.items).expect("rows hold entries");
                    Chunk { first: row.first, items: items.into() }
                };
                let chunks: Vec<Chunk> = rows.map(chunk).collect();
                self.take_page(number, &chunks);
            }
            return self.feed_pause(number);
        }
        let key = self.ask_room(Asker::Reader(number), room, RoomCommand::ReadTail { room, after, limit });
        self.feeds[number].key = Some(key);
    }

    fn feed_pause(&mut self, number: usize) {
        let reader = &self.feeds[number];
        let known = self.truth.rooms.room(reader.room).map_or(RoomSeq::FIRST, crate::truth::room::RoomTruth::next);
        let has_more = known > reader.last.next();
        let wait = if has_more { self.rng.between(1_000, 100_000) } else { self.rng.between(20_000, 400_000) };
        self.schedule(wait, Event::Feed(number));
    }

    pub(super) fn feed_told(&mut self, number: usize, key: CallKey, outcome: Option<RoomOutcome>) {
        if self.feeds[number].key != Some(key) {
            return; // It came twice, or too late.
        }
        self.feeds[number].key = None;
        if let Some(RoomOutcome::Tail(tail)) = outcome {
            let Some(chunks) = tail.chunks else {
                self.feeds[number].asks_store = true;
                let wait = self.latency(self.swarm.store_micros);
                return self.schedule(wait, Event::Feed(number));
            };
            self.take_page(number, &chunks);
        }
        self.feed_pause(number);
    }

    /// Takes what goes on right behind what it has.
    fn take_page(&mut self, number: usize, chunks: &[Chunk]) {
        let mut items = Vec::new();
        let reader = &self.feeds[number];
        let mut next = reader.last.next();
        for chunk in chunks {
            for (at, item) in (chunk.first.get()..).map(RoomSeq).zip(chunk.items.iter()) {
                if at == next && items.len() < reader.limit {
                    items.push(item.clone());
                    next = next.next();
                }
            }
        }
        let (room, first) = (reader.room, reader.last.next());
        match self.truth.rooms.room(room) {
            Some(truth) => truth.check_items(room, first, &items),
            None => assert_eq!(items, [], "I4 durable answers: a page of room {room}, which is not believed"),
        }
        self.trace.note(self.now, || format!("somebody reads room {room} from {first} to before {next}"));
        let reader = &mut self.feeds[number];
        reader.last = RoomSeq(next.get() - 1);
        for item in items {
            if let FeedWhat::Gift(gift) = item.what {
                *reader.sums.entry(gift.asset).or_default() += u128::from(gift.value().get());
            }
        }
    }
}
