//! Servers that belong to one test, which may hurt them; they end with it.

use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::root;

/// Far enough from one to the next for three brokers.
const PORTS_EACH: u16 = 50;

fn first_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let base = std::env::var("LARGESSE_TEST_OWN_PORTS").ok().map(|port| port.parse::<u16>().unwrap());
    base.unwrap_or(19_700) + TAKEN.fetch_add(PORTS_EACH, Ordering::Relaxed)
}

/// What `scripts/services` starts for one test.
pub struct Own {
    dir: tempfile::TempDir,
    service: &'static str,
    pub port: u16,
    settings: Vec<(&'static str, String)>,
}

impl Own {
    /// A broker, or three, that tell clients to come to `told`, if that is not where they are.
    pub async fn kafka(brokers: u16, told: Option<u16>) -> Own {
        let mut settings = vec![("KAFKA_BROKERS", brokers.to_string()), ("KAFKA_MEMORY", "384m".into())];
        settings.push(("KAFKA_PASSWORD", PASSWORD.into()));
        settings.extend(told.map(|port| ("KAFKA_TOLD_PORT", port.to_string())));
        Own::start("kafka", "KAFKA_PORT", settings).await
    }

    pub async fn cassandra(syncs: &str) -> Own {
        let settings = vec![("CASSANDRA_SYNC", syncs.into()), ("CASSANDRA_MEMORY", "512m".into())];
        Own::start("cassandra", "CASSANDRA_PORT", settings).await
    }

    async fn start(
        service: &'static str,
        port_setting: &'static str,
        mut settings: Vec<(&'static str, String)>,
    ) -> Own {
        let port = first_port();
        settings.push((port_setting, port.to_string()));
        let own = Own { dir: tempfile::tempdir().unwrap(), service, port, settings };
        own.up().await;
        own
    }

    /// Starts what does not run, and waits until it answers.
    pub async fn up(&self) {
        let command = self.command("up");
        let run = tokio::task::spawn_blocking(move || { command }.output().unwrap()).await.unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(root().join("scripts/services"));
        command.args([verb, self.service]).env("LARGESSE_SERVICES_DIR", self.dir.path());
        for (name, value) in &self.settings {
            command.env(format!("LARGESSE_{name}"), value);
        }
        command
    }

    fn pid(&self, folder: &str) -> Option<Pid> {
        let text = std::fs::read_to_string(self.dir.path().join(folder).join("pid")).ok()?;
        Pid::from_raw(text.lines().next()?.parse().ok()?)
    }

    /// To the only process, or to the broker of that number.
    pub fn signal(&self, broker: u16, signal: Signal) {
        let folder = if self.service == "kafka" { format!("kafka-{broker}") } else { self.service.into() };
        kill_process(self.pid(&folder).expect("it was started"), signal).unwrap();
    }
}

/// Of the user `largesse` on the port two above.
pub const PASSWORD: &str = "a password of tests";

impl Drop for Own {
    fn drop(&mut self) {
        let ended = self.command("down").output().unwrap();
        if !ended.status.success() {
            eprintln!("{} did not end: {}", self.service, String::from_utf8_lossy(&ended.stderr));
        }
    }
}
