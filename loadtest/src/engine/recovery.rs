//! How long a ledger takes to serve again after its process was killed, part by part, and what idle wallets take in memory.
//!
//! One process prepares the ledger: it funds the viewers, waits until the store has them, then holds the store and lets
//! viewers send, so that these events are in the log only. It is killed there. This process opens the folder, waits until
//! every shard has answered a durable gift, sends gifts of before the kill again, and adds up. Caches of the system are
//! warm: it is the same machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::audit::{AuditOptions, Report};
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::event_id::EventId;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::units::{Seq, ShardId, Time, UserId};
use largesse_engine::wallet::command::WalletCommand;
use largesse_engine::wallet::outcome::WalletOutcome;
use largesse_storage::audit::data_dir;
use serde::{Deserialize, Serialize};

use super::callers::Told;
use super::crowd::{self, Crowd};
use super::servers::Servers;
use super::world::{Setup, World};
use super::{BenchError, PRICE, SHARDS_MAX, VIEWERS_MAX};
use crate::machine::{Machine, resident_bytes};
use crate::progress::{Progress, Stage};

#[derive(Clone, Debug, Serialize)]
pub struct RecoveryBench {
    /// Viewers with money.
    pub viewers: u64,
    /// Gifts that are in the log only; viewers send in turn.
    pub unflushed: u64,
    pub hosts: u64,
    pub wallet_shards: u16,
    pub workers: usize,
    pub audit: bool,
}

impl Default for RecoveryBench {
    fn default() -> Self {
        RecoveryBench { viewers: 1_000_000, unflushed: 1_000_000, hosts: 1, wallet_shards: 16, workers: 0, audit: true }
    }
}

/// What the process that prepared the ledger tells the one that measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// In the ids of its gifts.
    pub time: u64,
    pub unflushed_events: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct RecoveryReport {
    pub bench: RecoveryBench,
    pub machine: Machine,
    /// Events that were in the log only when the process was killed, relayed credits included.
    pub unflushed_events: u64,
    /// The folder and the files of the log.
    pub log_seconds: f64,
    /// The database.
    pub store_seconds: f64,
    /// All shards, side by side: reading checkpoints, claiming, folding the events since.
    pub shards_seconds: f64,
    /// Then, until every shard had answered one gift that was durable.
    pub first_gifts_seconds: f64,
    /// All of it.
    pub seconds: f64,
    /// Moving the events into the store afterwards.
    pub drain_seconds: f64,
    pub memory: RecoveryMemory,
    /// Gifts of before the kill that were sent again; each was known.
    pub sent_again: u64,
    /// What hosts should hold, and do.
    pub books: super::Books,
    pub audit: Option<Report>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecoveryMemory {
    /// Before the ledger is opened.
    pub at_start_bytes: u64,
    pub after_start_bytes: u64,
    /// Every wallet has been asked for, so all of them are in memory.
    pub after_reading_all_bytes: u64,
    /// What reading added, per viewer: the wallet and what the store caches. With no unflushed event that is an idle wallet.
    pub per_wallet_bytes: u64,
}

impl RecoveryReport {
    pub fn is_right(&self) -> bool {
        self.books.paid == self.books.received && self.audit.as_ref().is_none_or(|audit| audit.is_clean)
    }
}

const IN_FLIGHT: usize = 8;
const BATCH: usize = 1_024;
/// How many gifts of before the kill are sent again.
const SENT_AGAIN: u64 = 10_000;

impl RecoveryBench {
    pub fn check(&self) -> Result<(), BenchError> {
        let complaint = if !(1..=VIEWERS_MAX).contains(&self.viewers) {
            "viewers must be 1 to 100,000,000"
        } else if self.unflushed > VIEWERS_MAX {
            "unflushed gifts must be 0 to 100,000,000"
        } else if !(1..=10_000).contains(&self.hosts) {
            "hosts must be 1 to 10,000"
        } else if !(1..=SHARDS_MAX).contains(&self.wallet_shards) {
            "wallet shards must be 1 to 4,096"
        } else {
            return Ok(());
        };
        Err(BenchError::Invalid(complaint.into()))
    }

    async fn open(&self, dir: &Path) -> Result<World, BenchError> {
        let crowd = Arc::new(Crowd::new(LedgerShape::new(self.wallet_shards), self.viewers, self.hosts)?);
        self.open_for(crowd, dir).await
    }

    async fn open_for(&self, crowd: Arc<Crowd>, dir: &Path) -> Result<World, BenchError> {
        let place = Servers::default().place();
        let setup = Setup { place, permits: BATCH * IN_FLIGHT, workers: self.workers, audit: self.audit };
        World::start(&setup, crowd, dir).await
    }
}

/// A ledger that waits to be killed.
pub struct Ready {
    pub prepared: Prepared,
    world: World,
}

/// Makes the ledger in `dir` and leaves its latest events in the log only.
pub async fn prepare(bench: &RecoveryBench, dir: &Path, progress: Progress<'_>) -> Result<Ready, BenchError> {
    bench.check()?;
    let world = bench.open(dir).await?;
    world.fund(progress).await?;
    world.drain(progress).await;
    world.hold_store();
    let time = SystemClock.now();
    progress(Stage::Sending { seconds: 0, rate: None });
    let mut told = Told::new(bench.wallet_shards);
    for (shard, hosts, outcomes) in send(&world, time, 0..bench.unflushed).await? {
        outcomes.iter().zip(hosts).for_each(|(outcome, host)| told.note(&world.crowd, shard, outcome, host));
    }
    if told.gifts != bench.unflushed {
        let what = format!("{} of {} gifts were accepted", told.gifts, bench.unflushed);
        return Err(BenchError::Funding(what));
    }
    world.wait_for_credits(&told).await?;
    Ok(Ready { prepared: Prepared { time: time.get(), unflushed_events: world.lag() }, world })
}

impl Ready {
    /// Ends it without a kill; what the store does not have stays in the log.
    pub async fn stop(self) {
        self.world.stop().await;
    }
}

/// Opens the ledger that [`prepare`] left behind.
pub async fn measure(
    bench: RecoveryBench,
    prepared: Prepared,
    dir: &Path,
    progress: Progress<'_>,
) -> Result<RecoveryReport, BenchError> {
    bench.check()?;
    let crowd = Arc::new(Crowd::new(LedgerShape::new(bench.wallet_shards), bench.viewers, bench.hosts)?);
    let mut memory = RecoveryMemory { at_start_bytes: resident_bytes(), ..RecoveryMemory::default() };
    progress(Stage::Opening);
    let began = Instant::now();
    let world = bench.open_for(crowd, dir).await?;
    let first = Instant::now();
    let fresh = first_gifts(&world).await?;
    let (first_gifts_seconds, seconds) = (first.elapsed().as_secs_f64(), began.elapsed().as_secs_f64());
    memory.after_start_bytes = resident_bytes();
    progress(Stage::Checking);
    read_all(&world).await?;
    memory.after_reading_all_bytes = resident_bytes();
    let growth = memory.after_reading_all_bytes.saturating_sub(memory.after_start_bytes);
    memory.per_wallet_bytes = growth / bench.viewers;
    let sent_again = send_again(&world, Time(prepared.time), bench.unflushed).await?;
    let began = Instant::now();
    world.drain(progress).await;
    let drain_seconds = began.elapsed().as_secs_f64();
    let received = world.wait_for_credits(&fresh).await?;
    let opened = world.opened;
    world.stop().await;
    let audit = if bench.audit {
        progress(Stage::Auditing);
        Some(data_dir(dir, AuditOptions::default()).await?)
    } else {
        None
    };
    Ok(RecoveryReport {
        machine: Machine::here(dir),
        unflushed_events: prepared.unflushed_events,
        log_seconds: opened.log.as_secs_f64(),
        store_seconds: opened.store.as_secs_f64(),
        shards_seconds: opened.shards.as_secs_f64(),
        first_gifts_seconds,
        seconds,
        drain_seconds,
        memory,
        sent_again,
        books: super::Books { paid: fresh.paid + bench.unflushed * PRICE, received },
        audit,
        bench,
    })
}

type Sent = (ShardId, Vec<UserId>, Vec<WalletOutcome>);

/// Gifts by number: viewers in turn, an id made of the number, so that the same one can be sent again.
async fn send(world: &World, time: Time, numbers: std::ops::Range<u64>) -> Result<Vec<Sent>, BenchError> {
    let crowd = &world.crowd;
    let viewers: Vec<UserId> = crowd.viewers.iter().flatten().copied().collect();
    let mut by_shard = vec![Vec::new(); crowd.viewers.len()];
    for number in numbers {
        let turn = usize::try_from(number).unwrap_or(usize::MAX);
        let (viewer, host) = (viewers[turn % viewers.len()], crowd.hosts[turn % crowd.hosts.len()]);
        by_shard[usize::from(crowd.shape.wallet_of(viewer).index)].push((number, viewer, host));
    }
    let batches = by_shard.iter().enumerate().map(|(index, gifts)| async move {
        let mut sent = Vec::new();
        for some in gifts.chunks(BATCH) {
            let now = SystemClock.now();
            let commands = || {
                let gift = |(number, viewer, host): &(u64, UserId, UserId)| {
                    crowd::gift(numbered(time, *number), *viewer, *host, now)
                };
                some.iter().map(gift).collect()
            };
            let shard = crowd::shard(index);
            let outcomes = world.insist(shard, commands).await?;
            sent.push((shard, some.iter().map(|(_, _, host)| *host).collect(), outcomes));
        }
        Ok::<_, BenchError>(sent)
    });
    let sent: Vec<Vec<Sent>> = stream::iter(batches).buffer_unordered(IN_FLIGHT).try_collect().await?;
    Ok(sent.into_iter().flatten().collect())
}

fn numbered(time: Time, number: u64) -> EventId {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    EventId::v7(time, bytes)
}

/// One gift on every shard where somebody lives.
async fn first_gifts(world: &World) -> Result<Told, BenchError> {
    let crowd = &world.crowd;
    let mut told = Told::new(crowd.shape.wallet_shards);
    let host = crowd.hosts[0];
    let first = |(index, viewers): (usize, &Vec<UserId>)| Some((crowd::shard(index), *viewers.first()?));
    let first: Vec<_> = crowd.viewers.iter().enumerate().filter_map(first).collect();
    let gifts = first.into_iter().map(|(shard, viewer)| async move {
        let now = SystemClock.now();
        let id = EventId::v7(now, rand::random());
        let outcomes = world.insist(shard, || vec![crowd::gift(id, viewer, host, now)]).await?;
        Ok::<_, BenchError>((shard, outcomes))
    });
    for (shard, outcomes) in futures::future::try_join_all(gifts).await? {
        outcomes.iter().for_each(|outcome| told.note(crowd, shard, outcome, host));
    }
    match told.refused {
        0 => Ok(told),
        refused => Err(BenchError::Lost(format!("{refused} shards refused a gift that its sender can pay"))),
    }
}

async fn read_all(world: &World) -> Result<(), BenchError> {
    let shards = world.crowd.viewers.iter().enumerate().map(|(index, viewers)| async move {
        for some in viewers.chunks(BATCH) {
            let wait_until = SystemClock.now();
            let reads = || some.iter().map(|user| WalletCommand::Read { user: *user, after: None, wait_until });
            for (outcome, user) in world.insist(crowd::shard(index), || reads().collect()).await?.iter().zip(some) {
                let WalletOutcome::Balances(balances) = outcome else {
                    return Err(BenchError::Lost(format!("the balances of {user}: {outcome:?}")));
                };
                if balances.amounts.is_empty() || balances.seq == Seq::NONE {
                    return Err(BenchError::Lost(format!("viewer {user} had money before the kill")));
                }
            }
        }
        Ok(())
    });
    stream::iter(shards).buffer_unordered(IN_FLIGHT).try_collect().await
}

/// Sends gifts of before the kill again: each must be known and move nothing.
async fn send_again(world: &World, time: Time, unflushed: u64) -> Result<u64, BenchError> {
    let sent = send(world, time, unflushed.saturating_sub(SENT_AGAIN)..unflushed).await?;
    let mut known = 0;
    for outcome in sent.iter().flat_map(|(_, _, outcomes)| outcomes) {
        let is_known = matches!(outcome, WalletOutcome::Applied(applied) if applied.replayed);
        if !is_known {
            return Err(BenchError::Lost(format!("a gift of before the kill: {outcome:?}")));
        }
        known += 1;
    }
    Ok(known)
}
