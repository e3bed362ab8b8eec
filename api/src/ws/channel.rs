//! One room that sockets of this process are in: what has come of it, and when that goes to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use largesse_engine::catalog::Catalog;
use largesse_engine::room::command::{Chunk, RoomNews};
use largesse_engine::room::event::RoomHead;
use largesse_engine::units::{RoomId, RoomSeq, Time};
use tokio::sync::OnceCell;

use crate::rooms::item;
use crate::ws::fanout::Lags;
use crate::ws::frames::{Gap, Joined, LiveNow, ServerFrame, encode, epoch_text, room_text};
use crate::ws::present::Present;

/// Entries of one room that wait for a tick; beyond, it comes at once.
const PENDING_ITEMS_MAX: usize = 50_000;

/// One room here.
pub struct Channel {
    pub(super) room: RoomId,
    pub(super) lags: Lags,
    state: Mutex<ChannelState>,
    present: Mutex<Present>,
    pub(super) opened: OnceCell<()>,
}

pub(super) struct ChannelState {
    /// The room as of the last tick.
    pub(super) head: Arc<RoomHead>,
    pending: Vec<Chunk>,
    pending_items: usize,
    /// The room as of the last of what is pending.
    pub(super) newest: Option<Arc<RoomHead>>,
    /// Some news did not come.
    pub(super) has_hole: bool,
    /// The number after the last entry that was heard of, also of those that are missing.
    told: RoomSeq,
    /// What did not come is being read.
    pub(super) is_filling: bool,
    /// No sooner is it read again.
    pub(super) fill_at: Instant,
    /// Sockets of this process.
    pub(super) viewers: u64,
    /// Those of other processes, as far as this one was told.
    pub(super) elsewhere: u64,
    pub(super) tick: Duration,
    /// When the pace last became slower.
    pub(super) slowed: Instant,
    pub(super) due: Instant,
    /// When something was last heard of it.
    heard: Instant,
    /// When somebody was last in it.
    pub(super) used: Instant,
}

impl Channel {
    pub(super) fn new(room: RoomId, tick: Duration, lags: Lags) -> Arc<Channel> {
        let state = ChannelState {
            head: Arc::new(RoomHead::new(Time::ZERO)),
            pending: Vec::new(),
            pending_items: 0,
            newest: None,
            has_hole: false,
            told: RoomSeq::FIRST,
            is_filling: false,
            fill_at: Instant::now(),
            viewers: 0,
            elsewhere: 0,
            tick,
            slowed: Instant::now(),
            due: Instant::now(),
            heard: Instant::now(),
            used: Instant::now(),
        };
        Arc::new(Channel { room, lags, state: Mutex::new(state), present: Mutex::default(), opened: OnceCell::new() })
    }

    pub(super) fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelState {
    /// Number of the entry that comes next.
    pub(super) fn next(&self) -> RoomSeq {
        self.pending.last().map_or(self.head.next, Chunk::next)
    }

    pub(super) fn watching(&self) -> u64 {
        self.viewers.saturating_add(self.elsewhere)
    }

    /// Whether something was heard of that is not here.
    pub(super) fn lacks_some(&self) -> bool {
        self.next() < self.told
    }

    pub(super) fn take_pending(&mut self) -> Vec<Chunk> {
        self.pending_items = 0;
        std::mem::take(&mut self.pending)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_due().is_some_and(|due| due <= now)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.has_hole {
            // What is being read goes out when it is here.
            return (!self.is_filling).then(|| self.due.max(self.fill_at));
        }
        let is_full = self.pending_items >= PENDING_ITEMS_MAX;
        self.newest.is_some().then(|| if is_full { Instant::now() } else { self.due })
    }

    pub(super) fn open(&mut self, head: Arc<RoomHead>) {
        let (gathered, newest) = (self.take_pending(), self.newest.take());
        self.head = head;
        gathered.into_iter().for_each(|chunk| self.push(chunk));
        self.newest = newest.filter(|newest| newest.next > self.head.next);
    }

    /// Asks again whether there is news, where some may have been lost and none has come for so long.
    pub(super) fn doubt(&mut self, after: Option<Duration>, now: Instant) {
        if let Some(after) = after
            && self.viewers > 0
            && now.duration_since(self.heard) > after
        {
            (self.has_hole, self.heard) = (true, now);
        }
    }

    pub(super) fn take(&mut self, news: &RoomNews) {
        self.heard = Instant::now();
        self.told = self.told.max(news.head.next);
        let is_empty = news.chunk.items.is_empty();
        if !is_empty {
            self.push(news.chunk.clone());
        }
        if self.next() == news.head.next {
            self.newest = Some(Arc::clone(&news.head));
        }
    }

    /// Keeps a chunk that goes on where the last one ended, forgets one that is known, and notes that one is missing.
    pub(super) fn push(&mut self, chunk: Chunk) {
        let next = self.next();
        // Before the room was opened here, the first one begins wherever it does.
        let begins = self.pending.is_empty() && self.head.began == Time::ZERO;
        if chunk.first == next || begins {
            self.pending_items += chunk.items.len();
            self.pending.push(chunk);
        } else if chunk.first > next {
            self.has_hole = true;
        }
    }

    pub(super) fn joined(
        &self,
        room: RoomId,
        from: RoomSeq,
        recovered: bool,
        gap: Option<Gap>,
        catalog: &Catalog,
    ) -> Bytes {
        let head = &self.head;
        encode(&ServerFrame::Joined(Joined {
            room: room_text(room),
            epoch: epoch_text(head.began),
            room_seq: from,
            recovered,
            gap,
            live: LiveNow { number: head.live, state: if head.is_open { "open" } else { "closed" } },
            as_of: head.last(),
            totals: item::totals(&head.live_totals, catalog),
            viewers: self.watching(),
            tick_ms: millis(self.tick),
        }))
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
