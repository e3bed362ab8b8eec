//! A client with books of its own, who trusts nobody and retries what he does not know.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{Answer, As, Call, Client, Dice, recharge_body};

/// Starts of the server that a late retry waits for.
const LATE_STARTS: u32 = 4;
/// Attempts that a player leaves open at a time.
const OPEN_MAX: usize = 12;
/// Gifts that a player makes at most, so that the final comparison ends in time.
const GIFTS_MAX: usize = 4_000;
const FIRST_COINS: u64 = 5_000;

/// What all players share.
pub struct World {
    pub hosts: Vec<u64>,
    /// The process that serves, and how many came before it.
    pub seen: watch::Receiver<Option<(u32, Client)>>,
    pub stopping: watch::Receiver<bool>,
    /// Servers are frozen at times, and a frozen one may answer as late as it likes.
    pub may_freeze: bool,
    /// Far longer than everything takes that happens to the server.
    pub settled_within: Duration,
}

/// What was asked for under one key.
#[derive(Clone, Debug)]
pub struct Intent {
    pub key: String,
    pub is_recharge: bool,
    pub body: Value,
    pub total: u64,
}

/// What was asked for, and the receipt.
#[derive(Clone, Debug)]
pub struct Done {
    pub intent: Intent,
    pub receipt: Value,
    /// At least one attempt had no answer.
    pub was_unknown: bool,
}

/// A player's own account of what happened.
#[derive(Debug, Default)]
pub struct Book {
    pub user: u64,
    /// Nobody sends to this user.
    pub is_alone: bool,
    pub gifts: Vec<Done>,
    pub recharges: Vec<Done>,
    pub unknown: usize,
    pub late: usize,
    pub replays: usize,
    pub reused: usize,
    pub refused: usize,
}

impl Book {
    pub fn sent(&self) -> u64 {
        self.gifts.iter().map(|done| done.intent.total).sum()
    }

    pub fn recharged(&self) -> u64 {
        self.recharges.iter().map(|done| done.intent.total).sum()
    }
}

/// Tried without an answer; to be asked again at this start of the server.
struct Open {
    intent: Intent,
    due: u32,
}

enum Tried {
    Answered(Answer),
    Nothing,
}

pub struct Player {
    book: Book,
    dice: Dice,
    world: Arc<World>,
    seen: watch::Receiver<Option<(u32, Client)>>,
    open: VecDeque<Open>,
    keys: u64,
}

impl Player {
    pub fn new(user: u64, is_alone: bool, dice: Dice, world: Arc<World>) -> Player {
        let seen = world.seen.clone();
        let book = Book { user, is_alone, ..Book::default() };
        Player { book, dice, world, seen, open: VecDeque::new(), keys: 0 }
    }

    /// Plays until told to stop, then asks for everything that is still open.
    pub async fn play(mut self) -> Book {
        let first = self.recharge_intent(FIRST_COINS);
        self.settle(first, false).await;
        while !*self.world.stopping.borrow() {
            self.turn().await;
        }
        while let Some(open) = self.open.pop_front() {
            self.settle(open.intent, true).await;
        }
        self.book
    }

    async fn turn(&mut self) {
        let (start, _) = self.server().await;
        let is_due = self.open.front().is_some_and(|open| open.due <= start);
        if is_due || self.open.len() >= OPEN_MAX {
            let open = self.open.pop_front().expect("it was looked at just now");
            self.book.late += usize::from(is_due);
            return self.settle(open.intent, true).await;
        }
        match self.dice.below(100) {
            0..70 if self.book.gifts.len() < GIFTS_MAX => {
                let intent = self.gift_intent();
                self.attempt(intent).await;
            }
            0..75 => {
                let amount = 1 + self.dice.below(500);
                let intent = self.recharge_intent(amount);
                self.attempt(intent).await;
            }
            75..85 => self.retry_done().await,
            85..92 => self.reuse_key().await,
            _ => self.look().await,
        }
    }

    /// Tries once. Without an answer it is settled at once or left for much later.
    async fn attempt(&mut self, intent: Intent) {
        match self.try_once(&intent).await {
            Tried::Answered(answer) => self.take(intent, &answer, false),
            Tried::Nothing => {
                self.book.unknown += 1;
                if self.dice.percent(60) {
                    self.settle(intent, true).await;
                } else {
                    let later = 1 + u32::try_from(self.dice.below(u64::from(LATE_STARTS))).expect("a small number");
                    let (start, _) = self.server().await;
                    self.open.push_back(Open { intent, due: start + later });
                }
            }
        }
    }

    /// Asks again and again until there is an answer.
    async fn settle(&mut self, intent: Intent, mut was_unknown: bool) {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < self.world.settled_within, "no answer to {intent:?}");
            match self.try_once(&intent).await {
                Tried::Answered(answer) => return self.take(intent, &answer, was_unknown),
                Tried::Nothing => {
                    self.book.unknown += 1;
                    was_unknown = true;
                }
            }
        }
    }

    /// The process that serves, as soon as one does.
    async fn server(&mut self) -> (u32, Client) {
        let seen = self.seen.wait_for(Option::is_some).await.expect("the test outlives its players");
        seen.clone().expect("waited for")
    }

    /// Sends it. A broken connection and an unknown outcome are no answer; "not now" is none either, but vouches.
    async fn try_once(&mut self, intent: &Intent) -> Tried {
        let (_, client) = self.server().await;
        match client.try_call(&self.call(intent)).await {
            Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                assert!(
                    ["overloaded", "shard_unavailable", "store_unavailable"].contains(&answer.code()),
                    "{answer:?}"
                );
                tokio::time::sleep(answer.retry_after.unwrap_or(Duration::from_millis(50))).await;
                Tried::Nothing
            }
            Ok(answer) if answer.code() == "outcome_unknown" => Tried::Nothing,
            Ok(answer) => Tried::Answered(answer),
            // The connection broke, or nobody listens any more: the next one does.
            Err(error) => {
                assert!(!error.is_timeout() || self.world.may_freeze, "a living server must answer: {error:?}");
                tokio::task::yield_now().await;
                Tried::Nothing
            }
        }
    }

    fn call(&self, intent: &Intent) -> Call {
        if intent.is_recharge {
            Call::post(As::Service, "/v1/recharges", &intent.body)
        } else {
            Call::post(As::Viewer(self.book.user), "/v1/rooms/1001/gifts", &intent.body).key(&intent.key)
        }
    }

    /// Writes an answer into the book.
    fn take(&mut self, intent: Intent, answer: &Answer, was_unknown: bool) {
        if answer.status == StatusCode::PAYMENT_REQUIRED && !intent.is_recharge {
            // The id is judged before the money, so no attempt of this intent was ever paid.
            assert_eq!(answer.code(), "insufficient_funds");
            let available = answer.body["available"].as_u64().unwrap();
            assert!(available < intent.total, "{}", answer.body);
            if self.book.is_alone && self.open.is_empty() {
                assert_eq!(available, self.coins(), "a refusal rests on what was told before");
            }
            self.book.refused += 1;
            return;
        }
        assert_eq!(answer.status, StatusCode::OK, "{intent:?} {}", answer.body);
        let receipt = answer.body.clone();
        let amount = if intent.is_recharge { &receipt["amount"] } else { &receipt["total"] };
        assert_eq!(amount.as_u64(), Some(intent.total), "{receipt}");
        assert!(was_unknown || !answer.is_replayed, "a first attempt is no replay: {receipt}");
        let book = if intent.is_recharge { &mut self.book.recharges } else { &mut self.book.gifts };
        book.push(Done { intent, receipt, was_unknown });
        if self.book.is_alone && self.open.is_empty() && !answer.is_replayed {
            assert_eq!(answer.body["balance_after"].as_u64(), Some(self.coins()), "{}", answer.body);
        }
    }

    /// What the book says is left, for those to whom nobody sends.
    fn coins(&self) -> u64 {
        self.book.recharged() - self.book.sent()
    }

    /// Something done is asked for again: the same receipt, and nothing is paid.
    async fn retry_done(&mut self) {
        let Some(done) = self.any_done() else { return };
        let Tried::Answered(answer) = self.try_once(&done.intent).await else { return };
        assert!(answer.is_replayed && answer.body["replayed"] == true, "{}", answer.body);
        assert_eq!(without_replayed(&answer.body), without_replayed(&done.receipt));
        self.book.replays += 1;
    }

    /// A key that was used, for something else: refused.
    async fn reuse_key(&mut self) {
        let Some(mut done) = self.any_done() else { return };
        let body = &mut done.intent.body;
        let field = if done.intent.is_recharge { "amount" } else { "count" };
        if !done.intent.is_recharge && self.dice.below(2) == 0 {
            body["anonymous"] = (body["anonymous"] != true).into();
        } else {
            body[field] = json!(body[field].as_u64().unwrap() + 1);
        }
        let Tried::Answered(answer) = self.try_once(&done.intent).await else { return };
        assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "id_reused"), "{}", answer.body);
        self.book.reused += 1;
    }

    fn any_done(&mut self) -> Option<Done> {
        let list = if self.dice.percent(80) { &self.book.gifts } else { &self.book.recharges };
        let list = if list.is_empty() { &self.book.recharges } else { list };
        // Half of the time a recent one, which a crash could have undone.
        let recent = if self.dice.percent(50) { list.len().saturating_sub(5) } else { 0 };
        Some(self.dice.pick(&list[recent..]).clone())
    }

    /// A balance that is told never takes anything back.
    async fn look(&mut self) {
        let (_, client) = self.server().await;
        let Ok(answer) = client.try_call(&Call::get(As::Viewer(self.book.user), "/v1/me/balances")).await else {
            return;
        };
        if answer.status != StatusCode::OK {
            return;
        }
        let balances = answer.body["balances"].as_array().unwrap();
        let coins =
            balances.iter().find(|balance| balance["asset"] == "coin").map_or(0, |b| b["amount"].as_u64().unwrap());
        if self.book.is_alone && self.open.is_empty() {
            assert_eq!(coins, self.coins());
        }
    }

    fn gift_intent(&mut self) -> Intent {
        let mut to = vec![];
        for _ in 0..=self.dice.below(3) {
            let host = *self.dice.pick(&self.world.hosts);
            if host != self.book.user && !to.contains(&host) {
                to.push(host);
            }
        }
        if to.is_empty() {
            to.push(self.world.hosts[0]);
        }
        let (gift, price) = *self.dice.pick(&[(1, 1), (9, 5), (10, 10)]);
        let count = 1 + self.dice.below(6);
        let total = price * count * to.len() as u64;
        let mut body = json!({"gift_id": gift, "count": count, "to": to});
        if self.dice.below(4) == 0 {
            body["anonymous"] = true.into();
        }
        Intent { key: self.key(), is_recharge: false, body, total }
    }

    fn recharge_intent(&mut self, amount: u64) -> Intent {
        let key = format!("order-{}-{}", self.book.user, self.keys);
        self.keys += 1;
        Intent { body: recharge_body(self.book.user, amount, &key), key, is_recharge: true, total: amount }
    }

    /// All the kinds of keys that callers may use.
    fn key(&mut self) -> String {
        self.keys += 1;
        match self.dice.below(3) {
            0 => uuid::Uuid::now_v7().to_string(),
            1 => uuid::Uuid::new_v4().to_string(),
            _ => format!("{}/gift {}", self.book.user, self.keys),
        }
    }
}

pub fn without_replayed(receipt: &Value) -> Value {
    let mut receipt = receipt.clone();
    receipt["replayed"] = Value::Null;
    receipt
}
