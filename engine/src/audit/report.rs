//! What an audit says.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::units::{AssetId, Position, Seq, ShardId, Time};

/// From where to where the audit proves, and everything that it found to be wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub is_clean: bool,
    pub store: StoreAudit,
    pub shards: Vec<ShardReport>,
    /// Empty when some shard's sums before its first event are not known; see [`Start::Middle`].
    pub assets: Vec<AssetReport>,
    /// Ids that were checked to be there once.
    pub ids: u64,
    pub relays: RelayReport,
    /// How many problems there are. Only the first of them are listed.
    pub problems_found: u64,
    /// In the order in which they were found, which is about that of time.
    pub problems: Vec<Problem>,
}

/// Whether the store's rows were compared with the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreAudit {
    Compared {
        balances: u64,
        receipts: u64,
        checkpoints: u64,
    },
    /// Why not.
    NotCompared(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardReport {
    #[serde(serialize_with = "as_text")]
    pub shard: ShardId,
    pub start: Start,
    /// Where reading began, and where it ended.
    pub from: Position,
    pub to: Position,
    /// The first event that is proved, and the last one.
    pub first: Seq,
    pub last: Seq,
    pub time: Time,
    pub events: u64,
    pub records: u64,
    /// Records that do not count: leftovers of owners that were replaced.
    pub skipped: u64,
    /// Balances that are known.
    pub accounts: u64,
}

/// What the proof of a shard rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// On nothing: every event since the first was read.
    Beginning,
    /// The log before it was given up: on the balances and sums that the store has there.
    Checkpoint,
    /// The log before it was given up and no store could be asked: the first balance that is seen of each account is
    /// taken as it is, and the sums of the ledger are not known.
    Middle,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssetReport {
    pub asset: AssetId,
    /// As the latest catalog calls it.
    pub name: Option<String>,
    pub issued: u128,
    pub burned: u128,
    /// The sum of all balances.
    pub balances: u128,
    /// Debited on one shard and not yet credited on another.
    pub in_flight: u128,
}

/// What was compared between pairs of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelayReport {
    /// Ranges whose every credit was found at its destination.
    pub ranges: u64,
    /// Ranges that lie before what the log still has of their source. Their sums are proved by the running totals of
    /// the next range.
    pub before_log: u64,
    /// Credits that are in flight.
    pub in_flight: u64,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(serialize_with = "as_text")]
    pub shard: ShardId,
    pub seq: Option<Seq>,
    /// Of the record, in the shard's log.
    pub position: Option<Position>,
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shard.fmt(f)?;
        if let Some(seq) = self.seq {
            write!(f, " event {seq}")?;
        }
        if let Some(position) = self.position {
            write!(f, " at log position {position}")?;
        }
        write!(f, ": {}: expected {}, found {}", self.what, self.expected, self.found)
    }
}

fn as_text<S: Serializer>(shard: &ShardId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(shard)
}

/// Where in the books something was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub shard: ShardId,
    pub seq: Option<Seq>,
    pub position: Option<Position>,
}

impl Place {
    pub fn of(shard: ShardId) -> Place {
        Place { shard, seq: None, position: None }
    }

    pub fn at(shard: ShardId, seq: Seq, position: Position) -> Place {
        Place { shard, seq: Some(seq), position: Some(position) }
    }
}

/// Problems as they are found: all are counted, the first are kept.
#[derive(Debug)]
pub(super) struct Problems {
    pub list: Vec<Problem>,
    pub found: u64,
    listed_max: usize,
}

impl Problems {
    pub fn new(listed_max: usize) -> Problems {
        Problems { list: Vec::new(), found: 0, listed_max }
    }

    pub fn add(&mut self, at: Place, what: impl fmt::Display, expected: impl fmt::Display, found: impl fmt::Display) {
        self.found += 1;
        if self.list.len() < self.listed_max {
            self.list.push(Problem {
                shard: at.shard,
                seq: at.seq,
                position: at.position,
                what: what.to_string(),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
}
