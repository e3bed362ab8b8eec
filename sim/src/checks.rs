//! What clients do in the world, and what is checked of every answer that leaves an owner.

use std::sync::Arc;

use largesse_engine::event_id::EventId;
use largesse_engine::log::Fencing;
use largesse_engine::units::{Amount, AssetId, Seq, ShardId, UserId};
use largesse_engine::wallet::command::WalletCommand;
use largesse_engine::wallet::event::WalletEvent;
use largesse_engine::wallet::outcome::{Applied, Refusal, WalletOutcome};
use largesse_engine::wallet::window::ID_AHEAD_MILLIS;

use crate::clients::{Operation, PLATFORM, Sent};
use crate::truth;
use crate::world::{Event, World};

/// How long a client waits for an answer once nothing goes wrong any more.
const SETTLE_PATIENCE_MILLIS: u64 = 10_000;

impl World {
    /// Somebody does something.
    pub(crate) fn client(&mut self) {
        let wait = match self.rng.between(0, 9) {
            0 => self.rng.between(1, 300_000),
            _ => self.rng.between(1, 30_000),
        };
        self.schedule(wait, Event::Client);
        if self.is_healed {
            self.settle_one();
            return;
        }
        let count = if self.rng.chance(200) { self.rng.between(2, 6) } else { 1 };
        let mut batch: Vec<(ShardId, Sent, u64)> = Vec::new();
        for _ in 0..count {
            if self.rng.chance(self.swarm.history_reads) {
                batch.extend(self.draw_history());
                continue;
            }
            if batch.is_empty() && self.rng.chance(self.swarm.bursts) {
                batch.extend(self.taps());
                break;
            }
            if self.rng.chance(30) {
                self.look_at_room();
                continue;
            }
            let wish = match self.rng.between(0, 9) {
                0..=3 => self.new_operation(),
                4..=5 => self.retry(),
                6..=7 => self.draw_read(),
                _ => self.draw_find(),
            };
            batch.extend(wish);
        }
        let mut by_shard: std::collections::BTreeMap<ShardId, Vec<Sent>> = std::collections::BTreeMap::new();
        for (shard, sent, _) in batch {
            by_shard.entry(shard).or_default().push(sent);
        }
        for (shard, sent) in by_shard {
            self.dispatch(shard, sent);
        }
    }

    fn dispatch(&mut self, shard: ShardId, batch: Vec<Sent>) {
        let Some(node) = self.route(shard) else { return };
        let faults = self.faults();
        let life = self.life(node);
        let copies = u64::from(!self.rng.chance(faults.net_lost)) + u64::from(self.rng.chance(faults.net_repeated / 3));
        for _ in 0..copies {
            // Where the log vouches for its writer, callers and shards are one process: between the moment that gives a
            // command its deadline and the shard nothing can be delayed.
            let wait = if self.swarm.fencing == Fencing::ByLog { 1 } else { self.net() };
            self.schedule(wait, Event::Arrive { life, shard, batch: batch.clone() });
        }
    }

    fn new_operation(&mut self) -> Option<(ShardId, Sent, u64)> {
        if self.operations.len() >= self.swarm.operations {
            return self.retry();
        }
        let now = self.true_time();
        let node = self.rng.index(self.nodes.len());
        let view = Arc::clone(&self.nodes[node].view);
        let operation = Operation::draw(&mut self.rng, &self.swarm, &self.operations, now, &view);
        self.operations.push(operation);
        Some(self.attempt(self.operations.len() - 1))
    }

    /// Somebody taps some more on a gift that was wanted before.
    fn taps(&mut self) -> Vec<(ShardId, Sent, u64)> {
        let taps = self.rng.between(2, 6);
        let recent = self.operations.len().min(8);
        if recent == 0 {
            return Vec::new();
        }
        let place = self.operations.len() - 1 - self.rng.index(recent);
        let now = self.true_time();
        let mut sent = Vec::new();
        for _ in 0..taps {
            let tap = self.operations[place].clone().draw_tap(&mut self.rng, &self.swarm, now);
            if let Some(tap) = tap.filter(|_| self.operations.len() < self.swarm.operations) {
                self.operations.push(tap);
                sent.push(self.attempt(self.operations.len() - 1));
            }
        }
        sent
    }

    fn retry(&mut self) -> Option<(ShardId, Sent, u64)> {
        if self.operations.is_empty() {
            return None;
        }
        // Mostly the latest, sometimes any that there ever was.
        let len = self.operations.len();
        let recent = self.rng.index(len.min(5));
        let place = if self.rng.chance(600) { len - 1 - recent } else { self.rng.index(len) };
        Some(self.attempt(place))
    }

    fn attempt(&mut self, place: usize) -> (ShardId, Sent, u64) {
        let shard = self.operations[place].shard(self.shape);
        let node = self.route(shard).unwrap_or(0);
        let patience = if self.is_healed { SETTLE_PATIENCE_MILLIS } else { self.swarm.patience_millis };
        let deadline = self.clock(node).plus_millis(patience);
        let trace = self.truth.deadlines.len();
        self.truth.deadlines.push(deadline);
        let open_until = &mut self.operations[place].open_until;
        *open_until = deadline.max(*open_until);
        // Whichever node the client is connected to resolves it.
        let edge = self.rng.index(self.nodes.len());
        let command = self.operations[place].attempt(&self.nodes[edge].view, deadline, trace);
        (shard, Sent { operation: Some(place), command: Arc::new(command), is_final: false, reader: None }, 0)
    }

    fn draw_read(&mut self) -> Option<(ShardId, Sent, u64)> {
        let user = if self.rng.chance(100) { PLATFORM } else { UserId(self.rng.between(1, self.swarm.users)) };
        let shard = self.shape.wallet_of(user);
        let source = u16::try_from(self.rng.index(usize::from(self.swarm.shards))).expect("small");
        let last = self.truth.shard(ShardId::wallet(source)).last().get();
        let after = self.rng.chance(300).then(|| (source, Seq(self.rng.between(0, last + 1))));
        let wait_until = self.true_time().plus_millis(self.rng.between(0, 1_000));
        let command = WalletCommand::Read { user, after: after.filter(|after| after.0 != shard.index), wait_until };
        Some((shard, Sent { operation: None, command: Arc::new(command), is_final: false, reader: None }, 0))
    }

    fn draw_history(&mut self) -> Option<(ShardId, Sent, u64)> {
        let user = if self.rng.chance(100) { PLATFORM } else { UserId(self.rng.between(1, self.swarm.users)) };
        if self.rng.chance(500) {
            self.read_received(user);
            return None;
        }
        let reader = Some(self.read_history(user));
        let command = WalletCommand::Read { user, after: None, wait_until: self.true_time() };
        Some((
            self.shape.wallet_of(user),
            Sent { operation: None, command: Arc::new(command), is_final: false, reader },
            0,
        ))
    }

    fn draw_find(&mut self) -> Option<(ShardId, Sent, u64)> {
        let place = (!self.operations.is_empty()).then(|| self.rng.index(self.operations.len()))?;
        Some(self.find(place, false))
    }

    fn find(&self, place: usize, is_final: bool) -> (ShardId, Sent, u64) {
        let operation = &self.operations[place];
        let command = WalletCommand::FindReceipt { user: operation.user, id: operation.id };
        let sent = Sent { operation: Some(place), command: Arc::new(command), is_final, reader: None };
        (self.shape.wallet_of(operation.user), sent, 0)
    }

    /// A client hears of its command.
    pub(crate) fn told(&mut self, sent: &Sent, outcome: Option<WalletOutcome>) {
        if let (Some(reader), Some(WalletOutcome::Balances(balances))) = (sent.reader, &outcome) {
            return self.history_told(reader, balances);
        }
        let (Some(place), Some(outcome)) = (sent.operation, outcome) else { return };
        let is_final = sent.is_final;
        let operation = &mut self.operations[place];
        let is_pushed_back = matches!(outcome, WalletOutcome::Refused(Refusal::Overloaded));
        operation.quiet_until = self.now + if is_pushed_back { 100_000 } else { 0 };
        match outcome {
            WalletOutcome::Applied(applied) => {
                let first = *operation.applied.get_or_insert(applied);
                let same = Applied { replayed: first.replayed, ..applied };
                assert_eq!(first, same, "I3 once: two answers to {} of user {}", operation.id, operation.user);
            }
            WalletOutcome::Bound => operation.is_bound = true,
            WalletOutcome::Refused(Refusal::StoreUnavailable | Refusal::Overloaded | Refusal::Expired) => {}
            WalletOutcome::Refused(refusal) if is_final => {
                assert!(matches!(refusal, Refusal::IdTooOld { .. }), "a look at an id was refused: {refusal}");
                operation.found = Some(false);
            }
            WalletOutcome::Refused(refusal) => {
                if self.is_healed {
                    operation.refused = Some(refusal);
                }
            }
            WalletOutcome::Receipt { found, now } => {
                // That nothing is found is final once no attempt can be decided any more.
                if is_final && (found.is_some() || now > operation.open_until) {
                    operation.found = Some(found.is_some());
                }
            }
            WalletOutcome::Balances(_) | WalletOutcome::Credits(_) => {}
        }
    }

    /// Everything has healed: one after the other, each operation is driven to its end and then looked up.
    fn settle_one(&mut self) {
        let now = self.now;
        let is_open = |operation: &Operation| operation.applied.is_none() && operation.refused.is_none();
        let is_settled = !self.operations.iter().any(is_open);
        let wants = |operation: &Operation| operation.found.is_none() && (is_settled || is_open(operation));
        // One at a time for each user.
        let busy: std::collections::BTreeSet<UserId> =
            self.operations.iter().filter(|operation| operation.quiet_until > now).map(|one| one.user).collect();
        let places: Vec<usize> = (0..self.operations.len()).filter(|place| wants(&self.operations[*place])).collect();
        let places: Vec<usize> =
            places.into_iter().filter(|place| !busy.contains(&self.operations[*place].user)).collect();
        if places.is_empty() {
            return;
        }
        let place = *self.rng.pick(&places);
        let (shard, sent, _) = if is_settled { self.find(place, true) } else { self.attempt(place) };
        let patience = self.rng.between(SETTLE_PATIENCE_MILLIS / 2, SETTLE_PATIENCE_MILLIS * 2);
        self.operations[place].quiet_until = now + patience * 1_000;
        self.dispatch(shard, vec![sent]);
    }

    // ---- I4: what an answer may say ----

    pub(crate) fn check_outcome(
        &mut self,
        shard: ShardId,
        last: Seq,
        command: &WalletCommand,
        outcome: &WalletOutcome,
    ) {
        match (command, outcome) {
            (WalletCommand::Read { user, .. }, WalletOutcome::Balances(balances)) => {
                let truth = self.truth.shard(shard);
                assert!(
                    balances.seq >= last,
                    "I4 durable answers: a read of user {user} shows {shard} up to {}, it had reached {last} before",
                    balances.seq
                );
                assert!(balances.seq <= truth.last(), "I4 durable answers: a read shows what is not believed");
                let held = truth.held_at(*user, balances.seq);
                let told: truth::Held = balances.amounts.iter().map(|(asset, amount)| (*asset, amount.get())).collect();
                assert_eq!(without_zeros(&told), without_zeros(&held), "I4 durable answers: balances of user {user}");
            }
            (WalletCommand::FindReceipt { user, id }, WalletOutcome::Receipt { found, now }) => match found {
                Some(found) => {
                    let event = self.truth.shard(shard).receipts.get(&(*user, *id));
                    let event = event.unwrap_or_else(|| panic!("a receipt of {id}, which is not believed, was given"));
                    assert_eq!((event.seq, event.at, &event.encoded), (found.seq, found.at, &found.event));
                }
                None => {
                    self.check_absent(shard, last, *user, *id, "it was not found");
                    let attempts = self.truth.deadlines.len();
                    let said = self.truth.finals.entry((*user, *id)).or_insert((*now, attempts));
                    if *now >= said.0 {
                        *said = (*now, attempts);
                    }
                }
            },
            (WalletCommand::BindTransaction(bind), WalletOutcome::Bound) => {
                let event = self.truth.shard(shard).receipts.get(&(UserId::NOBODY, bind.said.id()));
                let bound = event.map(|event| &event.event);
                assert_eq!(bound, Some(&WalletEvent::TransactionBound(bind.said.clone())), "I4: it was bound");
            }
            (_, WalletOutcome::Applied(applied)) => self.check_applied(shard, command, applied),
            (_, WalletOutcome::Refused(refusal)) => self.check_refusal(shard, last, command, refusal),
            (_, outcome) => panic!("{command:?} was answered by {outcome:?}"),
        }
    }

    /// An event that was in the log before the command arrived must have been seen.
    fn check_absent(&self, shard: ShardId, last: Seq, user: UserId, id: EventId, why: &str) {
        if let Some(event) = self.truth.shard(shard).receipts.get(&(user, id)) {
            assert!(
                event.seq > last,
                "I3 once: {id} of user {user} was event {} of {shard} before it was asked for, and {why}",
                event.seq
            );
        }
    }

    fn check_applied(&self, shard: ShardId, command: &WalletCommand, applied: &Applied) {
        let (user, id) = key_of(command).expect("only what has an id is applied");
        let event = self.truth.shard(shard).receipts.get(&(user, id));
        let event = event.unwrap_or_else(|| panic!("I4 durable answers: {id} of user {user} applied, not believed"));
        assert_eq!((event.seq, event.at), (applied.seq, applied.at), "I4 durable answers: where {id} of {user} is");
        let is_same = match (command, &event.event) {
            (WalletCommand::SendGift(gift), WalletEvent::GiftSent(sent)) => {
                sent.said.is_same_as(&gift.said) && sent.said.anonymous == gift.said.anonymous
            }
            (WalletCommand::Recharge(recharge), WalletEvent::Recharged(event)) => event.said == recharge.said,
            (WalletCommand::Transfer(transfer), WalletEvent::Transferred(event)) => {
                event.said.is_same_as(&transfer.said)
            }
            _ => false,
        };
        assert!(is_same, "I3 once: {id} of user {user} was answered by somebody else's event");
        let (total, asset) = match &event.event {
            WalletEvent::GiftSent(gift) => (gift.total(), gift.asset),
            WalletEvent::Recharged(recharge) => (recharge.said.amount, recharge.said.asset),
            WalletEvent::Transferred(_) | WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => return,
        };
        assert_eq!((applied.total, applied.asset), (total, asset), "a receipt says what was paid");
        let held = self.truth.shard(shard).held_at(user, event.seq);
        let balance = held.get(&asset).copied().unwrap_or_default();
        assert_eq!(applied.balance.get(), balance, "a receipt says the balance after its event");
    }

    fn check_refusal(&self, shard: ShardId, last: Seq, command: &WalletCommand, refusal: &Refusal) {
        let Some((user, id)) = key_of(command) else { return };
        let told = format!("it was refused: {refusal}");
        let truth = self.truth.shard(shard);
        match *refusal {
            Refusal::StoreUnavailable | Refusal::Overloaded | Refusal::Expired => {}
            Refusal::IdReused => {
                assert!(truth.receipts.contains_key(&(user, id)), "{id} of user {user} was never used, and {told}");
            }
            Refusal::IdTimeAhead { now } => {
                assert!(id.time().is_some_and(|time| time > now.plus_millis(ID_AHEAD_MILLIS)), "{told}");
                self.check_absent(shard, last, user, id, &told);
            }
            Refusal::IdTooOld { oldest } => {
                assert!(id.time().is_some_and(|time| time < oldest), "{told}");
            }
            Refusal::InsufficientFunds { asset, needed, available } => {
                self.check_absent(shard, last, user, id, &told);
                assert!(available < needed, "{told}");
                self.check_was(shard, last, user, asset, available);
            }
            Refusal::Unresolved(_) | Refusal::ZeroAmount | Refusal::Unbalanced { .. } | Refusal::IssueLimit { .. } => {
                self.check_absent(shard, last, user, id, &told);
            }
        }
    }

    /// At some moment between question and answer this was the balance.
    fn check_was(&self, shard: ShardId, last: Seq, user: UserId, asset: AssetId, amount: Amount) {
        let truth = self.truth.shard(shard);
        let mut moments = (last.get()..=truth.last().get()).map(|seq| truth.held_at(user, Seq(seq)));
        let is_it = |held: truth::Held| held.get(&asset).copied().unwrap_or_default() == amount.get();
        assert!(moments.any(is_it), "I4 durable answers: user {user} never had {amount} of {asset} meanwhile");
    }
}

fn key_of(command: &WalletCommand) -> Option<(UserId, EventId)> {
    match command {
        WalletCommand::SendGift(gift) => Some((gift.said.sender, gift.said.id)),
        WalletCommand::Recharge(recharge) => Some((recharge.said.user, recharge.said.id())),
        WalletCommand::Transfer(transfer) => Some((transfer.said.user, transfer.said.id)),
        WalletCommand::BindTransaction(bind) => Some((UserId::NOBODY, bind.said.id())),
        WalletCommand::FindReceipt { user, id } => Some((*user, *id)),
        WalletCommand::Read { .. } | WalletCommand::ApplyCredits(_) => None,
    }
}

fn without_zeros(held: &truth::Held) -> truth::Held {
    held.iter().filter(|(_, amount)| **amount > 0).map(|(asset, amount)| (*asset, *amount)).collect()
}
