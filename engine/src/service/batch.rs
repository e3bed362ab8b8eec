//! Many commands in one call, each with an outcome of its own: there is no transaction across shards.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::{Receipt, Service, ServiceError, applied_of, call_error, lookup_error, millis, unexpected};
use crate::handle::CallError;
use crate::units::{ShardId, Time, UserId};
use crate::wallet::command::{Transfer, TransferSaid, WalletCommand};
use crate::wallet::event::TraceId;
use crate::wallet::outcome::{Balances, WalletOutcome};

/// Commands that enter a shard together: few enough that a large call does not take all permits of the shard.
const CHUNK: usize = 128;

impl Service {
    /// Balances of several users, in the order asked. Each is read for itself, so they have no instant in common.
    pub async fn balances_of(&self, users: &[UserId]) -> Vec<Result<(Balances, ShardId), ServiceError>> {
        let wait_until = self.clock.now();
        let read = |user: &UserId| {
            let shard = self.wallets.shape().wallet_of(*user);
            (shard, WalletCommand::Read { user: *user, after: None, wait_until })
        };
        let commands = users.iter().map(read).collect();
        let outcomes = self.many(commands, self.deadline(None)).await.into_iter().zip(users);
        let balances = outcomes.map(|(outcome, user)| match outcome.map_err(lookup_error)? {
            WalletOutcome::Balances(balances) => Ok((balances, self.wallets.shape().wallet_of(*user))),
            WalletOutcome::Refused(refusal) => Err(refusal.into()),
            other @ (WalletOutcome::Applied(_)
            | WalletOutcome::Credits(_)
            | WalletOutcome::Bound
            | WalletOutcome::Receipt { .. }) => Err(unexpected(&other)),
        });
        balances.collect()
    }

    /// Carries out each transfer for itself and tells of each, in the order given. Those of one acting user are decided
    /// in that order; those of different users in any.
    pub async fn transfers(
        &self,
        batch: Vec<TransferSaid>,
        may_issue: bool,
        until: Option<Time>,
        trace: Option<TraceId>,
    ) -> Vec<Result<Receipt<TransferSaid>, ServiceError>> {
        let deadline = self.deadline(until);
        let transfer = |said: &TransferSaid| {
            let shard = self.wallets.shape().wallet_of(said.user);
            (shard, WalletCommand::Transfer(Box::new(Transfer { said: said.clone(), may_issue, deadline, trace })))
        };
        let commands = batch.iter().map(transfer).collect();
        let outcomes = self.many(commands, deadline).await.into_iter().zip(batch);
        let receipts = outcomes.map(|(outcome, said)| {
            let shard = self.wallets.shape().wallet_of(said.user);
            Ok(Receipt { applied: applied_of(outcome?)?, said, shard })
        });
        receipts.collect()
    }

    /// One outcome per command, in order. Shards work side by side, each on its commands in their order.
    async fn many(
        &self,
        commands: Vec<(ShardId, WalletCommand)>,
        deadline: Time,
    ) -> Vec<Result<WalletOutcome, ServiceError>> {
        let until = Instant::now() + self.patience.deadline + self.patience.answer;
        let count = commands.len();
        let mut by_shard: BTreeMap<ShardId, (Vec<usize>, Vec<WalletCommand>)> = BTreeMap::new();
        for (place, (shard, command)) in commands.into_iter().enumerate() {
            let (places, of_shard) = by_shard.entry(shard).or_default();
            places.push(place);
            of_shard.push(command);
        }
        let shards = by_shard.into_iter();
        let shards = shards.map(|(shard, (places, of_shard))| async move {
            places.into_iter().zip(self.in_chunks(shard, of_shard, deadline, until).await)
        });
        let mut outcomes: Vec<_> = (0..count).map(|_| Err(ServiceError::ShardUnavailable)).collect();
        for (place, outcome) in join_all(shards).await.into_iter().flatten() {
            outcomes[place] = outcome;
        }
        outcomes
    }

    async fn in_chunks(
        &self,
        shard: ShardId,
        commands: Vec<WalletCommand>,
        deadline: Time,
        until: Instant,
    ) -> Vec<Result<WalletOutcome, ServiceError>> {
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let chunk: Vec<_> = commands.by_ref().take(CHUNK).collect();
            let count = chunk.len();
            if Instant::now() >= until {
                // It was never handed over, so this is certain.
                let retry_after = Duration::from_millis(millis(self.patience.deadline));
                outcomes.extend((0..count).map(|_| Err(ServiceError::Overloaded { retry_after })));
                continue;
            }
            let answer = self.wallets.execute(shard, chunk);
            let answered = match tokio::time::timeout_at(until, answer).await {
                Ok(answered) => answered.and_then(|answered| {
                    let outcomes = answered.outcomes;
                    if outcomes.len() == count { Ok(outcomes) } else { Err(CallError::OutcomeUnknown) }
                }),
                Err(_elapsed) => Err(CallError::OutcomeUnknown),
            };
            match answered {
                Ok(answered) => outcomes.extend(answered.into_iter().map(Ok)),
                Err(error) => {
                    let error = call_error(error, deadline);
                    outcomes.extend((0..count).map(|_| Err(error.clone())));
                }
            }
        }
        outcomes
    }
}
