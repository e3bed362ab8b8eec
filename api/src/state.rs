//! What all handlers share.

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use largesse_engine::service::Service;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Notify;

use crate::auth::{Auth, AuthError};
use crate::catalog::CatalogPages;
use crate::history::cursor::CursorSeal;
use crate::metrics::GiftMeter;
use crate::options::ApiOptions;
use crate::rates::Rates;
use crate::rooms::streams::Streams;
use crate::signed::Replays;
use crate::trace::FreshIds;
use crate::ws;

/// One handle on everything; cloning it costs a count.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

pub struct Shared {
    pub service: Service,
    pub options: ApiOptions,
    pub auth: Auth,
    pub(crate) rates: Option<Rates>,
    pub(crate) replays: Replays,
    pub readiness: Readiness,
    pub metrics: PrometheusHandle,
    pub(crate) catalog_pages: CatalogPages,
    pub(crate) gift_meter: GiftMeter,
    pub(crate) fresh_ids: FreshIds,
    pub(crate) cursors: CursorSeal,
    pub live: ws::Hub,
    pub(crate) room_streams: Streams,
}

impl ApiState {
    /// The recorder behind `metrics` must be the process's before this, or nothing is counted.
    pub fn new(service: Service, options: ApiOptions, metrics: PrometheusHandle) -> Result<ApiState, AuthError> {
        crate::metrics::describe();
        let auth = Auth::new(&options.auth, options.verified_tokens_max, Arc::clone(&service.clock))?;
        let auth = auth.with_control(Arc::clone(&service.control));
        let rates = Rates::new(&options.rates);
        let live = ws::Hub::new(options.ws.clone());
        let cursors = CursorSeal::new(&options.cursor_secret);
        let room_streams = Streams::new(options.room_streams);
        Ok(ApiState(Arc::new(Shared {
            service,
            options,
            auth,
            rates,
            replays: Replays::default(),
            readiness: Readiness::default(),
            metrics,
            catalog_pages: CatalogPages::default(),
            gift_meter: GiftMeter::default(),
            fresh_ids: FreshIds::default(),
            cursors,
            live,
            room_streams,
        })))
    }
}

impl ApiState {
    /// As sockets see it.
    pub(crate) fn as_edge(&self) -> Arc<dyn ws::edge::Edge> {
        Arc::clone(&self.0) as Arc<dyn ws::edge::Edge>
    }
}

impl AsRef<Auth> for ApiState {
    fn as_ref(&self) -> &Auth {
        &self.auth
    }
}

impl Deref for ApiState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Whether this process should be sent requests; told by whoever starts and stops it.
#[derive(Default)]
pub struct Readiness {
    phase: AtomicU8,
    changed: Notify,
    check: OnceLock<Box<dyn Fn() -> Result<(), String> + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

impl Readiness {
    pub fn set(&self, phase: Phase) {
        let number = match phase {
            Phase::Starting => 0,
            Phase::Ready => 1,
            Phase::Draining => 2,
        };
        self.phase.store(number, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Resolves once the process has been asked to end.
    pub async fn draining(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.phase() == Phase::Draining {
                return;
            }
            changed.await;
        }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Asks this as well from now on; its error says what is not ready. The first one given stays.
    pub fn also_ask(&self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let _first_stays = self.check.set(Box::new(check));
    }

    pub fn check(&self) -> Result<(), String> {
        self.check.get().map_or(Ok(()), |check| check())
    }
}
