//! The tasks behind each shard: one keeps an owner running, one moves its log into the store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::Actor;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::flush::{FlushError, FlushLimits, Flushed, Flusher, Rows};
use crate::log::ShardLog;
use crate::node::actor::{Ended, Hosted, ShardActor, ShardMsg};
use crate::node::door::Door;
use crate::node::{ShardHealth, StartError, Stopping};
use crate::shard::ShardLimits;
use crate::store::Store;
use crate::units::NodeId;

/// Pause before a shard or flusher that failed tries again; doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);
const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// Threads with a runtime each. A shard stays on one of them: waking another core costs more than the work itself.
pub(super) struct Workers {
    runtimes: Vec<(Handle, watch::Sender<bool>)>,
}

impl Workers {
    pub(super) fn start(count: usize) -> Result<Workers, StartError> {
        let mut runtimes = Vec::new();
        for number in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| StartError::Thread(error.to_string()))?;
            let handle = runtime.handle().clone();
            let (stop, mut stopped) = watch::channel(false);
            let run = move || {
                runtime.block_on(async { drop(stopped.wait_for(|is_over| *is_over).await) });
            };
            std::thread::Builder::new()
                .name(format!("shards-{number}"))
                .spawn(run)
                .map_err(|error| StartError::Thread(error.to_string()))?;
            runtimes.push((handle, stop));
        }
        Ok(Workers { runtimes })
    }

    pub(super) fn spawn<F>(&self, number: usize, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        if self.runtimes.is_empty() {
            return tokio::spawn(task);
        }
        self.runtimes[number % self.runtimes.len()].0.spawn(task)
    }

    pub(super) fn stop(&self) {
        for (_, stop) in &self.runtimes {
            stop.send_replace(true);
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
        let mut pause = PAUSE_FIRST;
        while *self.stopping.borrow() == Stopping::No {
            let began = tokio::time::Instant::now();
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
            if began.elapsed() > PAUSE_LONGEST {
                pause = PAUSE_FIRST;
            }
            let _in_time = tokio::time::timeout(pause, stopped(&mut self.stopping, Stopping::Drain)).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
        self.health.send_replace(ShardHealth::Stopped);
    }

    async fn own_once(&mut self) -> Ended {
        let verdict = Arc::new(Mutex::new(None));
        let actor = ShardActor {
            door: Arc::clone(&self.door),
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
                self.door.open(actor.clone());
                self.health.send_replace(ShardHealth::Serving);
                tokio::select! {
                    _ = &mut ended => {}
                    () = stopped(&mut self.stopping, Stopping::Drain) => {
                        let _dead = actor.cast(ShardMsg::Drain);
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
    pub rows: Box<dyn Fn() -> R + Send + Sync>,
    pub progress: watch::Sender<Flushed>,
    pub stopping: watch::Receiver<Stopping>,
}

impl<M: Hosted, R: Rows> FlushTask<M, R> {
    pub(super) async fn run(mut self) {
        let shard = self.door.shard;
        let mut pause = PAUSE_FIRST;
        loop {
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
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
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
            while let Some(flushed) = flusher.step().await? {
                self.announce(flushed);
            }
            if *self.stopping.borrow() == Stopping::Flush {
                return Ok(());
            }
            let position = flusher.flushed().position;
            tokio::select! {
                arrived = self.log.wait_for(position) => arrived?,
                () = stopped(&mut self.stopping, Stopping::Flush) => {}
                // Acknowledgements arrive without a record; the checkpoint has to follow them too.
                () = tokio::time::sleep(SETTLE_EVERY), if !flusher.is_settled() => {}
            }
            // Events gather: one upsert per account and batch, however often it changed.
            let _in_time = tokio::time::timeout(self.every, stopped(&mut self.stopping, Stopping::Flush)).await;
        }
    }

    fn announce(&self, flushed: Flushed) {
        self.progress.send_replace(flushed);
        self.door.set_flushed(flushed);
        self.door.tell(ShardMsg::Flushed(flushed.seq));
    }
}
