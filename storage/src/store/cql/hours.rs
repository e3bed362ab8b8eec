//! Which hours of a user's history hold anything, and over how many partitions each is spread.
//!
//! Partitions of history are an hour long, and most hours of most users are empty. The table `history_hour` lists those
//! that are not, before their first row is written, so that a page finds the next one however long ago it was.
//!
//! What a receiver gets in one hour lies in one partition until that has grown large; then rows of different source
//! shards go to different ones, twice as many each time. A list only ever grows: its timestamp is the number itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use largesse_engine::units::{ShardId, UserId};

use super::place::Hour;

/// Bytes that this process writes into a partition for one receiver before their rows are spread further.
const SPREAD_BYTES: u64 = 8 << 20;
pub const SPREADS_MAX: u16 = 256;
/// Users whose latest hour is remembered, in each of two generations. Whoever is forgotten is listed again.
const REMEMBERED_MAX: usize = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Received,
    Sent,
}

impl Side {
    pub const fn column(self) -> &'static str {
        match self {
            Side::Sent => "sent",
            Side::Received => "received",
        }
    }
}

/// A list entry: this user has rows in this hour, in so many partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listing {
    pub shard: ShardId,
    pub user: UserId,
    pub side: Side,
    pub hour: Hour,
    pub spreads: u16,
}

/// What this process knows to be listed. It may know less than is true, never more.
#[derive(Debug, Default)]
pub struct Listed {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    young: HashMap<(ShardId, UserId, Side), Latest>,
    old: HashMap<(ShardId, UserId, Side), Latest>,
}

/// Of the latest hour.
#[derive(Clone, Copy, Debug)]
struct Latest {
    hour: Hour,
    spreads: u16,
    bytes: u64,
}

impl Listed {
    /// Over how many partitions to spread these rows, and whether the list says so already. `wanted` has the number
    /// that their events ask for at least.
    pub fn count(&self, wanted: Listing, bytes: u64) -> (u16, bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(latest) = known.latest(&wanted).filter(|latest| latest.hour == wanted.hour) else {
            return (wanted.spreads, false);
        };
        latest.bytes += bytes;
        let mut spreads = latest.spreads.max(wanted.spreads);
        if latest.bytes > SPREAD_BYTES * u64::from(spreads) && wanted.side == Side::Received {
            spreads = (spreads * 2).min(SPREADS_MAX);
        }
        (spreads, spreads <= latest.spreads)
    }

    /// The list in the database says so now.
    pub fn remember(&self, listings: &[Listing]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for listing in listings {
            let fresh = Latest { hour: listing.hour, spreads: listing.spreads, bytes: 0 };
            match known.latest(listing) {
                Some(latest) if latest.hour > listing.hour => {}
                Some(latest) if latest.hour == listing.hour => latest.spreads = latest.spreads.max(listing.spreads),
                Some(latest) => *latest = fresh,
                None => drop(known.young.insert(key(listing), fresh)),
            }
        }
    }
}

fn key(listing: &Listing) -> (ShardId, UserId, Side) {
    (listing.shard, listing.user, listing.side)
}

impl Known {
    fn latest(&mut self, of: &Listing) -> Option<&mut Latest> {
        let key = key(of);
        if self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        if let Some(latest) = self.old.remove(&key) {
            self.young.insert(key, latest);
        }
        self.young.get_mut(&key)
    }
}

/// Which of them a source's rows go to.
pub fn spread_of(source: ShardId, base: u8, spreads: u16) -> i32 {
    i32::from((source.index.wrapping_add(u16::from(base))) % spreads.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Listing =
        Listing { shard: ShardId::wallet(1), user: UserId(7), side: Side::Received, hour: Hour::FIRST, spreads: 1 };

    #[test]
    fn a_hot_receiver_is_spread_further_and_listed_before() {
        let listed = Listed::default();
        assert_eq!(listed.count(HOST, 10), (1, false), "nothing is known yet");
        listed.remember(&[HOST]);
        assert_eq!(listed.count(HOST, 10), (1, true));
        assert_eq!(listed.count(HOST, SPREAD_BYTES), (2, false), "grown, and not listed yet");
        assert_eq!(listed.count(HOST, 0), (2, false), "as long as the list does not say so");
        listed.remember(&[Listing { spreads: 2, ..HOST }]);
        assert_eq!(listed.count(HOST, 0), (2, true));
        for _ in 0..10_000 {
            let (spreads, is_listed) = listed.count(HOST, SPREAD_BYTES);
            assert!(spreads <= SPREADS_MAX);
            if !is_listed {
                listed.remember(&[Listing { spreads, ..HOST }]);
            }
        }
        assert_eq!(listed.count(HOST, 0), (SPREADS_MAX, true));
        let next = Listing { hour: Hour::LAST, ..HOST };
        assert_eq!(listed.count(next, 0), (1, false), "the next hour begins with one");
    }

    #[test]
    fn what_is_forgotten_is_listed_again() {
        let listed = Listed::default();
        let of = |user| Listing { user: UserId(user), side: Side::Sent, ..HOST };
        listed.remember(&[of(1)]);
        for user in 10..10 + 3 * REMEMBERED_MAX as u64 {
            listed.remember(&[of(user)]);
        }
        assert_eq!(listed.count(of(1), 0), (1, false));
        let known = listed.known.lock().unwrap();
        assert!(known.young.len() + known.old.len() <= 2 * REMEMBERED_MAX);
    }

    #[test]
    fn rows_of_all_sources_fill_all_partitions() {
        let places: Vec<i32> = (0..8).map(|source| spread_of(ShardId::wallet(source), 0, 4)).collect();
        assert_eq!(places, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(spread_of(ShardId::wallet(9), 3, 1), 0);
    }
}
