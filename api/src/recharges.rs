//! Money comes in: a service reports a payment.

use std::borrow::Cow;

use axum::extract::State;
use axum::response::Response;
use largesse_engine::event_id::EventId;
use largesse_engine::units::{Amount, AssetId, Time, UserId};
use largesse_engine::wallet::command::RechargeSaid;
use largesse_engine::wallet::event::Channel;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::ErrorCode;
use crate::extract::{JsonBytes, Service, parse_json};
use crate::openapi::errors::RechargeErrors;
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::receipts;
use crate::refusals;
use crate::state::ApiState;
use crate::trace::Trace;
use crate::until::Until;
use crate::wire::{Id, Whole, parse_asset};

/// Longest number of a transaction, in characters.
const TRANSACTION_CHARS_MAX: usize = 128;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Recharge)]
pub(crate) struct RechargeBody<'a> {
    #[schema(example = "3001")]
    user_id: Id,
    /// By its name in the catalog.
    #[serde(borrow)]
    #[schema(value_type = String, example = "coin")]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::PositiveAmount, example = 600)]
    amount: Whole,
    #[schema(schema_with = schemas::channel)]
    channel: Channel,
    /// The payment's number at its channel, which is its key: it pays once among all users.
    #[serde(borrow)]
    #[schema(schema_with = schemas::transaction)]
    transaction_id: Cow<'a, str>,
}

/// Report a payment
///
/// Issues what was paid for, once per channel and transaction.
#[utoipa::path(
    post, path = "/v1/recharges", operation_id = "recharge", tag = "money",
    params(("Largesse-Deadline" = Option<schemas::DeadlineHeader>, Header)),
    request_body(content = RechargeBody, example = json!({
        "user_id": "3001", "asset": "coin", "amount": 600, "channel": "apple", "transaction_id": "example-order"
    })),
    responses(
        (status = 200, description = "The receipt.", body = receipts::RechargeReceipt, headers(
            ("Idempotency-Replayed" = inline(schemas::True), description = "Only where it is the receipt of an earlier attempt."),
        ), links(
            ("receipt" = (operation_id = "findEvent", parameters(
                ("event_id" = "$response.body#/event_id"), ("sender" = "$response.body#/user_id")
            ))),
            ("balances" = (operation_id = "balancesOfUser", parameters(("user" = "$response.body#/user_id")))),
            ("history" = (operation_id = "historyOfUser", parameters(("user" = "$response.body#/user_id")))),
        )),
        RechargeErrors
    ),
    security(("service" = []))
)]
pub async fn recharge(
    State(state): State<ApiState>,
    trace: Trace,
    _service: Service,
    until: Until,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let said = parse(&state, &body)?;
    let (user, id) = (said.user, said.id());
    let recharged = state.service.recharge(said, until.0, Some(trace.id)).await;
    let view = state.service.control.view();
    match recharged {
        Ok(receipt) => Ok(receipts::of_recharge(&receipt, &view.catalog)),
        Err(error) => Err(until
            .passed(&error, state.service.clock.now())
            .unwrap_or_else(|| refusals::of_service(error, &view.catalog, |time| poll_of(user, id, time)))),
    }
}

fn parse(state: &ApiState, body: &[u8]) -> Result<RechargeSaid, Problem> {
    let body: RechargeBody<'_> = parse_json(body)?;
    let amount = body.amount.amount("amount")?;
    let asset = parse_asset(&state.service.control.view().catalog, &body.asset)?;
    said(body.channel, &body.transaction_id, body.user_id.user(), asset, amount)
}

/// Checks everything about a recharge that can be checked without looking anything up.
pub(crate) fn said(
    channel: Channel,
    transaction: &str,
    user: UserId,
    asset: AssetId,
    amount: Amount,
) -> Result<RechargeSaid, Problem> {
    if user == UserId::NOBODY {
        return Err(Problem::bad_request("0 is not a user"));
    }
    if transaction.is_empty() {
        return Err(Problem::new(
            ErrorCode::KeyRequired,
            "the transaction's id is the payment's key and cannot be empty",
        ));
    }
    if transaction.chars().count() > TRANSACTION_CHARS_MAX || transaction.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!(
            "the transaction's id has at most {TRANSACTION_CHARS_MAX} characters, none of them a control character"
        )));
    }
    if amount.is_zero() {
        return Err(Problem::new(ErrorCode::InvalidAmount, "the amount must be at least 1"));
    }
    Ok(RechargeSaid { channel, transaction: transaction.into(), user, asset, amount })
}

/// Where the outcome of a recharge can be asked for.
pub(crate) fn poll(said: &RechargeSaid, final_after: Time) -> String {
    poll_of(said.user, said.id(), final_after)
}

fn poll_of(user: UserId, id: EventId, final_after: Time) -> String {
    format!("/v1/gifts/{id}?sender={user}&final_after={final_after}")
}
