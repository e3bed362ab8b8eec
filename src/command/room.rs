//! `largesse room`: open and close rooms, and see what goes on in them.

use clap::{Args, Subcommand, ValueEnum};
use largesse_engine::clock::{Clock, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Call;
use crate::command::room_feed::Feed;
use crate::connect::{As, Connect};
use crate::exit::Failure;
use crate::output::{self, Format, text};

const EXAMPLES: &str = "\
Examples:
  largesse room open 1001 --host 2001 --host 2002 --goal coin:10000
  largesse room open 1001 --host 2001 --host 2002 --pk 2001:2002:coin:5 --reason tonight
  largesse room get 1001
  largesse room top 1001 --period day --side hosts --limit 3
  largesse room feed 1001 --after 17 --follow -o json
  largesse room close 1001 --reason over

All of them ask as a service; a key with the scope `rooms` opens and closes, one with `read` reads.";

/// Open and close rooms, and see what goes on in them.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Room {
    /// Open a room, or change how it is set: it is as said here, whatever it was before.
    #[command(after_help = EXAMPLES)]
    Open(Open),
    /// Show how a room is set, and how it stands.
    #[command(after_help = EXAMPLES)]
    Get(Get),
    /// Show who gave, or was given, the most.
    #[command(after_help = EXAMPLES)]
    Top(Top),
    /// Show everything that happened in a room, in order; with -o json one document per line.
    #[command(after_help = EXAMPLES)]
    Feed(Feed),
    /// Close a room: its live ends, and gifts are refused.
    #[command(after_help = EXAMPLES)]
    Close(Close),
}

#[derive(Debug, Args)]
pub struct Open {
    /// The room's number.
    #[arg(value_name = "ROOM")]
    room: u64,
    /// A user who can be sent gifts there; several times for several.
    #[arg(long = "host", required = true, value_name = "USER")]
    hosts: Vec<u64>,
    /// A gift that is sold there [default: all of the catalog].
    #[arg(long = "gift", value_name = "GIFT")]
    gifts: Vec<u32>,
    /// A bar that fills with what is given.
    #[arg(long = "goal", value_name = "ASSET:TARGET", value_parser = goal)]
    goals: Vec<Value>,
    /// Two hosts against each other, for so many minutes or until it is switched off.
    #[arg(long = "pk", value_name = "HOST:HOST:ASSET[:MINUTES]", value_parser = pk)]
    pks: Vec<Value>,
    /// For whoever asks later why this was changed.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub struct Get {
    /// The room's number.
    #[arg(value_name = "ROOM")]
    room: u64,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub struct Top {
    /// The room's number.
    #[arg(value_name = "ROOM")]
    room: u64,
    /// Of this live, or of the day or the week of business.
    #[arg(long, value_enum, default_value_t = Period::Live, value_name = "PERIOD")]
    period: Period,
    /// Who gave, or who was given.
    #[arg(long, value_enum, default_value_t = Side::Senders, value_name = "SIDE")]
    side: Side,
    /// By its name in the catalog [default: the first that anything was given of].
    #[arg(long, value_name = "ASSET")]
    asset: Option<String>,
    /// Places at most, 1 to 1000.
    #[arg(long, default_value_t = 10, value_name = "N")]
    limit: usize,
    /// Also show where this user stands.
    #[arg(long, value_name = "USER")]
    user: Option<u64>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub struct Close {
    /// The room's number.
    #[arg(value_name = "ROOM")]
    room: u64,
    /// For whoever asks later why it was closed.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Period {
    Live,
    Day,
    Week,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    Senders,
    Hosts,
}

impl Room {
    pub async fn run(self, format: Format) -> Result<(), Failure> {
        match self {
            Room::Open(open) => open.run(format).await,
            Room::Get(get) => get.run(format).await,
            Room::Top(top) => top.run(format).await,
            Room::Feed(feed) => feed.run(format).await,
            Room::Close(close) => close.run(format).await,
        }
    }
}

impl Open {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let plugins: Vec<Value> = self.goals.into_iter().chain(self.pks.into_iter().map(begun)).collect();
        let mut body = json!({ "hosts": self.hosts, "plugins": plugins });
        if !self.gifts.is_empty() {
            body["gifts"] = self.gifts.into();
        }
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        let client = self.connect.client(As::Service)?;
        let room = client.call(Call::send(Method::PUT, format!("/v1/rooms/{}", self.room), body)).await?;
        output::print(format, &room, || room_table(&room))
    }
}

impl Get {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let client = self.connect.client(As::Service)?;
        let room = client.call(Call::get(format!("/v1/rooms/{}", self.room))).await?;
        output::print(format, &room, || room_table(&room))
    }
}

impl Top {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let period = match self.period {
            Period::Live => "live",
            Period::Day => "day",
            Period::Week => "week",
        };
        let side = match self.side {
            Side::Senders => "senders",
            Side::Hosts => "hosts",
        };
        let call = Call::get(format!("/v1/rooms/{}/boards/{period}", self.room)).query("side", Some(side));
        let call = call.query("asset", self.asset).query("limit", Some(self.limit)).query("user", self.user);
        let board = self.connect.client(As::Service)?.call(call).await?;
        output::print(format, &board, || board_table(&board))
    }
}

impl Close {
    async fn run(self, format: Format) -> Result<(), Failure> {
        let client = self.connect.client(As::Service)?;
        let body = match self.reason {
            Some(reason) => json!({ "reason": reason }),
            None => json!({}),
        };
        let room = client.call(Call::send(Method::POST, format!("/v1/rooms/{}:close", self.room), body)).await?;
        output::print(format, &room, || room_table(&room))
    }
}

/// `coin:10000`.
fn goal(given: &str) -> Result<Value, String> {
    let parse = || {
        let (asset, target) = given.split_once(':').filter(|(asset, _)| !asset.is_empty())?;
        Some(json!({ "kind": "goal", "asset": asset, "target": target.parse::<u64>().ok()? }))
    };
    parse().ok_or_else(|| "write asset and target, such as coin:10000".to_owned())
}

/// `2001:2002:coin`, or `2001:2002:coin:5` for five minutes.
fn pk(given: &str) -> Result<Value, String> {
    let parse = || {
        let parts: Vec<&str> = given.split(':').collect();
        let (hosts, asset, minutes) = match parts[..] {
            [one, other, asset] => ([one, other], asset, None),
            [one, other, asset, minutes] => ([one, other], asset, Some(minutes.parse::<u32>().ok()?)),
            _ => return None,
        };
        let hosts = [hosts[0].parse::<u64>().ok()?, hosts[1].parse::<u64>().ok()?];
        let is_fit = !asset.is_empty() && minutes != Some(0);
        is_fit.then(|| json!({ "kind": "pk", "hosts": hosts, "asset": asset, "minutes": minutes }))
    };
    parse().ok_or_else(|| "write two hosts, an asset and perhaps minutes, such as 2001:2002:coin:5".to_owned())
}

/// A PK that begins now, its minutes as the time when they are over.
fn begun(mut pk: Value) -> Value {
    let minutes = pk.as_object_mut().and_then(|pk| pk.remove("minutes"));
    if let Some(minutes) = minutes.and_then(|minutes| minutes.as_u64()) {
        pk["until"] = SystemClock.now().plus_millis(60_000 * minutes).to_string().into();
    }
    pk
}

fn room_table(room: &Value) -> String {
    let list = |name: &str, line: fn(&Value) -> String| {
        let items = room[name].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(line).collect::<Vec<_>>().join(", ")
    };
    let live = match text(room, "/live/since") {
        since if since.is_empty() => text(room, "/live/state"),
        since => format!("{} {}, since {since}", text(room, "/live/number"), text(room, "/live/state")),
    };
    let shown = ["room_id", "hosts", "gifts"].map(|name| (name, text(room, &format!("/{name}"))));
    let rest = ["open_combos", "room_seq", "epoch"].map(|name| (name, text(room, &format!("/{name}"))));
    let middle = [
        ("live", live),
        ("plugins", list("plugins", plugin_text)),
        ("totals", list("totals", total_text)),
        ("all_totals", list("all_totals", total_text)),
    ];
    output::fields(shown.into_iter().chain(middle).chain(rest))
}

fn total_text(total: &Value) -> String {
    format!("{} {} in {} gifts", total["value"], text(total, "/asset"), total["gifts"])
}

fn plugin_text(plugin: &Value) -> String {
    let asset = text(plugin, "/asset");
    if plugin["kind"] == "goal" {
        return format!("goal {} of {} {asset}", plugin["reached"], plugin["target"]);
    }
    let side = |at: usize| format!("{} {}", text(plugin, &format!("/hosts/{at}")), plugin["scores"][at]);
    let end = match (plugin["is_over"].as_bool(), text(plugin, "/until")) {
        (Some(true), _) => " (over)".to_owned(),
        (_, until) if until.is_empty() => String::new(),
        (_, until) => format!(" until {until}"),
    };
    format!("PK {} : {} {asset}{end}", side(0), side(1))
}

/// Who it is, unless that is told to nobody.
pub fn named(value: &Value, path: &str) -> String {
    if value["anonymous"] == true && value.pointer(path) == Some(&Value::Null) {
        "anonymous".into()
    } else {
        text(value, path)
    }
}

fn board_table(board: &Value) -> String {
    let entries = board["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_missing = |own: &&Value| !own.is_null() && !entries.contains(own);
    let own = [&board["own"], &board["own_anonymous"]].into_iter().filter(is_missing);
    let row = |entry: &Value| {
        vec![text(entry, "/rank"), named(entry, "/user_id"), text(entry, "/value"), text(board, "/asset")]
    };
    output::table(&["#rank", "user", "#value", "asset"], entries.iter().chain(own).map(row))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn plug_ins_are_written_in_one_word() {
        assert_eq!(goal("coin:10"), Ok(json!({ "kind": "goal", "asset": "coin", "target": 10 })));
        let endless = json!({ "kind": "pk", "hosts": [1, 2], "asset": "coin", "minutes": null });
        assert_eq!(pk("1:2:coin"), Ok(endless.clone()));
        assert_eq!(pk("1:2:coin:5").unwrap()["minutes"], 5);
        for bad in ["", "coin", "coin:", ":5", "coin:-1", "coin:1:2"] {
            assert!(goal(bad).is_err(), "{bad}");
        }
        for bad in ["", "1:2", "1:2:", "1:2:coin:0", "1:2:coin:x", "a:2:coin", "1:2:coin:5:6"] {
            assert!(pk(bad).is_err(), "{bad}");
        }
        assert_eq!(begun(endless).as_object().unwrap().len(), 3, "without an end");
        let until = begun(pk("1:2:coin:5").unwrap())["until"].as_str().unwrap().parse::<u64>().unwrap();
        assert!(until > SystemClock.now().get(), "its end is ahead");
    }

    #[test]
    fn a_room_and_a_board_are_readable() {
        let room = json!({
            "room_id": "1001", "epoch": "7", "live": { "number": 2, "state": "open", "since": "2026-01-31T23:59:59.999Z" },
            "hosts": ["2001", "2002"], "totals": [{ "asset": "coin", "value": 140, "gifts": 3 }], "all_totals": [],
            "plugins": [
                { "kind": "goal", "asset": "coin", "target": 50, "reached": 60 },
                { "kind": "pk", "hosts": ["2001", "2002"], "asset": "coin", "scores": [40, 20], "is_over": true },
            ],
            "open_combos": 0, "room_seq": 12,
        });
        expect![[r#"
            room_id      1001
            hosts        2001 2002
            live         2 open, since 2026-01-31T23:59:59.999Z
            plugins      goal 60 of 50 coin, PK 2001 40 : 2002 20 coin (over)
            totals       140 coin in 3 gifts
            open_combos  0
            room_seq     12
            epoch        7"#]]
        .assert_eq(&room_table(&room));
        let entry = |rank: u64, user: &str, value: u64| json!({ "rank": rank, "user_id": user, "value": value });
        let board = json!({ "asset": "coin", "entries": [entry(1, "3002", 60)], "own": entry(7, "3001", 5) });
        expect![[r#"
            RANK  USER  VALUE  ASSET
               1  3002     60  coin
               7  3001      5  coin"#]]
        .assert_eq(&board_table(&board));
    }
}
