//! Tries dead letters again, by themselves for as long as their ladder goes, and once more when somebody asks.

use std::sync::Arc;
use std::time::Duration;

use largesse_engine::node::backoff::{Backoff, Ladder};
use largesse_engine::units::Time;
use tokio::sync::watch;

use super::message::{self, Place};
use super::wire::{Sent, Wire};
use super::{EventsOptions, Shared};
use crate::letters::{
    Book, Content, Entry, Held, KEEP_MILLIS, LetterLog, LettersError, Message, Reason, State, from_hex,
};

/// How often the letters are looked at: other processes settle some.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// One look tries this many at most, so that the gauges stay fresh.
const TRIES_PER_LOOK: usize = 1_000;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    Published,
    /// It was refused again.
    Refused(String),
    /// Nothing was learnt about it.
    Unavailable(String),
    /// There is nothing to publish: only the numbers of the events are known.
    Gone,
}

/// Publishes what a letter holds.
pub async fn attempt(wire: &Wire, options: &EventsOptions, held: &Held) -> Attempt {
    let messages: Vec<Message> = match &held.letter.content {
        Content::Message(message) => vec![message.clone()],
        Content::Gone => return Attempt::Gone,
        Content::Bytes(hex) => {
            let origin = &held.letter.origin;
            let bytes = from_hex(hex).unwrap_or_default();
            let place = Place { ledger: &options.ledger, shard: origin.shard, seq: origin.seq, at: origin.at };
            let count = origin.last_seq.get().saturating_sub(origin.seq.get()) + 1;
            match message::of_record(place, count, &bytes) {
                (messages, None) => messages,
                (_, Some((_, _, error))) => return Attempt::Refused(error.to_string()),
            }
        }
    };
    for message in &messages {
        match wire.send_alone(message, Some(held.tries + 1)).await {
            Sent::Published => {}
            Sent::Refused(_, why) => return Attempt::Refused(why),
            Sent::Unavailable(why) => return Attempt::Unavailable(why),
        }
    }
    Attempt::Published
}

pub(super) async fn run(shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let mut book = Book::default();
    let mut backoff = Backoff::new(Ladder { longest: Duration::from_secs(60), ..Ladder::ENDLESS });
    let mut is_trimmed = false;
    while !*stopping.borrow() {
        let looked = match look(&shared, &mut book, &mut is_trimmed).await {
            Ok(()) => {
                backoff.reset();
                until_due(&book, shared.clock.now())
            }
            Err(why) => {
                tracing::debug!(why, "dead letters cannot be tried again now");
                backoff.wait()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(looked) => {}
            () = shared.filed.notified() => {}
            _ = stopping.changed() => {}
        }
    }
}

async fn look(shared: &Shared, book: &mut Book, is_trimmed: &mut bool) -> Result<(), String> {
    let told = |error: LettersError| error.to_string();
    if !*is_trimmed {
        // Before anything is read: what it does moves everything.
        shared.letters.trim(shared.clock.now().minus_millis(KEEP_MILLIS)).await.map_err(told)?;
        *is_trimmed = true;
    }
    shared.letters.read(book).await.map_err(told)?;
    let now = shared.clock.now();
    let is_due = |held: &&Held| matches!(held.state, State::Waiting { next_try } if next_try <= now);
    let due: Vec<Held> = book.open().filter(is_due).take(TRIES_PER_LOOK).cloned().collect();
    for held in due {
        let id = held.letter.id.clone();
        let entry = match attempt(&shared.wire, &shared.options, &held).await {
            Attempt::Published => Entry::Published { id, at: shared.clock.now(), by: "retry".into() },
            Attempt::Refused(why) => {
                let next_try = shared.next_try(held.tries + 1);
                Entry::Tried { id, at: shared.clock.now(), why, next_try }
            }
            Attempt::Gone => continue,
            Attempt::Unavailable(why) => return Err(why),
        };
        let outcome = if matches!(entry, Entry::Published { .. }) { "published" } else { "refused" };
        metrics::counter!("largesse_dead_letters_retried_total", "outcome" => outcome).increment(1);
        shared.letters.append(entry).await.map_err(told)?;
    }
    shared.letters.read(book).await.map_err(told)?;
    for reason in Reason::ALL {
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        let open = book.count_open(reason) as f64;
        metrics::gauge!("largesse_dead_letters", "reason" => reason.name()).set(open);
    }
    Ok(())
}

fn until_due(book: &Book, now: Time) -> Duration {
    let due = |held: &Held| match held.state {
        State::Waiting { next_try } => Some(Duration::from_millis(next_try.get().saturating_sub(now.get()))),
        State::Dead | State::Published { .. } | State::Discarded { .. } => None,
    };
    book.open().filter_map(due).min().unwrap_or(LOOK_EVERY).clamp(Duration::from_millis(10), LOOK_EVERY)
}

/// Says so in the letters' log; who asked is kept with it.
pub async fn settle(
    letters: &dyn LetterLog,
    held: &Held,
    attempt: &Attempt,
    by: &str,
    now: Time,
) -> Result<(), LettersError> {
    let id = held.letter.id.clone();
    match attempt {
        Attempt::Published => letters.append(Entry::Published { id, at: now, by: by.into() }).await,
        Attempt::Refused(why) => {
            // When the next attempt is due by itself stays as it was.
            let next_try = match held.state {
                State::Waiting { next_try } => Some(next_try),
                State::Dead | State::Published { .. } | State::Discarded { .. } => None,
            };
            letters.append(Entry::Tried { id, at: now, why: why.clone(), next_try }).await
        }
        Attempt::Unavailable(_) | Attempt::Gone => Ok(()),
    }
}
