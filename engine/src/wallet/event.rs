//! What a wallet shard decided, as it is stored for years.
//!
//! Every event carries the new balance of each account that it changed on this shard, so nobody who folds a log needs to
//! read a row. Variants are only added, at the end; `engine/golden/` keeps the bytes, and [`stored`](super::stored) makes them.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec::Few;
use crate::event_id::EventId;
use crate::units::{Amount, AssetId, CatalogVersion, Seq, UserId};
use crate::wallet::command::{GiftSaid, RechargeSaid, TransferCredit, TransferSaid};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletEvent {
    GiftSent(GiftSent),
    Recharged(Recharged),
    Transferred(Transferred),
    CreditsApplied(CreditsApplied),
    /// The transaction belongs to this recharge and to no other.
    TransactionBound(RechargeSaid),
}

/// Trace of the request, as in W3C trace context.
pub type TraceId = [u8; 16];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiftSent {
    pub said: GiftSaid,
    pub catalog: CatalogVersion,
    pub unit_price: Amount,
    pub asset: AssetId,
    /// The sender's balance of `asset` right after the debit. Nobody is credited by a gift of their own in its asset.
    pub balance: Amount,
    pub credits: Few<Credit>,
    pub points: Option<PointsIssued>,
    pub trace: Option<TraceId>,
}

impl GiftSent {
    /// Unit price × count × receivers; was checked to fit when it was decided.
    pub fn total(&self) -> Amount {
        let pieces = u64::from(self.said.count.get()) * self.said.receivers.len() as u64;
        self.unit_price.times(pieces).expect("the total was checked when the gift was decided")
    }

    pub fn payee(&self, credit: &Credit) -> UserId {
        credit.payee.user(&self.said)
    }
}

/// What one account gets out of a gift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Credit {
    pub payee: Payee,
    pub amount: Amount,
    /// The new balance if the account lives on this shard; otherwise a relay carries the amount there.
    pub balance: Option<Amount>,
    /// Which part of the receiver's history its row goes to.
    pub spread: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Payee {
    /// One of the gift's receivers, by its place in the list.
    Receiver(u8),
    /// An account that the rules give a share to.
    Account(UserId),
}

impl Payee {
    pub fn user(self, said: &GiftSaid) -> UserId {
        match self {
            Payee::Receiver(place) => said.receivers[usize::from(place)],
            Payee::Account(user) => user,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PointsIssued {
    pub asset: AssetId,
    pub amount: Amount,
    pub balance: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Recharged {
    pub said: RechargeSaid,
    pub balance: Amount,
    pub trace: Option<TraceId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Transferred {
    pub said: TransferSaid,
    /// New balance per debit, in the order of `said.debits`; before any credit of the same event.
    pub debited: Few<Amount>,
    /// New balance per credit on this shard, in the order of `said.credits`; `None` where a relay carries it.
    pub credited: Few<Option<Amount>>,
    pub trace: Option<TraceId>,
}

/// Credits that came from other shards, summed up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CreditsApplied {
    pub sources: Few<SourceApplied>,
    /// Merged over all sources, sorted by account.
    pub credits: Vec<AccountCredited>,
}

/// How far one source has come, and what it brought.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SourceApplied {
    /// Index of the source wallet shard.
    pub source: u16,
    /// The new watermark.
    pub up_to: Seq,
    pub sums: Few<(AssetId, Amount)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AccountCredited {
    pub user: UserId,
    pub asset: AssetId,
    pub amount: Amount,
    pub balance: Amount,
}

/// Where a payment came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Apple,
    Wechat,
    Alipay,
    Douyin,
    Manual,
}

impl Channel {
    pub const ALL: [Channel; 5] = [Channel::Apple, Channel::Wechat, Channel::Alipay, Channel::Douyin, Channel::Manual];

    pub fn name(self) -> &'static str {
        match self {
            Channel::Apple => "apple",
            Channel::Wechat => "wechat",
            Channel::Alipay => "alipay",
            Channel::Douyin => "douyin",
            Channel::Manual => "manual",
        }
    }

    /// The key of a payment: its channel and its number there.
    pub fn event_id(self, transaction: &str) -> EventId {
        EventId::hashed("recharge", &[self.name(), transaction])
    }
}

/// One change that an event makes to one account of its own shard, in the order of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountChange {
    pub user: UserId,
    pub asset: AssetId,
    pub direction: Direction,
    pub amount: Amount,
    /// Afterwards.
    pub balance: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Debit,
    Credit,
}

/// An amount that the event sends to an account on another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RemoteCredit {
    pub user: UserId,
    pub asset: AssetId,
    pub amount: Amount,
}

impl WalletEvent {
    /// The user and id under which a repeated attempt finds this event, if it was asked for by one.
    pub fn key(&self) -> Option<(UserId, EventId)> {
        match self {
            WalletEvent::GiftSent(gift) => Some((gift.said.sender, gift.said.id)),
            WalletEvent::Recharged(recharge) => Some((recharge.said.user, recharge.said.id())),
            WalletEvent::Transferred(transfer) => Some((transfer.said.user, transfer.said.id)),
            WalletEvent::CreditsApplied(_) => None,
            WalletEvent::TransactionBound(said) => Some((UserId::NOBODY, said.id())),
        }
    }

    /// Every change to an account of this shard. For one account changed twice, the later one has its final balance.
    pub fn for_each_change(&self, mut each: impl FnMut(AccountChange)) {
        use Direction::{Credit, Debit};
        match self {
            WalletEvent::GiftSent(gift) => {
                let (user, asset) = (gift.said.sender, gift.asset);
                each(AccountChange { user, asset, direction: Debit, amount: gift.total(), balance: gift.balance });
                for credit in &gift.credits {
                    if let Some(balance) = credit.balance {
                        let user = gift.payee(credit);
                        each(AccountChange { user, asset, direction: Credit, amount: credit.amount, balance });
                    }
                }
                if let Some(PointsIssued { asset, amount, balance }) = gift.points {
                    each(AccountChange { user, asset, direction: Credit, amount, balance });
                }
            }
            WalletEvent::Recharged(Recharged { said, balance, .. }) => each(AccountChange {
                user: said.user,
                asset: said.asset,
                direction: Credit,
                amount: said.amount,
                balance: *balance,
            }),
            WalletEvent::Transferred(transfer) => {
                let user = transfer.said.user;
                for (&(asset, amount), &balance) in transfer.said.debits.iter().zip(transfer.debited.iter()) {
                    each(AccountChange { user, asset, direction: Debit, amount, balance });
                }
                for (credit, balance) in transfer.said.credits.iter().zip(transfer.credited.iter()) {
                    if let Some(balance) = *balance {
                        let TransferCredit { user, asset, amount } = *credit;
                        each(AccountChange { user, asset, direction: Credit, amount, balance });
                    }
                }
            }
            WalletEvent::CreditsApplied(applied) => {
                for &AccountCredited { user, asset, amount, balance } in &applied.credits {
                    each(AccountChange { user, asset, direction: Credit, amount, balance });
                }
            }
            WalletEvent::TransactionBound(_) => {}
        }
    }

    /// Every amount that a relay has to carry to another shard.
    pub fn for_each_remote(&self, mut each: impl FnMut(RemoteCredit)) {
        match self {
            WalletEvent::GiftSent(gift) => {
                for credit in gift.credits.iter().filter(|credit| credit.balance.is_none()) {
                    each(RemoteCredit { user: gift.payee(credit), asset: gift.asset, amount: credit.amount });
                }
            }
            WalletEvent::Transferred(transfer) => {
                for (credit, balance) in transfer.said.credits.iter().zip(transfer.credited.iter()) {
                    if balance.is_none() {
                        let TransferCredit { user, asset, amount } = *credit;
                        each(RemoteCredit { user, asset, amount });
                    }
                }
            }
            WalletEvent::Recharged(_) | WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => {}
        }
    }
}
