//! Every store passes the same suite.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_storage::conformance::store::Fixture;
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};
use largesse_storage::store::memory::MemoryStore;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }
}

impl Fixture for Folder {
    type Store = EmbeddedStore;

    async fn open(&self) -> EmbeddedStore {
        let options = StoreOptions { free_bytes_min: 1 << 20, ..StoreOptions::default() };
        EmbeddedStore::open(&self.0.path().join("store"), LedgerName::default(), LedgerShape::new(16), options).unwrap()
    }
}

#[derive(Default)]
struct Memory(MemoryStore);

impl Fixture for Memory {
    type Store = MemoryStore;

    async fn open(&self) -> MemoryStore {
        self.0.clone()
    }
}

mod embedded {
    use super::Folder;

    largesse_storage::store_conformance!(Folder::new());
}

mod memory {
    use super::Memory;

    largesse_storage::store_conformance!(Memory::default());
}
