//! One line of a history, and how events become lines.

use std::borrow::Cow;
use std::ops::Not;

use largesse_engine::event_id::EventId;
use largesse_engine::store::{ReceivedEntry, ReceivedKind};
use largesse_engine::units::{Amount, AssetId, GiftId, RoomId, Time, UserId};
use largesse_engine::wallet::event::{Direction, GiftSent, Recharged, Transferred, WalletEvent};
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use utoipa::ToSchema;

use crate::openapi::schemas;
use crate::time_text::Rfc3339;
use crate::wire::IdText;

/// `sent` are the user's own events: gifts, recharges, transfers, and points earned by them; `received` is what came
/// from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Sent,
    Received,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Gift,
    Recharge,
    Transfer,
    Points,
}

/// Who reads a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Whose it is: not told who gave anonymously.
    User,
    /// Told everything.
    Service,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: EventId,
    /// The caller's own spelling of the id, where it is known and differs.
    pub key: Option<Box<str>>,
    pub kind: Kind,
    pub peers: SmallVec<[UserId; 2]>,
    pub is_anonymous: bool,
    pub gift: Option<GiftLine>,
    pub asset: AssetId,
    pub amount: Amount,
    pub balance_after: Option<Amount>,
    /// Whether the user's own balance went down or up; neither where he gave what was issued for it.
    pub direction: Option<Direction>,
    /// What a transfer is for, in its caller's words.
    pub reference: Option<Box<str>>,
    pub at: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiftLine {
    pub room: RoomId,
    pub gift: GiftId,
    pub count: u16,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HistoryItem)]
pub struct ItemBody<'a> {
    #[schema(value_type = schemas::EventIdText)]
    event_id: Cow<'a, str>,
    kind: Kind,
    side: Side,
    #[schema(value_type = Vec<IdText>)]
    peers: SmallVec<[IdText; 2]>,
    /// Only of an anonymous gift: whoever received it is told no peer.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(schema_with = schemas::only_true, required = false)]
    anonymous: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    room_id: Option<IdText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::GiftId>, nullable = false)]
    gift_id: Option<GiftId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    count: Option<u16>,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::Amount)]
    amount: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::Amount>, nullable = false)]
    balance_after: Option<Amount>,
    /// Whether the user's own balance went down or up. Absent where he gave others what was issued for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::direction, required = false)]
    direction: Option<&'static str>,
    /// Of a transfer of one's own: what it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reference: Option<&'a str>,
    at: Rfc3339,
}

impl Item {
    pub fn room(&self) -> Option<RoomId> {
        self.gift.map(|gift| gift.room)
    }

    pub fn body<'a>(&'a self, side: Side, name_of: impl Fn(AssetId) -> Cow<'a, str>) -> ItemBody<'a> {
        ItemBody {
            event_id: crate::receipts::event_id(self.id, self.key.as_deref()),
            kind: self.kind,
            side,
            peers: self.peers.iter().map(|peer| IdText::from(*peer)).collect(),
            anonymous: self.is_anonymous,
            room_id: self.room().map(IdText::from),
            gift_id: self.gift.map(|gift| gift.gift),
            count: self.gift.map(|gift| gift.count),
            asset: name_of(self.asset),
            amount: self.amount,
            balance_after: self.balance_after,
            direction: self.direction.map(|direction| match direction {
                Direction::Debit => "debit",
                Direction::Credit => "credit",
            }),
            reference: self.reference.as_deref(),
            at: Rfc3339(self.at),
        }
    }
}

/// The lines of a user's own event; always the same ones in the same order, as cursors count them.
pub fn of_event(event: &WalletEvent, at: Time, user: UserId) -> Vec<Item> {
    match event {
        WalletEvent::GiftSent(sent) => of_gift(sent, at),
        WalletEvent::Recharged(Recharged { said, balance, .. }) => vec![Item {
            id: said.id(),
            key: None,
            kind: Kind::Recharge,
            peers: smallvec![],
            is_anonymous: false,
            gift: None,
            asset: said.asset,
            amount: said.amount,
            balance_after: Some(*balance),
            direction: Some(Direction::Credit),
            reference: None,
            at,
        }],
        WalletEvent::Transferred(transferred) => of_transfer(transferred, event, at, user),
        // Nobody's own: the one came from others, the other moved nothing.
        WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => Vec::new(),
    }
}

/// One line with the total, however many hosts there are, and one for the points it earned.
fn of_gift(sent: &GiftSent, at: Time) -> Vec<Item> {
    let said = &sent.said;
    let gift = Item {
        id: said.id,
        key: said.key.clone(),
        kind: Kind::Gift,
        peers: said.receivers.iter().copied().collect(),
        is_anonymous: said.anonymous,
        gift: Some(GiftLine { room: said.room, gift: said.gift, count: said.count.get() }),
        asset: sent.asset,
        amount: sent.total(),
        balance_after: Some(sent.balance),
        direction: Some(Direction::Debit),
        reference: None,
        at,
    };
    let points = sent.points.map(|points| Item {
        kind: Kind::Points,
        peers: smallvec![],
        is_anonymous: false,
        asset: points.asset,
        amount: points.amount,
        balance_after: Some(points.balance),
        direction: Some(Direction::Credit),
        ..gift.clone()
    });
    std::iter::once(gift).chain(points).collect()
}

/// A line per asset that left the user or was given to others, then a line per asset that he got himself.
fn of_transfer(transferred: &Transferred, event: &WalletEvent, at: Time, user: UserId) -> Vec<Item> {
    let said = &transferred.said;
    let line = |asset, amount, balance_after, peers, direction| Item {
        id: said.id,
        key: said.key.clone(),
        kind: Kind::Transfer,
        peers,
        is_anonymous: false,
        gift: None,
        asset,
        amount,
        balance_after,
        direction,
        reference: said.reference.clone(),
        at,
    };
    let mut items = Vec::new();
    let mut own = Vec::new();
    event.for_each_change(|change| {
        if change.user == user && change.direction == Direction::Debit {
            items.push(line(change.asset, change.amount, Some(change.balance), smallvec![], Some(Direction::Debit)));
        } else if change.user == user {
            own.push(line(change.asset, change.amount, Some(change.balance), smallvec![], Some(Direction::Credit)));
        }
    });
    let debits = items.len();
    for credit in said.credits.iter().filter(|credit| credit.user != user) {
        match items.iter_mut().position(|item| item.asset == credit.asset) {
            Some(place) if place < debits => items[place].peers.push(credit.user),
            Some(place) => {
                let item = &mut items[place];
                item.amount = item.amount.checked_add(credit.amount).unwrap_or(Amount::MAX);
                item.peers.push(credit.user);
            }
            None => items.push(line(credit.asset, credit.amount, None, smallvec![credit.user], None)),
        }
    }
    items.extend(own);
    items
}

/// The line of something that came from another user.
pub fn of_entry(entry: &ReceivedEntry, reader: Reader) -> Item {
    let (kind, gift, is_anonymous) = match entry.kind {
        ReceivedKind::Gift { room, gift, count } => (Kind::Gift, Some(GiftLine { room, gift, count }), false),
        ReceivedKind::AnonymousGift { room, gift, count } => (Kind::Gift, Some(GiftLine { room, gift, count }), true),
        ReceivedKind::Transfer => (Kind::Transfer, None, false),
    };
    let peers = match reader {
        Reader::User if is_anonymous => smallvec![],
        Reader::User | Reader::Service => smallvec![entry.sender],
    };
    Item {
        id: entry.id,
        key: None,
        kind,
        peers,
        is_anonymous,
        gift,
        asset: entry.asset,
        amount: entry.amount,
        balance_after: None,
        direction: Some(Direction::Credit),
        reference: None,
        at: entry.at,
    }
}
