//! Puts the crates together: storage, the node with its shards, the two doors; and takes them apart in order.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use largesse_api::auth::scopes::Scopes;
use largesse_api::auth::{AuthOptions, NamedKey, TokenAlgorithm, TokenKey};
use largesse_api::cors::CorsOptions;
use largesse_api::dev::DevOptions;
use largesse_api::rates::{Rate, RateOptions};
use largesse_api::room_pass::RoomPassOptions;
use largesse_api::rooms::streams::StreamLimits;
use largesse_api::state::Phase;
use largesse_api::ws::WsOptions;
use largesse_api::{ApiOptions, ApiState, ConnectionLimits, admin_router, public_router, serve_with};
use largesse_config::{Algorithm, AuthConfig, Config, KeySource, RateLimit, RoomConfig, ViewerKey, WsConfig};
use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::clock::{SteadyClock, SystemClock};
use largesse_engine::flush::FlushLimits;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::Logs;
use largesse_engine::node::{Node, NodeOptions, threads};
use largesse_engine::room::board::BusinessZone;
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::room::settings::Room;
use largesse_engine::service::{Patience, Service};
use largesse_engine::shard::ShardLimits;
use largesse_engine::units::{NodeId, RoomId, UserId};
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::events::{self, Events};
use largesse_storage::folder::DataFolder;
use largesse_storage::frames::Publisher;
use largesse_storage::mirror::Mirror;
use largesse_storage::store::gap;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::exit::Failure;
use crate::jwks::Published;
use crate::{logs, mirrors, payments, stores};

/// A process that serves.
pub struct Running {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    node: Node,
    mirror: Option<Mirror>,
    frames: Option<Publisher>,
    logs: Arc<dyn Logs>,
    /// Locked for as long as the process runs, also when neither log nor rows are in it.
    folder: Arc<DataFolder>,
    events: Option<Events>,
    state: ApiState,
    doors: Vec<JoinHandle<std::io::Result<()>>>,
    stop: watch::Sender<bool>,
    stop_notice: Duration,
    /// Looks after the keys that viewers' issuer publishes.
    published: Option<JoinHandle<()>>,
    signals: Signals,
}

/// Runs a server's work on threads of its own until it is done.
pub fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(threads::hurry).build();
    runtime.map_err(|error| Failure::new(format_args!("cannot start threads: {error}")))?.block_on(work)
}

/// Opens what is configured, waits until every shard serves, and opens the doors. Callers are told that the process
/// is ready only after [`Running::ready`].
pub async fn start(config: &Config) -> Result<Running, Failure> {
    start_with(config, None).await
}

/// As [`start`], with helpers for a page to play with.
pub async fn start_with(config: &Config, dev: Option<DevOptions>) -> Result<Running, Failure> {
    let metrics = largesse_api::metrics::install().map_err(Failure::new)?;
    let auth = auth_options(&config.auth)?;
    let published = Published::new(&config.auth.viewer)?;
    let mut options = ApiOptions { dev, ..api_options(config, auth)? };
    let ledger: LedgerName = config.ledger.name.parse().map_err(Failure::new)?;
    let shape = LedgerShape::new(config.ledger.wallet_shards);
    let folder = DataFolder::open(&config.data.dir, &ledger, shape).map_err(Failure::new)?;
    // Before anything slow, so that an address in use is told at once.
    let public = bind(config.http.listen, "http.listen", "--listen").await?;
    let admin = bind(config.http.admin_listen, "http.admin-listen", "--admin-listen").await?;
    let logs = logs::open(config, &folder).await?;
    // Every process of the ledger knows its id, and nobody else has a use for it.
    if let Some(id) = folder.id() {
        options.cursor_secret = id.as_str().into();
    }
    let store = stores::open(config, &folder).await?;
    gap::check(&*logs, &*store, shape).await.map_err(Failure::new)?;
    let mirror = mirrors::start(&config.mirror, &ledger, Arc::clone(&store), shape, rooms(config))?;
    let store = mirror.as_ref().map_or(store, Mirror::store);
    let clock = Arc::new(SteadyClock::new(SystemClock));
    let (logs, events) = match config.events.enabled {
        true => {
            let (logs, events) = events::prepare(
                crate::events_out::options(config)?,
                logs,
                crate::events_out::letters(config)?,
                Arc::new(SystemClock),
            );
            (logs, Some(events))
        }
        false => (logs, None),
    };
    let node = Node::start(node_options(config, shape), Arc::clone(&logs), Arc::clone(&store), clock).await;
    let node = node.map_err(Failure::new)?;
    let events = events.map(|events| events.start(store, node.healths())).transpose().map_err(Failure::new)?;
    let frames = mirrors::publish(&config.frames, &ledger, || node.service().rooms.news())?;
    let state = ApiState::new(node.service(), options, metrics).map_err(Failure::new)?;
    let published = match published {
        Some(published) => Some(published.start(state.clone()).await?),
        None => None,
    };
    state.readiness.also_ask(node.readiness());
    let (stop, _) = watch::channel(false);
    let limits = ConnectionLimits {
        connections_max: config.http.connections_max,
        drain_timeout: config.http.stop_patience,
        ..ConnectionLimits::default()
    };
    let (public_address, admin_address) = (address(&public)?, address(&admin)?);
    let doors = [(public, public_router(state.clone())), (admin, admin_router(state.clone()))];
    let doors = doors.map(|(listener, router)| {
        let mut stopping = stop.subscribe();
        let stopped = async move {
            // The sender outlives the doors; if it did not, stopping would be right as well.
            let _told = stopping.wait_for(|is_stopping| *is_stopping).await;
        };
        tokio::spawn(serve_with(listener, router, limits.clone(), node.runtimes(), stopped))
    });
    Ok(Running {
        public: public_address,
        admin: admin_address,
        node,
        mirror,
        frames,
        logs,
        folder,
        events,
        state,
        doors: doors.into(),
        stop,
        stop_notice: config.http.stop_notice,
        published,
        signals: Signals::listen()?,
    })
}

impl Running {
    pub fn service(&self) -> Service {
        self.node.service()
    }

    pub fn ready(&self) {
        self.state.readiness.set(Phase::Ready);
    }

    /// Serves until the process is asked to end, then finishes what was admitted. Asked a second time it ends at once:
    /// the log is made for that.
    pub async fn until_asked_to_end(mut self) -> Result<(), Failure> {
        self.signals.asked_to_end().await;
        let mut again = Signals::listen()?;
        tokio::select! {
            () = self.end() => Ok(()),
            () = again.asked_to_end() => {
                Err(Failure::new("ended before everything was finished, as asked twice; nothing that was answered is lost"))
            }
        }
    }

    async fn end(self) {
        tracing::info!("stopping: finishing what was admitted");
        self.state.readiness.set(Phase::Draining);
        // Whoever comes now is told to try again elsewhere; without this he would meet a closed port.
        tokio::time::sleep(self.stop_notice).await;
        if let Some(published) = self.published {
            published.abort();
            let _aborted = published.await;
        }
        self.state.live.close();
        self.stop.send_replace(true);
        for door in self.doors {
            if let Ok(Err(error)) = door.await {
                tracing::warn!(%error, "a door did not close cleanly");
            }
        }
        drop((self.state, self.frames));
        self.node.stop().await;
        if let Some(mirror) = self.mirror {
            mirror.stop().await;
        }
        if let Some(events) = self.events {
            events.stop().await;
        }
        drop((self.logs, self.folder));
        tracing::info!("stopped");
    }
}

/// Listens from before the process says that it is ready: whoever has read that may end it at once.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> Result<Signals, Failure> {
        let told = |error| Failure::new(format_args!("cannot listen for signals: {error}"));
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(told)?,
            interrupt: signal(SignalKind::interrupt()).map_err(told)?,
        })
    }

    pub async fn asked_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}

pub async fn bind(address: SocketAddr, key: &str, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format_args!("{key}: cannot listen on {address}: {error}"))
            .help(format_args!("name another address with {flag}; port 0 picks a free one"))
    })
}

pub fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::new(format_args!("cannot tell the address: {error}")))
}

fn node_options(config: &Config, shape: LedgerShape) -> NodeOptions {
    let engine = &config.engine;
    NodeOptions {
        node: NodeId(1),
        shape,
        wallets: WalletLimits {
            window: WindowLimits {
                bytes_max: engine.window_bytes_max.as_usize(),
                age_millis: millis(engine.window_age),
            },
            wallets_max: engine.wallets_max,
            history_millis: millis(engine.history),
            hash_seed: rand::random(),
        },
        shards: ShardLimits {
            records_in_flight: engine.records_in_flight_max,
            record_bytes: engine.record_bytes_max.as_usize(),
            parked: engine.prefetch_permits,
        },
        accumulators: AccumulatorLimits {
            credits_max: engine.relay_credits_max,
            age_millis: millis(engine.relay_age_max),
        },
        flush: FlushLimits { bytes_max: engine.flush_bytes_max.as_usize(), events_max: engine.flush_events_max },
        flush_every: engine.flush_every,
        permits_per_shard: engine.permits_per_shard,
        workers: engine.workers,
        patience: Patience {
            deadline: config.http.deadline,
            answer: config.http.answer_patience,
            read: config.http.read_patience,
        },
        room_limits: RoomLimits {
            combo_millis: 1_000 * config.rooms.combo_seconds,
            zone: BusinessZone { minutes_east: config.rooms.business_zone.minutes },
            ..RoomLimits::default()
        },
        rooms: rooms(config),
    }
}

fn rooms(config: &Config) -> Vec<Room> {
    let hosts = |room: &RoomConfig| room.hosts.iter().copied().map(UserId).collect();
    let room = |room: &RoomConfig| Room::new(RoomId(room.id), hosts(room));
    config.room.iter().map(room).collect()
}

fn api_options(config: &Config, auth: AuthOptions) -> Result<ApiOptions, Failure> {
    let rate = |limit: Option<RateLimit>| limit.map(|RateLimit { requests, per }| Rate { requests, per });
    let limits = &config.limits;
    let pass = &config.auth.room_pass;
    let secret = pass.source().map(KeySource::read).transpose().map_err(Failure::new)?;
    Ok(ApiOptions {
        auth,
        rates: RateOptions {
            user: rate(limits.per_user),
            key: rate(limits.per_key),
            address: rate(limits.per_address),
            tracked_max: limits.tracked_max,
            proxies: limits.proxies,
        },
        room_pass: secret.map(|secret| RoomPassOptions { secret: secret.expose().into(), ttl: pass.ttl }),
        cors: origins(config)?,
        payments: payments::options(&config.recharge)?,
        room_streams: StreamLimits {
            all_max: config.rooms.streams_max,
            caller_max: config.rooms.streams_per_caller,
            ..StreamLimits::default()
        },
        body_bytes_max: config.http.body_bytes_max.as_usize(),
        catalog_bytes_max: config.http.catalog_bytes_max.as_usize(),
        request_timeout: config.http.deadline + config.http.answer_patience,
        ws: ws_options(config),
        ..ApiOptions::default()
    })
}

pub fn origins(config: &Config) -> Result<CorsOptions, Failure> {
    let origin = |origin: &String| HeaderValue::from_str(origin).map_err(Failure::new);
    Ok(CorsOptions { origins: config.http.origins.iter().map(origin).collect::<Result<_, _>>()? })
}

pub fn ws_options(config: &Config) -> WsOptions {
    let WsConfig { sockets_max, ping_every, auth_timeout } = config.ws;
    WsOptions { sockets_max, ping_every, auth_timeout, ..WsOptions::default() }
}

/// Reads every key from where it is; one that cannot be read refuses to start.
pub fn auth_options(auth: &AuthConfig) -> Result<AuthOptions, Failure> {
    let mut options = AuthOptions {
        issuer: auth.viewer.issuer.clone(),
        audience: auth.viewer.audience.clone(),
        leeway: auth.viewer.leeway,
        ..AuthOptions::default()
    };
    for key in auth.viewer.key().iter().chain(&auth.viewer.previous) {
        options.token_keys.extend(token_key(key)?);
    }
    for service in &auth.service_keys {
        if let Some(source) = service.source() {
            let key = source.read().map_err(Failure::new)?;
            let scopes = service.scopes.as_ref().map(|scopes| Scopes::parse(scopes.iter().map(String::as_str)));
            let scopes = scopes.unwrap_or(Ok(Scopes::ALL)).map_err(|unknown| {
                Failure::new(format_args!("auth.service-keys: `{}`: there is no scope `{unknown}`", service.name))
            })?;
            options.service_keys.push(NamedKey::new(&service.name, key.expose()).with_scopes(scopes));
        }
    }
    if let Some(source) = auth.admin_key() {
        let key = source.read().map_err(Failure::new)?;
        options.admin_keys.push(NamedKey::new("admin", key.expose()));
    }
    Ok(options)
}

fn token_key(key: &ViewerKey) -> Result<Option<TokenKey>, Failure> {
    let algorithm = match key.algorithm {
        Algorithm::Hs256 => TokenAlgorithm::Hs256,
        Algorithm::Rs256 => TokenAlgorithm::Rs256,
        Algorithm::Es256 => TokenAlgorithm::Es256,
    };
    let Some(source) = key.source() else { return Ok(None) };
    let material = source.read().map_err(Failure::new)?.expose().as_bytes().to_vec();
    Ok(Some(TokenKey { kid: None, algorithm, material: material.into() }))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
