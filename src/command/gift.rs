//! `largesse gift`: send a gift, and look up what came of one.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Call;
use crate::connect::{As, Connect};
use crate::exit::Failure;
use crate::output::{self, Format, text};

const EXAMPLES: &str = "\
Examples:
  largesse gift send --from 3001 --room 1001 --gift rose --to 2001
  largesse gift send --from 3001 --room 1001 --gift 12 --count 5 --to 2001 --to 2002 --key my-key-1
  largesse gift get my-key-1 --from 3001

Sending again with the same --key pays once: the answer is the first receipt, marked as replayed.";

/// Send gifts and look them up.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Gift {
    /// Send a gift to one host or several.
    #[command(after_help = EXAMPLES)]
    Send(Send),
    /// Show the receipt of a gift or of a recharge.
    #[command(after_help = EXAMPLES)]
    Get(Get),
}

#[derive(Debug, Args)]
pub struct Send {
    /// Who pays.
    #[arg(long, value_name = "USER")]
    from: u64,
    /// The room it is sent in.
    #[arg(long, value_name = "ROOM")]
    room: u64,
    /// The gift's id or its name.
    #[arg(long, value_name = "GIFT")]
    gift: String,
    /// How many, 1 to 9999.
    #[arg(long, default_value_t = 1, value_name = "N")]
    count: u64,
    /// A host who gets it; several times for several hosts.
    #[arg(long, required = true, value_name = "USER")]
    to: Vec<u64>,
    /// The combo it belongs to.
    #[arg(long, value_name = "ID")]
    combo: Option<u64>,
    /// Tell neither the room nor its hosts who it is from.
    #[arg(long)]
    anonymous: bool,
    /// Refuse if a piece no longer costs this.
    #[arg(long, value_name = "PRICE")]
    price_seen: Option<u64>,
    /// The idempotency key [default: a fresh UUIDv7].
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub struct Get {
    /// The idempotency key it was sent with.
    #[arg(value_name = "KEY")]
    key: String,
    /// Whose event it is.
    #[arg(long, value_name = "USER")]
    from: u64,
    #[command(flatten)]
    connect: Connect,
}

impl Gift {
    pub async fn run(self, format: Format) -> Result<(), Failure> {
        match self {
            Gift::Send(send) => send.run(format).await,
            Gift::Get(get) => get.run(format).await,
        }
    }
}

impl Send {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let client = self.connect.client(As::Viewer(self.from))?;
        let gift = match self.gift.parse::<u32>() {
            Ok(id) => id,
            Err(_) => {
                let catalog = client.call(Call::get(format!("/v1/rooms/{}/catalog", self.room))).await?;
                gift_named(&catalog, &self.gift)?
            }
        };
        let key = self.key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let mut body = json!({"gift_id": gift, "count": self.count, "to": self.to});
        for (name, value) in [("combo_id", self.combo), ("price_seen", self.price_seen)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        if self.anonymous {
            body["anonymous"] = true.into();
        }
        let path = format!("/v1/rooms/{}/gifts", self.room);
        let receipt = client.call(Call::send(Method::POST, path, body).key(&key)).await?;
        output::print(format, &receipt, || receipt_table(&receipt))
    }
}

impl Get {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let client = self.connect.client(As::ViewerOrService(self.from))?;
        let sender = (!self.connect.has_token(self.from)).then_some(self.from);
        let path = format!("/v1/gifts/{}", path_part(&self.key));
        let receipt = client.call(Call::get(path).query("sender", sender)).await?;
        output::print(format, &receipt, || receipt_table(&receipt))
    }
}

/// The id of the gift with this name in any language, however it is capitalised.
fn gift_named(catalog: &Value, name: &str) -> Result<u32, Failure> {
    let folded = name.to_lowercase();
    let is_it = |gift: &&Value| {
        let names = gift["names"].as_object().into_iter().flat_map(|names| names.values());
        names.chain([&gift["name"]]).filter_map(Value::as_str).any(|known| known.to_lowercase() == folded)
    };
    let gifts = catalog["gifts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = gifts.iter().find(is_it).and_then(|gift| gift["gift_id"].as_u64());
    found.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
        Failure::usage(format_args!("no gift is called `{name}`")).help("see what is sold: `largesse catalog list`")
    })
}

/// Any text as one part of a path.
pub fn path_part(text: &str) -> String {
    let mut part = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => part.push(char::from(byte)),
            other => part.push_str(&format!("%{other:02X}")),
        }
    }
    part
}

/// The fields of any receipt that it has.
pub fn receipt_table(receipt: &Value) -> String {
    let names = [
        "event_id",
        "outcome",
        "user_id",
        "room_id",
        "gift_id",
        "count",
        "to",
        "asset",
        "amount",
        "total",
        "balance_after",
        "combo",
        "anonymous",
        "at",
        "replayed",
    ];
    let shown = names.map(|name| (name, text(receipt, &format!("/{name}"))));
    output::fields(shown.into_iter().chain([("position", output::position(receipt))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gifts_are_found_by_any_name() {
        let catalog = json!({"gifts": [
            {"gift_id": 1, "name": "Rose", "names": {"en": "Rose", "zh": "玫瑰"}},
            {"gift_id": 2, "name": "Paper Crane", "names": {}},
        ]});
        for (name, id) in [("rose", 1), ("玫瑰", 1), ("PAPER crane", 2)] {
            assert_eq!(gift_named(&catalog, name).unwrap(), id);
        }
        assert!(gift_named(&catalog, "lion").unwrap_err().what.contains("`lion`"));
        assert!(gift_named(&json!({}), "lion").is_err());
    }

    #[test]
    fn any_key_can_stand_in_a_path() {
        assert_eq!(path_part("a-1_2.~"), "a-1_2.~");
        assert_eq!(path_part("a/b?c #%"), "a%2Fb%3Fc%20%23%25");
    }
}
