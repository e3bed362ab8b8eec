//! What becomes of gifts: entries, totals, boards.

use super::world::*;
use crate::machine::{Decision, Machine};
use crate::room::board::{Ranked, Side};
use crate::room::command::{BoardPage, BoardQuery, RoomCommand, RoomOutcome};
use crate::room::event::{EffectShown, FeedWhat, Period};
use crate::room::gift::{GatheredGifts, RoomGift};
use crate::room::rooms::RoomLimits;
use crate::room::settings::{PluginSettings, Room};
use crate::units::{AssetId, RoomId, RoomSeq, Seq, Time, UserId};
use crate::wallet::outbox::PART_CREDITS_MAX;

fn board(world: &mut World, period: Period, side: Side) -> BoardPage {
    let query = BoardQuery { period, side, asset: COIN, limit: 10, user: Some(BOB) };
    let told = world.run(RoomCommand::ReadBoard { room: ROOM, query });
    let RoomOutcome::Board(page) = told else { panic!("{told:?}") };
    page
}

/// Of those who are shown by name.
fn places(page: &BoardPage) -> Vec<(u64, UserId, u64)> {
    let named = |ranked: &Ranked| ranked.person.shown().map(|user| (ranked.rank, user, ranked.score.value));
    page.top.iter().filter_map(named).collect()
}

#[test]
fn entries_are_numbered_and_their_values_add_up_to_what_was_debited() {
    let mut world = World::new(RoomLimits::default());
    let both = RoomGift { receivers: [HOST, OTHER_HOST].into_iter().collect(), ..gift(BOB, CASTLE, world.now) };
    world.give(vec![gift(ANN, ROSE, world.now), both]);
    world.wait(10);
    world.give(vec![RoomGift { count: 9, events: 3, ..gift(ANN, ROSE, world.now) }]);
    let numbers: Vec<_> = world.feed().iter().map(|(number, _)| number.get()).collect();
    assert_eq!(numbers, [1, 2, 3, 4], "a live that began, and three gifts");
    let values: Vec<_> = world.gifts().iter().map(|gift| gift.value().get()).collect();
    assert_eq!(values, [1, 1_000, 9]);
    let head = world.head();
    let total = head.live_totals.get(COIN).unwrap();
    assert_eq!((total.value, total.gifts, head.next), (1_010, 5, RoomSeq(5)));
}

#[test]
fn boards_know_senders_and_hosts_by_what_was_debited() {
    let mut world = World::new(RoomLimits::default());
    let both = RoomGift { receivers: [HOST, OTHER_HOST].into_iter().collect(), ..gift(BOB, CASTLE, world.now) };
    world.give(vec![gift(ANN, ROSE, world.now), both]);
    for period in Period::ALL {
        let senders = board(&mut world, period, Side::Senders);
        assert_eq!(places(&senders), [(1, BOB, 1_000), (2, ANN, 1)], "{period:?}");
        assert_eq!(senders.own.unwrap().rank, 1);
        assert_eq!(places(&board(&mut world, period, Side::Hosts)), [(1, HOST, 501), (2, OTHER_HOST, 500)]);
    }
}

#[test]
fn a_part_that_does_not_go_on_where_its_source_stands_changes_nothing() {
    let mut world = World::new(RoomLimits::default());
    let first = world.part(0, vec![gift(ANN, ROSE, world.now)]);
    world.apply_parts(vec![first.clone()]);
    let length = world.log.len();
    let told = world.apply_parts(vec![first]);
    let RoomOutcome::Gifts(stands) = told else { panic!("{told:?}") };
    assert_eq!((stands[0].watermark.get(), stands[0].received.get(COIN)), (1, Some(&1)));
    assert_eq!(world.log.len(), length);
}

#[test]
fn a_running_total_that_disagrees_stops_the_shard() {
    let mut world = World::new(RoomLimits::default());
    world.give(vec![gift(ANN, ROSE, world.now)]);
    let mut part = world.part(0, vec![gift(ANN, ROSE, world.now)]);
    *part.before.entry(COIN) += 1;
    let view = std::sync::Arc::new(crate::resolve::ControlView {
        catalog: std::sync::Arc::new(catalog()),
        rooms: Default::default(),
        keys: Default::default(),
        seq: crate::units::Seq::NONE,
    });
    let decision = world.machine.decide(&RoomCommand::ApplyGifts { parts: vec![part], view }, world.now);
    let Decision::Impossible(why) = decision else { panic!("{decision:?}") };
    assert!(why.to_string().contains("lost or doubled"), "{why}");
}

#[test]
fn another_day_begins_with_its_first_gift_and_what_comes_late_counts_for_no_board() {
    let mut world = World::new(RoomLimits::default());
    let evening = world.now.plus_millis(86_399_000);
    world.now = evening;
    world.give(vec![gift(ANN, ROSE, evening)]);
    world.wait(2_000);
    // One batch with gifts of both days: the first of them counts for a board that ends with the second.
    world.give(vec![gift(ANN, CASTLE, evening), gift(BOB, ROSE, world.now), gift(ANN, ROSE, evening)]);
    assert_eq!(places(&board(&mut world, Period::Day, Side::Senders)), [(1, BOB, 1)]);
    assert_eq!(places(&board(&mut world, Period::Week, Side::Senders)), [(1, ANN, 502), (2, BOB, 1)]);
    let days: Vec<_> = world.gifts().iter().map(|gift| gift.scores.sender.day).collect();
    assert_eq!(days, [Some(1), None, Some(1), None]);
}

#[test]
fn what_is_given_before_or_after_a_live_is_booked_and_not_on_its_board() {
    let mut world = World::new(RoomLimits::default());
    world.give(vec![gift(ANN, ROSE, world.now)]);
    let closed = Room { is_closed: true, version: crate::units::Seq(1), ..Room::new(ROOM, vec![HOST, OTHER_HOST]) };
    world.follow(&closed);
    world.give(vec![gift(BOB, CASTLE, world.now)]);
    assert_eq!(places(&board(&mut world, Period::Live, Side::Senders)), [(1, ANN, 1)]);
    assert_eq!(places(&board(&mut world, Period::Day, Side::Senders)), [(1, BOB, 500), (2, ANN, 1)]);
    let head = world.head();
    assert_eq!(head.live_totals.get(COIN).unwrap().value, 1);
    assert_eq!(head.all_totals.get(COIN).unwrap().value, 501);
    let ended = world.feed().into_iter().any(|(_, item)| matches!(item.what, FeedWhat::LiveEnded { live: 1, .. }));
    assert!(ended, "{:?}", world.feed());
}

/// The largest part that a source cuts, in the worst of all rooms, is an event that its log takes.
#[test]
fn any_part_fits_into_one_event() {
    let limits = RoomLimits::default();
    let mut world = World::new(limits);
    let rooms: Vec<RoomId> = (0..).map(|number| RoomId(u64::MAX - number)).take(60).collect();
    let hosts: Vec<UserId> = (0..16).map(|number| UserId(u64::MAX - number)).collect();
    let pk = PluginSettings::Pk { hosts: [hosts[0], hosts[1]], asset: AssetId(60_000), until: Some(Time(u64::MAX)) };
    for room in &rooms {
        world.follow(&Room { plugins: vec![pk.clone(); 8], version: Seq(u64::MAX), ..Room::new(*room, hosts.clone()) });
        for asset in 0..64 {
            let gift = RoomGift { room: *room, asset: AssetId(60_000 + asset), ..gift(ANN, CASTLE, world.now) };
            world.give(vec![gift]);
        }
    }
    let mut gathered = GatheredGifts::default();
    let mut number = 0;
    while gathered.weight() < PART_CREDITS_MAX {
        let room = rooms[number % rooms.len()];
        let sender = UserId(u64::MAX - number as u64);
        let receivers = hosts.iter().copied().filter(|host| *host != sender).collect();
        let combo = Some(u64::MAX);
        gathered.add(RoomGift { room, receivers, combo, asset: AssetId(60_000), ..gift(sender, ROSE, world.now) });
        number += 1;
    }
    world.give(gathered.take());
    let bytes = crate::codec::encode(&world.log.last().unwrap().1).len();
    assert!(bytes < 440_000, "{bytes} bytes of {number} gifts");
}

#[test]
fn animations_are_rationed_and_no_gift_is_left_out() {
    let mut world = World::new(RoomLimits::default());
    world.give((0..50).map(|number| gift(UserId(100 + number), CASTLE, world.now)).collect());
    let played = |world: &World| world.gifts().iter().filter(|gift| gift.effect == EffectShown::Play).count();
    assert_eq!((played(&world), world.gifts().len()), (4, 50), "as many large ones as the budget holds");
    world.wait(1_000);
    world.give(vec![gift(ANN, CASTLE, world.now)]);
    assert_eq!(played(&world), 5, "it fills with time");
}

#[test]
fn the_tail_has_what_follows_an_entry_or_says_that_it_is_elsewhere() {
    let mut world = World::new(RoomLimits::default());
    for _ in 0..30 {
        let now = world.now;
        world.give((0..100).map(|number| gift(UserId(100 + number), CASTLE, now)).collect());
    }
    let mut tail = |after| {
        let told = world.run(RoomCommand::ReadTail { room: ROOM, after: RoomSeq(after), limit: 150 });
        let RoomOutcome::Tail(tail) = told else { panic!("{told:?}") };
        tail.chunks.map(|chunks| {
            let count: usize = chunks.iter().map(|chunk| chunk.items.len()).sum();
            (chunks.first().map(|chunk| chunk.first.get()), count)
        })
    };
    assert_eq!(tail(10), None, "long gone from memory");
    assert_eq!(tail(2_950), Some((Some(2_902), 100)), "the chunk that holds the next one, and no more than there are");
    assert_eq!(tail(2_101), Some((Some(2_102), 200)), "whole chunks, as many as the limit needs");
    assert_eq!(tail(3_001), Some((None, 0)), "up to date");
}
