//! One entry of a room's feed as it is read: on a page of the feed, as an event of a stream, or in a frame.
//!
//! An entry has the same bytes every time and by every way, so that whoever has it from two sides can tell that it is the
//! same. It is made from what is stored and from nothing else, but for the names of assets: stored are their numbers. A
//! catalog that gives a number another name renames it in entries of the past as well, and one that drops an asset turns
//! it into `asset-N`. So keep an asset's name for as long as anybody reads feeds; its number is what counts in the books.

use std::borrow::Cow;
use std::ops::Not;

use largesse_engine::catalog::{Catalog, Tier};
use largesse_engine::per_asset::PerAsset;
use largesse_engine::room::event::{ComboEnded, EffectShown, FeedItem, FeedWhat, GiftShown, RoomTotal};
use largesse_engine::room::person::Person;
use largesse_engine::room::plugin::PluginNews;
use largesse_engine::units::{Amount, AssetId, GiftId, RoomSeq, UserId};
use serde::Serialize;
use smallvec::SmallVec;
use utoipa::ToSchema;

use crate::openapi::schemas;
use crate::time_text::Rfc3339;
use crate::wire::{IdText, asset_name};

/// An entry, ready to be written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = FeedItem)]
pub enum ItemBody<'a> {
    Gift(GiftItem<'a>),
    ComboEnd(ComboEndItem<'a>),
    LiveStart(LiveStartItem),
    LiveEnd(LiveEndItem<'a>),
    GoalReached(GoalReachedItem<'a>),
    PkEnd(PkEndItem<'a>),
}

/// Gifts that look alike, as one entry. `delta` is the only field that is ever summed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedGift)]
pub struct GiftItem<'a> {
    #[schema(value_type = schemas::Seq)]
    room_seq: RoomSeq,
    /// When the first of them was sent.
    at: Rfc3339,
    #[schema(schema_with = kinds::gift)]
    kind: &'static str,
    /// Null of an anonymous gift.
    #[schema(required)]
    sender: Option<IdText>,
    /// Only where nobody is told whose gift it is.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(schema_with = schemas::only_true, required = false)]
    anonymous: bool,
    #[schema(value_type = Vec<IdText>)]
    to: Ids,
    #[schema(value_type = schemas::GiftId)]
    gift_id: GiftId,
    delta: Delta<'a>,
    /// How many gifts were sent.
    events: u32,
    /// The streak right after this entry; for show, never to be summed.
    #[schema(required)]
    combo: Option<ComboBody>,
    /// Of a gift that is in the catalog.
    #[schema(schema_with = schemas::optional_tier, required)]
    tier: Option<Tier>,
    /// Whether its animation plays, was joined to what plays already, or there is none.
    #[schema(schema_with = kinds::effect)]
    effect: &'static str,
}

/// What this entry adds to the room.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedDelta)]
struct Delta<'a> {
    /// Pieces for each receiver.
    count: u64,
    /// What these gifts debited: price × count × receivers.
    #[schema(value_type = schemas::Amount)]
    value: Amount,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedCombo)]
struct ComboBody {
    /// The entry that opened it.
    #[schema(value_type = schemas::Seq)]
    id: RoomSeq,
    /// Pieces for each receiver so far.
    count: u64,
    value: u64,
    /// It ends then if nothing is added.
    expires_at: Rfc3339,
}

/// A streak is over; each ends once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedComboEnd)]
pub struct ComboEndItem<'a> {
    #[schema(value_type = schemas::Seq)]
    room_seq: RoomSeq,
    at: Rfc3339,
    #[schema(schema_with = kinds::combo_end)]
    kind: &'static str,
    combo: FinalCombo,
    #[schema(schema_with = kinds::cause)]
    cause: &'static str,
    /// Null of anonymous gifts.
    #[schema(required)]
    sender: Option<IdText>,
    /// Only where nobody is told whose streak it was.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(schema_with = schemas::only_true, required = false)]
    anonymous: bool,
    #[schema(value_type = Vec<IdText>)]
    to: Ids,
    #[schema(value_type = schemas::GiftId)]
    gift_id: GiftId,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedFinalCombo)]
struct FinalCombo {
    #[schema(value_type = schemas::Seq)]
    id: RoomSeq,
    count: u64,
    value: u64,
    r#final: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedLiveStart)]
pub struct LiveStartItem {
    #[schema(value_type = schemas::Seq)]
    room_seq: RoomSeq,
    at: Rfc3339,
    #[schema(schema_with = kinds::live_start)]
    kind: &'static str,
    live: u32,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedLiveEnd)]
pub struct LiveEndItem<'a> {
    #[schema(value_type = schemas::Seq)]
    room_seq: RoomSeq,
    at: Rfc3339,
    #[schema(schema_with = kinds::live_end)]
    kind: &'static str,
    live: u32,
    totals: Vec<TotalBody<'a>>,
}

/// A goal is filled; it happens once, whatever is given beyond.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedGoalReached)]
pub struct GoalReachedItem<'a> {
    #[schema(value_type = schemas::Seq)]
    room_seq: RoomSeq,
    at: Rfc3339,
    #[schema(schema_with = kinds::goal_reached)]
    kind: &'static str,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::PositiveAmount)]
    target: Amount,
    /// Whose gift filled it; null of an anonymous one.
    #[schema(required)]
    by: Option<IdText>,
    /// Only where nobody is told whose gift it was.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(schema_with = schemas::only_true, required = false)]
    anonymous: bool,
}

/// A PK is over.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedPkEnd)]
pub struct PkEndItem<'a> {
    #[schema(value_type = schemas::Seq)]
    room_seq: RoomSeq,
    at: Rfc3339,
    #[schema(schema_with = kinds::pk_end)]
    kind: &'static str,
    hosts: [IdText; 2],
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    /// In the order of `hosts`.
    scores: [u64; 2],
}

/// Sums of one asset. They may outgrow an amount: what is given can be given on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoomTotal)]
pub struct TotalBody<'a> {
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    /// What gifts debited.
    #[schema(schema_with = schemas::sum)]
    value: u128,
    /// How many gifts were sent.
    gifts: u64,
}

type Ids = SmallVec<[IdText; 2]>;

/// Renders an entry.
pub fn item<'a>(room_seq: RoomSeq, item: &'a FeedItem, catalog: &'a Catalog) -> ItemBody<'a> {
    let at = Rfc3339(item.at);
    let name = |asset: AssetId| asset_name(catalog, asset);
    match &item.what {
        FeedWhat::Gift(shown) => ItemBody::Gift(gift(room_seq, at, shown, catalog)),
        FeedWhat::ComboEnded(ended) => ItemBody::ComboEnd(combo_end(room_seq, at, ended, catalog)),
        FeedWhat::LiveStarted { live } => {
            ItemBody::LiveStart(LiveStartItem { room_seq, at, kind: "live_start", live: *live })
        }
        FeedWhat::LiveEnded { live, totals } => {
            let totals = self::totals(totals, catalog);
            ItemBody::LiveEnd(LiveEndItem { room_seq, at, kind: "live_end", live: *live, totals })
        }
        FeedWhat::Plugin(PluginNews::GoalReached { asset, target, by }) => {
            let (asset, target, (by, anonymous)) = (name(*asset), *target, shown(*by));
            ItemBody::GoalReached(GoalReachedItem { room_seq, at, kind: "goal_reached", asset, target, by, anonymous })
        }
        FeedWhat::Plugin(PluginNews::PkEnded { hosts, asset, scores }) => {
            let (hosts, asset, scores) = (hosts.map(IdText::from), name(*asset), *scores);
            ItemBody::PkEnd(PkEndItem { room_seq, at, kind: "pk_end", hosts, asset, scores })
        }
    }
}

impl ItemBody<'_> {
    /// What kind of entry it is, as its `kind` says.
    pub fn kind(&self) -> &'static str {
        match self {
            ItemBody::Gift(item) => item.kind,
            ItemBody::ComboEnd(item) => item.kind,
            ItemBody::LiveStart(item) => item.kind,
            ItemBody::LiveEnd(item) => item.kind,
            ItemBody::GoalReached(item) => item.kind,
            ItemBody::PkEnd(item) => item.kind,
        }
    }

    /// Its bytes, without a line break.
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("entries have string keys and whole numbers only")
    }
}

/// Sums by asset, as an entry and the room itself show them.
pub fn totals<'a>(totals: &PerAsset<RoomTotal>, catalog: &'a Catalog) -> Vec<TotalBody<'a>> {
    let total = |(asset, total): (AssetId, &RoomTotal)| TotalBody {
        asset: asset_name(catalog, asset),
        value: total.value,
        gifts: total.gifts,
    };
    totals.iter().map(total).collect()
}

fn gift<'a>(room_seq: RoomSeq, at: Rfc3339, shown: &GiftShown, catalog: &'a Catalog) -> GiftItem<'a> {
    let combo = shown.combo.map(|combo| ComboBody {
        id: combo.id,
        count: combo.count,
        value: combo.value,
        expires_at: Rfc3339(combo.expires),
    });
    let (sender, anonymous) = self::shown(shown.sender);
    GiftItem {
        room_seq,
        at,
        kind: "gift",
        sender,
        anonymous,
        to: ids(&shown.receivers),
        gift_id: shown.gift,
        delta: Delta { count: shown.count, value: shown.value(), asset: asset_name(catalog, shown.asset) },
        events: shown.events,
        combo,
        tier: shown.tier,
        effect: match shown.effect {
            EffectShown::None => "none",
            EffectShown::Play => "play",
            EffectShown::Joined => "joined",
        },
    }
}

fn combo_end<'a>(room_seq: RoomSeq, at: Rfc3339, ended: &ComboEnded, catalog: &'a Catalog) -> ComboEndItem<'a> {
    let (sender, anonymous) = shown(ended.sender);
    ComboEndItem {
        room_seq,
        at,
        kind: "combo_end",
        combo: FinalCombo { id: ended.id, count: ended.count, value: ended.value, r#final: true },
        cause: ended.cause.name(),
        sender,
        anonymous,
        to: ids(&ended.receivers),
        gift_id: ended.gift,
        asset: asset_name(catalog, ended.asset),
    }
}

/// As everybody may see them: an id, or none and that it is nobody's business.
pub(super) fn shown(person: Person) -> (Option<IdText>, bool) {
    (person.shown().map(IdText::from), person.is_anonymous())
}

fn ids(users: &[UserId]) -> Ids {
    users.iter().copied().map(IdText::from).collect()
}

/// Words that fields are limited to.
mod kinds {
    use utoipa::openapi::Object;

    use crate::openapi::schemas::text;

    macro_rules! words {
        ($($name:ident: $($word:literal)+;)*) => {
            $(pub fn $name() -> Object {
                text().enum_values(Some([$($word),+])).build()
            })*
        };
    }

    words! {
        gift: "gift";
        combo_end: "combo_end";
        live_start: "live_start";
        live_end: "live_end";
        goal_reached: "goal_reached";
        pk_end: "pk_end";
        effect: "none" "play" "joined";
        cause: "time" "replaced" "live_ended" "left";
    }
}

#[cfg(test)]
mod tests {
    use largesse_engine::catalog::{Asset, CatalogDraft, Rules};
    use largesse_engine::room::event::{ComboEnd, ComboNow, GiftScores};
    use largesse_engine::units::{CatalogVersion, Time};

    use super::*;

    const COIN: AssetId = AssetId(1);
    const AT: Time = Time(1_769_903_999_999);

    fn catalog() -> Catalog {
        let assets = vec![Asset { id: COIN, name: "coin".into() }];
        let draft = CatalogDraft { assets, rules: Rules::default(), gifts: Vec::new() };
        Catalog::checked(draft, CatalogVersion(1)).unwrap()
    }

    fn users(ids: &[u64]) -> largesse_engine::codec::Few<UserId> {
        ids.iter().copied().map(UserId).collect()
    }

    fn a_gift() -> GiftShown {
        GiftShown {
            sender: Person::Named(UserId(3001)),
            receivers: users(&[2001, 2002]),
            gift: GiftId(9),
            asset: COIN,
            unit_price: Amount::new(5).unwrap(),
            count: 20,
            events: 2,
            client_combo: Some(7),
            combo: Some(ComboNow { id: RoomSeq(12), slot: 3, count: 30, value: 300, expires: Time(AT.get() + 5_000) }),
            tier: Some(Tier::Small),
            effect: EffectShown::Joined,
            scores: GiftScores::default(),
        }
    }

    fn totals_of(value: u128) -> PerAsset<RoomTotal> {
        [(COIN, RoomTotal { value, gifts: 2 })].into_iter().collect()
    }

    /// Entries as they have been read since the first version. Lines are added here, never changed: whoever kept an entry
    /// compares it with the one that is read today.
    #[test]
    fn entries_have_the_bytes_that_they_always_had() {
        let plain = GiftShown { combo: None, tier: None, effect: EffectShown::None, asset: AssetId(8), ..a_gift() };
        let ended = ComboEnded {
            id: RoomSeq(12),
            slot: 3,
            sender: Person::Named(UserId(u64::MAX)),
            receivers: users(&[2001]),
            gift: GiftId(9),
            asset: COIN,
            count: 30,
            value: 150,
            cause: ComboEnd::Time,
        };
        let goal = |by| PluginNews::GoalReached { asset: COIN, target: Amount::new(1_000).unwrap(), by };
        let nobody = Person::Anonymous(UserId(3001));
        let nobodys_end = ComboEnded { sender: nobody, ..ended.clone() };
        let pk = PluginNews::PkEnded { hosts: [UserId(2001), UserId(2002)], asset: COIN, scores: [7, u64::MAX] };
        let table = [
            (
                FeedWhat::Gift(a_gift()),
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"gift","sender":"3001","to":["2001","2002"],"gift_id":9,"delta":{"count":20,"value":200,"asset":"coin"},"events":2,"combo":{"id":12,"count":30,"value":300,"expires_at":"2026-02-01T00:00:04.999Z"},"tier":"small","effect":"joined"}"#,
            ),
            (
                FeedWhat::Gift(plain),
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"gift","sender":"3001","to":["2001","2002"],"gift_id":9,"delta":{"count":20,"value":200,"asset":"asset-8"},"events":2,"combo":null,"tier":null,"effect":"none"}"#,
            ),
            (
                FeedWhat::ComboEnded(ended),
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"combo_end","combo":{"id":12,"count":30,"value":150,"final":true},"cause":"time","sender":"18446744073709551615","to":["2001"],"gift_id":9,"asset":"coin"}"#,
            ),
            (
                FeedWhat::LiveStarted { live: 3 },
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"live_start","live":3}"#,
            ),
            (
                FeedWhat::LiveEnded { live: 3, totals: totals_of(u128::from(u64::MAX) + 1) },
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"live_end","live":3,"totals":[{"asset":"coin","value":18446744073709551616,"gifts":2}]}"#,
            ),
            (
                FeedWhat::Plugin(goal(Person::Named(UserId(3001)))),
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"goal_reached","asset":"coin","target":1000,"by":"3001"}"#,
            ),
            (
                FeedWhat::Plugin(pk),
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"pk_end","hosts":["2001","2002"],"asset":"coin","scores":[7,18446744073709551615]}"#,
            ),
            (
                FeedWhat::Gift(GiftShown { sender: nobody, combo: None, ..a_gift() }),
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"gift","sender":null,"anonymous":true,"to":["2001","2002"],"gift_id":9,"delta":{"count":20,"value":200,"asset":"coin"},"events":2,"combo":null,"tier":"small","effect":"joined"}"#,
            ),
            (
                FeedWhat::ComboEnded(nobodys_end),
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"combo_end","combo":{"id":12,"count":30,"value":150,"final":true},"cause":"time","sender":null,"anonymous":true,"to":["2001"],"gift_id":9,"asset":"coin"}"#,
            ),
            (
                FeedWhat::Plugin(goal(nobody)),
                r#"{"room_seq":14,"at":"2026-01-31T23:59:59.999Z","kind":"goal_reached","asset":"coin","target":1000,"by":null,"anonymous":true}"#,
            ),
        ];
        let catalog = catalog();
        for (what, want) in table {
            let stored = FeedItem { at: AT, what };
            let body = item(RoomSeq(14), &stored, &catalog);
            assert_eq!(String::from_utf8(body.json()).unwrap(), want);
            assert!(want.contains(&format!(r#""kind":"{}""#, body.kind())));
        }
    }
}
