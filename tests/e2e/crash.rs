//! `kill -9` again and again under load: what clients were told is what the books say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::harness::{Client, Config, Dice, Launch, Scratch, Server};

pub mod check;
pub mod player;
mod watcher;

use player::{Player, World};
use watcher::Watcher;

use crate::setup::{Setup, setup};

/// Viewers who only send; what they have depends on nobody else.
const VIEWERS: [u64; 4] = [5001, 5002, 5003, 5004];
/// Hosts who send as well.
const HOSTS_WHO_SEND: [u64; 2] = [6001, 6002];
/// Who watches the room, and who of them reads slowly.
const WATCHERS: [(u64, bool); 3] = [(7001, false), (7002, false), (7003, true)];
const HOSTS: [u64; 6] = [2001, 2002, 2003, 2004, HOSTS_WHO_SEND[0], HOSTS_WHO_SEND[1]];

/// Far longer than a few starts take.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Longest that a process is left alone before it is killed.
const LIFE_MILLIS: u64 = 900;
/// One in so many is killed on its way to serving, which is when it recovers.
const KILLED_YOUNG: u64 = 4;

fn config() -> Config {
    // Small limits, so that segments are cut, receipts leave memory and wallets are evicted while all this goes on.
    let more = "[log]\nsegment-bytes = \"2 MiB\"\nbytes-max = \"64 MiB\"\n[engine]\nwindow-bytes-max = \"64 KiB\"\n\
                wallets-max = 2\nflush-every = \"50 ms\"\n[rooms]\ncombo-seconds = 1";
    Config { more: more.into(), ..Config::new(&HOSTS) }
}

async fn crash_and_compare(kills: u32) {
    let mut dice = Dice::seeded();
    let began = Instant::now();
    let (scratch, config) = (Scratch::new(), config());
    let server = Launch::serve(&scratch.data(), &config).ready().await;
    server.client.apply_catalog(|_| ()).await;

    let (serving, seen) = watch::channel(Some((0, server.client.clone())));
    let (stop, stopping) = watch::channel(false);
    let world =
        Arc::new(World { hosts: HOSTS.into(), seen, stopping, may_freeze: false, settled_within: SETTLED_WITHIN });
    let players = VIEWERS.iter().map(|user| (*user, true)).chain(HOSTS_WHO_SEND.iter().map(|user| (*user, false)));
    let players: Vec<_> = players
        .map(|(user, is_alone)| tokio::spawn(Player::new(user, is_alone, dice.fork(), Arc::clone(&world)).play()))
        .collect();

    let (last, told_last) = watch::channel(None);
    let watchers = WATCHERS.map(|(user, is_slow)| {
        let watcher = Watcher::new(user, is_slow, dice.fork(), Arc::clone(&world), told_last.clone());
        tokio::task::spawn_blocking(move || watcher.watch())
    });

    let server = keep_killing(server, kills, &mut dice, &serving, || Launch::serve(&scratch.data(), &config)).await;
    stop.send_replace(true);
    let mut books = Vec::new();
    for player in players {
        books.push(player.await.unwrap());
    }
    let load = began.elapsed();
    let paid: u64 = books.iter().map(player::Book::sent).sum();
    last.send_replace(Some(watcher::last_entry(&server.client, paid).await));
    let (mut sockets, mut filled) = (0, 0);
    for watcher in watchers {
        let seen = watcher.await.unwrap();
        seen.sums.check(paid);
        (sockets, filled) = (sockets + seen.sockets, filled + seen.filled);
    }
    watcher::check_feed(&server.client, paid).await;
    assert_is_well(&server);
    check::everything(&server.client, &books, &HOSTS).await;
    // Once as a kill leaves the folder, once as a stop does.
    server.kill();
    check::audit(&scratch.data());
    Launch::serve(&scratch.data(), &config).ready().await.stop();
    check::audit(&scratch.data());

    // What is in the store alone, after everything was moved there, says the same.
    let server = Launch::serve(&scratch.data(), &config).ready().await;
    check::everything(&server.client, &books, &HOSTS).await;
    watcher::check_feed(&server.client, paid).await;
    server.stop();

    let sum = |count: fn(&player::Book) -> usize| books.iter().map(count).sum::<usize>();
    let (gifts, unknown) = (sum(|book| book.gifts.len()), sum(|book| book.unknown));
    let (late, replays, reused) = (sum(|book| book.late), sum(|book| book.replays), sum(|book| book.reused));
    println!(
        "{kills} kills, {gifts} gifts, {unknown} attempts without an answer, {late} retried much later, \
         {replays} replays, {reused} keys reused; {sockets} sockets watched, {filled} entries read over HTTP; \
         load {load:?}, all {:?}",
        began.elapsed()
    );
    // A run in which nothing was ever in doubt would have shown nothing.
    assert!(gifts > 100 && unknown > 0 && late > 0 && replays > 0 && reused > 0, "too little happened");
}

/// Kills the process at random moments, also while it starts, and tells the players where the next one listens.
async fn keep_killing(
    mut server: Server,
    kills: u32,
    dice: &mut Dice,
    serving: &watch::Sender<Option<(u32, Client)>>,
    launch: impl Fn() -> Launch,
) -> Server {
    let mut starts = 0;
    for _ in 0..kills {
        // Not a wait for anything: the moment of the kill is what is drawn.
        tokio::time::sleep(Duration::from_millis(dice.below(LIFE_MILLIS))).await;
        let died = server.process.has_ended();
        assert!(died.is_none(), "it ended by itself: {died:?}\n{}", server.stderr());
        assert_is_well(&server);
        serving.send_replace(None);
        server.kill();
        if dice.below(KILLED_YOUNG) == 0 {
            let starting = launch().spawn();
            tokio::time::sleep(Duration::from_millis(dice.below(150))).await;
            starting.kill();
        }
        server = launch().ready().await;
        starts += 1;
        serving.send_replace(Some((starts, server.client.clone())));
    }
    server
}

/// Nothing that was killed is an error of the next start.
fn assert_is_well(server: &Server) {
    let said = server.stderr();
    assert!(!said.contains("ERROR") && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_were_told_survives_kills_under_load() {
    // A start that has to ask servers for everything takes longer.
    let kills = if setup() == Setup::Embedded { 30 } else { 10 };
    crash_and_compare(kills).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; `./test --long` runs it"]
async fn what_clients_were_told_survives_many_kills_under_load() {
    crash_and_compare(250).await;
}
