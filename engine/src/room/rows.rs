//! A room shard's events as the rows of its store: the feed, and what a room is besides.

use std::collections::BTreeMap;

use crate::codec;
use crate::flush::{Rows, front};
use crate::ledger::LedgerShape;
use crate::machine::Impossible;
use crate::room::board::for_each_score;
use crate::room::books::RoomBooks;
use crate::room::combo::{Combo, ComboKey};
use crate::room::event::{FeedItem, FeedWhat, RoomEvent, RoomShown, RowGroup};
use crate::room::state::{ComboRow, RowKey, ScoreRow};
use crate::store::{Checkpoint, EndedGroup, FEED_ROW_ITEMS_MAX, FeedRow, FlushBatch, RoomRow};
use crate::units::{RoomId, RoomSeq, Seq, ShardId, Time};

pub struct RoomRows {
    shard: ShardId,
    books: RoomBooks,
    /// By room and number of the first of them.
    feed: BTreeMap<(RoomId, RoomSeq), Vec<FeedItem>>,
    /// The run of entries that each room's next ones go on with.
    runs: BTreeMap<RoomId, RoomSeq>,
    rows: BTreeMap<(RoomId, RowGroup, RowKey), (Vec<u8>, Seq)>,
    ended: Vec<EndedGroup>,
}

impl RoomRows {
    pub fn new(shard: ShardId, shape: LedgerShape) -> RoomRows {
        let (feed, runs, rows) = Default::default();
        RoomRows { shard, books: RoomBooks::new(shape), feed, runs, rows, ended: Vec::new() }
    }

    fn take_room(&mut self, seq: Seq, shown: RoomShown) {
        let RoomShown { room, first, items, ended, head } = shown;
        for group in ended.0 {
            self.rows.retain(|(of, within, _), _| (of, within) != (&room, &group));
            self.ended.push(EndedGroup { room, group, seq });
        }
        for (place, item) in (0..).zip(&items) {
            let number = first.plus(place);
            match &item.what {
                FeedWhat::Gift(gift) => {
                    for_each_score(gift, |period, side, person, value| {
                        let key = RowKey::score(side, gift.asset, person);
                        let group = RowGroup::of(period, head.number(period));
                        let row = codec::encode(&ScoreRow { value, reached: number });
                        self.rows.insert((room, group, key), (row, seq));
                    });
                    if let Some(now) = gift.combo {
                        let (sender, asset) = (gift.sender, gift.asset);
                        let key = ComboKey { sender, gift: gift.gift, asset, receivers: gift.receivers.clone() };
                        let row = codec::encode(&ComboRow { key, combo: Combo { now, client: gift.client_combo } });
                        self.rows.insert((room, RowGroup::ROOM, RowKey::Combo(now.slot)), (row, seq));
                    }
                }
                FeedWhat::ComboEnded(ended) => {
                    self.rows.insert((room, RowGroup::ROOM, RowKey::Combo(ended.slot)), (Vec::new(), seq));
                }
                FeedWhat::LiveStarted { .. } | FeedWhat::LiveEnded { .. } | FeedWhat::Plugin(_) => {}
            }
        }
        self.rows.insert((room, RowGroup::ROOM, RowKey::Head), (codec::encode(&head), seq));
        self.take_items(room, first, items);
    }

    fn take_items(&mut self, room: RoomId, first: RoomSeq, items: Vec<FeedItem>) {
        for (place, item) in (0..).zip(items) {
            let number = first.plus(place);
            let run = self.runs.entry(room).or_insert(number);
            if number.get() - run.get() >= FEED_ROW_ITEMS_MAX as u64 {
                *run = number;
            }
            self.feed.entry((room, *run)).or_default().push(item);
        }
    }
}

impl Rows for RoomRows {
    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible> {
        if let Some(checkpoint) = checkpoint {
            self.books = codec::decode(&checkpoint.state).map_err(|error| Impossible(error.to_string()))?;
        }
        Ok(())
    }

    fn take(&mut self, seq: Seq, _at: Time, events: &[u8]) -> Result<usize, Impossible> {
        let (RoomEvent::Shown(shown), used) = front::<RoomEvent>(self.shard, seq, events)?;
        self.books.apply(seq, &shown);
        shown.rooms.into_iter().for_each(|room| self.take_room(seq, room));
        Ok(used)
    }

    fn finish(&mut self, batch: &mut FlushBatch) {
        self.runs.clear();
        let row = |((room, first), items): ((RoomId, RoomSeq), Vec<FeedItem>)| {
            let last = RoomSeq(first.get() + items.len() as u64 - 1);
            FeedRow { room, first, last, items: codec::encode(&items) }
        };
        batch.feed = std::mem::take(&mut self.feed).into_iter().map(row).collect();
        let row = |((room, group, key), (value, seq))| RoomRow { room, group, key: codec::encode(&key), value, seq };
        batch.rooms = std::mem::take(&mut self.rows).into_iter().map(row).collect();
        batch.ended = std::mem::take(&mut self.ended);
        batch.checkpoint.state = codec::encode(&self.books);
    }
}
