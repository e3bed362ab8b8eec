//! `largesse serve`: the server, by configuration and with no helpers for developers.

use clap::Args;
use largesse_config::{Config, Flag};
use serde_json::json;

use crate::command::config::{Pick, failure};
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::{run, telemetry};

const EXAMPLES: &str = "\
Examples:
  largesse serve --config largesse.toml
  LARGESSE_ENV=prod LARGESSE__DATA__DIR=/var/lib/largesse largesse serve

SIGTERM and SIGINT finish what was admitted, move it into the store, and end with 0.";

/// Run a server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    #[command(flatten)]
    pick: Pick,
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
            "starting"
        );
        run::block_on(serve(&loaded.config, format))
    }
}

async fn serve(config: &Config, format: Format) -> Result<(), Failure> {
    let running = run::start(config).await?;
    running.ready();
    let (listen, admin) = (running.public, running.admin);
    tracing::info!(%listen, %admin, "ready");
    let json = json!({"listen": listen.to_string(), "admin": admin.to_string(), "pid": std::process::id()});
    output::print(format, &json, || format!("listening on http://{listen}, admin on http://{admin}"))?;
    running.until_asked_to_end().await
}
