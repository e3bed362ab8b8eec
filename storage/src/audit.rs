//! Audits a ledger: of a stopped process the logs and the store, beside a running one the logs alone. The logs lie in a data
//! folder or in Kafka, the store in a folder or in a database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use largesse_engine::audit::{AuditError, AuditOptions, Report, Scope, audit};
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::store::{Store, StoreError};
use largesse_engine::units::ShardId;

use crate::folder::{DataFolder, FolderError};
use crate::ledger_id::LedgerId;
use crate::log::embedded::{EmbeddedLogs, OpenError as LogOpenError};
use crate::log::kafka::{KafkaLogs, KafkaOptions, OpenError as KafkaOpenError};
use crate::store::cql::{CqlOptions, CqlStore, OpenError as CqlOpenError};
use crate::store::embedded::{EmbeddedStore, OpenError as StoreOpenError, StoreOptions};

/// Why a ledger could not be audited.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Log(#[from] LogOpenError),
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    #[error(transparent)]
    Kafka(#[from] KafkaOpenError),
    #[error(transparent)]
    Cql(#[from] CqlOpenError),
    #[error("the folder {} could not be audited: {why}", .dir.display())]
    Audit { dir: PathBuf, why: AuditError },
    #[error("the topics of ledger `{ledger}` could not be audited: {why}")]
    AuditTopics { ledger: LedgerName, why: AuditError },
    #[error("{} holds the ledger `{found}` with {shards} wallet shards, which is not the one in kafka", .dir.display())]
    OtherLedger { dir: PathBuf, found: LedgerName, shards: u16 },
}

/// Audits everything in the folder that can be read now.
///
/// The store's files belong to the process that has them open, so beside a running process only the logs are audited,
/// which the report says. Without one the store is opened here, and a process that starts meanwhile is told that it is
/// in use.
pub async fn data_dir(dir: &Path, options: AuditOptions) -> Result<Report, DataDirError> {
    let folder = DataFolder::open_read_only(dir)?;
    // The store first: from then on nobody else writes, so the logs are as new as its rows or newer.
    let store = open_store(&folder)?;
    let logs = EmbeddedLogs::open_read_only(&folder)?;
    let store = store.as_ref().map(|store| store as &dyn Store).map_err(Clone::clone);
    if let Ok(store) = store {
        wait_until_ready(store).await;
    }
    let scope = Scope { shape: folder.shape(), logs: &logs, store };
    audit(scope, options).await.map_err(|why| DataDirError::Audit { dir: dir.to_path_buf(), why })
}

/// Audits the topics of a ledger, and its rows in a database or in the data folder `dir` where one is named.
pub async fn topics(
    kafka: KafkaOptions,
    ledger: &LedgerName,
    dir: Option<&Path>,
    rows: Option<CqlOptions>,
    options: AuditOptions,
) -> Result<Report, DataDirError> {
    let folder = dir.map(DataFolder::open_read_only).transpose()?;
    let logs = KafkaLogs::open_read_only(kafka, ledger).await?;
    let store: Result<Box<dyn Store>, String> = match (rows, &folder) {
        (Some(rows), _) => Ok(Box::new(open_rows(ledger, logs.shape(), rows, logs.id()).await?)),
        (None, Some(folder)) => open_store(folder)?.map(|store| Box::new(store) as Box<dyn Store>),
        (None, None) => Err("no data folder was named".into()),
    };
    let is_other_id = |folder: &DataFolder| folder.id().is_some_and(|id| logs.id().is_some_and(|of_log| of_log != id));
    let is_other =
        |folder: &DataFolder| folder.ledger() != ledger || folder.shape() != logs.shape() || is_other_id(folder);
    if let Some(folder) = folder.filter(|folder| is_other(folder)) {
        let (found, shards) = (folder.ledger().clone(), folder.shape().wallet_shards);
        return Err(DataDirError::OtherLedger { dir: folder.dir().to_path_buf(), found, shards });
    }
    let store = store.as_ref().map(|store| &**store).map_err(Clone::clone);
    if let Ok(store) = store {
        wait_until_ready(store).await;
    }
    let scope = Scope { shape: logs.shape(), logs: &logs, store };
    audit(scope, options).await.map_err(|why| DataDirError::AuditTopics { ledger: ledger.clone(), why })
}

/// The same where the rows lie in a database. Whoever has the folder writes them, so beside a running process they are left
/// out as well, and none can start meanwhile.
pub async fn data_dir_with_cql(dir: &Path, rows: CqlOptions, options: AuditOptions) -> Result<Report, DataDirError> {
    let folder = DataFolder::open_read_only(dir)?;
    let alone = DataFolder::open(dir, folder.ledger(), folder.shape());
    let store = match &alone {
        Ok(_) => Ok(open_rows(folder.ledger(), folder.shape(), rows, folder.id()).await?),
        Err(FolderError::InUse { .. }) => {
            Err("a running process writes to it; stop that process to compare its rows as well".into())
        }
        Err(_) => return Err(alone.map(drop).expect_err("it was matched to be one").into()),
    };
    let logs = EmbeddedLogs::open_read_only(&folder)?;
    let scope = Scope {
        shape: folder.shape(),
        logs: &logs,
        store: store.as_ref().map(|store| store as &dyn Store).map_err(Clone::clone),
    };
    audit(scope, options).await.map_err(|why| DataDirError::Audit { dir: dir.to_path_buf(), why })
}

pub(crate) async fn open_rows(
    ledger: &LedgerName,
    shape: LedgerShape,
    rows: CqlOptions,
    id: Option<&LedgerId>,
) -> Result<CqlStore, CqlOpenError> {
    let store = CqlStore::open(ledger, shape, rows).await?;
    if let Some(id) = id {
        store.refuse_other_log(id).await?;
    }
    Ok(store)
}

/// A store that was stopped under load still has to write what it held in memory, and until then gives no checkpoint.
pub(crate) async fn wait_until_ready(store: &dyn Store) {
    const TRIES: usize = 600;
    for _ in 0..TRIES {
        match store.checkpoint(ShardId::CONTROL).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            // Whatever else is wrong is told by the audit.
            Ok(_) | Err(StoreError::Damaged(_) | StoreError::CursorInvalid) => return,
        }
    }
}

/// The store, or why it is left out.
pub(crate) fn open_store(folder: &DataFolder) -> Result<Result<EmbeddedStore, String>, StoreOpenError> {
    let dir = folder.store();
    let is_empty = std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
    if is_empty {
        return Ok(Err("the folder has no store yet".into()));
    }
    match EmbeddedStore::open(&dir, folder.ledger().clone(), folder.shape(), StoreOptions::default()) {
        Ok(store) => Ok(Ok(store)),
        Err(StoreOpenError::InUse { .. }) => {
            Ok(Err("a running process has it open; stop that process to compare its rows as well".into()))
        }
        Err(error @ StoreOpenError::ReadOnly { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}
