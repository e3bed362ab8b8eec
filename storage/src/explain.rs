//! One account by log, store and mirror, each opened as far as it can be.

use std::collections::BTreeMap;
use std::path::Path;

use largesse_engine::audit::account::{AccountLog, Base, Claim, account, asset_names};
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::Logs;
use largesse_engine::store::{BalanceRow, Checkpoint, Store};
use largesse_engine::units::{AssetId, Seq, ShardId, UserId};

use crate::audit::{open_rows, open_store, wait_until_ready};
use crate::folder::DataFolder;
use crate::log::embedded::EmbeddedLogs;
use crate::log::kafka::{KafkaLogs, KafkaOptions};
use crate::store::cql::CqlOptions;

/// Where the logs are.
pub enum Source<'a> {
    Folder(&'a Path),
    Topics(KafkaOptions),
}

/// Why a part cannot be asked, as people read it.
pub type Reason = String;

/// A ledger as far as it can be read.
pub struct Opened {
    pub ledger: LedgerName,
    pub shape: LedgerShape,
    pub names: BTreeMap<AssetId, String>,
    logs: Result<Box<dyn Logs>, Reason>,
    store: Result<Box<dyn Store>, Reason>,
}

/// What the store says of a user.
pub struct Stored {
    pub checkpoint: Option<Checkpoint>,
    pub rows: Vec<BalanceRow>,
}

impl Stored {
    /// Every event of the shard up to here is in its rows.
    pub fn seq(&self) -> Seq {
        self.checkpoint.as_ref().map_or(Seq::NONE, |at| Seq(at.fold.next.get() - 1))
    }
}

fn reason(error: impl std::fmt::Display) -> Reason {
    error.to_string()
}

/// Opens the logs to be read beside whoever writes them, and the store where that is possible. What `configured` says
/// counts where neither folder nor topics tell what ledger they hold.
pub async fn open(source: Source<'_>, configured: (LedgerName, LedgerShape), rows: Option<CqlOptions>) -> Opened {
    let ((mut ledger, mut shape), mut id) = (configured, None);
    let mut folder = Err("no configuration names a database".into());
    let logs: Result<Box<dyn Logs>, Reason> = match source {
        Source::Folder(dir) => {
            folder = DataFolder::open_read_only(dir).map_err(reason);
            folder.as_ref().map_err(Clone::clone).and_then(|folder| {
                (ledger, shape, id) = (folder.ledger().clone(), folder.shape(), folder.id().cloned());
                Ok(Box::new(EmbeddedLogs::open_read_only(folder).map_err(reason)?) as Box<dyn Logs>)
            })
        }
        Source::Topics(options) => match KafkaLogs::open_read_only(options, &ledger).await {
            Ok(logs) => {
                (shape, id) = (logs.shape(), logs.id().cloned());
                Ok(Box::new(logs))
            }
            Err(error) => Err(reason(error)),
        },
    };
    let store: Result<Box<dyn Store>, Reason> = match (rows, folder) {
        (Some(rows), _) => match open_rows(&ledger, shape, rows, id.as_ref()).await {
            Ok(store) => Ok(Box::new(store)),
            Err(error) => Err(reason(error)),
        },
        (None, Ok(folder)) => match open_store(&folder) {
            Ok(opened) => opened.map(|store| Box::new(store) as Box<dyn Store>),
            Err(error) => Err(reason(error)),
        },
        (None, Err(why)) => Err(why),
    };
    let checkpoint = match &store {
        Ok(store) => {
            wait_until_ready(&**store).await;
            store.checkpoint(ShardId::CONTROL).await.ok().flatten()
        }
        Err(_) => None,
    };
    let control = logs.as_ref().ok().map(|logs| logs.shard(ShardId::CONTROL));
    let names = asset_names(control.as_deref(), checkpoint.as_ref()).await;
    Opened { ledger, shape, names, logs, store }
}

impl Opened {
    pub fn name(&self, asset: AssetId) -> String {
        self.names.get(&asset).cloned().unwrap_or_else(|| format!("asset-{asset}"))
    }

    /// Asked before the log is read, which then has everything that the store has.
    pub async fn stored(&self, user: UserId) -> Result<Stored, Reason> {
        let store = self.store.as_ref().map_err(Clone::clone)?;
        let shard = self.shape.wallet_of(user);
        let checkpoint = store.checkpoint(shard).await.map_err(reason)?;
        let rows = store.load_wallets(shard, vec![user]).await.map_err(reason)?;
        Ok(Stored { checkpoint, rows: rows.into_iter().flatten().collect() })
    }

    /// Folds the log of the user's shard, and holds each claim against it.
    pub async fn logged(&self, user: UserId, stored: Option<&Stored>, claims: &[Claim]) -> Result<AccountLog, Reason> {
        let shard = self.shape.wallet_of(user);
        let base =
            stored.and_then(|stored| Some(Base { checkpoint: stored.checkpoint.clone()?, rows: stored.rows.clone() }));
        let log = self.logs.as_ref().map_err(Clone::clone)?.shard(shard);
        account(&*log, shard, user, base.as_ref(), claims).await.map_err(reason)
    }
}
