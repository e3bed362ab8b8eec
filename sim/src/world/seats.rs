//! Owners and flushers of one node: their recovery, their work, and what they ask to be done.

use futures::future::BoxFuture;
use largesse_engine::control::{ControlMachine, ControlOutcome, Shown};
use largesse_engine::node::actor::{Fetching, Hosted};
use largesse_engine::room::command::RoomOutcome;
use largesse_engine::room::rooms::RoomOutput;
use largesse_engine::wallet::outbox::Outgoing;

use super::*;

impl World {
    pub(super) fn claim(&mut self, life: Life, shard: ShardId) {
        if !self.is_alive(life) {
            return;
        }
        self.nodes[life.node].seats[place_of(shard)].is_claim_due = false;
        let seat = &self.nodes[life.node].seats[place_of(shard)];
        if !seat.wants || seat.owner.number().is_some() || self.nodes[life.node].is_closing {
            return;
        }
        let number = self.number();
        let claim = Claim { node: NodeId(life.node as u64), nonce: self.rng.bytes() };
        let (log, store) = (self.log(life, shard), self.store(life));
        let fresh = match shard.kind {
            ShardKind::Control => Fresh::Control(Box::default()),
            ShardKind::Wallet => Fresh::Wallets(Box::new(Wallets::new(shard, self.shape, self.swarm.wallet_limits()))),
            ShardKind::Room => Fresh::Rooms(Box::new(Rooms::new(shard, self.shape, self.swarm.rooms))),
        };
        let owned = recovering(shard, fresh, self.swarm.shard, log, store, claim);
        self.nodes[life.node].seats[place_of(shard)].owner = Owner::Recovering(number, owned);
        self.trace.note(self.now, || format!("n{} claims {shard} as owner {number}", life.node));
        self.dirty.insert((life.node, shard));
    }

    pub(super) fn flush(&mut self, life: Life, shard: ShardId) {
        if !self.is_alive(life) {
            return;
        }
        let (log, store) = (self.log(life, shard), self.store(life));
        let (calls, shape, limits) = (self.calls.clone(), self.shape, self.swarm.flush);
        let every_micros = self.swarm.flush_every_micros;
        let seat = &mut self.nodes[life.node].seats[place_of(shard)];
        seat.is_flusher_due = false;
        let (settled, progress, is_ending) =
            (Arc::clone(&seat.settled), seat.progress.clone(), Arc::clone(&seat.is_ending));
        seat.flusher = Some(match shard.kind {
            ShardKind::Control => {
                // It has little to move; looking for it as often as the others do would take most of the time.
                let every_micros = every_micros * 8;
                let rows = ControlRows::default();
                Flushing { shard, rows, log, store, settled, limits, progress, calls, life, every_micros, is_ending }
                    .start()
            }
            ShardKind::Wallet => {
                let rows = WalletRows::new(shard, shape);
                Flushing { shard, rows, log, store, settled, limits, progress, calls, life, every_micros, is_ending }
                    .start()
            }
            ShardKind::Room => {
                let every_micros = (every_micros * 4).min(1_000_000);
                let rows = RoomRows::new(shard, shape);
                Flushing { shard, rows, log, store, settled, limits, progress, calls, life, every_micros, is_ending }
                    .start()
            }
        });
        self.dirty.insert((life.node, shard));
    }

    pub(super) fn poll_seat(&mut self, node: usize, shard: ShardId) {
        let place = place_of(shard);
        let seat = &mut self.nodes[node].seats[place];
        if let Owner::Recovering(number, future) = &mut seat.owner
            && let Some(recovered) = poll(future)
        {
            let number = *number;
            self.recovered(node, shard, number, recovered);
        }
        self.poll_fetches(node, shard);
        self.poll_reading(node, shard);
        let seat = &mut self.nodes[node].seats[place];
        if let Some(flusher) = &mut seat.flusher
            && let Some(ended) = poll(flusher)
        {
            seat.flusher = None;
            let Some(error) = ended else { return self.flushed_all(node, shard) };
            self.trace.note(self.now, || format!("n{node} flusher of {shard} failed: {error}"));
            if let largesse_engine::flush::FlushError::Impossible(impossible) = &error {
                panic!("the flusher of {shard} on n{node} found a contradiction: {impossible}");
            }
            self.seek_flusher(node, shard, PAUSE_FIRST);
            self.check_closed(node);
        }
        while let Some(flushed) = self.nodes[node].seats[place].progress.pop() {
            let now = self.clock(node);
            self.trace.note(self.now, || format!("n{node} {shard} flushed {} to {}", flushed.seq, flushed.position));
            self.nodes[node].seats[place].flushed = flushed;
            if let Some(serving) = self.nodes[node].seats[place].owner.serving() {
                serving.shard.flushed(flushed.seq, now);
                self.pump(node, shard);
            }
        }
    }

    pub(super) fn poll_fetches(&mut self, node: usize, shard: ShardId) {
        let place = place_of(shard);
        let Some(serving) = self.nodes[node].seats[place].owner.serving() else { return };
        let owner = serving.number;
        for rows in take_ready(&mut serving.fetches) {
            let Some(serving) = self.nodes[node].seats[place].owner.serving().filter(|now| now.number == owner) else {
                return;
            };
            if let Some(wallets) = serving.shard.wallets() {
                rows.into_iter().for_each(|(need, row)| wallets.arrived(&need, row));
            }
            self.pump(node, shard);
        }
        let Some(serving) = self.nodes[node].seats[place].owner.serving().filter(|now| now.number == owner) else {
            return;
        };
        for rows in take_ready(&mut serving.room_fetches) {
            let Some(serving) = self.nodes[node].seats[place].owner.serving().filter(|now| now.number == owner) else {
                return;
            };
            if let Some(rooms) = serving.shard.rooms() {
                rows.into_iter().for_each(|(need, row)| rooms.arrived(&need, row));
            }
            self.pump(node, shard);
        }
    }

    pub(super) fn poll_reading(&mut self, node: usize, shard: ShardId) {
        let place = place_of(shard);
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

    pub(super) fn read_back(&mut self, node: usize, shard: ShardId, from: Position) {
        let log = self.log(self.life(node), shard);
        if let Some(serving) = self.nodes[node].seats[place_of(shard)].owner.serving() {
            use futures::FutureExt;
            use largesse_engine::log::ShardLog;
            serving.reading = Some(async move { log.read(from, READ_BYTES).await }.boxed());
            self.dirty.insert((node, shard));
        }
    }

    pub(super) fn recovered(&mut self, node: usize, shard: ShardId, number: u64, recovered: Recovered) {
        let place = place_of(shard);
        match recovered {
            Ok(inside) => {
                let (epoch, last) = (inside.epoch(), inside.last());
                self.trace.note(self.now, || {
                    format!("n{node} serves {shard} as owner {number}, epoch {epoch} behind {last}")
                });
                if self.swarm.has_steady_clocks {
                    self.nodes[node].not_before(inside.time().get(), self.now);
                }
                let now = self.clock(node);
                let mut serving = Serving {
                    number,
                    shard: inside,
                    fetches: Vec::new(),
                    room_fetches: Vec::new(),
                    reading: None,
                    compared: Seq::NONE,
                    resident: 0,
                    recovered: last,
                };
                serving.shard.tick(now);
                let is_closing = self.nodes[node].is_closing;
                let seat = &mut self.nodes[node].seats[place];
                seat.owner = Owner::Serving(Box::new(serving));
                seat.is_draining = is_closing;
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
        let seat = &mut self.nodes[node].seats[place_of(shard)];
        seat.owner = Owner::None;
        let was_draining = std::mem::take(&mut seat.is_draining);
        let pause = seat.pause_micros;
        seat.pause_micros = (pause * 2).min(PAUSE_LONGEST);
        if was_draining {
            self.pass_on(node, shard);
        }
        self.seek(node, shard, pause);
        self.check_closed(node);
    }

    /// What the actor does after every message.
    pub(crate) fn pump(&mut self, node: usize, shard: ShardId) {
        let now = self.clock(node);
        if let Some(serving) = self.nodes[node].seats[place_of(shard)].owner.serving() {
            serving.shard.pump(now);
        }
        self.carry_out(node, shard);
        self.publish(node, shard);
    }

    pub(super) fn publish(&mut self, node: usize, shard: ShardId) {
        let seat = &mut self.nodes[node].seats[place_of(shard)];
        let Some(serving) = seat.owner.serving() else { return };
        let (serving_last, serving_time) = (serving.shard.last(), serving.shard.time());
        let settled = match serving.shard.wallets() {
            Some(wallets) => wallets.machine().settled().get(),
            // Events of the control shard and of rooms go to nobody who would have to acknowledge them.
            None => u64::MAX,
        };
        seat.settled.store(settled, Ordering::Release);
        seat.standing = (serving_last, serving_time);
        self.check_owner(node, shard);
        self.check_drained(node, shard);
    }

    pub(super) fn carry_out(&mut self, node: usize, shard: ShardId) {
        let Some(serving) = self.nodes[node].seats[place_of(shard)].owner.serving() else { return };
        let owner = serving.number;
        let outputs = match serving.shard.take_effects() {
            Effects::Wallets(effects) => self.carry_out_all(node, shard, owner, effects),
            Effects::Rooms(effects) => self.carry_out_all(node, shard, owner, effects),
            Effects::Control(effects) => self.carry_out_all(node, shard, owner, effects),
        };
        self.hand_on(node, outputs.parts);
        if let Some(shown) = outputs.shown {
            self.show(node, &shown);
        }
        self.hear_of_rooms(node, shard, outputs.rooms);
    }

    fn carry_out_all<M: Simulated>(
        &mut self,
        node: usize,
        shard: ShardId,
        owner: u64,
        effects: Vec<Effect<M, CallKey>>,
    ) -> Outputs {
        let mut outputs = Outputs::default();
        for effect in effects {
            match effect {
                Effect::Append { number, epoch, record } => self.append(node, shard, owner, number, epoch, record),
                Effect::Fetch(needs) => {
                    let fetch = M::fetch(self.store(self.life(node)), shard, needs);
                    if let Some(serving) = self.nodes[node].seats[place_of(shard)].owner.serving() {
                        M::keep(serving, fetch);
                    }
                    self.dirty.insert((node, shard));
                }
                Effect::ReadBack(from) => self.read_back(node, shard, from),
                Effect::Answer(key, outcomes) => match M::outcomes(outcomes) {
                    Outcomes::Wallets(outcomes) => self.answered(node, key, outcomes),
                    Outcomes::Rooms(outcomes) => self.room_answered(node, key, outcomes),
                    Outcomes::Control(outcomes) => self.admin_answered(node, key, outcomes),
                },
                Effect::Output(output) => M::output(output, &mut outputs),
                Effect::Stop(Stop::Lost(lost)) => {
                    self.end_owner(node, shard, &lost.to_string());
                    break;
                }
                Effect::Stop(Stop::Impossible(impossible)) => {
                    panic!("n{node} halts {shard}, and nothing is wrong with it: {impossible}")
                }
            }
        }
        outputs
    }
}

/// What the store has answered by now.
fn take_ready<T>(fetches: &mut Vec<BoxFuture<'static, T>>) -> Vec<T> {
    let mut ready = Vec::new();
    fetches.retain_mut(|fetch| match poll(fetch) {
        Some(rows) => {
            ready.push(rows);
            false
        }
        None => true,
    });
    ready
}

/// What the world has to know of a machine to serve it.
trait Simulated: Hosted {
    fn outcomes(outcomes: Vec<Self::Outcome>) -> Outcomes;

    fn output(output: Self::Output, into: &mut Outputs);

    fn keep(serving: &mut Serving, fetch: Fetching<Self>);
}

impl Simulated for Wallets {
    fn outcomes(outcomes: Vec<WalletOutcome>) -> Outcomes {
        Outcomes::Wallets(outcomes)
    }

    fn output(output: Outgoing, into: &mut Outputs) {
        into.parts.extend(output);
    }

    fn keep(serving: &mut Serving, fetch: Fetching<Wallets>) {
        serving.fetches.push(fetch);
    }
}

impl Simulated for Rooms {
    fn outcomes(outcomes: Vec<RoomOutcome>) -> Outcomes {
        Outcomes::Rooms(outcomes)
    }

    fn output(output: RoomOutput, into: &mut Outputs) {
        into.rooms.news.extend(output.news);
        into.rooms.waiting.extend(output.waiting);
    }

    fn keep(serving: &mut Serving, fetch: Fetching<Rooms>) {
        serving.room_fetches.push(fetch);
    }
}

impl Simulated for ControlMachine {
    fn outcomes(outcomes: Vec<ControlOutcome>) -> Outcomes {
        Outcomes::Control(outcomes)
    }

    fn output(output: Shown, into: &mut Outputs) {
        into.shown = Some(output);
    }

    fn keep(_serving: &mut Serving, _fetch: Fetching<ControlMachine>) {
        unreachable!("the control shard has everything in memory");
    }
}
