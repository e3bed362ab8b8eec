//! Whatever arrives, each parser answers: none panics, and no request ends in a 5xx.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod reports;
mod words;
mod world;

use std::time::Duration;

use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method};
use largesse_api::extract::{IDEMPOTENCY_KEY, caller_key};
use largesse_api::language::Language;
use largesse_api::time_text::{self, Rfc3339};
use largesse_api::trace::{FreshIds, TRACEPARENT, Trace};
use largesse_api::wire::{Id, parse_position};
use largesse_engine::event_id::CallerKey;

use world::World;

/// Of each target, more than a minute in all. They run side by side, which takes about half of that.
const TIME: Duration = Duration::from_secs(8);
/// It is the time that ends a target.
const ITERATIONS: usize = usize::MAX;

macro_rules! target {
    ($each:expr) => {
        bolero::check!().with_iterations(ITERATIONS).with_test_time(TIME).with_max_len(1_024).for_each($each)
    };
}

#[test]
fn bodies_of_gifts() {
    let world = World::start();
    target!(|input: &[u8]| world.post("/v1/rooms/1001/gifts", &words::json(input)));
}

#[test]
fn bodies_of_rooms() {
    let world = World::start();
    target!(|input: &[u8]| {
        let body = words::json(input);
        world.send(Method::PUT, "/v1/rooms/7", &HeaderMap::new(), &body);
        world.post("/v1/rooms/7:close", &body);
        if let Ok(value) = HeaderValue::from_bytes(input) {
            // Of a room that is not there, so that no stream is begun that does not end.
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static("last-event-id"), value)]);
            world.send(Method::GET, "/v1/rooms/8/events", &headers, &[]);
        }
    });
}

#[test]
fn bodies_of_payments_and_transfers() {
    let world = World::start();
    target!(|input: &[u8]| {
        let body = words::json(input);
        for path in ["/v1/recharges", "/v1/transfers:batch", "/v1/balances:query"] {
            world.post(path, &body);
        }
    });
}

#[test]
fn bodies_of_the_station_interface() {
    let world = World::start();
    target!(|input: &[u8]| {
        let body = words::json(input);
        for path in [
            "/openapi/payment/station/v1/changeassets",
            "/openapi/payment/da/v1/getassets",
            "/openapi/payment/da/v1/getassetrecords",
            "/openapi/interaction/gift/v1/sendgift",
            "/openapi/interaction/gift/v1/listgift",
        ] {
            world.post(path, &body);
        }
    });
}

#[test]
fn bodies_of_catalogs() {
    let world = World::start();
    target!(|input: &[u8]| world.put_catalog(&words::json(input)));
}

#[test]
fn paths_and_queries() {
    let world = World::start();
    target!(|input: &[u8]| {
        let text = words::query(input);
        for path in [
            "/v1/users/3001/history?",
            "/v1/users/3001/balances?after=",
            "/v1/gifts/",
            "/v1/rooms/",
            "/v1/rooms/1001/feed?",
            "/v1/rooms/1001/boards/",
            "/assets/",
        ] {
            world.send(Method::GET, &format!("{path}{text}"), &HeaderMap::new(), &[]);
        }
    });
}

#[test]
fn headers() {
    let world = World::start();
    let fresh = FreshIds::default();
    target!(|input: &[u8]| {
        let Ok(value) = HeaderValue::from_bytes(input) else { return };
        let signed = ["largesse-key", "largesse-time", "largesse-signature"];
        let names = [AUTHORIZATION.as_str(), ACCEPT_LANGUAGE.as_str(), IDEMPOTENCY_KEY, TRACEPARENT, "if-none-match"];
        let names = names.into_iter().chain(signed).chain(["largesse-deadline", "largesse-room-pass"]);
        let headers: HeaderMap = names.map(|name| (http::HeaderName::from_static(name), value.clone())).collect();
        Language::preferred(headers.get(ACCEPT_LANGUAGE));
        let trace = Trace::of(&headers, &fresh);
        assert_eq!(trace.header(fresh.span()).len(), 55);
        if let Ok(key) = caller_key(&headers, None) {
            assert!(key.text.is_none_or(|text| !text.is_empty()));
        }
        world.send(Method::GET, "/v1/me/balances", &headers, &[]);
        // With a key that is taken, so that the others are looked at.
        let others: HeaderMap = headers.iter().filter(|(name, _)| **name != AUTHORIZATION).map(owned).collect();
        world.send(Method::POST, "/v1/recharges", &others, b"{}");
        let unsigned: HeaderMap =
            others.iter().filter(|(name, _)| !signed.contains(&name.as_str())).map(owned).collect();
        world.send(Method::POST, "/v1/recharges", &unsigned, b"{}");
    });
}

fn owned((name, value): (&http::HeaderName, &HeaderValue)) -> (http::HeaderName, HeaderValue) {
    (name.clone(), value.clone())
}

#[test]
fn reports_of_payments() {
    let world = World::start();
    target!(|input: &[u8]| {
        for (path, headers, body) in reports::of(input) {
            world.send(Method::POST, path, &headers, &body);
        }
    });
}

#[test]
fn texts() {
    target!(|input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Some(id) = Id::parse(text) {
            assert_eq!(id.0.to_string(), text, "an id has one way to be written");
        }
        if let Ok(position) = parse_position(text, 16) {
            assert!(position.shard.index < 16);
        }
        if let Ok(key) = CallerKey::parse(text) {
            assert_eq!(key.text.as_deref().map_or_else(|| key.id.to_string(), str::to_owned), text);
        }
        if let Some(time) = time_text::parse(text) {
            // Written again it is the same moment, as far as years of four digits go.
            let written = Rfc3339(time).to_string();
            assert!(time_text::parse(&written).is_none_or(|read| read == time), "{text} became {written}");
        }
    });
}
