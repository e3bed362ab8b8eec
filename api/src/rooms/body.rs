//! A room as it is shown: its settings and how it stands, as of one entry of its feed.

use std::borrow::Cow;
use std::ops::Not;

use largesse_engine::catalog::Catalog;
use largesse_engine::room::board::Ranked;
use largesse_engine::room::event::RoomHead;
use largesse_engine::room::plugin::PluginState;
use largesse_engine::room::settings::Room;
use largesse_engine::units::{Amount, AssetId, GiftId, RoomSeq, Time};
use serde::Serialize;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::item::{TotalBody, shown, totals};
use crate::openapi::schemas;
use crate::time_text::Rfc3339;
use crate::wire::{IdText, asset_name};

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Room)]
pub struct RoomBody<'a> {
    room_id: IdText,
    /// When the feed began, as a number. A feed of another epoch is another feed, whatever its numbers are.
    #[schema(schema_with = schemas::epoch)]
    epoch: IdText,
    live: LiveBody,
    hosts: Vec<IdText>,
    /// The gifts that are sold here; without it all of the catalog are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schemas::GiftId>>, nullable = false)]
    gifts: Option<&'a [GiftId]>,
    plugins: Vec<PluginBody<'a>>,
    /// Of this live.
    totals: Vec<TotalBody<'a>>,
    /// Of all time, gifts outside of a live included.
    all_totals: Vec<TotalBody<'a>>,
    /// Streaks that have not ended yet.
    open_combos: u32,
    /// The last entry of the feed, up to which all of this counts; 0 before the first.
    #[schema(value_type = schemas::Seq)]
    room_seq: RoomSeq,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Live)]
struct LiveBody {
    /// Lives are counted from 1; 0 before the first.
    number: u32,
    #[schema(schema_with = schemas::live_state)]
    state: &'static str,
    /// When it began.
    #[schema(required)]
    since: Option<Rfc3339>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = RoomPlugin)]
enum PluginBody<'a> {
    Goal(GoalBody<'a>),
    Pk(PkBody<'a>),
}

/// A bar that fills with what is given.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoomGoal)]
struct GoalBody<'a> {
    #[schema(schema_with = schemas::goal)]
    kind: &'static str,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::PositiveAmount)]
    target: Amount,
    /// May go beyond the target.
    reached: u64,
}

/// Two hosts against each other.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoomPk)]
struct PkBody<'a> {
    #[schema(schema_with = schemas::pk)]
    kind: &'static str,
    hosts: [IdText; 2],
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    /// Without it, it goes on until it is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    until: Option<Rfc3339>,
    /// In the order of `hosts`.
    scores: [u64; 2],
    is_over: bool,
}

/// A room with the best of this live. All of it counts up to `room_seq`: what comes after that in the feed is not in it.
#[derive(Debug, Serialize)]
pub struct SnapshotBody<'a> {
    #[serde(flatten)]
    pub room: RoomBody<'a>,
    pub top: TopBody<'a>,
}

/// The first of this live's boards.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoomTop)]
pub struct TopBody<'a> {
    #[schema(value_type = String)]
    pub asset: Cow<'a, str>,
    pub senders: Vec<RankedBody>,
    pub hosts: Vec<RankedBody>,
}

/// A place on a board.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Ranked)]
pub struct RankedBody {
    /// From 1. Of two with the same sum the one who had it first is ahead.
    rank: u64,
    /// Null of what somebody gave anonymously; what the same user gave by name is a place of its own.
    #[schema(required)]
    user_id: Option<IdText>,
    /// Only where nobody is told who it is.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(schema_with = schemas::only_true, required = false)]
    anonymous: bool,
    value: u64,
}

impl From<&Ranked> for RankedBody {
    fn from(ranked: &Ranked) -> RankedBody {
        let (user_id, anonymous) = shown(ranked.person);
        RankedBody { rank: ranked.rank, user_id, anonymous, value: ranked.score.value }
    }
}

/// Everything about a room but its boards.
pub fn room<'a>(room: &'a Room, head: &RoomHead, catalog: &'a Catalog) -> RoomBody<'a> {
    RoomBody {
        room_id: room.id.into(),
        epoch: epoch(head),
        live: LiveBody {
            number: head.live,
            state: if head.is_open { "open" } else { "closed" },
            since: (head.live > 0).then_some(Rfc3339(head.since)),
        },
        hosts: room.hosts.iter().copied().map(IdText::from).collect(),
        gifts: room.gifts.as_deref(),
        plugins: head.plugins.iter().map(|state| plugin(state, catalog)).collect(),
        totals: totals(&head.live_totals, catalog),
        all_totals: totals(&head.all_totals, catalog),
        open_combos: head.open_combos,
        room_seq: head.last(),
    }
}

/// The number that tells a feed from others of the same room.
pub fn epoch(head: &RoomHead) -> IdText {
    let Time(began) = head.began;
    IdText(began)
}

/// The asset that is meant where none is named: the first that anything was given of.
pub fn main_asset(head: &RoomHead, catalog: &Catalog) -> AssetId {
    let first = head.live_totals.iter().chain(head.all_totals.iter()).map(|(asset, _)| asset).next();
    let of_catalog = || catalog.draft().assets.first().map(|asset| asset.id);
    first.or_else(of_catalog).unwrap_or(AssetId(1))
}

fn plugin<'a>(state: &PluginState, catalog: &'a Catalog) -> PluginBody<'a> {
    match state {
        PluginState::Goal(goal) => PluginBody::Goal(GoalBody {
            kind: "goal",
            asset: asset_name(catalog, goal.asset),
            target: goal.target,
            reached: goal.reached,
        }),
        PluginState::Pk(pk) => PluginBody::Pk(PkBody {
            kind: "pk",
            hosts: pk.hosts.map(IdText::from),
            asset: asset_name(catalog, pk.asset),
            until: pk.until.map(Rfc3339),
            scores: pk.scores,
            is_over: pk.is_over,
        }),
    }
}

// A room's members and one more, in one closed object: derives would make two objects of which each refuses the other's.
impl PartialSchema for SnapshotBody<'_> {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(mut object)) = RoomBody::schema() else {
            unreachable!("a struct with names is an object")
        };
        object.properties.insert("top".into(), Ref::from_schema_name(TopBody::name()).into());
        object.required.push("top".into());
        object.into()
    }
}

impl ToSchema for SnapshotBody<'_> {
    fn name() -> Cow<'static, str> {
        "RoomSnapshot".into()
    }

    fn schemas(all: &mut Vec<(String, RefOr<Schema>)>) {
        RoomBody::schemas(all);
        schemas::collect::<TopBody<'_>>(all);
    }
}
