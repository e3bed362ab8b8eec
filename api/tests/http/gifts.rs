//! Recharges and gifts: what they answer, and that a repeated one pays once.

use http::{Method, StatusCode};
use serde_json::json;

use crate::world::{ADMIN, ANN, BOB, SERVICE, World, call, catalog, key, token};

#[tokio::test]
async fn a_combo_to_two_hosts_is_paid_once_however_often_it_is_sent() {
    let world = World::start().await;
    let recharge = world.recharge(ANN, 1_000, "t1").await.json();
    assert_eq!(
        (&recharge["user_id"], &recharge["balance_after"], &recharge["asset"], &recharge["amount"]),
        (&json!("3001"), &json!(1_000), &json!("coin"), &json!(1_000))
    );
    let key = key();
    let body = json!({ "count": 3, "to": ["2001", 2002], "combo_id": 7, "price_seen": 10 });
    let first = world.send(ANN, &key, body.clone()).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (StatusCode::OK, None));
    let mut receipt = first.json();
    let position = receipt["position"].clone();
    assert!(position["shard"].as_u64().unwrap() < 4 && position["seq"].as_u64().unwrap() > 1, "{position}");
    let at = receipt["at"].as_str().unwrap().to_owned();
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    assert_eq!(
        receipt,
        json!({
            "event_id": key, "outcome": "applied", "room_id": "1001", "gift_id": 1, "count": 3, "to": ["2001", "2002"],
            "asset": "coin", "total": 60, "balance_after": 940, "combo": { "id": "7" }, "position": position,
            "at": at, "replayed": false
        })
    );
    for quoted in [key.clone(), format!("\"{key}\""), key.to_uppercase()] {
        let again = world.send(ANN, &quoted, body.clone()).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (StatusCode::OK, Some("true")));
        receipt["replayed"] = true.into();
        receipt["event_id"] = quoted.trim_matches('"').into();
        assert_eq!(again.json(), receipt);
    }
    let after = format!("?after={}:{}", position["shard"], position["seq"]);
    assert_eq!((world.coins(ANN).await, world.balance(ANN, "point", "").await), (940, 6));
    assert_eq!((world.balance(2001, "coin", &after).await, world.balance(2002, "coin", &after).await), (30, 30));
    world.stop().await;
}

#[tokio::test]
async fn a_recharge_pays_once_per_transaction() {
    let world = World::start().await;
    let first = world.recharge(ANN, 500, "t1").await;
    let again = world.recharge(ANN, 500, "t1").await;
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(first.json()["event_id"], again.json()["event_id"]);
    world.recharge(ANN, 501, "t1").await.expect_problem("id_reused");
    world.recharge(BOB, 500, "t1").await.expect_problem("id_reused");
    assert_eq!((world.coins(ANN).await, world.coins(BOB).await), (500, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_retry_gets_its_receipt_whatever_has_changed_since() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let key = key();
    let body = json!({ "price_seen": 10 });
    let first = world.send(ANN, &key, body.clone()).await.json();
    let mut withdrawn = catalog(25);
    withdrawn.gifts.remove(0);
    world.put_catalog(&withdrawn).await;
    let again = world.send(ANN, &key, body.clone()).await;
    assert_eq!((&again.json()["balance_after"], again.header("idempotency-replayed")), (&json!(90), Some("true")));
    assert_eq!(again.json()["position"], first["position"]);
    world.send(ANN, &crate::world::key(), body).await.expect_problem("gift_unknown");
    world.send(ANN, &key, json!({ "count": 2 })).await.expect_problem("id_reused");
    assert_eq!(world.coins(ANN).await, 90);
    world.stop().await;
}

#[tokio::test]
async fn a_service_sends_in_the_name_of_a_user() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let body = |sender| json!({ "gift_id": 1, "count": 1, "to": [2001], "event_id": "order 7", "sender": sender });
    let path = "/v1/rooms/1001/gifts";
    let sent = world.post(path).bearer(SERVICE).json(body(json!(ANN))).send().await;
    assert_eq!((&sent.json()["event_id"], &sent.json()["balance_after"]), (&json!("order 7"), &json!(90)));
    let mut nobody = body(json!(ANN));
    nobody.as_object_mut().unwrap().remove("sender");
    world.post(path).bearer(SERVICE).json(nobody).send().await.expect_problem("bad_request");
    let own = world.post(path).bearer(&token(ANN)).json(body(json!("3001"))).send().await;
    assert_eq!(own.header("idempotency-replayed"), Some("true"), "the same event, whoever asks for it");
    world.post(path).bearer(&token(ANN)).json(body(json!(BOB))).send().await.expect_problem("forbidden");
    world.stop().await;
}

#[tokio::test]
async fn too_much_at_once_is_told_before_anything_is_decided() {
    let world = World::start_with(1, Default::default()).await;
    world.recharge(ANN, 100_000, "t1").await;
    // One at a time has room, and how many are there at once is up to threads: so again until some were too many, and
    // some were not.
    let (mut applied, mut turned_away) = (0, Vec::new());
    for _ in 0..100 {
        let sends: Vec<_> = (0..40).map(|_| key()).collect();
        let answers = futures::future::join_all(sends.iter().map(|key| world.send(ANN, key, json!({})))).await;
        let (paid, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
        applied += paid.len() as u64;
        turned_away.extend(others);
        if applied > 0 && !turned_away.is_empty() {
            break;
        }
    }
    assert!(applied > 0 && !turned_away.is_empty(), "{applied} and {}: {:?}", turned_away.len(), turned_away.first());
    for answer in &turned_away {
        answer.expect_problem("overloaded");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
    assert_eq!(world.coins(ANN).await, 100_000 - 10 * applied);
    world.stop().await;
}

#[tokio::test]
async fn catalog_changes_are_the_administrators() {
    let world = World::start().await;
    let got = call(&world.admin, Method::GET, "/v1/catalog").bearer(ADMIN).send().await;
    let mut edited = got.json();
    assert_eq!((&edited["version"], &edited["gift"][0]["price"]), (&json!(1), &json!(10)));
    edited["gift"][0]["price"] = 11.into();
    edited["reason"] = "spring".into();
    let put = |body| call(&world.admin, Method::PUT, "/v1/catalog").bearer(ADMIN).json(body).send();
    assert_eq!(put(edited.clone()).await.json(), json!({ "version": 2 }));
    put(edited.clone()).await.expect_problem("bad_request");
    edited.as_object_mut().unwrap().remove("version");
    edited["gift"][0]["asset"] = "gold".into();
    let detail = put(edited).await.expect_problem("bad_request")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("gold"), "{detail}");
    world.recharge(ANN, 100, "t1").await;
    let changed = world.send(ANN, &key(), json!({ "price_seen": 10 })).await.expect_problem("price_changed");
    assert_eq!((&changed["price_seen"], &changed["price"]), (&json!(10), &json!(11)));
    world.stop().await;
}
