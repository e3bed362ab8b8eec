//! The exactly-once channel from one wallet shard to another.
//!
//! A part names its source, the range of source positions `(after, up_to]` that it covers, and the source's running total
//! to this destination before it. The destination keeps one watermark and one running total per source in its own log,
//! takes a part that starts exactly there, and changes nothing for any other. Every answer carries the durable
//! watermark, and the source cuts its next part from exactly there. So parts may be lost, repeated and reordered.

use bincode::{Decode, Encode};

use crate::per_asset::PerAsset;
use crate::units::{Amount, Seq};
use crate::wallet::event::RemoteCredit;

/// A sum that only ever grows, far beyond what an [`Amount`] can be.
pub type RunningTotal = PerAsset<u128>;

/// What one source shard sends to one destination shard at once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CreditPart {
    /// Index of the source wallet shard.
    pub source: u16,
    /// Exclusive.
    pub after: Seq,
    /// Inclusive: the last source event with a credit in here.
    pub up_to: Seq,
    /// All that the source ever sent to this destination up to `after`.
    pub before: RunningTotal,
    /// What is in this part.
    pub sums: PerAsset<Amount>,
    /// One per account, summed up.
    pub credits: Vec<RemoteCredit>,
}

/// Where a source stands at a destination, durable.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Acknowledged {
    pub source: u16,
    pub watermark: Seq,
    pub received: RunningTotal,
}

impl CreditPart {
    /// The source's running total behind this part.
    pub fn after_total(&self) -> RunningTotal {
        let mut total = self.before.clone();
        for (asset, sum) in self.sums.iter() {
            *total.entry(asset) += u128::from(sum.get());
        }
        total
    }
}
