//! What the edges call: gifts, recharges, balances, receipts and history of one ledger, in terms of the trade.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::codec;
use crate::event_id::{CallerKey, EventId};
use crate::handle::{Answered, CallError, Control, Rooms, Wallets};
use crate::store::{Page, ReceivedEntry, ReceivedQuery, SentQuery, Store, StoreError, StoredEvent};
use crate::units::{Amount, EventPosition, GiftCount, GiftId, RECEIVERS_MAX, RoomId, ShardId, Time, UserId};
use crate::wallet::command::{
    BindTransaction, GiftSaid, Recharge, RechargeSaid, SendGift, Transfer, TransferSaid, WalletCommand,
};
use crate::wallet::event::{TraceId, WalletEvent};
use crate::wallet::outcome::{Applied, Balances, Refusal, WalletOutcome};

mod batch;
pub mod rooms;

/// One ledger, ready for use.
#[derive(Clone)]
pub struct Service {
    pub wallets: Arc<dyn Wallets>,
    pub rooms: Arc<dyn Rooms>,
    pub control: Arc<dyn Control>,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub patience: Patience,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A command that was not decided by then never will be.
    pub deadline: Duration,
    /// How much longer the answer may take before the caller is told that the outcome is unknown.
    pub answer: Duration,
    /// How long a read waits for what it was asked to wait for.
    pub read: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { deadline: Duration::from_secs(2), answer: Duration::from_secs(3), read: Duration::from_secs(1) }
    }
}

/// A gift as it came through the door.
#[derive(Clone, Debug)]
pub struct GiftRequest {
    pub said: GiftSaid,
    pub price_seen: Option<Amount>,
    /// When its caller says that it may no longer be decided.
    pub until: Option<Time>,
    pub trace: Option<TraceId>,
}

/// When a gift had come through its shard's door, and when what its answer rests on was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    pub entered: Instant,
    pub answered: Instant,
}

/// An applied event, seen by the one who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt<Said> {
    pub said: Said,
    pub applied: Applied,
    pub shard: ShardId,
}

impl<Said> Receipt<Said> {
    pub fn position(&self) -> EventPosition {
        EventPosition { shard: self.shard, seq: self.applied.seq }
    }
}

/// What is known of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Event {
        event: Box<WalletEvent>,
        stored: Box<StoredEvent>,
    },
    /// No event of this id is in the books. It can no longer get there with a deadline up to `now`.
    Unknown {
        now: Time,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("too much is under way")]
    Overloaded { retry_after: Duration },
    #[error("the shard has no owner right now")]
    ShardUnavailable,
    #[error("the store cannot be reached")]
    StoreUnavailable,
    #[error("the store does not have everything yet that was answered before")]
    StoreBehind,
    #[error("the cursor was not made by this list")]
    CursorInvalid,
    /// The attempt may still turn out applied until `final_after`; from then on a lookup of the id is final.
    #[error("the outcome is not known")]
    OutcomeUnknown { final_after: Time },
    #[error("{0}")]
    Internal(String),
}

/// What a gift may not be, whatever the books say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGift {
    #[error("count must be 1 to {}", GiftCount::MAX)]
    Count,
    #[error("a gift needs at least one receiver")]
    NoReceivers,
    #[error("a gift can have {RECEIVERS_MAX} receivers, not {0}")]
    TooManyReceivers(usize),
    #[error("receiver {0} is named twice")]
    RepeatedReceiver(UserId),
    #[error("a gift cannot go to its sender")]
    SelfGift,
    #[error("0 is not a user, a room or a gift")]
    Zero,
}

impl GiftSaid {
    /// A gift in the sender's name. Checks everything that can be checked without looking anything up.
    pub fn new(
        key: CallerKey,
        sender: UserId,
        room: RoomId,
        gift: GiftId,
        count: u64,
        receivers: &[UserId],
        combo: Option<u64>,
    ) -> Result<GiftSaid, InvalidGift> {
        if sender == UserId::NOBODY || room == RoomId(0) || gift == GiftId(0) || receivers.contains(&UserId::NOBODY) {
            return Err(InvalidGift::Zero);
        }
        let count = GiftCount::new(count).ok_or(InvalidGift::Count)?;
        if receivers.is_empty() {
            return Err(InvalidGift::NoReceivers);
        }
        if receivers.len() > RECEIVERS_MAX {
            return Err(InvalidGift::TooManyReceivers(receivers.len()));
        }
        if receivers.contains(&sender) {
            return Err(InvalidGift::SelfGift);
        }
        for (place, receiver) in receivers.iter().enumerate() {
            if receivers[..place].contains(receiver) {
                return Err(InvalidGift::RepeatedReceiver(*receiver));
            }
        }
        let receivers = receivers.iter().copied().collect();
        Ok(GiftSaid { id: key.id, key: key.text, sender, room, gift, count, receivers, combo, anonymous: false })
    }
}

impl Service {
    pub async fn send_gift(&self, request: GiftRequest) -> Result<Receipt<GiftSaid>, ServiceError> {
        self.send_gift_timed(request).await.0
    }

    /// As [`Service::send_gift`]. There are no moments where the shard did not answer.
    pub async fn send_gift_timed(
        &self,
        request: GiftRequest,
    ) -> (Result<Receipt<GiftSaid>, ServiceError>, Option<Moments>) {
        let shard = self.wallets.shape().wallet_of(request.said.sender);
        let resolved = self.control.view().resolve(&request.said, request.price_seen);
        let deadline = self.deadline(request.until);
        let command = SendGift { said: request.said.clone(), resolved, deadline, trace: request.trace };
        match self.one_timed(shard, WalletCommand::SendGift(command), deadline).await {
            Ok((outcome, moments)) => {
                let receipt = applied_of(outcome).map(|applied| Receipt { said: request.said, applied, shard });
                (receipt, Some(moments))
            }
            Err(error) => (Err(error), None),
        }
    }

    /// Ties the transaction to this recharge on the transaction's own shard, then issues on the user's.
    pub async fn recharge(
        &self,
        said: RechargeSaid,
        until: Option<Time>,
        trace: Option<TraceId>,
    ) -> Result<Receipt<RechargeSaid>, ServiceError> {
        let deadline = self.deadline(until);
        let bind = BindTransaction { said: said.clone(), deadline };
        let keeper = self.keeper_of(said.id());
        match self.one(keeper, WalletCommand::BindTransaction(Box::new(bind)), deadline).await {
            Ok(WalletOutcome::Bound) => {}
            // Binding moves no money, so even an unknown outcome can be told as "not done, try again".
            Err(ServiceError::OutcomeUnknown { .. }) => return Err(ServiceError::ShardUnavailable),
            Ok(WalletOutcome::Refused(refusal)) => return Err(refusal.into()),
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => return Err(error),
        }
        let shard = self.wallets.shape().wallet_of(said.user);
        let command = Recharge { said: said.clone(), deadline, trace };
        let applied = self.apply(shard, WalletCommand::Recharge(Box::new(command)), deadline).await?;
        Ok(Receipt { said, applied, shard })
    }

    pub async fn transfer(
        &self,
        said: TransferSaid,
        may_issue: bool,
        trace: Option<TraceId>,
    ) -> Result<Receipt<TransferSaid>, ServiceError> {
        let shard = self.wallets.shape().wallet_of(said.user);
        let deadline = self.deadline(None);
        let command = Transfer { said: said.clone(), may_issue, deadline, trace };
        let applied = self.apply(shard, WalletCommand::Transfer(Box::new(command)), deadline).await?;
        Ok(Receipt { said, applied, shard })
    }

    /// The event that this user's id stands for.
    pub async fn find(&self, user: UserId, id: EventId) -> Result<Found, ServiceError> {
        let shard = self.wallets.shape().wallet_of(user);
        match self.one(shard, WalletCommand::FindReceipt { user, id }, self.deadline(None)).await {
            Ok(WalletOutcome::Receipt { found: Some(stored), .. }) => {
                let event = codec::decode(&stored.event).map_err(|error| ServiceError::Internal(error.to_string()))?;
                Ok(Found::Event { event: Box::new(event), stored })
            }
            Ok(WalletOutcome::Receipt { found: None, now }) => Ok(Found::Unknown { now }),
            Ok(WalletOutcome::Refused(refusal)) => Err(refusal.into()),
            Ok(
                other @ (WalletOutcome::Applied(_)
                | WalletOutcome::Credits(_)
                | WalletOutcome::Bound
                | WalletOutcome::Balances(_)),
            ) => Err(unexpected(&other)),
            Err(error) => Err(lookup_error(error)),
        }
    }

    /// Balances from the owning shard; with `after`, once the credits of that event have arrived or patience ends.
    pub async fn balances(
        &self,
        user: UserId,
        after: Option<EventPosition>,
    ) -> Result<(Balances, ShardId), ServiceError> {
        let shard = self.wallets.shape().wallet_of(user);
        // An event of the user's own shard is in its memory already.
        let after = after.filter(|after| after.shard != shard).map(|after| (after.shard.index, after.seq));
        let wait_until = self.clock.now().plus_millis(millis(self.patience.read));
        match self.one(shard, WalletCommand::Read { user, after, wait_until }, self.deadline(None)).await {
            Ok(WalletOutcome::Balances(balances)) => Ok((balances, shard)),
            Ok(WalletOutcome::Refused(refusal)) => Err(refusal.into()),
            Ok(
                other @ (WalletOutcome::Applied(_)
                | WalletOutcome::Credits(_)
                | WalletOutcome::Bound
                | WalletOutcome::Receipt { .. }),
            ) => Err(unexpected(&other)),
            Err(error) => Err(lookup_error(error)),
        }
    }

    /// A user's own events, newest first, including those answered before this call; an error when the store is too far
    /// behind to have them.
    pub async fn sent_history(&self, mut query: SentQuery) -> Result<Page<StoredEvent>, ServiceError> {
        let (balances, shard) = self.balances(query.user, None).await?;
        if !self.wallets.flushed(shard, balances.seq, self.patience.read).await {
            return Err(ServiceError::StoreBehind);
        }
        query.shard = shard;
        Ok(self.store.page_sent(query).await?)
    }

    /// What a user received, newest first, and the time up to which it is complete.
    pub async fn received_history(
        &self,
        mut query: ReceivedQuery,
    ) -> Result<(Page<ReceivedEntry>, Time), ServiceError> {
        // Asked first: what is flushed while the page is read may be on it, what was flushed before must be.
        let complete_until = self.wallets.complete_until();
        query.shard = self.wallets.shape().wallet_of(query.user);
        Ok((self.store.page_received(query).await?, complete_until))
    }

    /// The shard that remembers what a payment's transaction was used for.
    fn keeper_of(&self, transaction: EventId) -> ShardId {
        let mut hash = [0; 8];
        hash.copy_from_slice(&transaction.as_bytes()[8..]);
        self.wallets.shape().wallet_of(UserId(u64::from_le_bytes(hash)))
    }

    /// The end of our own patience, or what the caller said if that is sooner.
    fn deadline(&self, until: Option<Time>) -> Time {
        let own = self.clock.now().plus_millis(millis(self.patience.deadline));
        until.map_or(own, |until| until.min(own))
    }

    async fn apply(&self, shard: ShardId, command: WalletCommand, deadline: Time) -> Result<Applied, ServiceError> {
        applied_of(self.one(shard, command, deadline).await?)
    }

    async fn one(&self, shard: ShardId, command: WalletCommand, deadline: Time) -> Result<WalletOutcome, ServiceError> {
        self.one_timed(shard, command, deadline).await.map(|(outcome, _)| outcome)
    }

    async fn one_timed(
        &self,
        shard: ShardId,
        command: WalletCommand,
        deadline: Time,
    ) -> Result<(WalletOutcome, Moments), ServiceError> {
        let answer = self.wallets.execute(shard, vec![command]);
        let answer = tokio::time::timeout(self.patience.deadline + self.patience.answer, answer).await;
        let answered = answer.unwrap_or(Err(CallError::OutcomeUnknown)).and_then(|mut answered| {
            let Answered { entered, answered: at, .. } = answered;
            let outcome = answered.outcomes.pop().ok_or(CallError::OutcomeUnknown)?;
            Ok((outcome, Moments { entered, answered: at }))
        });
        answered.map_err(|error| call_error(error, deadline))
    }
}

fn applied_of(outcome: WalletOutcome) -> Result<Applied, ServiceError> {
    match outcome {
        WalletOutcome::Applied(applied) => Ok(applied),
        WalletOutcome::Refused(refusal) => Err(refusal.into()),
        other @ (WalletOutcome::Balances(_)
        | WalletOutcome::Receipt { .. }
        | WalletOutcome::Credits(_)
        | WalletOutcome::Bound) => Err(unexpected(&other)),
    }
}

fn call_error(error: CallError, deadline: Time) -> ServiceError {
    match error {
        CallError::Overloaded { retry_after } => ServiceError::Overloaded { retry_after },
        CallError::ShardUnavailable => ServiceError::ShardUnavailable,
        CallError::OutcomeUnknown => ServiceError::OutcomeUnknown { final_after: deadline },
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => ServiceError::StoreUnavailable,
            StoreError::CursorInvalid => ServiceError::CursorInvalid,
            StoreError::Damaged(what) => ServiceError::Internal(what),
        }
    }
}

/// A lookup changes nothing, so not knowing its outcome only means to ask again.
fn lookup_error(error: ServiceError) -> ServiceError {
    match error {
        ServiceError::OutcomeUnknown { .. } => ServiceError::ShardUnavailable,
        other @ (ServiceError::Refused(_)
        | ServiceError::Overloaded { .. }
        | ServiceError::ShardUnavailable
        | ServiceError::StoreUnavailable
        | ServiceError::StoreBehind
        | ServiceError::CursorInvalid
        | ServiceError::Internal(_)) => other,
    }
}

fn unexpected(outcome: &WalletOutcome) -> ServiceError {
    ServiceError::Internal(format!("a shard answered something else than was asked: {outcome:?}"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
