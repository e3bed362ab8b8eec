//! For those who keep it running.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::edge;
use crate::error::ErrorCode;
use crate::openapi::errors::{OpenErrors, ReadyErrors};
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::state::{ApiState, Phase};

/// The process runs and answers
///
/// `/health` is another name of it.
#[utoipa::path(
    get, path = "/healthz", operation_id = "health", tag = "operations", security(()),
    responses((status = 200, description = "It does.", body = schemas::Healthy), OpenErrors)
)]
pub async fn healthz() -> Response {
    edge::json(&serde_json::json!({ "status": "ok" }))
}

/// The process should be sent requests
///
/// `/readiness` is another name of it.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readiness", tag = "operations", security(()),
    responses((status = 200, description = "It should.", body = schemas::Ready), ReadyErrors)
)]
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

/// What is counted and measured, for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operations", security(()),
    responses((status = 200, description = "Figures.", body = String, content_type = "text/plain"), OpenErrors)
)]
pub async fn metrics(State(state): State<ApiState>) -> Response {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    metrics::gauge!("largesse_verified_tokens").set(state.auth.tokens().remembered() as f64);
    ([(CONTENT_TYPE, text)], state.metrics.render()).into_response()
}
