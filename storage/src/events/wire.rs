//! The brokers that take events: topics made when they are missing, two producers, and what a refusal means.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::EventsOptions;
use crate::letters::{Message, Reason};
use crate::log::kafka::client::{Context, base_config, describe, millis};
use crate::log::kafka::ranges::is_missing;
use crate::log::kafka::side::SideTopic;

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Published,
    /// This message, or one that travelled with it, is refused for what it is: trying it as it is changes nothing.
    Refused(Reason, String),
    /// Nobody's fault but the way's: it may or may not have arrived.
    Unavailable(String),
}

pub struct Wire {
    options: EventsOptions,
    topic: SideTopic,
    producers: Mutex<Option<Arc<Producers>>>,
    is_there: tokio::sync::Mutex<bool>,
}

struct Producers {
    /// Sends many at once.
    quick: FutureProducer<Context>,
    /// Sends each by itself, so that a refusal means the one.
    careful: FutureProducer<Context>,
}

impl Wire {
    pub fn new(options: &EventsOptions) -> Wire {
        let topic = SideTopic::new(&options.kafka, options.topic.clone(), options.partitions);
        Wire { options: options.clone(), topic, producers: Mutex::default(), is_there: tokio::sync::Mutex::default() }
    }

    /// Makes the topic once, if nobody has.
    pub async fn ready(&self) -> Result<(), String> {
        let mut is_there = self.is_there.lock().await;
        if !*is_there {
            self.topic.ensure().await.map_err(|error| describe(&error))?;
            *is_there = true;
        }
        Ok(())
    }

    /// Sends them in this order, `in_flight` at once, and says in this order what became of each.
    pub fn send<'a>(
        &'a self,
        messages: &'a [Message],
        in_flight: usize,
    ) -> impl Stream<Item = (&'a Message, Sent)> + Send + 'a {
        // A record is handed over when its turn comes, not when it is awaited: so their order is that of the list.
        let started = stream::iter(messages.iter().map(move |message| {
            let handed_over = self.hand_over(message, None, |producers| &producers.quick);
            async move { (message, self.outcome(handed_over).await) }
        }));
        started.buffered(in_flight.max(1))
    }

    /// Sends one that must not suffer for others.
    pub async fn send_alone(&self, message: &Message, try_number: Option<u32>) -> Sent {
        let handed_over = self.hand_over(message, try_number, |producers| &producers.careful);
        self.outcome(handed_over).await
    }

    fn hand_over(
        &self,
        message: &Message,
        try_number: Option<u32>,
        pick: impl Fn(&Producers) -> &FutureProducer<Context>,
    ) -> Result<DeliveryFuture, KafkaError> {
        let producers = self.producers()?;
        let room = message.headers.len() + 1;
        let mut headers = OwnedHeaders::new_with_capacity(room);
        for (key, value) in &message.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        if let Some(number) = try_number {
            headers = headers.insert(Header { key: "try", value: Some(&number.to_string()) });
        }
        let record = FutureRecord::to(&self.options.topic).key(&message.key).payload(&message.value).headers(headers);
        pick(&producers).send_result(record).map_err(|(error, _)| error)
    }

    async fn outcome(&self, handed_over: Result<DeliveryFuture, KafkaError>) -> Sent {
        let error = match handed_over {
            Err(error) => error,
            Ok(delivery) => match delivery.await {
                Ok(Ok(_delivered)) => return Sent::Published,
                Ok(Err((error, _))) => error,
                Err(_canceled) => return Sent::Unavailable("the producer was given up".into()),
            },
        };
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::MessageBatchTooLarge,
            ) => Sent::Refused(Reason::TooLarge, error.to_string()),
            Some(
                RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::PolicyViolation,
            ) => Sent::Refused(Reason::Invalid, error.to_string()),
            code => {
                if code == Some(RDKafkaErrorCode::Fatal) {
                    // A fresh one can go on.
                    drop(self.lock().take());
                }
                if is_missing(&error) {
                    *self.is_there.lock().await = false;
                }
                Sent::Unavailable(describe(&error))
            }
        }
    }

    fn producers(&self) -> Result<Arc<Producers>, KafkaError> {
        let mut producers = self.lock();
        if let Some(producers) = &*producers {
            return Ok(Arc::clone(producers));
        }
        let make = |linger: Duration, batch: usize| {
            let mut config = base_config(&self.options.kafka);
            config
                .set("enable.idempotence", "true")
                .set("linger.ms", millis(linger))
                .set("batch.num.messages", batch.to_string())
                // The topic's own limit is what counts.
                .set("message.max.bytes", "8388608")
                .set("delivery.timeout.ms", millis(self.options.kafka.delivery_timeout))
                .set("retry.backoff.ms", "20")
                .set("retry.backoff.max.ms", "500")
                // Publishers bound what they have under way; this only bounds a mistake.
                .set("queue.buffering.max.messages", "1000000");
            config.create_with_context(Context)
        };
        let made = Producers { quick: make(LINGER, 10_000)?, careful: make(Duration::ZERO, 1)? };
        Ok(Arc::clone(producers.insert(Arc::new(made))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Producers>>> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody waits for events so dearly that they could not travel together.
const LINGER: Duration = Duration::from_millis(5);
