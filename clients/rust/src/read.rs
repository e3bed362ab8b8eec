//! Questions, which change nothing: they are asked again until they are answered or patience ends.

use std::time::Instant;

use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::exchange::Heard;
use crate::key;
use crate::problem::{Code, Problem};
use crate::wire::{Position, Receipt, id, ids, optional_id};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Refused(Box<Problem>),
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("the answer does not fit: {0}")]
    Misfit(#[from] serde_json::Error),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Balance {
    pub asset: String,
    pub amount: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Balances {
    pub balances: Vec<Balance>,
    pub position: Position,
}

impl Balances {
    pub fn of(&self, asset: &str) -> u64 {
        self.balances.iter().find(|balance| balance.asset == asset).map_or(0, |balance| balance.amount)
    }
}

/// One of several users: what he has, or why that cannot be told right now.
#[derive(Clone, Debug, Deserialize)]
pub struct UserBalances {
    #[serde(with = "id")]
    pub user_id: u64,
    pub balances: Option<Vec<Balance>>,
    pub position: Option<Position>,
    pub error: Option<Problem>,
}

/// Which part of a history. `Default` is the newest of one's own events.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HistoryQuery {
    /// `sent` or `received`.
    pub side: Option<String>,
    /// `gift`, `recharge`, `transfer` or `points`.
    pub kind: Option<String>,
    pub asset: Option<String>,
    pub room: Option<u64>,
    pub peer: Option<u64>,
    /// RFC 3339, included; and not included.
    pub since: Option<String>,
    pub until: Option<String>,
    /// 1 to 1,000.
    pub limit: Option<u16>,
    /// Of the page before.
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct HistoryPage {
    pub items: Vec<HistoryItem>,
    /// Where it goes on, if it does.
    pub cursor: Option<String>,
    /// Of what was received: up to when it is complete.
    pub complete_until: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HistoryItem {
    pub event_id: String,
    pub kind: String,
    pub side: String,
    #[serde(with = "ids")]
    pub peers: Vec<u64>,
    /// Of a gift: whoever received it is told no peer.
    #[serde(default)]
    pub anonymous: bool,
    #[serde(default, with = "optional_id")]
    pub room_id: Option<u64>,
    pub gift_id: Option<u32>,
    pub count: Option<u16>,
    pub asset: String,
    pub amount: u64,
    pub balance_after: Option<u64>,
    /// `debit` or `credit` of the user's own balance.
    pub direction: Option<String>,
    pub reference: Option<String>,
    pub at: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Catalog {
    pub version: u32,
    pub gifts: Vec<CatalogGift>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CatalogGift {
    pub gift_id: u32,
    /// In the language of [`crate::Options::language`].
    pub name: String,
    pub price: u64,
    pub asset: String,
    pub category: String,
    pub tier: String,
    pub icon_url: String,
    pub effects_url: Option<String>,
    pub send_rule: String,
}

#[derive(Deserialize)]
struct OfUsers {
    users: Vec<UserBalances>,
}

impl Client {
    /// One's own balances. With the position of a receipt it waits a moment for the credits of that event.
    pub async fn balances(&self, after: Option<Position>) -> Result<Balances, ReadError> {
        self.read("/v1/me/balances", &after_query(after)).await
    }

    /// A user's balances. For services.
    pub async fn balances_of(&self, user: u64, after: Option<Position>) -> Result<Balances, ReadError> {
        self.read(&format!("/v1/users/{user}/balances"), &after_query(after)).await
    }

    /// Balances of up to 50 users, in the order asked. For services.
    pub async fn balances_of_users(&self, users: &[u64]) -> Result<Vec<UserBalances>, ReadError> {
        let user_ids: Vec<_> = users.iter().map(u64::to_string).collect();
        let body = json!({"user_ids": user_ids});
        let request = || self.request(Method::POST, "/v1/balances:query").json(&body);
        Ok(self.ask::<OfUsers>(request).await?.users)
    }

    /// A page of one's own history.
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, ReadError> {
        self.read("/v1/me/history", query).await
    }

    /// A page of a user's history. For services.
    pub async fn history_of(&self, user: u64, query: &HistoryQuery) -> Result<HistoryPage, ReadError> {
        self.read(&format!("/v1/users/{user}/history"), query).await
    }

    /// What a room sells.
    pub async fn catalog(&self, room: u64) -> Result<Catalog, ReadError> {
        self.read(&format!("/v1/rooms/{room}/catalog"), &()).await
    }

    /// The receipt of a key, or `None` if nothing was applied under it so far. A service says whose it is.
    pub async fn receipt(&self, key: &str, sender: Option<u64>) -> Result<Option<Receipt>, ReadError> {
        let query: Vec<_> = sender.iter().map(|sender| ("sender", sender.to_string())).collect();
        match self.read(&format!("/v1/gifts/{}", key::in_path(key)), &query).await {
            Ok(receipt) => Ok(Some(receipt)),
            Err(ReadError::Refused(problem)) if problem.code == Code::EventUnknown => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ReadError> {
        self.ask(|| self.request(Method::GET, path).query(query)).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder) -> Result<T, ReadError> {
        let (min, max) = self.options.backoff;
        let mut backoff = Backoff::new(min, max);
        let ends = Instant::now() + self.options.patience;
        loop {
            let (error, retry_after) = match self.hear(request()).await {
                Heard::Json(json) => return Ok(serde_json::from_value(json)?),
                Heard::Problem(problem, retry_after) if problem.retryable => (ReadError::Refused(problem), retry_after),
                Heard::Problem(problem, _) => return Err(ReadError::Refused(problem)),
                Heard::Garbled(why) | Heard::NotSent(why) | Heard::Lost(why) => (ReadError::NoAnswer(why), None),
            };
            let wait = backoff.wait(retry_after);
            if Instant::now() + wait >= ends {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }
}

fn after_query(after: Option<Position>) -> Vec<(&'static str, String)> {
    after.iter().map(|position| ("after", format!("{}:{}", position.shard, position.seq))).collect()
}
