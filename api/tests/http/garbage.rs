//! Whatever comes over the wire: never a panic, never a 500, and never more memory than the limits say.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::serving::serve;
use crate::world::{ADMIN, ANN, Answer, SERVICE, World, call, key, token};

/// Every call that reads a body, with who may make it.
const BODIES: [(&str, &str); 11] = [
    ("/v1/rooms/1001/gifts", "viewer"),
    ("/v1/rooms/1001:close", "service"),
    ("/v1/recharges", "service"),
    ("/v1/transfers:batch", "service"),
    ("/v1/balances:query", "service"),
    ("/openapi/payment/station/v1/changeassets", "service"),
    ("/openapi/payment/da/v1/getassets", "service"),
    ("/openapi/payment/da/v1/getassetrecords", "service"),
    ("/openapi/interaction/gift/v1/sendgift", "viewer"),
    ("/openapi/interaction/gift/v1/listgift", "viewer"),
    ("/v1/catalog", "admin"),
];

fn bearer(who: &str) -> String {
    match who {
        "viewer" => token(ANN),
        "service" => SERVICE.into(),
        _ => ADMIN.into(),
    }
}

async fn send(world: &World, path: &str, who: &str, body: impl Into<Body>) -> Answer {
    let (router, method) = if who == "admin" { (&world.admin, Method::PUT) } else { (&world.public, Method::POST) };
    let call = call(router, method, path).bearer(&bearer(who)).header("Idempotency-Key", &key());
    call.header("Content-Type", "application/json").body(body).send().await
}

/// It was refused, and the refusal vouches that nothing happened.
#[track_caller]
fn is_refused(answer: &Answer, what: &str) {
    let code = answer.json()["errCode"].as_u64();
    let in_envelope = answer.status == StatusCode::OK && code.is_some_and(|code| code != 0 && code != 20_052);
    assert!(answer.status.is_client_error() || in_envelope, "{what}: {answer:?}");
}

#[tokio::test]
async fn a_body_is_read_no_further_than_twice_its_limit() {
    let world = World::start().await;
    for (path, who) in BODIES {
        let sent = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        // 64 MiB in pieces, with no length that would give it away.
        let pieces = stream::iter((0..1_024).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 64 << 10]))
        }));
        let answer = send(&world, path, who, Body::from_stream(pieces)).await;
        is_refused(&answer, path);
        let code = answer.json();
        assert!(code["code"] == "payload_too_large" || code["errCode"] == 10_008, "{path}: {code}");
        let limit = if who == "admin" { 8 << 20 } else { 1 << 20 };
        // Up to twice the limit, so that whoever is a little above it is told and not cut off.
        assert!(
            sent.load(Ordering::Relaxed) * (64 << 10) <= 2 * limit + (128 << 10),
            "{path}: {sent:?} pieces were read"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_is_a_little_too_large_is_read_to_its_end() {
    let world = World::start().await;
    const PIECES: usize = 100;
    for announced in [None, Some(PIECES << 10)] {
        let sent = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let pieces = stream::iter((0..PIECES).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 1 << 10]))
        }));
        let mut call = world.post("/v1/rooms/1001/gifts").bearer(&bearer("viewer")).header("Idempotency-Key", &key());
        if let Some(length) = announced {
            call = call.header("Content-Length", &length.to_string());
        }
        let call = call.header("Content-Type", "application/json").body(Body::from_stream(pieces));
        call.send().await.expect_problem("payload_too_large");
        // Whoever is still writing when the connection closes may never see the answer.
        assert_eq!(sent.load(Ordering::Relaxed), PIECES, "announced: {announced:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_everywhere() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let deep = "[".repeat(30_000);
    let deep_object = "{\"a\":".repeat(5_000);
    let long_number = format!("{{\"gift_id\":{}}}", "9".repeat(10_000));
    let bodies: [&[u8]; 16] = [
        b"",
        b"\0",
        b"\xff\xfe\xfd",
        b"{\"gift_id\": \"\xc3\x28\"}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"gift_id\":1,\"gift_id\":2,\"count\":1,\"to\":[2001]}",
        b"nul",
        b"true",
        b"1e999",
        b"-0",
        b"{\"gift_id\":-1,\"count\":-9223372036854775808,\"to\":[18446744073709551616]}",
        b"{\"user_id\":1e400,\"asset\":\"coin\",\"amount\":1e400,\"channel\":\"apple\",\"transaction_id\":\"x\"}",
        b"{\"bizAssetChanges\":[{\"eventId\":\"x\",\"opUserId\":1",
        deep.as_bytes(),
        deep_object.as_bytes(),
        long_number.as_bytes(),
    ];
    for (path, who) in BODIES {
        for body in bodies {
            if body.is_empty() && path.ends_with(":close") {
                continue; // It needs none.
            }
            let answer = send(&world, path, who, body.to_vec()).await;
            is_refused(&answer, &format!("{path} {}", String::from_utf8_lossy(&body[..body.len().min(60)])));
        }
    }
    assert_eq!(world.coins(ANN).await, 1_000);
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let world = World::start().await;
    let whole = json!({ "gift_id": 1, "count": 1, "to": [2001] }).to_string();
    for (path, who) in BODIES {
        let half = Bytes::from(whole[..whole.len() / 2].to_owned());
        let pieces: [Result<Bytes, std::io::Error>; 2] = [Ok(half), Err(std::io::ErrorKind::ConnectionReset.into())];
        is_refused(&send(&world, path, who, Body::from_stream(stream::iter(pieces))).await, path);
    }
    world.stop().await;
}

#[tokio::test]
async fn headers_that_contradict_each_other_are_refused() {
    let world = World::start().await;
    world.recharge(ANN, 100, "t1").await;
    let gift = || json!({ "gift_id": 1, "count": 1, "to": [2001] });
    let path = "/v1/rooms/1001/gifts";
    let own = || world.post(path).bearer(&token(ANN)).json(gift());
    own().header("Idempotency-Key", "a").header("Idempotency-Key", "b").send().await.expect_problem("bad_request");
    own().header("Idempotency-Key", "a").bearer(SERVICE).send().await.expect_problem("unauthenticated");
    own().header("Idempotency-Key", "na\u{ef}ve").send().await.expect_problem("bad_request");
    assert_eq!(world.coins(ANN).await, 100);
    let served = serve(&world, Default::default()).await;
    for head in [
        "POST /v1/recharges HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        "POST /v1/recharges HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/recharges HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET /healthz HTTP/9.9\r\n\r\n",
        "GET \0 HTTP/1.1\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _reset_is_an_end_too = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{head:?}: {text}");
    }
    served.stop.send(()).unwrap();
    world.stop().await;
}

#[tokio::test]
async fn many_who_say_a_byte_at_a_time_do_not_keep_others_out() {
    let world = World::start().await;
    let limits = largesse_api::ConnectionLimits { head_timeout: Duration::from_millis(300), ..Default::default() };
    let served = serve(&world, limits).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /healthz HTT").await.unwrap();
        slow.push(stream);
    }
    let mut quick = TcpStream::connect(served.address).await.unwrap();
    quick.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    quick.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for mut stream in slow {
        let mut rest = Vec::new();
        // The server ends it, however patient this side is.
        let _reset_is_an_end_too =
            tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.unwrap();
    }
    served.stop.send(()).unwrap();
    world.stop().await;
}

/// A generator with a seed that is printed, so that a failure can be played again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.roll(all.len())]
    }
}

const PIECES: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "null",
    "true",
    "-1",
    "0",
    "1",
    "1.5",
    "1e308",
    "18446744073709551615",
    "9007199254740992",
    "\"gift_id\"",
    "\"count\"",
    "\"to\"",
    "\"event_id\"",
    "\"user_id\"",
    "\"asset\"",
    "\"coin\"",
    "\"amount\"",
    "\"transfers\"",
    "\"debits\"",
    "\"credits\"",
    "\"bizAssetChanges\"",
    "\"userIds\"",
    "\"\u{0}\"",
    "\"\u{1F339}\"",
    " ",
    "2001",
];
const PATHS: [&str; 22] = [
    "/",
    "/v1",
    "/v1/rooms/1001/gifts",
    "/v1/rooms/x/gifts",
    "/v1/rooms/1001/catalog",
    "/v1/gifts/%00",
    "/v1/gifts/a%20b",
    "/v1/gifts/%ff",
    "/v1/me/balances",
    "/v1/users/3001/balances",
    "/v1/users/-1/history",
    "/v1/me/history",
    "/v1/balances:query",
    "/v1/recharges",
    "/v1/transfers:batch",
    "/assets/%2e%2e/%2e%2e",
    "/docs/errors",
    "/openapi.json",
    "/openapi/payment/station/v1/changeassets",
    "/openapi/payment/da/v1/getassetrecords",
    "/openapi/interaction/gift/v1/sendgift",
    "/openapi/a/b",
];
const QUERIES: [&str; 14] = [
    "",
    "?",
    "?limit=0",
    "?limit=-1",
    "?limit=99999999999999999999",
    "?cursor=%ff%fe",
    "?cursor=AAAA",
    "?after=0:0",
    "?after=65535:1",
    "?since=9999-12-31T23:59:59Z",
    "?side=sent&side=received",
    "?sender=0",
    "?%",
    "?kind=gift&room=1001",
];

fn body(dice: &mut Dice) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..dice.roll(40) {
        body.extend_from_slice(dice.pick(&PIECES).as_bytes());
        if dice.roll(50) == 0 {
            body.push(0xff);
        }
    }
    body
}

#[tokio::test]
async fn ten_thousand_random_requests_leave_it_standing() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let seed = 20_260_131;
    let mut dice = Dice(seed);
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS];
    for number in 0..10_000 {
        let path = format!("{}{}", dice.pick(&PATHS), dice.pick(&QUERIES));
        let method = methods[dice.roll(methods.len())].clone();
        let mut request = call(&world.public, method.clone(), &path);
        request = match dice.roll(5) {
            0 => request,
            1 => request.bearer("nonsense"),
            2 => request.bearer(&token(ANN)),
            _ => request.bearer(SERVICE),
        };
        if dice.roll(4) > 0 {
            request = request.header("Content-Type", "application/json");
        }
        if dice.roll(3) == 0 {
            request =
                request.header("Idempotency-Key", dice.pick(&["\"", "k", "", "0190a5b0-1c4e-7d3a-8f00-0123456789ab"]));
        }
        let body = body(&mut dice);
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = request.body(body).send().await;
        assert!(
            !answer.status.is_server_error(),
            "request {number} of seed {seed}: {method} {path} {shown}: {answer:?}"
        );
    }
    assert_eq!(world.get("/healthz").send().await.status, StatusCode::OK);
    let receipt = world.send(ANN, &key(), json!({})).await.json();
    assert_eq!(receipt["outcome"], "applied", "it goes on as if nothing had been: {receipt}");
    world.stop().await;
}
