//! The same room from its log, from its rows, and from both: byte for byte what its owner had in memory.

use super::world::*;
use crate::codec;
use crate::machine::Machine;
use crate::room::board::Side;
use crate::room::event::{FeedItem, Period};
use crate::room::gift::RoomGift;
use crate::room::rooms::{RoomLimits, RoomNeed, Rooms};
use crate::room::settings::Room;
use crate::units::{Seq, Time, UserId};

/// Everything that a room is, in an order of its own.
fn shown(machine: &Rooms) -> String {
    let room = machine.state(ROOM).expect("it is in memory");
    let mut text = format!("{:?}\n", room.head);
    let mut combos: Vec<_> = room.combos.in_order().map(|combo| format!("{combo:?}")).collect();
    combos.sort_unstable();
    text += &format!("{combos:?} due {:?}\n", room.due());
    for period in Period::ALL {
        for side in [Side::Senders, Side::Hosts] {
            text += &format!("{period:?} {:?}\n", room.boards.board(period).side(side).top(COIN, 100));
        }
    }
    text
}

/// Three days of taps, castles, a closed and a reopened room.
fn busy() -> World {
    let mut world = World::new(RoomLimits::default());
    for round in 0..60u64 {
        let now = world.now;
        let sender = |number: u64| UserId(1 + (round + number) % 7);
        world.give((0..4).map(|number| gift(sender(number), if number == 3 { CASTLE } else { ROSE }, now)).collect());
        let late = RoomGift { combo: Some(round / 3), ..gift(ANN, ROSE, Time(now.get().saturating_sub(3_000))) };
        world.give(vec![late, anonymous_gift(sender(0), ROSE, now), anonymous_gift(sender(3), CASTLE, now)]);
        world.wait(if round % 20 == 19 { 86_400_000 } else { 2_100 });
        if round % 5 == 0 {
            world.run(crate::room::command::RoomCommand::Time { room: ROOM });
        }
        if round == 30 || round == 33 {
            world.follow(&Room { is_closed: round == 30, version: Seq(round), ..Room::new(ROOM, vec![HOST]) });
        }
    }
    world
}

#[test]
fn a_recovered_room_is_the_room_that_was() {
    let world = busy();
    let want = shown(&world.machine);
    let limits = RoomLimits::default();
    assert_eq!(shown(&world.recovered(None, &[], limits)), want, "from the log alone");
    for first in (1..world.log.len()).step_by(3) {
        let one = world.flush(None, 0, first);
        let all = world.flush(Some(&one), first, world.log.len());
        assert_eq!(shown(&world.recovered(Some(&one), &stored([&one]), limits)), want, "rows up to {first}, then log");
        // The flusher wrote rows beyond its checkpoint and died, or goes on while another owner recovers.
        let ahead = stored([&one, &all]);
        assert_eq!(shown(&world.recovered(Some(&one), &ahead, limits)), want, "rows ahead of the checkpoint");
        assert_eq!(shown(&world.recovered(Some(&all), &ahead, limits)), want, "rows alone");
        // And whoever begins at the older checkpoint writes rows again that have ended since.
        let again = world.flush(Some(&one), first, world.log.len());
        assert_eq!(stored([&one, &all, &again]).len(), ahead.len(), "repeated at {first}");
    }
}

#[test]
fn a_room_that_left_memory_comes_back_as_it_was() {
    let mut world = busy();
    let want = shown(&world.machine);
    let all = world.flush(None, 0, world.log.len());
    let last = world.machine.last();
    let limits = RoomLimits { rooms_max: 0, ..RoomLimits::default() };
    let mut machine = world.recovered(None, &[], limits);
    machine.flushed(Seq(last.get() - 1), world.now);
    assert!(machine.state(ROOM).is_some(), "its last event is not in the store");
    machine.flushed(last, world.now);
    assert!(machine.state(ROOM).is_none());
    let mut missing = Vec::new();
    machine.missing(&crate::room::command::RoomCommand::Read { room: ROOM }, &mut missing);
    assert_eq!(missing, [RoomNeed(ROOM)]);
    machine.asked(&missing[0]);
    machine.arrived(&missing[0], stored([&all])).unwrap();
    assert_eq!(shown(&machine), want);
    assert!(machine.arrived(&RoomNeed(ROOM), Vec::new()).is_ok());
    world.wait(1);
}

#[test]
fn rows_of_the_feed_are_the_feed() {
    let world = busy();
    let (one, rest) = (world.flush(None, 0, 40), world.flush(None, 40, world.log.len()));
    let mut items: Vec<(u64, FeedItem)> = Vec::new();
    for row in one.feed.iter().chain(&rest.feed) {
        let of_row: Vec<FeedItem> = codec::decode(&row.items).unwrap();
        assert_eq!(row.first.get() + of_row.len() as u64 - 1, row.last.get());
        items.extend((row.first.get()..).zip(of_row));
    }
    let want: Vec<_> = world.feed().into_iter().map(|(number, item)| (number.get(), item)).collect();
    assert_eq!(items, want);
    assert!(want.iter().map(|(number, _)| *number).eq(1..=want.len() as u64), "without a gap");
}

#[test]
fn rows_of_events_that_the_log_does_not_have_stop_the_shard() {
    let world = busy();
    let all = world.flush(None, 0, world.log.len());
    let mut machine = fresh(RoomLimits::default());
    let error = machine.arrived(&RoomNeed(ROOM), stored([&all])).unwrap_err();
    assert!(error.to_string().contains("lost records"), "{error}");
}
