//! The database and its tables, opened and known to belong to this ledger.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use largesse_engine::ledger::{LedgerName, LedgerShape};
use serde::{Deserialize, Serialize};

use super::StoreOptions;
use super::error::{OpenError, read_failed};

/// Changes when a table is added, or when a table's keys or values change: an older program would misread what it finds, or
/// leave out what it does not know.
///
/// | schema | what it brought |
/// |---|---|
/// | 1 | the first tables |
/// | 2 | `room_feed` and `room_state` |
const SCHEMA: u32 = 2;
const IDENTITY: &str = "identity";

/// A table with this many memtables that wait for the disk gets no more. One more and the library itself would hold up
/// the writer, without end should its own threads have stopped meanwhile.
const SEALED_MEMTABLES_MAX: usize = 3;
/// The same for tables on disk that wait to be compacted; the library stops at 30.
const RUNS_MAX: usize = 24;

pub struct Tables {
    pub db: Database,
    pub balance: Keyspace,
    pub sent: Keyspace,
    pub received: Keyspace,
    pub receipt_pointer: Keyspace,
    pub room_feed: Keyspace,
    pub room_state: Keyspace,
    pub checkpoint: Keyspace,
}

/// What the folder was made for, as it is written into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    schema: u32,
    ledger: LedgerName,
    #[serde(flatten)]
    shape: LedgerShape,
}

/// Only the part that every later schema keeps.
#[derive(Deserialize)]
struct AnySchema {
    schema: u32,
}

impl Identity {
    pub fn new(ledger: LedgerName, shape: LedgerShape) -> Identity {
        Identity { schema: SCHEMA, ledger, shape }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LedgerShape { wallet_shards, hash_version } = self.shape;
        write!(f, "ledger `{}` with {wallet_shards} wallet shards and hash version {hash_version}", self.ledger)
    }
}

impl Tables {
    /// Opens the store in `folder`, and makes it first if there is none.
    pub fn open(folder: &Path, identity: &Identity, options: &StoreOptions) -> Result<Tables, OpenError> {
        if !folder.join("version").exists() {
            create(folder, identity, options)?;
        }
        let db = open_database(folder, options)?;
        let found = check_identity(&db, folder, identity)?;
        let tables = without_panic(folder, || Tables::of(db, folder))?;
        if found < SCHEMA {
            // Last, so that whoever is interrupted finds an older schema and adds the tables again.
            tables.write_identity(folder, identity)?;
            tracing::info!(folder = %folder.display(), found, now = SCHEMA, "the store has the tables of a newer schema");
        }
        Ok(tables)
    }

    /// Makes those that are not there.
    fn of(db: Database, folder: &Path) -> Result<Tables, OpenError> {
        Ok(Tables {
            balance: table(&db, folder, "balance")?,
            sent: table(&db, folder, "sent")?,
            received: table(&db, folder, "received")?,
            receipt_pointer: table(&db, folder, "receipt_pointer")?,
            room_feed: table(&db, folder, "room_feed")?,
            room_state: table(&db, folder, "room_state")?,
            checkpoint: table(&db, folder, "checkpoint")?,
            db,
        })
    }

    /// Whether the disk keeps up; if not, the table that waits for it.
    pub fn lagging(&self) -> Option<&str> {
        let history = [&self.balance, &self.sent, &self.received, &self.receipt_pointer];
        let all = history.into_iter().chain([&self.room_feed, &self.room_state, &self.checkpoint]);
        let is_lagging = |table: &&Keyspace| {
            table.tree.sealed_memtable_count() >= SEALED_MEMTABLES_MAX || table.tree.l0_run_count() >= RUNS_MAX
        };
        all.into_iter().find(is_lagging).map(|table| table.name().as_ref())
    }

    fn write_identity(&self, folder: &Path, identity: &Identity) -> Result<(), OpenError> {
        let meta = table(&self.db, folder, "meta")?;
        let text = serde_json::to_vec(identity).expect("strings and numbers are always JSON");
        meta.insert(IDENTITY, text)
            .and_then(|()| self.db.persist(PersistMode::SyncAll))
            .map_err(|error| OpenError::from_fjall(folder.into(), &error))
    }
}

/// The schema of what is there, which is of the ledger that is wanted and not newer than this program.
fn check_identity(db: &Database, folder: &Path, wanted: &Identity) -> Result<u32, OpenError> {
    let damaged = |why: String| OpenError::Damaged { folder: folder.into(), why };
    let meta = without_panic(folder, || table(db, folder, "meta"))?;
    let stored = meta.get(IDENTITY).map_err(|error| damaged(read_failed(error).to_string()))?;
    let stored = stored.ok_or_else(|| damaged("it does not say which ledger it belongs to".into()))?;
    let AnySchema { schema } = serde_json::from_slice(&stored).map_err(|error| damaged(error.to_string()))?;
    if schema > SCHEMA {
        return Err(OpenError::Newer { folder: folder.into(), found: schema, known: SCHEMA });
    }
    let found: Identity = serde_json::from_slice(&stored).map_err(|error| damaged(error.to_string()))?;
    if (&found.ledger, found.shape) != (&wanted.ledger, wanted.shape) {
        let (found, wanted) = (found.to_string(), wanted.to_string());
        return Err(OpenError::OtherLedger { folder: folder.into(), found, wanted });
    }
    Ok(schema)
}

/// Makes the store beside its place and then moves it there, so that a crash half-way leaves nothing that looks like one.
fn create(folder: &Path, identity: &Identity, options: &StoreOptions) -> Result<(), OpenError> {
    let failed = |error: std::io::Error| OpenError::from_io(folder.into(), &error);
    if folder.exists() && fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(OpenError::NotAStore { folder: folder.into() });
    }
    let mut beside = folder.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(failed)?;
    }
    fs::create_dir_all(&beside).map_err(failed)?;
    {
        let tables = Tables::of(open_database(&beside, options)?, folder)?;
        tables.write_identity(folder, identity)?;
    }
    fs::rename(&beside, folder).map_err(failed)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
}

fn open_database(folder: &Path, options: &StoreOptions) -> Result<Database, OpenError> {
    without_panic(folder, || {
        Database::builder(folder)
            .cache_size(options.cache_bytes)
            .worker_threads(options.worker_threads)
            .open()
            .map_err(|error| OpenError::from_fjall(folder.into(), &error))
    })
}

/// The library panics on some kinds of damage.
fn without_panic<T>(folder: &Path, open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(OpenError::Damaged { folder: folder.into(), why: text.unwrap_or("it cannot be read").into() })
    })
}

fn table(db: &Database, folder: &Path, name: &str) -> Result<Keyspace, OpenError> {
    db.keyspace(name, KeyspaceCreateOptions::default).map_err(|error| OpenError::from_fjall(folder.into(), &error))
}
