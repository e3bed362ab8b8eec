//! Streaks of taps. Their ids are the room's own, and each ends once, whatever its client does.

use std::collections::{BTreeSet, VecDeque};

use bincode::{Decode, Encode};
use hashbrown::HashMap;

use crate::codec::Few;
use crate::room::event::{ComboEnd, ComboEnded, ComboNow};
use crate::room::gift::RoomGift;
use crate::room::person::Person;
use crate::units::{AssetId, GiftId, RoomSeq, Time, UserId};

/// Streaks open at once in one room; beyond, gifts are shown without one.
pub const COMBOS_MAX: usize = 100_000;

/// What makes gifts a streak: somebody sends the same to the same, always by name or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ComboKey {
    pub sender: Person,
    pub gift: GiftId,
    pub asset: AssetId,
    pub receivers: Few<UserId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Combo {
    pub now: ComboNow,
    /// The client's own number. Another one begins another streak.
    pub client: Option<u64>,
}

impl ComboKey {
    pub fn of(gift: &RoomGift) -> ComboKey {
        ComboKey { sender: gift.sender, gift: gift.gift, asset: gift.asset, receivers: gift.receivers.clone() }
    }

    pub fn ended(&self, combo: &ComboNow, cause: ComboEnd) -> ComboEnded {
        ComboEnded {
            id: combo.id,
            slot: combo.slot,
            sender: self.sender,
            receivers: self.receivers.clone(),
            gift: self.gift,
            asset: self.asset,
            count: combo.count,
            value: combo.value,
            cause,
        }
    }
}

/// The streaks that are open in one room.
#[derive(Debug, Default)]
pub struct Combos {
    by_key: HashMap<ComboKey, Combo, foldhash::fast::FixedState>,
    by_id: HashMap<RoomSeq, ComboKey, foldhash::fast::FixedState>,
    /// Whoever leaves ends their own, and a room with many open should not be looked through for that.
    by_sender: BTreeSet<(Person, RoomSeq)>,
    /// In the order in which they end. One that was gone on with has a later place as well, and only that counts.
    queue: VecDeque<(Time, RoomSeq)>,
    /// Slots below `fresh` that nobody has. The lowest are given away first, so that rows are written over and over: a
    /// database that only marks what was deleted would have to read past a day's streaks otherwise.
    free: BTreeSet<u32>,
    fresh: u32,
}

/// Slots for new streaks, beside those that are open.
#[derive(Debug)]
pub struct FreeSlots<'a> {
    free: std::collections::btree_set::Iter<'a, u32>,
    fresh: u32,
}

impl FreeSlots<'_> {
    pub fn take(&mut self) -> u32 {
        self.free.next().copied().unwrap_or_else(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }
}

impl Combos {
    pub fn free_slots(&self) -> FreeSlots<'_> {
        FreeSlots { free: self.free.iter(), fresh: self.fresh }
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn get(&self, key: &ComboKey) -> Option<&Combo> {
        self.by_key.get(key)
    }

    pub fn contains(&self, id: RoomSeq) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn set(&mut self, key: ComboKey, combo: Combo) {
        let place = (combo.now.expires, combo.now.id);
        // One that was gone on with in the same millisecond has this place already; with two it would end twice.
        if !is_current(&self.by_id, &self.by_key, place) {
            self.queue.push_back(place);
        }
        let slot = combo.now.slot;
        if slot >= self.fresh {
            self.free.extend(self.fresh..slot);
            self.fresh = slot + 1;
        } else {
            self.free.remove(&slot);
        }
        if self.by_id.insert(combo.now.id, key.clone()).is_none() {
            self.by_sender.insert((key.sender, combo.now.id));
        }
        self.by_key.insert(key, combo);
        // Places that count no more are bounded by those that do.
        if self.queue.len() > 16 + 8 * self.by_key.len() {
            let (by_id, by_key) = (&self.by_id, &self.by_key);
            self.queue.retain(|place| is_current(by_id, by_key, *place));
        }
    }

    pub fn end(&mut self, id: RoomSeq) {
        if let Some(key) = self.by_id.remove(&id) {
            self.by_sender.remove(&(key.sender, id));
            if let Some(combo) = self.by_key.remove(&key) {
                self.free.insert(combo.now.slot);
            }
        }
        while let Some(place) = self.queue.front() {
            if is_current(&self.by_id, &self.by_key, *place) {
                break;
            }
            self.queue.pop_front();
        }
    }

    /// When the first of them ends.
    pub fn due(&self) -> Option<Time> {
        self.in_order().next().map(|(_, combo)| combo.now.expires)
    }

    /// All of them, those that end first before the others.
    pub fn in_order(&self) -> impl Iterator<Item = (&ComboKey, &Combo)> {
        let current = self.queue.iter().filter(|place| is_current(&self.by_id, &self.by_key, **place));
        current.map(|(_, id)| {
            let key = &self.by_id[id];
            (key, &self.by_key[key])
        })
    }

    /// Those of one sender, the oldest first.
    pub fn of(&self, sender: Person) -> impl Iterator<Item = (&ComboKey, &Combo)> {
        let own = self.by_sender.range((sender, RoomSeq::NONE)..=(sender, RoomSeq(u64::MAX)));
        own.map(|(_, id)| {
            let key = &self.by_id[id];
            (key, &self.by_key[key])
        })
    }

    /// After rows were laid under what a replay had brought.
    pub fn sort(&mut self) {
        self.queue = self.by_key.values().map(|combo| (combo.now.expires, combo.now.id)).collect();
        self.queue.make_contiguous().sort_unstable();
        let taken: BTreeSet<u32> = self.by_key.values().map(|combo| combo.now.slot).collect();
        self.fresh = taken.last().map_or(0, |last| last + 1);
        self.free = (0..self.fresh).filter(|slot| !taken.contains(slot)).collect();
    }
}

type ById = HashMap<RoomSeq, ComboKey, foldhash::fast::FixedState>;
type ByKey = HashMap<ComboKey, Combo, foldhash::fast::FixedState>;

fn is_current(by_id: &ById, by_key: &ByKey, (expires, id): (Time, RoomSeq)) -> bool {
    by_id.get(&id).and_then(|key| by_key.get(key)).is_some_and(|combo| combo.now.expires == expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streak(sender: u64, id: u64, count: u64) -> (ComboKey, Combo) {
        let receivers = [UserId(9)].into_iter().collect();
        let key = ComboKey { sender: Person::Named(UserId(sender)), gift: GiftId(1), asset: AssetId(1), receivers };
        let slot = u32::try_from(sender).unwrap() - 1;
        let now = ComboNow { id: RoomSeq(id), slot, count, value: count, expires: Time(50) };
        (key, Combo { now, client: None })
    }

    #[test]
    fn of_two_streaks_that_take_turns_within_a_millisecond_each_ends_once() {
        let mut combos = Combos::default();
        for (key, combo) in [streak(1, 1, 1), streak(2, 2, 1), streak(1, 1, 2)] {
            combos.set(key, combo);
        }
        let order: Vec<_> = combos.in_order().map(|(key, combo)| (key.sender.user().get(), combo.now.count)).collect();
        assert_eq!(order, [(1, 2), (2, 1)]);
    }

    #[test]
    fn those_of_one_sender_are_found_until_they_end() {
        let mut combos = Combos::default();
        for (sender, id) in [(1, 1), (2, 2), (3, 3)] {
            let (key, combo) = streak(sender, id, 1);
            combos.set(key, combo);
        }
        let (mut key, combo) = streak(2, 4, 1);
        key.gift = GiftId(2);
        combos.set(key, Combo { now: ComboNow { slot: 3, ..combo.now }, ..combo });
        let of = |combos: &Combos, sender| {
            combos.of(Person::Named(UserId(sender))).map(|(_, combo)| combo.now.id).collect::<Vec<_>>()
        };
        assert_eq!((of(&combos, 2), of(&combos, 4)), (vec![RoomSeq(2), RoomSeq(4)], vec![]));
        combos.end(RoomSeq(2));
        assert_eq!((of(&combos, 2), of(&combos, 3)), (vec![RoomSeq(4)], vec![RoomSeq(3)]));
    }

    #[test]
    fn slots_are_given_away_again_the_lowest_first() {
        let mut combos = Combos::default();
        (1..=4).for_each(|number| {
            let (key, combo) = streak(number, number, 1);
            combos.set(key, combo);
        });
        combos.end(RoomSeq(3));
        combos.end(RoomSeq(1));
        let mut free = combos.free_slots();
        assert_eq!([free.take(), free.take(), free.take()], [0, 2, 4]);
        combos.sort();
        assert_eq!(combos.free_slots().take(), 0, "as after a start");
    }
}
