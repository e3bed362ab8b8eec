//! The topics of a ledger: made once, and checked at every start for everything that the fence and the money rest on.
//!
//! `<ledger>.ledger` holds one record, a JSON text with the ledger's shape, written last: a ledger without it was never
//! finished and is made again; one that has it must have all its topics, and in each partition at least the founding
//! record. So topics that were deleted, or made anew by hand, are noticed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::node::backoff::Backoff;
use largesse_engine::record::{Claim, RECORD_BYTES_MAX, encode_claim};
use largesse_engine::units::NodeId;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::KafkaOptions;
use super::client::{Context, Topics, base_config, describe};
use super::producer::{Answer, Appends, FRAME_BYTES, Producer};
use super::ranges::{TRY_AGAIN, is_missing};
use crate::ledger_id::LedgerId;

/// Format of the ledger's record. Raise it when an older program could not read the topics any more.
const FORMAT: u32 = 1;
/// Says that a partition was founded and not just made. Nobody ever writes under the epoch that it begins.
const FOUNDER: Claim = Claim { node: NodeId(0), nonce: *b"largesse founded" };
/// The largest batch that a topic takes when we make it.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Space comes back by whole segments.
const SEGMENT_BYTES: usize = 64 << 20;
/// Topics are made and looked at when a process starts, and brokers may be starting as well.
const PATIENCE_MIN: Duration = Duration::from_secs(30);
/// How long a look for a record waits before it is asked whether time is up.
const LOOK: Duration = Duration::from_millis(50);
/// How long one question waits that is asked again.
const ASK: Duration = Duration::from_secs(1);

const _: () = assert!(RECORD_BYTES_MAX + FRAME_BYTES <= MESSAGE_BYTES_MAX);

/// Why a ledger's topics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("kafka at {brokers} cannot be used: {why}")]
    Unavailable { brokers: String, why: String },
    #[error("kafka cannot be used: {}", describe(.0))]
    Driver(#[from] KafkaError),
    #[error(
        "this program was built without {0} to kafka; build it with `--features kafka-tls`, or choose another \
         log.kafka.security-protocol"
    )]
    Unsupported(&'static str),
    #[error("kafka at {brokers} refuses this login: check log.kafka.user, its password and log.kafka.sasl-mechanism")]
    Refused { brokers: String },
    #[error(
        "no encrypted connection to kafka at {brokers} comes about: check log.kafka.ca-file and the brokers' certificates"
    )]
    Distrusted { brokers: String },
    #[error("there is no ledger `{ledger}` at {brokers}: check both, or start the server once to create it")]
    NoLedger { ledger: LedgerName, brokers: String },
    #[error(
        "topic {topic} has format {found}, this program knows formats up to {FORMAT}: start the newer program that wrote it"
    )]
    Newer { topic: String, found: u32 },
    #[error("topic {topic} is damaged: {why}")]
    Damaged { topic: String, why: String },
    #[error(
        "the ledger of topic {topic} was created with {found_shards} wallet shards and hash version {found_hash}, the \
         configuration says {asked_shards} and {asked_hash}: these can never change, correct the configuration",
        found_shards = .found.wallet_shards, found_hash = .found.hash_version,
        asked_shards = .asked.wallet_shards, asked_hash = .asked.hash_version
    )]
    OtherShape { topic: String, found: LedgerShape, asked: LedgerShape },
    #[error(
        "topic {topic} is gone, though the ledger exists: money would be lost; restore it, or remove the ledger's other \
         topics and its store as well to begin anew"
    )]
    Gone { topic: String },
    #[error(
        "partition {partition} of topic {topic} is empty, though the ledger exists: its log was deleted; restore it, or \
         remove all topics of the ledger and its store to begin anew"
    )]
    Emptied { topic: String, partition: i32 },
    #[error(
        "topic {topic} holds records, but {plate} does not say which ledger they are of: restore it, or remove both"
    )]
    Orphans { topic: String, plate: String },
    #[error("the topics of the ledger are not as they must be:\n{}", list(.0))]
    Settings(Vec<Problem>),
}

/// One thing that is not as it must be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub topic: String,
    pub what: String,
    pub change: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  topic {}: {}; {}", self.topic, self.what, self.change)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Content of `<ledger>.ledger`.
#[derive(Debug, Serialize, Deserialize)]
struct Plate {
    format: u32,
    ledger: LedgerName,
    #[serde(flatten)]
    shape: LedgerShape,
    /// Ledgers of the first versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<LedgerId>,
}

/// What a ledger's record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    pub shape: LedgerShape,
    pub id: Option<LedgerId>,
}

/// Checks the ledger's topics, and makes them first where `shape` is given and they were never finished.
pub async fn prepare(
    options: &KafkaOptions,
    ledger: &LedgerName,
    shape: Option<LedgerShape>,
) -> Result<Prepared, OpenError> {
    if let Some(what) = options.security.unsupported() {
        return Err(OpenError::Unsupported(what));
    }
    let (options, ledger) = (options.clone(), ledger.clone());
    let brokers = options.brokers.join(", ");
    // The driver blocks while it asks.
    let prepared = tokio::task::spawn_blocking(move || Checker::connect(options, ledger)?.prepare(shape)).await;
    match prepared {
        Ok(Err(OpenError::Driver(error))) => Err(OpenError::Unavailable { brokers, why: describe(&error) }),
        Ok(prepared) => prepared,
        Err(panic) => Err(OpenError::Unavailable { brokers, why: panic.to_string() }),
    }
}

/// Partitions of a topic, each with how many copies it has.
type Found = Option<Vec<usize>>;

struct Checker {
    options: KafkaOptions,
    ledger: LedgerName,
    plate: String,
    topics: Topics,
    client: BaseConsumer<Context>,
    admin: AdminClient<Context>,
}

/// Deletes all topics of a ledger. For tests and benches, which have one of their own.
pub async fn delete_ledger(options: &KafkaOptions, ledger: &LedgerName) -> Result<(), OpenError> {
    let admin: AdminClient<Context> = base_config(options).create_with_context(Context)?;
    let topics = Topics::of(ledger);
    let (plate, wait) = (format!("{ledger}.ledger"), AdminOptions::new().operation_timeout(Some(PATIENCE_MIN)));
    for deleted in admin.delete_topics(&[&topics.control, &topics.wallet, &plate], &wait).await? {
        if let Err((topic, error)) = deleted {
            tracing::warn!(topic, %error, "cannot delete a topic");
        }
    }
    Ok(())
}

impl Checker {
    fn connect(options: KafkaOptions, ledger: LedgerName) -> Result<Checker, OpenError> {
        let options = KafkaOptions { request_timeout: options.request_timeout.max(PATIENCE_MIN), ..options };
        let mut config = base_config(&options);
        config
            .set("group.id", format!("{ledger}.largesse"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error");
        let client = config.create_with_context(Context)?;
        let admin = base_config(&options).create_with_context(Context)?;
        let topics = Topics::of(&ledger);
        Ok(Checker { plate: format!("{ledger}.ledger"), topics, options, ledger, client, admin })
    }

    /// Brokers that refuse us do so at once, and need not be asked until the patience is over.
    fn reach(&self) -> Result<(), OpenError> {
        let began = Instant::now();
        loop {
            match self.client.fetch_metadata(Some(&self.plate), ASK) {
                Ok(_) => return Ok(()),
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) if began.elapsed() >= self.options.request_timeout => return Err(error.into()),
                Err(error) => tracing::debug!(%error, "kafka; trying again"),
            }
            // What is wrong with connections is told to whoever polls.
            while let Some(told) = self.client.poll(Duration::ZERO) {
                let brokers = || self.options.brokers.join(", ");
                match told.err().and_then(|error| error.rdkafka_error_code()) {
                    Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                        return Err(OpenError::Refused { brokers: brokers() });
                    }
                    Some(RDKafkaErrorCode::SSL) => return Err(OpenError::Distrusted { brokers: brokers() }),
                    _ => {}
                }
            }
        }
    }

    fn prepare(&self, asked: Option<LedgerShape>) -> Result<Prepared, OpenError> {
        self.reach()?;
        if let Some(plate) = self.read_plate()? {
            let (topic, shape) = (self.plate.clone(), plate.shape);
            match asked {
                Some(asked) if asked != shape => return Err(OpenError::OtherShape { topic, found: shape, asked }),
                Some(_) => self.check(shape, true)?,
                // Whoever only reads may look at topics that nobody should write to.
                None => self.refuse_gone(shape)?,
            }
            return Ok(Prepared { shape, id: plate.id });
        }
        let Some(shape) = asked else {
            return Err(OpenError::NoLedger { ledger: self.ledger.clone(), brokers: self.options.brokers.join(", ") });
        };
        self.refuse_orphans()?;
        self.create(shape)?;
        self.check(shape, false)?;
        let producer = Producer::start(&self.options)?;
        self.found(&producer, shape)?;
        self.write_plate(&producer, shape)?;
        drop(producer);
        // Somebody else may have been first.
        match self.read_plate()? {
            Some(found) if found.shape == shape => {
                self.check(shape, true)?;
                Ok(Prepared { shape, id: found.id })
            }
            Some(found) => Err(OpenError::OtherShape { topic: self.plate.clone(), found: found.shape, asked: shape }),
            None => Err(OpenError::Damaged { topic: self.plate.clone(), why: "what was written is not there".into() }),
        }
    }

    fn parts(&self, shape: LedgerShape) -> [(&str, usize); 2] {
        [(&self.topics.control, 1), (&self.topics.wallet, usize::from(shape.wallet_shards))]
    }

    fn look_up(&self, topic: &str) -> Result<Found, OpenError> {
        let metadata = self.client.fetch_metadata(Some(topic), self.options.request_timeout);
        let metadata = match metadata {
            Err(error) if is_missing(&error) => return Ok(None),
            metadata => metadata?,
        };
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        if let Some(error) = found.error() {
            let error = KafkaError::MetadataFetch(error.into());
            return if is_missing(&error) { Ok(None) } else { Err(error.into()) };
        }
        let copies: Vec<usize> = found.partitions().iter().map(|partition| partition.replicas().len()).collect();
        Ok(Some(copies).filter(|copies| !copies.is_empty()))
    }

    /// First offset and end of each partition, once all have a leader.
    fn ranges(&self, topic: &str, partitions: usize) -> Result<Vec<(i64, i64)>, OpenError> {
        let offsets = |which: Offset| -> Result<Vec<i64>, KafkaError> {
            let mut asked = TopicPartitionList::with_capacity(partitions);
            for partition in (0..).take(partitions) {
                asked.add_partition_offset(topic, partition, which)?;
            }
            let told = self.client.offsets_for_times(asked, self.options.request_timeout)?;
            let mut offsets = Vec::with_capacity(partitions);
            for partition in (0..).take(partitions) {
                let element = told.find_partition(topic, partition);
                let element = element.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition))?;
                element.error()?;
                offsets.push(element.offset().to_raw().unwrap_or(-1));
            }
            Ok(offsets)
        };
        let both = self.persist(|| Ok((offsets(Offset::End)?, offsets(Offset::Beginning)?)))?;
        Ok(both.1.into_iter().zip(both.0).collect())
    }

    /// A topic that was just made is not known everywhere at once.
    fn persist<T>(&self, mut work: impl FnMut() -> Result<T, KafkaError>) -> Result<T, OpenError> {
        let began = Instant::now();
        let mut backoff = Backoff::new(TRY_AGAIN);
        loop {
            match work() {
                Ok(value) => return Ok(value),
                Err(error) if began.elapsed() >= self.options.request_timeout => return Err(error.into()),
                Err(error) => tracing::debug!(%error, "kafka; trying again"),
            }
            self.pause(&mut backoff);
        }
    }

    /// Hears meanwhile what the driver has to say; no message comes while nothing is assigned.
    fn pause(&self, backoff: &mut Backoff) {
        drop(self.client.poll(backoff.wait()));
    }

    fn read_plate(&self) -> Result<Option<Plate>, OpenError> {
        if self.look_up(&self.plate)?.is_none() {
            return Ok(None);
        }
        let (first, end) = self.ranges(&self.plate, 1)?[0];
        if end == 0 {
            return Ok(None);
        }
        let damaged = |why: String| OpenError::Damaged { topic: self.plate.clone(), why };
        if first > 0 {
            return Err(damaged("its first record was deleted; restore the topic".into()));
        }
        let text = self.first_record(&self.plate)?;
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        // The format comes first: what else a newer one says may mean anything.
        let Format { format } = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if format > FORMAT {
            return Err(OpenError::Newer { topic: self.plate.clone(), found: format });
        }
        let plate: Plate = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if plate.ledger != self.ledger {
            return Err(damaged(format!("it describes the ledger `{}`", plate.ledger)));
        }
        Ok(Some(plate))
    }

    fn first_record(&self, topic: &str) -> Result<Vec<u8>, OpenError> {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, 0, Offset::Offset(0))?;
        self.client.assign(&assignment)?;
        let began = Instant::now();
        let record = loop {
            match self.client.poll(LOOK) {
                Some(Ok(message)) => break Ok(message.payload().unwrap_or_default().to_vec()),
                Some(Err(error)) if began.elapsed() >= self.options.request_timeout => break Err(error.into()),
                None if began.elapsed() >= self.options.request_timeout => {
                    break Err(KafkaError::NoMessageReceived.into());
                }
                Some(Err(_)) | None => {}
            }
        };
        self.client.unassign()?;
        record
    }

    /// A ledger that was never finished holds founding records at most.
    fn refuse_orphans(&self) -> Result<(), OpenError> {
        for topic in [&self.topics.control, &self.topics.wallet] {
            let Some(copies) = self.look_up(topic)? else { continue };
            let holds_log = self.ranges(topic, copies.len())?.iter().any(|(first, end)| *first > 0 || *end > 1);
            if holds_log {
                return Err(OpenError::Orphans { topic: topic.clone(), plate: self.plate.clone() });
            }
        }
        Ok(())
    }

    fn create(&self, shape: LedgerShape) -> Result<(), OpenError> {
        let settings = self.settings();
        let (message_bytes, segment_bytes) = (MESSAGE_BYTES_MAX.to_string(), SEGMENT_BYTES.to_string());
        let [control, wallet] = self.parts(shape);
        let topics = [control, wallet, (&self.plate, 1)].map(|(name, partitions)| {
            let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
            let copies = TopicReplication::Fixed(i32::from(self.options.replication));
            let topic = NewTopic::new(name, partitions, copies);
            let topic = topic.set("max.message.bytes", &message_bytes).set("segment.bytes", &segment_bytes);
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        });
        let patience = Some(self.options.request_timeout);
        let options = AdminOptions::new().request_timeout(patience).operation_timeout(patience);
        for result in block_on(self.admin.create_topics(&topics, &options))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, RDKafkaErrorCode::InvalidReplicationFactor)) => {
                    return Err(self.unavailable(format!(
                        "topic {topic} cannot have {} copies, there are fewer brokers; set log.kafka.replication",
                        self.options.replication
                    )));
                }
                Err((topic, code)) => return Err(self.unavailable(format!("topic {topic} cannot be made: {code}"))),
            }
        }
        for (topic, partitions) in self.parts(shape).into_iter().chain([(self.plate.as_str(), 1)]) {
            self.await_topic(topic)?;
            // Fails until every partition has a leader.
            let known = self.look_up(topic)?.map_or(partitions, |copies| copies.len());
            self.ranges(topic, known)?;
        }
        Ok(())
    }

    fn await_topic(&self, topic: &str) -> Result<(), OpenError> {
        let began = Instant::now();
        let mut backoff = Backoff::new(TRY_AGAIN);
        while self.look_up(topic)?.is_none() {
            if began.elapsed() >= self.options.request_timeout {
                return Err(self.unavailable(format!("topic {topic} was made and does not appear")));
            }
            self.pause(&mut backoff);
        }
        Ok(())
    }

    fn unavailable(&self, why: String) -> OpenError {
        OpenError::Unavailable { brokers: self.options.brokers.join(", "), why }
    }

    /// What must be so for an offset to mean what we believe it means, and for money to stay.
    fn settings(&self) -> [(&'static str, String); 6] {
        [
            ("cleanup.policy", "delete".into()),
            ("retention.ms", "-1".into()),
            ("retention.bytes", "-1".into()),
            ("unclean.leader.election.enable", "false".into()),
            ("message.timestamp.type", "LogAppendTime".into()),
            ("min.insync.replicas", self.options.min_insync_replicas.to_string()),
        ]
    }

    fn refuse_gone(&self, shape: LedgerShape) -> Result<(), OpenError> {
        for (topic, _) in self.parts(shape) {
            if self.look_up(topic)?.is_none() {
                return Err(OpenError::Gone { topic: topic.to_owned() });
            }
        }
        Ok(())
    }

    fn check(&self, shape: LedgerShape, is_finished: bool) -> Result<(), OpenError> {
        let mut problems = Vec::new();
        let mut ends = Vec::new();
        for (topic, partitions) in self.parts(shape) {
            let Some(copies) = self.look_up(topic)? else {
                return Err(OpenError::Gone { topic: topic.to_owned() });
            };
            self.check_partitions(topic, partitions, &copies, &mut problems);
            ends.push((topic, copies.len()));
        }
        self.check_settings(&mut problems)?;
        if !problems.is_empty() {
            return Err(OpenError::Settings(problems));
        }
        for (topic, partitions) in ends {
            let ranges = self.ranges(topic, partitions)?;
            let empty = ranges.iter().zip(0..).find(|((_, end), _)| *end == 0);
            if let Some((_, partition)) = empty.filter(|_| is_finished) {
                return Err(OpenError::Emptied { topic: topic.to_owned(), partition });
            }
        }
        Ok(())
    }

    fn check_partitions(&self, topic: &str, partitions: usize, copies: &[usize], problems: &mut Vec<Problem>) {
        let mut problem = |what: String, change: String| {
            problems.push(Problem { topic: topic.to_owned(), what, change });
        };
        if copies.len() != partitions {
            let what = format!("it has {} partitions, the ledger has {partitions} such shards", copies.len());
            let change = "partitions must never be added; restore the topic, or correct ledger.wallet-shards";
            problem(what, change.into());
        }
        let replication = usize::from(self.options.replication);
        if let Some(fewest) = copies.iter().min().filter(|fewest| **fewest < replication) {
            let what = format!("a partition has {fewest} copies, log.kafka.replication is {replication}");
            problem(what, "add copies with kafka-reassign-partitions, or lower log.kafka.replication".into());
        }
    }

    fn check_settings(&self, problems: &mut Vec<Problem>) -> Result<(), OpenError> {
        let names = [&self.topics.control, &self.topics.wallet, &self.plate];
        let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.options.request_timeout));
        let described = block_on(self.admin.describe_configs(&resources, &options))?;
        for (topic, described) in names.into_iter().zip(described) {
            let described = described.map_err(KafkaError::AdminOp)?;
            problems.extend(self.wrong_settings(topic, &described));
        }
        Ok(())
    }

    fn wrong_settings(&self, topic: &str, described: &ConfigResource) -> Vec<Problem> {
        let values: BTreeMap<&str, &str> =
            described.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))).collect();
        let at_least = |key: &str, value: &str| {
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            values.get(key).is_some_and(|found| number(found) >= number(value))
        };
        let message_bytes = (RECORD_BYTES_MAX + FRAME_BYTES).to_string();
        let wanted = self.settings().into_iter().chain([("max.message.bytes", message_bytes)]);
        let wrong = wanted.filter(|(key, value)| match *key {
            "min.insync.replicas" | "max.message.bytes" => !at_least(key, value),
            key => values.get(key).is_none_or(|found| !found.eq_ignore_ascii_case(value)),
        });
        let problem = |(key, value): (&str, String)| Problem {
            topic: topic.to_owned(),
            what: match values.get(key) {
                Some(found) => format!("{key} is {found}, it must be {value}{}", or_more(key)),
                None => format!("{key} is not known to this broker, it must be {value}"),
            },
            change: format!(
                "change it with: kafka-configs --alter --entity-type topics --entity-name {topic} --add-config {key}={value}"
            ),
        };
        wrong.map(problem).collect()
    }

    /// Writes the founding record into every partition that has none.
    fn found(&self, producer: &Producer, shape: LedgerShape) -> Result<(), OpenError> {
        let record = encode_claim(FOUNDER);
        let mut places = Vec::new();
        for (topic, partitions) in self.parts(shape) {
            let empty = self.ranges(topic, partitions)?.into_iter().zip(0..).filter(|((_, end), _)| *end == 0);
            places.extend(empty.map(|(_, partition)| (topic, partition, record.clone())));
        }
        self.write(producer, places)
    }

    fn write_plate(&self, producer: &Producer, shape: LedgerShape) -> Result<(), OpenError> {
        let id = Some(LedgerId::fresh());
        let plate = Plate { format: FORMAT, ledger: self.ledger.clone(), shape, id };
        let json = serde_json::to_vec(&plate).expect("names and numbers are valid JSON");
        self.write(producer, vec![(&self.plate, 0, Bytes::from(json))])
    }

    fn write(&self, producer: &Producer, records: Vec<(&str, i32, Bytes)>) -> Result<(), OpenError> {
        let count = records.len();
        let (tell, told) = sync_channel::<Answer>(count);
        for (topic, partition, record) in records {
            let tell = tell.clone();
            // There is room for every answer.
            let done = Box::new(move |answer| drop(tell.try_send(answer)));
            Appends::new((topic, partition), |answer| answer).send(Ok(producer), &record, done);
        }
        for answer in told.iter().take(count) {
            answer.map_err(|error| self.unavailable(format!("a record cannot be written: {error}")))?;
        }
        Ok(())
    }
}

fn or_more(key: &str) -> &'static str {
    match key {
        "min.insync.replicas" | "max.message.bytes" => " or more",
        _ => "",
    }
}
