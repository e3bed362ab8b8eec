//! Torn tails are cut, damage is refused, and what was cut never comes back.

use std::path::Path;

use tempfile::TempDir;

use super::harness::*;
use crate::log::embedded::format::{BATCH_HEADER_BYTES, is_zero, size};
use crate::log::embedded::{EmbeddedLogOptions, OpenError, RawKind};
use largesse_engine::log::Logs;
use largesse_engine::units::{Position, ShardId};

const SHARD: ShardId = ShardId::wallet(0);

/// The smallest segments in which three records of several blocks are one batch.
fn options() -> EmbeddedLogOptions {
    EmbeddedLogOptions { segment_bytes: 32 << 10, group_bytes_max: 32 << 10, ..EmbeddedLogOptions::test_min() }
}

/// A folder whose last batch, of three records over several blocks, was written and never synced. Before it are five
/// records that were answered for. Says where the last batch starts and ends in its file.
fn with_an_unsynced_batch() -> (TempDir, usize, usize) {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let logs = open(dir.path(), &disk.options(options())).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    for number in 0..4 {
        append(&logs, SHARD, epoch, &[number; 700]).unwrap();
    }
    disk.hold();
    let fifth = queue(&logs, SHARD, epoch, &[4; 700]);
    disk.wait_for_held();
    let unsynced: Vec<_> = (5..8).map(|number| queue(&logs, SHARD, epoch, &[number; 3_000])).collect();
    disk.release_one();
    fifth.recv().unwrap().unwrap();
    disk.fail();
    for answer in unsynced {
        answer.recv().unwrap().unwrap_err();
    }
    let start = size(end(&logs).get());
    drop(logs);
    let file = std::fs::read(&segments(dir.path())[0]).unwrap();
    let used = file.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert!(used - start > 9_000, "all three are in one batch");
    (dir, start, used)
}

/// Opens the folder, which must hold `want` records; then writes one more, and finds exactly that after the next start.
#[track_caller]
fn holds(dir: &Path, want: usize, what: &str) {
    let read_only = open_read_only(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let logs = open(dir, &options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut found = contents(&logs, SHARD, Position::START);
    assert_eq!(found.len(), want, "{what}");
    assert_eq!(found, contents(&read_only, SHARD, Position::START), "{what}: a reading tool sees the same");
    for ((_, bytes), number) in found.iter().zip(0..) {
        assert!(bytes.iter().all(|byte| *byte == number), "{what}: record {number}");
    }
    let epoch = claim(&logs, SHARD).unwrap();
    let position = append(&logs, SHARD, epoch, b"after the crash").unwrap();
    found.push((position, b"after the crash".to_vec()));
    let used = size(end(&logs).get());
    let file = std::fs::read(&segments(dir)[0]).unwrap();
    assert!(is_zero(&file[used..]), "{what}: nothing of the torn batch is left behind the end");
    drop(logs);
    let logs = open(dir, &options()).unwrap();
    assert_eq!(contents(&logs, SHARD, Position::START), found, "{what}: nothing came back to life");
}

#[test]
fn a_batch_that_was_written_whole_is_kept() {
    let (dir, ..) = with_an_unsynced_batch();
    holds(dir.path(), 8, "untouched");
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tore() {
    let (dir, start, used) = with_an_unsynced_batch();
    let header = start..start + size(BATCH_HEADER_BYTES);
    let frames = [start + 32, start + 32 + 3_012 + 20, start + 32 + 2 * (3_012 + 20)];
    let borders = (start / 512 + 1..used / 512).map(|block| block * 512).flat_map(|at| [at - 1, at, at + 1]);
    let places = header.chain(frames.iter().flat_map(|at| *at..*at + 14)).chain(borders).chain([used - 1]);
    for at in places {
        let torn = copy(dir.path());
        let file = &segments(torn.path())[0];
        change(file, |bytes| bytes[at..].fill(0));
        // A zero that was a zero before tears nothing.
        let is_whole = std::fs::read(file).unwrap() == std::fs::read(&segments(dir.path())[0]).unwrap();
        holds(torn.path(), if is_whole { 8 } else { 5 }, &format!("cut at {at}, the batch is {start}..{used}"));
        if at % 3 == 0 {
            let wrong = copy(dir.path());
            change(&segments(wrong.path())[0], |bytes| bytes[at] ^= 0x10);
            holds(wrong.path(), 5, &format!("a bit changed at {at}"));
        }
    }
}

#[test]
fn a_block_that_never_arrived_tears_the_batch() {
    let (dir, start, used) = with_an_unsynced_batch();
    for block in start / 512..=used / 512 {
        let torn = copy(dir.path());
        // Of the first block only what the batch wrote is missing: the rest was synced before.
        change(&segments(torn.path())[0], |bytes| bytes[(block * 512).max(start)..(block + 1) * 512].fill(0));
        holds(torn.path(), 5, &format!("block {block} is missing"));
    }
}

#[test]
fn beside_a_torn_batch_a_reading_tool_changes_nothing() {
    let (dir, start, _) = with_an_unsynced_batch();
    let file = &segments(dir.path())[0];
    change(file, |bytes| bytes[start + 5_000] ^= 1);
    let before = std::fs::read(file).unwrap();
    let logs = open_read_only(dir.path()).unwrap();
    assert_eq!(contents(&logs, SHARD, Position::START).len(), 5);
    assert!(claim(&logs, SHARD).is_err(), "it cannot write");
    drop(logs);
    assert_eq!(std::fs::read(file).unwrap(), before);
}

/// A folder with several full segments, closed in good order.
fn with_segments() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let logs = open(dir.path(), &options()).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    for number in 0..60 {
        append(&logs, SHARD, epoch, &[number; 2_000]).unwrap();
    }
    drop(logs);
    assert!(segments(dir.path()).len() >= 5);
    dir
}

#[track_caller]
fn refused(dir: &Path) -> String {
    let error = open(dir, &options()).err().expect("the log is refused");
    let read_only = open_read_only(dir).err().expect("a reading tool is told as well");
    assert_eq!(error.to_string(), read_only.to_string());
    error.to_string()
}

#[test]
fn damage_is_refused_with_file_and_offset() {
    let dir = with_segments();
    let files = segments(dir.path());
    for (file, offset) in [(0, 4_096), (0, 20_000), (1, 4_100), (2, 9_999), (3, 6_000)] {
        let damaged = copy(dir.path());
        let path = &segments(damaged.path())[file];
        let name = files[file].file_name().unwrap().to_str().unwrap();
        for fill in [0, 0xff] {
            change(path, |bytes| bytes[offset..offset + 100].fill(fill));
            let message = refused(damaged.path());
            let told: usize = message.split("offset ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
            assert!(message.contains(name), "{message}");
            assert!(told <= offset && offset - told < 2_100, "{offset}: {message}");
        }
    }
}

#[test]
fn the_end_of_a_segment_that_vanished_is_noticed() {
    let dir = with_segments();
    let file = &segments(dir.path())[1];
    // The last batch of the segment becomes zeros: by itself that looks like the end of a log.
    change(file, |bytes| {
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[used - 1_900..].fill(0);
        let magic = bytes[4_096..4_104].to_vec();
        let last = memchr::memmem::rfind(bytes, &magic).unwrap();
        bytes[last..].fill(0);
    });
    let message = refused(dir.path());
    assert!(message.contains("was once synced up to"), "{message}");
    assert!(message.contains(file.file_name().unwrap().to_str().unwrap()), "{message}");
}

#[test]
fn after_an_orderly_end_even_the_last_record_is_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let logs = open(dir.path(), &options()).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    let position = append(&logs, SHARD, epoch, &[1; 600]).unwrap();
    drop(logs);
    change(&segments(dir.path())[0], |bytes| bytes[size(position.get()) + 300] ^= 1);
    assert!(refused(dir.path()).contains("checksum"));
}

#[test]
fn a_block_copied_elsewhere_is_not_believed() {
    let dir = with_segments();
    let files = segments(dir.path());
    let other = std::fs::read(&files[2]).unwrap();
    change(&files[1], |bytes| bytes[8_192..12_288].copy_from_slice(&other[8_192..12_288]));
    assert!(refused(dir.path()).contains("offset"));
    // Nor is a whole file under another one's name.
    std::fs::copy(&files[2], &files[1]).unwrap();
    assert!(refused(dir.path()).contains("names another position"));
}

#[test]
fn a_missing_segment_is_refused() {
    let dir = with_segments();
    let hole = copy(dir.path());
    std::fs::remove_file(&segments(hole.path())[2]).unwrap();
    let message = refused(hole.path());
    assert!(message.contains("lacks its part from position 65536 to 98304"), "{message}");
    std::fs::remove_file(&segments(dir.path())[0]).unwrap();
    let message = refused(dir.path());
    assert!(message.contains("lacks its part from position 0 to 32768"), "{message}");
}

#[test]
fn a_cut_off_file_is_refused() {
    let dir = with_segments();
    change(&segments(dir.path())[1], |bytes| bytes.truncate(20_000));
    assert!(refused(dir.path()).contains("another length"));
    change(&segments(dir.path())[1], |bytes| bytes.truncate(20));
    assert!(refused(dir.path()).contains("shorter than its header"));
}

#[test]
fn a_newer_format_is_refused() {
    let dir = with_segments();
    change(&segments(dir.path())[1], |bytes| bytes[8] = 9);
    let error = open(dir.path(), &options()).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 9, known: 1, .. }));
    assert!(error.to_string().contains("start the newer program"), "{error}");
}

#[test]
fn a_segment_of_another_ledger_is_refused() {
    let (dir, other) = (with_segments(), tempfile::tempdir().unwrap());
    let shape = largesse_engine::ledger::LedgerShape::new(16);
    let shadow = crate::folder::DataFolder::open(other.path(), &"shadow".parse().unwrap(), shape).unwrap();
    drop(crate::log::embedded::EmbeddedLogs::open(&shadow, options()).unwrap());
    std::fs::copy(&segments(other.path())[0], &segments(dir.path())[0]).unwrap();
    assert!(refused(dir.path()).contains("belongs to the ledger `shadow`, not `main`"));
}

#[test]
fn inspection_shows_the_whole_log_and_goes_on_behind_damage() {
    let dir = with_segments();
    let inspect = || {
        let folder = crate::folder::DataFolder::open_read_only(dir.path()).unwrap();
        let entries = crate::log::embedded::Inspection::new(&folder).unwrap();
        entries.map(Result::unwrap).collect::<Vec<_>>()
    };
    let records = |entries: &[crate::log::embedded::RawEntry]| {
        let is_record = |kind: &RawKind| matches!(kind, RawKind::Record { shard: SHARD, header: Ok(_), .. });
        entries.iter().filter(|entry| is_record(&entry.kind)).count()
    };
    assert_eq!(records(&inspect()), 61);
    change(&segments(dir.path())[1], |bytes| bytes[9_000] ^= 1);
    let entries = inspect();
    assert_eq!(records(&entries), 60);
    let damaged = entries.iter().find(|entry| matches!(entry.kind, RawKind::Damaged { .. })).unwrap();
    assert!(damaged.offset <= 9_000 && damaged.file == segments(dir.path())[1]);
}

#[test]
fn damage_that_comes_later_is_an_error_of_the_read() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedLogOptions { cache_bytes_max: 0, ..options() };
    let logs = open(dir.path(), &options).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    let position = append(&logs, SHARD, epoch, &[1; 600]).unwrap();
    let file = std::fs::File::options().write(true).open(&segments(dir.path())[0]).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", position.get() + 99).unwrap();
    let error = futures::executor::block_on(logs.shard(SHARD).read(position, 1)).unwrap_err().to_string();
    assert!(error.contains(&format!(".wal offset {position}: the record's checksum")), "{error}");
}
