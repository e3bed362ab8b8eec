use super::*;
use crate::conformance::log::LogUnderTest;

struct InMemory(MemoryLogs);

impl LogUnderTest for InMemory {
    fn open(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        let logs: Arc<dyn Logs> = Arc::new(self.0.clone());
        async move { logs }.boxed()
    }

    fn second(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.open()
    }

    fn reopen(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.open()
    }

    fn record_bytes_max(&self) -> usize {
        largesse_engine::record::RECORD_BYTES_MAX
    }
}

crate::log_conformance!(InMemory(MemoryLogs::automatic()));
