//! `largesse account`: what a user has, how it came to that, and putting money on it.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Call;
use crate::command::explain::Explain;
use crate::command::gift::receipt_table;
use crate::connect::{As, Connect};
use crate::exit::Failure;
use crate::output::{self, Format, text};

const EXAMPLES: &str = "\
Examples:
  largesse account get 2001
  largesse account history 3001 --side sent --limit 20
  largesse account recharge 3001 --amount 500 --channel manual --transaction order-17
  largesse account explain 3001

A recharge with a transaction that was booked already pays once, and shows the first receipt.";

/// Balances, history and recharges of a user, and where its balances come from.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Account {
    /// Show a user's balances.
    #[command(after_help = EXAMPLES)]
    Get(Get),
    /// List what a user sent or received, newest first.
    #[command(after_help = EXAMPLES)]
    History(History),
    /// Put money on an account, for a payment that was made.
    #[command(after_help = EXAMPLES)]
    Recharge(Recharge),
    Explain(Explain),
}

#[derive(Debug, Args)]
pub struct Get {
    /// Whose balances.
    #[arg(value_name = "USER")]
    user: u64,
    /// Wait until the credits of this event have arrived, such as 3:17 from a receipt.
    #[arg(long, value_name = "SHARD:SEQ")]
    after: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    Sent,
    Received,
}

#[derive(Debug, Args)]
pub struct History {
    /// Whose history.
    #[arg(value_name = "USER")]
    user: u64,
    /// What the user did, or what others did for the user.
    #[arg(long, value_enum, default_value = "sent")]
    side: Side,
    /// Only one kind: gift, recharge, transfer, points.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only one asset.
    #[arg(long, value_name = "NAME")]
    asset: Option<String>,
    /// Only one room.
    #[arg(long, value_name = "ROOM")]
    room: Option<u64>,
    /// Only with this other user.
    #[arg(long, value_name = "USER")]
    peer: Option<u64>,
    /// Not before this time, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Most items on the page.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u32,
    /// Where the page before ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub struct Recharge {
    /// Whose account.
    #[arg(value_name = "USER")]
    user: u64,
    /// How much, in the asset's smallest unit.
    #[arg(long, value_name = "N")]
    amount: u64,
    /// What is put on the account.
    #[arg(long, default_value = "coin", value_name = "ASSET")]
    asset: String,
    /// Where it was paid: apple, wechat, alipay, douyin or manual.
    #[arg(long, default_value = "manual", value_name = "CHANNEL")]
    channel: String,
    /// The payment's own id there; it can be booked once only.
    #[arg(long, value_name = "ID")]
    transaction: String,
    #[command(flatten)]
    connect: Connect,
}

impl Account {
    pub async fn run(self, format: Format) -> Result<(), Failure> {
        match self {
            Account::Get(get) => get.run(format).await,
            Account::History(history) => history.run(format).await,
            Account::Recharge(recharge) => recharge.run(format).await,
            Account::Explain(explain) => explain.run(format).await,
        }
    }
}

/// Viewers see themselves under `/me`, services see everybody.
pub(super) fn path(connect: &Connect, user: u64, what: &str) -> String {
    if connect.has_token(user) { format!("/v1/me/{what}") } else { format!("/v1/users/{user}/{what}") }
}

impl Get {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let client = self.connect.client(As::ViewerOrService(self.user))?;
        let call = Call::get(path(&self.connect, self.user, "balances")).query("after", self.after.as_ref());
        let balances = client.call(call).await?;
        output::print(format, &balances, || {
            let items = balances["balances"].as_array().cloned().unwrap_or_default();
            let rows = items.iter().map(|item| vec![text(item, "/asset"), text(item, "/amount")]);
            output::table(&["asset", "#amount"], rows)
        })
    }
}

impl History {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let client = self.connect.client(As::ViewerOrService(self.user))?;
        let side = match self.side {
            Side::Sent => "sent",
            Side::Received => "received",
        };
        let call = Call::get(path(&self.connect, self.user, "history"))
            .query("side", Some(side))
            .query("kind", self.kind.as_ref())
            .query("asset", self.asset.as_ref())
            .query("room", self.room)
            .query("peer", self.peer)
            .query("since", self.since.as_ref())
            .query("until", self.until.as_ref())
            .query("limit", Some(self.limit))
            .query("cursor", self.cursor.as_ref());
        let page = client.call(call).await?;
        output::print(format, &page, || history_table(&page))?;
        let next = text(&page, "/cursor");
        if format == Format::Table && !next.is_empty() {
            output::remark(&format!("more: --cursor {next}"));
        }
        Ok(())
    }
}

fn history_table(page: &Value) -> String {
    let items = page["items"].as_array().cloned().unwrap_or_default();
    let names =
        ["at", "kind", "peers", "room_id", "gift_id", "#count", "asset", "#amount", "#balance_after", "event_id"];
    let row = |item: &Value| names.map(|name| text(item, &format!("/{}", name.trim_start_matches('#')))).to_vec();
    output::table(&names, items.iter().map(row))
}

impl Recharge {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let client = self.connect.client(As::Service)?;
        let body = json!({
            "user_id": self.user,
            "asset": self.asset,
            "amount": self.amount,
            "channel": self.channel,
            "transaction_id": self.transaction,
        });
        let receipt = client.call(Call::send(Method::POST, "/v1/recharges", body)).await?;
        output::print(format, &receipt, || receipt_table(&receipt))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn history_shows_one_event_a_line() {
        let page = json!({"items": [
            {"event_id": "e2", "kind": "gift", "peers": ["2001", "2002"], "room_id": "1001", "gift_id": 1, "count": 5,
             "asset": "coin", "amount": 10, "balance_after": 90, "at": "2026-01-01T00:00:01Z"},
            {"event_id": "e1", "kind": "recharge", "peers": [], "asset": "coin", "amount": 100, "balance_after": 100,
             "at": "2026-01-01T00:00:00Z"},
        ]});
        expect![[r#"
            AT                    KIND      PEERS      ROOM_ID  GIFT_ID  COUNT  ASSET  AMOUNT  BALANCE_AFTER  EVENT_ID
            2026-01-01T00:00:01Z  gift      2001 2002  1001     1            5  coin       10             90  e2
            2026-01-01T00:00:00Z  recharge                                      coin      100            100  e1"#]]
        .assert_eq(&history_table(&page));
    }
}
