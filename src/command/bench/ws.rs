//! Real WebSocket viewers in one room.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use largesse_config::{Secret, ViewerConfig};
use largesse_loadtest::http::Server;
use largesse_loadtest::machine::Machine;
use largesse_loadtest::ws::{self, Stand, WsBench, WsBenchError, WsReport};
use reqwest::Method;
use serde_json::json;

use super::child::{Ready, own_binary};
use super::http::{CATALOG, address, sell};
use super::show::{self, Watch};
use crate::client::{Call, Client};
use crate::command::{ask, token};
use crate::dev_env::write_private;
use crate::dev_keys;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

const EXAMPLES: &str = "\
Examples:
  largesse bench ws
  largesse bench ws --sockets 1000 --seconds 5
  largesse bench ws --sockets 10000 --rate 10 -o json

The server is a process of its own with `--profile bench` and whatever LARGESSE__… sets. All viewers are in one room, each
with a token of its own; one of them sends. At the end each must have every gift once; if not, it ends with 4.";

const ROOM: u64 = 1_001;
const HOST: u64 = 2_001;
const FIRST_VIEWER: u64 = 1_000_001;
/// A rose, for one coin.
const GIFT: u32 = 1;

/// Real WebSocket viewers in one room: memory, connecting, deliveries, latency.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Ws {
    /// Viewers, each with a socket.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    sockets: usize,
    /// How long gifts are sent.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Gifts a second; up to ten of them are a tick each.
    #[arg(long, default_value_t = 10, value_name = "N")]
    rate: u64,
}

impl Ws {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let bench = WsBench { sockets: self.sockets, duration: Duration::from_secs(self.seconds), rate: self.rate };
        bench.check().map_err(failure)?;
        let temporary = tempfile::tempdir().map_err(Failure::new)?;
        let secret = dev_keys::random_text();
        let service = format!("lgk_{}", dev_keys::random_text());
        let admin = format!("lga_{}", dev_keys::random_text());
        let data = temporary.path().join("ledger");
        let config = config(&secret, &service, &admin);
        let server = start_server(&config, &temporary.path().join("bench.toml"), &data)?;
        let stand = self.stand(&secret, &server)?;
        let watch = Watch::new();
        let mut report = None;
        ask(async {
            sell(&server, &admin, CATALOG).await?;
            fund(&server, &service).await?;
            let machine = Machine::here(&data);
            let local = tokio::task::LocalSet::new();
            let measured = local.run_until(ws::run(bench, &stand, machine, &|stage| watch.tell(stage))).await;
            report = Some(measured.map_err(failure)?);
            Ok(())
        })?;
        server.stop()?;
        let report = report.ok_or_else(|| Failure::new("nothing was measured"))?;
        conclude(&report, format)
    }

    fn stand(&self, secret: &str, server: &Ready) -> Result<Stand, Failure> {
        let signing = ViewerConfig { secret: Some(Secret::new(secret.to_owned())), ..ViewerConfig::default() };
        let life = Duration::from_secs(self.seconds * 10 + 86_400);
        let viewers = (FIRST_VIEWER..).take(self.sockets);
        let tokens = viewers.map(|user| Ok(token::sign(&signing, user, life)?.token));
        Ok(Stand {
            server: Server { address: address(server, "listen")?, pid: server.pid() },
            room: ROOM,
            gift: GIFT,
            host: HOST,
            tokens: tokens.collect::<Result<_, Failure>>()?,
        })
    }
}

fn config(secret: &str, service: &str, admin: &str) -> String {
    let mut text = String::new();
    let _written = write!(
        text,
        "[auth]\nadmin-key = \"{admin}\"\n[auth.viewer]\nsecret = \"{secret}\"\n[[auth.service-keys]]\n\
         name = \"bench\"\nkey = \"{service}\"\n[[room]]\nid = {ROOM}\nhosts = [{HOST}]\n"
    );
    text
}

fn start_server(config: &str, path: &Path, data: &Path) -> Result<Ready, Failure> {
    write_private(path, config).map_err(Failure::new)?;
    let mut command = own_binary()?;
    command.args(["serve", "-o", "json", "--profile", "bench", "--listen", "127.0.0.1:0"]);
    command.args(["--admin-listen", "127.0.0.1:0", "--config"]).arg(path).arg("--data").arg(data);
    Ready::start("the server", &mut command)
}

/// Gives the one who sends more than the bench can spend.
async fn fund(server: &Ready, service: &str) -> Result<(), Failure> {
    let client = Client::new(&address(server, "listen")?.to_string(), Some(service.to_owned()))?;
    let body = json!({ "user_id": FIRST_VIEWER.to_string(), "asset": "coin", "amount": 1_000_000_000_000_u64,
                       "channel": "manual", "transaction_id": "bench-ws" });
    client.call(Call::send(Method::POST, "/v1/recharges", body)).await.map(|_answer| ())
}

fn failure(error: WsBenchError) -> Failure {
    match error {
        WsBenchError::Invalid(what) => Failure::usage(what),
        error @ (WsBenchError::Viewer(_) | WsBenchError::ServerGone) => Failure::new(error),
    }
}

/// Prints the figures, and says whether they can be believed.
fn conclude(report: &WsReport, format: Format) -> Result<(), Failure> {
    let json = serde_json::to_value(report).map_err(Failure::new)?;
    output::print(format, &json, || text(report))?;
    match &report.first_wrong {
        None => Ok(()),
        Some(first) => {
            let what = format!("{} viewers did not see every gift once, the first: {first}", report.wrong);
            Err(Failure::new(what).exit(Exit::Problems))
        }
    }
}

fn text(report: &WsReport) -> String {
    let latency = &report.latency;
    let [p50, p99, max] = [latency.p50_us, latency.p99_us, latency.max_us].map(show::millis);
    output::fields([
        ("sockets", report.bench.sockets.to_string()),
        ("memory per quiet socket", format!("{:.1} KB", report.bytes_per_socket / 1e3)),
        ("CPU to connect one", format!("{:.0} us", report.cpu_us_per_connect)),
        ("connected", format!("{:.0}/s", report.connects_per_second)),
        ("gifts, ticks", format!("{}, {}", report.gifts, report.ticks)),
        (
            "deliveries",
            format!(
                "{}, {:.0}/s of {:.0} bytes",
                report.deliveries, report.deliveries_per_second, report.bytes_per_frame
            ),
        ),
        ("CPU per million deliveries", format!("{:.2} s", report.cpu_seconds_per_million_deliveries)),
        ("durable gift to frame", format!("p50 {p50}, p99 {p99}, longest {max}")),
        ("viewers who missed something", report.wrong.to_string()),
        ("machine", show::machine(&report.machine)),
    ])
}
