//! The ids that a shard remembers: what came of each recent event id, from memory alone.
//!
//! The window has a floor. An id with a time above the floor that is not in here was never accepted; any other must be
//! looked up in the store as well. Events are kept as the bytes that went to the log, in panes of about a second each:
//! an id with a time above the floor in the pane of its own time, so that a fresh id is looked for in one small table
//! that the caches hold; every other, a loose one, in the pane of its event's time. A pane leaves, raising the floor,
//! only when the store has its events.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::codec;
use crate::event_id::EventId;
use crate::sabotage::{self, Rule};
use crate::units::{Seq, Time, UserId};
use crate::wallet::event::WalletEvent;

/// How far an id's time may be ahead of the shard's. So an accepted id is at most this much later than its event.
pub const ID_AHEAD_MILLIS: u64 = 60_000;

#[derive(Clone, Copy, Debug)]
pub struct WindowLimits {
    /// Above half of this, flushed panes leave early; above all of it the window is full.
    pub bytes_max: usize,
    /// A pane whose ids are younger than this stays while there is room, so that their retries need no store.
    pub age_millis: u64,
}

#[derive(Debug)]
pub struct Window {
    limits: WindowLimits,
    hasher: FixedState,
    /// By span of time, oldest first; a span that brings much has several panes, one after the other.
    panes: VecDeque<Pane>,
    /// Ids without a time, and those that were at or below the floor already when they were accepted.
    loose: HashTable<LooseEntry>,
    /// How many panes were opened so far.
    opened: u32,
    bytes: usize,
    floor: Time,
}

#[derive(Debug)]
struct Pane {
    span: Span,
    number: u32,
    /// Those with a time, of this span.
    index: HashTable<Entry>,
    /// How many others lie in here.
    loose: usize,
    /// Of each event: seq, time, length, bytes. In pieces, since one that grows would be copied, into fresh memory, over
    /// and over.
    pieces: Vec<Vec<u8>>,
    /// In all pieces.
    events_bytes: usize,
    last: Seq,
}

/// About a second of time: `Time` without its last bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span(u64);

/// Where an event lies in its pane. Of the hash only so much is kept as tells two ids of one pane apart nearly always;
/// the event itself decides.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    piece: u16,
    offset: u16,
}

#[derive(Clone, Copy, Debug)]
struct LooseEntry {
    pane: u32,
    entry: Entry,
}

/// An event that was found by its id.
#[derive(Debug)]
pub struct Remembered {
    pub seq: Seq,
    pub at: Time,
    pub event: WalletEvent,
    pub encoded: Vec<u8>,
}

/// Seq, time and length before each event.
const PREFIX: usize = 8 + 8 + 4;
/// The first piece of a pane has room for the least, the next for as much as there is already, up to the most, whose
/// offsets are 16 bits. A larger event has a piece of its own.
const PIECE_BYTES_LEAST: usize = 256;
const PIECE_BYTES_MOST: usize = 1 << 16;
/// Memory makes room for about this many panes; one that has its part of it is followed by another of its span.
const PANES: usize = 16;
const SPAN_BITS: u32 = 10;
/// Far fewer pieces than their 16 bits can count, even if every event fills half of one.
const PANE_BYTES_MOST: usize = PIECE_BYTES_MOST * (1 << 14);

impl Span {
    fn of(time: Time) -> Span {
        Span(time.get() >> SPAN_BITS)
    }

    fn end(self) -> Time {
        Time((self.0 << SPAN_BITS) | ((1 << SPAN_BITS) - 1))
    }
}

impl Window {
    /// `seed` only guards the index against ids chosen to collide; it changes no answer.
    pub fn new(limits: WindowLimits, floor: Time, seed: u64) -> Window {
        Window {
            limits,
            hasher: FixedState::with_seed(seed),
            panes: VecDeque::new(),
            loose: HashTable::new(),
            opened: 0,
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

    pub fn contains(&self, user: UserId, id: EventId) -> bool {
        self.find(user, id).is_some()
    }

    pub fn find(&self, user: UserId, id: EventId) -> Option<Remembered> {
        let hash = self.hash(user, id);
        let in_own_span = id.time().and_then(|time| self.find_in(Span::of(time), hash, user, id));
        // Also one that was above the floor once is not any more, so both have to be looked at.
        if in_own_span.is_some() || self.is_certain(id) || self.loose.is_empty() {
            return in_own_span;
        }
        let pane_of = |loose: &LooseEntry| self.panes.iter().find(|pane| pane.number == loose.pane);
        let is_it = |loose: &LooseEntry| {
            loose.entry.hash == hash && pane_of(loose).is_some_and(|pane| pane.holds(loose.entry, user, id))
        };
        let found = self.loose.find(spread(hash), is_it)?;
        pane_of(found).map(|pane| pane.read(found.entry))
    }

    fn find_in(&self, span: Span, hash: u32, user: UserId, id: EventId) -> Option<Remembered> {
        // Nearly always one of the last.
        let panes = self.panes.iter().rev().skip_while(|pane| pane.span > span).take_while(|pane| pane.span == span);
        for pane in panes {
            let is_it = |entry: &Entry| entry.hash == hash && pane.holds(*entry, user, id);
            if let Some(entry) = pane.index.find(spread(hash), is_it) {
                return Some(pane.read(*entry));
            }
        }
        None
    }

    pub fn remember(&mut self, user: UserId, id: EventId, seq: Seq, at: Time, encoded: &[u8]) {
        let hash = self.hash(user, id);
        let own_span = id.time().filter(|time| *time > self.floor).map(Span::of);
        let place = self.pane_for(own_span.unwrap_or(Span::of(at)), encoded.len());
        let pane = &mut self.panes[place];
        let entry = Entry { hash, place: pane.append(seq, at, encoded) };
        if own_span.is_some() {
            pane.index.insert_unique(spread(hash), entry, |entry| spread(entry.hash));
        } else {
            pane.loose += 1;
            let loose = LooseEntry { pane: pane.number, entry };
            self.loose.insert_unique(spread(hash), loose, |loose| spread(loose.entry.hash));
        }
        self.bytes += PREFIX + encoded.len() + size_of::<LooseEntry>();
    }

    /// Lets go of what the store has (`flushed` and before) and that is old enough or too much.
    pub fn evict(&mut self, flushed: Seq, now: Time) {
        let mut place = 0;
        while let Some(pane) = self.panes.get(place) {
            let is_old = pane.span.end().plus_millis(self.limits.age_millis) < now;
            if !is_old && self.bytes <= self.limits.bytes_max / 2 {
                return;
            }
            // One that is not flushed yet holds nobody up: somebody's late ids must not fill the memory.
            if pane.last > flushed {
                place += 1;
            } else {
                self.drop_pane(place);
            }
        }
    }

    fn drop_pane(&mut self, place: usize) {
        let Some(pane) = self.panes.remove(place) else { return };
        if !sabotage::is(Rule::FloorRises) {
            self.floor = self.floor.max(pane.span.end());
        }
        self.bytes -= pane.bytes();
        if pane.loose > 0 {
            self.loose.retain(|loose| loose.pane != pane.number);
        }
    }

    fn pane_for(&mut self, span: Span, length: usize) -> usize {
        let bytes_max = (self.limits.bytes_max / PANES).clamp(4 << 10, PANE_BYTES_MOST);
        let later = self.panes.iter().rev().take_while(|pane| pane.span > span).count();
        let end = self.panes.len() - later;
        let last = end.checked_sub(1).and_then(|place| self.panes.get(place)).filter(|pane| pane.span == span);
        if last.is_some_and(|pane| pane.events_bytes + PREFIX + length <= bytes_max) {
            return end - 1;
        }
        self.panes.insert(end, Pane::new(span, self.opened));
        self.opened += 1;
        self.bytes += size_of::<Pane>();
        end
    }

    #[allow(clippy::cast_possible_truncation, reason = "32 bits of a hash are a hash")]
    fn hash(&self, user: UserId, id: EventId) -> u32 {
        self.hasher.hash_one((user.get(), u128::from_le_bytes(*id.as_bytes()))) as u32
    }
}

/// The tables take both ends of a long hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Pane {
    fn new(span: Span, number: u32) -> Pane {
        Pane { span, number, index: HashTable::new(), loose: 0, pieces: Vec::new(), events_bytes: 0, last: Seq::NONE }
    }

    fn append(&mut self, seq: Seq, at: Time, encoded: &[u8]) -> Place {
        let length = u32::try_from(encoded.len()).expect("an event is smaller than a record");
        let needed = PREFIX + encoded.len();
        let fits = |piece: &Vec<u8>| piece.capacity() - piece.len() >= needed && piece.len() < PIECE_BYTES_MOST;
        if !self.pieces.last().is_some_and(fits) {
            let room = self.events_bytes.clamp(PIECE_BYTES_LEAST, PIECE_BYTES_MOST);
            self.pieces.push(Vec::with_capacity(room.max(needed)));
        }
        let number = self.pieces.len() - 1;
        let piece = &mut self.pieces[number];
        let offset = piece.len();
        piece.extend_from_slice(&seq.get().to_le_bytes());
        piece.extend_from_slice(&at.get().to_le_bytes());
        piece.extend_from_slice(&length.to_le_bytes());
        piece.extend_from_slice(encoded);
        self.events_bytes += needed;
        self.last = seq;
        Place {
            piece: u16::try_from(number).expect("a pane is cut long before it has so many pieces"),
            offset: u16::try_from(offset).expect("an event begins within the most bytes of a piece"),
        }
    }

    fn bytes(&self) -> usize {
        // The prefix of each event is part of `events`.
        self.events_bytes + (self.index.len() + self.loose) * size_of::<LooseEntry>() + size_of::<Pane>()
    }

    fn holds(&self, entry: Entry, user: UserId, id: EventId) -> bool {
        self.read(entry).event.key() == Some((user, id))
    }

    fn read(&self, entry: Entry) -> Remembered {
        let piece = &self.pieces[usize::from(entry.place.piece)];
        let (prefix, rest) = piece[usize::from(entry.place.offset)..].split_at(PREFIX);
        let number = |range: std::ops::Range<usize>| {
            u64::from_le_bytes(prefix[range].try_into().expect("eight bytes were asked for"))
        };
        let length = u32::from_le_bytes(prefix[16..].try_into().expect("four bytes are left")) as usize;
        let encoded = rest[..length].to_vec();
        let event = codec::decode(&encoded).expect("it was encoded by this process or decoded from the log");
        Remembered { seq: Seq(number(0..8)), at: Time(number(8..16)), event, encoded }
    }
}
