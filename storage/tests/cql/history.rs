//! History over a long time, and of those who get very much.

use std::collections::BTreeSet;
use std::time::Instant;

use largesse_engine::store::{HistorySlot, ReceivedEntry, ReceivedQuery, ReceivedRow, SentQuery, Store};
use largesse_engine::units::{Seq, ShardId, Time, UserId};
use largesse_storage::conformance::store::{Batch, entry, received_pages, received_query, sent_pages, sent_query, v7};

use crate::server::Keyspace;

const SHARD: ShardId = ShardId::wallet(3);
const ANN: UserId = UserId(3001);
const BOB: UserId = UserId(2001);
const NOON: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// Nothing for most of a year, then an event every few hours, then nothing again.
#[tokio::test]
async fn idle_months_are_passed_over() {
    let Some(keyspace) = Keyspace::new().await else { return };
    let store = keyspace.store().await;
    let times: Vec<u64> = [0, 100 * DAY].into_iter().chain((0..120).map(|n| 300 * DAY + n * 5 * HOUR)).collect();
    let mut batch = Batch::upto(1_000);
    for (seq, at) in (1..).zip(&times) {
        batch = batch.sent(ANN, v7(NOON + at, seq), seq).received(BOB, SHARD, &[(NOON + at, seq)]);
    }
    store.write(batch.0).await.unwrap();
    let want: Vec<u64> = (1..=times.len() as u64).rev().collect();
    for limit in [1, 10, 1_000] {
        let sent: Vec<u64> = sent_pages(&store, ANN, limit).await.iter().map(|event| event.seq.get()).collect();
        let received: Vec<u64> = received_pages(&store, BOB, limit).await.iter().map(|entry| entry.seq.get()).collect();
        assert_eq!((&sent, &received), (&want, &want), "pages of {limit}");
    }
    // A page reads a bounded number of hours, and then says that there is more.
    let page = store.page_sent(sent_query(ANN, 1_000)).await.unwrap();
    assert!(page.items.len() < times.len() && !page.items.is_empty() && page.next.is_some(), "{}", page.items.len());
    let page = store.page_received(received_query(BOB, 1_000)).await.unwrap();
    assert!(page.items.len() < times.len() && !page.items.is_empty() && page.next.is_some(), "{}", page.items.len());
    // The two oldest, found at once however far they lie apart.
    let until = Some(Time(NOON + 200 * DAY));
    let old = store.page_sent(SentQuery { until, ..sent_query(ANN, 10) }).await.unwrap();
    assert_eq!((old.items.len(), old.next), (2, None));
    let old = store.page_received(ReceivedQuery { until, ..received_query(BOB, 10) }).await.unwrap();
    assert_eq!((old.items.len(), old.next), (2, None));
}

/// About 24 MB for one host within a minute, of four source shards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hot_host_gets_is_spread_over_partitions_and_paged_in_full() {
    const ENTRIES: u64 = 512;
    const ROUNDS: u64 = 300;
    let Some(keyspace) = Keyspace::new().await else { return };
    let store = keyspace.store().await;
    for round in 0..ROUNDS {
        let mut batch = Batch::upto((round + 1) * ENTRIES + 1);
        for source in 0..4u16 {
            batch.0.received.push(row(ShardId::wallet(source), round, ENTRIES));
        }
        store.write(batch.0).await.unwrap();
    }
    let session = keyspace.session().await;
    let found = session.query_unpaged("SELECT DISTINCT shard, sub, hour, spread FROM main_received", ()).await.unwrap();
    let found = found.into_rows_result().unwrap();
    let spreads: BTreeSet<i32> =
        found.rows::<(i32, i32, scylla::value::CqlTimestamp, i32)>().unwrap().map(|row| row.unwrap().3).collect();
    assert_eq!(spreads, BTreeSet::from([0, 1, 2, 3]), "rows of different sources lie apart");
    let found = session.query_unpaged("SELECT spreads FROM main_history_hour", ()).await.unwrap();
    let listed = found.into_rows_result().unwrap().single_row::<(i32,)>().unwrap().0;
    assert!(listed >= 4, "what is spread is listed: {listed}");

    // A flusher that starts afresh knows of no spread, and writes the last rows again where it began.
    let fresh = keyspace.store().await;
    let mut batch = Batch::upto(ROUNDS * ENTRIES + 1);
    batch.0.received = (0..4).map(|source| row(ShardId::wallet(source), ROUNDS - 1, ENTRIES)).collect();
    fresh.write(batch.0).await.unwrap();
    let began = Instant::now();
    let page = fresh.page_received(received_query(BOB, 50)).await.unwrap();
    println!("the first page of a hot host took {:?}", began.elapsed());
    let seqs: Vec<u64> = page.items.iter().map(|entry| entry.seq.get()).collect();
    let last = ROUNDS * ENTRIES;
    assert_eq!(seqs, (last - 49..=last).rev().collect::<Vec<_>>(), "the last source's latest come first");
    let all = received_pages(&fresh, BOB, 1_000).await;
    let places: BTreeSet<_> = all.iter().map(|entry| (entry.source, entry.seq)).collect();
    assert_eq!((all.len() as u64, places.len() as u64), (4 * last, 4 * last), "each once");
}

fn row(source: ShardId, round: u64, entries: u64) -> ReceivedRow {
    let at = NOON + round / 5 * 1_000;
    let seqs = round * entries + 1..=(round + 1) * entries;
    let entries: Vec<ReceivedEntry> = seqs.map(|seq| entry(source, at, seq)).collect();
    ReceivedRow {
        user: BOB,
        shard: SHARD,
        slot: HistorySlot::of(Time(at)),
        spread: 0,
        source,
        first: entries[0].seq,
        last: Seq(entries[entries.len() - 1].seq.get()),
        entries,
    }
}
