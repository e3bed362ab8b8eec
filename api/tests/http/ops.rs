//! Health, readiness, metrics, traces and panics.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::{Method, StatusCode};
use largesse_api::ApiOptions;
use largesse_api::edge::{self, RouteEdge};
use largesse_api::metrics::RouteMeter;
use largesse_api::rates::{Rate, RateOptions};
use largesse_api::state::Phase;
use largesse_engine::event_id::CallerKey;
use largesse_engine::service::Found;
use largesse_engine::units::UserId;
use largesse_engine::wallet::event::WalletEvent;
use serde_json::{Value, json};

use crate::world::{ANN, BOB, SERVICE, World, call, key, token};

#[tokio::test]
async fn health_is_told_on_both_ports_and_readiness_follows_the_phase() {
    let world = World::start().await;
    for path in ["/healthz", "/health"] {
        for router in [&world.public, &world.admin] {
            assert_eq!(call(router, Method::GET, path).send().await.json(), json!({ "status": "ok" }));
        }
    }
    for path in ["/readyz", "/readiness"] {
        for (phase, status) in [(Phase::Starting, 503), (Phase::Ready, 200), (Phase::Draining, 503)] {
            world.state.readiness.set(phase);
            assert_eq!(call(&world.admin, Method::GET, path).send().await.status.as_u16(), status);
        }
    }
    world.state.readiness.set(Phase::Ready);
    world.state.readiness.also_ask(|| Err("shard wallet-3 is halted".into()));
    let problem = call(&world.admin, Method::GET, "/readyz").send().await.expect_problem("shard_unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("wallet-3"));
    world.stop().await;
}

#[tokio::test]
async fn requests_and_gifts_are_counted_without_naming_anybody() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let key = key();
    world.send(ANN, &key, json!({})).await;
    world.send(ANN, &key, json!({})).await;
    world.send(ANN, &crate::world::key(), json!({ "count": 100 })).await;
    world.get("/nowhere/3001").send().await;
    let answer = call(&world.admin, Method::GET, "/metrics").send().await;
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    let text = String::from_utf8(answer.body.into()).unwrap();
    for line in [
        r#"largesse_http_requests_total{route="/v1/rooms/{room}/gifts",status="200"}"#,
        r#"largesse_http_requests_total{route="none",status="404"}"#,
        r#"largesse_http_request_seconds_bucket{route="/v1/rooms/{room}/gifts",le="0.001"}"#,
        r#"largesse_log_append_seconds_bucket{le="0.001"}"#,
        r#"largesse_log_batch_bytes_bucket{le="1024"}"#,
        r#"largesse_gift_requests_total{outcome="applied",reason="new"}"#,
        r#"largesse_gift_requests_total{outcome="applied",reason="replayed"}"#,
        r#"largesse_gift_requests_total{outcome="refused",reason="insufficient_funds"}"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("3001"), "{text}");
    world.stop().await;
}

/// Names of metrics, and of labels, in the text of a scrape.
fn exposed(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for line in lines {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let parts = ["_bucket", "_sum", "_count"];
        let histogram = parts.iter().find_map(|part| name.strip_suffix(part).filter(|name| !name.ends_with("_total")));
        names.insert(histogram.unwrap_or(name).to_owned());
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        labels.extend(inside.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned())));
    }
    (names, labels)
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    const DOCS: &str = include_str!("../../../docs/metrics.md");
    let address = Some(Rate { requests: NonZeroU32::new(1_000).unwrap(), per: Duration::from_secs(1) });
    let rates = RateOptions { address, ..RateOptions::default() };
    let world = World::start_with(1_000, ApiOptions { rates, ..ApiOptions::default() }).await;
    world.recharge(ANN, 100, "t1").await;
    world.send(ANN, &key(), json!({})).await;
    let (exposed, labels) = loop {
        let answer = call(&world.admin, Method::GET, "/metrics").send().await;
        let (exposed, labels) = exposed(&String::from_utf8(answer.body.into()).unwrap());
        // Each shard writes its gauges once a second.
        if exposed.contains("largesse_ledger_imbalance") {
            break (exposed, labels);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let rows: Vec<(&str, &str)> = rows.collect();
    let documented: BTreeSet<String> = rows.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missing: Vec<_> = exposed.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    for (name, rest) in rows {
        assert!(exposed.contains(name) || rest.contains("*once*"), "{name} is documented and not there");
    }
    let known = [
        "route", "status", "outcome", "reason", "stage", "rule", "channel", "code", "shard", "asset", "le", "quantile",
    ];
    assert!(labels.iter().all(|label| known.contains(&label.as_str())), "{labels:?}");
    world.stop().await;
}

#[tokio::test]
async fn the_callers_trace_is_carried_through() {
    let world = World::start().await;
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = world.get("/v1/me/balances").header("traceparent", given).send().await;
    let problem = answer.expect_problem("unauthenticated");
    assert_eq!(problem["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let carried = answer.header("traceparent").unwrap();
    assert!(carried.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && carried.ends_with("-01"), "{carried}");
    assert_ne!(carried, given, "the span is ours");
    let fresh = world.get("/healthz").header("traceparent", "00-bad-bad-01").send().await;
    assert_eq!(fresh.header("traceparent").unwrap().len(), 55);
    world.stop().await;
}

#[tokio::test]
async fn the_callers_trace_is_in_what_happened() {
    let world = World::start().await;
    let trace = |number: u8| format!("{number:032x}");
    let post = async |path: &str, number: u8, bearer: &str, body: Value| {
        let given = format!("00-{}-00f067aa0ba902b7-01", trace(number));
        let answer = world.post(path).header("traceparent", &given).bearer(bearer).json(body).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    };
    let recharge = json!({ "user_id": ANN, "asset": "coin", "amount": 90, "channel": "apple", "transaction_id": "t" });
    let paid = post("/v1/recharges", 1, SERVICE, recharge).await["event_id"].as_str().unwrap().to_owned();
    let (gift, moved, changed) = (key(), key(), key());
    let body = json!({ "gift_id": 1, "count": 1, "to": [2001], "event_id": gift });
    post("/v1/rooms/1001/gifts", 2, &token(ANN), body).await;
    let side = |user: u64| json!({ "user_id": user, "asset": "coin", "amount": 1 });
    let transfer = json!({ "event_id": moved, "user_id": ANN, "debits": [{ "asset": "coin", "amount": 1 }], "credits": [side(BOB)] });
    post("/v1/transfers:batch", 3, SERVICE, json!({ "transfers": [transfer] })).await;
    let side = |user: u64, incr: i64| json!({ "userId": user, "assetType": 1, "incr": incr });
    let change = json!({ "eventId": changed, "opUserId": ANN, "eventType": "interactGift", "bizId": 1001, "bizType": 1,
        "objId": "9", "opUserAssetChange": side(ANN, -1), "toUserAssetChange": side(BOB, 1) });
    post("/openapi/payment/station/v1/changeassets", 4, SERVICE, json!({ "bizAssetChanges": [change] })).await;
    for (number, id) in (1..).zip([paid, gift, moved, changed]) {
        let id = CallerKey::parse(&id).unwrap().id;
        let Found::Event { event, .. } = world.node.service().find(UserId(ANN), id).await.unwrap() else {
            panic!("{id}")
        };
        let kept = match *event {
            WalletEvent::GiftSent(event) => event.trace,
            WalletEvent::Recharged(event) => event.trace,
            WalletEvent::Transferred(event) => event.trace,
            WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => panic!("{id}"),
        };
        assert_eq!(kept.map(|bytes| format!("{:032x}", u128::from_be_bytes(bytes))), Some(trace(number)));
    }
    world.stop().await;
}

#[tokio::test]
async fn a_panic_is_an_answer_too() {
    async fn panics() -> StatusCode {
        panic!("the secret of the house")
    }
    let world = World::start().await;
    let edge = RouteEdge { state: world.state.clone(), meter: Arc::new(RouteMeter::new("/panics")), is_work: true };
    let router = Router::new().route("/panics", get(panics).layer(from_fn_with_state(edge, edge::pass)));
    let answer = call(&router, Method::GET, "/panics").bearer(&token(ANN)).send().await;
    answer.expect_problem("internal");
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    let edge = RouteEdge { state: world.state.clone(), meter: Arc::new(RouteMeter::new("/fails")), is_work: true };
    let fails = get(async || StatusCode::INTERNAL_SERVER_ERROR).layer(from_fn_with_state(edge, edge::pass));
    let router = Router::new().route("/fails", fails);
    call(&router, Method::GET, "/fails").send().await.expect_problem("service_internal");
    world.stop().await;
}
