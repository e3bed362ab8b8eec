//! Which server a client command talks to, and as whom.

use std::path::PathBuf;

use clap::Args;

use crate::client::Client;
use crate::dev_env::{self, DevEnv};
use crate::exit::Failure;

const URL_DEFAULT: &str = "http://127.0.0.1:8080";
const ADMIN_URL_DEFAULT: &str = "http://127.0.0.1:8081";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connect {
    /// The server's address [default: that of `largesse dev` in --data, else http://127.0.0.1:8080].
    #[arg(long, env = "LARGESSE_URL", value_name = "URL")]
    pub addr: Option<String>,

    /// The server's admin address [default: that of `largesse dev` in --data, else http://127.0.0.1:8081].
    #[arg(long, env = "LARGESSE_ADMIN_URL", value_name = "URL")]
    pub admin_addr: Option<String>,

    /// A viewer's token, or @FILE to read it from.
    #[arg(long, env = "LARGESSE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,

    /// A service's key, or @FILE to read it from.
    #[arg(long, env = "LARGESSE_SERVICE_KEY", hide_env_values = true, value_name = "KEY")]
    pub service_key: Option<String>,

    /// The administrator's key, or @FILE to read it from.
    #[arg(long, env = "LARGESSE_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    pub admin_key: Option<String>,

    /// The data folder of `largesse dev`, where it leaves addresses and keys.
    #[arg(long, env = "LARGESSE_DATA", default_value = "./largesse-data", value_name = "DIR")]
    pub data: PathBuf,
}

/// As whom a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    Anyone,
    Viewer(u64),
    Service,
    /// The viewer's own token if there is one, else the service key.
    ViewerOrService(u64),
    /// On the admin port.
    Admin,
}

impl Connect {
    pub fn client(&self, who: As) -> Result<Client, Failure> {
        let (base, bearer) = self.resolve(who)?;
        Client::new(&base, bearer)
    }

    /// Whether a viewer's own token is at hand.
    pub fn has_token(&self, user: u64) -> bool {
        self.token.is_some() || self.resolve(As::Viewer(user)).is_ok()
    }

    fn resolve(&self, who: As) -> Result<(String, Option<String>), Failure> {
        let dev = DevEnv::read(&self.data).map_err(|error| {
            Failure::new(format_args!("cannot read {}: {error}", self.data.join(dev_env::FILE).display()))
        })?;
        let (given, variable, default) = match who {
            As::Admin => (&self.admin_addr, dev_env::ADMIN_URL, ADMIN_URL_DEFAULT),
            As::Anyone | As::Viewer(_) | As::Service | As::ViewerOrService(_) => {
                (&self.addr, dev_env::URL, URL_DEFAULT)
            }
        };
        let of_dev = dev.get(variable);
        let base = given.as_deref().or(of_dev).unwrap_or(default).to_owned();
        // Keys of a dev server are for that server only.
        let dev = if of_dev == Some(base.trim_end_matches('/')) { dev } else { DevEnv::default() };
        Ok((base, self.bearer(who, &dev)?))
    }

    fn bearer(&self, who: As, dev: &DevEnv) -> Result<Option<String>, Failure> {
        let token = |user| secret(self.token.as_deref().or(dev.token(user)));
        let service = || secret(self.service_key.as_deref().or(dev.get(dev_env::SERVICE_KEY)));
        let (found, missing) = match who {
            As::Anyone => return Ok(None),
            As::Viewer(user) => (token(user)?, format!("--token is needed to act as {user}")),
            As::Service => (service()?, "--service-key is needed".into()),
            As::ViewerOrService(user) => {
                let found = token(user)?.map_or_else(service, |token| Ok(Some(token)))?;
                (found, format!("--token of {user} or --service-key is needed"))
            }
            As::Admin => {
                (secret(self.admin_key.as_deref().or(dev.get(dev_env::ADMIN_KEY)))?, "--admin-key is needed".into())
            }
        };
        let help = format!(
            "there is none in {} for this address; make a token with `largesse token gen`, or set it in the environment",
            self.data.join(dev_env::FILE).display()
        );
        found.map(Some).ok_or_else(|| Failure::usage(missing).help(help))
    }
}

fn secret(given: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(path) = given.and_then(|given| given.strip_prefix('@')) else {
        return Ok(given.map(str::to_owned));
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) => Err(Failure::usage(format_args!("cannot read {path}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(dir: &std::path::Path) -> Connect {
        Connect { addr: None, admin_addr: None, token: None, service_key: None, admin_key: None, data: dir.into() }
    }

    fn dev_folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut env = DevEnv::default();
        env.set(dev_env::URL, "http://127.0.0.1:7001");
        env.set(dev_env::ADMIN_URL, "http://127.0.0.1:7002");
        env.set(dev_env::SERVICE_KEY, "lgk_dev");
        env.set(dev_env::ADMIN_KEY, "admin");
        env.set("LARGESSE_TOKEN_3001", "t3001");
        env.write(dir.path()).unwrap();
        dir
    }

    #[test]
    fn a_dev_server_is_found_with_its_keys() {
        let dir = dev_folder();
        let connect = connect(dir.path());
        let some = |base: &str, bearer: &str| (base.to_owned(), Some(bearer.to_owned()));
        assert_eq!(connect.resolve(As::Viewer(3001)).unwrap(), some("http://127.0.0.1:7001", "t3001"));
        assert_eq!(connect.resolve(As::ViewerOrService(9)).unwrap(), some("http://127.0.0.1:7001", "lgk_dev"));
        assert_eq!(connect.resolve(As::Admin).unwrap(), some("http://127.0.0.1:7002", "admin"));
        assert_eq!(connect.resolve(As::Anyone).unwrap(), ("http://127.0.0.1:7001".into(), None));
        assert!(connect.resolve(As::Viewer(9)).unwrap_err().what.contains("act as 9"));
    }

    #[test]
    fn keys_of_a_dev_server_are_never_sent_elsewhere() {
        let dir = dev_folder();
        let connect = Connect { addr: Some("http://example.com".into()), ..connect(dir.path()) };
        assert!(connect.resolve(As::Service).is_err());
        assert!(connect.resolve(As::Viewer(3001)).is_err());
    }

    #[test]
    fn what_is_said_wins_and_may_be_a_file() {
        let dir = dev_folder();
        std::fs::write(dir.path().join("t"), "from-file\n").unwrap();
        let path = format!("@{}", dir.path().join("t").display());
        let connect = Connect { token: Some(path), service_key: Some("k".into()), ..connect(dir.path()) };
        assert_eq!(connect.resolve(As::Viewer(3001)).unwrap().1.unwrap(), "from-file");
        assert_eq!(connect.resolve(As::Service).unwrap().1.unwrap(), "k");
        let missing = Connect { token: Some("@/nowhere".into()), ..connect };
        assert!(missing.resolve(As::Viewer(1)).unwrap_err().what.contains("/nowhere"));
    }
}
