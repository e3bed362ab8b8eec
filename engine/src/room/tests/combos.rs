//! Streaks: one id from the first tap to the end, and one end.

use super::world::*;
use crate::room::command::{RoomCommand, RoomOutcome};
use crate::room::event::{ComboEnd, ComboEnded, FeedWhat};
use crate::room::gift::RoomGift;
use crate::room::person::Person;
use crate::room::rooms::RoomLimits;
use crate::room::settings::Room;
use crate::units::{RoomSeq, Seq, Time};

fn tap(world: &World, client: Option<u64>) -> RoomGift {
    RoomGift { combo: client, ..gift(ANN, ROSE, world.now) }
}

fn ended(world: &World) -> Vec<ComboEnded> {
    let ended = |item| if let FeedWhat::ComboEnded(ended) = item { Some(ended) } else { None };
    world.feed().into_iter().filter_map(|(_, item)| ended(item.what)).collect()
}

fn combos(world: &World) -> Vec<(u64, u64)> {
    world.gifts().iter().map(|gift| gift.combo.map_or((0, 0), |combo| (combo.id.get(), combo.count))).collect()
}

fn time(world: &mut World) -> Option<Time> {
    let told = world.run(RoomCommand::Time { room: ROOM });
    let RoomOutcome::Due(due) = told else { panic!("{told:?}") };
    due
}

#[test]
fn taps_add_up_until_nothing_is_added_for_too_long() {
    let mut world = World::new(RoomLimits::default());
    world.give(vec![tap(&world, None)]);
    world.wait(4_000);
    world.give(vec![RoomGift { count: 5, ..tap(&world, None) }]);
    assert_eq!(time(&mut world), Some(world.now.plus_millis(5_000)));
    assert!(ended(&world).is_empty());
    world.wait(5_000);
    assert_eq!(time(&mut world), None, "nothing is waited for any more");
    assert_eq!(combos(&world), [(2, 1), (2, 6)]);
    let all = ended(&world);
    assert_eq!((all.len(), all[0].id, all[0].count, all[0].value), (1, RoomSeq(2), 6, 6));
    assert_eq!(all[0].cause, ComboEnd::Time);
    world.give(vec![tap(&world, None)]);
    assert_eq!(combos(&world).last(), Some(&(5, 1)), "what comes after the end begins another one");
    assert_eq!(world.head().open_combos, 1);
}

#[test]
fn a_tap_that_comes_too_late_ends_the_streak_before_it_begins_another() {
    let mut world = World::new(RoomLimits::default());
    world.give(vec![tap(&world, Some(7))]);
    world.wait(5_000);
    world.give(vec![tap(&world, Some(7))]);
    assert_eq!(ended(&world).len(), 1, "though nobody had asked for the time");
    assert_eq!(combos(&world), [(2, 1), (4, 1)], "the client's number does not bring a closed one back");
}

#[test]
fn another_number_of_the_client_replaces_its_streak() {
    let mut world = World::new(RoomLimits::default());
    world.give(vec![tap(&world, Some(1)), tap(&world, Some(1)), tap(&world, Some(2))]);
    assert_eq!(combos(&world), [(2, 1), (2, 2), (5, 1)]);
    assert_eq!(ended(&world).iter().map(|combo| combo.cause).collect::<Vec<_>>(), [ComboEnd::Replaced]);
}

#[test]
fn different_receivers_are_different_streaks_and_single_gifts_are_none() {
    let mut world = World::new(RoomLimits::default());
    let to_other = RoomGift { receivers: [OTHER_HOST].into_iter().collect(), ..tap(&world, None) };
    world.give(vec![tap(&world, None), to_other, gift(ANN, CASTLE, world.now)]);
    assert_eq!(combos(&world), [(2, 1), (3, 1), (0, 0)]);
}

#[test]
fn the_end_of_a_live_ends_every_streak_once() {
    let mut world = World::new(RoomLimits::default());
    world.give(vec![tap(&world, None), gift(BOB, ROSE, world.now)]);
    world.follow(&Room { is_closed: true, version: Seq(1), ..Room::new(ROOM, vec![HOST]) });
    assert!(ended(&world).is_empty(), "in steps, since there may be many");
    while time(&mut world).is_some() {}
    let causes: Vec<_> = ended(&world).iter().map(|combo| combo.cause).collect();
    assert_eq!(causes, [ComboEnd::LiveEnded, ComboEnd::LiveEnded]);
    world.give(vec![tap(&world, None)]);
    assert_eq!(combos(&world).last(), Some(&(0, 0)), "and none begins in a closed room");
    assert_eq!(world.head().open_combos, 0);
}

#[test]
fn no_streak_goes_on_into_the_next_live() {
    let mut world = World::new(RoomLimits::default());
    let room = |version| Room { version: Seq(version), ..Room::new(ROOM, vec![HOST]) };
    world.give(vec![tap(&world, None)]);
    world.follow(&Room { is_closed: true, ..room(1) });
    world.follow(&room(2));
    world.give(vec![tap(&world, None)]);
    let all = ended(&world);
    assert_eq!((all.len(), all[0].id, all[0].cause), (1, RoomSeq(2), ComboEnd::LiveEnded));
    assert_eq!(combos(&world), [(2, 1), (6, 1)], "nobody had asked for the time in between");
}

#[test]
fn whoever_leaves_ends_their_own_streaks_only() {
    let mut world = World::new(RoomLimits::default());
    world.give(vec![tap(&world, None), gift(BOB, ROSE, world.now)]);
    world.run(RoomCommand::Leave { room: ROOM, user: ANN });
    let all = ended(&world);
    assert_eq!((all.len(), all[0].sender, all[0].cause), (1, Person::Named(ANN), ComboEnd::Left));
    assert_eq!(world.head().open_combos, 1);
}
