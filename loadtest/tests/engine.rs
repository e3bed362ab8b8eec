//! A short run of the engine bench adds up, in a closed and in an open loop.

use std::time::Duration;

use largesse_loadtest::engine::recovery::{self, RecoveryBench};
use largesse_loadtest::engine::{BenchError, EngineBench, run};

fn small() -> EngineBench {
    let duration = Duration::from_millis(300);
    EngineBench { viewers: 500, hosts: 3, batch: 16, callers: 4, duration, wallet_shards: 4, ..EngineBench::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_callers_are_told_is_what_the_ledger_holds() {
    let report = run(small(), &|_| ()).await.unwrap();
    assert!(report.gifts > 0);
    assert_eq!(report.books.paid, report.books.received);
    assert_eq!((report.refused, report.unknown), (0, 0));
    let audit = report.audit.as_ref().unwrap();
    assert_eq!(audit.problems, []);
    assert_eq!(audit.assets[0].issued, 500 * 1_000_000_000);
    assert!(report.is_right());
    let gifts: u64 = audit.shards.iter().map(|shard| shard.events).sum::<u64>();
    assert!(gifts >= report.gifts + 500, "recharges, gifts and relayed credits are all events");
    assert!(report.latency.p50_us > 0 && report.latency.p50_us <= report.latency.p999_us);
    assert!(report.log_bytes_per_gift.is_some_and(|bytes| bytes > 30.0), "{:?}", report.log_bytes_per_gift);
    // A balance of the sender, its event, and the host's side of it, some of them summed up.
    assert!(report.store_rows_per_second > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_rate_no_more_is_sent_than_was_asked_for() {
    let bench = EngineBench { rate: Some(2_000), batch: 1, audit: false, ..small() };
    let report = run(bench, &|_| ()).await.unwrap();
    // 300 ms at 2,000 a second; each caller may begin one more beat before the end.
    assert!(report.gifts > 0 && report.gifts <= 604, "{}", report.gifts);
    assert!(report.is_right());
}

#[tokio::test]
async fn numbers_that_make_no_sense_are_refused() {
    let error = run(EngineBench { hosts: 0, ..small() }, &|_| ()).await.unwrap_err();
    assert!(matches!(error, BenchError::Invalid(ref what) if what.contains("hosts")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_for_the_sustained_rate_books_every_gift_of_it() {
    let bench = EngineBench { sustained: true, duration: Duration::from_secs(3), ..small() };
    let report = run(bench, &|_| ()).await.unwrap();
    let found = report.sustained.as_ref().unwrap();
    assert!(found.digested_per_second > 0.0);
    assert!((1..=4).contains(&found.holds.len()), "{found:?}");
    assert_eq!(found.gifts_per_second.is_some(), found.holds.last().unwrap().holds);
    assert!(report.books.paid > report.gifts, "the search for the store's pace paid as well");
    assert!(report.is_right());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_not_flushed_knows_every_gift_after_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let bench = RecoveryBench { viewers: 300, unflushed: 700, hosts: 2, wallet_shards: 4, ..RecoveryBench::default() };
    let ready = recovery::prepare(&bench, dir.path(), &|_| ()).await.unwrap();
    let prepared = ready.prepared;
    assert!(prepared.unflushed_events >= 700, "{prepared:?}");
    ready.stop().await;
    let report = recovery::measure(bench, prepared, dir.path(), &|_| ()).await.unwrap();
    assert_eq!(report.sent_again, 700);
    assert_eq!(report.books.paid, report.books.received);
    assert!(report.is_right(), "{:?}", report.audit);
}
