//! The numbers of the trade, each with a type of its own so that no two can be mixed up.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number! {
    /// Someone who holds money. Zero is nobody and is refused at the door.
    UserId(u64)
}
number! {
    /// A live room.
    RoomId(u64)
}
number! {
    /// A gift of the catalog.
    GiftId(u32)
}
number! {
    /// A kind of money, named in the catalog: `coin`, `diamond`, `point`, …
    AssetId(u16)
}
number! {
    /// Milliseconds since the Unix epoch.
    Time(u64)
}
number! {
    /// Position of an event within its shard, from 1 and without gaps. `Seq::NONE` stands before the first.
    Seq(u64)
}
number! {
    /// Where a record lies in its shard's log. Positions grow, but not by one.
    Position(u64)
}
number! {
    /// One ownership of a shard: the position of its claim in the log.
    Epoch(u64)
}
number! {
    /// A process that can own shards.
    NodeId(u64)
}
number! {
    /// Number of an entry of a room's feed, from 1 and without gaps. `RoomSeq::NONE` stands before the first.
    RoomSeq(u64)
}
number! {
    /// A version of the catalog; 0 stands before the first.
    CatalogVersion(u32)
}

impl UserId {
    pub const NOBODY: UserId = UserId(0);
}

impl Seq {
    pub const NONE: Seq = Seq(0);
    pub const FIRST: Seq = Seq(1);

    pub const fn next(self) -> Seq {
        Seq(self.0 + 1)
    }

    pub const fn plus(self, count: u64) -> Seq {
        Seq(self.0 + count)
    }
}

impl RoomSeq {
    pub const NONE: RoomSeq = RoomSeq(0);
    pub const FIRST: RoomSeq = RoomSeq(1);

    pub const fn next(self) -> RoomSeq {
        RoomSeq(self.0 + 1)
    }

    pub const fn plus(self, count: u64) -> RoomSeq {
        RoomSeq(self.0 + count)
    }
}

impl Position {
    pub const START: Position = Position(0);

    /// Where reading goes on after the record at this position.
    pub const fn after(self) -> Position {
        Position(self.0 + 1)
    }
}

impl Time {
    pub const ZERO: Time = Time(0);

    pub const fn plus_millis(self, millis: u64) -> Time {
        Time(self.0.saturating_add(millis))
    }

    pub const fn minus_millis(self, millis: u64) -> Time {
        Time(self.0.saturating_sub(millis))
    }
}

/// A whole number of an asset's smallest unit, never negative: a debit is another event, not a minus sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
pub struct Amount(u64);

impl Amount {
    pub const ZERO: Amount = Amount(0);
    /// The largest amount that JSON carries exactly: 2^53 − 1.
    pub const MAX: Amount = Amount((1 << 53) - 1);

    /// Any number up to [`Amount::MAX`].
    pub const fn new(units: u64) -> Option<Amount> {
        if units <= Self::MAX.0 { Some(Amount(units)) } else { None }
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub const fn checked_add(self, other: Amount) -> Option<Amount> {
        // Both are at most 2^53, so the sum fits.
        Self::new(self.0 + other.0)
    }

    pub const fn checked_sub(self, other: Amount) -> Option<Amount> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Amount(units)),
            None => None,
        }
    }

    pub const fn times(self, count: u64) -> Option<Amount> {
        match self.0.checked_mul(count) {
            Some(units) => Self::new(units),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many of a gift are sent at once: 1 to 9,999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Encode)]
#[serde(transparent)]
pub struct GiftCount(u16);

impl GiftCount {
    pub const MAX: u16 = 9_999;

    pub const fn new(count: u64) -> Option<GiftCount> {
        #[allow(clippy::cast_possible_truncation, reason = "checked on the line above")]
        if count >= 1 && count <= Self::MAX as u64 { Some(GiftCount(count as u16)) } else { None }
    }

    pub const fn get(self) -> u16 {
        self.0
    }
}

impl<Context> Decode<Context> for GiftCount {
    fn decode<D: bincode::de::Decoder<Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        let count = u16::decode(decoder)?;
        GiftCount::new(u64::from(count)).ok_or(bincode::error::DecodeError::Other("gift count out of range"))
    }
}
bincode::impl_borrow_decode!(GiftCount);

/// Receivers of one gift, at most.
pub const RECEIVERS_MAX: usize = 16;

/// Which of the three kinds of state machine a shard runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum ShardKind {
    Control,
    Wallet,
    Room,
}

/// The unit of ownership and order: one actor, one state machine, one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
pub struct ShardId {
    pub kind: ShardKind,
    pub index: u16,
}

impl ShardId {
    pub const CONTROL: ShardId = ShardId { kind: ShardKind::Control, index: 0 };

    pub const fn wallet(index: u16) -> ShardId {
        ShardId { kind: ShardKind::Wallet, index }
    }

    pub const fn room(index: u16) -> ShardId {
        ShardId { kind: ShardKind::Room, index }
    }

    /// One number for file formats: kind in the upper half, index in the lower.
    pub const fn to_u32(self) -> u32 {
        let kind = match self.kind {
            ShardKind::Control => 0,
            ShardKind::Wallet => 1,
            ShardKind::Room => 2,
        };
        (kind << 16) | self.index as u32
    }

    pub const fn from_u32(number: u32) -> Option<ShardId> {
        let kind = match number >> 16 {
            0 => ShardKind::Control,
            1 => ShardKind::Wallet,
            2 => ShardKind::Room,
            _ => return None,
        };
        #[allow(clippy::cast_possible_truncation, reason = "masked to 16 bits")]
        let index = (number & 0xffff) as u16;
        Some(ShardId { kind, index })
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ShardKind::Control => f.write_str("control"),
            ShardKind::Wallet => write!(f, "wallet-{}", self.index),
            ShardKind::Room => write!(f, "room-{}", self.index),
        }
    }
}

impl FromStr for ShardId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || format!("`{text}` is not a shard; write `control`, `wallet-N` or `room-N`");
        if text == "control" {
            return Ok(ShardId::CONTROL);
        }
        let (kind, index) = text.split_once('-').ok_or_else(unknown)?;
        let kind = match kind {
            "wallet" => ShardKind::Wallet,
            "room" => ShardKind::Room,
            _ => return Err(unknown()),
        };
        Ok(ShardId { kind, index: index.parse().map_err(|_| unknown())? })
    }
}

/// Where an event is in the books: its shard and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPosition {
    pub shard: ShardId,
    pub seq: Seq,
}
