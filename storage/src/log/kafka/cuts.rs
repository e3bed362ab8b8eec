//! Giving up what nobody needs any more. A broker frees whole segments only, so it is asked now and then, for all shards
//! together.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::executor::block_on;
use largesse_engine::units::ShardId;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::KafkaOptions;
use super::client::{Context, Topics, base_config};

/// The offset before which each shard can be cut; those that were cut already are left out.
type Wanted = Mutex<BTreeMap<ShardId, u64>>;

pub struct Cuts {
    wanted: Arc<Wanted>,
    thread: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
}

impl Cuts {
    pub fn start(options: &KafkaOptions, topics: Topics) -> Result<Cuts, KafkaError> {
        let wanted: Arc<Wanted> = Arc::default();
        let Some(every) = options.cut_every else { return Ok(Cuts { wanted, thread: Mutex::default() }) };
        let admin: AdminClient<Context> = base_config(options).create_with_context(Context)?;
        let cutter = Cutter { admin, topics, wanted: Arc::clone(&wanted), patience: options.request_timeout };
        let (stop, stopped) = sync_channel(0);
        let thread = std::thread::Builder::new().name("kafka-cuts".into()).spawn(move || cutter.run(&stopped, every));
        let thread = thread.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Cuts { wanted, thread: Mutex::new(Some((stop, thread))) })
    }

    pub fn want(&self, shard: ShardId, before: u64) {
        let mut wanted = lock(&self.wanted);
        let offset = wanted.entry(shard).or_default();
        *offset = before.max(*offset);
    }

    pub fn stop(&self) {
        let Some((stop, thread)) = lock(&self.thread).take() else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the thread that cuts kafka's topics panicked");
        }
    }
}

struct Cutter {
    admin: AdminClient<Context>,
    topics: Topics,
    wanted: Arc<Wanted>,
    patience: Duration,
}

impl Cutter {
    fn run(&self, stopped: &Receiver<()>, every: Duration) {
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let wanted = std::mem::take(&mut *lock(&self.wanted));
            if wanted.is_empty() {
                continue;
            }
            if let Err(error) = self.cut(&wanted) {
                // It was only a permission; whoever gave it gives it again with the next checkpoint.
                tracing::warn!(%error, shards = wanted.len(), "kafka's topics could not be cut");
            }
        }
    }

    fn cut(&self, wanted: &BTreeMap<ShardId, u64>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(wanted.len());
        for (shard, before) in wanted {
            let (topic, partition) = self.topics.place(*shard);
            list.add_partition_offset(topic, partition, Offset::Offset(i64::try_from(*before).unwrap_or(i64::MAX)))?;
        }
        let options = AdminOptions::new().request_timeout(Some(self.patience)).operation_timeout(Some(self.patience));
        let cut = block_on(self.admin.delete_records(&list, &options))?;
        for element in cut.elements() {
            element.error()?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
