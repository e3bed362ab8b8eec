//! A store in memory with a mirror over it, and flushes as a flusher makes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use largesse_engine::catalog::{Asset, CatalogDraft, Gift, Rules, SendRule, Tier};
use largesse_engine::codec;
use largesse_engine::control::{CatalogSet, ControlState};
use largesse_engine::fold::Fold;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::room::settings::Room;
use largesse_engine::store::{BalanceRow, Checkpoint, FlushBatch, Store};
use largesse_engine::units::{Amount, AssetId, CatalogVersion, GiftId, Position, RoomId, Seq, ShardId, Time, UserId};
use largesse_storage::mirror::{Mirror, MirrorOptions, Topology};
use largesse_storage::store::memory::MemoryStore;

use crate::server::Redis;

pub const SHAPE: LedgerShape = LedgerShape { wallet_shards: 4, hash_version: 1 };
pub const COIN: AssetId = AssetId(1);

pub struct World {
    pub mirror: Mirror,
    store: Arc<dyn Store>,
    mirrored: Arc<dyn Store>,
    time: AtomicU64,
}

pub fn options(topology: Topology) -> MirrorOptions {
    let (check_every, timeout) = (Duration::from_millis(50), Duration::from_millis(500));
    MirrorOptions { topology, check_every, connect_timeout: timeout, response_timeout: timeout, ..Default::default() }
}

pub fn single(redis: &Redis) -> MirrorOptions {
    options(Topology::Single { node: redis.node(), database: 0 })
}

pub fn catalog(asset: &str, gifts: &[u32]) -> CatalogDraft {
    let gift = |id: &u32| Gift {
        gift_id: GiftId(*id),
        name: "Rose".into(),
        names: BTreeMap::from([("en".into(), "Rose".into()), ("zh".into(), "玫瑰".into())]),
        price: Amount::new(5).unwrap(),
        asset: asset.into(),
        category: "classic".into(),
        tier: Tier::Small,
        icon_url: "/assets/icons/rose.svg".into(),
        effects_url: None,
        send_rule: SendRule::Combo,
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
    };
    CatalogDraft {
        assets: vec![Asset { id: COIN, name: asset.into() }],
        rules: Rules::default(),
        gifts: gifts.iter().map(gift).collect(),
    }
}

fn rooms() -> Vec<Room> {
    vec![Room::new(RoomId(1001), vec![UserId(2001), UserId(2002)])]
}

impl World {
    pub async fn start(options: MirrorOptions) -> World {
        let world = World::over(options, Arc::new(MemoryStore::default()));
        world.sell(1, &catalog("coin", &[1, 2])).await;
        world
    }

    /// As another process that begins now, or the same after a restart.
    pub fn over(options: MirrorOptions, store: Arc<dyn Store>) -> World {
        let mirror = Mirror::start(options, Arc::clone(&store), SHAPE, rooms()).unwrap();
        World { mirrored: mirror.store(), mirror, store, time: AtomicU64::new(1_000) }
    }

    pub async fn restart(self, options: MirrorOptions) -> World {
        self.mirror.stop().await;
        World { time: AtomicU64::new(self.time.load(Ordering::Relaxed)), ..World::over(options, self.store) }
    }

    async fn flush(&self, shard: ShardId, last: u64, balances: Vec<BalanceRow>, state: Vec<u8>) {
        let (position, fold) = (Position(last), Fold { epoch: None, next: Seq(last + 1) });
        let time = Time(self.time.fetch_add(1, Ordering::Relaxed));
        let (relay_position, relay_fold) = (position, fold);
        let checkpoint = Checkpoint { shard, position, relay_position, relay_fold, fold, time, state };
        let batch = FlushBatch { balances, ..FlushBatch::new(checkpoint) };
        self.mirrored.write(batch).await.unwrap();
    }

    pub async fn sell(&self, version: u32, draft: &CatalogDraft) {
        let draft = serde_json::to_vec(draft).unwrap();
        let set = CatalogSet { version: CatalogVersion(version), by: "test".into(), reason: String::new(), draft };
        self.flush(ShardId::CONTROL, version.into(), Vec::new(), codec::encode(&ControlState::Catalog(set))).await;
    }

    /// Events number `seq` of each user's shard, which leave the user with so much.
    pub async fn has(&self, seq: u64, balances: &[(u64, u64)]) {
        let mut by_shard: BTreeMap<ShardId, Vec<BalanceRow>> = BTreeMap::new();
        for &(user, amount) in balances {
            let (user, amount) = (UserId(user), Amount::new(amount).unwrap());
            let row = BalanceRow { user, asset: COIN, amount, seq: Seq(seq) };
            by_shard.entry(SHAPE.wallet_of(user)).or_default().push(row);
        }
        for (shard, mut rows) in by_shard {
            rows.sort_unstable();
            self.flush(shard, seq, rows, Vec::new()).await;
        }
    }
}
