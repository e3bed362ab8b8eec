//! A ledger of its own for one run, with viewers who have money.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::flush::FlushLimits;
use largesse_engine::handle::CallError;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::{AppendDone, Fencing, LogError, LogRoom, Logs, ShardLog};
use largesse_engine::node::{Node, NodeOptions};
use largesse_engine::record::{Claim, LogEntry};
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::service::{Patience, Service};
use largesse_engine::shard::ShardLimits;
use largesse_engine::store::{FlushBatch, Store};
use largesse_engine::units::{Amount, Epoch, NodeId, Position, Seq, ShardId, ShardKind, Time, UserId};
use largesse_engine::wallet::command::{Recharge, RechargeSaid, WalletCommand};
use largesse_engine::wallet::event::Channel;
use largesse_engine::wallet::outcome::{Refusal, WalletOutcome};
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::folder::DataFolder;
use largesse_storage::log::embedded::EmbeddedLogs;
use tokio::sync::{oneshot, watch};

use super::BenchError;
use super::callers::{self, Drive, Told};
use super::crowd::{self, COIN, Crowd};
use super::held::HeldStore;
use super::room::News;
use super::servers::{OpenLogs, Place};
use crate::progress::{Progress, Stage};

/// Enough that nobody runs out: at the most one viewer sends every gift there is.
pub const COINS: u64 = 1_000_000_000;
const FUNDED_AT_ONCE: usize = 1_024;
const FUNDINGS_IN_FLIGHT: usize = 8;
/// Before a batch is sent again of which something was sent away.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may take until every credit has arrived at the end.
const ARRIVAL: Duration = Duration::from_secs(30);

/// How often the lag is looked at while callers run.
const LAG_EVERY: Duration = Duration::from_millis(20);

/// What a ledger is opened with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub place: Place,
    /// Commands that one shard may have under way.
    pub permits: usize,
    pub workers: usize,
    /// Keep the log whole.
    pub audit: bool,
}

/// What a run of callers came to.
pub struct Driven {
    pub told: Told,
    pub seconds: f64,
    /// Seconds since the begin, and how many events the store was behind.
    pub lags: Vec<(f64, u64)>,
    pub news: News,
}

pub struct World {
    pub crowd: Arc<Crowd>,
    pub node: Node,
    pub service: Service,
    pub opened: Opened,
    store: Arc<HeldStore>,
    logs: Arc<dyn Logs>,
    embedded: Option<Arc<EmbeddedLogs>>,
    /// Whether nothing of the log is given up.
    is_whole: bool,
}

/// How long opening the ledger took, part by part.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    pub log: Duration,
    pub store: Duration,
    /// Until every shard served: checkpoint, claim, and all events since.
    pub shards: Duration,
}

impl World {
    /// Opens a ledger, which is made when there is none.
    pub async fn start(setup: &Setup, crowd: Arc<Crowd>, dir: &Path) -> Result<World, BenchError> {
        let told = |error: &dyn std::fmt::Display| BenchError::Start(error.to_string());
        let (shape, place) = (crowd.shape, &setup.place);
        let began = Instant::now();
        let folder = DataFolder::open(dir, &place.ledger, shape).map_err(|error| told(&error))?;
        let OpenLogs { logs, embedded } = place.open_logs(&folder).await?;
        let log = began.elapsed();
        let began = Instant::now();
        let store = Arc::new(HeldStore::new(place.open_store(&folder).await?));
        let store_took = began.elapsed();
        let shared = Arc::clone(&logs);
        // An audit of the whole run needs the whole log.
        let shared = if setup.audit { Arc::new(WholeLogs(shared)) } else { shared };
        let began = Instant::now();
        let options = node_options(setup, shape);
        let node = Node::start(options, shared, Arc::clone(&store) as Arc<dyn Store>, Arc::new(SystemClock)).await;
        let node = node.map_err(|error| told(&error))?;
        let opened = Opened { log, store: store_took, shards: began.elapsed() };
        Ok(World { crowd, service: node.service(), node, opened, store, logs, embedded, is_whole: setup.audit })
    }

    /// From now on the store takes nothing, until the ledger is stopped.
    pub fn hold_store(&self) {
        self.store.hold();
    }

    /// A recharge for every viewer, straight to their shards.
    pub async fn fund(&self, progress: Progress<'_>) -> Result<(), BenchError> {
        let run = SystemClock.now();
        let (done, of) = (AtomicU64::new(0), self.crowd.viewers.iter().map(|living| living.len() as u64).sum());
        let fund_shard = async |index: usize| {
            // One batch at a time: each wallet has to be looked up first, and only so many lookups of a shard may wait.
            for viewers in self.crowd.viewers[index].chunks(FUNDED_AT_ONCE) {
                self.fund_some(run, crowd::shard(index), viewers).await?;
                let done = done.fetch_add(viewers.len() as u64, Ordering::Relaxed) + viewers.len() as u64;
                progress(Stage::Funding { done, of });
            }
            Ok(())
        };
        let shards = stream::iter((0..self.crowd.viewers.len()).map(Ok));
        shards.try_for_each_concurrent(FUNDINGS_IN_FLIGHT, fund_shard).await
    }

    async fn fund_some(&self, run: Time, shard: ShardId, viewers: &[UserId]) -> Result<(), BenchError> {
        // The same transactions on every attempt: whoever has been funded is not funded twice.
        let recharges = || {
            let deadline = SystemClock.now().plus_millis(60_000);
            let recharge = |viewer: &UserId| {
                let said = RechargeSaid {
                    channel: Channel::Manual,
                    transaction: format!("{run}-{viewer}").into(),
                    user: *viewer,
                    asset: COIN,
                    amount: Amount::new(COINS).expect("far below the largest amount"),
                };
                WalletCommand::Recharge(Box::new(Recharge { said, deadline, trace: None }))
            };
            viewers.iter().map(recharge).collect()
        };
        let outcomes = self.insist(shard, recharges).await?;
        match outcomes.iter().find(|outcome| !matches!(outcome, WalletOutcome::Applied(_))) {
            None => Ok(()),
            Some(other) => Err(BenchError::Funding(format!("{shard}: {other:?}"))),
        }
    }

    /// Sends a batch until none of it is sent away for want of room.
    pub async fn insist(
        &self,
        shard: ShardId,
        commands: impl Fn() -> Vec<WalletCommand>,
    ) -> Result<Vec<WalletOutcome>, BenchError> {
        loop {
            match self.service.wallets.execute(shard, commands()).await.map(|answered| answered.outcomes) {
                Ok(outcomes) if outcomes.contains(&WalletOutcome::Refused(Refusal::Overloaded)) => {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(outcomes) => return Ok(outcomes),
                Err(CallError::Overloaded { retry_after }) => tokio::time::sleep(retry_after).await,
                Err(error) => return Err(BenchError::Funding(format!("{shard}: {error}"))),
            }
        }
    }

    /// Runs callers on a thread of their own, and watches how far the store falls behind.
    pub async fn drive(&self, drive: Drive) -> Result<Driven, BenchError> {
        let (lag_now, lag) = watch::channel(self.lag());
        let (answer, mut told) = oneshot::channel();
        let (wallets, crowd) = (Arc::clone(&self.service.wallets), Arc::clone(&self.crowd));
        let began = Instant::now();
        let thread = std::thread::Builder::new().name("callers".into()).spawn(move || {
            let _gone = answer.send(callers::run(&wallets, &crowd, &drive, &lag));
        });
        thread.map_err(|error| BenchError::Start(format!("the callers' thread: {error}")))?;
        let mut ticks = tokio::time::interval(LAG_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut lags, mut news) = (Vec::new(), News::default());
        let mut told_of_rooms = self.service.rooms.news();
        loop {
            tokio::select! {
                one = told_of_rooms.recv() => news.take(one),
                _ = ticks.tick() => {
                    let lag = self.lag();
                    lag_now.send_replace(lag);
                    lags.push((began.elapsed().as_secs_f64(), lag));
                }
                told = &mut told => {
                    let told = told.map_err(|_panicked| BenchError::Start("the callers' thread panicked".into()))?;
                    return Ok(Driven { told, seconds: began.elapsed().as_secs_f64(), lags, news });
                }
            }
        }
    }

    /// How long the log is by now, in bytes, what was given up included. A log in Kafka that was cut cannot tell.
    pub async fn log_bytes(&self) -> Option<u64> {
        match &self.embedded {
            // Positions are bytes of the one log that all shards share.
            Some(logs) => Some(logs.shard(ShardId::wallet(0)).end().await.unwrap_or_default().get()),
            None => self.is_whole.then(|| self.logs.room().bytes_used),
        }
    }

    /// Rows that the store has taken so far.
    pub fn stored_rows(&self) -> u64 {
        self.store.rows()
    }

    /// From now on copies of flushes are kept, to be replayed.
    pub fn keep_flushes(&self) {
        self.store.keep();
    }

    pub fn kept_flushes(&self) -> Vec<FlushBatch> {
        self.store.take_kept()
    }

    /// Events of wallet shards that the store does not have yet.
    pub fn lag(&self) -> u64 {
        // What rooms show of gifts is not one event for each.
        let wallets = self.node.lag().filter(|(shard, ..)| shard.kind == ShardKind::Wallet);
        wallets.map(|(_, flushed, last)| last.get().saturating_sub(flushed.seq.get())).sum()
    }

    /// Resolves once the store holds everything.
    pub async fn drain(&self, progress: Progress<'_>) {
        progress(Stage::Draining { events: self.lag() });
        self.node.drain_store().await;
    }

    /// Coins that all hosts hold now.
    pub async fn received(&self) -> Result<u64, BenchError> {
        self.read_hosts(|_| Vec::new()).await
    }

    /// Coins that all hosts hold once every credit that the callers were told of has arrived.
    pub async fn wait_for_credits(&self, told: &Told) -> Result<u64, BenchError> {
        let shards = self.crowd.shape.wallet_shards;
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
        let mut reads = stream::iter(self.crowd.hosts.iter().map(|host| {
            let shard = self.crowd.shape.wallet_of(*host);
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
            let outcomes = read.map_err(|error| failed(&error))?.outcomes;
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
        self.store.refuse();
        self.node.stop().await;
        drop(self.service);
        if let Some(logs) = self.embedded {
            logs.close();
        }
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

    fn is_full(&self) -> bool {
        self.0.is_full()
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

fn node_options(setup: &Setup, shape: LedgerShape) -> NodeOptions {
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
        permits_per_shard: setup.permits.max(FUNDED_AT_ONCE * FUNDINGS_IN_FLIGHT),
        workers: setup.workers,
        patience: Patience::default(),
        room_limits: RoomLimits::default(),
        rooms: Vec::new(),
    }
}
