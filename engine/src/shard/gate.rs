//! Answers that wait for the log. A refusal waits too: "not enough coins" may rest on a debit that a crash would undo.

use std::collections::VecDeque;

use crate::sabotage::{self, Rule};

/// Answers in the order of the records they rest on.
#[derive(Debug)]
pub struct Gate<R, O> {
    waiting: VecDeque<Waiting<R, O>>,
    /// Every record up to this number is durable and believed.
    open_to: u64,
}

#[derive(Debug)]
struct Waiting<R, O> {
    rests_on: u64,
    reply: R,
    outcomes: Vec<O>,
}

impl<R, O> Default for Gate<R, O> {
    fn default() -> Self {
        Gate { waiting: VecDeque::new(), open_to: 0 }
    }
}

impl<R, O> Gate<R, O> {
    pub fn push(&mut self, rests_on: u64, reply: R, outcomes: Vec<O>) {
        let last = self.waiting.back().map_or(self.open_to, |last| last.rests_on);
        // Something decided later cannot rest on less.
        self.waiting.push_back(Waiting { rests_on: rests_on.max(last), reply, outcomes });
    }

    pub fn open_to(&mut self, number: u64) {
        self.open_to = self.open_to.max(number);
    }

    /// The next answer that may be given.
    pub fn pop(&mut self) -> Option<(R, Vec<O>)> {
        let next = self
            .waiting
            .pop_front_if(|waiting| waiting.rests_on <= self.open_to || sabotage::is(Rule::AnswerAfterDurable))?;
        Some((next.reply, next.outcomes))
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_before_the_record_it_rests_on() {
        let mut gate = Gate::default();
        gate.push(0, "read of an idle shard", vec![()]);
        gate.push(2, "gift", vec![()]);
        gate.push(2, "refusal that rests on the gift", vec![()]);
        assert_eq!(gate.pop().map(|(who, _)| who), Some("read of an idle shard"));
        assert!(gate.pop().is_none());
        gate.open_to(1);
        assert!(gate.pop().is_none());
        gate.open_to(2);
        assert_eq!(gate.pop().map(|(who, _)| who), Some("gift"));
        assert_eq!(gate.pop().map(|(who, _)| who), Some("refusal that rests on the gift"));
    }
}
