//! A ledger of its own for one run, with viewers who have money.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::flush::FlushLimits;
use largesse_engine::handle::CallError;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::{AppendDone, Fencing, LogError, LogRoom, Logs, ShardLog};
use largesse_engine::node::{Node, NodeOptions};
use largesse_engine::record::{Claim, LogEntry};
use largesse_engine::service::{Patience, Service};
use largesse_engine::shard::ShardLimits;
use largesse_engine::units::{Amount, AssetId, Epoch, NodeId, Position, Seq, ShardId, Time, UserId};
use largesse_engine::wallet::command::{Recharge, RechargeSaid, WalletCommand};
use largesse_engine::wallet::event::Channel;
use largesse_engine::wallet::outcome::{Refusal, WalletOutcome};
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::folder::DataFolder;
use largesse_storage::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};

use super::callers::Told;
use super::{BenchError, EngineBench};
use crate::popularity::{Weighted, zipf};

pub const COIN: AssetId = AssetId(1);
/// Enough that nobody runs out: at the most one viewer sends every gift there is.
const COINS: u64 = 1_000_000_000;
const FIRST_HOST: u64 = 1;
const FIRST_VIEWER: u64 = 1_000_000;
const FUNDED_AT_ONCE: usize = 1_024;
const FUNDINGS_IN_FLIGHT: usize = 8;
/// Before a batch is sent again of which something was sent away.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may take until every credit has arrived at the end.
const ARRIVAL: Duration = Duration::from_secs(30);

pub struct World {
    pub bench: EngineBench,
    pub shape: LedgerShape,
    pub node: Node,
    pub service: Service,
    pub hosts: Vec<UserId>,
    /// By shard: who lives there, and who of them sends how often.
    pub viewers: Vec<Vec<UserId>>,
    pub senders: Vec<Option<Weighted>>,
    /// Which shard the next sender lives on.
    pub shards: Weighted,
    logs: Arc<EmbeddedLogs>,
}

impl World {
    pub async fn start(bench: &EngineBench, dir: &Path) -> Result<World, BenchError> {
        let told = |error: &dyn std::fmt::Display| BenchError::Start(error.to_string());
        let shape = LedgerShape::new(bench.wallet_shards);
        let ledger = LedgerName::default();
        let folder = DataFolder::open(dir, &ledger, shape).map_err(|error| told(&error))?;
        let logs = EmbeddedLogs::open(&folder, EmbeddedLogOptions::default()).map_err(|error| told(&error))?;
        let store = EmbeddedStore::open(&folder.store(), ledger, shape, StoreOptions::default());
        let store = Arc::new(store.map_err(|error| told(&error))?);
        let logs = Arc::new(logs);
        let shared = Arc::clone(&logs) as Arc<dyn Logs>;
        // An audit of the whole run needs the whole log.
        let shared = if bench.audit { Arc::new(WholeLogs(shared)) } else { shared };
        let node = Node::start(node_options(bench, shape), shared, store, Arc::new(SystemClock)).await;
        let node = node.map_err(|error| told(&error))?;
        let mut viewers = vec![Vec::new(); usize::from(bench.wallet_shards)];
        let mut weights = vec![Vec::new(); usize::from(bench.wallet_shards)];
        for place in 0..bench.viewers {
            let viewer = UserId(FIRST_VIEWER + place);
            let shard = usize::from(shape.wallet_of(viewer).index);
            viewers[shard].push(viewer);
            weights[shard].push(zipf(place));
        }
        let sums: Vec<f64> = weights.iter().map(|weights| weights.iter().sum()).collect();
        let shards = Weighted::new(&sums).ok_or(BenchError::Invalid("nobody can send".into()))?;
        Ok(World {
            bench: bench.clone(),
            shape,
            service: node.service(),
            node,
            hosts: (FIRST_HOST..).take(usize::try_from(bench.hosts).unwrap_or(usize::MAX)).map(UserId).collect(),
            viewers,
            senders: weights.iter().map(|weights| Weighted::new(weights)).collect(),
            shards,
            logs,
        })
    }

    /// A recharge for every viewer, straight to their shards.
    pub async fn fund(&self) -> Result<(), BenchError> {
        let run = SystemClock.now();
        let shards = stream::iter((0..self.bench.wallet_shards).map(Ok));
        shards.try_for_each_concurrent(FUNDINGS_IN_FLIGHT, |index| self.fund_shard(run, index)).await
    }

    /// One batch at a time: each wallet has to be looked up first, and only so many lookups of a shard may wait.
    async fn fund_shard(&self, run: Time, index: u16) -> Result<(), BenchError> {
        for viewers in self.viewers[usize::from(index)].chunks(FUNDED_AT_ONCE) {
            self.fund_some(run, ShardId::wallet(index), viewers).await?;
        }
        Ok(())
    }

    async fn fund_some(&self, run: Time, shard: ShardId, viewers: &[UserId]) -> Result<(), BenchError> {
        let told = |what: &dyn std::fmt::Debug| BenchError::Funding(format!("{shard}: {what:?}"));
        loop {
            let deadline = SystemClock.now().plus_millis(60_000);
            let recharges = viewers.iter().map(|viewer| {
                let said = RechargeSaid {
                    channel: Channel::Manual,
                    transaction: format!("{run}-{viewer}").into(),
                    user: *viewer,
                    asset: COIN,
                    amount: Amount::new(COINS).expect("far below the largest amount"),
                };
                WalletCommand::Recharge(Box::new(Recharge { said, deadline, trace: None }))
            });
            match self.service.wallets.execute(shard, recharges.collect()).await {
                Ok(outcomes) => match outcomes.iter().find(|outcome| !matches!(outcome, WalletOutcome::Applied(_))) {
                    None => return Ok(()),
                    Some(WalletOutcome::Refused(Refusal::Overloaded)) => tokio::time::sleep(PAUSE).await,
                    Some(other) => return Err(told(other)),
                },
                // The same transactions again: whoever has been funded is not funded twice.
                Err(CallError::Overloaded { retry_after }) => tokio::time::sleep(retry_after).await,
                Err(error) => return Err(told(&error)),
            }
        }
    }

    /// Where the log ends: all shards share it.
    pub async fn log_end(&self) -> u64 {
        self.logs.shard(ShardId::wallet(0)).end().await.unwrap_or_default().get()
    }

    /// Events that the store does not have yet.
    pub fn lag(&self) -> u64 {
        self.node.lag().map(|(_, flushed, last)| last.get().saturating_sub(flushed.seq.get())).sum()
    }

    /// Coins that all hosts hold now.
    pub async fn received(&self) -> Result<u64, BenchError> {
        self.read_hosts(|_| Vec::new()).await
    }

    /// Coins that all hosts hold once every credit that the callers were told of has arrived.
    pub async fn wait_for_credits(&self, told: &Told) -> Result<u64, BenchError> {
        let shards = self.bench.wallet_shards;
        let after = |host: ShardId| {
            let sources = (0..shards).filter(|source| *source != host.index);
            sources
                .map(|source| (source, told.last_to(source, host.index)))
                .filter(|(_, seq)| *seq > Seq::NONE)
                .collect()
        };
        self.read_hosts(after).await
    }

    async fn read_hosts(&self, after: impl Fn(ShardId) -> Vec<(u16, Seq)>) -> Result<u64, BenchError> {
        let failed = |what: &dyn std::fmt::Debug| BenchError::Funding(format!("the hosts' balances: {what:?}"));
        let wait_until = SystemClock.now().plus_millis(u64::try_from(ARRIVAL.as_millis()).unwrap_or(u64::MAX));
        let mut sum = 0;
        let mut reads = stream::iter(self.hosts.iter().map(|host| {
            let shard = self.shape.wallet_of(*host);
            let read = |after| WalletCommand::Read { user: *host, after, wait_until };
            // The last one rests on all that come before it, which wait for one source each.
            let waits: Vec<_> = after(shard).into_iter().map(|after| read(Some(after))).collect();
            let last = read(None);
            async move {
                if !waits.is_empty() {
                    self.service.wallets.execute(shard, waits).await?;
                }
                self.service.wallets.execute(shard, vec![last]).await
            }
        }))
        .buffer_unordered(FUNDINGS_IN_FLIGHT);
        while let Some(read) = reads.next().await {
            let outcomes = read.map_err(|error| failed(&error))?;
            match outcomes.first() {
                Some(WalletOutcome::Balances(balances)) => {
                    let coins = balances.amounts.iter().find(|(asset, _)| *asset == COIN);
                    sum += coins.map_or(0, |(_, amount)| amount.get());
                }
                other => return Err(failed(&other)),
            }
        }
        Ok(sum)
    }

    pub async fn stop(self) {
        self.node.stop().await;
        drop(self.service);
        self.logs.close();
    }
}

/// Logs that give up nothing.
struct WholeLogs(Arc<dyn Logs>);

struct WholeLog(Arc<dyn ShardLog>);

impl Logs for WholeLogs {
    fn shard(&self, shard: ShardId) -> Arc<dyn ShardLog> {
        Arc::new(WholeLog(self.0.shard(shard)))
    }

    fn room(&self) -> LogRoom {
        self.0.room()
    }

    fn is_tight(&self) -> bool {
        self.0.is_tight()
    }
}

impl ShardLog for WholeLog {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        self.0.claim(claim)
    }

    fn append(&self, epoch: Epoch, record: Bytes, done: AppendDone) {
        self.0.append(epoch, record, done);
    }

    fn read(&self, from: Position, bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        self.0.read(from, bytes_max)
    }

    fn wait_for(&self, from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.0.wait_for(from)
    }

    fn truncate_before(&self, _position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        self.0.end()
    }

    fn fencing(&self) -> Fencing {
        self.0.fencing()
    }
}

fn node_options(bench: &EngineBench, shape: LedgerShape) -> NodeOptions {
    NodeOptions {
        node: NodeId(1),
        shape,
        wallets: WalletLimits {
            window: WindowLimits { bytes_max: 256 << 20, age_millis: 15_000 },
            wallets_max: 1_000_000,
            history_millis: 400 * 86_400_000,
            hash_seed: rand::random(),
        },
        shards: ShardLimits::default(),
        accumulators: AccumulatorLimits::default(),
        flush: FlushLimits::default(),
        flush_every: Duration::from_millis(200),
        // Every caller has one batch under way, and all of them may go to one shard.
        permits_per_shard: (bench.callers * bench.batch).max(FUNDED_AT_ONCE * FUNDINGS_IN_FLIGHT),
        workers: bench.workers,
        patience: Patience::default(),
        rooms: Vec::new(),
    }
}
