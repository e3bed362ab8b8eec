//! Topics beside a ledger's log: made when they are missing, written by anyone, and small ones read to their end.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::KafkaOptions;
use super::client::{Context, base_config};
use super::ranges::is_missing;

#[derive(Clone, Debug)]
pub struct SideTopic {
    options: KafkaOptions,
    name: String,
    partitions: u16,
    settings: Vec<(&'static str, &'static str)>,
}

impl SideTopic {
    pub fn new(options: &KafkaOptions, name: String, partitions: u16) -> SideTopic {
        SideTopic { options: options.clone(), name, partitions, settings: Vec::new() }
    }

    /// A setting that it is made with.
    pub fn with(mut self, key: &'static str, value: &'static str) -> SideTopic {
        self.settings.push((key, value));
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn admin(&self) -> Result<(AdminClient<Context>, AdminOptions), KafkaError> {
        let patience = Some(self.options.request_timeout);
        let options = AdminOptions::new().request_timeout(patience).operation_timeout(patience);
        Ok((base_config(&self.options).create_with_context(Context)?, options))
    }

    /// Makes it where it is missing; one that is there is left as it is.
    pub async fn ensure(&self) -> Result<(), KafkaError> {
        let (admin, options) = self.admin()?;
        let min_insync = self.options.min_insync_replicas.to_string();
        let copies = TopicReplication::Fixed(i32::from(self.options.replication));
        let topic = NewTopic::new(&self.name, i32::from(self.partitions), copies);
        let topic = topic.set("min.insync.replicas", &min_insync);
        let topic = self.settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        for made in admin.create_topics([&topic], &options).await? {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(KafkaError::AdminOp(code)),
            }
        }
        Ok(())
    }

    /// Gives up what lies before this offset of the only partition.
    pub async fn cut(&self, before: u64) -> Result<(), KafkaError> {
        let (admin, options) = self.admin()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, 0, Offset::Offset(i64::try_from(before).unwrap_or(i64::MAX)))?;
        admin.delete_records(&list, &options).await?.elements().iter().try_for_each(|element| element.error())
    }

    /// Reads the only partition.
    pub fn tail(&self) -> Result<Tail, KafkaError> {
        let mut config = base_config(&self.options);
        config
            // The driver reads only as a member of some group; nothing is ever committed to it.
            .set("group.id", format!("{}.largesse", self.name))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // What was given up is not missed.
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "10");
        let client = config.create_with_context(Context)?;
        Ok(Tail { client, topic: self.name.clone(), patience: self.options.request_timeout })
    }
}

/// Reads a topic of one partition to its end, which blocks.
pub struct Tail {
    client: BaseConsumer<Context>,
    topic: String,
    patience: Duration,
}

const LOOK: Duration = Duration::from_millis(50);

impl Tail {
    /// Hands over offset, key and value of each message from this offset on. A topic that is not there has none.
    pub fn read_from(&mut self, from: u64, each: impl FnMut(u64, &[u8], &[u8])) -> Result<(), KafkaError> {
        // Whether it is there, and where it ends, is asked first: what is not there is never told otherwise.
        let range = match self.client.fetch_watermarks(&self.topic, 0, self.patience) {
            Err(error) if is_missing(&error) => return Ok(()),
            range => range?,
        };
        if range.0 == range.1 || i64::try_from(from).is_ok_and(|from| from >= range.1) {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        let offset =
            if from == 0 { Offset::Beginning } else { Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX)) };
        list.add_partition_offset(&self.topic, 0, offset)?;
        self.client.assign(&list)?;
        let read = self.drain(each);
        self.client.unassign()?;
        read
    }

    fn drain(&self, mut each: impl FnMut(u64, &[u8], &[u8])) -> Result<(), KafkaError> {
        let mut heard = Instant::now();
        loop {
            match self.client.poll(LOOK) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let offset = u64::try_from(message.offset()).unwrap_or_default();
                    each(offset, message.key().unwrap_or_default(), message.payload().unwrap_or_default());
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) if heard.elapsed() >= self.patience => return Err(error),
                None if heard.elapsed() >= self.patience => return Err(KafkaError::NoMessageReceived),
                Some(Err(_)) | None => {}
            }
        }
    }
}
