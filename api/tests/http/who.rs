//! Keys made at run time, signed requests, room passes, rates, and web pages of other origins.

use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use largesse_api::ApiOptions;
use largesse_api::auth::services::SigningSecret;
use largesse_api::cors::CorsOptions;
use largesse_api::rates::{Rate, RateOptions};
use largesse_api::room_pass::RoomPassOptions;
use largesse_api::signed;
use largesse_api::state::Phase;
use largesse_engine::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::world::{ADMIN, ANN, Answer, BOB, SERVICE, World, call, key, token};

pub async fn make_key(world: &World, body: Value) -> Answer {
    call(&world.admin, Method::POST, "/v1/keys").bearer(ADMIN).json(body).send().await
}

fn text(json: &Value, field: &str) -> String {
    json[field].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_is_made_used_within_its_scopes_and_revoked() {
    let world = World::start().await;
    let made = make_key(&world, json!({ "name": "shop-2", "scopes": ["recharges"], "reason": "the new shop" })).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    let shop = text(&made.json(), "key");
    assert!(shop.starts_with("lgk_") && shop.len() == 68, "{shop}");
    let recharge = |transaction: &str| {
        let body = json!({ "user_id": ANN, "asset": "coin", "amount": 5, "channel": "manual",
                           "transaction_id": transaction });
        world.post("/v1/recharges").bearer(&shop).json(body)
    };
    assert_eq!(recharge("a").send().await.status, StatusCode::OK);
    let other = world.get("/v1/users/3001/balances").bearer(&shop).send().await.expect_problem("forbidden");
    assert!(text(&other, "detail").contains("`read`"), "{other}");

    let listed = call(&world.admin, Method::GET, "/v1/keys").bearer(ADMIN).send().await;
    let shown = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(!shown.contains(&shop[4..]) && !shown.contains("sha"), "a key is shown once: {shown}");
    let listed = &listed.json()["keys"][0];
    assert_eq!(
        (&listed["name"], &listed["by"], &listed["reason"]),
        (&json!("shop-2"), &json!("root"), &json!("the new shop"))
    );
    assert_eq!((&listed["scopes"], &listed["signing"]), (&json!(["recharges"]), &json!(false)));

    make_key(&world, json!({ "name": "shop-2", "scopes": ["read"] })).await.expect_problem("bad_request");
    let revoke =
        |name: &str| call(&world.admin, Method::DELETE, &format!("/v1/keys/{name}?reason=leaked")).bearer(ADMIN);
    assert_eq!(revoke("shop-2").send().await.status, StatusCode::OK);
    recharge("b").send().await.expect_problem("unauthenticated");
    revoke("shop-2").send().await.expect_problem("not_found");
    revoke("shop").send().await.expect_problem("not_found");
    assert_eq!(world.coins(ANN).await, 5, "keys of the configuration are not concerned");
    world.stop().await;
}

#[tokio::test]
async fn bad_keys_are_not_made() {
    let world = World::start().await;
    for body in [
        json!({ "name": "", "scopes": ["read"] }),
        json!({ "name": "a b", "scopes": ["read"] }),
        json!({ "name": "a", "scopes": [] }),
        json!({ "name": "a", "scopes": ["everything"] }),
        json!({ "name": "a", "scopes": ["read"], "key": "lgk_mine" }),
        json!({ "name": "a", "scopes": ["read"], "reason": "x".repeat(501) }),
        json!({ "name": "a" }),
        json!([]),
    ] {
        make_key(&world, body).await.expect_problem("bad_request");
    }
    world.stop().await;
}

/// A request as a service signs it.
struct Signing<'a> {
    name: &'a str,
    key: &'a str,
    time: u64,
}

impl Signing<'_> {
    fn headers(&self, method: &Method, path: &str, body: &str) -> [(&'static str, String); 3] {
        let secret = SigningSecret::of(self.key);
        let text = signed::text(method, path, self.time, body.as_bytes());
        let signature = signed::sign(&secret, &text);
        [(signed::KEY, self.name.into()), (signed::TIME, self.time.to_string()), (signed::SIGNATURE, signature)]
    }
}

#[tokio::test]
async fn a_signed_request_counts_once_as_it_was_signed() {
    let world = World::start().await;
    let now = SystemClock.now().get();
    let (method, path) = (Method::POST, "/v1/recharges");
    let body = json!({ "user_id": ANN, "asset": "coin", "amount": 5, "channel": "apple", "transaction_id": "s1" });
    let body = body.to_string();
    let send = async |headers: &[(&str, String)], path: &str, body: &str| {
        let mut call = world.post(path).header("content-type", "application/json").body(body.to_owned());
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.send().await
    };
    let good = Signing { name: "shop", key: SERVICE, time: now };
    let headers = good.headers(&method, path, &body);
    assert_eq!(send(&headers, path, &body).await.status, StatusCode::OK);
    let again = send(&headers, path, &body).await.expect_problem("bad_signature");
    assert!(text(&again, "detail").contains("used before"), "{again}");
    let retried = Signing { time: now + 1, ..good }.headers(&method, path, &body);
    let retried = send(&retried, path, &body).await;
    assert_eq!(retried.header("idempotency-replayed"), Some("true"), "{retried:?}");

    let more = body.replace("\"amount\":5", "\"amount\":5000");
    let fresh = |time| Signing { name: "shop", key: SERVICE, time }.headers(&method, path, &body);
    let refused = async |headers: &[(&str, String)], path: &str, body: &str, why: &str| {
        let answer = send(headers, path, body).await;
        assert_eq!(answer.json()["code"], "bad_signature", "{why}: {answer:?}");
    };
    refused(&fresh(now + 2), path, &more, "another body").await;
    refused(&fresh(now + 2), "/v1/recharges?x=1", &body, "another path").await;
    refused(
        &Signing { name: "shop", key: SERVICE, time: now + 2 }.headers(&Method::PUT, path, &body),
        path,
        &body,
        "another method",
    )
    .await;
    refused(
        &Signing { name: "shop", key: "lgk_guessed", time: now }.headers(&method, path, &body),
        path,
        &body,
        "another key",
    )
    .await;
    refused(
        &Signing { name: "nobody", key: SERVICE, time: now }.headers(&method, path, &body),
        path,
        &body,
        "no such name",
    )
    .await;
    refused(&fresh(now - signed::WINDOW_MILLIS - 10_000), path, &body, "too old").await;
    refused(&fresh(now + signed::WINDOW_MILLIS + 10_000), path, &body, "from the future").await;
    let mut other_time = fresh(now + 3);
    other_time[1].1 = (now + 4).to_string();
    refused(&other_time, path, &body, "another time than signed").await;
    for missing in 1..=2 {
        let mut headers = fresh(now + 5).to_vec();
        headers.remove(missing);
        refused(&headers, path, &body, "a header is missing").await;
    }
    let mut both = fresh(now + 6).to_vec();
    both.push(("authorization", format!("Bearer {SERVICE}")));
    refused(&both, path, &body, "two proofs").await;
    let mut upper = fresh(now + 7);
    upper[2].1 = upper[2].1.to_uppercase();
    refused(&upper, path, &body, "another form of the signature").await;
    assert_eq!(world.coins(ANN).await, 5);
    world.stop().await;
}

#[tokio::test]
async fn only_a_key_made_for_it_signs_and_only_within_its_scopes() {
    let world = World::start().await;
    let plain = make_key(&world, json!({ "name": "plain", "scopes": ["all"] })).await.json();
    let signer = make_key(&world, json!({ "name": "signer", "scopes": ["read"], "signing": true })).await.json();
    let now = SystemClock.now().get();
    let path = "/v1/users/3001/balances";
    let get = async |name: &str, key: &str, path: &str| {
        let mut call = world.get(path);
        for (header, value) in (Signing { name, key, time: now }).headers(&Method::GET, path, "") {
            call = call.header(header, &value);
        }
        call.send().await
    };
    get("plain", &text(&plain, "key"), path).await.expect_problem("bad_signature");
    assert_eq!(get("signer", &text(&signer, "key"), path).await.status, StatusCode::OK);
    let gift = format!("/v1/gifts/{}?sender=3001", key());
    get("signer", &text(&signer, "key"), &gift).await.expect_problem("event_unknown");
    // The admin port knows no signatures of administrators.
    let mut call = call(&world.admin, Method::GET, "/v1/keys");
    for (header, value) in (Signing { name: "shop", key: SERVICE, time: now }).headers(&Method::GET, "/v1/keys", "") {
        call = call.header(header, &value);
    }
    call.send().await.expect_problem("forbidden");
    world.stop().await;
}

#[tokio::test]
async fn gifts_need_a_pass_where_that_is_configured() {
    let pass =
        RoomPassOptions { secret: b"a secret that only passes know, long".to_vec(), ttl: Duration::from_secs(60) };
    let world = World::start_with(1_000, ApiOptions { room_pass: Some(pass), ..ApiOptions::default() }).await;
    world.recharge(ANN, 1_000, "t1").await;
    world.send(ANN, &key(), json!({})).await.expect_problem("room_pass_invalid");
    let pass_of =
        async |user, room: &str| world.post(&format!("/v1/rooms/{room}/pass")).bearer(&token(user)).send().await;
    let pass = pass_of(ANN, "1001").await.json();
    assert_eq!(pass["room_id"], "1001");
    let send = async |pass: &str| {
        let body = json!({ "gift_id": 1, "count": 1, "to": [2001], "event_id": key() });
        world
            .post("/v1/rooms/1001/gifts")
            .bearer(&token(ANN))
            .header("Largesse-Room-Pass", pass)
            .json(body)
            .send()
            .await
    };
    assert_eq!(send(&text(&pass, "pass")).await.status, StatusCode::OK);
    for (user, room) in [(BOB, "1001"), (ANN, "1002")] {
        let other = text(&pass_of(user, room).await.json(), "pass");
        send(&other).await.expect_problem("room_pass_invalid");
    }
    pass_of(ANN, "7777").await.expect_problem("room_unknown");
    let body = json!({ "gift_id": 1, "count": 1, "to": [2001], "event_id": key(), "sender": ANN });
    let by_service = world.post("/v1/rooms/1001/gifts").bearer(SERVICE).json(body).send().await;
    assert_eq!(by_service.status, StatusCode::OK, "services vouch for their viewers");
    world.stop().await;

    let world = World::start().await;
    world.post("/v1/rooms/1001/pass").bearer(&token(ANN)).send().await.expect_problem("not_found");
    world.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let rate = |requests| Some(Rate { requests: NonZeroU32::new(requests).unwrap(), per: Duration::from_secs(3_600) });
    let rates = RateOptions { user: rate(3), key: rate(5), ..RateOptions::default() };
    let world = World::start_with(1_000, ApiOptions { rates, ..ApiOptions::default() }).await;
    let ask = async |user| world.get("/v1/me/balances").bearer(&token(user)).send().await;
    let first = ask(ANN).await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"user\";q=3;w=3600"));
    assert_eq!(first.header("ratelimit"), Some("\"user\";r=2;t=1200"));
    assert_eq!((ask(ANN).await.status, ask(ANN).await.status), (StatusCode::OK, StatusCode::OK));
    let fourth = ask(ANN).await;
    let problem = fourth.expect_problem("rate_limited");
    assert_eq!(problem["retryable"], true);
    let wait: u64 = fourth.header("retry-after").unwrap().parse().unwrap();
    assert!((1_190..=1_200).contains(&wait), "{wait}");
    assert_eq!(fourth.header("ratelimit"), Some("\"user\";r=0;t=3600"));
    assert_eq!(ask(BOB).await.status, StatusCode::OK);
    for _ in 0..5 {
        assert_eq!(world.get("/v1/users/3001/balances").bearer(SERVICE).send().await.status, StatusCode::OK);
    }
    world.get("/v1/users/3001/balances").bearer(SERVICE).send().await.expect_problem("rate_limited");
    world.stop().await;
}

#[tokio::test]
async fn an_address_is_limited_before_anything_is_done_for_it() {
    let address = Some(Rate { requests: NonZeroU32::new(2).unwrap(), per: Duration::from_secs(3_600) });
    let rates = RateOptions { address, proxies: 1, ..RateOptions::default() };
    let world = World::start_with(1_000, ApiOptions { rates, ..ApiOptions::default() }).await;
    let ask = async |from: &str| world.get("/v1/me/balances").header("x-forwarded-for", from).send().await;
    for _ in 0..2 {
        ask("1.2.3.4").await.expect_problem("unauthenticated");
    }
    let third = ask("1.2.3.4").await;
    third.expect_problem("rate_limited");
    assert_eq!(third.header("ratelimit-policy"), Some("\"address\";q=2;w=3600"));
    ask("9.9.9.9, 1.2.3.4").await.expect_problem("rate_limited");
    ask("5.6.7.8").await.expect_problem("unauthenticated");
    for _ in 0..4 {
        let healthy = world.get("/healthz").header("x-forwarded-for", "1.2.3.4").send().await;
        assert_eq!(healthy.status, StatusCode::OK, "whoever watches the process is not limited");
    }
    world.stop().await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_call_and_no_others() {
    let origins = vec![HeaderValue::from_static("https://app.example.com")];
    let world = World::start_with(1_000, ApiOptions { cors: CorsOptions { origins }, ..ApiOptions::default() }).await;
    let preflight = async |world: &World, origin: &str| {
        let call = call(&world.public, Method::OPTIONS, "/v1/rooms/1001/gifts").header("origin", origin);
        let call = call.header("access-control-request-method", "POST");
        call.header("access-control-request-headers", "authorization,idempotency-key").send().await
    };
    let allowed = preflight(&world, "https://app.example.com").await;
    assert_eq!(allowed.status, StatusCode::OK);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
    assert_eq!(allowed.header("access-control-allow-credentials"), None);
    for other in ["https://evil.example.com", "http://app.example.com", "null"] {
        assert_eq!(preflight(&world, other).await.header("access-control-allow-origin"), None, "{other}");
    }
    let refused = world.get("/v1/me/balances").header("origin", "https://app.example.com").send().await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("https://app.example.com"),
        "errors are readable too"
    );
    refused.expect_problem("unauthenticated");
    world.stop().await;

    let world = World::start().await;
    let nobody = preflight(&world, "https://app.example.com").await;
    assert_eq!(nobody.header("access-control-allow-origin"), None);
    world.stop().await;
}

#[tokio::test]
async fn what_comes_while_the_process_leaves_is_turned_away_and_may_try_again() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    world.state.readiness.set(Phase::Draining);
    let id = key();
    let answer = world.send(ANN, &id, json!({})).await;
    let problem = answer.expect_problem("shard_unavailable");
    assert_eq!(problem["retryable"], true);
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("2"), Some("close")));
    assert_eq!(world.get("/healthz").send().await.status, StatusCode::OK);
    assert_eq!(call(&world.admin, Method::GET, "/metrics").send().await.status, StatusCode::OK);
    world.state.readiness.set(Phase::Ready);
    let sent = world.send(ANN, &id, json!({})).await;
    assert_eq!((sent.status, sent.header("idempotency-replayed")), (StatusCode::OK, None), "nothing was done before");
    world.stop().await;
}
