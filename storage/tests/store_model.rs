//! The embedded store agrees with the obvious one, whatever part of the logs is flushed in whatever order.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::collections::BTreeMap;

use futures::executor::block_on;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::store::{FlushBatch, HistorySlot, ReceivedEntry, Store};
use largesse_engine::units::{Amount, AssetId, Position, Seq, ShardId, Time, UserId};
use largesse_storage::conformance::store::{self as suite, Batch};
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};
use largesse_storage::store::memory::MemoryStore;
use proptest::prelude::*;

const NOON: u64 = 1_700_000_000_000;
const USERS: u64 = 4;
/// Where all receivers live; it is one of the sources, too.
const HOME: ShardId = ShardId::wallet(3);
const SOURCES: [ShardId; 2] = [HOME, ShardId::wallet(9)];

/// One event of a source: who sent, with what kind of id, how long after the one before, and to whom.
#[derive(Clone, Debug)]
struct Event {
    sender: u64,
    has_time: bool,
    millis: u64,
    receivers: Vec<u64>,
}

/// A part of a source's log that some flusher brings: the events from `from` on, `count` of them.
#[derive(Clone, Debug)]
struct Flush {
    source: usize,
    from: usize,
    count: usize,
}

fn any_event() -> impl Strategy<Value = Event> {
    let receivers = prop::collection::vec(1..=USERS, 0..4);
    (1..=USERS, any::<bool>(), 0..400u64, receivers).prop_map(|(sender, has_time, millis, receivers)| Event {
        sender,
        has_time,
        millis,
        receivers,
    })
}

fn any_flush() -> impl Strategy<Value = Flush> {
    (0..2usize, 0..40usize, 1..40usize).prop_map(|(source, from, count)| Flush { source, from, count })
}

/// What a flusher makes of these events, which lie at `from` in the log.
fn flushed(source: ShardId, log: &[Event], flush: &Flush) -> FlushBatch {
    let from = flush.from.min(log.len());
    let to = (from + flush.count).min(log.len());
    let mut batch = Batch::upto(to as u64 + 1);
    batch.0.shard = source;
    batch.0.checkpoint.shard = source;
    let mut balances = BTreeMap::new();
    let mut received: BTreeMap<(UserId, HistorySlot), Vec<ReceivedEntry>> = BTreeMap::new();
    let mut at = NOON;
    for (seq, event) in (1..).zip(log) {
        at += event.millis;
        if seq <= from as u64 || seq > to as u64 {
            continue;
        }
        let sender = UserId(event.sender);
        balances.insert((sender, AssetId(1)), seq);
        let number = u64::from(source.index) * 1_000 + seq;
        let id = if event.has_time { suite::v7(at, number) } else { suite::v4(number) };
        batch = batch.sent(sender, id, seq);
        let stored = batch.0.sent.iter_mut().find(|row| row.id == id).unwrap();
        (stored.stored.at, stored.stored.shard) = (Time(at), source);
        for receiver in &event.receivers {
            let entry = suite::entry(source, at, seq);
            received.entry((UserId(*receiver), HistorySlot::of(Time(at)))).or_default().push(entry);
        }
    }
    for ((user, asset), seq) in balances {
        batch = batch.balance(user, asset, seq * 10, seq);
    }
    for ((user, _), entries) in received {
        let places: Vec<_> = entries.iter().map(|entry| (entry.at.get(), entry.seq.get())).collect();
        batch = batch.received(user, source, &places);
    }
    batch.0
}

/// Everything that can be asked.
fn view(store: &impl Store, limit: usize) -> String {
    let users: Vec<UserId> = (1..=USERS).map(UserId).collect();
    block_on(async {
        let mut all = Vec::new();
        for shard in SOURCES {
            let wallets = store.load_wallets(shard, users.clone()).await;
            let scanned = store.scan_balances(shard, None, 1_000).await;
            let ids = (0..50).map(|seq| u64::from(shard.index) * 1_000 + seq).map(suite::v4);
            let keys = ids.flat_map(|id| users.iter().map(move |user| (*user, id))).collect();
            all.push((wallets, scanned, store.load_receipts(shard, keys).await, store.checkpoint(shard).await));
        }
        let mut pages = Vec::new();
        for user in users {
            let received = suite::received_pages(store, user, limit).await;
            pages.push((suite::sent_pages(store, user, limit).await, received));
        }
        format!("{all:#?} {pages:#?}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_flushes_in_any_order_give_the_same_rows(
        logs in prop::collection::vec(prop::collection::vec(any_event(), 1..40), 2),
        flushes in prop::collection::vec(any_flush(), 1..12),
        limit in 1..9usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { free_bytes_min: 1 << 20, ..StoreOptions::default() };
        let (ledger, shape) = (LedgerName::default(), LedgerShape::new(16));
        let embedded = EmbeddedStore::open(&folder.path().join("store"), ledger, shape, options).unwrap();
        let memory = MemoryStore::default();
        // In the end somebody flushes each log as a whole.
        let whole = (0..2).map(|source| Flush { source, from: 0, count: usize::MAX / 2 });
        for flush in flushes.into_iter().chain(whole) {
            let batch = flushed(SOURCES[flush.source], &logs[flush.source], &flush);
            prop_assert_eq!(block_on(embedded.write(batch.clone())), Ok(()));
            prop_assert_eq!(block_on(memory.write(batch)), Ok(()));
            prop_assert_eq!(view(&embedded, limit), view(&memory, limit));
        }
        // And then each credit of the logs is on a page once.
        for user in 1..=USERS {
            let of_log = |log: &Vec<Event>| log.iter().flat_map(|event| &event.receivers).filter(|to| **to == user).count();
            let pages = block_on(suite::received_pages(&embedded, UserId(user), limit));
            prop_assert_eq!(pages.len(), logs.iter().map(of_log).sum::<usize>());
        }
        for (source, log) in SOURCES.into_iter().zip(&logs) {
            let checkpoint = block_on(embedded.checkpoint(source)).unwrap().unwrap();
            prop_assert_eq!(checkpoint.position, Position(log.len() as u64 + 1));
            for user in 1..=USERS {
                let last = (1..).zip(log).filter(|(_, event)| event.sender == user).map(|(seq, _)| seq).last();
                let rows = block_on(embedded.load_wallets(source, vec![UserId(user)])).unwrap().remove(0);
                let want = last.map(|seq| (Amount::new(seq * 10).unwrap(), Seq(seq)));
                prop_assert_eq!(rows.first().map(|row| (row.amount, row.seq)), want);
            }
        }
    }
}
