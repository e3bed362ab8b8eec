//! The control shard: everything that is set at run time, as events of one log.
//!
//! So far that is the catalog, the rooms and the keys of services. A change is answered when it is durable, and every node's view
//! follows from the same events.

pub mod keys;
pub mod rooms;

use std::collections::VecDeque;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::catalog::{Catalog, CatalogDraft, CatalogError};
use crate::codec;
use crate::control::keys::{KeyChange, KeyCreated, KeyInForce, KeyRefusal, KeyRevoked, Keys};
use crate::control::rooms::{RoomInForce, RoomSet, Rooms};
use crate::flush::{Rows, front};
use crate::machine::{Decision, Impossible, Machine, Undecided};
use crate::room::settings::{Room, RoomRefusal};
use crate::sabotage::{self, Rule};
use crate::store::{Checkpoint, FlushBatch};
use crate::units::{CatalogVersion, Seq, ShardId, Time};

#[derive(Clone, Debug)]
pub enum ControlCommand {
    ApplyCatalog { draft: Box<CatalogDraft>, by: String, reason: String },
    ChangeKey(Box<KeyChange>),
    SetRoom { room: Box<Room>, by: String, reason: String },
}

/// Stored for years: variants are only added, at the end.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ControlEvent {
    CatalogSet(CatalogSet),
    KeyCreated(KeyCreated),
    KeyRevoked(KeyRevoked),
    RoomSet(RoomSet),
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CatalogSet {
    pub version: CatalogVersion,
    pub by: String,
    pub reason: String,
    /// The draft as JSON, which may get new fields without a new variant.
    pub draft: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlOutcome {
    /// In force, now or already.
    Catalog(CatalogVersion),
    Invalid(CatalogError),
    /// Keys are as the change wants them, with this event or before it.
    Keys(Seq),
    KeyRefused(KeyRefusal),
    /// The room is as it was asked for, with this event or before it.
    Room(Seq),
    RoomRefused(RoomRefusal),
    Overloaded,
}

/// What the control shard shows to others, all of one position in its log.
#[derive(Clone, Debug)]
pub struct Shown {
    pub seq: Seq,
    pub catalog: Arc<Catalog>,
    pub keys: Keys,
    pub rooms: Rooms,
}

/// What the checkpoint holds. Older versions wrote an `Option<CatalogSet>`, whose bytes are those of the first two.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ControlState {
    Empty,
    Catalog(CatalogSet),
    WithKeys { catalog: Option<CatalogSet>, keys: Vec<KeyInForce> },
    WithRooms { catalog: Option<CatalogSet>, keys: Vec<KeyInForce>, rooms: Vec<RoomInForce> },
}

impl ControlState {
    fn new(catalog: Option<CatalogSet>, keys: &[KeyInForce], rooms: &Rooms) -> ControlState {
        match catalog {
            catalog if !rooms.is_empty() => {
                ControlState::WithRooms { catalog, keys: keys.to_vec(), rooms: rooms::in_force(rooms) }
            }
            catalog if !keys.is_empty() => ControlState::WithKeys { catalog, keys: keys.to_vec() },
            Some(catalog) => ControlState::Catalog(catalog),
            None => ControlState::Empty,
        }
    }

    pub fn into_parts(self) -> (Option<CatalogSet>, Vec<KeyInForce>, Vec<RoomInForce>) {
        match self {
            ControlState::Empty => (None, Vec::new(), Vec::new()),
            ControlState::Catalog(catalog) => (Some(catalog), Vec::new(), Vec::new()),
            ControlState::WithKeys { catalog, keys } => (catalog, keys, Vec::new()),
            ControlState::WithRooms { catalog, keys, rooms } => (catalog, keys, rooms),
        }
    }
}

/// Never constructed: the control shard has everything in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoNeed {}

#[derive(Debug)]
pub struct ControlMachine {
    catalog: Arc<Catalog>,
    keys: Keys,
    rooms: Rooms,
    last: Seq,
    /// Set, but not durable yet.
    pending: VecDeque<Shown>,
    /// Whether what was recovered has been handed on. The first tick comes right after recovery, when all that this
    /// machine knows is durable.
    is_shown: bool,
}

impl Default for ControlMachine {
    fn default() -> Self {
        ControlMachine {
            catalog: Arc::new(Catalog::empty()),
            keys: Keys::default(),
            rooms: Rooms::default(),
            last: Seq::NONE,
            pending: VecDeque::new(),
            is_shown: false,
        }
    }
}

impl ControlMachine {
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    fn shown(&self) -> Shown {
        let (catalog, keys, rooms) = (Arc::clone(&self.catalog), Arc::clone(&self.keys), Arc::clone(&self.rooms));
        Shown { seq: self.last, catalog, keys, rooms }
    }

    fn decide_catalog(&self, draft: &CatalogDraft, by: &str, reason: &str) -> Decision<ControlEvent, ControlOutcome> {
        if self.catalog.version() != CatalogVersion(0) && self.catalog.draft() == draft {
            return Decision::Told(ControlOutcome::Catalog(self.catalog.version()));
        }
        let version = CatalogVersion(self.catalog.version().get() + 1);
        if let Err(error) = Catalog::checked(draft.clone(), version) {
            return Decision::Told(ControlOutcome::Invalid(error));
        }
        let draft = serde_json::to_vec(draft).expect("a draft is plain data");
        let (by, reason) = (by.into(), reason.into());
        Decision::New(ControlEvent::CatalogSet(CatalogSet { version, by, reason, draft }))
    }
}

fn decode_catalog(set: &CatalogSet) -> Result<Catalog, Impossible> {
    let draft = serde_json::from_slice(&set.draft)
        .map_err(|error| Impossible(format!("catalog version {}: {error}", set.version)))?;
    Catalog::checked(draft, set.version)
        .map_err(|error| Impossible(format!("catalog version {}: {error}", set.version)))
}

impl Machine for ControlMachine {
    type Command = ControlCommand;
    type Outcome = ControlOutcome;
    type Event = ControlEvent;
    type Need = NoNeed;
    type Row = NoNeed;
    type Output = Shown;
    type Signal = NoNeed;

    fn missing(&self, _command: &ControlCommand, _missing: &mut Vec<NoNeed>) {}

    fn is_read(_command: &ControlCommand) -> bool {
        false
    }

    fn lane(&self, _command: &ControlCommand) -> Option<u64> {
        None
    }

    fn is_due(&self, _command: &ControlCommand, _now: Time) -> bool {
        true
    }

    fn decide(&self, command: &ControlCommand, _now: Time) -> Decision<ControlEvent, ControlOutcome> {
        match command {
            ControlCommand::ApplyCatalog { draft, by, reason } => self.decide_catalog(draft, by, reason),
            ControlCommand::ChangeKey(change) => match keys::judge(&self.keys, change) {
                Ok(true) => Decision::Told(ControlOutcome::Keys(self.last)),
                Ok(false) => Decision::New(match &**change {
                    KeyChange::Create(created) => ControlEvent::KeyCreated(created.clone()),
                    KeyChange::Revoke(revoked) => ControlEvent::KeyRevoked(revoked.clone()),
                }),
                Err(refusal) => Decision::Told(ControlOutcome::KeyRefused(refusal)),
            },
            ControlCommand::SetRoom { room, by, reason } => match rooms::judge(&self.rooms, room) {
                Ok(true) => Decision::Told(ControlOutcome::Room(self.rooms[&room.id].version)),
                Ok(false) => {
                    let (room, by, reason) = (rooms::encode(room), by.clone(), reason.clone());
                    Decision::New(ControlEvent::RoomSet(RoomSet { room, by, reason }))
                }
                Err(refusal) => Decision::Told(ControlOutcome::RoomRefused(refusal)),
            },
        }
    }

    fn apply(&mut self, seq: Seq, at: Time, event: &ControlEvent, _encoded: &[u8]) {
        assert_eq!(seq, self.last.next(), "events apply once and in order");
        match event {
            ControlEvent::CatalogSet(set) => {
                self.catalog = Arc::new(decode_catalog(set).expect("it was checked when it was decided"));
            }
            ControlEvent::KeyCreated(created) => keys::created(&mut self.keys, created, at),
            ControlEvent::KeyRevoked(revoked) => keys::revoked(&mut self.keys, revoked),
            ControlEvent::RoomSet(set) => {
                rooms::set(&mut self.rooms, set, seq).expect("it was encoded when it was decided");
            }
        }
        self.last = seq;
        self.pending.push_back(self.shown());
    }

    fn applied(&self, command: &ControlCommand, seq: Seq, _at: Time, _event: &ControlEvent) -> ControlOutcome {
        match command {
            ControlCommand::ApplyCatalog { .. } => ControlOutcome::Catalog(self.catalog.version()),
            ControlCommand::ChangeKey(_) => ControlOutcome::Keys(seq),
            ControlCommand::SetRoom { .. } => ControlOutcome::Room(seq),
        }
    }

    fn undecided(&self, _why: Undecided) -> ControlOutcome {
        ControlOutcome::Overloaded
    }

    fn arrived(&mut self, need: &NoNeed, _row: NoNeed) -> Result<bool, Impossible> {
        match *need {}
    }

    fn asked(&mut self, need: &NoNeed) {
        match *need {}
    }

    fn released(&mut self, need: &NoNeed) {
        match *need {}
    }

    fn cut(&mut self) {}

    fn durable(&mut self, seq: Seq, _now: Time) -> Option<Shown> {
        let mut newest = None;
        while let Some(shown) = self.pending.pop_front_if(|shown| shown.seq <= seq) {
            newest = Some(shown);
        }
        newest
    }

    fn signal(&mut self, signal: NoNeed, _now: Time) -> Result<Option<Shown>, Impossible> {
        match signal {}
    }

    fn flushed(&mut self, _seq: Seq, _now: Time) {}

    fn tick(&mut self, _now: Time) -> Option<Shown> {
        let is_shown = self.is_shown && !sabotage::is(Rule::DurableCatalog);
        self.is_shown = true;
        let is_recovered = !is_shown && self.last != Seq::NONE;
        is_recovered.then(|| self.shown())
    }

    fn is_full(&self) -> bool {
        false
    }

    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible> {
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        self.last = Seq(checkpoint.fold.next.get() - 1);
        let (catalog, keys, rooms) = restored(checkpoint)?;
        if let Some(set) = catalog {
            self.catalog = Arc::new(decode_catalog(&set)?);
        }
        (self.keys, self.rooms) = (Arc::new(keys), rooms::restored(&rooms)?);
        Ok(())
    }

    fn reread(&mut self, _seq: Seq, _at: Time, _event: &ControlEvent) {}

    fn reread_done(&mut self) {}
}

/// The control shard has no rows: its whole state is in the checkpoint.
#[derive(Default)]
pub struct ControlRows {
    catalog: Option<CatalogSet>,
    keys: Keys,
    rooms: Rooms,
}

type Parts = (Option<CatalogSet>, Vec<KeyInForce>, Vec<RoomInForce>);

fn restored(checkpoint: &Checkpoint) -> Result<Parts, Impossible> {
    let state = codec::decode::<ControlState>(&checkpoint.state);
    state.map(ControlState::into_parts).map_err(|error| Impossible(error.to_string()))
}

impl Rows for ControlRows {
    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible> {
        let (catalog, keys, rooms) = checkpoint.map(restored).transpose()?.unwrap_or_default();
        (self.catalog, self.keys, self.rooms) = (catalog, Arc::new(keys), rooms::restored(&rooms)?);
        Ok(())
    }

    fn take(&mut self, seq: Seq, at: Time, events: &[u8]) -> Result<usize, Impossible> {
        let (event, used) = front::<ControlEvent>(ShardId::CONTROL, seq, events)?;
        match event {
            ControlEvent::CatalogSet(set) => self.catalog = Some(set),
            ControlEvent::KeyCreated(created) => keys::created(&mut self.keys, &created, at),
            ControlEvent::KeyRevoked(revoked) => keys::revoked(&mut self.keys, &revoked),
            ControlEvent::RoomSet(set) => rooms::set(&mut self.rooms, &set, seq)?,
        }
        Ok(used)
    }

    fn finish(&mut self, batch: &mut FlushBatch) {
        batch.checkpoint.state = codec::encode(&ControlState::new(self.catalog.clone(), &self.keys, &self.rooms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog_set(machine: &ControlMachine) -> ControlEvent {
        let (draft, by, reason) = (Box::default(), "test".into(), String::new());
        let decision = machine.decide(&ControlCommand::ApplyCatalog { draft, by, reason }, Time::ZERO);
        let Decision::New(event) = decision else { panic!("{decision:?}") };
        event
    }

    #[test]
    fn a_catalog_is_shown_once_durable_and_again_after_recovery() {
        let mut machine = ControlMachine::default();
        assert!(machine.tick(Time::ZERO).is_none(), "there is nothing to show yet");
        let event = catalog_set(&machine);
        machine.apply(Seq::FIRST, Time::ZERO, &event, &[]);
        assert!(machine.tick(Time::ZERO).is_none(), "not before it is durable");
        assert_eq!(machine.durable(Seq::FIRST, Time::ZERO).unwrap().catalog.version(), CatalogVersion(1));

        // What a replay says on its way is heard by nobody.
        let mut recovered = ControlMachine::default();
        recovered.apply(Seq::FIRST, Time::ZERO, &event, &[]);
        recovered.durable(Seq::FIRST, Time::ZERO);
        assert_eq!(recovered.tick(Time::ZERO).unwrap().catalog.version(), CatalogVersion(1));
        assert!(recovered.tick(Time::ZERO).is_none(), "once is enough");
    }

    fn key(name: &str) -> KeyCreated {
        KeyCreated {
            name: name.into(),
            sha256: [7; 32],
            signing: None,
            scopes: vec!["read".into()],
            by: "test".into(),
            reason: String::new(),
        }
    }

    #[test]
    fn keys_survive_a_checkpoint_and_a_revoked_one_does_not() {
        let mut rows = ControlRows::default();
        let revoked = KeyRevoked { name: "old".into(), by: "test".into(), reason: "rolled over".into() };
        let events = [
            ControlEvent::KeyCreated(key("old")),
            ControlEvent::KeyCreated(key("shop")),
            ControlEvent::KeyRevoked(revoked),
        ];
        for (seq, event) in (1..).map(Seq).zip(&events) {
            rows.take(seq, Time(9), &codec::encode(event)).unwrap();
        }
        let state = codec::encode(&ControlState::new(rows.catalog.clone(), &rows.keys, &rows.rooms));
        let (catalog, keys, _) = codec::decode::<ControlState>(&state).unwrap().into_parts();
        assert_eq!((catalog, keys), (None, vec![KeyInForce { created: key("shop"), at: Time(9) }]));
    }

    #[test]
    fn a_checkpoint_of_an_older_version_is_read() {
        let set = CatalogSet { version: CatalogVersion(1), by: "a".into(), reason: "b".into(), draft: b"{}".to_vec() };
        for old in [None, Some(set)] {
            let bytes = codec::encode(&old);
            let state = codec::decode::<ControlState>(&bytes).unwrap();
            assert_eq!(codec::encode(&state), bytes, "and written as that version reads it while there are no keys");
            assert_eq!(state.into_parts(), (old, Vec::new(), Vec::new()));
        }
    }
}
