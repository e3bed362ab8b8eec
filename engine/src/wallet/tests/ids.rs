//! An id is judged before anything else, and what was accepted stays accepted.

use expect_test::expect;

use crate::wallet::tests::script::{check, check_with};
use crate::wallet::tests::world::Setup;
use crate::wallet::window::WindowLimits;

fn short_memory() -> Setup {
    let mut setup = Setup::default();
    setup.wallets.window = WindowLimits { bytes_max: 1 << 20, age_millis: 10 };
    setup
}

#[test]
fn a_repeated_gift_pays_once_and_tells_the_first_receipt() {
    check(
        "recharge t1 ann 100; gift g1 ann x3 @10 > gus; gift g2 ann x1 @1 > gus; gift g1 ann x3 @10 > gus; read ann",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 30, balance 70
            g2 ok: event 3, total 1, balance 69
            g1 again: event 2, total 30, balance 70
            read ann as of 3: coin 69
        "#]],
    );
}

#[test]
fn a_retry_finds_its_receipt_before_price_gift_room_host_money_or_deadline_of_the_event_matter() {
    check(
        "recharge t1 ann 10; gift g1 ann x1 @10 > gus by=100000
         gift g1 ann x1 @12 > gus; gift g1 ann x1 @10 > gus why=price; gift g1 ann x1 @10 > gus why=withdrawn
         gift g1 ann x1 @10 > gus why=left; gift g1 ann x1 @10 > gus why=closed
         gift g2 ann x1 @10 > gus why=closed; gift g2 ann x1 @10 > gus why=withdrawn; gift g2 ann x1 @10 > gus why=left",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            g1 ok: event 2, total 10, balance 0
            g1 again: event 2, total 10, balance 0
            g1 again: event 2, total 10, balance 0
            g1 again: event 2, total 10, balance 0
            g1 again: event 2, total 10, balance 0
            g1 again: event 2, total 10, balance 0
            g2 refused: room 1 is closed
            g2 refused: gift 1 is not in the catalog
            g2 refused: user 102726 is not a host of room 1
        "#]],
    );
}

#[test]
fn another_body_under_a_used_id_is_refused_whatever_differs() {
    check(
        "recharge t1 ann 100; recharge t2 bob 100; gift g1 ann x3 @10 > gus bob combo=4
         gift g1 ann x4 @10 > gus bob combo=4; gift g1 ann x3 @10 > gus combo=4; gift g1 ann x3 @10 > bob gus combo=4
         gift g1 ann x3 @10 > gus hal combo=4; gift g1 ann x3 @10 > gus bob combo=5; gift g1 ann x3 @10 > gus bob
         gift g1 ann x3 @10 > gus bob combo=4 room=2; gift g1 ann x3 @10 > gus bob combo=4 kind=2
         move g1 ann coin:1 > gus:coin:1; say the spelling of the key does not matter
         gift g1 ann x3 @10 > gus bob combo=4 key=G1",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            t2 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 60, balance 40
            g1 refused: this id was used before for something else
            g1 refused: this id was used before for something else
            g1 refused: this id was used before for something else
            g1 refused: this id was used before for something else
            g1 refused: this id was used before for something else
            g1 refused: this id was used before for something else
            g1 refused: this id was used before for something else
            g1 refused: this id was used before for something else
            g1 refused: this id was used before for something else
            -- the spelling of the key does not matter
            g1 again: event 2, total 60, balance 40
        "#]],
    );
}

#[test]
fn a_gift_by_name_and_an_anonymous_one_are_different_gifts_also_out_of_the_store() {
    check_with(
        short_memory(),
        "recharge t1 ann 100; gift g1 ann x1 @1 > gus as=nobody; gift g1 ann x1 @1 > gus as=nobody
         gift g1 ann x1 @1 > gus; gift g2 ann x1 @1 > gus; gift g2 ann x1 @1 > gus as=nobody
         gift g3+60000 ann x1 @1 > gus; flush 0; clock 11; tick 0; say out of the store
         gift g1 ann x1 @1 > gus; gift g1 ann x1 @1 > gus as=nobody; gift g2 ann x1 @1 > gus as=nobody",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 1, balance 99
            g1 again: event 2, total 1, balance 99
            g1 refused: this id was used before for something else
            g2 ok: event 3, total 1, balance 98
            g2 refused: this id was used before for something else
            g3+60000 ok: event 4, total 1, balance 97
            -- out of the store
            g1 refused: this id was used before for something else
            g1 again: event 2, total 1, balance 99
            g2 refused: this id was used before for something else
        "#]],
    );
}

#[test]
fn another_body_of_a_transfer_is_refused_whatever_differs() {
    check(
        "recharge t1 ann 100; move m1 ann coin:5 > gus:coin:5 ref=a; move m1 ann coin:5 > gus:coin:5 ref=a
         move m1 ann coin:6 > gus:coin:6 ref=a; move m1 ann coin:5 > eve:coin:5 ref=a; move m1 ann coin:5 > gus:coin:5
         move m1 ann coin:5 > gus:coin:4 ref=a; gift m1 ann x1 @1 > gus",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            m1 ok: event 2, total 5, balance 95
            m1 again: event 2, total 5, balance 95
            m1 refused: this id was used before for something else
            m1 refused: this id was used before for something else
            m1 refused: this id was used before for something else
            m1 refused: this id was used before for something else
            m1 refused: this id was used before for something else
        "#]],
    );
}

#[test]
fn the_same_id_of_two_senders_is_two_gifts() {
    check(
        "recharge t1 ann 100; recharge t2 cat 100; recharge t3 bob 100
         gift g1 ann x1 @1 > gus; gift g1 cat x1 @1 > gus; gift g1 bob x1 @1 > gus; read gus",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            t2 ok: event 2, total 100, balance 100
            t3 ok: event 1, total 100, balance 100
            g1 ok: event 3, total 1, balance 99
            g1 ok: event 4, total 1, balance 99
            g1 ok: event 2, total 1, balance 99
            read gus as of 5: coin 3
        "#]],
    );
}

#[test]
fn an_id_may_be_a_minute_ahead_and_not_a_millisecond_more() {
    check(
        "recharge t1 ann 100; gift g1+60000 ann x1 @1 > gus; gift g2+60001 ann x1 @1 > gus
         clock 1; gift g2+60001 ann x1 @1 > gus; move m1+60001 ann coin:1 > gus:coin:1",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1+60000 ok: event 2, total 1, balance 99
            g2+60001 refused: the id's time is ahead of the shard's, which is 1000000000
            g2+60001 ok: event 3, total 1, balance 98
            m1+60001 refused: the id's time is ahead of the shard's, which is 1000000001
        "#]],
    );
}

#[test]
fn an_id_from_before_history_is_refused_and_never_judged_afresh() {
    check(
        "recharge t1 ann 100; gift g1-3600000 ann x1 @1 > gus; gift g2-3600001 ann x1 @1 > gus
         gift g3 ann x1 @1 > gus; flush 0; clock 3600001; tick 0; gift g3 ann x1 @1 > gus; gift g4-3600001 ann x1 @1 > gus",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1-3600000 ok: event 2, total 1, balance 99
            g2-3600001 refused: the id is from before 996400000, of which history is no longer kept
            g3 ok: event 3, total 1, balance 98
            g3 again: event 3, total 1, balance 98
            g4-3600001 refused: the id is from before 1000000001, of which history is no longer kept
        "#]],
    );
}

#[test]
fn an_id_from_before_history_is_refused_right_after_a_restart_too() {
    check(
        "recharge t1 ann 10; gift g1 ann x1 @4 > gus; clock 4000000; recharge t2 ann 1; flush 0; restart 0
         gift g1 ann x1 @4 > gus; read ann",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            g1 ok: event 2, total 4, balance 6
            t2 ok: event 3, total 1, balance 7
            g1 refused: the id is from before 1000400000, of which history is no longer kept
            read ann as of 3: coin 7
        "#]],
    );
}

#[test]
fn an_id_without_a_time_is_looked_up_and_found() {
    check_with(
        short_memory(),
        "recharge t1 ann 100; gift v4a ann x1 @1 > gus; gift v4a ann x1 @1 > gus; flush 0; clock 100; flush 0; tick 0
         gift v4a ann x1 @1 > gus; restart 0; gift v4a ann x1 @1 > gus; gift v4b ann x1 @1 > gus; find ann v4a
         find ann v4c",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            v4a ok: event 2, total 1, balance 99
            v4a again: event 2, total 1, balance 99
            v4a again: event 2, total 1, balance 99
            v4a again: event 2, total 1, balance 99
            v4b ok: event 3, total 1, balance 98
            find v4a found: event 2
            find v4c not found at 1000000100
        "#]],
    );
}

#[test]
fn a_retry_after_the_window_has_moved_on_still_gets_its_first_receipt() {
    check_with(
        short_memory(),
        "recharge t1 ann 100; gift g1 ann x1 @1 > gus; gift g2+60000 ann x1 @1 > gus; flush 0; clock 11; tick 0
         gift g1 ann x1 @1 > gus; gift g2+60000 ann x1 @1 > gus; gift g1 ann x2 @1 > gus; clock 3000000
         gift g1 ann x1 @1 > gus; recharge t1 ann 100; recharge t1 ann 101",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 1, balance 99
            g2+60000 ok: event 3, total 1, balance 98
            g1 again: event 2, total 1, balance 99
            g2+60000 again: event 3, total 1, balance 98
            g1 refused: this id was used before for something else
            g1 again: event 2, total 1, balance 99
            t1 again: event 1, total 100, balance 100
            t1 refused: this id was used before for something else
        "#]],
    );
}

#[test]
fn what_the_store_does_not_have_stays_in_the_window_however_old() {
    check_with(
        short_memory(),
        "recharge t1 ann 100; gift g1 ann x1 @1 > gus; clock 100000; tick 0; away; gift g1 ann x1 @1 > gus
         gift g2 ann x1 @1 > gus; gift g3-100000 ann x1 @1 > gus",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 1, balance 99
            g1 again: event 2, total 1, balance 99
            g2 ok: event 3, total 1, balance 98
            g3-100000 ok: event 4, total 1, balance 97
        "#]],
    );
}

#[test]
fn after_a_restart_retries_find_what_was_accepted_before_it() {
    check(
        "recharge t1 ann 100; gift g1 ann x1 @1 > gus; flush 0; gift g2+60000 ann x1 @1 > gus; restart 0
         gift g1 ann x1 @1 > gus; gift g2+60000 ann x1 @1 > gus; flush 0; restart 0
         gift g1 ann x1 @1 > gus; gift g2+60000 ann x1 @1 > gus; recharge t1 ann 100; read ann",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 1, balance 99
            g2+60000 ok: event 3, total 1, balance 98
            g1 again: event 2, total 1, balance 99
            g2+60000 again: event 3, total 1, balance 98
            g1 again: event 2, total 1, balance 99
            g2+60000 again: event 3, total 1, balance 98
            t1 again: event 1, total 100, balance 100
            read ann as of 3: coin 98
        "#]],
    );
}

#[test]
fn what_was_not_durable_is_decided_afresh_after_a_crash() {
    check(
        "recharge t1 ann 10; hold log; gift g1 ann x1 @10 > gus; gift g2 ann x1 @10 > gus; crash 0; go log
         gift g2 ann x1 @10 > gus; gift g1 ann x1 @10 > gus; read ann; read gus",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            g2 ok: event 2, total 10, balance 0
            g1 refused: 0 is less than 10
            read ann as of 2: coin 0
            read gus as of 2: coin 10
        "#]],
    );
}

#[test]
fn a_refused_command_leaves_no_trace() {
    check(
        "gift g1 ann x1 @10 > gus; find ann g1; recharge t1 ann 10; gift g1 ann x1 @10 > gus; find ann g1",
        expect![[r#"
            g1 refused: 0 is less than 10
            find g1 not found at 1000000000
            t1 ok: event 1, total 10, balance 10
            g1 ok: event 2, total 10, balance 0
            find g1 found: event 2
        "#]],
    );
}

#[test]
fn a_transaction_pays_once_and_belongs_to_one_recharge() {
    check(
        "bind t1 ann 100; bind t1 ann 100; recharge t1 ann 100; recharge t1 ann 100
         bind t1 cat 100; bind t1 ann 101; bind t1 ann 100 diamond; recharge t1 ann 101; recharge t1 ann 100 diamond
         recharge t1 ann 7 via=apple; bind t1 ann 7 via=apple; flush 0; restart 0; bind t1 ann 100; bind t1 cat 100
         recharge t1 ann 100; read ann",
        expect![[r#"
            t1 bound
            t1 bound
            t1 ok: event 2, total 100, balance 100
            t1 again: event 2, total 100, balance 100
            t1 refused: this id was used before for something else
            t1 refused: this id was used before for something else
            t1 refused: this id was used before for something else
            t1 refused: this id was used before for something else
            t1 refused: this id was used before for something else
            t1 ok: event 3, total 7, balance 107
            t1 bound
            t1 bound
            t1 refused: this id was used before for something else
            t1 again: event 2, total 100, balance 100
            read ann as of 4: coin 107
        "#]],
    );
}
