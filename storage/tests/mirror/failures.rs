//! Redis that is lost, flushed, restarted and frozen. Flushes never wait for it, and it heals.

use std::time::{Duration, Instant};

use largesse_storage::mirror::MirrorOptions;

use crate::server::{Redis, until};
use crate::world::{World, single};

/// So much of each of these users is there.
fn shows(redis: &Redis, users: std::ops::Range<u64>, amount: u64) -> bool {
    let amount = amount.to_string();
    users.map(|user| redis.field(&format!("I.asset.{user}.coin"), "amount")).all(|told| told.as_ref() == Some(&amount))
}

fn users(amount: u64) -> Vec<(u64, u64)> {
    (1..50).map(|user| (user, amount)).collect()
}

#[tokio::test]
async fn a_flushed_redis_is_made_again_though_nothing_is_sent() {
    let Some(redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    world.has(1, &users(10)).await;
    until("all balances", || shows(&redis, 1..50, 10)).await;
    for _ in 0..3 {
        redis.ask::<()>(&["FLUSHALL"]);
        until("all balances again", || shows(&redis, 1..50, 10)).await;
        until("gifts again", || redis.field("I.gifts", "ids").as_deref() == Some("1 2")).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_the_script_is_told_it_again() {
    let Some(redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    world.has(1, &users(10)).await;
    until("all balances", || shows(&redis, 1..50, 10)).await;
    redis.ask::<()>(&["SCRIPT", "FLUSH"]);
    world.has(2, &users(11)).await;
    until("all balances once more", || shows(&redis, 1..50, 11)).await;
}

#[tokio::test]
async fn a_redis_that_was_killed_is_made_again_with_what_changed_meanwhile() {
    let Some(mut redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    world.has(1, &users(10)).await;
    until("all balances", || shows(&redis, 1..50, 10)).await;
    redis.kill();
    let began = Instant::now();
    for seq in 2..100 {
        world.has(seq, &[(1, 10)]).await;
    }
    world.has(100, &[(2, 20)]).await;
    assert!(began.elapsed() < Duration::from_secs(5), "flushes waited for Redis: {:?}", began.elapsed());
    redis.start_again();
    until("what changed meanwhile", || shows(&redis, 2..3, 20)).await;
    until("what did not", || shows(&redis, 3..50, 10)).await;
}

#[tokio::test]
async fn a_frozen_redis_holds_nobody_up_and_gets_the_newest() {
    let Some(redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    world.has(1, &users(10)).await;
    until("all balances", || shows(&redis, 1..50, 10)).await;
    redis.freeze();
    let began = Instant::now();
    for seq in 2..=200 {
        world.has(seq, &[(1, seq)]).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "flushes waited for Redis: {:?}", began.elapsed());
    redis.thaw();
    until("the newest", || shows(&redis, 1..2, 200)).await;
}

#[tokio::test]
async fn more_than_may_wait_is_read_from_the_store_again() {
    let Some(mut redis) = Redis::start() else { return };
    let world = World::start(MirrorOptions { rows_max: 10, ..single(&redis) }).await;
    world.has(1, &[(1, 10)]).await;
    until("the first", || shows(&redis, 1..2, 10)).await;
    redis.kill();
    world.has(2, &users(20)).await;
    redis.start_again();
    until("everything", || shows(&redis, 1..50, 20)).await;
}

#[tokio::test]
async fn a_restart_reads_only_what_the_mirror_lacks() {
    let Some(redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    world.has(1, &users(10)).await;
    until("all balances", || shows(&redis, 1..50, 10)).await;
    let positions = || redis.ask::<Vec<String>>(&["KEYS", "I.position.*"]).len();
    until("all positions", || positions() == 5).await;
    redis.ask::<()>(&["DEL", "I.asset.7.coin"]);
    let world = world.restart(single(&redis)).await;
    world.has(2, &[(8, 11)]).await;
    until("it goes on", || shows(&redis, 8..9, 11)).await;
    assert_eq!(redis.field("I.asset.7.coin", "amount"), None, "whatever is as far as the store is not read again");
    redis.ask::<()>(&["DEL", "I.position.wallet-0"]);
    let _world = world.restart(single(&redis)).await;
    until("all is made again where something is lost", || shows(&redis, 7..8, 10)).await;
}
