//! Parts of a request, each with an error of ours where it does not fit.

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use largesse_engine::event_id::CallerKey;
use largesse_engine::units::{RoomId, UserId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::admission;
use crate::auth::scopes::Scope;
use crate::auth::services::ServiceKey;
use crate::auth::{Caller, Door};
use crate::edge::Arrival;
use crate::error::ErrorCode;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::trace::Trace;
use crate::wire::Id;

pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl FromRequestParts<ApiState> for Arrival {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Problem> {
        let arrival = parts.extensions.get::<Arrival>().copied();
        arrival.ok_or_else(|| Problem::new(ErrorCode::ServiceInternal, "this route lies outside of the edge"))
    }
}

impl FromRequestParts<ApiState> for Trace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        Arrival::from_request_parts(parts, state).await.map(|arrival| arrival.trace)
    }
}

/// A viewer or a service.
pub struct Public(pub Caller);

impl FromRequestParts<ApiState> for Public {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        admission::caller(parts, state, Door::Public).map(Public)
    }
}

/// A viewer about himself, with a token for more than rooms.
pub struct Viewer(pub UserId);

impl FromRequestParts<ApiState> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        match admission::caller(parts, state, Door::Public)? {
            Caller::Viewer(user) => Ok(Viewer(user)),
            Caller::Reader(_) => Err(Problem::read_only()),
            Caller::Service(_) | Caller::Admin(_) => {
                Err(Problem::forbidden("`me` is the user of a viewer's token; a service names the user in the path"))
            }
        }
    }
}

/// A service, by its key.
pub struct Service(pub Arc<ServiceKey>);

impl Service {
    /// Whether its transfers may credit more than they debit.
    pub fn may_issue(&self) -> bool {
        self.0.scopes.has(Scope::Issue)
    }
}

impl FromRequestParts<ApiState> for Service {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        match admission::caller(parts, state, Door::Public)? {
            Caller::Service(key) => Ok(Service(key)),
            Caller::Viewer(_) | Caller::Reader(_) | Caller::Admin(_) => {
                Err(Problem::forbidden("this call needs a service's key"))
            }
        }
    }
}

/// An administrator, by the name of his key.
pub struct Admin(pub Arc<str>);

impl FromRequestParts<ApiState> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        match admission::caller(parts, state, Door::Admin)? {
            Caller::Admin(name) => Ok(Admin(name)),
            Caller::Viewer(_) | Caller::Reader(_) | Caller::Service(_) => {
                Err(Problem::forbidden("this call needs an administrator's key"))
            }
        }
    }
}

/// The user in the path, for a caller who may look at him; and that caller.
pub struct VisibleUser(pub UserId, pub Caller);

impl FromRequestParts<ApiState> for VisibleUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let caller = admission::caller(parts, state, Door::Public)?;
        let user = path_id(parts, "user").await?.user();
        match caller {
            Caller::Service(_) => Ok(VisibleUser(user, caller)),
            Caller::Viewer(own) if own == user => Ok(VisibleUser(user, caller)),
            Caller::Reader(_) => Err(Problem::read_only()),
            Caller::Viewer(_) | Caller::Admin(_) => Err(Problem::forbidden("a viewer can only read his own account")),
        }
    }
}

pub struct RoomPath(pub RoomId);

impl FromRequestParts<ApiState> for RoomPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Problem> {
        path_id(parts, "room").await.map(|id| RoomPath(RoomId(id.0)))
    }
}

pub struct KeyPath(pub CallerKey);

impl FromRequestParts<ApiState> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Problem> {
        Ok(KeyPath(CallerKey::parse(&path_text(parts).await?)?))
    }
}

async fn path_id(parts: &mut Parts, what: &'static str) -> Result<Id, Problem> {
    let text = path_text(parts).await?;
    let id = Id::parse(&text).filter(|id| id.0 != 0);
    id.ok_or_else(|| Problem::bad_request(format!("the {what} in the path must be a decimal id from 1 to 2^64 − 1")))
}

async fn path_text(parts: &mut Parts) -> Result<String, Problem> {
    let path = Path::<String>::from_request_parts(parts, &()).await;
    path.map(|Path(text)| text).map_err(|rejection| Problem::bad_request(rejection.body_text()))
}

/// The query, where a parameter that nobody knows is an error.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Params(params)),
            Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
        }
    }
}

/// The bytes of a JSON body within the usual limit.
pub struct JsonBytes(pub Bytes);

impl FromRequest<ApiState> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        read_body(request, state.options.body_bytes_max, state).await.map(JsonBytes)
    }
}

/// The bytes of a JSON body within the limit for catalogs.
pub struct CatalogBytes(pub Bytes);

impl FromRequest<ApiState> for CatalogBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        read_body(request, state.options.catalog_bytes_max, state).await.map(CatalogBytes)
    }
}

/// The bytes of a body of any type within the usual limit.
pub struct RawBytes(pub Bytes);

impl FromRequest<ApiState> for RawBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        read_bytes(request, state.options.body_bytes_max, state).await.map(RawBytes)
    }
}

pub(crate) async fn read_body(request: Request, bytes_max: usize, state: &ApiState) -> Result<Bytes, Problem> {
    if !is_json(request.headers().get(CONTENT_TYPE)) {
        let detail = "send the body as JSON with `Content-Type: application/json`";
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
    }
    read_bytes(request, bytes_max, state).await
}

async fn read_bytes(request: Request, bytes_max: usize, state: &ApiState) -> Result<Bytes, Problem> {
    read_limited(request, bytes_max, state.options.body_timeout).await
}

/// The whole body, if it is not too large and comes in time. One of up to twice the limit is read to its end before it is
/// refused: a client that is still sending would find the connection broken, and not the answer.
pub(crate) async fn read_limited(request: Request, bytes_max: usize, patience: Duration) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(ErrorCode::PayloadTooLarge, format!("a body here has at most {bytes_max} bytes"));
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let mut body = request.into_body();
    if let Some(announced) = announced.filter(|announced| *announced > bytes_max) {
        if announced <= bytes_max.saturating_mul(2) {
            let _late = in_time(discard(body, announced), patience).await;
        }
        return Err(too_large());
    }
    let read = in_time(Limited::new(&mut body, bytes_max).collect(), patience).await;
    match read {
        Some(Ok(body)) => Ok(body.to_bytes()),
        Some(Err(error)) if error.is::<LengthLimitError>() => {
            let _late = in_time(discard(body, bytes_max), patience).await;
            Err(too_large())
        }
        Some(Err(_)) => Err(Problem::bad_request("the body broke off")),
        None => Err(Problem::bad_request(format!("the body did not arrive within {patience:?}"))),
    }
}

/// Reads what comes, at most so many bytes, and keeps nothing of it.
async fn discard(mut body: Body, bytes_max: usize) {
    let mut read = 0;
    while read < bytes_max
        && let Some(Ok(frame)) = body.frame().await
    {
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// Sets a timer only for a future that is not ready at once, as most bodies are.
pub async fn in_time<F: Future>(future: F, patience: Duration) -> Option<F::Output> {
    let mut future = pin!(future);
    match future.as_mut().now_or_never() {
        Some(output) => Some(output),
        None => tokio::time::timeout(patience, future).await.ok(),
    }
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let Some(content_type) = content_type.and_then(|value| value.to_str().ok()) else { return false };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 17
            && essence[..12].eq_ignore_ascii_case("application/")
            && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"))
}

pub fn parse_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::bad_request(format!("the body does not fit: {error}")))
}

/// The key of a request: from the header, or from `event_id` in the body, or the same in both.
pub fn caller_key(headers: &HeaderMap, in_body: Option<&str>) -> Result<CallerKey, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let header = given.next();
    if given.next().is_some() {
        return Err(Problem::bad_request("there is more than one Idempotency-Key header"));
    }
    let header = header.map(|value| {
        let text = value.to_str().map_err(|_| Problem::bad_request("the key may only have printable ASCII characters"));
        text.and_then(unquoted)
    });
    match (header.transpose()?, in_body) {
        (Some(header), Some(body)) => {
            let (header, body) = (CallerKey::parse(&header)?, CallerKey::parse(body)?);
            if header.id != body.id {
                return Err(Problem::bad_request("Idempotency-Key and `event_id` name different keys; send one"));
            }
            Ok(header)
        }
        (Some(header), None) => Ok(CallerKey::parse(&header)?),
        (None, Some(body)) => Ok(CallerKey::parse(body)?),
        (None, None) => Err(Problem::new(
            ErrorCode::KeyRequired,
            "send an Idempotency-Key (a UUIDv7 is best) and keep it for retries: without one a retry could pay twice",
        )),
    }
}

/// The key itself, or its form as a quoted string of structured fields.
fn unquoted(value: &str) -> Result<Cow<'_, str>, Problem> {
    let value = value.trim();
    let Some(rest) = value.strip_prefix('"') else { return Ok(value.into()) };
    let broken = || Problem::bad_request("the quoted Idempotency-Key is not closed, or has a stray quote or backslash");
    let inner = rest.strip_suffix('"').ok_or_else(broken)?;
    if !inner.contains(['"', '\\']) {
        return Ok(inner.into());
    }
    let mut key = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\')).ok_or_else(broken)?),
            '"' => return Err(broken()),
            plain => key.push(plain),
        }
    }
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V7: &str = "0190a5b0-1c4e-7d3a-8f00-0123456789ab";

    fn key(headers: &[&str], body: Option<&str>) -> Result<String, ErrorCode> {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let key = caller_key(&map, body).map_err(|problem| problem.code())?;
        Ok(key.text.map_or_else(|| key.id.to_string(), String::from))
    }

    #[test]
    fn the_key_comes_from_header_or_body() {
        let quoted = format!("\"{V7}\"");
        let upper = V7.to_uppercase();
        type Row<'a> = (&'a [&'a str], Option<&'a str>, Result<&'a str, ErrorCode>);
        let table: [Row<'_>; 18] = [
            (&[V7], None, Ok(V7)),
            (&[&quoted], None, Ok(V7)),
            (&[], Some(V7), Ok(V7)),
            (&[V7], Some(V7), Ok(V7)),
            (&[V7], Some(&upper), Ok(V7)),
            (&["order 7"], None, Ok("order 7")),
            (&[r#""a\"b\\c""#], None, Ok(r#"a"b\c"#)),
            (&[], None, Err(ErrorCode::KeyRequired)),
            (&[""], None, Err(ErrorCode::KeyRequired)),
            (&["\"\""], None, Err(ErrorCode::KeyRequired)),
            (&[], Some(""), Err(ErrorCode::KeyRequired)),
            (&[V7, V7], None, Err(ErrorCode::BadRequest)),
            (&[V7], Some("other"), Err(ErrorCode::BadRequest)),
            (&["\"open"], None, Err(ErrorCode::BadRequest)),
            (&["\""], None, Err(ErrorCode::BadRequest)),
            (&[r#""a"b""#], None, Err(ErrorCode::BadRequest)),
            (&[r#""a\b""#], None, Err(ErrorCode::BadRequest)),
            (&["naïve"], None, Err(ErrorCode::BadRequest)),
        ];
        for (headers, body, want) in table {
            assert_eq!(key(headers, body), want.map(String::from), "{headers:?} {body:?}");
        }
        assert_eq!(key(&[&"x".repeat(129)], None), Err(ErrorCode::BadRequest));
    }

    #[test]
    fn json_is_recognised() {
        for (value, want) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.largesse+json", true),
            ("text/json", false),
            ("application/+json", false),
            ("application/jsonp", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            assert_eq!(is_json(Some(&HeaderValue::from_static(value))), want, "{value}");
        }
        assert!(!is_json(None));
    }
}
