//! What every request passes on its way in and out: trace, panics, error bodies, counting.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::header::{ACCEPT_LANGUAGE, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Version};

use crate::admission;
use crate::error::ErrorCode;
use crate::language::Language;
use crate::metrics::RouteMeter;
use crate::problem::Problem;
use crate::rates::StandingNote;
use crate::state::{ApiState, Phase};
use crate::trace::{TRACEPARENT, Trace};

/// More of a body than this may not have been read when its request is refused; the connection then ends.
const UNREAD_BYTES_MAX: u64 = 4_096;

/// Beside each request: what it is known by, and when its head was here.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub trace: Trace,
    pub at: Instant,
}

/// One route's part of the edge.
#[derive(Clone)]
pub struct RouteEdge {
    pub state: ApiState,
    pub meter: Arc<RouteMeter>,
    /// Whether it does what callers came for, and not only tells how the process is.
    pub is_work: bool,
}

pub async fn pass(State(edge): State<RouteEdge>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = Trace::of(request.headers(), &edge.state.fresh_ids);
    let accept_language = request.headers().get(ACCEPT_LANGUAGE).cloned();
    let is_large = request.body().size_hint().upper().is_none_or(|bytes| bytes > UNREAD_BYTES_MAX);
    let closes = is_large && request.version() < Version::HTTP_2;
    request.extensions_mut().insert(Arrival { trace, at: started });
    let standing = edge.state.rates.as_ref().map(|_| StandingNote::default());
    if let Some(standing) = &standing {
        request.extensions_mut().insert(standing.clone());
    }
    let response = match admission::admit(&edge.state, edge.is_work, request).await {
        Ok(request) => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => panicked(panic.as_ref(), &trace),
        },
        Err(problem) => problem.into_response(),
    };
    let mut response = with_body(response, &trace, accept_language.as_ref());
    if (closes && response.status().is_client_error()) || edge.state.readiness.phase() == Phase::Draining {
        // The rest of the body is not read, so the connection cannot go on. Untold, a client would send its next request
        // on it and never learn what became of that one.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(standing) = &standing {
        standing.write_into(response.headers_mut());
    }
    response.headers_mut().insert(TRACEPARENT, trace.header(edge.state.fresh_ids.span()));
    edge.meter.record(response.status(), started.elapsed());
    response
}

/// Writes the body of an error, also of one that the framework made by itself.
pub(crate) fn with_body(mut response: Response, trace: &Trace, accept_language: Option<&HeaderValue>) -> Response {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.status().is_client_error() || response.status().is_server_error() => {
            Problem::of_status(response.status())
        }
        None => return response,
    };
    if problem.code().status().is_server_error() {
        tracing::warn!(trace_id = %trace, code = problem.code().name(), detail = problem.detail(), "request failed");
    } else {
        tracing::debug!(trace_id = %trace, code = problem.code().name(), detail = problem.detail(), "request refused");
    }
    problem.write_into(response, trace, Language::preferred(accept_language))
}

pub(crate) fn panicked(panic: &(dyn std::any::Any + Send), trace: &Trace) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let why = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(trace_id = %trace, why, "a handler panicked");
    Problem::new(ErrorCode::Internal, "the server failed; the log has the reason under this trace id").into_response()
}

/// A JSON answer from something that serialises without fail.
pub fn json(value: &impl serde::Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("answers have string keys and whole numbers only");
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
