//! What gateways ask of the process that owns a room: where the room is, what it showed, and the catalog by whose names that
//! is told. And what they tell it of their sockets.
//!
//! These calls are on the public port, for keys with the scope `gateway` and nobody else. They are not in the description of
//! the API, since they are not part of it: both ends are this program, and they speak its own bytes behind a number that
//! says which. A gateway that meets another number takes no answer, and its sockets are told that the room is unavailable.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use largesse_engine::catalog::Catalog;
use largesse_engine::codec::{self, Undecodable};
use largesse_engine::room::event::{FeedItem, RoomHead};
use largesse_engine::service::rooms::FeedPage;
use largesse_engine::units::{CatalogVersion, RoomId, RoomSeq, UserId};
use serde::Deserialize;

use std::sync::Arc;
use std::time::Instant;

use crate::catalog::is_known;
use crate::error::ErrorCode;
use crate::extract::{Params, RoomPath, Service, read_limited};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::ws::crowd::{GatewayName, ROOMS_MAX};
use crate::ws::edge::Edge;
use crate::ws::later::BATCH_MAX;

/// How the bytes behind it are to be read.
const VERSION: u8 = 1;
pub const CONTENT: &str = "application/octet-stream";
/// Largest body of a call.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Entries in one page.
const PAGE_MAX: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    #[error("it is empty")]
    Empty,
    #[error("it has version {0}, and this program knows {VERSION}; let both ends be of the same release")]
    Version(u8),
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    #[error("a catalog cannot be used: {0}")]
    Catalog(String),
}

/// The room as its owner has it.
pub async fn head(
    State(state): State<ApiState>,
    _gateway: Service,
    RoomPath(room): RoomPath,
) -> Result<Response, Problem> {
    let head = Edge::head(&*state, room).await?;
    Ok(bytes(|out| codec::encode_into(&*head, out)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedParams {
    after: u64,
    limit: usize,
}

/// What follows an entry.
pub async fn feed(
    State(state): State<ApiState>,
    _gateway: Service,
    RoomPath(room): RoomPath,
    Params(params): Params<FeedParams>,
) -> Result<Response, Problem> {
    let page = Edge::feed(&*state, room, RoomSeq(params.after), params.limit.clamp(1, PAGE_MAX)).await?;
    Ok(bytes(|out| codec::encode_into(&(&page.items, &*page.head), out)))
}

/// The newest catalog, unless it is the one that the gateway has.
pub async fn catalog(State(state): State<ApiState>, _gateway: Service, headers: HeaderMap) -> Response {
    let catalog = Edge::catalog(&*state);
    let tag = tag(catalog.version());
    if is_known(&headers, &tag) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    // As JSON, like wherever it is stored: a draft may get new fields.
    let draft = serde_json::to_vec(catalog.draft()).expect("a draft is plain data");
    let answer = bytes(|out| codec::encode_into(&(catalog.version(), &draft), out));
    ([(ETAG, tag)], answer).into_response()
}

/// Some have left rooms over sockets of a gateway.
pub async fn leave(State(state): State<ApiState>, _gateway: Service, request: Request) -> Result<Response, Problem> {
    let gone: Vec<(RoomId, UserId)> = heard(&state, request, codec::decode).await?;
    at_most(gone.len(), BATCH_MAX)?;
    Edge::leave(&*state, gone).await;
    Ok(bytes(|_| ()))
}

/// Some come into rooms over sockets of a gateway, and may send something in a moment.
pub async fn warm(State(state): State<ApiState>, _gateway: Service, request: Request) -> Result<Response, Problem> {
    let users: Vec<UserId> = heard(&state, request, codec::decode).await?;
    at_most(users.len(), BATCH_MAX)?;
    Edge::warm(&*state, users).await;
    Ok(bytes(|_| ()))
}

/// So many watch in a gateway. Answers with how many watch the same rooms elsewhere.
pub async fn viewers(State(state): State<ApiState>, _gateway: Service, request: Request) -> Result<Response, Problem> {
    let (name, here): (u64, Vec<(RoomId, u32)>) = heard(&state, request, codec::decode).await?;
    at_most(here.len(), ROOMS_MAX)?;
    let (name, now, crowd) = (GatewayName(name), Instant::now(), &state.live.crowd);
    crowd.tell(name, &here, now).map_err(|error| Problem::new(ErrorCode::Overloaded, error.to_string()))?;
    let mut counts = crowd.elsewhere(Some(name), here.iter().map(|(room, _)| *room), now);
    for (count, (room, _)) in counts.iter_mut().zip(&here) {
        *count += state.live.viewers(*room);
    }
    Ok(bytes(|out| codec::encode_into(&counts, out)))
}

/// What a gateway says in the body of a call.
pub fn told(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = vec![VERSION];
    write(&mut out);
    out.into()
}

async fn heard<T>(
    state: &ApiState,
    request: Request,
    read: impl FnOnce(&[u8]) -> Result<T, Undecodable>,
) -> Result<T, Problem> {
    let body = read_limited(request, BODY_BYTES_MAX, state.options.body_timeout).await?;
    let value = known(&body).and_then(|bytes| Ok(read(bytes)?));
    value.map_err(|error| Problem::bad_request(format!("this is not what a gateway of this release says: {error}")))
}

fn at_most(count: usize, max: usize) -> Result<(), Problem> {
    let detail = || format!("a gateway says at most {max} of these at once, not {count}");
    if count <= max { Ok(()) } else { Err(Problem::bad_request(detail())) }
}

/// By which a catalog is known to both ends.
pub fn tag(version: CatalogVersion) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes make a header")
}

fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(CONTENT))], Body::from(told(write))).into_response()
}

fn known(bytes: &[u8]) -> Result<&[u8], BadAnswer> {
    let (&version, bytes) = bytes.split_first().ok_or(BadAnswer::Empty)?;
    if version == VERSION { Ok(bytes) } else { Err(BadAnswer::Version(version)) }
}

pub fn read_head(bytes: &[u8]) -> Result<Arc<RoomHead>, BadAnswer> {
    Ok(Arc::new(codec::decode(known(bytes)?)?))
}

pub fn read_feed(bytes: &[u8]) -> Result<FeedPage, BadAnswer> {
    let (items, head): (Vec<(RoomSeq, FeedItem)>, RoomHead) = codec::decode(known(bytes)?)?;
    Ok(FeedPage { items, head: Arc::new(head) })
}

pub fn read_viewers(bytes: &[u8]) -> Result<Vec<u64>, BadAnswer> {
    Ok(codec::decode(known(bytes)?)?)
}

pub fn read_catalog(bytes: &[u8]) -> Result<Catalog, BadAnswer> {
    let (version, draft): (CatalogVersion, Vec<u8>) = codec::decode(known(bytes)?)?;
    let draft = serde_json::from_slice(&draft).map_err(|error| BadAnswer::Catalog(error.to_string()))?;
    Catalog::checked(draft, version).map_err(|error| BadAnswer::Catalog(error.to_string()))
}
