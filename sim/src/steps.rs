//! What must hold after every step of an owner, whatever it was.

use largesse_engine::codec;
use largesse_engine::record::RECORD_BYTES_MAX;
use largesse_engine::relay::RelayPart;
use largesse_engine::units::ShardId;

use crate::node::place_of;
use crate::world::World;

/// Most commands that arrive at once here; a batch is not cut.
const BATCH_COMMANDS_MAX: usize = 8;
/// Credits under way to one shard are never sent away: as many as there are relays, and copies of what they sent.
const RELAYED_MAX: usize = 64;
/// What was under way when the window became full may still be remembered.
const WINDOW_SLACK: usize = 64 << 10;

impl World {
    pub(crate) fn check_owner(&mut self, node: usize, shard: ShardId) {
        let limits = self.swarm.shard;
        let Some(serving) = self.nodes[node].seats[place_of(shard)].owner.serving() else { return };
        let (in_flight, waiting) = (serving.shard.in_flight(), serving.shard.waiting());
        assert!(
            in_flight <= limits.records_in_flight + BATCH_COMMANDS_MAX,
            "I8 bounded: {in_flight} records under way"
        );
        assert!(waiting <= limits.parked + RELAYED_MAX, "I8 bounded: {waiting} commands wait in {shard}");
        let (epoch, recovered, compared) = (serving.shard.epoch(), serving.recovered, serving.compared);
        if let Some(wallets) = serving.shard.wallets() {
            let machine = wallets.machine();
            let bytes = machine.window().bytes();
            let bytes_max = self.swarm.window.bytes_max + WINDOW_SLACK;
            assert!(bytes <= bytes_max, "I8 bounded: the window of {shard} has {bytes} bytes");
            let (certain, last) = (machine.certain(), machine.last());
            self.truth.check_believed(shard, epoch, recovered, certain);
            if last == certain && last > compared {
                self.truth.check_books(shard, last, &codec::encode(machine.books()));
                serving.compared = last;
            }
        } else if let Some(rooms) = serving.shard.rooms() {
            let machine = rooms.machine();
            let (certain, last, resident) = (machine.certain(), machine.last(), machine.resident());
            self.truth.rooms.check_believed(shard, epoch, recovered, certain);
            // A room that was read again has the same last event as before.
            let is_new = last > compared || resident != serving.resident;
            if last == certain && is_new {
                self.truth.rooms.check_machine(shard, machine);
                (serving.compared, serving.resident) = (last, resident);
            }
        } else if let Some(control) = serving.shard.control()
            && control.in_flight() == 0
            && control.waiting() == 0
        {
            self.truth.control.check_state(control.last(), control.machine().catalog());
        }
    }

    pub(crate) fn check_record(&self, shard: ShardId, bytes: usize) {
        assert!(bytes <= RECORD_BYTES_MAX, "I8 bounded: a record of {shard} has {bytes} bytes");
    }

    /// More than one part goes only where they fit the limit together.
    pub(crate) fn check_parts(&self, parts: &[RelayPart]) {
        let weight: usize = parts.iter().map(RelayPart::weight).sum();
        let limit = self.swarm.accumulators.credits_max;
        assert!(parts.len() == 1 || weight <= limit, "I8 bounded: a batch of relays weighs {weight} credits");
    }
}
