//! Histories of both sides, in pages of any size.

use std::time::Duration;

use largesse_api::ApiOptions;
use largesse_engine::node::NodeOptions;
use serde_json::{Value, json};

use crate::world::{ANN, BOB, SERVICE, World, key, key_ahead, token};

/// Follows the cursors to the end, and checks what holds for every page.
async fn walk(world: &World, user: u64, query: &str, limit: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    for _ in 0..500 {
        let path = format!("/v1/users/{user}/history?limit={limit}{query}{cursor}");
        let page = world.get(&path).bearer(SERVICE).send().await.json();
        let found = page["items"].as_array().unwrap_or_else(|| panic!("{page}")).clone();
        assert!(found.len() <= limit, "{page}");
        items.extend(found);
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
    panic!("the pages of {query} do not end");
}

/// Each item in short: kind, amount, asset, balance afterwards.
fn short(items: &[Value]) -> Vec<String> {
    let line = |item: &Value| {
        let after = item.get("balance_after").map_or(String::new(), |balance| format!(" -> {balance}"));
        let text = |field: &str| item[field].as_str().unwrap().to_owned();
        format!("{} {} {}{after}", text("kind"), item["amount"], text("asset"))
    };
    items.iter().map(line).collect()
}

#[tokio::test]
async fn a_page_that_would_lack_what_was_answered_is_not_given() {
    let slow = |node: &mut NodeOptions| {
        node.flush_every = Duration::from_secs(3_600);
        node.patience.read = Duration::from_millis(50);
    };
    let world = World::start_node(slow, ApiOptions::default()).await;
    world.recharge(ANN, 1_000, "t1").await;
    // A flusher that begins late, on a busy machine, takes what is there by then; after that it rests for an hour.
    let mut page = None;
    for _ in 0..3 {
        world.send(ANN, &key(), json!({})).await;
        let answer = world.get("/v1/me/history").bearer(&token(ANN)).send().await;
        if answer.status != 200 {
            page = Some(answer);
            break;
        }
    }
    let page = page.expect("a page that lacks something");
    assert_eq!((page.status.as_u16(), &page.json()["code"]), (503, &json!("store_unavailable")), "{page:?}");
    world.stop().await;
}

#[tokio::test]
async fn own_events_come_newest_first_in_pages_of_any_size() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let first = key_ahead(1);
    world.send(ANN, &first, json!({ "count": 2, "to": [2001, 2002] })).await;
    world.send(ANN, &key_ahead(2), json!({})).await;
    let want = [
        "gift 10 coin -> 950",
        "points 1 point -> 5",
        "gift 40 coin -> 960",
        "points 4 point -> 4",
        "recharge 1000 coin -> 1000",
    ];
    let all = walk(&world, ANN, "", 50).await;
    assert_eq!(short(&all), want);
    for limit in 1..=6 {
        assert_eq!(walk(&world, ANN, "", limit).await, all, "in pages of {limit}");
    }
    let mut gift = all[2].clone();
    assert_eq!(gift.as_object_mut().unwrap().remove("at").unwrap().as_str().unwrap().len(), 24);
    assert_eq!(
        gift,
        json!({
            "event_id": first, "kind": "gift", "side": "sent", "peers": ["2001", "2002"], "room_id": "1001",
            "gift_id": 1, "count": 2, "asset": "coin", "amount": 40, "balance_after": 960, "direction": "debit"
        })
    );
    world.stop().await;
}

#[tokio::test]
async fn filters_find_what_they_name() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    for host in [2001, 2002, 2001] {
        world.send(ANN, &key(), json!({ "to": [host] })).await;
    }
    for (query, count) in [
        ("&kind=gift", 3),
        ("&kind=points", 3),
        ("&kind=recharge", 1),
        ("&kind=transfer", 0),
        ("&asset=coin", 4),
        ("&asset=point", 3),
        ("&asset=diamond", 0),
        ("&room=1001", 6),
        ("&room=1002", 0),
        ("&peer=2001", 2),
        ("&peer=2001&kind=gift&asset=coin&room=1001", 2),
        ("&since=2999-01-01T00:00:00Z", 0),
        ("&until=2001-01-01T00:00:00Z", 0),
        ("&since=1000000000000&until=32503680000000", 7),
    ] {
        for limit in [1, 2, 50] {
            let found = walk(&world, ANN, query, limit).await;
            assert_eq!(found.len(), count, "{query} in pages of {limit}: {:?}", short(&found));
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_host_sees_what_came_from_others() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    world.recharge(BOB, 1_000, "t2").await;
    let mut keys = Vec::new();
    for (user, count) in [(ANN, 1), (BOB, 2), (ANN, 3)] {
        keys.push(key());
        world.send(user, keys.last().unwrap(), json!({ "count": count, "to": [2001, 2002] })).await;
    }
    world.node.drain_store().await;
    let mut all = walk(&world, 2001, "&side=received", 50).await;
    for limit in 1..=4 {
        assert_eq!(walk(&world, 2001, "&side=received", limit).await, all, "in pages of {limit}");
    }
    assert_eq!(walk(&world, 2001, "&side=received&peer=3002", 50).await.len(), 1);
    // Within one second the order is by source shard.
    all.sort_by_key(|item| item["count"].as_u64());
    let found: Vec<_> = all.iter().map(|item| (item["peers"].clone(), item["amount"].clone())).collect();
    assert_eq!(found, [(json!(["3001"]), json!(10)), (json!(["3002"]), json!(20)), (json!(["3001"]), json!(30))]);
    let ids: Vec<_> = all.iter().map(|item| item["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, keys);
    let page = world.get("/v1/me/history?side=received").bearer(&token(2001)).send().await.json();
    assert!(page["complete_until"].as_str().unwrap().ends_with('Z'), "{page}");
    assert_eq!(walk(&world, 2001, "", 50).await, [] as [Value; 0], "a host has sent nothing");
    world.stop().await;
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_only() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    world.send(ANN, &key(), json!({})).await;
    let page = world.get("/v1/me/history?limit=1").bearer(&token(ANN)).send().await.json();
    let cursor = page["cursor"].as_str().unwrap();
    let ask = |user: u64, query: String| {
        let call = world.get(&format!("/v1/me/history?{query}")).bearer(&token(user));
        call.send()
    };
    ask(BOB, format!("cursor={cursor}")).await.expect_problem("cursor_invalid");
    ask(ANN, format!("side=received&cursor={cursor}")).await.expect_problem("cursor_invalid");
    ask(ANN, format!("cursor={}x", &cursor[..cursor.len() - 1])).await;
    ask(ANN, "cursor=nonsense".into()).await.expect_problem("cursor_invalid");
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "room=0",
        "peer=0",
        "side=both",
        "kind=tip",
        "asset=gold",
        "room=x",
        "since=x",
        "page=2",
    ] {
        ask(ANN, bad.into()).await.expect_problem("bad_request");
    }
    world.get("/v1/users/3001/history").bearer(&token(BOB)).send().await.expect_problem("forbidden");
    world.stop().await;
}
