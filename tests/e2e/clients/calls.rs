//! What has no place in the scenarios: services, questions, tokens that end, passes for rooms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use largesse_client::{
    Client, Code, Failure, Gift, HistoryQuery, MemoryOutbox, Options, ReadError, Receipt, Recharge, Renew, Token,
    TokenSource, Transfer,
};

use crate::harness::{Config, Launch, Scratch, Server};

async fn client(server: &Server, bearer: impl Into<largesse_client::Bearer>) -> Client {
    let options = Options::new(&server.client.public, bearer);
    Client::open(options, MemoryOutbox::default()).await.unwrap()
}

fn recharge(user: u64, amount: u64) -> Recharge {
    let transaction = format!("order {user}");
    Recharge { user, asset: "coin".into(), amount, channel: "manual".into(), transaction }
}

fn transfer(key: &str, from: u64, to: u64, amount: u64) -> Transfer {
    let (debits, credits) = (vec![("coin".into(), amount)], vec![(to, "coin".into(), amount)]);
    Transfer { user: from, debits, credits, reference: Some("lunch".into()), key: Some(key.into()) }
}

#[tokio::test]
async fn a_service_recharges_transfers_sends_and_asks() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    let client = client(&server, server.client.keys.service.as_str()).await;
    let first = client.recharge(recharge(7001, 500)).await.unwrap();
    assert!(first.balance_after == 500 && !first.replayed);
    assert!(client.recharge(recharge(7001, 500)).await.unwrap().replayed);
    let refused = client.recharge(recharge(7001, 501)).await.unwrap_err();
    assert!(refused.is_certain() && refused.problem().unwrap().code == Code::IdReused, "{refused}");
    // Its receipt is found by the id that both sides make of channel and transaction.
    assert!(matches!(client.receipt(&first.event_id, Some(7001)).await.unwrap(), Some(Receipt::Recharge(_))));

    let moved = client.transfer(transfer("one", 7001, 7002, 120)).await.unwrap();
    assert_eq!(moved.debits[0].balance_after, Some(380));
    let batch =
        vec![transfer("two", 7001, 7002, 1), transfer("three", 7001, 7002, 9_000), transfer("one", 7001, 7002, 120)];
    let outcomes = client.transfers(batch).await;
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    let problem = outcomes[1].as_ref().unwrap_err().problem().unwrap();
    assert_eq!((&problem.code, problem.needed, problem.available), (&Code::InsufficientFunds, Some(9_000), Some(379)));
    assert!(outcomes[2].as_ref().unwrap().replayed);

    let gift = client.send_gift(Gift { sender: Some(7001), ..Gift::new(1001, 9, 2, [2001]) }).await.unwrap();
    assert_eq!((gift.total, gift.balance_after), (10, 369));
    let found = client.receipt(&gift.event_id, Some(7001)).await.unwrap();
    assert_eq!(found, Some(Receipt::Gift(gift.clone())));
    assert_eq!(client.receipt("nothing", Some(7001)).await.unwrap(), None);
    assert_eq!(client.balances_of(2001, Some(gift.position)).await.unwrap().of("coin"), 10);
    let users = client.balances_of_users(&[7002, 7001]).await.unwrap();
    assert_eq!(users.iter().map(|user| user.user_id).collect::<Vec<_>>(), [7002, 7001]);
    let query = HistoryQuery { kind: Some("transfer".into()), limit: Some(1), ..HistoryQuery::default() };
    let page = client.history_of(7001, &query).await.unwrap();
    assert_eq!((page.items[0].event_id.as_str(), page.items[0].reference.as_deref()), ("two", Some("lunch")));
    assert!(page.cursor.is_some());
    let catalog = client.catalog(1001).await.unwrap();
    assert!(catalog.gifts.iter().any(|gift| gift.gift_id == 9 && gift.price == 5));
    let refused = client.balances(None).await.unwrap_err();
    assert!(matches!(refused, ReadError::Refused(problem) if problem.code == Code::Forbidden));
    server.stop();
}

/// Has a token that is of no use, until it is asked for a fresh one.
struct Tokens {
    good: String,
    renewed: AtomicUsize,
}

impl TokenSource for Tokens {
    fn token(&self, renew: Renew) -> Token<'_> {
        let renewed = self.renewed.fetch_add(usize::from(renew == Renew::Yes), Ordering::Relaxed) > 0;
        let token = if renew == Renew::Yes || renewed { self.good.clone() } else { "an old one".into() };
        Box::pin(std::future::ready(Ok(token)))
    }
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_asked_for_anew() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    let tokens = Arc::new(Tokens { good: server.client.token(3001), renewed: AtomicUsize::new(0) });
    let client = client(&server, Arc::clone(&tokens)).await;
    for left in [99_995, 99_990] {
        assert_eq!(client.send_gift(Gift::new(1001, 9, 1, [2001])).await.unwrap().balance_after, left);
    }
    assert_eq!(tokens.renewed.load(Ordering::Relaxed), 1);
    let stranger = self::client(&server, "nobody").await;
    let refused = stranger.send_gift(Gift::new(1001, 9, 1, [2001])).await.unwrap_err();
    assert!(refused.is_certain() && refused.problem().unwrap().code == Code::Unauthenticated, "{refused}");
    server.stop();
}

#[tokio::test]
async fn a_pass_is_fetched_where_a_room_asks_for_one() {
    let scratch = Scratch::new();
    let more = "[auth.room-pass]\nsecret = \"a secret of passes, which is long enough\"";
    let config = Config { more: more.into(), ..Config::new(&[2001]) };
    let server = Launch::serve(&scratch.data(), &config).ready().await;
    server.client.apply_catalog(|_| ()).await;
    server.client.recharge(3001, 100, "first").await.ok();
    let client = client(&server, server.client.token(3001)).await;
    for left in [95, 90] {
        assert_eq!(client.send_gift(Gift::new(1001, 9, 1, [2001])).await.unwrap().balance_after, left);
    }
    server.stop();
}

#[tokio::test]
async fn a_key_is_for_one_thing_at_a_time_and_a_server_that_is_not_there_leaves_it_open() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut options = Options::new(format!("http://{free}"), "nobody");
    options.patience = Duration::from_millis(300);
    let client = Client::open(options, MemoryOutbox::default()).await.unwrap();
    let gift = |count| Gift { key: Some("mine".into()), ..Gift::new(1001, 9, count, [2001]) };
    let (first, second) = tokio::join!(client.send_gift(gift(1)), client.send_gift(gift(1)));
    assert!(matches!(first, Err(Failure::Pending { .. })), "{first:?}");
    assert!(matches!(second, Err(Failure::KeyInUse(_))), "{second:?}");
    assert!(matches!(client.send_gift(gift(2)).await, Err(Failure::KeyInUse(_))));
    assert_eq!(client.left_open(), 1);
    assert!(matches!(client.send_gift(gift(1)).await, Err(Failure::Pending { .. })), "it goes on with the same");
    assert!(client.forget("mine") && !client.forget("mine"));
    assert_eq!(client.left_open(), 0);
    let bad = Gift { key: Some(" spaces ".into()), ..Gift::new(1001, 9, 1, [2001]) };
    assert!(matches!(client.send_gift(bad).await, Err(Failure::KeyUnusable)));
}
