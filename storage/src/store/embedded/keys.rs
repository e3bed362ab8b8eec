//! Keys of the tables, big-endian so that the order of bytes is the order of the list, and the cursors made of them.
//!
//! | table | key |
//! |---|---|
//! | `balance` | shard, user, asset |
//! | `sent` | shard, user, stored id, and the first six bytes of the caller's id where the two ids differ |
//! | `receipt_pointer` | shard, user, caller's id; the value is the end of the key in `sent` |
//! | `received` | shard of the receiver, user, slot, source shard, first seq |
//! | `room_feed` | shard, room, number of the row's first entry |
//! | `room_state` | shard, room, group, and the row's own key |
//! | `checkpoint` | shard |

use bytes::Bytes;
use largesse_engine::event_id::EventId;
use largesse_engine::room::event::RowGroup;
use largesse_engine::store::{HistorySlot, StoreError};
use largesse_engine::units::{AssetId, RoomId, RoomSeq, Seq, ShardId, Time, UserId};

const USER_BYTES: usize = 12;
const ROOM_BYTES: usize = 12;
const SLOT_END: usize = USER_BYTES + 4;
const SOURCE_END: usize = SLOT_END + 4;
const FIRST_END: usize = SOURCE_END + 8;
/// The largest time that an id can carry.
const ID_TIME_MAX: u64 = (1 << 48) - 1;

pub fn shard(shard: ShardId) -> [u8; 4] {
    shard.to_u32().to_be_bytes()
}

/// What all rows of one user start with.
pub fn user(shard: ShardId, user: UserId) -> [u8; USER_BYTES] {
    let mut key = [0; USER_BYTES];
    key[..4].copy_from_slice(&shard.to_u32().to_be_bytes());
    key[4..].copy_from_slice(&user.get().to_be_bytes());
    key
}

pub fn balance(shard: ShardId, holder: UserId, asset: AssetId) -> [u8; USER_BYTES + 2] {
    let mut key = [0; USER_BYTES + 2];
    key[..USER_BYTES].copy_from_slice(&user(shard, holder));
    key[USER_BYTES..].copy_from_slice(&asset.get().to_be_bytes());
    key
}

pub fn read_balance(key: &[u8]) -> Result<(UserId, AssetId), StoreError> {
    let asset = key.get(USER_BYTES..USER_BYTES + 2).filter(|_| key.len() == USER_BYTES + 2);
    match (be_u64(key, 4), asset) {
        (Some(user), Some(asset)) => Ok((UserId(user), AssetId(u16::from_be_bytes([asset[0], asset[1]])))),
        _ => Err(damaged("balance", key)),
    }
}

/// The end of a key in `sent`.
///
/// Ids without a time lose their first six bytes to the time of their event, so those follow at the end: two events
/// can never share a row, even if someone makes up an id on purpose to hit the row of another.
pub fn sent_tail(id: EventId, at: Time) -> Vec<u8> {
    let stored = id.stored_as(at);
    let mut tail = stored.as_bytes().to_vec();
    if stored != id {
        tail.extend_from_slice(&id.as_bytes()[..6]);
    }
    tail
}

pub fn with_tail(shard: ShardId, sender: UserId, tail: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(USER_BYTES + tail.len());
    key.extend_from_slice(&user(shard, sender));
    key.extend_from_slice(tail);
    key
}

/// First and last possible key in `sent` of ids whose time lies within the inclusive bounds; `None` when none can.
pub fn sent_bounds(
    shard: ShardId,
    sender: UserId,
    since: Option<Time>,
    until: Option<Time>,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let since = since.map_or(0, Time::get);
    let until = until.map_or(ID_TIME_MAX, |until| until.get().min(ID_TIME_MAX));
    if since > until {
        return None;
    }
    let mut low = with_tail(shard, sender, &since.to_be_bytes()[2..]);
    low.resize(USER_BYTES + 6, 0);
    let mut high = with_tail(shard, sender, &until.to_be_bytes()[2..]);
    high.resize(USER_BYTES + 22, 0xff);
    Some((low, high))
}

/// Place of an entry in what a user received. The list runs from the highest place to the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub slot: HistorySlot,
    pub source: u32,
    pub seq: Seq,
}

impl Place {
    /// Above everything that `slot` holds.
    pub const fn top_of(slot: HistorySlot) -> Place {
        Place { slot, source: u32::MAX, seq: Seq(u64::MAX) }
    }
}

/// Key of a row in `received`: the place of its first entry.
pub fn received(shard: ShardId, receiver: UserId, first: Place) -> [u8; FIRST_END] {
    let mut key = [0; FIRST_END];
    key[..USER_BYTES].copy_from_slice(&user(shard, receiver));
    key[USER_BYTES..SLOT_END].copy_from_slice(&first.slot.0.to_be_bytes());
    key[SLOT_END..SOURCE_END].copy_from_slice(&first.source.to_be_bytes());
    key[SOURCE_END..].copy_from_slice(&first.seq.get().to_be_bytes());
    key
}

pub fn read_received(key: &[u8]) -> Result<Place, StoreError> {
    match (be_u32(key, USER_BYTES), be_u32(key, SLOT_END), be_u64(key, SOURCE_END)) {
        (Some(slot), Some(source), Some(first)) if key.len() == FIRST_END => {
            Ok(Place { slot: HistorySlot(slot), source, seq: Seq(first) })
        }
        _ => Err(damaged("received", key)),
    }
}

/// What all rows of one room start with.
pub fn room(shard: ShardId, room: RoomId) -> [u8; ROOM_BYTES] {
    let mut key = [0; ROOM_BYTES];
    key[..4].copy_from_slice(&shard.to_u32().to_be_bytes());
    key[4..].copy_from_slice(&room.get().to_be_bytes());
    key
}

pub fn feed(shard: ShardId, of: RoomId, first: RoomSeq) -> [u8; ROOM_BYTES + 8] {
    with_number(shard, of, first.get())
}

pub fn read_feed(key: &[u8]) -> Result<RoomSeq, StoreError> {
    let first = be_u64(key, ROOM_BYTES).filter(|_| key.len() == ROOM_BYTES + 8);
    first.map(RoomSeq).ok_or_else(|| damaged("room_feed", key))
}

/// What all rows of one group start with.
pub fn group(shard: ShardId, of: RoomId, group: RowGroup) -> [u8; ROOM_BYTES + 8] {
    with_number(shard, of, group.0)
}

pub fn room_row(shard: ShardId, of: RoomId, within: RowGroup, own: &[u8]) -> Vec<u8> {
    [&group(shard, of, within)[..], own].concat()
}

/// The group of a row, and the row's own key.
pub fn read_room_row(key: &[u8]) -> Result<(RowGroup, &[u8]), StoreError> {
    match (be_u64(key, ROOM_BYTES), key.get(ROOM_BYTES + 8..)) {
        (Some(group), Some(own)) => Ok((RowGroup(group), own)),
        _ => Err(damaged("room_state", key)),
    }
}

fn with_number(shard: ShardId, of: RoomId, number: u64) -> [u8; ROOM_BYTES + 8] {
    let mut key = [0; ROOM_BYTES + 8];
    key[..ROOM_BYTES].copy_from_slice(&room(shard, of));
    key[ROOM_BYTES..].copy_from_slice(&number.to_be_bytes());
    key
}

fn be_u32(key: &[u8], at: usize) -> Option<u32> {
    key.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn be_u64(key: &[u8], at: usize) -> Option<u64> {
    key.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

fn damaged(table: &str, key: &[u8]) -> StoreError {
    StoreError::Damaged(format!("a key of table {table} has a shape that it cannot have: {key:02x?}"))
}

const CURSOR_VERSION: u8 = 1;

/// Which list a cursor belongs to.
#[derive(Clone, Copy)]
enum List {
    Sent = 1,
    Received = 2,
}

fn cursor_head(list: List, shard: ShardId, owner: UserId) -> Vec<u8> {
    let mut cursor = vec![CURSOR_VERSION, list as u8];
    cursor.extend_from_slice(&user(shard, owner));
    cursor
}

fn cursor_body(cursor: &Bytes, list: List, shard: ShardId, owner: UserId) -> Result<&[u8], StoreError> {
    cursor.strip_prefix(&cursor_head(list, shard, owner)[..]).ok_or(StoreError::CursorInvalid)
}

/// Goes on below this row.
pub fn sent_cursor(shard: ShardId, sender: UserId, tail: &[u8]) -> Bytes {
    let mut cursor = cursor_head(List::Sent, shard, sender);
    cursor.extend_from_slice(tail);
    cursor.into()
}

/// The end of the last row's key.
pub fn read_sent_cursor(cursor: &Bytes, shard: ShardId, sender: UserId) -> Result<&[u8], StoreError> {
    let tail = cursor_body(cursor, List::Sent, shard, sender)?;
    if matches!(tail.len(), 16 | 22) { Ok(tail) } else { Err(StoreError::CursorInvalid) }
}

/// Where a page of received entries ended: behind this many entries of this place, since one event can bring a
/// receiver several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub place: Place,
    pub used: u16,
}

pub fn received_cursor(shard: ShardId, receiver: UserId, resume: Resume) -> Bytes {
    let mut cursor = cursor_head(List::Received, shard, receiver);
    cursor.extend_from_slice(&resume.place.slot.0.to_be_bytes());
    cursor.extend_from_slice(&resume.place.source.to_be_bytes());
    cursor.extend_from_slice(&resume.place.seq.get().to_be_bytes());
    cursor.extend_from_slice(&resume.used.to_be_bytes());
    cursor.into()
}

pub fn read_received_cursor(cursor: &Bytes, shard: ShardId, receiver: UserId) -> Result<Resume, StoreError> {
    let body = cursor_body(cursor, List::Received, shard, receiver)?;
    let read = || {
        let place = Place { slot: HistorySlot(be_u32(body, 0)?), source: be_u32(body, 4)?, seq: Seq(be_u64(body, 8)?) };
        let used = u16::from_be_bytes(body.get(16..18)?.try_into().ok()?);
        (body.len() == 18).then_some(Resume { place, used })
    };
    read().ok_or(StoreError::CursorInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId::wallet(3);

    #[test]
    fn bytes_order_as_numbers_do() {
        assert!(balance(SHARD, UserId(255), AssetId(9)) < balance(SHARD, UserId(256), AssetId(1)));
        let place = |slot, source, seq| Place { slot: HistorySlot(slot), source, seq: Seq(seq) };
        let rising = [place(1, 9, 9), place(2, 1, 300), place(2, 2, 255), place(2, 2, 256), place(256, 0, 0)];
        for pair in rising.windows(2) {
            assert!(received(SHARD, UserId(7), pair[0]) < received(SHARD, UserId(7), pair[1]), "{pair:?}");
            assert_eq!(read_received(&received(SHARD, UserId(7), pair[0])).unwrap(), pair[0]);
        }
    }

    #[test]
    fn keys_of_rooms_order_as_numbers_do_and_are_read_back() {
        let feed_at = |room, first| feed(ShardId::room(3), RoomId(room), RoomSeq(first));
        let rising = [feed_at(1, u64::MAX), feed_at(255, 1), feed_at(256, 255), feed_at(256, 256)];
        assert!(rising.is_sorted());
        assert_eq!(read_feed(&rising[3]), Ok(RoomSeq(256)));
        assert!(read_feed(&rising[3][..19]).is_err());
        let row = room_row(ShardId::room(3), RoomId(7), RowGroup(1 << 32), b"own");
        assert!(row.starts_with(&group(ShardId::room(3), RoomId(7), RowGroup(1 << 32))));
        assert_eq!(read_room_row(&row), Ok((RowGroup(1 << 32), &b"own"[..])));
        assert!(read_room_row(&row[..19]).is_err());
    }

    #[test]
    fn a_made_up_id_never_hits_the_row_of_another() {
        let at = Time(1_700_000_000_000);
        let timeless = EventId::hashed("key", &["a"]);
        let made_up = timeless.stored_as(at);
        assert_ne!(sent_tail(timeless, at), sent_tail(made_up, at));
        let mut twin = *timeless.as_bytes();
        twin[0] ^= 1;
        let twin = EventId::from_bytes(twin);
        assert_eq!(twin.stored_as(at), timeless.stored_as(at), "this is the case that the six bytes are for");
        assert_ne!(sent_tail(twin, at), sent_tail(timeless, at));
    }

    #[test]
    fn bounds_hold_every_id_of_their_milliseconds_and_no_other() {
        let (low, high) = sent_bounds(SHARD, UserId(1), Some(Time(10)), Some(Time(20))).unwrap();
        for (time, inside) in [(9, false), (10, true), (20, true), (21, false)] {
            for random in [[0; 10], [0xff; 10]] {
                let key = with_tail(SHARD, UserId(1), &sent_tail(EventId::v7(Time(time), random), Time(0)));
                assert_eq!(low <= key && key <= high, inside, "{time} {random:?}");
            }
        }
        assert!(sent_bounds(SHARD, UserId(1), Some(Time(2)), Some(Time(1))).is_none());
        assert!(sent_bounds(SHARD, UserId(1), Some(Time(u64::MAX)), None).is_none());
    }

    #[test]
    fn cursors_belong_to_one_list_of_one_user() {
        let resume = Resume { place: Place { slot: HistorySlot(5), source: 6, seq: Seq(7) }, used: 8 };
        let cursor = received_cursor(SHARD, UserId(1), resume);
        assert_eq!(read_received_cursor(&cursor, SHARD, UserId(1)), Ok(resume));
        let refused = Err(StoreError::CursorInvalid);
        assert_eq!(read_received_cursor(&cursor, SHARD, UserId(2)), refused);
        assert_eq!(read_received_cursor(&cursor, ShardId::wallet(4), UserId(1)), refused);
        assert_eq!(read_received_cursor(&cursor.slice(..cursor.len() - 1), SHARD, UserId(1)), refused);
        assert_eq!(read_sent_cursor(&cursor, SHARD, UserId(1)), Err(StoreError::CursorInvalid));
    }
}
