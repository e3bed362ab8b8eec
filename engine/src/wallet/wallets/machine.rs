//! What the shell asks of a wallet shard.

use super::*;
use crate::machine::{Decision, Machine, Undecided};
use crate::wallet::books;
use crate::wallet::command::WalletCommand;
use crate::wallet::decide;

impl Machine for Wallets {
    type Command = WalletCommand;
    type Outcome = WalletOutcome;
    type Event = WalletEvent;
    type Need = WalletNeed;
    type Row = WalletRow;
    type Output = Outgoing;
    type Signal = AcknowledgedBy;

    fn warm(&self, batch: &[WalletCommand]) {
        let is_here = |command: &&WalletCommand| match command {
            WalletCommand::SendGift(gift) => self.wallets.get(&gift.said.sender).is_some_and(|wallet| wallet.is_whole),
            WalletCommand::Recharge(_)
            | WalletCommand::Transfer(_)
            | WalletCommand::ApplyCredits(_)
            | WalletCommand::Read { .. }
            | WalletCommand::FindReceipt { .. }
            | WalletCommand::BindTransaction(_) => false,
        };
        std::hint::black_box(batch.iter().filter(is_here).count());
    }

    fn missing(&self, command: &WalletCommand, missing: &mut Vec<WalletNeed>) {
        let mut wallet = |user: UserId| {
            if self.misses_wallet(user) && !missing.contains(&WalletNeed::Wallet(user)) {
                missing.push(WalletNeed::Wallet(user));
            }
        };
        let key = match command {
            WalletCommand::SendGift(gift) => {
                wallet(gift.said.sender);
                if let Ok(terms) = &gift.resolved {
                    terms.credits.iter().for_each(|credit| wallet(credit.payee.user(&gift.said)));
                }
                Some((gift.said.sender, gift.said.id))
            }
            WalletCommand::Recharge(recharge) => {
                wallet(recharge.said.user);
                Some((recharge.said.user, recharge.said.id()))
            }
            WalletCommand::Transfer(transfer) => {
                wallet(transfer.said.user);
                transfer.said.credits.iter().for_each(|credit| wallet(credit.user));
                Some((transfer.said.user, transfer.said.id))
            }
            WalletCommand::ApplyCredits(parts) => {
                for part in parts.iter().filter(|part| self.is_next(part)) {
                    for credit in &part.credits {
                        // Many accounts: the list may name one twice, which costs a second look at the same row.
                        if self.misses_wallet(credit.user) {
                            missing.push(WalletNeed::Wallet(credit.user));
                        }
                    }
                }
                missing.dedup();
                None
            }
            WalletCommand::Read { user, .. } => {
                wallet(*user);
                None
            }
            WalletCommand::FindReceipt { user, id } => {
                if self.misses_event(*user, *id) {
                    missing.push(WalletNeed::Receipt(*user, *id));
                }
                None
            }
            WalletCommand::BindTransaction(bind) => Some((UserId::NOBODY, bind.said.id())),
        };
        if let Some((user, id)) = key
            && self.misses_receipt(user, id)
        {
            missing.push(WalletNeed::Receipt(user, id));
        }
    }

    fn is_read(command: &WalletCommand) -> bool {
        match command {
            WalletCommand::Read { .. } | WalletCommand::FindReceipt { .. } => true,
            WalletCommand::SendGift(_)
            | WalletCommand::Recharge(_)
            | WalletCommand::Transfer(_)
            | WalletCommand::ApplyCredits(_)
            | WalletCommand::BindTransaction(_) => false,
        }
    }

    fn lane(&self, command: &WalletCommand) -> Option<u64> {
        match command {
            WalletCommand::SendGift(gift) => Some(gift.said.sender.get()),
            WalletCommand::Recharge(recharge) => Some(recharge.said.user.get()),
            WalletCommand::Transfer(transfer) => Some(transfer.said.user.get()),
            WalletCommand::FindReceipt { user, .. } => Some(user.get()),
            WalletCommand::Read { user, after: None, .. } => Some(user.get()),
            // A read that waits for a credit holds nobody up.
            WalletCommand::Read { after: Some(_), .. } | WalletCommand::ApplyCredits(_) => None,
            WalletCommand::BindTransaction(bind) => {
                let mut id = [0; 8];
                id.copy_from_slice(&bind.said.id().as_bytes()[8..]);
                Some(u64::from_le_bytes(id))
            }
        }
    }

    fn is_due(&self, command: &WalletCommand, now: Time) -> bool {
        match command {
            WalletCommand::Read { after: Some((source, seq)), wait_until, .. } => {
                let is_known = usize::from(*source) < self.books.shards();
                !is_known || self.books.received_from(*source).up_to >= *seq || *wait_until <= now
            }
            WalletCommand::SendGift(_)
            | WalletCommand::Recharge(_)
            | WalletCommand::Transfer(_)
            | WalletCommand::ApplyCredits(_)
            | WalletCommand::Read { after: None, .. }
            | WalletCommand::FindReceipt { .. }
            | WalletCommand::BindTransaction(_) => true,
        }
    }

    fn decide(&self, command: &WalletCommand, now: Time) -> Decision<WalletEvent, WalletOutcome> {
        let decided = match command {
            WalletCommand::SendGift(gift) => decide::gift(self, gift, now),
            WalletCommand::Recharge(recharge) => decide::recharge(self, recharge, now),
            WalletCommand::Transfer(transfer) => decide::transfer(self, transfer, now),
            WalletCommand::BindTransaction(bind) => decide::bind(self, bind, now),
            WalletCommand::ApplyCredits(parts) => return self.judge(parts),
            WalletCommand::Read { user, .. } => return Decision::Told(WalletOutcome::Balances(self.balances(*user))),
            WalletCommand::FindReceipt { user, id } => {
                let found = self.find(*user, *id).map(|found| {
                    Box::new(StoredEvent { shard: self.shard, seq: found.seq, at: found.at, event: found.encoded })
                });
                return Decision::Told(WalletOutcome::Receipt { found, now });
            }
        };
        match decided {
            Ok(decision) => decision,
            Err(refusal) => Decision::Told(WalletOutcome::Refused(refusal)),
        }
    }

    fn apply(&mut self, seq: Seq, at: Time, event: &WalletEvent, encoded: &[u8]) {
        assert_eq!(seq, self.last.next(), "events apply once and in order");
        assert!(at >= self.time, "a shard's time never goes back");
        event.for_each_change(|change| self.change(seq, &change));
        if let Some((user, id)) = event.key() {
            self.window.remember(user, id, seq, at, encoded);
            if let Some(asked) = self.asked_receipts.get_mut(&(user, id)) {
                (asked.is_overtaken, asked.answer) = (true, None);
            }
        }
        self.books.apply(seq, event, self.shape);
        self.to_rooms.apply(seq, event, self.shape);
        self.outbox.apply(seq, at, event);
        (self.last, self.time) = (seq, at);
    }

    fn applied(&self, command: &WalletCommand, seq: Seq, at: Time, event: &WalletEvent) -> WalletOutcome {
        match command {
            // Also those whose part changed nothing: they must not wait for the others to fall silent.
            WalletCommand::ApplyCredits(parts) => WalletOutcome::Credits(self.stands(parts)),
            WalletCommand::BindTransaction(_) => WalletOutcome::Bound,
            WalletCommand::SendGift(_)
            | WalletCommand::Recharge(_)
            | WalletCommand::Transfer(_)
            | WalletCommand::Read { .. }
            | WalletCommand::FindReceipt { .. } => WalletOutcome::Applied(applied(seq, at, event, false)),
        }
    }

    fn undecided(&self, why: Undecided) -> WalletOutcome {
        WalletOutcome::Refused(match why {
            Undecided::StoreUnavailable => Refusal::StoreUnavailable,
            Undecided::Overloaded => Refusal::Overloaded,
        })
    }

    fn arrived(&mut self, need: &WalletNeed, row: WalletRow) -> Result<bool, Impossible> {
        match (need, row) {
            (WalletNeed::Wallet(user), WalletRow::Balances(rows)) => self.take_balances(*user, rows).map(|()| true),
            (WalletNeed::Receipt(user, id), WalletRow::Receipt(stored)) => self.take_receipt(*user, *id, stored),
            (WalletNeed::Wallet(_), WalletRow::Receipt(_)) | (WalletNeed::Receipt(..), WalletRow::Balances(_)) => {
                Err(Impossible("the store answered something else than was asked".into()))
            }
        }
    }

    fn asked(&mut self, need: &WalletNeed) {
        match need {
            WalletNeed::Wallet(user) => {
                let wallet = self.wallets.entry(*user).or_default();
                wallet.asked = wallet.asked.saturating_add(1);
            }
            WalletNeed::Receipt(user, id) => {
                self.asked_receipts.entry((*user, *id)).or_default().waiting += 1;
            }
        }
    }

    fn released(&mut self, need: &WalletNeed) {
        match need {
            WalletNeed::Wallet(user) => {
                if let Some(wallet) = self.wallets.get_mut(user) {
                    wallet.asked = wallet.asked.saturating_sub(1);
                    // Nothing came and nothing is known: leave no empty wallet behind.
                    if wallet.asked == 0 && !wallet.is_whole && wallet.held.is_empty() {
                        self.wallets.remove(user);
                    }
                }
            }
            WalletNeed::Receipt(user, id) => {
                if let Some(asked) = self.asked_receipts.get_mut(&(*user, *id)) {
                    asked.waiting -= 1;
                    if asked.waiting == 0 {
                        self.asked_receipts.remove(&(*user, *id));
                    }
                }
            }
        }
    }

    fn cut(&mut self) {
        self.outbox.cut();
    }

    fn durable(&mut self, seq: Seq, now: Time) -> Option<Outgoing> {
        self.durable = self.durable.max(seq);
        self.flushed = self.stored.min(self.durable);
        Some(self.outbox.durable(seq, now)).filter(|outgoing| !outgoing.is_empty())
    }

    fn signal(&mut self, signal: AcknowledgedBy, now: Time) -> Result<Option<Outgoing>, Impossible> {
        let outgoing = self.acknowledged(signal.destination, &signal.answer, now)?;
        Ok(Some(outgoing).filter(|outgoing| !outgoing.is_empty()))
    }

    fn flushed(&mut self, seq: Seq, now: Time) {
        self.stored = self.stored.max(seq);
        self.flushed = self.stored.min(self.durable);
        self.window.evict(self.flushed, now);
        self.evict_wallets();
    }

    fn tick(&mut self, now: Time) -> Option<Outgoing> {
        // Readers alone fill the memory as well, and nothing is flushed for them.
        self.window.evict(self.flushed, now);
        self.evict_wallets();
        Some(self.outbox.resend(now)).filter(|outgoing| !outgoing.is_empty())
    }

    fn is_full(&self) -> bool {
        self.window.is_full()
    }

    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible> {
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        (self.books, self.to_rooms) = books::restored(&checkpoint.state, self.shape)?;
        if self.books.shards() != usize::from(self.shape.wallet_shards) {
            return Err(Impossible(format!("the checkpoint of {} is of another number of shards", self.shard)));
        }
        self.last = Seq(checkpoint.fold.next.get() - 1);
        (self.durable, self.flushed, self.stored) = (self.last, self.last, self.last);
        self.time = checkpoint.time;
        // Whatever was accepted before the checkpoint may have left memory with the process that accepted it.
        let floor = checkpoint.time.plus_millis(ID_AHEAD_MILLIS);
        let floor = if sabotage::is(Rule::WindowFloor) { Time::ZERO } else { floor };
        self.window = Window::new(self.limits.window, floor, self.limits.hash_seed);
        Ok(())
    }

    fn reread(&mut self, seq: Seq, at: Time, event: &WalletEvent) {
        self.outbox.apply(seq, at, event);
    }

    fn reread_done(&mut self) {
        self.outbox.resume(self.books.sent().chain(self.to_rooms.sent()));
    }
}
