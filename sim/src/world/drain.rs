//! Ends in order: a node that stops, and a shard that is handed to another node. Both admit nothing more, finish what
//! they admitted, and bring it into the store.

use super::*;
use crate::node::Drained;

impl World {
    /// What a node does when it is asked to stop.
    pub(super) fn stop_in_order(&mut self, node: usize) {
        if !self.nodes[node].is_awake(self.now) || self.nodes[node].is_closing {
            return;
        }
        self.nodes[node].is_closing = true;
        for shard in self.all_shards() {
            let seat = &mut self.nodes[node].seats[place_of(shard)];
            // One that recovers drains as soon as it serves.
            seat.is_draining = seat.owner.serving().is_some();
            self.check_drained(node, shard);
        }
        self.check_closed(node);
    }

    /// Another node is to own the shard, when this one has finished.
    pub(super) fn hand_over(&mut self, node: usize, shard: ShardId) {
        let next = self.rng.index(self.nodes.len());
        let is_awake = self.nodes[node].is_awake(self.now);
        let seat = &mut self.nodes[node].seats[place_of(shard)];
        if is_awake && next != node && !seat.is_draining && seat.owner.serving().is_some() {
            (seat.is_draining, seat.next_node) = (true, Some(next));
            self.check_drained(node, shard);
        }
    }

    /// Ends an owner that drains once nothing is under way in it.
    pub(super) fn check_drained(&mut self, node: usize, shard: ShardId) {
        let seat = &mut self.nodes[node].seats[place_of(shard)];
        if !seat.is_draining {
            return;
        }
        let Some(serving) = seat.owner.serving().filter(|serving| serving.shard.is_idle()) else { return };
        let (number, epoch, next) = (serving.number, serving.shard.epoch(), serving.shard.last().next());
        let is_of_it = |batch: &&Batch| match batch {
            Batch::Clients { owner, .. } | Batch::Admin { owner, .. } | Batch::Room { owner, .. } => *owner == number,
            Batch::Relay { .. } => false,
        };
        let left = self.batches.values().filter(is_of_it).count();
        assert_eq!(left, 0, "n{node} {shard} has drained, and {left} batches that it admitted have no answer");
        (seat.owner, seat.is_draining) = (Owner::None, false);
        seat.drained = Some(Drained { epoch, next });
        self.trace.note(self.now, || format!("n{node} {shard} has drained: owner {number} ends before {next}"));
        self.pass_on(node, shard);
        self.check_closed(node);
    }

    /// The owner is gone, drained or not: whoever was to get the shard after it claims it now.
    pub(super) fn pass_on(&mut self, node: usize, shard: ShardId) {
        let place = place_of(shard);
        if let Some(next) = self.nodes[node].seats[place].next_node.take() {
            self.nodes[node].seats[place].wants = false;
            self.nodes[next].seats[place].wants = true;
            self.seek(next, shard, 1);
        }
    }

    /// Without owners the flushers of a node that stops finish; without flushers it has stopped.
    pub(super) fn check_closed(&mut self, node: usize) {
        let has_owner = |seat: &crate::node::Seat| seat.owner.number().is_some();
        if !self.nodes[node].is_closing || self.nodes[node].seats.iter().any(has_owner) {
            return;
        }
        self.nodes[node].seats.iter().for_each(|seat| seat.is_ending.store(true, Ordering::Release));
        if self.nodes[node].seats.iter().any(|seat| seat.flusher.is_some() || seat.is_flusher_due) {
            return;
        }
        self.trace.note(self.now, || format!("n{node} has stopped"));
        self.nodes[node].is_up = false;
        let (accumulators, view) = (self.swarm.accumulators, Arc::clone(&self.view));
        self.nodes[node].forget(accumulators, view);
        let wait = self.rng.between(1_000, 1_000_000);
        self.schedule(wait, Event::Restart(node));
    }

    /// A flusher says that nothing is left to move, after its owner had drained.
    pub(super) fn flushed_all(&mut self, node: usize, shard: ShardId) {
        self.trace.note(self.now, || format!("n{node} flusher of {shard} is done"));
        if let Some(Drained { epoch, next }) = self.nodes[node].seats[place_of(shard)].drained {
            let (now, is_next) = match shard.kind {
                ShardKind::Control => (self.truth.control.epoch, self.truth.control.next()),
                ShardKind::Wallet => (self.truth.shard(shard).epoch(), self.truth.shard(shard).next),
                ShardKind::Room => (self.truth.rooms.shard(shard).epoch, self.truth.rooms.shard(shard).next),
            };
            assert!(is_next >= next, "n{node} {shard} had drained to before {next}, the log ends before {is_next}");
            let stored = self.disk.checkpoint(shard).map_or(Seq::FIRST, |stored| stored.fold.next);
            let is_stored = stored >= next;
            assert!(is_stored, "n{node} {shard} drained to before {next} in {epoch} (now {now:?}), stored is {stored}");
        }
        self.check_closed(node);
    }
}
