//! Money comes in: a service reports a payment.

use std::borrow::Cow;

use axum::extract::State;
use axum::response::Response;
use largesse_engine::units::UserId;
use largesse_engine::wallet::command::RechargeSaid;
use largesse_engine::wallet::event::Channel;
use serde::Deserialize;

use crate::error::ErrorCode;
use crate::extract::{JsonBytes, Service, parse_json};
use crate::problem::Problem;
use crate::receipts;
use crate::refusals;
use crate::state::ApiState;
use crate::trace::Trace;
use crate::wire::{Id, Whole, parse_asset};

/// Longest number of a transaction, in characters.
const TRANSACTION_CHARS_MAX: usize = 128;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RechargeBody<'a> {
    user_id: Id,
    #[serde(borrow)]
    asset: Cow<'a, str>,
    amount: Whole,
    channel: Channel,
    #[serde(borrow)]
    transaction_id: Cow<'a, str>,
}

pub async fn recharge(
    State(state): State<ApiState>,
    trace: Trace,
    _service: Service,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let said = parse(&state, &body)?;
    let (user, id) = (said.user, said.id());
    let recharged = state.service.recharge(said, Some(trace.id)).await;
    let view = state.service.control.view();
    match recharged {
        Ok(receipt) => Ok(receipts::of_recharge(&receipt, &view.catalog)),
        Err(error) => Err(refusals::of_service(error, &view.catalog, |time| {
            format!("/v1/gifts/{id}?sender={user}&final_after={time}")
        })),
    }
}

fn parse(state: &ApiState, body: &[u8]) -> Result<RechargeSaid, Problem> {
    let body: RechargeBody<'_> = parse_json(body)?;
    let user = body.user_id.user();
    if user == UserId::NOBODY {
        return Err(Problem::bad_request("0 is not a user"));
    }
    let transaction = body.transaction_id;
    if transaction.is_empty() {
        return Err(Problem::new(ErrorCode::KeyRequired, "`transaction_id` is the payment's key and cannot be empty"));
    }
    if transaction.chars().count() > TRANSACTION_CHARS_MAX || transaction.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!(
            "`transaction_id` has at most {TRANSACTION_CHARS_MAX} characters, none of them a control character"
        )));
    }
    let amount = body.amount.amount("amount")?;
    if amount.is_zero() {
        return Err(Problem::new(ErrorCode::InvalidAmount, "`amount` must be at least 1"));
    }
    let asset = parse_asset(&state.service.control.view().catalog, &body.asset)?;
    Ok(RechargeSaid { channel: body.channel, transaction: transaction.into(), user, asset, amount })
}
