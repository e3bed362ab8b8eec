//! The tables, by versions, and whose they are.
//!
//! Tables are only ever added, and columns added to them, so an older program's rows stay readable. What a table means for
//! somebody who reads it is in `docs/store.md`.

use std::collections::HashMap;

use futures::TryStreamExt;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::units::UserId;
use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;
use serde::{Deserialize, Serialize};

use super::CqlOptions;
use super::connect::Connected;
use super::error::OpenError;
use super::place::{self, Layout};
use crate::ledger_id::LedgerId;

/// The version that this program reads and writes.
pub const SCHEMA: u32 = 2;

/// Names of the tables of one ledger.
#[derive(Clone, Debug)]
pub struct Tables {
    keyspace: String,
    ledger: LedgerName,
}

impl Tables {
    pub fn new(keyspace: &str, ledger: &LedgerName) -> Tables {
        Tables { keyspace: keyspace.into(), ledger: ledger.clone() }
    }

    pub fn name(&self, table: &str) -> String {
        format!("{}.{}_{table}", self.keyspace, self.ledger)
    }

    fn fill(&self, statement: &str) -> String {
        statement.replace("{ks}", &self.keyspace).replace("{t}", &format!("{}.{}", self.keyspace, self.ledger))
    }
}

/// One step from a version to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub version: u32,
    pub what: &'static str,
    pub statements: Vec<String>,
}

/// What `migrate` does, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub keyspace: String,
    /// 0: there is nothing yet.
    pub from: u32,
    pub to: u32,
    pub steps: Vec<Step>,
}

/// `{ks}` stands for the keyspace, `{t}` for the keyspace and the ledger. Each can be repeated.
const STEPS: [(&str, &[&str]); SCHEMA as usize] = [("the tables", TABLES), ("rooms", ROOMS)];

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS {t}_meta (name text PRIMARY KEY, value text)",
    "CREATE TABLE IF NOT EXISTS {t}_balance (shard int, sub int, user_id bigint, asset int, amount bigint, \
     seq bigint, PRIMARY KEY ((shard, sub), user_id, asset))",
    "CREATE TABLE IF NOT EXISTS {t}_sent (shard int, sub int, hour timestamp, user_id bigint, event_id uuid, \
     id_head blob, seq bigint, at timestamp, event blob, \
     PRIMARY KEY ((shard, sub, hour), user_id, event_id, id_head)) \
     WITH CLUSTERING ORDER BY (user_id DESC, event_id DESC, id_head DESC)",
    "CREATE TABLE IF NOT EXISTS {t}_receipt_pointer (shard int, sub int, user_id bigint, event_id uuid, \
     stored_as uuid, PRIMARY KEY ((shard, sub), user_id, event_id))",
    "CREATE TABLE IF NOT EXISTS {t}_received (shard int, sub int, hour timestamp, spread int, user_id bigint, \
     slot timestamp, source int, first_seq bigint, last_seq bigint, packed blob, \
     PRIMARY KEY ((shard, sub, hour, spread), user_id, slot, source, first_seq)) \
     WITH CLUSTERING ORDER BY (user_id DESC, slot DESC, source DESC, first_seq DESC)",
    "CREATE TABLE IF NOT EXISTS {t}_history_hour (shard int, sub int, user_id bigint, side text, \
     hour timestamp, spreads int, PRIMARY KEY ((shard, sub), user_id, side, hour)) \
     WITH CLUSTERING ORDER BY (user_id DESC, side DESC, hour DESC)",
    "CREATE TABLE IF NOT EXISTS {t}_checkpoint (shard int PRIMARY KEY, next_seq bigint, position bigint, \
     at timestamp, state blob, relay_next_seq bigint, relay_position bigint, relay_state blob)",
];

/// Markers of what was deleted are kept for a day and not for ten: a busy room ends many streaks, and reading it passes over
/// the marker of each.
const ROOMS: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS {t}_room_feed (shard int, room bigint, bucket bigint, first_seq bigint, \
     last_seq bigint, packed blob, PRIMARY KEY ((shard, room, bucket), first_seq))",
    "CREATE TABLE IF NOT EXISTS {t}_room_state (shard int, room bigint, sub int, row_group bigint, row_key blob, \
     value blob, seq bigint, PRIMARY KEY ((shard, room, sub), row_group, row_key)) \
     WITH gc_grace_seconds = 86400",
];

/// What the tables were made for, as it is written into them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    ledger: LedgerName,
    #[serde(flatten)]
    shape: LedgerShape,
    partitions: u32,
}

impl Identity {
    pub fn new(ledger: &LedgerName, shape: LedgerShape, partitions: u32) -> Identity {
        Identity { ledger: ledger.clone(), shape, partitions }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LedgerShape { wallet_shards, hash_version } = self.shape;
        write!(
            f,
            "ledger `{}` with {wallet_shards} wallet shards, hash version {hash_version} and {} partitions",
            self.ledger, self.partitions
        )
    }
}

/// Looks at what is there and says what is missing.
pub async fn plan(
    options: &CqlOptions,
    ledger: &LedgerName,
    shape: LedgerShape,
) -> Result<(Plan, Connected), OpenError> {
    let connected = Connected::open(options).await?;
    let tables = Tables::new(&options.keyspace, ledger);
    let from = version(&connected, &tables).await?;
    if from > 0 {
        refuse_newer(&tables, from)?;
        check_identity(&connected, &tables, &Identity::new(ledger, shape, options.partitions)).await?;
    }
    let mut steps: Vec<Step> = Vec::new();
    for (version, (what, statements)) in (1..).zip(STEPS) {
        if version > from {
            let statements = statements.iter().map(|statement| tables.fill(statement)).collect();
            steps.push(Step { version, what, statements });
        }
    }
    if !has_keyspace(&connected.session, &options.keyspace).await?
        && let Some(first) = steps.first_mut()
    {
        first.statements.insert(0, create_keyspace(options));
    }
    Ok((Plan { keyspace: options.keyspace.clone(), from, to: SCHEMA, steps }, connected))
}

/// Where the rows of a user lie, and how anyone reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    pub shard: i32,
    pub sub: i32,
    pub statements: Vec<String>,
}

pub fn locate(options: &CqlOptions, ledger: &LedgerName, shape: LedgerShape, of: UserId) -> Located {
    let tables = Tables::new(&options.keyspace, ledger);
    let shard = place::shard(shape.wallet_of(of));
    let sub = Layout::new(options.partitions, shape.wallet_shards).sub(of);
    let (at, user) = (format!("shard = {shard} AND sub = {sub}"), place::user(of));
    let statements = ["balance", "history_hour", "receipt_pointer"]
        .map(|table| format!("SELECT * FROM {} WHERE {at} AND user_id = {user}", tables.name(table)));
    Located { shard, sub, statements: statements.into() }
}

/// Brings the tables to this program's version. Can be repeated, also after it was interrupted; not for two at a time.
pub async fn migrate(options: &CqlOptions, ledger: &LedgerName, shape: LedgerShape) -> Result<Plan, OpenError> {
    let (plan, connected) = plan(options, ledger, shape).await?;
    let tables = Tables::new(&options.keyspace, ledger);
    for step in &plan.steps {
        for statement in &step.statements {
            run(&connected, statement).await?;
        }
        let identity = Identity::new(ledger, shape, options.partitions);
        let identity = serde_json::to_string(&identity).expect("names and numbers are valid JSON");
        // Whoever made the tables first is right: a later value of the same age would have to be larger.
        write_meta(&connected, &tables, "identity", &identity, 1).await?;
        write_meta(&connected, &tables, "schema", &step.version.to_string(), i64::from(step.version)).await?;
        tracing::info!(version = step.version, what = step.what, "the store's tables are at a new version");
    }
    let identity = Identity::new(ledger, shape, options.partitions);
    check_identity(&connected, &tables, &identity).await?;
    Ok(plan)
}

/// Deletes the keyspace with all that is in it. For tests and benches, which have one of their own.
pub async fn delete_keyspace(options: &CqlOptions) -> Result<(), OpenError> {
    let connected = Connected::open(options).await?;
    run(&connected, &format!("DROP KEYSPACE IF EXISTS {}", options.keyspace)).await
}

/// Whether the tables are there, of this version, and of this ledger.
pub async fn check(connected: &Connected, tables: &Tables, identity: &Identity) -> Result<(), OpenError> {
    let found = version(connected, tables).await?;
    let (keyspace, ledger) = (tables.keyspace.clone(), tables.ledger.to_string());
    if found == 0 {
        return Err(OpenError::Missing { keyspace, ledger });
    }
    refuse_newer(tables, found)?;
    if found < SCHEMA {
        return Err(OpenError::Older { keyspace, ledger, found, needed: SCHEMA });
    }
    check_identity(connected, tables, identity).await?;
    warn_of_single_copies(connected, tables).await
}

/// Whose log these rows are a view of; `None` before anybody served from them.
pub async fn log_of(connected: &Connected, tables: &Tables) -> Result<Option<LedgerId>, OpenError> {
    Ok(read_meta(connected, tables, "ledger_id").await?.map(LedgerId::from_text))
}

/// Makes sure that the rows are of this log and of no other, and says so from now on.
pub async fn belong_to(connected: &Connected, tables: &Tables, id: &LedgerId) -> Result<(), OpenError> {
    if log_of(connected, tables).await?.is_none() {
        // Of two that come first at the same time the larger stays, and the other is refused.
        write_meta(connected, tables, "ledger_id", id.as_str(), 1).await?;
    }
    refuse_other_log(connected, tables, id).await
}

pub async fn refuse_other_log(connected: &Connected, tables: &Tables, id: &LedgerId) -> Result<(), OpenError> {
    match log_of(connected, tables).await? {
        Some(found) if found != *id => {
            let (keyspace, ledger) = (tables.keyspace.clone(), tables.ledger.to_string());
            Err(OpenError::OtherLog { keyspace, ledger, found, wanted: id.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// The log is cut behind what the database has acknowledged, and databases acknowledge before they sync.
async fn warn_of_single_copies(connected: &Connected, tables: &Tables) -> Result<(), OpenError> {
    let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let failed = |error: &dyn std::fmt::Display| OpenError::of_statement(text, &error.to_string());
    let rows = connected.session.query_iter(text, (&tables.keyspace,)).await.map_err(|error| failed(&error))?;
    let mut rows = rows.rows_stream::<(HashMap<String, String>,)>().map_err(|error| failed(&error))?;
    let replication = rows.try_next().await.map_err(|error| failed(&error))?.map(|(replication,)| replication);
    let copies = replication.iter().flatten().filter_map(|(_, copies)| copies.parse::<u32>().ok()).min();
    if copies.is_some_and(|copies| copies < 3) {
        tracing::warn!(
            keyspace = tables.keyspace,
            copies,
            "the store keeps fewer than three copies of its rows; a database that loses the last seconds when it is \
             killed loses rows that the log no longer has, unless its commit log syncs before it acknowledges"
        );
    }
    Ok(())
}

fn create_keyspace(options: &CqlOptions) -> String {
    let place = options.datacenter.as_deref().unwrap_or("replication_factor");
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{'class': 'NetworkTopologyStrategy', '{place}': {}}}",
        options.keyspace, options.replication
    )
}

fn refuse_newer(tables: &Tables, found: u32) -> Result<(), OpenError> {
    if found <= SCHEMA {
        return Ok(());
    }
    let (keyspace, ledger) = (tables.keyspace.clone(), tables.ledger.to_string());
    Err(OpenError::Newer { keyspace, ledger, found, known: SCHEMA })
}

/// 0 when there is nothing.
async fn version(connected: &Connected, tables: &Tables) -> Result<u32, OpenError> {
    let table = format!("{}_meta", tables.ledger);
    let there = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
    if first_text(&connected.session, there, (&tables.keyspace, &table)).await?.is_none() {
        return Ok(0);
    }
    let Some(text) = read_meta(connected, tables, "schema").await? else { return Ok(0) };
    text.parse().map_err(|_| OpenError::Damaged { table, why: format!("its schema is `{text}`, which is no number") })
}

async fn check_identity(connected: &Connected, tables: &Tables, wanted: &Identity) -> Result<(), OpenError> {
    let table = tables.name("meta");
    let damaged = |why: String| OpenError::Damaged { table: table.clone(), why };
    let text = read_meta(connected, tables, "identity").await?;
    let text = text.ok_or_else(|| damaged("it does not say which ledger it belongs to".into()))?;
    let found: Identity = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if found == *wanted {
        return Ok(());
    }
    let (found, wanted) = (found.to_string(), wanted.to_string());
    Err(OpenError::OtherLedger { keyspace: tables.keyspace.clone(), found, wanted })
}

async fn has_keyspace(session: &Session, keyspace: &str) -> Result<bool, OpenError> {
    let there = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    Ok(first_text(session, there, (keyspace,)).await?.is_some())
}

async fn read_meta(connected: &Connected, tables: &Tables, name: &str) -> Result<Option<String>, OpenError> {
    let statement = format!("SELECT value FROM {} WHERE name = ?", tables.name("meta"));
    first_text(&connected.session, &statement, (name,)).await
}

async fn write_meta(
    connected: &Connected,
    tables: &Tables,
    name: &str,
    value: &str,
    timestamp: i64,
) -> Result<(), OpenError> {
    let text = format!("INSERT INTO {} (name, value) VALUES (?, ?) USING TIMESTAMP ?", tables.name("meta"));
    let written = connected.session.query_unpaged(text.as_str(), (name, value, timestamp)).await;
    written.map(drop).map_err(|error| OpenError::of_statement(&text, &error))
}

async fn run(connected: &Connected, text: &str) -> Result<(), OpenError> {
    let mut statement = Statement::new(text);
    statement.set_execution_profile_handle(Some(connected.schema.clone()));
    let done = connected.session.query_unpaged(statement, ()).await;
    done.map(drop).map_err(|error| OpenError::of_statement(text, &error))
}

async fn first_text(
    session: &Session,
    text: &str,
    values: impl scylla::serialize::row::SerializeRow,
) -> Result<Option<String>, OpenError> {
    let failed = |error: &dyn std::fmt::Display| OpenError::of_statement(text, &error.to_string());
    let rows = session.query_iter(text, values).await.map_err(|error| failed(&error))?;
    let mut rows = rows.rows_stream::<(Option<String>,)>().map_err(|error| failed(&error))?;
    Ok(rows.try_next().await.map_err(|error| failed(&error))?.and_then(|(text,)| text))
}
