//! A whole node on embedded storage: what it decided is still so after a restart.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::catalog::{Asset, CatalogDraft, Gift, PointsRule, Rules, SendRule, Tier};
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::event_id::{CallerKey, EventId};
use largesse_engine::flush::FlushLimits;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::Logs;
use largesse_engine::node::{Node, NodeOptions};
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::room::settings::Room;
use largesse_engine::service::{Found, GiftRequest, Patience, Receipt, Service, ServiceError};
use largesse_engine::shard::ShardLimits;
use largesse_engine::store::{ReceivedQuery, SentQuery, Store};
use largesse_engine::units::{Amount, AssetId, GiftId, NodeId, RoomId, ShardId, UserId};
use largesse_engine::wallet::command::{GiftSaid, RechargeSaid};
use largesse_engine::wallet::event::Channel;
use largesse_engine::wallet::outcome::Refusal;
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::folder::DataFolder;
use largesse_storage::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};

const COIN: AssetId = AssetId(1);
const POINT: AssetId = AssetId(3);
const ANN: UserId = UserId(3001);
const HOSTS: [UserId; 2] = [UserId(2001), UserId(2002)];

struct World {
    node: Node,
    service: Service,
    logs: Arc<EmbeddedLogs>,
}

fn options(shape: LedgerShape) -> NodeOptions {
    NodeOptions {
        node: NodeId(1),
        shape,
        wallets: WalletLimits {
            window: WindowLimits { bytes_max: 64 << 20, age_millis: 120_000 },
            wallets_max: 100_000,
            history_millis: 400 * 86_400_000,
            hash_seed: 7,
        },
        shards: ShardLimits::default(),
        accumulators: AccumulatorLimits::default(),
        flush: FlushLimits::default(),
        flush_every: Duration::from_millis(20),
        permits_per_shard: 1_000,
        workers: 0,
        patience: Patience::default(),
        rooms: vec![Room::new(RoomId(1001), HOSTS.into())],
        room_limits: RoomLimits::default(),
    }
}

fn catalog(price: u64) -> CatalogDraft {
    let gift = Gift {
        gift_id: GiftId(1),
        name: "Rose".into(),
        names: [("en".into(), "Rose".into()), ("zh".into(), "玫瑰".into())].into(),
        price: Amount::new(price).unwrap(),
        asset: "coin".into(),
        category: "classic".into(),
        tier: Tier::Small,
        icon_url: "/assets/icons/rose.svg".into(),
        effects_url: None,
        send_rule: SendRule::Combo,
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
    };
    CatalogDraft {
        assets: vec![Asset { id: COIN, name: "coin".into() }, Asset { id: POINT, name: "point".into() }],
        rules: Rules {
            shares: Vec::new(),
            points: Some(PointsRule { asset: "point".into(), for_asset: "coin".into(), per_thousand: 1_000 }),
        },
        gifts: vec![gift],
    }
}

async fn start(dir: &Path) -> World {
    let shape = LedgerShape::new(4);
    let folder = DataFolder::open(dir, &LedgerName::default(), shape).unwrap();
    let logs = Arc::new(EmbeddedLogs::open(&folder, EmbeddedLogOptions::default()).unwrap());
    let store = EmbeddedStore::open(&folder.store(), LedgerName::default(), shape, StoreOptions::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let shared = Arc::clone(&logs) as Arc<dyn Logs>;
    let node = Node::start(options(shape), shared, store, Arc::new(SystemClock)).await.unwrap();
    let service = node.service();
    World { node, service, logs }
}

impl World {
    async fn stop(self) {
        self.node.stop().await;
        drop(self.service);
        self.logs.close();
    }

    async fn recharge(&self, user: UserId, amount: u64, transaction: &str) -> Result<u64, ServiceError> {
        let amount = Amount::new(amount).unwrap();
        let said =
            RechargeSaid { channel: Channel::Manual, transaction: transaction.into(), user, asset: COIN, amount };
        self.service.recharge(said, None, None).await.map(|receipt| receipt.applied.balance.get())
    }

    async fn send(&self, key: EventId, count: u64) -> Result<Receipt<GiftSaid>, ServiceError> {
        let key = CallerKey::parse(&key.to_string()).unwrap();
        let said = GiftSaid::new(key, ANN, RoomId(1001), GiftId(1), count, &HOSTS, None).unwrap();
        self.service.send_gift(GiftRequest { said, price_seen: None, until: None, trace: None }).await
    }

    async fn balance(&self, user: UserId, asset: AssetId, after: Option<&Receipt<GiftSaid>>) -> u64 {
        let (balances, _) = self.service.balances(user, after.map(Receipt::position)).await.unwrap();
        balances.amounts.iter().find(|(held, _)| *held == asset).map_or(0, |(_, amount)| amount.get())
    }
}

fn fresh_key(random: u8) -> EventId {
    EventId::v7(SystemClock.now(), [random; 10])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_is_still_so_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    world.service.control.apply_catalog(catalog(5), "test".into(), "first".into()).await.unwrap();
    assert_eq!(world.recharge(ANN, 1_000, "t1").await.unwrap(), 1_000);
    assert_eq!(world.recharge(ANN, 1_000, "t1").await.unwrap(), 1_000, "a repeated transaction pays once");
    let stolen = world.recharge(UserId(3002), 1_000, "t1").await.unwrap_err();
    assert_eq!(stolen, ServiceError::Refused(Refusal::IdReused), "a transaction pays one user only");

    let key = fresh_key(1);
    let first = world.send(key, 10).await.unwrap();
    assert_eq!((first.applied.total.get(), first.applied.balance.get(), first.applied.replayed), (100, 900, false));
    for host in HOSTS {
        assert_eq!(world.balance(host, COIN, Some(&first)).await, 50);
    }
    assert_eq!(world.balance(ANN, POINT, None).await, 100);
    let again = world.send(key, 10).await.unwrap();
    assert_eq!((again.applied.replayed, again.position()), (true, first.position()));
    assert_eq!(world.send(key, 11).await.unwrap_err(), ServiceError::Refused(Refusal::IdReused));
    world.stop().await;

    let world = start(dir.path()).await;
    assert_eq!(world.balance(ANN, COIN, None).await, 900);
    assert_eq!(world.balance(HOSTS[0], COIN, None).await, 50);
    // A dearer rose does not change what was paid.
    world.service.control.apply_catalog(catalog(7), "test".into(), "dearer".into()).await.unwrap();
    let again = world.send(key, 10).await.unwrap();
    assert_eq!((again.applied.replayed, again.applied.total.get()), (true, 100));
    assert!(matches!(world.service.find(ANN, key).await.unwrap(), Found::Event { .. }));
    assert!(matches!(world.service.find(ANN, fresh_key(9)).await.unwrap(), Found::Unknown { .. }));
    assert_eq!(world.send(fresh_key(2), 10).await.unwrap().applied.balance.get(), 760);

    let query = SentQuery { shard: ShardId::wallet(0), user: ANN, since: None, until: None, cursor: None, limit: 10 };
    let sent = world.service.sent_history(query).await.unwrap();
    assert_eq!(sent.items.len(), 3, "a recharge and two gifts");
    world.node.drain_store().await;
    let (shard, user) = (ShardId::wallet(0), HOSTS[1]);
    let query = ReceivedQuery { shard, user, since: None, until: None, cursor: None, limit: 10 };
    let (received, _) = world.service.received_history(query).await.unwrap();
    let amounts: Vec<_> = received.items.iter().map(|entry| entry.amount.get()).collect();
    assert_eq!(amounts, [70, 50], "newest first");
    world.stop().await;
}
