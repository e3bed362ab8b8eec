//! Commands that wait: for the store, for an earlier command of the same lane, or for a credit to arrive.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::machine::Machine;

/// Where a command's outcome belongs: its batch and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub batch: u64,
    pub place: usize,
}

/// A command apart from its batch.
#[derive(Debug)]
pub struct Single<M: Machine> {
    pub command: M::Command,
    pub slot: Slot,
    pub lane: Option<u64>,
    /// What was asked of the store for it.
    pub asked: Vec<M::Need>,
}

#[derive(Debug)]
pub struct Parked<M: Machine> {
    next: u64,
    /// Waiting for the store, with the number of answers that are still to come.
    fetching: HashMap<u64, (Single<M>, usize)>,
    /// Who waits for what; a need stays in here until its answer comes, even if nobody waits any more.
    needs: HashMap<M::Need, Vec<u64>>,
    /// The first of each lane is being looked after; these wait behind it.
    lanes: HashMap<u64, VecDeque<Single<M>>>,
    queued: usize,
    /// Waiting for something that other commands bring about.
    pub late: Vec<Single<M>>,
}

impl<M: Machine> Default for Parked<M> {
    fn default() -> Self {
        Parked {
            next: 0,
            fetching: HashMap::new(),
            needs: HashMap::new(),
            lanes: HashMap::new(),
            queued: 0,
            late: Vec::new(),
        }
    }
}

impl<M: Machine> Parked<M> {
    pub fn len(&self) -> usize {
        self.fetching.len() + self.queued + self.late.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_lane_busy(&self, lane: Option<u64>) -> bool {
        !self.lanes.is_empty() && lane.is_some_and(|lane| self.lanes.contains_key(&lane))
    }

    /// Behind the first of its lane.
    pub fn queue(&mut self, single: Single<M>) {
        let lane = single.lane.expect("only a command with a lane can find it busy");
        self.lanes.entry(lane).or_default().push_back(single);
        self.queued += 1;
    }

    /// Waits for the needs; returns those that nobody had asked for.
    pub fn fetch(&mut self, single: Single<M>, missing: &[M::Need]) -> Vec<M::Need> {
        let id = self.next;
        self.next += 1;
        if let Some(lane) = single.lane {
            self.lanes.entry(lane).or_default();
        }
        let mut fresh = Vec::new();
        for need in missing {
            let waiting = self.needs.entry(need.clone()).or_insert_with(|| {
                fresh.push(need.clone());
                Vec::new()
            });
            waiting.push(id);
        }
        self.fetching.insert(id, (single, missing.len()));
        fresh
    }

    /// An answer came; returns those who have all of theirs.
    pub fn answered(&mut self, need: &M::Need) -> Vec<Single<M>> {
        let mut complete = Vec::new();
        for id in self.needs.remove(need).unwrap_or_default() {
            let Some((_, open)) = self.fetching.get_mut(&id) else { continue };
            *open -= 1;
            if *open == 0
                && let Some((single, _)) = self.fetching.remove(&id)
            {
                complete.push(single);
            }
        }
        complete
    }

    /// No answer will come; returns all who waited for it.
    pub fn failed(&mut self, need: &M::Need) -> Vec<Single<M>> {
        // Whatever else they wait for finds them gone.
        let waiting = self.needs.remove(need).unwrap_or_default();
        waiting.iter().filter_map(|id| self.fetching.remove(id)).map(|(single, _)| single).collect()
    }

    /// The first of a lane is done; returns the next.
    pub fn done(&mut self, lane: Option<u64>) -> Option<Single<M>> {
        let lane = lane?;
        let waiting = self.lanes.get_mut(&lane)?;
        match waiting.pop_front() {
            Some(next) => {
                self.queued -= 1;
                Some(next)
            }
            None => {
                self.lanes.remove(&lane);
                None
            }
        }
    }
}
