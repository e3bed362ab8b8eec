//! What waits for the writer thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use largesse_engine::log::{AppendDone, AppendError, LogError};
use largesse_engine::units::{Epoch, Position};

use super::index::{Shard, lock};

/// One record on its way into the log.
pub(super) struct Item {
    pub shard: Arc<Shard>,
    pub by: By,
    pub record: Bytes,
    pub done: AppendDone,
    /// Set when there was no room for it. It still waits in line, so that answers keep their order.
    pub refused: Option<LogError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Claimer,
    Owner(Epoch),
}

impl Item {
    pub fn answer(self, result: Result<Position, AppendError>) {
        (self.done)(result);
    }
}

/// How often the writer looks for more after it was woken, how often in a row it may find nothing new, and how long it waits
/// before each look: a few microseconds in all, against a hundred of a sync.
const GATHER_LOOKS: usize = 16;
const GATHER_QUIET: usize = 2;
const GATHER_SPINS: usize = 32;

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: usize,
    /// The writer shall end once it has written everything.
    is_closing: bool,
    /// The writer has ended, and with what every later item is answered.
    ended: Option<LogError>,
    is_writer_waiting: bool,
}

impl Queue {
    pub fn new(bytes_max: usize) -> Queue {
        Queue { bytes_max, ..Queue::default() }
    }

    pub fn push(&self, mut item: Item) {
        let mut inner = lock(&self.inner);
        if let Some(error) = inner.ended.clone() {
            drop(inner);
            item.answer(Err(AppendError::Failed(error)));
            return;
        }
        if inner.bytes + item.record.len() > self.bytes_max {
            item.refused = Some(LogError::Full("more is queued than the log may hold back".into()));
            item.record = Bytes::new();
        }
        inner.bytes += item.record.len();
        inner.items.push_back(item);
        if std::mem::take(&mut inner.is_writer_waiting) {
            self.filled.notify_one();
        }
    }

    /// Waits for items and moves about `bytes_max` bytes of them into `group`. False when closed and empty.
    pub fn take(&self, group: &mut VecDeque<Item>, bytes_max: usize) -> bool {
        let mut inner = lock(&self.inner);
        let mut has_waited = false;
        while inner.items.is_empty() {
            if inner.is_closing {
                return false;
            }
            inner.is_writer_waiting = true;
            inner = self.filled.wait(inner).unwrap_or_else(std::sync::PoisonError::into_inner);
            has_waited = true;
        }
        if has_waited {
            drop(inner);
            self.gather();
            inner = lock(&self.inner);
        }
        if inner.bytes <= bytes_max {
            inner.bytes = 0;
            std::mem::swap(&mut inner.items, group);
            return true;
        }
        let mut bytes = 0;
        while let Some(item) = inner.items.pop_front() {
            bytes += item.record.len();
            group.push_back(item);
            if bytes >= bytes_max {
                break;
            }
        }
        inner.bytes -= bytes;
        true
    }

    /// Whoever wakes the writer rarely comes alone: shards that share a thread append one after the other. Those that are
    /// about to shall not have to wait for a sync with one record in it.
    fn gather(&self) {
        let (mut seen, mut quiet) = (0, 0);
        for _ in 0..GATHER_LOOKS {
            (0..GATHER_SPINS).for_each(|_| std::hint::spin_loop());
            let now = lock(&self.inner).items.len();
            quiet = if now == seen { quiet + 1 } else { 0 };
            seen = now;
            if quiet == GATHER_QUIET {
                return;
            }
        }
    }

    pub fn close(&self) {
        lock(&self.inner).is_closing = true;
        self.filled.notify_one();
    }

    /// Answers all that is left with `error`, in order, and whatever comes later as well.
    pub fn end(&self, error: &LogError) {
        loop {
            let mut inner = lock(&self.inner);
            inner.bytes = 0;
            let items = std::mem::take(&mut inner.items);
            if items.is_empty() {
                inner.ended = Some(error.clone());
                return;
            }
            drop(inner);
            for item in items {
                item.answer(Err(AppendError::Failed(error.clone())));
            }
        }
    }
}
