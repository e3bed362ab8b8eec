//! What a disk can do to the embedded store.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::executor::block_on;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::store::{FeedQuery, FeedRow, Store, StoreError};
use largesse_engine::units::{AssetId, RoomId, RoomSeq, ShardId, UserId};
use largesse_storage::conformance::store::{Batch, sent_pages, v7};
use largesse_storage::store::embedded::{EmbeddedStore, OpenError, StoreOptions};

const SHARD: ShardId = ShardId::wallet(3);
const ANN: UserId = UserId(3001);
const COIN: AssetId = AssetId(1);
const NOON: u64 = 1_700_000_000_000;

fn open(folder: &Path) -> Result<EmbeddedStore, OpenError> {
    open_with(folder, 1 << 20)
}

fn open_with(folder: &Path, free_bytes_min: u64) -> Result<EmbeddedStore, OpenError> {
    let options = StoreOptions { free_bytes_min, ..StoreOptions::default() };
    EmbeddedStore::open(folder, LedgerName::default(), LedgerShape::new(16), options)
}

/// A batch of this many events up to `last`, each with a row of some hundred bytes.
fn gifts(last: u64, count: u64) -> Batch {
    let mut batch = Batch::upto(last + 1).balance(ANN, COIN, last, last);
    for seq in last - count + 1..=last {
        batch = batch.sent(ANN, v7(NOON + seq, seq), seq);
    }
    for row in &mut batch.0.sent {
        row.stored.event = row.stored.seq.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(64);
    }
    batch
}

fn balance(store: &EmbeddedStore) -> Option<u64> {
    block_on(store.load_wallets(SHARD, vec![ANN])).unwrap()[0].first().map(|row| row.amount.get())
}

fn next(store: &EmbeddedStore) -> Option<u64> {
    block_on(store.checkpoint(SHARD)).unwrap().map(|checkpoint| checkpoint.fold.next.get())
}

/// A disk of its own, gone when dropped. `None` where this may not be mounted: then the test says so and ends.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(SmallDisk(folder))
        } else {
            eprintln!("skipped: this user may not mount a tmpfs");
            None
        }
    }

    fn make_read_only(&self) {
        let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).status().unwrap();
        assert!(remounted.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Every file below a folder that ends like this, the largest first.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_second_owner_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let store = open(&place).unwrap();
    assert!(matches!(open(&place).err(), Some(OpenError::InUse { .. })));
    drop(store);
    assert!(open(&place).is_ok(), "the folder is free when the store was dropped");
}

#[test]
fn the_store_of_another_ledger_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    drop(open(&place).unwrap());
    let options = StoreOptions::default;
    let shadow: LedgerName = "shadow".parse().unwrap();
    let refused = EmbeddedStore::open(&place, shadow, LedgerShape::new(16), options()).err().unwrap().to_string();
    assert!(refused.contains("ledger `main` with 16") && refused.contains("ledger `shadow`"), "{refused}");
    let wider = EmbeddedStore::open(&place, LedgerName::default(), LedgerShape::new(17), options());
    let refused = wider.err().unwrap().to_string();
    assert!(refused.contains("16 wallet shards") && refused.contains("17 wallet shards"), "{refused}");
    assert!(open(&place).is_ok(), "a refusal changes nothing");
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    drop(open(&place).unwrap());
    {
        let db = fjall::Database::builder(&place).open().unwrap();
        let meta = db.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
        meta.insert("identity", r#"{"schema":3,"ledger":{"some":"thing else"}}"#).unwrap();
    }
    let refused = open(&place).err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 3, known: 2, .. }), "{refused}");
}

/// As the first schema left a folder: without the tables of rooms.
fn make_old(place: &Path) {
    let db = fjall::Database::builder(place).open().unwrap();
    for table in ["room_feed", "room_state"] {
        let table = db.keyspace(table, fjall::KeyspaceCreateOptions::default).unwrap();
        db.delete_keyspace(table).unwrap();
    }
    let meta = db.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
    meta.insert("identity", r#"{"schema":1,"ledger":"main","wallet_shards":16,"hash_version":1}"#).unwrap();
}

fn schema(place: &Path) -> String {
    let db = fjall::Database::builder(place).open().unwrap();
    let meta = db.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
    let tables: Vec<&str> = ["room_feed", "room_state"].into_iter().filter(|table| db.keyspace_exists(table)).collect();
    let identity = meta.get("identity").unwrap().unwrap();
    format!("{} {}", String::from_utf8(identity.to_vec()).unwrap(), tables.join(" "))
}

#[test]
fn an_older_schema_gets_the_tables_that_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let store = open(&place).unwrap();
    block_on(store.write(gifts(5, 5).0)).unwrap();
    drop(store);
    let new = schema(&place);
    make_old(&place);
    let shadow: LedgerName = "shadow".parse().unwrap();
    let refused = EmbeddedStore::open(&place, shadow, LedgerShape::new(16), StoreOptions::default()).err().unwrap();
    assert!(matches!(refused, OpenError::OtherLedger { .. }), "{refused}");
    assert!(
        schema(&place).starts_with(r#"{"schema":1,"#) && !schema(&place).contains("room"),
        "a refusal adds nothing"
    );
    let store = open(&place).unwrap();
    assert_eq!((balance(&store), next(&store)), (Some(5), Some(6)), "what was there is there");
    let (room, shard) = (RoomId(1001), ShardId::room(3));
    let mut batch = Batch::upto(2).0;
    (batch.shard, batch.checkpoint.shard) = (shard, shard);
    batch.feed.push(FeedRow { room, first: RoomSeq(1), last: RoomSeq(1), items: vec![7] });
    block_on(store.write(batch.clone())).unwrap();
    drop(store);
    assert_eq!(schema(&place), new, "an older program refuses it from now on");
    let query = FeedQuery { shard, room, after: RoomSeq::NONE, limit: 9 };
    assert_eq!(block_on(open(&place).unwrap().page_feed(query)), Ok(batch.feed));
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear ann").unwrap();
    assert!(matches!(open(folder.path()).err(), Some(OpenError::NotAStore { .. })));
    assert_eq!(fs::read_to_string(folder.path().join("letter.txt")).unwrap(), "dear ann");
}

#[test]
fn what_a_crash_left_of_making_a_store_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    fs::create_dir_all(folder.path().join("store.new/keyspaces")).unwrap();
    fs::write(folder.path().join("store.new/0.jnl"), "half").unwrap();
    let store = open(&place).unwrap();
    block_on(store.write(gifts(5, 5).0)).unwrap();
    assert_eq!(balance(&store), Some(5));
    assert!(!folder.path().join("store.new").exists());
}

#[test]
fn a_batch_that_was_torn_off_is_gone_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let store = open(&place).unwrap();
    block_on(store.write(gifts(10, 10).0)).unwrap();
    let before = used_bytes(&files(&place, ".jnl")[0]);
    block_on(store.write(gifts(20, 10).0)).unwrap();
    drop(store);
    let journal = files(&place, ".jnl").remove(0);
    let after = used_bytes(&journal);
    assert!(after > before);
    fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(before + (after - before) / 2).unwrap();
    let store = open(&place).unwrap();
    assert_eq!((balance(&store), next(&store)), (Some(10), Some(11)));
    assert_eq!(block_on(sent_pages(&store, ANN, 100)).len(), 10);
    // The flusher comes again from the checkpoint that it finds.
    block_on(store.write(gifts(20, 10).0)).unwrap();
    drop(store);
    let store = open(&place).unwrap();
    assert_eq!((balance(&store), next(&store)), (Some(20), Some(21)));
    assert_eq!(block_on(sent_pages(&store, ANN, 100)).len(), 20);
}

/// Up to the last byte that is not zero: the library extends its journal in advance.
fn used_bytes(file: &Path) -> u64 {
    let bytes = fs::read(file).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

#[test]
fn damage_is_said_to_be_damage() {
    type Damage = fn(&Path);
    let kinds: [(&str, Damage); 3] = [
        ("its version file is not one", |place| fs::write(place.join("version"), "hello").unwrap()),
        ("a byte in the middle of its journal changed", |place| {
            let journal = files(place, ".jnl").remove(0);
            let mut bytes = fs::read(&journal).unwrap();
            let middle = usize::try_from(used_bytes(&journal) / 2).unwrap();
            bytes[middle] ^= 0xff;
            fs::write(&journal, bytes).unwrap();
        }),
        ("a table's folder is empty", |place| {
            for file in files(&place.join("keyspaces"), "current") {
                fs::remove_file(file).unwrap();
            }
        }),
    ];
    for (what, damage) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("store");
        let store = open(&place).unwrap();
        block_on(store.write(gifts(50, 50).0)).unwrap();
        drop(store);
        damage(&place);
        let refused = open(&place).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("is damaged"), "{what}: {refused:?}");
        assert!(refused.contains("backup"), "{what}: it says what to do: {refused}");
    }
}

#[test]
fn a_read_only_disk_is_named() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let place = disk.0.path().join("store");
    let store = open(&place).unwrap();
    block_on(store.write(gifts(5, 5).0)).unwrap();
    drop(store);
    disk.make_read_only();
    for place in [&place, &disk.0.path().join("new")] {
        let refused = open(place).err().unwrap();
        assert!(matches!(refused, OpenError::ReadOnly { .. }), "{refused:?}");
    }
}

#[test]
fn nothing_is_begun_on_a_disk_that_is_nearly_full() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let store = open_with(&disk.0.path().join("store"), 16 << 20).unwrap();
    block_on(store.write(gifts(10, 10).0)).unwrap();
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![1; 20 << 20]).unwrap();
    let refused = block_on(store.write(gifts(20, 10).0)).unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(why) if why.contains("free some space")), "{refused}");
    assert_eq!(balance(&store), Some(10), "reading goes on");
    fs::remove_file(&filler).unwrap();
    block_on(store.write(gifts(20, 10).0)).unwrap();
    assert_eq!((balance(&store), next(&store)), (Some(20), Some(21)));
}

/// With no reserve the library meets the full disk itself, and takes no writes from then on until it is reopened.
#[test]
fn after_a_full_disk_the_store_takes_writes_again() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let place = disk.0.path().join("store");
    let store = open_with(&place, 0).unwrap();
    let (mut last, mut refused) = (0, None);
    while refused.is_none() {
        assert!(last < 200_000, "the disk never fills");
        match block_on(store.write(gifts(last + 2_000, 2_000).0)) {
            Ok(()) => last += 2_000,
            Err(error) => refused = Some(error),
        }
        if last == 2_000 {
            fs::write(disk.0.path().join("filler"), vec![1; 12 << 20]).unwrap();
        }
    }
    let failed = matches!(&refused, Some(StoreError::Unavailable(why)) if why.starts_with("writing to"));
    assert!(failed, "{refused:?}");
    assert_eq!(balance(&store), Some(last), "reading goes on, and shows nothing that failed");
    fs::remove_file(disk.0.path().join("filler")).unwrap();
    block_on(store.write(gifts(last + 2_000, 2_000).0)).unwrap();
    assert_eq!((balance(&store), next(&store)), (Some(last + 2_000), Some(last + 2_001)));
    drop(store);
    let store = open_with(&place, 0).unwrap();
    assert_eq!((balance(&store), next(&store)), (Some(last + 2_000), Some(last + 2_001)));
    assert_eq!(block_on(sent_pages(&store, ANN, 1_000)).len() as u64, last + 2_000);
}

#[tokio::test]
async fn batches_of_many_shards_are_written_together() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let store = open(&place).unwrap();
    let shards: Vec<ShardId> = (0..64).map(ShardId::wallet).collect();
    let batch = |shard: ShardId, last: u64| {
        let mut batch = gifts(last, 10);
        (batch.0.shard, batch.0.checkpoint.shard) = (shard, shard);
        batch.0
    };
    let writes = [10, 20, 30].into_iter().flat_map(|last| shards.iter().map(move |shard| (*shard, last)));
    let written = futures::future::join_all(writes.map(|(shard, last)| store.write(batch(shard, last)))).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    drop(store);
    let store = open(&place).unwrap();
    for shard in shards {
        let checkpoint = store.checkpoint(shard).await.unwrap().unwrap();
        assert_eq!(checkpoint.fold.next.get(), 31, "{shard}");
    }
}
