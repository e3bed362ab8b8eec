//! How this node serves the kinds of machine there are.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use ractor::ActorRef;
use tokio::sync::{broadcast, watch};

use crate::control::{ControlMachine, NoNeed, Shown};
use crate::node::actor::{Fetching, Hosted};
use crate::node::door::Door;
use crate::node::relays::RelayMsg;
use crate::node::rooms::RoomTimes;
use crate::resolve::ControlView;
use crate::room::command::RoomNews;
use crate::room::rooms::{RoomNeed, RoomOutput, Rooms};
use crate::store::Store;
use crate::units::{ShardId, ShardKind, Time};
use crate::wallet::outbox::Outgoing;
use crate::wallet::wallets::{WalletNeed, WalletRow, Wallets};

/// The relay actors by destination; set once all of them run.
pub type Relays = Arc<OnceLock<RelayActors>>;

/// By index of their destinations.
#[derive(Debug)]
pub struct RelayActors {
    pub wallets: Vec<ActorRef<RelayMsg>>,
    pub rooms: Vec<ActorRef<RelayMsg>>,
}

impl RelayActors {
    fn to(&self, destination: ShardId) -> &ActorRef<RelayMsg> {
        match destination.kind {
            ShardKind::Wallet => &self.wallets[usize::from(destination.index)],
            ShardKind::Room => &self.rooms[usize::from(destination.index)],
            ShardKind::Control => unreachable!("nothing is relayed to the control shard"),
        }
    }
}

impl Hosted for Wallets {
    type Env = Relays;

    fn fetch(store: Arc<dyn Store>, shard: ShardId, needs: Vec<WalletNeed>) -> Fetching<Wallets> {
        async move {
            let (mut users, mut keys) = (Vec::new(), Vec::new());
            for need in &needs {
                match need {
                    WalletNeed::Wallet(user) => users.push(*user),
                    WalletNeed::Receipt(user, id) => keys.push((*user, *id)),
                }
            }
            let wallets = async {
                if users.is_empty() { Ok(Vec::new()) } else { store.load_wallets(shard, users.clone()).await }
            };
            let receipts =
                async { if keys.is_empty() { Ok(Vec::new()) } else { store.load_receipts(shard, keys.clone()).await } };
            let (wallets, receipts) = futures::join!(wallets, receipts);
            for error in [wallets.as_ref().err(), receipts.as_ref().err()].into_iter().flatten() {
                tracing::warn!(%shard, %error, "the store could not be asked");
            }
            let wallets = wallets.ok().map(Vec::into_iter);
            let receipts = receipts.ok().map(Vec::into_iter);
            answers(needs, wallets, receipts)
        }
        .boxed()
    }

    fn hand_on(relays: &Relays, outgoing: Outgoing) {
        let Some(relays) = relays.get() else { return };
        let mut by_destination: HashMap<ShardId, Vec<_>> = HashMap::new();
        for (destination, part) in outgoing {
            by_destination.entry(destination).or_default().push(part);
        }
        for (destination, parts) in by_destination {
            // A relay that is gone takes the node down with it; the sources would send again.
            let _gone = relays.to(destination).cast(RelayMsg::Parts(parts));
        }
    }

    fn publish(&self, door: &Door<Wallets>) {
        door.settled.store(self.settled().get(), Ordering::Release);
    }

    fn measure(&self, shard: ShardId, now: Time) {
        let shard = shard.to_string();
        for (asset, totals) in self.books().totals() {
            let labels = [("shard", shard.clone()), ("asset", asset.to_string())];
            metrics::gauge!("largesse_ledger_imbalance", &labels).set(totals.imbalance() as f64);
        }
        let age = self.outbox().oldest().map_or(0, |since| now.get().saturating_sub(since.get()));
        metrics::gauge!("largesse_relay_oldest_seconds", "shard" => shard.clone()).set(age as f64 / 1_000.0);
        metrics::gauge!("largesse_relay_parts_waiting", "shard" => shard.clone()).set(self.outbox().waiting() as f64);
        metrics::gauge!("largesse_wallets_resident", "shard" => shard.clone()).set(self.resident() as f64);
        metrics::gauge!("largesse_window_bytes", "shard" => shard).set(self.window().bytes() as f64);
    }
}

fn answers(
    needs: Vec<WalletNeed>,
    mut wallets: Option<impl Iterator<Item = Vec<crate::store::BalanceRow>>>,
    mut receipts: Option<impl Iterator<Item = Option<crate::store::StoredEvent>>>,
) -> Vec<(WalletNeed, Option<WalletRow>)> {
    needs
        .into_iter()
        .map(|need| {
            let row = match &need {
                WalletNeed::Wallet(_) => wallets.as_mut().and_then(Iterator::next).map(WalletRow::Balances),
                WalletNeed::Receipt(..) => receipts.as_mut().and_then(Iterator::next).map(WalletRow::Receipt),
            };
            (need, row)
        })
        .collect()
}

impl Hosted for ControlMachine {
    type Env = watch::Sender<Arc<ControlView>>;

    fn fetch(_store: Arc<dyn Store>, _shard: ShardId, _needs: Vec<NoNeed>) -> Fetching<ControlMachine> {
        async { Vec::new() }.boxed()
    }

    fn hand_on(view: &Self::Env, shown: Shown) {
        view.send_modify(|view| {
            let Shown { seq, catalog, keys, rooms: set } = shown;
            let rooms = if set.values().all(|room| view.rooms.get(&room.id) == Some(room)) {
                Arc::clone(&view.rooms)
            } else {
                // Rooms of the configuration stay unless one was set at run time; none ever goes.
                let mut rooms = HashMap::clone(&view.rooms);
                rooms.extend(set.values().map(|room| (room.id, room.clone())));
                Arc::new(rooms)
            };
            *view = Arc::new(ControlView { catalog, rooms, keys, seq });
        });
    }

    fn measure(&self, _shard: ShardId, _now: Time) {}

    fn publish(&self, door: &Door<ControlMachine>) {
        // Control events go to nobody who would have to acknowledge them.
        door.settled.store(u64::MAX, Ordering::Release);
    }
}

/// What room shards tell the rest of the node.
#[derive(Clone)]
pub struct RoomEnv {
    pub news: broadcast::Sender<Arc<RoomNews>>,
    pub times: Arc<RoomTimes>,
}

impl Hosted for Rooms {
    type Env = RoomEnv;

    fn fetch(store: Arc<dyn Store>, shard: ShardId, needs: Vec<RoomNeed>) -> Fetching<Rooms> {
        async move {
            let mut answers = Vec::with_capacity(needs.len());
            for need in needs {
                let rows = store.load_room(shard, need.0).await;
                if let Err(error) = &rows {
                    tracing::warn!(%shard, %error, room = %need.0, "the store could not be asked");
                }
                answers.push((need, rows.ok()));
            }
            answers
        }
        .boxed()
    }

    fn hand_on(env: &RoomEnv, output: RoomOutput) {
        output.waiting.into_iter().for_each(|room| env.times.set(room, Some(Time::ZERO)));
        for news in output.news {
            env.times.set(news.room, news.due);
            // Nobody may be listening.
            let _unheard = env.news.send(Arc::new(news));
        }
    }

    fn measure(&self, shard: ShardId, _now: Time) {
        metrics::gauge!("largesse_rooms_resident", "shard" => shard.to_string()).set(self.resident() as f64);
    }

    fn publish(&self, door: &Door<Rooms>) {
        // Rooms send nothing back, so nobody has to acknowledge their events.
        door.settled.store(u64::MAX, Ordering::Release);
    }
}
