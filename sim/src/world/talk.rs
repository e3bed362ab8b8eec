//! Clients and relays: what travels between nodes.

use largesse_engine::machine::Machine;
use largesse_engine::shard::Shard;
use largesse_engine::wallet::outbox::Outgoing;

use super::*;

impl World {
    pub(super) fn arrive(&mut self, life: Life, shard: ShardId, batch: Vec<Sent>) {
        let place = place_of(shard);
        let last = self.truth.shard(shard).last();
        let is_alive = self.is_alive(life);
        let seat = &mut self.nodes[life.node].seats[place];
        let is_draining = seat.is_draining;
        let serving = seat.owner.serving().map(|serving| (serving.number, &mut serving.shard));
        let serving = serving.and_then(|(owner, shard)| Some(owner).zip(shard.wallets()));
        let is_open = |shard: &Shard<Wallets, CallKey>| is_alive && !is_draining && !shard.machine().is_full();
        let Some((owner, serving)) = serving.filter(|(_, shard)| is_open(shard)) else {
            for sent in batch {
                self.schedule(1_000, Event::Told { sent, outcome: None });
            }
            return;
        };
        self.numbers += 1;
        let key = self.numbers;
        let commands = batch.iter().map(|sent| (*sent.command).clone()).collect();
        serving.submit(key, commands);
        self.trace.note(self.now, || format!("n{} {shard} takes batch {key}: {}", life.node, told_of(&batch)));
        self.batches.insert(key, Batch::Clients { shard, owner, sent: batch, last });
        self.pump(life.node, shard);
    }

    pub(super) fn answered(&mut self, node: usize, key: CallKey, outcomes: Vec<WalletOutcome>) {
        let batch = self.batches.remove(&key).expect("a batch is answered once");
        match batch {
            Batch::Admin { .. } | Batch::Room { .. } => unreachable!("wallets are asked for neither"),
            Batch::Clients { shard, sent, last, .. } => {
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
                self.relay_answered(to, destination, key, answer);
            }
        }
    }

    /// The destination's answer goes back to the node that sent.
    pub(super) fn relay_answered(
        &mut self,
        to: Life,
        destination: ShardId,
        key: CallKey,
        answer: Option<Vec<Acknowledged>>,
    ) {
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

    pub(crate) fn net(&mut self) -> u64 {
        if self.rng.chance(self.faults().net_slow) {
            self.rng.between(1, 4_000_000)
        } else {
            self.latency(self.swarm.net_micros)
        }
    }

    /// Where clients and relays think that a shard is served: mostly they are right.
    pub(crate) fn route(&mut self, shard: ShardId) -> Option<usize> {
        let place = place_of(shard);
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

    pub(super) fn hand_on(&mut self, node: usize, outgoing: Outgoing) {
        let now = self.clock(node);
        let mut touched = BTreeSet::new();
        for (destination, part) in outgoing {
            self.trace.note(self.now, || {
                format!("n{node} relays wallet-{} ({}, {}] to {destination}", part.source, part.after, part.up_to)
            });
            self.nodes[node].relay(destination).accumulator.push(part, now);
            touched.insert(destination);
        }
        touched.into_iter().for_each(|destination| self.relay_go(node, destination));
    }

    pub(super) fn relay_go(&mut self, node: usize, destination: ShardId) {
        let (now, life) = (self.clock(node), self.life(node));
        let relay = self.nodes[node].relay(destination);
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
        self.check_parts(&parts);
        self.trace.note(self.now, || {
            let told = |part: &RelayPart| format!("wallet-{} ({}, {}]", part.source, part.after, part.up_to);
            format!("n{node} sends to {destination}: {}", parts.iter().map(told).collect::<Vec<_>>().join(" "))
        });
        self.numbers += 1;
        let key = self.numbers;
        self.nodes[node].relay(destination).sending = Some(key);
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

    pub(super) fn relay_arrive(
        &mut self,
        from: Life,
        to: usize,
        destination: ShardId,
        parts: Vec<RelayPart>,
        key: CallKey,
    ) {
        self.numbers += 1;
        let (submitted, view) = (self.numbers, Arc::clone(&self.nodes[to].view));
        let Some(serving) = self.nodes[to].seats[place_of(destination)].owner.serving() else { return };
        if let Some(rooms) = serving.shard.rooms() {
            rooms.submit(submitted, vec![RoomCommand::ApplyGifts { parts, view }]);
        } else if let Some(wallets) = serving.shard.wallets()
            && !wallets.machine().is_full()
        {
            wallets.submit(submitted, vec![WalletCommand::ApplyCredits(parts)]);
        } else {
            return;
        }
        self.batches.insert(submitted, Batch::Relay { to: from, key, destination });
        self.pump(to, destination);
    }

    pub(super) fn relay_answer(
        &mut self,
        to: Life,
        destination: ShardId,
        key: CallKey,
        answer: Option<Vec<Acknowledged>>,
    ) {
        if !self.is_alive(to) {
            return;
        }
        let relay = self.nodes[to.node].relay(destination);
        if relay.sending == Some(key) {
            relay.sending = None;
        }
        let now = self.clock(to.node);
        for answer in answer.unwrap_or_default() {
            let source = ShardId::wallet(answer.source);
            self.trace.note(self.now, || {
                format!("n{} hears: {destination} has {source} up to {}", to.node, answer.watermark)
            });
            let serving = self.nodes[to.node].seats[place_of(source)].owner.serving();
            if let Some(serving) = serving.and_then(|serving| serving.shard.wallets()) {
                serving.signal(AcknowledgedBy { destination, answer }, now);
                self.pump(to.node, source);
            }
        }
        self.relay_go(to.node, destination);
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
