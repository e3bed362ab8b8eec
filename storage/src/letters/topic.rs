//! Letters where the ledger's log is in Kafka: the topic `<ledger>.dlq`, one partition that keeps everything.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::ledger::LedgerName;
use largesse_engine::units::Time;
use tokio::sync::Mutex;

use super::folder::id_of;
use super::{Book, Entry, LetterLog, LettersError};
use crate::log::kafka::KafkaOptions;
use crate::log::kafka::side::{SideTopic, SideWriter, Tail};

pub struct LetterTopic {
    writer: SideWriter,
    tail: Arc<Mutex<Tail>>,
}

/// A letter holds a message that was too large elsewhere, and its frame.
const BYTES_MAX: u32 = 4 << 20;

impl LetterTopic {
    pub fn new(options: &KafkaOptions, ledger: &LedgerName) -> Result<LetterTopic, LettersError> {
        let topic = SideTopic::new(options, format!("{ledger}.dlq"), 1)
            .with("cleanup.policy", "delete")
            .with("retention.ms", "-1")
            .with("retention.bytes", "-1")
            .with("max.message.bytes", "4194304");
        let tail = Arc::new(Mutex::new(topic.tail().map_err(|error| unavailable(&error))?));
        Ok(LetterTopic { writer: SideWriter::new(topic, BYTES_MAX), tail })
    }

    pub fn name(&self) -> &str {
        self.writer.topic().name()
    }

    async fn add(&self, entry: &Entry) -> Result<(), LettersError> {
        let line = serde_json::to_vec(entry).expect("numbers and text are valid JSON");
        let key = id_of(&line).unwrap_or_default();
        self.writer.write(&key, &line).await.map_err(|error| unavailable(&error))
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
                Some(before) => self.writer.topic().cut(before).await.map_err(|error| unavailable(&error)),
                None => Ok(()),
            }
        }
        .boxed()
    }
}
