//! The inside of a shard: takes batches of commands, decides them, and says what is to be done about it.
//!
//! It does no IO and reads no clock, so the actor that owns it, a test and a simulator drive it alike: they tell it what
//! happened, with the time, and carry out the [`Effect`]s it leaves.

pub mod belief;
pub mod gate;
pub mod parked;
pub mod recover;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::codec;
use crate::log::{AppendError, Fencing};
use crate::machine::{Decision, Impossible, Machine, Undecided};
use crate::record::{EventsHeader, LogEntry, RECORD_BYTES_MAX, encode_events};
use crate::sabotage::{self, Rule};
use crate::shard::belief::{Belief, Conclusion, Lost};
use crate::shard::gate::Gate;
use crate::shard::parked::{Parked, Single, Slot};
use crate::units::{Epoch, Position, Seq, ShardId, Time};

/// What the shell has to do, in this order.
#[derive(Debug)]
pub enum Effect<M: Machine, R> {
    /// Append this record; then [`Shard::appended`].
    Append {
        number: u64,
        epoch: Epoch,
        record: Bytes,
    },
    /// Ask the store; then [`Shard::arrived`] for each.
    Fetch(Vec<M::Need>),
    /// Read the log from here to its end; then [`Shard::read_back`].
    ReadBack(Position),
    Answer(R, Vec<M::Outcome>),
    /// Hand on: it is durable.
    Output(M::Output),
    /// It is over. Whoever was not answered does not know.
    Stop(Stop),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A fresh actor may claim the shard again and replay.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The shard must stay stopped until someone has looked.
    #[error(transparent)]
    Impossible(#[from] Impossible),
}

#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Records on their way to the log at once; while that many are, the next one gathers.
    pub records_in_flight: usize,
    /// Most bytes of events in one record; a single event may go beyond.
    pub record_bytes: usize,
    /// Most commands that may wait for the store.
    pub parked: usize,
}

impl Default for ShardLimits {
    fn default() -> Self {
        ShardLimits { records_in_flight: 2, record_bytes: 512 << 10, parked: 4_096 }
    }
}

/// One event is at most this large, so a record that is begun below its limit stays below the log's.
const EVENT_BYTES_MAX: usize = RECORD_BYTES_MAX / 2 - 64;

#[derive(Debug)]
pub struct Shard<M: Machine, R> {
    id: ShardId,
    machine: M,
    limits: ShardLimits,
    fencing: Fencing,
    epoch: Epoch,
    belief: Belief,
    /// Number of the last record appended under this epoch.
    appended: u64,
    /// Of the next event.
    next: Seq,
    time: Time,
    /// The record that is being built.
    first: Seq,
    body: Vec<u8>,
    inbox: VecDeque<Work<M, R>>,
    batches: HashMap<u64, Batch<R, M::Outcome>>,
    batches_opened: u64,
    parked: Parked<M>,
    gate: Gate<R, M::Outcome>,
    effects: Vec<Effect<M, R>>,
    missing: Vec<M::Need>,
    /// Somebody waits for an own record that came after them.
    wants_proof: bool,
    /// A contradiction, and the own record that has to be believed before it counts as one.
    suspicion: Option<(Impossible, u64)>,
    is_stopped: bool,
}

#[derive(Debug)]
enum Work<M: Machine, R> {
    Batch(R, Vec<M::Command>),
    Single(Single<M>),
}

/// A batch some of whose commands had to wait.
#[derive(Debug)]
struct Batch<R, O> {
    reply: R,
    outcomes: Vec<Option<O>>,
    open: usize,
}

impl<M: Machine, R> Shard<M, R> {
    /// A shard that has replayed its log up to its own claim.
    pub fn new(id: ShardId, machine: M, limits: ShardLimits, fencing: Fencing, owner: Ownership) -> Shard<M, R> {
        Shard {
            id,
            machine,
            limits,
            fencing,
            epoch: owner.epoch,
            belief: Belief::new(fencing, owner.epoch, owner.next),
            appended: 0,
            next: owner.next,
            time: owner.time,
            first: owner.next,
            body: Vec::new(),
            inbox: VecDeque::new(),
            batches: HashMap::new(),
            batches_opened: 0,
            parked: Parked::default(),
            gate: Gate::default(),
            effects: Vec::new(),
            missing: Vec::new(),
            wants_proof: false,
            suspicion: None,
            is_stopped: false,
        }
    }

    pub fn id(&self) -> ShardId {
        self.id
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Seq of the last event, durable or not.
    pub fn last(&self) -> Seq {
        Seq(self.next.get() - 1)
    }

    pub fn time(&self) -> Time {
        self.time
    }

    /// Whether nothing is waiting for anything.
    pub fn is_idle(&self) -> bool {
        if sabotage::is(Rule::DrainFinishes) {
            return self.inbox.is_empty();
        }
        self.inbox.is_empty() && self.parked.is_empty() && self.gate.is_empty() && self.belief.in_flight() == 0
    }

    /// Records on their way to the log.
    pub fn in_flight(&self) -> usize {
        self.belief.in_flight()
    }

    /// Commands that wait for the store, for others of their lane, or for a credit.
    pub fn waiting(&self) -> usize {
        self.parked.len()
    }

    pub fn take_effects(&mut self) -> Vec<Effect<M, R>> {
        std::mem::take(&mut self.effects)
    }

    /// Takes in a batch. Its answer comes when all of it is decided and what it rests on is durable.
    pub fn submit(&mut self, reply: R, commands: Vec<M::Command>) {
        self.inbox.push_back(Work::Batch(reply, commands));
    }

    /// The log's answer about a record.
    pub fn appended(&mut self, number: u64, answer: Result<Position, AppendError>, now: Time) {
        let conclusion = self.belief.answered(number, answer);
        self.conclude(conclusion, now);
    }

    /// What was read back, in order; `is_end` with the last of it.
    pub fn read_back(&mut self, entries: &[LogEntry], is_end: bool, now: Time) {
        let conclusion = self.belief.read(entries, is_end);
        self.conclude(conclusion, now);
        if is_end && let Some(from) = self.belief.reading_from() {
            self.effects.push(Effect::ReadBack(from));
        }
    }

    /// The store's answer to a need, or that it could not be asked.
    pub fn arrived(&mut self, need: &M::Need, row: Option<M::Row>) {
        if self.is_frozen() {
            return;
        }
        let Some(row) = row else {
            for single in self.parked.failed(need) {
                self.send_away(single, Undecided::StoreUnavailable);
            }
            self.machine.released(need);
            return;
        };
        match self.machine.arrived(need, row) {
            Ok(true) => {
                for single in self.parked.answered(need) {
                    self.inbox.push_back(Work::Single(single));
                }
                self.machine.released(need);
            }
            Ok(false) => self.effects.push(Effect::Fetch(vec![need.clone()])),
            Err(impossible) => self.suspect(impossible),
        }
    }

    /// The store holds everything up to `seq`.
    pub fn flushed(&mut self, seq: Seq, now: Time) {
        self.machine.flushed(seq, now);
    }

    pub fn signal(&mut self, signal: M::Signal, now: Time) {
        if self.is_frozen() {
            return;
        }
        match self.machine.signal(signal, now) {
            Ok(output) => self.output(output),
            Err(impossible) => self.suspect(impossible),
        }
    }

    /// Passes on what the machine wants handed on.
    fn output(&mut self, output: Option<M::Output>) {
        self.effects.extend(output.map(Effect::Output));
    }

    pub fn tick(&mut self, now: Time) {
        if !self.is_frozen() {
            let output = self.machine.tick(now);
            self.output(output);
        }
    }

    /// Decides what there is room to decide. To be called after anything above.
    pub fn pump(&mut self, now: Time) {
        self.time = self.time.max(now);
        self.wake_late();
        while !self.is_frozen() && self.belief.in_flight() < self.limits.records_in_flight && self.has_work() {
            self.build_record();
        }
        self.answer();
    }

    fn has_work(&self) -> bool {
        !self.inbox.is_empty() || self.wants_proof
    }

    /// One record of what is in the inbox, as far as it fits.
    fn build_record(&mut self) {
        let appended = self.appended;
        while self.appended == appended && !self.is_frozen() {
            let Some(work) = self.inbox.pop_front() else { break };
            match work {
                Work::Batch(reply, commands) => self.run_batch(reply, commands),
                Work::Single(single) => self.run_single(single),
            }
        }
        if !self.body.is_empty() || (self.wants_proof && self.appended == appended) {
            self.seal();
        }
    }

    fn run_batch(&mut self, reply: R, commands: Vec<M::Command>) {
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut open = 0;
        self.machine.warm(&commands);
        for command in commands {
            let slot = Slot { batch: self.batches_opened, place: outcomes.len() };
            let outcome = self.run(command, slot);
            open += usize::from(outcome.is_none());
            outcomes.push(outcome);
        }
        if open == 0 {
            self.settle(reply, outcomes);
        } else {
            self.batches.insert(self.batches_opened, Batch { reply, outcomes, open });
            self.batches_opened += 1;
        }
    }

    /// Decides a command at once if it can be; otherwise it waits and there is no outcome yet.
    fn run(&mut self, command: M::Command, slot: Slot) -> Option<M::Outcome> {
        let lane = self.machine.lane(&command);
        if self.parked.is_lane_busy(lane) {
            if self.parked.len() >= self.limits.parked {
                return Some(self.machine.undecided(Undecided::Overloaded));
            }
            self.parked.queue(Single { command, slot, lane, asked: Vec::new() });
            return None;
        }
        self.missing.clear();
        self.machine.missing(&command, &mut self.missing);
        if self.missing.is_empty() && self.machine.is_due(&command, self.time) {
            return Some(self.decide(&command));
        }
        // Relayed credits have no lane and are never sent away: their number is bounded by their senders.
        if lane.is_some() && self.parked.len() >= self.limits.parked {
            return Some(self.machine.undecided(Undecided::Overloaded));
        }
        self.park(Single { command, slot, lane, asked: Vec::new() });
        None
    }

    /// A command that waited. Memory is looked at again.
    fn run_single(&mut self, single: Single<M>) {
        self.missing.clear();
        self.machine.missing(&single.command, &mut self.missing);
        if !self.missing.is_empty() || !self.machine.is_due(&single.command, self.time) {
            self.park(single);
            return;
        }
        let outcome = self.decide(&single.command);
        self.finish(single, outcome);
    }

    fn park(&mut self, mut single: Single<M>) {
        if self.missing.is_empty() {
            self.parked.late.push(single);
            return;
        }
        for need in &self.missing {
            self.machine.asked(need);
        }
        single.asked.extend(self.missing.iter().cloned());
        let fresh = self.parked.fetch(single, &self.missing);
        if !fresh.is_empty() {
            // Whoever gave up waiting, what is being read stays pinned until the answer is here: it might be old by then.
            fresh.iter().for_each(|need| self.machine.asked(need));
            self.effects.push(Effect::Fetch(fresh));
        }
    }

    fn finish(&mut self, single: Single<M>, outcome: M::Outcome) {
        single.asked.iter().for_each(|need| self.machine.released(need));
        if let Some(next) = self.parked.done(single.lane) {
            self.inbox.push_back(Work::Single(next));
        }
        let batch = self.batches.get_mut(&single.slot.batch).expect("a batch stays until all of it is decided");
        batch.outcomes[single.slot.place] = Some(outcome);
        batch.open -= 1;
        if batch.open == 0
            && let Some(batch) = self.batches.remove(&single.slot.batch)
        {
            self.settle(batch.reply, batch.outcomes);
        }
    }

    fn send_away(&mut self, single: Single<M>, why: Undecided) {
        let outcome = self.machine.undecided(why);
        self.finish(single, outcome);
    }

    fn decide(&mut self, command: &M::Command) -> M::Outcome {
        match self.machine.decide(command, self.time) {
            Decision::Told(outcome) => {
                self.wants_proof |= self.fencing == Fencing::ByPosition && !sabotage::is(Rule::FencedReads);
                outcome
            }
            Decision::New(event) => self.accept(command, &event),
            Decision::Impossible(impossible) => {
                self.suspect(impossible);
                self.machine.undecided(Undecided::Overloaded)
            }
        }
    }

    fn accept(&mut self, command: &M::Command, event: &M::Event) -> M::Outcome {
        let start = self.body.len();
        codec::encode_into(event, &mut self.body);
        let length = self.body.len() - start;
        assert!(length <= EVENT_BYTES_MAX, "limits on commands keep events below half a record, this has {length}");
        let seq = self.next;
        self.machine.apply(seq, self.time, event, &self.body[start..]);
        self.next = seq.next();
        let outcome = self.machine.applied(command, seq, self.time, event);
        if self.body.len() >= self.limits.record_bytes.min(EVENT_BYTES_MAX) {
            self.seal();
        }
        outcome
    }

    /// Ends the record that is being built and sends it to the log.
    fn seal(&mut self) {
        self.machine.cut();
        self.appended += 1;
        let count = u32::try_from(self.next.get() - self.first.get()).expect("a record has few events");
        let (epoch, number, first) = (self.epoch, self.appended, self.first);
        let record = encode_events(EventsHeader { epoch, number, first, count, time: self.time }, &self.body);
        self.body.clear();
        self.first = self.next;
        self.wants_proof = false;
        self.belief.appended(number, self.next);
        self.effects.push(Effect::Append { number, epoch, record });
    }

    /// An outcome rests on everything decided before it, on the record that is being built included.
    fn settle(&mut self, reply: R, outcomes: Vec<Option<M::Outcome>>) {
        let rests_on = self.appended + u64::from(!self.body.is_empty() || self.wants_proof);
        let outcomes: Vec<_> =
            outcomes.into_iter().map(|outcome| outcome.expect("every command was decided")).collect();
        #[cfg(feature = "sabotage")]
        if sabotage::is(Rule::DurableWatermark) && format!("{outcomes:?}").starts_with("[Credits") {
            return self.effects.push(Effect::Answer(reply, outcomes));
        }
        self.gate.push(rests_on, reply, outcomes);
    }

    fn conclude(&mut self, conclusion: Result<Conclusion, Lost>, now: Time) {
        match conclusion {
            Ok(Conclusion::Nothing) => {}
            Ok(Conclusion::ReadBack(from)) => self.effects.push(Effect::ReadBack(from)),
            Ok(Conclusion::Believed { number, last }) => {
                if let Some((impossible, _)) = self.suspicion.take_if(|(_, proof)| *proof <= number) {
                    return self.stop(impossible.into());
                }
                self.gate.open_to(number);
                let output = self.machine.durable(last, now);
                self.answer();
                self.output(output);
            }
            Err(lost) => self.stop(lost.into()),
        }
    }

    fn answer(&mut self) {
        while !self.is_stopped
            && let Some((reply, outcomes)) = self.gate.pop()
        {
            self.effects.push(Effect::Answer(reply, outcomes));
        }
    }

    fn wake_late(&mut self) {
        let mut place = 0;
        while place < self.parked.late.len() {
            if self.machine.is_due(&self.parked.late[place].command, self.time) {
                let single = self.parked.late.swap_remove(place);
                self.inbox.push_back(Work::Single(single));
            } else {
                place += 1;
            }
        }
    }

    /// Something contradicts what this owner knows. Where anyone can append to the log, it may simply have been replaced
    /// and not know it yet: then the store and its neighbours know events that it does not. So first it proves that it is
    /// the owner still, by a record of its own that comes after the contradiction, and decides nothing meanwhile.
    fn suspect(&mut self, impossible: Impossible) {
        match self.fencing {
            Fencing::ByLog => self.stop(impossible.into()),
            Fencing::ByPosition if self.suspicion.is_none() => {
                self.seal();
                self.suspicion = Some((impossible, self.appended));
            }
            Fencing::ByPosition => {}
        }
    }

    /// Nothing is decided any more.
    fn is_frozen(&self) -> bool {
        self.is_stopped || self.suspicion.is_some()
    }

    fn stop(&mut self, why: Stop) {
        if !self.is_stopped {
            self.is_stopped = true;
            self.effects.push(Effect::Stop(why));
        }
    }
}

/// What a new owner knows once it has replayed the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    pub epoch: Epoch,
    pub next: Seq,
    pub time: Time,
}
