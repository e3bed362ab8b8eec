//! What others find in Redis.

use largesse_engine::units::{Amount, Seq, UserId};
use largesse_storage::mirror::{MirrorOptions, read_account};

use crate::server::{Redis, until};
use crate::world::{SHAPE, World, single};

#[tokio::test]
async fn what_was_flushed_is_there_with_its_position_and_its_time_to_live() {
    let Some(redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    world.has(1, &[(3001, 100)]).await;
    world.has(2, &[(3001, 95)]).await;
    let key = "I.asset.3001.coin";
    until("the newest balance", || redis.field(key, "amount").as_deref() == Some("95")).await;
    let shard = SHAPE.wallet_of(UserId(3001));
    assert_eq!(redis.field(key, "seq").as_deref(), Some("2"));
    assert_eq!(redis.field(key, "shard"), Some(shard.index.to_string()));
    let lives = |key: &str| redis.ask::<i64>(&["TTL", key]);
    let about = |seconds: i64, days: i64| (days * 86_400 - 60..=days * 86_400).contains(&seconds);
    assert!(about(lives(key), 1), "{}", lives(key));
    until("the user", || redis.field("I.user.3001", "seq").as_deref() == Some("2")).await;
    assert!(about(lives("I.user.3001"), 1) && about(lives("I.gift.1"), 7) && about(lives("I.room.1001"), 1));
    let position = format!("I.position.{shard}");
    until("the position", || redis.field(&position, "seq").as_deref() == Some("2")).await;

    let account = read_account(&single(&redis), shard, UserId(3001), &["coin".into(), "point".into()]).await.unwrap();
    assert_eq!(account.position.unwrap().seq, Seq(2));
    let [balance] = &account.balances[..] else { panic!("{account:?}") };
    assert_eq!((balance.amount, balance.as_of.seq), (Amount::new(95).unwrap(), Seq(2)));
}

#[tokio::test]
async fn a_mirror_that_is_behind_changes_nothing() {
    let Some(redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    let behind = World::start(single(&redis)).await;
    world.has(1, &[(3001, 100)]).await;
    world.has(2, &[(3001, 90)]).await;
    until("the newest balance", || redis.field("I.asset.3001.coin", "amount").as_deref() == Some("90")).await;
    // The same shard as another process sees it, which is not as far, and then a user that only it has flushed.
    behind.has(1, &[(3001, 100)]).await;
    behind.has(2, &[(3002, 7)]).await;
    until("the other's write", || redis.field("I.asset.3002.coin", "amount").as_deref() == Some("7")).await;
    assert_eq!(redis.field("I.asset.3001.coin", "amount").as_deref(), Some("90"));
}

#[tokio::test]
async fn a_ledger_that_was_begun_anew_wins_over_what_is_left_of_the_old_one() {
    let Some(redis) = Redis::start() else { return };
    let old = World::start(single(&redis)).await;
    old.has(900, &[(3001, 100)]).await;
    until("the old balance", || redis.field("I.asset.3001.coin", "amount").as_deref() == Some("100")).await;
    old.mirror.stop().await;
    let new = World::start(single(&redis)).await;
    for seq in 1..=5 {
        new.has(seq, &[(3001, seq)]).await;
    }
    until("the new balance", || redis.field("I.asset.3001.coin", "amount").as_deref() == Some("5")).await;
}

#[tokio::test]
async fn other_ledgers_have_keys_of_their_own_and_foreign_values_stay() {
    let Some(redis) = Redis::start() else { return };
    redis.ask::<()>(&["SET", "I.asset.3001.coin", "17"]);
    let main = World::start(single(&redis)).await;
    let shadow = World::start(MirrorOptions { prefix: "shadow:".into(), ..single(&redis) }).await;
    main.has(1, &[(3001, 1), (3002, 2)]).await;
    shadow.has(1, &[(3001, 3)]).await;
    until("both ledgers", || {
        redis.field("I.asset.3002.coin", "amount").as_deref() == Some("2")
            && redis.field("shadow:I.asset.3001.coin", "amount").as_deref() == Some("3")
    })
    .await;
    assert_eq!(redis.ask::<String>(&["GET", "I.asset.3001.coin"]), "17", "somebody else's, and no hash");
}
