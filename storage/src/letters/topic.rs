//! Letters where the ledger's log is in Kafka: the topic `<ledger>.dlq`, one partition that keeps everything.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::ledger::LedgerName;
use largesse_engine::units::Time;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::sync::Mutex;

use super::folder::id_of;
use super::{Book, Entry, LetterLog, LettersError};
use crate::log::kafka::KafkaOptions;
use crate::log::kafka::client::{Context, base_config, millis};
use crate::log::kafka::ranges::is_missing;
use crate::log::kafka::side::{SideTopic, Tail};

pub struct LetterTopic {
    topic: SideTopic,
    producer: FutureProducer<Context>,
    tail: Arc<Mutex<Tail>>,
    /// Made by the first entry, or known to be there.
    is_there: Mutex<bool>,
}

impl LetterTopic {
    pub fn new(options: &KafkaOptions, ledger: &LedgerName) -> Result<LetterTopic, LettersError> {
        let topic = SideTopic::new(options, format!("{ledger}.dlq"), 1)
            .with("cleanup.policy", "delete")
            .with("retention.ms", "-1")
            .with("retention.bytes", "-1")
            // A letter holds a message that was too large elsewhere, and its frame.
            .with("max.message.bytes", "4194304");
        let mut config = base_config(options);
        config
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "4194304")
            .set("delivery.timeout.ms", millis(options.delivery_timeout));
        let producer = config.create_with_context(Context).map_err(|error| unavailable(&error))?;
        let tail = Arc::new(Mutex::new(topic.tail().map_err(|error| unavailable(&error))?));
        Ok(LetterTopic { topic, producer, tail, is_there: Mutex::default() })
    }

    pub fn name(&self) -> &str {
        self.topic.name()
    }

    async fn add(&self, entry: &Entry) -> Result<(), LettersError> {
        {
            let mut is_there = self.is_there.lock().await;
            if !*is_there {
                self.topic.ensure().await.map_err(|error| unavailable(&error))?;
                *is_there = true;
            }
        }
        let line = serde_json::to_vec(entry).expect("numbers and text are valid JSON");
        let key = id_of(&line).unwrap_or_default();
        let record = FutureRecord::to(self.topic.name()).partition(0).key(&key).payload(&line);
        let sent = self.producer.send(record, Timeout::After(std::time::Duration::from_secs(5))).await;
        let Err((error, _)) = sent else { return Ok(()) };
        if is_missing(&error) {
            *self.is_there.lock().await = false;
        }
        Err(unavailable(&error))
    }

    /// Everything from where the last call ended.
    async fn lines(&self, from: u64) -> Result<Vec<(u64, Vec<u8>)>, LettersError> {
        let mut tail = Arc::clone(&self.tail).lock_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            tail.read_from(from, |offset, _key, value| lines.push((offset, value.to_vec()))).map(|()| lines)
        });
        reading.await.map_err(|panic| unavailable(&panic))?.map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &impl ToString) -> LettersError {
    LettersError::Unavailable(format!("kafka: {}", error.to_string()))
}

impl LetterLog for LetterTopic {
    fn append(&self, entry: Entry) -> BoxFuture<'_, Result<(), LettersError>> {
        async move { self.add(&entry).await }.boxed()
    }

    fn read<'a>(&'a self, book: &'a mut Book) -> BoxFuture<'a, Result<(), LettersError>> {
        async move {
            for (offset, line) in self.lines(book.next).await? {
                book.take_line(&line);
                book.next = offset + 1;
            }
            Ok(())
        }
        .boxed()
    }

    fn trim(&self, keep_from: Time) -> BoxFuture<'_, Result<(), LettersError>> {
        async move {
            let lines = self.lines(0).await?;
            let mut book = Book::default();
            lines.iter().for_each(|(_, line)| book.take_line(line));
            // What cannot be read is kept as well.
            let is_old = |line: &[u8]| {
                let settled = id_of(line).and_then(|id| book.get(&id)?.state.settled_at());
                settled.is_some_and(|at| at < keep_from)
            };
            let cut = lines.iter().take_while(|(_, line)| is_old(line)).last().map(|(offset, _)| offset + 1);
            match cut {
                Some(before) => self.topic.cut(before).await.map_err(|error| unavailable(&error)),
                None => Ok(()),
            }
        }
        .boxed()
    }
}
