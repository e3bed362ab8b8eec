//! A clock that jumps. Timers keep to the steady clock, as they do when an administrator sets the time.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, Client, Config, Launch, Scratch, now_seconds, until};
use crate::shim::Shim;

const SENDER: u64 = 3001;
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

/// A v7 id that somebody made whose clock is this far from the true time.
fn key_made(seconds: i64) -> String {
    let millis = now_seconds().saturating_add_signed(seconds) * 1_000;
    let time = uuid::Timestamp::from_unix(uuid::NoContext, millis / 1_000, 0);
    uuid::Uuid::new_v7(time).to_string()
}

async fn rose(client: &Client, key: &str) -> Answer {
    client.gift(SENDER, key, &json!({"gift_id": 1, "count": 1, "to": [2001]})).await
}

/// A receipt's time as seconds, which the format makes comparable as text.
fn at(receipt: &serde_json::Value) -> &str {
    receipt["at"].as_str().unwrap()
}

#[tokio::test]
async fn a_jumping_clock_neither_stops_gifts_nor_takes_anything_back() {
    let scratch = Scratch::new();
    let shim = Shim::build(scratch.path());
    let config = Config::new(&[2001]);
    let launch = || shim.on(Launch::serve(&scratch.data(), &config));
    let server = launch().ready().await;
    let client = &server.client;
    client.apply_catalog(|_| ()).await;
    client.recharge(SENDER, 100, "first").await.ok();
    let (first_key, text_key) = (key_made(0), "a key without a time");
    let first = rose(client, &first_key).await.ok();
    let text = rose(client, text_key).await.ok();
    let ahead = rose(client, &key_made(2 * HOUR)).await;
    assert_eq!((ahead.status.as_u16(), ahead.code()), (422, "id_time_ahead"), "{}", ahead.body);
    assert!(ahead.body["server_time"].is_string(), "{}", ahead.body);

    // Ahead: what was ahead is not any more, and keys of correct clocks go on.
    shim.shift_clock(2 * HOUR);
    let jumped = rose(client, &key_made(2 * HOUR)).await.ok();
    assert!(at(&jumped) > at(&first), "{jumped}");
    let correct = rose(client, &key_made(0)).await.ok();
    assert!(at(&correct) >= at(&jumped), "a shard's time does not go back: {correct}");
    assert!(rose(client, &first_key).await.is_replayed);

    let arrived = || async { (client.coins(2001).await == 4).then_some(()) };
    until("credits arrive while the clock is ahead", Duration::from_secs(10), arrived).await;

    // Back, to before the first gift: time stands still, everything goes on.
    shim.shift_clock(-HOUR);
    let back = rose(client, &key_made(-HOUR)).await.ok();
    assert!(at(&back) >= at(&correct), "a shard's time does not go back: {back}");
    assert_eq!(rose(client, &key_made(0)).await.ok()["balance_after"], 100 - 6);
    let ahead = rose(client, &key_made(2 * HOUR + 10 * MINUTE)).await;
    assert_eq!(ahead.code(), "id_time_ahead", "{}", ahead.body);
    for (key, receipt) in [(first_key.as_str(), &first), (text_key, &text)] {
        let again = rose(client, key).await;
        assert!(again.is_replayed, "{}", again.body);
        assert_eq!((&again.body["at"], &again.body["balance_after"]), (&receipt["at"], &receipt["balance_after"]));
    }

    let arrived = || async { (client.coins(2001).await == 6).then_some(()) };
    until("credits arrive while the clock is back", Duration::from_secs(10), arrived).await;
    server.kill();

    // A start with the clock set back, then one with it right.
    for (seconds, left) in [(-HOUR, 93_u64), (0, 92)] {
        shim.shift_clock(seconds);
        let server = launch().ready().await;
        let client = &server.client;
        assert_eq!(client.coins(SENDER).await, left + 1);
        let after = rose(client, &key_made(0)).await.ok();
        assert_eq!(after["balance_after"], left);
        assert!(at(&after) >= at(&back), "a shard's time does not go back: {after}");
        assert!(rose(client, &first_key).await.is_replayed);
        let arrived = || async { (client.coins(2001).await == 100 - left).then_some(()) };
        until("all gifts have arrived", Duration::from_secs(10), arrived).await;
        server.kill();
    }
}
