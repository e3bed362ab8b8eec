//! The callers: each sends a batch, waits until all of it is durable, and sends the next. They have a thread of their own,
//! so that what they cost can be told apart from what the engine costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::handle::{CallError, Wallets};
use largesse_engine::units::{Seq, ShardId, UserId};
use largesse_engine::wallet::outcome::WalletOutcome;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;

use super::crowd::{Batch, Crowd};
use crate::latency::Latencies;
use crate::machine::thread_cpu_seconds;

/// How a run is driven.
#[derive(Clone, Debug)]
pub struct Drive {
    pub batch: usize,
    pub callers: usize,
    pub duration: Duration,
    /// Gifts a second by the clock; without it callers go on as soon as they are answered.
    pub rate: Option<u64>,
    /// Callers hold back while the store is more events behind than this.
    pub lag_max: Option<u64>,
}

/// What callers were told, all together.
pub struct Told {
    pub gifts: u64,
    pub paid: u64,
    pub refused: u64,
    pub overloaded: u64,
    pub unknown: u64,
    pub late: u64,
    pub latency: Latencies,
    /// Processor time of the callers' thread.
    pub cpu_seconds: f64,
    shards: usize,
    /// By source and destination shard: the last event with a credit there.
    last_to: Vec<Seq>,
}

/// A gift is late when it begins this much after it should.
const LATE: Duration = Duration::from_millis(1);

impl Told {
    pub fn new(shards: u16) -> Told {
        let shards = usize::from(shards);
        let last_to = vec![Seq::NONE; shards * shards];
        Told {
            gifts: 0,
            paid: 0,
            refused: 0,
            overloaded: 0,
            unknown: 0,
            late: 0,
            latency: Latencies::default(),
            cpu_seconds: 0.0,
            shards,
            last_to,
        }
    }

    pub fn last_to(&self, source: u16, destination: u16) -> Seq {
        self.last_to[usize::from(source) * self.shards + usize::from(destination)]
    }

    pub fn add(&mut self, other: &Told) {
        self.gifts += other.gifts;
        self.paid += other.paid;
        self.refused += other.refused;
        self.overloaded += other.overloaded;
        self.unknown += other.unknown;
        self.late += other.late;
        self.cpu_seconds += other.cpu_seconds;
        self.latency.add(&other.latency);
        self.last_to.iter_mut().zip(&other.last_to).for_each(|(last, other)| *last = (*last).max(*other));
    }

    pub fn note(&mut self, crowd: &Crowd, shard: ShardId, outcome: &WalletOutcome, host: UserId) {
        let WalletOutcome::Applied(applied) = outcome else {
            self.refused += 1;
            return;
        };
        self.gifts += 1;
        self.paid += applied.total.get();
        let destination = crowd.shape.wallet_of(host).index;
        let last = &mut self.last_to[usize::from(shard.index) * self.shards + usize::from(destination)];
        *last = (*last).max(applied.seq);
    }
}

/// Lets all callers run for the drive's time. It takes the calling thread for that long.
pub fn run(wallets: &Arc<dyn Wallets>, crowd: &Crowd, drive: &Drive, lag: &watch::Receiver<u64>) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without IO needs nothing of the system");
    let before = thread_cpu_seconds();
    let began = Instant::now();
    let callers = (0..drive.callers).map(|number| {
        let random = SmallRng::seed_from_u64(number as u64 + 1);
        let told = Told::new(crowd.shape.wallet_shards);
        Caller { wallets, crowd, drive, lag: lag.clone(), random, told, began, number }.run()
    });
    // Callers take turns on this thread: what they do between two answers is short.
    let told = runtime.block_on(futures::future::join_all(callers));
    let mut all = Told::new(crowd.shape.wallet_shards);
    told.iter().for_each(|one| all.add(one));
    all.cpu_seconds = thread_cpu_seconds() - before;
    all
}

struct Caller<'a> {
    wallets: &'a Arc<dyn Wallets>,
    crowd: &'a Crowd,
    drive: &'a Drive,
    lag: watch::Receiver<u64>,
    random: SmallRng,
    told: Told,
    began: Instant,
    number: usize,
}

impl Caller<'_> {
    async fn run(mut self) -> Told {
        let drive = self.drive;
        let end = self.began + drive.duration;
        // With a rate, each caller has a beat of its own, and they are spread over it.
        let beat = drive.rate.map(|rate| Duration::from_secs_f64((drive.batch * drive.callers) as f64 / rate as f64));
        let mut intended = match beat {
            Some(beat) => self.began + beat.mul_f64(self.number as f64 / drive.callers as f64),
            None => self.began,
        };
        while intended < end && Instant::now() < end {
            if beat.is_some() {
                tokio::time::sleep_until(intended.into()).await;
                if intended.elapsed() > LATE {
                    self.told.late += drive.batch as u64;
                }
            }
            if let Some(lag_max) = drive.lag_max {
                let has_caught_up = self.lag.wait_for(|lag| *lag <= lag_max);
                if !matches!(tokio::time::timeout_at(end.into(), has_caught_up).await, Ok(Ok(_))) {
                    break;
                }
                intended = Instant::now();
            }
            self.send(intended).await;
            intended = beat.map_or_else(Instant::now, |beat| intended + beat);
        }
        self.told
    }

    async fn send(&mut self, intended: Instant) {
        let Batch { shard, hosts, commands } = self.crowd.draw(&mut self.random, self.drive.batch, SystemClock.now());
        let count = commands.len() as u64;
        match self.wallets.execute(shard, commands).await {
            Ok(answered) => {
                self.told.latency.note(intended.elapsed(), count);
                for (outcome, host) in answered.outcomes.iter().zip(hosts) {
                    self.told.note(self.crowd, shard, outcome, host);
                }
            }
            Err(CallError::Overloaded { retry_after }) => {
                self.told.overloaded += count;
                tokio::time::sleep(retry_after).await;
            }
            Err(CallError::ShardUnavailable) => {
                self.told.refused += count;
                tokio::time::sleep(LATE).await;
            }
            Err(CallError::OutcomeUnknown) => self.told.unknown += count,
        }
    }
}
