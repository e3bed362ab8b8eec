//! What the engine needs of its store: rows that are views of the logs, written behind and never believed over them.
//!
//! Every write may be repeated, and may arrive after a newer one: a row only ever goes forward in `seq`.

use std::time::Duration;

use bincode::{Decode, Encode};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::event_id::EventId;
use crate::fold::Fold;
use crate::room::event::RowGroup;
use crate::sabotage::{self, Rule};
use crate::units::{Amount, AssetId, EventPosition, GiftId, Position, RoomId, RoomSeq, Seq, ShardId, Time, UserId};

pub trait Store: Send + Sync + 'static {
    /// All balances of each user, in the order asked for; a user without rows has none.
    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>>;

    /// The event that an id stands for, by whatever id the caller used, in the order asked for.
    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>>;

    /// Writes rows and then, when all of them are safe, the checkpoint. Both parts of a checkpoint only go forward, each by
    /// itself: see [`Checkpoint::over`].
    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>>;

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>>;

    /// How long it may still forget what it has acknowledged, as a database does that is killed before it has synced.
    fn forgets_for(&self) -> Duration;

    /// Own events of a user, newest first.
    fn page_sent(&self, query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>>;

    /// What a user received, newest slot first; see [`ReceivedRow`].
    fn page_received(&self, query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>>;

    /// Everything that is kept of a room beside its feed.
    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>>;

    /// Rows of a room's feed in order, the first of them the one that holds the entry after `after`, or would. Rows of two
    /// flushers can overlap: readers drop an entry whose number they have seen.
    fn page_feed(&self, query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>>;

    /// Every balance row of a shard, `after` exclusive, in order of user and asset, for audits.
    fn scan_balances(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    #[error("the store holds something that cannot be read: {0}")]
    Damaged(String),
    #[error("this cursor was not made by this list")]
    CursorInvalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
pub struct BalanceRow {
    pub user: UserId,
    pub asset: AssetId,
    pub amount: Amount,
    /// The event that last changed it; the higher one wins.
    pub seq: Seq,
}

/// One event as its own user's history and receipt: the bytes of the log with their place and time.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StoredEvent {
    pub shard: ShardId,
    pub seq: Seq,
    pub at: Time,
    /// A `WalletEvent`, encoded.
    pub event: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentRow {
    pub user: UserId,
    /// The id of the caller. The row lies under `id.stored_as(at)`; where the two differ a pointer row leads there.
    pub id: EventId,
    pub stored: StoredEvent,
}

/// What one receiver got from one source shard within one slot of time and one flush: many entries in one row.
///
/// The row's key is (user, slot, source, `first`); `first` is the first event in it. A flush that is repeated from the
/// same checkpoint makes rows with the same keys, which overwrite their shorter selves. Rows of two flushers that
/// overlapped can share events: readers drop an entry whose (source, seq) they have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRow {
    pub user: UserId,
    /// The receiver's own shard, which is where its pages are read.
    pub shard: ShardId,
    pub slot: HistorySlot,
    /// Spreads a hot receiver's rows over partitions; embedded stores ignore it.
    pub spread: u8,
    pub source: ShardId,
    pub first: Seq,
    pub last: Seq,
    /// In order of `seq`.
    pub entries: Vec<ReceivedEntry>,
}

/// History is ordered by slots of one second; within a slot by source shard and seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct HistorySlot(pub u32);

impl HistorySlot {
    pub const MILLIS: u64 = 1_000;

    pub fn of(at: Time) -> HistorySlot {
        HistorySlot(u32::try_from(at.get() / Self::MILLIS).unwrap_or(u32::MAX))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReceivedEntry {
    pub source: ShardId,
    pub seq: Seq,
    pub at: Time,
    pub id: EventId,
    pub kind: ReceivedKind,
    pub sender: UserId,
    pub asset: AssetId,
    pub amount: Amount,
}

/// Variants are only added, at the end: it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReceivedKind {
    Gift {
        room: RoomId,
        gift: GiftId,
        count: u16,
    },
    Transfer,
    /// As `Gift`; the receiver is not told whose it is.
    AnonymousGift {
        room: RoomId,
        gift: GiftId,
        count: u16,
    },
}

/// Entries of a room's feed that follow each other, packed. The row's key is (room, `first`); a flush that is repeated from
/// the same checkpoint makes rows with the same keys, which overwrite their shorter selves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRow {
    pub room: RoomId,
    /// Number of the first entry.
    pub first: RoomSeq,
    /// Number of the last entry.
    pub last: RoomSeq,
    /// A list of `FeedItem`, encoded.
    pub items: Vec<u8>,
}

/// One row of what a room is besides its feed; the key is (room, `group`, `key`), and of two the one with the higher `seq`
/// wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRow {
    pub room: RoomId,
    pub group: RowGroup,
    pub key: Vec<u8>,
    /// Empty: the row is gone.
    pub value: Vec<u8>,
    /// The event that last changed it.
    pub seq: Seq,
}

/// All rows of a group that were written by this event or before it are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedGroup {
    pub room: RoomId,
    pub group: RowGroup,
    pub seq: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedQuery {
    pub shard: ShardId,
    pub room: RoomId,
    /// Number of the last entry that is known already.
    pub after: RoomSeq,
    /// Most rows on the page; a row holds up to [`FEED_ROW_ITEMS_MAX`] entries.
    pub limit: usize,
}

/// Entries in one row of a feed, at most.
pub const FEED_ROW_ITEMS_MAX: usize = 256;

/// Everything one flush moves into the store, already sorted by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushBatch {
    pub shard: ShardId,
    /// One per account: the newest in the batch.
    pub balances: Vec<BalanceRow>,
    pub sent: Vec<SentRow>,
    pub received: Vec<ReceivedRow>,
    pub feed: Vec<FeedRow>,
    /// One per key: the newest in the batch.
    pub rooms: Vec<RoomRow>,
    /// To be carried out after `rooms` was written.
    pub ended: Vec<EndedGroup>,
    pub checkpoint: Checkpoint,
}

impl FlushBatch {
    /// Nothing but a checkpoint.
    pub fn new(checkpoint: Checkpoint) -> FlushBatch {
        FlushBatch {
            shard: checkpoint.shard,
            balances: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
            feed: Vec::new(),
            rooms: Vec::new(),
            ended: Vec::new(),
            checkpoint,
        }
    }
}

/// Where the rows stand, and all of the shard's state that is not in rows, folded to exactly there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Checkpoint {
    pub shard: ShardId,
    /// Reading goes on here.
    pub position: Position,
    /// Never above `position`: from here on there are events that not every destination has acknowledged. Reading begins
    /// here, with `relay_fold`, to hand those on again.
    pub relay_position: Position,
    pub relay_fold: Fold,
    pub fold: Fold,
    /// The shard's time: that of its last event.
    pub time: Time,
    /// Encoded by the state machine.
    pub state: Vec<u8>,
}

impl Checkpoint {
    /// How far its rows are.
    pub fn progress(&self) -> (Seq, Position) {
        (self.fold.next, self.position)
    }

    /// What is stored once this was written over `stored`: the rows' part of whichever is further, and the relays' part of
    /// whichever is further. Flushers on two nodes may each be ahead in one of them, and the log is cut at the relays'
    /// part: an owner that found it moved back could never read its log again.
    pub fn over(mut self, mut stored: Checkpoint) -> Checkpoint {
        if sabotage::is(Rule::CheckpointForward) {
            return self;
        }
        if stored.relay_position > self.relay_position {
            (self.relay_position, self.relay_fold) = (stored.relay_position, stored.relay_fold);
        }
        if stored.progress() > self.progress() {
            (stored.relay_position, stored.relay_fold) = (self.relay_position, self.relay_fold);
            return stored;
        }
        self
    }
}

#[derive(Clone, Debug)]
pub struct SentQuery {
    pub shard: ShardId,
    pub user: UserId,
    /// Inclusive bounds on the time in the stored id.
    pub since: Option<Time>,
    pub until: Option<Time>,
    /// From the page before.
    pub cursor: Option<Bytes>,
    /// Most items on the page.
    pub limit: usize,
}

#[derive(Clone, Debug)]
pub struct ReceivedQuery {
    pub shard: ShardId,
    pub user: UserId,
    pub since: Option<Time>,
    pub until: Option<Time>,
    pub cursor: Option<Bytes>,
    pub limit: usize,
}

/// Fewer items than the limit and a cursor means: there may be more, the scan was cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Bytes>,
}

/// Position of an event as the store's rows name it.
impl StoredEvent {
    pub fn position(&self) -> EventPosition {
        EventPosition { shard: self.shard, seq: self.seq }
    }
}
