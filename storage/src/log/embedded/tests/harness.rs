//! What the tests share: a folder that is opened and reopened.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::Logs;
use tempfile::TempDir;

use crate::conformance::log::LogUnderTest;
use crate::folder::DataFolder;
use crate::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};

/// An embedded log in a temporary folder, for the conformance suite.
pub(super) struct Embedded {
    dir: TempDir,
    options: EmbeddedLogOptions,
    logs: Option<Arc<EmbeddedLogs>>,
}

impl Embedded {
    pub fn new(options: EmbeddedLogOptions) -> Embedded {
        Embedded { dir: tempfile::tempdir().unwrap(), options, logs: None }
    }

    fn logs(&mut self) -> Arc<dyn Logs> {
        let (dir, options) = (self.dir.path(), &self.options);
        let open = || Arc::new(EmbeddedLogs::open(&folder(dir), options.clone()).unwrap());
        self.logs.get_or_insert_with(open).clone()
    }
}

pub(super) fn folder(dir: &std::path::Path) -> Arc<DataFolder> {
    DataFolder::open(dir, &LedgerName::default(), LedgerShape::new(16)).unwrap()
}

impl LogUnderTest for Embedded {
    fn open(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        let logs = self.logs();
        async move { logs }.boxed()
    }

    fn second(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.open()
    }

    fn reopen(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.logs.take().unwrap().close();
        self.open()
    }

    fn record_bytes_max(&self) -> usize {
        self.options.record_bytes_max
    }
}
