//! The books of one wallet shard, added up again by arithmetic of the audit's own.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::pairs::Pairs;
use super::report::{Place, Problems};
use crate::ledger::LedgerShape;
use crate::store::BalanceRow;
use crate::units::{Amount, AssetId, Seq, ShardId, UserId};
use crate::wallet::command::TransferCredit;
use crate::wallet::event::{CreditsApplied, GiftSent, Payee, RemoteCredit, Transferred, WalletEvent};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub issued: u128,
    pub burned: u128,
    pub sent: u128,
    pub received: u128,
    pub balances: u128,
}

#[derive(Debug)]
pub(super) struct WalletFold {
    shard: ShardId,
    shape: LedgerShape,
    accounts: HashMap<(UserId, AssetId), Account, foldhash::fast::RandomState>,
    pub totals: BTreeMap<AssetId, Totals>,
    /// The first balance that is seen of an account counts; otherwise it begins at nothing.
    adopts: bool,
    /// Rows that were ahead of their checkpoint.
    pub ahead: Vec<BalanceRow>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    amount: u64,
    /// The event that last changed it.
    seq: Seq,
    /// Only the first problem of an account is told; the others follow from it.
    is_disputed: bool,
    /// The store has a row for it.
    is_seen: bool,
    /// False while only a row is known that is ahead of its checkpoint.
    is_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Debit,
    Credit,
}

impl WalletFold {
    pub fn new(shard: ShardId, shape: LedgerShape, adopts: bool) -> WalletFold {
        let (accounts, totals) = (HashMap::default(), BTreeMap::new());
        WalletFold { shard, shape, accounts, totals, adopts, ahead: Vec::new() }
    }

    pub fn accounts(&self) -> u64 {
        self.accounts.len() as u64
    }

    /// Takes a balance from a row.
    pub fn adopt(&mut self, row: &BalanceRow, is_known: bool) {
        let account = Account { amount: row.amount.get(), seq: row.seq, is_disputed: false, is_seen: true, is_known };
        self.accounts.insert((row.user, row.asset), account);
    }

    /// Whether the rows add up to the sums that came with them.
    pub fn check_adopted(&self, at: Place, problems: &mut Problems) {
        let mut sums: BTreeMap<AssetId, u128> = BTreeMap::new();
        let mut is_known = true;
        for ((_, asset), account) in &self.accounts {
            *sums.entry(*asset).or_default() += u128::from(account.amount);
            is_known &= account.is_known;
        }
        for (asset, totals) in self.totals.iter().filter(|_| is_known) {
            let found = sums.get(asset).copied().unwrap_or_default();
            if found != totals.balances {
                problems.add(at, format_args!("sum of stored balances, asset {asset}"), totals.balances, found);
            }
        }
        self.check_totals(at, problems);
    }

    /// I1 conserved, within this shard.
    pub fn check_totals(&self, at: Place, problems: &mut Problems) {
        for (asset, totals) in &self.totals {
            let (left, right) = (totals.balances + totals.burned + totals.sent, totals.issued + totals.received);
            if left != right {
                let what = format_args!("I1 conserved, asset {asset}: balances + burned + sent");
                problems.add(at, what, format_args!("issued + received = {right}"), left);
            }
        }
    }

    /// Amount and seq of an account, whether it is disputed; from now on the store is known to have a row for it.
    pub fn see(&mut self, user: UserId, asset: AssetId) -> Option<(u64, Seq, bool)> {
        let account = self.accounts.get_mut(&(user, asset))?;
        account.is_seen = true;
        Some((account.amount, account.seq, account.is_disputed))
    }

    pub fn for_each_unseen(&self, mut each: impl FnMut(UserId, AssetId, u64)) {
        let unseen = self.accounts.iter().filter(|(_, account)| !account.is_seen && !account.is_disputed);
        let mut unseen: Vec<_> = unseen.map(|((user, asset), account)| (*user, *asset, account.amount)).collect();
        unseen.sort_unstable();
        unseen.into_iter().for_each(|(user, asset, amount)| each(user, asset, amount));
    }

    /// Rows that were ahead of their checkpoint must fit what the log says up to its end.
    pub fn check_ahead(&self, last: Seq, problems: &mut Problems) {
        for row in &self.ahead {
            let what = format!("stored balance of user {}, asset {}", row.user, row.asset);
            let place = Place { shard: self.shard, seq: Some(row.seq), position: None };
            let found = format!("{} of event {}", row.amount, row.seq);
            match self.accounts.get(&(row.user, row.asset)) {
                _ if row.seq > last => problems.add(place, what, format_args!("no row after event {last}"), found),
                Some(account) if account.seq == row.seq && account.amount != row.amount.get() => {
                    problems.add(place, what, account.amount, found);
                }
                Some(account) if account.seq < row.seq => {
                    problems.add(place, what, format_args!("{} of event {}", account.amount, account.seq), found);
                }
                Some(_) => {}
                None => problems.add(place, what, "no row", found),
            }
        }
    }

    /// Adds up one event. `pairs` is told of what it sends; what it receives is compared there before.
    pub fn event(&mut self, at: Place, event: &WalletEvent, pairs: &mut Pairs, problems: &mut Problems) {
        match event {
            WalletEvent::GiftSent(gift) => self.gift(at, gift, pairs, problems),
            WalletEvent::Recharged(recharge) => {
                let said = &recharge.said;
                self.totals.entry(said.asset).or_default().issued += u128::from(said.amount.get());
                let account = (said.user, said.asset);
                self.change(at, Change::Credit, account, u128::from(said.amount.get()), recharge.balance, problems);
            }
            WalletEvent::Transferred(transfer) => self.transfer(at, transfer, pairs, problems),
            WalletEvent::CreditsApplied(applied) => self.credits(at, applied, problems),
            WalletEvent::TransactionBound(_) => {}
        }
    }

    fn gift(&mut self, at: Place, gift: &GiftSent, pairs: &mut Pairs, problems: &mut Problems) {
        let said = &gift.said;
        let pieces = u128::from(said.count.get()) * said.receivers.len() as u128;
        let total = u128::from(gift.unit_price.get()) * pieces;
        let credited: u128 = gift.credits.iter().map(|credit| u128::from(credit.amount.get())).sum();
        if credited != total {
            problems.add(at, "sum of the gift's credits", format_args!("its price {total}"), credited);
        }
        self.change(at, Change::Debit, (said.sender, gift.asset), total, gift.balance, problems);
        for credit in &gift.credits {
            let user = match credit.payee {
                Payee::Account(user) => user,
                Payee::Receiver(place) => match said.receivers.get(usize::from(place)) {
                    Some(user) => *user,
                    None => {
                        problems.add(
                            at,
                            "receiver of a credit",
                            format_args!("one of {}", said.receivers.len()),
                            place,
                        );
                        continue;
                    }
                },
            };
            self.credit_somewhere(at, user, gift.asset, credit.amount, credit.balance, pairs, problems);
        }
        if let Some(points) = gift.points {
            self.totals.entry(points.asset).or_default().issued += u128::from(points.amount.get());
            let account = (said.sender, points.asset);
            self.change(at, Change::Credit, account, u128::from(points.amount.get()), points.balance, problems);
        }
    }

    fn transfer(&mut self, at: Place, transfer: &Transferred, pairs: &mut Pairs, problems: &mut Problems) {
        let said = &transfer.said;
        let told = (transfer.debited.len(), transfer.credited.len());
        if told != (said.debits.len(), said.credits.len()) {
            let expected = format!("{} and {}", said.debits.len(), said.credits.len());
            problems.add(at, "balances after debits and credits", expected, format_args!("{} and {}", told.0, told.1));
            return;
        }
        let mut sums: BTreeMap<AssetId, (u128, u128)> = BTreeMap::new();
        for ((asset, amount), balance) in said.debits.iter().zip(transfer.debited.iter()) {
            sums.entry(*asset).or_default().0 += u128::from(amount.get());
            self.change(at, Change::Debit, (said.user, *asset), u128::from(amount.get()), *balance, problems);
        }
        for (credit, balance) in said.credits.iter().zip(transfer.credited.iter()) {
            let TransferCredit { user, asset, amount } = *credit;
            sums.entry(asset).or_default().1 += u128::from(amount.get());
            self.credit_somewhere(at, user, asset, amount, *balance, pairs, problems);
        }
        for (asset, (debits, credits)) in sums {
            let totals = self.totals.entry(asset).or_default();
            totals.issued += credits.saturating_sub(debits);
            totals.burned += debits.saturating_sub(credits);
        }
    }

    fn credits(&mut self, at: Place, applied: &CreditsApplied, problems: &mut Problems) {
        for (asset, sum) in applied.sources.iter().flat_map(|source| source.sums.iter()) {
            self.totals.entry(*asset).or_default().received += u128::from(sum.get());
        }
        for credit in &applied.credits {
            let account = (credit.user, credit.asset);
            self.change(at, Change::Credit, account, u128::from(credit.amount.get()), credit.balance, problems);
        }
    }

    /// A credit with a balance is one on this shard; one without goes to another.
    #[allow(clippy::too_many_arguments, reason = "an account, an amount, and who is to be told")]
    fn credit_somewhere(
        &mut self,
        at: Place,
        user: UserId,
        asset: AssetId,
        amount: Amount,
        balance: Option<Amount>,
        pairs: &mut Pairs,
        problems: &mut Problems,
    ) {
        let home = self.shape.wallet_of(user);
        match balance {
            Some(balance) => {
                self.change(at, Change::Credit, (user, asset), u128::from(amount.get()), balance, problems);
            }
            None if home == self.shard => {
                problems.add(at, format_args!("credit to user {user}, who is of this shard"), "a balance", "none");
            }
            None => {
                self.totals.entry(asset).or_default().sent += u128::from(amount.get());
                let credit = RemoteCredit { user, asset, amount };
                pairs.send(self.shard.index, home.index, at.seq.unwrap_or_default(), credit);
            }
        }
    }

    fn change(
        &mut self,
        at: Place,
        change: Change,
        (user, asset): (UserId, AssetId),
        amount: u128,
        told: Amount,
        problems: &mut Problems,
    ) {
        let home = self.shape.wallet_of(user);
        if home != self.shard {
            problems.add(at, format_args!("change of a balance of user {user}"), format_args!("in {home}"), self.shard);
        }
        let totals = self.totals.entry(asset).or_default();
        match change {
            Change::Credit => totals.balances += amount,
            // Less than nothing is told below, as the overdraft that it is.
            Change::Debit => totals.balances = totals.balances.saturating_sub(amount),
        }
        let seq = at.seq.unwrap_or_default();
        let begins = Account { amount: 0, seq, is_disputed: false, is_seen: false, is_known: !self.adopts };
        let account = self.accounts.entry((user, asset)).or_insert(begins);
        account.seq = seq;
        let told = told.get();
        if !std::mem::replace(&mut account.is_known, true) {
            account.amount = told;
            return;
        }
        let own = match change {
            Change::Credit => Some(u128::from(account.amount) + amount),
            Change::Debit => u128::from(account.amount).checked_sub(amount),
        };
        let own = own.and_then(|own| u64::try_from(own).ok()).filter(|own| *own <= Amount::MAX.get());
        if own != Some(told) && !std::mem::replace(&mut account.is_disputed, true) {
            let what = format!("balance of user {user}, asset {asset}");
            match own {
                Some(own) => problems.add(at, what, own, told),
                None => {
                    let sign = if change == Change::Debit { '-' } else { '+' };
                    let expected = format!("0 to {} after {} {sign} {amount}", Amount::MAX, account.amount);
                    problems.add(at, what, expected, told);
                }
            }
        }
        account.amount = own.unwrap_or(told);
    }
}
