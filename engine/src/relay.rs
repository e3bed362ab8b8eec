//! The exactly-once channel from a wallet shard to another shard: credits to wallets, gifts to rooms.
//!
//! A part names its source, the range of source positions `(after, up_to]` that it covers, and the source's running total
//! to this destination before it. The destination keeps one watermark and one running total per source in its own log,
//! takes a part that starts exactly there, and changes nothing for any other. Every answer carries the durable
//! watermark, and the source cuts its next part from exactly there. So parts may be lost, repeated and reordered.

use bincode::{Decode, Encode};

use crate::per_asset::PerAsset;
use crate::room::gift::{self, RoomGift, merged_gifts};
use crate::units::Seq;
use crate::wallet::event::RemoteCredit;
use crate::wallet::outbox::merged_credits;

/// A sum that only ever grows, far beyond what an [`Amount`] can be.
pub type RunningTotal = PerAsset<u128>;

/// What one source shard sends to one destination shard at once: credits or gifts, never both.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RelayPart {
    /// Index of the source wallet shard.
    pub source: u16,
    /// Exclusive.
    pub after: Seq,
    /// Inclusive: the last source event with anything in here.
    pub up_to: Seq,
    /// All that the source ever sent to this destination up to `after`.
    pub before: RunningTotal,
    /// What is in this part.
    pub sums: RunningTotal,
    /// One per account, summed up.
    pub credits: Vec<RemoteCredit>,
    /// In the order in which they were sent; those that look alike are one.
    pub gifts: Vec<RoomGift>,
}

/// Where a source stands at a destination, durable.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Acknowledged {
    pub source: u16,
    pub watermark: Seq,
    pub received: RunningTotal,
}

impl RelayPart {
    /// A part that covers nothing: its answer says where the destination stands.
    pub fn question(source: u16) -> RelayPart {
        let (before, sums) = Default::default();
        RelayPart { source, after: Seq::NONE, up_to: Seq::NONE, before, sums, credits: Vec::new(), gifts: Vec::new() }
    }

    /// The source's running total behind this part.
    pub fn after_total(&self) -> RunningTotal {
        let mut total = self.before.clone();
        self.sums.iter().for_each(|(asset, sum)| *total.entry(asset) += sum);
        total
    }

    /// How much room it takes in the destination's event, in credits.
    pub fn weight(&self) -> usize {
        self.credits.len() + gift::weight(&self.gifts)
    }

    /// Takes in the part that follows this one.
    pub fn merge(&mut self, next: RelayPart) {
        debug_assert_eq!(self.up_to, next.after, "parts of one relay follow each other");
        self.up_to = next.up_to;
        next.sums.iter().for_each(|(asset, sum)| *self.sums.entry(asset) += sum);
        if !next.credits.is_empty() {
            self.credits = merged_credits(std::mem::take(&mut self.credits), next.credits);
        }
        if !next.gifts.is_empty() {
            self.gifts = merged_gifts(std::mem::take(&mut self.gifts), next.gifts);
        }
    }
}
