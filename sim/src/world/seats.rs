//! Owners and flushers of one node: their recovery, their work, and what they ask to be done.

use super::*;

impl World {
    pub(super) fn poll_seat(&mut self, node: usize, shard: ShardId) {
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

    pub(super) fn poll_fetches(&mut self, node: usize, shard: ShardId) {
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

    pub(super) fn poll_reading(&mut self, node: usize, shard: ShardId) {
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

    pub(super) fn read_back(&mut self, node: usize, shard: ShardId, from: Position) {
        let log = self.log(self.life(node), shard);
        if let Some(serving) = self.nodes[node].seats[usize::from(shard.index)].owner.serving() {
            use futures::FutureExt;
            use largesse_engine::log::ShardLog;
            serving.reading = Some(async move { log.read(from, READ_BYTES).await }.boxed());
            self.is_dirty = true;
        }
    }

    pub(super) fn recovered(
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

    pub(super) fn publish(&mut self, node: usize, shard: ShardId) {
        let seat = &mut self.nodes[node].seats[usize::from(shard.index)];
        if let Some(serving) = seat.owner.serving() {
            let settled = serving.shard.machine().settled();
            seat.settled.store(settled.get(), std::sync::atomic::Ordering::Release);
        }
    }

    pub(super) fn carry_out(&mut self, node: usize, shard: ShardId) {
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
}
