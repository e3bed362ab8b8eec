//! Every route, with every kind of wrong credential.

use axum::Router;
use http::Method;
use http_body_util::BodyExt;
use serde_json::json;

use crate::world::{ADMIN, ANN, BOB, SERVICE, World, call, key, read_only, token, token_with};

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// Any viewer, about himself; services name somebody.
    ViewersAndServices,
    /// Any viewer and any service, about what is nobody's own.
    Everyone,
    Viewers,
    Services,
    Admins,
    /// A payment provider, by its own signature: no other proof counts.
    Providers,
}

#[tokio::test]
async fn no_route_answers_to_a_wrong_credential() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let event = key();
    world.send(ANN, &event, json!({})).await;
    let gift = json!({ "gift_id": 1, "count": 1, "to": [2001], "event_id": key(), "sender": ANN });
    let recharge = json!({ "user_id": ANN, "asset": "coin", "amount": 5, "channel": "apple", "transaction_id": "t2" });
    let found = format!("/v1/gifts/{event}?sender={ANN}");
    let make = async |name: &str| {
        let body = json!({ "name": name, "scopes": ["issue"] });
        let made = call(&world.admin, Method::POST, "/v1/keys").bearer(ADMIN).json(body).send().await;
        made.json()["key"].as_str().unwrap().to_owned()
    };
    let (idle, revoked) = (make("idle").await, make("revoked").await);
    call(&world.admin, Method::DELETE, "/v1/keys/revoked").bearer(ADMIN).send().await;
    let (public, admin): (&Router, &Router) = (&world.public, &world.admin);
    let none = serde_json::Value::Null;
    let users = json!({ "userIds": [ANN] });
    let records = json!({ "userId": ANN });
    let old_gift =
        json!({ "eventId": key(), "roomId": 1001, "giftId": 1, "count": 1, "toUserIds": [2001], "opUserId": ANN });
    let routes = [
        (public, Method::GET, "/v1/rooms/1001", &none, For::Everyone),
        (public, Method::PUT, "/v1/rooms/1001", &none, For::Services),
        (public, Method::POST, "/v1/rooms/1001:close", &none, For::Services),
        (public, Method::GET, "/v1/rooms/1001/snapshot", &none, For::Everyone),
        (public, Method::GET, "/v1/rooms/1001/feed", &none, For::Everyone),
        (public, Method::GET, "/v1/rooms/1001/boards/day?user=3001", &none, For::ViewersAndServices),
        (public, Method::GET, "/v1/rooms/1001/boards/day", &none, For::Everyone),
        (public, Method::GET, "/v1/rooms/1001/events", &none, For::Everyone),
        (public, Method::POST, "/v1/rooms/1001/gifts", &gift, For::ViewersAndServices),
        (public, Method::GET, found.as_str(), &none, For::ViewersAndServices),
        (public, Method::GET, "/internal/rooms/1001/head", &none, For::Services),
        (public, Method::GET, "/internal/rooms/1001/feed", &none, For::Services),
        (public, Method::GET, "/internal/catalog", &none, For::Services),
        (public, Method::POST, "/internal/leave", &none, For::Services),
        (public, Method::POST, "/internal/warm", &none, For::Services),
        (public, Method::POST, "/internal/viewers", &none, For::Services),
        (public, Method::GET, "/v1/me/balances", &none, For::Viewers),
        (public, Method::GET, "/v1/users/3001/balances", &none, For::ViewersAndServices),
        (public, Method::GET, "/v1/me/history", &none, For::Viewers),
        (public, Method::GET, "/v1/users/3001/history", &none, For::ViewersAndServices),
        (public, Method::POST, "/v1/recharges", &recharge, For::Services),
        (public, Method::POST, "/v1/transfers:batch", &none, For::Services),
        (public, Method::POST, "/v1/balances:query", &none, For::Services),
        (admin, Method::GET, "/v1/catalog", &none, For::Admins),
        (admin, Method::PUT, "/v1/catalog", &none, For::Admins),
        (public, Method::POST, "/v1/rooms/1001/pass", &none, For::Viewers),
        (public, Method::POST, "/v1/recharges/callbacks/shop", &recharge, For::Providers),
        (admin, Method::GET, "/v1/keys", &none, For::Admins),
        (admin, Method::POST, "/v1/keys", &none, For::Admins),
        (admin, Method::DELETE, "/v1/keys/shop", &none, For::Admins),
        (public, Method::POST, "/openapi/payment/station/v1/changeassets", &none, For::Services),
        (public, Method::POST, "/openapi/payment/da/v1/getassets", &users, For::ViewersAndServices),
        (public, Method::POST, "/openapi/payment/da/v1/getassetrecords", &records, For::ViewersAndServices),
        (public, Method::POST, "/openapi/interaction/gift/v1/sendgift", &old_gift, For::ViewersAndServices),
    ];
    for router in [public, admin] {
        for (verb, path) in guarded(router).await {
            let is_tried = |(tried, method, sample): (&Router, &Method, &str)| {
                std::ptr::eq(tried, router) && *method == verb && fits(&path, sample)
            };
            let mut tried = routes.iter().map(|(router, method, sample, ..)| (*router, method, *sample));
            assert!(tried.any(is_tried), "{verb} {path} is not in the table");
        }
    }
    for (router, method, path, body, allowed) in routes {
        let ask = async |credential: Option<String>, code: &str, why: &str| {
            let mut call = call(router, method.clone(), path).json(body.clone());
            if let Some(credential) = credential {
                call = call.header("Authorization", &credential);
            }
            let answer = call.send().await;
            let json = answer.json();
            // The station interface tells of everything in its envelope.
            let is_old = path.starts_with("/openapi/");
            let json = if is_old { json["extra"].clone() } else { json };
            let code = if allowed == For::Providers { "not_found" } else { code };
            assert_eq!(json["code"], code, "{method} {path} with {why}: {json}");
            let challenge = (code == "unauthenticated" && !is_old).then_some("Bearer");
            assert_eq!(answer.header("www-authenticate"), challenge);
        };
        let bearer = |token: &str| Some(format!("Bearer {token}"));
        ask(None, "unauthenticated", "nothing").await;
        ask(Some("nonsense".into()), "unauthenticated", "nonsense").await;
        ask(Some(format!("Basic {SERVICE}")), "unauthenticated", "another scheme").await;
        ask(bearer("a.b.c"), "unauthenticated", "a malformed token").await;
        ask(bearer(&token_with(crate::world::SECRET, ANN, -60)), "unauthenticated", "an expired token").await;
        let foreign = token_with(b"another secret, as long as the real one", ANN, 600);
        ask(bearer(&foreign), "unauthenticated", "a foreign token").await;
        ask(bearer(&unsigned(ANN)), "unauthenticated", "a token with `none` as its algorithm").await;
        ask(bearer("lgk_guessed"), "unauthenticated", "a guessed key").await;
        ask(bearer(&revoked), "unauthenticated", "a revoked key").await;
        ask(bearer("lga_guessed"), "unauthenticated", "a guessed admin key").await;
        if allowed != For::Admins {
            ask(bearer(ADMIN), "unauthenticated", "an admin key at the public door").await;
        }
        if matches!(allowed, For::ViewersAndServices | For::Everyone | For::Services) {
            ask(bearer(&idle), "forbidden", "a key without this scope").await;
        }
        let open = call(router, method.clone(), path).bearer(&read_only(ANN)).json(body.clone()).open().await;
        if is_room_to_look_at(&method, path) {
            assert_eq!(open.0.status, 200, "{method} {path} with a read-only token");
        } else {
            let code = if allowed == For::Providers { "not_found" } else { "forbidden" };
            let told = String::from_utf8(open.1.collect().await.unwrap().to_bytes().into()).unwrap();
            assert!(told.contains(&format!(r#""code":"{code}""#)), "{method} {path} with a read-only token: {told}");
            // Elsewhere no viewer's token would do.
            let is_viewers = matches!(allowed, For::ViewersAndServices | For::Viewers);
            assert_eq!(told.contains("read-only"), is_viewers, "{method} {path} with a read-only token: {told}");
        }
        match allowed {
            For::ViewersAndServices => ask(bearer(&token(BOB)), "forbidden", "another viewer").await,
            // Nobody is left who may not.
            For::Everyone => {}
            For::Viewers => ask(bearer(SERVICE), "forbidden", "a service").await,
            For::Services => ask(bearer(&token(ANN)), "forbidden", "a viewer").await,
            For::Providers => ask(bearer(SERVICE), "unauthenticated", "a service").await,
            For::Admins => {
                ask(bearer(&token(ANN)), "forbidden", "a viewer").await;
                ask(bearer(SERVICE), "forbidden", "a service").await;
            }
        }
    }
    assert_eq!(world.coins(ANN).await, 990);
    world.stop().await;
}

/// What a read-only token is for, which is nobody's own.
fn is_room_to_look_at(method: &Method, path: &str) -> bool {
    *method == Method::GET && path.starts_with("/v1/rooms/") && !path.contains("user=")
}

/// What the description says that needs a proof.
async fn guarded(router: &Router) -> Vec<(Method, String)> {
    let api = call(router, Method::GET, "/openapi.json").send().await.json();
    let mut found = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            if operation["security"].as_array().is_some_and(|proofs| !proofs.contains(&json!({}))) {
                found.push((verb.to_uppercase().parse().unwrap(), path.clone()));
            }
        }
    }
    assert!(found.len() >= 5, "{found:?}");
    found
}

/// Whether a path is one of a pattern's.
fn fits(pattern: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap();
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    let fits = |(part, given): (&&str, &str)| match part.split_once('}') {
        Some((_, action)) => given.ends_with(action) && given.contains(':') == action.starts_with(':'),
        None => *part == given,
    };
    pattern.len() == path.len() && pattern.iter().zip(path).all(fits)
}

/// A token that says it needs no signature.
fn unsigned(user: u64) -> String {
    let signed = token(user);
    let claims = signed.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}
