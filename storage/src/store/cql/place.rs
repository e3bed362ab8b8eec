//! Where rows lie: which partition, and how our numbers are written as CQL's.
//!
//! Numbers of CQL are signed. Users are written bit by bit, so an id above 2^63 − 1 shows as a negative number; shards are
//! written as one number, 65536 + N for wallet shard N, 131072 + N for room shard N and 0 for the control shard.

use largesse_engine::event_id::EventId;
use largesse_engine::room::event::RowGroup;
use largesse_engine::store::{HistorySlot, StoreError};
use largesse_engine::units::{AssetId, RoomId, RoomSeq, Seq, ShardId, Time, UserId};
use scylla::value::CqlTimestamp;
use uuid::Uuid;

const HOUR_MILLIS: u64 = 3_600_000;
const HOUR_SECONDS: u32 = 3_600;
/// The largest time that an id can carry.
const ID_TIME_MAX: u64 = (1 << 48) - 1;

/// Into how many partitions a shard's rows of one table and one hour are split. Fixed when the store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    subs: u32,
}

impl Layout {
    /// `partitions` are those of all shards together, so that their size does not depend on how many shards there are.
    pub fn new(partitions: u32, wallet_shards: u16) -> Layout {
        Layout { subs: (partitions / u32::from(wallet_shards)).max(1) }
    }

    pub fn subs(&self) -> impl Iterator<Item = i32> + use<> {
        0..i32::try_from(self.subs).expect("partitions are at most a million")
    }

    /// The user's part of their shard, in every table.
    pub fn sub(&self, user: UserId) -> i32 {
        let part = scatter(user.get()) % u64::from(self.subs);
        i32::try_from(part).expect("partitions are at most a million")
    }
}

/// The finaliser of MurmurHash3 (Austin Appleby, public domain). Not the hash that spreads users over shards: the users of
/// one shard have that one's remainder in common.
pub fn scatter(id: u64) -> u64 {
    let mut z = id;
    z = (z ^ (z >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    z ^ (z >> 33)
}

pub fn shard(shard: ShardId) -> i32 {
    shard.to_u32().cast_signed()
}

pub fn user(user: UserId) -> i64 {
    user.get().cast_signed()
}

pub fn read_user(number: i64) -> UserId {
    UserId(number.cast_unsigned())
}

pub fn asset(asset: AssetId) -> i32 {
    i32::from(asset.get())
}

pub fn read_asset(table: &str, number: i32) -> Result<AssetId, StoreError> {
    let damaged = |_| StoreError::Damaged(format!("table {table} names an asset {number}, which cannot be"));
    u16::try_from(number).map(AssetId).map_err(damaged)
}

pub fn seq(seq: Seq) -> i64 {
    seq.get().cast_signed()
}

pub fn read_seq(number: i64) -> Seq {
    Seq(number.cast_unsigned())
}

pub fn room(room: RoomId) -> i64 {
    room.get().cast_signed()
}

pub fn room_seq(number: RoomSeq) -> i64 {
    number.get().cast_signed()
}

pub fn read_room_seq(number: i64) -> RoomSeq {
    RoomSeq(number.cast_unsigned())
}

pub fn group(group: RowGroup) -> i64 {
    group.0.cast_signed()
}

pub fn time(at: Time) -> CqlTimestamp {
    CqlTimestamp(at.get().cast_signed())
}

pub fn read_time(at: CqlTimestamp) -> Time {
    Time(at.0.cast_unsigned())
}

pub fn uuid(id: EventId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// The part of time that a partition of history covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u32);

impl Hour {
    pub fn of(at: Time) -> Hour {
        Hour(u32::try_from(at.get() / HOUR_MILLIS).unwrap_or(u32::MAX))
    }

    pub fn of_slot(slot: HistorySlot) -> Hour {
        Hour(slot.0 / HOUR_SECONDS)
    }

    /// When it begins, which is how tables name it.
    pub fn column(self) -> CqlTimestamp {
        CqlTimestamp((u64::from(self.0) * HOUR_MILLIS).cast_signed())
    }

    pub fn read(column: CqlTimestamp) -> Result<Hour, StoreError> {
        let hour = u64::try_from(column.0).ok().filter(|millis| millis.is_multiple_of(HOUR_MILLIS));
        let hour = hour.and_then(|millis| u32::try_from(millis / HOUR_MILLIS).ok()).map(Hour);
        hour.ok_or_else(|| StoreError::Damaged(format!("a list of hours names {} ms, which is no hour", column.0)))
    }

    /// Below every event of this hour, above every event of the one before.
    pub fn floor_of_sent(self) -> SentKey {
        SentKey::first_of(Time(u64::from(self.0) * HOUR_MILLIS))
    }

    pub fn floor_of_received(self) -> Place {
        Place { slot: HistorySlot(self.0.saturating_mul(HOUR_SECONDS)), source: 0, seq: Seq::NONE }
    }
}

pub fn slot(slot: HistorySlot) -> CqlTimestamp {
    CqlTimestamp((u64::from(slot.0) * HistorySlot::MILLIS).cast_signed())
}

pub fn read_slot(column: CqlTimestamp) -> Result<HistorySlot, StoreError> {
    let slot = u64::try_from(column.0).ok().and_then(|millis| u32::try_from(millis / HistorySlot::MILLIS).ok());
    slot.map(HistorySlot).ok_or_else(|| StoreError::Damaged(format!("table received names a slot {} ms", column.0)))
}

/// The end of a key in `sent`, in the order of the list.
///
/// Ids without a time lose their first six bytes to the time of their event, so those follow as `head`: two events can
/// never share a row, even if someone makes up an id on purpose to hit the row of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SentKey {
    pub id: EventId,
    pub head: Vec<u8>,
}

/// Lead of a caller's id that is not in the stored one.
const HEAD_BYTES: usize = 6;

impl SentKey {
    pub fn of(id: EventId, at: Time) -> SentKey {
        let stored = id.stored_as(at);
        let head = if stored == id { Vec::new() } else { id.as_bytes()[..HEAD_BYTES].to_vec() };
        SentKey { id: stored, head }
    }

    /// Below every key with this time. Ids keep their version in all bounds: databases compare it before the rest.
    pub fn first_of(at: Time) -> SentKey {
        SentKey { id: bound(at, 0x70, 0), head: Vec::new() }
    }

    /// Above every key with this time.
    pub fn end_of(at: Time) -> SentKey {
        SentKey { id: bound(at, 0x7f, 0xff), head: vec![0xff; HEAD_BYTES + 1] }
    }

    pub fn hour(&self) -> Hour {
        Hour::of(self.id.time().unwrap_or_default())
    }

    fn is_one(&self) -> bool {
        self.id.time().is_some() && matches!(self.head.len(), 0 | HEAD_BYTES)
    }
}

fn bound(at: Time, version: u8, rest: u8) -> EventId {
    let mut bytes = [rest; 16];
    bytes[..6].copy_from_slice(&at.get().min(ID_TIME_MAX).to_be_bytes()[2..]);
    bytes[6] = version;
    EventId::from_bytes(bytes)
}

/// Lowest key and end of the keys whose times lie within the inclusive bounds; `None` when none can.
pub fn sent_bounds(since: Option<Time>, until: Option<Time>) -> Option<(SentKey, SentKey)> {
    let since = since.unwrap_or(Time::ZERO);
    let until = until.map_or(Time(ID_TIME_MAX), |until| until.min(Time(ID_TIME_MAX)));
    (since <= until).then(|| (SentKey::first_of(since), SentKey::end_of(until)))
}

/// Place of an entry in what a user received. The list runs from the highest place to the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub slot: HistorySlot,
    /// As a number, since lists are in order of it.
    pub source: u32,
    pub seq: Seq,
}

impl Place {
    /// Above everything that `slot` holds.
    pub const fn top_of(slot: HistorySlot) -> Place {
        Place { slot, source: i32::MAX.cast_unsigned(), seq: Seq(i64::MAX.cast_unsigned()) }
    }

    pub fn hour(&self) -> Hour {
        Hour::of_slot(self.slot)
    }

    pub fn columns(&self) -> (CqlTimestamp, i32, i64) {
        (slot(self.slot), self.source.cast_signed(), seq(self.seq))
    }
}

/// Where a page of received entries ended: behind this many entries of this place, since one event can bring a
/// receiver several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub place: Place,
    pub used: u16,
}

const CURSOR_VERSION: u8 = 1;

/// Which list a cursor belongs to. Not the numbers of the embedded store: its cursors mean nothing here.
#[derive(Clone, Copy)]
enum List {
    Sent = 3,
    Received = 4,
}

mod cursor {
    use bytes::Bytes;

    use super::*;

    fn head(list: List, shard: ShardId, owner: UserId) -> Vec<u8> {
        let mut cursor = vec![CURSOR_VERSION, list as u8];
        cursor.extend_from_slice(&shard.to_u32().to_be_bytes());
        cursor.extend_from_slice(&owner.get().to_be_bytes());
        cursor
    }

    fn body(cursor: &Bytes, list: List, shard: ShardId, owner: UserId) -> Result<&[u8], StoreError> {
        cursor.strip_prefix(&head(list, shard, owner)[..]).ok_or(StoreError::CursorInvalid)
    }

    /// Goes on below this key.
    pub fn sent(shard: ShardId, sender: UserId, key: &SentKey) -> Bytes {
        let mut cursor = head(List::Sent, shard, sender);
        cursor.extend_from_slice(key.id.as_bytes());
        cursor.extend_from_slice(&key.head);
        cursor.into()
    }

    pub fn read_sent(cursor: &Bytes, shard: ShardId, sender: UserId) -> Result<SentKey, StoreError> {
        let body = body(cursor, List::Sent, shard, sender)?;
        let key = body.split_first_chunk::<16>();
        let key = key.map(|(id, head)| SentKey { id: EventId::from_bytes(*id), head: head.to_vec() });
        key.filter(SentKey::is_one).ok_or(StoreError::CursorInvalid)
    }

    pub fn received(shard: ShardId, receiver: UserId, resume: Resume) -> Bytes {
        let mut cursor = head(List::Received, shard, receiver);
        cursor.extend_from_slice(&resume.place.slot.0.to_be_bytes());
        cursor.extend_from_slice(&resume.place.source.to_be_bytes());
        cursor.extend_from_slice(&resume.place.seq.get().to_be_bytes());
        cursor.extend_from_slice(&resume.used.to_be_bytes());
        cursor.into()
    }

    pub fn read_received(cursor: &Bytes, shard: ShardId, receiver: UserId) -> Result<Resume, StoreError> {
        let body = body(cursor, List::Received, shard, receiver)?;
        let read = || {
            let (slot, rest) = body.split_first_chunk::<4>()?;
            let (source, rest) = rest.split_first_chunk::<4>()?;
            let (seq, rest) = rest.split_first_chunk::<8>()?;
            let used = u16::from_be_bytes(rest.try_into().ok()?);
            let slot = HistorySlot(u32::from_be_bytes(*slot));
            let place = Place { slot, source: u32::from_be_bytes(*source), seq: Seq(u64::from_be_bytes(*seq)) };
            let top = Place::top_of(slot);
            (place.source <= top.source && place.seq <= top.seq).then_some(Resume { place, used })
        };
        read().ok_or(StoreError::CursorInvalid)
    }
}

pub use cursor::{read_received, read_sent, received as received_cursor, sent as sent_cursor};

#[cfg(test)]
impl Hour {
    pub const FIRST: Hour = Hour(0);
    pub const LAST: Hour = Hour(u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId::wallet(3);

    #[test]
    fn users_never_move() {
        let layout = Layout::new(1_024, 16);
        let places: Vec<i32> = [1, 2, 3, 2001, 3001, u64::MAX].map(|id| layout.sub(UserId(id))).into();
        // These are in every store there is. If this test fails, rows are looked for where they are not.
        assert_eq!(places, [44, 39, 14, 39, 42, 33], "the spread over partitions must never change");
        assert_eq!(Layout::new(1_024, 4_096).subs().count(), 1, "never less than one");
    }

    /// Users of one shard have something in common already.
    #[test]
    fn the_users_of_one_shard_fill_all_of_its_parts() {
        let (shape, layout) = (largesse_engine::ledger::LedgerShape::new(16), Layout::new(1_024, 16));
        let mut counts = vec![0; 64];
        let of_shard = (1..200_000).map(UserId).filter(|user| shape.wallet_of(*user) == SHARD);
        of_shard.for_each(|user| counts[usize::try_from(layout.sub(user)).unwrap()] += 1);
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 140 && *most < 260, "{least} to {most} of about 195");
    }

    #[test]
    fn a_made_up_id_never_hits_the_row_of_another() {
        let at = Time(1_700_000_000_000);
        let timeless = EventId::hashed("key", &["a"]);
        assert_ne!(SentKey::of(timeless, at), SentKey::of(timeless.stored_as(at), at));
        let mut twin = *timeless.as_bytes();
        twin[0] ^= 1;
        let twin = EventId::from_bytes(twin);
        assert_eq!(twin.stored_as(at), timeless.stored_as(at), "this is the case that the six bytes are for");
        assert_ne!(SentKey::of(twin, at), SentKey::of(timeless, at));
    }

    #[test]
    fn bounds_hold_every_id_of_their_milliseconds_and_no_other() {
        let (low, end) = sent_bounds(Some(Time(10)), Some(Time(20))).unwrap();
        for (time, inside) in [(9, false), (10, true), (20, true), (21, false)] {
            for random in [[0; 10], [0xff; 10]] {
                let key = SentKey::of(EventId::v7(Time(time), random), Time(0));
                assert_eq!(low <= key && key < end, inside, "{time} {random:?}");
            }
        }
        assert!(sent_bounds(Some(Time(2)), Some(Time(1))).is_none());
        assert!(sent_bounds(Some(Time(u64::MAX)), None).is_none());
        let hour = Hour::of(Time(1_700_000_000_000));
        let key = SentKey::of(EventId::v7(Time(1_700_000_000_000), [0; 10]), Time(0));
        assert!(hour.floor_of_sent() < key && key.hour() == hour);
        assert!(Hour(hour.0 + 1).floor_of_sent() > key);
    }

    #[test]
    fn hours_are_read_as_they_are_written() {
        for hour in [Hour::FIRST, Hour(472_222), Hour::LAST] {
            assert_eq!(Hour::read(hour.column()), Ok(hour));
        }
        assert!(Hour::read(CqlTimestamp(1)).is_err() && Hour::read(CqlTimestamp(-3_600_000)).is_err());
        assert_eq!(Hour(472_222).column().0, 1_699_999_200_000);
        assert_eq!(read_slot(slot(HistorySlot(u32::MAX))), Ok(HistorySlot(u32::MAX)));
    }

    #[test]
    fn cursors_belong_to_one_list_of_one_user() {
        let resume = Resume { place: Place { slot: HistorySlot(5), source: 6, seq: Seq(7) }, used: 8 };
        let cursor = received_cursor(SHARD, UserId(1), resume);
        assert_eq!(read_received(&cursor, SHARD, UserId(1)), Ok(resume));
        let refused = Err(StoreError::CursorInvalid);
        assert_eq!(read_received(&cursor, SHARD, UserId(2)), refused);
        assert_eq!(read_received(&cursor, ShardId::wallet(4), UserId(1)), refused);
        assert_eq!(read_received(&cursor.slice(..cursor.len() - 1), SHARD, UserId(1)), refused);
        assert_eq!(read_sent(&cursor, SHARD, UserId(1)), Err(StoreError::CursorInvalid));
        let key = SentKey::of(EventId::hashed("key", &["a"]), Time(77));
        assert_eq!(read_sent(&sent_cursor(SHARD, UserId(1), &key), SHARD, UserId(1)), Ok(key));
    }
}
