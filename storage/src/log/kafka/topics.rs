//! The topics of a ledger: made once, and checked at every start for everything that the fence and the money rest on.
//!
//! `<ledger>.ledger` holds a record, a JSON text with the ledger's shape, written last: a ledger without it was never
//! finished and is made again; one that has it must have all its topics, and in each partition at least the founding
//! record. So topics that were deleted, or made anew by hand, are noticed. A ledger of the first versions has no topic of
//! rooms: it is added when somebody opens the ledger to write to it, and a second record says so.

use std::collections::BTreeMap;
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
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::KafkaOptions;
use super::client::{Context, Topics, base_config, describe};
use super::error::{OpenError, Problem};
use super::plate::Plate;
use super::producer::{Answer, Appends, FRAME_BYTES, Producer};
use super::ranges::{TRY_AGAIN, is_missing};
use crate::ledger_id::LedgerId;

/// Says that a partition was founded and not just made. Nobody ever writes under the epoch that it begins.
const FOUNDER: Claim = Claim { node: NodeId(0), nonce: *b"largesse founded" };
/// The largest batch that a topic takes when we make it.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Space comes back by whole segments.
const SEGMENT_BYTES: usize = 64 << 20;
/// Topics are made and looked at when a process starts, and brokers may be starting as well.
const PATIENCE_MIN: Duration = Duration::from_secs(30);
/// How long a look for a record waits before it is asked whether time is up.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// How long one question waits that is asked again.
const ASK: Duration = Duration::from_secs(1);

const _: () = assert!(RECORD_BYTES_MAX + FRAME_BYTES <= MESSAGE_BYTES_MAX);

/// What a ledger's record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    pub shape: LedgerShape,
    pub id: Option<LedgerId>,
    /// Whether it has shards for rooms, which those of the first versions lack until somebody writes to them.
    pub rooms: bool,
}

impl From<Plate> for Prepared {
    fn from(plate: Plate) -> Prepared {
        Prepared { shape: plate.shape, id: plate.id, rooms: plate.rooms }
    }
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

/// A topic of shards, and how many partitions it has.
type Part<'a> = (&'a str, usize);
/// How many topics of shards a ledger of the first versions has: all but that of rooms.
const FIRST_PARTS: usize = 2;

/// Partitions of a topic, each with how many copies it has.
type Found = Option<Vec<usize>>;

pub(super) struct Checker {
    pub(super) options: KafkaOptions,
    pub(super) ledger: LedgerName,
    /// Name of the topic with the ledger's record.
    pub(super) plate: String,
    topics: Topics,
    pub(super) client: BaseConsumer<Context>,
    admin: AdminClient<Context>,
}

/// Deletes all topics of a ledger. For tests and benches, which have one of their own.
pub async fn delete_ledger(options: &KafkaOptions, ledger: &LedgerName) -> Result<(), OpenError> {
    let admin: AdminClient<Context> = base_config(options).create_with_context(Context)?;
    let topics = Topics::of(ledger);
    let (plate, wait) = (format!("{ledger}.ledger"), AdminOptions::new().operation_timeout(Some(PATIENCE_MIN)));
    for deleted in admin.delete_topics(&[&topics.control, &topics.wallet, &topics.room, &plate], &wait).await? {
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
        match (self.read_plate()?, asked) {
            (Some(plate), Some(asked)) if asked != plate.shape => {
                Err(OpenError::OtherShape { topic: self.plate.clone(), found: plate.shape, asked })
            }
            (Some(plate), Some(shape)) => {
                let parts = self.parts(shape);
                self.check(if plate.rooms { &parts } else { &parts[..FIRST_PARTS] }, true)?;
                if plate.rooms { Ok(plate.into()) } else { self.finish(&parts[FIRST_PARTS..], &plate.with_rooms()) }
            }
            // Whoever only reads may look at topics that nobody should write to.
            (Some(plate), None) => {
                let parts = self.parts(plate.shape);
                self.refuse_gone(if plate.rooms { &parts } else { &parts[..FIRST_PARTS] })?;
                Ok(plate.into())
            }
            (None, Some(shape)) => self.finish(&self.parts(shape), &Plate::new(&self.ledger, shape)),
            (None, None) => {
                Err(OpenError::NoLedger { ledger: self.ledger.clone(), brokers: self.options.brokers.join(", ") })
            }
        }
    }

    /// Makes these topics, and says so in the ledger's record once each of their partitions was founded.
    fn finish(&self, parts: &[Part<'_>], plate: &Plate) -> Result<Prepared, OpenError> {
        self.refuse_orphans(parts)?;
        self.create(parts)?;
        self.check(parts, false)?;
        let producer = Producer::start(&self.options)?;
        self.found(&producer, parts)?;
        self.write_plate(&producer, plate)?;
        drop(producer);
        // Somebody else may have been first.
        match self.read_plate()? {
            Some(found) if found.shape == plate.shape => {
                self.check(parts, true)?;
                Ok(found.into())
            }
            Some(found) => {
                let (found, asked) = (found.shape, plate.shape);
                Err(OpenError::OtherShape { topic: self.plate.clone(), found, asked })
            }
            None => Err(OpenError::Damaged { topic: self.plate.clone(), why: "what was written is not there".into() }),
        }
    }

    fn parts(&self, shape: LedgerShape) -> [Part<'_>; 3] {
        [
            (&self.topics.control, 1),
            (&self.topics.wallet, usize::from(shape.wallet_shards)),
            (&self.topics.room, usize::from(shape.room_shards())),
        ]
    }

    pub(super) fn look_up(&self, topic: &str) -> Result<Found, OpenError> {
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
    pub(super) fn ranges(&self, topic: &str, partitions: usize) -> Result<Vec<(i64, i64)>, OpenError> {
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

    /// Topics that were never finished hold founding records at most.
    fn refuse_orphans(&self, parts: &[Part<'_>]) -> Result<(), OpenError> {
        for (topic, _) in parts {
            let Some(copies) = self.look_up(topic)? else { continue };
            let holds_log = self.ranges(topic, copies.len())?.iter().any(|(first, end)| *first > 0 || *end > 1);
            if holds_log {
                return Err(OpenError::Orphans { topic: (*topic).to_owned(), plate: self.plate.clone() });
            }
        }
        Ok(())
    }

    /// With the topic of the ledger's record, where they are not there yet.
    fn create(&self, parts: &[Part<'_>]) -> Result<(), OpenError> {
        let settings = self.settings();
        let (message_bytes, segment_bytes) = (MESSAGE_BYTES_MAX.to_string(), SEGMENT_BYTES.to_string());
        let all: Vec<Part<'_>> = parts.iter().copied().chain([(self.plate.as_str(), 1)]).collect();
        let topics = all.iter().map(|(name, partitions)| {
            let partitions = i32::try_from(*partitions).unwrap_or(i32::MAX);
            let copies = TopicReplication::Fixed(i32::from(self.options.replication));
            let topic = NewTopic::new(name, partitions, copies);
            let topic = topic.set("max.message.bytes", &message_bytes).set("segment.bytes", &segment_bytes);
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        });
        let topics: Vec<_> = topics.collect();
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
        for (topic, partitions) in all {
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

    fn refuse_gone(&self, parts: &[Part<'_>]) -> Result<(), OpenError> {
        for (topic, _) in parts {
            if self.look_up(topic)?.is_none() {
                return Err(OpenError::Gone { topic: (*topic).to_owned() });
            }
        }
        Ok(())
    }

    fn check(&self, parts: &[Part<'_>], is_finished: bool) -> Result<(), OpenError> {
        let mut problems = Vec::new();
        let mut ends = Vec::new();
        for &(topic, partitions) in parts {
            let Some(copies) = self.look_up(topic)? else {
                return Err(OpenError::Gone { topic: topic.to_owned() });
            };
            self.check_partitions(topic, partitions, &copies, &mut problems);
            ends.push((topic, copies.len()));
        }
        self.check_settings(parts, &mut problems)?;
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

    fn check_settings(&self, parts: &[Part<'_>], problems: &mut Vec<Problem>) -> Result<(), OpenError> {
        let names: Vec<&str> = parts.iter().map(|(topic, _)| *topic).chain([self.plate.as_str()]).collect();
        let resources: Vec<_> = names.iter().copied().map(ResourceSpecifier::Topic).collect();
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
    fn found(&self, producer: &Producer, parts: &[Part<'_>]) -> Result<(), OpenError> {
        let record = encode_claim(FOUNDER);
        let mut places = Vec::new();
        for &(topic, partitions) in parts {
            let empty = self.ranges(topic, partitions)?.into_iter().zip(0..).filter(|((_, end), _)| *end == 0);
            places.extend(empty.map(|(_, partition)| (topic, partition, record.clone())));
        }
        self.write(producer, places)
    }

    pub(super) fn write(&self, producer: &Producer, records: Vec<(&str, i32, Bytes)>) -> Result<(), OpenError> {
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
