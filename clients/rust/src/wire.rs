//! What is sent and what comes back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A gift to one host or several of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gift {
    pub room: u64,
    pub gift: u32,
    /// 1 to 9,999; the price is paid for each piece and each host.
    pub count: u16,
    /// 1 to 16 distinct hosts.
    pub to: Vec<u64>,
    /// The client's own number for a streak of taps.
    pub combo: Option<u64>,
    /// Nobody is told whose gift it is, in the room and in the hosts' histories.
    pub anonymous: bool,
    /// The unit price on the viewer's screen: another one is refused.
    pub price_seen: Option<u64>,
    /// For whom a service sends; a viewer sends for himself.
    pub sender: Option<u64>,
    /// A key of the caller's own. Without one the client makes a UUIDv7, which is best.
    pub key: Option<String>,
}

impl Gift {
    pub fn new(room: u64, gift: u32, count: u16, to: impl IntoIterator<Item = u64>) -> Gift {
        let to = to.into_iter().collect();
        Gift { room, gift, count, to, combo: None, anonymous: false, price_seen: None, sender: None, key: None }
    }

    pub(crate) fn body(&self) -> Value {
        let to: Vec<_> = self.to.iter().map(u64::to_string).collect();
        let mut body = json!({"gift_id": self.gift, "count": self.count, "to": to});
        let mut set = |name: &str, value: Option<Value>| {
            if let (Some(value), Some(members)) = (value, body.as_object_mut()) {
                members.insert(name.into(), value);
            }
        };
        set("combo_id", self.combo.map(|combo| combo.to_string().into()));
        set("anonymous", self.anonymous.then_some(true.into()));
        set("price_seen", self.price_seen.map(Into::into));
        set("sender", self.sender.map(|sender| sender.to_string().into()));
        body
    }
}

/// A payment that came in. Its key is channel and transaction: it pays once among all users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recharge {
    pub user: u64,
    pub asset: String,
    pub amount: u64,
    /// `apple`, `wechat`, `alipay`, `douyin` or `manual`.
    pub channel: String,
    pub transaction: String,
}

impl Recharge {
    pub(crate) fn body(&self) -> Value {
        json!({"user_id": self.user.to_string(), "asset": self.asset, "amount": self.amount, "channel": self.channel,
               "transaction_id": self.transaction})
    }
}

/// What one user is debited, and what anybody is credited: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub user: u64,
    pub debits: Vec<(String, u64)>,
    /// User, asset, amount.
    pub credits: Vec<(u64, String, u64)>,
    pub reference: Option<String>,
    /// As in [`Gift::key`].
    pub key: Option<String>,
}

impl Transfer {
    pub(crate) fn body(&self) -> Value {
        let debits = self.debits.iter().map(|(asset, amount)| json!({"asset": asset, "amount": amount}));
        let credits = self.credits.iter();
        let credits =
            credits.map(|(user, asset, amount)| json!({"user_id": user.to_string(), "asset": asset, "amount": amount}));
        let mut body = Map::new();
        body.insert("user_id".into(), self.user.to_string().into());
        body.insert("debits".into(), debits.collect());
        body.insert("credits".into(), credits.collect());
        if let Some(reference) = &self.reference {
            body.insert("reference".into(), reference.as_str().into());
        }
        Value::Object(body)
    }
}

/// Where an event stands in the books; `balances` can wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub shard: u16,
    pub seq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GiftReceipt {
    pub event_id: String,
    #[serde(with = "id")]
    pub room_id: u64,
    pub gift_id: u32,
    pub count: u16,
    #[serde(with = "ids")]
    pub to: Vec<u64>,
    pub asset: String,
    pub total: u64,
    /// Of the sender, right after this event.
    pub balance_after: u64,
    #[serde(default, with = "combo")]
    pub combo: Option<u64>,
    #[serde(default)]
    pub anonymous: bool,
    pub position: Position,
    pub at: String,
    /// Whether it is the receipt of an earlier attempt.
    pub replayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RechargeReceipt {
    pub event_id: String,
    #[serde(with = "id")]
    pub user_id: u64,
    pub asset: String,
    pub amount: u64,
    pub balance_after: u64,
    pub position: Position,
    pub at: String,
    pub replayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TransferReceipt {
    pub event_id: String,
    #[serde(with = "id")]
    pub user_id: u64,
    pub debits: Vec<Change>,
    pub credits: Vec<Change>,
    pub position: Position,
    pub at: String,
    pub replayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Change {
    #[serde(with = "id")]
    pub user_id: u64,
    pub asset: String,
    pub amount: u64,
    /// Of the acting user, where it is known.
    pub balance_after: Option<u64>,
}

/// What was applied, of whatever kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Receipt {
    Gift(GiftReceipt),
    Transfer(TransferReceipt),
    Recharge(RechargeReceipt),
}

impl Receipt {
    pub fn event_id(&self) -> &str {
        match self {
            Receipt::Gift(receipt) => &receipt.event_id,
            Receipt::Transfer(receipt) => &receipt.event_id,
            Receipt::Recharge(receipt) => &receipt.event_id,
        }
    }

    pub fn is_replayed(&self) -> bool {
        match self {
            Receipt::Gift(receipt) => receipt.replayed,
            Receipt::Transfer(receipt) => receipt.replayed,
            Receipt::Recharge(receipt) => receipt.replayed,
        }
    }
}

/// An id, which the wire has as a string since JavaScript cannot hold all of them as numbers.
pub(crate) mod id {
    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

pub(crate) mod ids {
    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

pub(crate) mod optional_id {
    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

mod combo {
    use serde::{Deserialize, Deserializer};

    #[derive(Deserialize)]
    struct Combo {
        #[serde(with = "super::id")]
        id: u64,
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Combo>::deserialize(deserializer)?.map(|combo| combo.id))
    }
}
