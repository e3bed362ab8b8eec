//! What was asked for and is not settled yet, kept before it is sent.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::key;
use crate::wire::Receipt;

pub mod file;

/// What an outbox answers with; boxed, so that a client can hold any outbox.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = Result<T, OutboxError>> + Send + 'a>>;

/// Where open entries are kept. One client at a time uses one outbox, for one account. What it is told takes effect in
/// the order in which it was told, also where a call is dropped before it is answered.
pub trait Outbox: Send + Sync + 'static {
    /// Keeps an entry, in the place of the one with the same id if there is one, all or nothing. It has to be safe from a
    /// crash before this returns: the request is sent right afterwards.
    fn put<'a>(&'a self, entry: &'a Entry) -> Soon<'a, ()>;

    /// Forgets an entry of which nothing was applied. It has to be safe from a crash before this returns: the refusal is
    /// reported right afterwards, and one that was still kept would be sent again, and might be applied then.
    fn remove<'a>(&'a self, id: &'a str) -> Soon<'a, ()>;

    /// Forgets an entry that was applied, soon and without waiting: between this and telling the caller nothing may come
    /// in between. It may be lost in a crash, and then the first receipt is fetched again.
    fn remove_soon(&self, id: &str);

    /// All that are kept, oldest first.
    fn entries(&self) -> Soon<'_, Vec<Entry>>;
}

#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("the outbox cannot be used: {0}")]
    Io(#[from] std::io::Error),
    #[error("the outbox is damaged in line {line}: {why}")]
    Damaged { line: usize, why: String },
    #[error("the outbox is in use by another process")]
    InUse,
    #[error(
        "the outbox is of account `{0}`: with another one that account's gifts would be paid again, by somebody else"
    )]
    OtherAccount(String),
    #[error("the outbox is full: {0} entries are open")]
    Full(usize),
    #[error("the outbox could not write earlier, and what it holds on the disk is not certain; open it again")]
    Failed,
}

/// One intent with the key that it is, or will be, sent under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The first key, by which the intent is known whatever happens.
    pub id: String,
    /// The key in use: another one than `id` after the server's clock asked for that.
    pub key: String,
    /// Whether the client made the key, and may make another.
    pub minted: bool,
    pub intent: Intent,
    /// When it was asked for, and when to stop trying; by the server's clock in milliseconds since 1970, as far as known.
    pub made_at: u64,
    pub give_up_at: Option<u64>,
    /// No attempt that was ever sent may be decided later than this. [`NEVER_SENT`]: there was none, since the server's
    /// time was not known, and all times here are this machine's.
    pub horizon: u64,
}

/// The horizon of an entry that is sent only once it has the server's times.
pub const NEVER_SENT: u64 = 0;

/// What is asked for, exactly as it is sent each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    Gift { room: u64, body: Value, sender: Option<u64> },
    Recharge { user: u64, body: Value },
    Transfer { user: u64, body: Value },
}

impl Intent {
    pub(crate) fn path(&self) -> String {
        match self {
            Intent::Gift { room, .. } => format!("/v1/rooms/{room}/gifts"),
            Intent::Recharge { .. } => "/v1/recharges".into(),
            Intent::Transfer { .. } => "/v1/transfers:batch".into(),
        }
    }

    pub(crate) fn body(&self, key: &str) -> Value {
        match self {
            Intent::Gift { .. } => self.item(key),
            // Its key is the payment's own number.
            Intent::Recharge { body, .. } => body.clone(),
            Intent::Transfer { .. } => json!({"transfers": [self.item(key)]}),
        }
    }

    /// With its key in it, as one of a batch.
    pub(crate) fn item(&self, key: &str) -> Value {
        let (Intent::Gift { body, .. } | Intent::Recharge { body, .. } | Intent::Transfer { body, .. }) = self;
        let mut item = body.clone();
        item["event_id"] = key.into();
        item
    }

    /// Where to ask what became of a key, and when a 404 shall be final.
    pub(crate) fn lookup(&self, key: &str, final_after: u64) -> String {
        let key = key::in_path(key);
        match self {
            Intent::Gift { sender: None, .. } => format!("/v1/gifts/{key}?final_after={final_after}"),
            Intent::Gift { sender: Some(user), .. } | Intent::Recharge { user, .. } | Intent::Transfer { user, .. } => {
                format!("/v1/gifts/{key}?sender={user}&final_after={final_after}")
            }
        }
    }

    pub(crate) fn is_of_kind(&self, receipt: &Receipt) -> bool {
        matches!(
            (self, receipt),
            (Intent::Gift { .. }, Receipt::Gift(_))
                | (Intent::Recharge { .. }, Receipt::Recharge(_))
                | (Intent::Transfer { .. }, Receipt::Transfer(_))
        )
    }

    /// Whether a receipt found under the key is of this, and not of something else that used the same key. Names of
    /// assets are not compared: they are the catalog's, which may have got others since. A key that the client made is
    /// used for nothing else, so that any receipt of the kind is of this.
    pub(crate) fn is_told_by(&self, minted: bool, receipt: &Receipt) -> bool {
        match (self, receipt) {
            (Intent::Gift { .. }, Receipt::Gift(_)) | (Intent::Transfer { .. }, Receipt::Transfer(_)) if minted => true,
            (Intent::Gift { room, body, .. }, Receipt::Gift(gift)) => {
                let to: Value = gift.to.iter().map(u64::to_string).collect();
                let combo: Value = gift.combo.map_or(Value::Null, |combo| combo.to_string().into());
                gift.room_id == *room
                    && [&body["gift_id"], &body["count"]] == [&json!(gift.gift_id), &json!(gift.count)]
                    && [&body["to"], &body["combo_id"]] == [&to, &combo]
                    && body["anonymous"].as_bool().unwrap_or(false) == gift.anonymous
            }
            (Intent::Recharge { user, body }, Receipt::Recharge(recharge)) => {
                recharge.user_id == *user && body["amount"] == json!(recharge.amount)
            }
            (Intent::Transfer { user, body }, Receipt::Transfer(transfer)) => {
                let asked = |side: &str| body[side].as_array().map(Vec::as_slice).unwrap_or_default().iter();
                let debits = asked("debits").map(|it| it["amount"].clone());
                let credits = asked("credits").map(|it| (it["user_id"].clone(), it["amount"].clone()));
                transfer.user_id == *user
                    && debits.eq(transfer.debits.iter().map(|it| json!(it.amount)))
                    && credits.eq(transfer.credits.iter().map(|it| (json!(it.user_id.to_string()), json!(it.amount))))
            }
            (Intent::Gift { .. } | Intent::Recharge { .. } | Intent::Transfer { .. }, _) => false,
        }
    }
}

/// An outbox for tests, and for whoever keeps what is open elsewhere: it does not survive its process.
#[derive(Debug, Default)]
pub struct MemoryOutbox {
    kept: Mutex<Kept>,
}

/// Open entries in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    by_place: BTreeMap<u64, Entry>,
    places: BTreeMap<String, u64>,
    next: u64,
}

/// More are refused, since what cannot be settled would otherwise fill memory and disk.
pub const ENTRIES_MAX: usize = 100_000;

impl Kept {
    pub(crate) fn put(&mut self, entry: Entry) {
        let place = *self.places.entry(entry.id.clone()).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.by_place.insert(place, entry);
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if let Some(place) = self.places.remove(id) {
            self.by_place.remove(&place);
        }
    }

    pub(crate) fn has_room_for(&self, id: &str) -> Result<(), OutboxError> {
        let is_full = self.places.len() >= ENTRIES_MAX && !self.places.contains_key(id);
        if is_full { Err(OutboxError::Full(self.places.len())) } else { Ok(()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.by_place.values()
    }
}

impl Outbox for MemoryOutbox {
    fn put<'a>(&'a self, entry: &'a Entry) -> Soon<'a, ()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = kept.has_room_for(&entry.id).map(|()| kept.put(entry.clone()));
        Box::pin(std::future::ready(room))
    }

    fn remove<'a>(&'a self, id: &'a str) -> Soon<'a, ()> {
        self.remove_soon(id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove_soon(&self, id: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn entries(&self) -> Soon<'_, Vec<Entry>> {
        let entries = self.kept.lock().unwrap_or_else(PoisonError::into_inner).all().cloned().collect();
        Box::pin(std::future::ready(Ok(entries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_known_also_when_its_asset_has_another_name_by_now() {
        let at = json!({"position": {"shard": 1, "seq": 1}, "at": "now", "replayed": true, "event_id": "a"});
        let receipt = |more: Value| -> Receipt {
            let mut all = at.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(all).unwrap()
        };
        let of = |amount: u64| receipt(json!({"user_id": "7", "asset": "gold", "amount": amount, "balance_after": 9}));
        let recharge = Intent::Recharge { user: 7, body: json!({"asset": "coin", "amount": 5}) };
        assert!(recharge.is_told_by(false, &of(5)) && !recharge.is_told_by(false, &of(6)));
        let change = |amount: u64| json!([{"user_id": "7", "asset": "gold", "amount": amount}]);
        let moved = |amount: u64| receipt(json!({"user_id": "7", "debits": change(amount), "credits": change(amount)}));
        let asked = json!([{"user_id": "7", "asset": "coin", "amount": 5}]);
        let transfer = Intent::Transfer { user: 7, body: json!({"debits": asked, "credits": asked}) };
        assert!(transfer.is_told_by(false, &moved(5)) && !transfer.is_told_by(false, &moved(6)));
        assert!(transfer.is_told_by(true, &moved(6)) && !transfer.is_told_by(true, &of(5)));
    }
}
