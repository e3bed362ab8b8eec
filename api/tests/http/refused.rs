//! Bad input: each with its own error, and no money moved by any.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{ANN, Answer, SERVICE, World, call, key, token};

#[tokio::test]
async fn every_wrong_gift_has_its_error_and_moves_nothing() {
    let world = World::start().await;
    world.recharge(ANN, 50, "t1").await;
    let hosts = |count: u64| (0..count).map(|place| json!(2001 + place)).collect::<Vec<_>>();
    let table: [(Value, &str); 30] = [
        (json!({ "gift_id": 99 }), "gift_unknown"),
        (json!({ "gift_id": 0 }), "bad_request"),
        (json!({ "gift_id": -1 }), "bad_request"),
        (json!({ "gift_id": "1" }), "bad_request"),
        (json!({ "count": 0 }), "invalid_amount"),
        (json!({ "count": 10_000 }), "invalid_amount"),
        (json!({ "count": -1 }), "invalid_amount"),
        (json!({ "count": 1.5 }), "invalid_amount"),
        (json!({ "count": "1" }), "bad_request"),
        (json!({ "count": null }), "bad_request"),
        (json!({ "to": [] }), "bad_request"),
        (json!({ "to": hosts(17) }), "too_many_receivers"),
        (json!({ "to": [2001, "2001"] }), "bad_request"),
        (json!({ "to": [ANN] }), "self_gift"),
        (json!({ "to": [0] }), "bad_request"),
        (json!({ "to": [9999] }), "host_not_in_room"),
        (json!({ "to": "2001" }), "bad_request"),
        (json!({ "to": [-2001] }), "bad_request"),
        (json!({ "to": [2001.5] }), "bad_request"),
        (json!({ "price_seen": 9 }), "price_changed"),
        (json!({ "price_seen": -1 }), "invalid_amount"),
        (json!({ "price_seen": 9_007_199_254_740_992_u64 }), "invalid_amount"),
        (json!({ "gift_id": 2, "count": 2 }), "invalid_amount"),
        (json!({ "gift_id": 2 }), "insufficient_funds"),
        (json!({ "count": 6 }), "insufficient_funds"),
        (json!({ "cuont": 6 }), "bad_request"),
        (json!({ "combo_id": -1 }), "bad_request"),
        (json!({ "event_id": "another" }), "bad_request"),
        (json!({ "event_id": 7 }), "bad_request"),
        (json!({ "sender": 3002 }), "forbidden"),
    ];
    for (body, code) in table {
        let problem = world.send(ANN, &key(), body.clone()).await.expect_problem(code);
        assert_eq!(world.coins(ANN).await, 50, "{body} {problem}");
    }
    let all = world.send(ANN, &key(), json!({ "to": hosts(16) })).await;
    all.expect_problem("insufficient_funds");
    assert_eq!(world.send(ANN, &key(), json!({ "to": hosts(5) })).await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn keys_are_judged() {
    let world = World::start().await;
    world.recharge(ANN, 50, "t1").await;
    let body = json!({ "gift_id": 1, "count": 1, "to": [2001] });
    let send = || world.post("/v1/rooms/1001/gifts").bearer(&token(ANN)).json(body.clone());
    send().send().await.expect_problem("key_required");
    send().header("Idempotency-Key", "").send().await.expect_problem("key_required");
    send().header("Idempotency-Key", &"x".repeat(129)).send().await.expect_problem("bad_request");
    send().header("Idempotency-Key", "naïve").send().await.expect_problem("bad_request");
    let ahead = "0fffffff-ffff-7000-8000-000000000000";
    let problem = send().header("Idempotency-Key", ahead).send().await.expect_problem("id_time_ahead");
    assert!(problem["server_time"].as_str().unwrap().ends_with('Z'), "{problem}");
    let old = "00000000-0001-7000-8000-000000000000";
    send().header("Idempotency-Key", old).send().await.expect_problem("id_too_old");
    assert_eq!(world.coins(ANN).await, 50);
    assert_eq!(send().header("Idempotency-Key", &"x".repeat(128)).send().await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn a_request_is_not_decided_past_its_callers_deadline() {
    let world = World::start().await;
    world.recharge(ANN, 50, "t1").await;
    let key = key();
    let send = |deadline: String| {
        let body = json!({ "gift_id": 1, "count": 1, "to": [2001] });
        let call = world.post("/v1/rooms/1001/gifts").bearer(&token(ANN)).json(body);
        call.header("Idempotency-Key", &key).header("Largesse-Deadline", &deadline).send()
    };
    for bad in ["", "-1", "1.5", "soon", "18446744073709551616"] {
        send(bad.into()).await.expect_problem("bad_request");
    }
    let now = largesse_engine::clock::Clock::now(&largesse_engine::clock::SystemClock).get();
    let problem = send((now - 1).to_string()).await.expect_problem("deadline_passed");
    assert!(problem["server_time"].as_str().unwrap().ends_with('Z'), "{problem}");
    assert_eq!(world.coins(ANN).await, 50);
    // What was said there is what a lookup calls final.
    let lookup = format!("/v1/gifts/{key}?final_after={}", now - 1);
    let found = world.get(&lookup).bearer(&token(ANN)).send().await.expect_problem("event_unknown");
    assert_eq!(found["final"], true);

    let late = json!({ "user_id": ANN, "asset": "coin", "amount": 5, "channel": "apple", "transaction_id": "late" });
    let late = world.post("/v1/recharges").bearer(SERVICE).json(late).header("Largesse-Deadline", "1");
    late.send().await.expect_problem("deadline_passed");
    let batch = json!({ "transfers": [] });
    let batch = world.post("/v1/transfers:batch").bearer(SERVICE).json(batch).header("Largesse-Deadline", "1");
    batch.send().await.expect_problem("deadline_passed");

    assert_eq!(send((now + 60_000).to_string()).await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn not_enough_is_told_with_figures_and_in_two_languages() {
    let world = World::start().await;
    world.recharge(ANN, 5, "t1").await;
    let body = json!({ "gift_id": 1, "count": 2, "to": [2001] });
    let send = |language: &'static str| {
        let call = world.post("/v1/rooms/1001/gifts").bearer(&token(ANN)).json(body.clone());
        call.header("Idempotency-Key", &key()).header("Accept-Language", language).send()
    };
    let english = send("en").await.expect_problem("insufficient_funds");
    assert_eq!(
        (&english["needed"], &english["available"], &english["asset"], &english["err_code"]),
        (&json!(20), &json!(5), &json!("coin"), &json!(20040))
    );
    assert_eq!(english["prompt"], "You need 15 more coins. Recharge and send it again.");
    let chinese = send("zh-CN,zh;q=0.9").await.expect_problem("insufficient_funds");
    assert_eq!(chinese["prompt"], "余额不足，还差 15 金币，请充值后再送出。");
    world.stop().await;
}

#[tokio::test]
async fn every_wrong_recharge_has_its_error() {
    let world = World::start().await;
    let table: [(Value, &str); 13] = [
        (json!({ "amount": 0 }), "invalid_amount"),
        (json!({ "amount": -5 }), "invalid_amount"),
        (json!({ "amount": 9_007_199_254_740_992_u64 }), "invalid_amount"),
        (json!({ "amount": 9_007_199_254_740_991_u64 }), "issue_limit"),
        (json!({ "amount": "5" }), "bad_request"),
        (json!({ "asset": "gold" }), "bad_request"),
        (json!({ "channel": "cash" }), "bad_request"),
        (json!({ "transaction_id": "" }), "key_required"),
        (json!({ "transaction_id": "x".repeat(129) }), "bad_request"),
        (json!({ "transaction_id": "a\u{0}b" }), "bad_request"),
        (json!({ "user_id": 0 }), "bad_request"),
        (json!({ "user_id": "ann" }), "bad_request"),
        (json!({ "note": "?" }), "bad_request"),
    ];
    for (change, code) in table {
        let mut body =
            json!({ "user_id": ANN, "asset": "coin", "amount": 5, "channel": "apple", "transaction_id": "t" });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        world.post("/v1/recharges").bearer(SERVICE).json(body).send().await.expect_problem(code);
        assert_eq!(world.coins(ANN).await, 0, "{change}");
    }
    world.stop().await;
}

#[tokio::test]
async fn rooms_that_are_closed_or_unknown_take_no_gifts() {
    let world = World::start().await;
    world.recharge(ANN, 50, "t1").await;
    for (room, code) in [
        ("1002", "room_closed"),
        ("1003", "room_unknown"),
        ("0", "bad_request"),
        ("one", "bad_request"),
        ("-1", "bad_request"),
        ("01001", "bad_request"),
        ("18446744073709551616", "bad_request"),
        ("%FF", "bad_request"),
    ] {
        let body = json!({ "gift_id": 1, "count": 1, "to": [2001], "event_id": key() });
        let path = format!("/v1/rooms/{room}/gifts");
        world.post(&path).bearer(&token(ANN)).json(body).send().await.expect_problem(code);
    }
    assert_eq!(world.coins(ANN).await, 50);
    world.stop().await;
}

#[tokio::test]
async fn what_is_no_json_is_told_apart() {
    let world = World::start().await;
    let send = |kind: &'static str, body: Vec<u8>| {
        let call = world.post("/v1/rooms/1001/gifts").bearer(&token(ANN)).header("Idempotency-Key", "k");
        call.header("Content-Type", kind).body(body).send()
    };
    let json = "application/json";
    for body in
        [&b""[..], b"{", b"[]", b"null", b"{} {}", b"\xff", b"{\"gift_id\":1,\"gift_id\":1}", b"{\"gift_id\":\"\xff\"}"]
    {
        let problem = send(json, body.into()).await.expect_problem("bad_request");
        assert!(problem["detail"].as_str().unwrap().starts_with("the body does not fit"), "{problem}");
    }
    send("text/plain", b"{}".into()).await.expect_problem("unsupported_media_type");
    send("", b"{}".into()).await.expect_problem("unsupported_media_type");
    let large = vec![b' '; (64 << 10) + 1];
    send(json, large.clone()).await.expect_problem("payload_too_large");
    let chunks = futures::stream::iter(
        large.chunks(1_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    let unannounced = world.post("/v1/rooms/1001/gifts").bearer(&token(ANN)).header("Content-Type", json);
    unannounced.body(Body::from_stream(chunks)).send().await.expect_problem("payload_too_large");
    let broken = futures::stream::iter([Ok("{"), Err(std::io::Error::other("gone"))]);
    let broken =
        world.post("/v1/recharges").bearer(SERVICE).header("Content-Type", json).body(Body::from_stream(broken));
    broken.send().await.expect_problem("bad_request");
    world.stop().await;
}

#[tokio::test]
async fn what_the_framework_refuses_is_a_problem_too() {
    let world = World::start().await;
    let check = |answer: Answer, code: &str, allow: Option<&str>| {
        answer.expect_problem(code);
        assert_eq!(answer.header("allow"), allow);
    };
    check(world.get("/").send().await, "not_found", None);
    check(world.get("/v2/me/balances").send().await, "not_found", None);
    check(world.get("/v1/rooms/1001/gifts").send().await, "method_not_allowed", Some("POST"));
    check(world.post("/v1/me/balances").send().await, "method_not_allowed", Some("GET,HEAD"));
    check(call(&world.public, Method::DELETE, "/healthz").send().await, "method_not_allowed", Some("GET,HEAD"));
    check(world.get("/metrics").send().await, "not_found", None);
    check(world.get("/v1/catalog").send().await, "not_found", None);
    check(call(&world.admin, Method::GET, "/v1/me/balances").send().await, "not_found", None);
    for query in ["?x=1", "?after", "?after=1", "?after=9:1", "?after=1:1&after=1:2"] {
        let answer = world.get(&format!("/v1/me/balances{query}")).bearer(&token(ANN)).send().await;
        check(answer, "bad_request", None);
    }
    world.stop().await;
}
