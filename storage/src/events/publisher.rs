//! Publishes one shard: reads its log behind everybody else, and goes on where the last one stopped.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use largesse_engine::fold::{Fold, Verdict};
use largesse_engine::log::{LogError, ShardLog};
use largesse_engine::node::ShardHealth;
use largesse_engine::node::backoff::{Backoff, Ladder};
use largesse_engine::record::{EventsHeader, LogEntry};
use largesse_engine::units::{Position, Seq, ShardId, Time};
use tokio::sync::watch;

use super::message::{self, Place};
use super::positions::Published;
use super::wire::Sent;
use super::{Shared, letter};
use crate::letters::{Content, Letter, LettersError, Message, Reason};

/// About how much of the log is published before its position is written down.
const BYTES: usize = 256 << 10;
/// New events gather for so long: a position costs a message too.
const GATHER: Duration = Duration::from_millis(100);
/// Claims and empty records alone are rarely worth a position.
const IDLE_ENTRIES_MAX: u32 = 1_000;

pub(super) struct Publisher {
    pub shard: ShardId,
    pub log: Arc<dyn ShardLog>,
    pub shared: Arc<Shared>,
    pub health: watch::Receiver<ShardHealth>,
    pub stopping: watch::Receiver<bool>,
}

/// Why publishing begins again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Letters(#[from] LettersError),
    #[error("the store cannot say from where the log can be read: {0}")]
    Store(#[from] largesse_engine::store::StoreError),
    #[error("kafka does not take events: {0}")]
    Broker(String),
}

/// How long a process that stops waits for messages on their way; what was not acknowledged is published again.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

async fn patience_ends(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone stops everything too.
    drop(stopping.wait_for(|is_stopping| *is_stopping).await);
    tokio::time::sleep(STOP_PATIENCE).await;
}

/// What one piece of the log says.
#[derive(Default)]
struct Piece {
    messages: Vec<Message>,
    letters: Vec<Letter>,
    oldest: Option<Time>,
    origins: Vec<(usize, EventsHeader, Position)>,
}

impl Publisher {
    /// While this process owns the shard, until everything stops.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(Ladder::ENDLESS);
        while !*self.stopping.borrow() {
            if !self.is_ours() {
                self.shared.holds.end(self.shard);
                tokio::select! {
                    changed = self.health.changed() => if changed.is_err() { return },
                    _ = self.stopping.changed() => {}
                }
                continue;
            }
            let stopping = self.stopping.clone();
            let published = tokio::select! {
                published = self.publish(&mut backoff) => published,
                () = patience_ends(stopping) => return,
            };
            match published {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    metrics::counter!("largesse_events_failures_total").increment(1);
                    let wait = backoff.wait();
                    // Once per outage and shard would still be one line per shard; details are for those who look.
                    tracing::debug!(shard = %self.shard, %error, ?wait, "events cannot be published; trying again");
                    self.shared.tell_failure(&error);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = self.stopping.changed() => {}
                    }
                    self.note_age();
                }
            }
        }
    }

    fn is_ours(&self) -> bool {
        *self.health.borrow() == ShardHealth::Serving
    }

    async fn publish(&mut self, backoff: &mut Backoff) -> Result<(), Failed> {
        let shared = Arc::clone(&self.shared);
        shared.holds.begin(self.shard);
        shared.wire.ready().await.map_err(Failed::Broker)?;
        let mut published = self.resume().await?;
        shared.holds.advance(self.shard, published.position, None).await?;
        let mut idle_entries = 0;
        while self.is_ours() && !*self.stopping.borrow() {
            let entries = match self.log.read(published.position, BYTES).await {
                Err(LogError::Truncated { .. }) => {
                    published = self.step_over(published).await?;
                    shared.holds.advance(self.shard, published.position, None).await?;
                    continue;
                }
                entries => entries?,
            };
            if entries.is_empty() {
                shared.holds.advance(self.shard, published.position, None).await?;
                self.note_age();
                self.wait(published.position).await?;
                continue;
            }
            let mut fold = published.fold();
            let piece = self.take(&entries, &mut fold);
            let position = entries.last().map_or(published.position, |entry| entry.position.after());
            shared.holds.advance(self.shard, published.position, piece.oldest).await?;
            self.note_age();
            self.send(&piece).await?;
            published = Published::new(position, fold);
            idle_entries += u32::try_from(entries.len()).unwrap_or(u32::MAX);
            if piece.oldest.is_some() || idle_entries >= IDLE_ENTRIES_MAX {
                shared.positions.save(self.shard, published).await.map_err(Failed::Broker)?;
                idle_entries = 0;
            }
            shared.holds.advance(self.shard, published.position, None).await?;
            backoff.reset();
        }
        Ok(())
    }

    async fn wait(&mut self, position: Position) -> Result<(), Failed> {
        let mut health = self.health.clone();
        tokio::select! {
            arrived = self.log.wait_for(position) => arrived?,
            _ = self.stopping.changed() => return Ok(()),
            _ = health.wait_for(|health| *health != ShardHealth::Serving) => return Ok(()),
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            _ = self.stopping.changed() => {}
        }
        Ok(())
    }

    /// Where the last one stopped. The first begins with what the log still has.
    async fn resume(&self) -> Result<Published, Failed> {
        let Some(published) = self.shared.positions.load(self.shard).await.map_err(Failed::Broker)? else {
            return self.begin().await;
        };
        let end = self.log.end().await?;
        if published.position <= end {
            return Ok(published);
        }
        tracing::warn!(
            shard = %self.shard, published = %published.position, %end,
            "the log ends before what was published of it, so it is another one; publishing begins with what it has"
        );
        self.begin().await
    }

    /// Everything, if the log is whole; otherwise from where it is known what counts.
    async fn begin(&self) -> Result<Published, Failed> {
        match self.log.read(Position::START, 1).await {
            Ok(_) => Ok(Published::new(Position::START, Fold::default())),
            Err(LogError::Truncated { .. }) => self.first_kept().await,
            Err(error) => Err(error.into()),
        }
    }

    /// The place up to which the log is cut: the rows' checkpoint knows what reading from there needs.
    async fn first_kept(&self) -> Result<Published, Failed> {
        let checkpoint = self.shared.store.checkpoint(self.shard).await?;
        let found = checkpoint.map(|at| Published::new(at.relay_position, at.relay_fold));
        found.ok_or_else(|| LogError::Unavailable("it was cut, and the store has no checkpoint yet".into()).into())
    }

    /// The log was cut above what was published: says which events are missing, and goes on after them.
    async fn step_over(&self, published: Published) -> Result<Published, Failed> {
        let first = self.first_kept().await?;
        if first.position <= published.position {
            return Err(LogError::Unavailable("the log was cut above the store's checkpoint".into()).into());
        }
        if first.next > published.next {
            let last = Seq(first.next.get() - 1);
            let header = EventsHeader {
                epoch: first.epoch.unwrap_or_default(),
                number: 0,
                first: published.next,
                count: 0,
                time: self.shared.clock.now(),
            };
            let origin = self.shared.origin(self.shard, header, last, published.position);
            let why = "the log was cut before these events were published; history in the store has them".to_owned();
            let id = format!("{}.{}-{last}.cut", self.shard, published.next);
            tracing::error!(shard = %self.shard, first = %published.next, %last, "events were not published: {why}");
            let letter = letter(id, Reason::Cut, why, origin, None, Content::Gone, &*self.shared.clock);
            self.shared.file(letter).await?;
        }
        self.shared.positions.save(self.shard, first).await.map_err(Failed::Broker)?;
        Ok(first)
    }

    fn take(&self, entries: &[LogEntry], fold: &mut Fold) -> Piece {
        let mut piece = Piece::default();
        for entry in entries {
            let Verdict::Believed(header) = fold.offer(entry) else { continue };
            if header.count == 0 {
                continue;
            }
            piece.oldest = piece.oldest.or(Some(header.time));
            let ledger = &self.shared.options.ledger;
            let place = Place { ledger, shard: self.shard, seq: header.first, at: header.time };
            let (messages, broken) = message::of_record(place, u64::from(header.count), &entry.events);
            piece.origins.push((piece.messages.len(), header, entry.position));
            piece.messages.extend(messages);
            if let Some((seq, used, error)) = broken {
                let last = Seq(header.next().get() - 1);
                let header = EventsHeader { first: seq, ..header };
                let origin = self.shared.origin(self.shard, header, last, entry.position);
                let id = format!("{}.{seq}-{last}.undecodable", self.shard);
                let content = Content::Bytes(crate::letters::to_hex(&entry.events[used..]));
                let clock = &*self.shared.clock;
                piece.letters.push(letter(id, Reason::Undecodable, error.to_string(), origin, None, content, clock));
            }
        }
        piece
    }

    /// Publishes everything, or files what is refused.
    async fn send(&self, piece: &Piece) -> Result<(), Failed> {
        let shared = &self.shared;
        let mut doubtful = Vec::new();
        {
            let mut sent = std::pin::pin!(shared.wire.send(&piece.messages, shared.in_flight_per_shard));
            let mut number = 0;
            while let Some((message, outcome)) = sent.next().await {
                match outcome {
                    Sent::Published => {}
                    // Maybe for another's sake, since they travel together.
                    Sent::Refused(..) => doubtful.push((number, message)),
                    Sent::Unavailable(why) => return Err(Failed::Broker(why)),
                }
                number += 1;
            }
        }
        let refused = doubtful.len();
        for (number, message) in doubtful {
            match shared.wire.send_alone(message, None).await {
                Sent::Published => {}
                Sent::Refused(reason, why) => shared.file(self.refused(piece, number, message, reason, why)).await?,
                Sent::Unavailable(why) => return Err(Failed::Broker(why)),
            }
        }
        for letter in &piece.letters {
            shared.file(letter.clone()).await?;
        }
        tracing::trace!(shard = %self.shard, messages = piece.messages.len(), refused, "events were published");
        metrics::counter!("largesse_events_published_total").increment(piece.messages.len() as u64);
        Ok(())
    }

    fn refused(&self, piece: &Piece, number: usize, message: &Message, reason: Reason, why: String) -> Letter {
        let place = piece.origins.partition_point(|(first, _, _)| *first <= number);
        let (_, header, position) = piece.origins[place - 1];
        // The message's own number within its record is in its id.
        let seq = message.id.split('.').nth(1).and_then(|seq| seq.parse().ok()).unwrap_or(header.first);
        let header = EventsHeader { first: seq, ..header };
        let origin = self.shared.origin(self.shard, header, seq, position);
        let next_try = self.shared.next_try(1);
        let content = Content::Message(message.clone());
        letter(message.id.clone(), reason, why, origin, next_try, content, &*self.shared.clock)
    }

    fn note_age(&self) {
        let age = self.shared.holds.age(self.shard);
        metrics::gauge!("largesse_events_lag_seconds", "shard" => self.shard.to_string()).set(age.as_secs_f64());
    }
}
