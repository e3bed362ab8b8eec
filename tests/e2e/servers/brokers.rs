//! Three brokers, and a leader that is killed: the others go on.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::Signal;

use super::log_away::engines;
use super::own::Own;
use super::stage::{PATIENCE, Probes, Stage};
use crate::harness::Dice;
use crate::setup;

/// They live on different shards.
const PROBERS: [u64; 8] = [7001, 7002, 7003, 7004, 7005, 7006, 7007, 7008];

fn leader(brokers: &str, topic: &str) -> u16 {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(20)).unwrap();
    u16::try_from(metadata.topics()[0].partitions()[0].leader()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "three brokers take a while; `./test --long` runs it"]
async fn a_leader_is_killed_and_the_others_go_on() {
    if !setup::has_servers() {
        return;
    }
    let mut dice = Dice::seeded();
    let kafka = Own::kafka(3, None).await;
    let ports = [0, 10, 20].map(|more| format!("127.0.0.1:{}", kafka.port + more));
    let stage = Stage::start("three", &engines(&format!("{ports:?}"), 3), &mut dice).await;
    let (client, mut probes) = (stage.server.client.clone(), Probes::default());
    for user in PROBERS {
        client.recharge(user, 10_000, &format!("first of {user}")).await.ok();
    }
    for round in 1..=3 {
        let killed = leader(&ports.join(","), "three.wallet");
        kafka.signal(killed, Signal::KILL);
        for user in PROBERS {
            let after = probes.paid(&client, user, PATIENCE).await;
            println!("broker {killed} was killed; {user} goes on after {after:?}");
        }
        // It joins again, or the next one that is killed would leave too few.
        kafka.up().await;
        for user in PROBERS {
            probes.paid(&client, user, PATIENCE).await;
        }
        stage.is_over(round * 5);
    }
    stage.ends_well(&probes).await;
}
