//! Batches of transfers, and balances of many users.

use http::{Method, StatusCode};
use largesse_engine::event_id::CallerKey;
use largesse_engine::service::ServiceError;
use largesse_engine::units::{Amount, AssetId, UserId};
use largesse_engine::wallet::command::{TransferCredit, TransferSaid};
use largesse_engine::wallet::outcome::Refusal;
use serde_json::{Value, json};

use crate::lookups::{Silent, settle};
use crate::world::{ANN, Answer, BOB, SERVICE, World, call, key, token};

/// Coins from one user to another.
fn transfer(event_id: &str, from: u64, to: u64, amount: u64) -> Value {
    json!({
        "event_id": event_id, "user_id": from, "debits": [{ "asset": "coin", "amount": amount }],
        "credits": [{ "user_id": to, "asset": "coin", "amount": amount }]
    })
}

async fn send(world: &World, transfers: &[Value]) -> Answer {
    world.post("/v1/transfers:batch").bearer(SERVICE).json(json!({ "transfers": transfers })).send().await
}

/// Outcome and code of each.
fn outcomes(answer: &Answer) -> Vec<String> {
    let results = answer.json()["results"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
    let short = |result: &Value| {
        let code = result["error"]["code"].as_str().map(|code| format!(" {code}")).unwrap_or_default();
        format!("{}{code}", result["outcome"].as_str().unwrap())
    };
    results.iter().map(short).collect()
}

#[tokio::test]
async fn each_transfer_succeeds_or_fails_for_itself_and_in_order() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let good = key();
    let mut twice = transfer(&key(), ANN, BOB, 1);
    let credit = twice["credits"][0].clone();
    twice["credits"].as_array_mut().unwrap().push(credit);
    let batch = [
        transfer(&good, ANN, BOB, 30),
        transfer(&key(), ANN, BOB, 71),
        transfer(&key(), ANN, BOB, 0),
        transfer(&key(), 0, BOB, 1),
        transfer("", ANN, BOB, 1),
        twice,
        json!({ "event_id": key(), "user_id": ANN, "debits": [{ "asset": "gold", "amount": 1 }] }),
        json!({ "event_id": key(), "user_id": ANN }),
        transfer(&good, ANN, BOB, 31),
        transfer(&good, ANN, BOB, 30),
        transfer(&key(), ANN, 2001, 70),
    ];
    let answer = send(&world, &batch).await;
    assert_eq!(answer.status, StatusCode::OK);
    let want = [
        "applied",
        "refused insufficient_funds",
        "refused invalid_amount",
        "refused bad_request",
        "refused key_required",
        "refused bad_request",
        "refused bad_request",
        "refused invalid_amount",
        "refused id_reused",
        "applied",
        "applied",
    ];
    assert_eq!(outcomes(&answer), want);
    let results = answer.json()["results"].clone();
    assert_eq!((&results[0]["replayed"], &results[9]["replayed"]), (&json!(false), &json!(true)));
    assert_eq!(
        results[0]["debits"],
        json!([{ "user_id": "3001", "asset": "coin", "amount": 30, "balance_after": 70 }])
    );
    assert_eq!((&results[1]["error"]["needed"], &results[1]["error"]["available"]), (&json!(71), &json!(70)));
    let position = &results[10]["position"];
    let after = format!("?after={}:{}", position["shard"], position["seq"]);
    assert_eq!((world.coins(ANN).await, world.balance(2001, "coin", &after).await), (0, 70));
    let found = world.get(&format!("/v1/gifts/{good}?sender={ANN}")).bearer(SERVICE).send().await.json();
    assert_eq!((&found["debits"], &found["position"]), (&results[0]["debits"], &results[0]["position"]));
    world.stop().await;
}

#[tokio::test]
async fn a_thousand_go_in_one_call_and_one_more_does_not() {
    let world = World::start().await;
    world.recharge(ANN, 10_000, "t1").await;
    let mut batch: Vec<_> = (0..1_000).map(|place| transfer(&key(), ANN, 2001 + place % 16, 1)).collect();
    let answer = send(&world, &batch).await;
    assert_eq!(outcomes(&answer), vec!["applied"; 1_000]);
    let balances: Vec<_> = answer.json()["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["debits"][0]["balance_after"].clone())
        .collect();
    let want: Vec<_> = (9_000..10_000_u64).rev().map(Value::from).collect();
    assert_eq!(balances, want, "those of one user are decided in the order of the list");
    batch.push(transfer(&key(), ANN, BOB, 1));
    let detail = send(&world, &batch).await.expect_problem("batch_too_large")["detail"].clone();
    assert!(detail.as_str().unwrap().contains("1000") && detail.as_str().unwrap().contains("1001"), "{detail}");
    send(&world, &[]).await.expect_problem("bad_request");
    let atomic = world.post("/v1/transfers:batch?atomic=true").bearer(SERVICE).json(json!({ "transfers": [batch[0]] }));
    atomic.send().await.expect_problem("bad_request");
    assert_eq!(world.coins(ANN).await, 9_000);
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_known_is_not_called_refused() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let silent = Silent::router(&world);
    for is_paid in [true, false] {
        let batch = json!({ "transfers": [transfer(&key(), ANN, BOB, 10), transfer(&key(), ANN, BOB, 0)] });
        let answer = call(&silent, Method::POST, "/v1/transfers:batch").bearer(SERVICE).json(batch).send().await;
        assert_eq!(outcomes(&answer), ["unknown outcome_unknown", "refused invalid_amount"]);
        let poll = answer.json()["results"][0]["error"]["poll"].as_str().unwrap().to_owned();
        assert_eq!(settle(&world, &poll, SERVICE).await, is_paid);
    }
    assert_eq!(world.coins(ANN).await, 990);
    world.stop().await;
}

#[tokio::test]
async fn who_may_not_issue_moves_only_what_is_there() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let said = |debit: Option<u64>, credit: u64| {
        let amount = |units| Amount::new(units).unwrap();
        let key = CallerKey::parse(&key()).unwrap();
        TransferSaid {
            id: key.id,
            key: key.text,
            user: UserId(ANN),
            debits: debit.map(|units| (AssetId(1), amount(units))).into_iter().collect(),
            credits: [TransferCredit { user: UserId(BOB), asset: AssetId(1), amount: amount(credit) }]
                .into_iter()
                .collect(),
            reference: None,
        }
    };
    let batch = vec![said(Some(5), 5), said(Some(5), 6), said(Some(5), 4), said(None, 5)];
    let service = world.node.service();
    let told: Vec<_> =
        service.transfers(batch.clone(), false, None, None).await.into_iter().map(|it| it.map(|_| ())).collect();
    let unbalanced = || Err(ServiceError::Refused(Refusal::Unbalanced { asset: AssetId(1) }));
    assert_eq!(told, [Ok(()), unbalanced(), unbalanced(), unbalanced()]);
    let told = service.transfers(batch, true, None, None).await;
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    world.stop().await;
}

#[tokio::test]
async fn fifty_users_are_asked_for_at_once() {
    let world = World::start().await;
    for user in 1..=50_u64 {
        world.recharge(user, user * 10, &format!("t{user}")).await;
    }
    let ask = |users: Vec<u64>| {
        let users: Vec<_> = users.iter().map(u64::to_string).collect();
        world.post("/v1/balances:query").bearer(SERVICE).json(json!({ "user_ids": users })).send()
    };
    let answer = ask((1..=50).rev().collect()).await.json();
    let found: Vec<_> = answer["users"].as_array().unwrap().iter().map(|user| user["balances"].clone()).collect();
    let want: Vec<_> = (1..=50_u64).rev().map(|user| json!([{ "asset": "coin", "amount": user * 10 }])).collect();
    assert_eq!(found, want);
    assert_eq!(
        (&answer["users"][0]["user_id"], ask(vec![77]).await.json()["users"][0]["balances"].clone()),
        (&json!("50"), json!([]))
    );
    ask((1..=51).collect()).await.expect_problem("batch_too_large");
    ask(vec![]).await.expect_problem("bad_request");
    ask(vec![1, 0]).await.expect_problem("bad_request");
    let viewer = world.post("/v1/balances:query").bearer(&token(ANN)).json(json!({ "user_ids": [ANN] }));
    viewer.send().await.expect_problem("forbidden");
    world.stop().await;
}

#[tokio::test]
async fn a_user_whose_shard_does_not_answer_has_an_error_of_his_own() {
    let world = World::start().await;
    let silent = Silent::router(&world);
    let ask = call(&silent, Method::POST, "/v1/balances:query").bearer(SERVICE).json(json!({ "user_ids": [ANN] }));
    let answer = ask.send().await.json();
    assert_eq!(answer["users"][0]["error"]["code"], "shard_unavailable", "{answer}");
    assert!(answer["users"][0].get("balances").is_none());
    world.stop().await;
}

#[tokio::test]
async fn a_transfer_says_what_it_is_for() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let mut rent = transfer(&key(), ANN, BOB, 10);
    rent["reference"] = "rent of May".into();
    assert_eq!(outcomes(&send(&world, &[rent.clone()]).await), ["applied"]);
    let page = world.get("/v1/me/history?kind=transfer").bearer(&token(ANN)).send().await.json();
    let item = &page["items"][0];
    assert_eq!(
        (&item["reference"], &item["direction"], &item["peers"]),
        (&json!("rent of May"), &json!("debit"), &json!(["3002"]))
    );
    rent["reference"] = "x".repeat(129).into();
    assert_eq!(outcomes(&send(&world, &[rent]).await), ["refused bad_request"]);
    world.stop().await;
}
