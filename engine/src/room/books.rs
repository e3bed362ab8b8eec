//! The sums of one room shard, which prove that every gift was counted once.
//!
//! They are folded from events alone, by the shard and by its flusher, and travel in the checkpoint.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};

use crate::ledger::LedgerShape;
use crate::per_asset::PerAsset;
use crate::room::event::{FeedWhat, Shown};
use crate::units::{RoomId, Seq};
use crate::wallet::books::Neighbour;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoomBooks {
    /// By index of the source shard: what came from it.
    received: Vec<Neighbour>,
    /// Rooms where something is to happen by time.
    waiting: BTreeSet<RoomId>,
}

impl RoomBooks {
    pub fn new(shape: LedgerShape) -> RoomBooks {
        let received = vec![Neighbour::default(); usize::from(shape.wallet_shards)];
        RoomBooks { received, waiting: BTreeSet::new() }
    }

    pub fn sources(&self) -> usize {
        self.received.len()
    }

    pub fn received_from(&self, source: u16) -> &Neighbour {
        &self.received[usize::from(source)]
    }

    pub fn waiting(&self) -> impl Iterator<Item = RoomId> {
        self.waiting.iter().copied()
    }

    pub fn apply(&mut self, seq: Seq, shown: &Shown) {
        // What came in less what is shown.
        let mut open: PerAsset<i128> = PerAsset::default();
        for source in &shown.sources {
            let neighbour = &mut self.received[usize::from(source.source)];
            neighbour.up_to = source.up_to;
            for &(asset, sum) in &source.sums {
                *neighbour.total.entry(asset) += sum;
                *open.entry(asset) += sum.cast_signed();
            }
        }
        for room in &shown.rooms {
            for item in &room.items {
                if let FeedWhat::Gift(gift) = &item.what {
                    *open.entry(gift.asset) -= i128::from(gift.value().get());
                }
            }
            if room.head.is_waiting() {
                self.waiting.insert(room.room);
            } else {
                self.waiting.remove(&room.room);
            }
        }
        for (asset, difference) in open.iter() {
            assert_eq!(*difference, 0, "I7 counted: event {seq} does not show what came in of asset {asset}");
        }
    }
}
