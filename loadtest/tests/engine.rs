//! A short run of the engine bench adds up, in a closed and in an open loop.

use std::time::Duration;

use largesse_loadtest::engine::{BenchError, EngineBench, run};

fn small() -> EngineBench {
    let duration = Duration::from_millis(300);
    EngineBench { viewers: 500, hosts: 3, batch: 16, callers: 4, duration, wallet_shards: 4, ..EngineBench::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_callers_are_told_is_what_the_ledger_holds() {
    let report = run(small()).await.unwrap();
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
    assert!(report.log_bytes_per_gift > 30.0, "{}", report.log_bytes_per_gift);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_rate_no_more_is_sent_than_was_asked_for() {
    let bench = EngineBench { rate: Some(2_000), batch: 1, audit: false, ..small() };
    let report = run(bench).await.unwrap();
    // 300 ms at 2,000 a second; each caller may begin one more beat before the end.
    assert!(report.gifts > 0 && report.gifts <= 604, "{}", report.gifts);
    assert!(report.is_right());
}

#[tokio::test]
async fn numbers_that_make_no_sense_are_refused() {
    let error = run(EngineBench { hosts: 0, ..small() }).await.unwrap_err();
    assert!(matches!(error, BenchError::Invalid(ref what) if what.contains("hosts")), "{error}");
}
