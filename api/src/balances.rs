//! What a user has, from the shard that owns it.

use axum::extract::State;
use axum::response::Response;
use largesse_engine::catalog::Catalog;
use largesse_engine::units::{Amount, AssetId, EventPosition, UserId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::{IntoParams, ToSchema};

use crate::edge;
use crate::error::ErrorCode;
use crate::extract::{JsonBytes, Params, Service, Viewer, VisibleUser, parse_json};
use crate::language::Language;
use crate::openapi::errors::{QueryErrors, ReadErrors};
use crate::openapi::schemas;
use crate::problem::{Problem, Written};
use crate::refusals;
use crate::state::ApiState;
use crate::trace::Trace;
use crate::wire::{Id, IdText, PositionText, asset_name, parse_position};

/// Users that one question may be about.
pub const USERS_MAX: usize = 50;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BalancesParams {
    /// `shard:seq` of an event whose credits should be in the answer; waits up to a second for them.
    #[param(schema_with = schemas::position_query, required = false)]
    after: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Balances)]
pub(crate) struct BalancesPage<'a> {
    balances: Vec<Balance<'a>>,
    position: PositionText,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Balance)]
pub(crate) struct Balance<'a> {
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::Amount)]
    amount: Amount,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QueryBalances)]
pub(crate) struct QueryBody {
    #[schema(min_items = 1, max_items = 50, example = json!(["3001", "2001"]))]
    user_ids: Vec<Id>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BalancesOfUsers)]
pub(crate) struct QueryAnswer<'a> {
    /// One per user, in the order asked.
    users: Vec<UserBalances<'a>>,
}

/// What a user has, or why that cannot be told right now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BalancesOfUser)]
pub(crate) struct UserBalances<'a> {
    user_id: IdText,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    balances: Option<Vec<Balance<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    position: Option<PositionText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::ProblemBody>, nullable = false)]
    error: Option<Written>,
}

/// A viewer's own balances
#[utoipa::path(
    get, path = "/v1/me/balances", operation_id = "ownBalances", tag = "money", params(BalancesParams),
    responses((status = 200, description = "From the shard that owns them.", body = BalancesPage), ReadErrors),
    security(("viewer" = []))
)]
pub async fn own(
    State(state): State<ApiState>,
    Viewer(user): Viewer,
    Params(params): Params<BalancesParams>,
) -> Result<Response, Problem> {
    balances(&state, user, params).await
}

/// A user's balances
#[utoipa::path(
    get, path = "/v1/users/{user}/balances", operation_id = "balancesOfUser", tag = "money",
    params(("user" = inline(schemas::IdPath), Path, example = "3001"), BalancesParams),
    responses((status = 200, description = "From the shard that owns them.", body = BalancesPage), ReadErrors),
    security(("viewer" = []), ("service" = []))
)]
pub async fn of_user(
    State(state): State<ApiState>,
    VisibleUser(user, _): VisibleUser,
    Params(params): Params<BalancesParams>,
) -> Result<Response, Problem> {
    balances(&state, user, params).await
}

async fn balances(state: &ApiState, user: UserId, params: BalancesParams) -> Result<Response, Problem> {
    let shards = state.service.wallets.shape().wallet_shards;
    let after = params.after.as_deref().map(|text| parse_position(text, shards)).transpose()?;
    let read = state.service.balances(user, after).await;
    let catalog = &state.service.control.view().catalog;
    let (read, shard) = read.map_err(|error| refusals::of_read(error, catalog))?;
    let position = EventPosition { shard, seq: read.seq }.into();
    Ok(edge::json(&BalancesPage { balances: named(&read.amounts, catalog), position }))
}

/// Balances of up to 50 users
///
/// Each is read for itself from the shard that owns it; one that cannot be read has an `error` instead.
#[utoipa::path(
    post, path = "/v1/balances:query", operation_id = "queryBalances", tag = "money", request_body = QueryBody,
    responses((status = 200, description = "One entry per user, in the order asked.", body = QueryAnswer), QueryErrors),
    security(("service" = []))
)]
pub async fn query(
    State(state): State<ApiState>,
    trace: Trace,
    _service: Service,
    language: Language,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let QueryBody { user_ids } = parse_json(&body)?;
    if user_ids.len() > USERS_MAX {
        let detail = format!("one question is about at most {USERS_MAX} users, not {}", user_ids.len());
        return Err(Problem::new(ErrorCode::BatchTooLarge, detail));
    }
    if user_ids.is_empty() || user_ids.contains(&Id(0)) {
        return Err(Problem::bad_request("`user_ids` names at least one user, and 0 is none"));
    }
    let users: Vec<UserId> = user_ids.iter().map(|id| id.user()).collect();
    let read = state.service.balances_of(&users).await;
    let catalog = &state.service.control.view().catalog;
    let users = users.iter().zip(read).map(|(user, read)| {
        let user_id = IdText::from(*user);
        match read {
            Ok((read, shard)) => UserBalances {
                user_id,
                balances: Some(named(&read.amounts, catalog)),
                position: Some(EventPosition { shard, seq: read.seq }.into()),
                error: None,
            },
            Err(error) => {
                let error = Some(refusals::of_read(error, catalog).written(trace, language));
                UserBalances { user_id, balances: None, position: None, error }
            }
        }
    });
    Ok(edge::json(&QueryAnswer { users: users.collect() }))
}

fn named<'a>(amounts: &[(AssetId, Amount)], catalog: &'a Catalog) -> Vec<Balance<'a>> {
    amounts.iter().map(|&(asset, amount)| Balance { asset: asset_name(catalog, asset), amount }).collect()
}
