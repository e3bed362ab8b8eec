//! Truncation, rewriting, and a log that may not grow.

use super::harness::*;
use crate::log::embedded::EmbeddedLogOptions;
use largesse_engine::log::{AppendError, LogError, Logs};
use largesse_engine::units::{Epoch, Position, ShardId};

const SHARD: ShardId = ShardId::wallet(0);
const IDLE: ShardId = ShardId::wallet(1);

fn first_error(logs: &crate::log::embedded::EmbeddedLogs, shard: ShardId) -> LogError {
    futures::executor::block_on(logs.shard(shard).read(Position::START, 1)).unwrap_err()
}

#[test]
fn segments_that_nobody_needs_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedLogOptions::test_min();
    let logs = open(dir.path(), &options).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    let positions: Vec<_> = (0..100).map(|number| append(&logs, SHARD, epoch, &[number; 1_000]).unwrap()).collect();
    let before = segments(dir.path()).len();
    let used = logs.room().bytes_used;
    truncate(&logs, SHARD, positions[70]);
    logs.settled();
    let after = segments(dir.path()).len();
    assert!(after <= before - 5, "{before} files became {after}");
    assert!(logs.room().bytes_used < used / 2);
    assert_eq!(contents(&logs, SHARD, positions[70]).len(), 30);
    drop(logs);

    let logs = open(dir.path(), &options).unwrap();
    assert_eq!(contents(&logs, SHARD, positions[70]).len(), 30);
    let error = first_error(&logs, SHARD);
    assert_eq!(error, LogError::Truncated { shard: SHARD, asked: Position::START, first: positions[70] });
    assert_eq!(contents(&logs, IDLE, Position::START), [], "a shard that lost nothing starts at the start");
}

#[test]
fn what_was_given_up_while_it_was_written_goes_with_the_next_segment() {
    let dir = tempfile::tempdir().unwrap();
    let logs = open(dir.path(), &EmbeddedLogOptions::test_min()).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    append(&logs, SHARD, epoch, &[1; 1_000]).unwrap();
    // All of the segment in use; only what comes later is still needed.
    while segments(dir.path())[0].ends_with("00000000000000000000.wal") && end(&logs).get() < 16 << 10 {
        append(&logs, SHARD, epoch, &[1; 1_000]).unwrap();
        truncate(&logs, SHARD, end(&logs));
    }
    logs.settled();
    assert!(!segments(dir.path())[0].ends_with("00000000000000000000.wal"), "{:?}", segments(dir.path()));
}

#[test]
fn an_unused_log_does_not_grow_by_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedLogOptions::test_min();
    for _ in 0..20 {
        let logs = open(dir.path(), &options).unwrap();
        logs.settled();
        assert_eq!(segments(dir.path()).len(), 2, "the one in use and the next");
    }
}

/// A log in which one old record of an idle shard, in its first segment, is all that is still needed of the first 90.
fn held_back(dir: &std::path::Path, options: &EmbeddedLogOptions) -> (Position, Vec<Position>, Epoch) {
    let logs = open(dir, options).unwrap();
    let (idle, epoch) = (claim(&logs, IDLE).unwrap(), claim(&logs, SHARD).unwrap());
    append(&logs, SHARD, epoch, &[0; 1_000]).unwrap();
    let old = append(&logs, IDLE, idle, b"still needed").unwrap();
    let positions: Vec<_> = (0..100).map(|number| append(&logs, SHARD, epoch, &[number; 1_000]).unwrap()).collect();
    truncate(&logs, SHARD, positions[90]);
    logs.settled();
    (old, positions, epoch)
}

#[test]
fn a_few_old_records_do_not_hold_back_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let patient = EmbeddedLogOptions { hold_bytes_max: 1 << 30, ..EmbeddedLogOptions::test_min() };
    let (old, positions, _) = held_back(dir.path(), &patient);
    let logs = open(dir.path(), &patient).unwrap();
    logs.settled();
    let used = logs.room().bytes_used;
    assert!(used > 90_000, "within the limit all is kept: {used}");
    drop(logs);

    let strict = EmbeddedLogOptions { hold_bytes_max: 32 << 10, ..EmbeddedLogOptions::test_min() };
    let logs = open(dir.path(), &strict).unwrap();
    truncate(&logs, SHARD, positions[91]);
    logs.settled();
    let used = logs.room().bytes_used;
    assert!(used < 90_000, "beyond it only what is alive takes space: {used}");
    let check = |logs: &crate::log::embedded::EmbeddedLogs| {
        assert_eq!(contents(logs, IDLE, Position::START), [(old, b"still needed".to_vec())]);
        let kept: Vec<_> = contents(logs, SHARD, positions[91]).into_iter().map(|(at, _)| at).collect();
        assert_eq!(kept, positions[91..]);
        assert!(matches!(first_error(logs, SHARD), LogError::Truncated { .. }));
    };
    check(&logs);
    let epoch = claim(&logs, SHARD).unwrap();
    let before = end(&logs);
    append(&logs, SHARD, epoch, b"and it goes on").unwrap();
    truncate(&logs, SHARD, before);
    truncate(&logs, SHARD, positions[91]);
    drop(logs);

    // What the keeper wrote is a log like any other, for the next start and for tools.
    let logs = open(dir.path(), &strict).unwrap();
    assert_eq!(contents(&logs, IDLE, Position::START), [(old, b"still needed".to_vec())]);
    assert_eq!(contents(&logs, SHARD, before).len(), 1);
    let tool = open_read_only(dir.path()).unwrap();
    assert_eq!(contents(&tool, IDLE, Position::START), contents(&logs, IDLE, Position::START));
    truncate(&logs, IDLE, end(&logs));
    logs.settled();
    assert!(segments(dir.path()).len() <= 3, "once it is given up as well, all goes");
}

#[test]
fn damage_in_a_rewritten_segment_is_still_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let strict = EmbeddedLogOptions { hold_bytes_max: 32 << 10, ..EmbeddedLogOptions::test_min() };
    let (old, ..) = held_back(dir.path(), &strict);
    assert!(open(dir.path(), &strict).is_ok());
    change(&segments(dir.path())[0], |bytes| bytes[usize::try_from(old.get()).unwrap() + 30] ^= 1);
    let error = open(dir.path(), &strict).err().unwrap().to_string();
    assert!(error.contains("00000000000000000000.wal at offset"), "{error}");
}

#[test]
fn what_a_crash_left_half_made_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedLogOptions::test_min();
    let (old, ..) = held_back(dir.path(), &options);
    let halves = ["00000000000000000000.new", "00000000000009999999.new", "truncated.new"];
    for half in halves {
        std::fs::write(dir.path().join("wal").join(half), b"half").unwrap();
    }
    let logs = open(dir.path(), &options).unwrap();
    assert_eq!(contents(&logs, IDLE, Position::START), [(old, b"still needed".to_vec())]);
    logs.settled();
    for half in halves {
        assert!(!dir.path().join("wal").join(half).exists());
    }
}

/// Appends until the log is tight, and a little more: what was admitted already must still fit.
fn fill(logs: &crate::log::embedded::EmbeddedLogs, epoch: Epoch) -> Vec<Position> {
    let mut positions = Vec::new();
    while !logs.room().is_tight {
        positions.push(append(logs, SHARD, epoch, &[7; 900]).unwrap());
        logs.settled();
    }
    for _ in 0..3 {
        positions.push(append(logs, SHARD, epoch, &[8; 900]).expect("the reserve is for what was admitted"));
    }
    positions
}

#[test]
fn near_its_cap_the_log_is_tight_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedLogOptions { bytes_max: 5 * (16 << 10), ..EmbeddedLogOptions::test_min() };
    let logs = open(dir.path(), &options).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    for _ in 0..3 {
        let positions = fill(&logs, epoch);
        let room = logs.room();
        assert!(room.bytes_used <= room.bytes_max && segments(dir.path()).len() <= 5, "{room:?}");
        truncate(&logs, SHARD, positions[positions.len() - 3]);
        logs.settled();
        assert!(!logs.room().is_tight, "{:?}", logs.room());
    }
    fill(&logs, epoch);
    let mut refused = Ok(Position::START);
    while refused.is_ok() {
        refused = append(&logs, SHARD, epoch, &[9; 900]);
    }
    let Err(AppendError::Failed(LogError::Full(why))) = refused else { panic!("{refused:?}") };
    assert!(why.contains("may hold 81920"), "{why}");
    assert!(append(&logs, SHARD, epoch, b"small").is_err(), "it would rest on the one that was refused");
    truncate(&logs, SHARD, end(&logs));
    logs.settled();
    let epoch = claim(&logs, SHARD).unwrap();
    append(&logs, SHARD, epoch, &[9; 900]).unwrap();
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let default = EmbeddedLogOptions::default;
    for (options, want) in [
        (EmbeddedLogOptions { segment_bytes: 100_000, ..default() }, "cannot hold a record"),
        (EmbeddedLogOptions { segment_bytes: 3 << 30, ..default() }, "too large"),
        (EmbeddedLogOptions { bytes_max: 128 << 20, ..default() }, "less than three segments"),
        (EmbeddedLogOptions { reserve_bytes: 64 << 20, ..default() }, "does not fit into a segment"),
        (EmbeddedLogOptions { record_bytes_max: 2 << 20, ..default() }, "records have at most"),
    ] {
        let error = open(dir.path(), &options).err().unwrap().to_string();
        assert!(error.contains(want), "{error}");
    }
}
