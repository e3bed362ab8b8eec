//! The actors that bring credits and gifts to their destinations: one per destination shard and node.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::accumulator::{Accumulator, AccumulatorLimits};
use crate::clock::Clock;
use crate::handle::CallError;
use crate::relay::{Acknowledged, RelayPart};
use crate::units::ShardId;

pub enum RelayMsg {
    Parts(Vec<RelayPart>),
    /// The oldest part may have waited long enough.
    Due,
    Answered(Result<Vec<Acknowledged>, CallError>),
}

/// Takes an answer back to its source.
pub type Notify = Arc<dyn Fn(ShardId, Acknowledged) + Send + Sync>;

/// Brings parts to the destination.
pub type Carry = Arc<dyn Fn(Vec<RelayPart>) -> BoxFuture<'static, Result<Vec<Acknowledged>, CallError>> + Send + Sync>;

pub struct RelayActor {
    pub destination: ShardId,
    pub carry: Carry,
    pub clock: Arc<dyn Clock>,
    pub limits: AccumulatorLimits,
    pub notify: Notify,
}

pub struct RelayState {
    accumulator: Accumulator,
    /// A batch is on its way: what comes meanwhile gathers.
    is_sending: bool,
    /// A [`RelayMsg::Due`] is on its way.
    is_timed: bool,
}

impl Actor for RelayActor {
    type Msg = RelayMsg;
    type State = RelayState;
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<RelayMsg>, (): ()) -> Result<RelayState, ActorProcessingErr> {
        Ok(RelayState { accumulator: Accumulator::new(self.limits), is_sending: false, is_timed: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<RelayMsg>,
        message: RelayMsg,
        state: &mut RelayState,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.clock.now();
        match message {
            RelayMsg::Parts(parts) => parts.into_iter().for_each(|part| state.accumulator.push(part, now)),
            RelayMsg::Due => state.is_timed = false,
            RelayMsg::Answered(answer) => {
                state.is_sending = false;
                // Without an answer the sources send again by themselves.
                for acknowledged in answer.unwrap_or_default() {
                    (self.notify)(self.destination, acknowledged);
                }
            }
        }
        if state.is_sending || state.accumulator.is_empty() {
            return Ok(());
        }
        match state.accumulator.is_due(now) {
            Some(reason) => {
                metrics::counter!("largesse_accumulator_batches_total", "reason" => reason.name()).increment(1);
                state.is_sending = true;
                let sending = (self.carry)(state.accumulator.take());
                tokio::spawn(async move { drop(myself.cast(RelayMsg::Answered(sending.await))) });
            }
            None if !state.is_timed => {
                state.is_timed = true;
                myself.send_after(Duration::from_millis(self.limits.age_millis), || RelayMsg::Due);
            }
            None => {}
        }
        Ok(())
    }
}
