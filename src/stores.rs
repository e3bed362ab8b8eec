//! The store that the configuration names.

use std::sync::Arc;

use largesse_config::{Config, CqlConfig, StoreKind};
use largesse_engine::store::Store;
use largesse_storage::folder::DataFolder;
use largesse_storage::store::cql::{self, CqlOptions, CqlStore, Credentials};
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};

use crate::exit::{Exit, Failure};

/// Opens it for the ledger that the folder belongs to.
pub async fn open(config: &Config, folder: &DataFolder) -> Result<Arc<dyn Store>, Failure> {
    let (ledger, shape) = (folder.ledger(), folder.shape());
    match config.store.kind {
        StoreKind::Embedded => {
            let options = StoreOptions { cache_bytes: config.store.cache_bytes.get(), ..StoreOptions::default() };
            let store = EmbeddedStore::open(&folder.store(), ledger.clone(), shape, options);
            Ok(Arc::new(store.map_err(Failure::new)?))
        }
        StoreKind::Cql => {
            let options = cql_options(&config.store.cql)?;
            if config.store.cql.migrate_at_start {
                cql::migrate(&options, ledger, shape).await.map_err(|error| cql_failure(&error))?;
            }
            let store = CqlStore::open(ledger, shape, options).await.map_err(|error| cql_failure(&error))?;
            if let Some(id) = folder.id() {
                store.belong_to(id).await.map_err(|error| cql_failure(&error))?;
            }
            Ok(Arc::new(store))
        }
    }
}

pub fn cql_options(config: &CqlConfig) -> Result<CqlOptions, Failure> {
    let credentials = match (&config.user, config.password()) {
        (Some(user), Some(password)) => {
            let password = password.read().map_err(Failure::new)?;
            Some(Credentials { user: user.clone(), password: password.expose().into() })
        }
        (Some(_) | None, _) => None,
    };
    Ok(CqlOptions {
        nodes: config.nodes.clone(),
        keyspace: config.keyspace.clone(),
        datacenter: config.datacenter.clone(),
        replication: config.replication,
        partitions: config.partitions,
        credentials,
        batches_in_flight_max: config.batches_in_flight_max,
        reads_in_flight_max: config.reads_in_flight_max,
        connect_timeout: config.connect_timeout,
        read_timeout: config.read_timeout,
        write_timeout: config.write_timeout,
        forgets_for: config.forgets_for,
    })
}

pub fn cql_failure(error: &cql::OpenError) -> Failure {
    let failure = Failure::new(error);
    match error {
        cql::OpenError::Unreachable { .. } => failure.exit(Exit::Unreachable),
        cql::OpenError::Refused { .. }
        | cql::OpenError::DatacenterNeeded { .. }
        | cql::OpenError::DatacenterUnknown { .. }
        | cql::OpenError::Missing { .. }
        | cql::OpenError::Older { .. }
        | cql::OpenError::Newer { .. }
        | cql::OpenError::OtherLedger { .. }
        | cql::OpenError::OtherLog { .. }
        | cql::OpenError::Damaged { .. }
        | cql::OpenError::Failed { .. } => failure,
    }
}
