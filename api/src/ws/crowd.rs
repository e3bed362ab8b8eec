//! How many watch which room in gateways, as each of them tells it every few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use largesse_engine::units::RoomId;

/// How often it is told and asked how many watch.
pub const TOLD_EVERY: Duration = Duration::from_secs(2);
/// Who has not told anything three times counts no more, and the moment in which the third may come is over.
const FORGET_AFTER: Duration = TOLD_EVERY.saturating_mul(3).saturating_add(Duration::from_millis(500));
/// Rooms that are told of at once: as many as a ledger has.
pub const ROOMS_MAX: usize = 10_000;
/// Gateways that are counted.
const GATEWAYS_MAX: usize = 256;
/// Rooms of all gateways together. A room in three gateways counts three times.
const ENTRIES_MAX: usize = 200_000;

/// What a gateway calls itself, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatewayName(pub u64);

/// Who has more than can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    #[error("viewers of {GATEWAYS_MAX} gateways are counted, and of no more")]
    Gateways,
    #[error("viewers in {ENTRIES_MAX} rooms of all gateways are counted, and in no more")]
    Rooms,
}

#[derive(Debug, Default)]
pub struct Crowd {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    gateways: HashMap<GatewayName, Gateway>,
    /// Of all gateways. A room that nobody tells of is not here.
    totals: HashMap<RoomId, u64>,
    entries: usize,
}

#[derive(Debug)]
struct Gateway {
    at: Instant,
    rooms: HashMap<RoomId, u32>,
}

impl Crowd {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a gateway has by now, instead of what it had.
    pub fn tell(&self, name: GatewayName, rooms: &[(RoomId, u32)], now: Instant) -> Result<(), TooMany> {
        let mut told = self.told();
        told.forget_silent(now);
        told.remove(name);
        let rooms: HashMap<RoomId, u32> = rooms.iter().copied().filter(|(_, viewers)| *viewers > 0).collect();
        if rooms.is_empty() {
            return Ok(());
        }
        if told.gateways.len() >= GATEWAYS_MAX {
            return Err(TooMany::Gateways);
        }
        if told.entries + rooms.len() > ENTRIES_MAX {
            return Err(TooMany::Rooms);
        }
        told.entries += rooms.len();
        for (room, viewers) in &rooms {
            *told.totals.entry(*room).or_default() += u64::from(*viewers);
        }
        told.gateways.insert(name, Gateway { at: now, rooms });
        Ok(())
    }

    /// How many watch each of these rooms in all gateways but this one.
    pub fn elsewhere(&self, but: Option<GatewayName>, rooms: impl Iterator<Item = RoomId>, now: Instant) -> Vec<u64> {
        let mut told = self.told();
        told.forget_silent(now);
        let own = but.and_then(|name| told.gateways.get(&name));
        let own = |room: &RoomId| own.and_then(|gateway| gateway.rooms.get(room)).copied().unwrap_or(0);
        rooms.map(|room| told.totals.get(&room).copied().unwrap_or(0) - u64::from(own(&room))).collect()
    }
}

impl Told {
    fn forget_silent(&mut self, now: Instant) {
        let is_silent = |gateway: &Gateway| now.saturating_duration_since(gateway.at) > FORGET_AFTER;
        let silent: Vec<_> =
            self.gateways.iter().filter(|(_, gateway)| is_silent(gateway)).map(|(name, _)| *name).collect();
        silent.into_iter().for_each(|name| self.remove(name));
    }

    fn remove(&mut self, name: GatewayName) {
        let Some(gateway) = self.gateways.remove(&name) else { return };
        self.entries -= gateway.rooms.len();
        for (room, viewers) in gateway.rooms {
            let total = self.totals.get_mut(&room).expect("it was added with what the gateway told");
            *total -= u64::from(viewers);
            if *total == 0 {
                self.totals.remove(&room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: GatewayName = GatewayName(1);
    const OTHER: GatewayName = GatewayName(2);

    fn elsewhere(crowd: &Crowd, but: Option<GatewayName>, now: Instant) -> Vec<u64> {
        crowd.elsewhere(but, [RoomId(1), RoomId(2)].into_iter(), now)
    }

    #[test]
    fn what_each_tells_last_counts_until_it_is_silent_for_too_long() {
        let (crowd, start) = (Crowd::default(), Instant::now());
        crowd.tell(ONE, &[(RoomId(1), 3), (RoomId(2), 5)], start).unwrap();
        crowd.tell(OTHER, &[(RoomId(1), 10)], start).unwrap();
        assert_eq!(elsewhere(&crowd, None, start), [13, 5]);
        assert_eq!(elsewhere(&crowd, Some(ONE), start), [10, 0]);
        let later = start + TOLD_EVERY;
        crowd.tell(OTHER, &[(RoomId(1), 4), (RoomId(2), 1)], later).unwrap();
        assert_eq!(elsewhere(&crowd, None, later), [7, 6]);
        assert_eq!(elsewhere(&crowd, None, start + 3 * TOLD_EVERY), [7, 6], "the third may be on its way");
        assert_eq!(elsewhere(&crowd, None, start + 4 * TOLD_EVERY), [4, 1], "one of them is silent");
        crowd.tell(OTHER, &[(RoomId(1), 0)], later).unwrap();
        assert_eq!(elsewhere(&crowd, None, later), [0, 0]);
        let told = crowd.told();
        assert!(told.totals.is_empty() && told.gateways.is_empty() && told.entries == 0, "{told:?}");
    }

    #[test]
    fn a_room_that_is_told_of_twice_counts_once() {
        let (crowd, now) = (Crowd::default(), Instant::now());
        crowd.tell(ONE, &[(RoomId(1), 3), (RoomId(1), 4)], now).unwrap();
        assert_eq!(elsewhere(&crowd, None, now), [4, 0]);
        crowd.tell(ONE, &[], now).unwrap();
        assert_eq!(crowd.told().entries, 0);
    }

    #[test]
    fn there_are_only_so_many() {
        let (crowd, now) = (Crowd::default(), Instant::now());
        let rooms: Vec<_> = (1..=10_000).map(|room| (RoomId(room), 1)).collect();
        let all = ENTRIES_MAX as u64 / 10_000;
        (0..all).for_each(|name| crowd.tell(GatewayName(name), &rooms, now).unwrap());
        assert_eq!(crowd.tell(GatewayName(all), &rooms[..1], now), Err(TooMany::Rooms));
        crowd.tell(GatewayName(0), &rooms, now).expect("it has its place already");
        (0..all).for_each(|name| crowd.tell(GatewayName(name), &rooms[..1], now).unwrap());
        let many = GATEWAYS_MAX as u64;
        (all..many).for_each(|name| crowd.tell(GatewayName(name), &rooms[..1], now).unwrap());
        assert_eq!(crowd.tell(GatewayName(many), &rooms[..1], now), Err(TooMany::Gateways));
        assert_eq!(crowd.elsewhere(None, [RoomId(1)].into_iter(), now), [many]);
    }
}
