//! `largesse dev`: a ledger to play with, with a demo catalog, a room, viewers who have coins, and ready-made tokens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use largesse_api::dev::{DevOptions, DevViewer};
use largesse_config::{Config, Profile, Sources};
use largesse_engine::catalog::CatalogDraft;
use largesse_engine::service::Service;
use largesse_engine::units::{Amount, CatalogVersion, UserId};
use largesse_engine::wallet::command::RechargeSaid;
use largesse_engine::wallet::event::Channel;
use serde_json::json;

use crate::command::config::failure;
use crate::command::serve::flags;
use crate::command::token;
use crate::dev_env::{self, DevEnv};
use crate::exit::Failure;
use crate::output::{self, Format};
use crate::run::{self, Running};
use crate::{dev_keys, telemetry};

const CATALOG: &str = include_str!("../../config/catalog.toml");
const VIEWERS: [u64; 3] = [3001, 3002, 3003];
const COINS: u64 = 100_000;
/// Tokens are made anew at every start, so they only have to outlive one.
const TOKEN_LIFE: Duration = Duration::from_secs(7 * 86_400);

const EXAMPLES: &str = "\
Examples:
  largesse dev
  largesse dev --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 -o json
  largesse dev --data /tmp/ledger

Then, from another terminal in the same folder:
  largesse gift send --from 3001 --room 1001 --gift rose --count 5 --to 2001
  largesse account get 2001";

/// Run a ledger to play with on this machine; needs no configuration.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    /// Where everything is kept; made on first start.
    #[arg(long, env = "LARGESSE_DATA", default_value = "./largesse-data", value_name = "DIR")]
    data: PathBuf,
    /// Address for viewers and services; port 0 picks a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address for administrators, health and metrics [default: 127.0.0.1:8081].
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
}

impl Dev {
    pub fn run(&self, format: Format) -> Result<(), Failure> {
        let dir = &self.data;
        std::fs::create_dir_all(dir).map_err(|error| {
            Failure::new(format_args!("cannot make the data folder {}: {error}", dir.display()))
                .help("name another with --data")
        })?;
        let keys = dev_keys::ensure(dir)?;
        let data = dir.to_str().map(str::to_owned);
        let data = data.ok_or_else(|| Failure::usage(format_args!("{} is not UTF-8", dir.display())))?;
        let loaded = Sources {
            profile: Some(Profile::Dev),
            file: Some(keys),
            flags: flags(Some(&data), self.listen.as_ref(), self.admin_listen.as_ref()),
            ..Sources::of_process()
        };
        let loaded = loaded.load().map_err(|error| failure(&error))?;
        let config = &loaded.config;
        refuse_strangers(config.http.listen, "--listen")?;
        refuse_strangers(config.http.admin_listen, "--admin-listen")?;
        telemetry::start(&config.log_output)?;
        run::block_on(dev(config, dir, format))
    }
}

/// Its keys lie around in files and its viewers' coins are free, so only this machine may reach it.
fn refuse_strangers(address: SocketAddr, flag: &str) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::usage(format_args!("{flag}: `largesse dev` refuses to listen on {address}, which others can reach"))
        .help("use 127.0.0.1 here, or `largesse serve` with keys of your own"))
}

async fn dev(config: &Config, dir: &Path, format: Format) -> Result<(), Failure> {
    let tokens = tokens(config)?;
    let running = run::start_with(config, Some(helpers(config, &tokens)?)).await?;
    seed(&running.service()).await?;
    let ready = Ready::new(config, &running, tokens)?;
    ready
        .env()
        .write(dir)
        .map_err(|error| Failure::new(format_args!("cannot write {}: {error}", dir.join(dev_env::FILE).display())))?;
    running.ready();
    output::print(format, &ready.json(), || ready.text(dir))?;
    running.until_asked_to_end().await
}

/// A token for each viewer.
fn tokens(config: &Config) -> Result<BTreeMap<String, String>, Failure> {
    let sign = |user: u64| Ok((user.to_string(), token::sign(&config.auth.viewer, user, TOKEN_LIFE)?.token));
    VIEWERS.into_iter().map(sign).collect()
}

/// Whom the room page can look as: the viewers, and the hosts of the first room.
fn helpers(config: &Config, tokens: &BTreeMap<String, String>) -> Result<DevOptions, Failure> {
    let mut all = Vec::new();
    for user in VIEWERS {
        all.push(DevViewer {
            user: UserId(user),
            name: format!("Viewer {user}"),
            token: tokens[&user.to_string()].clone(),
        });
    }
    for host in config.room.first().into_iter().flat_map(|room| room.hosts.iter().copied()) {
        let token = token::sign(&config.auth.viewer, host, TOKEN_LIFE)?.token;
        all.push(DevViewer { user: UserId(host), name: format!("Host {host}"), token });
    }
    Ok(DevOptions { viewers: all.into() })
}

/// Brings the demo's catalog and coins, each only if it is not there yet.
async fn seed(service: &Service) -> Result<(), Failure> {
    if service.control.view().catalog.version() == CatalogVersion(0) {
        let draft: CatalogDraft = toml::from_str(CATALOG).map_err(Failure::new)?;
        let applied = service.control.apply_catalog(draft, "dev".into(), "the demo catalog".into()).await;
        applied.map_err(|error| Failure::new(format_args!("cannot apply the demo catalog: {error}")))?;
    }
    let Some(asset) = service.control.view().catalog.asset("coin") else {
        output::remark("the catalog has no asset `coin`, so the viewers get none");
        return Ok(());
    };
    for user in VIEWERS {
        let said = RechargeSaid {
            channel: Channel::Manual,
            transaction: format!("dev-{user}").into(),
            user: UserId(user),
            asset,
            amount: Amount::new(COINS).expect("far below the largest amount"),
        };
        let paid = service.recharge(said, None, None).await;
        paid.map_err(|error| Failure::new(format_args!("cannot give viewer {user} coins: {error}")))?;
    }
    Ok(())
}

/// All that is told once it is ready.
struct Ready {
    listen: SocketAddr,
    admin: SocketAddr,
    service_key: String,
    admin_key: String,
    tokens: BTreeMap<String, String>,
    room: String,
    hosts: Vec<String>,
}

impl Ready {
    fn new(config: &Config, running: &Running, tokens: BTreeMap<String, String>) -> Result<Ready, Failure> {
        let missing = || Failure::new("the dev keys are incomplete").help("delete dev-keys.toml to have new ones made");
        let auth = &config.auth;
        let service = auth.service_keys.first().and_then(|service| service.source()).ok_or_else(missing)?;
        let admin = auth.admin_key().ok_or_else(missing)?;
        let read = |source: largesse_config::KeySource| source.read().map(|key| key.expose().to_owned());
        let room = config.room.first().ok_or_else(|| Failure::new("no room is configured"))?;
        Ok(Ready {
            listen: running.public,
            admin: running.admin,
            service_key: read(service).map_err(Failure::new)?,
            admin_key: read(admin).map_err(Failure::new)?,
            tokens,
            room: room.id.to_string(),
            hosts: room.hosts.iter().map(ToString::to_string).collect(),
        })
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "listen": self.listen.to_string(),
            "admin": self.admin.to_string(),
            "service_key": self.service_key,
            "admin_key": self.admin_key,
            "tokens": self.tokens,
            "room": self.room,
            "hosts": self.hosts,
            "pid": std::process::id(),
        })
    }

    fn text(&self, dir: &Path) -> String {
        let mut fields = vec![
            ("listening".to_owned(), format!("http://{}", self.listen)),
            ("admin".into(), format!("http://{}", self.admin)),
            ("data".into(), dir.display().to_string()),
            ("room".into(), format!("{} with hosts {}", self.room, self.hosts.join(", "))),
            ("room page".into(), format!("http://{}/room", self.listen)),
            ("service key".into(), self.service_key.clone()),
            ("admin key".into(), self.admin_key.clone()),
        ];
        fields.extend(self.tokens.iter().map(|(user, token)| (format!("viewer {user}"), token.clone())));
        let fields = output::fields(fields.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let env = dir.join(dev_env::FILE);
        format!(
            "{fields}\n\nAll of it is in {}. Try, in another terminal:\n  largesse gift send --from 3001 --room {} \
                 --gift rose --count 5 --to {}\n  largesse account get {}",
            env.display(),
            self.room,
            self.hosts.join(" --to "),
            self.hosts.first().map_or("3001", String::as_str)
        )
    }

    fn env(&self) -> DevEnv {
        let mut env = DevEnv::default();
        env.set(dev_env::URL, format!("http://{}", self.listen));
        env.set(dev_env::ADMIN_URL, format!("http://{}", self.admin));
        env.set(dev_env::SERVICE_KEY, &self.service_key);
        env.set(dev_env::ADMIN_KEY, &self.admin_key);
        env.set("LARGESSE_ROOM", &self.room);
        env.set("LARGESSE_HOSTS", self.hosts.join(" "));
        for (user, token) in &self.tokens {
            env.set(&format!("{}{user}", dev_env::TOKEN), token);
        }
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_reach_it() {
        for good in ["127.0.0.1:0", "127.8.0.1:80", "[::1]:8080"] {
            assert!(refuse_strangers(good.parse().unwrap(), "--listen").is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:8080", "192.168.1.2:80", "[::]:8080"] {
            let failure = refuse_strangers(bad.parse().unwrap(), "--listen").unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Usage);
        }
    }
}
