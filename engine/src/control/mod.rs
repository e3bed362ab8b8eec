//! The control shard: everything that is set at run time, as events of one log.
//!
//! So far that is the catalog. A change is answered when it is durable, and every node's view follows from the same events.

use std::collections::VecDeque;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::catalog::{Catalog, CatalogDraft, CatalogError};
use crate::codec;
use crate::flush::{Rows, front};
use crate::machine::{Decision, Impossible, Machine, Undecided};
use crate::sabotage::{self, Rule};
use crate::store::{Checkpoint, FlushBatch};
use crate::units::{CatalogVersion, Seq, ShardId, Time};

#[derive(Clone, Debug)]
pub enum ControlCommand {
    ApplyCatalog { draft: Box<CatalogDraft>, by: String, reason: String },
}

/// Stored for years: variants are only added, at the end.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ControlEvent {
    CatalogSet(CatalogSet),
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
    Overloaded,
}

/// Never constructed: the control shard has everything in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoNeed {}

#[derive(Debug)]
pub struct ControlMachine {
    catalog: Arc<Catalog>,
    last: Seq,
    /// Set, but not durable yet.
    pending: VecDeque<(Seq, Arc<Catalog>)>,
    /// Whether what was recovered has been handed on. The first tick comes right after recovery, when all that this
    /// machine knows is durable.
    is_shown: bool,
}

impl Default for ControlMachine {
    fn default() -> Self {
        ControlMachine {
            catalog: Arc::new(Catalog::empty()),
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
    type Output = Arc<Catalog>;
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
        let ControlCommand::ApplyCatalog { draft, by, reason } = command;
        if self.catalog.version() != CatalogVersion(0) && self.catalog.draft() == &**draft {
            return Decision::Told(ControlOutcome::Catalog(self.catalog.version()));
        }
        let version = CatalogVersion(self.catalog.version().get() + 1);
        if let Err(error) = Catalog::checked((**draft).clone(), version) {
            return Decision::Told(ControlOutcome::Invalid(error));
        }
        let draft = serde_json::to_vec(draft).expect("a draft is plain data");
        let (by, reason) = (by.clone(), reason.clone());
        Decision::New(ControlEvent::CatalogSet(CatalogSet { version, by, reason, draft }))
    }

    fn apply(&mut self, seq: Seq, _at: Time, event: &ControlEvent, _encoded: &[u8]) {
        assert_eq!(seq, self.last.next(), "events apply once and in order");
        let ControlEvent::CatalogSet(set) = event;
        self.catalog = Arc::new(decode_catalog(set).expect("it was checked when it was decided"));
        self.pending.push_back((seq, Arc::clone(&self.catalog)));
        self.last = seq;
    }

    fn applied(&self, _command: &ControlCommand, _seq: Seq, _at: Time, _event: &ControlEvent) -> ControlOutcome {
        ControlOutcome::Catalog(self.catalog.version())
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

    fn durable(&mut self, seq: Seq, _now: Time) -> Option<Arc<Catalog>> {
        let mut newest = None;
        while let Some((_, catalog)) = self.pending.pop_front_if(|(set, _)| *set <= seq) {
            newest = Some(catalog);
        }
        newest
    }

    fn signal(&mut self, signal: NoNeed, _now: Time) -> Result<Option<Arc<Catalog>>, Impossible> {
        match signal {}
    }

    fn flushed(&mut self, _seq: Seq, _now: Time) {}

    fn tick(&mut self, _now: Time) -> Option<Arc<Catalog>> {
        let is_shown = self.is_shown && !sabotage::is(Rule::DurableCatalog);
        self.is_shown = true;
        let is_recovered = !is_shown && self.last != Seq::NONE;
        is_recovered.then(|| Arc::clone(&self.catalog))
    }

    fn is_full(&self) -> bool {
        false
    }

    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible> {
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        self.last = Seq(checkpoint.fold.next.get() - 1);
        if let Some(set) = restore_set(checkpoint)? {
            self.catalog = Arc::new(decode_catalog(&set)?);
        }
        Ok(())
    }

    fn reread(&mut self, _seq: Seq, _event: &ControlEvent) {}

    fn reread_done(&mut self) {}
}

/// The control shard has no rows: its whole state is in the checkpoint.
#[derive(Default)]
pub struct ControlRows {
    latest: Option<CatalogSet>,
}

fn restore_set(checkpoint: &Checkpoint) -> Result<Option<CatalogSet>, Impossible> {
    codec::decode(&checkpoint.state).map_err(|error| Impossible(error.to_string()))
}

impl Rows for ControlRows {
    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible> {
        self.latest = checkpoint.map(restore_set).transpose()?.flatten();
        Ok(())
    }

    fn take(&mut self, seq: Seq, _at: Time, events: &[u8]) -> Result<usize, Impossible> {
        let (ControlEvent::CatalogSet(set), used) = front::<ControlEvent>(ShardId::CONTROL, seq, events)?;
        self.latest = Some(set);
        Ok(used)
    }

    fn finish(&mut self, batch: &mut FlushBatch) {
        batch.checkpoint.state = codec::encode(&self.latest);
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
        assert_eq!(machine.tick(Time::ZERO), None, "there is nothing to show yet");
        let event = catalog_set(&machine);
        machine.apply(Seq::FIRST, Time::ZERO, &event, &[]);
        assert_eq!(machine.tick(Time::ZERO), None, "not before it is durable");
        assert_eq!(machine.durable(Seq::FIRST, Time::ZERO).unwrap().version(), CatalogVersion(1));

        // What a replay says on its way is heard by nobody.
        let mut recovered = ControlMachine::default();
        recovered.apply(Seq::FIRST, Time::ZERO, &event, &[]);
        recovered.durable(Seq::FIRST, Time::ZERO);
        assert_eq!(recovered.tick(Time::ZERO).unwrap().version(), CatalogVersion(1));
        assert_eq!(recovered.tick(Time::ZERO), None, "once is enough");
    }
}
