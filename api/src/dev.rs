//! Helpers of the room page that only `largesse dev` has: tokens for its viewers, and coins for nothing. Without
//! [`DevOptions`] there are no such paths.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::HOST;
use http::{HeaderMap, Uri};
use largesse_engine::units::{Amount, UserId};
use largesse_engine::wallet::command::RechargeSaid;
use largesse_engine::wallet::event::Channel;
use serde::{Deserialize, Serialize};

use crate::edge;
use crate::extract::{JsonBytes, parse_json};
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;
use crate::trace::FreshIds;
use crate::wire::{Id, IdText};

/// What one click gives.
const COINS: u64 = 10_000;

#[derive(Clone, Debug)]
pub struct DevOptions {
    pub viewers: Arc<[DevViewer]>,
}

#[derive(Clone, Debug)]
pub struct DevViewer {
    pub user: UserId,
    pub name: String,
    pub token: String,
}

#[derive(Serialize)]
struct Viewers<'a> {
    viewers: Vec<ViewerBody<'a>>,
}

#[derive(Serialize)]
struct ViewerBody<'a> {
    user_id: IdText,
    name: &'a str,
    token: &'a str,
}

pub async fn viewers(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, Problem> {
    let options = options(&state, &headers)?;
    let viewers = options.viewers.iter().map(|DevViewer { user, name, token }| ViewerBody {
        user_id: IdText::from(*user),
        name,
        token,
    });
    Ok(edge::json(&Viewers { viewers: viewers.collect() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CoinsBody {
    user_id: Id,
}

pub async fn coins(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Result<JsonBytes, Problem>,
) -> Result<Response, Problem> {
    options(&state, &headers)?;
    let JsonBytes(body) = body?;
    let body: CoinsBody = parse_json(&body)?;
    let view = state.service.control.view();
    let asset = view.catalog.asset("coin").ok_or_else(|| Problem::bad_request("the catalog has no asset `coin`"))?;
    let said = RechargeSaid {
        channel: Channel::Manual,
        transaction: transaction(&state.fresh_ids).into(),
        user: body.user_id.user(),
        asset,
        amount: Amount::new(COINS).expect("far below the largest amount"),
    };
    let paid = state.service.recharge(said, None, None).await;
    paid.map_err(|error| refusals::of_read(error, &view.catalog))?;
    Ok(edge::json(&serde_json::json!({ "amount": COINS })))
}

fn transaction(fresh: &FreshIds) -> String {
    let digits = fresh.span().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("dev-page-{digits}")
}

/// A page of another site that has its name point here must not get at tokens.
fn options<'a>(state: &'a ApiState, headers: &HeaderMap) -> Result<&'a DevOptions, Problem> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Uri>().ok());
    let is_here = host.as_ref().and_then(Uri::host).is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    if !is_here {
        return Err(Problem::forbidden("only pages of this machine's own address may ask for this"));
    }
    state.options.dev.as_ref().ok_or_else(|| Problem::forbidden("this process has no such helpers"))
}
