//! What axum itself costs: a handler that parses and answers the same JSON as a gift, with nothing behind it, served the
//! way axum's own documentation does. No checks of tokens, no limits, no money.

use std::io;

use axum::extract::Path;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gift {
    gift_id: u32,
    count: u16,
    to: Vec<String>,
}

/// A receipt of the same shape and length.
#[derive(Serialize)]
struct Receipt {
    event_id: String,
    outcome: &'static str,
    room_id: String,
    gift_id: u32,
    count: u16,
    to: Vec<String>,
    asset: &'static str,
    total: u64,
    balance_after: u64,
    position: Position,
    at: &'static str,
    replayed: bool,
}

#[derive(Serialize)]
struct Position {
    shard: u16,
    seq: u64,
}

async fn gift(
    Path(room): Path<u64>,
    headers: axum::http::HeaderMap,
    Json(gift): Json<Gift>,
) -> Result<Json<Receipt>, axum::http::StatusCode> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let key = key.ok_or(axum::http::StatusCode::BAD_REQUEST)?;
    Ok(Json(Receipt {
        event_id: key.to_owned(),
        outcome: "applied",
        room_id: room.to_string(),
        gift_id: gift.gift_id,
        count: gift.count,
        to: gift.to,
        asset: "coin",
        total: u64::from(gift.count),
        balance_after: 999_999,
        position: Position { shard: 7, seq: 123_456 },
        at: "2026-01-01T00:00:00.000Z",
        replayed: false,
    }))
}

/// Serves until `stopped` resolves.
pub async fn serve(listener: TcpListener, stopped: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let router = Router::new().route("/v1/rooms/{room}/gifts", post(gift));
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}
