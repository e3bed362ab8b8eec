//! `largesse serve`: the server, by configuration and with no helpers for developers.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use largesse_config::{Config, Flag};
use serde_json::json;

use crate::command::config::{Pick, failure};
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::{gateway, run, telemetry};

const EXAMPLES: &str = "\
Examples:
  largesse serve --config largesse.toml
  LARGESSE_ENV=prod LARGESSE__DATA__DIR=/var/lib/largesse largesse serve
  largesse serve --role gateway --config gateway.toml

SIGTERM and SIGINT finish what was admitted, move it into the store, and end with 0.";

/// Run a server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    #[command(flatten)]
    pick: Pick,
    /// What this process does: everything, or hold sockets in front of such a process.
    #[arg(long, value_enum, default_value_t = Role::All, value_name = "ROLE")]
    role: Role,
    /// The data folder [default: data.dir].
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address for viewers and services [default: http.listen].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address for administrators, health and metrics [default: http.admin-listen].
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// It owns shards and serves callers and sockets.
    All,
    /// It holds sockets and passes all else on to a process that owns shards; it has no data.
    Gateway,
}

/// The keys that flags set, where they are given.
pub fn flags(data: Option<&String>, listen: Option<&String>, admin_listen: Option<&String>) -> Vec<Flag> {
    let flags = [
        ("--data", "data.dir", data),
        ("--listen", "http.listen", listen),
        ("--admin-listen", "http.admin-listen", admin_listen),
    ];
    let given = flags.into_iter().filter_map(|(flag, key, value)| Some(Flag { flag, key, value: value?.clone() }));
    given.collect()
}

impl Serve {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let mut sources = self.pick.sources();
        sources.flags = flags(self.data.as_ref(), self.listen.as_ref(), self.admin_listen.as_ref());
        let loaded = sources.load().map_err(|error| failure(&error))?;
        telemetry::start(&loaded.config.log_output)?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            commit = env!("LARGESSE_BUILD_COMMIT"),
            environment = loaded.environment.name(),
            profile = loaded.profile.name(),
            ledger = loaded.config.ledger.name,
            role = ?self.role,
            "starting"
        );
        match self.role {
            Role::All => run::block_on(serve(&loaded.config, format)),
            Role::Gateway => run::block_on(serve_gateway(&loaded.config, format)),
        }
    }
}

async fn serve(config: &Config, format: Format) -> Result<(), Failure> {
    let running = run::start(config).await?;
    running.ready();
    say_ready(running.public, running.admin, format)?;
    running.until_asked_to_end().await
}

async fn serve_gateway(config: &Config, format: Format) -> Result<(), Failure> {
    let running = gateway::start(config).await?;
    running.ready();
    say_ready(running.public, running.admin, format)?;
    running.until_asked_to_end().await
}

fn say_ready(listen: SocketAddr, admin: SocketAddr, format: Format) -> Result<(), Failure> {
    tracing::info!(%listen, %admin, "ready");
    let json = json!({"listen": listen.to_string(), "admin": admin.to_string(), "pid": std::process::id()});
    output::print(format, &json, || format!("listening on http://{listen}, admin on http://{admin}"))
}
