//! What a user has, from the shard that owns it.

use axum::extract::State;
use axum::response::Response;
use largesse_engine::units::{Amount, EventPosition, UserId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::edge;
use crate::extract::{Params, Viewer, VisibleUser};
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;
use crate::wire::{PositionText, asset_name, parse_position};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalancesParams {
    /// `shard:seq` of an event whose credits should be in the answer.
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct BalancesPage<'a> {
    balances: Vec<Balance<'a>>,
    position: PositionText,
}

#[derive(Debug, Serialize)]
struct Balance<'a> {
    asset: Cow<'a, str>,
    amount: Amount,
}

pub async fn own(
    State(state): State<ApiState>,
    Viewer(user): Viewer,
    Params(params): Params<BalancesParams>,
) -> Result<Response, Problem> {
    balances(&state, user, params).await
}

pub async fn of_user(
    State(state): State<ApiState>,
    VisibleUser(user): VisibleUser,
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
    let balances = read.amounts.iter();
    let balances = balances.map(|&(asset, amount)| Balance { asset: asset_name(catalog, asset), amount });
    let position = EventPosition { shard, seq: read.seq }.into();
    Ok(edge::json(&BalancesPage { balances: balances.collect(), position }))
}
