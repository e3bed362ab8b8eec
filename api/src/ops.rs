//! For those who keep it running.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::edge;
use crate::error::ErrorCode;
use crate::problem::Problem;
use crate::state::{ApiState, Phase};

/// The process runs and answers.
pub async fn healthz() -> Response {
    edge::json(&serde_json::json!({ "status": "ok" }))
}

/// The process should be sent requests.
pub async fn readyz(State(state): State<ApiState>) -> Result<Response, Problem> {
    match state.readiness.phase() {
        Phase::Ready => match state.readiness.check() {
            Ok(()) => Ok(edge::json(&serde_json::json!({ "status": "ready" }))),
            Err(why) => Err(Problem::new(ErrorCode::ShardUnavailable, why)),
        },
        Phase::Starting => Err(Problem::new(ErrorCode::ShardUnavailable, "starting: the shards are being recovered")),
        Phase::Draining => Err(Problem::new(ErrorCode::ShardUnavailable, "draining: this process is about to stop")),
    }
}

pub async fn metrics(State(state): State<ApiState>) -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    metrics::gauge!("largesse_verified_tokens").set(state.auth.tokens().remembered() as f64);
    ([(CONTENT_TYPE, text)], state.metrics.render()).into_response()
}
