//! Compares the players' books with the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use largesse_engine::event_id::CallerKey;
use serde_json::Value;

use super::player::{Book, Done, without_replayed};
use crate::harness::{self, As, Call, Client, until};

const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// Receipts looked up one by one per player, besides all that were ever in doubt.
const LOOKED_UP: usize = 100;

pub async fn everything(client: &Client, books: &[Book], hosts: &[u64]) {
    balances(client, books, hosts).await;
    for book in books {
        receipts(client, book).await;
        sent(client, book).await;
    }
    for host in hosts {
        received(client, books, *host).await;
    }
}

/// What a host got, per gift.
fn gifts_to(books: &[Book], host: u64) -> BTreeMap<(u64, String), u64> {
    let mut gifts = BTreeMap::new();
    for book in books {
        for done in &book.gifts {
            let to = done.intent.body["to"].as_array().unwrap();
            if to.iter().any(|receiver| *receiver == host) {
                // Receivers see the event's id; how its sender spelt the key is not theirs to know.
                let id = CallerKey::parse(&done.intent.key).unwrap().id.to_string();
                gifts.insert((book.user, id), done.intent.total / to.len() as u64);
            }
        }
    }
    gifts
}

async fn balances(client: &Client, books: &[Book], hosts: &[u64]) {
    let mut wanted: BTreeMap<u64, u64> = BTreeMap::new();
    for host in hosts {
        *wanted.entry(*host).or_default() += gifts_to(books, *host).values().sum::<u64>();
    }
    let received: u64 = wanted.values().sum();
    assert_eq!(received, books.iter().map(Book::sent).sum::<u64>(), "what was sent is what hosts were sent");
    for book in books {
        let balance = wanted.entry(book.user).or_default();
        *balance = *balance + book.recharged() - book.sent();
    }
    let wanted = &wanted;
    let found = || async {
        let mut found = BTreeMap::new();
        for user in wanted.keys() {
            found.insert(*user, client.coins(*user).await);
        }
        // While credits travel, less is there; never more.
        for (user, coins) in &found {
            assert!(coins <= &wanted[user], "{user} has {coins}, more than {}", wanted[user]);
        }
        (found == *wanted).then_some(())
    };
    until(&format!("balances are {wanted:?}"), SETTLED_WITHIN, found).await;
}

async fn receipts(client: &Client, book: &Book) {
    let step = (book.gifts.len() / LOOKED_UP).max(1);
    let asked = book.gifts.iter().enumerate().filter(|(place, done)| done.was_unknown || place % step == 0);
    for (_, done) in asked {
        let key = done.intent.key.replace('/', "%2F").replace(' ', "%20");
        let found = client.call(Call::get(As::Viewer(book.user), format!("/v1/gifts/{key}"))).await.ok();
        assert_eq!(without_replayed(&found), without_replayed(&done.receipt));
    }
}

/// The sender's side: exactly what the book says, each with its amount and the balance that was told.
async fn sent(client: &Client, book: &Book) {
    for (kind, list, total) in [("gift", &book.gifts, "total"), ("recharge", &book.recharges, "amount")] {
        let told = |done: &Done| {
            let receipt = &done.receipt;
            [&receipt["event_id"], &receipt[total], &receipt["balance_after"], &receipt["at"]].map(Value::to_string)
        };
        let listed = |item: &Value| {
            [&item["event_id"], &item["amount"], &item["balance_after"], &item["at"]].map(Value::to_string)
        };
        let wanted: BTreeSet<_> = list.iter().map(told).collect();
        assert_eq!(wanted.len(), list.len(), "no event twice in the book");
        let (items, _) = client.history(book.user, "sent", kind).await;
        let found: BTreeSet<_> = items.iter().map(listed).collect();
        assert_eq!(found.len(), items.len(), "no event twice in the history of {}", book.user);
        let differing: Vec<_> = found.symmetric_difference(&wanted).take(5).collect();
        assert!(differing.is_empty(), "{kind}s of {} differ: {differing:?}", book.user);
    }
}

/// The host's side, once it is there: every gift, with the amount that came to this host.
async fn received(client: &Client, books: &[Book], host: u64) {
    let wanted = gifts_to(books, host);
    let wanted = &wanted;
    let settled = || async {
        let (items, _) = client.history(host, "received", "gift").await;
        (items.len() >= wanted.len()).then_some(items)
    };
    let items = until(&format!("{host} has {} gifts in its history", wanted.len()), SETTLED_WITHIN, settled).await;
    let mut found = BTreeMap::new();
    for item in &items {
        let sender = item["peers"][0].as_str().unwrap().parse().unwrap();
        let event = (sender, item["event_id"].as_str().unwrap().to_owned());
        let before = found.insert(event, item["amount"].as_u64().unwrap());
        assert_eq!(before, None, "a gift is listed once: {item}");
    }
    let missing: Vec<_> = wanted.iter().filter(|(event, amount)| found.get(*event) != Some(*amount)).collect();
    assert!(missing.is_empty(), "{host} lacks {} gifts: {:?}", missing.len(), &missing[..missing.len().min(5)]);
    assert_eq!(found.len(), wanted.len(), "{host} has gifts that nobody sent");
}

/// The stopped folder passes the audit.
pub fn audit(data: &Path) {
    let ran = harness::audit(data);
    let (told, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{told}{said}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(told["store"]["compared"].is_object(), "its rows were compared as well: {told}");
    println!("audit: {told}");
}
