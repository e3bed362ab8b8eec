//! Settings that are followed, and the plug-ins they switch on.

use super::world::*;
use crate::room::command::{RoomCommand, RoomOutcome};
use crate::room::event::FeedWhat;
use crate::room::gift::RoomGift;
use crate::room::person::Person;
use crate::room::plugin::PluginNews;
use crate::room::rooms::RoomLimits;
use crate::room::settings::{PluginSettings, Room, RoomRefusal};
use crate::units::{Amount, Seq};

fn news(world: &World) -> Vec<PluginNews> {
    let news = |item| if let FeedWhat::Plugin(news) = item { Some(news) } else { None };
    world.feed().into_iter().filter_map(|(_, item)| news(item.what)).collect()
}

fn room(version: u64) -> Room {
    Room { version: Seq(version), ..Room::new(ROOM, vec![HOST, OTHER_HOST]) }
}

fn coins(amount: u64) -> Amount {
    Amount::new(amount).unwrap()
}

#[test]
fn settings_are_followed_once_and_older_ones_not_at_all() {
    let mut world = World::new(RoomLimits::default());
    world.follow(&Room { is_closed: true, ..room(2) });
    let length = world.log.len();
    world.follow(&Room { is_closed: true, ..room(2) });
    world.follow(&room(1));
    assert_eq!((world.log.len(), world.head().is_open), (length, false));
    world.follow(&room(3));
    let head = world.head();
    assert_eq!((head.live, head.is_open, head.since), (2, true, world.now), "open again is another live");
    world.follow(&Room { hosts: vec![HOST], ..room(4) });
    assert_eq!(world.head().live, 2, "other settings of an open room are the same live");
}

#[test]
fn a_goal_fills_with_what_is_given_and_says_so_once() {
    let mut world = World::new(RoomLimits::default());
    let goal = PluginSettings::Goal { asset: COIN, target: coins(600) };
    world.follow(&Room { plugins: vec![goal], ..room(1) });
    world.give(vec![gift(ANN, CASTLE, world.now)]);
    assert_eq!(news(&world), []);
    world.give(vec![gift(BOB, CASTLE, world.now), gift(ANN, CASTLE, world.now)]);
    assert_eq!(news(&world), [PluginNews::GoalReached { asset: COIN, target: coins(600), by: Person::Named(BOB) }]);
}

#[test]
fn a_pk_counts_for_two_hosts_until_its_end() {
    let mut world = World::new(RoomLimits::default());
    let until = world.now.plus_millis(1_000);
    let hosts = [HOST, OTHER_HOST];
    let pk = PluginSettings::Pk { hosts, asset: COIN, until: Some(until) };
    world.follow(&Room { plugins: vec![pk], ..room(1) });
    let both = RoomGift { receivers: hosts.into_iter().collect(), ..gift(BOB, ROSE, world.now) };
    world.give(vec![gift(ANN, CASTLE, world.now), both]);
    world.now = until;
    world.give(vec![gift(ANN, CASTLE, world.now)]);
    assert_eq!(world.run(RoomCommand::Time { room: ROOM }), RoomOutcome::Due(Some(world.now.plus_millis(4_000))));
    assert_eq!(news(&world), [PluginNews::PkEnded { hosts, asset: COIN, scores: [501, 1] }]);
}

#[test]
fn what_is_wrong_with_settings_is_named() {
    let check = |room: Room| room.check().unwrap_err();
    assert_eq!(check(Room::new(ROOM, vec![])), RoomRefusal::Hosts);
    assert_eq!(check(Room::new(ROOM, vec![HOST, HOST])), RoomRefusal::Hosts);
    assert_eq!(check(Room { gifts: Some(vec![]), ..room(1) }), RoomRefusal::GiftSet);
    let pk = PluginSettings::Pk { hosts: [HOST, ANN], asset: COIN, until: None };
    assert_eq!(check(Room { plugins: vec![pk], ..room(1) }), RoomRefusal::PkHosts);
    let goal = PluginSettings::Goal { asset: COIN, target: Amount::ZERO };
    assert_eq!(check(Room { plugins: vec![goal.clone()], ..room(1) }), RoomRefusal::GoalTarget);
    assert_eq!(check(Room { plugins: vec![goal; 9], ..room(1) }), RoomRefusal::TooManyPlugins);
    assert_eq!(room(1).check(), Ok(()));
}
