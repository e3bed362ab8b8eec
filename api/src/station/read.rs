//! Assets of users, and the records of their changes.

use axum::extract::{Request, State};
use axum::response::Response;
use largesse_engine::units::UserId;
use largesse_engine::wallet::event::Direction;

use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::extract::parse_json;
use crate::history::items::{Item, Kind, Side};
use crate::history::{self, HistoryParams};
use crate::language::Language;
use crate::problem::Problem;
use crate::receipts;
use crate::refusals;
use crate::state::ApiState;
use crate::station::change::Reference;
use crate::station::fields::asset;
use crate::station::shapes::{AssetRecord, GetAssetsAnswer, GetAssetsBody, GetAssetsData, RecordsAnswer, RecordsBody};
use crate::station::shapes::{RecordsData, UserAsset};
use crate::station::{self, Call, ITEMS_MAX, PATIENCE};
use crate::time_text::Rfc3339;
use crate::trace::Trace;
use crate::wire::Id;

/// Assets of up to 50 users
#[utoipa::path(
    post, path = "/openapi/payment/da/v1/getassets", operation_id = "stationGetAssets", tag = "station",
    request_body(content = GetAssetsBody, example = json!({ "userIds": [3001] })),
    responses((status = 200, description = "Also of an error.", body = GetAssetsAnswer)),
    security(("viewer" = []), ("service" = []))
)]
pub async fn get_assets(State(state): State<ApiState>, trace: Trace, language: Language, request: Request) -> Response {
    station::answer(assets(&state, request).await, &trace, language)
}

async fn assets(state: &ApiState, request: Request) -> Result<GetAssetsData, Problem> {
    let call = Call::read(state, request).await?;
    let body: GetAssetsBody<'_> = parse_json(&call.body)?;
    station::too_many("userIds", body.user_ids.len())?;
    let users = body.user_ids.iter().map(|id| visible(&call.caller, *id)).collect::<Result<Vec<_>, _>>()?;
    let catalog = &state.service.control.view().catalog;
    let only = body.asset_type.as_ref().map(|named| asset(named, catalog)).transpose()?;
    let read = station::service(state).balances_of(&users).await;
    let mut user_assets = Vec::new();
    for (user, read) in users.iter().zip(read) {
        let (balances, _) = read.map_err(|error| refusals::of_read(error, catalog))?;
        let wanted = balances.amounts.iter().filter(|(asset, _)| only.is_none_or(|only| only == *asset));
        user_assets.extend(wanted.map(|(asset, amount)| UserAsset {
            user_id: user.get(),
            asset_type: asset.get(),
            asset_cn: amount.get(),
        }));
    }
    Ok(GetAssetsData { user_assets })
}

/// A service may look at anybody, a viewer at himself.
fn visible(caller: &Caller, id: Id) -> Result<UserId, Problem> {
    let user = id.user();
    if user == UserId::NOBODY {
        return Err(Problem::bad_request("0 is not a user"));
    }
    match caller {
        Caller::Service(_) => Ok(user),
        Caller::Viewer(own) if *own == user => Ok(user),
        Caller::Reader(_) => Err(Problem::read_only()),
        Caller::Viewer(_) | Caller::Admin(_) => Err(Problem::forbidden("a viewer can only read his own account")),
    }
}

/// Records of the changes of a user's assets, newest first
#[utoipa::path(
    post, path = "/openapi/payment/da/v1/getassetrecords", operation_id = "stationGetAssetRecords", tag = "station",
    request_body(content = RecordsBody, example = json!({ "userId": 3001, "limit": 10 })),
    responses((status = 200, description = "Also of an error.", body = RecordsAnswer)),
    security(("viewer" = []), ("service" = []))
)]
pub async fn get_asset_records(
    State(state): State<ApiState>,
    trace: Trace,
    language: Language,
    request: Request,
) -> Response {
    station::answer(records(&state, request).await, &trace, language)
}

async fn records(state: &ApiState, request: Request) -> Result<RecordsData, Problem> {
    let call = Call::read(state, request).await?;
    let body: RecordsBody = parse_json(&call.body)?;
    let user = visible(&call.caller, body.user_id)?;
    let (op_user_type, side) = match body.op_user_type {
        None | Some(1) => (1, Side::Sent),
        Some(2) => (2, Side::Received),
        Some(_) => return Err(Problem::bad_request("`opUserType` is 1, who acted, or 2, who received")),
    };
    let limit = body.limit.unwrap_or(ITEMS_MAX);
    if limit > ITEMS_MAX {
        let detail = format!("`limit` is {limit}; one call has at most {ITEMS_MAX} records");
        return Err(Problem::new(ErrorCode::BatchTooLarge, detail));
    }
    let params =
        HistoryParams { side: Some(side), limit: Some(limit), cursor: body.cursor, ..HistoryParams::default() };
    let page = history::page(state, user, params, PATIENCE.deadline + PATIENCE.answer).await?;
    let records = page.items.iter().map(|item| record(item, user, op_user_type));
    Ok(RecordsData { records: records.collect(), cursor: page.cursor })
}

fn record(item: &Item, user: UserId, op_user_type: u8) -> AssetRecord {
    let (event_type, biz_type, biz_id, obj_id) = belongs_to(item);
    AssetRecord {
        user_id: user.get(),
        op_user_type,
        biz_id,
        biz_type,
        event_id: receipts::event_id(item.id, item.key.as_deref()).into_owned(),
        event_type,
        obj_id,
        asset_type: item.asset.get(),
        record: item.amount.get(),
        record_op: match item.direction {
            Some(Direction::Credit) => "+",
            Some(Direction::Debit) => "-",
            None => "",
        },
        asset_cn: item.balance_after.map(|balance| balance.get()),
        created_at: Rfc3339(item.at),
    }
}

fn belongs_to(item: &Item) -> (String, u8, u64, String) {
    if let Some((reference, obj_id)) = item.reference.as_deref().and_then(Reference::parse) {
        return (reference.event_type.into(), reference.biz_type, reference.biz_id, obj_id.into());
    }
    match item.kind {
        Kind::Gift | Kind::Points => {
            let (room, gift) = item.gift.map_or((0, String::new()), |line| (line.room.get(), line.gift.to_string()));
            ("interactGift".into(), 1, room, gift)
        }
        Kind::Recharge => ("recharge".into(), 2, 0, String::new()),
        Kind::Transfer => ("none".into(), 0, 0, String::new()),
    }
}
