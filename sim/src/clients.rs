//! Clients: what they want, how often they try, and what they believe came of it.

use std::sync::Arc;

use largesse_engine::codec::Few;
use largesse_engine::event_id::EventId;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::resolve::ControlView;
use largesse_engine::units::{Amount, AssetId, GiftCount, GiftId, RoomId, ShardId, Time, UserId};
use largesse_engine::wallet::command::{
    BindTransaction, GiftSaid, Recharge, RechargeSaid, SendGift, Transfer, TransferCredit, TransferSaid, WalletCommand,
};
use largesse_engine::wallet::event::{Channel, WalletEvent};
use largesse_engine::wallet::outcome::{Applied, Refusal};

use crate::rng::Rng;
use crate::swarm::Swarm;
use crate::world::GIFTS;

pub const COIN: AssetId = AssetId(1);
pub const DIAMOND: AssetId = AssetId(2);
pub const POINT: AssetId = AssetId(3);
/// Takes a share of some gifts.
pub const PLATFORM: UserId = UserId(999);

/// One thing that a client wants, tried as often as it takes.
#[derive(Clone, Debug)]
pub struct Operation {
    pub user: UserId,
    pub id: EventId,
    pub said: Said,
    pub is_bound: bool,
    /// What the client was told, first of all.
    pub applied: Option<Applied>,
    pub refused: Option<Refusal>,
    /// Until then some attempt of it may still be decided.
    pub open_until: Time,
    /// While everything settles it is not tried again before then, in microseconds of the world.
    pub quiet_until: u64,
    /// What the final look at its id brought, once everything had settled.
    pub found: Option<bool>,
}

#[derive(Clone, Debug)]
pub enum Said {
    /// With the price on the sender's screen, if the client says it.
    Gift(GiftSaid, Option<Amount>),
    Recharge(RechargeSaid),
    Transfer(TransferSaid, bool),
}

/// A command on its way, with what its sender needs to understand the answer.
#[derive(Clone, Debug)]
pub struct Sent {
    pub operation: Option<usize>,
    pub command: Arc<WalletCommand>,
    /// It belongs to the last look at every id.
    pub is_final: bool,
    /// The reader of history for whom it was asked.
    pub reader: Option<usize>,
}

impl Operation {
    pub fn is_same_event(&self, event: &WalletEvent) -> bool {
        match (&self.said, event) {
            (Said::Gift(said, _), WalletEvent::GiftSent(sent)) => sent.said.is_same_as(said),
            (Said::Recharge(said), WalletEvent::Recharged(recharged)) => recharged.said == *said,
            (Said::Transfer(said, _), WalletEvent::Transferred(transferred)) => transferred.said.is_same_as(said),
            (Said::Gift(..) | Said::Recharge(_) | Said::Transfer(..), _) => false,
        }
    }

    /// Which shard the next step of it goes to.
    pub fn shard(&self, shape: LedgerShape) -> ShardId {
        match &self.said {
            Said::Recharge(said) if !self.is_bound => {
                let mut hash = [0; 8];
                hash.copy_from_slice(&said.id().as_bytes()[8..]);
                shape.wallet_of(UserId(u64::from_le_bytes(hash)))
            }
            Said::Recharge(_) | Said::Gift(..) | Said::Transfer(..) => shape.wallet_of(self.user),
        }
    }

    /// The next attempt, as a node with this view makes it. `trace` leads from an event back to it.
    pub fn attempt(&self, view: &ControlView, deadline: Time, trace: usize) -> WalletCommand {
        let trace = Some((trace as u128).to_le_bytes());
        match &self.said {
            Said::Gift(said, price_seen) => {
                // The catalog may have changed since the first attempt.
                let resolved = view.resolve(said, *price_seen);
                WalletCommand::SendGift(SendGift { said: said.clone(), resolved, deadline, trace })
            }
            Said::Recharge(said) if !self.is_bound => {
                WalletCommand::BindTransaction(Box::new(BindTransaction { said: said.clone(), deadline }))
            }
            Said::Recharge(said) => WalletCommand::Recharge(Box::new(Recharge { said: said.clone(), deadline, trace })),
            Said::Transfer(said, may_issue) => {
                let said = said.clone();
                WalletCommand::Transfer(Box::new(Transfer { said, may_issue: *may_issue, deadline, trace }))
            }
        }
    }

    /// A new wish, sometimes under an id that was used before.
    pub fn draw(rng: &mut Rng, swarm: &Swarm, earlier: &[Operation], now: Time, view: &ControlView) -> Operation {
        let drawn = earlier.len() as u64;
        if swarm.are_rich && drawn < swarm.users {
            return Operation::grant(rng, swarm, UserId(drawn + 1), now);
        }
        let user = UserId(rng.between(1, swarm.users));
        let reused = (!earlier.is_empty() && rng.chance(50)).then(|| rng.pick(earlier).clone());
        let user = reused.as_ref().map_or(user, |reused| reused.user);
        let id = reused.as_ref().map_or_else(|| draw_id(rng, swarm, now), |reused| reused.id);
        let said = match rng.between(0, 9) {
            0..=2 => Said::Recharge(draw_recharge(rng, user, reused.as_ref())),
            3..=7 => draw_gift(rng, swarm, user, id, view),
            _ => draw_transfer(rng, swarm, user, id),
        };
        Operation::new(user, id, said)
    }

    /// Enough for many gifts.
    fn grant(rng: &mut Rng, swarm: &Swarm, user: UserId, now: Time) -> Operation {
        let id = draw_id(rng, swarm, now);
        let credit = |asset, sum| TransferCredit { user, asset, amount: amount(sum) };
        let credits = [credit(COIN, 5_000), credit(DIAMOND, 5_000)].into_iter().collect();
        let said = TransferSaid { id, key: None, user, debits: Few::default(), credits, reference: None };
        Operation::new(user, id, Said::Transfer(said, true))
    }

    /// The same gift once more, as somebody taps who wants a streak; nothing else is repeated like this.
    pub fn draw_tap(&self, rng: &mut Rng, swarm: &Swarm, now: Time) -> Option<Operation> {
        let Said::Gift(said, price_seen) = &self.said else { return None };
        let id = draw_id(rng, swarm, now);
        let mut said = GiftSaid { id, ..said.clone() };
        if rng.chance(100) {
            said.combo = rng.chance(500).then(|| rng.between(1, 3));
        }
        if rng.chance(100) {
            said.receivers.truncate(1);
        }
        if rng.chance(200) {
            said.anonymous = !said.anonymous;
        }
        Some(Operation::new(self.user, id, Said::Gift(said, *price_seen)))
    }

    fn new(user: UserId, id: EventId, said: Said) -> Operation {
        let id = match &said {
            Said::Recharge(said) => said.id(),
            Said::Gift(..) | Said::Transfer(..) => id,
        };
        Operation {
            user,
            id,
            said,
            is_bound: false,
            applied: None,
            refused: None,
            open_until: Time::ZERO,
            quiet_until: 0,
            found: None,
        }
    }
}

fn draw_id(rng: &mut Rng, swarm: &Swarm, now: Time) -> EventId {
    let time = match rng.between(0, 19) {
        0..=3 => return EventId::hashed("sim", &[&rng.number().to_string()]),
        4 => now.plus_millis(rng.between(1, 59_000)),
        5 => now.plus_millis(rng.between(59_000, 90_000)),
        6 => now.minus_millis(swarm.history_millis.min(1 << 30) + rng.between(0, 10_000)),
        7..=9 => now.minus_millis(rng.between(0, 120_000)),
        _ => now,
    };
    EventId::v7(time, rng.bytes())
}

fn draw_recharge(rng: &mut Rng, user: UserId, reused: Option<&Operation>) -> RechargeSaid {
    if let Some(Operation { said: Said::Recharge(first), .. }) = reused {
        // The same payment, for another amount.
        return RechargeSaid { amount: amount(first.amount.get() + 1), ..first.clone() };
    }
    let transaction = format!("t{}", rng.between(0, 1 << 40)).into();
    let asset = *rng.pick(&[COIN, COIN, COIN, DIAMOND]);
    RechargeSaid { channel: Channel::Apple, transaction, user, asset, amount: amount(rng.between(1, 500)) }
}

fn draw_gift(rng: &mut Rng, swarm: &Swarm, sender: UserId, id: EventId, view: &ControlView) -> Said {
    let mut receivers = Few::default();
    for _ in 0..rng.between(1, 3) {
        let receiver = UserId(rng.between(1, swarm.users));
        if receiver != sender && !receivers.contains(&receiver) {
            receivers.push(receiver);
        }
    }
    if receivers.is_empty() {
        receivers.push(UserId(if sender == UserId(1) { 2 } else { 1 }));
    }
    let gift = GiftId(u32::try_from(rng.between(1, u64::from(GIFTS))).expect("it is small"));
    let count = GiftCount::new(rng.between(1, 3)).expect("it is small");
    let price_seen = view.catalog.gift(gift).map(|gift| gift.price).filter(|_| rng.chance(300));
    let room = RoomId(rng.between(1, swarm.rooms_max));
    let combo = rng.chance(300).then(|| rng.between(1, 3));
    let anonymous = rng.chance(300);
    Said::Gift(GiftSaid { id, key: None, sender, room, gift, count, receivers, combo, anonymous }, price_seen)
}

fn draw_transfer(rng: &mut Rng, swarm: &Swarm, user: UserId, id: EventId) -> Said {
    let sum = rng.between(1, 60);
    let may_issue = rng.chance(400);
    let credit = |rng: &mut Rng, asset, sum| TransferCredit {
        user: UserId(rng.between(1, swarm.users)),
        asset,
        amount: amount(sum),
    };
    let mut credits = Few::default();
    credits.push(credit(rng, COIN, sum));
    if rng.chance(300) {
        credits.push(credit(rng, DIAMOND, 5));
    }
    let mut debits = Few::default();
    if !may_issue || rng.chance(500) {
        debits.push((COIN, amount(sum)));
    }
    if rng.chance(300) {
        debits.push((DIAMOND, amount(5)));
    }
    Said::Transfer(TransferSaid { id, key: None, user, debits, credits, reference: None }, may_issue)
}

fn amount(units: u64) -> Amount {
    Amount::new(units).expect("amounts here are small")
}
