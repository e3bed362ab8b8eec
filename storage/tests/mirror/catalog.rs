//! Gifts, rooms, and what assets are called.

use std::sync::Arc;

use largesse_storage::store::memory::MemoryStore;
use serde_json::{Value, json};

use crate::server::{Redis, until};
use crate::world::{World, catalog, single};

#[tokio::test]
async fn gifts_and_rooms_are_there_and_withdrawn_gifts_are_not() {
    let Some(redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    let ids = |list: &str| redis.field(list, "ids").unwrap_or_default();
    until("the gifts", || ids("I.gifts") == "1 2").await;
    let record = |key: &str| serde_json::from_str::<Value>(&redis.field(key, "record").unwrap()).unwrap();
    let sold = serde_json::to_value(&catalog("coin", &[1]).gifts[0]).unwrap();
    assert_eq!(record("I.gift.1"), sold);
    until("the rooms", || ids("I.rooms") == "1001").await;
    assert_eq!(record("I.room.1001"), json!({"room_id": "1001", "hosts": ["2001", "2002"], "closed": false}));

    world.sell(2, &catalog("coin", &[2, 3])).await;
    until("the new gifts", || ids("I.gifts") == "2 3").await;
    assert_eq!(redis.field("I.gifts", "version").as_deref(), Some("2"));
    assert!(!redis.ask::<bool>(&["EXISTS", "I.gift.1"]), "it was withdrawn");
    assert!(redis.ask::<bool>(&["EXISTS", "I.gift.3"]));
}

#[tokio::test]
async fn a_renamed_asset_moves_all_balances() {
    let Some(redis) = Redis::start() else { return };
    let world = World::start(single(&redis)).await;
    world.has(1, &[(3001, 100)]).await;
    until("the balance", || redis.field("I.asset.3001.coin", "amount").as_deref() == Some("100")).await;
    world.sell(2, &catalog("gold", &[1])).await;
    until("its new name", || redis.field("I.asset.3001.gold", "amount").as_deref() == Some("100")).await;
}

#[tokio::test]
async fn balances_that_are_flushed_before_the_catalog_wait_for_their_names() {
    let Some(redis) = Redis::start() else { return };
    let world = World::over(single(&redis), Arc::new(MemoryStore::default()));
    // How often it has looked at Redis; each time it has written before what waited.
    let looks = || {
        let guards = redis.ask::<Vec<String>>(&["KEYS", "I.guard.*"]);
        guards.first().map_or(0, |guard| redis.ask::<u64>(&["GET", guard]))
    };
    until("it is at work", || looks() >= 2).await;
    world.has(1, &[(3001, 100)]).await;
    let before = looks();
    until("it has taken the balance", || looks() >= before + 2).await;
    world.sell(1, &catalog("coin", &[1])).await;
    until("the balance", || redis.field("I.asset.3001.coin", "amount").as_deref() == Some("100")).await;
    assert_eq!(redis.ask::<Vec<String>>(&["KEYS", "I.asset.*"]), ["I.asset.3001.coin"]);
}
