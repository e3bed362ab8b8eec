//! What a state machine must be able to do for the shell to run it. Wallets, rooms and the control shard are such machines.

use std::fmt::Debug;
use std::hash::Hash;

use bincode::{Decode, Encode};

use crate::units::{Seq, Time};

/// Decides commands into events and folds events into state: no clock, no randomness, no IO.
pub trait Machine: Send + 'static {
    type Command: Send + Debug + 'static;
    type Outcome: Send + Debug + 'static;
    type Event: Encode + Decode<()> + Send + Debug;
    /// Something that must be in memory before a command can be decided, and what the store has for it.
    type Need: Clone + Eq + Hash + Send + Debug;
    type Row: Send + Debug;
    /// What goes on to others once a record is durable.
    type Output: Send + Debug;
    /// News for the machine that is not a command: it changes nothing that is in the log.
    type Signal: Send + Debug;

    /// Looks at what a batch will need before any of it is decided. That changes nothing, but memory answers many questions
    /// at once far sooner than one after the other: with a million wallets a gift takes a tenth less processor time.
    fn warm(&self, _batch: &[Self::Command]) {}

    /// What this command needs that is not in memory.
    fn missing(&self, command: &Self::Command, missing: &mut Vec<Self::Need>);

    /// Whether a command only asks. Those are admitted even when the log has no room for another event.
    fn is_read(command: &Self::Command) -> bool;

    /// Commands of one lane are decided in the order in which they came, even if one has to wait for the store.
    fn lane(&self, command: &Self::Command) -> Option<u64>;

    /// Whether a command that is waiting for something else than the store may be decided now.
    fn is_due(&self, command: &Self::Command, now: Time) -> bool;

    /// Decides without changing anything, so a refused command leaves no trace.
    fn decide(&self, command: &Self::Command, now: Time) -> Decision<Self::Event, Self::Outcome>;

    /// Cannot fail: an event was checked when it was decided. One that does not fit means that memory and log disagree,
    /// and then stopping this shard is the only safe answer. `encoded` is the event as it is in the log.
    fn apply(&mut self, seq: Seq, at: Time, event: &Self::Event, encoded: &[u8]);

    /// What the asker of an event is told, right after it was applied.
    fn applied(&self, command: &Self::Command, seq: Seq, at: Time, event: &Self::Event) -> Self::Outcome;

    /// What a command gets that was not decided.
    fn undecided(&self, why: Undecided) -> Self::Outcome;

    /// The store's answer to a need. False: it is out of date already, ask again.
    fn arrived(&mut self, need: &Self::Need, row: Self::Row) -> Result<bool, Impossible>;

    /// A need that was asked for is about to be answered; whatever would make the answer worthless is held back or noted.
    fn asked(&mut self, need: &Self::Need);

    /// No command waits for this need any more.
    fn released(&mut self, need: &Self::Need);

    /// A record ends here.
    fn cut(&mut self);

    /// The log has everything up to `seq`.
    fn durable(&mut self, seq: Seq, now: Time) -> Option<Self::Output>;

    fn signal(&mut self, signal: Self::Signal, now: Time) -> Result<Option<Self::Output>, Impossible>;

    /// The store has everything up to `seq`; what is no longer needed in memory may go.
    fn flushed(&mut self, seq: Seq, now: Time);

    /// The chance to do what is due by now. The first one ends the replay.
    fn tick(&mut self, now: Time) -> Option<Self::Output>;

    /// Whether there is no room to remember more until the store has caught up.
    fn is_full(&self) -> bool;

    /// The state as the checkpoint has it.
    fn restore(&mut self, checkpoint: Option<&crate::store::Checkpoint>) -> Result<(), Impossible>;

    /// An event before the checkpoint that may not have been handed on completely.
    fn reread(&mut self, seq: Seq, at: Time, event: &Self::Event);

    /// All such events have been read; from here on events are applied.
    fn reread_done(&mut self);
}

/// Why the shell had to send a command away before it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// The store could not be asked for what was not in memory.
    StoreUnavailable,
    /// Too many commands wait for the store.
    Overloaded,
}

#[derive(Debug)]
pub enum Decision<Event, Outcome> {
    /// It happens.
    New(Event),
    /// It does not, and this is what the asker is told.
    Told(Outcome),
    /// Deciding found a contradiction.
    Impossible(Impossible),
}

/// Memory, log, store or a neighbour contradict each other. The shard stops and stays stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub String);
