//! The course of a world: things go wrong, then nothing does any more and everything must settle.

use largesse_engine::codec;
use largesse_engine::machine::Machine;
use largesse_engine::units::{Seq, ShardId};

use crate::node::place_of;
use crate::world::World;

/// How long everything may take to settle once nothing goes wrong any more, in microseconds.
const SETTLE_MICROS: u64 = 120_000_000;

impl World {
    pub fn run(&mut self) {
        let until = self.rng.between(500_000, 6_000_000);
        while self.step(until) {}
        self.heal();
        let limit = self.now + SETTLE_MICROS;
        let mut next_look = self.now;
        loop {
            assert!(self.step(limit), "it does not settle: {}", self.unsettled().unwrap_or_default());
            if self.now >= next_look {
                if self.unsettled().is_none() {
                    break;
                }
                next_look = self.now + 50_000;
            }
        }
        // A few ticks more, for what is done only now and then.
        let until = self.now + 300_000;
        while self.step(until) {}
        self.check_end();
    }

    /// What is not as it must be in the end.
    fn unsettled(&mut self) -> Option<String> {
        if let Some(operation) = self.operations.iter().find(|operation| operation.found.is_none()) {
            return Some(format!(
                "{} of user {} has no final answer (applied {:?}, refused {:?})",
                operation.id, operation.user, operation.applied, operation.refused
            ));
        }
        if !self.truth.has_arrived() {
            return Some("credits have not arrived".into());
        }
        for shard in self.shape.wallet_shards() {
            let next = self.truth.shard(shard).next;
            let Some(at) = self.disk.checkpoint(shard) else {
                if next > Seq::FIRST {
                    return Some(format!("{shard} has no checkpoint"));
                }
                continue;
            };
            if at.fold.next != next {
                return Some(format!("{shard} is stored before {}, its log ends before {next}", at.fold.next));
            }
            if at.relay_position != at.position {
                return Some(format!("{shard} would be handed on again from {} on", at.relay_position));
            }
        }
        if let Some(room) = self.unsettled_room() {
            return Some(room);
        }
        let (next, stored) = (self.truth.control.next(), self.disk.checkpoint(ShardId::CONTROL));
        if stored.is_none_or(|stored| stored.fold.next != next) {
            return Some(format!("the control shard is not stored before {next}"));
        }
        None
    }

    /// Every room follows its settings, waits for nothing, is stored, and was read to its end.
    fn unsettled_room(&self) -> Option<String> {
        for shard in self.shape.all_rooms() {
            let (next, stored) = (self.truth.rooms.shard(shard).next, self.disk.checkpoint(shard));
            let stored = stored.map_or(Seq::FIRST, |stored| stored.fold.next);
            if stored != next {
                return Some(format!("{shard} is stored before {stored}, its log ends before {next}"));
            }
        }
        for reader in &self.feeds {
            let room = reader.room;
            let Some(truth) = self.truth.rooms.room(room) else {
                return Some(format!("room {room} was never heard of"));
            };
            let set = self.truth.control.room(room).map_or(Seq::NONE, |settings| settings.version);
            if truth.head().followed.is_none_or(|followed| followed.version != set) {
                return Some(format!("room {room} does not follow what event {set} says"));
            }
            if truth.is_waiting() {
                return Some(format!("room {room} waits for a time: {:?}", truth.head()));
            }
            if reader.last.next() != truth.next() {
                return Some(format!(
                    "room {room} was read up to {}, it goes on to before {}",
                    reader.last,
                    truth.next()
                ));
            }
        }
        None
    }

    fn check_end(&mut self) {
        self.truth.check_conserved();
        for operation in &self.operations {
            let truth = self.truth.shard(self.shape.wallet_of(operation.user));
            let event = truth.receipts.get(&(operation.user, operation.id));
            let is_mine = event.is_some_and(|event| operation.is_same_event(&event.event));
            if operation.applied.is_some() {
                assert!(is_mine, "user {} was told that {} is applied", operation.user, operation.id);
            }
            let found = operation.found.expect("everything has settled");
            assert_eq!(found, event.is_some(), "whether {} of user {} is found", operation.id, operation.user);
        }
        for shard in self.shape.wallet_shards() {
            self.check_rows(shard);
            self.check_last_owner(shard);
        }
        self.check_rooms();
        self.check_all_history();
    }

    /// I7 counted, from end to end: what readers of the feeds added up is what the wallets' logs say was given there.
    fn check_rooms(&mut self) {
        let mut given = self.truth.given();
        for reader in &self.feeds {
            let due = given.remove(&reader.room).unwrap_or_default();
            assert_eq!(reader.sums, due, "I7 counted: what the feed of room {} adds up to", reader.room);
            let truth = self.truth.rooms.room(reader.room).expect("everything has settled");
            truth.check_rows(&self.disk.room(self.shape.room_of(reader.room), reader.room));
        }
        assert!(given.is_empty(), "I7 counted: something was given in rooms that there are not: {given:?}");
        for shard in self.shape.all_rooms() {
            let (epoch, place) = (self.truth.rooms.shard(shard).epoch, place_of(shard));
            for node in 0..self.nodes.len() {
                let now = self.clock(node);
                let Some(serving) = self.nodes[node].seats[place].owner.serving() else { continue };
                let Some(rooms) = serving.shard.rooms().filter(|rooms| Some(rooms.epoch()) == epoch) else { continue };
                self.truth.rooms.check_machine(shard, rooms.machine());
                // Readers bring rooms back; with the next tick those that nobody waits for leave.
                rooms.tick(now);
                let (resident, most) = (rooms.machine().resident(), self.swarm.rooms.rooms_max);
                assert!(resident <= most || rooms.waiting() > 0, "I8 bounded: {resident} rooms in {shard}");
            }
        }
    }

    /// The rows are what the log says.
    fn check_rows(&mut self, shard: ShardId) {
        use futures::FutureExt;
        use largesse_engine::store::Store;
        let truth = self.truth.shard(shard);
        let rows = self.disk.store.scan_balances(shard, None, usize::MAX).now_or_never();
        let rows = rows.expect("the store in memory does not wait").expect("it does not fail");
        for row in &rows {
            let held = truth.held_at(row.user, truth.last());
            assert_eq!(held.get(&row.asset), Some(&row.amount.get()), "row of user {} in {shard}", row.user);
        }
        let accounts: usize = truth.users().map(|user| truth.held_at(user, truth.last()).len()).sum();
        assert_eq!(rows.len(), accounts, "every account of {shard} has its row");
        for ((user, id), event) in &truth.receipts {
            let stored = self.disk.store.load_receipts(shard, vec![(*user, *id)]).now_or_never();
            let stored = stored.expect("the store in memory does not wait").expect("it does not fail");
            let stored = stored[0].as_ref().unwrap_or_else(|| panic!("{id} of user {user} is not in the store"));
            assert_eq!((stored.seq, &stored.event), (event.seq, &event.encoded), "receipt {id} of user {user}");
        }
    }

    /// I6 replay: the owner, and whoever folds the whole log from its start, have the same books.
    fn check_last_owner(&mut self, shard: ShardId) {
        let books = codec::encode(self.truth.shard(shard).books_now());
        let (wallets_max, place) = (self.swarm.wallets_max, place_of(shard));
        let last = self.truth.shard(shard).last();
        let epoch = self.truth.shard(shard).epoch();
        for node in &mut self.nodes {
            let Some(serving) = node.seats[place].owner.serving() else { continue };
            if Some(serving.shard.epoch()) != epoch {
                continue;
            }
            let Some(wallets) = serving.shard.wallets() else { continue };
            let machine = wallets.machine();
            assert_eq!(codec::encode(machine.books()), books, "I6 replay: books of {shard}");
            assert_eq!((machine.settled(), machine.outbox().waiting()), (last, 0), "{shard} has settled");
            assert!(machine.resident() <= wallets_max, "I8 bounded: {} wallets in {shard}", machine.resident());
            assert!(!machine.is_full(), "I8 bounded: the window of {shard}");
        }
    }
}
