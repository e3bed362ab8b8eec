//! What a room shard decided, as it is stored for years.
//!
//! Every entry carries the standings that it changed as they are afterwards, so nobody who folds a log needs to read a
//! row. Variants are only added, at the end; `engine/golden/` keeps the bytes.

use bincode::{Decode, Encode};

use crate::catalog::Tier;
use crate::codec::Few;
use crate::per_asset::PerAsset;
use crate::room::effect::EffectBudget;
use crate::room::person::Person;
use crate::room::plugin::{PluginNews, PluginState};
use crate::units::{Amount, AssetId, GiftId, RoomId, RoomSeq, Seq, Time, UserId};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RoomEvent {
    Shown(Shown),
}

/// New entries of rooms, and how far the sources have come whose gifts are among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Shown {
    pub sources: Few<SourceShown>,
    /// Each room once.
    pub rooms: Vec<RoomShown>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SourceShown {
    /// Index of the source wallet shard.
    pub source: u16,
    /// The new watermark.
    pub up_to: Seq,
    /// What its gifts debited.
    pub sums: Few<(AssetId, u128)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoomShown {
    pub room: RoomId,
    /// Number of the first item.
    pub first: RoomSeq,
    pub items: Vec<FeedItem>,
    /// Groups of rows that ended, and are not shown any more.
    pub ended: Few<RowGroup>,
    /// The room after all of this.
    pub head: RoomHead,
}

/// What stands on one line of a room's feed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FeedItem {
    /// Of a gift: when it was sent. Of anything else: when it was decided.
    pub at: Time,
    pub what: FeedWhat,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[allow(clippy::large_enum_variant, reason = "nearly every item is a gift")]
pub enum FeedWhat {
    Gift(GiftShown),
    ComboEnded(ComboEnded),
    LiveStarted { live: u32 },
    LiveEnded { live: u32, totals: PerAsset<RoomTotal> },
    Plugin(PluginNews),
}

/// Gifts that look alike, as one. `count` and `value` are the only numbers that may be summed up over a feed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GiftShown {
    pub sender: Person,
    pub receivers: Few<UserId>,
    pub gift: GiftId,
    pub asset: AssetId,
    pub unit_price: Amount,
    /// Pieces for each receiver.
    pub count: u64,
    /// How many gifts were sent.
    pub events: u32,
    /// The client's own number for a streak of taps; the room's is in `combo`.
    pub client_combo: Option<u64>,
    pub combo: Option<ComboNow>,
    /// None of a gift that is not in the catalog any more.
    pub tier: Option<Tier>,
    pub effect: EffectShown,
    pub scores: GiftScores,
}

impl GiftShown {
    /// Price × count × receivers: what these gifts debited.
    pub fn value(&self) -> Amount {
        self.unit_price.times(self.count * self.receivers.len() as u64).expect("it was checked when it was joined")
    }
}

/// A streak right after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ComboNow {
    /// The entry that opened it.
    pub id: RoomSeq,
    /// Its place among those that are open: its row lies there, and that of another one once it has ended.
    pub slot: u32,
    /// Pieces for each receiver so far.
    pub count: u64,
    pub value: u64,
    /// It ends then if nothing is added.
    pub expires: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ComboEnded {
    pub id: RoomSeq,
    pub slot: u32,
    pub sender: Person,
    pub receivers: Few<UserId>,
    pub gift: GiftId,
    pub asset: AssetId,
    pub count: u64,
    pub value: u64,
    pub cause: ComboEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ComboEnd {
    /// Nothing was added for too long.
    Time,
    /// The client began another one.
    Replaced,
    LiveEnded,
    /// The sender left the room.
    Left,
}

impl ComboEnd {
    pub fn name(self) -> &'static str {
        match self {
            ComboEnd::Time => "time",
            ComboEnd::Replaced => "replaced",
            ComboEnd::LiveEnded => "live_ended",
            ComboEnd::Left => "left",
        }
    }
}

/// How a gift's animation is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EffectShown {
    /// The gift has none.
    None,
    Play,
    /// The room has enough to look at: it is named with its sender, without an animation of its own.
    Joined,
}

/// Sums of value on the boards right after an entry; `None` where it does not count any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Scores {
    pub live: Option<u64>,
    pub day: Option<u64>,
    pub week: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct GiftScores {
    pub sender: Scores,
    /// In the order of `receivers`.
    pub receivers: Few<Scores>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RoomTotal {
    /// What gifts debited.
    pub value: u128,
    /// How many gifts were sent.
    pub gifts: u64,
}

/// All of a room that is neither a score nor an open combo.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoomHead {
    /// When its feed began. A feed of another beginning is another feed, whatever its numbers are.
    pub began: Time,
    pub next: RoomSeq,
    /// The settings that are in force.
    pub followed: Option<Followed>,
    /// Number of the live, from 1; 0 before the first.
    pub live: u32,
    pub is_open: bool,
    /// When the live began.
    pub since: Time,
    /// Days and weeks of business since 1970, by the boards.
    pub day: u32,
    pub week: u32,
    pub live_totals: PerAsset<RoomTotal>,
    pub all_totals: PerAsset<RoomTotal>,
    pub budget: EffectBudget,
    pub plugins: Vec<PluginState>,
    pub open_combos: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Followed {
    /// The event of the control shard that set them; none of settings that stand in the configuration.
    pub version: Seq,
    pub fingerprint: u64,
}

impl RoomHead {
    pub fn new(began: Time) -> RoomHead {
        RoomHead {
            began,
            next: RoomSeq::FIRST,
            followed: None,
            live: 0,
            is_open: false,
            since: Time::ZERO,
            day: 0,
            week: 0,
            live_totals: PerAsset::default(),
            all_totals: PerAsset::default(),
            budget: EffectBudget::default(),
            plugins: Vec::new(),
            open_combos: 0,
        }
    }

    /// Number of the last item.
    pub fn last(&self) -> RoomSeq {
        RoomSeq(self.next.get() - 1)
    }

    /// Number of the live, day or week that a board is about.
    pub fn number(&self, period: Period) -> u32 {
        match period {
            Period::Live => self.live,
            Period::Day => self.day,
            Period::Week => self.week,
        }
    }

    /// Whether something is to happen here by time.
    pub fn is_waiting(&self) -> bool {
        self.open_combos > 0 || self.plugins.iter().any(|plugin| plugin.due().is_some())
    }
}

/// Rows that end together: the head and the open combos, or the scores of one board's period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RowGroup(pub u64);

/// Which stretch of time a board is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    Live,
    Day,
    Week,
}

impl Period {
    pub const ALL: [Period; 3] = [Period::Live, Period::Day, Period::Week];

    pub fn name(self) -> &'static str {
        match self {
            Period::Live => "live",
            Period::Day => "day",
            Period::Week => "week",
        }
    }
}

impl RowGroup {
    pub const ROOM: RowGroup = RowGroup(0);

    pub fn of(period: Period, number: u32) -> RowGroup {
        let kind: u64 = match period {
            Period::Live => 1,
            Period::Day => 2,
            Period::Week => 3,
        };
        RowGroup((kind << 32) | u64::from(number))
    }

    /// Which board its rows are of, if they are scores.
    pub fn period(self) -> Option<Period> {
        match self.0 >> 32 {
            1 => Some(Period::Live),
            2 => Some(Period::Day),
            3 => Some(Period::Week),
            _ => None,
        }
    }
}
