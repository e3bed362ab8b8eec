//! What is true of the control shard, and whether gifts were sold at what its catalogs say.

use std::collections::BTreeMap;
use std::sync::Arc;

use largesse_engine::catalog::{Catalog, CatalogDraft};
use largesse_engine::codec;
use largesse_engine::control::rooms::RoomInForce;
use largesse_engine::control::{CatalogSet, ControlEvent, ControlState, Shown};
use largesse_engine::fold::Fold;
use largesse_engine::record::{LogEntry, RecordHeader};
use largesse_engine::room::settings::Room;
use largesse_engine::store::Checkpoint;
use largesse_engine::units::{CatalogVersion, Epoch, Position, RoomId, Seq, Time};
use largesse_engine::wallet::event::{GiftSent, Payee};

use crate::clients::PLATFORM;

#[derive(Default)]
pub struct ControlTruth {
    pub epoch: Option<Epoch>,
    /// By version, from 1.
    pub catalogs: Vec<Arc<Catalog>>,
    time: Time,
    /// What is in force after each event.
    states: Vec<InForce>,
    /// Before each position.
    folds: Vec<Fold>,
}

#[derive(Clone, Default)]
struct InForce {
    catalog: Option<Arc<Catalog>>,
    set: Option<CatalogSet>,
    /// With the event that set each.
    rooms: Arc<BTreeMap<RoomId, Room>>,
}

/// The event that sets a catalog, as the control shard writes it.
pub fn event_of(draft: &CatalogDraft, version: u32) -> ControlEvent {
    let draft = serde_json::to_vec(draft).expect("a draft is plain data");
    let (by, reason) = ("simulation".into(), String::new());
    ControlEvent::CatalogSet(CatalogSet { version: CatalogVersion(version), by, reason, draft })
}

impl ControlTruth {
    pub fn next(&self) -> Seq {
        Seq(self.states.len() as u64 + 1)
    }

    pub fn land(&mut self, entry: &LogEntry) -> String {
        assert_eq!(self.folds.len() as u64, entry.position.get(), "positions are contiguous");
        let next = self.next();
        self.folds.push(Fold { epoch: self.epoch, next });
        let header = match entry.header {
            RecordHeader::Claim(claim) => {
                self.epoch = Some(Epoch(entry.position.get()));
                return format!("claim of node {}", claim.node);
            }
            RecordHeader::Events(header) => header,
        };
        if self.epoch != Some(header.epoch) || header.first != next {
            return format!("not believed: epoch {} first {} count {}", header.epoch, header.first, header.count);
        }
        assert!(header.count == 0 || header.time >= self.time, "the time of the control shard went back");
        self.time = self.time.max(header.time);
        let mut rest = &entry.events[..];
        for _ in 0..header.count {
            let (event, used) = codec::decode_front(rest).expect("the engine encoded it");
            rest = &rest[used..];
            self.apply(event);
        }
        assert!(rest.is_empty(), "a record holds the events it says");
        format!("believed, epoch {} at {}: up to event {}", header.epoch, header.time, self.states.len())
    }

    fn apply(&mut self, event: ControlEvent) {
        let mut state = self.states.last().cloned().unwrap_or_default();
        match event {
            ControlEvent::CatalogSet(set) => {
                let next = self.catalogs.len() as u64 + 1;
                assert_eq!(u64::from(set.version.get()), next, "catalogs are numbered without gaps");
                let draft = serde_json::from_slice(&set.draft).expect("a draft is plain data");
                let catalog = Catalog::checked(draft, set.version).expect("no catalog is set that is wrong");
                let catalog = Arc::new(catalog);
                self.catalogs.push(Arc::clone(&catalog));
                (state.catalog, state.set) = (Some(catalog), Some(set));
            }
            ControlEvent::RoomSet(set) => {
                let room: Room = serde_json::from_slice(&set.room).expect("a room is plain data");
                let room = Room { version: self.next(), ..room };
                assert_eq!(room.check(), Ok(()), "no room is set that is wrong");
                Arc::make_mut(&mut state.rooms).insert(room.id, room);
            }
            ControlEvent::KeyCreated(_) | ControlEvent::KeyRevoked(_) => panic!("nobody asked for a key"),
        }
        self.states.push(state);
    }

    fn state(&self, after: Seq) -> Option<&InForce> {
        self.states.get(usize::try_from(after.get().checked_sub(1)?).expect("events are few"))
    }

    /// The settings of a room that was set at run time.
    pub fn room(&self, room: RoomId) -> Option<&Room> {
        self.states.last()?.rooms.get(&room)
    }

    /// What everybody is to follow.
    pub fn newest(&self) -> Shown {
        let state = self.states.last().expect("a ledger begins with a catalog");
        let catalog = Arc::clone(state.catalog.as_ref().expect("a ledger begins with a catalog"));
        Shown { seq: Seq(self.states.len() as u64), catalog, keys: Arc::default(), rooms: Arc::clone(&state.rooms) }
    }

    fn catalog(&self, version: CatalogVersion) -> Option<&Arc<Catalog>> {
        let place = usize::try_from(version.get().checked_sub(1)?).expect("versions are few");
        self.catalogs.get(place)
    }

    /// What a node follows is in the log.
    pub fn check_shown(&self, shown: &Shown) {
        let known = self.state(shown.seq);
        let is_so =
            known.is_some_and(|known| known.catalog.as_ref() == Some(&shown.catalog) && known.rooms == shown.rooms);
        let (version, seq) = (shown.catalog.version(), shown.seq);
        assert!(is_so, "I4 durable answers: a node sells by catalog {version} of event {seq}, which is not believed");
    }

    /// Whoever asked for a room's settings and was told an event finds them there, or already in force by then.
    pub fn check_room_set(&self, seq: Seq, wanted: &Room) {
        let known = self.state(seq).and_then(|state| state.rooms.get(&wanted.id));
        let known = known.map(|known| Room { version: wanted.version, ..known.clone() });
        assert_eq!(known.as_ref(), Some(wanted), "I4 durable answers: room {} was said to be set by {seq}", wanted.id);
    }

    /// Whoever asked for a catalog and was told a version finds it there.
    pub fn check_in_force(&self, version: CatalogVersion, draft: &CatalogDraft) {
        let known = self.catalog(version).map(|catalog| catalog.draft());
        assert_eq!(known, Some(draft), "I4 durable answers: catalog {version} was said to be in force");
    }

    /// The owner's state behind event `last` is that of whoever folds the whole log.
    pub fn check_state(&self, last: Seq, catalog: &Arc<Catalog>) {
        let known = self.state(last).and_then(|state| state.catalog.as_ref());
        assert!(last == Seq::NONE || known == Some(catalog), "I6 replay: the control shard has another catalog {last}");
    }

    /// A gift costs what the catalog said that it names, and everybody gets what its rules say.
    pub fn check_gift(&self, sent: &GiftSent) {
        let version = sent.catalog;
        let catalog = self
            .catalog(version)
            .unwrap_or_else(|| panic!("a gift was sold by catalog {version}, which is not believed"));
        let gift = catalog.gift(sent.said.gift).expect("a gift is in the catalog that it was sold by");
        assert_eq!(sent.unit_price, gift.price, "the price of gift {} in catalog {version}", gift.gift_id);
        assert_eq!(Some(sent.asset), catalog.asset(&gift.asset), "what gift {} is paid in", gift.gift_id);
        let each = u128::from(gift.price.get()) * u128::from(sent.said.count.get());
        let rules = catalog.rules();
        let share = rules.shares.first().map_or(0, |share| each * u128::from(share.permille) / 1_000);
        for credit in &sent.credits {
            let due = match credit.payee {
                Payee::Receiver(_) => each - share,
                Payee::Account(account) => {
                    assert_eq!(account, PLATFORM, "nobody else has a share");
                    share * sent.said.receivers.len() as u128
                }
            };
            assert_eq!(u128::from(credit.amount.get()), due, "what {:?} gets by catalog {version}", credit.payee);
        }
        let total = each * sent.said.receivers.len() as u128;
        let is_earning = |rule: &&largesse_engine::catalog::PointsRule| rule.for_asset == gift.asset;
        let points =
            rules.points.as_ref().filter(is_earning).map_or(0, |rule| total * u128::from(rule.per_thousand) / 1_000);
        let issued = sent.points.map_or(0, |points| u128::from(points.amount.get()));
        assert_eq!(issued, points, "points by catalog {version}");
    }

    pub fn check_checkpoint(&self, at: &Checkpoint) {
        let fold = self.fold_before(at.position);
        assert_eq!(fold, at.fold, "I6 replay: fold of {} at {}", at.shard, at.position);
        let state = self.state(Seq(at.fold.next.get() - 1)).cloned().unwrap_or_default();
        let rooms = state.rooms.values().map(|room| RoomInForce {
            room: serde_json::to_vec(room).expect("settings are plain data"),
            seq: room.version,
        });
        let rooms: Vec<RoomInForce> = rooms.collect();
        let state = match state.set {
            catalog if !rooms.is_empty() => ControlState::WithRooms { catalog, keys: Vec::new(), rooms },
            Some(catalog) => ControlState::Catalog(catalog),
            None => ControlState::Empty,
        };
        assert_eq!(codec::encode(&state), at.state, "I6 replay: state of {} before {}", at.shard, at.fold.next);
    }

    fn fold_before(&self, position: Position) -> Fold {
        let place = usize::try_from(position.get()).expect("positions are few");
        self.folds.get(place).copied().unwrap_or(Fold { epoch: self.epoch, next: self.next() })
    }
}
