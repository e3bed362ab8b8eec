//! The data folder: who may use it, and what it holds.
//!
//! ```text
//! DIR/LOCK         held by the process that writes; its content is that process' id
//! DIR/ledger.json  format of the folder, name, shape and id of the ledger
//! DIR/wal/         segments of the write-ahead log
//! DIR/store/       rows
//! ```

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use largesse_engine::ledger::{LedgerName, LedgerShape};
use serde::{Deserialize, Serialize};

use crate::ledger_id::LedgerId;

/// What this program writes. Raise it when an older program could not read the folder any more.
pub const FOLDER_FORMAT: u32 = 1;

/// A data folder that this process has opened. The lock is held until the last clone of the `Arc` is gone.
#[derive(Debug)]
pub struct DataFolder {
    dir: PathBuf,
    ledger: LedgerName,
    shape: LedgerShape,
    /// Empty until somebody has asked for it or told it.
    id: OnceLock<LedgerId>,
    /// `None` when opened for reading only.
    lock: Option<Lock>,
}

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(
        "the data folder {dir} is in use by process {pid}: stop that process, or give this one a folder of its own",
        dir = .dir.display(),
        pid = .pid.map_or("(unknown)".into(), |pid| pid.to_string())
    )]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error("there is no data folder at {}: check the path, or start the server once to create it", .0.display())]
    Missing(PathBuf),
    #[error("no permission to write {}: give this user write access, or choose another data folder", .0.display())]
    NoPermission(PathBuf),
    #[error("{} lies on a read-only file system: remount it writable, or choose another data folder", .0.display())]
    ReadOnly(PathBuf),
    #[error("no space left on the disk of {}: free some, then start again", .0.display())]
    DiskFull(PathBuf),
    #[error(
        "{file} has format {found}, this program knows formats up to {known}: start the newer program that wrote it",
        file = .file.display()
    )]
    Newer { file: PathBuf, found: u64, known: u32 },
    #[error("{dir} holds the ledger `{found}`, not `{asked}`: correct the ledger's name or the folder", dir = .dir.display())]
    OtherLedger { dir: PathBuf, found: LedgerName, asked: LedgerName },
    #[error(
        "the ledger in {dir} was created with {found_shards} wallet shards and hash version {found_hash}, the \
         configuration says {asked_shards} and {asked_hash}: these can never change, correct the configuration",
        dir = .dir.display(), found_shards = .found.wallet_shards, found_hash = .found.hash_version,
        asked_shards = .asked.wallet_shards, asked_hash = .asked.hash_version
    )]
    OtherShape { dir: PathBuf, found: LedgerShape, asked: LedgerShape },
    #[error(
        "{dir} belongs to the ledger with the id {found}, the log that is configured to the one with {asked}: choose another \
         data.dir, or correct where the log is",
        dir = .dir.display()
    )]
    OtherId { dir: PathBuf, found: LedgerId, asked: LedgerId },
    #[error("{} is damaged: {why}; restore it from a backup", .file.display())]
    Damaged { file: PathBuf, why: String },
    #[error("cannot {doing} {}: {why}", .path.display())]
    Io { doing: &'static str, path: PathBuf, why: io::Error },
}

impl FolderError {
    /// Names the causes that an operator can do something about.
    pub(crate) fn from_io(doing: &'static str, path: &Path, why: io::Error) -> FolderError {
        let path = path.to_path_buf();
        #[allow(clippy::wildcard_enum_match_arm, reason = "the system has far more errors than there is advice")]
        match why.kind() {
            io::ErrorKind::PermissionDenied => FolderError::NoPermission(path),
            io::ErrorKind::ReadOnlyFilesystem => FolderError::ReadOnly(path),
            io::ErrorKind::StorageFull => FolderError::DiskFull(path),
            _ => FolderError::Io { doing, path, why },
        }
    }
}

/// Content of `ledger.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Plate {
    format: u32,
    ledger: LedgerName,
    #[serde(flatten)]
    shape: LedgerShape,
    /// Folders of the first versions have none until they are opened again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<LedgerId>,
}

impl Plate {
    fn write(&self, dir: &Path) -> Result<(), FolderError> {
        let json = serde_json::to_vec_pretty(self).expect("names and numbers are valid JSON");
        write_atomically(&dir.join("ledger.json"), &json)
    }
}

impl DataFolder {
    /// Opens the folder for the one process that may write, creating it if there is none.
    pub fn open(dir: &Path, ledger: &LedgerName, shape: LedgerShape) -> Result<Arc<DataFolder>, FolderError> {
        std::fs::create_dir_all(dir).map_err(|why| FolderError::from_io("create", dir, why))?;
        let lock = take_lock(dir)?;
        let id = match read_plate(dir)? {
            Some(plate) if plate.ledger != *ledger => {
                let (dir, asked) = (dir.to_path_buf(), ledger.clone());
                return Err(FolderError::OtherLedger { dir, found: plate.ledger, asked });
            }
            Some(plate) if plate.shape != shape => {
                return Err(FolderError::OtherShape { dir: dir.to_path_buf(), found: plate.shape, asked: shape });
            }
            Some(plate) => plate.id,
            None => {
                refuse_orphans(dir)?;
                Plate { format: FOLDER_FORMAT, ledger: ledger.clone(), shape, id: None }.write(dir)?;
                None
            }
        };
        let id = id.map_or_else(OnceLock::new, OnceLock::from);
        let folder = DataFolder { dir: dir.to_path_buf(), ledger: ledger.clone(), shape, id, lock: Some(lock) };
        for part in [folder.wal(), folder.store()] {
            std::fs::create_dir_all(&part).map_err(|why| FolderError::from_io("create", &part, why))?;
        }
        sync_dir(dir)?;
        Ok(Arc::new(folder))
    }

    /// Opens the folder for a tool that only reads, also beside a running process.
    pub fn open_read_only(dir: &Path) -> Result<Arc<DataFolder>, FolderError> {
        let plate = read_plate(dir)?.ok_or_else(|| FolderError::Missing(dir.to_path_buf()))?;
        let id = plate.id.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Arc::new(DataFolder { dir: dir.to_path_buf(), ledger: plate.ledger, shape: plate.shape, id, lock: None }))
    }

    /// The ledger's id, if the folder knows it.
    pub fn id(&self) -> Option<&LedgerId> {
        self.id.get()
    }

    /// Makes sure that the folder is of this ledger and of no other, and knows it from now on. For the process that writes.
    pub fn belong_to(&self, id: &LedgerId) -> Result<(), FolderError> {
        let mine = self.id.get_or_init(|| id.clone());
        if mine != id {
            return Err(FolderError::OtherId { dir: self.dir.clone(), found: mine.clone(), asked: id.clone() });
        }
        let plate =
            Plate { format: FOLDER_FORMAT, ledger: self.ledger.clone(), shape: self.shape, id: Some(id.clone()) };
        match read_plate(&self.dir)? {
            Some(there) if there.id == plate.id => Ok(()),
            Some(_) | None => plate.write(&self.dir),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn ledger(&self) -> &LedgerName {
        &self.ledger
    }

    pub fn shape(&self) -> LedgerShape {
        self.shape
    }

    pub fn is_read_only(&self) -> bool {
        self.lock.is_none()
    }

    /// Where the write-ahead log is.
    pub fn wal(&self) -> PathBuf {
        self.dir.join("wal")
    }

    /// Whether an embedded log was ever written here.
    pub fn has_log(&self) -> bool {
        std::fs::read_dir(self.wal()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Where the rows are.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }
}

/// The locked file, for as long as this lives.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // By name, not just by closing: a child process being started has a copy of the open file for a moment.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "cannot unlock the data folder");
        }
    }
}

/// The lock belongs to the open file, so it is gone with the process however that ends; the file itself stays.
fn take_lock(dir: &Path) -> Result<Lock, FolderError> {
    let path = dir.join("LOCK");
    let mut lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|why| FolderError::from_io("open", &path, why))?;
    match lock.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let pid = lock.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
            return Err(FolderError::InUse { dir: dir.to_path_buf(), pid });
        }
        Err(TryLockError::Error(why)) => return Err(FolderError::from_io("lock", &path, why)),
    }
    let write_pid = |lock: &mut File| {
        lock.set_len(0)?;
        lock.seek(SeekFrom::Start(0))?;
        writeln!(lock, "{}", std::process::id())
    };
    // The number only serves a message; a disk too full for it must not keep anybody from starting.
    if let Err(error) = write_pid(&mut lock) {
        tracing::warn!(%error, path = %path.display(), "cannot write the process id");
    }
    Ok(Lock(lock))
}

fn read_plate(dir: &Path) -> Result<Option<Plate>, FolderError> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    let file = dir.join("ledger.json");
    let json = match std::fs::read(&file) {
        Ok(json) => json,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(FolderError::from_io("read", &file, why)),
    };
    let damaged = |why: serde_json::Error| FolderError::Damaged { file: file.clone(), why: why.to_string() };
    // The format comes first: what else a newer one says may mean anything.
    let Format { format } = serde_json::from_slice(&json).map_err(damaged)?;
    if format > u64::from(FOLDER_FORMAT) {
        return Err(FolderError::Newer { file, found: format, known: FOLDER_FORMAT });
    }
    serde_json::from_slice(&json).map(Some).map_err(damaged)
}

/// A folder with a log in it and no plate is not a new one.
fn refuse_orphans(dir: &Path) -> Result<(), FolderError> {
    let holds_something =
        |part: &str| std::fs::read_dir(dir.join(part)).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something("wal") || holds_something("store") {
        let why = "it is missing, though the folder holds a log or a store".into();
        return Err(FolderError::Damaged { file: dir.join("ledger.json"), why });
    }
    Ok(())
}

/// After this the file holds either its old content or all of the new, whenever the power fails.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), FolderError> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|why| FolderError::from_io("write", path, why))?;
    sync_dir(path.parent().expect("a file lies in a folder"))
}

/// Makes created, renamed and deleted names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), FolderError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|why| FolderError::from_io("sync", dir, why))
}

#[cfg(test)]
mod tests;
