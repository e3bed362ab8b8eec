//! `largesse dlq`: dead letters, what could not be published or understood, and what becomes of them.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use largesse_config::Config;
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::units::Time;
use largesse_storage::events::{self, Attempt, Wire};
use largesse_storage::letters::{Book, Content, Entry, Held, LetterLog, Reason, State};
use serde_json::{Value, json};

use crate::command::config::{Pick, failure};
use crate::command::serve::flags;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::{events_out, run};

const EXAMPLES: &str = "\
Examples:
  largesse dlq list --config largesse.toml
  largesse dlq list --all --reason too_large -o json
  largesse dlq show wallet-3.17.0 --config largesse.toml
  largesse dlq retry wallet-3.17.0 wallet-3.18.0
  largesse dlq retry --all
  largesse dlq discard wallet-3.17.0 --reason duplicate

They work beside a running server and without one: letters lie in the topic <ledger>.dlq when the log is in Kafka, and
otherwise in the data folder. Nothing is ever dropped: a discarded letter can be looked at for 90 days.
Exit codes: 3 when only some of several went well, 5 when Kafka does not answer.";

/// List, look at, retry and discard what could not be published.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Dlq {
    /// List letters, the oldest event first.
    #[command(after_help = EXAMPLES)]
    List(List),
    /// Show one letter with all it holds.
    #[command(after_help = EXAMPLES)]
    Show(Show),
    /// Publish letters now, whatever their own next attempt is.
    #[command(after_help = EXAMPLES)]
    Retry(Retry),
    /// Give letters up; who, when and why is kept.
    #[command(after_help = EXAMPLES)]
    Discard(Discard),
}

/// Whose letters.
#[derive(Debug, Args)]
pub struct Whose {
    #[command(flatten)]
    pick: Pick,
    /// The data folder, where the log is embedded [default: data.dir].
    #[arg(long, env = "LARGESSE_DATA", value_name = "DIR")]
    data: Option<String>,
}

/// Who does it.
#[derive(Debug, Args)]
pub struct By {
    /// Your name, which is kept with what you do.
    #[arg(long, env = "USER", hide_env_values = true, default_value = "somebody", value_name = "NAME")]
    by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Why {
    /// The broker takes no message of this size.
    TooLarge,
    /// The broker refuses the message for what it is.
    Invalid,
    /// This program does not know the event.
    Undecodable,
    /// The log was cut before the events were published.
    Cut,
}

impl Why {
    fn reason(self) -> Reason {
        match self {
            Why::TooLarge => Reason::TooLarge,
            Why::Invalid => Reason::Invalid,
            Why::Undecodable => Reason::Undecodable,
            Why::Cut => Reason::Cut,
        }
    }
}

#[derive(Debug, Args)]
pub struct List {
    /// Also those that were published after all, or discarded.
    #[arg(long)]
    all: bool,
    /// Only of this reason.
    #[arg(long, value_enum, value_name = "REASON")]
    reason: Option<Why>,
    /// Letters to list; all are counted.
    #[arg(short = 'n', long, default_value_t = 1_000, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The letter's id, as `dlq list` shows it.
    id: String,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
pub struct Retry {
    /// Their ids, as `dlq list` shows them.
    #[arg(required_unless_present = "all", value_name = "ID")]
    ids: Vec<String>,
    /// All that are open.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Args)]
pub struct Discard {
    /// Their ids, as `dlq list` shows them.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Why they are not needed; kept with them.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    whose: Whose,
}

impl Dlq {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        run::block_on(async {
            match self {
                Dlq::List(list) => list.run(format).await,
                Dlq::Show(show) => show.run(format).await,
                Dlq::Retry(retry) => retry.run(format).await,
                Dlq::Discard(discard) => discard.run(format).await,
            }
        })
    }
}

/// The letters as they are now.
struct Desk {
    config: Config,
    letters: Arc<dyn LetterLog>,
    book: Book,
}

impl Whose {
    async fn open(&self) -> Result<Desk, Failure> {
        let mut sources = self.pick.sources();
        sources.flags = flags(self.data.as_ref(), None, None);
        let config = sources.load().map_err(|error| failure(&error))?.config;
        let letters = events_out::letters(&config)?;
        let mut book = Book::default();
        letters.read(&mut book).await.map_err(|error| Failure::new(error).exit(Exit::Unreachable))?;
        if book.unreadable > 0 {
            let count = book.unreadable;
            output::remark(&format!(
                "{count} entries cannot be read by this program; a newer one may have written them"
            ));
        }
        Ok(Desk { config, letters, book })
    }
}

impl Desk {
    fn find(&self, id: &str) -> Result<&Held, Failure> {
        self.book.get(id).ok_or_else(|| {
            Failure::new(format_args!("there is no letter `{id}`")).help("`largesse dlq list --all` shows their ids")
        })
    }

    fn find_open(&self, id: &str) -> Result<&Held, Failure> {
        let held = self.find(id)?;
        if held.state.is_open() {
            return Ok(held);
        }
        Err(Failure::new(format_args!("letter `{id}` is {} already", held.state.name())))
    }
}

impl List {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let desk = self.whose.open().await?;
        let is_wanted = |held: &&Held| {
            (self.all || held.state.is_open()) && self.reason.is_none_or(|why| held.letter.reason == why.reason())
        };
        let mut found: Vec<&Held> = desk.book.letters().filter(is_wanted).collect();
        found.sort_by_key(|held| (held.letter.origin.at, held.letter.origin.shard, held.letter.origin.seq));
        let count = found.len();
        found.truncate(self.limit);
        let json = json!({
            "letters": found, "count": count, "unreadable": desk.book.unreadable,
        });
        output::print(format, &json, || table(&found, count))
    }
}

fn table(found: &[&Held], count: usize) -> String {
    if count == 0 {
        return "no dead letters".into();
    }
    let header = ["id", "reason", "state", "#tries", "next try", "happened", "why"];
    let rows = found.iter().map(|held| {
        let next = match held.state {
            State::Waiting { next_try } => shown(next_try),
            State::Dead | State::Published { .. } | State::Discarded { .. } => String::new(),
        };
        vec![
            held.letter.id.clone(),
            held.letter.reason.to_string(),
            held.state.name().to_owned(),
            held.tries.to_string(),
            next,
            shown(held.letter.origin.at),
            held.last_why.clone(),
        ]
    });
    let mut text = output::table(&header, rows);
    if found.len() < count {
        text.push_str(&format!("\n{} of {count}; --limit shows more", found.len()));
    }
    text
}

fn shown(time: Time) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(time.get())).to_string()
}

impl Show {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let desk = self.whose.open().await?;
        let held = desk.find(&self.id)?;
        let json = serde_json::to_value(held).map_err(Failure::new)?;
        output::print(format, &json, || details(held))
    }
}

fn details(held: &Held) -> String {
    let (letter, origin) = (&held.letter, &held.letter.origin);
    let place = match (&origin.topic, origin.partition) {
        (Some(topic), Some(partition)) => format!("{topic}-{partition} at {}", origin.offset),
        (Some(_) | None, _) => format!("embedded log at {}", origin.offset),
    };
    let events = match origin.seq == origin.last_seq {
        true => format!("{} of {}", origin.seq, origin.shard),
        false => format!("{} to {} of {}", origin.seq, origin.last_seq, origin.shard),
    };
    let state = match &held.state {
        State::Waiting { next_try } => format!("waiting, next try at {}", shown(*next_try)),
        State::Dead => "dead: a person decides".into(),
        State::Published { at, by } => format!("published at {} by {by}", shown(*at)),
        State::Discarded { at, by, discard_reason } => format!("discarded at {} by {by}: {discard_reason}", shown(*at)),
    };
    let (headers, content) = match &letter.content {
        Content::Message(message) => {
            let headers = message.headers.iter().map(|(name, value)| format!("{name}={value}"));
            (headers.collect::<Vec<_>>().join(" "), message.value.clone())
        }
        Content::Bytes(hex) => (String::new(), hex.clone()),
        Content::Gone => (String::new(), "gone: history in the store has these events".into()),
    };
    output::fields([
        ("id", letter.id.clone()),
        ("reason", letter.reason.to_string()),
        ("why", held.last_why.clone()),
        ("state", state),
        ("tries", held.tries.to_string()),
        ("events", events),
        ("happened", shown(origin.at)),
        ("origin", place),
        ("filed", shown(letter.filed_at)),
        ("headers", headers),
        ("content", content),
    ])
}

/// How it went with one letter.
struct Done {
    id: String,
    outcome: Result<&'static str, Failure>,
}

impl Retry {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let desk = self.whose.open().await?;
        let ids: Vec<String> = match self.all {
            // What is gone cannot be published, and nobody meant it by all.
            true => desk
                .book
                .open()
                .filter(|held| held.letter.content != Content::Gone)
                .map(|held| held.letter.id.clone())
                .collect(),
            false => self.ids.clone(),
        };
        let wire = Wire::new(&events_out::options(&desk.config)?);
        let mut done = Vec::new();
        for id in ids {
            let outcome = self.one(&desk, &wire, &id).await;
            let is_away = outcome.as_ref().is_err_and(|failure| failure.exit == Exit::Unreachable);
            done.push(Done { id, outcome });
            // The others would wait as long, one after the other.
            if is_away {
                break;
            }
        }
        tell(format, done)
    }

    async fn one(&self, desk: &Desk, wire: &Wire, id: &str) -> Result<&'static str, Failure> {
        let held = desk.find_open(id)?;
        let unreachable = |why: &dyn std::fmt::Display| Failure::new(why).exit(Exit::Unreachable);
        wire.ready().await.map_err(|why| unreachable(&why))?;
        let attempt = events::attempt(wire, &events_out::options(&desk.config)?, held).await;
        let settled = events::settle(&*desk.letters, held, &attempt, &self.by.by, SystemClock.now()).await;
        settled.map_err(|error| unreachable(&error))?;
        match attempt {
            Attempt::Published => Ok("published"),
            Attempt::Refused(why) => Err(Failure::new(why)),
            Attempt::Unavailable(why) => Err(unreachable(&why)),
            Attempt::Gone => Err(Failure::new(
                "the log was cut before these events were published, so there is nothing to publish; take them from \
                 history, then discard the letter",
            )),
        }
    }
}

impl Discard {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        if self.reason.trim().is_empty() {
            return Err(Failure::usage("--reason is empty; say why they are not needed"));
        }
        let desk = self.whose.open().await?;
        let mut done = Vec::new();
        for id in &self.ids {
            done.push(Done { id: id.clone(), outcome: self.one(&desk, id).await });
        }
        tell(format, done)
    }

    async fn one(&self, desk: &Desk, id: &str) -> Result<&'static str, Failure> {
        desk.find_open(id)?;
        let (by, reason) = (self.by.by.clone(), self.reason.clone());
        let entry = Entry::Discarded { id: id.to_owned(), at: SystemClock.now(), by, reason };
        desk.letters.append(entry).await.map_err(|error| Failure::new(error).exit(Exit::Unreachable))?;
        Ok("discarded")
    }
}

fn tell(format: Format, done: Vec<Done>) -> Result<(), Failure> {
    let outcome = |done: &Done| match &done.outcome {
        Ok(what) => ((*what).to_owned(), String::new()),
        Err(failure) => ("failed".to_owned(), failure.what.clone()),
    };
    let listed: Vec<Value> = done
        .iter()
        .map(|done| {
            let (outcome, why) = outcome(done);
            json!({"id": done.id, "outcome": outcome, "why": why})
        })
        .collect();
    let rows = done.iter().map(|done| {
        let (outcome, why) = outcome(done);
        vec![done.id.clone(), outcome, why]
    });
    output::print(format, &json!({"letters": listed}), || match done.is_empty() {
        true => "no dead letters".into(),
        false => output::table(&["id", "outcome", "why"], rows),
    })?;
    let all = done.len();
    let failures: Vec<Failure> = done.into_iter().filter_map(|done| done.outcome.err()).collect();
    let Some(first) = failures.first() else { return Ok(()) };
    let what = format!("{} of {all} letters failed", failures.len());
    Err(match failures.len() < all {
        true => Failure::new(what).exit(Exit::Partly),
        false => Failure { help: first.help.clone(), ..Failure::new(what).exit(first.exit) },
    })
}
