//! What a gateway serves itself, and what it passes on: everything else.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};
use futures::FutureExt;
use http::header::{ACCEPT_LANGUAGE, CONNECTION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};

use crate::edge::{Arrival, json, panicked, with_body};
use crate::error::ErrorCode;
use crate::gateway::GatewayState;
use crate::gateway::forward::{Forwarded, forward};
use crate::metrics::RouteMeter;
use crate::problem::{Extras, Problem};
use crate::state::Phase;
use crate::trace::{TRACEPARENT, Trace};
use crate::{admission, assets, docs, ops, ws};

/// What viewers and services reach.
pub fn public_router(state: GatewayState) -> Router {
    let routes = Routes::new(&state)
        .add("/v1/ws", get(connect))
        .add("/docs", get(docs::index))
        .add("/docs/{file}", get(docs::file))
        .add("/client/{file}", get(docs::client))
        .add("/room", get(docs::room))
        .add("/room/{file}", get(docs::room_file))
        .add("/overlay", get(docs::overlay))
        .add("/overlay/{file}", get(docs::overlay_file))
        .add("/assets/{*path}", get(assets::asset))
        .add("/healthz", get(ops::healthz))
        .add("/health", get(ops::healthz));
    let cors = state.options.cors.layer();
    let router = routes.finish(any(forward), "forwarded");
    match cors {
        Some(layer) => router.layer(layer),
        None => router,
    }
}

/// What machines that watch reach. There is nothing to administrate here.
pub fn admin_router(state: GatewayState) -> Router {
    Routes::new(&state)
        .add("/healthz", get(ops::healthz))
        .add("/health", get(ops::healthz))
        .add("/readyz", get(readyz))
        .add("/readiness", get(readyz))
        .add("/metrics", get(metrics))
        .finish(any(nothing_here), "none")
}

async fn connect(State(gateway): State<GatewayState>, request: Request) -> Result<Response, Problem> {
    gateway.is_ready()?;
    ws::upgrade::accept(gateway.as_edge(), request)
}

async fn readyz(State(gateway): State<GatewayState>) -> Result<Response, Problem> {
    match gateway.readiness.phase() {
        Phase::Ready => {
            gateway.is_ready()?;
            Ok(json(&serde_json::json!({ "status": "ready" })))
        }
        Phase::Starting => Err(Problem::new(ErrorCode::ShardUnavailable, "starting")),
        Phase::Draining => Err(Problem::new(ErrorCode::ShardUnavailable, "draining: this process is about to stop")),
    }
}

async fn metrics(State(gateway): State<GatewayState>) -> Response {
    ::metrics::gauge!("largesse_verified_tokens").set(gateway.auth.tokens().remembered() as f64);
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, text)], gateway.metrics.render()).into_response()
}

async fn nothing_here() -> Problem {
    Problem::new(ErrorCode::NotFound, "a gateway has nothing to administrate; ask the process behind it")
}

struct Routes {
    router: Router<GatewayState>,
    state: GatewayState,
}

impl Routes {
    fn new(state: &GatewayState) -> Routes {
        Routes { router: Router::new(), state: state.clone() }
    }

    fn add(mut self, path: &'static str, methods: MethodRouter<GatewayState>) -> Routes {
        let layer = from_fn_with_state(self.edge(path), pass);
        self.router = self.router.route(path, methods.fallback(wrong_method).layer(layer));
        self
    }

    fn finish(self, fallback: MethodRouter<GatewayState>, route: &'static str) -> Router {
        let layer = from_fn_with_state(self.edge(route), pass);
        self.router.fallback_service(fallback.layer(layer).with_state(self.state.clone())).with_state(self.state)
    }

    fn edge(&self, route: &'static str) -> RouteEdge {
        let is_work = route.starts_with("/v1") || route == "forwarded";
        RouteEdge { state: self.state.clone(), meter: Arc::new(RouteMeter::new(route)), is_work }
    }
}

async fn wrong_method() -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, "this path has other methods; the `Allow` header names them")
}

/// One route's part of the edge.
#[derive(Clone)]
struct RouteEdge {
    state: GatewayState,
    meter: Arc<RouteMeter>,
    is_work: bool,
}

/// Trace, panics, error bodies, counting: as in a process that owns shards, but for answers that come from one.
async fn pass(State(edge): State<RouteEdge>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = Trace::of(request.headers(), &edge.state.fresh_ids);
    let accept_language = request.headers().get(ACCEPT_LANGUAGE).cloned();
    request.extensions_mut().insert(Arrival { trace, at: started });
    let is_draining = edge.state.readiness.phase() == Phase::Draining;
    let response = if is_draining && edge.is_work {
        let detail = "this process is about to end; nothing was done, try again with the same key";
        Problem::with(ErrorCode::ShardUnavailable, detail, Extras::RetryAfter(admission::AFTER_LEAVING)).into_response()
    } else {
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => panicked(panic.as_ref(), &trace),
        }
    };
    let mut response = match response.extensions().get::<Forwarded>() {
        Some(Forwarded) => response,
        None => {
            // The body may not have been read to its end.
            let closes = response.status().is_client_error();
            let mut response = with_body(response, &trace, accept_language.as_ref());
            if closes {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    if edge.state.readiness.phase() == Phase::Draining {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let span = trace.header(edge.state.fresh_ids.span());
    response.headers_mut().entry(HeaderName::from_static(TRACEPARENT)).or_insert(span);
    edge.meter.record(response.status(), started.elapsed());
    response
}
