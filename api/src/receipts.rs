//! Receipts as callers read them.

use std::borrow::Cow;
use std::ops::Not;

use axum::response::Response;
use http::HeaderValue;
use largesse_engine::catalog::Catalog;
use largesse_engine::event_id::EventId;
use largesse_engine::service::Receipt;
use largesse_engine::store::StoredEvent;
use largesse_engine::units::{Amount, EventPosition, GiftId, Time};
use largesse_engine::wallet::command::{GiftSaid, RechargeSaid, TransferSaid};
use largesse_engine::wallet::event::{GiftSent, Recharged, Transferred, WalletEvent};
use serde::Serialize;
use smallvec::SmallVec;
use utoipa::ToSchema;

use crate::edge;
use crate::openapi::schemas;
use crate::time_text::Rfc3339;
use crate::wire::{IdText, PositionText, asset_name};

const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AnyReceipt)]
pub enum AnyReceipt<'a> {
    Gift(GiftReceipt<'a>),
    Recharge(RechargeReceipt<'a>),
    Transfer(TransferReceipt<'a>),
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GiftReceipt)]
pub struct GiftReceipt<'a> {
    #[schema(value_type = schemas::EventIdText)]
    event_id: Cow<'a, str>,
    #[schema(schema_with = schemas::applied)]
    outcome: &'static str,
    room_id: IdText,
    #[schema(value_type = schemas::GiftId)]
    gift_id: GiftId,
    count: u16,
    #[schema(value_type = Vec<IdText>)]
    to: SmallVec<[IdText; 4]>,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::Amount)]
    total: Amount,
    /// Of the sender, in `asset`, right after this event.
    #[schema(value_type = schemas::Amount)]
    balance_after: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    combo: Option<Combo>,
    /// Only where nobody is told whose gift it is.
    #[serde(skip_serializing_if = "Not::not")]
    #[schema(schema_with = schemas::only_true, required = false)]
    anonymous: bool,
    position: PositionText,
    at: Rfc3339,
    replayed: bool,
}

/// The streak of taps that a gift belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Combo {
    id: IdText,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RechargeReceipt)]
pub struct RechargeReceipt<'a> {
    #[schema(value_type = schemas::EventIdText)]
    event_id: Cow<'a, str>,
    #[schema(schema_with = schemas::applied)]
    outcome: &'static str,
    user_id: IdText,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::Amount)]
    amount: Amount,
    #[schema(value_type = schemas::Amount)]
    balance_after: Amount,
    position: PositionText,
    at: Rfc3339,
    replayed: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TransferReceipt)]
pub struct TransferReceipt<'a> {
    #[schema(value_type = schemas::EventIdText)]
    event_id: Cow<'a, str>,
    #[schema(schema_with = schemas::applied)]
    outcome: &'static str,
    user_id: IdText,
    debits: Vec<Change<'a>>,
    credits: Vec<Change<'a>>,
    position: PositionText,
    at: Rfc3339,
    replayed: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Change)]
pub struct Change<'a> {
    user_id: IdText,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::Amount)]
    amount: Amount,
    /// Of the acting user, right after this event, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::Amount>, nullable = false)]
    balance_after: Option<Amount>,
}

const APPLIED: &str = "applied";

/// The answer to a gift just sent.
pub fn of_gift(receipt: &Receipt<GiftSaid>, catalog: &Catalog) -> Response {
    answer(&gift_body(receipt, catalog), receipt.applied.replayed)
}

/// The receipt alone.
pub fn gift_body<'a>(receipt: &'a Receipt<GiftSaid>, catalog: &'a Catalog) -> GiftReceipt<'a> {
    let Receipt { said, applied, .. } = receipt;
    let asset = asset_name(catalog, applied.asset);
    gift(said, asset, applied.total, applied.balance, receipt.position(), applied.at, applied.replayed)
}

/// The answer to a recharge just made.
pub fn of_recharge(receipt: &Receipt<RechargeSaid>, catalog: &Catalog) -> Response {
    let Receipt { said, applied, .. } = receipt;
    let asset = asset_name(catalog, said.asset);
    let body = recharge(said, asset, applied.balance, receipt.position(), applied.at, applied.replayed);
    answer(&body, applied.replayed)
}

/// The first receipt of an event, made again from the books. `None` for events that nobody asked for by an id.
pub fn of_event<'a>(event: &'a WalletEvent, stored: &StoredEvent, catalog: &'a Catalog) -> Option<AnyReceipt<'a>> {
    let (position, at) = (stored.position(), stored.at);
    match event {
        WalletEvent::GiftSent(sent @ GiftSent { said, asset, balance, .. }) => {
            let asset = asset_name(catalog, *asset);
            Some(AnyReceipt::Gift(gift(said, asset, sent.total(), *balance, position, at, false)))
        }
        WalletEvent::Recharged(Recharged { said, balance, .. }) => {
            let asset = asset_name(catalog, said.asset);
            Some(AnyReceipt::Recharge(recharge(said, asset, *balance, position, at, false)))
        }
        WalletEvent::Transferred(transferred) => Some(AnyReceipt::Transfer(transfer(transferred, stored, catalog))),
        WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => None,
    }
}

/// The receipt of a transfer just made. Of the acting user's balances it has the one of the first change; a lookup of the
/// event has all.
pub fn of_transfer<'a>(receipt: &'a Receipt<TransferSaid>, catalog: &'a Catalog) -> TransferReceipt<'a> {
    let Receipt { said, applied, .. } = receipt;
    let mut told = Some(applied.balance);
    let debits = said.debits.iter().map(|&(asset, amount)| Change {
        user_id: said.user.into(),
        asset: asset_name(catalog, asset),
        amount,
        balance_after: told.take(),
    });
    let debits: Vec<_> = debits.collect();
    let credits = said.credits.iter().map(|credit| {
        let balance_after = told.take().filter(|_| credit.user == said.user);
        let asset = asset_name(catalog, credit.asset);
        Change { user_id: credit.user.into(), asset, amount: credit.amount, balance_after }
    });
    TransferReceipt {
        event_id: event_id(said.id, said.key.as_deref()),
        outcome: APPLIED,
        user_id: said.user.into(),
        credits: credits.collect(),
        debits,
        position: receipt.position().into(),
        at: Rfc3339(applied.at),
        replayed: applied.replayed,
    }
}

/// The caller's own spelling of an id.
pub fn event_id(id: EventId, text: Option<&str>) -> Cow<'_, str> {
    text.map_or_else(|| id.to_string().into(), Cow::Borrowed)
}

fn gift<'a>(
    said: &'a GiftSaid,
    asset: Cow<'a, str>,
    total: Amount,
    balance_after: Amount,
    position: EventPosition,
    at: Time,
    replayed: bool,
) -> GiftReceipt<'a> {
    GiftReceipt {
        event_id: event_id(said.id, said.key.as_deref()),
        outcome: APPLIED,
        room_id: said.room.into(),
        gift_id: said.gift,
        count: said.count.get(),
        to: said.receivers.iter().map(|receiver| IdText::from(*receiver)).collect(),
        asset,
        total,
        balance_after,
        combo: said.combo.map(|id| Combo { id: IdText(id) }),
        anonymous: said.anonymous,
        position: position.into(),
        at: Rfc3339(at),
        replayed,
    }
}

fn recharge<'a>(
    said: &RechargeSaid,
    asset: Cow<'a, str>,
    balance_after: Amount,
    position: EventPosition,
    at: Time,
    replayed: bool,
) -> RechargeReceipt<'a> {
    RechargeReceipt {
        event_id: said.id().to_string().into(),
        outcome: APPLIED,
        user_id: said.user.into(),
        asset,
        amount: said.amount,
        balance_after,
        position: position.into(),
        at: Rfc3339(at),
        replayed,
    }
}

fn transfer<'a>(event: &'a Transferred, stored: &StoredEvent, catalog: &'a Catalog) -> TransferReceipt<'a> {
    let said = &event.said;
    let debits = said.debits.iter().zip(event.debited.iter());
    let credits = said.credits.iter().zip(event.credited.iter());
    let debits = debits.map(|(&(asset, amount), balance)| {
        let asset = asset_name(catalog, asset);
        Change { user_id: said.user.into(), asset, amount, balance_after: Some(*balance) }
    });
    // What others have now is not the acting user's to know.
    let credits = credits.map(|(credit, balance)| Change {
        user_id: credit.user.into(),
        asset: asset_name(catalog, credit.asset),
        amount: credit.amount,
        balance_after: balance.filter(|_| credit.user == said.user),
    });
    TransferReceipt {
        event_id: event_id(said.id, said.key.as_deref()),
        outcome: APPLIED,
        user_id: said.user.into(),
        debits: debits.collect(),
        credits: credits.collect(),
        position: stored.position().into(),
        at: Rfc3339(stored.at),
        replayed: false,
    }
}

fn answer(body: &impl Serialize, replayed: bool) -> Response {
    let mut response = edge::json(body);
    if replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
