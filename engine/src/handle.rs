//! What other crates may call: shards by their id, wherever they run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::catalog::{CatalogDraft, CatalogError};
use crate::control::keys::{KeyChange, KeyRefusal};
use crate::ledger::LedgerShape;
use crate::relay::{Acknowledged, RelayPart};
use crate::resolve::ControlView;
use crate::room::command::{RoomCommand, RoomNews, RoomOutcome};
use crate::room::settings::{Room, RoomRefusal};
use crate::units::{CatalogVersion, RoomId, Seq, ShardId, Time};
use crate::wallet::command::WalletCommand;
use crate::wallet::outcome::WalletOutcome;

/// Wallet shards, local or remote.
pub trait Wallets: Send + Sync + 'static {
    fn shape(&self) -> LedgerShape;

    /// Runs a batch on one shard; all outcomes are durable.
    fn execute(
        &self,
        shard: ShardId,
        commands: Vec<WalletCommand>,
    ) -> BoxFuture<'static, Result<Answered<WalletOutcome>, CallError>>;

    /// Brings relayed credits to their destination. It has permits of its own, so that gifts cannot starve it.
    fn relay(
        &self,
        destination: ShardId,
        parts: Vec<RelayPart>,
    ) -> BoxFuture<'static, Result<Vec<Acknowledged>, CallError>>;

    /// Whether the store holds everything up to `seq`, once it does or after `patience`.
    fn flushed(&self, shard: ShardId, seq: Seq, patience: Duration) -> BoxFuture<'static, bool>;

    /// Everything that happened before this time, on any wallet shard, is in the store.
    fn complete_until(&self) -> Time;
}

/// Room shards, local or remote.
pub trait Rooms: Send + Sync + 'static {
    /// The shard that shows this room.
    fn room_of(&self, room: RoomId) -> ShardId;

    /// Asks one shard; the outcome is durable, and so is everything that it rests on.
    fn execute(&self, shard: ShardId, command: RoomCommand) -> BoxFuture<'static, Result<RoomOutcome, CallError>>;

    /// Brings relayed gifts to their destination.
    fn relay(
        &self,
        destination: ShardId,
        parts: Vec<RelayPart>,
    ) -> BoxFuture<'static, Result<Vec<Acknowledged>, CallError>>;

    /// What any room shows from now on. Whoever falls behind is told how much they missed.
    fn news(&self) -> tokio::sync::broadcast::Receiver<Arc<RoomNews>>;
}

/// The control shard and what is folded from it.
pub trait Control: Send + Sync + 'static {
    fn view(&self) -> Arc<ControlView>;

    /// Answers with the new version when it is durable; the view has it then.
    fn apply_catalog(
        &self,
        draft: CatalogDraft,
        by: String,
        reason: String,
    ) -> BoxFuture<'static, Result<CatalogVersion, ControlError>>;

    /// Answers when the room is durably as it was asked for, with its settings; the view has them then.
    fn set_room(&self, room: Room, by: String, reason: String) -> BoxFuture<'static, Result<Room, ControlError>>;

    /// Answers when keys are durably as the change wants them; the view has them then.
    fn change_key(&self, change: KeyChange) -> BoxFuture<'static, Result<(), ControlError>>;
}

/// What a shard says to a batch, and when it said so: the way there and back is for the caller to measure.
#[derive(Clone, Debug)]
pub struct Answered<O> {
    /// One per command, in order.
    pub outcomes: Vec<O>,
    /// When the batch had come through the shard's door.
    pub entered: Instant,
    /// When all that its outcomes rest on was durable.
    pub answered: Instant,
}

/// Why a call has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was decided; try again after the given time.
    #[error("too much is under way")]
    Overloaded { retry_after: Duration },
    /// Nothing was decided: nobody owns the shard right now.
    #[error("the shard has no owner right now")]
    ShardUnavailable,
    /// It may have been decided and may be durable. Only the same id can tell.
    #[error("the outcome is not known")]
    OutcomeUnknown,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Invalid(#[from] CatalogError),
    #[error(transparent)]
    Key(#[from] KeyRefusal),
    #[error(transparent)]
    Room(#[from] RoomRefusal),
    #[error(transparent)]
    Call(#[from] CallError),
}
