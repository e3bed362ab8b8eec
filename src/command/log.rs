//! `largesse log`: what lies in the files of an embedded log or in topics, and what its events say.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use largesse_engine::codec;
use largesse_engine::control::ControlEvent;
use largesse_engine::record::{LogEntry, RecordHeader};
use largesse_engine::room::event::RoomEvent;
use largesse_engine::units::{Position, ShardId, ShardKind};
use largesse_engine::wallet::event::{Direction, WalletEvent};
use largesse_storage::folder::DataFolder;
use largesse_storage::log::embedded::follow::Follower;
use largesse_storage::log::embedded::{Inspection, RawEntry, RawKind};
use serde_json::{Value, json};

use crate::command::config::Pick;
use crate::command::kafka::Kafka;
use crate::command::{room_log, topic_log};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

const EXAMPLES: &str = "\
Examples:
  largesse log inspect
  largesse log inspect --shard wallet-3 --from 8192
  largesse log tail --shard wallet-3
  largesse log tail --shard wallet-3 --follow -o json
  largesse log tail --shard room-3
  largesse log tail --kafka 127.0.0.1:9092 --ledger main --shard wallet-3

Both read beside a running process. With -o json they write one document per line.";

/// How often a followed log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Look into the files of an embedded log, or into the topics of one in Kafka.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Log {
    /// List records with their offsets, and in files also segments and batches; every checksum is verified.
    #[command(after_help = EXAMPLES)]
    Inspect(Inspect),
    /// Show the events of one shard.
    #[command(after_help = EXAMPLES)]
    Tail(Tail),
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// The data folder.
    #[arg(long, env = "LARGESSE_DATA", default_value = "./largesse-data", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    kafka: Kafka,
    #[command(flatten)]
    pick: Pick,
    /// Only this segment file.
    #[arg(long, value_name = "FILE", conflicts_with = "brokers")]
    file: Option<PathBuf>,
    /// Only records of this shard: `control`, `wallet-N` or `room-N`.
    #[arg(long, value_name = "SHARD")]
    shard: Option<ShardId>,
    /// Only what lies at this position or after it.
    #[arg(long, default_value_t = 0, value_name = "POSITION")]
    from: u64,
}

#[derive(Debug, Args)]
pub struct Tail {
    /// The data folder.
    #[arg(long, env = "LARGESSE_DATA", default_value = "./largesse-data", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    kafka: Kafka,
    #[command(flatten)]
    pick: Pick,
    /// Whose events: `control`, `wallet-N` or `room-N`.
    #[arg(long, value_name = "SHARD")]
    shard: ShardId,
    /// Events to show of those that are there.
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    lines: usize,
    /// Go on with those that come.
    #[arg(short, long)]
    follow: bool,
}

impl Log {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        match self {
            Log::Inspect(inspect) => inspect.run(format),
            Log::Tail(tail) => tail.run(format),
        }
    }
}

impl Inspect {
    fn run(&self, format: Format) -> Result<(), Failure> {
        if let Some((options, ledger)) = self.kafka.topics(&self.pick.load()?.config)? {
            return topic_log::inspect(options, &ledger, self.shard, Position(self.from), format);
        }
        let folder = DataFolder::open_read_only(&self.data).map_err(Failure::new)?;
        let (mut file, mut damage) = (None, None);
        for entry in Inspection::new(&folder).map_err(Failure::new)? {
            let entry = entry.map_err(Failure::new)?;
            if !self.is_wanted(&entry) {
                continue;
            }
            if format == Format::Table && file.as_ref() != Some(&entry.file) {
                output::line(&format!("segment {}", entry.file.display()))?;
                file = Some(entry.file.clone());
            }
            output::print(format, &entry_json(&entry), || entry_text(&entry))?;
            if let RawKind::Damaged { why } = &entry.kind {
                damage.get_or_insert_with(|| format!("{} at offset {}: {why}", entry.file.display(), entry.offset));
            }
        }
        let Some(what) = damage else { return Ok(()) };
        let help = "after a crash, or beside a running process, an unfinished end is no damage: nobody was answered";
        Err(Failure::new(what).exit(Exit::Problems).help(help))
    }

    fn is_wanted(&self, entry: &RawEntry) -> bool {
        let is_of_file = self.file.as_ref().is_none_or(|file| entry.file.file_name() == file.file_name());
        let is_of_shard = match &entry.kind {
            RawKind::Record { shard, .. } => self.shard.is_none_or(|wanted| wanted == *shard),
            RawKind::Damaged { .. } => true,
            RawKind::Batch { .. } | RawKind::Skipped { .. } | RawKind::Unknown { .. } => self.shard.is_none(),
        };
        is_of_file && is_of_shard && entry.position.get() >= self.from
    }
}

fn entry_json(entry: &RawEntry) -> Value {
    let fields = match &entry.kind {
        RawKind::Batch { records, bytes, synced } => {
            json!({"kind": "batch", "bytes": bytes, "records": records, "synced": synced})
        }
        RawKind::Record { shard, bytes, header } => {
            let shard = shard.to_string();
            match header {
                Ok(RecordHeader::Claim(claim)) => json!({
                    "kind": "claim", "shard": shard, "bytes": bytes, "crc_ok": true,
                    "epoch": entry.position, "node": claim.node,
                }),
                Ok(RecordHeader::Events(header)) => json!({
                    "kind": "events", "shard": shard, "bytes": bytes, "crc_ok": true, "epoch": header.epoch,
                    "number": header.number, "first_seq": header.first, "count": header.count, "time": header.time,
                }),
                Err(why) => json!({"kind": "unreadable", "shard": shard, "bytes": bytes, "crc_ok": true, "why": why}),
            }
        }
        RawKind::Skipped { bytes } => json!({"kind": "given_up", "bytes": bytes, "crc_ok": true}),
        RawKind::Unknown { shard, bytes } => json!({"kind": "unknown", "shard": shard, "bytes": bytes, "crc_ok": true}),
        RawKind::Damaged { why } => json!({"kind": "damaged", "why": why, "crc_ok": false}),
    };
    let mut json = json!({"file": entry.file, "offset": entry.offset, "position": entry.position});
    if let (Value::Object(json), Value::Object(fields)) = (&mut json, fields) {
        json.extend(fields);
    }
    json
}

fn entry_text(entry: &RawEntry) -> String {
    let what = match &entry.kind {
        RawKind::Batch { records, bytes, synced } => {
            format!("batch of {records} records, {bytes} bytes, synced to {synced}")
        }
        RawKind::Record { shard, bytes, header } => {
            let what = match header {
                Ok(RecordHeader::Claim(claim)) => format!("claim of node {}, epoch {}", claim.node, entry.position),
                Ok(RecordHeader::Events(header)) => {
                    let (epoch, number, first, count) = (header.epoch, header.number, header.first, header.count);
                    format!("events, epoch {epoch} number {number}, {count} from seq {first}, time {}", header.time)
                }
                Err(why) => format!("unreadable: {why}"),
            };
            format!("  {shard}: {bytes} bytes, crc ok, {what}")
        }
        RawKind::Skipped { bytes } => format!("  given up: {bytes} bytes"),
        RawKind::Unknown { shard, bytes } => format!("  shard number {shard}, which is not known: {bytes} bytes"),
        RawKind::Damaged { why } => format!("DAMAGED: {why}"),
    };
    format!("{:>10}  {:>8}  {what}", entry.position, entry.offset)
}

impl Tail {
    fn run(&self, format: Format) -> Result<(), Failure> {
        if let Some((options, ledger)) = self.kafka.topics(&self.pick.load()?.config)? {
            let ledger = &ledger;
            return topic_log::tail(options, ledger, self.shard, self.lines, self.follow, format);
        }
        let folder = DataFolder::open_read_only(&self.data).map_err(Failure::new)?;
        let mut follower = Follower::new(&folder);
        let mut last = VecDeque::new();
        while let Some((shard, entry)) = follower.poll().map_err(Failure::new)? {
            if shard == self.shard {
                last.extend(events_json(shard, &entry));
                last.drain(..last.len().saturating_sub(self.lines));
            }
        }
        last.iter().try_for_each(|event| print_event(format, event))?;
        if !self.follow {
            return Ok(());
        }
        loop {
            while let Some((shard, entry)) = follower.poll().map_err(Failure::new)? {
                if shard == self.shard {
                    events_json(shard, &entry).iter().try_for_each(|event| print_event(format, event))?;
                }
            }
            #[expect(clippy::disallowed_methods, reason = "another process writes, and does not tell this one")]
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

pub(super) fn print_event(format: Format, event: &Value) -> Result<(), Failure> {
    output::print(format, event, || {
        let text = |name: &str| output::text(event, &format!("/{name}"));
        let details = event.get("event").cloned().unwrap_or_default();
        format!("{:>8}  {}  {:<18} {details}", text("seq"), text("time"), text("kind"))
    })
}

pub(super) fn events_json(shard: ShardId, entry: &LogEntry) -> Vec<Value> {
    let RecordHeader::Events(header) = entry.header else { return Vec::new() };
    let mut rest = &entry.events[..];
    let mut events = Vec::new();
    for seq in (header.first.get()..).take(header.count as usize) {
        let decoded = match shard.kind {
            ShardKind::Wallet => codec::decode_front::<WalletEvent>(rest).map(|(event, used)| (wallet(&event), used)),
            ShardKind::Control => codec::decode_front::<ControlEvent>(rest).map(|(event, used)| (control(event), used)),
            ShardKind::Room => {
                codec::decode_front::<RoomEvent>(rest).map(|(event, used)| (room_log::room(&event), used))
            }
        };
        let place = json!({
            "shard": shard.to_string(), "seq": seq, "position": entry.position, "epoch": header.epoch,
            "time": header.time,
        });
        let with = |kind: &str, event: Value| {
            let mut place = place.clone();
            (place["kind"], place["event"]) = (kind.into(), event);
            place
        };
        match decoded {
            Ok(((kind, event), used)) => {
                events.push(with(kind, event));
                rest = &rest[used..];
            }
            Err(error) => {
                events.push(with("unreadable", error.to_string().into()));
                return events;
            }
        }
    }
    events
}

fn control(event: ControlEvent) -> (&'static str, Value) {
    match event {
        ControlEvent::CatalogSet(set) => {
            ("catalog_set", json!({"version": set.version, "by": set.by, "reason": set.reason}))
        }
        // Neither hash nor signing secret is anyone's business who reads along.
        ControlEvent::KeyCreated(key) => {
            ("key_created", json!({"name": key.name, "scopes": key.scopes, "by": key.by, "reason": key.reason}))
        }
        ControlEvent::KeyRevoked(key) => ("key_revoked", json!({"name": key.name, "by": key.by, "reason": key.reason})),
        ControlEvent::RoomSet(set) => ("room_set", room_log::set(&set)),
    }
}

/// What an event says, and every balance that it changed on its shard.
fn wallet(event: &WalletEvent) -> (&'static str, Value) {
    let mut changes = Vec::new();
    event.for_each_change(|change| {
        let direction = match change.direction {
            Direction::Debit => "debit",
            Direction::Credit => "credit",
        };
        changes.push(json!({
            "user": change.user, "asset": change.asset, direction: change.amount, "balance": change.balance,
        }));
    });
    let mut sent = Vec::new();
    event.for_each_remote(|credit| {
        sent.push(json!({"user": credit.user, "asset": credit.asset, "credit": credit.amount}));
    });
    let (kind, mut json) = match event {
        WalletEvent::GiftSent(gift) => {
            let said = &gift.said;
            let mut json = json!({
                "event_id": said.id, "sender": said.sender, "room": said.room, "gift": said.gift,
                "count": said.count, "to": said.receivers, "unit_price": gift.unit_price,
                "asset": gift.asset, "catalog": gift.catalog,
            });
            if said.anonymous {
                json["anonymous"] = true.into();
            }
            ("gift_sent", json)
        }
        WalletEvent::Recharged(recharge) => {
            let said = &recharge.said;
            ("recharged", json!({"event_id": said.id(), "channel": said.channel, "transaction": said.transaction}))
        }
        WalletEvent::Transferred(transfer) => {
            let said = &transfer.said;
            ("transferred", json!({"event_id": said.id, "user": said.user, "reference": said.reference}))
        }
        WalletEvent::CreditsApplied(applied) => {
            let sources = applied.sources.iter();
            let sources = sources.map(|part| json!({"source": part.source, "up_to": part.up_to, "sums": part.sums}));
            ("credits_applied", json!({"sources": sources.collect::<Vec<_>>()}))
        }
        WalletEvent::TransactionBound(said) => {
            ("transaction_bound", json!({"event_id": said.id(), "user": said.user, "amount": said.amount}))
        }
    };
    json["changes"] = changes.into();
    if !sent.is_empty() {
        json["sent"] = sent.into();
    }
    (kind, json)
}
