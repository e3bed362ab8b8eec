//! Log and rows of a run in Kafka and in a database, in a ledger of its own that goes with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use largesse_engine::audit::{AuditOptions, Report};
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::Logs;
use largesse_engine::store::{FlushBatch, Store};
use largesse_storage::audit::{DataDirError, data_dir, data_dir_with_cql, topics};
use largesse_storage::folder::DataFolder;
use largesse_storage::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};
use largesse_storage::log::kafka::{self, KafkaLogs, KafkaOptions};
use largesse_storage::store::cql::{self, CqlOptions, CqlStore};
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};
use serde::Serialize;

use super::BenchError;
use super::replay::{self, Replay};

/// Which servers hold what; whatever is not named lies in the run's folder.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Servers {
    /// Brokers for the log.
    pub kafka: Option<Vec<String>>,
    /// Nodes of the database for the rows.
    pub cql: Option<Vec<String>>,
    /// Copies of each.
    pub replication: u16,
}

/// Where one run's ledger is.
#[derive(Clone, Debug)]
pub struct Place {
    pub ledger: LedgerName,
    pub kafka: Option<KafkaOptions>,
    pub cql: Option<CqlOptions>,
}

/// A log, and what has to be closed at the end if it is one in the folder.
pub struct OpenLogs {
    pub logs: Arc<dyn Logs>,
    pub embedded: Option<Arc<EmbeddedLogs>>,
}

fn told(error: &dyn std::fmt::Display) -> BenchError {
    BenchError::Start(error.to_string())
}

impl Servers {
    /// A ledger that nobody else has.
    pub fn place(&self) -> Place {
        let is_away = self.kafka.is_some() || self.cql.is_some();
        let fresh = || format!("bench_{:08x}", rand::random::<u32>()).parse().expect("a letter first, then hex digits");
        let ledger: LedgerName = if is_away { fresh() } else { LedgerName::default() };
        let replication = self.replication.max(1);
        let kafka = self.kafka.clone().map(|brokers| KafkaOptions {
            brokers,
            replication,
            min_insync_replicas: replication.div_ceil(2),
            // The run ends before a disk is full, and what it kept is deleted.
            bytes_max: u64::MAX,
            ..KafkaOptions::default()
        });
        let cql = self.cql.clone().map(|nodes| CqlOptions {
            nodes,
            keyspace: ledger.to_string(),
            replication,
            partitions: 256,
            forgets_for: Duration::ZERO,
            ..CqlOptions::default()
        });
        Place { ledger, kafka, cql }
    }
}

impl Place {
    pub async fn open_logs(&self, folder: &Arc<DataFolder>) -> Result<OpenLogs, BenchError> {
        match &self.kafka {
            None => {
                let logs = EmbeddedLogs::open(folder, EmbeddedLogOptions::default()).map_err(|error| told(&error))?;
                let logs = Arc::new(logs);
                Ok(OpenLogs { logs: Arc::clone(&logs) as Arc<dyn Logs>, embedded: Some(logs) })
            }
            Some(options) => {
                let logs = KafkaLogs::open(options.clone(), &self.ledger, folder.shape()).await;
                Ok(OpenLogs { logs: Arc::new(logs.map_err(|error| told(&error))?), embedded: None })
            }
        }
    }

    pub async fn open_store(&self, folder: &DataFolder) -> Result<Arc<dyn Store>, BenchError> {
        let (ledger, shape) = (self.ledger.clone(), folder.shape());
        match &self.cql {
            None => {
                let store = EmbeddedStore::open(&folder.store(), ledger, shape, StoreOptions::default());
                Ok(Arc::new(store.map_err(|error| told(&error))?))
            }
            Some(options) => {
                cql::migrate(options, &ledger, shape).await.map_err(|error| told(&error))?;
                let store = CqlStore::open(&ledger, shape, options.clone()).await;
                Ok(Arc::new(store.map_err(|error| told(&error))?))
            }
        }
    }

    /// What an empty store of the same kind takes, of these flushes.
    pub async fn replay(&self, batches: Vec<FlushBatch>, shape: LedgerShape) -> Result<Replay, BenchError> {
        let Some(options) = &self.cql else {
            let dir = tempfile::tempdir().map_err(|error| told(&error))?;
            let store = EmbeddedStore::open(dir.path(), self.ledger.clone(), shape, StoreOptions::default());
            return replay::replay(Arc::new(store.map_err(|error| told(&error))?), batches).await;
        };
        let empty = CqlOptions { keyspace: format!("{}_again", options.keyspace), ..options.clone() };
        cql::migrate(&empty, &self.ledger, shape).await.map_err(|error| told(&error))?;
        let store = CqlStore::open(&self.ledger, shape, empty.clone()).await.map_err(|error| told(&error))?;
        let replayed = replay::replay(Arc::new(store), batches).await;
        cql::delete_keyspace(&empty).await.map_err(|error| told(&error))?;
        replayed
    }

    /// Audits what the run has left.
    pub async fn audit(&self, dir: &Path) -> Result<Report, DataDirError> {
        let options = AuditOptions::default();
        match (&self.kafka, &self.cql) {
            (None, None) => data_dir(dir, options).await,
            (None, Some(rows)) => data_dir_with_cql(dir, rows.clone(), options).await,
            (Some(kafka), rows) => topics(kafka.clone(), &self.ledger, Some(dir), rows.clone(), options).await,
        }
    }

    /// Deletes what lies on servers.
    pub async fn delete(&self) -> Result<(), BenchError> {
        if let Some(options) = &self.kafka {
            kafka::delete_ledger(options, &self.ledger).await.map_err(|error| told(&error))?;
        }
        if let Some(options) = &self.cql {
            cql::delete_keyspace(options).await.map_err(|error| told(&error))?;
        }
        Ok(())
    }
}
