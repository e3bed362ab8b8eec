//! Whether every id was accepted once: in as many passes over the log as memory asks for.
//!
//! A pass remembers the ids of one slice of their hashes. The first begins with all of them; whenever it holds too many
//! it halves its slice, and further passes do the other slices.

use std::hash::BuildHasher;

use hashbrown::HashMap;

use crate::event_id::EventId;
use crate::units::{Seq, ShardId, UserId};
use crate::wallet::event::WalletEvent;

/// 128 bits that stand for a key; that two keys share them is as good as impossible.
type Hash = (u64, u64);

pub(super) struct Ids {
    hashers: [foldhash::quality::RandomState; 2],
    seen: HashMap<Hash, (ShardId, Seq), foldhash::fast::RandomState>,
    /// A hash is remembered if these of its bits are those of the slice.
    mask: u64,
    slice: u64,
    seen_max: usize,
    /// Ids of the first pass, whatever their slice.
    pub count: u64,
}

impl Ids {
    pub fn new(seen_max: usize) -> Ids {
        let hashers = Default::default();
        Ids { hashers, seen: HashMap::default(), mask: 0, slice: 0, seen_max: seen_max.max(1), count: 0 }
    }

    /// Notes the ids of an event; calls back with each that was accepted before and where.
    pub fn note(&mut self, shard: ShardId, seq: Seq, event: &WalletEvent, mut twice: impl FnMut(String, ShardId, Seq)) {
        let mut note = |user: UserId, id: EventId, what: &str| {
            self.count += 1;
            let hash = (self.hashers[0].hash_one((user, id, what)), self.hashers[1].hash_one((user, id, what)));
            if hash.1 & self.mask != self.slice {
                return;
            }
            if let Some((shard, first)) = self.seen.insert(hash, (shard, seq)) {
                twice(format!("{what} {id} of user {user}"), shard, first);
            }
            while self.slice == 0 && self.seen.len() > self.seen_max && self.mask != u64::MAX {
                self.mask = (self.mask << 1) | 1;
                let mask = self.mask;
                self.seen.retain(|hash, _| hash.1 & mask == 0);
            }
        };
        if let Some((user, id)) = event.key() {
            note(user, id, "id");
        }
        // A payment pays one user only, whichever shard that one lives on.
        if let WalletEvent::Recharged(recharge) = event {
            note(UserId::NOBODY, recharge.said.id(), "transaction");
        }
    }

    /// Turns to the next slice. False when all are done.
    pub fn next_pass(&mut self) -> bool {
        self.seen.clear();
        let is_left = self.slice < self.mask;
        self.slice += u64::from(is_left);
        is_left
    }
}
