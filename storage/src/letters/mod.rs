//! Dead letters: what could not be published or understood, kept with its reason and origin until somebody decides.
//!
//! The log of letters is append-only: a letter is filed, tried again, published after all or discarded, each an entry of
//! its own, so that nothing disappears in silence and who did what can be read later. [`Book`] folds it. It lies in a
//! topic where the ledger's log is in Kafka, and otherwise in a folder beside the embedded log.

mod book;
mod folder;
mod topic;

use std::fmt;

use futures::future::BoxFuture;
use largesse_engine::units::{Seq, ShardId, Time};
use serde::{Deserialize, Serialize};

pub use self::book::{Book, Held, State};
pub use self::folder::LetterFolder;
pub use self::topic::LetterTopic;

/// How long letters that were settled, published or discarded, can still be looked at.
pub const KEEP_MILLIS: u64 = 90 * 86_400_000;

/// Where letters are kept.
pub trait LetterLog: Send + Sync + 'static {
    /// Adds one entry; durable when this returns.
    fn append(&self, entry: Entry) -> BoxFuture<'_, Result<(), LettersError>>;

    /// Brings the book up to date.
    fn read<'a>(&'a self, book: &'a mut Book) -> BoxFuture<'a, Result<(), LettersError>>;

    /// Gives up what lies before the first letter that is open, or was settled after `keep_from`.
    fn trim(&self, keep_from: Time) -> BoxFuture<'_, Result<(), LettersError>>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LettersError {
    #[error("the dead letters cannot be reached: {0}")]
    Unavailable(String),
    /// Nobody goes on past a letter that cannot be kept.
    #[error("the dead letters fill {0} bytes, which is their limit: retry or discard some")]
    Full(u64),
}

/// One line of the log of letters. Entries are only added to this list, and fields only with a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    Filed(Box<Letter>),
    /// Tried again in vain.
    Tried {
        id: String,
        at: Time,
        why: String,
        /// When the next attempt is due; `None` leaves it to a person.
        next_try: Option<Time>,
    },
    /// Published after all.
    Published {
        id: String,
        at: Time,
        by: String,
    },
    Discarded {
        id: String,
        at: Time,
        by: String,
        reason: String,
    },
}

/// What could not be published or understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Made of the origin, so that a letter which is filed twice is one.
    pub id: String,
    pub reason: Reason,
    /// In the words of whoever refused it.
    pub why: String,
    pub origin: Origin,
    pub filed_at: Time,
    /// When the next attempt is due; `None` leaves it to a person.
    pub next_try: Option<Time>,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The broker takes no message of this size.
    TooLarge,
    /// The broker refuses this message for what it is.
    Invalid,
    /// These bytes are not an event that this program knows.
    Undecodable,
    /// The log was cut before these events were published.
    Cut,
}

impl Reason {
    pub const ALL: [Reason; 4] = [Reason::TooLarge, Reason::Invalid, Reason::Undecodable, Reason::Cut];

    pub fn name(self) -> &'static str {
        match self {
            Reason::TooLarge => "too_large",
            Reason::Invalid => "invalid",
            Reason::Undecodable => "undecodable",
            Reason::Cut => "cut",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The topic and partition of the shard's log, if that is in Kafka.
    pub topic: Option<String>,
    pub partition: Option<i32>,
    /// Position of the record: its offset in the partition, or in the embedded log.
    pub offset: u64,
    pub shard: ShardId,
    /// The event, or the first of several.
    pub seq: Seq,
    pub last_seq: Seq,
    /// When it happened.
    pub at: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A message as it would have been published.
    Message(Message),
    /// The bytes of the events, as lower-case hexadecimal digits.
    Bytes(String),
    /// Gone: only the numbers of the events are known.
    Gone,
}

/// One message of the topic of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: String,
    pub key: String,
    pub headers: Vec<(String, String)>,
    /// JSON.
    pub value: String,
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every character");
        text
    })
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.collect()
}

#[cfg(test)]
mod tests;
