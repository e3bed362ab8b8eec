//! Where each shard's records lie, and the bytes of the latest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use largesse_engine::log::{AppendError, LogError};
use largesse_engine::units::{Epoch, ShardId};
use tokio::sync::watch;

use super::format::{FRAME_HEADER_BYTES, short};
use super::segment::Segment;

/// A lock whose holder cannot leave half a change behind: every change under it is a few plain stores.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of one shard's log.
#[derive(Debug)]
pub(super) struct Shard {
    pub id: ShardId,
    records: Mutex<Records>,
    pub owner: Mutex<Owner>,
    grown: watch::Sender<Grown>,
}

/// Who may append. Only the writer thread looks at it.
#[derive(Debug, Default)]
pub(super) struct Owner {
    /// The claim of this process; `None` until there is one, since an owner before a restart is gone for good.
    pub epoch: Option<Epoch>,
    /// The latest claim in the log, whoever made it.
    pub claimed: Option<Epoch>,
    /// A record of this epoch was refused. Those after it rest on it and are refused too.
    pub broken: Option<LogError>,
}

impl Owner {
    pub fn judge(&self, epoch: Epoch) -> Result<(), AppendError> {
        match &self.broken {
            _ if self.epoch != Some(epoch) => Err(AppendError::Fenced(self.claimed.unwrap_or_default())),
            Some(error) => Err(AppendError::Failed(error.clone())),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Grown {
    /// First position after the shard's last durable record.
    next: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Records {
    /// Nothing before this position can be asked for.
    first: u64,
    runs: VecDeque<Run>,
}

/// The shard's records within one segment. Eight bytes each: the index stays far smaller than the log.
#[derive(Debug)]
struct Run {
    segment: Arc<Segment>,
    slots: VecDeque<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    offset: u32,
    len: u32,
}

/// Where one record lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub segment: Arc<Segment>,
    pub position: u64,
    pub len: u32,
}

impl Shard {
    pub fn new(id: ShardId) -> Shard {
        let grown = watch::Sender::new(Grown { next: 0, is_closed: false });
        let records = Mutex::new(Records { first: 0, runs: VecDeque::new() });
        Shard { id, records, owner: Mutex::default(), grown }
    }

    /// Adds a durable record, later than all before. Those who wait hear of it by `tell`.
    pub fn push(&self, segment: &Arc<Segment>, position: u64, len: u32) {
        let mut records = lock(&self.records);
        segment.add_live(FRAME_HEADER_BYTES + u64::from(len));
        let slot = Slot { offset: short(position - segment.base), len };
        match records.runs.back_mut() {
            Some(run) if run.segment.base == segment.base => run.slots.push_back(slot),
            _ => records.runs.push_back(Run { segment: segment.clone(), slots: [slot].into() }),
        }
    }

    /// Wakes those who wait for the record at `position`.
    pub fn tell(&self, position: u64) {
        self.grown.send_modify(|grown| grown.next = position + 1);
    }

    pub fn close(&self) {
        self.grown.send_modify(|grown| grown.is_closed = true);
    }

    pub async fn wait_for(&self, from: u64) -> Result<(), LogError> {
        let mut grown = self.grown.subscribe();
        let seen = grown.wait_for(|grown| grown.next > from || grown.is_closed).await;
        match seen {
            Ok(grown) if grown.next > from => Ok(()),
            Ok(_) | Err(_) => Err(LogError::Closed),
        }
    }

    pub fn first(&self) -> u64 {
        lock(&self.records).first
    }

    /// Forgets what lies before `position`. True if that was anything.
    pub fn truncate(&self, position: u64) -> bool {
        let mut records = lock(&self.records);
        if position <= records.first {
            return false;
        }
        records.first = position;
        let mut dropped = false;
        while let Some(run) = records.runs.front_mut() {
            let base = run.segment.base;
            while let Some(slot) = run.slots.pop_front_if(|slot| base + u64::from(slot.offset) < position) {
                run.segment.sub_live(FRAME_HEADER_BYTES + u64::from(slot.len));
                dropped = true;
            }
            if !run.slots.is_empty() {
                break;
            }
            records.runs.pop_front();
        }
        dropped
    }

    /// Places of the records from `from` on, about `bytes_max` bytes of them, at least one if there is one.
    /// The error is the first position that can be asked for.
    pub fn places(&self, from: u64, bytes_max: usize) -> Result<Vec<Place>, u64> {
        let records = lock(&self.records);
        if from < records.first {
            return Err(records.first);
        }
        let mut places = Vec::new();
        let mut bytes = 0;
        let first_run = records.runs.partition_point(|run| run.segment.limit() <= from);
        for run in records.runs.range(first_run..) {
            let position = |slot: &Slot| run.segment.base + u64::from(slot.offset);
            let first_slot = run.slots.partition_point(|slot| position(slot) < from);
            for slot in run.slots.range(first_slot..) {
                bytes += u64::from(slot.len) + FRAME_HEADER_BYTES;
                if bytes > bytes_max as u64 && !places.is_empty() {
                    return Ok(places);
                }
                places.push(Place { segment: run.segment.clone(), position: position(slot), len: slot.len });
            }
        }
        Ok(places)
    }
}

/// All shards that were asked for or have records.
#[derive(Debug, Default)]
pub(super) struct Shards {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    shards: HashMap<ShardId, Arc<Shard>, foldhash::fast::RandomState>,
    is_closed: bool,
}

impl Shards {
    pub fn get(&self, id: ShardId) -> Arc<Shard> {
        let mut known = lock(&self.known);
        let is_closed = known.is_closed;
        let shard = known.shards.entry(id).or_insert_with(|| Arc::new(Shard::new(id)));
        if is_closed {
            shard.close();
        }
        shard.clone()
    }

    /// No record will come any more; those who wait for one are told.
    pub fn close(&self) {
        let mut known = lock(&self.known);
        known.is_closed = true;
        known.shards.values().for_each(|shard| shard.close());
    }

    pub fn all(&self) -> Vec<Arc<Shard>> {
        lock(&self.known).shards.values().cloned().collect()
    }
}

/// The latest records, so that a flusher close to the end never touches the disk.
#[derive(Debug)]
pub(super) struct Cache {
    recent: VecDeque<(u64, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 64;

impl Cache {
    pub fn new(bytes_max: usize) -> Cache {
        Cache { recent: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub fn push(&mut self, position: u64, record: Bytes) {
        self.bytes += record.len() + ENTRY_BYTES;
        self.recent.push_back((position, record));
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.recent.pop_front()
        {
            self.bytes -= oldest.len() + ENTRY_BYTES;
        }
    }

    pub fn get(&self, position: u64) -> Option<Bytes> {
        let found = self.recent.binary_search_by_key(&position, |(position, _)| *position).ok()?;
        Some(self.recent[found].1.clone())
    }
}
