//! A process that holds sockets and owns nothing: frames of rooms come to it, everything else it asks of the process behind it.
//!
//! There can be as many as one likes. What sockets need ([`Edge`]) is answered from frames, from calls that only gateways may
//! make ([`crate::internal`]) and by forwarding gifts with the viewer's own token; all other requests are forwarded as they
//! are. A gateway never says that something failed which may have been done.

mod edge;
mod forward;
mod options;
mod router;
mod send;
mod upstream;

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use largesse_engine::catalog::Catalog;
use largesse_engine::clock::Clock;
use largesse_engine::room::command::RoomNews;
use largesse_engine::units::{RoomId, Time};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

pub use self::options::GatewayOptions;
pub use self::router::{admin_router, public_router};
use self::upstream::{Ask, Upstream};
use crate::auth::{Auth, AuthError};
use crate::error::ErrorCode;
use crate::internal::{self, BadAnswer};
use crate::problem::Problem;
use crate::state::Readiness;
use crate::trace::FreshIds;
use crate::ws;
use crate::ws::crowd::GatewayName;
use crate::ws::edge::Edge;

/// What rooms show, from wherever it comes.
pub trait Frames: Send + Sync + 'static {
    fn news(&self) -> broadcast::Receiver<Arc<RoomNews>>;

    fn follow(&self, room: RoomId);

    fn unfollow(&self, room: RoomId);

    /// Resolves once news of the room come, or after a while.
    fn followed(&self, room: RoomId) -> BoxFuture<'_, ()>;
}

/// One handle on everything; cloning it costs a count.
#[derive(Clone)]
pub struct GatewayState(Arc<Gateway>);

pub struct Gateway {
    pub options: GatewayOptions,
    pub auth: Auth,
    pub readiness: Readiness,
    pub metrics: PrometheusHandle,
    pub live: ws::Hub,
    pub(crate) fresh_ids: FreshIds,
    /// By which the process behind tells it from others.
    name: GatewayName,
    clock: Arc<dyn Clock>,
    frames: Arc<dyn Frames>,
    upstream: Arc<Upstream>,
    /// None before the process behind has told one.
    catalog: ArcSwapOption<Catalog>,
    /// Where connections to that process live, whoever asks.
    runtime: Handle,
}

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("gateway.key has characters that no header can carry")]
    Key,
}

impl GatewayState {
    /// Within the runtime that connections shall live in.
    pub fn new(
        options: GatewayOptions,
        frames: Arc<dyn Frames>,
        clock: Arc<dyn Clock>,
        metrics: PrometheusHandle,
    ) -> Result<GatewayState, GatewayError> {
        crate::metrics::describe();
        upstream::describe();
        let key = HeaderValue::try_from(format!("Bearer {}", options.key)).map_err(|_| GatewayError::Key)?;
        Ok(GatewayState(Arc::new(Gateway {
            auth: Auth::new(&options.auth, options.verified_tokens_max, Arc::clone(&clock))?,
            readiness: Readiness::default(),
            metrics,
            live: ws::Hub::new(options.ws.clone()),
            fresh_ids: FreshIds::default(),
            name: GatewayName(rand::random()),
            clock,
            frames,
            upstream: Arc::new(Upstream::new(&options, key)),
            catalog: ArcSwapOption::empty(),
            runtime: Handle::current(),
            options,
        })))
    }

    fn as_edge(&self) -> Arc<dyn Edge> {
        Arc::clone(&self.0) as Arc<dyn Edge>
    }

    /// Keeps the catalog as the process behind has it, for as long as this is polled.
    pub async fn keep_catalog(&self) {
        let mut looks = tokio::time::interval(self.options.catalog_every);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_told = false;
        loop {
            looks.tick().await;
            match self.look_at_catalog().await {
                Ok(()) => is_told = false,
                Err(problem) if !is_told => {
                    tracing::warn!(%problem, "the catalog cannot be read; the last one goes on");
                    is_told = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn look_at_catalog(&self) -> Result<(), Problem> {
        let known = self.catalog.load().as_ref().map(|catalog| internal::tag(catalog.version()));
        let Some(bytes) = self.internal("/internal/catalog".into(), known).await? else { return Ok(()) };
        let catalog = internal::read_catalog(&bytes).map_err(|error| unreadable(&error))?;
        tracing::info!(version = %catalog.version(), "a catalog is in force");
        self.catalog.store(Some(Arc::new(catalog)));
        Ok(())
    }
}

impl Gateway {
    fn now(&self) -> Time {
        self.clock.now()
    }

    /// Until when an attempt that begins now may still be decided, where its caller does not say.
    fn deadline(&self) -> Time {
        self.now().plus_millis(u64::try_from(self.options.patience.as_millis()).unwrap_or(u64::MAX))
    }

    fn is_ready(&self) -> Result<(), Problem> {
        let is_there = self.catalog.load().is_some();
        let detail = "this gateway has not reached the process behind it yet";
        is_there.then_some(()).ok_or_else(|| Problem::new(ErrorCode::ShardUnavailable, detail))
    }

    /// A call that only gateways may make; `None` if `known` is still so.
    fn internal(
        &self,
        path: String,
        known: Option<HeaderValue>,
    ) -> impl Future<Output = Result<Option<Bytes>, Problem>> + Send + 'static {
        let headers = known.map(|tag| (IF_NONE_MATCH, tag)).into_iter().collect();
        self.called(Ask { method: Method::GET, path, headers, body: Bytes::new(), is_repeatable: true })
    }

    /// Tells the process behind something that does no harm if it is told twice, or not at all.
    fn tell(&self, path: &str, body: Bytes) -> impl Future<Output = Result<Bytes, Problem>> + Send + 'static {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(internal::CONTENT))]);
        let asked = self.called(Ask { method: Method::POST, path: path.into(), headers, body, is_repeatable: false });
        async move { asked.await?.ok_or_else(unavailable) }
    }

    fn called(&self, mut ask: Ask) -> impl Future<Output = Result<Option<Bytes>, Problem>> + Send + 'static {
        let (upstream, patience) = (Arc::clone(&self.upstream), self.options.request_timeout);
        ask.headers.insert(AUTHORIZATION, upstream.key.clone());
        let asked = self.runtime.spawn(async move {
            match tokio::time::timeout(patience, upstream.ask_whole(ask)).await {
                Ok(answered) => answered.map_err(|_failed| unavailable()),
                Err(_elapsed) => Err(unavailable()),
            }
        });
        async move {
            let (head, body) = asked.await.map_err(|_ended| unavailable())??;
            match head.status {
                StatusCode::OK => Ok(Some(body)),
                StatusCode::NOT_MODIFIED if head.headers.contains_key(ETAG) => Ok(None),
                status => Err(told(status, &body)),
            }
        }
    }
}

impl AsRef<Auth> for GatewayState {
    fn as_ref(&self) -> &Auth {
        &self.auth
    }
}

impl Deref for GatewayState {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.0
    }
}

/// Nothing was done.
fn unavailable() -> Problem {
    let detail = "the process behind this gateway cannot be reached; nothing was done, try again with the same key";
    Problem::new(ErrorCode::ShardUnavailable, detail)
}

fn unreadable(error: &BadAnswer) -> Problem {
    tracing::error!(%error, "the process behind this gateway cannot be understood");
    unavailable()
}

/// What the process behind said instead of an answer. That it does not take this gateway's key is nobody else's matter.
fn told(status: StatusCode, body: &[u8]) -> Problem {
    #[derive(Deserialize)]
    struct Body {
        code: String,
        detail: String,
    }
    let code_of = |name: &str| ErrorCode::ALL.iter().copied().find(|code| code.name() == name);
    let body = serde_json::from_slice::<Body>(body).ok();
    match body.and_then(|body| Some((code_of(&body.code)?, body.detail))) {
        Some((code @ (ErrorCode::Unauthenticated | ErrorCode::Forbidden), detail)) => {
            tracing::error!(code = code.name(), detail, "gateway.key is not good for the process behind this gateway");
            unavailable()
        }
        Some((code, detail)) => Problem::new(code, detail),
        None => {
            tracing::error!(%status, "the process behind this gateway cannot be understood");
            unavailable()
        }
    }
}
