//! What can be asked of a room shard, and what it tells.

use std::sync::Arc;

use crate::relay::{Acknowledged, RelayPart};
use crate::resolve::ControlView;
use crate::room::board::{Ranked, Side};
use crate::room::event::{FeedItem, Period, RoomHead};
use crate::room::settings::Room;
use crate::units::{AssetId, RoomId, RoomSeq, Time, UserId};

#[derive(Clone, Debug)]
pub enum RoomCommand {
    /// From a relay. Never refused; what does not fit its source's watermark changes nothing. The view says how gifts are
    /// shown.
    ApplyGifts {
        parts: Vec<RelayPart>,
        view: Arc<ControlView>,
    },
    /// The room's settings. Older ones than it follows change nothing.
    Follow(Box<Room>),
    /// Does what is due by time: ends streaks, asks plug-ins.
    Time {
        room: RoomId,
    },
    /// Somebody left: their streaks end.
    Leave {
        room: RoomId,
        user: UserId,
    },
    Read {
        room: RoomId,
    },
    ReadBoard {
        room: RoomId,
        query: BoardQuery,
    },
    /// The last entries, as far as they are in memory.
    ReadTail {
        room: RoomId,
        after: RoomSeq,
        limit: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardQuery {
    pub period: Period,
    pub side: Side,
    pub asset: AssetId,
    pub limit: usize,
    /// Whose own place is asked for.
    pub user: Option<UserId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomOutcome {
    /// Where each source stands, durable.
    Gifts(Vec<Acknowledged>),
    /// The room follows these settings, or newer ones.
    Followed,
    /// When something is to happen next by time.
    Due(Option<Time>),
    Room(Arc<RoomHead>),
    Board(BoardPage),
    Tail(Tail),
    /// Nothing was decided.
    StoreUnavailable,
    Overloaded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardPage {
    pub top: Vec<Ranked>,
    pub own: Option<Ranked>,
    /// Of what the same user gave anonymously.
    pub own_anonymous: Option<Ranked>,
    /// Persons on the board, of all assets.
    pub ranked: usize,
    /// The board is full: somebody may be missing.
    pub is_full: bool,
    /// The entry up to which it counts.
    pub as_of: RoomSeq,
}

/// Entries that follow each other. Cheap to hand around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Number of the first item.
    pub first: RoomSeq,
    pub items: Arc<[FeedItem]>,
}

impl Chunk {
    /// Number of the entry after this chunk.
    pub fn next(&self) -> RoomSeq {
        self.first.plus(self.items.len() as u64)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Beginning with the chunk that holds the entry after the one asked for; `None` when that is not in memory any more.
    pub chunks: Option<Vec<Chunk>>,
    pub head: Arc<RoomHead>,
}

/// What a room shows since last time, durable.
#[derive(Clone, Debug)]
pub struct RoomNews {
    pub room: RoomId,
    /// May be empty.
    pub chunk: Chunk,
    pub head: Arc<RoomHead>,
    /// When something is to happen next by time.
    pub due: Option<Time>,
}
