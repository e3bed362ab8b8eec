//! Gifts: what a room sells, and sending one.

use axum::extract::{Request, State};
use axum::response::Response;
use largesse_engine::event_id::CallerKey;
use largesse_engine::service::{GiftRequest, Moments};
use largesse_engine::units::{GiftId, RoomId, UserId};
use largesse_engine::wallet::command::GiftSaid;

use crate::edge::Arrival;
use crate::error::ErrorCode;
use crate::extract::{parse_json, read_body};
use crate::gifts;
use crate::language::Language;
use crate::problem::Problem;
use crate::receipts;
use crate::refusals;
use crate::room_pass;
use crate::state::ApiState;
use crate::station::shapes::{ListGiftAnswer, ListGiftBody, ListGiftData, ListedGift, SendGiftAnswer, SendGiftBody};
use crate::station::shapes::{SendGiftData, UserAsset};
use crate::station::{self, Call};
use crate::trace::Trace;

/// Send a gift
///
/// Answered within a second; an outcome that is not known by then is `errCode` 20052, and never a failure.
#[utoipa::path(
    post, path = "/openapi/interaction/gift/v1/sendgift", operation_id = "stationSendGift", tag = "station",
    request_body(content = SendGiftBody, example = json!({
        "eventId": "example-station-gift", "opUserId": 3001, "roomId": 1001, "giftId": 9, "count": 1, "toUserIds": [2001]
    })),
    responses((status = 200, description = "Also of an error.", body = SendGiftAnswer)),
    security(("viewer" = []), ("service" = []))
)]
pub async fn send_gift(
    State(state): State<ApiState>,
    arrival: Arrival,
    language: Language,
    request: Request,
) -> Response {
    let mut moments = None;
    let sent = send(&state, &arrival.trace, request, &mut moments).await;
    if let Err(problem) = &sent {
        state.gift_meter.failed(problem.code());
    }
    let answer = station::answer(sent, &arrival.trace, language);
    state.gift_meter.took(arrival.at, moments);
    answer
}

async fn send(
    state: &ApiState,
    trace: &Trace,
    request: Request,
    moments: &mut Option<Moments>,
) -> Result<SendGiftData, Problem> {
    let call = Call::read(state, request).await?;
    let body: SendGiftBody<'_> = parse_json(&call.body)?;
    let sender = gifts::sender_of(&call.caller, body.op_user_id.map(|id| id.user()), "opUserId")?;
    let key = CallerKey::parse(&body.event_id)?;
    let (count, room) = (body.count.number("count")?, RoomId(body.room_id.0));
    room_pass::check(state.options.room_pass.as_ref(), &call.caller, room, &call.headers, || {
        state.service.clock.now()
    })?;
    let price_seen = body.price.map(|price| price.amount("price")).transpose()?;
    let receivers: Vec<UserId> = body.to_user_ids.iter().map(|id| id.user()).collect();
    let combo = body.combo_id.map(|id| id.0);
    let said = GiftSaid::new(key, sender, room, GiftId(body.gift_id), count, &receivers, combo)?;
    let id = said.id;
    let request = GiftRequest { said, price_seen, until: None, trace: Some(trace.id) };
    let sent;
    (sent, *moments) = station::service(state).send_gift_timed(request).await;
    let catalog = &state.service.control.view().catalog;
    let receipt =
        sent.map_err(|error| refusals::of_service(error, catalog, |time| gifts::poll(&call.caller, sender, id, time)))?;
    let applied = receipt.applied;
    state.gift_meter.applied(&applied, catalog);
    Ok(SendGiftData {
        event_id: receipts::event_id(receipt.said.id, receipt.said.key.as_deref()).into_owned(),
        total: applied.total.get(),
        op_user_asset: UserAsset {
            user_id: sender.get(),
            asset_type: applied.asset.get(),
            asset_cn: applied.balance.get(),
        },
        replayed: applied.replayed,
    })
}

/// The gifts of a room
#[utoipa::path(
    post, path = "/openapi/interaction/gift/v1/listgift", operation_id = "stationListGift", tag = "station",
    request_body(content = ListGiftBody, example = json!({ "roomId": 1001 })),
    responses((status = 200, description = "Also of an error.", body = ListGiftAnswer)),
    security(())
)]
pub async fn list_gift(State(state): State<ApiState>, trace: Trace, language: Language, request: Request) -> Response {
    let view = state.service.control.view();
    let listed = list(&state, request).await.and_then(|room| {
        let unknown = || Problem::new(ErrorCode::RoomUnknown, format!("room {room} does not exist"));
        view.rooms.get(&room).ok_or_else(unknown)?;
        let gifts = view.catalog.gifts().iter().map(|gift| ListedGift {
            gift_id: gift.gift_id.get(),
            name: gift.names.get(language.tag()).unwrap_or(&gift.name),
            currency_cn: gift.price.get(),
            unit: &gift.asset,
            gift_category: &gift.category,
            icon_url: &gift.icon_url,
            send_rule: gift.send_rule,
            effects_url: gift.effects_url.as_deref().unwrap_or_default(),
            created_at: &gift.created_at,
            updated_at: &gift.updated_at,
        });
        Ok(ListGiftData { gifts: gifts.collect() })
    });
    station::answer(listed, &trace, language)
}

async fn list(state: &ApiState, request: Request) -> Result<RoomId, Problem> {
    station::is_post(&request)?;
    let body = read_body(request, state.options.body_bytes_max, state).await?;
    let body: ListGiftBody = parse_json(&body)?;
    Ok(RoomId(body.room_id.0))
}
