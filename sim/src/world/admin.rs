//! The control shard: somebody changes the catalog and the rooms all the time, nodes follow, and gifts are sold at what
//! they know.

use largesse_engine::catalog::{Asset, Catalog, CatalogDraft, Gift, PointsRule, Rules, SendRule, Share, Tier};
use largesse_engine::control::{ControlCommand, ControlOutcome, Shown};
use largesse_engine::record::{EventsHeader, encode_events};
use largesse_engine::room::settings::{PluginSettings, Room, RoomRefusal};
use largesse_engine::units::{Amount, AssetId, GiftId, RoomId, UserId};

use super::*;
use crate::clients::{COIN, DIAMOND, PLATFORM, POINT};
use crate::truth::control::event_of;

/// Gifts that a catalog may have; some of them are not sold at times.
pub(crate) const GIFTS: u32 = 12;

/// What somebody wants to be in force.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Catalog(Box<CatalogDraft>),
    Room(Box<Room>),
}

fn room(swarm: &Swarm, id: RoomId) -> Room {
    Room::new(id, (1..=swarm.users).map(UserId).collect())
}

/// Everybody is a host in all of the rooms, which are open, and nothing is sold yet.
pub(super) fn empty_view(swarm: &Swarm) -> Arc<ControlView> {
    let rooms = swarm.all_rooms().map(|id| (id, room(swarm, id))).collect();
    let catalog = Arc::new(Catalog::empty());
    Arc::new(ControlView { catalog, rooms: Arc::new(rooms), keys: Arc::default(), seq: Seq::NONE })
}

fn draw_gift(rng: &mut Rng, gift_id: u32) -> Gift {
    Gift {
        gift_id: GiftId(gift_id),
        name: "Rose".into(),
        names: [("en".into(), "Rose".into()), ("zh".into(), "玫瑰".into())].into(),
        price: Amount::new(rng.between(1, 40)).expect("prices here are small"),
        asset: if rng.chance(800) { "coin".into() } else { "diamond".into() },
        category: "classic".into(),
        tier: *rng.pick(&[Tier::Small, Tier::Medium, Tier::Large, Tier::Grand]),
        icon_url: "/icons/rose.svg".into(),
        effects_url: rng.chance(700).then(|| "/effects/rose.json".into()),
        send_rule: if rng.chance(850) { SendRule::Combo } else { SendRule::Single },
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
    }
}

fn draw_draft(rng: &mut Rng) -> CatalogDraft {
    let asset = |id: AssetId, name: &str| Asset { id, name: name.into() };
    let permille = u16::try_from(rng.between(1, 400)).expect("it is small");
    let shares = if rng.chance(500) { vec![Share { account: PLATFORM, permille }] } else { Vec::new() };
    let per_thousand = u32::try_from(rng.between(1, 300)).expect("it is small");
    let points = PointsRule { asset: "point".into(), for_asset: "coin".into(), per_thousand };
    CatalogDraft {
        assets: vec![asset(COIN, "coin"), asset(DIAMOND, "diamond"), asset(POINT, "point")],
        rules: Rules { shares, points: rng.chance(400).then_some(points) },
        gifts: (1..=GIFTS)
            .filter(|_| rng.chance(900))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|id| draw_gift(rng, id))
            .collect(),
    }
}

impl World {
    /// A ledger begins with a catalog, as the claim of nobody who is still there.
    pub(super) fn begin_catalog(&mut self) {
        let draft = draw_draft(&mut self.rng);
        let event = codec::encode(&event_of(&draft, 1));
        let claim = encode_claim(Claim { node: NodeId(u64::MAX), nonce: [0; 16] });
        let header = EventsHeader { epoch: Epoch(0), number: 1, first: Seq::FIRST, count: 1, time: Time(BEGIN) };
        for record in [claim, encode_events(header, &event)] {
            let position = self.disk.partition(ShardId::CONTROL).push(&record);
            self.landed(ShardId::CONTROL, position);
        }
    }

    /// A node that does not own the control shard reads its log, now and then.
    pub(super) fn follow(&mut self, life: Life) {
        if !self.is_alive(life) || self.swarm.fencing == Fencing::ByLog {
            return;
        }
        let newest = self.truth.control.newest();
        self.show(life.node, &newest);
        let wait = self.rng.between(1_000, 300_000);
        self.schedule(wait, Event::Follow(life));
    }

    /// News for the view of a node.
    pub(super) fn show(&mut self, node: usize, shown: &Shown) {
        self.truth.control.check_shown(shown);
        let view = &mut self.nodes[node].view;
        if self.swarm.fencing == Fencing::ByLog {
            assert!(view.seq <= shown.seq, "what the only node there is knows of the control shard went back");
        } else if view.seq > shown.seq {
            return; // It has read further in the log than this owner knows.
        }
        // Rooms that were never set stay as they were in the configuration.
        let mut rooms = std::collections::HashMap::clone(&view.rooms);
        rooms.extend(shown.rooms.values().map(|room| (room.id, room.clone())));
        let (catalog, keys) = (Arc::clone(&shown.catalog), Arc::clone(&shown.keys));
        *view = Arc::new(ControlView { catalog, rooms: Arc::new(rooms), keys, seq: shown.seq });
        let version = shown.catalog.version();
        self.trace.note(self.now, || format!("n{node} sells by catalog {version}, knows event {}", shown.seq));
        self.bring_settings(node);
    }

    fn draw_catalog(&mut self) -> Change {
        let mut draft = draw_draft(&mut self.rng);
        let before = |change: &Change| match change {
            Change::Catalog(draft) => Some(CatalogDraft::clone(draft)),
            Change::Room(_) => None,
        };
        match self.rng.between(0, 9) {
            // What is in force, what was wanted before, and what is wrong.
            0 => draft = self.truth.control.catalogs.last().expect("there is one").draft().clone(),
            1 if !self.changes.is_empty() => draft = before(self.rng.pick(&self.changes)).unwrap_or(draft),
            2 => draft.gifts.iter_mut().for_each(|gift| gift.price = Amount::ZERO),
            _ => {}
        }
        Change::Catalog(Box::new(draft))
    }

    /// A room is closed or opened, or gets other plug-ins; now and then nothing changes, or it is refused.
    fn draw_room(&mut self) -> Change {
        let id = RoomId(self.rng.between(1, self.swarm.rooms_max));
        let known = self.truth.control.room(id).cloned();
        let mut wanted = known.unwrap_or_else(|| room(&self.swarm, id));
        match self.rng.between(0, 9) {
            0 => {}
            1 => wanted.hosts.clear(),
            2..=8 if wanted.is_closed => wanted.is_closed = false,
            2..=5 => wanted.is_closed = true,
            _ => {
                let (asset, until) = (COIN, self.true_time().plus_millis(self.rng.between(0, 3_000)));
                let goal =
                    PluginSettings::Goal { asset, target: Amount::new(self.rng.between(1, 200)).expect("small") };
                let pk = PluginSettings::Pk { hosts: [UserId(1), UserId(2)], asset, until: Some(until) };
                wanted.plugins = [goal, pk].into_iter().filter(|_| self.rng.chance(600)).collect();
            }
        }
        Change::Room(Box::new(wanted))
    }

    pub(super) fn administer(&mut self) {
        if self.is_healed {
            return;
        }
        let every = self.swarm.admin_every_micros;
        let wait = self.rng.between(1, every * 2);
        self.schedule(wait, Event::Admin);
        let wanted = if self.rng.chance(self.swarm.room_changes) { self.draw_room() } else { self.draw_catalog() };
        let change = self.changes.len();
        self.changes.push(wanted);
        let Some(node) = self.route(ShardId::CONTROL) else { return };
        let faults = self.faults();
        let copies = u64::from(!self.rng.chance(faults.net_lost)) + u64::from(self.rng.chance(faults.net_repeated));
        for _ in 0..copies {
            let (life, wait) = (self.life(node), self.net());
            self.schedule(wait, Event::AdminArrive { life, change });
        }
    }

    pub(super) fn admin_arrive(&mut self, life: Life, change: usize) {
        if !self.is_alive(life) {
            return;
        }
        let key = self.number();
        let (by, reason) = ("simulation".into(), String::new());
        let command = match self.changes[change].clone() {
            Change::Catalog(draft) => ControlCommand::ApplyCatalog { draft, by, reason },
            Change::Room(room) => ControlCommand::SetRoom { room, by, reason },
        };
        let seat = &mut self.nodes[life.node].seats[place_of(ShardId::CONTROL)];
        let is_draining = seat.is_draining;
        let Some(serving) = seat.owner.serving().filter(|_| !is_draining) else { return };
        let owner = serving.number;
        let Some(control) = serving.shard.control() else { return };
        control.submit(key, vec![command]);
        self.batches.insert(key, Batch::Admin { owner, change });
        self.trace.note(self.now, || format!("n{} control takes change {change} as batch {key}", life.node));
        self.pump(life.node, ShardId::CONTROL);
    }

    pub(super) fn admin_answered(&mut self, node: usize, key: CallKey, outcomes: Vec<ControlOutcome>) {
        let Some(Batch::Admin { change, .. }) = self.batches.remove(&key) else {
            panic!("a batch is answered once, and by the shard that took it")
        };
        let wanted = &self.changes[change];
        assert_eq!(outcomes.len(), 1, "one outcome for one command");
        for outcome in outcomes {
            self.trace.note(self.now, || format!("n{node} control answers batch {key}: {outcome:?}"));
            match (outcome, wanted) {
                (ControlOutcome::Catalog(version), Change::Catalog(draft)) => {
                    self.truth.control.check_in_force(version, draft);
                }
                (ControlOutcome::Invalid(error), Change::Catalog(draft)) => {
                    let checked = Catalog::checked(CatalogDraft::clone(draft), CatalogVersion(1));
                    assert_eq!(checked.err(), Some(error), "what is wrong with change {change}");
                }
                (ControlOutcome::Room(seq), Change::Room(room)) => self.truth.control.check_room_set(seq, room),
                (ControlOutcome::RoomRefused(refusal), Change::Room(room)) => {
                    assert_eq!((refusal, room.hosts.len()), (RoomRefusal::Hosts, 0), "what is wrong with {change}");
                }
                (ControlOutcome::Overloaded, _) => {}
                (outcome, wanted) => panic!("{wanted:?} was answered by {outcome:?}"),
            }
        }
    }
}
