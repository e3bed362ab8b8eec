//! Who waits for what: the log, the store, each other.

use expect_test::expect;

use crate::codec;
use crate::event_id::EventId;
use crate::ledger::LedgerShape;
use crate::machine::{Decision, Machine};
use crate::store::StoredEvent;
use crate::units::{Amount, Seq, ShardId, Time, UserId};
use crate::wallet::command::{RechargeSaid, WalletCommand};
use crate::wallet::event::{Channel, Recharged, WalletEvent};
use crate::wallet::outcome::WalletOutcome;
use crate::wallet::tests::script::{COIN, Teller, check, check_with, user};
use crate::wallet::tests::world::Setup;
use crate::wallet::wallets::{WalletNeed, WalletRow, Wallets};
use crate::wallet::window::WindowLimits;

#[test]
fn a_retry_while_the_first_is_in_flight_pays_once() {
    check(
        "recharge t1 ann 10; hold log; gift g1 ann x1 @10 > gus; gift g1 ann x1 @10 > gus; say nobody was answered
         go log; read ann",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            -- nobody was answered
            g1 ok: event 2, total 10, balance 0
            g1 again: event 2, total 10, balance 0
            read ann as of 2: coin 0
        "#]],
    );
}

#[test]
fn a_retry_while_the_store_is_asked_for_the_first_pays_once() {
    check(
        "recharge t1 ann 10; hold store; gift v4a ann x1 @10 > gus; gift v4a ann x1 @10 > gus; say nobody was answered
         go store; read ann",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            -- nobody was answered
            v4a ok: event 2, total 10, balance 0
            v4a again: event 2, total 10, balance 0
            read ann as of 2: coin 0
        "#]],
    );
}

#[test]
fn refusals_reads_and_lookups_wait_for_the_records_they_rest_on() {
    check(
        "recharge t1 ann 10; read gus; hold log; gift g1 ann x1 @10 > gus; gift g2 ann x1 @10 > gus; read ann; read gus
         find ann g1; find ann g3; say nobody was answered; go log",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            read gus as of 1: nothing
            -- nobody was answered
            g1 ok: event 2, total 10, balance 0
            g2 refused: 0 is less than 10
            read ann as of 2: coin 0
            read gus as of 2: coin 10
            find g1 found: event 2
            find g3 not found at 1000000000
        "#]],
    );
}

#[test]
fn a_crash_that_undoes_a_debit_undoes_the_refusal_that_rested_on_it() {
    check(
        "recharge t1 ann 10; hold log; gift g1 ann x1 @10 > gus; gift g2 ann x1 @10 > gus; crash 0; go log
         gift g2 ann x1 @10 > gus",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            g2 ok: event 2, total 10, balance 0
        "#]],
    );
}

#[test]
fn at_most_so_many_records_are_under_way_and_the_rest_gathers() {
    let mut teller = Teller::new(Setup::default());
    teller
        .run("recharge t1 ann 10; hold log; gift g1 ann x1 @1 > gus; gift g2 ann x1 @1 > gus; gift g3 ann x1 @1 > gus");
    teller.run("gift g4 ann x1 @1 > gus; read ann");
    assert_eq!(teller.world.hosts[0].appends.len(), 2, "the limit");
    teller.told.clear();
    teller.run("go log 1; say one landed; go log");
    expect![[r#"
        g1 ok: event 2, total 1, balance 9
        -- one landed
        g2 ok: event 3, total 1, balance 8
        g3 ok: event 4, total 1, balance 7
        g4 ok: event 5, total 1, balance 6
        read ann as of 5: coin 6
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn a_read_can_wait_for_a_credit_and_holds_nobody_up() {
    check(
        "recharge t1 ann 100; hold wire; gift g1 ann x1 @7 > bob; read bob after=0:2 until=400; read bob; go wire
         hold wire; gift g2 ann x1 @7 > bob; read bob after=0:3 until=400; say its patience ends; clock 400; tick 0
         read bob after=9:3",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 7, balance 93
            read bob as of 0: nothing
            read bob as of 1: coin 7
            g2 ok: event 3, total 7, balance 86
            -- its patience ends
            read bob as of 1: coin 7
            read bob as of 1: coin 7
        "#]],
    );
}

#[test]
fn commands_of_a_user_stay_in_order_while_others_go_on() {
    check(
        "recharge t1 ann 10; recharge t2 cat 10; flush 0; restart 0; read cat; hold store
         gift g1 ann x1 @6 > gus; gift g2 ann x1 @6 > gus; recharge t3 ann 2; gift g3 cat x1 @10 > bob; say the rest
         go store",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            t2 ok: event 2, total 10, balance 10
            read cat as of 2: coin 10
            -- the rest
            g1 ok: event 3, total 6, balance 4
            g3 ok: event 4, total 10, balance 0
            g2 refused: 4 is less than 6
            t3 ok: event 5, total 2, balance 6
        "#]],
    );
}

#[test]
fn a_gift_waits_for_every_wallet_that_it_changes_here() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; recharge t2 gus 5; recharge t3 eve 7; flush 0; restart 0; read ann; hold store");
    teller.run("gift g1 ann x1 @10 > gus bob eve; go store 1; say one wallet is here; go store; read gus; read eve");
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        t2 ok: event 2, total 5, balance 5
        t3 ok: event 3, total 7, balance 7
        read ann as of 3: coin 100
        -- one wallet is here
        g1 ok: event 4, total 30, balance 70
        read gus as of 4: coin 15
        read eve as of 4: coin 17
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn without_the_store_what_is_in_memory_goes_on_and_the_rest_is_told_at_once() {
    check(
        "recharge t1 ann 10; recharge t2 cat 10; flush 0; restart 0; read cat; away
         gift g1 ann x1 @1 > gus; gift v4a cat x1 @1 > gus; read ann; find cat v4a; gift g3 cat x1 @1 > bob
         bind t9 ann 5; back; gift g1 ann x1 @1 > gus; gift v4a cat x1 @1 > gus",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            t2 ok: event 2, total 10, balance 10
            read cat as of 2: coin 10
            g1 refused: the store cannot be asked for what is not in memory
            v4a refused: the store cannot be asked for what is not in memory
            read ann refused: the store cannot be asked for what is not in memory
            find v4a refused: the store cannot be asked for what is not in memory
            g3 refused: the store cannot be asked for what is not in memory
            t9 refused: the store cannot be asked for what is not in memory
            g1 ok: event 3, total 1, balance 9
            v4a ok: event 4, total 1, balance 9
        "#]],
    );
}

#[test]
fn when_the_store_fails_everyone_who_waits_for_it_is_told() {
    check(
        "recharge t1 ann 10; flush 0; restart 0; hold store; gift g1 ann x1 @1 > gus; gift g2 ann x1 @1 > gus
         read ann; away; go store; back; read ann",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            g1 refused: the store cannot be asked for what is not in memory
            g2 refused: the store cannot be asked for what is not in memory
            read ann refused: the store cannot be asked for what is not in memory
            read ann as of 1: coin 10
        "#]],
    );
}

#[test]
fn too_many_who_wait_for_the_store_are_sent_away() {
    let mut setup = Setup::default();
    setup.shard.parked = 2;
    check_with(
        setup,
        "recharge t1 ann 10; recharge t2 cat 10; recharge t3 eve 10; flush 0; restart 0; read eve; hold store
         gift g1 ann x1 @1 > bob; gift g2 ann x1 @1 > bob; gift g3 ann x1 @1 > bob; gift g4 cat x1 @1 > bob
         gift g5 eve x1 @1 > bob; go store; gift g4 cat x1 @1 > bob",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            t2 ok: event 2, total 10, balance 10
            t3 ok: event 3, total 10, balance 10
            read eve as of 3: coin 10
            g3 refused: too many commands wait for the store
            g4 refused: too many commands wait for the store
            g5 refused: too many commands wait for the store
            g1 ok: event 4, total 1, balance 9
            g2 ok: event 5, total 1, balance 8
            g4 ok: event 6, total 1, balance 9
        "#]],
    );
}

#[test]
fn the_store_is_asked_once_for_what_many_wait_for() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 10; recharge t2 cat 10; flush 0; restart 0; hold store");
    teller.run("gift g1 ann x1 @1 > gus; gift g2 ann x1 @1 > gus; gift g3 cat x1 @1 > gus; go store; read gus");
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        t2 ok: event 2, total 10, balance 10
        g1 ok: event 3, total 1, balance 9
        g3 ok: event 4, total 1, balance 9
        g2 ok: event 5, total 1, balance 8
        read gus as of 5: coin 3
    "#]]
    .assert_eq(&teller.told);
    assert_eq!(teller.world.hosts[0].fetched, 6, "three wallets and three receipts");
}

#[test]
fn a_look_into_the_store_counts_although_the_window_let_others_go_meanwhile() {
    let mut setup = Setup::default();
    setup.wallets.window = WindowLimits { bytes_max: 1 << 20, age_millis: 10 };
    let mut teller = Teller::new(setup);
    teller.run("recharge t1 ann 10; gift v4a ann x1 @1 > gus; hold store; gift v4b ann x1 @1 > gus");
    let floor = teller.world.hosts[0].shard.machine().window().floor();
    teller.run("flush 0; clock 5000; tick 0");
    assert!(teller.world.hosts[0].shard.machine().window().floor() > floor, "a pane has left");
    // Under load one leaves all the time: whoever had to ask again each time would never be done.
    teller.run("go store 1; say nothing is asked for again");
    assert_eq!(teller.world.hosts[0].fetches.len(), 0);
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        v4a ok: event 2, total 1, balance 9
        v4b ok: event 3, total 1, balance 8
        -- nothing is asked for again
    "#]]
    .assert_eq(&teller.told);
}

/// A shard that lets everything go at once, and asked the store about an id.
fn asked_about(user: UserId, id: EventId) -> (Wallets, WalletCommand, WalletNeed) {
    let mut limits = Setup::default().wallets;
    limits.window = WindowLimits { bytes_max: 1 << 20, age_millis: 10 };
    let mut shard = Wallets::new(ShardId::wallet(0), LedgerShape::new(1), limits);
    let (command, need) = (WalletCommand::FindReceipt { user, id }, WalletNeed::Receipt(user, id));
    assert_eq!(missing(&shard, &command), std::slice::from_ref(&need));
    // One who waits, and the look into the store itself.
    shard.asked(&need);
    shard.asked(&need);
    (shard, command, need)
}

fn missing(shard: &Wallets, command: &WalletCommand) -> Vec<WalletNeed> {
    let mut missing = Vec::new();
    shard.missing(command, &mut missing);
    missing
}

/// The id is accepted as the first event; then the store has it, and memory does not.
fn accept_and_forget(shard: &mut Wallets, said: &RechargeSaid) -> StoredEvent {
    let event = WalletEvent::Recharged(Recharged { said: said.clone(), balance: said.amount, trace: None });
    let (event_bytes, at) = (codec::encode(&event), Time(1_000));
    shard.apply(Seq(1), at, &event, &event_bytes);
    shard.durable(Seq(1), at);
    shard.flushed(Seq(1), Time(1_000_000));
    assert!(!shard.window().contains(said.user, said.id()));
    StoredEvent { shard: ShardId::wallet(0), seq: Seq(1), at, event: event_bytes }
}

#[test]
fn that_the_store_had_nothing_says_nothing_once_the_id_was_accepted() {
    let (channel, transaction, amount) = (Channel::Manual, "t1".into(), Amount::new(5).unwrap());
    let said = RechargeSaid { channel, transaction, user: UserId(1), asset: COIN, amount };
    for comes_late in [true, false] {
        let (mut shard, command, need) = asked_about(said.user, said.id());
        let nothing = WalletRow::Receipt(None);
        if !comes_late {
            assert_eq!(shard.arrived(&need, nothing.clone()), Ok(true));
            assert_eq!(missing(&shard, &command), []);
        }
        let stored = accept_and_forget(&mut shard, &said);
        assert_eq!(missing(&shard, &command), std::slice::from_ref(&need), "only the store can tell now");
        assert_eq!(shard.arrived(&need, nothing), Ok(false), "it is asked once more");
        assert_eq!(shard.arrived(&need, WalletRow::Receipt(Some(stored))), Ok(true));
        assert_eq!(missing(&shard, &command), []);
        let decided = shard.decide(&command, Time(1_000_000));
        assert!(
            matches!(decided, Decision::Told(WalletOutcome::Receipt { found: Some(found), .. }) if found.seq == Seq(1))
        );
    }
}

#[test]
fn what_the_replay_brought_stays_until_the_row_that_it_is_laid_over_is_here() {
    let mut setup = Setup::default();
    setup.wallets.wallets_max = 0;
    let mut teller = Teller::new(setup);
    teller.run("recharge t1 ann 10; flush 0; recharge t2 ann 5; restart 0; hold store; read ann");
    // The store is read now, and answers only when the newer row is in it.
    let need = teller.world.hosts[0].fetches.pop_front().unwrap();
    let row = teller.world.look_up(0, &need);
    teller.run("flush 0; tick 0; tick 0; say the old row comes");
    teller.world.hosts[0].shard.arrived(&need, Some(row));
    teller.run("tick 0");
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        t2 ok: event 2, total 5, balance 15
        -- the old row comes
        read ann as of 2: coin 15
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn what_the_replay_touched_is_laid_over_the_rows() {
    check(
        "recharge t1 ann 10; recharge t2 ann 5 diamond; flush 0; recharge t3 ann 1; restart 0; read ann
         recharge t4 ann 1 point; restart 0; flush 0; read ann; gift g1 ann x1 @11 > gus; read ann",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            t2 ok: event 2, total 5, balance 5
            t3 ok: event 3, total 1, balance 11
            read ann as of 3: coin 11, diamond 5
            t4 ok: event 4, total 1, balance 1
            read ann as of 4: coin 11, diamond 5, point 1
            g1 ok: event 5, total 11, balance 0
            read ann as of 5: coin 0, diamond 5, point 1
        "#]],
    );
}

#[test]
fn a_wallet_leaves_memory_only_when_it_is_flushed_and_nobody_waits_for_it() {
    let mut setup = Setup::default();
    setup.wallets.wallets_max = 2;
    let mut teller = Teller::new(setup);
    teller.run("recharge t1 ann 10; recharge t2 cat 10; recharge t3 eve 10; recharge t4 gus 10");
    let resident = |teller: &Teller| teller.world.hosts[0].shard.machine().resident();
    teller.run("tick 0; tick 0");
    assert_eq!(resident(&teller), 4, "nothing is flushed");
    teller.run("flush 0; tick 0");
    assert!(resident(&teller) <= 2, "what is flushed may go");
    teller.run("read ann; read cat; read eve; read gus; flush 0");
    // Those who are waited for stay.
    teller.run("hold store; read ann; read cat; read eve; read gus; tick 0; tick 0; go store; tick 0; tick 0");
    assert!(resident(&teller) <= 2);
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        t2 ok: event 2, total 10, balance 10
        t3 ok: event 3, total 10, balance 10
        t4 ok: event 4, total 10, balance 10
        read ann as of 4: coin 10
        read cat as of 4: coin 10
        read eve as of 4: coin 10
        read gus as of 4: coin 10
        read ann as of 4: coin 10
        read cat as of 4: coin 10
        read eve as of 4: coin 10
        read gus as of 4: coin 10
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn a_full_window_says_so_until_the_store_has_taken_some() {
    let mut setup = Setup::default();
    setup.wallets.window = WindowLimits { bytes_max: 1_500, age_millis: 1_000_000 };
    let mut teller = Teller::new(setup);
    let is_full = |teller: &Teller| teller.world.hosts[0].shard.machine().is_full();
    for number in 0..40 {
        teller.run(&format!("recharge t{number} ann 1"));
    }
    assert!(is_full(&teller));
    teller.run("tick 0");
    assert!(is_full(&teller), "nothing is flushed");
    teller.run("flush 0");
    assert!(!is_full(&teller));
    teller.told.clear();
    teller.run("recharge t0 ann 1; recharge t39 ann 1; read ann");
    expect![[r#"
        t0 again: event 1, total 1, balance 1
        t39 again: event 40, total 1, balance 40
        read ann as of 40: coin 40
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn a_batch_that_does_not_fit_one_record_rests_on_its_last() {
    let mut setup = Setup::default();
    setup.shard.record_bytes = 20;
    setup.shard.records_in_flight = 1;
    let mut teller = Teller::new(setup);
    teller.run("recharge t1 ann 10; read gus; hold log");
    teller.run("gift g1 ann x1 @1 > gus & gift g2 ann x1 @1 > gus & gift g3 ann x1 @1 > gus & read ann");
    let records = teller.world.hosts[0].appends.len();
    assert!(records > 1, "{records}");
    teller.run(&format!("go log {}; say all but one; go log 1", records - 1));
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        read gus as of 1: nothing
        -- all but one
        g1 ok: event 2, total 1, balance 9
        g2 ok: event 3, total 1, balance 8
        g3 ok: event 4, total 1, balance 7
        read ann as of 4: coin 7
    "#]]
    .assert_eq(&teller.told);
    assert_eq!(teller.world.last(0), Seq(4));
}

#[test]
fn a_crash_between_two_records_of_a_batch_keeps_the_first_and_answers_nobody() {
    let mut setup = Setup::default();
    setup.shard.record_bytes = 1;
    check_with(
        setup,
        "recharge t1 ann 10; hold log; gift g1 ann x1 @1 > gus & gift g2 ann x1 @2 > gus; go log 1; crash 0; go log
         gift g1 ann x1 @1 > gus & gift g2 ann x1 @2 > gus; read ann",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            g1 again: event 2, total 1, balance 9
            g2 ok: event 3, total 2, balance 7
            read ann as of 3: coin 7
        "#]],
    );
}

#[test]
fn a_store_that_is_ahead_of_the_log_stops_the_shard() {
    let mut teller = Teller::new(Setup::default());
    teller.run("hold store; read ann");
    let need = teller.world.hosts[0].fetches.pop_front().unwrap();
    let (user, amount) = (user(teller.world.shape, "ann"), crate::units::Amount::ZERO);
    let row = crate::store::BalanceRow { user, asset: COIN, amount, seq: Seq(9) };
    teller.world.hosts[0].shard.arrived(&need, Some(crate::wallet::wallets::WalletRow::Balances(vec![row])));
    teller.run("say it stops");
    assert_eq!(teller.world.hosts[0].id, ShardId::wallet(0));
    expect![[r#"
        -- it stops
        wallet-0 stops: the store has a balance of user 96737 from event 9 of wallet-0, whose log ends at 0: the log lost records
    "#]].assert_eq(&teller.told);
}

fn anyone_can_append() -> Setup {
    Setup { fencing: crate::log::Fencing::ByPosition, ..Setup::default() }
}

#[test]
fn where_anyone_can_append_reads_and_refusals_wait_for_a_record_of_their_own() {
    let mut teller = Teller::new(anyone_can_append());
    teller.run("recharge t1 ann 10; hold log; read ann");
    assert_eq!(teller.world.hosts[0].appends.len(), 1, "an idle shard appends an empty record");
    teller.run("say not yet; go log; hold log; gift g1 ann x1 @11 > gus");
    teller.run("say not yet; go log; hold log; find ann g1; say not yet; go log");
    // What is decided with an event rests on the event's record.
    teller.run("hold log; gift g1 ann x1 @1 > gus & read ann & gift g2 ann x1 @11 > gus");
    assert_eq!(teller.world.hosts[0].appends.len(), 1);
    teller.run("say not yet; go log; restart 0; read ann");
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        -- not yet
        read ann as of 1: coin 10
        -- not yet
        g1 refused: 10 is less than 11
        -- not yet
        find g1 not found at 1000000000
        -- not yet
        g1 ok: event 2, total 1, balance 9
        read ann as of 2: coin 9
        g2 refused: 9 is less than 11
        read ann as of 2: coin 9
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn where_anyone_can_append_an_owner_that_was_replaced_answers_nobody() {
    let mut teller = Teller::new(anyone_can_append());
    teller.run("recharge t1 ann 10");
    // Another process claims the shard. This owner does not know, and is asked for a balance.
    teller.world.hosts[0].log.put(&crate::record::encode_claim(crate::wallet::tests::disk::claim(99)));
    teller.run("read ann; say it stops");
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        wallet-0 stops: another owner claimed the shard at 2
        -- it stops
    "#]]
    .assert_eq(&teller.told);
}
