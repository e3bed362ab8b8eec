//! Starts the binary, talks to it, and ends it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use largesse_engine::clock::{Clock, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::setup;

pub const BIN: &str = env!("CARGO_BIN_EXE_largesse");
/// Far longer than a start takes, tables made in a busy database included; only a process that hangs gets here.
const START_PATIENCE: Duration = Duration::from_secs(180);
const REQUEST_PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "a secret of tests, which is long enough to sign";
const SERVICE_KEY: &str = "lgk_0123456789abcdef0123456789abcdef";
const ADMIN_KEY: &str = "lga_0123456789abcdef0123456789abcdef";

/// The repository's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A command of the binary that knows nothing of the variables of whoever runs the tests.
pub fn largesse() -> Command {
    let mut command = Command::new(BIN);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LARGESSE") {
            command.env_remove(name);
        }
    }
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// Audits the log and the rows of a stopped folder; a JSON report.
pub fn audit(data: &Path) -> std::process::Output {
    let mut command = largesse();
    command.args(["audit", "-o", "json", "--data"]).arg(data);
    setup::configure(&mut command, data);
    command.output().unwrap()
}

/// How a server is started.
pub struct Launch {
    command: Command,
    /// What the ready line of `serve` does not tell.
    keys: Option<Keys>,
}

/// Whoever has them may do everything.
#[derive(Clone, Debug)]
pub struct Keys {
    pub secret: String,
    pub service: String,
    pub admin: String,
}

impl Launch {
    pub fn dev(data: &Path) -> Launch {
        let mut command = largesse();
        command.args(["dev", "-o", "json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"]);
        command.arg(data);
        setup::configure(&mut command, data);
        Launch { command, keys: None }
    }

    /// With the limits of `dev`, on the engines that this run is about, and otherwise what `config` says.
    pub fn serve(data: &Path, config: &Config) -> Launch {
        Launch::serve_at(data, config, "127.0.0.1:0")
    }

    /// The same at an address that clients know before.
    pub fn serve_at(data: &Path, config: &Config, listen: &str) -> Launch {
        let mut launch = Launch::written(data, config, listen);
        setup::configure(&mut launch.command, data);
        launch
    }

    /// On the engines that `config` names, whatever this run is about.
    pub fn serve_as_written(data: &Path, config: &Config) -> Launch {
        Launch::written(data, config, "127.0.0.1:0")
    }

    /// A gateway in front of the server at `upstream`, which was started by the same configuration.
    pub fn gateway(data: &Path, upstream: &str) -> Launch {
        let mut command = largesse();
        command.args(["serve", "--role", "gateway", "-o", "json", "--listen", "127.0.0.1:0"]);
        command.args(["--admin-listen", "127.0.0.1:0", "--profile", "dev", "--config"]);
        command.arg(data.with_extension("toml")).arg("--data").arg(data.with_extension("none"));
        command.env("LARGESSE__GATEWAY__UPSTREAMS", format!("[\"{upstream}\"]"));
        let keys = Keys { secret: SECRET.into(), service: SERVICE_KEY.into(), admin: ADMIN_KEY.into() };
        Launch { command, keys: Some(keys) }
    }

    fn written(data: &Path, config: &Config, listen: &str) -> Launch {
        let file = data.with_extension("toml");
        fs::write(&file, config.to_toml()).unwrap();
        let mut command = largesse();
        command.args(["serve", "-o", "json", "--listen", listen, "--admin-listen", "127.0.0.1:0"]);
        command.args(["--profile", "dev", "--data"]).arg(data).arg("--config").arg(file);
        let keys = Keys { secret: SECRET.into(), service: SERVICE_KEY.into(), admin: ADMIN_KEY.into() };
        Launch { command, keys: Some(keys) }
    }

    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.command.env(name, value);
        self
    }

    /// Starts it and does not wait for anything.
    pub fn spawn(mut self) -> Starting {
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let write_end = File::options().append(true).open(stderr.path()).unwrap();
        self.command.stdout(Stdio::piped()).stderr(write_end);
        let mut child = self.command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (told, line) = mpsc::sync_channel(1);
        // Reads on after the first line, so that a process which prints more is not held up.
        std::thread::spawn(move || {
            for read in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _later_lines_have_no_reader = told.try_send(read);
            }
        });
        Starting { process: Process { child, stderr }, line, keys: self.keys }
    }

    /// Starts it and waits until it serves.
    pub async fn ready(self) -> Server {
        match self.spawn().ready().await {
            Ok(server) => server,
            Err(ended) => panic!("it did not start: {:?}\n{}", ended.status, ended.stderr),
        }
    }

    /// Starts it and waits until it has refused to.
    pub async fn refused(self) -> Ended {
        match self.spawn().ready().await {
            Ok(server) => panic!("it started, though it must not: {}", server.stderr()),
            Err(ended) => ended,
        }
    }
}

/// A process with what it says on stderr; it does not outlive this.
pub struct Process {
    child: Child,
    stderr: tempfile::NamedTempFile,
}

/// How a process ended, and its words.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Process {
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.stderr.path()).unwrap_or_default()
    }

    pub fn kill(&mut self) -> ExitStatus {
        // It may have ended by itself, which the status tells.
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }

    /// Stops it for a while, or lets it go on.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Ended {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        Ended { status, stderr: self.stderr() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("stderr of process {}:\n{}", self.child.id(), self.stderr());
        }
    }
}

/// A process that does not serve yet.
pub struct Starting {
    process: Process,
    line: mpsc::Receiver<String>,
    keys: Option<Keys>,
}

impl Starting {
    pub fn kill(mut self) {
        self.process.kill();
    }

    pub async fn ready(mut self) -> Result<Server, Ended> {
        let waiting = tokio::task::spawn_blocking(move || {
            let line = self.line.recv_timeout(START_PATIENCE);
            (self, line)
        });
        let (starting, line) = waiting.await.unwrap();
        self = starting;
        match line {
            Ok(line) => Ok(Server::new(self.process, &line, self.keys)),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("not ready after {START_PATIENCE:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = self.process.child.wait().unwrap();
                Err(Ended { status, stderr: self.process.stderr() })
            }
        }
    }
}

/// A process that serves.
pub struct Server {
    pub process: Process,
    pub client: Client,
    pub ready: Value,
}

impl Server {
    fn new(process: Process, line: &str, keys: Option<Keys>) -> Server {
        let ready: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |name: &str| ready[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
        let keys = keys.unwrap_or_else(|| Keys {
            // Whoever needs tokens of other users signs with the key in the folder.
            secret: String::new(),
            service: text("service_key"),
            admin: text("admin_key"),
        });
        assert_eq!(ready["pid"], process.child.id());
        let tokens = ready["tokens"].as_object().into_iter().flatten();
        let tokens = tokens.map(|(user, token)| (user.parse().unwrap(), token.as_str().unwrap().into())).collect();
        let (public, admin) = (format!("http://{}", text("listen")), format!("http://{}", text("admin")));
        // One provider of ciphers for the process; whoever comes second finds it there.
        let _there_already = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(REQUEST_PATIENCE).build().unwrap();
        let client = Client { http, public, admin, keys, tokens };
        Server { process, client, ready }
    }

    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends it as `kill` does, which must go well.
    pub fn stop(self) {
        let ended = self.process.stop();
        assert!(ended.status.success(), "{:?}\n{}", ended.status, ended.stderr);
    }
}

/// As whom a request is made.
#[derive(Clone, Debug)]
pub enum As {
    Nobody,
    Viewer(u64),
    Service,
    Admin,
    Bearer(String),
}

/// Talks to one process.
#[derive(Clone, Debug)]
pub struct Client {
    pub http: reqwest::Client,
    pub public: String,
    pub admin: String,
    pub keys: Keys,
    tokens: BTreeMap<u64, String>,
}

/// One request; what is not set is not sent.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub who: As,
    pub key: Option<String>,
    pub body: Option<Vec<u8>>,
    pub content_type: &'static str,
}

impl Call {
    pub fn get(who: As, path: impl Into<String>) -> Call {
        let content_type = "application/json";
        Call { method: Method::GET, path: path.into(), who, key: None, body: None, content_type }
    }

    pub fn post(who: As, path: impl Into<String>, body: &Value) -> Call {
        Call { method: Method::POST, body: Some(body.to_string().into_bytes()), ..Call::get(who, path) }
    }

    pub fn key(self, key: &str) -> Call {
        Call { key: Some(key.into()), ..self }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub is_replayed: bool,
    pub retry_after: Option<Duration>,
    pub content_type: String,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        self.body
    }
}

impl Client {
    pub fn token(&self, user: u64) -> String {
        self.tokens.get(&user).cloned().unwrap_or_else(|| sign(&self.keys.secret, &claims(user, 7 * 86_400)))
    }

    pub async fn try_call(&self, call: &Call) -> Result<Answer, reqwest::Error> {
        let base = if matches!(call.who, As::Admin) { &self.admin } else { &self.public };
        let mut request = self.http.request(call.method.clone(), format!("{base}{}", call.path));
        request = match &call.who {
            As::Nobody => request,
            As::Viewer(user) => request.bearer_auth(self.token(*user)),
            As::Service => request.bearer_auth(&self.keys.service),
            As::Admin => request.bearer_auth(&self.keys.admin),
            As::Bearer(token) => request.bearer_auth(token),
        };
        if let Some(key) = &call.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = &call.body {
            request = request.header("Content-Type", call.content_type).body(body.clone());
        }
        let response = request.send().await?;
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (status, is_replayed) = (response.status(), header("idempotency-replayed").as_deref() == Some("true"));
        let retry_after = header("retry-after").map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
        let content_type = header("content-type").unwrap_or_default();
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Ok(Answer { status, is_replayed, retry_after, content_type, body })
    }

    #[track_caller]
    pub fn call(&self, call: Call) -> impl Future<Output = Answer> {
        let place = std::panic::Location::caller();
        async move {
            self.try_call(&call)
                .await
                .unwrap_or_else(|error| panic!("{place}: {} {}: {error:?}", call.method, call.path))
        }
    }

    pub async fn gift(&self, sender: u64, key: &str, body: &Value) -> Answer {
        self.call(Call::post(As::Viewer(sender), "/v1/rooms/1001/gifts", body).key(key)).await
    }

    pub async fn recharge(&self, user: u64, amount: u64, transaction: &str) -> Answer {
        self.call(Call::post(As::Service, "/v1/recharges", &recharge_body(user, amount, transaction))).await
    }

    /// Amount per asset.
    pub async fn balances(&self, user: u64) -> BTreeMap<String, u64> {
        let answer = self.call(Call::get(As::Service, format!("/v1/users/{user}/balances"))).await.ok();
        let pairs = answer["balances"].as_array().unwrap().iter();
        pairs.map(|pair| (pair["asset"].as_str().unwrap().into(), pair["amount"].as_u64().unwrap())).collect()
    }

    pub async fn coins(&self, user: u64) -> u64 {
        self.balances(user).await.get("coin").copied().unwrap_or(0)
    }

    /// All pages, newest first, and until when the list was complete when it was begun.
    pub async fn history(&self, user: u64, side: &str, kind: &str) -> (Vec<Value>, Option<String>) {
        let (mut items, mut cursor, mut complete) = (Vec::new(), None::<String>, None);
        loop {
            let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let path = format!("/v1/users/{user}/history?side={side}&kind={kind}&limit=1000{more}");
            let page = self.call(Call::get(As::Service, path)).await.ok();
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            complete = complete.or(page["complete_until"].as_str().map(str::to_owned));
            cursor = page["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return (items, complete);
            }
        }
    }

    /// Applies the catalog that comes with the repository, changed a little where `edit` does.
    pub async fn apply_catalog(&self, edit: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(root().join("config/catalog.toml")).unwrap();
        let mut draft: Value = toml::from_str(&text).unwrap();
        edit(&mut draft);
        draft["reason"] = json!("a test");
        let call = Call { method: Method::PUT, ..Call::post(As::Admin, "/v1/catalog", &draft) };
        self.call(call).await.ok();
    }
}

pub fn recharge_body(user: u64, amount: u64, transaction: &str) -> Value {
    json!({"user_id": user, "asset": "coin", "amount": amount, "channel": "manual", "transaction_id": transaction})
}

pub fn now_seconds() -> u64 {
    SystemClock.now().get() / 1_000
}

pub fn claims(user: u64, life_seconds: i64) -> Value {
    let now = now_seconds();
    json!({"sub": user.to_string(), "iat": now - 7_200, "exp": now.saturating_add_signed(life_seconds)})
}

pub fn sign(secret: &str, claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// What a test says in its configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    pub ledger: String,
    pub wallet_shards: u16,
    pub rooms: Vec<(u64, Vec<u64>)>,
    pub more: String,
}

impl Config {
    pub fn new(hosts: &[u64]) -> Config {
        Config { ledger: "main".into(), wallet_shards: 8, rooms: vec![(1001, hosts.into())], more: String::new() }
    }

    fn to_toml(&self) -> String {
        let rooms = self.rooms.iter().map(|(id, hosts)| format!("[[room]]\nid = {id}\nhosts = {hosts:?}\n"));
        format!(
            "[ledger]\nname = \"{}\"\nwallet-shards = {}\n[auth]\nadmin-key = \"{ADMIN_KEY}\"\n[auth.viewer]\nsecret = \"{SECRET}\"\n\
             [[auth.service-keys]]\nname = \"tests\"\nkey = \"{SERVICE_KEY}\"\n{}\n{}",
            self.ledger,
            self.wallet_shards,
            self.more,
            rooms.collect::<String>()
        )
    }
}

/// Asks again until it is so. The pause only keeps the question from taking the processor from those who work on it.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, patience: Duration, ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "after {patience:?} still not so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A folder for data, with room for the configuration beside it.
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        setup::forget(&self.data());
    }
}

/// Random numbers that a seed brings back (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// From `LARGESSE_TEST_SEED`, or a fresh one; printed, so that a failure can be repeated as far as timing allows.
    pub fn seeded() -> Dice {
        let given = std::env::var("LARGESSE_TEST_SEED").ok().map(|text| text.parse().unwrap());
        let seed = given.unwrap_or_else(rand::random);
        println!("LARGESSE_TEST_SEED={seed}");
        Dice(seed)
    }

    pub fn fork(&mut self) -> Dice {
        Dice(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}
