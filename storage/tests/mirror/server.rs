//! Redis processes that nobody else uses; each ends with its handle.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, cmd};
use rustix::process::{Pid, Signal, kill_process};

/// Far longer than anything takes; only what hangs gets here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether somebody said that servers shall be left out.
fn is_left_out() -> bool {
    let is_off = std::env::var("LARGESSE_TEST_SERVICES").is_ok_and(|value| value == "off");
    if is_off {
        eprintln!("left out: LARGESSE_TEST_SERVICES=off");
    }
    is_off
}

pub struct Redis {
    child: Child,
    pub port: u16,
    arguments: Vec<String>,
    _dir: tempfile::TempDir,
}

/// The listeners are held together, so that no port comes twice.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Redis {
    /// One server; `None` when servers are left out.
    pub fn start() -> Option<Redis> {
        (!is_left_out()).then(|| Redis::start_with(free_ports(1)[0], &[]))
    }

    /// One of a cluster.
    pub fn member(port: u16, bus: u16) -> Option<Redis> {
        let bus = bus.to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"];
        (!is_left_out()).then(|| Redis::start_with(port, &arguments))
    }

    fn start_with(port: u16, more: &[&str]) -> Redis {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        let mut arguments: Vec<String> =
            ["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", &path, "--save", "", "--appendonly", "no"]
                .map(str::to_owned)
                .into();
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let redis = Redis { child: spawn(&arguments), port, arguments, _dir: dir };
        redis.wait_until_it_answers();
        redis
    }

    pub fn node(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    #[expect(clippy::disallowed_methods, reason = "a server that starts tells nobody when it is ready")]
    fn wait_until_it_answers(&self) {
        let began = Instant::now();
        while self.try_ask::<String>(&cmd("PING")).is_err() {
            assert!(began.elapsed() < PATIENCE, "redis-server does not answer at port {}", self.port);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?;
        command.query(&mut client.get_connection_with_timeout(Duration::from_secs(5))?)
    }

    /// Asks as anybody else would.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        self.try_ask(&command).unwrap()
    }

    pub fn field(&self, key: &str, field: &str) -> Option<String> {
        self.ask(&["HGET", key, field])
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// After [`Redis::kill`]: at the same port, with nothing in it.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.arguments);
        self.wait_until_it_answers();
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }
}

fn spawn(arguments: &[String]) -> Child {
    let started = Command::new("redis-server").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    started.unwrap_or_else(|error| panic!("redis-server: {error}; `scripts/services up redis` installs it"))
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Asks again and again until it is so. Redis tells nobody when a key has changed.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never came to: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
