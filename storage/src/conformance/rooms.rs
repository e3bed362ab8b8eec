//! What every [`Store`] must do with rooms; `store_conformance!` makes one test of each function here as well.

use largesse_engine::room::event::RowGroup;
use largesse_engine::store::{EndedGroup, FEED_ROW_ITEMS_MAX, FeedQuery, FeedRow, FlushBatch, RoomRow, Store};
use largesse_engine::units::{RoomId, RoomSeq, Seq, ShardId};

use super::store::{Batch, Fixture};

const SHARD: ShardId = ShardId::room(3);
const OTHER: ShardId = ShardId::room(4);
const ROOM: RoomId = RoomId(1001);
const LIVE: RowGroup = RowGroup((1 << 32) | 7);
const DAY: RowGroup = RowGroup((2 << 32) | 19_000);

pub async fn feed_rows_come_back(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_eq!(page(&store, ROOM, 0, 10).await, []);
    let batch = Flush::upto(9).feed(ROOM, 1, 3).feed(ROOM, 4, 4).feed(RoomId(7), 1, 2);
    write(&store, &batch).await;
    assert_eq!(page(&store, ROOM, 0, 10).await, [row(ROOM, 1, 3), row(ROOM, 4, 4)]);
    assert_eq!(page(&store, RoomId(7), 0, 10).await, [row(RoomId(7), 1, 2)]);
    assert_eq!(page(&store, ROOM, 0, 1).await, [row(ROOM, 1, 3)], "no more than were asked for");
    assert_eq!(store.checkpoint(SHARD).await, Ok(Some(batch.0.checkpoint)));
}

/// A page begins with the row that holds the entry after the last that is known, wherever that is.
pub async fn a_feed_starts_anywhere(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let full = FEED_ROW_ITEMS_MAX as u64;
    let rows = [(1, full), (full + 1, full + 1), (full + 2, full + 20), (full + 21, 2 * full + 20)];
    let mut batch = Flush::upto(100);
    for (first, last) in rows {
        batch = batch.feed(ROOM, first, last);
    }
    write(&store, &batch).await;
    for after in 0..=2 * full + 25 {
        let want: Vec<_> = rows.iter().filter(|(_, last)| *last > after).map(|at| row(ROOM, at.0, at.1)).collect();
        assert_eq!(page(&store, ROOM, after, 10).await, want, "after {after}");
        assert_eq!(page(&store, ROOM, after, 2).await, want[..want.len().min(2)], "two after {after}");
    }
    assert_eq!(page(&store, ROOM, u64::MAX, 10).await, []);
}

/// So many entries that a store which cuts a feed into partitions has several.
pub async fn a_long_feed_is_read_from_end_to_end(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (full, last) = (FEED_ROW_ITEMS_MAX as u64, 100_000);
    let (mut next, mut flushes) = (1, 0);
    while next <= last {
        flushes += 1;
        let mut batch = Flush::upto(flushes * 10);
        for _ in 0..50 {
            // Lengths of all kinds, so that rows lie across every border.
            let to = next + (next * 7 % full).max(100);
            batch = batch.feed(ROOM, next, to);
            next = to + 1;
        }
        write(&store, &batch).await;
    }
    for limit in [7, 100] {
        assert_eq!(last_entry_read(&store, ROOM, 0, limit).await, next - 1, "{limit} rows at a time");
    }
    for after in [1, 32_766, 32_767, 32_768, 65_535, 65_536, 99_999] {
        let first = page(&store, ROOM, after, 1).await;
        assert!(first[0].first.get() <= after + 1 && first[0].last.get() > after, "after {after}: {first:?}");
    }
}

pub async fn a_fuller_feed_row_replaces_its_shorter_self_only(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (upto, want, what) in [(2, 2, "short"), (4, 4, "fuller"), (3, 4, "late"), (4, 4, "repeated"), (6, 6, "full")] {
        write(&store, &Flush::upto(upto + 1).feed(ROOM, 1, upto)).await;
        assert_eq!(page(&store, ROOM, 0, 10).await, [row(ROOM, 1, want)], "{what}");
    }
}

/// Two flushers that both thought they owned the shard, the one or the other of which ended at some time.
pub async fn overlapping_rows_give_every_entry(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let one = [(1, 10), (11, 30), (31, 40)];
    let other = [(5, 7), (8, 12), (13, 35), (36, 50)];
    let goes_on = [(41, 60), (58, 70)];
    let mut batch = Flush::upto(70);
    for (first, last) in one.into_iter().chain(other).chain(goes_on) {
        batch = batch.feed(ROOM, first, last);
    }
    write(&store, &batch).await;
    for after in 0..70 {
        for limit in 1..4 {
            assert_eq!(last_entry_read(&store, ROOM, after, limit).await, 70, "{limit} rows at a time after {after}");
        }
    }
}

pub async fn rooms_and_shards_do_not_mix(fixture: &impl Fixture) {
    let store = fixture.open().await;
    // Neighbours in bytes as well as in numbers.
    let rooms = [1, 255, 256, 257, 1 << 40, u64::MAX - 1, u64::MAX].map(RoomId);
    let mut batch = Flush::upto(100);
    for (seq, room) in (1..).zip(rooms) {
        batch = batch.feed(room, seq, seq).row(room, LIVE, b"a", b"live", seq).row(room, DAY, b"a", b"day", seq);
    }
    write(&store, &batch).await;
    for (seq, room) in (1..).zip(rooms) {
        assert_eq!(page(&store, room, 0, 10).await, [row(room, seq, seq)], "{room}");
        let want = [state(room, LIVE, b"a", b"live", seq), state(room, DAY, b"a", b"day", seq)];
        assert_eq!(rows_of(&store, SHARD, room).await, want, "{room}");
        assert_eq!(rows_of(&store, OTHER, room).await, [], "another shard has none");
        let query = FeedQuery { shard: OTHER, room, after: RoomSeq::NONE, limit: 10 };
        assert_eq!(store.page_feed(query).await, Ok(vec![]), "another shard has none");
    }
    // Nor do groups and keys of which one begins like another.
    let keys = [&b""[..], b"a", b"ab", b"b", b"\xff", b"\xff\xff"];
    let mut batch = Flush::upto(200);
    for key in keys {
        batch = batch.row(ROOM, RowGroup(0), key, key, 150).row(ROOM, RowGroup(u64::MAX), key, b"last", 151);
    }
    batch = batch.row(ROOM, RowGroup(0), b"", b"empty key", 152);
    write(&store, &batch).await;
    write(&store, &Flush::upto(201).end(ROOM, RowGroup(u64::MAX), 200).row(ROOM, RowGroup(0), b"a", b"", 200)).await;
    let found: Vec<_> = rows_of(&store, SHARD, ROOM).await.into_iter().map(|row| row.key).collect();
    assert_eq!(found, [&b""[..], b"ab", b"b", b"\xff", b"\xff\xff"]);
}

/// A row that a flush up to some event brings, the value and event that are stored afterwards, and what that shows.
type Step = ((u64, &'static str, u64), Option<(&'static str, u64)>, &'static str);

pub async fn room_rows_only_go_forward(fixture: &impl Fixture) {
    let steps: [Step; 5] = [
        ((21, "twenty", 20), Some(("twenty", 20)), "the first"),
        ((11, "ten", 10), Some(("twenty", 20)), "an older row replaced a newer one"),
        ((21, "nineteen", 19), Some(("twenty", 20)), "the same end, reached from elsewhere"),
        ((21, "twenty", 20), Some(("twenty", 20)), "repeated"),
        ((31, "thirty", 30), Some(("thirty", 30)), "a newer one"),
    ];
    take(&fixture.open().await, &steps).await;
}

pub async fn an_empty_value_deletes(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let steps: [Step; 6] = [
        ((6, "open", 5), Some(("open", 5)), "the first"),
        ((9, "", 8), None, "deleted"),
        ((6, "open", 5), None, "what is late brings nothing back"),
        ((9, "", 8), None, "deleted again"),
        ((12, "again", 11), Some(("again", 11)), "what is newer comes back"),
        ((9, "", 8), Some(("again", 11)), "a late end ends nothing newer"),
    ];
    take(&store, &steps).await;
    write(&store, &Flush::upto(21).row(ROOM, LIVE, b"never there", b"", 20)).await;
    assert_eq!(rows_of(&store, SHARD, ROOM).await.len(), 1);
}

async fn take(store: &impl Store, steps: &[Step]) {
    for ((upto, value, seq), want, what) in steps {
        write(store, &Flush::upto(*upto).row(ROOM, LIVE, b"key", value.as_bytes(), *seq)).await;
        let want: Vec<_> = want.iter().map(|(value, seq)| state(ROOM, LIVE, b"key", value.as_bytes(), *seq)).collect();
        assert_eq!(rows_of(store, SHARD, ROOM).await, want, "{what}");
    }
}

/// A flusher that begins again from its checkpoint writes all that came after once more, in order.
pub async fn an_ended_group_stays_ended(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let flushes = [
        Flush::upto(6)
            .row(ROOM, LIVE, b"ann", b"1", 4)
            .row(ROOM, LIVE, b"bob", b"2", 5)
            .row(ROOM, DAY, b"ann", b"1", 5),
        Flush::upto(9).row(ROOM, LIVE, b"ann", b"3", 8).row(RoomId(7), LIVE, b"ann", b"9", 7),
        // Within the flush that ends it there are rows of the group from before its end.
        Flush::upto(12).row(ROOM, LIVE, b"cid", b"4", 9).end(ROOM, LIVE, 10).row(ROOM, DAY, b"ann", b"4", 11),
        Flush::upto(15).row(ROOM, DAY, b"bob", b"5", 14),
    ];
    let want = [state(ROOM, DAY, b"ann", b"4", 11), state(ROOM, DAY, b"bob", b"5", 14)];
    for flush in &flushes {
        write(&store, flush).await;
    }
    assert_eq!(rows_of(&store, SHARD, ROOM).await, want);
    assert_eq!(rows_of(&store, SHARD, RoomId(7)).await, [state(RoomId(7), LIVE, b"ann", b"9", 7)], "another room's");
    for from in 0..flushes.len() {
        for flush in &flushes[from..] {
            write(&store, flush).await;
            assert_eq!(rows_of(&store, SHARD, ROOM).await, want, "repeated from flush {from}");
        }
    }
    // A flusher that was slower, and made its batches elsewhere.
    write(&store, &Flush::upto(8).row(ROOM, LIVE, b"ann", b"1", 4).row(ROOM, LIVE, b"bob", b"2", 5)).await;
    write(&store, &Flush::upto(11).end(ROOM, LIVE, 10)).await;
    assert_eq!(rows_of(&store, SHARD, ROOM).await, want, "a late flush");
    // What was written by a later event than its end was not meant.
    write(&store, &Flush::upto(21).row(ROOM, LIVE, b"dan", b"6", 20)).await;
    write(&store, &Flush::upto(11).end(ROOM, LIVE, 10)).await;
    assert_eq!(rows_of(&store, SHARD, ROOM).await[0], state(ROOM, LIVE, b"dan", b"6", 20));
}

/// As large as a board of a big room's week.
pub async fn a_large_group_is_loaded_and_ends_as_a_whole(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let count = 10_000_u64;
    let mut batch = Flush::upto(count + 1);
    for user in 1..=count {
        batch = batch.row(ROOM, LIVE, &user.to_be_bytes(), b"some score", user);
    }
    write(&store, &batch.row(ROOM, DAY, b"ann", b"1", 1)).await;
    let rows = rows_of(&store, SHARD, ROOM).await;
    assert_eq!(rows.len() as u64, count + 1);
    assert!(rows.is_sorted_by_key(|row| (row.group, row.key.clone())), "they come in order of group and key");
    write(&store, &Flush::upto(count + 3).end(ROOM, LIVE, count - 1)).await;
    let left: Vec<u64> = rows_of(&store, SHARD, ROOM).await.iter().map(|row| row.seq.get()).collect();
    assert_eq!(left, [count, 1], "one is of a later event");
    write(&store, &Flush::upto(count + 4).end(ROOM, LIVE, count + 3)).await;
    assert_eq!(rows_of(&store, SHARD, ROOM).await.len(), 1);
}

pub async fn rooms_are_there_after_reopening(fixture: &impl Fixture) {
    for round in 1..=3u64 {
        let store = fixture.open().await;
        let (last, seq) = (round * 10, round * 10);
        assert_eq!(last_entry_read(&store, ROOM, 0, 2).await, last - 10);
        let kept = [state(ROOM, LIVE, b"kept", b"value", seq - 10)];
        assert_eq!(rows_of(&store, SHARD, ROOM).await, kept[..usize::from(round > 1)]);
        let batch = Flush::upto(seq + 1)
            .feed(ROOM, last - 9, last)
            .row(ROOM, LIVE, b"kept", b"value", seq)
            .row(ROOM, LIVE, b"gone", b"", seq - 2)
            .row(ROOM, DAY, b"ended", b"value", seq - 3)
            .end(ROOM, DAY, seq - 1);
        let before =
            Flush::upto(seq - 3).row(ROOM, LIVE, b"gone", b"value", seq - 4).row(ROOM, DAY, b"a", b"b", seq - 5);
        write(&store, &before).await;
        write(&store, &batch).await;
        // What is older stays out after a restart, too.
        drop(store);
        write(&fixture.open().await, &before).await;
    }
}

/// A flush of a room shard in the making.
#[derive(Clone, Debug)]
struct Flush(FlushBatch);

impl Flush {
    /// Of events below `next`.
    fn upto(next: u64) -> Flush {
        let mut batch = Batch::upto(next).0;
        (batch.shard, batch.checkpoint.shard) = (SHARD, SHARD);
        Flush(batch)
    }

    fn feed(mut self, room: RoomId, first: u64, last: u64) -> Flush {
        self.0.feed.push(row(room, first, last));
        self.0.feed.sort_by_key(|row| (row.room, row.first));
        self
    }

    /// Of two of one key the newer is in the flush, as the flusher sees to.
    fn row(mut self, room: RoomId, group: RowGroup, key: &[u8], value: &[u8], seq: u64) -> Flush {
        self.0.rooms.retain(|row| (row.room, row.group, &row.key[..]) != (room, group, key));
        self.0.rooms.push(state(room, group, key, value, seq));
        self.0.rooms.sort_by(|one, other| (one.room, one.group, &one.key).cmp(&(other.room, other.group, &other.key)));
        self
    }

    fn end(mut self, room: RoomId, group: RowGroup, seq: u64) -> Flush {
        self.0.ended.push(EndedGroup { room, group, seq: Seq(seq) });
        self
    }
}

fn row(room: RoomId, first: u64, last: u64) -> FeedRow {
    let items = (first..=last).flat_map(|number| (room.get() ^ number).to_le_bytes()).collect();
    FeedRow { room, first: RoomSeq(first), last: RoomSeq(last), items }
}

fn state(room: RoomId, group: RowGroup, key: &[u8], value: &[u8], seq: u64) -> RoomRow {
    RoomRow { room, group, key: key.to_vec(), value: value.to_vec(), seq: Seq(seq) }
}

async fn write(store: &impl Store, flush: &Flush) {
    store.write(flush.0.clone()).await.expect("a healthy store takes every batch");
}

async fn page(store: &impl Store, room: RoomId, after: u64, limit: usize) -> Vec<FeedRow> {
    let query = FeedQuery { shard: SHARD, room, after: RoomSeq(after), limit };
    store.page_feed(query).await.expect("a healthy store answers")
}

async fn rows_of(store: &impl Store, shard: ShardId, room: RoomId) -> Vec<RoomRow> {
    store.load_room(shard, room).await.expect("a healthy store answers")
}

/// Reads on as long as there is something, so many rows at a time; no entry may be missing.
async fn last_entry_read(store: &impl Store, room: RoomId, after: u64, limit: usize) -> u64 {
    let mut known = after;
    loop {
        let rows = page(store, room, known, limit).await;
        assert!(rows.len() <= limit, "a page of {limit} has {}", rows.len());
        if rows.is_empty() {
            return known;
        }
        for found in rows {
            assert_eq!(found, row(room, found.first.get(), found.last.get()), "it is as it was written");
            assert!(found.first.get() <= known + 1, "after {known} comes {}", found.first);
            known = known.max(found.last.get());
        }
    }
}
