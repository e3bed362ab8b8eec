//! The ids that a shard remembers: what came of each recent event id, from memory alone.
//!
//! The window has a floor. An id with a time above the floor that is not in here was never accepted; any other must be
//! looked up in the store as well. Events are kept as the bytes that went to the log, in generations; a generation
//! leaves, raising the floor, only when the store has its events.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::codec;
use crate::event_id::EventId;
use crate::units::{Seq, Time, UserId};
use crate::wallet::event::WalletEvent;

/// How far an id's time may be ahead of the shard's. So an accepted id is at most this much later than its event.
pub const ID_AHEAD_MILLIS: u64 = 60_000;

#[derive(Clone, Copy, Debug)]
pub struct WindowLimits {
    /// Above this, flushed generations leave early; if none is flushed the window is full.
    pub bytes_max: usize,
    /// A generation younger than this stays while there is room, so that fresh ids need no store.
    pub age_millis: u64,
}

#[derive(Debug)]
pub struct Window {
    limits: WindowLimits,
    hasher: FixedState,
    index: HashTable<Entry>,
    generations: VecDeque<Generation>,
    /// Number of the first generation in the queue: how many have left.
    left: u32,
    bytes: usize,
    floor: Time,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    generation: u32,
    offset: u32,
}

#[derive(Debug)]
struct Generation {
    /// Of each event: seq, time, length, bytes.
    events: Vec<u8>,
    first_time: Time,
    last_time: Time,
    last: Seq,
}

/// An event that was found by its id.
#[derive(Debug)]
pub struct Remembered {
    pub seq: Seq,
    pub at: Time,
    pub event: WalletEvent,
    pub encoded: Vec<u8>,
}

const PREFIX: usize = 8 + 8 + 4;
/// A window is cut into about this many generations by bytes, and again by age.
const GENERATIONS: usize = 16;
const GENERATION_MILLIS: u64 = 15_000;

impl Window {
    /// `seed` only guards the index against ids chosen to collide; it changes no answer.
    pub fn new(limits: WindowLimits, floor: Time, seed: u64) -> Window {
        Window {
            limits,
            hasher: FixedState::with_seed(seed),
            index: HashTable::new(),
            generations: VecDeque::new(),
            left: 0,
            bytes: 0,
            floor,
        }
    }

    pub fn floor(&self) -> Time {
        self.floor
    }

    /// Whether this id, if it is not in here, was certainly never accepted.
    pub fn is_certain(&self, id: EventId) -> bool {
        id.time().is_some_and(|time| time > self.floor)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing more may be admitted until the store has taken some of it.
    pub fn is_full(&self) -> bool {
        self.bytes > self.limits.bytes_max
    }

    /// How many generations have left so far: an answer of the store from before the latest may be out of date.
    pub fn evictions(&self) -> u32 {
        self.left
    }

    pub fn contains(&self, user: UserId, id: EventId) -> bool {
        self.find(user, id).is_some()
    }

    pub fn find(&self, user: UserId, id: EventId) -> Option<Remembered> {
        let hash = self.hash(user, id);
        // Two ids of one hash are as good as impossible, but cheap to tell apart.
        let is_it = |entry: &Entry| entry.hash == hash && self.read(*entry).event.key() == Some((user, id));
        self.index.find(hash, is_it).map(|entry| self.read(*entry))
    }

    pub fn remember(&mut self, user: UserId, id: EventId, seq: Seq, at: Time, encoded: &[u8]) {
        let hash = self.hash(user, id);
        let generation = self.generation_for(encoded.len(), at);
        let events = &mut self.generations[generation].events;
        let offset = u32::try_from(events.len()).expect("a generation is cut long before 4 GiB");
        let length = u32::try_from(encoded.len()).expect("an event is smaller than a record");
        events.extend_from_slice(&seq.get().to_le_bytes());
        events.extend_from_slice(&at.get().to_le_bytes());
        events.extend_from_slice(&length.to_le_bytes());
        events.extend_from_slice(encoded);
        self.bytes += PREFIX + encoded.len() + size_of::<Entry>();
        let generation = &mut self.generations[generation];
        (generation.last, generation.last_time) = (seq, at);
        let number = self.left + u32::try_from(self.generations.len() - 1).expect("there are few generations");
        let entry = Entry { hash, generation: number, offset };
        self.index.insert_unique(hash, entry, |entry| entry.hash);
    }

    /// Lets go of what the store has (`flushed` and before) and that is old enough or too much.
    pub fn evict(&mut self, flushed: Seq, now: Time) {
        while let Some(oldest) = self.generations.front() {
            let is_old = oldest.last_time.plus_millis(self.limits.age_millis) < now;
            let is_wanted = !is_old && self.bytes <= self.limits.bytes_max / 2;
            if oldest.last > flushed || is_wanted {
                return;
            }
            self.floor = self.floor.max(oldest.last_time.plus_millis(ID_AHEAD_MILLIS));
            self.bytes -= self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) -> usize {
        let Some(oldest) = self.generations.pop_front() else { return 0 };
        let (number, before) = (self.left, self.index.len());
        self.index.retain(|entry| entry.generation != number);
        self.left += 1;
        // The prefix of each event is part of `events`.
        oldest.events.len() + (before - self.index.len()) * size_of::<Entry>()
    }

    fn generation_for(&mut self, length: usize, at: Time) -> usize {
        let bytes_max = (self.limits.bytes_max / GENERATIONS).clamp(4 << 10, 1 << 30);
        let is_open = self.generations.back().is_some_and(|last| {
            last.events.len() + length + PREFIX <= bytes_max && at < last.first_time.plus_millis(GENERATION_MILLIS)
        });
        if !is_open {
            self.generations.push_back(Generation {
                events: Vec::new(),
                first_time: at,
                last_time: at,
                last: Seq::NONE,
            });
        }
        self.generations.len() - 1
    }

    fn read(&self, entry: Entry) -> Remembered {
        let generation = &self.generations[(entry.generation - self.left) as usize];
        let (prefix, rest) = generation.events[entry.offset as usize..].split_at(PREFIX);
        let number = |range: std::ops::Range<usize>| {
            u64::from_le_bytes(prefix[range].try_into().expect("eight bytes were asked for"))
        };
        let length = u32::from_le_bytes(prefix[16..].try_into().expect("four bytes are left")) as usize;
        let encoded = rest[..length].to_vec();
        let event = codec::decode(&encoded).expect("it was encoded by this process or decoded from the log");
        Remembered { seq: Seq(number(0..8)), at: Time(number(8..16)), event, encoded }
    }

    fn hash(&self, user: UserId, id: EventId) -> u64 {
        self.hasher.hash_one((user.get(), u128::from_le_bytes(*id.as_bytes())))
    }
}
