//! What goes wrong: nodes that crash, sleep or stop, owners that are killed, clocks that jump; and the end of all that.

use super::*;

impl World {
    pub(super) fn restart(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            self.nodes[node].is_up = true;
            self.trace.note(self.now, || format!("n{node} starts"));
            self.begin_life(node);
        }
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.trace.note(self.now, || format!("n{node} crashes"));
        let life = self.life(node);
        self.nodes[node].is_up = false;
        self.nodes[node].asleep_until = 0;
        let accumulators = self.swarm.accumulators;
        let view = Arc::clone(&self.view);
        self.nodes[node].forget(accumulators, view);
        // What had left the node may still arrive; what had not is gone.
        let on_the_way: Vec<u64> = self
            .appends
            .iter()
            .filter(|(_, append)| append.life == life && append.landed.is_none())
            .map(|(number, _)| *number)
            .collect();
        for number in on_the_way {
            if self.rng.chance(500) {
                self.appends.remove(&number);
            }
        }
        let lost: Vec<CallId> =
            self.requests.iter().filter(|(_, (of, _))| *of == life).map(|(call, _)| *call).collect();
        for call in lost {
            if self.rng.chance(500) {
                self.requests.remove(&call);
            }
        }
    }

    pub(super) fn chaos(&mut self) {
        if self.is_healed {
            return;
        }
        let every = self.swarm.chaos_every_micros;
        let wait = self.rng.between(1, every * 2);
        self.schedule(wait, Event::Chaos);
        let sum: u64 = self.swarm.chaos.iter().map(|(_, weight)| weight).sum();
        if sum == 0 {
            return;
        }
        let mut place = self.rng.between(0, sum - 1);
        let kind = self.swarm.chaos.iter().find(|(_, weight)| {
            let is_it = place < *weight;
            place = place.wrapping_sub(*weight);
            is_it
        });
        let kind = kind.expect("the place lies within the sum").0;
        let node = self.rng.index(self.nodes.len());
        let shards: Vec<ShardId> = self.all_shards().collect();
        let shard = *self.rng.pick(&shards);
        self.trace.note(self.now, || format!("chaos: {kind:?} n{node} {shard}"));
        self.wreak(kind, node, shard);
    }

    fn wreak(&mut self, kind: Chaos, node: usize, shard: ShardId) {
        let place = place_of(shard);
        match kind {
            Chaos::Crash => {
                if self.nodes[node].is_up {
                    self.crash(node);
                    let wait = self.rng.between(1_000, 2_000_000);
                    self.schedule(wait, Event::Restart(node));
                }
            }
            Chaos::Sleep => {
                let long = self.rng.between(1_000, 5_000_000);
                self.nodes[node].asleep_until = self.now + long;
                self.schedule(long + 1, Event::Poll);
            }
            Chaos::Reassign | Chaos::SecondOwner => {
                if kind == Chaos::Reassign {
                    // The old owner is not told: it finds out by itself.
                    self.nodes.iter_mut().for_each(|other| other.seats[place].wants = false);
                }
                self.nodes[node].seats[place].wants = true;
                self.seek(node, shard, 1);
            }
            Chaos::KillOwner => {
                if self.nodes[node].is_awake(self.now) && self.nodes[node].seats[place].owner.number().is_some() {
                    self.end_owner(node, shard, "killed");
                }
            }
            Chaos::KillFlusher => {
                if self.nodes[node].seats[place].flusher.take().is_some() {
                    self.seek_flusher(node, shard, PAUSE_FIRST);
                }
            }
            Chaos::Skew => {
                let skew = *self.rng.pick(&[-70_000, -2_000, -100, 0, 100, 2_000, 70_000]);
                self.nodes[node].skew = skew;
                self.skew_most = self.skew_most.max(skew);
            }
            Chaos::Leap => self.leap += *self.rng.pick(&[1_000, 20_000, 61_000, 90_000]),
            Chaos::Stop => self.stop_in_order(node),
            Chaos::HandOver => self.hand_over(node, shard),
            Chaos::LogOutage => self.log_down_until = self.now + self.rng.between(1_000, 500_000),
            Chaos::StoreOutage => self.store_down_until = self.now + self.rng.between(1_000, 2_000_000),
        }
    }

    /// From now on nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.trace.note(self.now, || "everything heals".into());
        self.is_healed = true;
        (self.log_down_until, self.store_down_until) = (0, 0);
        // Clocks are right again, and past what the wrong ones showed.
        self.leap += self.skew_most.unsigned_abs() + 1;
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_closing {
                self.crash(node);
            }
            self.nodes[node].skew = 0;
            self.nodes[node].asleep_until = self.nodes[node].asleep_until.min(self.now);
            self.restart(node);
        }
        for shard in self.all_shards() {
            let place = place_of(shard);
            let mut wanting: Vec<usize> = Vec::new();
            for (node, of) in self.nodes.iter().enumerate() {
                if of.seats[place].wants {
                    wanting.push(node);
                }
            }
            // One of those who want it keeps it.
            let keeper = *self.rng.pick(&wanting);
            for (node, of) in self.nodes.iter_mut().enumerate() {
                of.seats[place].wants = node == keeper;
                if node != keeper {
                    // By now everybody agrees on who owns what.
                    of.seats[place].owner = Owner::None;
                }
            }
            self.seek(keeper, shard, 1);
        }
        self.poll_later();
        self.poll_all();
    }
}
