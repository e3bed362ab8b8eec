//! The mirror that the configuration names.

use std::sync::Arc;

use largesse_config::{KeySource, MirrorConfig, MirrorKind};
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::room::settings::Room;
use largesse_engine::store::Store;
use largesse_storage::mirror::{Credentials, Mirror, MirrorOptions, Topology, Ttls};

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
    let topology = match config.kind {
        MirrorKind::Off => return Ok(None),
        MirrorKind::Redis => {
            let node = config.nodes.first().cloned().unwrap_or_default();
            Topology::Single { node, database: config.database }
        }
        MirrorKind::RedisCluster => Topology::Cluster { nodes: config.nodes.clone() },
    };
    let password = config.password().map(KeySource::read).transpose().map_err(Failure::new)?;
    let credentials =
        password.map(|password| Credentials { user: config.user.clone(), password: password.expose().into() });
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
