//! What the window remembers, lets go, and is sure of.

use crate::codec;
use crate::event_id::EventId;
use crate::units::{Amount, AssetId, Seq, Time, UserId};
use crate::wallet::command::RechargeSaid;
use crate::wallet::event::{Channel, Recharged, WalletEvent};
use crate::wallet::window::{ID_AHEAD_MILLIS, Window, WindowLimits};

const ANN: UserId = UserId(1);

fn window(bytes_max: usize, age_millis: u64) -> Window {
    Window::new(WindowLimits { bytes_max, age_millis }, Time::ZERO, 1)
}

fn said(number: u64) -> RechargeSaid {
    let (transaction, amount) = (number.to_string().into(), Amount::new(number).unwrap());
    RechargeSaid { channel: Channel::Manual, transaction, user: ANN, asset: AssetId(1), amount }
}

/// Event `seq`, whose id has no time.
fn remember(window: &mut Window, seq: u64, at: u64) {
    let event = Recharged { said: said(seq), balance: Amount::ZERO, trace: None };
    let encoded = codec::encode(&WalletEvent::Recharged(event));
    window.remember(ANN, said(seq).id(), Seq(seq), Time(at), &encoded);
}

fn find(window: &Window, seq: u64) -> Option<(Seq, Time)> {
    window.find(ANN, said(seq).id()).map(|found| {
        let WalletEvent::Recharged(event) = found.event else { panic!("it is a recharge") };
        assert_eq!(event.said, said(seq));
        (found.seq, found.at)
    })
}

fn id_of(time: u64) -> EventId {
    EventId::v7(Time(time), [1; 10])
}

#[test]
fn events_are_found_across_generations_as_they_were() {
    // A generation holds 4 KiB here, and a new one begins every 15 s.
    let mut window = window(1 << 20, 1_000_000);
    for seq in 1..=500 {
        remember(&mut window, seq, seq * 1_000);
    }
    for seq in 1..=500 {
        assert_eq!(find(&window, seq), Some((Seq(seq), Time(seq * 1_000))));
    }
    assert_eq!(find(&window, 501), None);
    assert!(!window.contains(UserId(2), said(1).id()), "an id belongs to its user");
}

#[test]
fn an_id_is_certain_only_with_a_time_above_the_floor() {
    let window = Window::new(WindowLimits { bytes_max: 1, age_millis: 1 }, Time(500), 1);
    assert!(!window.is_certain(id_of(500)));
    assert!(window.is_certain(id_of(501)));
    assert!(!window.is_certain(EventId::hashed("test", &["no time"])));
}

#[test]
fn a_generation_that_leaves_raises_the_floor_by_what_its_ids_may_be_ahead() {
    let mut window = window(1 << 20, 1_000);
    remember(&mut window, 1, 100_000);
    remember(&mut window, 2, 101_000);
    remember(&mut window, 3, 200_000);
    window.evict(Seq(3), Time(102_000));
    assert_eq!((window.floor(), window.evictions()), (Time::ZERO, 0), "its age is that of its last event");
    window.evict(Seq(3), Time(102_001));
    assert_eq!((window.floor(), window.evictions()), (Time(101_000 + ID_AHEAD_MILLIS), 1));
    assert_eq!((find(&window, 1), find(&window, 2)), (None, None));
    assert_eq!(find(&window, 3), Some((Seq(3), Time(200_000))));
    remember(&mut window, 4, 216_000);
    assert_eq!(find(&window, 4), Some((Seq(4), Time(216_000))), "after others have left");
}

#[test]
fn nothing_leaves_before_the_store_has_all_of_its_generation() {
    let mut window = window(1 << 20, 1_000);
    remember(&mut window, 1, 100_000);
    remember(&mut window, 2, 101_000);
    window.evict(Seq(1), Time(900_000));
    assert!(find(&window, 1).is_some());
    assert_eq!(window.floor(), Time::ZERO);
}

#[test]
fn too_many_bytes_push_flushed_generations_out_early_and_are_counted_exactly() {
    let mut window = window(64 << 10, 1_000_000);
    for seq in 1..=2_000 {
        remember(&mut window, seq, 1_000);
    }
    assert!(window.is_full());
    window.evict(Seq(0), Time(1_000));
    assert!(window.is_full(), "nothing was flushed");
    window.evict(Seq(2_000), Time(1_000));
    assert!(!window.is_full());
    assert!(window.bytes() <= 32 << 10 && window.bytes() > 16 << 10, "down to half: {}", window.bytes());
    assert!(find(&window, 1).is_none() && find(&window, 2_000).is_some());
    window.evict(Seq(2_000), Time(2_000_000));
    assert_eq!(window.bytes(), 0, "what came in went out");
}

#[test]
fn an_event_larger_than_a_generation_has_one_of_its_own() {
    let mut window = window(4 << 10, 1_000_000);
    let mut event = Recharged { said: said(1), balance: Amount::ZERO, trace: None };
    event.said.transaction = "x".repeat(20_000).into();
    let encoded = codec::encode(&WalletEvent::Recharged(event.clone()));
    window.remember(ANN, event.said.id(), Seq(1), Time(1), &encoded);
    remember(&mut window, 2, 1);
    assert_eq!(window.find(ANN, event.said.id()).unwrap().encoded, encoded);
    assert_eq!(find(&window, 2), Some((Seq(2), Time(1))));
}
