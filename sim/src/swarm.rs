//! What kind of world a seed draws: its size, its limits, and which faults are how frequent in it.
//!
//! A fault that is always there hides what only happens without it, so each is drawn to be absent, rare or frequent.

use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::flush::FlushLimits;
use largesse_engine::log::Fencing;
use largesse_engine::room::board::BusinessZone;
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::shard::ShardLimits;
use largesse_engine::units::RoomId;
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;

use crate::rng::Rng;

/// Minutes east of UTC. A world begins on a Tuesday at 22:13:20 UTC: with the second a day ends 40 seconds later, with the
/// third a week, as if that place were two days behind.
const ZONES: [i32; 3] = [480, 106, 106 - 2 * 1_440];

#[derive(Clone, Debug)]
pub struct Swarm {
    pub fencing: Fencing,
    pub shards: u16,
    pub nodes: usize,
    pub users: u64,
    /// How many different things clients want.
    pub operations: usize,
    pub window: WindowLimits,
    pub wallets_max: usize,
    pub history_millis: u64,
    pub shard: ShardLimits,
    pub accumulators: AccumulatorLimits,
    pub flush: FlushLimits,
    pub flush_every_micros: u64,
    /// Flushers run on all nodes, not only beside owners.
    pub flush_everywhere: bool,
    pub patience_millis: u64,
    /// A process never sees its clock go back, as with the steady clock that it runs on; otherwise shards see every jump.
    pub has_steady_clocks: bool,
    /// How often somebody changes the catalog.
    pub admin_every_micros: u64,
    /// In a thousand things that clients do: pages of history.
    pub history_reads: u64,
    pub rooms: RoomLimits,
    /// How many rooms there are.
    pub rooms_max: u64,
    /// In a thousand changes by somebody: those of a room.
    pub room_changes: u64,
    /// Everybody begins with enough for many gifts.
    pub are_rich: bool,
    /// In a thousand things that clients do: some taps of one gift.
    pub bursts: u64,
    /// Longest usual latencies, in microseconds.
    pub log_micros: u64,
    pub store_micros: u64,
    pub net_micros: u64,
    pub faults: Faults,
    pub chaos: Vec<(Chaos, u64)>,
    pub chaos_every_micros: u64,
}

/// In a thousand calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub append_lost: u64,
    pub append_lost_unknown: u64,
    pub append_landed_unknown: u64,
    pub append_landed_failed: u64,
    pub append_late: u64,
    pub append_copied: u64,
    pub claim_lost: u64,
    pub claim_late: u64,
    pub claim_copied: u64,
    pub log_read_failed: u64,
    pub store_failed: u64,
    pub store_unanswered: u64,
    pub store_late: u64,
    pub store_torn: u64,
    pub store_slow: u64,
    pub net_lost: u64,
    pub net_repeated: u64,
    pub net_slow: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaos {
    Crash,
    Sleep,
    Reassign,
    SecondOwner,
    KillOwner,
    KillFlusher,
    Skew,
    Leap,
    LogOutage,
    StoreOutage,
    /// A node stops in order.
    Stop,
    /// A shard goes to another node in order.
    HandOver,
}

impl Swarm {
    pub fn draw(rng: &mut Rng) -> Swarm {
        let fencing = if rng.chance(300) { Fencing::ByLog } else { Fencing::ByPosition };
        let nodes = if fencing == Fencing::ByLog { 1 } else { rng.between(1, 3) };
        let mut rate = |most: u64| match rng.between(0, 2) {
            0 => 0,
            1 => most / 8,
            _ => most,
        };
        let by_position = |rate: u64| if fencing == Fencing::ByPosition { rate } else { 0 };
        let faults = Faults {
            append_lost: rate(30),
            append_lost_unknown: rate(30),
            append_landed_unknown: rate(60),
            append_landed_failed: rate(20),
            append_late: rate(40),
            append_copied: by_position(rate(60)),
            claim_lost: rate(100),
            claim_late: by_position(rate(100)),
            claim_copied: by_position(rate(60)),
            log_read_failed: rate(40),
            store_failed: rate(100),
            store_unanswered: rate(60),
            store_late: rate(60),
            store_torn: rate(60),
            store_slow: rate(100),
            net_lost: rate(100),
            net_repeated: rate(150),
            net_slow: rate(100),
        };
        let mut weight = |kind: Chaos| (kind, rng.between(0, 2) * rng.between(0, 3));
        let mut chaos: Vec<_> = [
            Chaos::Crash,
            Chaos::KillOwner,
            Chaos::KillFlusher,
            Chaos::Skew,
            Chaos::Leap,
            Chaos::LogOutage,
            Chaos::StoreOutage,
            Chaos::Stop,
        ]
        .map(&mut weight)
        .into();
        if fencing == Fencing::ByPosition {
            chaos.extend([Chaos::Sleep, Chaos::Reassign, Chaos::SecondOwner, Chaos::HandOver].map(&mut weight));
        }
        Swarm {
            fencing,
            shards: u16::try_from(rng.between(1, 4)).expect("it is small"),
            nodes: usize::try_from(nodes).expect("it is small"),
            users: rng.between(3, 10),
            operations: rng.index(100) + 30,
            window: WindowLimits {
                bytes_max: 1 << rng.between(10, 14),
                age_millis: *rng.pick(&[1, 100, 3_000, 100_000]),
            },
            wallets_max: rng.index(8) + 1,
            history_millis: *rng.pick(&[150_000, 600_000, 1 << 40]),
            shard: ShardLimits {
                records_in_flight: rng.index(4) + 1,
                record_bytes: *rng.pick(&[1, 300, 2_000, 100_000]),
                parked: *rng.pick(&[2, 20, 1_000]),
            },
            accumulators: AccumulatorLimits { credits_max: rng.index(8) + 1, age_millis: rng.between(0, 20) },
            flush: FlushLimits { bytes_max: *rng.pick(&[1, 500, 10_000]), events_max: *rng.pick(&[1, 5, 1_000]) },
            flush_every_micros: *rng.pick(&[500, 5_000, 50_000, 1_000_000]),
            flush_everywhere: rng.chance(300),
            patience_millis: *rng.pick(&[50, 500, 2_000]),
            has_steady_clocks: rng.chance(500),
            admin_every_micros: *rng.pick(&[20_000, 200_000, 2_000_000]),
            history_reads: *rng.pick(&[0, 20, 150]),
            rooms: RoomLimits {
                rooms_max: rng.index(4) + 1,
                combo_millis: *rng.pick(&[50, 300, 2_000]),
                zone: BusinessZone { minutes_east: *rng.pick(&ZONES) },
            },
            rooms_max: rng.between(1, 5),
            room_changes: *rng.pick(&[0, 200, 700]),
            are_rich: rng.chance(600),
            bursts: *rng.pick(&[0, 100, 400]),
            log_micros: *rng.pick(&[200, 3_000, 30_000]),
            store_micros: *rng.pick(&[200, 3_000, 50_000]),
            net_micros: *rng.pick(&[200, 3_000, 30_000]),
            faults,
            chaos: chaos.into_iter().filter(|(_, weight)| *weight > 0).collect(),
            chaos_every_micros: *rng.pick(&[30_000, 200_000, 1_000_000]),
        }
    }

    pub fn all_rooms(&self) -> impl Iterator<Item = RoomId> + use<> {
        (1..=self.rooms_max).map(RoomId)
    }

    pub fn wallet_limits(&self) -> WalletLimits {
        WalletLimits {
            window: self.window,
            wallets_max: self.wallets_max,
            history_millis: self.history_millis,
            hash_seed: 7,
        }
    }
}
