//! How a request becomes a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper_util::rt::TokioIo;
use metrics::gauge;
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

use crate::error::ErrorCode;
use crate::problem::{Extras, Problem};
use crate::state::ApiState;
use crate::ws::edge::Edge;
use crate::ws::frames::SUBPROTOCOL;
use crate::ws::session;

/// How long a client should stay away when there is no place.
const AFTER_FULL: Duration = Duration::from_secs(2);

/// `GET /v1/ws`. Who it is, a client says in its first frame: a browser cannot set headers here.
pub async fn connect(State(state): State<ApiState>, request: Request) -> Result<Response, Problem> {
    accept(state.as_edge(), request)
}

/// Answers, and serves the socket from then on.
pub fn accept(edge: Arc<dyn Edge>, mut request: Request) -> Result<Response, Problem> {
    let accept = check(&*edge, request.headers())?;
    let place = Place::take(&edge)?;
    let running = edge.hub().running(&edge)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            // A task of its own, which holds no more than a socket needs.
            Ok(parts) => drop(tokio::spawn(async move {
                session::serve(edge, running, parts.io.into_inner(), parts.read_buf).await;
                drop(place);
            })),
            Err(_) => tracing::error!("a socket is not a TCP connection of this server's"),
        }
    });
    let switching = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    Ok(switching.body(Body::empty()).expect("these headers make an answer"))
}

/// The key of the answer, if the request may become a socket.
fn check(edge: &dyn Edge, headers: &HeaderMap) -> Result<String, Problem> {
    let has = |name: &HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has(&UPGRADE, "websocket") || !has(&CONNECTION, "upgrade") || !has(&SEC_WEBSOCKET_VERSION, "13") {
        return Err(Problem::bad_request("this path speaks WebSocket, version 13, and nothing else"));
    }
    if !has(&SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(Problem::bad_request(format!("offer the subprotocol `{SUBPROTOCOL}`")));
    }
    if !is_origin_allowed(edge, headers) {
        return Err(Problem::forbidden("pages of this origin may not connect; list it in http.origins"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let key = key.ok_or_else(|| Problem::bad_request("Sec-WebSocket-Key must be 16 bytes in base64"))?;
    Ok(derive_accept_key(key.as_bytes()))
}

/// Programs send no origin. A page may connect to where it came from, and those that are listed from anywhere.
fn is_origin_allowed(edge: &dyn Edge, headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(ORIGIN).iter();
    let Some(origin) = given.next() else { return true };
    if given.next().is_some() {
        return false;
    }
    let is_own = |host: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        origin.is_some_and(|(_, from)| host.to_str().is_ok_and(|host| host.eq_ignore_ascii_case(from)))
    };
    edge.origins().contains(origin) || headers.get(HOST).is_some_and(is_own)
}

/// One of the sockets that this process may have.
struct Place(Arc<dyn Edge>);

impl Place {
    fn take(edge: &Arc<dyn Edge>) -> Result<Place, Problem> {
        let taken = edge.hub().sockets.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(edge));
        if taken >= edge.hub().options.sockets_max as u64 {
            let detail = "this process has as many sockets as it may have";
            return Err(Problem::with(ErrorCode::Overloaded, detail, Extras::RetryAfter(AFTER_FULL)));
        }
        place.measure();
        Ok(place)
    }

    fn count(&self) -> &AtomicU64 {
        &self.0.hub().sockets
    }

    fn measure(&self) {
        gauge!("largesse_ws_connections").set(self.count().load(Ordering::Relaxed) as f64);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Ordering::AcqRel);
        self.measure();
    }
}
