//! Gifts whose sender is told to nobody: what the room shows, what hosts read, and what the sender still sees as his.

use futures::StreamExt;
use http::StatusCode;
use largesse_api::ApiOptions;
use serde_json::{Value, json};

use crate::rooms::{events, feed_until, hasty, kinds, open, send};
use crate::sockets::client::Doors;
use crate::world::{ANN, BOB, SERVICE, World, key, token};

const HOST: u64 = 2001;

async fn get_as(world: &World, path: &str, proof: &str) -> Value {
    let answer = world.get(path).bearer(proof).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// Nothing that a viewer can read of the room has the id of somebody who only ever gave anonymously.
#[tokio::test(flavor = "multi_thread")]
async fn no_public_bytes_tell_who_gave_anonymously() {
    let doors = Doors::open(|node| node.room_limits.combo_millis = 50, ApiOptions::default()).await;
    let world = &doors.world;
    for (user, transaction) in [(ANN, "t1"), (BOB, "t2")] {
        world.recharge(user, 1_000, transaction).await;
    }
    let goal = json!([{ "kind": "goal", "asset": "coin", "target": 45 }]);
    open(world, 1001, json!({ "hosts": [2001, 2002], "plugins": goal })).await;
    let (head, stream) = world.get("/v1/rooms/1001/events?after=0").bearer(&token(ANN)).open().await;
    assert_eq!(head.status, StatusCode::OK);
    let (mut viewer, _) = tokio::task::block_in_place(|| doors.viewer(ANN));
    send(world, 1001, ANN, json!({ "count": 2 })).await;
    send(world, 1001, BOB, json!({ "count": 3, "to": [2001, 2002], "anonymous": true, "combo_id": 3002 })).await;
    let is_all = |items: &[Value]| {
        let ended = kinds(items).iter().filter(|kind| **kind == "combo_end").count();
        events(items) == 2 && ended == 2 && kinds(items).contains(&"goal_reached")
    };
    let items = feed_until(world, 1001, 100, is_all).await;
    for (kind, field) in [("gift", "sender"), ("combo_end", "sender"), ("goal_reached", "by")] {
        let nameless: Vec<_> = items.iter().filter(|item| item["kind"] == kind && item["anonymous"] == true).collect();
        assert_eq!(nameless.len(), 1, "{kind} of {items:?}");
        assert_eq!(nameless[0].get(field), Some(&Value::Null), "{nameless:?}");
    }
    let last = items.last().unwrap()["room_seq"].as_u64().unwrap();
    let mut public = String::new();
    for path in ["", "/snapshot", "/feed?after=0", "/boards/live", "/boards/day", "/boards/week?side=hosts"] {
        public += &get_as(world, &format!("/v1/rooms/1001{path}"), &token(ANN)).await.to_string();
    }
    let mut stream = stream.into_data_stream();
    let mut told = String::new();
    while !told.contains(&format!(r#""room_seq":{last},"#)) {
        told += std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap();
    }
    let ticks = tokio::task::block_in_place(|| {
        let mut ticks = Vec::new();
        while ticks.last().is_none_or(|tick: &Value| tick["to"].as_u64() < Some(last)) {
            ticks.push(viewer.expect("tick"));
        }
        json!(ticks).to_string()
    });
    for (what, bytes) in [("over HTTP", &public), ("in a stream", &told), ("in ticks", &ticks)] {
        assert!(bytes.contains(&ANN.to_string()) && bytes.contains(r#""anonymous":true"#), "{what}: {bytes}");
        assert!(!bytes.contains(&BOB.to_string()), "{what}: {bytes}");
    }
    doors.world.stop().await;
}

#[tokio::test]
async fn a_key_is_of_a_gift_by_name_or_of_an_anonymous_one() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let (named, nameless) = (key(), key());
    let first = world.send(ANN, &named, json!({})).await.json();
    assert_eq!(first.get("anonymous"), None, "as it always was: {first}");
    assert_eq!(world.send(ANN, &named, json!({ "anonymous": false })).await.json()["replayed"], true);
    world.send(ANN, &named, json!({ "anonymous": true })).await.expect_problem("id_reused");
    let first = world.send(ANN, &nameless, json!({ "anonymous": true })).await.json();
    assert_eq!(first["anonymous"], true, "{first}");
    let again = world.send(ANN, &nameless, json!({ "anonymous": true })).await.json();
    assert_eq!((&again["replayed"], &again["anonymous"]), (&json!(true), &json!(true)));
    world.send(ANN, &nameless, json!({})).await.expect_problem("id_reused");
    let found = get_as(&world, &format!("/v1/gifts/{nameless}"), &token(ANN)).await;
    assert_eq!(found["anonymous"], true, "{found}");
    world.send(ANN, &key(), json!({ "anonymous": "yes" })).await.expect_problem("bad_request");
    assert_eq!(world.coins(ANN).await, 980);
    world.stop().await;
}

#[tokio::test]
async fn a_board_has_a_place_for_each_and_tells_each_his_own() {
    let world = hasty().await;
    for (user, transaction) in [(ANN, "t1"), (BOB, "t2")] {
        world.recharge(user, 1_000, transaction).await;
    }
    send(&world, 1001, ANN, json!({ "count": 1 })).await;
    send(&world, 1001, BOB, json!({ "count": 2 })).await;
    send(&world, 1001, ANN, json!({ "count": 3, "anonymous": true })).await;
    feed_until(&world, 1001, 100, |items| events(items) == 3).await;
    let named = |rank: u64, user: u64, value: u64| json!({ "rank": rank, "user_id": user.to_string(), "value": value });
    let nameless = json!({ "rank": 1, "user_id": null, "anonymous": true, "value": 30 });
    let board = get_as(&world, "/v1/rooms/1001/boards/live", &token(ANN)).await;
    assert_eq!(board["entries"], json!([nameless, named(2, BOB, 20), named(3, ANN, 10)]));
    assert_eq!((&board["own"], &board["own_anonymous"]), (&named(3, ANN, 10), &nameless));
    let board = get_as(&world, "/v1/rooms/1001/boards/live", &token(BOB)).await;
    assert_eq!((&board["own"], board.get("own_anonymous")), (&named(2, BOB, 20), None));
    let board = get_as(&world, &format!("/v1/rooms/1001/boards/live?user={ANN}"), SERVICE).await;
    assert_eq!(board["own_anonymous"], nameless, "services are told who it was");
    let board = get_as(&world, "/v1/rooms/1001/boards/live?side=hosts", &token(HOST)).await;
    assert_eq!(board["entries"], json!([named(1, HOST, 60)]), "a host is given all of it");
    world.stop().await;
}

#[tokio::test]
async fn histories_tell_the_sender_and_services_and_not_the_host() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    world.send(ANN, &key(), json!({ "count": 2, "anonymous": true })).await;
    world.send(ANN, &key(), json!({ "count": 1 })).await;
    world.node.drain_store().await;
    let sent = get_as(&world, "/v1/me/history?kind=gift", &token(ANN)).await["items"].clone();
    let flags: Vec<_> = sent.as_array().unwrap().iter().map(|item| (&item["amount"], item.get("anonymous"))).collect();
    assert!(flags.contains(&(&json!(20), Some(&json!(true)))) && flags.contains(&(&json!(10), None)), "{sent}");
    assert!(sent.as_array().unwrap().iter().all(|item| item["peers"] == json!(["2001"])), "{sent}");

    let of = |items: &[Value], amount: u64| items.iter().find(|item| item["amount"] == amount).unwrap().clone();
    for path in ["/v1/me/history?side=received".to_owned(), format!("/v1/users/{HOST}/history?side=received")] {
        let items = get_as(&world, &path, &token(HOST)).await["items"].as_array().unwrap().clone();
        let (nameless, named) = (of(&items, 20), of(&items, 10));
        assert_eq!((&nameless["peers"], &nameless["anonymous"]), (&json!([]), &json!(true)), "{nameless}");
        assert_eq!((&named["peers"], named.get("anonymous")), (&json!([ANN.to_string()]), None), "{named}");
        let by_peer = get_as(&world, &format!("{path}&peer={ANN}"), &token(HOST)).await["items"].clone();
        assert_eq!(by_peer, json!([named]), "nor does asking for somebody tell that it was he");
    }
    let all = get_as(&world, &format!("/v1/users/{HOST}/history?side=received&peer={ANN}"), SERVICE).await;
    let nameless = of(all["items"].as_array().unwrap(), 20);
    assert_eq!((&nameless["peers"], &nameless["anonymous"]), (&json!([ANN.to_string()]), &json!(true)), "{nameless}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gift_over_a_socket_can_be_anonymous_too() {
    let doors = Doors::plain().await;
    doors.world.recharge(ANN, 1_000, "t1").await;
    let id = key();
    tokio::task::block_in_place(|| {
        let (mut ann, _) = doors.viewer(ANN);
        ann.say(&json!({ "type": "send", "id": id, "room": "1001", "gift_id": 1, "count": 1, "to": ["2001"],
                         "anonymous": true }));
        // The tick may come before the answer.
        let (mut result, mut tick) = (None, None);
        while result.is_none() || tick.is_none() {
            let frame = ann.hear().unwrap();
            match frame["type"].as_str().unwrap() {
                "result" => result = Some(frame),
                "tick" => tick = Some(frame),
                _ => {}
            }
        }
        let (result, tick) = (result.unwrap(), tick.unwrap());
        assert_eq!((&result["status"], &result["receipt"]["anonymous"]), (&json!(200), &json!(true)), "{result}");
        let item = &tick["items"][0];
        assert_eq!((item.get("sender"), &item["anonymous"]), (Some(&Value::Null), &json!(true)), "{tick}");
    });
    doors.world.send(ANN, &id, json!({})).await.expect_problem("id_reused");
    doors.world.stop().await;
}
