//! What a wallet shard tells those who asked.

use crate::relay::Acknowledged;
use crate::store::StoredEvent;
use crate::units::{Amount, AssetId, Seq, Time};
use crate::wallet::command::Unresolved;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletOutcome {
    /// The event is in the log, now or since the first attempt.
    Applied(Applied),
    /// Nothing was changed and nothing remembered; the same id may be sent again and is judged afresh.
    Refused(Refusal),
    Balances(Balances),
    /// What [`crate::wallet::command::WalletCommand::FindReceipt`] found, and the shard's time when it looked.
    Receipt {
        found: Option<Box<StoredEvent>>,
        now: Time,
    },
    /// Where each source stands, durable.
    Credits(Vec<Acknowledged>),
    /// The transaction is tied to this recharge.
    Bound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    pub seq: Seq,
    pub at: Time,
    /// Of a transfer: the asset of its first debit, or first credit if it debits nothing.
    pub asset: AssetId,
    pub total: Amount,
    /// Balance of the acting user in `asset` right after the event; zero of a transfer that does not touch it.
    pub balance: Amount,
    /// This attempt found the event of an earlier one.
    pub replayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balances {
    pub amounts: Vec<(AssetId, Amount)>,
    /// Every event up to here is in them.
    pub seq: Seq,
}

/// Why a command was refused, in the order in which the checks run: the first that fails is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("its deadline has passed")]
    Expired,
    #[error("this id was used before for something else")]
    IdReused,
    #[error("the id's time is ahead of the shard's, which is {now}")]
    IdTimeAhead { now: Time },
    #[error("the id is from before {oldest}, of which history is no longer kept")]
    IdTooOld { oldest: Time },
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    #[error("an amount of 0 changes nothing")]
    ZeroAmount,
    #[error("credits and debits of asset {asset} differ")]
    Unbalanced { asset: AssetId },
    #[error("{available} is less than {needed}")]
    InsufficientFunds { asset: AssetId, needed: Amount, available: Amount },
    #[error("no more of asset {asset} can be issued here")]
    IssueLimit { asset: AssetId },
    #[error("the store cannot be asked for what is not in memory")]
    StoreUnavailable,
    #[error("too many commands wait for the store")]
    Overloaded,
}
