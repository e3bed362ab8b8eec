//! What became of each letter, folded from their log.

use std::collections::BTreeMap;

use largesse_engine::units::Time;
use serde::Serialize;

use super::{Entry, Letter, Reason};

/// All letters, by id.
#[derive(Debug, Default)]
pub struct Book {
    letters: BTreeMap<String, Held>,
    /// Entries that this program cannot read; a newer one wrote them, say.
    pub unreadable: u64,
    /// Where reading goes on.
    pub(super) next: u64,
}

/// A letter and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    #[serde(flatten)]
    pub letter: Letter,
    #[serde(flatten)]
    pub state: State,
    /// Attempts so far, the one that failed first included.
    pub tries: u32,
    /// Why the last one failed.
    pub last_why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Another attempt is due by itself.
    Waiting {
        next_try: Time,
    },
    /// Nobody tries any more: a person decides.
    Dead,
    Published {
        at: Time,
        by: String,
    },
    Discarded {
        at: Time,
        by: String,
        discard_reason: String,
    },
}

impl State {
    fn due(next_try: Option<Time>) -> State {
        next_try.map_or(State::Dead, |next_try| State::Waiting { next_try })
    }

    pub fn name(&self) -> &'static str {
        match self {
            State::Waiting { .. } => "waiting",
            State::Dead => "dead",
            State::Published { .. } => "published",
            State::Discarded { .. } => "discarded",
        }
    }

    /// Whether somebody or something still has to do with it.
    pub fn is_open(&self) -> bool {
        match self {
            State::Waiting { .. } | State::Dead => true,
            State::Published { .. } | State::Discarded { .. } => false,
        }
    }

    pub(super) fn settled_at(&self) -> Option<Time> {
        match self {
            State::Waiting { .. } | State::Dead => None,
            State::Published { at, .. } | State::Discarded { at, .. } => Some(*at),
        }
    }
}

impl Book {
    pub fn get(&self, id: &str) -> Option<&Held> {
        self.letters.get(id)
    }

    pub fn letters(&self) -> impl Iterator<Item = &Held> {
        self.letters.values()
    }

    pub fn open(&self) -> impl Iterator<Item = &Held> {
        self.letters().filter(|held| held.state.is_open())
    }

    pub fn count_open(&self, reason: Reason) -> usize {
        self.open().filter(|held| held.letter.reason == reason).count()
    }

    /// One line of the log; a line that cannot be read is counted.
    pub(super) fn take_line(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(entry) => self.take(entry),
            Err(error) => {
                tracing::warn!(%error, "an entry of the dead letters cannot be read");
                self.unreadable += 1;
            }
        }
    }

    /// What was settled stays so: an attempt that was under way meanwhile changes nothing.
    pub fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Filed(letter) => {
                // Filed again after a crash, before or after it was settled: it is the same.
                self.letters.entry(letter.id.clone()).or_insert_with(|| Held {
                    state: State::due(letter.next_try),
                    tries: 1,
                    last_why: letter.why.clone(),
                    letter: *letter,
                });
            }
            Entry::Tried { id, why, next_try, .. } => {
                if let Some(held) = self.open_mut(&id) {
                    (held.tries, held.last_why) = (held.tries + 1, why);
                    held.state = State::due(next_try);
                }
            }
            Entry::Published { id, at, by } => {
                if let Some(held) = self.open_mut(&id) {
                    held.state = State::Published { at, by };
                    held.tries += 1;
                }
            }
            Entry::Discarded { id, at, by, reason } => {
                if let Some(held) = self.open_mut(&id) {
                    held.state = State::Discarded { at, by, discard_reason: reason };
                }
            }
        }
    }

    fn open_mut(&mut self, id: &str) -> Option<&mut Held> {
        self.letters.get_mut(id).filter(|held| held.state.is_open())
    }
}
