//! What can be set about the edge.

use std::time::Duration;

use crate::auth::AuthOptions;
use crate::cors::CorsOptions;
use crate::dev::DevOptions;
use crate::payments::PaymentOptions;
use crate::rates::RateOptions;
use crate::room_pass::RoomPassOptions;
use crate::rooms::streams::StreamLimits;
use crate::ws::WsOptions;

#[derive(Clone, Debug)]
pub struct ApiOptions {
    pub auth: AuthOptions,
    /// Largest body of a request. Default: 64 KiB.
    pub body_bytes_max: usize,
    /// Largest batch of transfers. Default: 1 MiB.
    pub batch_bytes_max: usize,
    /// Largest catalog that an administrator may send. Default: 8 MiB.
    pub catalog_bytes_max: usize,
    /// How long a body may take to arrive. Default: 10 s.
    pub body_timeout: Duration,
    /// How long a page of history, or a change of the catalog, may take. Default: 5 s.
    pub request_timeout: Duration,
    /// Verified tokens that are remembered. Default: 100,000.
    pub verified_tokens_max: u64,
    /// Who may ask how often. Default: nobody is limited.
    pub rates: RateOptions,
    /// Whether gifts need a pass for their room. Default: they do not.
    pub room_pass: Option<RoomPassOptions>,
    /// Which web pages may call. Default: none.
    pub cors: CorsOptions,
    /// How payments are reported, and what they are worth. Default: no channel.
    pub payments: PaymentOptions,
    /// Limits and paces of sockets.
    pub ws: WsOptions,
    /// Helpers for a page to play with. Default: none.
    pub dev: Option<DevOptions>,
    /// Seals the cursors of what users received; processes with the same one read each other's. Default: one that nobody
    /// knows, so that such cursors end with the process.
    pub cursor_secret: Box<str>,
    /// How many streams of rooms may be open, and how long.
    pub room_streams: StreamLimits,
}

impl Default for ApiOptions {
    fn default() -> Self {
        ApiOptions {
            auth: AuthOptions::default(),
            body_bytes_max: 64 << 10,
            batch_bytes_max: 1 << 20,
            catalog_bytes_max: 8 << 20,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            verified_tokens_max: 100_000,
            rates: RateOptions::default(),
            room_pass: None,
            cors: CorsOptions::default(),
            payments: PaymentOptions::default(),
            ws: WsOptions::default(),
            dev: None,
            cursor_secret: format!("{:032x}", rand::random::<u128>()).into(),
            room_streams: StreamLimits::default(),
        }
    }
}
