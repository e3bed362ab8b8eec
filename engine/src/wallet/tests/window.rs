//! What the window remembers, lets go, and is sure of.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::codec::{self, Few};
use crate::event_id::EventId;
use crate::units::{Amount, AssetId, Seq, Time, UserId};
use crate::wallet::command::{RechargeSaid, TransferCredit, TransferSaid};
use crate::wallet::event::{Channel, Recharged, Transferred, WalletEvent};
use crate::wallet::window::{Window, WindowLimits};

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

/// Event `seq`, whose id has a time; every event is the same otherwise.
fn remember_timed(window: &mut Window, seq: u64, at: u64, id: EventId) {
    let encoded = codec::encode(&gift(id));
    window.remember(ANN, id, Seq(seq), Time(at), &encoded);
}

fn gift(id: EventId) -> WalletEvent {
    let (user, asset) = (ANN, AssetId(1));
    let said = TransferSaid { id, key: None, user, debits: Few::default(), credits: Few::default(), reference: None };
    let credits = [TransferCredit { user, asset, amount: Amount::ZERO }].into_iter().collect();
    let said = TransferSaid { credits, ..said };
    WalletEvent::Transferred(Transferred { said, debited: Few::default(), credited: Few::default(), trace: None })
}

#[test]
fn events_are_found_across_panes_as_they_were() {
    // A pane holds 64 KiB here and spans about a second.
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
fn ids_with_a_time_are_found_whatever_their_order() {
    let mut window = window(256 << 10, 1_000_000);
    // Clocks of clients differ by minutes, and many ids fall into one second.
    let id =
        |number: u64| EventId::v7(Time(500_000 + number * 7919 % 200_000), [u8::try_from(number % 251).unwrap(); 10]);
    for number in 1..=1_000 {
        remember_timed(&mut window, number, 700_000, id(number));
    }
    for number in 1..=1_000 {
        assert_eq!(window.find(ANN, id(number)).map(|found| found.seq), Some(Seq(number)));
    }
    assert!(window.find(ANN, id(1_001)).is_none());
    // Those of one second fill more than one pane.
    let crowded = |number: u64| {
        EventId::v7(
            Time(800_000),
            [u8::try_from(number / 251).unwrap(), u8::try_from(number % 251).unwrap(), 0, 0, 0, 0, 0, 0, 0, 0],
        )
    };
    for number in 0..1_000 {
        remember_timed(&mut window, 1_001 + number, 800_000, crowded(number));
    }
    for number in 0..1_000 {
        assert_eq!(window.find(ANN, crowded(number)).map(|found| found.seq), Some(Seq(1_001 + number)));
    }
}

#[test]
fn an_id_is_certain_only_with_a_time_above_the_floor() {
    let window = Window::new(WindowLimits { bytes_max: 1, age_millis: 1 }, Time(500), 1);
    assert!(!window.is_certain(id_of(500)));
    assert!(window.is_certain(id_of(501)));
    assert!(!window.is_certain(EventId::hashed("test", &["no time"])));
}

#[test]
fn a_pane_that_leaves_raises_the_floor_to_the_end_of_its_span() {
    let mut window = window(1 << 20, 1_000);
    let (one, two, three) = (id_of(100 << 10), id_of((100 << 10) + 1_023), id_of(200 << 10));
    remember_timed(&mut window, 1, 150 << 10, one);
    remember_timed(&mut window, 2, 150 << 10, two);
    remember_timed(&mut window, 3, 150 << 10, three);
    let end = (100 << 10) + 1_023;
    window.evict(Seq(3), Time(end + 1_000));
    assert_eq!(window.floor(), Time::ZERO, "its age is that of its latest id");
    window.evict(Seq(3), Time(end + 1_001));
    assert_eq!(window.floor(), Time(end));
    assert!(!window.contains(ANN, one) && !window.contains(ANN, two));
    assert!(window.contains(ANN, three));
    assert!(!window.is_certain(two) && window.is_certain(id_of(end + 1)));
}

#[test]
fn an_id_below_the_floor_is_found_by_the_time_of_its_event() {
    let mut window = window(1 << 20, 1_000);
    remember(&mut window, 1, 100_000);
    window.evict(Seq(1), Time(300_000));
    assert!(window.floor() > Time(100_000));
    let late = id_of(50_000);
    remember_timed(&mut window, 2, 300_000, late);
    assert_eq!(window.find(ANN, late).map(|found| found.seq), Some(Seq(2)));
    window.evict(Seq(2), Time(300_500));
    assert!(window.contains(ANN, late), "it is remembered as long as its event is young");
    window.evict(Seq(2), Time(400_000));
    assert!(!window.contains(ANN, late));
    assert_eq!(window.bytes(), 0, "what came in went out");
}

#[test]
fn nothing_leaves_before_the_store_has_all_of_its_pane() {
    let mut window = window(1 << 20, 1_000);
    remember(&mut window, 1, 100_000);
    remember(&mut window, 2, 100_001);
    window.evict(Seq(1), Time(900_000));
    assert!(find(&window, 1).is_some());
    assert_eq!(window.floor(), Time::ZERO);
}

#[test]
fn one_that_has_to_stay_holds_up_no_other() {
    let mut window = window(1 << 20, 1_000);
    remember_timed(&mut window, 2, 200_000, id_of(100_000));
    remember_timed(&mut window, 1, 200_000, id_of(150_000));
    window.evict(Seq(1), Time(900_000));
    assert!(window.contains(ANN, id_of(100_000)) && !window.contains(ANN, id_of(150_000)));
    assert!(window.floor() >= Time(150_000), "the store has to be asked for what has left");
}

#[test]
fn too_many_bytes_push_flushed_panes_out_early_and_are_counted_exactly() {
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
fn an_event_larger_than_a_pane_has_one_of_its_own() {
    let mut window = window(4 << 10, 1_000_000);
    let mut event = Recharged { said: said(1), balance: Amount::ZERO, trace: None };
    event.said.transaction = "x".repeat(20_000).into();
    let encoded = codec::encode(&WalletEvent::Recharged(event.clone()));
    window.remember(ANN, event.said.id(), Seq(1), Time(1), &encoded);
    remember(&mut window, 2, 1);
    assert_eq!(window.find(ANN, event.said.id()).unwrap().encoded, encoded);
    assert_eq!(find(&window, 2), Some((Seq(2), Time(1))));
}

/// What happens to a window; times are in milliseconds.
#[derive(Clone, Debug)]
enum Step {
    /// An event, so much later than the one before, whose id is so far from it: at most a minute ahead.
    Accept { later: u64, ahead: i64 },
    /// An event whose id has no time.
    AcceptTimeless,
    /// The store has all but so many of the events, and the clock is so far from the last of them.
    Evict { behind: u64, clock: i64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let ahead = prop_oneof![-3_000i64..3_000, -200_000i64..=60_000];
    let clock = prop_oneof![-2_000i64..5_000, -100_000i64..300_000];
    prop_oneof![
        6 => (prop_oneof![0u64..50, 0u64..3_000], ahead).prop_map(|(later, ahead)| Step::Accept { later, ahead }),
        1 => Just(Step::AcceptTimeless),
        2 => (0u64..6, clock).prop_map(|(behind, clock)| Step::Evict { behind, clock }),
    ]
}

proptest! {
    /// Late ids, ids from the future, a clock that jumps, panes that have to stay while others leave, a floor from before.
    #[test]
    fn what_was_accepted_is_found_or_in_the_store_and_not_certain(
        steps in vec(any_step(), 1..200),
        bytes_max in prop_oneof![Just(1_000usize), Just(20_000), Just(1 << 20)],
        age_millis in prop_oneof![Just(1u64), Just(3_000), Just(100_000)],
        floor in prop_oneof![Just(0u64), Just(1_000_000), Just(1_060_000)],
    ) {
        let mut window = Window::new(WindowLimits { bytes_max, age_millis }, Time(floor), 1);
        let (mut now, mut flushed, mut accepted) = (1_000_000u64, 0, Vec::new());
        for step in steps {
            let seq = accepted.len() as u64 + 1;
            match step {
                Step::Accept { later, ahead } => {
                    now += later;
                    let mut random = [0; 10];
                    // At the end: the version and the variant of the id take the place of bits further ahead.
                    random[2..].copy_from_slice(&seq.to_be_bytes());
                    let id = EventId::v7(Time(now.saturating_add_signed(ahead)), random);
                    remember_timed(&mut window, seq, now, id);
                    accepted.push(id);
                }
                Step::AcceptTimeless => {
                    remember(&mut window, seq, now);
                    accepted.push(said(seq).id());
                }
                Step::Evict { behind, clock } => {
                    flushed = flushed.max(accepted.len().saturating_sub(usize::try_from(behind).unwrap()));
                    window.evict(Seq(flushed as u64), Time(now.saturating_add_signed(clock)));
                }
            }
            for (place, id) in accepted.iter().enumerate() {
                match window.find(ANN, *id) {
                    Some(found) => prop_assert_eq!(found.seq, Seq(place as u64 + 1)),
                    None => {
                        prop_assert!(place < flushed, "event {} left, and the store does not have it", place + 1);
                        prop_assert!(!window.is_certain(*id), "event {} would be taken for a new one", place + 1);
                    }
                }
            }
        }
        window.evict(Seq(u64::MAX), Time(u64::MAX));
        prop_assert_eq!(window.bytes(), 0, "what came in went out");
    }
}
