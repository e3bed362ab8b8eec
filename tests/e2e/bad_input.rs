//! What callers get wrong: each has its status, its name and its number, and none of it moves money.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, As, Call, Client, Config, Launch, Scratch, claims, now_seconds, recharge_body, sign};

const SENDER: u64 = 3001;
const OTHER: u64 = 3002;
const USERS: [u64; 5] = [SENDER, OTHER, 2001, 2002, 9999];
/// A gift of this costs 5 coins.
const HEART: u64 = 9;

/// One thing that is wrong, and what is said about it.
struct Case {
    name: &'static str,
    call: Call,
    status: u16,
    code: &'static str,
    number: u64,
}

fn case(name: &'static str, call: Call, status: u16, code: &'static str, number: u64) -> Case {
    Case { name, call, status, code, number }
}

fn gift_body(edit: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({"gift_id": HEART, "count": 1, "to": [2001]});
    edit(&mut body);
    body
}

fn raw(body: &str) -> Call {
    let call = Call::post(As::Viewer(SENDER), "/v1/rooms/1001/gifts", &Value::Null);
    Call { body: Some(body.as_bytes().to_vec()), ..call }
}

/// A gift that is right but for one thing, under a key of its own.
fn gift(edit: impl FnOnce(&mut Value)) -> Call {
    let key = uuid::Uuid::now_v7().to_string();
    Call::post(As::Viewer(SENDER), "/v1/rooms/1001/gifts", &gift_body(edit)).key(&key)
}

fn set(field: &'static str, value: Value) -> Call {
    gift(|body| body[field] = value)
}

fn gifts() -> Vec<Case> {
    let amounts = [
        ("count 0", json!(0)),
        ("count 10,000", json!(10_000)),
        ("a negative count", json!(-1)),
        ("a fraction", json!(1.5)),
        ("a count beyond 64 bits", json!(1e30)),
    ];
    let amounts = amounts.map(|(name, count)| case(name, set("count", count), 422, "invalid_amount", 10_002));
    let many: Vec<u64> = (2001..2018).collect();
    let mut cases = Vec::from(amounts);
    cases.extend([
        case("an unknown gift", set("gift_id", json!(987_654)), 404, "gift_unknown", 10_020),
        case("17 receivers", set("to", json!(many)), 422, "too_many_receivers", 10_003),
        case("no receiver", set("to", json!([])), 400, "bad_request", 10_001),
        case("the same host twice", set("to", json!([2001, 2001])), 400, "bad_request", 10_001),
        case("a host who is the sender", set("to", json!([2001, SENDER])), 422, "self_gift", 10_006),
        case("a stranger host", set("to", json!([2001, 9999])), 422, "host_not_in_room", 10_032),
        case("a receiver 0", set("to", json!([0])), 400, "bad_request", 10_001),
        case("a negative receiver", set("to", json!([-2001])), 400, "bad_request", 10_001),
        case("another price", set("price_seen", json!(4)), 409, "price_changed", 10_030),
        case("a negative price", set("price_seen", json!(-5)), 422, "invalid_amount", 10_002),
        case("a field nobody knows", set("amount", json!(5)), 400, "bad_request", 10_001),
        case("a count as text", set("count", json!("1")), 400, "bad_request", 10_001),
        case("more than is there", gift(|body| *body = costly()), 402, "insufficient_funds", 20_040),
        case("in another's name", set("sender", json!(OTHER)), 403, "forbidden", 10_011),
        case(
            "an unknown room",
            Call { path: "/v1/rooms/1002/gifts".into(), ..gift(|_| ()) },
            404,
            "room_unknown",
            10_021,
        ),
        case(
            "a room that is no number",
            Call { path: "/v1/rooms/x/gifts".into(), ..gift(|_| ()) },
            400,
            "bad_request",
            10_001,
        ),
    ]);
    cases
}

/// 99 × 1,000 × 2 are more than the 100,000 coins that the sender has.
fn costly() -> Value {
    json!({"gift_id": 20, "count": 1_000, "to": [2001, 2002]})
}

fn bodies() -> Vec<Case> {
    let whole = gift_body(|_| ()).to_string();
    let padded = format!("{}{whole}", " ".repeat(70_000));
    let key = uuid::Uuid::now_v7().to_string();
    vec![
        case("half a body", raw(&whole[..whole.len() - 5]).key(&key), 400, "bad_request", 10_001),
        case("no JSON", raw("gift_id=9&count=1").key(&key), 400, "bad_request", 10_001),
        case("nothing", raw("").key(&key), 400, "bad_request", 10_001),
        case("a list", raw("[]").key(&key), 400, "bad_request", 10_001),
        case("a body over the limit", raw(&padded).key(&key), 413, "payload_too_large", 10_008),
        case(
            "a form",
            Call { content_type: "application/x-www-form-urlencoded", ..gift(|_| ()) },
            415,
            "unsupported_media_type",
            10_009,
        ),
        case("no key", Call { key: None, ..gift(|_| ()) }, 400, "key_required", 10_005),
        case("an empty key", gift(|_| ()).key(""), 400, "key_required", 10_005),
        case("129 characters of key", gift(|_| ()).key(&"k".repeat(129)), 400, "bad_request", 10_001),
        case("two keys", set("event_id", json!("another")).key("one"), 400, "bad_request", 10_001),
    ]
}

fn callers(secret: &str) -> Vec<Case> {
    let with = |token: String| Call { who: As::Bearer(token), ..gift(|_| ()) };
    let none = {
        let part = |json: Value| {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string())
        };
        format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"})), part(claims(SENDER, 3_600)))
    };
    let no_user = json!({"sub": "ann", "exp": now_seconds() + 60});
    let no_end = json!({"sub": SENDER.to_string()});
    let (code, number) = ("unauthenticated", 10_010);
    vec![
        case("no token", Call { who: As::Nobody, ..gift(|_| ()) }, 401, code, number),
        case("no token at all", with("abc".into()), 401, code, number),
        case("an expired token", with(sign(secret, &claims(SENDER, -3_600))), 401, code, number),
        case(
            "a token of somebody else's",
            with(sign("x".repeat(40).as_str(), &claims(SENDER, 3_600))),
            401,
            code,
            number,
        ),
        case("a token that nobody signed", with(none), 401, code, number),
        case("a token of no user", with(sign(secret, &no_user)), 401, code, number),
        case("a token for ever", with(sign(secret, &no_end)), 401, code, number),
        case("a service key that nobody has", with(format!("lgk_{}", "0".repeat(64))), 401, code, number),
    ]
}

fn services(admin_key: &str) -> Vec<Case> {
    let viewer = || As::Viewer(SENDER);
    let recharge = |edit: fn(&mut Value)| {
        let mut body = recharge_body(SENDER, 100, &uuid::Uuid::new_v4().to_string());
        edit(&mut body);
        Call::post(As::Service, "/v1/recharges", &body)
    };
    let forbidden = ("forbidden", 10_011);
    let mut cases = vec![
        case("a viewer who recharges", Call { who: viewer(), ..recharge(|_| ()) }, 403, forbidden.0, forbidden.1),
        case(
            "a viewer who looks at another",
            Call::get(viewer(), "/v1/users/3002/balances"),
            403,
            forbidden.0,
            forbidden.1,
        ),
        case("at his history", Call::get(viewer(), "/v1/users/3002/history"), 403, forbidden.0, forbidden.1),
        case("at his event", Call::get(viewer(), "/v1/gifts/k?sender=3002"), 403, forbidden.0, forbidden.1),
        case("a service as me", Call::get(As::Service, "/v1/me/balances"), 403, forbidden.0, forbidden.1),
        case(
            "the admin key here",
            Call { who: As::Bearer(admin_key.into()), ..recharge(|_| ()) },
            401,
            "unauthenticated",
            10_010,
        ),
        case("nothing at the path", Call::get(viewer(), "/v1/nothing"), 404, "not_found", 10_014),
        case("the catalog is on the other port", Call::get(As::Service, "/v1/catalog"), 404, "not_found", 10_014),
        case("a wrong method", Call { method: Method::DELETE, ..gift(|_| ()) }, 405, "method_not_allowed", 10_013),
        case("an unknown asset", recharge(|body| body["asset"] = json!("gold")), 400, "bad_request", 10_001),
        case("an unknown channel", recharge(|body| body["channel"] = json!("cash")), 400, "bad_request", 10_001),
        case("no transaction", recharge(|body| body["transaction_id"] = json!("")), 400, "key_required", 10_005),
        case("user 0", recharge(|body| body["user_id"] = json!(0)), 400, "bad_request", 10_001),
        case(
            "more than can be",
            recharge(|body| body["amount"] = json!(9_007_199_254_740_991_u64)),
            422,
            "issue_limit",
            20_041,
        ),
        case("a cursor of nobody", Call::get(viewer(), "/v1/me/history?cursor=abc"), 400, "cursor_invalid", 10_007),
    ];
    let amounts: [fn(&mut Value); 4] = [
        |body| body["amount"] = json!(0),
        |body| body["amount"] = json!(-100),
        |body| body["amount"] = json!(0.5),
        |body| body["amount"] = json!(9_007_199_254_740_992_u64),
    ];
    for edit in amounts {
        cases.push(case("an amount that is none", recharge(edit), 422, "invalid_amount", 10_002));
    }
    cases
}

async fn books(client: &Client) -> BTreeMap<u64, BTreeMap<String, u64>> {
    let mut books = BTreeMap::new();
    for user in USERS {
        books.insert(user, client.balances(user).await);
    }
    books
}

/// What is off about an answer, if anything.
fn complaint(case: &Case, answer: &Answer) -> Option<String> {
    let found = (answer.status.as_u16(), answer.code(), answer.body["err_code"].as_u64());
    let is_problem = answer.content_type == "application/problem+json"
        && ["type", "title", "detail", "trace_id"].iter().all(|field| answer.body[field].is_string())
        && answer.body["status"] == answer.status.as_u16();
    let fits = found == (case.status, case.code, Some(case.number)) && is_problem;
    (!fits).then(|| format!("{}: wanted {} {}, got {found:?} {}", case.name, case.status, case.code, answer.body))
}

#[tokio::test]
async fn bad_input_gets_its_error_and_moves_no_money() {
    let scratch = Scratch::new();
    let server = Launch::serve(&scratch.data(), &Config::new(&[2001, 2002, SENDER])).ready().await;
    let client = &server.client;
    client.apply_catalog(|_| ()).await;
    for user in [SENDER, OTHER] {
        client.recharge(user, 100_000, &format!("first-{user}")).await.ok();
    }
    let before = books(client).await;
    assert_eq!(before[&SENDER]["coin"], 100_000);

    let mut cases = gifts();
    cases.extend(bodies());
    cases.extend(callers(&client.keys.secret));
    cases.extend(services(&client.keys.admin));
    let mut complaints = Vec::new();
    for case in &cases {
        let answer = client.call(case.call.clone()).await;
        complaints.extend(complaint(case, &answer));
        let after = books(client).await;
        if after != before {
            complaints.push(format!("{}: money moved, {before:?} became {after:?}", case.name));
            break;
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));

    // The same senders, rooms and keys are good for a gift that is right: it was the mistakes that were refused.
    assert_eq!(client.gift(SENDER, "k", &gift_body(|_| ())).await.ok()["balance_after"], 99_995);
    server.stop();
}

#[tokio::test]
async fn an_event_is_known_to_its_sender_and_to_services_only() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    let client = &server.client;
    let receipt = client.gift(SENDER, "mine", &gift_body(|_| ())).await.ok();
    let own = client.call(Call::get(As::Viewer(SENDER), "/v1/gifts/mine")).await.ok();
    assert_eq!(own, receipt);
    let service = client.call(Call::get(As::Service, format!("/v1/gifts/mine?sender={SENDER}"))).await.ok();
    assert_eq!(service, receipt);
    let other = client.call(Call::get(As::Viewer(OTHER), "/v1/gifts/mine")).await;
    assert_eq!((other.status.as_u16(), other.code()), (404, "event_unknown"), "{}", other.body);
    assert_eq!(other.body["final"], false);

    // The same key of another sender is another key.
    let theirs = client.gift(OTHER, "mine", &gift_body(|body| body["count"] = json!(2))).await.ok();
    assert_eq!(theirs["total"], 10);
    server.stop();
}

#[tokio::test]
async fn a_key_with_another_body_is_refused_whatever_differs() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    let client = &server.client;
    let first = client.gift(SENDER, "one", &gift_body(|_| ())).await.ok();
    let edits: [fn(&mut Value); 4] = [
        |body| body["count"] = json!(2),
        |body| body["to"] = json!([2002]),
        |body| body["gift_id"] = json!(1),
        |body| body["combo_id"] = json!(7),
    ];
    for edit in edits {
        let body = gift_body(edit);
        let answer = client.gift(SENDER, "one", &body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (409, "id_reused"), "{body}: {}", answer.body);
    }
    assert_eq!(client.recharge(SENDER, 7, "order").await.ok()["balance_after"], 100_002);
    let answer = client.recharge(SENDER, 8, "order").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "id_reused"), "{}", answer.body);
    // A transaction is one payment of one user: under another name it is not paid again.
    let answer = client.recharge(OTHER, 7, "order").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "id_reused"), "{}", answer.body);

    let again = client.gift(SENDER, "one", &gift_body(|_| ())).await;
    assert!(again.is_replayed);
    assert_eq!(again.ok()["balance_after"], first["balance_after"]);
    assert_eq!((client.coins(SENDER).await, client.coins(OTHER).await), (100_002, 100_000));
    server.stop();
}

/// The server stops reading a body that is too large, so that connection is over; a client that is not told would send
/// its next request on it and never learn what became of that one.
#[tokio::test]
async fn a_connection_whose_body_was_not_read_is_closed_with_notice() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    let client = &server.client;
    for round in 0..50_u64 {
        let padded = format!("{}{}", " ".repeat(200_000), gift_body(|_| ()));
        let request =
            client.http.post(format!("{}/v1/rooms/1001/gifts", client.public)).bearer_auth(client.token(SENDER));
        let response = request.header("Content-Type", "application/json").body(padded).send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["connection"]), (413, &"close".parse().unwrap()));
        assert_eq!(client.gift(SENDER, &format!("k{round}"), &gift_body(|_| ())).await.ok()["replayed"], false);
    }
    server.stop();
}
