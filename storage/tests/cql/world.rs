//! A node on an embedded log, with its rows in a database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::catalog::{Asset, CatalogDraft, Gift, Rules, SendRule, Tier};
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::event_id::{CallerKey, EventId};
use largesse_engine::flush::FlushLimits;
use largesse_engine::ledger::LedgerName;
use largesse_engine::log::Logs;
use largesse_engine::node::{Node, NodeOptions, StartError};
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::room::settings::Room;
use largesse_engine::service::{GiftRequest, Patience, Receipt, Service, ServiceError};
use largesse_engine::shard::ShardLimits;
use largesse_engine::store::Store;
use largesse_engine::units::{Amount, AssetId, GiftId, NodeId, RoomId, UserId};
use largesse_engine::wallet::command::{GiftSaid, RechargeSaid};
use largesse_engine::wallet::event::Channel;
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::folder::DataFolder;
use largesse_storage::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};

use crate::server::SHAPE;

pub const COIN: AssetId = AssetId(1);
pub const VIEWERS: [UserId; 5] = [UserId(3001), UserId(3002), UserId(3003), UserId(3004), UserId(3005)];
pub const HOSTS: [UserId; 3] = [UserId(2001), UserId(2002), UserId(2003)];
pub const PRICE: u64 = 5;
/// Other tests freeze and kill servers meanwhile, on the same few cores.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    node: Node,
    pub service: Service,
    pub logs: Arc<EmbeddedLogs>,
}

fn node_options() -> NodeOptions {
    NodeOptions {
        node: NodeId(1),
        shape: SHAPE,
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
        patience: Patience { deadline: PATIENCE, answer: PATIENCE, ..Patience::default() },
        rooms: vec![Room::new(RoomId(1001), HOSTS.into())],
        room_limits: RoomLimits::default(),
    }
}

fn catalog() -> CatalogDraft {
    let gift = Gift {
        gift_id: GiftId(1),
        name: "Rose".into(),
        names: [("en".into(), "Rose".into()), ("zh".into(), "玫瑰".into())].into(),
        price: Amount::new(PRICE).unwrap(),
        asset: "coin".into(),
        category: "classic".into(),
        tier: Tier::Small,
        icon_url: "/assets/icons/rose.svg".into(),
        effects_url: None,
        send_rule: SendRule::Combo,
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
    };
    let assets = vec![Asset { id: COIN, name: "coin".into() }];
    CatalogDraft { assets, rules: Rules { shares: Vec::new(), points: None }, gifts: vec![gift] }
}

pub fn logs(dir: &Path, segment_bytes: u64) -> EmbeddedLogs {
    let folder = DataFolder::open(dir, &LedgerName::default(), SHAPE).unwrap();
    let options =
        EmbeddedLogOptions { segment_bytes, reserve_bytes: segment_bytes / 4, ..EmbeddedLogOptions::default() };
    EmbeddedLogs::open(&folder, options).unwrap()
}

impl World {
    pub async fn start(dir: &Path, store: Arc<dyn Store>) -> Result<World, StartError> {
        let logs = Arc::new(logs(dir, 2 << 20));
        let shared = Arc::clone(&logs) as Arc<dyn Logs>;
        let node = Node::start(node_options(), shared, store, Arc::new(SystemClock)).await?;
        let service = node.service();
        Ok(World { node, service, logs })
    }

    /// A catalog and coins for everyone.
    pub async fn open(&self) {
        let catalog = self.service.control.apply_catalog(catalog(), "test".into(), "first".into());
        catalog.await.unwrap();
        for viewer in VIEWERS {
            self.recharge(viewer, 1_000_000, &format!("first-{viewer}")).await.unwrap();
        }
    }

    pub async fn recharge(&self, user: UserId, amount: u64, transaction: &str) -> Result<u64, ServiceError> {
        let (channel, transaction) = (Channel::Manual, transaction.into());
        let amount = Amount::new(amount).unwrap();
        let said = RechargeSaid { channel, transaction, user, asset: COIN, amount };
        self.service.recharge(said, None, None).await.map(|receipt| receipt.applied.balance.get())
    }

    /// One rose to each of the first `hosts` hosts.
    pub async fn rose(&self, sender: UserId, key: EventId, hosts: usize) -> Result<Receipt<GiftSaid>, ServiceError> {
        let key = CallerKey::parse(&key.to_string()).unwrap();
        let said = GiftSaid::new(key, sender, RoomId(1001), GiftId(1), 1, &HOSTS[..hosts], None).unwrap();
        self.service.send_gift(GiftRequest { said, price_seen: None, until: None, trace: None }).await
    }

    /// `turns` roses of each viewer, by keys with a time and by keys without.
    pub async fn roses(&self, round: u8, turns: u8) {
        for turn in 0..turns {
            let sent = VIEWERS.into_iter().zip(0..).map(|(viewer, place)| {
                let key = match turn % 4 {
                    3 => EventId::hashed("test", &[&format!("{round} {turn} {place}")]),
                    _ => fresh_key(&[round, turn, place]),
                };
                self.rose(viewer, key, 1 + usize::from(turn) % HOSTS.len())
            });
            for receipt in futures::future::join_all(sent).await {
                let receipt = receipt.unwrap();
                // Whoever stops and compares wants no credit to be on its way.
                for host in &receipt.said.receivers {
                    self.service.balances(*host, Some(receipt.position())).await.unwrap();
                }
            }
        }
    }

    /// Until the store has everything.
    pub async fn drain(&self) {
        self.node.drain_store().await;
    }

    pub async fn stop(self) {
        self.node.stop().await;
        drop(self.service);
        self.logs.close();
    }
}

/// With the time of now, and told apart from others by some bytes.
pub fn fresh_key(bytes: &[u8]) -> EventId {
    let mut random = [0; 10];
    random[..bytes.len()].copy_from_slice(bytes);
    EventId::v7(SystemClock.now(), random)
}
