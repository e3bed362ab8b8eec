//! A process under load while something happens to its servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::crash::check;
use crate::crash::player::{Book, Player, World, without_replayed};
use crate::harness::{Answer, As, Call, Client, Config, Dice, Launch, Scratch, Server, largesse, until};

pub const PLAYERS: [u64; 4] = [5001, 5002, 5003, 5004];
pub const HOSTS: [u64; 4] = [2001, 2002, 2003, 2004];
/// Hosts whom no player knows.
pub const PROBED: [u64; 2] = [2998, 2999];
/// Far longer than any harm lasts, with the start of a server behind it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A process with players, on a ledger of its own.
pub struct Stage {
    pub scratch: Scratch,
    config: Config,
    pub server: Server,
    world: Arc<World>,
    serving: watch::Sender<Option<(u32, Client)>>,
    stop: watch::Sender<bool>,
    players: Vec<JoinHandle<Book>>,
}

impl Stage {
    /// `engines` says where log and rows are, which the ledger's name keeps apart from others there.
    pub async fn start(name: &str, engines: &str, dice: &mut Dice) -> Stage {
        let scratch = Scratch::new();
        let hosts: Vec<u64> = HOSTS.into_iter().chain(PROBED).collect();
        let config = Config { ledger: name.into(), more: engines.into(), wallet_shards: 4, ..Config::new(&hosts) };
        let server = Launch::serve_as_written(&scratch.data(), &config).ready().await;
        server.client.apply_catalog(|_| ()).await;
        let (serving, seen) = watch::channel(Some((0, server.client.clone())));
        let (stop, stopping) = watch::channel(false);
        let world =
            Arc::new(World { hosts: HOSTS.into(), seen, stopping, may_freeze: false, settled_within: PATIENCE });
        let play = |user: &u64| tokio::spawn(Player::new(*user, true, dice.fork(), Arc::clone(&world)).play());
        let players = PLAYERS.iter().map(play).collect();
        Stage { scratch, config, server, world, serving, stop, players }
    }

    /// What was left open may be asked for again.
    pub fn is_over(&self, harms: u32) {
        self.serving.send_replace(Some((harms, self.server.client.clone())));
    }

    /// The players' books are right, what was told to probers as well, and the audit is clean, also after another start.
    pub async fn ends_well(self, probes: &Probes) {
        self.stop.send_replace(true);
        let mut books = Vec::new();
        for player in self.players {
            books.push(player.await.unwrap());
        }
        drop((self.serving, self.world));
        let gifts: usize = books.iter().map(|book| book.gifts.len()).sum();
        let unknown: usize = books.iter().map(|book| book.unknown).sum();
        println!("{gifts} gifts of players, {unknown} attempts without an answer");
        assert!(gifts > 50, "too little happened");
        check::everything(&self.server.client, &books, &HOSTS).await;
        probes.are_all_there(&self.server.client).await;
        assert_is_well(&self.server);
        self.server.stop();
        audit(&self.scratch);
        let server = Launch::serve_as_written(&self.scratch.data(), &self.config).ready().await;
        check::everything(&server.client, &books, &HOSTS).await;
        server.stop();
    }
}

fn assert_is_well(server: &Server) {
    let said = server.stderr();
    // A driver calls it an error when its server is away, which is no surprise here.
    let is_ours = |line: &str| line.contains("ERROR") && line.contains("largesse");
    assert!(!said.lines().any(is_ours) && !said.contains("panicked"), "{said}");
}

/// As the configuration of the stage says.
pub fn audit(scratch: &Scratch) {
    let data = scratch.data();
    let mut command = largesse();
    command.args(["audit", "-o", "json", "--profile", "dev", "--data"]).arg(&data);
    let ran = command.arg("--config").arg(data.with_extension("toml")).output().unwrap();
    let (told, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{told}{said}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(told["store"]["compared"].is_object(), "its rows were compared as well: {told}");
}

/// Asks for single gifts while something is wrong, and remembers what it was told.
#[derive(Default)]
pub struct Probes {
    number: u32,
    /// By sender and key.
    pub receipts: BTreeMap<(u64, String), Value>,
}

/// What one attempt was told, and how long that took.
pub struct Told {
    pub answer: Answer,
    pub after: Duration,
}

impl Probes {
    pub async fn gift(&mut self, client: &Client, sender: u64, key: &str) -> Told {
        let began = Instant::now();
        let body = json!({"gift_id": 1, "count": 1, "to": PROBED});
        let answer = client.gift(sender, key, &body).await;
        if answer.status == StatusCode::OK {
            self.receipts.insert((sender, key.into()), answer.body.clone());
        }
        Told { answer, after: began.elapsed() }
    }

    /// Under a key that has no time.
    pub async fn fresh_gift(&mut self, client: &Client, sender: u64) -> Told {
        self.number += 1;
        let key = format!("probe-{}", self.number);
        self.gift(client, sender, &key).await
    }

    /// The same key again and again until it is paid.
    pub async fn paid(&mut self, client: &Client, sender: u64, patience: Duration) -> Duration {
        self.number += 1;
        let (key, began) = (format!("probe-{}", self.number), Instant::now());
        loop {
            let told = self.gift(client, sender, &key).await;
            if told.answer.status == StatusCode::OK {
                return began.elapsed();
            }
            assert!(began.elapsed() < patience, "it does not go on: {}", told.answer.body);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn are_all_there(&self, client: &Client) {
        for ((sender, key), receipt) in &self.receipts {
            let found = client.call(Call::get(As::Viewer(*sender), format!("/v1/gifts/{key}"))).await.ok();
            assert_eq!(without_replayed(&found), without_replayed(receipt), "{key} was acknowledged");
        }
        let sent = self.receipts.len() as u64;
        let arrived = || async { (client.coins(PROBED[0]).await >= sent).then_some(()) };
        until("what was acknowledged has arrived", PATIENCE, arrived).await;
    }
}
