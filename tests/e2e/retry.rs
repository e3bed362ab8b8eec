//! A retry gets its first receipt, whatever has changed since.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, As, Call, Client, Config, Launch, Scratch, until};

const SENDER: u64 = 3001;
const HEART: u64 = 9;

fn body() -> Value {
    json!({"gift_id": HEART, "count": 2, "to": [2001, 2002], "price_seen": 5})
}

/// The receipt of the first time, marked as replayed in body and header.
#[track_caller]
fn assert_is_replay(answer: &Answer, first: &Value) {
    let mut wanted = first.clone();
    wanted["replayed"] = true.into();
    assert_eq!((answer.status.as_u16(), answer.is_replayed, &answer.body), (200, true, &wanted));
}

#[tokio::test]
async fn a_retry_gets_its_receipt_after_price_gift_and_host_have_changed() {
    let scratch = Scratch::new();
    let (all, fewer) = (Config::new(&[2001, 2002]), Config::new(&[2002]));
    let server = Launch::serve(&scratch.data(), &all).ready().await;
    let client = &server.client;
    client.apply_catalog(|_| ()).await;
    client.recharge(SENDER, 100, "first").await.ok();
    let first = client.gift(SENDER, "key", &body()).await.ok();
    assert_eq!((&first["total"], &first["balance_after"]), (&20.into(), &80.into()));

    // The price goes up.
    let find =
        |draft: &Value| draft["gift"].as_array().unwrap().iter().position(|gift| gift["gift_id"] == HEART).unwrap();
    client
        .apply_catalog(|draft| {
            let at = find(draft);
            draft["gift"][at]["price"] = json!(6);
        })
        .await;
    let fresh = client.gift(SENDER, "fresh", &body()).await;
    assert_eq!(fresh.code(), "price_changed");
    assert_eq!((&fresh.body["price_seen"], &fresh.body["price"]), (&5.into(), &6.into()), "{}", fresh.body);
    assert_is_replay(&client.gift(SENDER, "key", &body()).await, &first);

    // The gift is withdrawn.
    client
        .apply_catalog(|draft| {
            let at = find(draft);
            draft["gift"].as_array_mut().unwrap().remove(at);
        })
        .await;
    assert_eq!(client.gift(SENDER, "fresh", &body()).await.code(), "gift_unknown");
    assert_is_replay(&client.gift(SENDER, "key", &body()).await, &first);

    // The money is gone.
    let rest = json!({"gift_id": 1, "count": 80, "to": [2002]});
    client.gift(SENDER, "rest", &rest).await.ok();
    assert_eq!(client.coins(SENDER).await, 0);
    assert_is_replay(&client.gift(SENDER, "key", &body()).await, &first);

    // A host leaves, and then the room.
    server.stop();
    let server = Launch::serve(&scratch.data(), &fewer).ready().await;
    server.client.apply_catalog(|_| ()).await;
    assert_eq!(server.client.gift(SENDER, "fresh", &body()).await.code(), "host_not_in_room");
    assert_is_replay(&server.client.gift(SENDER, "key", &body()).await, &first);
    server.kill();
    let empty = Config { rooms: vec![(7, vec![2001])], ..fewer };
    let server = Launch::serve(&scratch.data(), &empty).ready().await;
    assert_eq!(server.client.gift(SENDER, "fresh", &body()).await.code(), "room_unknown");
    assert_is_replay(&server.client.gift(SENDER, "key", &body()).await, &first);
    let found = server.client.call(Call::get(As::Viewer(SENDER), "/v1/gifts/key")).await.ok();
    assert_eq!(found, first);
    assert_eq!(server.client.coins(2001).await, 10);
    server.stop();
}

#[tokio::test]
async fn a_retry_while_the_first_is_in_flight_pays_once() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    let client = &server.client;
    for round in 0..20_u64 {
        let key = uuid::Uuid::now_v7().to_string();
        let (key, body) = (&key, body());
        let answers = futures::future::join_all((0..8).map(|_| client.gift(SENDER, key, &body))).await;
        let fresh: Vec<_> = answers.iter().filter(|answer| !answer.is_replayed).collect();
        assert_eq!(fresh.len(), 1, "one of the attempts paid");
        let first = fresh[0].clone().ok();
        assert_eq!(first["balance_after"], 100_000 - 20 * (round + 1));
        for answer in answers.iter().filter(|answer| answer.is_replayed) {
            assert_is_replay(answer, &first);
        }
    }
    server.stop();
}

/// Sends until it is decided: where memory is this small, the door closes whenever the store is a moment behind.
async fn decided(client: &Client, key: &str, body: &Value) -> Answer {
    let sent = || async {
        let answer = client.gift(SENDER, key, body).await;
        (answer.code() != "overloaded").then_some(answer)
    };
    until("the gift is decided", Duration::from_secs(60), sent).await
}

#[tokio::test]
async fn a_retry_after_the_window_has_moved_on_still_gets_its_first_receipt() {
    let scratch = Scratch::new();
    let more = "[engine]\nwindow-bytes-max = \"64 KiB\"\nwallets-max = 1\nflush-every = \"20 ms\"".into();
    let config = Config { wallet_shards: 1, more, ..Config::new(&[2001, 2002]) };
    let server = Launch::serve(&scratch.data(), &config).ready().await;
    let client = &server.client;
    client.apply_catalog(|_| ()).await;
    client.recharge(SENDER, 1_000_000, "first").await.ok();
    let old_keys = [uuid::Uuid::now_v7().to_string(), uuid::Uuid::new_v4().to_string(), "a key of text".into()];
    let mut firsts = Vec::new();
    for key in &old_keys {
        firsts.push(decided(client, key, &body()).await.ok());
    }
    // Far more than 64 KiB of memory can hold.
    let small = json!({"gift_id": 1, "count": 1, "to": [2001]});
    for _ in 0..40 {
        let keys: Vec<_> = (0..50).map(|_| uuid::Uuid::now_v7().to_string()).collect();
        for answer in futures::future::join_all(keys.iter().map(|key| decided(client, key, &small))).await {
            answer.ok();
        }
    }
    let left = client.coins(SENDER).await;
    for (key, first) in old_keys.iter().zip(&firsts) {
        assert_is_replay(&decided(client, key, &body()).await, first);
    }
    server.kill();
    let server = Launch::serve(&scratch.data(), &config).ready().await;
    for (key, first) in old_keys.iter().zip(&firsts) {
        assert_is_replay(&decided(&server.client, key, &body()).await, first);
    }
    assert_eq!(server.client.coins(SENDER).await, left);
    server.stop();
}

#[tokio::test]
async fn two_users_who_gift_each_other_at_once_end_with_the_right_sums() {
    let scratch = Scratch::new();
    let users = [3001_u64, 3002];
    let server = Launch::serve(&scratch.data(), &Config::new(&users)).ready().await;
    let client = &server.client;
    client.apply_catalog(|_| ()).await;
    for user in users {
        client.recharge(user, 300, &format!("first-{user}")).await.ok();
    }
    let gifts = (0..100_usize).map(|number| {
        let (from, to) = (users[number % 2], users[(number + 1) % 2]);
        let price = if number % 2 == 0 { 2 } else { 1 };
        async move {
            client.gift(from, &format!("gift-{number}"), &json!({"gift_id": 1, "count": price, "to": [to]})).await.ok()
        }
    });
    futures::future::join_all(gifts).await;
    let settled = || async {
        let sums = (client.coins(3001).await, client.coins(3002).await);
        (sums.0 + sums.1 == 600).then_some(sums)
    };
    let sums = until("nothing is in flight", Duration::from_secs(10), settled).await;
    assert_eq!(sums, (300 - 100 + 50, 300 - 50 + 100));
    server.stop();
}
