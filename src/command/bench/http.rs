//! Gifts over HTTP, against a bare axum handler in the same run.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use largesse_config::{Secret, ViewerConfig};
use largesse_engine::audit::AuditOptions;
use largesse_engine::catalog::CatalogDraft;
use largesse_loadtest::http::{self, HttpBench, HttpBenchError, HttpReport, Server, Side, Sides, Viewer};
use largesse_loadtest::machine::Machine;
use reqwest::Method;
use serde_json::json;

use super::child::{Ready, own_binary};
use super::show::{self, Watch};
use crate::client::{Call, Client};
use crate::command::{ask, audit, token};
use crate::dev_env::write_private;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::{dev_keys, run};

const EXAMPLES: &str = "\
Examples:
  largesse bench http
  largesse bench http --connections 1 --seconds 10
  largesse bench http --viewers 100000 --hosts 64 -o json
  LARGESSE__ENGINE__WORKERS=1 largesse bench http

The server is a process of its own with `--profile bench` and whatever LARGESSE__… sets; so is the bare handler, which
parses and answers the same JSON and does nothing else. They take turns. Every viewer has a token that the server checks.
At the end every balance is compared with the answers, and the ledger audited; what does not add up ends with 4.";

const ROOM: u64 = 1_001;
const FIRST_HOST: u64 = 2_001;
const FIRST_VIEWER: u64 = 1_000_001;
/// A rose, for one coin.
const GIFT: u32 = 1;
pub(super) const CATALOG: &str = include_str!("../../../config/catalog.toml");

/// Gifts over HTTP, one a request, against a bare axum handler in the same run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Http {
    /// Viewers with money and a token each; who sends follows Zipf's law.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    viewers: u64,
    /// Hosts who receive.
    #[arg(long, default_value_t = 1, value_name = "N")]
    hosts: u64,
    /// Connections that stay open, each with one request under way.
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// How long each of the two is measured, all its turns together.
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How often each has its turn.
    #[arg(long, default_value_t = 4, value_name = "N")]
    turns: usize,
    /// Wallet shards of the ledger.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4_096))]
    wallet_shards: u16,
    /// Where the ledger is made and kept [default: a folder that is deleted afterwards].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Keys for one run.
struct Keys {
    secret: String,
    service: String,
    admin: String,
}

impl Http {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let bench = HttpBench {
            viewers: self.viewers,
            hosts: self.hosts,
            connections: self.connections,
            duration: Duration::from_secs(self.seconds),
            turns: self.turns,
        };
        bench.check().map_err(failure)?;
        let temporary = tempfile::tempdir().map_err(Failure::new)?;
        let keys = Keys {
            secret: dev_keys::random_text(),
            service: format!("lgk_{}", dev_keys::random_text()),
            admin: format!("lga_{}", dev_keys::random_text()),
        };
        let data = self.data.clone().unwrap_or_else(|| temporary.path().join("ledger"));
        let server = self.start_server(&keys, &temporary.path().join("bench.toml"), &data)?;
        let bare = Ready::start("the bare handler", own_binary()?.args(["bench", "bare-handler"]))?;
        let sides = self.sides(&keys, &server, &bare)?;
        let watch = Watch::new();
        let mut report = None;
        ask(async {
            sell(&server, &keys.admin, CATALOG).await?;
            let machine = Machine::here(&data);
            let measured = http::run(bench, &sides, machine, &|stage| watch.tell(stage)).await;
            report = Some(measured.map_err(failure)?);
            Ok(())
        })?;
        server.stop()?;
        let mut report = report.ok_or_else(|| Failure::new("nothing was measured"))?;
        run::block_on(async {
            let audit = largesse_storage::audit::data_dir(&data, AuditOptions::default()).await;
            report.audit = Some(audit.map_err(Failure::new)?);
            Ok(())
        })?;
        conclude(&report, format)
    }

    fn start_server(&self, keys: &Keys, config: &Path, data: &Path) -> Result<Ready, Failure> {
        write_private(config, &self.config(keys)).map_err(Failure::new)?;
        let mut command = own_binary()?;
        command.args(["serve", "-o", "json", "--profile", "bench", "--listen", "127.0.0.1:0"]);
        command.args(["--admin-listen", "127.0.0.1:0", "--config"]).arg(config).arg("--data").arg(data);
        Ready::start("the server", &mut command)
    }

    fn config(&self, keys: &Keys) -> String {
        let hosts: Vec<u64> = self.hosts().collect();
        let mut text = format!("[ledger]\nwallet-shards = {}\n", self.wallet_shards);
        let Keys { secret, service, admin } = keys;
        let _written = write!(
            text,
            "[auth]\nadmin-key = \"{admin}\"\n[auth.viewer]\nsecret = \"{secret}\"\n[[auth.service-keys]]\n\
             name = \"bench\"\nkey = \"{service}\"\n[[room]]\nid = {ROOM}\nhosts = {hosts:?}\n"
        );
        text
    }

    fn hosts(&self) -> impl Iterator<Item = u64> {
        FIRST_HOST..FIRST_HOST + self.hosts
    }

    fn sides(&self, keys: &Keys, server: &Ready, bare: &Ready) -> Result<Sides, Failure> {
        let signing = ViewerConfig { secret: Some(Secret::new(keys.secret.clone())), ..ViewerConfig::default() };
        let life = Duration::from_secs(self.seconds * 10 + 86_400);
        let viewer = |user| Ok(Viewer { user, token: token::sign(&signing, user, life)?.token });
        let viewers: Result<Vec<_>, Failure> = (FIRST_VIEWER..FIRST_VIEWER + self.viewers).map(viewer).collect();
        Ok(Sides {
            gifts: Server { address: address(server, "listen")?, pid: server.pid() },
            bare: Server { address: address(bare, "listen")?, pid: bare.pid() },
            service_key: keys.service.clone(),
            room: ROOM,
            gift: GIFT,
            hosts: self.hosts().collect(),
            viewers: viewers?,
        })
    }
}

/// Brings the catalog, so that there is something to send.
pub(super) async fn sell(server: &Ready, admin: &str, catalog: &str) -> Result<(), Failure> {
    let draft: CatalogDraft = toml::from_str(catalog).map_err(Failure::new)?;
    let mut body = serde_json::to_value(&draft).map_err(Failure::new)?;
    body["reason"] = json!("a bench");
    let client = Client::new(&address(server, "admin")?.to_string(), Some(admin.to_owned()))?;
    client.call(Call::send(Method::PUT, "/v1/catalog", body)).await.map(|_answer| ())
}

pub(super) fn address(of: &Ready, name: &str) -> Result<SocketAddr, Failure> {
    let text = of.told[name].as_str().unwrap_or_default();
    text.parse().map_err(|error| Failure::new(format_args!("`{text}` is not an address: {error}")))
}

fn failure(error: HttpBenchError) -> Failure {
    match error {
        HttpBenchError::Invalid(what) => Failure::usage(what),
        error @ (HttpBenchError::Server(_) | HttpBenchError::Wire(_)) => Failure::new(error),
    }
}

/// Prints the figures, and says whether they can be believed.
fn conclude(report: &HttpReport, format: Format) -> Result<(), Failure> {
    let json = serde_json::to_value(report).map_err(Failure::new)?;
    output::print(format, &json, || text(report))?;
    if let Some(found) = &report.audit {
        audit::verdict(found)?;
    }
    let problem = |what: String| Err(Failure::new(what).exit(Exit::Problems));
    for (name, side) in [("gifts", &report.gifts), ("the bare handler", &report.bare)] {
        if let Some(first) = &side.first_error {
            return problem(format!("{} answers of {name} were wrong, the first: {first}", side.errors));
        }
    }
    if let Some(first) = report.mismatches.first() {
        return problem(format!("viewer {} should have {} coins and has {}", first.user, first.should, first.is));
    }
    if report.is_right() {
        return Ok(());
    }
    problem(format!("viewers paid {}, hosts received {}", report.books.paid, report.books.received))
}

fn text(report: &HttpReport) -> String {
    let side = |name: &str, side: &Side| {
        let latency = &side.latency;
        let mut row = vec![name.to_owned(), format!("{:.0}", side.requests_per_second)];
        row.extend([latency.p50_us, latency.p99_us, latency.p999_us].map(show::millis));
        row.extend([side.server_cpu_us_per_request, side.client_cpu_us_per_request].map(|cpu| format!("{cpu:.1} us")));
        row.push(side.errors.to_string());
        row
    };
    let header = ["", "#requests/s", "#p50", "#p99", "#p99.9", "#server CPU", "#client CPU", "#errors"];
    let table = output::table(&header, [side("gifts", &report.gifts), side("bare axum handler", &report.bare)]);
    let ratios: Vec<_> = report.ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
    let rest = output::fields([
        ("ratio", format!("{:.3}, turn by turn {}", report.ratio, ratios.join(" "))),
        ("server CPU with flushing", format!("{:.1} us a gift", report.gifts.server_cpu_us_per_request_at_rest)),
        ("paid and received", format!("{} and {} coins", report.books.paid, report.books.received)),
        ("audit", show::verdict(report.audit.as_ref())),
        ("machine", show::machine(&report.machine)),
    ]);
    format!("{table}\n\n{rest}")
}
