//! Wallets are in memory before their first gift needs them.

use std::time::Duration;

use crate::gateways::{Viewer, metric};
use crate::harness::{As, Call, Config, Launch, Scratch, Server, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until so many wallets are in memory.
async fn resident(server: &Server, count: f64) {
    let is_so = async || (metric(server, "largesse_wallets_resident").await == count).then_some(());
    until(&format!("{count} wallets are in memory"), PATIENCE, is_so).await;
}

#[tokio::test]
async fn whoever_enters_a_room_or_asks_for_a_balance_is_in_memory() {
    let scratch = Scratch::new();
    let config = Config { wallet_shards: 1, ..Config::new(&[2001]) };
    let server = Launch::serve(&scratch.data(), &config).ready().await;
    resident(&server, 0.0).await;
    let call = Call::get(As::Viewer(3001), "/v1/me/balances");
    server.client.call(call).await.ok();
    resident(&server, 1.0).await;
    let _viewer = Viewer::enter(&server, 3002).await;
    resident(&server, 2.0).await;
    let _other = Viewer::enter(&server, 3001).await;
    let _third = Viewer::enter(&server, 3003).await;
    resident(&server, 3.0).await;
    server.stop();
}
