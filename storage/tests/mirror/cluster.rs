//! Three primaries that share the keys.

use std::process::Command;

use largesse_storage::mirror::Topology;

use crate::server::{Redis, free_ports, until};
use crate::world::{World, options};

pub struct Cluster(Vec<Redis>);

impl Cluster {
    pub async fn start() -> Option<Cluster> {
        let ports = free_ports(6);
        let members: Option<Vec<Redis>> = (0..3).map(|at| Redis::member(ports[at], ports[at + 3])).collect();
        let members = members?;
        let nodes: Vec<String> = members.iter().map(Redis::node).collect();
        let made = Command::new("redis-cli").args(["--cluster", "create"]).args(&nodes).arg("--cluster-yes").output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Cluster(members);
        cluster.until_whole().await;
        Some(cluster)
    }

    async fn until_whole(&self) {
        let is_whole = |redis: &Redis| redis.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        until("every node to see a whole cluster", || self.0.iter().all(is_whole)).await;
    }

    pub fn members(&self) -> &[Redis] {
        &self.0
    }

    /// Ends one and starts it again.
    pub async fn lose_and_find(&mut self, member: usize) {
        self.0[member].kill();
        self.0[member].start_again();
        self.until_whole().await;
    }

    pub fn topology(&self) -> Topology {
        Topology::Cluster { nodes: vec![self.0[0].node()] }
    }

    /// Keys by member.
    fn keys(&self, pattern: &str) -> Vec<usize> {
        self.0.iter().map(|redis| redis.ask::<Vec<String>>(&["KEYS", pattern]).len()).collect()
    }
}

#[tokio::test]
async fn a_cluster_holds_everything_and_heals_when_one_of_it_loses_its_part() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let world = World::start(options(cluster.topology())).await;
    let users: Vec<(u64, u64)> = (1..=300).map(|user| (user, 10)).collect();
    world.has(1, &users).await;
    let count = |cluster: &Cluster| cluster.keys("I.asset.*").iter().sum::<usize>();
    until("all balances", || count(&cluster) == 300).await;
    assert!(cluster.keys("I.asset.*").iter().all(|&keys| keys > 50), "{:?}", cluster.keys("I.asset.*"));

    cluster.0[1].ask::<()>(&["FLUSHALL"]);
    until("all balances after a flush of one", || count(&cluster) == 300).await;

    cluster.0[2].kill();
    world.has(2, &[(1, 11)]).await;
    cluster.0[2].start_again();
    cluster.until_whole().await;
    until("all balances after a restart of one", || count(&cluster) == 300).await;
    until("what changed meanwhile", || {
        cluster.0.iter().any(|redis| {
            let is_here = redis.ask::<Vec<String>>(&["KEYS", "I.asset.1.coin"]).len() == 1;
            is_here && redis.field("I.asset.1.coin", "amount").as_deref() == Some("11")
        })
    })
    .await;
}
