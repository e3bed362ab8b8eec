//! A single node is killed and stopped under load, again and again: what the Rust client reports is what the books say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use largesse_client::{
    Client, Code, Failure, FileOutbox, Gift, Options, Receipt, Recharge, Settled, Transfer, TransferReceipt,
};
use serde_json::Value;
use tokio::sync::watch;

use crate::crash::check;
use crate::harness::{self, Config, Dice, Launch, Scratch, until};

const VIEWERS: [u64; 6] = [5001, 5002, 5003, 5004, 5005, 5006];
const HOSTS: [u64; 3] = [2001, 2002, 2003];
/// Gifts that one viewer has under way at a time.
const AT_ONCE: usize = 4;
/// So many turns apart, on average, a client is dropped in the middle and opened again.
const CLIENT_CRASHES: u64 = 12;

/// What a client reported, intent by intent.
#[derive(Debug)]
struct Book {
    happened: Arc<Happened>,
    applied: Vec<Receipt>,
    /// Keys of what was certainly not applied.
    refused: Vec<String>,
    /// Told as open at some time, and settled later.
    left_open: usize,
    client_crashes: usize,
}

impl Book {
    fn new(world: &World) -> Book {
        let happened = Arc::clone(&world.happened);
        Book { happened, applied: Vec::new(), refused: Vec::new(), left_open: 0, client_crashes: 0 }
    }

    fn settled(&mut self, all: Vec<Settled>) {
        for Settled { id, outcome, .. } in all {
            self.left_open += 1;
            self.happened.left_open.fetch_add(1, Ordering::Relaxed);
            self.outcome(id, outcome);
        }
    }

    fn outcome(&mut self, key: String, outcome: Result<Receipt, Failure>) {
        let count = |what: &AtomicUsize| what.fetch_add(1, Ordering::Relaxed);
        match &outcome {
            Ok(_) => count(&self.happened.applied),
            Err(failure) if failure.is_certain() => count(&self.happened.refused),
            Err(_) => 0,
        };
        match outcome {
            Ok(receipt) => self.applied.push(receipt),
            Err(Failure::Refused(problem)) => {
                assert_eq!(problem.code, Code::InsufficientFunds, "{problem}");
                self.refused.push(key);
            }
            Err(Failure::GivenUp) => self.refused.push(key),
            // It is in the outbox, and told again when it is settled.
            Err(Failure::Pending { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// What has happened so far, to whomever. A run in which nothing was ever in doubt would show nothing.
#[derive(Debug, Default)]
struct Happened {
    applied: AtomicUsize,
    refused: AtomicUsize,
    left_open: AtomicUsize,
    client_crashes: AtomicUsize,
}

impl Happened {
    fn is_enough(&self) -> bool {
        let Happened { applied, refused, left_open, client_crashes } = self;
        let at_least = |count: &AtomicUsize, least| count.load(Ordering::Relaxed) >= least;
        at_least(applied, 100) && at_least(refused, 10) && at_least(left_open, 1) && at_least(client_crashes, 1)
    }
}

struct World {
    url: String,
    happened: Arc<Happened>,
    folder: PathBuf,
    stopping: watch::Receiver<bool>,
}

impl World {
    async fn open(&self, name: &str, token: &str) -> Arc<Client> {
        let mut options = Options::new(&self.url, token);
        options.attempt = Duration::from_secs(3);
        options.patience = Duration::from_secs(4);
        options.backoff = (Duration::from_millis(20), Duration::from_millis(500));
        let outbox = FileOutbox::open(self.folder.join(name), name).unwrap();
        Arc::new(Client::open(options, outbox).await.unwrap())
    }

    fn is_over(&self) -> bool {
        *self.stopping.borrow()
    }
}

/// Sends gifts, some of them too dear, and loses its client now and then.
async fn viewer(world: Arc<World>, user: u64, token: String, mut dice: Dice) -> Book {
    let mut book = Book::new(&world);
    let name = user.to_string();
    let mut client = world.open(&name, &token).await;
    let mut number = 0;
    while !world.is_over() {
        let gifts: Vec<_> = (0..AT_ONCE).map(|_| gift(&mut dice, user, &mut number)).collect();
        let sending: Vec<_> = gifts
            .iter()
            .map(|gift| {
                let (client, gift) = (Arc::clone(&client), gift.clone());
                tokio::spawn(async move { client.send_gift(gift).await })
            })
            .collect();
        if dice.below(CLIENT_CRASHES) == 0 {
            // Not a wait for anything: the moment of the crash is what is drawn.
            tokio::time::sleep(Duration::from_millis(dice.below(50))).await;
            sending.iter().for_each(|task| task.abort());
            book.client_crashes += 1;
            world.happened.client_crashes.fetch_add(1, Ordering::Relaxed);
        }
        let mut cut_short = false;
        for (gift, task) in gifts.into_iter().zip(sending) {
            match task.await {
                Ok(outcome) => book.outcome(key_of(&gift, &outcome), outcome.map(Receipt::Gift)),
                Err(_aborted) => cut_short = true,
            }
        }
        if cut_short {
            drop(Arc::into_inner(client).unwrap());
            client = world.open(&name, &token).await;
        }
        if client.left_open() > 0 {
            book.settled(client.resume().await);
        }
    }
    settle(&client, &mut book).await;
    book
}

/// The key that a gift was told about under; those that the client made are only known from what it tells.
fn key_of(gift: &Gift, outcome: &Result<largesse_client::GiftReceipt, Failure>) -> String {
    match (&gift.key, outcome) {
        (Some(key), _) => key.clone(),
        (None, Ok(receipt)) => receipt.event_id.clone(),
        (None, Err(_)) => String::new(),
    }
}

fn gift(dice: &mut Dice, user: u64, number: &mut u64) -> Gift {
    *number += 1;
    let hosts = 1 + dice.below(2);
    let to: BTreeSet<u64> = (0..hosts).map(|_| *dice.pick(&HOSTS)).collect();
    // One in eight costs more than anybody has.
    let count = if dice.below(8) == 0 { 9_999 } else { 1 + u16::try_from(dice.below(5)).unwrap() };
    let mut gift = Gift::new(1001, 9, count, to);
    // Some keys are the viewer's own, so that a refusal can be looked up by its key.
    gift.key = dice.percent(50).then(|| format!("gift {user}/{number}"));
    gift
}

/// Payments come in, and money is moved, by a service that has the same trouble.
async fn service(world: Arc<World>, key: String, mut dice: Dice) -> Book {
    let mut book = Book::new(&world);
    let client = world.open("service", &key).await;
    let mut number = 0_u64;
    while !world.is_over() {
        number += 1;
        let recharges = VIEWERS.map(|user| Recharge {
            user,
            asset: "coin".into(),
            amount: 20 + dice.below(200),
            channel: "manual".into(),
            transaction: format!("order-{user}-{number}"),
        });
        for outcome in join_all(recharges.map(|recharge| client.recharge(recharge))).await {
            book.outcome(String::new(), outcome.map(Receipt::Recharge));
        }
        let transfers: Vec<_> = (0..20)
            .map(|place| {
                let from = *dice.pick(&VIEWERS);
                let to = *dice.pick(&HOSTS);
                let amount = 1 + dice.below(5);
                let (debits, credits) = (vec![("coin".into(), amount)], vec![(to, "coin".into(), amount)]);
                Transfer { user: from, debits, credits, reference: None, key: Some(format!("move-{number}-{place}")) }
            })
            .collect();
        let keys: Vec<_> = transfers.iter().map(|transfer| transfer.key.clone().unwrap()).collect();
        for (key, outcome) in keys.into_iter().zip(client.transfers(transfers).await) {
            book.outcome(key, outcome.map(Receipt::Transfer));
        }
        if client.left_open() > 0 {
            book.settled(client.resume().await);
        }
    }
    settle(&client, &mut book).await;
    book
}

async fn settle(client: &Client, book: &mut Book) {
    // What was in doubt when it was taken up again may only be called refused a minute later.
    let deadline = Instant::now() + Duration::from_secs(180);
    while client.left_open() > 0 {
        assert!(Instant::now() < deadline, "{} are still open though the server is there", client.left_open());
        book.settled(client.resume().await);
    }
}

/// A port outside of the range that outgoing connections are given, so that it is free again for the next process.
fn a_port(dice: &mut Dice) -> String {
    loop {
        let address = format!("127.0.0.1:{}", 20_000 + dice.below(10_000));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

async fn restart_and_compare(restarts: u32) {
    let mut dice = Dice::seeded();
    let (scratch, config) = (Scratch::new(), Config::new(&HOSTS));
    let listen = a_port(&mut dice);
    let launch = || Launch::serve_at(&scratch.data(), &config, &listen);
    let mut server = launch().ready().await;
    server.client.apply_catalog(|_| ()).await;
    let (stop, stopping) = watch::channel(false);
    let happened = Arc::new(Happened::default());
    let folder = scratch.path().into();
    let world = World { url: format!("http://{listen}"), happened: Arc::clone(&happened), folder, stopping };
    let world = Arc::new(world);
    let viewers = VIEWERS.map(|user| {
        let token = server.client.token(user);
        tokio::spawn(viewer(Arc::clone(&world), user, token, dice.fork()))
    });
    let service = tokio::spawn(service(Arc::clone(&world), server.client.keys.service.clone(), dice.fork()));

    // On a machine that has no time for it, more are needed until enough has happened.
    let mut restart = 0;
    while restart < restarts || (!happened.is_enough() && restart < 20 * restarts) {
        // Not a wait for anything: the moment of the kill is what is drawn.
        tokio::time::sleep(Duration::from_millis(200 + dice.below(900))).await;
        if restart % 2 == 0 {
            server.kill()
        } else {
            server.stop()
        }
        server = launch().ready().await;
        restart += 1;
    }
    assert!(happened.is_enough(), "too little happened in {restart} restarts: {happened:?}");
    stop.send_replace(true);
    let mut books = BTreeMap::new();
    for (user, viewer) in VIEWERS.into_iter().zip(viewers) {
        books.insert(user, viewer.await.unwrap());
    }
    let service = service.await.unwrap();
    compare(&server.client, &books, &service).await;
    server.kill();
    check::audit(&scratch.data());
    launch().ready().await.stop();
    check::audit(&scratch.data());
    tell(restart, &books, &service, scratch.path());
}

fn tell(restarts: u32, books: &BTreeMap<u64, Book>, service: &Book, folder: &Path) {
    let sum = |count: fn(&Book) -> usize| books.values().chain([service]).map(count).sum::<usize>();
    let (applied, refused) = (sum(|book| book.applied.len()), sum(|book| book.refused.len()));
    let replays =
        books.values().chain([service]).flat_map(|book| &book.applied).filter(|receipt| receipt.is_replayed());
    let (left_open, crashes) = (sum(|book| book.left_open), sum(|book| book.client_crashes));
    println!(
        "{restarts} restarts, {applied} applied of which {} were replays, {refused} refused, {left_open} settled later, \
         {crashes} crashes of clients",
        replays.count()
    );
    for name in VIEWERS.iter().map(u64::to_string).chain(["service".into()]) {
        let kept = std::fs::read_to_string(folder.join(&name)).unwrap();
        let (mut open, mut settled) = (BTreeSet::new(), 0);
        for line in kept.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(id) = line["put"]["id"].as_str() {
                open.insert(id.to_owned());
            } else if let Some(id) = line["remove"].as_str() {
                open.remove(id);
                settled += 1;
            }
        }
        assert!(open.is_empty() && settled > 0, "{name}: {settled} lines settle and leave {open:?}");
    }
}

/// The books of the server against what was reported.
async fn compare(client: &harness::Client, books: &BTreeMap<u64, Book>, service: &Book) {
    let mut coins: BTreeMap<u64, i64> = BTreeMap::new();
    let mut change = |user: u64, amount: i64| *coins.entry(user).or_default() += amount;
    let signed = |amount: u64| i64::try_from(amount).unwrap();
    for (user, book) in books {
        for receipt in &book.applied {
            let Receipt::Gift(gift) = receipt else { panic!("{receipt:?}") };
            change(*user, -signed(gift.total));
            gift.to.iter().for_each(|host| change(*host, signed(gift.total) / signed(gift.to.len() as u64)));
        }
    }
    for receipt in &service.applied {
        match receipt {
            Receipt::Recharge(recharge) => change(recharge.user_id, signed(recharge.amount)),
            Receipt::Transfer(TransferReceipt { debits, credits, .. }) => {
                debits.iter().for_each(|debit| change(debit.user_id, -signed(debit.amount)));
                credits.iter().for_each(|credit| change(credit.user_id, signed(credit.amount)));
            }
            Receipt::Gift(gift) => panic!("{gift:?}"),
        }
    }
    for (user, book) in books {
        let (items, _) = client.history(*user, "sent", "gift").await;
        let listed: Vec<_> = items.iter().map(|item| item["event_id"].as_str().unwrap().to_owned()).collect();
        let reported: Vec<_> = book.applied.iter().map(|receipt| receipt.event_id().to_owned()).collect();
        let (once, told): (BTreeSet<_>, BTreeSet<_>) = (listed.iter().collect(), reported.iter().collect());
        assert_eq!(once.len(), listed.len(), "no gift of {user} was applied twice");
        assert_eq!(told.len(), reported.len(), "no gift of {user} was reported twice");
        let differing: Vec<_> = once.symmetric_difference(&told).collect();
        assert!(differing.is_empty(), "{user}: applied and reported differ: {differing:?}");
        let denied: Vec<_> = book.refused.iter().filter(|key| once.contains(key)).collect();
        assert!(denied.is_empty(), "{user}: reported as refused, and applied: {denied:?}");
    }
    let coins = &coins;
    let settled = || async {
        for (user, wanted) in coins {
            if signed(client.coins(*user).await) != *wanted {
                return None;
            }
        }
        Some(())
    };
    until(&format!("balances are {coins:?}"), Duration::from_secs(20), settled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_client_reports_survives_restarts_under_load() {
    restart_and_compare(12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; `./test --long` runs it"]
async fn what_the_client_reports_survives_many_restarts_under_load() {
    restart_and_compare(120).await;
}
