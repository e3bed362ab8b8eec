//! Rooms that are set at run time: who hosts them, what is sold there, which plug-ins run, and whether they are open.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::machine::Impossible;
use crate::room::settings::{ROOMS_MAX, Room, RoomRefusal};
use crate::units::{RoomId, Seq};

/// Stored for years: a field cannot be added, only a new event.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoomSet {
    /// A [`Room`] as JSON, which may get new fields without a new variant.
    pub room: Vec<u8>,
    pub by: String,
    pub reason: String,
}

/// A room's settings, and the event that set them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoomInForce {
    pub room: Vec<u8>,
    pub seq: Seq,
}

/// All rooms that were set at run time.
pub type Rooms = Arc<BTreeMap<RoomId, Room>>;

/// Whether a room is set like this already, or may be.
pub(super) fn judge(rooms: &Rooms, room: &Room) -> Result<bool, RoomRefusal> {
    room.check()?;
    match rooms.get(&room.id) {
        Some(before) => Ok(Room { version: before.version, ..room.clone() } == *before),
        None if rooms.len() >= ROOMS_MAX => Err(RoomRefusal::TooMany),
        None => Ok(false),
    }
}

pub(super) fn encode(room: &Room) -> Vec<u8> {
    serde_json::to_vec(room).expect("settings are plain data")
}

fn decode(json: &[u8], seq: Seq) -> Result<Room, Impossible> {
    let room: Room =
        serde_json::from_slice(json).map_err(|error| Impossible(format!("the room of event {seq}: {error}")))?;
    Ok(Room { version: seq, ..room })
}

pub(super) fn set(rooms: &mut Rooms, set: &RoomSet, seq: Seq) -> Result<(), Impossible> {
    let room = decode(&set.room, seq)?;
    Arc::make_mut(rooms).insert(room.id, room);
    Ok(())
}

pub(super) fn in_force(rooms: &Rooms) -> Vec<RoomInForce> {
    rooms.values().map(|room| RoomInForce { room: encode(room), seq: room.version }).collect()
}

pub(super) fn restored(in_force: &[RoomInForce]) -> Result<Rooms, Impossible> {
    let rooms = in_force.iter().map(|stored| decode(&stored.room, stored.seq).map(|room| (room.id, room)));
    Ok(Arc::new(rooms.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UserId;

    #[test]
    fn the_same_again_is_in_force_already_and_another_is_not() {
        let mut rooms = Rooms::default();
        let room = Room::new(RoomId(7), vec![UserId(2)]);
        assert_eq!(judge(&rooms, &room), Ok(false));
        let event = RoomSet { room: encode(&room), by: "ops".into(), reason: String::new() };
        set(&mut rooms, &event, Seq(3)).unwrap();
        assert_eq!(judge(&rooms, &room), Ok(true));
        assert_eq!(judge(&rooms, &Room { is_closed: true, ..room.clone() }), Ok(false));
        assert_eq!(judge(&rooms, &Room::new(RoomId(7), vec![])), Err(RoomRefusal::Hosts));
        assert_eq!(restored(&in_force(&rooms)).unwrap(), rooms, "as a checkpoint keeps them, versions included");
    }
}
