//! The tasks behind each shard: one keeps an owner running, one moves its log into the store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::Actor;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::flush::{FlushError, FlushLimits, Flushed, Flusher, Rows};
use crate::log::ShardLog;
use crate::node::actor::{Ended, Hosted, ShardActor, ShardMsg};
use crate::node::backoff::{Backoff, Ladder};
use crate::node::door::Door;
use crate::node::inbox::{Alarm, Inbox, ShardRef};
use crate::node::{ShardHealth, StartError, Stopping, threads};
use crate::shard::ShardLimits;
use crate::store::Store;
use crate::units::NodeId;

const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// The threads of a node.
pub(super) struct Workers {
    /// With a runtime each. A shard stays on one of them: waking another core costs more than the work itself.
    shards: Vec<(OwnRuntime, Arc<Alarm>)>,
    /// For flushers: behind is what they may be.
    background: OwnRuntime,
}

/// A runtime on a thread of its own, where it also ends.
struct OwnRuntime {
    handle: Handle,
    stop: watch::Sender<bool>,
}

impl OwnRuntime {
    fn start(name: String, mut builder: Builder) -> std::io::Result<OwnRuntime> {
        let runtime = builder.enable_all().thread_name(name.clone()).build()?;
        let handle = runtime.handle().clone();
        let (stop, mut stopped) = watch::channel(false);
        let run = move || {
            threads::hurry();
            runtime.block_on(async { drop(stopped.wait_for(|is_over| *is_over).await) });
        };
        std::thread::Builder::new().name(name).spawn(run)?;
        Ok(OwnRuntime { handle, stop })
    }
}

impl Workers {
    /// With 0, as many threads for shards as there are cores, but one, which is left to the log and to flushing.
    pub(super) fn start(shard_threads: usize) -> Result<Workers, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shard_threads = if shard_threads == 0 { cores.saturating_sub(1).max(1) } else { shard_threads };
        let failed = |error: std::io::Error| StartError::Thread(error.to_string());
        let shard = |number| {
            let runtime = OwnRuntime::start(format!("shards-{number}"), Builder::new_current_thread())?;
            let alarm = Arc::new(Alarm::default());
            runtime.handle.spawn(Arc::clone(&alarm).run());
            Ok((runtime, alarm))
        };
        let shards = (0..shard_threads).map(shard).collect::<Result<_, _>>().map_err(failed)?;
        let mut background = Builder::new_multi_thread();
        background.worker_threads(cores.div_ceil(4)).on_thread_start(threads::give_way);
        let background = OwnRuntime::start("flusher".into(), background).map_err(failed)?;
        Ok(Workers { shards, background })
    }

    /// Runs what belongs to the shard of this number.
    pub(super) fn spawn<F>(&self, number: usize, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.thread(number).0.handle.spawn(task)
    }

    pub(super) fn runtimes(&self) -> Vec<Handle> {
        self.shards.iter().map(|(runtime, _)| runtime.handle.clone()).collect()
    }

    /// What wakes the actors of that shard's thread.
    pub(super) fn alarm(&self, number: usize) -> Arc<Alarm> {
        Arc::clone(&self.thread(number).1)
    }

    fn thread(&self, number: usize) -> &(OwnRuntime, Arc<Alarm>) {
        &self.shards[number % self.shards.len()]
    }

    pub(super) fn spawn_background<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.background.handle.spawn(task)
    }

    pub(super) fn stop(&self) {
        for runtime in self.shards.iter().map(|(runtime, _)| runtime).chain([&self.background]) {
            runtime.stop.send_replace(true);
        }
    }
}

/// Resolves when the node has come this far in stopping.
async fn stopped(stopping: &mut watch::Receiver<Stopping>, stage: Stopping) {
    // A sender that is gone stops everything too.
    let _gone = stopping.wait_for(|now| *now >= stage).await;
}

pub(super) struct OwnTask<M: Hosted> {
    pub door: Arc<Door<M>>,
    pub alarm: Arc<Alarm>,
    pub log: Arc<dyn ShardLog>,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub env: M::Env,
    pub node: NodeId,
    pub limits: ShardLimits,
    pub fresh: Box<dyn Fn() -> M + Send + Sync>,
    pub health: watch::Sender<ShardHealth>,
    pub stopping: watch::Receiver<Stopping>,
}

impl<M: Hosted> OwnTask<M> {
    /// One actor after the other, each claiming and replaying afresh, until the node stops or someone has to look.
    pub(super) async fn run(mut self) {
        let shard = self.door.shard;
        let mut backoff = Backoff::new(Ladder::ENDLESS);
        while *self.stopping.borrow() == Stopping::No {
            let began = Instant::now();
            match self.own_once().await {
                Ended::Drained => break,
                Ended::Halted(why) => {
                    tracing::error!(%shard, %why, "shard halted; it serves nobody until someone has looked");
                    metrics::gauge!("largesse_shards_halted").increment(1.0);
                    self.health.send_replace(ShardHealth::Halted(why.to_string()));
                    return;
                }
                Ended::Retry(why) => {
                    tracing::warn!(%shard, why, "shard lost its owner; claiming it again");
                    self.health.send_replace(ShardHealth::Retrying(why));
                }
            }
            if began.elapsed() > Ladder::ENDLESS.longest {
                backoff.reset();
            }
            let _in_time = tokio::time::timeout(backoff.wait(), stopped(&mut self.stopping, Stopping::Drain)).await;
        }
        self.health.send_replace(ShardHealth::Stopped);
    }

    async fn own_once(&mut self) -> Ended {
        let verdict = Arc::new(Mutex::new(None));
        let inbox = Arc::new(Inbox::default());
        let actor = ShardActor {
            door: Arc::clone(&self.door),
            inbox: Arc::clone(&inbox),
            alarm: Arc::clone(&self.alarm),
            log: Arc::clone(&self.log),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            env: self.env.clone(),
            node: self.node,
            limits: self.limits,
            verdict: Arc::clone(&verdict),
        };
        let nonce = uuid::Uuid::new_v4().into_bytes();
        match Actor::spawn(None, actor, ((self.fresh)(), nonce)).await {
            Ok((actor, mut ended)) => {
                let shard = ShardRef { inbox, actor, alarm: Arc::clone(&self.alarm) };
                self.door.open(shard.clone());
                self.health.send_replace(ShardHealth::Serving);
                tokio::select! {
                    _ = &mut ended => {}
                    () = stopped(&mut self.stopping, Stopping::Drain) => {
                        let _dead = shard.send(ShardMsg::Drain);
                        let _ended = ended.await;
                    }
                }
                self.door.shut();
            }
            Err(error) => {
                let mut verdict = verdict.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                return verdict.take().unwrap_or_else(|| Ended::Retry(error.to_string()));
            }
        }
        let ended = verdict.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        ended.unwrap_or_else(|| Ended::Retry("its actor panicked; the message is in the log output".into()))
    }
}

pub(super) struct FlushTask<M: Hosted, R> {
    pub door: Arc<Door<M>>,
    pub log: Arc<dyn ShardLog>,
    pub store: Arc<dyn Store>,
    pub limits: FlushLimits,
    pub every: Duration,
    /// When the node began.
    pub began: Instant,
    pub rows: Box<dyn Fn() -> R + Send + Sync>,
    pub progress: watch::Sender<Flushed>,
    pub stopping: watch::Receiver<Stopping>,
}

/// How much of the last span has passed.
fn remainder(passed: Duration, span: Duration) -> Duration {
    let nanos = passed.as_nanos().checked_rem(span.as_nanos()).unwrap_or(0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl<M: Hosted, R: Rows> FlushTask<M, R> {
    pub(super) async fn run(mut self) {
        let shard = self.door.shard;
        let mut backoff = Backoff::new(Ladder::ENDLESS);
        loop {
            let began = Instant::now();
            match self.flush().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%shard, %error, "flushing failed; it begins again at the checkpoint");
                    metrics::counter!("largesse_flush_failures_total").increment(1);
                }
            }
            // While the node stops, one more failure ends it: the log keeps what the store did not take.
            if *self.stopping.borrow() == Stopping::Flush {
                return;
            }
            if began.elapsed() > Ladder::ENDLESS.longest {
                backoff.reset();
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Until the node has stopped and nothing is left to move.
    async fn flush(&mut self) -> Result<(), FlushError> {
        let (log, store) = (Arc::clone(&self.log), Arc::clone(&self.store));
        let settled = Arc::clone(&self.door.settled);
        let rows = (self.rows)();
        let mut flusher = Flusher::start(self.door.shard, log, store, rows, settled, self.limits).await?;
        self.announce(flusher.flushed());
        loop {
            // Asked before the log is read to its end: what a drained shard appended last is in there then.
            let is_last = *self.stopping.borrow() == Stopping::Flush;
            while let Some(flushed) = flusher.step().await? {
                self.announce(flushed);
            }
            if is_last {
                return Ok(());
            }
            let position = flusher.flushed().position;
            tokio::select! {
                arrived = self.log.wait_for(position) => arrived?,
                () = stopped(&mut self.stopping, Stopping::Flush) => {}
                // Acknowledgements arrive without a record; the checkpoint has to follow them too.
                () = tokio::time::sleep(SETTLE_EVERY), if !flusher.is_settled() => {}
            }
            // Events gather: one upsert per account and batch, however often it changed. All shards flush at the same
            // moments, so that they can share a sync.
            let pause = self.every - remainder(self.began.elapsed(), self.every);
            let _in_time = tokio::time::timeout(pause, stopped(&mut self.stopping, Stopping::Flush)).await;
        }
    }

    fn announce(&self, flushed: Flushed) {
        self.progress.send_replace(flushed);
        self.door.set_flushed(flushed);
        self.door.tell(ShardMsg::Flushed(flushed.seq));
    }
}
