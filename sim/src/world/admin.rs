//! The control shard: somebody changes the catalog all the time, nodes follow, and gifts are sold at what they know.

use largesse_engine::catalog::{Asset, Catalog, CatalogDraft, Gift, PointsRule, Rules, SendRule, Share, Tier};
use largesse_engine::control::{ControlCommand, ControlOutcome};
use largesse_engine::record::{EventsHeader, encode_events};
use largesse_engine::room::settings::Room;
use largesse_engine::units::{Amount, AssetId, GiftId, RoomId, UserId};

use super::*;
use crate::clients::{COIN, DIAMOND, PLATFORM, POINT};
use crate::truth::control::event_of;

/// Gifts that a catalog may have; some of them are not sold at times.
pub(crate) const GIFTS: u32 = 12;
pub(crate) const ROOM: RoomId = RoomId(1);

/// A catalog that somebody wants to be in force.
#[derive(Debug)]
pub(crate) struct Change {
    draft: CatalogDraft,
}

/// Everybody is a host in the one room there is, and nothing is sold yet.
pub(super) fn empty_view(swarm: &Swarm) -> Arc<ControlView> {
    let hosts = (1..=swarm.users).map(UserId).collect();
    let rooms = [(ROOM, Room { id: ROOM, hosts, is_closed: false })].into_iter().collect();
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
        tier: Tier::Small,
        icon_url: "/icons/rose.svg".into(),
        effects_url: None,
        send_rule: SendRule::Combo,
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
        let newest = Arc::clone(self.truth.control.catalogs.last().expect("a ledger begins with a catalog"));
        self.show(life.node, &newest);
        let wait = self.rng.between(1_000, 300_000);
        self.schedule(wait, Event::Follow(life));
    }

    /// News for the view of a node.
    pub(super) fn show(&mut self, node: usize, catalog: &Arc<Catalog>) {
        self.truth.control.check_shown(catalog);
        let view = &mut self.nodes[node].view;
        if self.swarm.fencing == Fencing::ByLog {
            assert!(view.catalog.version() <= catalog.version(), "the catalog of the only node there is went back");
        } else if view.catalog.version() > catalog.version() {
            return; // It has read further in the log than this owner knows.
        }
        *view = Arc::new(ControlView { catalog: Arc::clone(catalog), ..ControlView::clone(view) });
        let version = catalog.version();
        self.trace.note(self.now, || format!("n{node} sells by catalog {version}"));
    }

    pub(super) fn administer(&mut self) {
        if self.is_healed {
            return;
        }
        let every = self.swarm.admin_every_micros;
        let wait = self.rng.between(1, every * 2);
        self.schedule(wait, Event::Admin);
        let mut draft = draw_draft(&mut self.rng);
        match self.rng.between(0, 9) {
            // What is in force, what was wanted before, and what is wrong.
            0 => draft = self.truth.control.catalogs.last().expect("there is one").draft().clone(),
            1 if !self.changes.is_empty() => draft = self.rng.pick(&self.changes).draft.clone(),
            2 => draft.gifts.iter_mut().for_each(|gift| gift.price = Amount::ZERO),
            _ => {}
        }
        let change = self.changes.len();
        self.changes.push(Change { draft });
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
        let draft = Box::new(self.changes[change].draft.clone());
        let seat = &mut self.nodes[life.node].seats[place_of(ShardId::CONTROL)];
        let is_draining = seat.is_draining;
        let Some(serving) = seat.owner.serving().filter(|_| !is_draining) else { return };
        let owner = serving.number;
        let Some(control) = serving.shard.control() else { return };
        let (by, reason) = ("simulation".into(), String::new());
        control.submit(key, vec![ControlCommand::ApplyCatalog { draft, by, reason }]);
        self.batches.insert(key, Batch::Admin { owner, change });
        self.trace.note(self.now, || format!("n{} control takes change {change} as batch {key}", life.node));
        self.pump(life.node, ShardId::CONTROL);
    }

    pub(super) fn admin_answered(&mut self, node: usize, key: CallKey, outcomes: Vec<ControlOutcome>) {
        let Some(Batch::Admin { change, .. }) = self.batches.remove(&key) else {
            panic!("a batch is answered once, and by the shard that took it")
        };
        let draft = &self.changes[change].draft;
        assert_eq!(outcomes.len(), 1, "one outcome for one command");
        for outcome in outcomes {
            self.trace.note(self.now, || format!("n{node} control answers batch {key}: {outcome:?}"));
            match outcome {
                ControlOutcome::Catalog(version) => self.truth.control.check_in_force(version, draft),
                ControlOutcome::Invalid(error) => {
                    let checked = Catalog::checked(draft.clone(), CatalogVersion(1));
                    assert_eq!(checked.err(), Some(error), "what is wrong with change {change}");
                }
                ControlOutcome::Keys(_) | ControlOutcome::KeyRefused(_) => panic!("nobody asked for a key"),
                ControlOutcome::Overloaded => {}
            }
        }
    }
}
