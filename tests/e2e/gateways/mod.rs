//! Gateways in front of a process that owns shards, with a real Redis between, and with each of the three going away.

mod viewer;

use std::net::TcpListener;
use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

pub use self::viewer::Viewer;
use crate::harness::{As, Call, Config, Launch, Scratch, Server, audit, until};
use crate::mirror::Redis;

const GATEWAY_KEY: &str = "lgk_fedcba9876543210fedcba9876543210";
const COINS: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// One that owns shards, at an address that does not change.
struct World {
    redis: Redis,
    scratch: Scratch,
    listen: String,
    owner: Server,
}

impl World {
    /// `None` when servers are left out.
    async fn start() -> Option<World> {
        let redis = Redis::start().await?;
        let scratch = Scratch::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let owner = World::launch(&redis, &scratch, &listen).ready().await;
        owner.client.apply_catalog(|_| ()).await;
        for user in [3001, 3002, 3003] {
            owner.client.recharge(user, COINS, &format!("start-{user}")).await.ok();
        }
        Some(World { redis, scratch, listen, owner })
    }

    fn launch(redis: &Redis, scratch: &Scratch, listen: &str) -> Launch {
        let mut config = Config::new(&[2001]);
        config.more = format!(
            "[[auth.service-keys]]\nname = \"gateways\"\nkey = \"{GATEWAY_KEY}\"\nscopes = [\"gateway\"]\n\
             [frames]\nkind = \"redis\"\nnodes = [\"127.0.0.1:{}\"]\nprefix = \"e2e:\"\nresponse-timeout = \"500 ms\"\n\
             [gateway]\nkey = \"{GATEWAY_KEY}\"\ndoubts-after = \"300 ms\"\n",
            redis.port
        );
        Launch::serve_at(&scratch.data(), &config, listen)
    }

    async fn gateway(&self) -> Server {
        let server = Launch::gateway(&self.scratch.data(), &format!("http://{}", self.listen)).ready().await;
        let is_ready = async || {
            let answer = server.client.call(Call::get(As::Admin, "/readyz")).await;
            (answer.status == StatusCode::OK).then_some(())
        };
        until("the gateway is ready", PATIENCE, is_ready).await;
        server
    }

    /// What all gifts have debited.
    async fn debited(&self) -> u64 {
        let mut left = 0;
        for user in [3001, 3002, 3003] {
            left += self.owner.client.coins(user).await;
        }
        3 * COINS - left
    }

    /// Everybody has seen what the ledger has, each gift once, and no socket has ended.
    async fn agrees(&self, gifts: u64, viewers: &[&Viewer]) {
        let debited = self.debited().await;
        assert_eq!(debited, gifts, "a rose costs one coin");
        for (at, viewer) in viewers.iter().enumerate() {
            viewer
                .until(&format!("viewer {at} sees {gifts} gifts"), |told| told.sums.events >= gifts || told.is_over)
                .await;
            let told = viewer.told();
            assert!(!told.is_over, "the socket of viewer {at} has ended");
            assert_eq!((told.sums.value, told.sums.events, told.missed), (debited, gifts, 0), "viewer {at}");
        }
    }

    fn stop(self) {
        self.owner.stop();
        let report = audit(&self.scratch.data());
        assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stdout));
    }
}

/// The sum of all series of this name.
pub async fn metric(server: &Server, name: &str) -> f64 {
    let text = server.client.call(Call::get(As::Admin, "/metrics")).await.body;
    let is_of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.as_str().unwrap().lines().filter(is_of);
    values.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn a_gift_shows_once_on_every_gateway_and_a_viewer_goes_on_at_another_one() {
    let Some(world) = World::start().await else { return };
    let (one, other) = (world.gateway().await, world.gateway().await);
    let (ann, bob, cid) =
        (Viewer::enter(&one, 3001).await, Viewer::enter(&other, 3002).await, Viewer::enter(&world.owner, 3003).await);
    let told = ann.send("g-0").await;
    assert_eq!((&told["status"], &told["receipt"]["total"]), (&json!(200), &json!(1)), "{told}");
    world.agrees(1, &[&ann, &bob, &cid]).await;
    assert!(metric(&one, "largesse_frames_received_total").await >= 1.0);

    // The same id again, by another way: the same receipt, and nothing new is shown.
    let again = one.client.gift(3001, "g-0", &json!({"gift_id": 1, "count": 1, "to": [2001]})).await;
    assert_eq!((again.is_replayed, &again.body["event_id"]), (true, &told["receipt"]["event_id"]));
    for number in 1..=10 {
        assert_eq!(ann.send(&format!("g-{number}")).await["status"], 200);
        assert_eq!(bob.send(&format!("h-{number}")).await["status"], 200);
        assert_eq!(cid.send(&format!("i-{number}")).await["status"], 200);
        other.client.gift(3002, &format!("j-{number}"), &json!({"gift_id": 1, "count": 1, "to": [2001]})).await.ok();
    }
    world.agrees(41, &[&ann, &bob, &cid]).await;
    what_is_passed_on(&world, &one).await;

    // What is shown while she is between two gateways is made up for.
    let before = ann.told();
    one.kill();
    ann.until("her socket ends", |told| told.is_over).await;
    for number in 11..=15 {
        assert_eq!(bob.send(&format!("h-{number}")).await["status"], 200);
    }
    let ann = Viewer::enter_since(&other, 3001, Some(before)).await;
    world.agrees(46, &[&ann, &bob, &cid]).await;
    assert!(ann.told().recovered);
    assert_eq!(ann.send("g-16").await["status"], 200);
    world.agrees(47, &[&ann, &bob, &cid]).await;
    other.stop();
    world.stop();
}

#[tokio::test]
async fn viewers_are_counted_over_all_processes() {
    let Some(world) = World::start().await else { return };
    let (one, other) = (world.gateway().await, world.gateway().await);
    let resident = async |count: f64| {
        let is_so = async || (metric(&world.owner, "largesse_wallets_resident").await == count).then_some(());
        until(&format!("{count} wallets are in memory"), PATIENCE, is_so).await;
    };
    world.owner.client.gift(3001, "first", &json!({"gift_id": 1, "count": 1, "to": [2001]})).await.ok();
    resident(4.0).await;
    let (ann, bob, cid) =
        (Viewer::enter(&one, 3001).await, Viewer::enter(&other, 3050).await, Viewer::enter(&world.owner, 3003).await);
    let all_see = async |count: u64, viewers: &[&Viewer]| {
        // Ticks tell it, and there are none where nothing happens.
        let is_so = async || {
            let id = format!("seen-{}", rand::random::<u64>());
            world.owner.client.gift(3001, &id, &json!({"gift_id": 1, "count": 1, "to": [2001]})).await.ok();
            viewers.iter().all(|viewer| viewer.told().viewers == count).then_some(())
        };
        until(&format!("everybody sees {count}"), PATIENCE, is_so).await;
    };
    all_see(3, &[&ann, &bob, &cid]).await;
    // Of somebody who only entered, too.
    resident(5.0).await;
    let dan = Viewer::enter(&other, 3002).await;
    all_see(4, &[&ann, &bob, &cid, &dan]).await;
    one.kill();
    all_see(3, &[&bob, &cid, &dan]).await;
    other.stop();
    all_see(1, &[&cid]).await;
    world.stop();
}

/// All that is not for sockets.
async fn what_is_passed_on(world: &World, gateway: &Server) {
    let client = &gateway.client;
    assert_eq!(client.balances(3001).await, world.owner.client.balances(3001).await);
    let poor = client.gift(3009, "poor", &json!({"gift_id": 1, "count": 1, "to": [2001]})).await;
    assert_eq!((poor.status, poor.code()), (StatusCode::PAYMENT_REQUIRED, "insufficient_funds"));
    for (path, want) in [
        ("/healthz", StatusCode::OK),
        ("/room", StatusCode::OK),
        ("/overlay", StatusCode::OK),
        ("/docs/errors", StatusCode::OK),
        ("/openapi.json", StatusCode::OK),
        ("/v1/me/balances", StatusCode::UNAUTHORIZED),
        ("/internal/catalog", StatusCode::NOT_FOUND),
        ("/v1/nothing", StatusCode::NOT_FOUND),
    ] {
        let answer = client.call(Call::get(As::Nobody, path)).await;
        assert_eq!(answer.status, want, "{path}: {}", answer.body);
    }
    let large = Call { body: Some(vec![b' '; 2 << 20]), ..Call::post(As::Service, "/v1/transfers:batch", &json!({})) };
    assert_eq!(client.call(large).await.code(), "payload_too_large");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let url = format!("{}/v1/rooms/1001/catalog", client.public);
    let answer = client.http.get(url).header("traceparent", trace).send().await.unwrap();
    assert!(answer.headers()["traceparent"].to_str().unwrap().contains("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert!(!world.scratch.data().with_extension("none").exists(), "a gateway needs no folder");
}

#[tokio::test]
async fn nothing_is_lost_while_redis_is_away() {
    let Some(mut world) = World::start().await else { return };
    let (one, other) = (world.gateway().await, world.gateway().await);
    let (ann, bob) = (Viewer::enter(&one, 3001).await, Viewer::enter(&other, 3002).await);
    let mut gifts = 0;
    let some = async |gifts: &mut u64| {
        for _ in 0..5 {
            *gifts += 1;
            assert_eq!(ann.send(&format!("r-{gifts}")).await["status"], 200, "nobody waits for Redis");
        }
    };
    some(&mut gifts).await;
    world.redis.signal(Signal::STOP);
    some(&mut gifts).await;
    world.agrees(gifts, &[&ann, &bob]).await;
    world.redis.signal(Signal::CONT);
    some(&mut gifts).await;
    world.redis.kill_and_start_again().await;
    some(&mut gifts).await;
    world.agrees(gifts, &[&ann, &bob]).await;
    // Frames come again, and not only what is asked for.
    let before = metric(&other, "largesse_frames_received_total").await;
    let comes = async || {
        let id = format!("again-{}", rand::random::<u64>());
        assert_eq!(ann.send(&id).await["status"], 200);
        (metric(&other, "largesse_frames_received_total").await > before).then_some(())
    };
    until("frames come again", PATIENCE, comes).await;
    let all = world.debited().await;
    world.agrees(all, &[&ann, &bob]).await;
    one.stop();
    other.stop();
    world.stop();
}

#[tokio::test]
async fn sockets_stay_while_the_owner_is_away_and_every_gift_is_applied_once() {
    let Some(mut world) = World::start().await else { return };
    let (one, other) = (world.gateway().await, world.gateway().await);
    let (ann, bob) = (Viewer::enter(&one, 3001).await, Viewer::enter(&other, 3002).await);
    assert_eq!(ann.send("k-0").await["status"], 200);
    let kill = async |owner: Server| {
        tokio::task::yield_now().await;
        owner.kill();
    };
    // Gifts of both are under way when it goes.
    let World { redis, scratch, listen, owner } = world;
    let (_, first, second) = tokio::join!(kill(owner), gifts(&ann, "a"), gifts(&bob, "b"));
    let honest = |told: &Value| {
        let code = told["problem"]["code"].as_str();
        told["status"] == 200 || matches!(code, Some("shard_unavailable" | "outcome_unknown"))
    };
    for (id, told) in first.iter().chain(&second) {
        assert!(honest(told), "{id}: {told}");
    }
    assert!(first.iter().chain(&second).any(|(_, told)| told["status"] != 200), "some met nobody");
    let owner = World::launch(&redis, &scratch, &listen).ready().await;
    world = World { redis, scratch, listen, owner };
    // Each is sent again with its id until that is known.
    let mut count = 1;
    for (viewer, all) in [(&ann, first), (&bob, second)] {
        for (id, _) in all {
            let applied = async || (viewer.send(&id).await["status"] == 200).then_some(());
            until(&format!("{id} is applied"), PATIENCE, applied).await;
            count += 1;
        }
    }
    world.agrees(count, &[&ann, &bob]).await;
    one.stop();
    other.stop();
    world.stop();
}

/// Sends one after the other, and what each was told.
async fn gifts(viewer: &Viewer, name: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for number in 0..20 {
        let id = format!("{name}-{number}");
        let told = viewer.send(&id).await;
        all.push((id, told));
    }
    all
}

#[tokio::test]
async fn a_gateway_that_lacks_something_says_what() {
    let scratch = Scratch::new();
    std::fs::write(scratch.data().with_extension("toml"), "").unwrap();
    let ended = Launch::gateway(&scratch.data(), "http://127.0.0.1:1").refused().await;
    for key in ["gateway.key", "frames.kind"] {
        assert!(ended.stderr.contains(key), "{key}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("gateway.upstreams:"), "{}", ended.stderr);
}
