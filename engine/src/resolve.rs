//! Settles what a gift costs and who gets what, before its shard is asked: the shard needs no catalog.

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{Catalog, PointsRule, Share};
use crate::codec::Few;
use crate::control::keys::Keys;
use crate::room::settings::Room;
use crate::units::{Amount, RoomId, Seq};
use crate::wallet::command::{CreditTerm, GiftSaid, GiftTerms, Unresolved};
use crate::wallet::event::Payee;

/// Everything that is set at run time, as one node sees it: folded from the control shard.
#[derive(Clone, Debug)]
pub struct ControlView {
    pub catalog: Arc<Catalog>,
    pub rooms: Arc<HashMap<RoomId, Room>>,
    /// Keys of services that were made at run time.
    pub keys: Keys,
    /// The last event of the control shard that is in here.
    pub seq: Seq,
}

impl ControlView {
    /// The terms of a gift under this catalog. `price_seen` is the unit price on the sender's screen.
    pub fn resolve(&self, said: &GiftSaid, price_seen: Option<Amount>) -> Result<GiftTerms, Unresolved> {
        let room = self.rooms.get(&said.room).ok_or(Unresolved::RoomUnknown(said.room))?;
        if room.is_closed {
            return Err(Unresolved::RoomClosed(said.room));
        }
        let gift = self.catalog.gift(said.gift).ok_or(Unresolved::GiftUnknown(said.gift))?;
        if room.gifts.as_ref().is_some_and(|gifts| !gifts.contains(&said.gift)) {
            return Err(Unresolved::GiftNotInRoom { gift: said.gift, room: said.room });
        }
        if let Some(stranger) = said.receivers.iter().find(|receiver| !room.hosts.contains(receiver)) {
            return Err(Unresolved::HostNotInRoom { host: *stranger, room: said.room });
        }
        match price_seen {
            Some(seen) if seen != gift.price => return Err(Unresolved::PriceChanged { seen, now: gift.price }),
            Some(_) | None => {}
        }
        let asset = self.catalog.asset(&gift.asset).expect("a checked catalog lists every gift's asset");
        let each = gift.price.times(u64::from(said.count.get())).ok_or(Unresolved::TotalTooLarge)?;
        let total = each.times(said.receivers.len() as u64).ok_or(Unresolved::TotalTooLarge)?;
        let points = self.catalog.rules().points.as_ref().and_then(|rule| self.points(rule, &gift.asset, total));
        let credits = credits(said, each, &self.catalog.rules().shares);
        Ok(GiftTerms { catalog: self.catalog.version(), unit_price: gift.price, asset, credits, points })
    }

    fn points(&self, rule: &PointsRule, spent: &str, total: Amount) -> Option<(crate::units::AssetId, Amount)> {
        if rule.for_asset != spent {
            return None;
        }
        let points = u128::from(total.get()) * u128::from(rule.per_thousand) / 1_000;
        let points = u64::try_from(points).ok().and_then(Amount::new).filter(|points| !points.is_zero())?;
        Some((self.catalog.asset(&rule.asset)?, points))
    }
}

/// Each receiver's part less the shares, then the shares, one credit per account.
fn credits(said: &GiftSaid, each: Amount, shares: &[Share]) -> Few<CreditTerm> {
    // Nobody is given a share of a gift of their own; it stays with the receivers.
    let shares = || shares.iter().filter(|share| share.account != said.sender);
    let part = |share: &Share| permille(each, share.permille);
    let shared: u64 = shares().map(|share| part(share).get()).sum();
    let rest = Amount::new(each.get() - shared).expect("a part of an amount is an amount");
    let mut credits = Few::default();
    for place in (0u8..).take(said.receivers.len()) {
        credits.push(CreditTerm { payee: Payee::Receiver(place), amount: rest, spread: 0 });
    }
    for share in shares() {
        let amount = part(share).times(said.receivers.len() as u64).expect("less than the total, which fits");
        credits.push(CreditTerm { payee: Payee::Account(share.account), amount, spread: 0 });
    }
    credits.retain(|credit| !credit.amount.is_zero());
    credits
}

fn permille(amount: Amount, permille: u16) -> Amount {
    let part = u128::from(amount.get()) * u128::from(permille) / 1_000;
    u64::try_from(part).ok().and_then(Amount::new).expect("a part of an amount is an amount")
}
