//! Who pays, who gets what, and what is refused.

use expect_test::expect;

use crate::wallet::tests::script::check;

#[test]
fn a_gift_debits_the_sender_and_credits_the_host_on_whichever_shard() {
    check(
        "recharge t1 ann 100; gift g1 ann x3 @10 > gus; gift g2 ann x1 @5 > bob
         read ann; read gus; read bob",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 30, balance 70
            g2 ok: event 3, total 5, balance 65
            read ann as of 3: coin 65
            read gus as of 3: coin 30
            read bob as of 1: coin 5
        "#]],
    );
}

#[test]
fn a_gift_to_several_hosts_pays_each_of_them() {
    check(
        "recharge t1 ann 100; gift g1 ann x2 @10 > gus bob hal eve; read gus; read bob; read hal; read eve; read ann",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 80, balance 20
            read gus as of 2: coin 20
            read bob as of 1: coin 20
            read hal as of 1: coin 20
            read eve as of 2: coin 20
            read ann as of 2: coin 20
        "#]],
    );
}

#[test]
fn a_share_is_rounded_down_and_the_receiver_gets_the_rest() {
    check(
        "recharge t1 ann 100; gift g1 ann x1 @7 > gus bob share=plat:300; read gus; read bob; read plat
         gift g2 ann x1 @7 > gus share=acme:999; read gus; read acme",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 14, balance 86
            read gus as of 2: coin 5
            read bob as of 1: coin 5
            read plat as of 1: coin 4
            g2 ok: event 3, total 7, balance 79
            read gus as of 3: coin 6
            read acme as of 3: coin 6
        "#]],
    );
}

#[test]
fn a_host_who_also_gets_the_share_is_credited_twice_in_one_event() {
    check(
        "recharge t1 ann 100; gift g1 ann x1 @10 > gus share=gus:300; read gus
         gift g2 ann x1 @10 > bob share=bob:300; read bob",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 10, balance 90
            read gus as of 2: coin 10
            g2 ok: event 3, total 10, balance 80
            read bob as of 1: coin 10
        "#]],
    );
}

#[test]
fn points_are_issued_to_the_sender() {
    check(
        "recharge t1 ann 100; gift g1 ann x1 @10 > gus points=4; gift g2 ann x1 @10 > bob points=4; read ann",
        expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 10, balance 90
        g2 ok: event 3, total 10, balance 80
        read ann as of 3: coin 80, point 8
    "#]],
    );
}

#[test]
fn the_last_coin_can_be_spent_and_not_one_more() {
    check(
        "recharge t1 ann 100; gift g1 ann x1 @101 > gus; gift g2 ann x1 @100 > gus; gift g3 ann x1 @1 > gus; read ann
         gift g4 cat x1 @1 > gus; read cat",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 refused: 100 is less than 101
            g2 ok: event 2, total 100, balance 0
            g3 refused: 0 is less than 1
            read ann as of 2: coin 0
            g4 refused: 0 is less than 1
            read cat as of 2: nothing
        "#]],
    );
}

#[test]
fn a_host_spends_what_has_arrived() {
    check(
        "recharge t1 ann 100; recharge t2 dan 50; gift g1 ann x1 @60 > gus; gift g2 gus x1 @60 > bob
         hold wire; gift g3 dan x1 @50 > eve; gift g4 eve x1 @50 > cat; go wire; gift g4 eve x1 @50 > cat; read cat",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            t2 ok: event 1, total 50, balance 50
            g1 ok: event 2, total 60, balance 40
            g2 ok: event 3, total 60, balance 0
            g3 ok: event 3, total 50, balance 0
            g4 refused: 0 is less than 50
            g4 ok: event 5, total 50, balance 0
            read cat as of 5: coin 50
        "#]],
    );
}

#[test]
fn two_users_who_gift_each_other_at_once_end_with_the_right_sums() {
    check(
        "recharge t1 ann 100; recharge t2 bob 100; hold log
         gift g1 ann x1 @70 > bob; gift g2 bob x1 @60 > ann; go log; read ann; read bob",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            t2 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 70, balance 30
            g2 ok: event 2, total 60, balance 40
            read ann as of 3: coin 90
            read bob as of 3: coin 110
        "#]],
    );
}

#[test]
fn no_shard_issues_more_than_its_part_of_the_largest_amount() {
    check(
        "recharge t1 ann max; recharge t2 ann half; recharge t3 cat 1; recharge t4 bob half; recharge t5 ann 1 diamond
         gift g1 ann x1 @1 > gus points=half; gift g2 ann x1 @1 > gus points=1; gift g3 ann x1 @1 > gus
         move m1 ann coin:10 > issue; recharge t3 cat 1; recharge t6 cat 9; recharge t7 cat 1",
        expect![[r#"
            t1 refused: no more of asset 1 can be issued here
            t2 ok: event 1, total 4503599627370495, balance 4503599627370495
            t3 refused: no more of asset 1 can be issued here
            t4 ok: event 1, total 4503599627370495, balance 4503599627370495
            t5 ok: event 2, total 1, balance 1
            g1 ok: event 3, total 1, balance 4503599627370494
            g2 refused: no more of asset 3 can be issued here
            g3 ok: event 4, total 1, balance 4503599627370493
            m1 ok: event 5, total 10, balance 4503599627370483
            t3 ok: event 6, total 1, balance 1
            t6 ok: event 7, total 9, balance 10
            t7 refused: no more of asset 1 can be issued here
        "#]],
    );
}

#[test]
fn the_whole_of_all_money_fits_one_account() {
    check(
        "recharge t1 ann half; recharge t2 bob half; gift g1 ann x1 @half > hal; gift g2 bob x1 @half > hal; read hal",
        expect![[r#"
            t1 ok: event 1, total 4503599627370495, balance 4503599627370495
            t2 ok: event 1, total 4503599627370495, balance 4503599627370495
            g1 ok: event 2, total 4503599627370495, balance 0
            g2 ok: event 3, total 4503599627370495, balance 0
            read hal as of 3: coin 9007199254740990
        "#]],
    );
}

#[test]
fn a_transfer_is_balanced_unless_it_may_issue() {
    check(
        "recharge t1 ann 100; recharge t2 ann 50 diamond
         move m1 ann coin:30 diamond:5 > gus:coin:10 bob:coin:20 bob:diamond:5; read gus; read bob; read ann
         move m2 ann coin:30 > gus:coin:29; move m3 ann > gus:coin:1; move m4 ann coin:1 >
         move m5 ann coin:30 > gus:coin:29 issue; move m6 ann > gus:coin:7 issue; move m7 ann coin:30 > issue
         move m8 ann coin:11 > gus:coin:11; move m9 ann coin:10 diamond:46 > gus:coin:10 gus:diamond:46
         read ann; read gus",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            t2 ok: event 2, total 50, balance 50
            m1 ok: event 3, total 30, balance 70
            read gus as of 3: coin 10
            read bob as of 1: coin 20, diamond 5
            read ann as of 3: coin 70, diamond 45
            m2 refused: credits and debits of asset 1 differ
            m3 refused: credits and debits of asset 1 differ
            m4 refused: credits and debits of asset 1 differ
            m5 ok: event 4, total 30, balance 40
            m6 ok: event 5, total 7, balance 0
            m7 ok: event 6, total 30, balance 10
            m8 refused: 10 is less than 11
            m9 refused: 45 is less than 46
            read ann as of 6: coin 10, diamond 45
            read gus as of 6: coin 46
        "#]],
    );
}

#[test]
fn a_transfer_may_credit_the_one_who_pays() {
    check(
        "recharge t1 ann 100; move m1 ann coin:100 > ann:coin:40 gus:coin:60; read ann; read gus",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            m1 ok: event 2, total 100, balance 40
            read ann as of 2: coin 40
            read gus as of 2: coin 60
        "#]],
    );
}

#[test]
fn what_is_past_its_deadline_is_never_decided() {
    check(
        "recharge t1 ann 100; hold store; gift v4a cat x1 @1 > gus by=50; gift g1 ann x1 @1 > gus by=0; clock 51
         go store; gift g2 ann x1 @1 > gus by=0; read ann
         recharge t2 ann 5 by=0; hold store; bind t3 ann 5 by=1; move v4m ann coin:1 > gus:coin:1 by=1; clock 2; go store
         gift v4a cat x1 @1 > gus",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 refused: its deadline has passed
            v4a refused: its deadline has passed
            g2 ok: event 2, total 1, balance 99
            read ann as of 2: coin 99
            t2 ok: event 3, total 5, balance 104
            t3 refused: its deadline has passed
            v4m refused: its deadline has passed
            v4a refused: 0 is less than 1
        "#]],
    );
}

#[test]
fn every_command_of_a_batch_has_its_own_answer() {
    check(
        "recharge t1 ann 10 & gift g1 ann x1 @10 > gus & gift g2 ann x1 @1 > gus & gift g1 ann x1 @10 > gus & read ann",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            g1 ok: event 2, total 10, balance 0
            g2 refused: 0 is less than 1
            g1 again: event 2, total 10, balance 0
            read ann as of 2: coin 0
        "#]],
    );
}

#[test]
fn a_whole_batch_to_one_receiver_adds_up() {
    check(
        "recharge t1 ann 10; recharge t2 bob 10
         gift g1 ann x1 @1 > hal & gift g2 ann x2 @2 > hal & move m1 ann coin:5 > hal:coin:5; read hal",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            t2 ok: event 1, total 10, balance 10
            g1 ok: event 2, total 1, balance 9
            g2 ok: event 3, total 4, balance 5
            m1 ok: event 4, total 5, balance 0
            read hal as of 2: coin 10
        "#]],
    );
}

#[test]
fn an_amount_of_zero_is_refused() {
    check(
        "recharge t1 ann 100; recharge t2 ann 0; move m1 ann coin:0 > gus:coin:0; move m2 ann coin:5 > gus:coin:5 gus:diamond:0",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            t2 refused: an amount of 0 changes nothing
            m1 refused: an amount of 0 changes nothing
            m2 refused: an amount of 0 changes nothing
        "#]],
    );
}
