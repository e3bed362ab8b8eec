//! Group commit, fencing within the queue, and what happens when the disk fails.

use super::harness::*;
use crate::log::embedded::EmbeddedLogOptions;
use largesse_engine::log::{AppendError, LogError, Logs};
use largesse_engine::units::{Position, ShardId};

const SHARD: ShardId = ShardId::wallet(3);

#[test]
fn what_queues_during_a_sync_shares_the_next() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let logs = open(dir.path(), &disk.options(EmbeddedLogOptions::test_min())).unwrap();
    let shards: Vec<_> = (0..4).map(ShardId::wallet).collect();
    let epochs: Vec<_> = shards.iter().map(|shard| claim(&logs, *shard).unwrap()).collect();
    let before = disk.syncs();
    disk.hold();
    let first = queue(&logs, shards[0], epochs[0], b"alone");
    disk.wait_for_held();
    let others: Vec<_> =
        (0..100).map(|number| queue(&logs, shards[number % 4], epochs[number % 4], b"together")).collect();
    assert!(first.try_recv().is_err(), "nobody is answered before the sync");
    assert_eq!(contents(&logs, shards[0], Position::START), [], "nor can it be read");
    disk.release();
    for answer in others {
        answer.recv().unwrap().unwrap();
    }
    first.try_recv().unwrap().unwrap();
    assert_eq!(disk.syncs() - before, 2, "one sync for the first, one for the hundred");
}

#[test]
fn a_claim_refuses_what_is_queued_behind_it() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let logs = open(dir.path(), &disk.options(EmbeddedLogOptions::test_min())).unwrap();
    let old = claim(&logs, SHARD).unwrap();
    disk.hold();
    let before = queue(&logs, SHARD, old, b"before");
    disk.wait_for_held();
    let log = logs.shard(SHARD);
    let claiming =
        log.claim(largesse_engine::record::Claim { node: largesse_engine::units::NodeId(2), nonce: [2; 16] });
    let behind = queue(&logs, SHARD, old, b"behind");
    disk.release();
    let new = futures::executor::block_on(claiming).unwrap();
    assert!(before.recv().unwrap().is_ok());
    assert_eq!(behind.recv().unwrap(), Err(AppendError::Fenced(new)));
    assert!(append(&logs, SHARD, new, b"after").is_ok());
    let all: Vec<_> = contents(&logs, SHARD, Position::START).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(all, [b"before".to_vec(), b"after".to_vec()]);
}

#[test]
fn a_failed_sync_ends_the_process_and_nobody_is_told_yes() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let logs = open(dir.path(), &disk.options(EmbeddedLogOptions::test_min())).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    append(&logs, SHARD, epoch, b"good").unwrap();
    disk.hold();
    let written = queue(&logs, SHARD, epoch, b"written");
    disk.wait_for_held();
    let queued = queue(&logs, SHARD, epoch, b"queued");
    let last_words = disk.fail();
    assert!(last_words.contains("00000000000000000000.wal: the test broke the disk"), "{last_words}");
    assert_eq!(written.recv().unwrap(), Err(AppendError::Unknown));
    assert!(matches!(queued.recv().unwrap(), Err(AppendError::Failed(LogError::Unavailable(_)))));
    assert!(matches!(append(&logs, SHARD, epoch, b"late"), Err(AppendError::Failed(LogError::Unavailable(_)))));
    assert!(claim(&logs, SHARD).is_err());
    assert!(logs.room().is_tight);
    let waited = futures::executor::block_on(logs.shard(SHARD).wait_for(end(&logs)));
    assert_eq!(waited, Err(LogError::Closed), "nobody waits for ever");
    assert_eq!(contents(&logs, SHARD, Position::START).len(), 1);
}

#[test]
fn more_than_the_queue_may_hold_is_refused_in_order() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let options = EmbeddedLogOptions { queue_bytes_max: 2_000, ..EmbeddedLogOptions::test_min() };
    let logs = open(dir.path(), &disk.options(options)).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    disk.hold();
    let first = queue(&logs, SHARD, epoch, b"first");
    disk.wait_for_held();
    let fits = queue(&logs, SHARD, epoch, &[1; 1_500]);
    let refused = queue(&logs, SHARD, epoch, &[2; 1_500]);
    // It would fit, but it rests on the one that did not.
    let behind = queue(&logs, SHARD, epoch, b"behind");
    let other = ShardId::wallet(4);
    let claiming = claim_later(&logs, other);
    disk.release();
    assert!(first.recv().unwrap().is_ok());
    assert!(fits.recv().unwrap().is_ok());
    for answer in [refused, behind] {
        let answer = answer.recv().unwrap();
        assert!(matches!(answer, Err(AppendError::Failed(LogError::Full(_)))), "{answer:?}");
    }
    assert!(futures::executor::block_on(claiming).is_ok(), "other shards go on");
    assert!(matches!(append(&logs, SHARD, epoch, b"x"), Err(AppendError::Failed(LogError::Full(_)))));
    let epoch = claim(&logs, SHARD).unwrap();
    assert!(append(&logs, SHARD, epoch, b"a new owner goes on").is_ok());
}

fn claim_later(
    logs: &crate::log::embedded::EmbeddedLogs,
    shard: ShardId,
) -> impl Future<Output = Result<largesse_engine::units::Epoch, LogError>> {
    let log = logs.shard(shard);
    // Polled once, so that it is queued now.
    let claim = async move {
        log.claim(largesse_engine::record::Claim { node: largesse_engine::units::NodeId(1), nonce: [1; 16] }).await
    };
    let mut claim = Box::pin(claim);
    let waker = futures::task::noop_waker();
    assert!(claim.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    claim
}

#[test]
fn closing_writes_what_is_queued_and_refuses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedLogOptions::test_min();
    let logs = open(dir.path(), &options).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    let answers: Vec<_> = (0..50).map(|number| queue(&logs, SHARD, epoch, &[number; 100])).collect();
    logs.close();
    assert!(answers.iter().all(|answer| answer.try_recv().unwrap().is_ok()));
    assert_eq!(append(&logs, SHARD, epoch, b"late"), Err(AppendError::Failed(LogError::Closed)));
    assert_eq!(contents(&logs, SHARD, Position::START).len(), 50, "what is there can still be read");
    let again = open(dir.path(), &options).unwrap();
    assert_eq!(contents(&again, SHARD, Position::START), contents(&logs, SHARD, Position::START));
}

#[test]
fn an_answer_may_drop_the_last_handle() {
    let dir = tempfile::tempdir().unwrap();
    let logs = std::sync::Arc::new(open(dir.path(), &EmbeddedLogOptions::test_min()).unwrap());
    let epoch = claim(&logs, SHARD).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let log = logs.shard(SHARD);
    let done = move |result: Result<Position, AppendError>| {
        drop(logs);
        tell.send(result.is_ok()).unwrap();
    };
    let header = largesse_engine::record::EventsHeader {
        epoch,
        number: 1,
        first: largesse_engine::units::Seq(1),
        count: 0,
        time: largesse_engine::units::Time(1),
    };
    log.append(epoch, largesse_engine::record::encode_events(header, b""), Box::new(done));
    assert!(told.recv().unwrap());
}
