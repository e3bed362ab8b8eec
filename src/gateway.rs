//! A process that holds sockets in front of one that owns shards: no folder, no log, no store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use largesse_api::gateway::{GatewayOptions, GatewayState, admin_router, public_router};
use largesse_api::state::Phase;
use largesse_api::{ConnectionLimits, serve_with};
use largesse_config::{Config, KeySource};
use largesse_engine::clock::{SteadyClock, SystemClock};
use largesse_engine::ledger::LedgerName;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::exit::Failure;
use crate::jwks::Published;
use crate::mirrors;
use crate::run::{Signals, address, auth_options, bind, origins, ws_options};

/// A gateway at work.
pub struct Running {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    state: GatewayState,
    doors: Vec<JoinHandle<std::io::Result<()>>>,
    /// Tasks that look after keys and the catalog.
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    stop_notice: Duration,
    signals: Signals,
}

pub async fn start(config: &Config) -> Result<Running, Failure> {
    config.validate_gateway().map_err(|problems| {
        let text = format!("a gateway needs more than this configuration has:\n{problems}");
        Failure::new(text).help("`largesse config check --role gateway` says the same without starting anything")
    })?;
    let metrics = largesse_api::metrics::install().map_err(Failure::new)?;
    let published = Published::new(&config.auth.viewer)?;
    let options = options(config)?;
    let ledger: LedgerName = config.ledger.name.parse().map_err(Failure::new)?;
    let public = bind(config.http.listen, "http.listen", "--listen").await?;
    let admin = bind(config.http.admin_listen, "http.admin-listen", "--admin-listen").await?;
    let frames = mirrors::subscribe(&config.frames, &ledger)?;
    let clock = Arc::new(SteadyClock::new(SystemClock));
    let state = GatewayState::new(options, frames, clock, metrics).map_err(Failure::new)?;
    let mut tasks = Vec::new();
    if let Some(published) = published {
        tasks.push(published.start(state.clone()).await?);
    }
    let keeper = state.clone();
    tasks.push(tokio::spawn(async move { keeper.keep_catalog().await }));
    let limits = ConnectionLimits {
        connections_max: config.http.connections_max,
        drain_timeout: config.http.stop_patience,
        ..ConnectionLimits::default()
    };
    let (stop, _) = watch::channel(false);
    let (public_address, admin_address) = (address(&public)?, address(&admin)?);
    let doors = [(public, public_router(state.clone())), (admin, admin_router(state.clone()))];
    let doors = doors.map(|(listener, router)| {
        let mut stopping = stop.subscribe();
        let stopped = async move {
            let _told = stopping.wait_for(|is_stopping| *is_stopping).await;
        };
        tokio::spawn(serve_with(listener, router, limits.clone(), Vec::new(), stopped))
    });
    Ok(Running {
        public: public_address,
        admin: admin_address,
        state,
        doors: doors.into(),
        tasks,
        stop,
        stop_notice: config.http.stop_notice,
        signals: Signals::listen()?,
    })
}

impl Running {
    pub fn ready(&self) {
        self.state.readiness.set(Phase::Ready);
    }

    /// Serves until the process is asked to end. Asked a second time it ends at once.
    pub async fn until_asked_to_end(mut self) -> Result<(), Failure> {
        self.signals.asked_to_end().await;
        let mut again = Signals::listen()?;
        tokio::select! {
            () = self.end() => Ok(()),
            () = again.asked_to_end() => Err(Failure::new("ended before everything was passed on, as asked twice")),
        }
    }

    async fn end(self) {
        tracing::info!("stopping: passing on what was admitted");
        self.state.readiness.set(Phase::Draining);
        tokio::time::sleep(self.stop_notice).await;
        self.state.live.close();
        self.stop.send_replace(true);
        for door in self.doors {
            if let Ok(Err(error)) = door.await {
                tracing::warn!(%error, "a door did not close cleanly");
            }
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        tracing::info!("stopped");
    }
}

fn options(config: &Config) -> Result<GatewayOptions, Failure> {
    let key = config.gateway.key().map(KeySource::read).transpose().map_err(Failure::new)?;
    let upstream = |text: &str| {
        text.parse::<Authority>().map_err(|error| Failure::new(format_args!("gateway.upstreams: `{text}`: {error}")))
    };
    let http = &config.http;
    let defaults = GatewayOptions::default();
    let request_timeout = http.deadline + http.answer_patience;
    Ok(GatewayOptions {
        upstreams: config.gateway.authorities().map(upstream).collect::<Result<_, _>>()?,
        key: key.map(|key| key.expose().to_owned()).unwrap_or_default(),
        doubts_after: config.gateway.doubts_after,
        // Whatever the process behind may take for one request, so that it is the one to say that it took too long.
        patience: defaults.body_timeout + request_timeout + http.read_patience,
        request_timeout,
        auth: auth_options(&config.auth)?,
        cors: origins(config)?,
        ws: ws_options(config),
        ..defaults
    })
}
