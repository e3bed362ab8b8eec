//! What lies in the topics of a ledger whose logs are in Kafka.

use largesse_engine::fold::{Fold, Skipped, Verdict};
use largesse_engine::ledger::LedgerName;
use largesse_engine::log::Logs;
use largesse_engine::record::{LogEntry, RecordHeader};
use largesse_engine::units::{Position, ShardId};
use largesse_storage::log::kafka::{KafkaLogs, KafkaOptions};
use serde_json::{Value, json};

use crate::command::log::{events_json, print_event};
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::run;

/// How much is read at once.
const READ_BYTES: usize = 1 << 20;
/// Records that are looked at first for the last events; more when these hold too few.
const LOOK_BACK: u64 = 64;

/// Lists the records of one shard or of all, and says of each what every reader makes of it.
pub fn inspect(
    options: KafkaOptions,
    ledger: &LedgerName,
    shard: Option<ShardId>,
    from: Position,
    format: Format,
) -> Result<(), Failure> {
    run::block_on(async {
        let logs = KafkaLogs::open_read_only(options, ledger).await.map_err(Failure::new)?;
        let shards: Vec<_> = match shard {
            Some(shard) => vec![shard],
            None => {
                let shape = logs.shape();
                let rooms = shape.all_rooms().filter(|_| logs.has_rooms());
                std::iter::once(ShardId::CONTROL).chain(shape.wallet_shards()).chain(rooms).collect()
            }
        };
        for shard in shards {
            inspect_shard(&logs, shard, from, format).await?;
        }
        Ok(())
    })
}

async fn inspect_shard(logs: &KafkaLogs, shard: ShardId, from: Position, format: Format) -> Result<(), Failure> {
    let (first, end) = logs.kept(shard).await.map_err(Failure::new)?;
    if format == Format::Table {
        output::line(&format!("{shard}: positions {first} to {end}"))?;
    }
    let log = logs.shard(shard);
    // From the first record kept, since only so it is known what counts.
    let (mut position, mut fold) = (first, Fold::default());
    while position < end {
        let entries = log.read(position, READ_BYTES).await.map_err(Failure::new)?;
        let Some(last) = entries.last() else { break };
        position = last.position.after();
        for entry in entries {
            let verdict = verdict(&mut fold, &entry);
            if entry.position >= from {
                let json = entry_json(shard, &entry, verdict);
                output::print(format, &json, || entry_text(&entry, verdict))?;
            }
        }
    }
    Ok(())
}

/// In a log that was cut, what counts is known from its first claim on.
fn verdict(fold: &mut Fold, entry: &LogEntry) -> &'static str {
    let is_cut = fold.epoch.is_none();
    if let (true, RecordHeader::Events(header)) = (is_cut, entry.header) {
        fold.next = header.next();
        return "unknown";
    }
    match fold.offer(entry) {
        Verdict::Claimed(_) => "claimed",
        Verdict::Believed(_) => "believed",
        Verdict::Skipped(Skipped::OldEpoch) => "skipped: of an older owner",
        Verdict::Skipped(Skipped::AfterLoss) => "skipped: one before it was lost",
        Verdict::Skipped(Skipped::Copy) => "skipped: a copy",
    }
}

fn entry_json(shard: ShardId, entry: &LogEntry, verdict: &str) -> Value {
    let (shard, position) = (shard.to_string(), entry.position);
    match entry.header {
        RecordHeader::Claim(claim) => json!({
            "kind": "claim", "shard": shard, "position": position, "epoch": position, "node": claim.node,
            "verdict": verdict,
        }),
        RecordHeader::Events(header) => json!({
            "kind": "events", "shard": shard, "position": position, "bytes": entry.events.len(),
            "epoch": header.epoch, "number": header.number, "first_seq": header.first, "count": header.count,
            "time": header.time, "verdict": verdict,
        }),
    }
}

fn entry_text(entry: &LogEntry, verdict: &str) -> String {
    let what = match entry.header {
        RecordHeader::Claim(claim) => format!("claim of node {}", claim.node),
        RecordHeader::Events(header) => format!(
            "events, epoch {} number {}, {} from seq {}, time {}, {} bytes",
            header.epoch,
            header.number,
            header.count,
            header.first,
            header.time,
            entry.events.len()
        ),
    };
    format!("{:>10}  {what}; {verdict}", entry.position)
}

/// Shows the last events of a shard, and goes on with those that come.
pub fn tail(
    options: KafkaOptions,
    ledger: &LedgerName,
    shard: ShardId,
    lines: usize,
    follow: bool,
    format: Format,
) -> Result<(), Failure> {
    run::block_on(async {
        let logs = KafkaLogs::open_read_only(options, ledger).await.map_err(Failure::new)?;
        let (events, mut position) = last_events(&logs, shard, lines).await?;
        events.iter().try_for_each(|event| print_event(format, event))?;
        if !follow {
            return Ok(());
        }
        let log = logs.shard(shard);
        loop {
            log.wait_for(position).await.map_err(Failure::new)?;
            for entry in log.read(position, READ_BYTES).await.map_err(Failure::new)? {
                position = entry.position.after();
                events_json(shard, &entry).iter().try_for_each(|event| print_event(format, event))?;
            }
        }
    })
}

/// The last events, and where reading goes on after them.
async fn last_events(logs: &KafkaLogs, shard: ShardId, lines: usize) -> Result<(Vec<Value>, Position), Failure> {
    let (first, end) = logs.kept(shard).await.map_err(Failure::new)?;
    let log = logs.shard(shard);
    let mut back = LOOK_BACK;
    loop {
        let begin = Position(end.get().saturating_sub(back)).max(first);
        let (mut position, mut events) = (begin, Vec::new());
        while position < end {
            let entries = log.read(position, READ_BYTES).await.map_err(Failure::new)?;
            let Some(last) = entries.last() else { break };
            position = last.position.after();
            events.extend(entries.iter().flat_map(|entry| events_json(shard, entry)));
            events.drain(..events.len().saturating_sub(lines));
        }
        if events.len() >= lines || begin == first {
            return Ok((events, position));
        }
        back *= 4;
    }
}
