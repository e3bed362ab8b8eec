//! The mirror that the configuration names, and what else is in Redis: frames on their way out of this process and into it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_api::gateway::Frames;
use largesse_config::{FramesConfig, KeySource, MirrorConfig, RedisKind, RedisServers};
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::room::command::RoomNews;
use largesse_engine::room::settings::Room;
use largesse_engine::store::Store;
use largesse_engine::units::RoomId;
use largesse_storage::frames::{FramesOptions, Publisher, Subscriber};
use largesse_storage::mirror::{Credentials, Mirror, MirrorOptions, Topology, Ttls};
use tokio::sync::broadcast;

use crate::exit::Failure;

/// Begins to mirror what is flushed into `store`; `None` when nothing is to be mirrored.
pub fn start(
    config: &MirrorConfig,
    ledger: &LedgerName,
    store: Arc<dyn Store>,
    shape: LedgerShape,
    rooms: Vec<Room>,
) -> Result<Option<Mirror>, Failure> {
    let Some(options) = options(config, ledger)? else { return Ok(None) };
    Mirror::start(options, store, shape, rooms).map(Some).map_err(Failure::new)
}

/// `None` when the mirror is off.
pub fn options(config: &MirrorConfig, ledger: &LedgerName) -> Result<Option<MirrorOptions>, Failure> {
    let Some((topology, credentials)) = servers(&config.servers())? else { return Ok(None) };
    Ok(Some(MirrorOptions {
        topology,
        prefix: config.prefix.clone().unwrap_or_else(|| MirrorOptions::prefix_of(ledger)),
        credentials,
        ttls: Ttls { asset: config.asset_ttl, user: config.user_ttl, room: config.room_ttl, gift: config.gift_ttl },
        rows_max: config.rows_max,
        check_every: config.check_every,
        connect_timeout: config.connect_timeout,
        response_timeout: config.response_timeout,
    }))
}

/// `None` where Redis is off.
fn servers(config: &RedisServers<'_>) -> Result<Option<(Topology, Option<Credentials>)>, Failure> {
    let topology = match config.kind {
        RedisKind::Off => return Ok(None),
        RedisKind::Redis => {
            let node = config.nodes.first().cloned().unwrap_or_default();
            Topology::Single { node, database: config.database }
        }
        RedisKind::RedisCluster => Topology::Cluster { nodes: config.nodes.into() },
    };
    let password = config.password.map(KeySource::read).transpose().map_err(Failure::new)?;
    let user = config.user.map(str::to_owned);
    let credentials = password.map(|password| Credentials { user, password: password.expose().into() });
    Ok(Some((topology, credentials)))
}

fn frames_options(config: &FramesConfig, ledger: &LedgerName) -> Result<Option<FramesOptions>, Failure> {
    let Some((topology, credentials)) = servers(&config.servers())? else { return Ok(None) };
    Ok(Some(FramesOptions {
        topology,
        credentials,
        prefix: config.prefix.clone().unwrap_or_else(|| FramesOptions::prefix_of(ledger)),
        connect_timeout: config.connect_timeout,
        response_timeout: config.response_timeout,
    }))
}

/// Begins to tell gateways what rooms show; `None` when nobody is to be told.
pub fn publish(
    config: &FramesConfig,
    ledger: &LedgerName,
    news: impl FnOnce() -> broadcast::Receiver<Arc<RoomNews>>,
) -> Result<Option<Publisher>, Failure> {
    let Some(options) = frames_options(config, ledger)? else { return Ok(None) };
    Publisher::start(options, news()).map(Some).map_err(Failure::new)
}

/// Begins to hear what rooms show.
pub fn subscribe(config: &FramesConfig, ledger: &LedgerName) -> Result<Arc<dyn Frames>, Failure> {
    let options = frames_options(config, ledger)?.ok_or_else(|| Failure::new("frames.kind is \"off\""))?;
    Ok(Arc::new(Heard(Subscriber::start(options).map_err(Failure::new)?)))
}

/// How long whoever enters a room waits for its frames; without Redis they do not come, and the room is asked instead.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(1);

struct Heard(Subscriber);

impl Frames for Heard {
    fn news(&self) -> broadcast::Receiver<Arc<RoomNews>> {
        self.0.news()
    }

    fn follow(&self, room: RoomId) {
        self.0.follow(room);
    }

    fn unfollow(&self, room: RoomId) {
        self.0.unfollow(room);
    }

    fn followed(&self, room: RoomId) -> BoxFuture<'_, ()> {
        self.0.followed(room, SUBSCRIBE_PATIENCE).boxed()
    }
}
