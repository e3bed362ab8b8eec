//! The world: one queue of events, one clock, one source of chance. Everything that happens is one event of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use largesse_engine::accumulator::Accumulator;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::{AppendError, Fencing, LogError};
use largesse_engine::machine::Machine;
use largesse_engine::node::actor::Hosted;
use largesse_engine::record::{Claim, encode_claim};
use largesse_engine::relay::{Acknowledged, CreditPart};
use largesse_engine::shard::recover::{READ_BYTES, RecoverError};
use largesse_engine::shard::{Effect, Shard, Stop};
use largesse_engine::store::StoreError;
use largesse_engine::units::{Epoch, NodeId, Position, Seq, ShardId, Time};
use largesse_engine::wallet::command::WalletCommand;
use largesse_engine::wallet::outcome::WalletOutcome;
use largesse_engine::wallet::wallets::{AcknowledgedBy, Wallets};

use crate::calls::{Answer, CallId, Calls, Life, Request, SimLog, SimStore};
use crate::clients::{Operation, Sent};
use crate::disk::Disk;
use crate::node::{CallKey, Flushing, Node, Owner, PAUSE_FIRST, PAUSE_LONGEST, Serving, poll, recovering};
use crate::rng::Rng;
use crate::swarm::{Chaos, Faults, Swarm};
use crate::trace::Trace;
use crate::truth::Truth;

/// When the world begins, in milliseconds.
const BEGIN: u64 = 1_700_000_000_000;
const TICK_MICROS: u64 = 100_000;

pub struct World {
    pub seed: u64,
    pub rng: Rng,
    pub swarm: Swarm,
    pub shape: LedgerShape,
    pub truth: Truth,
    pub disk: Disk,
    pub nodes: Vec<Node>,
    pub operations: Vec<Operation>,
    pub trace: Trace,
    pub is_healed: bool,
    pub(crate) now: u64,
    /// Milliseconds that all clocks were moved ahead at once.
    leap: u64,
    skew_most: i64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(crate) calls: Calls,
    requests: BTreeMap<CallId, (Life, Request)>,
    pending_answers: BTreeMap<CallId, Answer>,
    appends: BTreeMap<u64, Append>,
    chains: BTreeMap<(ShardId, Epoch), Chain>,
    pub(crate) batches: BTreeMap<CallKey, Batch>,
    numbers: u64,
    is_dirty: bool,
    log_down_until: u64,
    store_down_until: u64,
}

#[derive(Debug)]
pub(crate) enum Event {
    Execute(CallId),
    Answer(CallId),
    Land(u64),
    AppendAnswered(u64),
    Arrive { life: Life, shard: ShardId, batch: Vec<Sent> },
    Told { sent: Sent, outcome: Option<WalletOutcome> },
    RelayArrive { from: Life, to: usize, destination: ShardId, parts: Vec<CreditPart>, key: CallKey },
    RelayAnswer { to: Life, destination: ShardId, key: CallKey, answer: Option<Vec<Acknowledged>> },
    RelayDue { life: Life, destination: ShardId },
    Tick(Life),
    Client,
    Chaos,
    Claim { life: Life, shard: ShardId },
    Flush { life: Life, shard: ShardId },
    Restart(usize),
    Poll,
}

struct Append {
    life: Life,
    shard: ShardId,
    epoch: Epoch,
    owner: u64,
    number: u64,
    record: Bytes,
    landed: Option<Position>,
    answer: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Position,
    Unknown,
    Failed,
    Fenced(Epoch),
}

/// Records of one epoch land in order, and are answered in order, unless a fault says otherwise.
#[derive(Clone, Copy, Default)]
struct Chain {
    land: u64,
    answer: u64,
    is_broken: bool,
}

/// Commands that were handed to an owner.
pub(crate) enum Batch {
    Clients {
        shard: ShardId,
        sent: Vec<Sent>,
        /// What the log held when they arrived: none of it may be missing from the answers.
        last: Seq,
    },
    Relay {
        to: Life,
        key: CallKey,
        destination: ShardId,
    },
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> World {
        let mut rng = Rng::new(seed);
        let swarm = Swarm::draw(&mut rng);
        let shape = LedgerShape::new(swarm.shards);
        let nodes = (0..swarm.nodes).map(|_| Node::new(swarm.shards, swarm.accumulators)).collect();
        let mut world = World {
            seed,
            rng,
            shape,
            truth: Truth::new(shape),
            disk: Disk::default(),
            nodes,
            operations: Vec::new(),
            trace,
            is_healed: false,
            now: 0,
            leap: 0,
            skew_most: 0,
            order: 0,
            events: BTreeMap::new(),
            calls: Calls::default(),
            requests: BTreeMap::new(),
            pending_answers: BTreeMap::new(),
            appends: BTreeMap::new(),
            chains: BTreeMap::new(),
            batches: BTreeMap::new(),
            numbers: 0,
            is_dirty: false,
            log_down_until: 0,
            store_down_until: 0,
            swarm,
        };
        for shard in shape.wallet_shards() {
            let node = world.rng.index(world.nodes.len());
            world.nodes[node].seats[usize::from(shard.index)].wants = true;
        }
        (0..world.nodes.len()).for_each(|node| world.begin_life(node));
        for _ in 0..world.swarm.users {
            world.schedule(1_000, Event::Client);
        }
        let chaos = world.swarm.chaos_every_micros;
        world.schedule(chaos, Event::Chaos);
        world
    }

    // ---- time ----

    pub(crate) fn schedule(&mut self, after_micros: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + after_micros, self.order), event);
    }

    /// What a perfect clock shows.
    pub fn true_time(&self) -> Time {
        Time(BEGIN + self.leap + self.now / 1_000)
    }

    pub(crate) fn clock(&self, node: usize) -> Time {
        Time(self.true_time().get().saturating_add_signed(self.nodes[node].skew))
    }

    /// Handles one event. False when there is none left before `until`.
    pub fn step(&mut self, until: u64) -> bool {
        let Some(entry) = self.events.first_entry() else { return false };
        if entry.key().0 > until {
            self.now = until;
            return false;
        }
        let ((at, _), event) = entry.remove_entry();
        self.now = at;
        if let Some(node) = event.node()
            && self.nodes[node].asleep_until > self.now
        {
            // It finds this in its mailbox when it wakes, in the order in which it came.
            let wait = self.nodes[node].asleep_until - self.now;
            self.schedule(wait, event);
            return true;
        }
        self.handle(event);
        self.poll_all();
        true
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Execute(call) => self.execute(call),
            Event::Answer(call) => {
                if let Some(answer) = self.pending_answers.remove(&call) {
                    self.is_dirty |= self.calls.answer(call, answer);
                }
            }
            Event::Land(append) => self.land(append),
            Event::AppendAnswered(append) => self.append_answered(append),
            Event::Arrive { life, shard, batch } => self.arrive(life, shard, batch),
            Event::Told { sent, outcome } => self.told(&sent, outcome),
            Event::RelayArrive { from, to, destination, parts, key } => {
                self.relay_arrive(from, to, destination, parts, key);
            }
            Event::RelayAnswer { to, destination, key, answer } => self.relay_answer(to, destination, key, answer),
            Event::RelayDue { life, destination } => {
                if self.is_alive(life) {
                    self.nodes[life.node].relays[usize::from(destination.index)].is_timed = false;
                    self.relay_go(life.node, destination);
                }
            }
            Event::Tick(life) => self.tick(life),
            Event::Client => self.client(),
            Event::Chaos => self.chaos(),
            Event::Claim { life, shard } => self.claim(life, shard),
            Event::Flush { life, shard } => self.flush(life, shard),
            Event::Restart(node) => self.restart(node),
            Event::Poll => self.is_dirty = true,
        }
    }

    fn is_alive(&self, life: Life) -> bool {
        self.nodes[life.node].is_up && self.nodes[life.node].life == life.number
    }

    pub(crate) fn life(&self, node: usize) -> Life {
        Life { node, number: self.nodes[node].life }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn faults(&self) -> Faults {
        if self.is_healed { Faults::default() } else { self.swarm.faults }
    }

    /// Up to `most`, mostly short.
    fn latency(&mut self, most: u64) -> u64 {
        let most = if self.rng.chance(700) { most / 4 } else { most };
        self.rng.between(1, most.max(1))
    }

    // ---- nodes ----

    fn begin_life(&mut self, node: usize) {
        let life = self.life(node);
        self.schedule(TICK_MICROS, Event::Tick(life));
        for shard in self.shape.wallet_shards() {
            self.seek(node, shard, 1);
            self.seek_flusher(node, shard, 1);
        }
    }

    /// Claims the shard after a while, if this node is to own it and does not.
    fn seek(&mut self, node: usize, shard: ShardId, after: u64) {
        let life = self.life(node);
        if !self.nodes[node].is_up {
            return;
        }
        let seat = &mut self.nodes[node].seats[usize::from(shard.index)];
        if seat.wants && !seat.is_claim_due && seat.owner.number().is_none() {
            seat.is_claim_due = true;
            self.schedule(after, Event::Claim { life, shard });
        }
    }

    fn seek_flusher(&mut self, node: usize, shard: ShardId, after: u64) {
        let life = self.life(node);
        let everywhere = self.swarm.flush_everywhere;
        if !self.nodes[node].is_up {
            return;
        }
        let seat = &mut self.nodes[node].seats[usize::from(shard.index)];
        if (seat.wants || everywhere) && seat.flusher.is_none() && !seat.is_flusher_due {
            seat.is_flusher_due = true;
            self.schedule(after, Event::Flush { life, shard });
        }
    }

    fn log(&self, life: Life, shard: ShardId) -> Arc<SimLog> {
        Arc::new(SimLog { calls: self.calls.clone(), life, shard, fencing: self.swarm.fencing })
    }

    fn store(&self, life: Life) -> Arc<SimStore> {
        Arc::new(SimStore { calls: self.calls.clone(), life })
    }

    fn claim(&mut self, life: Life, shard: ShardId) {
        if !self.is_alive(life) {
            return;
        }
        self.nodes[life.node].seats[usize::from(shard.index)].is_claim_due = false;
        let seat = &self.nodes[life.node].seats[usize::from(shard.index)];
        if !seat.wants || seat.owner.number().is_some() {
            return;
        }
        let number = self.number();
        let claim = Claim { node: NodeId(life.node as u64), nonce: self.rng.bytes() };
        let (log, store) = (self.log(life, shard), self.store(life));
        let owned = recovering(shard, self.shape, self.swarm.wallet_limits(), log, store, claim);
        self.nodes[life.node].seats[usize::from(shard.index)].owner = Owner::Recovering(number, owned);
        self.trace.note(self.now, || format!("n{} claims {shard} as owner {number}", life.node));
        self.is_dirty = true;
    }

    fn flush(&mut self, life: Life, shard: ShardId) {
        if !self.is_alive(life) {
            return;
        }
        let (log, store) = (self.log(life, shard), self.store(life));
        let (calls, shape, limits) = (self.calls.clone(), self.shape, self.swarm.flush);
        let every_micros = self.swarm.flush_every_micros;
        let seat = &mut self.nodes[life.node].seats[usize::from(shard.index)];
        seat.is_flusher_due = false;
        let (settled, progress) = (Arc::clone(&seat.settled), seat.progress.clone());
        let flushing = Flushing { shard, shape, log, store, settled, limits, progress, calls, life, every_micros };
        seat.flusher = Some(flushing.start());
        self.is_dirty = true;
    }

    fn restart(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            self.nodes[node].is_up = true;
            self.trace.note(self.now, || format!("n{node} starts"));
            self.begin_life(node);
        }
    }

    fn crash(&mut self, node: usize) {
        self.trace.note(self.now, || format!("n{node} crashes"));
        let life = self.life(node);
        self.nodes[node].is_up = false;
        self.nodes[node].asleep_until = 0;
        let accumulators = self.swarm.accumulators;
        self.nodes[node].forget(accumulators);
        // What had left the node may still arrive; what had not is gone.
        let on_the_way: Vec<u64> = self
            .appends
            .iter()
            .filter(|(_, append)| append.life == life && append.landed.is_none())
            .map(|(number, _)| *number)
            .collect();
        for number in on_the_way {
            if self.rng.chance(500) {
                self.appends.remove(&number);
            }
        }
        let lost: Vec<CallId> =
            self.requests.iter().filter(|(_, (of, _))| *of == life).map(|(call, _)| *call).collect();
        for call in lost {
            if self.rng.chance(500) {
                self.requests.remove(&call);
            }
        }
    }

    /// Advances whatever got an answer.
    pub(crate) fn poll_all(&mut self) {
        while std::mem::take(&mut self.is_dirty) {
            for node in 0..self.nodes.len() {
                if self.nodes[node].is_awake(self.now) {
                    self.shape.wallet_shards().for_each(|shard| self.poll_seat(node, shard));
                }
            }
            self.take_asked();
        }
        self.take_asked();
    }

    fn poll_seat(&mut self, node: usize, shard: ShardId) {
        let place = usize::from(shard.index);
        let seat = &mut self.nodes[node].seats[place];
        if let Owner::Recovering(number, future) = &mut seat.owner
            && let Some((machine, owned)) = poll(future)
        {
            let number = *number;
            self.recovered(node, shard, number, machine, owned);
        }
        self.poll_fetches(node, shard);
        self.poll_reading(node, shard);
        let seat = &mut self.nodes[node].seats[place];
        if let Some(flusher) = &mut seat.flusher
            && let Some(error) = poll(flusher)
        {
            seat.flusher = None;
            self.trace.note(self.now, || format!("n{node} flusher of {shard} failed: {error}"));
            if let largesse_engine::flush::FlushError::Impossible(impossible) = &error {
                panic!("the flusher of {shard} on n{node} found a contradiction: {impossible}");
            }
            self.seek_flusher(node, shard, PAUSE_FIRST);
        }
        while let Some(flushed) = self.nodes[node].seats[place].progress.pop() {
            let now = self.clock(node);
            self.trace.note(self.now, || format!("n{node} {shard} flushed {} to {}", flushed.seq, flushed.position));
            if let Some(serving) = self.nodes[node].seats[place].owner.serving() {
                serving.shard.flushed(flushed.seq, now);
                self.pump(node, shard);
            }
        }
    }

    fn poll_fetches(&mut self, node: usize, shard: ShardId) {
        let place = usize::from(shard.index);
        let Some(serving) = self.nodes[node].seats[place].owner.serving() else { return };
        let owner = serving.number;
        let mut arrived = Vec::new();
        serving.fetches.retain_mut(|fetch| match poll(fetch) {
            Some(rows) => {
                arrived.push(rows);
                false
            }
            None => true,
        });
        for rows in arrived {
            let Some(serving) = self.nodes[node].seats[place].owner.serving().filter(|now| now.number == owner) else {
                return;
            };
            rows.into_iter().for_each(|(need, row)| serving.shard.arrived(&need, row));
            self.pump(node, shard);
        }
    }

    fn poll_reading(&mut self, node: usize, shard: ShardId) {
        let place = usize::from(shard.index);
        let now = self.clock(node);
        let Some(serving) = self.nodes[node].seats[place].owner.serving() else { return };
        let Some(read) = serving.reading.as_mut().and_then(poll) else { return };
        serving.reading = None;
        match read {
            Ok(entries) => {
                let is_end = entries.is_empty();
                let from = entries.last().map(|last| last.position.after());
                serving.shard.read_back(&entries, is_end, now);
                self.pump(node, shard);
                if let Some(from) = from {
                    self.read_back(node, shard, from);
                }
            }
            Err(error) => self.end_owner(node, shard, &error.to_string()),
        }
    }

    fn read_back(&mut self, node: usize, shard: ShardId, from: Position) {
        let log = self.log(self.life(node), shard);
        if let Some(serving) = self.nodes[node].seats[usize::from(shard.index)].owner.serving() {
            use futures::FutureExt;
            use largesse_engine::log::ShardLog;
            serving.reading = Some(async move { log.read(from, READ_BYTES).await }.boxed());
            self.is_dirty = true;
        }
    }

    fn recovered(
        &mut self,
        node: usize,
        shard: ShardId,
        number: u64,
        machine: Wallets,
        owned: Result<largesse_engine::shard::Ownership, RecoverError>,
    ) {
        let place = usize::from(shard.index);
        match owned {
            Ok(owner) => {
                self.trace.note(self.now, || {
                    format!("n{node} serves {shard} as owner {number}, epoch {} from {}", owner.epoch, owner.next)
                });
                let shard_inside = Shard::new(shard, machine, self.swarm.shard, self.swarm.fencing, owner);
                let serving = Serving { number, shard: shard_inside, fetches: Vec::new(), reading: None };
                self.nodes[node].seats[place].owner = Owner::Serving(Box::new(serving));
                let now = self.clock(node);
                if let Some(serving) = self.nodes[node].seats[place].owner.serving() {
                    serving.shard.tick(now);
                }
                self.carry_out(node, shard);
                self.publish(node, shard);
            }
            Err(error) => {
                if let RecoverError::Impossible(impossible) = &error {
                    panic!("n{node} halts {shard} while recovering, and nothing is wrong with it: {impossible}");
                }
                self.end_owner(node, shard, &error.to_string());
            }
        }
    }

    pub(crate) fn end_owner(&mut self, node: usize, shard: ShardId, why: &str) {
        self.trace.note(self.now, || format!("n{node} {shard} lost its owner: {why}"));
        let seat = &mut self.nodes[node].seats[usize::from(shard.index)];
        seat.owner = Owner::None;
        let pause = seat.pause_micros;
        seat.pause_micros = (pause * 2).min(PAUSE_LONGEST);
        self.seek(node, shard, pause);
    }

    /// What the actor does after every message.
    pub(crate) fn pump(&mut self, node: usize, shard: ShardId) {
        let now = self.clock(node);
        if let Some(serving) = self.nodes[node].seats[usize::from(shard.index)].owner.serving() {
            serving.shard.pump(now);
        }
        self.carry_out(node, shard);
        self.publish(node, shard);
    }

    fn publish(&mut self, node: usize, shard: ShardId) {
        let seat = &mut self.nodes[node].seats[usize::from(shard.index)];
        if let Some(serving) = seat.owner.serving() {
            let settled = serving.shard.machine().settled();
            seat.settled.store(settled.get(), std::sync::atomic::Ordering::Release);
        }
    }

    fn carry_out(&mut self, node: usize, shard: ShardId) {
        let place = usize::from(shard.index);
        let Some(serving) = self.nodes[node].seats[place].owner.serving() else { return };
        let owner = serving.number;
        let mut outputs = Vec::new();
        for effect in serving.shard.take_effects() {
            match effect {
                Effect::Append { number, epoch, record } => self.append(node, shard, owner, number, epoch, record),
                Effect::Fetch(needs) => {
                    let fetch = <Wallets as Hosted>::fetch(self.store(self.life(node)), shard, needs);
                    if let Some(serving) = self.nodes[node].seats[place].owner.serving() {
                        serving.fetches.push(fetch);
                    }
                    self.is_dirty = true;
                }
                Effect::ReadBack(from) => self.read_back(node, shard, from),
                Effect::Answer(key, outcomes) => self.answered(node, key, outcomes),
                Effect::Output(outgoing) => outputs.extend(outgoing),
                Effect::Stop(Stop::Lost(lost)) => {
                    self.end_owner(node, shard, &lost.to_string());
                    break;
                }
                Effect::Stop(Stop::Impossible(impossible)) => {
                    panic!("n{node} halts {shard}, and nothing is wrong with it: {impossible}")
                }
            }
        }
        self.hand_on(node, outputs);
    }

    // ---- the log ----

    fn append(&mut self, node: usize, shard: ShardId, owner: u64, number: u64, epoch: Epoch, record: Bytes) {
        let faults = self.faults();
        let is_down = self.log_down_until > self.now;
        let (land_after, answer_after) = (self.latency(self.swarm.log_micros), self.latency(self.swarm.log_micros));
        let late = self.rng.between(1, 5_000_000);
        let mut chance = self.rng.between(0, 999);
        let mut is = |permille: u64| {
            let is = chance < permille;
            chance = chance.wrapping_sub(permille);
            is
        };
        let (mut lands, mut copies, mut is_late, mut answer) = (true, false, false, Told::Position);
        if is(faults.append_lost) || is_down {
            (lands, answer) = (false, Told::Failed);
        } else if is(faults.append_lost_unknown) {
            (lands, answer) = (false, Told::Unknown);
        } else if is(faults.append_landed_unknown) {
            answer = Told::Unknown;
        } else if is(faults.append_landed_failed) {
            answer = Told::Failed;
        } else if is(faults.append_late) {
            (is_late, answer) = (true, Told::Unknown);
        } else if is(faults.append_copied) {
            copies = true;
        }
        let now = self.now;
        let by_log = self.swarm.fencing == Fencing::ByLog;
        let chain = self.chains.entry((shard, epoch)).or_default();
        if chain.is_broken && by_log {
            // A log that vouches for what it accepts takes nothing behind a record that it lost.
            (lands, copies, is_late, answer) = (false, false, false, Told::Failed);
        }
        chain.is_broken |= answer != Told::Position;
        let land = if is_late { now + late } else { chain.land.max(now + land_after) };
        if !is_late {
            chain.land = land;
        }
        chain.answer = chain.answer.max(if is_late { now } else { land } + answer_after);
        let answer_at = chain.answer;
        let append = self.number();
        let life = self.life(node);
        self.trace.note(now, || {
            format!("n{node} {shard} appends record {number} of epoch {epoch}: lands {lands}, told {answer:?}")
        });
        self.appends.insert(append, Append { life, shard, epoch, owner, number, record, landed: None, answer });
        if lands {
            self.schedule(land - now, Event::Land(append));
            if copies {
                self.schedule(land - now + late / 10, Event::Land(append));
            }
        }
        self.schedule(answer_at - now, Event::AppendAnswered(append));
    }

    fn land(&mut self, number: u64) {
        let Some(append) = self.appends.get_mut(&number) else { return };
        let (shard, epoch) = (append.shard, append.epoch);
        let current = self.disk.partition(shard).epoch;
        if self.swarm.fencing == Fencing::ByLog && current != Some(epoch) {
            append.answer = Told::Fenced(current.unwrap_or(epoch));
            return;
        }
        let position = self.disk.partition(shard).push(&append.record);
        append.landed.get_or_insert(position);
        self.landed(shard, position);
    }

    fn landed(&mut self, shard: ShardId, position: Position) {
        let place = usize::try_from(position.get()).expect("positions are few");
        let entry = self.disk.partition(shard).entries[place].clone();
        let told = self.truth.land(shard, &entry);
        self.truth.check_conserved();
        self.trace.note(self.now, || format!("{shard} @{position} {told}"));
    }

    fn append_answered(&mut self, number: u64) {
        let Some(append) = self.appends.get(&number) else { return };
        let answer = match (&append.answer, append.landed) {
            (Told::Position, Some(position)) => Ok(position),
            (Told::Position | Told::Unknown, _) => Err(AppendError::Unknown),
            (Told::Failed, _) => Err(AppendError::Failed(LogError::Unavailable("a fault".into()))),
            (Told::Fenced(epoch), _) => Err(AppendError::Fenced(*epoch)),
        };
        let (life, shard, owner, of_record) = (append.life, append.shard, append.owner, append.number);
        if !self.is_alive(life) {
            return;
        }
        if self.nodes[life.node].asleep_until > self.now {
            let wait = self.nodes[life.node].asleep_until - self.now;
            self.schedule(wait, Event::AppendAnswered(number));
            return;
        }
        let now = self.clock(life.node);
        let seat = &mut self.nodes[life.node].seats[usize::from(shard.index)];
        if let Some(serving) = seat.owner.serving().filter(|serving| serving.number == owner) {
            serving.shard.appended(of_record, answer, now);
            self.pump(life.node, shard);
        }
    }

    // ---- requests to log and store ----

    /// Decides when what was asked for is carried out, when it is answered, and whether it goes wrong.
    fn take_asked(&mut self) {
        for (call, life, request) in self.calls.take_asked() {
            let (log, store) = (self.swarm.log_micros, self.swarm.store_micros);
            let mut wait = match &request {
                Request::Sleep(micros) => *micros,
                Request::Claim(..) | Request::Read(..) | Request::Truncate(..) => self.latency(log),
                Request::LoadWallets(..) | Request::LoadReceipts(..) | Request::Write(_) | Request::Checkpoint(_) => {
                    self.latency(store)
                }
            };
            let is_store =
                !matches!(request, Request::Sleep(_) | Request::Claim(..) | Request::Read(..) | Request::Truncate(..));
            if is_store && self.rng.chance(self.faults().store_slow) {
                wait += self.rng.between(1, 3_000_000);
            }
            self.requests.insert(call, (life, request));
            self.schedule(wait, Event::Execute(call));
        }
    }

    fn execute(&mut self, call: CallId) {
        let Some((life, request)) = self.requests.remove(&call) else { return };
        let faults = self.faults();
        let unreachable = || StoreError::Unavailable("a fault".into());
        let (log_down, store_down) = (self.log_down_until > self.now, self.store_down_until > self.now);
        let answer_after;
        let answer = match request {
            Request::Sleep(_) => {
                answer_after = 0;
                Answer::Slept
            }
            Request::Claim(shard, claim) => {
                answer_after = self.latency(self.swarm.log_micros);
                self.execute_claim(shard, claim, log_down)
            }
            Request::Read(..) | Request::Truncate(..) => {
                answer_after = self.latency(self.swarm.log_micros);
                if log_down || self.rng.chance(faults.log_read_failed) {
                    let error = LogError::Unavailable("a fault".into());
                    if matches!(request, Request::Truncate(..)) {
                        Answer::Truncated(Err(error))
                    } else {
                        Answer::Entries(Err(error))
                    }
                } else {
                    if let Request::Truncate(shard, position) = &request {
                        let stored = self.disk.checkpoint(*shard);
                        self.truth.check_truncation(*shard, *position, stored.as_ref());
                        self.trace.note(self.now, || format!("{shard} is cut to {position}"));
                    }
                    self.disk.execute(request)
                }
            }
            Request::LoadWallets(..) | Request::LoadReceipts(..) | Request::Checkpoint(_) | Request::Write(_) => {
                answer_after = self.latency(self.swarm.store_micros);
                let is_write = matches!(request, Request::Write(_));
                if store_down || self.rng.chance(faults.store_failed) {
                    failed(&request, unreachable())
                } else if is_write && self.rng.chance(faults.store_late) {
                    // Its writer is told now, and it is carried out some time later, after newer ones perhaps.
                    let told = failed(&request, unreachable());
                    let late = u64::MAX - call;
                    self.requests.insert(late, (life, request));
                    let wait = self.rng.between(1, 4_000_000);
                    self.schedule(wait, Event::Execute(late));
                    told
                } else {
                    let fails = is_write && self.rng.chance(faults.store_unanswered);
                    let told = fails.then(|| failed(&request, unreachable()));
                    if let Request::Write(batch) = &request {
                        self.truth.check_batch(batch);
                        self.trace.note(self.now, || {
                            let at = &batch.checkpoint;
                            format!(
                                "{} is stored up to {} ({}/{})",
                                at.shard, at.fold.next, at.relay_position, at.position
                            )
                        });
                    }
                    let answer = self.disk.execute(request);
                    told.unwrap_or(answer)
                }
            }
        };
        self.pending_answers.insert(call, answer);
        self.schedule(answer_after, Event::Answer(call));
    }

    fn execute_claim(&mut self, shard: ShardId, claim: Claim, is_down: bool) -> Answer {
        let faults = self.faults();
        let refused = Answer::Claimed(Err(LogError::Unavailable("a fault".into())));
        if is_down || self.rng.chance(faults.claim_lost) {
            return refused;
        }
        if self.rng.chance(faults.claim_late) {
            self.append_claim_later(shard, claim);
            return refused;
        }
        let position = self.disk.partition(shard).push(&encode_claim(claim));
        self.landed(shard, position);
        if self.rng.chance(faults.claim_copied) {
            self.append_claim_later(shard, claim);
        }
        let epoch = self.disk.partition(shard).find_claim(claim).expect("it has just landed");
        Answer::Claimed(Ok(epoch))
    }

    /// Nobody waits for it any more, or its first copy is in the log already.
    fn append_claim_later(&mut self, shard: ShardId, claim: Claim) {
        let append = self.number();
        let (life, epoch) = (Life { node: 0, number: u64::MAX }, Epoch(0));
        let record = encode_claim(claim);
        let answer = Told::Unknown;
        let late = Append { life, shard, epoch, owner: 0, number: 0, record, landed: None, answer };
        self.appends.insert(append, late);
        let wait = self.rng.between(1, 3_000_000);
        self.schedule(wait, Event::Land(append));
    }

    // ---- commands ----

    fn arrive(&mut self, life: Life, shard: ShardId, batch: Vec<Sent>) {
        let place = usize::from(shard.index);
        let last = self.truth.shard(shard).last();
        let is_alive = self.is_alive(life);
        let serving = self.nodes[life.node].seats[place].owner.serving();
        let Some(serving) = serving.filter(|serving| is_alive && !serving.shard.machine().is_full()) else {
            for sent in batch {
                self.schedule(1_000, Event::Told { sent, outcome: None });
            }
            return;
        };
        self.numbers += 1;
        let key = self.numbers;
        let commands = batch.iter().map(|sent| (*sent.command).clone()).collect();
        serving.shard.submit(key, commands);
        self.trace.note(self.now, || format!("n{} {shard} takes batch {key}: {}", life.node, told_of(&batch)));
        self.batches.insert(key, Batch::Clients { shard, sent: batch, last });
        self.pump(life.node, shard);
    }

    fn answered(&mut self, node: usize, key: CallKey, outcomes: Vec<WalletOutcome>) {
        let batch = self.batches.remove(&key).expect("a batch is answered once");
        match batch {
            Batch::Clients { shard, sent, last } => {
                assert_eq!(sent.len(), outcomes.len(), "one outcome for each command");
                for (sent, outcome) in sent.into_iter().zip(outcomes) {
                    self.trace.note(self.now, || format!("n{node} {shard} answers batch {key}: {outcome:?}"));
                    self.check_outcome(shard, last, &sent.command, &outcome);
                    if self.rng.chance(self.faults().net_lost) {
                        continue;
                    }
                    let wait = self.net();
                    self.schedule(wait, Event::Told { sent, outcome: Some(outcome) });
                }
            }
            Batch::Relay { to, key, destination } => {
                let answer = match outcomes.into_iter().next() {
                    Some(WalletOutcome::Credits(acknowledged)) => Some(acknowledged),
                    Some(_) | None => None,
                };
                for part in answer.iter().flatten() {
                    self.truth.check_acknowledged(destination, part.source, part.watermark, &part.received);
                }
                let faults = self.faults();
                if self.rng.chance(faults.net_repeated) {
                    let wait = self.net() * 20;
                    self.schedule(wait, Event::RelayAnswer { to, destination, key, answer: answer.clone() });
                }
                if !self.rng.chance(faults.net_lost) {
                    let wait = self.net();
                    self.schedule(wait, Event::RelayAnswer { to, destination, key, answer });
                }
            }
        }
    }

    pub(crate) fn net(&mut self) -> u64 {
        if self.rng.chance(self.faults().net_slow) {
            self.rng.between(1, 4_000_000)
        } else {
            self.latency(self.swarm.net_micros)
        }
    }

    /// Where clients and relays think that a shard is served: mostly they are right.
    pub(crate) fn route(&mut self, shard: ShardId) -> Option<usize> {
        let place = usize::from(shard.index);
        let mut serving: Vec<(Epoch, usize)> = Vec::new();
        for (node, of) in self.nodes.iter_mut().enumerate() {
            if let Some(owner) = of.seats[place].owner.serving() {
                serving.push((owner.shard.epoch(), node));
            }
        }
        serving.sort_unstable();
        if !self.is_healed && !serving.is_empty() && self.rng.chance(300) {
            return Some(self.rng.pick(&serving).1);
        }
        serving.last().map(|(_, node)| *node)
    }

    // ---- relays ----

    fn hand_on(&mut self, node: usize, outgoing: Vec<(u16, CreditPart)>) {
        let now = self.clock(node);
        let mut touched = BTreeSet::new();
        for (destination, part) in outgoing {
            self.trace.note(self.now, || {
                format!(
                    "n{node} relays wallet-{} ({}, {}] to wallet-{destination}",
                    part.source, part.after, part.up_to
                )
            });
            self.nodes[node].relays[usize::from(destination)].accumulator.push(part, now);
            touched.insert(destination);
        }
        touched.into_iter().for_each(|destination| self.relay_go(node, ShardId::wallet(destination)));
    }

    fn relay_go(&mut self, node: usize, destination: ShardId) {
        let (now, life) = (self.clock(node), self.life(node));
        let relay = &mut self.nodes[node].relays[usize::from(destination.index)];
        if relay.sending.is_some() || relay.accumulator.is_empty() {
            return;
        }
        if relay.accumulator.is_due(now).is_none() {
            if !relay.is_timed {
                relay.is_timed = true;
                let age = self.swarm.accumulators.age_millis * 1_000;
                self.schedule(age.max(100), Event::RelayDue { life, destination });
            }
            return;
        }
        let parts = Accumulator::take(&mut relay.accumulator);
        self.trace.note(self.now, || {
            let told = |part: &CreditPart| format!("wallet-{} ({}, {}]", part.source, part.after, part.up_to);
            format!("n{node} sends to {destination}: {}", parts.iter().map(told).collect::<Vec<_>>().join(" "))
        });
        self.numbers += 1;
        let key = self.numbers;
        self.nodes[node].relays[usize::from(destination.index)].sending = Some(key);
        // Whatever happens, the relay hears of it.
        let timeout = self.rng.between(50_000, 1_000_000);
        self.schedule(timeout, Event::RelayAnswer { to: life, destination, key, answer: None });
        let faults = self.faults();
        let Some(to) = self.route(destination) else { return };
        let copies = u64::from(!self.rng.chance(faults.net_lost)) + u64::from(self.rng.chance(faults.net_repeated));
        for _ in 0..copies {
            let wait = self.net();
            let parts = parts.clone();
            self.schedule(wait, Event::RelayArrive { from: life, to, destination, parts, key });
        }
    }

    fn relay_arrive(&mut self, from: Life, to: usize, destination: ShardId, parts: Vec<CreditPart>, key: CallKey) {
        let Some(serving) = self.nodes[to].seats[usize::from(destination.index)].owner.serving() else { return };
        if serving.shard.machine().is_full() {
            return;
        }
        self.numbers += 1;
        let submitted = self.numbers;
        serving.shard.submit(submitted, vec![WalletCommand::ApplyCredits(parts)]);
        self.batches.insert(submitted, Batch::Relay { to: from, key, destination });
        self.pump(to, destination);
    }

    fn relay_answer(&mut self, to: Life, destination: ShardId, key: CallKey, answer: Option<Vec<Acknowledged>>) {
        if !self.is_alive(to) {
            return;
        }
        let relay = &mut self.nodes[to.node].relays[usize::from(destination.index)];
        if relay.sending == Some(key) {
            relay.sending = None;
        }
        let now = self.clock(to.node);
        for answer in answer.unwrap_or_default() {
            let source = ShardId::wallet(answer.source);
            self.trace.note(self.now, || {
                format!("n{} hears: {destination} has {source} up to {}", to.node, answer.watermark)
            });
            if let Some(serving) = self.nodes[to.node].seats[usize::from(source.index)].owner.serving() {
                serving.shard.signal(AcknowledgedBy { destination: destination.index, answer }, now);
                self.pump(to.node, source);
            }
        }
        self.relay_go(to.node, destination);
    }

    fn tick(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        self.schedule(TICK_MICROS, Event::Tick(life));
        let now = self.clock(life.node);
        for shard in self.shape.wallet_shards() {
            let seat = &mut self.nodes[life.node].seats[usize::from(shard.index)];
            if let Some(serving) = seat.owner.serving() {
                serving.shard.tick(now);
                if serving.shard.is_idle() {
                    seat.pause_micros = PAUSE_FIRST;
                }
                self.pump(life.node, shard);
            }
            self.seek(life.node, shard, 1_000);
            self.seek_flusher(life.node, shard, 1_000);
        }
    }

    // ---- what goes wrong ----

    fn chaos(&mut self) {
        if self.is_healed {
            return;
        }
        let every = self.swarm.chaos_every_micros;
        let wait = self.rng.between(1, every * 2);
        self.schedule(wait, Event::Chaos);
        let sum: u64 = self.swarm.chaos.iter().map(|(_, weight)| weight).sum();
        if sum == 0 {
            return;
        }
        let mut place = self.rng.between(0, sum - 1);
        let kind = self.swarm.chaos.iter().find(|(_, weight)| {
            let is_it = place < *weight;
            place = place.wrapping_sub(*weight);
            is_it
        });
        let kind = kind.expect("the place lies within the sum").0;
        let node = self.rng.index(self.nodes.len());
        let shard = ShardId::wallet(u16::try_from(self.rng.index(usize::from(self.swarm.shards))).expect("small"));
        self.trace.note(self.now, || format!("chaos: {kind:?} n{node} {shard}"));
        self.wreak(kind, node, shard);
    }

    fn wreak(&mut self, kind: Chaos, node: usize, shard: ShardId) {
        let place = usize::from(shard.index);
        match kind {
            Chaos::Crash => {
                if self.nodes[node].is_up {
                    self.crash(node);
                    let wait = self.rng.between(1_000, 2_000_000);
                    self.schedule(wait, Event::Restart(node));
                }
            }
            Chaos::Sleep => {
                let long = self.rng.between(1_000, 5_000_000);
                self.nodes[node].asleep_until = self.now + long;
                self.schedule(long + 1, Event::Poll);
            }
            Chaos::Reassign | Chaos::SecondOwner => {
                if kind == Chaos::Reassign {
                    // The old owner is not told: it finds out by itself.
                    self.nodes.iter_mut().for_each(|other| other.seats[place].wants = false);
                }
                self.nodes[node].seats[place].wants = true;
                self.seek(node, shard, 1);
            }
            Chaos::KillOwner => {
                if self.nodes[node].is_awake(self.now) && self.nodes[node].seats[place].owner.number().is_some() {
                    self.end_owner(node, shard, "killed");
                }
            }
            Chaos::KillFlusher => {
                if self.nodes[node].seats[place].flusher.take().is_some() {
                    self.seek_flusher(node, shard, PAUSE_FIRST);
                }
            }
            Chaos::Skew => {
                let skew = *self.rng.pick(&[-70_000, -2_000, -100, 0, 100, 2_000, 70_000]);
                self.nodes[node].skew = skew;
                self.skew_most = self.skew_most.max(skew);
            }
            Chaos::Leap => self.leap += *self.rng.pick(&[1_000, 20_000, 61_000, 90_000]),
            Chaos::LogOutage => self.log_down_until = self.now + self.rng.between(1_000, 500_000),
            Chaos::StoreOutage => self.store_down_until = self.now + self.rng.between(1_000, 2_000_000),
        }
    }

    /// From now on nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.trace.note(self.now, || "everything heals".into());
        self.is_healed = true;
        (self.log_down_until, self.store_down_until) = (0, 0);
        // Clocks are right again, and past what the wrong ones showed.
        self.leap += self.skew_most.unsigned_abs() + 1;
        for node in 0..self.nodes.len() {
            self.nodes[node].skew = 0;
            self.nodes[node].asleep_until = self.nodes[node].asleep_until.min(self.now);
            self.restart(node);
        }
        for shard in self.shape.wallet_shards() {
            let place = usize::from(shard.index);
            let mut wanting: Vec<usize> = Vec::new();
            for (node, of) in self.nodes.iter().enumerate() {
                if of.seats[place].wants {
                    wanting.push(node);
                }
            }
            // One of those who want it keeps it.
            let keeper = *self.rng.pick(&wanting);
            for (node, of) in self.nodes.iter_mut().enumerate() {
                of.seats[place].wants = node == keeper;
                if node != keeper {
                    // By now everybody agrees on who owns what.
                    of.seats[place].owner = Owner::None;
                }
            }
            self.seek(keeper, shard, 1);
        }
        self.is_dirty = true;
        self.poll_all();
    }
}

fn failed(request: &Request, error: StoreError) -> Answer {
    match request {
        Request::LoadWallets(..) => Answer::Wallets(Err(error)),
        Request::LoadReceipts(..) => Answer::Receipts(Err(error)),
        Request::Checkpoint(_) => Answer::Checkpoint(Err(error)),
        Request::Write(_) => Answer::Written(Err(error)),
        Request::Claim(..) | Request::Read(..) | Request::Truncate(..) | Request::Sleep(_) => {
            unreachable!("only the store fails like this")
        }
    }
}

fn told_of(batch: &[Sent]) -> String {
    let one = |sent: &Sent| match &*sent.command {
        WalletCommand::SendGift(gift) => {
            format!("gift {} of {} until {}", gift.said.id, gift.said.sender, gift.deadline)
        }
        WalletCommand::Recharge(recharge) => format!("recharge of {} until {}", recharge.said.user, recharge.deadline),
        WalletCommand::Transfer(transfer) => format!("transfer {} of {}", transfer.said.id, transfer.said.user),
        WalletCommand::ApplyCredits(_) => "credits".into(),
        WalletCommand::Read { user, after, .. } => format!("read {user} after {after:?}"),
        WalletCommand::FindReceipt { user, id } => format!("find {id} of {user}"),
        WalletCommand::BindTransaction(bind) => format!("bind {}", bind.said.id()),
    };
    batch.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl Event {
    /// The node that this happens to, if it happens inside of one.
    fn node(&self) -> Option<usize> {
        match self {
            Event::Arrive { life, .. }
            | Event::RelayDue { life, .. }
            | Event::Tick(life)
            | Event::Claim { life, .. }
            | Event::Flush { life, .. } => Some(life.node),
            Event::RelayArrive { to, .. } => Some(*to),
            Event::RelayAnswer { to, .. } => Some(to.node),
            Event::Execute(_)
            | Event::Answer(_)
            | Event::Land(_)
            | Event::AppendAnswered(_)
            | Event::Told { .. }
            | Event::Client
            | Event::Chaos
            | Event::Restart(_)
            | Event::Poll => None,
        }
    }
}
