//! Who gives anonymously is told to nobody, and what they give is counted like any other gift.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::*;
use crate::room::board::Side;
use crate::room::command::{BoardPage, BoardQuery, RoomCommand, RoomOutcome};
use crate::room::event::{ComboEnd, FeedWhat, Period};
use crate::room::gift::{GatheredGifts, RoomGift};
use crate::room::person::Person;
use crate::room::plugin::PluginNews;
use crate::room::rooms::RoomLimits;
use crate::room::settings::{PluginSettings, Room};
use crate::units::{Amount, RoomSeq, Seq, Time, UserId};

fn board(world: &mut World, side: Side, user: UserId) -> BoardPage {
    let query = BoardQuery { period: Period::Live, side, asset: COIN, limit: 10, user: Some(user) };
    let told = world.run(RoomCommand::ReadBoard { room: ROOM, query });
    let RoomOutcome::Board(page) = told else { panic!("{told:?}") };
    page
}

fn places(page: &BoardPage) -> Vec<(Person, u64)> {
    page.top.iter().map(|ranked| (ranked.person, ranked.score.value)).collect()
}

/// Streak and count of each gift.
fn combos(world: &World) -> Vec<(u64, u64)> {
    world.gifts().iter().map(|gift| gift.combo.map_or((0, 0), |combo| (combo.id.get(), combo.count))).collect()
}

fn ended(world: &World) -> Vec<(Person, ComboEnd)> {
    let ended = |what| if let FeedWhat::ComboEnded(ended) = what { Some((ended.sender, ended.cause)) } else { None };
    world.feed().into_iter().filter_map(|(_, item)| ended(item.what)).collect()
}

#[test]
fn a_gift_by_name_and_an_anonymous_one_travel_apart_and_so_do_those_of_two_who_are_not_named() {
    let mut gathered = GatheredGifts::default();
    let at = Time(MONDAY);
    for one in [
        gift(ANN, ROSE, at),
        anonymous_gift(ANN, ROSE, at),
        anonymous_gift(BOB, ROSE, at),
        anonymous_gift(ANN, ROSE, at),
    ] {
        gathered.add(one);
    }
    let shown: Vec<_> = gathered.take().into_iter().map(|gift| (gift.sender, gift.events)).collect();
    assert_eq!(shown, [(Person::Named(ANN), 1), (Person::Anonymous(ANN), 2), (Person::Anonymous(BOB), 1)]);
}

#[test]
fn no_streak_is_of_a_name_and_of_nobody_nor_of_two_who_are_not_named() {
    let mut world = World::new(RoomLimits::default());
    let now = world.now;
    let taps = [gift(ANN, ROSE, now), anonymous_gift(ANN, ROSE, now), anonymous_gift(BOB, ROSE, now)];
    world.give(taps.to_vec());
    world.wait(10);
    world.give(taps.to_vec());
    assert_eq!(combos(&world), [(2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (4, 2)]);
    assert_eq!(world.head().open_combos, 3);
}

#[test]
fn a_number_of_the_client_replaces_only_the_streak_that_it_was_said_of() {
    let mut world = World::new(RoomLimits::default());
    let now = world.now;
    world.give(vec![
        RoomGift { combo: Some(1), ..gift(ANN, ROSE, now) },
        RoomGift { combo: Some(2), ..anonymous_gift(ANN, ROSE, now) },
        RoomGift { combo: Some(1), ..gift(ANN, ROSE, now) },
    ]);
    assert_eq!(combos(&world), [(2, 1), (3, 1), (2, 2)]);
    assert_eq!(ended(&world), []);
}

/// A viewer's named streak that ends as they leave would end beside the anonymous one.
#[test]
fn whoever_leaves_ends_no_anonymous_streak_which_ends_by_time() {
    let mut world = World::new(RoomLimits::default());
    world.give(vec![gift(ANN, ROSE, world.now), anonymous_gift(ANN, ROSE, world.now)]);
    world.run(RoomCommand::Leave { room: ROOM, user: ANN });
    assert_eq!(ended(&world), [(Person::Named(ANN), ComboEnd::Left)]);
    world.wait(5_000);
    world.run(RoomCommand::Time { room: ROOM });
    assert_eq!(ended(&world)[1..], [(Person::Anonymous(ANN), ComboEnd::Time)]);
}

#[test]
fn a_goal_that_somebody_fills_anonymously_says_so() {
    let mut world = World::new(RoomLimits::default());
    let goal = PluginSettings::Goal { asset: COIN, target: Amount::new(600).unwrap() };
    world.follow(&Room { plugins: vec![goal], version: Seq(1), ..Room::new(ROOM, vec![HOST, OTHER_HOST]) });
    world.give(vec![gift(ANN, CASTLE, world.now), anonymous_gift(BOB, CASTLE, world.now)]);
    let by = |what| if let FeedWhat::Plugin(PluginNews::GoalReached { by, .. }) = what { Some(by) } else { None };
    let by: Vec<_> = world.feed().into_iter().filter_map(|(_, item)| by(item.what)).collect();
    assert_eq!(by, [Person::Anonymous(BOB)]);
}

#[test]
fn what_is_given_anonymously_stands_beside_what_is_given_by_name() {
    let mut world = World::new(RoomLimits::default());
    let now = world.now;
    world.give(vec![anonymous_gift(ANN, CASTLE, now), gift(ANN, ROSE, now), anonymous_gift(BOB, ROSE, now)]);
    world.give(vec![anonymous_gift(BOB, ROSE, now)]);
    let page = board(&mut world, Side::Senders, ANN);
    assert_eq!(places(&page), [(Person::Anonymous(ANN), 500), (Person::Anonymous(BOB), 2), (Person::Named(ANN), 1)]);
    let (own, nameless) = (page.own.unwrap(), page.own_anonymous.unwrap());
    assert_eq!([(own.rank, own.score.value), (nameless.rank, nameless.score.value)], [(3, 1), (1, 500)]);
    assert_eq!(page.ranked, 3);
    let page = board(&mut world, Side::Senders, BOB);
    assert_eq!((page.own, page.own_anonymous.unwrap().rank), (None, 2));
    let page = board(&mut world, Side::Hosts, HOST);
    assert_eq!(places(&page), [(Person::Named(HOST), 503)], "hosts are given all of it");
    assert_eq!((page.own.unwrap().rank, page.own_anonymous), (1, None));
}

#[derive(Clone, Copy, Debug)]
struct Tap {
    user: u64,
    is_anonymous: bool,
    is_castle: bool,
    wait: u64,
}

fn taps() -> impl Strategy<Value = Vec<Tap>> {
    let tap = (1..4u64, any::<bool>(), any::<bool>(), prop_oneof![Just(0), 0..6_000u64]);
    let tap = tap.prop_map(|(user, is_anonymous, is_castle, wait)| Tap { user, is_anonymous, is_castle, wait });
    vec(tap, 0..60)
}

proptest! {
    /// Against sums by person that are as simple as can be.
    #[test]
    fn sums_and_streaks_are_of_one_person_each(taps in taps()) {
        let mut world = World::new(RoomLimits::default());
        let mut sums: BTreeMap<Person, u64> = BTreeMap::new();
        for tap in &taps {
            world.wait(tap.wait);
            let (user, kind) = (UserId(tap.user), if tap.is_castle { CASTLE } else { ROSE });
            let given = if tap.is_anonymous { anonymous_gift } else { gift }(user, kind, world.now);
            *sums.entry(given.sender).or_default() += given.value().get();
            world.give(vec![given]);
        }
        let page = board(&mut world, Side::Senders, ANN);
        prop_assert_eq!(places(&page).into_iter().collect::<BTreeMap<_, _>>(), sums.clone());
        let of = |person| sums.get(&person).copied();
        prop_assert_eq!(page.own.map(|own| own.score.value), of(Person::Named(ANN)));
        prop_assert_eq!(page.own_anonymous.map(|own| own.score.value), of(Person::Anonymous(ANN)));
        let all: u64 = sums.values().sum();
        let hosts = places(&board(&mut world, Side::Hosts, HOST));
        prop_assert_eq!(hosts.iter().map(|(_, value)| value).sum::<u64>(), all);
        let mut streaks: BTreeMap<RoomSeq, BTreeSet<Person>> = BTreeMap::new();
        for gift in world.gifts() {
            if let Some(combo) = gift.combo {
                streaks.entry(combo.id).or_default().insert(gift.sender);
            }
        }
        prop_assert!(streaks.values().all(|persons| persons.len() == 1), "{:?}", streaks);
    }
}
