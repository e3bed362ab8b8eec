//! What can be asked of a wallet shard.

use crate::codec::Few;
use crate::event_id::EventId;
use crate::per_asset::PerAsset;
use crate::relay::RelayPart;
use crate::units::{Amount, AssetId, CatalogVersion, GiftCount, GiftId, RoomId, Seq, Time, UserId};
use crate::wallet::event::{Channel, Payee, TraceId};
use bincode::{Decode, Encode};
use serde::Serialize;

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every command is a gift, and a batch of them lies in one piece")]
pub enum WalletCommand {
    SendGift(SendGift),
    Recharge(Box<Recharge>),
    Transfer(Box<Transfer>),
    /// From a relay. Never refused; what does not fit its source's watermark changes nothing.
    ApplyCredits(Vec<RelayPart>),
    /// All balances of a user.
    Read {
        user: UserId,
        /// Waits for the credits of this source shard up to this event, but not beyond `wait_until`.
        after: Option<(u16, Seq)>,
        wait_until: Time,
    },
    /// What became of an id. Goes through the shard, behind everything that was admitted before it.
    FindReceipt {
        user: UserId,
        id: EventId,
    },
    /// Ties a payment's transaction to one recharge, before that is made; see [`BindTransaction`].
    BindTransaction(Box<BindTransaction>),
}

/// A gift as the caller said it and as it was resolved from the catalog, kept apart: a retry is compared with the first.
#[derive(Clone, Debug)]
pub struct SendGift {
    pub said: GiftSaid,
    pub resolved: Result<GiftTerms, Unresolved>,
    /// Past this time it is not decided any more.
    pub deadline: Time,
    pub trace: Option<TraceId>,
}

/// What the caller said. Two gifts of one sender with one id are the same gift if this is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiftSaid {
    pub id: EventId,
    /// The caller's key where it does not write back to the same string from `id`. Not compared.
    pub key: Option<Box<str>>,
    pub sender: UserId,
    pub room: RoomId,
    pub gift: GiftId,
    pub count: GiftCount,
    /// Distinct, none of them the sender, 1 to [`crate::units::RECEIVERS_MAX`].
    pub receivers: Few<UserId>,
    /// The client's own number for a streak of taps.
    pub combo: Option<u64>,
    /// Nobody is told whose gift it is, but for services and the sender.
    pub anonymous: bool,
}

/// What a gift costs and who gets what, settled before the shard is asked so that a replay needs no catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiftTerms {
    pub catalog: CatalogVersion,
    pub unit_price: Amount,
    pub asset: AssetId,
    /// Their sum is unit price × count × receivers.
    pub credits: Few<CreditTerm>,
    /// Activity points for the sender, issued with the gift.
    pub points: Option<(AssetId, Amount)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditTerm {
    pub payee: Payee,
    pub amount: Amount,
    pub spread: u8,
}

/// Why a gift could not be resolved. The shard says so only after it has looked for the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    #[error("gift {0} is not in the catalog")]
    GiftUnknown(GiftId),
    #[error("gift {gift} is not sold in room {room}")]
    GiftNotInRoom { gift: GiftId, room: RoomId },
    #[error("room {0} does not exist")]
    RoomUnknown(RoomId),
    #[error("room {0} is closed")]
    RoomClosed(RoomId),
    #[error("user {host} is not a host of room {room}")]
    HostNotInRoom { host: UserId, room: RoomId },
    #[error("the price is {now} now, the sender saw {seen}")]
    PriceChanged { seen: Amount, now: Amount },
    #[error("price × count × receivers is more than an amount can be")]
    TotalTooLarge,
}

/// Money comes in: issued to a user against a payment.
#[derive(Clone, Debug)]
pub struct Recharge {
    pub said: RechargeSaid,
    pub deadline: Time,
    pub trace: Option<TraceId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RechargeSaid {
    pub channel: Channel,
    /// The payment's number at its channel; with it the key: `(channel, transaction)`.
    pub transaction: Box<str>,
    pub user: UserId,
    pub asset: AssetId,
    pub amount: Amount,
}

impl RechargeSaid {
    pub fn id(&self) -> EventId {
        self.channel.event_id(&self.transaction)
    }
}

/// A transaction may pay once among all users, yet users live on different shards. So the shard of the transaction's own
/// id first binds it to one recharge for ever; only then the user's shard issues. Both steps can be repeated.
#[derive(Clone, Debug)]
pub struct BindTransaction {
    pub said: RechargeSaid,
    pub deadline: Time,
}

/// The general form: one user's debits and anybody's credits in one event.
#[derive(Clone, Debug)]
pub struct Transfer {
    pub said: TransferSaid,
    /// Without it, credits must equal debits for each asset.
    pub may_issue: bool,
    pub deadline: Time,
    pub trace: Option<TraceId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TransferSaid {
    pub id: EventId,
    pub key: Option<Box<str>>,
    /// The acting user: whose shard decides, and whose accounts are debited.
    pub user: UserId,
    /// At most one per asset.
    pub debits: Few<(AssetId, Amount)>,
    /// At most one per account.
    pub credits: Few<TransferCredit>,
    /// What it is for, up to 128 characters, as the caller wrote it.
    pub reference: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct TransferCredit {
    pub user: UserId,
    pub asset: AssetId,
    pub amount: Amount,
}

/// Debits and credits of one transfer, at most.
pub const TRANSFER_CHANGES_MAX: usize = 64;

impl GiftSaid {
    /// Whether a retry asks for the same; the spelling of the key does not matter.
    pub fn is_same_as(&self, other: &GiftSaid) -> bool {
        self.id == other.id
            && self.sender == other.sender
            && self.room == other.room
            && self.gift == other.gift
            && self.count == other.count
            && self.receivers == other.receivers
            && self.combo == other.combo
            && self.anonymous == other.anonymous
    }
}

impl TransferSaid {
    pub fn is_same_as(&self, other: &TransferSaid) -> bool {
        self.id == other.id
            && self.user == other.user
            && self.debits == other.debits
            && self.credits == other.credits
            && self.reference == other.reference
    }
}

impl TransferSaid {
    /// Debits and credits by asset.
    pub fn sums(&self) -> PerAsset<(u128, u128)> {
        let mut sums: PerAsset<(u128, u128)> = PerAsset::default();
        for (asset, amount) in &self.debits {
            sums.entry(*asset).0 += u128::from(amount.get());
        }
        for credit in &self.credits {
            sums.entry(credit.asset).1 += u128::from(credit.amount.get());
        }
        sums
    }
}
