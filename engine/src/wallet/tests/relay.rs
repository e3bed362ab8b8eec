//! Credits on their way from shard to shard: lost, repeated, reordered, and across restarts of either side.

use std::fmt::Write;

use expect_test::expect;

use crate::per_asset::PerAsset;
use crate::wallet::command::WalletCommand;
use crate::wallet::outcome::WalletOutcome;
use crate::wallet::tests::script::{COIN, Teller, check, outcome_text, user};
use crate::wallet::tests::world::{Asker, Setup};

#[test]
fn a_lost_or_doubled_relay_part_changes_nothing_and_a_wrong_total_stops_the_pair() {
    check(
        "recharge t1 ann 100; hold wire; gift g1 ann x1 @1 > bob; gift g2 ann x1 @2 > bob; gift g3 ann x1 @4 > bob
         copy 0; copy 1; swap 0 2; wire; go wire; read bob; say the order was wrong, so all is sent again
         tick 500; read bob; hold wire; gift g4 ann x1 @8 > bob; drop 0; tick 500; wire; go wire; read bob",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 1, balance 99
            g2 ok: event 3, total 2, balance 97
            g3 ok: event 4, total 4, balance 93
            0 to 1: (3, 4] brings coin 4 after coin 3
            0 to 1: (2, 3] brings coin 2 after coin 1
            0 to 1: (0, 2] brings coin 1 after nothing
            0 to 1: (0, 2] brings coin 1 after nothing
            0 to 1: (2, 3] brings coin 2 after coin 1
            read bob as of 1: coin 1
            -- the order was wrong, so all is sent again
            read bob as of 3: coin 7
            g4 ok: event 5, total 8, balance 85
            0 to 1: (4, 5] brings coin 8 after coin 7
            read bob as of 4: coin 15
        "#]],
    );
    // The same part with one coin less before it: a coin was lost, or doubled, before.
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; gift g1 ann x1 @5 > bob; hold wire; gift g2 ann x1 @2 > bob");
    *teller.world.wire[0].1.before.entry(COIN) -= 1;
    teller.run("go wire");
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 5, balance 95
        g2 ok: event 3, total 2, balance 93
        wallet-1 stops: wallet-0 and wallet-1 disagree at event 2: sent PerAsset([(AssetId(1), 4)]), received PerAsset([(AssetId(1), 5)]); something between them was lost or doubled
    "#]].assert_eq(&teller.told);
}

#[test]
fn a_wrong_total_in_an_answer_stops_the_source() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; hold acks; gift g1 ann x1 @5 > bob");
    *teller.world.acks[0].1.answer.received.entry(COIN) += 1;
    teller.run("go acks");
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 5, balance 95
        wallet-0 stops: wallet-0 and wallet-1 disagree at event 2: sent PerAsset([(AssetId(1), 5)]), received PerAsset([(AssetId(1), 6)]); something between them was lost or doubled
    "#]].assert_eq(&teller.told);
}

#[test]
fn a_destination_that_knows_events_nobody_has_stops_the_source() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; hold acks; gift g1 ann x1 @5 > bob");
    teller.world.acks[0].1.answer.watermark = crate::units::Seq(77);
    teller.run("go acks");
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 5, balance 95
        wallet-0 stops: wallet-1 has applied wallet-0 up to event 77, which ends at 2: the log lost records
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn a_lost_answer_is_made_up_for_by_sending_again() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; hold acks; gift g1 ann x1 @5 > bob; lose acks; go acks; read bob");
    assert_eq!(teller.world.hosts[0].shard.machine().outbox().waiting(), 1);
    teller.run("tick 499; tick 1; read bob");
    assert_eq!(teller.world.hosts[0].shard.machine().outbox().waiting(), 0);
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 5, balance 95
        read bob as of 1: coin 5
        read bob as of 1: coin 5
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn answers_that_were_overtaken_change_nothing() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; hold acks; gift g1 ann x1 @5 > bob; gift g2 ann x1 @6 > bob");
    teller.world.acks.swap(0, 1);
    teller.run("go acks; gift g3 ann x1 @7 > bob; read bob; read ann");
    assert_eq!(teller.world.hosts[0].shard.machine().outbox().waiting(), 0);
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 5, balance 95
        g2 ok: event 3, total 6, balance 89
        g3 ok: event 4, total 7, balance 82
        read bob as of 3: coin 18
        read ann as of 4: coin 82
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn nothing_is_sent_before_it_is_durable() {
    check(
        "recharge t1 ann 100; hold wire; hold log; gift g1 ann x1 @5 > bob; wire; say only now
         go log; wire; go wire; read bob",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            -- only now
            g1 ok: event 2, total 5, balance 95
            0 to 1: (0, 2] brings coin 5 after nothing
            read bob as of 1: coin 5
        "#]],
    );
}

#[test]
fn the_answer_waits_until_the_credits_are_durable() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; hold wire; gift g1 ann x1 @5 > bob; hold log; go wire; hold acks");
    assert!(teller.world.acks.is_empty());
    teller.run("crash 1; go log; read bob; go acks; tick 500; read bob");
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 5, balance 95
        read bob as of 0: nothing
        read bob as of 1: coin 5
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn what_waits_while_the_destination_is_away_is_merged() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 1000; hold wire");
    for number in 0..200 {
        teller.run(&format!("gift g{number} ann x1 @1 > bob hal"));
    }
    assert_eq!(teller.world.wire.len(), 32, "as many parts as may be under way");
    assert_eq!(teller.world.hosts[0].shard.machine().outbox().waiting(), 33, "the rest is one");
    teller.told.clear();
    teller.run("go wire; tick 500; read bob; read hal; read ann");
    expect![[r#"
        read bob as of 33: coin 200
        read hal as of 33: coin 200
        read ann as of 201: coin 600
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn many_gifts_to_one_host_arrive_as_few_credits() {
    let mut teller = Teller::new(Setup::default());
    teller.world.is_accumulated = true;
    teller.run("recharge t1 ann 1000; hold wire");
    for batch in 0..20 {
        let gifts: Vec<_> = (0..50).map(|number| format!("gift g{batch}.{number} ann x1 @1 > bob")).collect();
        teller.run(&gifts.join(" & "));
    }
    teller.told.clear();
    teller.run("go wire; read bob");
    // A thousand gifts, and as the first event of the host's shard says, one credit.
    expect![[r#"
        read bob as of 1: coin 1000
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn a_restarted_source_asks_and_goes_on_from_where_the_destination_stands() {
    check(
        "recharge t1 ann 100; gift g1 ann x1 @1 > bob; flush 0; hold wire; gift g2 ann x1 @2 > bob
         go wire 1; gift g3 ann x1 @4 > bob; restart 0; go wire; read bob; tick 500; read bob; gift g4 ann x1 @8 > bob
         read bob",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 1, balance 99
            g2 ok: event 3, total 2, balance 97
            g3 ok: event 4, total 4, balance 93
            read bob as of 3: coin 7
            read bob as of 3: coin 7
            g4 ok: event 5, total 8, balance 85
            read bob as of 4: coin 15
        "#]],
    );
}

#[test]
fn events_before_the_checkpoint_that_were_not_acknowledged_are_handed_on_again() {
    check(
        "recharge t1 ann 100; gift g1 ann x1 @1 > bob; hold wire; gift g2 ann x1 @2 > bob; gift g3 ann x1 @4 > hal
         flush 0; drop 0; drop 0; gift g4 ann x1 @8 > bob; drop 0; restart 0; wire; go wire; read bob; read hal",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 1, balance 99
            g2 ok: event 3, total 2, balance 97
            g3 ok: event 4, total 4, balance 93
            g4 ok: event 5, total 8, balance 85
            0 to 1: (0, 0] brings nothing after nothing
            read bob as of 3: coin 3
            read hal as of 3: coin 4
        "#]],
    );
}

/// The destination stands at every possible place of what the source reads again after its restart, whichever part of
/// that is in the checkpoint.
#[test]
fn wherever_the_destination_stands_after_a_restart_the_source_cuts_there() {
    let gifts = 40;
    for flushed in [0, 1, 3, gifts] {
        for applied in 0..=gifts {
            let mut teller = Teller::new(Setup::default());
            teller.run("recharge t1 ann 1000");
            for number in 0..gifts {
                if number == flushed {
                    teller.run("flush 0");
                }
                // From here on nothing is heard of the destination, but what was sent arrives up to a point.
                teller.run(if number < applied { "go wire; hold acks" } else { "hold wire" });
                teller.world.acks.clear();
                teller.run(&format!("tick 500; gift g{number} ann x1 @1 > bob"));
            }
            teller.told.clear();
            teller.world.wire.clear();
            teller.world.acks.clear();
            teller
                .run("restart 0; go wire; go acks; tick 500; tick 500; tick 500; read bob; gift last ann x1 @1 > bob");
            let what = format!("{flushed} in the checkpoint, {applied} applied: {}", teller.told);
            assert!(teller.told.contains(&format!("coin {gifts}")), "{what}");
            assert!(!teller.told.contains("stops"), "{what}");
            assert_eq!(teller.world.hosts[0].shard.machine().outbox().waiting(), 0, "{what}");
        }
    }
}

#[test]
fn a_restarted_destination_still_knows_what_it_has_applied() {
    check(
        "recharge t1 ann 100; gift g1 ann x1 @1 > bob; hold acks; gift g2 ann x1 @2 > bob; lose acks; restart 1
         go acks; tick 500; read bob; flush 1; restart 1; gift g3 ann x1 @4 > bob; read bob",
        expect![[r#"
            t1 ok: event 1, total 100, balance 100
            g1 ok: event 2, total 1, balance 99
            g2 ok: event 3, total 2, balance 97
            read bob as of 2: coin 3
            g3 ok: event 4, total 4, balance 93
            read bob as of 3: coin 7
        "#]],
    );
}

/// One source's stale part or question travels with another source's good part: both must be told where they stand.
#[test]
fn a_source_is_told_where_it_stands_even_if_only_others_bring_something_new() {
    let mut teller = Teller::new(Setup { shards: 3, ..Setup::default() });
    // With three shards: ann and dan on 0, bob and eve on 1, cat on 2.
    teller.run("recharge t1 ann 100; recharge t2 bob 100; hold wire; gift g1 ann x1 @1 > cat; gift g2 bob x1 @2 > cat");
    let (_, from_ann) = teller.world.wire.pop_front().unwrap();
    let (_, from_bob) = teller.world.wire.pop_front().unwrap();
    teller.run("hold acks");
    let apply = |parts| vec![WalletCommand::ApplyCredits(parts)];
    teller.world.hosts[2].shard.submit(Asker::Relay, apply(vec![from_ann.clone()]));
    teller.world.run();
    teller.run("lose acks");
    // Ann's shard did not hear the answer and sends again, in one batch with Bob's part.
    teller.world.hosts[2].shard.submit(Asker::Relay, apply(vec![from_ann, from_bob]));
    teller.run("say both are answered");
    let mut told = String::new();
    for (source, by) in &teller.world.acks {
        writeln!(told, "wallet-{source} stands at {}", by.answer.watermark).unwrap();
    }
    teller.run("go acks; read cat");
    told += &teller.told;
    expect![[r#"
        wallet-0 stands at 2
        wallet-1 stands at 2
        t1 ok: event 1, total 100, balance 100
        t2 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 1, balance 99
        g2 ok: event 2, total 2, balance 98
        -- both are answered
        read cat as of 2: coin 3
    "#]]
    .assert_eq(&told);
}

#[test]
fn a_part_of_an_unknown_source_is_ignored() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; hold wire; gift g1 ann x1 @1 > bob");
    let (_, mut part) = teller.world.wire.pop_front().unwrap();
    part.source = 9;
    let caller = WalletCommand::ApplyCredits(vec![part]);
    teller.world.hosts[1].shard.submit(Asker::Caller(0), vec![caller]);
    teller.world.run();
    let (_, outcomes) = teller.world.answers.pop().unwrap();
    assert_eq!(outcomes, [WalletOutcome::Credits(Vec::new())], "{}", outcome_text(&outcomes[0]));
    let bob = user(teller.world.shape, "bob");
    assert_eq!(teller.world.store.balances(teller.world.hosts[1].id, bob), []);
    assert_eq!(teller.world.hosts[1].shard.machine().books().received_from(0).total, PerAsset::default());
}
