//! `largesse room feed`: everything that happened in a room, and what happens from now on.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::client::{Call, Client};
use crate::command::room::named;
use crate::connect::{As, Connect};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, text};

const PAGE: usize = 1_000;
/// How long a stream may say nothing, of which a living one has something every few seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Before a stream is begun anew, and before a page that lacks entries is read again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often in a row nobody may answer.
const ATTEMPTS_MAX: usize = 30;

#[derive(Debug, Args)]
pub struct Feed {
    /// The room's number.
    #[arg(value_name = "ROOM")]
    room: u64,
    /// The last entry that is known.
    #[arg(long, default_value_t = 0, value_name = "N")]
    after: u64,
    /// Go on with those that come.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Where the reader stands.
struct Place {
    epoch: String,
    after: u64,
}

impl Feed {
    pub async fn run(self, format: Format) -> Result<(), Failure> {
        let client = self.connect.client(As::Service)?;
        let mut place = self.read(&client, format).await?;
        if !self.follow {
            return Ok(());
        }
        let mut failures = 0;
        loop {
            match self.follow(&client, &mut place, format).await {
                Ok(()) => failures = 0,
                Err(failure) if failure.exit == Exit::Unreachable && failures < ATTEMPTS_MAX => failures += 1,
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Prints what is there by now.
    async fn read(&self, client: &Client, format: Format) -> Result<Place, Failure> {
        let mut after = self.after;
        loop {
            let call = Call::get(format!("/v1/rooms/{}/feed", self.room));
            let page = client.call(call.query("after", Some(after)).query("limit", Some(PAGE))).await?;
            let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().try_for_each(|item| print_item(format, item))?;
            let (next, last) = (page["next_after"].as_u64().unwrap_or(after), page["room_seq"].as_u64().unwrap_or(0));
            let is_stuck = next == after;
            after = next;
            if after >= last {
                return Ok(Place { epoch: text(&page, "/epoch"), after });
            }
            if is_stuck {
                // The rest is on its way to where it can be read.
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Prints what comes, until the stream ends.
    async fn follow(&self, client: &Client, place: &mut Place, format: Format) -> Result<(), Failure> {
        let call = Call::get(format!("/v1/rooms/{}/events", self.room));
        let last = format!("{}-{}", place.epoch, place.after);
        let mut answer = client.stream(call, &last).await?;
        let mut lines = Lines::default();
        while let Ok(Ok(Some(bytes))) = tokio::time::timeout(SILENCE_MAX, answer.chunk()).await {
            for block in lines.blocks(&bytes) {
                self.take(&block, place, format)?;
            }
        }
        Ok(())
    }

    fn take(&self, block: &str, place: &mut Place, format: Format) -> Result<(), Failure> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let (Some(id), Some(kind), Some(data)) = (field("id: "), field("event: "), field("data: ")) else {
            return Ok(()); // A remark that it lives.
        };
        let data: Value = serde_json::from_str(data)
            .map_err(|error| Failure::new(format_args!("the stream brought something that is not JSON: {error}")))?;
        if let Some((epoch, after)) = id.split_once('-') {
            *place = Place { epoch: epoch.to_owned(), after: after.parse().unwrap_or(place.after) };
        }
        if kind == "gap" {
            output::remark("the feed was begun anew; it goes on from its beginning");
            return Ok(());
        }
        print_item(format, &data)
    }
}

/// What has come of a text that is made of blocks with an empty line behind each.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    fn blocks(&mut self, more: &[u8]) -> Vec<String> {
        self.bytes.extend_from_slice(more);
        let mut blocks = Vec::new();
        while let Some(at) = self.bytes.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.bytes.drain(..at + 2).collect();
            blocks.push(String::from_utf8_lossy(&block[..at]).into_owned());
        }
        blocks
    }
}

fn print_item(format: Format, item: &Value) -> Result<(), Failure> {
    output::print(format, item, || item_line(item))
}

/// An entry on one line.
fn item_line(item: &Value) -> String {
    let at = |path: &str| text(item, path);
    let (to, who) = (|| at("/to"), |path: &str| named(item, path));
    let what = match at("/kind").as_str() {
        "gift" => {
            let streak = match at("/combo/count") {
                count if count.is_empty() => String::new(),
                count => format!("  streak of {count}"),
            };
            let (gift, count) = (at("/gift_id"), at("/delta/count"));
            format!(
                "{} -> {}  gift {gift} x{count}  {} {}{streak}",
                who("/sender"),
                to(),
                at("/delta/value"),
                at("/delta/asset")
            )
        }
        "combo_end" => {
            let (sender, gift, count, cause) = (who("/sender"), at("/gift_id"), at("/combo/count"), at("/cause"));
            format!("{sender} -> {}  gift {gift} x{count}  by {cause}", to())
        }
        "live_start" | "live_end" => format!("live {}", at("/live")),
        "goal_reached" => format!("{} {} by {}", at("/target"), at("/asset"), who("/by")),
        "pk_end" => format!("{}  {} {}", at("/hosts"), at("/scores"), at("/asset")),
        // A newer server tells more than this knows.
        _ => item.to_string(),
    };
    format!("{:>8}  {}  {:<12}  {what}", at("/room_seq"), at("/at"), at("/kind"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stream_is_taken_apart_wherever_it_is_cut() {
        let stream = "retry: 5\n\nid: 7-1\nevent: gift\ndata: {\"a\":\"é\"}\n\n:\n\nid: 7-2";
        for cut in 0..stream.len() {
            let mut lines = Lines::default();
            let (one, other) = stream.as_bytes().split_at(cut);
            let blocks: Vec<_> = lines.blocks(one).into_iter().chain(lines.blocks(other)).collect();
            assert_eq!(blocks, ["retry: 5", "id: 7-1\nevent: gift\ndata: {\"a\":\"é\"}", ":"], "cut at {cut}");
        }
    }

    #[test]
    fn entries_are_readable() {
        let at = "2026-01-31T23:59:59.999Z";
        let with = |kind: &str, more: Value| {
            let mut item = json!({ "room_seq": 14, "at": at, "kind": kind });
            item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            item_line(&item)
        };
        let gift = json!({ "sender": "3001", "to": ["2001", "2002"], "gift_id": 9, "combo": { "id": 12, "count": 30 },
                           "delta": { "count": 20, "value": 200, "asset": "coin" } });
        let ended =
            json!({ "sender": "3001", "to": ["2001"], "gift_id": 9, "combo": { "count": 30 }, "cause": "time" });
        let lines = [
            with("gift", gift),
            with("combo_end", ended),
            with("live_start", json!({ "live": 3 })),
            with("goal_reached", json!({ "target": 50, "asset": "coin", "by": "3001" })),
            with("pk_end", json!({ "hosts": ["2001", "2002"], "scores": [7, 8], "asset": "coin" })),
        ];
        // A mark at the front, so that the spaces behind it count.
        let lines = lines.map(|line| format!("|{line}"));
        expect![[r#"
            |      14  2026-01-31T23:59:59.999Z  gift          3001 -> 2001 2002  gift 9 x20  200 coin  streak of 30
            |      14  2026-01-31T23:59:59.999Z  combo_end     3001 -> 2001  gift 9 x30  by time
            |      14  2026-01-31T23:59:59.999Z  live_start    live 3
            |      14  2026-01-31T23:59:59.999Z  goal_reached  50 coin by 3001
            |      14  2026-01-31T23:59:59.999Z  pk_end        2001 2002  7 8 coin"#]]
        .assert_eq(&lines.join("\n"));
    }
}
