//! The rules: which command becomes which event, and which is refused and why.

use crate::codec::Few;
use crate::event_id::EventId;
use crate::machine::{Decision, Impossible};
use crate::relay::RelayPart;
use crate::sabotage::{self, Rule};
use crate::units::{Amount, AssetId, Time, UserId};
use crate::wallet::command::{BindTransaction, GiftTerms, Recharge, SendGift, Transfer};
use crate::wallet::event::{
    AccountCredited, Credit, CreditsApplied, GiftSent, PointsIssued, Recharged, SourceApplied, Transferred, WalletEvent,
};
use crate::wallet::outbox::merged_credits;
use crate::wallet::outcome::{Refusal, WalletOutcome};
use crate::wallet::wallets::{Wallets, applied};
use crate::wallet::window::{ID_AHEAD_MILLIS, Remembered};

type Decided = Result<Decision<WalletEvent, WalletOutcome>, Refusal>;

pub(super) fn gift(wallets: &Wallets, gift: &SendGift, now: Time) -> Decided {
    check_deadline(gift.deadline, now)?;
    let said = &gift.said;
    if sabotage::is(Rule::IdBeforePrice)
        && let Err(unresolved) = &gift.resolved
    {
        return Err(Refusal::Unresolved(*unresolved));
    }
    if let Some(mut found) = wallets.judge_id(said.sender, said.id, now)? {
        if sabotage::is(Rule::FirstPrice)
            && let (WalletEvent::GiftSent(first), Ok(terms)) = (&mut found.event, &gift.resolved)
        {
            first.unit_price = terms.unit_price;
        }
        return match &found.event {
            WalletEvent::GiftSent(first) if first.said.is_same_as(said) => Ok(replayed(&found)),
            WalletEvent::GiftSent(_)
            | WalletEvent::Recharged(_)
            | WalletEvent::Transferred(_)
            | WalletEvent::CreditsApplied(_)
            | WalletEvent::TransactionBound(_) => Err(Refusal::IdReused),
        };
    }
    let terms = gift.resolved.as_ref().map_err(|unresolved| Refusal::Unresolved(*unresolved))?;
    let pieces = u64::from(said.count.get()) * said.receivers.len() as u64;
    let total = terms.unit_price.times(pieces).expect("terms are resolved only for totals that fit");
    let available = wallets.balance(said.sender, terms.asset);
    if let Some(impossible) = wallets.contradiction(said.sender, terms.asset, available) {
        return Ok(Decision::Impossible(impossible));
    }
    let Some(balance) = available.checked_sub(total) else {
        return Err(Refusal::InsufficientFunds { asset: terms.asset, needed: total, available });
    };
    if let Some((asset, amount)) = terms.points
        && !wallets.books.can_issue(asset, amount)
    {
        return Err(Refusal::IssueLimit { asset });
    }
    // Past this line the gift is paid.
    let mut changed = Changed::new(wallets);
    changed.set(said.sender, terms.asset, balance);
    let credits = credits(&mut changed, gift, terms);
    let points = terms.points.map(|(asset, amount)| {
        let balance = changed.credit(said.sender, asset, amount);
        PointsIssued { asset, amount, balance }
    });
    debug_assert_eq!(sum(&credits), total, "what is credited is what was debited");
    Ok(Decision::New(WalletEvent::GiftSent(GiftSent {
        said: said.clone(),
        catalog: terms.catalog,
        unit_price: terms.unit_price,
        asset: terms.asset,
        balance,
        credits,
        points,
        trace: gift.trace,
    })))
}

fn credits(changed: &mut Changed<'_>, gift: &SendGift, terms: &GiftTerms) -> Few<Credit> {
    terms
        .credits
        .iter()
        .map(|term| {
            let user = term.payee.user(&gift.said);
            let balance = changed.wallets.is_mine(user).then(|| changed.credit(user, terms.asset, term.amount));
            Credit { payee: term.payee, amount: term.amount, balance, spread: term.spread }
        })
        .collect()
}

pub(super) fn recharge(wallets: &Wallets, recharge: &Recharge, now: Time) -> Decided {
    check_deadline(recharge.deadline, now)?;
    let said = &recharge.said;
    if let Some(found) = wallets.judge_id(said.user, said.id(), now)? {
        return match &found.event {
            WalletEvent::Recharged(first) if first.said == *said => Ok(replayed(&found)),
            WalletEvent::Recharged(_)
            | WalletEvent::GiftSent(_)
            | WalletEvent::Transferred(_)
            | WalletEvent::CreditsApplied(_)
            | WalletEvent::TransactionBound(_) => Err(Refusal::IdReused),
        };
    }
    if said.amount.is_zero() {
        return Err(Refusal::ZeroAmount);
    }
    if !wallets.books.can_issue(said.asset, said.amount) {
        return Err(Refusal::IssueLimit { asset: said.asset });
    }
    let balance = Changed::new(wallets).credit(said.user, said.asset, said.amount);
    Ok(Decision::New(WalletEvent::Recharged(Recharged { said: said.clone(), balance, trace: recharge.trace })))
}

pub(super) fn bind(wallets: &Wallets, bind: &BindTransaction, now: Time) -> Decided {
    check_deadline(bind.deadline, now)?;
    match wallets.judge_id(UserId::NOBODY, bind.said.id(), now)?.map(|found| found.event) {
        None => Ok(Decision::New(WalletEvent::TransactionBound(bind.said.clone()))),
        Some(WalletEvent::TransactionBound(first)) if first == bind.said => Ok(Decision::Told(WalletOutcome::Bound)),
        Some(_) => Err(Refusal::IdReused),
    }
}

pub(super) fn transfer(wallets: &Wallets, transfer: &Transfer, now: Time) -> Decided {
    check_deadline(transfer.deadline, now)?;
    let said = &transfer.said;
    if let Some(found) = wallets.judge_id(said.user, said.id, now)? {
        return match &found.event {
            WalletEvent::Transferred(first) if first.said.is_same_as(said) => Ok(replayed(&found)),
            WalletEvent::Transferred(_)
            | WalletEvent::GiftSent(_)
            | WalletEvent::Recharged(_)
            | WalletEvent::CreditsApplied(_)
            | WalletEvent::TransactionBound(_) => Err(Refusal::IdReused),
        };
    }
    let mut amounts = said.debits.iter().map(|(_, amount)| amount).chain(said.credits.iter().map(|it| &it.amount));
    if amounts.any(|amount| amount.is_zero()) {
        return Err(Refusal::ZeroAmount);
    }
    for (asset, (debits, credits)) in said.sums().iter() {
        if debits != credits && !transfer.may_issue {
            return Err(Refusal::Unbalanced { asset });
        }
        let issued = u64::try_from(credits.saturating_sub(*debits)).ok().and_then(Amount::new);
        if !issued.is_some_and(|issued| wallets.books.can_issue(asset, issued)) {
            return Err(Refusal::IssueLimit { asset });
        }
    }
    let mut changed = Changed::new(wallets);
    let mut debited = Few::default();
    for &(asset, amount) in &said.debits {
        let available = changed.balance(said.user, asset);
        if let Some(impossible) = wallets.contradiction(said.user, asset, available) {
            return Ok(Decision::Impossible(impossible));
        }
        let Some(balance) = available.checked_sub(amount) else {
            return Err(Refusal::InsufficientFunds { asset, needed: amount, available });
        };
        changed.set(said.user, asset, balance);
        debited.push(balance);
    }
    let credited = said
        .credits
        .iter()
        .map(|credit| wallets.is_mine(credit.user).then(|| changed.credit(credit.user, credit.asset, credit.amount)))
        .collect();
    Ok(Decision::New(WalletEvent::Transferred(Transferred {
        said: said.clone(),
        debited,
        credited,
        trace: transfer.trace,
    })))
}

impl Wallets {
    /// A balance that is more than all balances of this shard together. An owner that was replaced and does not know it yet
    /// may read a row of the next owner's events, whose numbers are those of its own.
    fn contradiction(&self, user: UserId, asset: AssetId, balance: Amount) -> Option<Impossible> {
        let all = self.books.totals_of(asset).balances;
        (u128::from(balance.get()) > all).then(|| {
            Impossible(format!("user {user} has {balance} of asset {asset}, and everybody in {} {all}", self.shard))
        })
    }

    /// The id is judged before anything else: an event of it that is known, or why it cannot be a new one.
    fn judge_id(&self, user: UserId, id: EventId, now: Time) -> Result<Option<Remembered>, Refusal> {
        if let Some(found) = self.find(user, id) {
            return Ok(Some(found));
        }
        let oldest = now.minus_millis(self.limits.history_millis);
        match id.time() {
            Some(time) if time > now.plus_millis(ID_AHEAD_MILLIS) => Err(Refusal::IdTimeAhead { now }),
            Some(time) if time < oldest => Err(Refusal::IdTooOld { oldest }),
            Some(_) | None => Ok(None),
        }
    }

    /// Credits from other shards: each part counts that goes on exactly where its source stands; never refused.
    pub(super) fn judge(&self, parts: &[RelayPart]) -> Decision<WalletEvent, WalletOutcome> {
        let mut sources: Few<SourceApplied> = Few::default();
        let mut credits = Vec::new();
        for part in parts.iter().filter(|part| self.is_next(part)) {
            if sources.iter().any(|applied| applied.source == part.source) {
                continue; // It was cut before the first of its source was applied; the answer tells where to go on.
            }
            let received = &self.books.received_from(part.source).total;
            if *received != part.before && !sabotage::is(Rule::WatermarkCheck) {
                return Decision::Impossible(Impossible(format!(
                    "wallet-{} and {} disagree at event {}: sent {:?}, received {received:?}; something between them \
                     was lost or doubled",
                    part.source, self.shard, part.after, part.before
                )));
            }
            if let Some(stranger) = part.credits.iter().find(|credit| !self.is_mine(credit.user)) {
                return Decision::Impossible(Impossible(format!(
                    "wallet-{} sent {} a credit of user {}, who does not live there",
                    part.source, self.shard, stranger.user
                )));
            }
            sources.push(SourceApplied {
                source: part.source,
                up_to: part.up_to,
                sums: part.sums.iter().map(|(asset, sum)| (asset, amount(*sum))).collect(),
            });
            credits =
                if credits.is_empty() { part.credits.clone() } else { merged_credits(credits, part.credits.clone()) };
        }
        if sources.is_empty() {
            return Decision::Told(WalletOutcome::Credits(self.stands(parts)));
        }
        let credits = credits
            .into_iter()
            .map(|credit| {
                let (user, asset, amount) = (credit.user, credit.asset, credit.amount);
                AccountCredited { user, asset, amount, balance: plus(self.balance(user, asset), amount) }
            })
            .collect();
        Decision::New(WalletEvent::CreditsApplied(CreditsApplied { sources, credits }))
    }
}

/// Balances as they are within one event, on top of those in memory.
struct Changed<'a> {
    wallets: &'a Wallets,
    /// An event asked for by a caller changes few accounts; a list is faster than a map.
    changed: smallvec::SmallVec<[(UserId, AssetId, Amount); 4]>,
}

impl<'a> Changed<'a> {
    fn new(wallets: &'a Wallets) -> Changed<'a> {
        Changed { wallets, changed: smallvec::SmallVec::new() }
    }

    fn balance(&self, user: UserId, asset: AssetId) -> Amount {
        match self.changed.iter().find(|(changed, of, _)| (*changed, *of) == (user, asset)) {
            Some((_, _, balance)) => *balance,
            None => self.wallets.balance(user, asset),
        }
    }

    fn set(&mut self, user: UserId, asset: AssetId, balance: Amount) {
        match self.changed.iter_mut().find(|(changed, of, _)| (*changed, *of) == (user, asset)) {
            Some(entry) => entry.2 = balance,
            None => self.changed.push((user, asset, balance)),
        }
    }

    fn credit(&mut self, user: UserId, asset: AssetId, amount: Amount) -> Amount {
        let balance = plus(self.balance(user, asset), amount);
        self.set(user, asset, balance);
        balance
    }
}

/// A sum of credits, all of which are money that there is.
fn amount(sum: u128) -> Amount {
    u64::try_from(sum).ok().and_then(Amount::new).expect("all money there is fits an amount")
}

fn plus(balance: Amount, amount: Amount) -> Amount {
    balance.checked_add(amount).expect("all money that was ever issued fits an amount")
}

fn check_deadline(deadline: Time, now: Time) -> Result<(), Refusal> {
    if now > deadline { Err(Refusal::Expired) } else { Ok(()) }
}

fn replayed(found: &Remembered) -> Decision<WalletEvent, WalletOutcome> {
    Decision::Told(WalletOutcome::Applied(applied(found.seq, found.at, &found.event, true)))
}

fn sum(credits: &Few<Credit>) -> Amount {
    credits.iter().fold(Amount::ZERO, |sum, credit| plus(sum, credit.amount))
}
