//! The interface of the payment station and its gateway, for callers who were there before: its paths, field names,
//! envelope, codes and limits. Always HTTP 200; `errCode` tells. `docs/station.md` maps it to the rest of the API.
//!
//! It has no rules of its own: every call becomes what the `/v1` calls become.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION};
use http::{HeaderMap, HeaderValue, Method};
use largesse_engine::service::{Patience, Service};
use serde::Serialize;

use crate::admission;
use crate::auth::{Caller, Door};
use crate::edge;
use crate::error::ErrorCode;
use crate::extract::{self, read_body};
use crate::language::Language;
use crate::problem::{Extras, Problem};
use crate::state::ApiState;
use crate::time_text::Rfc3339;
use crate::trace::Trace;

mod change;
mod fields;
mod gift;
mod read;
pub mod shapes;

pub use change::{__path_change_assets, change_assets};
pub use gift::{__path_list_gift, __path_send_gift, list_gift, send_gift};
pub use read::{__path_get_asset_records, __path_get_assets, get_asset_records, get_assets};

/// Items of one call, at most.
pub const ITEMS_MAX: usize = 50;
/// Until a call is answered, at the latest. What is not known by then is called unknown, never failed.
const PATIENCE: Patience = Patience {
    deadline: Duration::from_millis(600),
    answer: Duration::from_millis(350),
    read: Duration::from_millis(500),
};
/// Numbers of the gateway's own, which exist on this interface only.
const GATEWAY_BAD_REQUEST: u32 = 100_000;
const GATEWAY_NO_METHOD: u32 = 100_001;

/// What every answer begins with; what was asked for stands beside it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a, T> {
    err_code: u32,
    err_msg: &'a str,
    extra: BTreeMap<&'static str, String>,
    #[serde(flatten)]
    data: Option<T>,
}

/// A call that may be looked at more closely.
struct Call {
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    async fn read(state: &ApiState, request: Request) -> Result<Call, Problem> {
        is_post(&request)?;
        let caller = caller(state, &request)?;
        let headers = request.headers().clone();
        let body = read_body(request, state.options.body_bytes_max, state).await?;
        Ok(Call { caller, headers, body })
    }
}

fn is_post(request: &Request) -> Result<(), Problem> {
    if request.method() == Method::POST {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::MethodNotAllowed, "every method of this interface is called by POST"))
}

/// Here, and only here, a token may also come as `x-access-token`, or as `access_token` in the query.
fn caller(state: &ApiState, request: &Request) -> Result<Caller, Problem> {
    let headers = request.headers();
    let of = |headers: &HeaderMap| {
        admission::caller_by(headers, request.method(), request.extensions(), state, Door::Public)
    };
    if headers.contains_key(AUTHORIZATION) {
        return of(headers);
    }
    let in_query =
        || request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("access_token=")).map(str::to_owned);
    let in_header = headers.get("x-access-token").and_then(|token| token.to_str().ok()).map(str::to_owned);
    let mut as_bearer = HeaderMap::new();
    if let Some(token) = in_header.or_else(in_query) {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        as_bearer.insert(AUTHORIZATION, value.map_err(|_| Problem::bad_request("the token cannot be read"))?);
    }
    of(&as_bearer)
}

/// The engine with this interface's patience.
fn service(state: &ApiState) -> Service {
    Service { patience: PATIENCE, ..state.service.clone() }
}

/// As in the rest of the API, but for what the gateway had numbers of its own for.
fn number(code: ErrorCode) -> u32 {
    match code {
        ErrorCode::BadRequest => GATEWAY_BAD_REQUEST,
        ErrorCode::NotFound | ErrorCode::MethodNotAllowed => GATEWAY_NO_METHOD,
        ErrorCode::InvalidAmount
        | ErrorCode::TooManyReceivers
        | ErrorCode::BatchTooLarge
        | ErrorCode::KeyRequired
        | ErrorCode::SelfGift
        | ErrorCode::CursorInvalid
        | ErrorCode::PayloadTooLarge
        | ErrorCode::UnsupportedMediaType
        | ErrorCode::Unauthenticated
        | ErrorCode::Forbidden
        | ErrorCode::BadSignature
        | ErrorCode::RoomPassInvalid
        | ErrorCode::GiftUnknown
        | ErrorCode::RoomUnknown
        | ErrorCode::EventUnknown
        | ErrorCode::PriceChanged
        | ErrorCode::RoomClosed
        | ErrorCode::HostNotInRoom
        | ErrorCode::RateLimited
        | ErrorCode::IdReused
        | ErrorCode::IdTimeAhead
        | ErrorCode::IdTooOld
        | ErrorCode::DeadlinePassed
        | ErrorCode::InsufficientFunds
        | ErrorCode::IssueLimit
        | ErrorCode::Overloaded
        | ErrorCode::ShardUnavailable
        | ErrorCode::OutcomeUnknown
        | ErrorCode::StoreUnavailable
        | ErrorCode::Internal
        | ErrorCode::ServiceInternal => code.number(),
    }
}

fn extra(trace: &Trace) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("traceId", trace.to_string())])
}

/// An answer that carries what was asked for, or the error that stands in its place.
fn answer<T: Serialize>(result: Result<T, Problem>, trace: &Trace, language: Language) -> Response {
    match result {
        Ok(data) => edge::json(&Envelope { err_code: 0, err_msg: "ok", extra: extra(trace), data: Some(data) }),
        Err(problem) => refuse(&problem, None::<()>, trace, language),
    }
}

/// An answer that carries an error, and what is known all the same.
fn refuse<T: Serialize>(problem: &Problem, data: Option<T>, trace: &Trace, language: Language) -> Response {
    let mut extra = extra(trace);
    extra.insert("code", problem.code().name().to_owned());
    extra.extend(told(problem, language));
    let envelope = Envelope { err_code: number(problem.code()), err_msg: problem.detail(), extra, data };
    let mut response = edge::json(&envelope);
    if problem.code() == ErrorCode::PayloadTooLarge {
        // The rest of the body is not read, and a client that is not told would send its next request after it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What an error has beside its number and text.
fn told(problem: &Problem, language: Language) -> Vec<(&'static str, String)> {
    match problem.extras() {
        Extras::None => Vec::new(),
        Extras::Prices { seen, now } => vec![("priceSeen", seen.to_string()), ("price", now.to_string())],
        Extras::Funds { needed, available, asset } => vec![
            ("needed", needed.to_string()),
            ("available", available.to_string()),
            ("prompt", crate::problem::prompt(language, *needed, *available, asset)),
        ],
        Extras::RetryAfter(wait) => vec![("retryAfterMs", wait.as_millis().to_string())],
        Extras::Poll { poll, final_after } => {
            vec![("poll", poll.clone()), ("finalAfter", Rfc3339(*final_after).to_string())]
        }
        Extras::ServerTime(now) => vec![("serverTime", Rfc3339(*now).to_string())],
        Extras::Oldest(oldest) => vec![("oldest", Rfc3339(*oldest).to_string())],
        Extras::Final(is_final) => vec![("final", is_final.to_string())],
    }
}

fn too_many(what: &str, count: usize) -> Result<(), Problem> {
    if count <= ITEMS_MAX {
        return Ok(());
    }
    let detail = format!("`{what}` has {count} items; one call has at most {ITEMS_MAX}, so split it: nothing was done");
    Err(Problem::new(ErrorCode::BatchTooLarge, detail))
}

fn for_services(caller: &Caller) -> Result<extract::Service, Problem> {
    match caller {
        Caller::Service(key) => Ok(extract::Service(Arc::clone(key))),
        Caller::Viewer(_) | Caller::Reader(_) | Caller::Admin(_) => {
            Err(Problem::forbidden("this call needs a service's key"))
        }
    }
}

/// Whatever the gateway would not have known either.
pub async fn unknown_method(State(_): State<ApiState>, trace: Trace, language: Language) -> Response {
    let problem = Problem::new(ErrorCode::NotFound, Cow::Borrowed("this project, service or method does not exist"));
    refuse(&problem, None::<()>, &trace, language)
}
