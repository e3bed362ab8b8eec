//! One account by its log, beside what others say of it: who is right up to which event, and where they part.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{AuditError, Start};
use crate::catalog::CatalogDraft;
use crate::control::{CatalogSet, ControlEvent, ControlState};
use crate::flush::front;
use crate::fold::{Fold, Verdict};
use crate::log::{LogError, ShardLog};
use crate::record::RecordHeader;
use crate::store::{BalanceRow, Checkpoint};
use crate::units::{Amount, AssetId, Position, Seq, ShardId, Time, UserId};
use crate::wallet::event::{Direction, WalletEvent};

/// How much of the log is read at once.
const READ_BYTES: usize = 256 << 10;

/// What somebody says that a user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub asset: AssetId,
    pub amount: Amount,
    /// The event that changed it last, where that is said.
    pub seq: Option<Seq>,
    /// Every event up to here should be in it.
    pub upto: Seq,
}

/// Where a fold begins whose log was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub checkpoint: Checkpoint,
    pub rows: Vec<BalanceRow>,
}

/// What the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountLog {
    pub start: Start,
    pub from: Position,
    pub to: Position,
    /// The shard's last event.
    pub last: Seq,
    pub balances: BTreeMap<AssetId, LoggedBalance>,
    /// The first event whose balance is not what the amounts before it add up to.
    pub broken: Option<Parting>,
    /// One per claim, in their order: `None` where the log agrees, or says nothing.
    pub partings: Vec<Option<Parting>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedBalance {
    pub amount: Amount,
    pub seq: Seq,
}

/// The first event from which on two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parting {
    pub asset: AssetId,
    pub seq: Seq,
    /// Its record in the log; `None` when the log has no such event of this account.
    pub position: Option<Position>,
    pub at: Option<Time>,
    /// By the log, at the end of what the other should know.
    pub expected: Amount,
    pub found: Amount,
}

/// A claim while the log is read.
struct Checked<'a> {
    claim: &'a Claim,
    expected: Option<Amount>,
    is_agreed: bool,
    /// The first event since they agreed last.
    since: Option<(Seq, Position, Time)>,
}

struct Reader {
    user: UserId,
    balances: BTreeMap<AssetId, LoggedBalance>,
    broken: Option<Parting>,
}

/// Folds the log of the user's shard by the amounts of its events, and holds each claim against it. Claims must have been
/// made before the log is read, or they could know of events that are not in it yet.
pub async fn account(
    log: &dyn ShardLog,
    shard: ShardId,
    user: UserId,
    base: Option<&Base>,
    claims: &[Claim],
) -> Result<AccountLog, AuditError> {
    let (start, from, mut fold) = begin(log, base).await?;
    let mut reader = Reader { user, balances: BTreeMap::new(), broken: None };
    let mut checked: Vec<Checked<'_>> = claims.iter().map(Checked::new).collect();
    if let (Start::Checkpoint, Some(base)) = (start, base) {
        let before = |row: &&BalanceRow| row.seq < base.checkpoint.fold.next;
        for row in base.rows.iter().filter(before) {
            reader.balances.insert(row.asset, LoggedBalance { amount: row.amount, seq: row.seq });
            let at = (row.seq, base.checkpoint.position, base.checkpoint.time);
            checked.iter_mut().for_each(|claim| claim.note(row.asset, row.amount, at));
        }
    }
    let mut position = from;
    loop {
        let entries = log.read(position, READ_BYTES).await?;
        let Some(last) = entries.last() else { break };
        let next = last.position.after();
        for entry in &entries {
            // Of a log that was cut and has nothing before it, what counts is known from the first record on.
            if let (Start::Middle, None, RecordHeader::Events(header)) = (start, fold.epoch, entry.header) {
                fold = Fold { epoch: Some(header.epoch), next: header.first };
            }
            let Verdict::Believed(header) = fold.offer(entry) else { continue };
            let mut rest = &entry.events[..];
            for place in 0..u64::from(header.count) {
                let seq = header.first.plus(place);
                let (event, used) = front::<WalletEvent>(shard, seq, rest).map_err(damaged(shard, entry.position))?;
                rest = &rest[used..];
                reader.take(&event, (seq, entry.position, header.time), &mut checked);
            }
        }
        position = next;
    }
    let last = Seq(fold.next.get().saturating_sub(1));
    let partings = checked.iter().map(|claim| claim.parting(start)).collect();
    let Reader { balances, broken, .. } = reader;
    Ok(AccountLog { start, from, to: position, last, balances, broken, partings })
}

fn damaged(shard: ShardId, position: Position) -> impl Fn(crate::machine::Impossible) -> LogError {
    move |why| LogError::Damaged { shard, place: format!("position {position}"), why: why.to_string() }
}

async fn begin(log: &dyn ShardLog, base: Option<&Base>) -> Result<(Start, Position, Fold), AuditError> {
    match (log.read(Position::START, 1).await, base) {
        (Ok(_), _) => Ok((Start::Beginning, Position::START, Fold::default())),
        (Err(LogError::Truncated { .. }), Some(Base { checkpoint, .. })) => {
            Ok((Start::Checkpoint, checkpoint.position, checkpoint.fold))
        }
        (Err(LogError::Truncated { first, .. }), None) => Ok((Start::Middle, first, Fold::default())),
        (Err(error), _) => Err(error.into()),
    }
}

impl Reader {
    fn take(&mut self, event: &WalletEvent, at: (Seq, Position, Time), checked: &mut [Checked<'_>]) {
        event.for_each_change(|change| {
            if change.user != self.user {
                return;
            }
            let (seq, position, time) = at;
            if let Some(before) = self.balances.get(&change.asset) {
                let (before, amount) = (before.amount.get(), change.amount.get());
                let after = match change.direction {
                    Direction::Debit => before.checked_sub(amount),
                    Direction::Credit => before.checked_add(amount),
                };
                let expected = after.and_then(Amount::new);
                if expected != Some(change.balance) {
                    let (expected, found) = (expected.unwrap_or_default(), change.balance);
                    let (asset, position, at) = (change.asset, Some(position), Some(time));
                    self.broken.get_or_insert(Parting { asset, seq, position, at, expected, found });
                }
            }
            self.balances.insert(change.asset, LoggedBalance { amount: change.balance, seq });
            checked.iter_mut().for_each(|claim| claim.note(change.asset, change.balance, at));
        });
    }
}

impl Checked<'_> {
    fn new(claim: &Claim) -> Checked<'_> {
        // Nothing was there before the first event, as both will say.
        let is_agreed = claim.amount.is_zero() && claim.seq.is_none();
        Checked { claim, expected: None, is_agreed, since: None }
    }

    fn note(&mut self, asset: AssetId, balance: Amount, at: (Seq, Position, Time)) {
        let claim = self.claim;
        if asset != claim.asset || at.0 > claim.upto {
            return;
        }
        self.expected = Some(balance);
        if balance == claim.amount && claim.seq.is_none_or(|seq| seq == at.0) {
            (self.is_agreed, self.since) = (true, None);
        } else if self.since.is_none() && (self.is_agreed || claim.seq.is_none_or(|seq| seq <= at.0)) {
            self.since = Some(at);
        }
    }

    fn parting(&self, start: Start) -> Option<Parting> {
        let claim = self.claim;
        let (asset, found) = (claim.asset, claim.amount);
        let expected = match (self.expected, start) {
            (Some(expected), _) => expected,
            // What came before is not in the log any more.
            (None, Start::Middle) => return None,
            (None, Start::Beginning | Start::Checkpoint) => Amount::default(),
        };
        match self.since {
            Some((seq, position, at)) => {
                Some(Parting { asset, seq, position: Some(position), at: Some(at), expected, found })
            }
            None if self.is_agreed => None,
            // The event that it names is none of this account, or none at all.
            None => {
                Some(Parting { asset, seq: claim.seq.unwrap_or(claim.upto), position: None, at: None, expected, found })
            }
        }
    }
}

/// What assets are called, by the last catalog in the control shard's log and its checkpoint, as far as these can be read.
/// Names only serve whoever reads the report, so what cannot be read is left out.
pub async fn asset_names(log: Option<&dyn ShardLog>, checkpoint: Option<&Checkpoint>) -> BTreeMap<AssetId, String> {
    let stored = checkpoint.and_then(|at| crate::codec::decode::<ControlState>(&at.state).ok());
    let mut latest = stored.and_then(|state| state.into_parts().0);
    if let Some(log) = log
        && let Ok(Some(logged)) = last_catalog(log).await
        && latest.as_ref().is_none_or(|latest| latest.version <= logged.version)
    {
        latest = Some(logged);
    }
    let draft = latest.and_then(|set| serde_json::from_slice::<CatalogDraft>(&set.draft).ok()).unwrap_or_default();
    draft.assets.into_iter().map(|asset| (asset.id, asset.name)).collect()
}

async fn last_catalog(log: &dyn ShardLog) -> Result<Option<CatalogSet>, LogError> {
    let shard = ShardId::CONTROL;
    let mut latest: Option<CatalogSet> = None;
    let mut position = match log.read(Position::START, 1).await {
        Err(LogError::Truncated { first, .. }) => first,
        read => read.map(|_| Position::START)?,
    };
    loop {
        let entries = log.read(position, READ_BYTES).await?;
        let Some(last) = entries.last() else { return Ok(latest) };
        position = last.position.after();
        for entry in &entries {
            let RecordHeader::Events(header) = entry.header else { continue };
            let mut rest = &entry.events[..];
            for place in 0..u64::from(header.count) {
                let read = front::<ControlEvent>(shard, header.first.plus(place), rest);
                let (event, used) = read.map_err(damaged(shard, entry.position))?;
                rest = &rest[used..];
                if let ControlEvent::CatalogSet(set) = event
                    && latest.as_ref().is_none_or(|latest| latest.version <= set.version)
                {
                    latest = Some(set);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(amount: u64, seq: Option<u64>, upto: u64) -> Claim {
        Claim { asset: AssetId(1), amount: Amount::new(amount).unwrap(), seq: seq.map(Seq), upto: Seq(upto) }
    }

    /// The first event where the claim parts from a log in which events 1, 3 and 5 leave 10, 8 and 6.
    #[track_caller]
    fn check(claim: Claim, want: Option<u64>) {
        let mut checked = Checked::new(&claim);
        for (seq, balance) in [(1, 10), (3, 8), (5, 6)] {
            checked.note(AssetId(1), Amount::new(balance).unwrap(), (Seq(seq), Position(seq), Time(seq)));
        }
        let parting = checked.parting(Start::Beginning);
        assert_eq!(parting.map(|parting| parting.seq), want.map(Seq), "{claim:?}: {parting:?}");
    }

    #[test]
    fn a_claim_is_right_up_to_its_own_position() {
        check(claim(6, Some(5), 5), None);
        check(claim(6, None, 9), None);
        check(claim(8, Some(3), 4), None);
        check(claim(0, None, 0), None);
    }

    #[test]
    fn the_first_event_that_is_missing_or_wrong_is_named() {
        check(claim(8, Some(3), 5), Some(5));
        check(claim(10, None, 5), Some(3));
        check(claim(7, Some(5), 5), Some(5));
        check(claim(0, None, 4), Some(1));
        check(claim(9, Some(4), 4), Some(4));
        check(claim(9, Some(7), 7), Some(7));
    }
}
