//! What became of an id, and what users have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use futures::future::BoxFuture;
use http::{Method, StatusCode};
use largesse_api::{ApiState, public_router};
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::handle::{Answered, CallError, Wallets};
use largesse_engine::ledger::LedgerShape;
use largesse_engine::relay::{Acknowledged, RelayPart};
use largesse_engine::service::Patience;
use largesse_engine::units::{Seq, ShardId, Time};
use largesse_engine::wallet::command::WalletCommand;
use largesse_engine::wallet::outcome::WalletOutcome;
use serde_json::{Value, json};

use crate::world::{ANN, BOB, SERVICE, World, call, key, metrics, token};

#[tokio::test]
async fn a_receipt_is_found_by_its_owner_and_by_services() {
    let world = World::start().await;
    let recharge = world.recharge(ANN, 100, "t1").await.json();
    let key = key();
    let sent = world.send(ANN, &key, json!({ "combo_id": "9" })).await.json();
    let path = format!("/v1/gifts/{key}");
    assert_eq!(world.get(&path).bearer(&token(ANN)).send().await.json(), sent);
    assert_eq!(world.get(&format!("{path}?sender=3001")).bearer(&token(ANN)).send().await.json(), sent);
    assert_eq!(world.get(&format!("{path}?sender=3001")).bearer(SERVICE).send().await.json(), sent);
    world.get(&path).bearer(&token(BOB)).send().await.expect_problem("event_unknown");
    world.get(&format!("{path}?sender=3001")).bearer(&token(BOB)).send().await.expect_problem("forbidden");
    world.get(&path).bearer(SERVICE).send().await.expect_problem("bad_request");
    let of_recharge = format!("/v1/gifts/{}", recharge["event_id"].as_str().unwrap());
    assert_eq!(world.get(&of_recharge).bearer(&token(ANN)).send().await.json(), recharge);
    world.send(ANN, "any words / of mine", json!({})).await;
    let spelled = world.get("/v1/gifts/any%20words%20%2F%20of%20mine").bearer(&token(ANN)).send().await;
    assert_eq!(spelled.json()["event_id"], "any words / of mine");
    world.stop().await;
}

#[tokio::test]
async fn a_missing_event_is_final_once_its_time_has_passed() {
    let world = World::start().await;
    let now = SystemClock.now().get();
    for (query, is_final) in [
        (String::new(), false),
        (format!("?final_after={}", now - 1), true),
        (format!("?final_after={}", now + 3_600_000), false),
    ] {
        let path = format!("/v1/gifts/{}{query}", key());
        let problem = world.get(&path).bearer(&token(ANN)).send().await.expect_problem("event_unknown");
        assert_eq!(problem["final"], is_final, "{query}");
    }
    for bad in ["?final_after=soon", "?final_after=-1", "?sender=ann", "?sender=", "?final=1"] {
        let path = format!("/v1/gifts/{}{bad}", key());
        world.get(&path).bearer(&token(ANN)).send().await.expect_problem("bad_request");
    }
    world.stop().await;
}

type Execute = dyn Fn(&Arc<dyn Wallets>, ShardId, Vec<WalletCommand>) -> Executed + Send + Sync;
type Executed = BoxFuture<'static, Result<Answered<WalletOutcome>, CallError>>;

/// The shards, with something on the way to them.
struct Between {
    wallets: Arc<dyn Wallets>,
    execute: Box<Execute>,
}

/// The public door with answers that never come back; of two commands, one does not even get there. Patience is half a
/// second.
pub fn silent_router(world: &World) -> Router {
    let sends = AtomicUsize::new(0);
    let execute = move |wallets: &Arc<dyn Wallets>, shard, commands| -> Executed {
        if sends.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            tokio::spawn(wallets.execute(shard, commands));
        }
        Box::pin(std::future::pending())
    };
    router(world, execute, |patience| {
        patience.deadline = Duration::from_millis(500);
        patience.answer = Duration::ZERO;
    })
}

/// The public door with commands that reach their shards only after this moment.
pub fn late_router(world: &World, moment: Time) -> Router {
    let execute = move |wallets: &Arc<dyn Wallets>, shard, commands| -> Executed {
        let wallets = Arc::clone(wallets);
        Box::pin(async move {
            while SystemClock.now() <= moment {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            wallets.execute(shard, commands).await
        })
    };
    router(world, execute, |_| ())
}

fn router(
    world: &World,
    execute: impl Fn(&Arc<dyn Wallets>, ShardId, Vec<WalletCommand>) -> Executed + Send + Sync + 'static,
    set: impl FnOnce(&mut Patience),
) -> Router {
    let mut service = world.node.service();
    service.wallets = Arc::new(Between { wallets: service.wallets, execute: Box::new(execute) });
    set(&mut service.patience);
    public_router(ApiState::new(service, world.state.options.clone(), metrics()).unwrap())
}

impl Wallets for Between {
    fn shape(&self) -> LedgerShape {
        self.wallets.shape()
    }

    fn execute(&self, shard: ShardId, commands: Vec<WalletCommand>) -> Executed {
        (self.execute)(&self.wallets, shard, commands)
    }

    fn relay(
        &self,
        destination: ShardId,
        parts: Vec<RelayPart>,
    ) -> BoxFuture<'static, Result<Vec<Acknowledged>, CallError>> {
        self.wallets.relay(destination, parts)
    }

    fn flushed(&self, shard: ShardId, seq: Seq, patience: Duration) -> BoxFuture<'static, bool> {
        self.wallets.flushed(shard, seq, patience)
    }

    fn complete_until(&self) -> Time {
        self.wallets.complete_until()
    }
}

#[tokio::test]
async fn an_unknown_outcome_can_be_polled_until_it_is_known() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    let silent = silent_router(&world);
    for is_paid in [true, false] {
        let body = json!({ "gift_id": 1, "count": 1, "to": [2001], "event_id": key() });
        let call = call(&silent, Method::POST, "/v1/rooms/1001/gifts").bearer(&token(ANN)).json(body);
        let problem = call.send().await.expect_problem("outcome_unknown");
        assert!(problem["final_after"].as_str().unwrap().ends_with('Z'), "{problem}");
        assert_eq!(settle(&world, problem["poll"].as_str().unwrap(), &token(ANN)).await, is_paid);
    }
    assert_eq!(world.coins(ANN).await, 990);
    world.stop().await;
}

/// Polls until the answer is final, and says whether the event is in the books.
pub async fn settle(world: &World, poll: &str, bearer: &str) -> bool {
    loop {
        let answer = world.get(poll).bearer(bearer).send().await;
        if answer.status == StatusCode::OK {
            return true;
        }
        if answer.expect_problem("event_unknown")["final"] == true {
            return false;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn balances_are_read_from_the_shard_that_owns_them() {
    let world = World::start().await;
    let empty = world.get("/v1/me/balances").bearer(&token(ANN)).send().await.json();
    assert_eq!(empty["balances"], json!([]));
    assert!(empty["position"]["seq"].is_u64());
    world.recharge(ANN, 100, "t1").await;
    let sent = world.send(ANN, &key(), json!({})).await.json();
    let own = world.get("/v1/me/balances").bearer(&token(ANN)).send().await.json();
    let coins = own["balances"].as_array().unwrap().iter().find(|held| held["asset"] == "coin");
    assert_eq!(coins, Some(&json!({ "asset": "coin", "amount": 90 })));
    assert_eq!(own["position"], sent["position"]);
    let named = world.get("/v1/users/3001/balances").bearer(&token(ANN)).send().await.json();
    assert_eq!(named, own);
    world.get("/v1/users/3001/balances").bearer(&token(BOB)).send().await.expect_problem("forbidden");
    world.get("/v1/me/balances").bearer(SERVICE).send().await.expect_problem("forbidden");
    let position: &Value = &sent["position"];
    let after = format!("?after={}:{}", position["shard"], position["seq"]);
    assert_eq!(world.balance(2001, "coin", &after).await, 10, "it waits for what is under way");
    world.stop().await;
}
