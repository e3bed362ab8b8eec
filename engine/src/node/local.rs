//! The local side of the traits that others reach shards through.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use crate::catalog::CatalogDraft;
use crate::control::keys::KeyChange;
use crate::control::{ControlCommand, ControlMachine, ControlOutcome};
use crate::flush::Flushed;
use crate::handle::{Answered, CallError, Control, ControlError, Rooms as RoomsHandle, Wallets as WalletsHandle};
use crate::ledger::LedgerShape;
use crate::machine::Machine;
use crate::node::door::{Door, Lane};
use crate::relay::{Acknowledged, RelayPart};
use crate::resolve::ControlView;
use crate::room::command::{RoomCommand, RoomNews, RoomOutcome};
use crate::room::rooms::Rooms;
use crate::room::settings::Room;
use crate::units::{CatalogVersion, RoomId, Seq, ShardId, ShardKind, Time};
use crate::wallet::command::WalletCommand;
use crate::wallet::outcome::WalletOutcome;
use crate::wallet::wallets::Wallets;

pub struct LocalWallets {
    pub shape: LedgerShape,
    pub doors: Vec<Arc<Door<Wallets>>>,
    pub flushed: Vec<watch::Receiver<Flushed>>,
}

impl LocalWallets {
    fn door(&self, shard: ShardId) -> Result<&Arc<Door<Wallets>>, CallError> {
        match shard.kind {
            ShardKind::Wallet => self.doors.get(usize::from(shard.index)).ok_or(CallError::ShardUnavailable),
            ShardKind::Control | ShardKind::Room => Err(CallError::ShardUnavailable),
        }
    }
}

impl WalletsHandle for LocalWallets {
    fn shape(&self) -> LedgerShape {
        self.shape
    }

    fn execute(
        &self,
        shard: ShardId,
        commands: Vec<WalletCommand>,
    ) -> BoxFuture<'static, Result<Answered<WalletOutcome>, CallError>> {
        // Entered before the future is polled: whoever calls twice has both in order.
        let entered = self.door(shard).and_then(|door| door.enter(Lane::Caller, commands));
        async move { entered?.await.map_err(|_died| CallError::OutcomeUnknown) }.boxed()
    }

    fn relay(
        &self,
        destination: ShardId,
        parts: Vec<RelayPart>,
    ) -> BoxFuture<'static, Result<Vec<Acknowledged>, CallError>> {
        let command = vec![WalletCommand::ApplyCredits(parts)];
        let entered = self.door(destination).and_then(|door| door.enter(Lane::Internal, command));
        async move {
            let answered = entered?.await.map_err(|_died| CallError::OutcomeUnknown)?;
            match answered.outcomes.into_iter().next() {
                Some(WalletOutcome::Credits(acknowledged)) => Ok(acknowledged),
                // The store could not be asked for a receiver; the sources send again.
                Some(_) | None => Err(CallError::ShardUnavailable),
            }
        }
        .boxed()
    }

    fn flushed(&self, shard: ShardId, seq: Seq, patience: Duration) -> BoxFuture<'static, bool> {
        let Some(mut flushed) = self.flushed.get(usize::from(shard.index)).cloned() else {
            return async { false }.boxed();
        };
        async move {
            let arrived = flushed.wait_for(|flushed| flushed.seq >= seq);
            matches!(tokio::time::timeout(patience, arrived).await, Ok(Ok(_)))
        }
        .boxed()
    }

    fn complete_until(&self) -> Time {
        let until = self.doors.iter().zip(&self.flushed).map(|(door, flushed)| {
            // First where the shard stands, then what is flushed: the other way round something could slip between.
            let standing = door.standing();
            let flushed = *flushed.borrow();
            flushed.complete_until(standing.last, standing.time)
        });
        until.min().unwrap_or_default()
    }
}

/// News of rooms that may wait for whoever is slow; beyond, they are told that they missed some.
const NEWS_MAX: usize = 4_096;

pub struct LocalRooms {
    pub shape: LedgerShape,
    pub doors: Vec<Arc<Door<Rooms>>>,
    pub view: watch::Receiver<Arc<ControlView>>,
    pub news: broadcast::Sender<Arc<RoomNews>>,
}

impl LocalRooms {
    pub fn channel() -> broadcast::Sender<Arc<RoomNews>> {
        broadcast::Sender::new(NEWS_MAX)
    }

    fn enter(
        &self,
        shard: ShardId,
        lane: Lane,
        command: RoomCommand,
    ) -> impl Future<Output = Result<RoomOutcome, CallError>> + Send + 'static {
        let door = match shard.kind {
            ShardKind::Room => self.doors.get(usize::from(shard.index)).ok_or(CallError::ShardUnavailable),
            ShardKind::Control | ShardKind::Wallet => Err(CallError::ShardUnavailable),
        };
        let entered = door.and_then(|door| door.enter(lane, vec![command]));
        async move {
            let outcomes = entered?.await.map_err(|_died| CallError::OutcomeUnknown)?;
            outcomes.outcomes.into_iter().next().ok_or(CallError::OutcomeUnknown)
        }
    }
}

impl RoomsHandle for LocalRooms {
    fn room_of(&self, room: RoomId) -> ShardId {
        self.shape.room_of(room)
    }

    fn execute(&self, shard: ShardId, command: RoomCommand) -> BoxFuture<'static, Result<RoomOutcome, CallError>> {
        let lane = if Rooms::is_read(&command) { Lane::Caller } else { Lane::Internal };
        self.enter(shard, lane, command).boxed()
    }

    fn relay(
        &self,
        destination: ShardId,
        parts: Vec<RelayPart>,
    ) -> BoxFuture<'static, Result<Vec<Acknowledged>, CallError>> {
        let view = Arc::clone(&self.view.borrow());
        let outcome = self.enter(destination, Lane::Internal, RoomCommand::ApplyGifts { parts, view });
        async move {
            // Otherwise the store could not be asked for a room; the sources send again.
            let RoomOutcome::Gifts(acknowledged) = outcome.await? else { return Err(CallError::ShardUnavailable) };
            Ok(acknowledged)
        }
        .boxed()
    }

    fn news(&self) -> broadcast::Receiver<Arc<RoomNews>> {
        self.news.subscribe()
    }
}

pub struct LocalControl {
    pub door: Arc<Door<ControlMachine>>,
    pub view: watch::Receiver<Arc<ControlView>>,
}

impl Control for LocalControl {
    fn view(&self) -> Arc<ControlView> {
        Arc::clone(&self.view.borrow())
    }

    fn apply_catalog(
        &self,
        draft: CatalogDraft,
        by: String,
        reason: String,
    ) -> BoxFuture<'static, Result<CatalogVersion, ControlError>> {
        let outcome = self.one(ControlCommand::ApplyCatalog { draft: Box::new(draft), by, reason });
        let mut view = self.view.clone();
        async move {
            match outcome.await? {
                ControlOutcome::Catalog(version) => {
                    // The answer may overtake the view by a moment; whoever is told of a version shall find it.
                    let seen = view.wait_for(|view| view.catalog.version() >= version).await;
                    seen.map(|_| version).map_err(|_| CallError::ShardUnavailable.into())
                }
                other @ (ControlOutcome::Invalid(_)
                | ControlOutcome::Keys(_)
                | ControlOutcome::KeyRefused(_)
                | ControlOutcome::Room(_)
                | ControlOutcome::RoomRefused(_)
                | ControlOutcome::Overloaded) => Err(refused(other)),
            }
        }
        .boxed()
    }

    fn set_room(&self, room: Room, by: String, reason: String) -> BoxFuture<'static, Result<Room, ControlError>> {
        let outcome = self.one(ControlCommand::SetRoom { room: Box::new(room.clone()), by, reason });
        let mut view = self.view.clone();
        async move {
            match outcome.await? {
                ControlOutcome::Room(version) => {
                    // As above: whoever opened a room must be able to send a gift there.
                    let seen = view.wait_for(|view| view.seq >= version).await;
                    seen.map(|_| Room { version, ..room }).map_err(|_| CallError::ShardUnavailable.into())
                }
                other @ (ControlOutcome::Invalid(_)
                | ControlOutcome::Catalog(_)
                | ControlOutcome::Keys(_)
                | ControlOutcome::KeyRefused(_)
                | ControlOutcome::RoomRefused(_)
                | ControlOutcome::Overloaded) => Err(refused(other)),
            }
        }
        .boxed()
    }

    fn change_key(&self, change: KeyChange) -> BoxFuture<'static, Result<(), ControlError>> {
        let outcome = self.one(ControlCommand::ChangeKey(Box::new(change)));
        let mut view = self.view.clone();
        async move {
            match outcome.await? {
                ControlOutcome::Keys(seq) => {
                    // As above: whoever was told that a key is revoked must not see it work.
                    let seen = view.wait_for(|view| view.seq >= seq).await;
                    seen.map(drop).map_err(|_| CallError::ShardUnavailable.into())
                }
                other @ (ControlOutcome::Invalid(_)
                | ControlOutcome::Catalog(_)
                | ControlOutcome::KeyRefused(_)
                | ControlOutcome::Room(_)
                | ControlOutcome::RoomRefused(_)
                | ControlOutcome::Overloaded) => Err(refused(other)),
            }
        }
        .boxed()
    }
}

impl LocalControl {
    fn one(&self, command: ControlCommand) -> impl Future<Output = Result<ControlOutcome, CallError>> + Send + 'static {
        let entered = self.door.enter(Lane::Caller, vec![command]);
        async move {
            let answered = entered?.await.map_err(|_died| CallError::OutcomeUnknown)?;
            answered.outcomes.into_iter().next().ok_or(CallError::OutcomeUnknown)
        }
    }
}

fn refused(outcome: ControlOutcome) -> ControlError {
    match outcome {
        ControlOutcome::Invalid(error) => error.into(),
        ControlOutcome::KeyRefused(refusal) => refusal.into(),
        ControlOutcome::RoomRefused(refusal) => refusal.into(),
        ControlOutcome::Overloaded => CallError::Overloaded { retry_after: Duration::from_secs(1) }.into(),
        ControlOutcome::Catalog(_) | ControlOutcome::Keys(_) | ControlOutcome::Room(_) => {
            CallError::OutcomeUnknown.into()
        }
    }
}
