//! Payments as providers report them, over the route they report to.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use largesse_api::ApiOptions;
use largesse_api::payments::hmac::{HmacChannel, HmacOptions};
use largesse_api::payments::{PaymentOptions, Product, Provider};
use largesse_api::signed;
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::units::Amount;
use serde_json::{Value, json};

use crate::world::{ANN, Answer, SERVICE, World};

const SECRET: &str = "a secret of thirty-two bytes, at least";
const PATH: &str = "/v1/recharges/callbacks/shop";

async fn world() -> World {
    let shop = HmacChannel::new(HmacOptions { name: "shop".into(), secret: SECRET.into() }).unwrap();
    let providers: HashMap<String, Arc<dyn Provider>> = HashMap::from([("shop".into(), Arc::new(shop) as Arc<_>)]);
    let sixty = Product { id: "coins.60".into(), price: Some(600), amount: Amount::new(60).unwrap() };
    let payments = PaymentOptions { asset: "coin".into(), currency: "CNY".into(), products: vec![sixty], providers };
    World::start_with(1_000, ApiOptions { payments, ..ApiOptions::default() }).await
}

async fn report(world: &World, secret: &str, body: &Value) -> Answer {
    let (time, body) = (SystemClock.now().get(), body.to_string());
    let text = signed::text(&http::Method::POST, PATH, time, body.as_bytes());
    let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    hmac::Mac::update(&mut mac, text.as_bytes());
    let signature = signed::hex(&hmac::Mac::finalize(mac).into_bytes());
    let call = world.post(PATH).header("content-type", "text/plain").header(signed::TIME, &time.to_string());
    call.header(signed::SIGNATURE, &signature).body(body).send().await
}

fn payment(transaction: &str, product: &str) -> Value {
    json!({ "transaction_id": transaction, "user_id": ANN, "product": product })
}

#[tokio::test]
async fn a_payment_counts_once_however_often_it_is_reported() {
    let world = world().await;
    for _ in 0..3 {
        let answer = report(&world, SECRET, &payment("t1", "coins.60")).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "outcome": "applied" })));
    }
    assert_eq!(world.coins(ANN).await, 60);
    let seven = json!({ "transaction_id": "t2", "user_id": ANN, "asset": "coin", "amount": 7 });
    let at_once = futures::future::join_all((0..20).map(|_| report(&world, SECRET, &seven))).await;
    assert!(at_once.iter().all(|answer| answer.status == StatusCode::OK), "{at_once:?}");
    assert_eq!(world.coins(ANN).await, 67);
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_proven_or_not_sold_moves_nothing() {
    let world = world().await;
    report(&world, "another secret, as long as the first one", &payment("t1", "coins.60"))
        .await
        .expect_problem("bad_signature");
    report(&world, SECRET, &payment("t1", "coins.61")).await.expect_problem("invalid_amount");
    report(&world, SECRET, &json!({ "transaction_id": "t1" })).await.expect_problem("bad_request");
    let long = payment(&"x".repeat(200), "coins.60");
    report(&world, SECRET, &long).await.expect_problem("bad_request");
    world.post("/v1/recharges/callbacks/apple").bearer(SERVICE).body("{}").send().await.expect_problem("not_found");
    world.post(PATH).bearer(SERVICE).body("{}").send().await.expect_problem("bad_signature");
    let large = world.post(PATH).body(vec![b'x'; 1 << 20]).send().await;
    large.expect_problem("payload_too_large");
    // The same transaction cannot be turned into another payment.
    assert_eq!(report(&world, SECRET, &payment("t1", "coins.60")).await.status, StatusCode::OK);
    let other = json!({ "transaction_id": "t1", "user_id": ANN, "asset": "coin", "amount": 1_000 });
    report(&world, SECRET, &other).await.expect_problem("id_reused");
    assert_eq!(world.coins(ANN).await, 60);
    world.stop().await;
}
