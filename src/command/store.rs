//! `largesse store`: the tables of a store in ScyllaDB or Cassandra.

use clap::{Args, Subcommand};
use largesse_config::{Config, StoreKind};
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::units::UserId;
use largesse_storage::store::cql::{self, CqlOptions, Plan};
use serde_json::json;

use crate::command::config::Pick;
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::{run, stores};

const EXAMPLES: &str = "\
Examples:
  largesse store migrate --config largesse.toml --dry-run
  largesse store migrate --config largesse.toml
  largesse store locate 3001 --config largesse.toml";

/// Make, upgrade and find the tables of a store in ScyllaDB or Cassandra.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Store {
    Migrate(Migrate),
    Locate(Locate),
}

/// Make the tables, or bring them to the version of this program.
///
/// It can be repeated, also after it was interrupted; run it from one place at a time. Servers of the version before go on
/// meanwhile: a step only ever adds. The keyspace is made when it is not there, and otherwise left as it is.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Migrate {
    #[command(flatten)]
    pick: Pick,
    /// Show what would be done, as statements, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Say where a user's rows lie, with statements that read them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Locate {
    /// The user's id.
    user: UserId,
    #[command(flatten)]
    pick: Pick,
}

/// What the commands need of the configuration.
struct Target {
    options: CqlOptions,
    ledger: LedgerName,
    shape: LedgerShape,
}

impl Target {
    fn of(config: &Config) -> Result<Target, Failure> {
        let ledger = config.ledger.name.parse().map_err(Failure::new)?;
        let shape = LedgerShape::new(config.ledger.wallet_shards);
        match config.store.kind {
            StoreKind::Cql => Ok(Target { options: stores::cql_options(&config.store.cql)?, ledger, shape }),
            StoreKind::Embedded => {
                Err(Failure::usage("this configuration has an embedded store, which needs no migration")
                    .help("set store.kind to \"cql\", or name another configuration with --config"))
            }
        }
    }
}

impl Store {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        match self {
            Store::Migrate(migrate) => run::block_on(migrate.run(format)),
            Store::Locate(locate) => locate.run(format),
        }
    }
}

impl Migrate {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let Target { options, ledger, shape } = Target::of(&self.pick.load()?.config)?;
        let plan = match self.dry_run {
            true => cql::plan(&options, &ledger, shape).await,
            false => cql::migrate(&options, &ledger, shape).await,
        };
        let plan = plan.map_err(|error| stores::cql_failure(&error))?;
        let mut json = serde_json::to_value(&plan).map_err(Failure::new)?;
        json["dry_run"] = json!(self.dry_run);
        output::print(format, &json, || text(&plan, self.dry_run))
    }
}

fn text(plan: &Plan, is_dry: bool) -> String {
    let Plan { keyspace, from, to, steps } = plan;
    if steps.is_empty() {
        return format!("the tables in keyspace {keyspace} have version {to} already");
    }
    let statements = steps.iter().flat_map(|step| &step.statements).map(|statement| format!("{statement};"));
    let done = if is_dry { "would go" } else { "went" };
    let summary = format!("the tables in keyspace {keyspace} {done} from version {from} to {to}");
    statements.chain([summary]).collect::<Vec<_>>().join("\n")
}

impl Locate {
    fn run(&self, format: Format) -> Result<(), Failure> {
        let Target { options, ledger, shape } = Target::of(&self.pick.load()?.config)?;
        let located = cql::locate(&options, &ledger, shape, self.user);
        let json = serde_json::to_value(&located).map_err(Failure::new)?;
        output::print(format, &json, || {
            let place = [("shard", located.shard.to_string()), ("sub", located.sub.to_string())];
            let statements = located.statements.iter().map(|statement| format!("{statement};"));
            std::iter::once(output::fields(place)).chain(statements).collect::<Vec<_>>().join("\n")
        })
    }
}
