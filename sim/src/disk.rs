//! The log and the store themselves, as the world keeps them.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::FutureExt;
use largesse_engine::log::LogError;
use largesse_engine::record::{Claim, LogEntry, RecordHeader};
use largesse_engine::store::{
    Checkpoint, FeedQuery, FeedRow, FlushBatch, Page, ReceivedEntry, ReceivedQuery, RoomRow, SentQuery, Store,
    StoredEvent,
};
use largesse_engine::units::{Epoch, Position, RoomId, ShardId};
use largesse_storage::store::memory::MemoryStore;

use crate::calls::{Answer, Request};

/// One shard's log. Nothing is ever dropped from it; what was truncated only cannot be read any more.
#[derive(Default)]
pub struct Partition {
    pub entries: Vec<LogEntry>,
    first: u64,
    /// The latest claim.
    pub epoch: Option<Epoch>,
}

impl Partition {
    pub fn push(&mut self, record: &Bytes) -> Position {
        let position = Position(self.entries.len() as u64);
        let entry = LogEntry::decode(position, record).expect("the engine encoded it");
        if let RecordHeader::Claim(_) = entry.header {
            self.epoch = Some(Epoch(position.get()));
        }
        self.entries.push(entry);
        position
    }

    pub fn read(&self, shard: ShardId, from: Position, bytes_max: usize) -> Result<Vec<LogEntry>, LogError> {
        if from.get() < self.first {
            return Err(LogError::Truncated { shard, asked: from, first: Position(self.first) });
        }
        let from = usize::try_from(from.get()).expect("positions are few").min(self.entries.len());
        let mut bytes = 0;
        let rest = self.entries[from..].iter().take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry.events.len() + 40;
            is_first || bytes <= bytes_max
        });
        Ok(rest.cloned().collect())
    }

    pub fn truncate(&mut self, position: Position) {
        self.first = self.first.max(position.get().min(self.entries.len() as u64));
    }

    /// The latest copy counts.
    pub fn find_claim(&self, claim: Claim) -> Option<Epoch> {
        let found = self.entries.iter().rev().find(|entry| entry.header == RecordHeader::Claim(claim));
        found.map(|entry| Epoch(entry.position.get()))
    }
}

/// The logs and the store.
#[derive(Default)]
pub struct Disk {
    pub partitions: BTreeMap<ShardId, Partition>,
    pub store: MemoryStore,
}

impl Disk {
    pub fn partition(&mut self, shard: ShardId) -> &mut Partition {
        self.partitions.entry(shard).or_default()
    }

    pub fn checkpoint(&self, shard: ShardId) -> Option<Checkpoint> {
        now(self.store.checkpoint(shard)).expect("the store under the world does not fail")
    }

    pub fn page_sent(&self, query: SentQuery) -> Page<StoredEvent> {
        now(self.store.page_sent(query)).expect("cursors come from the page before")
    }

    pub fn page_received(&self, query: ReceivedQuery) -> Page<ReceivedEntry> {
        now(self.store.page_received(query)).expect("cursors come from the page before")
    }

    pub fn page_feed(&self, query: FeedQuery) -> Vec<FeedRow> {
        now(self.store.page_feed(query)).expect("the store under the world does not fail")
    }

    pub fn room(&self, shard: ShardId, room: RoomId) -> Vec<RoomRow> {
        now(self.store.load_room(shard, room)).expect("the store under the world does not fail")
    }

    /// Some rows of a batch got in, its checkpoint did not. Before the first checkpoint there is none to leave in place.
    pub fn write_torn(&self, mut batch: FlushBatch, mut keeps: impl FnMut() -> bool) {
        let Some(checkpoint) = self.checkpoint(batch.shard) else { return };
        batch.balances.retain(|_| keeps());
        batch.sent.retain(|_| keeps());
        batch.received.retain(|_| keeps());
        batch.feed.retain(|_| keeps());
        batch.rooms.retain(|_| keeps());
        batch.ended.retain(|_| keeps());
        batch.checkpoint = checkpoint;
        now(self.store.write(batch)).expect("the store under the world does not fail");
    }

    /// Carries out what needs nobody's leave; claims go through the world.
    pub fn execute(&mut self, request: Request) -> Answer {
        match request {
            Request::Read(shard, from, bytes_max) => {
                Answer::Entries(self.partition(shard).read(shard, from, bytes_max))
            }
            Request::Truncate(shard, position) => {
                self.partition(shard).truncate(position);
                Answer::Truncated(Ok(()))
            }
            Request::LoadWallets(shard, users) => Answer::Wallets(now(self.store.load_wallets(shard, users))),
            Request::LoadReceipts(shard, keys) => Answer::Receipts(now(self.store.load_receipts(shard, keys))),
            Request::LoadRoom(shard, room) => Answer::Room(now(self.store.load_room(shard, room))),
            Request::Write(batch) => Answer::Written(now(self.store.write(*batch))),
            Request::Checkpoint(shard) => Answer::Checkpoint(now(self.store.checkpoint(shard))),
            Request::Sleep(..) => Answer::Slept,
            Request::Claim(..) => unreachable!("a claim lands in the world"),
        }
    }
}

/// The store under the world answers at once; when, and whether, nodes hear of it is the world's to say.
fn now<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("the store in memory does not wait")
}
