//! Disks that are full, and folders that cannot be written.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::harness::*;
use crate::log::embedded::EmbeddedLogOptions;
use largesse_engine::log::Logs;
use largesse_engine::units::{Position, ShardId};

const SHARD: ShardId = ShardId::wallet(0);

/// A small file system of its own, unmounted when dropped.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// `None`, and the reason printed, where mounting is not permitted.
    fn mount(size: &str) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { dir }),
            Ok(output) => {
                println!("skipped: cannot mount a tmpfs: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("skipped: cannot run mount: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        assert!(Command::new("mount").args(["-o", &option]).arg(self.path()).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that it is gone even where a failed test still holds a file open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn on_a_full_disk_the_log_is_tight_and_recovers() {
    let Some(disk) = SmallDisk::mount("256k") else { return };
    let options = EmbeddedLogOptions::test_min();
    let logs = open(disk.path(), &options).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    let mut positions = Vec::new();
    while !logs.room().is_tight {
        positions.push(append(&logs, SHARD, epoch, &[7; 900]).expect("what was admitted fits"));
        logs.settled();
        assert!(positions.len() < 1_000, "256 KiB are full at some time");
    }
    positions.push(append(&logs, SHARD, epoch, &[8; 900]).expect("and so does what was under way"));
    drop(logs);

    // A restart on the full disk reads everything, and is tight from the start.
    let logs = open(disk.path(), &options).unwrap();
    assert!(logs.room().is_tight);
    let found: Vec<_> = contents(&logs, SHARD, Position::START).into_iter().map(|(at, _)| at).collect();
    assert_eq!(found, positions);
    let epoch = claim(&logs, SHARD).expect("a claim is small enough for the reserve");

    truncate(&logs, SHARD, end(&logs));
    logs.settled();
    assert!(!logs.room().is_tight, "what was given up makes room");
    append(&logs, SHARD, epoch, &[9; 900]).unwrap();
}

#[test]
fn space_that_others_free_is_noticed() {
    let Some(disk) = SmallDisk::mount("128k") else { return };
    let filler = disk.path().join("filler");
    let options = EmbeddedLogOptions::test_min();
    let logs = open(disk.path(), &options).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    logs.settled();
    // As much as there is; the error of the last byte is what was wanted.
    assert!(std::fs::write(&filler, vec![1; 128 << 10]).is_err());
    while !logs.room().is_tight {
        append(&logs, SHARD, epoch, &[7; 900]).unwrap();
        logs.settled();
    }
    std::fs::remove_file(&filler).unwrap();
    logs.wait_until_prepared();
    assert!(!logs.room().is_tight);
    for _ in 0..20 {
        append(&logs, SHARD, epoch, &[7; 900]).unwrap();
    }
}

#[test]
fn without_a_single_free_block_space_is_still_given_back() {
    let Some(disk) = SmallDisk::mount("160k") else { return };
    let logs = open(disk.path(), &EmbeddedLogOptions::test_min()).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    append(&logs, SHARD, epoch, &[7; 900]).unwrap();
    logs.settled();
    assert!(std::fs::write(disk.path().join("filler"), vec![1; 160 << 10]).is_err());
    while !logs.room().is_tight {
        append(&logs, SHARD, epoch, &[7; 900]).unwrap();
        logs.settled();
    }
    assert!(std::fs::write(disk.path().join("more"), b"x").is_err(), "the disk is really full");
    truncate(&logs, SHARD, end(&logs));
    logs.settled();
    assert!(!logs.room().is_tight, "the first segment became the next one");
    append(&logs, SHARD, epoch, &[9; 900]).unwrap();
}

#[test]
fn a_disk_too_small_to_start_on_says_so() {
    let Some(disk) = SmallDisk::mount("12k") else { return };
    let error = open(disk.path(), &EmbeddedLogOptions::test_min()).err().unwrap().to_string();
    assert!(error.contains("no space left on the disk"), "{error}");
}

#[test]
fn a_read_only_folder_is_refused_for_writing_and_open_for_reading() {
    let Some(disk) = SmallDisk::mount("1m") else { return };
    let options = EmbeddedLogOptions::test_min();
    let logs = open(disk.path(), &options).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    append(&logs, SHARD, epoch, b"kept").unwrap();
    drop(logs);
    disk.remount("ro");
    let error = open(disk.path(), &options).err().unwrap().to_string();
    assert!(error.contains("read-only file system") && error.contains("remount it writable"), "{error}");
    let logs = open_read_only(disk.path()).unwrap();
    assert_eq!(contents(&logs, SHARD, Position::START).len(), 1);
    drop(logs);
    disk.remount("rw");
    assert!(open(disk.path(), &options).is_ok());
}

#[test]
fn a_tool_reads_beside_the_process_that_writes() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedLogOptions::test_min();
    let logs = open(dir.path(), &options).unwrap();
    let epoch = claim(&logs, SHARD).unwrap();
    let mut answered = Vec::new();
    for round in 0..30_u8 {
        let under_way: Vec<_> = (0..10).map(|_| queue(&logs, SHARD, epoch, &[round; 500])).collect();
        let tool = open_read_only(dir.path()).unwrap();
        let seen: Vec<_> = match answered.len() {
            0 => Vec::new(),
            // It may have been truncated since the tool was opened, and what the tool sees is from then.
            len => contents(&tool, SHARD, answered[len - 1]).into_iter().map(|(at, _)| at).collect(),
        };
        assert!(answered.last().is_none_or(|last| seen.first() == Some(last)), "what was answered is there");
        answered.extend(under_way.into_iter().map(|answer| answer.recv().unwrap().unwrap()));
        if round % 4 == 3 {
            truncate(&logs, SHARD, answered[answered.len() - 5]);
        }
    }
}
