//! What can go wrong with a store on a disk, and what to do about it.

#![expect(clippy::wildcard_enum_match_arm, reason = "these enums belong to others and grow")]

use std::io;
use std::path::PathBuf;

use largesse_engine::store::StoreError;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{folder:?} is in use by another process; stop that one first, or ask it instead")]
    InUse { folder: PathBuf },
    #[error(
        "{folder:?} cannot be written to ({why}); check the owner and mode of the folder and how its disk is mounted"
    )]
    ReadOnly { folder: PathBuf, why: String },
    #[error("there is no room left for {folder:?}; free some space and start again, nothing is lost")]
    DiskFull { folder: PathBuf },
    #[error("{folder:?} holds a store of schema {found}, this program knows up to {known}; use a newer program")]
    Newer { folder: PathBuf, found: u32, known: u32 },
    #[error(
        "{folder:?} belongs to {found}, but the configuration says {wanted}; correct the configuration, or use another folder"
    )]
    OtherLedger { folder: PathBuf, found: String, wanted: String },
    #[error("{folder:?} is not empty and not a store; use another folder, or remove it if nothing in it is needed")]
    NotAStore { folder: PathBuf },
    #[error(
        "the store in {folder:?} is damaged: {why}; restore the folder from a backup that is not newer than the logs reach back"
    )]
    Damaged { folder: PathBuf, why: String },
    #[error("{folder:?} cannot be used: {why}")]
    Io { folder: PathBuf, why: String },
}

impl OpenError {
    pub(super) fn from_io(folder: PathBuf, error: &io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                OpenError::ReadOnly { folder, why: error.to_string() }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::DiskFull { folder },
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::NotFound
            | io::ErrorKind::AlreadyExists => {
                // The last two: a file that belongs to others is gone, or lies where one was about to be made.
                OpenError::Damaged { folder, why: error.to_string() }
            }
            _ => OpenError::Io { folder, why: error.to_string() },
        }
    }

    pub(super) fn from_fjall(folder: PathBuf, error: &fjall::Error) -> OpenError {
        match error {
            fjall::Error::Locked => OpenError::InUse { folder },
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                OpenError::from_io(folder, error)
            }
            other => OpenError::Damaged { folder, why: other.to_string() },
        }
    }
}

/// What a failed read says: a disk that did not answer, or bytes that are not what was written.
pub(super) fn read_failed(error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))
            if !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
        {
            StoreError::Unavailable(error.to_string())
        }
        other => StoreError::Damaged(other.to_string()),
    }
}
