//! What the real process tells of where the time of its gifts goes.

use serde_json::json;

use crate::harness::{As, Call, Client, Config, Launch, Scratch};
use crate::setup::{Setup, setup};

const STAGES: [&str; 5] = ["admit", "queue", "debit", "log", "reply"];
const GIFTS: u32 = 20;

/// The text of a scrape.
struct Scrape(String);

impl Scrape {
    async fn of(client: &Client) -> Scrape {
        let text = client.http.get(format!("{}/metrics", client.admin)).send().await.unwrap();
        Scrape(text.error_for_status().unwrap().text().await.unwrap())
    }

    /// 0 before it was first counted.
    fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    fn stages(&self, part: &str) -> [f64; 5] {
        STAGES.map(|stage| self.value(&format!("largesse_gift_duration_seconds_{part}{{stage=\"{stage}\"}}")))
    }
}

/// How much each stage has grown by.
fn growth(part: &str, before: &Scrape, after: &Scrape) -> [f64; 5] {
    let (before, after) = (before.stages(part), after.stages(part));
    std::array::from_fn(|stage| after[stage] - before[stage])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_of_a_gift_is_counted_once_and_together_they_are_its_time() {
    let scratch = Scratch::new();
    // No credit is on its way between shards, so that each record is a gift's.
    let server = Launch::serve(&scratch.data(), &Config { wallet_shards: 1, ..Config::new(&[2001]) }).ready().await;
    let client = &server.client;
    client.apply_catalog(|_| {}).await;
    client.recharge(3001, 1_000_000, "t1").await.ok();
    let before = Scrape::of(client).await;
    assert_eq!(before.stages("count")[0], 0.0, "a recharge is no gift");
    for number in 0..GIFTS {
        client.gift(3001, &format!("gift-{number}"), &json!({"gift_id": 1, "count": 1, "to": [2001]})).await.ok();
    }
    let after = Scrape::of(client).await;
    assert_eq!(growth("count", &before, &after), [f64::from(GIFTS); 5], "{STAGES:?}\n{}", after.0);
    let appended = |scrape: &Scrape| scrape.value("largesse_log_append_seconds_count");
    assert!(appended(&after) >= appended(&before) + f64::from(GIFTS), "of either log\n{}", after.0);
    let whole = after.value("largesse_http_request_seconds_sum{route=\"/v1/rooms/{room}/gifts\"}");
    let stages = growth("sum", &before, &after);
    assert!(stages.iter().all(|spent| *spent > 0.0), "each stage takes time: {stages:?}\n{}", after.0);
    let parts: f64 = stages.iter().sum();
    // How much lies between them depends on how busy the machine is: whoever is woken has to be let in.
    assert!(parts <= whole && parts >= whole / 20.0, "{parts} of {whole}\n{}", after.0);
    assert!(after.0.contains("largesse_gift_duration_seconds_bucket{stage=\"debit\",le=\"0.00001\"}"), "{}", after.0);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_counted_only_where_a_gift_comes_through_it() {
    let scratch = Scratch::new();
    let server = Launch::serve(&scratch.data(), &Config { wallet_shards: 1, ..Config::new(&[2001]) }).ready().await;
    let client = &server.client;
    client.apply_catalog(|_| {}).await;
    let gift = json!({"gift_id": 1, "count": 1, "to": [2001]});

    let before = Scrape::of(client).await;
    let none = json!({"gift_id": 1, "count": 0, "to": [2001]});
    assert_eq!(client.gift(3001, "no-count", &none).await.code(), "invalid_amount");
    client.call(Call::post(As::Admin, "/v1/keys", &json!({"name": "shop", "scopes": ["read"]}))).await.ok();
    let after = Scrape::of(client).await;
    assert_eq!(growth("count", &before, &after), [0.0; 5], "the edge refused it; keys are no wallet's\n{}", after.0);

    // Where anybody can append, an owner first proves by an empty record that it still is the owner.
    let proofs = match setup() {
        Setup::Embedded => 0.0,
        Setup::Servers => 1.0,
    };
    assert_eq!(client.gift(3001, "no-coins", &gift).await.code(), "insufficient_funds");
    let refused = Scrape::of(client).await;
    assert_eq!(growth("count", &after, &refused), [1.0, 1.0, 1.0, proofs, 1.0], "a refusal is no event\n{}", refused.0);

    let body = json!({"eventId": "no-coins-2", "opUserId": 3001, "roomId": 1001, "giftId": 1, "count": 1, "toUserIds": [2001]});
    client.call(Call::post(As::Service, "/openapi/interaction/gift/v1/sendgift", &body)).await.ok();
    let by_station = Scrape::of(client).await;
    assert_eq!(growth("count", &refused, &by_station), [1.0, 1.0, 1.0, proofs, 1.0], "the other door for gifts");
    server.stop();
}
