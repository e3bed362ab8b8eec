//! What can be set about a gateway.

use std::time::Duration;

use http::uri::Authority;

use crate::auth::AuthOptions;
use crate::cors::CorsOptions;
use crate::ws::WsOptions;

#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Addresses of processes that own shards, tried in turn.
    pub upstreams: Vec<Authority>,
    /// A service's key with the scope `gateway`.
    pub key: String,
    /// How long a room may be quiet before it is asked whether frames of it were lost.
    pub doubts_after: Duration,
    /// How long an answer may take to begin, which is longer than the process behind lets anything take.
    pub patience: Duration,
    /// How long a question of the gateway's own may take. Default: 5 s.
    pub request_timeout: Duration,
    /// How often the catalog is looked at. Default: 1 s.
    pub catalog_every: Duration,
    /// How long a connection may take to open. Default: 1 s.
    pub connect_timeout: Duration,
    /// Largest body of a request. Default: 1 MiB, that of a batch of transfers.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive. Default: 10 s.
    pub body_timeout: Duration,
    /// By what viewers' tokens are verified.
    pub auth: AuthOptions,
    /// Verified tokens that are remembered. Default: 100,000.
    pub verified_tokens_max: u64,
    /// Which web pages may call.
    pub cors: CorsOptions,
    pub ws: WsOptions,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        GatewayOptions {
            upstreams: Vec::new(),
            key: String::new(),
            doubts_after: Duration::from_secs(5),
            patience: Duration::from_secs(18),
            request_timeout: Duration::from_secs(5),
            catalog_every: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            body_bytes_max: 1 << 20,
            body_timeout: Duration::from_secs(10),
            auth: AuthOptions::default(),
            verified_tokens_max: 100_000,
            cors: CorsOptions::default(),
            ws: WsOptions::default(),
        }
    }
}
