//! Transfers: the general form of a change, one user's debits and anybody's credits, up to a thousand in one call.
//!
//! Each transfer is one event, all of it or nothing. There is no transaction over several: users live on different shards,
//! and a promise that only holds when they happen to share one would be no promise.

use std::borrow::Cow;

use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use bytes::Bytes;
use largesse_engine::catalog::Catalog;
use largesse_engine::codec::Few;
use largesse_engine::event_id::CallerKey;
use largesse_engine::service::ServiceError;
use largesse_engine::units::{AssetId, UserId};
use largesse_engine::wallet::command::{TRANSFER_CHANGES_MAX, TransferCredit, TransferSaid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge;
use crate::error::ErrorCode;
use crate::extract::{Params, Service, parse_json, read_body};
use crate::language::Language;
use crate::openapi::errors::TransferErrors;
use crate::openapi::schemas;
use crate::problem::{Problem, Written};
use crate::receipts::{self, TransferReceipt};
use crate::refusals;
use crate::state::ApiState;
use crate::trace::Trace;
use crate::until::Until;
use crate::wire::{Id, Whole, parse_asset};

/// Transfers of one call, at most.
pub const TRANSFERS_MAX: usize = 1_000;
/// Longest reference, in characters.
pub const REFERENCE_CHARS_MAX: usize = 128;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TransferBatch)]
pub(crate) struct BatchBody<'a> {
    /// One to a thousand.
    #[serde(borrow)]
    #[schema(min_items = 1, max_items = 1000)]
    transfers: Vec<TransferBody<'a>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Transfer)]
pub(crate) struct TransferBody<'a> {
    /// The transfer's own idempotency key.
    #[serde(borrow)]
    #[schema(schema_with = schemas::key_text)]
    event_id: Cow<'a, str>,
    /// The acting user, whose accounts are debited.
    user_id: Id,
    #[serde(default, borrow)]
    #[schema(max_items = 64)]
    debits: Vec<DebitBody<'a>>,
    #[serde(default, borrow)]
    #[schema(max_items = 64)]
    credits: Vec<CreditBody<'a>>,
    /// What it is for, as it shall stand in the acting user's history.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>, max_length = 128)]
    reference: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Debit)]
pub(crate) struct DebitBody<'a> {
    #[serde(borrow)]
    #[schema(value_type = String, example = "coin")]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::PositiveAmount)]
    amount: Whole,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Credit)]
pub(crate) struct CreditBody<'a> {
    user_id: Id,
    #[serde(borrow)]
    #[schema(value_type = String, example = "coin")]
    asset: Cow<'a, str>,
    #[schema(value_type = schemas::PositiveAmount)]
    amount: Whole,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TransferResults)]
pub(crate) struct BatchAnswer<'a> {
    /// One per transfer, in the order of the request.
    results: Vec<TransferResult<'a>>,
}

/// What came of one transfer. There are three outcomes, and `unknown` is not a failure.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = TransferResult)]
pub(crate) enum TransferResult<'a> {
    Applied(TransferReceipt<'a>),
    NotApplied(TransferNotApplied<'a>),
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TransferNotApplied)]
pub(crate) struct TransferNotApplied<'a> {
    /// As it was sent.
    #[schema(value_type = String)]
    event_id: Cow<'a, str>,
    outcome: NotApplied,
    #[schema(value_type = schemas::ProblemBody)]
    error: Written,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotApplied {
    /// This attempt moved no money, and never will.
    Refused,
    /// It may or may not have been applied: ask at `poll`, or send the same again.
    Unknown,
}

/// None: whoever asks for `atomic` must not believe that he got it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// The bytes of a batch, which may be larger than other bodies.
pub struct BatchBytes(pub Bytes);

impl FromRequest<ApiState> for BatchBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        read_body(request, state.options.batch_bytes_max, state).await.map(BatchBytes)
    }
}

/// Carry out up to a thousand transfers
///
/// Each is applied or refused for itself, and the answer has one result per transfer, in order. Transfers of one acting
/// user are decided in the order given. Credits must equal debits per asset, unless the caller may issue.
#[utoipa::path(
    post, path = "/v1/transfers:batch", operation_id = "transferBatch", tag = "money",
    params(("Largesse-Deadline" = Option<schemas::DeadlineHeader>, Header)),
    request_body(content = BatchBody, example = json!({ "transfers": [{
        "event_id": "example-transfer", "user_id": "3001", "debits": [{ "asset": "coin", "amount": 5 }],
        "credits": [{ "user_id": "3002", "asset": "coin", "amount": 5 }], "reference": "lunch"
    }] })),
    responses(
        (status = 200, description = "What came of each.", body = BatchAnswer, links(
            ("receipt" = (operation_id = "findEvent", parameters(
                ("event_id" = "$response.body#/results/0/event_id"),
                ("sender" = "$request.body#/transfers/0/user_id")
            ))),
        )),
        TransferErrors
    ),
    security(("service" = []))
)]
pub async fn batch(
    State(state): State<ApiState>,
    trace: Trace,
    service: Service,
    Params(NoParams {}): Params<NoParams>,
    language: Language,
    until: Until,
    BatchBytes(body): BatchBytes,
) -> Result<Response, Problem> {
    let BatchBody { transfers } = parse_json(&body)?;
    if transfers.len() > TRANSFERS_MAX {
        let detail = format!("one call has at most {TRANSFERS_MAX} transfers, not {}", transfers.len());
        return Err(Problem::new(ErrorCode::BatchTooLarge, detail));
    }
    if transfers.is_empty() {
        return Err(Problem::bad_request("`transfers` is empty"));
    }
    let view = state.service.control.view();
    let read: Vec<_> = transfers.iter().map(|transfer| transfer.said(&view.catalog)).collect();
    let good = read.iter().filter_map(|said| said.as_ref().ok().cloned()).collect();
    let carried_out = state.service.transfers(good, service.may_issue(), until.0, Some(trace.id)).await;
    // Assets of a catalog applied meanwhile have their names, too.
    let view = state.service.control.view();
    let mut carried_out = carried_out.iter();
    let results = transfers.iter().zip(&read).map(|(transfer, said)| {
        let problem = match said {
            Ok(said) => match carried_out.next().expect("one outcome per transfer") {
                Ok(receipt) => return TransferResult::Applied(receipts::of_transfer(receipt, &view.catalog)),
                Err(error) => until
                    .passed(error, state.service.clock.now())
                    .unwrap_or_else(|| of_service(error, said, &view.catalog)),
            },
            Err(problem) => problem.clone(),
        };
        not_applied(&transfer.event_id, &problem, trace, language)
    });
    Ok(edge::json(&BatchAnswer { results: results.collect() }))
}

fn not_applied<'a>(event_id: &'a str, problem: &Problem, trace: Trace, language: Language) -> TransferResult<'a> {
    let outcome = if problem.code().vouches_for_no_effect() { NotApplied::Refused } else { NotApplied::Unknown };
    let error = problem.written(trace, language);
    TransferResult::NotApplied(TransferNotApplied { event_id: event_id.into(), outcome, error })
}

/// The problem of a transfer that was not applied, as far as is known.
pub(crate) fn of_service(error: &ServiceError, said: &TransferSaid, catalog: &Catalog) -> Problem {
    let (id, user) = (said.id, said.user);
    refusals::of_service(error.clone(), catalog, |time| format!("/v1/gifts/{id}?sender={user}&final_after={time}"))
}

impl TransferBody<'_> {
    fn said(&self, catalog: &Catalog) -> Result<TransferSaid, Problem> {
        let key = CallerKey::parse(&self.event_id)?;
        let debits = self.debits.iter().map(|debit| {
            let amount = debit.amount.amount("amount")?;
            Ok((parse_asset(catalog, &debit.asset)?, amount))
        });
        let credits = self.credits.iter().map(|credit| {
            let (user, amount) = (credit.user_id.user(), credit.amount.amount("amount")?);
            Ok(TransferCredit { user, asset: parse_asset(catalog, &credit.asset)?, amount })
        });
        let (debits, credits) = (debits.collect::<Result<_, Problem>>()?, credits.collect::<Result<_, Problem>>()?);
        said(key, self.user_id.user(), debits, credits, self.reference.as_deref())
    }
}

/// Checks everything about a transfer that can be checked without looking anything up.
pub(crate) fn said(
    key: CallerKey,
    user: UserId,
    debits: Few<(AssetId, largesse_engine::units::Amount)>,
    credits: Few<TransferCredit>,
    reference: Option<&str>,
) -> Result<TransferSaid, Problem> {
    let changes = debits.len() + credits.len();
    if changes > TRANSFER_CHANGES_MAX {
        let detail = format!("one transfer has at most {TRANSFER_CHANGES_MAX} debits and credits, not {changes}");
        return Err(Problem::new(ErrorCode::BatchTooLarge, detail));
    }
    if user == UserId::NOBODY || credits.iter().any(|credit| credit.user == UserId::NOBODY) {
        return Err(Problem::bad_request("0 is not a user"));
    }
    let is_zero = debits.iter().any(|(_, amount)| amount.is_zero()) || credits.iter().any(|it| it.amount.is_zero());
    if changes == 0 || is_zero {
        return Err(Problem::new(ErrorCode::InvalidAmount, "a transfer changes something, each time by at least 1"));
    }
    for (place, (asset, _)) in debits.iter().enumerate() {
        if debits[..place].iter().any(|(other, _)| other == asset) {
            return Err(Problem::bad_request("an asset is debited twice; write the sum"));
        }
    }
    for (place, credit) in credits.iter().enumerate() {
        if credits[..place].iter().any(|other| (other.user, other.asset) == (credit.user, credit.asset)) {
            return Err(Problem::bad_request("an account is credited twice; write the sum"));
        }
    }
    if reference.is_some_and(|text| text.chars().count() > REFERENCE_CHARS_MAX) {
        return Err(Problem::bad_request(format!("`reference` has at most {REFERENCE_CHARS_MAX} characters")));
    }
    Ok(TransferSaid { id: key.id, key: key.text, user, debits, credits, reference: reference.map(Into::into) })
}
