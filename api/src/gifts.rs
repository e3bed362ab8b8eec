//! Sending a gift, and asking what became of one.

use std::borrow::Cow;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use largesse_engine::event_id::EventId;
use largesse_engine::service::{Found, GiftRequest, Receipt};
use largesse_engine::units::{Amount, GiftId, RoomId, Time, UserId};
use largesse_engine::wallet::command::GiftSaid;
use serde::Deserialize;
use smallvec::SmallVec;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::edge::{self, Arrival};
use crate::error::ErrorCode;
use crate::extract::{JsonBytes, KeyPath, Params, Public, RoomPath, caller_key, parse_json};
use crate::openapi::errors::{FindErrors, SendErrors};
use crate::openapi::schemas;
use crate::problem::{Extras, Problem};
use crate::receipts;
use crate::refusals;
use crate::room_pass;
use crate::state::{ApiState, Shared};
use crate::until::Until;
use crate::wire::{Id, Whole};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SendGift)]
pub(crate) struct GiftBody<'a> {
    #[schema(value_type = schemas::GiftId, example = 9)]
    gift_id: u32,
    #[schema(value_type = u16, minimum = 1, maximum = 9_999, example = 1)]
    count: Whole,
    /// One to sixteen hosts of the room, each once; the price is paid for each.
    #[schema(schema_with = schemas::receivers, example = json!(["2001"]))]
    to: SmallVec<[Id; 4]>,
    /// The client's own number for a streak of taps.
    #[serde(default)]
    #[schema(schema_with = schemas::optional_any_id)]
    combo_id: Option<Id>,
    /// Whether nobody is told whose gift it is, in the room and in the hosts' histories.
    #[serde(default)]
    anonymous: bool,
    /// The unit price on the sender's screen.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Amount>)]
    price_seen: Option<Whole>,
    /// The idempotency key, where it is not sent as a header.
    #[serde(default, borrow)]
    #[schema(schema_with = schemas::optional_key)]
    event_id: Option<Cow<'a, str>>,
    /// For whom a service sends.
    #[serde(default)]
    sender: Option<Id>,
}

/// Send a gift
///
/// To one host or several at once: one debit, all credits, or nothing. The request needs a key, as `Idempotency-Key` or
/// `event_id`; the same key with the same body returns the first receipt, however often and however late.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/gifts", operation_id = "sendGift", tag = "gifts",
    params(
        ("room" = inline(schemas::IdPath), Path, example = "1001"),
        ("Idempotency-Key" = Option<schemas::KeyHeader>, Header),
        ("Largesse-Deadline" = Option<schemas::DeadlineHeader>, Header),
    ),
    request_body(content = GiftBody, example = json!({
        "gift_id": 9, "count": 10, "to": ["2001", "2002"], "event_id": "example-gift", "sender": "3001", "price_seen": 5
    })),
    responses(
        (status = 200, description = "The receipt.", body = receipts::GiftReceipt, headers(
            ("Idempotency-Replayed" = inline(schemas::True), description = "Only where it is the receipt of an earlier attempt."),
        ), links(
            ("receipt" = (operation_id = "findEvent", parameters(
                ("event_id" = "$response.body#/event_id"), ("sender" = "$request.body#/sender")
            ))),
            ("ownBalances" = (operation_id = "ownBalances", parameters(
                ("after" = "{$response.body#/position/shard}:{$response.body#/position/seq}")
            ))),
        )),
        SendErrors
    ),
    security(("viewer" = []), ("service" = []))
)]
pub async fn send(
    State(state): State<ApiState>,
    arrival: Arrival,
    Public(caller): Public,
    RoomPath(room): RoomPath,
    until: Result<Until, Problem>,
    headers: HeaderMap,
    body: Result<JsonBytes, Problem>,
) -> Result<Response, Problem> {
    let result = match (until, body) {
        (Ok(until), Ok(JsonBytes(body))) => send_parsed(&state, arrival, &caller, room, until, &headers, &body).await,
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    };
    if let Err(problem) = &result {
        state.gift_meter.failed(problem.code());
    }
    result
}

async fn send_parsed(
    state: &ApiState,
    arrival: Arrival,
    caller: &Caller,
    room: RoomId,
    until: Until,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Problem> {
    let body: GiftBody<'_> = parse_json(body)?;
    let sender = sender_of(caller, body.sender.map(Id::user), "sender")?;
    room_pass::check(state.options.room_pass.as_ref(), caller, room, headers, || state.service.clock.now())?;
    let key = caller_key(headers, body.event_id.as_deref())?;
    let count = body.count.number("count")?;
    let price_seen = body.price_seen.map(|price| price.amount("price_seen")).transpose()?;
    let receivers: SmallVec<[UserId; 4]> = body.to.iter().map(|id| id.user()).collect();
    let combo = body.combo_id.map(|id| id.0);
    let said = GiftSaid::new(key, sender, room, GiftId(body.gift_id), count, &receivers, combo)?;
    let said = GiftSaid { anonymous: body.anonymous, ..said };

    let receipt = deliver(state, arrival, caller, said, price_seen, until).await?;
    Ok(receipts::of_gift(&receipt, &state.service.control.view().catalog))
}

/// Sends it, whichever way it came.
pub(crate) async fn deliver(
    state: &Shared,
    arrival: Arrival,
    caller: &Caller,
    said: GiftSaid,
    price_seen: Option<Amount>,
    until: Until,
) -> Result<Receipt<GiftSaid>, Problem> {
    let (id, sender) = (said.id, said.sender);
    let request = GiftRequest { said, price_seen, until: until.0, trace: Some(arrival.trace.id) };
    let (sent, moments) = state.service.send_gift_timed(request).await;
    let view = state.service.control.view();
    let told = sent.map_err(|error| {
        until
            .passed(&error, state.service.clock.now())
            .unwrap_or_else(|| refusals::of_service(error, &view.catalog, |time| poll(caller, sender, id, time)))
    });
    if let Ok(receipt) = &told {
        state.gift_meter.applied(&receipt.applied, &view.catalog);
    }
    state.gift_meter.took(arrival.at, moments);
    told
}

/// A viewer sends for himself, a service for whom it names.
/// `field` is where it is named.
pub(crate) fn sender_of(caller: &Caller, named: Option<UserId>, field: &str) -> Result<UserId, Problem> {
    match (caller, named) {
        (Caller::Viewer(own), None) => Ok(*own),
        (Caller::Viewer(own), Some(named)) if *own == named => Ok(named),
        (Caller::Viewer(_), Some(_)) => Err(Problem::forbidden("a viewer can only send in his own name")),
        (Caller::Reader(_), _) => Err(Problem::read_only()),
        (Caller::Service(_), Some(named)) => Ok(named),
        (Caller::Service(_), None) => {
            Err(Problem::bad_request(format!("a service says in `{field}` whose gift it is")))
        }
        (Caller::Admin(_), _) => Err(Problem::forbidden("administrators send no gifts")),
    }
}

/// Where an outcome that is not known can be asked for.
pub fn poll(caller: &Caller, user: UserId, id: EventId, final_after: Time) -> String {
    match caller {
        Caller::Viewer(_) | Caller::Reader(_) => format!("/v1/gifts/{id}?final_after={final_after}"),
        Caller::Service(_) | Caller::Admin(_) => format!("/v1/gifts/{id}?sender={user}&final_after={final_after}"),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FindParams {
    /// Whose event it is; for services.
    #[param(schema_with = schemas::user_query, required = false)]
    sender: Option<String>,
    /// From `poll`: the attempt's deadline, in milliseconds.
    #[param(schema_with = schemas::millis_query, required = false)]
    final_after: Option<u64>,
}

/// Find what became of a key
///
/// The receipt of a gift, recharge or transfer. The question goes through the shard that owns the account, behind all that
/// was admitted before. A 404 has `final: true` when an attempt with this deadline can no longer be decided.
#[utoipa::path(
    get, path = "/v1/gifts/{event_id}", operation_id = "findEvent", tag = "gifts",
    params(("event_id" = inline(schemas::KeyPath), Path), FindParams),
    responses((status = 200, description = "The receipt.", body = receipts::AnyReceipt), FindErrors),
    security(("viewer" = []), ("service" = []))
)]
pub async fn find(
    State(state): State<ApiState>,
    Public(caller): Public,
    KeyPath(key): KeyPath,
    Params(params): Params<FindParams>,
) -> Result<Response, Problem> {
    let named = match params.sender.as_deref() {
        Some(text) => Some(
            Id::parse(text)
                .map(Id::user)
                .ok_or_else(|| Problem::bad_request("`sender` must be a user id in decimal digits"))?,
        ),
        None => None,
    };
    let user = match (&caller, named) {
        (Caller::Viewer(own), None) => *own,
        (Caller::Viewer(own), Some(named)) if *own == named => named,
        (Caller::Reader(_), _) => return Err(Problem::read_only()),
        (Caller::Service(_), Some(named)) => named,
        (Caller::Service(_), None) => {
            return Err(Problem::bad_request("a service says in `?sender=` whose event it is"));
        }
        (Caller::Viewer(_) | Caller::Admin(_), _) => {
            return Err(Problem::forbidden("a viewer can only ask for his own events"));
        }
    };
    let found = state.service.find(user, key.id).await;
    let view = state.service.control.view();
    match found.map_err(|error| refusals::of_read(error, &view.catalog))? {
        Found::Event { event, stored } => match receipts::of_event(&event, &stored, &view.catalog) {
            Some(receipt) => Ok(edge::json(&receipt)),
            None => Err(unknown(false)),
        },
        // The shard's time has passed the last moment at which the attempt could have been decided.
        Found::Unknown { now } => Err(unknown(params.final_after.is_some_and(|last| now > Time(last)))),
    }
}

fn unknown(is_final: bool) -> Problem {
    let detail = if is_final {
        "no event of this sender has this id, and the attempt can no longer be decided: it moved no money"
    } else {
        "no event of this sender has this id yet"
    };
    Problem::with(ErrorCode::EventUnknown, detail, Extras::Final(is_final))
}
