//! How far each shard was published: the topic `<ledger>.positions`, one message per shard, compacted.
//!
//! It lies with the events and not with the rows or the log, so it is where every process finds it that may publish a
//! shard next, and it needs no broker that events do not need.

use std::collections::BTreeMap;
use std::sync::Arc;

use largesse_engine::fold::Fold;
use largesse_engine::units::{Epoch, Position, Seq, ShardId};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::EventsOptions;
use crate::log::kafka::client::describe;
use crate::log::kafka::side::{SideTopic, SideWriter, Tail};

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
    writer: SideWriter,
    known: Arc<Mutex<Known>>,
}

/// A position is some numbers.
const BYTES_MAX: u32 = 64 << 10;

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
        let known = Arc::new(Mutex::new(Known { tail, next: 0, shards: BTreeMap::new() }));
        Ok(Positions { writer: SideWriter::new(topic, BYTES_MAX), known })
    }

    /// As whoever published the shard last has left it.
    pub async fn load(&self, shard: ShardId) -> Result<Option<Published>, String> {
        self.writer.topic().ready().await.map_err(|error| describe(&error))?;
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
        let value = serde_json::to_vec(&published).expect("numbers are valid JSON");
        self.writer.write(&shard.to_string(), &value).await.map_err(|error| describe(&error))
    }
}
