//! Where payment providers report: `POST /v1/recharges/callbacks/{channel}`. A notice proves itself; nobody logs in.

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, Uri};
use largesse_engine::wallet::command::RechargeSaid;
use metrics::counter;

use crate::error::ErrorCode;
use crate::extract::RawBytes;
use crate::openapi::errors::CallbackErrors;
use crate::payments::{Distrust, Notice, Payment, Told};
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;
use crate::trace::Trace;
use crate::wire::parse_asset;

/// Longest number of a transaction, in characters.
const TRANSACTION_CHARS_MAX: usize = 128;

/// A payment provider reports
///
/// In the provider's own form, which proves itself; nobody logs in. What it says and how it is thanked is the provider's.
#[utoipa::path(
    post, path = "/v1/recharges/callbacks/{channel}", operation_id = "paymentReport", tag = "money", security(()),
    params(("channel" = String, Path, description = "A channel of the configuration.")),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, description = "As the provider wants it."), CallbackErrors)
)]
pub async fn report(
    State(state): State<ApiState>,
    trace: Trace,
    Path(channel): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    RawBytes(body): RawBytes,
) -> Result<Response, Problem> {
    let Some((name, provider)) = state.options.payments.providers.get_key_value(&channel) else {
        return Err(Problem::new(ErrorCode::NotFound, "no payment channel of this name is configured"));
    };
    let counted = |outcome: &'static str| {
        counter!("largesse_recharge_callbacks_total", "channel" => name.clone(), "outcome" => outcome).increment(1);
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let notice = Notice { headers: &headers, path, body: &body, now: state.service.clock.now() };
    match provider.read(&notice) {
        Ok(Told::Paid(payment)) => {
            let said = said(&state, provider.channel(), payment).inspect_err(|problem| {
                counted("refused");
                // Somebody has paid and gets nothing until this is put right; the provider reports again meanwhile.
                tracing::error!(trace_id = %trace, channel = name, why = problem.detail(), "a payment cannot be booked");
            })?;
            let user = said.user;
            let id = said.id();
            let booked = state.service.recharge(said, None, Some(trace.id)).await;
            counted(if booked.is_ok() { "applied" } else { "refused" });
            let view = state.service.control.view();
            booked.map(|_| provider.thanks()).map_err(|error| {
                let poll = |time| format!("/v1/gifts/{id}?sender={user}&final_after={time}");
                refusals::of_service(error, &view.catalog, poll)
            })
        }
        Ok(Told::Other(what)) => {
            counted("other");
            tracing::info!(trace_id = %trace, channel = name, what, "a notice that moves no coins");
            Ok(provider.thanks())
        }
        Err(distrust) => {
            counted("distrusted");
            tracing::warn!(trace_id = %trace, channel = name, why = %distrust, "a notice is not believed");
            Err(distrusted(&distrust))
        }
    }
}

fn said(
    state: &ApiState,
    channel: largesse_engine::wallet::event::Channel,
    payment: Payment,
) -> Result<RechargeSaid, Problem> {
    let Payment { transaction, user, worth } = payment;
    let is_number = (1..=TRANSACTION_CHARS_MAX).contains(&transaction.chars().count());
    if !is_number || transaction.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!(
            "a transaction's number has 1 to {TRANSACTION_CHARS_MAX} characters"
        )));
    }
    let worth = state.options.payments.worth(&worth);
    let (asset, amount) = worth.map_err(|why| Problem::new(ErrorCode::InvalidAmount, why))?;
    let asset = parse_asset(&state.service.control.view().catalog, &asset)?;
    Ok(RechargeSaid { channel, transaction: transaction.into(), user, asset, amount })
}

fn distrusted(distrust: &Distrust) -> Problem {
    let code = match distrust {
        Distrust::Signature(_) | Distrust::Stale => ErrorCode::BadSignature,
        Distrust::NotForUs(_) => ErrorCode::Forbidden,
        Distrust::Malformed(_) => ErrorCode::BadRequest,
    };
    Problem::new(code, distrust.to_string())
}
