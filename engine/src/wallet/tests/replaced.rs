//! Owners that were replaced and do not know it yet: what they hear and decide must do no harm.

use expect_test::expect;

use crate::log::Fencing;
use crate::record::encode_claim;
use crate::relay::Acknowledged;
use crate::store::BalanceRow;
use crate::units::{Amount, Seq, ShardId};
use crate::wallet::tests::disk::claim;
use crate::wallet::tests::script::{COIN, Teller, check, user};
use crate::wallet::tests::world::Setup;
use crate::wallet::wallets::{AcknowledgedBy, WalletLimits};

fn anyone_appends() -> Setup {
    Setup { fencing: Fencing::ByPosition, ..Setup::default() }
}

/// Shard 1 has applied events of shard 0 that its owner here knows nothing of.
fn hear_from_the_future(teller: &mut Teller) {
    let answer = Acknowledged { source: 0, watermark: Seq(50), received: Default::default() };
    let now = teller.world.now;
    teller.world.hosts[0].shard.signal(AcknowledgedBy { destination: ShardId::wallet(1), answer }, now);
}

#[test]
fn an_owner_that_hears_of_unknown_events_was_replaced_unless_it_proves_otherwise() {
    let mut teller = Teller::new(anyone_appends());
    teller.run("recharge t1 ann 10; hold log");
    hear_from_the_future(&mut teller);
    teller.run("recharge t2 ann 5; say it decides nothing before it has its proof");
    teller.world.hosts[0].log.put(&encode_claim(claim(9)));
    teller.run("go log");
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        -- it decides nothing before it has its proof
        wallet-0 stops: another owner claimed the shard at 2
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn an_owner_that_proves_to_be_the_owner_halts_on_a_contradiction() {
    let mut teller = Teller::new(anyone_appends());
    teller.run("recharge t1 ann 10");
    hear_from_the_future(&mut teller);
    teller.run("tick 0");
    expect![[r#"
        t1 ok: event 1, total 10, balance 10
        wallet-0 stops: wallet-1 has applied wallet-0 up to event 50, which ends at 1: the log lost records
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn an_owner_that_reads_a_row_of_the_next_owners_events_was_replaced_unless_it_proves_otherwise() {
    for spends in ["gift g1 gus x1 @900 > ann", "move m1 gus coin:900 > ann:coin:900"] {
        let mut teller = Teller::new(anyone_appends());
        teller.run("recharge t1 ann 10");
        // The next owner's event 1 was another one.
        let (amount, seq) = (Amount::new(1_000).unwrap(), Seq(1));
        let row = BalanceRow { user: user(teller.world.shape, "gus"), asset: COIN, amount, seq };
        teller.world.store.put_balance(teller.world.hosts[0].id, row);
        teller.run(&format!("hold log; {spends}"));
        teller.world.hosts[0].log.put(&encode_claim(claim(9)));
        teller.run("go log");
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            wallet-0 stops: another owner claimed the shard at 2
        "#]]
        .assert_eq(&teller.told);
    }
}

#[test]
fn only_durable_events_are_settled() {
    let mut teller = Teller::new(anyone_appends());
    teller.run("recharge t1 ann 10; hold log; recharge t2 ann 5");
    let settled = |teller: &Teller| teller.world.hosts[0].shard.machine().settled();
    assert_eq!(settled(&teller), Seq(1), "in the log, event 2 may be another one, and on its way to another shard");
    teller.run("go log");
    assert_eq!(settled(&teller), Seq(2));
}

#[test]
fn a_wallet_stays_while_what_changed_it_may_not_be_in_the_log() {
    let wallets = WalletLimits { wallets_max: 0, ..Setup::default().wallets };
    let mut teller = Teller::new(Setup { wallets, ..anyone_appends() });
    teller.run("recharge t1 ann 10; hold log; recharge t2 ann 5");
    let now = teller.world.now;
    // Another owner's event 2, moved to the store by a flusher that reads the log.
    teller.world.hosts[0].shard.flushed(Seq(2), now);
    assert_eq!(teller.world.hosts[0].shard.machine().resident(), 1);
    teller.run("go log; tick 0");
    assert_eq!(teller.world.hosts[0].shard.machine().resident(), 0, "the news was not forgotten meanwhile");
}

#[test]
fn a_receipt_is_found_however_old_its_id_is() {
    check(
        "recharge t1 ann 10; gift g1 ann x1 @4 > gus; flush 0; restart 0; clock 4000000; recharge t2 ann 1
         find ann g1; gift g1 ann x1 @4 > gus; read ann",
        expect![[r#"
            t1 ok: event 1, total 10, balance 10
            g1 ok: event 2, total 4, balance 6
            t2 ok: event 3, total 1, balance 7
            find g1 found: event 2
            g1 refused: the id is from before 1000400000, of which history is no longer kept
            read ann as of 3: coin 7
        "#]],
    );
}

#[test]
fn an_answer_to_the_owner_before_is_no_loss() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; hold acks; gift g1 ann x1 @5 > bob");
    let old = teller.world.acks[0].1.clone();
    teller.run("go acks; gift g2 ann x1 @7 > bob; tick 0; flush 0; hold wire; restart 0");
    let now = teller.world.now;
    teller.world.hosts[0].shard.signal(old, now);
    teller.run("go wire; gift g3 ann x1 @9 > bob; tick 500; read bob");
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 5, balance 95
        g2 ok: event 3, total 7, balance 88
        g3 ok: event 4, total 9, balance 79
        read bob as of 3: coin 21
    "#]]
    .assert_eq(&teller.told);
}

#[test]
fn a_clock_that_is_set_back_does_not_delay_what_has_to_be_sent_again() {
    let mut teller = Teller::new(Setup::default());
    teller.run("recharge t1 ann 100; tick 3600000; hold wire; gift g1 ann x1 @5 > bob; drop 0");
    teller.world.now = crate::wallet::tests::world::START;
    teller.run("tick 0; tick 500; wire");
    expect![[r#"
        t1 ok: event 1, total 100, balance 100
        g1 ok: event 2, total 5, balance 95
        0 to 1: (0, 2] brings coin 5 after nothing
    "#]]
    .assert_eq(&teller.told);
}
