//! How long the parts of a gift take inside its shard: until it is decided, to decide it, and until the log has it.
//!
//! The clock is read once per batch and call, never per command, and only wallet shards are measured.

use std::time::Instant;

use metrics::Histogram;

use crate::node::door::{Lane, Reply};
use crate::units::{ShardId, ShardKind};

pub(super) struct Stages {
    histograms: Option<Histograms>,
    /// When the oldest call that is not decided yet came through the door.
    oldest: Option<Instant>,
    /// When the records were appended of whose end was heard since.
    ended: Vec<Instant>,
}

struct Histograms {
    queue: Histogram,
    debit: Histogram,
    log: Histogram,
}

impl Stages {
    pub fn of(shard: ShardId) -> Stages {
        let histograms = match shard.kind {
            ShardKind::Wallet => Some(Histograms { queue: stage("queue"), debit: stage("debit"), log: stage("log") }),
            ShardKind::Control | ShardKind::Room => None,
        };
        Stages { histograms, oldest: None, ended: Vec::new() }
    }

    /// Calls are taken in the order in which they came. What other shards send is nobody's wait.
    pub fn took_in<O>(&mut self, reply: &Reply<O>) {
        if reply.lane == Lane::Caller {
            self.oldest.get_or_insert(reply.entered);
        }
    }

    pub fn is_durable(&mut self, appended: Instant) {
        self.ended.push(appended);
    }

    /// The shard took its time from `began` until `now` to take in what came and to decide it; if it `had_room` for one
    /// more record, whatever waited was decided.
    pub fn decided(&mut self, had_room: bool, began: Instant, now: Instant) {
        let oldest = if had_room { self.oldest.take() } else { None };
        let Some(histograms) = &self.histograms else { return self.ended.clear() };
        if let Some(entered) = oldest {
            histograms.queue.record(began.duration_since(entered));
            histograms.debit.record(now.duration_since(began));
        }
        for appended in self.ended.drain(..) {
            histograms.log.record(now.duration_since(appended));
        }
    }
}

fn stage(name: &'static str) -> Histogram {
    metrics::histogram!("largesse_gift_duration_seconds", "stage" => name)
}
