//! What a wallet shard tells a room about gifts.
//!
//! Gifts that viewers cannot tell apart travel as one: of one sender in one second, the same gift to the same receivers at
//! the same price in the same streak. So what a room costs follows what its viewers see, not how fast they tap.

use std::hash::BuildHasher;

use bincode::{Decode, Encode};
use foldhash::fast::FixedState;
use hashbrown::{HashSet, HashTable};

use crate::codec::Few;
use crate::room::person::Person;
use crate::sabotage::{self, Rule};
use crate::units::{Amount, AssetId, GiftId, RoomId, Time, UserId};
use crate::wallet::event::GiftSent;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoomGift {
    pub room: RoomId,
    /// When the first of them was sent.
    pub at: Time,
    pub sender: Person,
    pub gift: GiftId,
    pub receivers: Few<UserId>,
    pub unit_price: Amount,
    pub asset: AssetId,
    /// The client's own number for a streak of taps.
    pub combo: Option<u64>,
    /// Pieces for each receiver.
    pub count: u64,
    /// How many gifts it stands for.
    pub events: u32,
}

impl RoomGift {
    pub fn new(gift: &GiftSent, at: Time) -> RoomGift {
        let said = &gift.said;
        RoomGift {
            room: said.room,
            at,
            sender: if said.anonymous { Person::Anonymous(said.sender) } else { Person::Named(said.sender) },
            gift: said.gift,
            receivers: said.receivers.clone(),
            unit_price: gift.unit_price,
            asset: gift.asset,
            combo: said.combo,
            count: u64::from(said.count.get()),
            events: 1,
        }
    }

    /// Price × count × receivers.
    pub fn value(&self) -> Amount {
        self.value_of(self.count).expect("gifts are joined only while their value is an amount")
    }

    fn value_of(&self, count: u64) -> Option<Amount> {
        self.unit_price.times(count.checked_mul(self.receivers.len() as u64)?)
    }

    /// How much room it takes in an event, in credits of 30 bytes; its room comes on top, see [`ROOM_WEIGHT`].
    fn weight(&self) -> usize {
        6 + 2 * self.receivers.len()
    }

    fn is_like(&self, other: &RoomGift) -> bool {
        let has_same_receivers = self.receivers == other.receivers || sabotage::is(Rule::ReceiversApart);
        let has_same_sender = self.sender == other.sender
            || (self.sender.user() == other.sender.user() && sabotage::is(Rule::AnonymousApart));
        (self.room, self.gift, self.asset) == (other.room, other.gift, other.asset)
            && (self.unit_price, self.combo, second(self.at)) == (other.unit_price, other.combo, second(other.at))
            && has_same_receivers
            && has_same_sender
    }

    /// Takes another one in if nobody could tell the two apart.
    fn absorb(&mut self, other: &RoomGift) -> bool {
        let (count, events) = (self.count.checked_add(other.count), self.events.checked_add(other.events));
        let (Some(count), Some(events)) = (count, events) else { return false };
        if !self.is_like(other) || self.value_of(count).is_none() {
            return false;
        }
        (self.count, self.events) = (count, events);
        true
    }

    fn hash(&self) -> u64 {
        FixedState::default().hash_one((self.room, self.sender.user(), self.gift, self.combo, second(self.at)))
    }
}

/// How much each room takes in an event, in credits of 30 bytes: what it comes to stands behind its entries, and with sums
/// of many assets and all the plug-ins that it may have that is some thousand bytes.
const ROOM_WEIGHT: usize = 60;

/// How much all of these take in an event, in credits.
pub fn weight(gifts: &[RoomGift]) -> usize {
    let rooms: HashSet<RoomId, FixedState> = gifts.iter().map(|gift| gift.room).collect();
    gifts.iter().map(RoomGift::weight).sum::<usize>() + ROOM_WEIGHT * rooms.len()
}

/// Days of business end with a second, whatever the zone.
fn second(at: Time) -> u64 {
    at.get() / 1_000
}

/// Gifts in the order in which they came, those that look alike as one.
#[derive(Debug, Default)]
pub struct GatheredGifts {
    gifts: Vec<RoomGift>,
    /// Places in `gifts`, by what makes them alike.
    places: HashTable<usize>,
    rooms: HashSet<RoomId, FixedState>,
    weight: usize,
}

impl GatheredGifts {
    pub fn add(&mut self, gift: RoomGift) {
        let (gifts, hash) = (&mut self.gifts, gift.hash());
        if self.places.find(hash, |place| gifts[*place].absorb(&gift)).is_some() {
            return;
        }
        let place = self.gifts.len();
        let is_new_room = self.rooms.insert(gift.room);
        self.weight += gift.weight() + if is_new_room { ROOM_WEIGHT } else { 0 };
        self.gifts.push(gift);
        let gifts = &self.gifts;
        self.places.insert_unique(hash, place, |place| gifts[*place].hash());
    }

    pub fn weight(&self) -> usize {
        self.weight
    }

    pub fn take(&mut self) -> Vec<RoomGift> {
        self.places.clear();
        self.rooms.clear();
        self.weight = 0;
        std::mem::take(&mut self.gifts)
    }
}

/// Two lists as one, the first one's before the second one's.
pub fn merged_gifts(one: Vec<RoomGift>, other: Vec<RoomGift>) -> Vec<RoomGift> {
    let mut gathered = GatheredGifts::default();
    one.into_iter().chain(other).for_each(|gift| gathered.add(gift));
    gathered.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gift(sender: u64, receivers: &[u64], at: u64) -> RoomGift {
        RoomGift {
            room: RoomId(1),
            at: Time(at),
            sender: Person::Named(UserId(sender)),
            gift: GiftId(1),
            receivers: receivers.iter().copied().map(UserId).collect(),
            unit_price: Amount::new(10).unwrap(),
            asset: AssetId(1),
            combo: None,
            count: 1,
            events: 1,
        }
    }

    #[test]
    fn gifts_that_look_alike_are_one_and_others_keep_their_order() {
        let mut gathered = GatheredGifts::default();
        for one in [gift(7, &[2], 0), gift(8, &[2], 1), gift(7, &[2], 999), gift(7, &[2, 3], 5), gift(7, &[2], 1_000)] {
            gathered.add(one);
        }
        let shown: Vec<_> =
            gathered.take().iter().map(|gift| (gift.sender.user().get(), gift.count, gift.events)).collect();
        assert_eq!(shown, [(7, 2, 2), (8, 1, 1), (7, 1, 1), (7, 1, 1)], "not across receivers, nor across a second");
        assert_eq!(gathered.weight(), 0);
        gathered.add(gift(7, &[2], 0));
        gathered.add(RoomGift { room: RoomId(2), ..gift(7, &[2], 0) });
        let weight = gathered.weight();
        let taken = gathered.take();
        assert_eq!((taken.len(), weight), (2, super::weight(&taken)), "what was taken before is forgotten");
    }

    #[test]
    fn they_are_joined_only_while_their_value_is_an_amount() {
        let large = RoomGift { unit_price: Amount::MAX, ..gift(7, &[2], 0) };
        let joined = merged_gifts(vec![large.clone()], vec![large]);
        assert_eq!(joined.iter().map(RoomGift::value).collect::<Vec<_>>(), [Amount::MAX, Amount::MAX]);
    }
}
