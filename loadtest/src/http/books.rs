//! Money for the viewers before, and the check of every balance after, over the API like everything else.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::connection::{Answer, Connection};
use super::requests::request;
use super::{HttpBench, HttpBenchError, Sides};
use crate::engine::Books;
use crate::progress::{Progress, Stage};

/// Enough for any one viewer to send every gift of a day.
const COINS: u64 = 100_000_000_000;
const CONNECTIONS: usize = 32;
const MISMATCHES_SHOWN: usize = 10;
/// How long credits may take to arrive at their hosts.
const ARRIVAL: Duration = Duration::from_secs(30);

/// A viewer whose money is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    pub user: u64,
    pub should: u64,
    pub is: u64,
}

pub async fn fund(bench: &HttpBench, sides: &Sides, progress: Progress<'_>) -> Result<(), HttpBenchError> {
    let users: Vec<u64> = sides.viewers.iter().map(|viewer| viewer.user).collect();
    let done = &std::cell::Cell::new(0);
    let parts = shares(&users).map(|part| async move {
        let mut connection = Connection::open(sides.gifts.address).await?;
        for user in part {
            let body = json!({
                "user_id": user, "asset": "coin", "amount": COINS, "channel": "manual",
                "transaction_id": format!("bench-{user}"),
            });
            let request = request("POST", "/v1/recharges", sides.gifts.address, &sides.service_key, &body.to_string());
            parsed(connection.ask(&request).await?)?;
            done.set(done.get() + 1);
        }
        progress(Stage::Funding { done: done.get(), of: bench.viewers });
        Ok::<_, HttpBenchError>(())
    });
    futures::future::try_join_all(parts).await?;
    Ok(())
}

/// Compares every viewer with what he was told, and the hosts with all of them. A gift of unknown outcome may have been
/// paid by anyone.
pub async fn check(sides: &Sides, accepted: &[u64], unknown: u64) -> Result<(Books, Vec<Mismatch>), HttpBenchError> {
    let users: Vec<u64> = sides.viewers.iter().map(|viewer| viewer.user).collect();
    let parts = shares(&users).map(|part| async move {
        let mut connection = Connection::open(sides.gifts.address).await?;
        let mut found = Vec::new();
        for user in part {
            found.push((*user, coins(sides, &mut connection, *user).await?));
        }
        Ok::<_, HttpBenchError>(found)
    });
    let found: Vec<Vec<(u64, u64)>> = stream::iter(parts).buffered(CONNECTIONS).try_collect().await?;
    let mut mismatches = Vec::new();
    for ((user, is), accepted) in found.into_iter().flatten().zip(accepted) {
        let should = COINS - accepted;
        if is > should || is + unknown < should {
            mismatches.push(Mismatch { user, should, is });
        }
    }
    mismatches.truncate(MISMATCHES_SHOWN);
    let paid = accepted.iter().sum::<u64>();
    let received = received(sides, paid).await?;
    Ok((Books { paid, received }, mismatches))
}

/// What the hosts hold, once it is what was paid or has had time to become it.
async fn received(sides: &Sides, paid: u64) -> Result<u64, HttpBenchError> {
    let mut connection = Connection::open(sides.gifts.address).await?;
    let began = Instant::now();
    loop {
        let mut sum = 0;
        for host in &sides.hosts {
            sum += coins(sides, &mut connection, *host).await?;
        }
        if sum >= paid || began.elapsed() > ARRIVAL {
            return Ok(sum);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn coins(sides: &Sides, connection: &mut Connection, user: u64) -> Result<u64, HttpBenchError> {
    let path = format!("/v1/users/{user}/balances");
    let request = request("GET", &path, sides.gifts.address, &sides.service_key, "");
    let page = parsed(connection.ask(&request).await?)?;
    let balances = page["balances"].as_array().into_iter().flatten();
    let coin = balances.filter(|balance| balance["asset"] == "coin").find_map(|balance| balance["amount"].as_u64());
    Ok(coin.unwrap_or(0))
}

fn parsed(answer: Answer<'_>) -> Result<Value, HttpBenchError> {
    let text = String::from_utf8_lossy(answer.body);
    match answer.status {
        200..300 => serde_json::from_str(&text).map_err(|error| HttpBenchError::Server(format!("{error}: {text}"))),
        status => Err(HttpBenchError::Server(format!("the server answered {status}: {text}"))),
    }
}

/// As even as they come, one for each connection.
fn shares(users: &[u64]) -> impl Iterator<Item = &[u64]> {
    users.chunks(users.len().div_ceil(CONNECTIONS).max(1))
}
