//! Rooms: opened, given gifts, read in every way, and closed.

use std::collections::BTreeMap;

use http::StatusCode;
use largesse_api::ApiOptions;
use largesse_engine::units::RoomId;
use serde_json::{Value, json};

use crate::world::{ANN, Answer, BOB, SERVICE, World, key, read_only, token};

/// A world whose streaks end soon.
pub async fn hasty() -> World {
    World::start_node(|node| node.room_limits.combo_millis = 50, ApiOptions::default()).await
}

pub async fn open(world: &World, room: u64, body: Value) -> Answer {
    world.put(&format!("/v1/rooms/{room}")).bearer(SERVICE).json(body).send().await
}

async fn close(world: &World, room: u64) -> Answer {
    world.post(&format!("/v1/rooms/{room}:close")).bearer(SERVICE).send().await
}

pub async fn send(world: &World, room: u64, user: u64, body: Value) -> Answer {
    let mut full = json!({ "gift_id": 1, "count": 1, "to": ["2001"] });
    full.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    let call = world.post(&format!("/v1/rooms/{room}/gifts")).bearer(&token(user)).header("Idempotency-Key", &key());
    let answer = call.json(full).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer
}

/// What a room shows, in pages of this size, once an entry fits.
pub async fn feed_until(world: &World, room: u64, limit: usize, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut news = world.node.service().rooms.news();
    loop {
        let items = walk(world, room, limit).await;
        if fits(&items) {
            return items;
        }
        while news.recv().await.is_ok_and(|news| news.room != RoomId(room)) {}
    }
}

async fn walk(world: &World, room: u64, limit: usize) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), 0);
    loop {
        let page =
            world.get(&format!("/v1/rooms/{room}/feed?after={after}&limit={limit}")).bearer(SERVICE).send().await;
        let page = page.json();
        let found = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
        assert!(found.len() <= limit, "{page}");
        items.extend(found.iter().cloned());
        after = page["next_after"].as_u64().unwrap();
        if after == page["room_seq"] {
            return items;
        }
    }
}

pub fn kinds(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["kind"].as_str().unwrap()).collect()
}

/// Gifts that are shown by now.
pub fn events(items: &[Value]) -> u64 {
    items.iter().filter_map(|item| item["events"].as_u64()).sum()
}

fn has(items: &[Value], kind: &str) -> bool {
    kinds(items).contains(&kind)
}

/// What is summed of a feed, per asset.
fn counted(items: &[Value]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for delta in items.iter().filter_map(|item| item.get("delta")) {
        *sums.entry(delta["asset"].as_str().unwrap().to_owned()).or_default() += delta["value"].as_u64().unwrap();
    }
    sums
}

async fn get(world: &World, path: &str) -> Value {
    let answer = world.get(path).bearer(SERVICE).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_room_is_opened_given_gifts_and_closed() {
    let world = hasty().await;
    for (user, transaction) in [(ANN, "t1"), (BOB, "t2")] {
        world.recharge(user, 1_000, transaction).await;
    }
    let opened = open(&world, 77, json!({ "hosts": [2001, "2002"], "reason": "tonight" })).await.json();
    assert_eq!((&opened["room_id"], &opened["hosts"]), (&json!("77"), &json!(["2001", "2002"])), "{opened}");
    assert_eq!((&opened["live"]["number"], &opened["live"]["state"]), (&json!(1), &json!("open")));
    assert!(opened.get("gifts").is_none() && opened["plugins"] == json!([]) && opened["room_seq"] == 1, "{opened}");
    assert_eq!(get(&world, "/v1/rooms/77").await, opened);
    assert_eq!(open(&world, 77, json!({ "hosts": [2001, "2002"] })).await.json(), opened, "the same again");

    send(&world, 77, ANN, json!({ "count": 3, "to": [2001, 2002], "combo_id": 9 })).await;
    send(&world, 77, BOB, json!({ "count": 2 })).await;
    send(&world, 77, ANN, json!({ "count": 3, "to": [2001, 2002], "combo_id": 9 })).await;
    let streaks_ended = |items: &[Value]| {
        let ended = kinds(items).iter().filter(|kind| **kind == "combo_end").count();
        events(items) == 3 && ended >= 2
    };
    let items = feed_until(&world, 77, 100, streaks_ended).await;
    let numbers: Vec<_> = items.iter().map(|item| item["room_seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=items.len() as u64).collect::<Vec<_>>(), "without gaps");
    let spent = 2_000 - world.coins(ANN).await - world.coins(BOB).await;
    assert_eq!((spent, counted(&items)), (140, [("coin".to_owned(), 140)].into()));
    for ended in items.iter().filter(|item| item["kind"] == "combo_end") {
        assert_eq!((&ended["cause"], &ended["combo"]["final"]), (&json!("time"), &json!(true)), "{ended}");
        let of_streak = |item: &&Value| item["kind"] == "gift" && item["combo"]["id"] == ended["combo"]["id"];
        let last = items.iter().rfind(of_streak).unwrap();
        assert_eq!(
            (&last["combo"]["count"], &last["combo"]["value"]),
            (&ended["combo"]["count"], &ended["combo"]["value"])
        );
    }
    for limit in [1, 2, 3, 1_000] {
        assert_eq!(walk(&world, 77, limit).await, items, "in pages of {limit}");
    }

    let closed = close(&world, 77).await.json();
    assert_eq!((&closed["live"]["state"], &closed["hosts"]), (&json!("closed"), &json!(["2001", "2002"])), "{closed}");
    assert_eq!(closed["all_totals"], json!([{ "asset": "coin", "value": 140, "gifts": 3 }]));
    let late = world.post("/v1/rooms/77/gifts").bearer(&token(ANN)).header("Idempotency-Key", &key());
    late.json(json!({ "gift_id": 1, "count": 1, "to": [2001] })).send().await.expect_problem("room_closed");
    let items = feed_until(&world, 77, 100, |items| has(items, "live_end")).await;
    let end = items.iter().find(|item| item["kind"] == "live_end").unwrap();
    assert_eq!((&end["live"], &end["totals"]), (&json!(1), &closed["all_totals"]));
    let again = open(&world, 77, json!({ "hosts": [2001] })).await.json();
    assert_eq!(
        (&again["live"]["number"], &again["totals"], &again["epoch"]),
        (&json!(2), &json!([]), &opened["epoch"])
    );
    world.stop().await;
}

#[tokio::test]
async fn a_live_that_ends_takes_its_streaks_with_it() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    send(&world, 1001, ANN, json!({ "count": 4 })).await;
    feed_until(&world, 1001, 100, |items| events(items) == 1).await;
    assert_eq!(get(&world, "/v1/rooms/1001").await["open_combos"], 1);
    close(&world, 1001).await;
    let items = feed_until(&world, 1001, 100, |items| has(items, "combo_end") && has(items, "live_end")).await;
    let end = items.iter().find(|item| item["kind"] == "combo_end").unwrap();
    assert_eq!((&end["cause"], &end["combo"]["count"]), (&json!("live_ended"), &json!(4)));
    world.stop().await;
}

#[tokio::test]
async fn plug_ins_count_and_tell_when_they_are_done() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let soon = largesse_engine::clock::Clock::now(&largesse_engine::clock::SystemClock).get() + 300;
    let plugins = json!([
        { "kind": "goal", "asset": "coin", "target": 50 },
        { "kind": "pk", "hosts": [2001, 2002], "asset": "coin", "until": soon.to_string() },
    ]);
    let body = json!({ "hosts": [2001, 2002], "gifts": [1], "plugins": plugins });
    let opened = open(&world, 77, body).await.json();
    assert_eq!(opened["gifts"], json!([1]));
    assert_eq!(opened["plugins"][0], json!({ "kind": "goal", "asset": "coin", "target": 50, "reached": 0 }));
    send(&world, 77, ANN, json!({ "count": 4 })).await;
    send(&world, 77, ANN, json!({ "count": 2, "to": [2002] })).await;
    let items = feed_until(&world, 77, 100, |items| has(items, "pk_end") && events(items) == 2).await;
    let of = |kind: &str| items.iter().find(|item| item["kind"] == kind).unwrap();
    assert_eq!((&of("goal_reached")["target"], &of("goal_reached")["by"]), (&json!(50), &json!("3001")));
    assert_eq!((&of("pk_end")["hosts"], &of("pk_end")["scores"]), (&json!(["2001", "2002"]), &json!([40, 20])));
    let plugins = get(&world, "/v1/rooms/77").await["plugins"].clone();
    assert_eq!((&plugins[0]["reached"], &plugins[1]["is_over"]), (&json!(60), &json!(true)), "{plugins}");
    let other = world.post("/v1/rooms/77/gifts").bearer(&token(ANN)).header("Idempotency-Key", &key());
    other.json(json!({ "gift_id": 2, "count": 1, "to": [2001] })).send().await.expect_problem("gift_unknown");
    world.stop().await;
}

#[tokio::test]
async fn boards_rank_and_show_everybody_his_own_place() {
    let world = World::start().await;
    for (user, transaction, count) in [(ANN, "t1", 2), (BOB, "t2", 3)] {
        world.recharge(user, 1_000, transaction).await;
        send(&world, 1001, user, json!({ "count": count, "to": [2001, 2002] })).await;
    }
    send(&world, 1001, ANN, json!({ "to": [2002] })).await;
    feed_until(&world, 1001, 100, |items| events(items) == 3).await;
    let entry = |rank: u64, user: &str, value: u64| json!({ "rank": rank, "user_id": user, "value": value });
    for period in ["live", "day", "week"] {
        let board = get(&world, &format!("/v1/rooms/1001/boards/{period}?limit=1")).await;
        assert_eq!(
            (&board["period"], &board["side"], &board["asset"]),
            (&json!(period), &json!("senders"), &json!("coin"))
        );
        assert_eq!((&board["entries"], &board["own"]), (&json!([entry(1, "3002", 60)]), &Value::Null), "{board}");
        assert_eq!((&board["ranked"], &board["is_full"]), (&json!(2), &json!(false)));
        assert_eq!(board["as_of"], get(&world, "/v1/rooms/1001").await["room_seq"]);
    }
    let hosts = get(&world, "/v1/rooms/1001/boards/live?side=hosts&asset=coin&user=2001").await;
    assert_eq!(hosts["entries"], json!([entry(1, "2002", 60), entry(2, "2001", 50)]));
    assert_eq!(hosts["own"], entry(2, "2001", 50));
    let own = world.get("/v1/rooms/1001/boards/day").bearer(&token(ANN)).send().await.json();
    assert_eq!(own["own"], entry(2, "3001", 50));
    let looks = world.get("/v1/rooms/1001/boards/day").bearer(&read_only(ANN)).send().await.json();
    assert_eq!((&looks["entries"], &looks["own"]), (&own["entries"], &Value::Null), "what everybody sees");
    let none = get(&world, "/v1/rooms/1001/boards/live?asset=diamond").await;
    assert_eq!((&none["entries"], &none["asset"]), (&json!([]), &json!("diamond")));
    let other = world.get("/v1/rooms/1001/boards/live?user=3002").bearer(&token(ANN));
    other.send().await.expect_problem("forbidden");
    for bad in
        ["live?limit=0", "live?limit=1001", "month", "live?side=both", "live?asset=gold", "live?user=0", "day?x=1"]
    {
        let answer = world.get(&format!("/v1/rooms/1001/boards/{bad}")).bearer(SERVICE).send().await;
        answer.expect_problem("bad_request");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_snapshot_and_the_feed_behind_it_are_all_there_is() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    for count in 1..=3 {
        send(&world, 1001, ANN, json!({ "count": count })).await;
    }
    feed_until(&world, 1001, 100, |items| events(items) == 3).await;
    let snapshot = get(&world, "/v1/rooms/1001/snapshot").await;
    let top = json!({ "asset": "coin", "senders": [{ "rank": 1, "user_id": "3001", "value": 60 }],
                      "hosts": [{ "rank": 1, "user_id": "2001", "value": 60 }] });
    assert_eq!((&snapshot["top"], &snapshot["totals"][0]["value"]), (&top, &json!(60)));
    let mut room = get(&world, "/v1/rooms/1001").await;
    room["top"] = top;
    assert_eq!(room, snapshot, "a room and its best");
    send(&world, 1001, ANN, json!({ "count": 4 })).await;
    feed_until(&world, 1001, 100, |items| events(items) == 4).await;
    let after = snapshot["room_seq"].as_u64().unwrap();
    let rest = get(&world, &format!("/v1/rooms/1001/feed?after={after}")).await;
    let rest: Vec<Value> = rest["items"].as_array().unwrap().clone();
    let now = get(&world, "/v1/rooms/1001/snapshot").await;
    assert_eq!(60 + counted(&rest)["coin"], now["totals"][0]["value"].as_u64().unwrap());
    let other = get(&world, "/v1/rooms/1001/snapshot?asset=diamond").await;
    assert_eq!(other["top"], json!({ "asset": "diamond", "senders": [], "hosts": [] }));
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let world = World::start().await;
    for (path, code) in [
        ("/v1/rooms/9", "room_unknown"),
        ("/v1/rooms/9/snapshot", "room_unknown"),
        ("/v1/rooms/9/feed", "room_unknown"),
        ("/v1/rooms/9/boards/live", "room_unknown"),
        ("/v1/rooms/9/events", "room_unknown"),
        ("/v1/rooms/0", "bad_request"),
        ("/v1/rooms/1001/feed?limit=0", "bad_request"),
        ("/v1/rooms/1001/feed?limit=1001", "bad_request"),
        ("/v1/rooms/1001/feed?after=-1", "bad_request"),
        ("/v1/rooms/1001/feed?after=9007199254740992", "bad_request"),
        ("/v1/rooms/1001/feed?cursor=1", "bad_request"),
        ("/v1/rooms/1001/snapshot?asset=gold", "bad_request"),
        ("/v1/rooms/1001/events?after=x", "bad_request"),
        ("/v1/rooms/1001:close", "method_not_allowed"),
    ] {
        world.get(path).bearer(SERVICE).send().await.expect_problem(code);
    }
    assert_eq!(close(&world, 9).await.expect_problem("room_unknown")["status"], 404);
    let goal =
        |target: u64| json!({ "hosts": [1], "plugins": [{ "kind": "goal", "asset": "coin", "target": target }] });
    let pk = |hosts: Value, asset: &str| json!({ "hosts": [1, 2], "plugins": [{ "kind": "pk", "hosts": hosts, "asset": asset }] });
    let many: Vec<_> = (1..=101).collect();
    let nine = vec![json!({ "kind": "goal", "asset": "coin", "target": 1 }); 9];
    for (body, code, status) in [
        (json!({}), "bad_request", 400),
        (json!({ "hosts": [] }), "bad_request", 400),
        (json!({ "hosts": [1, 1] }), "bad_request", 400),
        (json!({ "hosts": [0] }), "bad_request", 400),
        (json!({ "hosts": many }), "bad_request", 400),
        (json!({ "hosts": [1], "gifts": [] }), "bad_request", 400),
        (json!({ "hosts": [1], "gifts": [999] }), "gift_unknown", 404),
        (json!({ "hosts": [1], "open": true }), "bad_request", 400),
        (json!({ "hosts": [1], "reason": "x".repeat(501) }), "bad_request", 400),
        (json!({ "hosts": [1], "plugins": nine }), "batch_too_large", 422),
        (json!({ "hosts": [1], "plugins": [{ "kind": "quiz" }] }), "bad_request", 400),
        (goal(0), "invalid_amount", 422),
        (goal(1 << 53), "invalid_amount", 422),
        (pk(json!([1, 3]), "coin"), "host_not_in_room", 422),
        (pk(json!([1, 1]), "coin"), "host_not_in_room", 422),
        (pk(json!([1]), "coin"), "bad_request", 400),
        (pk(json!([1, 2]), "gold"), "bad_request", 400),
    ] {
        let answer = open(&world, 77, body.clone()).await;
        assert_eq!(answer.expect_problem(code)["status"], status, "{body}");
    }
    world.get("/v1/rooms/77").bearer(SERVICE).send().await.expect_problem("room_unknown");
    let none = world.put("/v1/rooms/77").bearer(SERVICE).send().await;
    none.expect_problem("unsupported_media_type");
    world.stop().await;
}
