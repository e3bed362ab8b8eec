//! `largesse account explain`: what a user has by log, actor, store and mirror, and where they part.

use std::collections::BTreeSet;

use clap::Args;
use largesse_config::StoreKind;
use largesse_engine::audit::account::{AccountLog, Claim, Parting};
use largesse_engine::ledger::LedgerShape;
use largesse_engine::units::{Amount, AssetId, Seq, UserId};
use largesse_storage::explain::{Opened, Source, Stored, open};
use largesse_storage::mirror::read_account;
use serde::Serialize;
use serde_json::Value;

use crate::client::Call;
use crate::command::account::path;
use crate::command::config::Pick;
use crate::command::kafka::Kafka;
use crate::connect::{As, Connect};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::{mirrors, stores};

const EXAMPLES: &str = "\
Examples:
  largesse account explain 3001
  largesse account explain 3001 --config largesse.toml -o json
  largesse account explain 3001 --kafka 127.0.0.1:9092 --ledger main

The log is in --data, or in Kafka by --kafka or the configuration, which also names the store and the mirror.
Ends with 4 when something differs, and with 3 when nothing does but a part that should answer did not.";

/// Show what a user has by log, running server, store and mirror, and the first event where they differ.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Explain {
    /// Whose balances.
    #[arg(value_name = "USER")]
    user: u64,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    kafka: Kafka,
    #[command(flatten)]
    pick: Pick,
}

/// One side's word on an account.
#[derive(Debug, Serialize)]
struct Row {
    asset: String,
    side: &'static str,
    amount: Amount,
    /// The event that changed it last, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<Parting>,
}

/// How far one side is, or why it says nothing.
#[derive(Debug, Serialize)]
struct Side {
    side: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unread: Option<String>,
    /// It should have answered.
    #[serde(skip)]
    is_missed: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    user: String,
    shard: String,
    sides: Vec<Side>,
    balances: Vec<Row>,
    /// In full; none when the log could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<AccountLog>,
}

/// What one side said, before it is held against the log.
#[derive(Default)]
struct Told {
    seq: Option<Seq>,
    balances: Vec<(AssetId, Amount, Option<Seq>)>,
}

impl Explain {
    pub async fn run(self, format: Format) -> Result<(), Failure> {
        let user = UserId(self.user);
        let config = self.pick.load()?.config;
        let (source, ledger) = match self.kafka.topics(&config)? {
            Some((options, ledger)) => (Source::Topics(options), ledger),
            None => (Source::Folder(&self.connect.data), config.ledger.name.parse().map_err(Failure::new)?),
        };
        let rows = match config.store.kind {
            StoreKind::Embedded => None,
            StoreKind::Cql => Some(stores::cql_options(&config.store.cql)?),
        };
        let is_database = rows.is_some();
        let opened = open(source, (ledger, LedgerShape::new(config.ledger.wallet_shards)), rows).await;
        // Whoever can be behind is asked first; the log last, as it has everything that the others have.
        let mirror = self.mirrored(&config.mirror, &opened, user).await;
        let stored = opened.stored(user).await;
        let actor = self.actor(&opened).await;
        let told = stored.as_ref().map(told_by_store).map_err(Clone::clone);
        let sides = [("actor", actor, true), ("store", told, is_database), ("mirror", mirror.0, mirror.1)];
        let report = explain(&opened, user, stored.ok().as_ref(), sides).await;
        let json = serde_json::to_value(&report).map_err(Failure::new)?;
        output::print(format, &json, || text(&report))?;
        verdict(&report)
    }

    /// With whether the mirror should have answered.
    async fn mirrored(
        &self,
        config: &largesse_config::MirrorConfig,
        opened: &Opened,
        user: UserId,
    ) -> (Result<Told, String>, bool) {
        let options = match mirrors::options(config, &opened.ledger) {
            Ok(Some(options)) => options,
            Ok(None) => return (Err("the configuration names none; see --config".into()), false),
            Err(failure) => return (Err(failure.what), true),
        };
        let names: Vec<String> = opened.names.values().cloned().collect();
        let read = read_account(&options, opened.shape.wallet_of(user), user, &names).await;
        let read = read.map_err(|error| error.to_string()).map(|account| Told {
            seq: Some(account.position.map_or(Seq::NONE, |position| position.seq)),
            balances: account
                .balances
                .iter()
                .filter_map(|balance| Some((asset(opened, &balance.asset)?, balance.amount, Some(balance.as_of.seq))))
                .collect(),
        });
        (read, true)
    }

    /// What the running server says.
    async fn actor(&self, opened: &Opened) -> Result<Told, String> {
        let failed = |failure: Failure| failure.what;
        let client = self.connect.client(As::ViewerOrService(self.user)).map_err(failed)?;
        let balances = client.call(Call::get(path(&self.connect, self.user, "balances"))).await.map_err(failed)?;
        let wrong = || format!("the server's answer is not understood: {balances}");
        let seq = balances.pointer("/position/seq").and_then(Value::as_u64).map(Seq).ok_or_else(wrong)?;
        let items = balances["balances"].as_array().ok_or_else(wrong)?;
        let balance = |item: &Value| {
            let amount = item["amount"].as_u64().and_then(Amount::new)?;
            Some((asset(opened, item["asset"].as_str()?)?, amount, None))
        };
        let balances = items.iter().map(balance).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        Ok(Told { seq: Some(seq), balances })
    }
}

fn told_by_store(stored: &Stored) -> Told {
    let balances = stored.rows.iter().map(|row| (row.asset, row.amount, Some(row.seq))).collect();
    Told { seq: Some(stored.seq()), balances }
}

fn asset(opened: &Opened, name: &str) -> Option<AssetId> {
    let known = opened.names.iter().find(|(_, known)| *known == name).map(|(asset, _)| *asset);
    known.or_else(|| name.strip_prefix("asset-")?.parse().ok())
}

async fn explain(
    opened: &Opened,
    user: UserId,
    stored: Option<&Stored>,
    told: [(&'static str, Result<Told, String>, bool); 3],
) -> Report {
    let (mut sides, mut claims, mut by) = (Vec::new(), Vec::new(), Vec::new());
    for (side, told, is_expected) in told {
        let told = match told {
            Ok(told) => told,
            Err(why) => {
                sides.push(Side { side, seq: None, unread: Some(why), is_missed: is_expected });
                continue;
            }
        };
        let upto = told.seq.unwrap_or_default();
        let named: BTreeSet<AssetId> = told.balances.iter().map(|(asset, ..)| *asset).collect();
        for (asset, amount, seq) in told.balances {
            // A row may be newer than what was read of the position before it.
            claims.push(Claim { asset, amount, seq, upto: upto.max(seq.unwrap_or_default()) });
            by.push(side);
        }
        // Whoever has everything and does not name an account says that it is empty. Of the mirror it says nothing.
        if side != "mirror" {
            for &asset in opened.names.keys().filter(|asset| !named.contains(asset)) {
                claims.push(Claim { asset, amount: Amount::ZERO, seq: None, upto });
                by.push(side);
            }
        }
        sides.push(Side { side, seq: Some(upto), unread: None, is_missed: false });
    }
    let log = opened.logged(user, stored, &claims).await;
    let (last, unread) = (log.as_ref().ok().map(|log| log.last), log.as_ref().err().cloned());
    sides.insert(0, Side { side: "log", seq: last, is_missed: unread.is_some(), unread });
    let log = log.ok();
    let logged = log.iter().flat_map(|log| &log.balances).map(|(asset, balance)| {
        let broken = log.as_ref().and_then(|log| log.broken);
        let differs = broken.filter(|broken| broken.asset == *asset);
        Row { asset: opened.name(*asset), side: "log", amount: balance.amount, seq: Some(balance.seq), differs }
    });
    let others = claims.iter().zip(by).enumerate().map(|(place, (claim, side))| {
        let (asset, amount, seq) = (opened.name(claim.asset), claim.amount, claim.seq);
        let differs = log.as_ref().and_then(|log| log.partings[place]);
        Row { asset, side, amount, seq, differs }
    });
    // An account that nobody ever touched is not worth a line.
    let is_worth = |row: &Row| !row.amount.is_zero() || row.seq.is_some() || row.differs.is_some();
    let mut balances: Vec<Row> = logged.chain(others).filter(is_worth).collect();
    balances.sort_by(|one, other| one.asset.cmp(&other.asset));
    let shard = opened.shape.wallet_of(user).to_string();
    Report { user: user.to_string(), shard, sides, balances, log }
}

fn text(report: &Report) -> String {
    let shown = |seq: Option<Seq>| seq.map(|seq| seq.to_string()).unwrap_or_default();
    let sides = report
        .sides
        .iter()
        .map(|side| vec![side.side.to_owned(), shown(side.seq), side.unread.clone().unwrap_or_default()]);
    let rows = report.balances.iter().map(|row| {
        let differs = row.differs.as_ref().map(told_parting).unwrap_or_default();
        vec![row.asset.clone(), row.side.to_owned(), row.amount.to_string(), shown(row.seq), differs]
    });
    [
        format!("user {} on {}", report.user, report.shard),
        output::table(&["side", "#up to seq", "not read"], sides),
        output::table(&["asset", "side", "#amount", "#seq", "differs"], rows),
    ]
    .join("\n\n")
}

fn told_parting(parting: &Parting) -> String {
    let Parting { seq, expected, position, .. } = parting;
    match position {
        Some(position) => format!("from event {seq} on (position {position}): the log has {expected}"),
        None => format!("event {seq} is none of this account: the log has {expected}"),
    }
}

fn verdict(report: &Report) -> Result<(), Failure> {
    if let Some(row) = report.balances.iter().find(|row| row.differs.is_some()) {
        let differs = row.differs.as_ref().map(told_parting).unwrap_or_default();
        let what = format!("{} of {} in the {} differs {differs}", row.asset, report.user, row.side);
        return Err(Failure::new(what).exit(Exit::Problems));
    }
    match report.sides.iter().find(|side| side.is_missed) {
        Some(side) => {
            let why = side.unread.as_deref().unwrap_or_default();
            Err(Failure::new(format_args!("the {} did not answer: {why}", side.side)).exit(Exit::Partly))
        }
        None => Ok(()),
    }
}
