//! How far each shard was published: the topic `<ledger>.positions`, one message per shard, compacted.
//!
//! It lies with the events and not with the rows or the log, so it is where every process finds it that may publish a
//! shard next, and it needs no broker that events do not need.

use std::collections::BTreeMap;
use std::sync::Arc;

use largesse_engine::fold::Fold;
use largesse_engine::units::{Epoch, Position, Seq, ShardId};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::EventsOptions;
use crate::log::kafka::client::{Context, base_config, describe, millis};
use crate::log::kafka::ranges::is_missing;
use crate::log::kafka::side::{SideTopic, Tail};

/// Where publishing goes on, with what reading from there needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub position: Position,
    pub epoch: Option<Epoch>,
    /// The event that comes next.
    pub next: Seq,
}

impl Published {
    pub fn new(position: Position, fold: Fold) -> Published {
        Published { position, epoch: fold.epoch, next: fold.next }
    }

    pub fn fold(&self) -> Fold {
        Fold { epoch: self.epoch, next: self.next }
    }
}

pub struct Positions {
    topic: SideTopic,
    delivery_timeout: std::time::Duration,
    producer: FutureProducer<Context>,
    known: Arc<Mutex<Known>>,
    is_there: Mutex<bool>,
}

struct Known {
    tail: Tail,
    next: u64,
    shards: BTreeMap<String, Published>,
}

impl Positions {
    pub fn new(options: &EventsOptions) -> Result<Positions, String> {
        let topic = SideTopic::new(&options.kafka, format!("{}.positions", options.ledger), 1)
            .with("cleanup.policy", "compact")
            .with("segment.bytes", "16777216");
        let tail = topic.tail().map_err(|error| describe(&error))?;
        let mut config = base_config(&options.kafka);
        let delivery_timeout = options.kafka.delivery_timeout;
        // Of two positions on their way the later one must stay the later one.
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("delivery.timeout.ms", millis(delivery_timeout));
        let producer = config.create_with_context(Context).map_err(|error| describe(&error))?;
        let known = Arc::new(Mutex::new(Known { tail, next: 0, shards: BTreeMap::new() }));
        Ok(Positions { topic, delivery_timeout, producer, known, is_there: Mutex::default() })
    }

    /// As whoever published the shard last has left it.
    pub async fn load(&self, shard: ShardId) -> Result<Option<Published>, String> {
        {
            let mut is_there = self.is_there.lock().await;
            if !*is_there {
                self.topic.ensure().await.map_err(|error| describe(&error))?;
                *is_there = true;
            }
        }
        let mut known = Arc::clone(&self.known).lock_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            let Known { tail, next, shards } = &mut *known;
            let from = *next;
            tail.read_from(from, |offset, key, value| {
                *next = offset + 1;
                let key = String::from_utf8_lossy(key).into_owned();
                match serde_json::from_slice(value) {
                    Ok(published) => {
                        shards.insert(key, published);
                    }
                    // As if it were not known: then more is published again than would be needed, and nothing is lost.
                    Err(error) => {
                        tracing::warn!(shard = key, %error, "a position cannot be read; publishing begins again");
                        metrics::counter!("largesse_events_positions_unreadable_total").increment(1);
                        shards.remove(&key);
                    }
                }
            })
            .map(|()| known)
        });
        let known = reading.await.map_err(|panic| panic.to_string())?.map_err(|error| describe(&error))?;
        Ok(known.shards.get(&shard.to_string()).copied())
    }

    /// Durable when this returns.
    pub async fn save(&self, shard: ShardId, published: Published) -> Result<(), String> {
        let key = shard.to_string();
        let value = serde_json::to_string(&published).expect("numbers are valid JSON");
        let record = FutureRecord::to(self.topic.name()).partition(0).key(&key).payload(&value);
        match self.producer.send(record, Timeout::After(self.delivery_timeout)).await {
            Ok(_delivered) => Ok(()),
            Err((error, _)) => {
                if is_missing(&error) {
                    *self.is_there.lock().await = false;
                }
                Err(describe(&error))
            }
        }
    }
}
