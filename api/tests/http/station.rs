//! The station interface, as its callers knew it.

use std::time::Duration;

use http::{Method, StatusCode};
use largesse_api::ApiOptions;
use largesse_api::room_pass::RoomPassOptions;
use serde_json::{Value, json};

use crate::lookups::{settle, silent_router};
use crate::who::make_key;
use crate::world::{ANN, Answer, BOB, SERVICE, World, call, key, key_ahead, token};

const CHANGE: &str = "/openapi/payment/station/v1/changeassets";
const ASSETS: &str = "/openapi/payment/da/v1/getassets";
const RECORDS: &str = "/openapi/payment/da/v1/getassetrecords";
const SEND: &str = "/openapi/interaction/gift/v1/sendgift";
const LIST: &str = "/openapi/interaction/gift/v1/listgift";

/// The envelope, which stands in an answer of status 200 whatever happens.
#[track_caller]
fn envelope(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, Some("application/json")));
    let json = answer.json();
    let trace = answer.header("traceparent").unwrap().split('-').nth(1).unwrap().to_owned();
    assert_eq!(json["extra"]["traceId"], trace, "{json}");
    assert!(json["errCode"].is_u64() && json["errMsg"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
    json
}

async fn post(world: &World, path: &str, bearer: &str, body: Value) -> Value {
    envelope(&world.post(path).bearer(bearer).json(body).send().await)
}

/// Gold coins for a gift in a room, from one user to another.
fn change(event_id: &str, from: u64, to: u64, incr: i64) -> Value {
    json!({
        "eventId": event_id, "opUserId": from, "eventType": 1, "bizId": 1001, "bizType": 1, "objId": "9",
        "opUserAssetChange": { "userId": from, "assetType": 1, "incr": -incr },
        "toUserAssetChange": { "userId": to, "assetType": "goldCoin", "incr": incr }
    })
}

fn recharge(transaction: &str, user: u64, incr: i64) -> Value {
    json!({
        "eventId": key(), "opUserId": user, "eventType": "orderWX", "bizId": 77, "bizType": "recharge",
        "objId": transaction, "opUserAssetChange": { "userId": user, "assetType": 1, "incr": incr },
        "toUserAssetChange": { "userId": 0, "assetType": 0, "incr": 0 }
    })
}

fn results(json: &Value) -> Vec<(Value, u64)> {
    let list = json["bizAssetChangeResList"].as_array().unwrap_or_else(|| panic!("{json}"));
    list.iter().map(|item| (item["changeRes"].clone(), item["errCode"].as_u64().unwrap())).collect()
}

#[tokio::test]
async fn each_change_succeeds_or_fails_for_itself() {
    let world = World::start().await;
    let paid = post(&world, CHANGE, SERVICE, json!({ "bizAssetChanges": [recharge("wx1", ANN, 100)] })).await;
    assert_eq!(
        paid["bizAssetChangeResList"][0]["opUserAsset"],
        json!({ "userId": 3001, "assetType": 1, "assetCn": 100 })
    );
    let good = key();
    let with = |edit: fn(&mut Value)| {
        let mut item = change(&key(), ANN, BOB, 1);
        edit(&mut item);
        item
    };
    let items = json!([
        change(&good, ANN, BOB, 30),
        change(&key(), ANN, BOB, 71),
        // A debit on the to-side.
        change(&key(), ANN, BOB, -5),
        change(&good, ANN, BOB, 30),
        change(&good, ANN, BOB, 31),
        with(|item| item["opUserAssetChange"]["userId"] = BOB.into()),
        with(|item| item["eventType"] = "tip".into()),
        with(|item| item["opUserAssetChange"]["assetType"] = 99.into()),
        with(|item| item["opUserAssetChange"]["incr"] = i64::MIN.into()),
        with(|item| item["eventId"] = "".into()),
        // The same payment, which another event reports.
        recharge("wx1", ANN, 100),
        recharge("wx1", BOB, 100),
        recharge("wx2", ANN, -100),
    ]);
    let answer = post(&world, CHANGE, SERVICE, json!({ "bizAssetChanges": items })).await;
    assert_eq!(answer["errCode"], 0, "some of it went well: {answer}");
    let (yes, no) = (Value::Bool(true), Value::Bool(false));
    let want = [
        (&yes, 0),
        (&no, 20_040),
        (&no, 10_002),
        (&yes, 0),
        (&no, 20_030),
        (&no, 100_000),
        (&no, 100_000),
        (&no, 100_000),
        (&no, 10_002),
        (&no, 10_005),
        (&yes, 0),
        (&no, 20_030),
        (&no, 10_002),
    ];
    assert_eq!(results(&answer), want.map(|(res, code)| (res.clone(), code)), "{answer}");
    let list = answer["bizAssetChangeResList"].as_array().unwrap();
    assert_eq!((&list[0]["eventId"], &list[0]["failMsg"]), (&json!(good), &json!("")));
    assert!(list[1]["failMsg"].as_str().unwrap().contains("71"), "{answer}");
    assert_eq!((world.coins(ANN).await, list.len()), (70, 13));
    world.stop().await;
}

#[tokio::test]
async fn fifty_one_items_get_an_error_that_says_so_and_nothing_is_done() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let items = |count: usize| -> Vec<_> { (0..count).map(|_| change(&key(), ANN, BOB, 1)).collect() };
    let answer = post(&world, CHANGE, SERVICE, json!({ "bizAssetChanges": items(51) })).await;
    assert_eq!((&answer["errCode"], &answer["extra"]["code"]), (&json!(10_004), &json!("batch_too_large")));
    let message = answer["errMsg"].as_str().unwrap();
    assert!(message.contains("51") && message.contains("50"), "{message}");
    assert!(answer.get("bizAssetChangeResList").is_none());
    let many: Vec<u64> = (1..=51).collect();
    let answer = post(&world, ASSETS, SERVICE, json!({ "userIds": many })).await;
    assert_eq!(answer["errCode"], 10_004, "{answer}");
    let answer = post(&world, RECORDS, SERVICE, json!({ "userId": ANN, "limit": 51 })).await;
    assert_eq!(answer["errCode"], 10_004, "{answer}");
    assert_eq!(world.coins(ANN).await, 100);
    let answer = post(&world, CHANGE, SERVICE, json!({ "bizAssetChanges": items(50) })).await;
    assert_eq!((results(&answer).len(), world.coins(ANN).await), (50, 50));
    world.stop().await;
}

#[tokio::test]
async fn a_time_out_is_not_a_failure_and_comes_within_a_second() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let silent = silent_router(&world);
    for is_done in [true, false] {
        let items = json!({ "bizAssetChanges": [change(&key(), ANN, BOB, 10), change(&key(), ANN, BOB, -1)] });
        let started = tokio::time::Instant::now();
        let answer = envelope(&call(&silent, Method::POST, CHANGE).bearer(SERVICE).json(items).send().await);
        assert!(started.elapsed() < std::time::Duration::from_millis(1_500), "{:?}", started.elapsed());
        // Whoever looks at the envelope only sees that it did not go well; whoever looks at the items sees what is known.
        assert_eq!(answer["errCode"], 20_052, "{answer}");
        assert_eq!(results(&answer), [(Value::Null, 20_052), (Value::Bool(false), 10_002)]);
        let poll = answer["bizAssetChangeResList"][0]["poll"].as_str().unwrap();
        assert_eq!(settle(&world, poll, SERVICE).await, is_done);
    }
    let gift = json!({ "eventId": key(), "roomId": 1001, "giftId": 1, "count": 1, "toUserIds": [2001] });
    let answer = envelope(&call(&silent, Method::POST, SEND).bearer(&token(ANN)).json(gift).send().await);
    assert_eq!((&answer["errCode"], &answer["extra"]["code"]), (&json!(20_052), &json!("outcome_unknown")));
    let is_sent = settle(&world, answer["extra"]["poll"].as_str().unwrap(), &token(ANN)).await;
    assert_eq!(world.coins(ANN).await, if is_sent { 980 } else { 990 });
    world.stop().await;
}

#[tokio::test]
async fn assets_and_their_records_can_be_read() {
    let world = World::start().await;
    post(&world, CHANGE, SERVICE, json!({ "bizAssetChanges": [recharge("wx1", ANN, 100)] })).await;
    let event = key_ahead(1);
    post(&world, CHANGE, SERVICE, json!({ "bizAssetChanges": [change(&event, ANN, BOB, 30)] })).await;
    let both = post(&world, ASSETS, SERVICE, json!({ "userIds": [ANN, "3002"], "assetType": 1 })).await;
    assert_eq!(both["userAssets"][0], json!({ "userId": 3001, "assetType": 1, "assetCn": 70 }));
    let own = post(&world, ASSETS, &token(ANN), json!({ "userIds": [ANN] })).await;
    assert_eq!(own["userAssets"], json!([{ "userId": 3001, "assetType": 1, "assetCn": 70 }]));
    let other = post(&world, ASSETS, &token(ANN), json!({ "userIds": [BOB] })).await;
    assert_eq!(other["errCode"], 10_011, "{other}");

    let first = post(&world, RECORDS, SERVICE, json!({ "userId": ANN, "opUserType": 1, "limit": 1 })).await;
    let mut record = first["records"][0].clone();
    assert!(record.as_object_mut().unwrap().remove("createdAt").is_some());
    assert_eq!(
        record,
        json!({
            "userId": 3001, "opUserType": 1, "bizId": 1001, "bizType": 1, "eventId": event,
            "eventType": "interactGift", "objId": "9", "assetType": 1, "record": 30, "recordOp": "-", "assetCn": 70
        })
    );
    let rest = json!({ "userId": ANN, "opUserType": 1, "limit": 50, "cursor": first["cursor"] });
    let rest = post(&world, RECORDS, SERVICE, rest).await;
    let kinds: Vec<_> =
        rest["records"].as_array().unwrap().iter().map(|it| (&it["recordOp"], &it["bizType"])).collect();
    assert_eq!(kinds, [(&json!("+"), &json!(2))], "{rest}");
    world.node.drain_store().await;
    let received = post(&world, RECORDS, SERVICE, json!({ "userId": BOB, "opUserType": 2 })).await;
    assert_eq!(received["records"].as_array().map(Vec::len), Some(1), "{received}");
    for bad in [json!({ "userId": ANN, "opUserType": 3 }), json!({ "userId": 0 }), json!({})] {
        assert_eq!(post(&world, RECORDS, SERVICE, bad).await["errCode"], 100_000);
    }
    let wrong = post(&world, RECORDS, SERVICE, json!({ "userId": ANN, "cursor": "x" })).await;
    assert_eq!(wrong["errCode"], 10_007, "{wrong}");
    world.stop().await;
}

#[tokio::test]
async fn gifts_are_listed_and_sent() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let listed = envelope(&world.post(LIST).json(json!({ "roomId": "1001" })).send().await);
    assert_eq!((&listed["gifts"][0]["giftId"], &listed["gifts"][0]["currencyCn"]), (&json!(1), &json!(10)));
    assert_eq!((&listed["gifts"][0]["unit"], &listed["gifts"][0]["effectsUrl"]), (&json!("coin"), &json!("")));
    let nowhere = envelope(&world.post(LIST).json(json!({ "roomId": 9 })).send().await);
    assert_eq!(nowhere["errCode"], 10_021);

    let event = key();
    let gift = |count: u64| json!({ "eventId": event, "roomId": 1001, "giftId": 1, "count": count, "toUserIds": [2001, 2002], "price": 10 });
    let sent = post(&world, SEND, &token(ANN), gift(2)).await;
    assert_eq!(
        (&sent["total"], &sent["opUserAsset"]["assetCn"], &sent["replayed"]),
        (&json!(40), &json!(60), &json!(false))
    );
    assert_eq!(post(&world, SEND, &token(ANN), gift(2)).await["replayed"], true);
    assert_eq!(post(&world, SEND, &token(ANN), gift(3)).await["errCode"], 20_030);
    let receipt = world.get(&format!("/v1/gifts/{event}")).bearer(&token(ANN)).send().await.json();
    assert_eq!(receipt["balance_after"], 60, "the two interfaces have one set of books");
    let mut costly = gift(9_999);
    costly["eventId"] = key().into();
    let poor = world.post(SEND).bearer(&token(ANN)).header("Accept-Language", "zh").json(costly).send().await;
    let poor = envelope(&poor);
    assert_eq!((&poor["errCode"], &poor["extra"]["available"]), (&json!(20_040), &json!("60")));
    assert!(poor["extra"]["prompt"].as_str().unwrap().contains("余额不足"), "{poor}");
    assert_eq!(post(&world, SEND, SERVICE, gift(2)).await["errCode"], 100_000, "a service says for whom");
    world.stop().await;
}

#[tokio::test]
async fn tokens_may_come_the_way_they_used_to_here_and_nowhere_else() {
    let world = World::start().await;
    let body = json!({ "userIds": [ANN] });
    let in_header = world.post(ASSETS).header("x-access-token", &token(ANN)).json(body.clone()).send().await;
    assert_eq!(envelope(&in_header)["errCode"], 0);
    let in_query = world.post(&format!("{ASSETS}?access_token={}", token(ANN))).json(body.clone()).send().await;
    assert_eq!(envelope(&in_query)["errCode"], 0);
    for answer in [
        world.post(ASSETS).json(body.clone()).send().await,
        world.post(ASSETS).header("x-access-token", "nonsense").json(body.clone()).send().await,
        // What stands in the usual place counts.
        world.post(ASSETS).bearer("nonsense").header("x-access-token", &token(ANN)).json(body.clone()).send().await,
    ] {
        assert_eq!(envelope(&answer)["errCode"], 10_010);
    }
    let viewer = post(&world, CHANGE, &token(ANN), json!({ "bizAssetChanges": [] })).await;
    assert_eq!(viewer["errCode"], 10_011);
    let elsewhere = world.get("/v1/me/balances").header("x-access-token", &token(ANN)).send().await;
    elsewhere.expect_problem("unauthenticated");
    world.stop().await;
}

#[tokio::test]
async fn whatever_goes_wrong_stands_in_the_envelope() {
    let world = World::start().await;
    let service = |path: &str| world.post(path).bearer(SERVICE);
    let json = |body: &'static str| service(CHANGE).header("Content-Type", "application/json").body(body);
    let large = format!("{{\"bizAssetChanges\":[],\"x\":\"{}\"}}", "x".repeat(70_000));
    for (answer, code) in [
        (service("/openapi/payment/station/v1/nothing").json(json!({})).send().await, 100_001),
        (world.get("/openapi/x/y/z").send().await, 100_001),
        (call(&world.public, Method::GET, CHANGE).bearer(SERVICE).send().await, 100_001),
        (json("{").send().await, 100_000),
        (json("{\"bizAssetChanges\":[{\"eventId\":1}]}").send().await, 100_000),
        (json("{\"bizAssetChange\":[]}").send().await, 100_000),
        (service(CHANGE).body("{}").send().await, 10_009),
        (service(CHANGE).header("Content-Type", "application/json").body(large).send().await, 10_008),
    ] {
        assert_eq!(envelope(&answer)["errCode"], code, "{answer:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn it_is_no_way_around_scopes() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let mut keys = Vec::new();
    for scopes in
        [json!(["read"]), json!(["transfers"]), json!(["transfers", "issue"]), json!(["transfers", "recharges"])]
    {
        let name = format!("key-{}", keys.len());
        let made = make_key(&world, json!({ "name": name, "scopes": scopes })).await.json();
        keys.push(made["key"].as_str().unwrap().to_owned());
    }
    let mut gives_more = change(&key(), ANN, BOB, 1);
    gives_more["toUserAssetChange"]["incr"] = 2.into();
    for (bearer, want) in keys.iter().zip([None, Some([0, 10_002, 10_011]), Some([0, 0, 10_011]), Some([0, 10_002, 0])])
    {
        let items = json!([change(&key(), ANN, BOB, 1), gives_more.clone(), recharge(&key(), ANN, 1)]);
        let answer = post(&world, CHANGE, bearer, json!({ "bizAssetChanges": items })).await;
        match want {
            None => assert_eq!(answer["errCode"], 10_011, "{answer}"),
            Some(codes) => {
                let found: Vec<_> = results(&answer).into_iter().map(|(_, code)| code).collect();
                assert_eq!(found, codes, "{answer}");
            }
        }
        gives_more["eventId"] = key().into();
    }
    assert_eq!(post(&world, ASSETS, &keys[1], json!({ "userIds": [ANN] })).await["errCode"], 10_011);
    world.stop().await;
}

#[tokio::test]
async fn it_is_no_way_around_room_passes() {
    let pass =
        RoomPassOptions { secret: b"a secret that only passes know, long".to_vec(), ttl: Duration::from_secs(60) };
    let world = World::start_with(1_000, ApiOptions { room_pass: Some(pass), ..ApiOptions::default() }).await;
    world.recharge(ANN, 100, "t1").await;
    let gift = json!({ "eventId": key(), "roomId": 1001, "giftId": 1, "count": 1, "toUserIds": [2001] });
    let refused = post(&world, SEND, &token(ANN), gift.clone()).await;
    assert_eq!((&refused["errCode"], &refused["extra"]["code"]), (&json!(10_015), &json!("room_pass_invalid")));
    let pass = world.post("/v1/rooms/1001/pass").bearer(&token(ANN)).send().await.json();
    let pass = pass["pass"].as_str().unwrap();
    let sent = world.post(SEND).bearer(&token(ANN)).header("Largesse-Room-Pass", pass).json(gift).send().await;
    assert_eq!(envelope(&sent)["errCode"], 0);
    world.stop().await;
}
