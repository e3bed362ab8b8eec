//! The actor around a shard: carries messages in and effects out, and nothing else.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::clock::Clock;
use crate::log::{AppendError, ShardLog};
use crate::machine::{Impossible, Machine};
use crate::node::door::{Door, Reply, Standing};
use crate::node::inbox::{Alarm, Inbox, ShardRef, Wake};
use crate::node::stages::Stages;
use crate::record::{Claim, LogEntry};
use crate::shard::recover::{READ_BYTES, RecoverError, recover};
use crate::shard::{Effect, Shard, ShardLimits, Stop};
use crate::store::Store;
use crate::units::{NodeId, Position, Seq, ShardId, Time};

/// How often a shard does what is due by time.
const TICK: Duration = Duration::from_millis(100);
/// How often its gauges are set.
const MEASURE_MILLIS: u64 = 1_000;

/// A machine that this node knows how to serve.
pub trait Hosted: Machine {
    /// What its effects need beside log and store.
    type Env: Clone + Send + Sync + 'static;

    fn fetch(store: Arc<dyn Store>, shard: ShardId, needs: Vec<Self::Need>) -> Fetching<Self>;

    fn hand_on(env: &Self::Env, output: Self::Output);

    /// Sets this shard's gauges.
    fn measure(&self, shard: ShardId, now: Time);

    /// Makes visible to others what they may want to know.
    fn publish(&self, door: &Door<Self>)
    where
        Self: Sized;
}

/// Each need with its row, or without one when the store could not be asked.
pub type Fetching<M> = BoxFuture<'static, Vec<(<M as Machine>::Need, Option<<M as Machine>::Row>)>>;

/// All that can happen to a shard.
pub enum ShardMsg<M: Machine> {
    Commands(Reply<M::Outcome>, Vec<M::Command>),
    /// With when it was sent to the log.
    Appended(u64, Result<Position, AppendError>, Instant),
    Arrived(Vec<(M::Need, Option<M::Row>)>),
    ReadBack {
        entries: Vec<LogEntry>,
        is_end: bool,
    },
    Signal(M::Signal),
    Flushed(Seq),
    /// Everything before this message has been decided; finish what is under way and stop.
    Drain,
    Failed(String),
}

/// Configuration only: all that changes lives in [`ShardState`].
pub struct ShardActor<M: Hosted> {
    pub door: Arc<Door<M>>,
    pub inbox: Arc<Inbox<M>>,
    pub alarm: Arc<Alarm>,
    pub log: Arc<dyn ShardLog>,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub env: M::Env,
    pub node: NodeId,
    pub limits: ShardLimits,
    /// Why the last actor of this shard ended.
    pub verdict: Arc<Mutex<Option<Ended>>>,
}

/// How an actor came to its end.
#[derive(Clone, Debug)]
pub enum Ended {
    /// A fresh one may try.
    Retry(String),
    /// Someone has to look first.
    Halted(Impossible),
    Drained,
}

pub struct ShardState<M: Hosted> {
    shard: Shard<M, Reply<M::Outcome>>,
    /// What was taken from the inbox last; kept for its memory.
    messages: Vec<ShardMsg<M>>,
    is_draining: bool,
    stages: Stages,
    ticked: Instant,
    measured: Time,
}

impl<M: Hosted> Actor for ShardActor<M> {
    type Msg = Wake;
    type State = ShardState<M>;
    /// A machine without any state, and the nonce of this claim.
    type Arguments = (M, [u8; 16]);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (mut machine, nonce): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let claim = Claim { node: self.node, nonce };
        let id = self.door.shard;
        let owner = match recover(id, &mut machine, &*self.log, &*self.store, claim).await {
            Ok(owner) => owner,
            Err(error) => {
                self.end(match &error {
                    RecoverError::Impossible(impossible) => Ended::Halted(impossible.clone()),
                    RecoverError::Log(_) | RecoverError::Store(_) | RecoverError::Fenced(_) => {
                        Ended::Retry(error.to_string())
                    }
                });
                return Err(error.into());
            }
        };
        tracing::debug!(shard = %id, epoch = %owner.epoch, next = %owner.next, "shard is owned");
        self.clock.not_before(owner.time);
        let shard = Shard::new(id, machine, self.limits, self.log.fencing(), owner);
        let (messages, stages, ticked) = (Vec::new(), Stages::of(id), Instant::now());
        let mut state = ShardState { shard, messages, is_draining: false, stages, ticked, measured: Time::ZERO };
        myself.send_interval(TICK, || Wake);
        state.shard.tick(self.clock.now());
        self.carry_out(&myself, &mut state, ticked);
        self.publish(&state);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        Wake: Wake,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.clock.now();
        let mut messages = std::mem::take(&mut state.messages);
        self.inbox.take(&mut messages);
        let began = Instant::now();
        for message in messages.drain(..) {
            self.take_in(message, state, now)?;
        }
        state.messages = messages;
        if began.duration_since(state.ticked) >= TICK {
            state.ticked = began;
            state.shard.tick(now);
            self.measure(state, now);
        }
        let has_room = state.shard.in_flight() < self.limits.records_in_flight;
        state.shard.pump(now);
        let decided = Instant::now();
        state.stages.decided(has_room, began, decided);
        let stop = self.carry_out(&myself, state, decided);
        self.publish(state);
        match stop {
            Some(Stop::Impossible(impossible)) => {
                self.end(Ended::Halted(impossible.clone()));
                Err(impossible.into())
            }
            Some(Stop::Lost(lost)) => {
                self.end(Ended::Retry(lost.to_string()));
                Err(lost.into())
            }
            None => {
                if state.is_draining && state.shard.is_idle() {
                    self.end(Ended::Drained);
                    myself.stop(None);
                }
                Ok(())
            }
        }
    }
}

impl<M: Hosted> ShardActor<M> {
    fn take_in(&self, message: ShardMsg<M>, state: &mut ShardState<M>, now: Time) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMsg::Commands(reply, commands) => {
                state.stages.took_in(&reply);
                state.shard.submit(reply, commands);
            }
            ShardMsg::Appended(number, answer, began) => {
                if answer.is_ok() {
                    state.stages.is_durable(began);
                }
                state.shard.appended(number, answer, now);
            }
            ShardMsg::Arrived(rows) => rows.into_iter().for_each(|(need, row)| state.shard.arrived(&need, row)),
            ShardMsg::ReadBack { entries, is_end } => state.shard.read_back(&entries, is_end, now),
            ShardMsg::Signal(signal) => state.shard.signal(signal, now),
            ShardMsg::Flushed(seq) => state.shard.flushed(seq, now),
            ShardMsg::Drain => state.is_draining = true,
            ShardMsg::Failed(why) => {
                self.end(Ended::Retry(why.clone()));
                return Err(why.into());
            }
        }
        Ok(())
    }

    fn carry_out(&self, myself: &ActorRef<Wake>, state: &mut ShardState<M>, at: Instant) -> Option<Stop> {
        let me = || ShardRef { inbox: Arc::clone(&self.inbox), actor: myself.clone(), alarm: Arc::clone(&self.alarm) };
        for effect in state.shard.take_effects() {
            match effect {
                Effect::Answer(reply, outcomes) => reply.send(outcomes, at),
                Effect::Append { number, epoch, record } => {
                    let me = me();
                    let done = move |answer| drop(me.send(ShardMsg::Appended(number, answer, at)));
                    self.log.append(epoch, record, Box::new(done));
                }
                Effect::Output(output) => M::hand_on(&self.env, output),
                Effect::Fetch(needs) => {
                    let fetching = M::fetch(Arc::clone(&self.store), self.door.shard, needs);
                    let me = me();
                    tokio::spawn(async move { drop(me.send(ShardMsg::Arrived(fetching.await))) });
                }
                Effect::ReadBack(from) => {
                    tokio::spawn(read_back(Arc::clone(&self.log), from, me()));
                }
                Effect::Stop(stop) => return Some(stop),
            }
        }
        None
    }

    fn measure(&self, state: &mut ShardState<M>, now: Time) {
        if state.measured.plus_millis(MEASURE_MILLIS) > now && state.measured <= now {
            return;
        }
        state.measured = now;
        let shard = self.door.shard;
        state.shard.machine().measure(shard, now);
        let labels = [("shard", shard.to_string())];
        metrics::gauge!("largesse_shard_commands_under_way", &labels).set(self.door.in_use() as f64);
        // Measured here and not where it is flushed: a flusher that is stuck would not tell.
        let (last, flushed) = (state.shard.last(), self.door.flushed());
        let (events, millis) = match last.get().saturating_sub(flushed.seq.get()) {
            0 => (0, 0),
            events => (events, now.get().saturating_sub(flushed.time.get())),
        };
        metrics::gauge!("largesse_flush_lag_events", &labels).set(events as f64);
        metrics::gauge!("largesse_flush_lag_seconds", &labels).set(millis as f64 / 1_000.0);
        metrics::gauge!("largesse_shard_owner_epoch", &labels).set(state.shard.epoch().get() as f64);
    }

    fn publish(&self, state: &ShardState<M>) {
        state.shard.machine().publish(&self.door);
        self.door.set_standing(Standing { last: state.shard.last(), time: state.shard.time() });
        self.door.is_full.store(state.shard.machine().is_full(), std::sync::atomic::Ordering::Release);
    }

    fn end(&self, how: Ended) {
        *self.verdict.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(how);
    }
}

async fn read_back<M: Machine>(log: Arc<dyn ShardLog>, mut from: Position, shard: ShardRef<M>) {
    loop {
        let message = match log.read(from, READ_BYTES).await {
            Ok(entries) => {
                let is_end = entries.is_empty();
                from = entries.last().map_or(from, |last| last.position.after());
                ShardMsg::ReadBack { entries, is_end }
            }
            Err(error) => ShardMsg::Failed(error.to_string()),
        };
        let is_last = !matches!(message, ShardMsg::ReadBack { is_end: false, .. });
        if shard.send(message).is_err() || is_last {
            return;
        }
    }
}
