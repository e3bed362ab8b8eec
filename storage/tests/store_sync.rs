//! What the embedded store acknowledges has been synced: with a kernel that fails every sync, nothing is acknowledged.
//!
//! Alone in its file, since from then on no thread of this process can sync anything.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::File;

use futures::executor::block_on;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::store::{Store, StoreError};
use largesse_engine::units::{AssetId, UserId};
use largesse_storage::conformance::store::Batch;
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

fn fail_every_sync() {
    let syncs = [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_msync, libc::SYS_sync_file_range, libc::SYS_syncfs];
    let rules = syncs.into_iter().map(|call| (call, Vec::new())).collect();
    let error = SeccompAction::Errno(libc::EIO.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, error, std::env::consts::ARCH.try_into().unwrap());
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter_all_threads(&program).unwrap();
}

#[test]
fn no_batch_is_acknowledged_that_was_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { free_bytes_min: 1 << 20, ..StoreOptions::default() };
    let store = EmbeddedStore::open(folder.path(), LedgerName::default(), LedgerShape::new(16), options).unwrap();
    let write = |seq| block_on(store.write(Batch::upto(seq + 1).balance(UserId(1), AssetId(1), seq, seq).0));
    write(1).unwrap();

    fail_every_sync();
    let probe = File::create(folder.path().join("probe")).unwrap();
    assert_eq!(probe.sync_data().unwrap_err().raw_os_error(), Some(libc::EIO), "the kernel fails syncs");
    write(2).expect_err("it was acknowledged, and cannot have been synced");
    // The sync of the store's own writer failed, not something else in the library.
    let StoreError::Unavailable(why) = write(3).unwrap_err() else { panic!("the store is away") };
    assert!(why.starts_with("syncing the store in "), "{why}");
}
