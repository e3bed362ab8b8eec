//! Rows by key: wallets, receipts, checkpoints, and the scan of an audit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::ops::ControlFlow;

use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::event_id::EventId;
use largesse_engine::store::{BalanceRow, Checkpoint, StoreError, StoredEvent};
use largesse_engine::units::{Amount, AssetId, ShardId, UserId};
use scylla::deserialize::row::DeserializeRow;
use scylla::response::PagingState;
use scylla::serialize::row::SerializeRow;
use scylla::statement::bound::BoundStatement;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::error::Failed;
use super::place::{self, Hour, SentKey};
use super::{CqlStore, values};

/// Keys in one request, all of one partition; databases refuse more than a hundred.
const KEYS_MAX: usize = 64;
/// Requests that one call has on their way at once.
const REQUESTS_MAX: usize = 32;
/// Most rows of one step of a scan, whatever was asked for.
const SCAN_ROWS_MAX: usize = 10_000;

type BalanceColumns = (i64, i32, i64, i64);
type ReceiptColumns = (i64, Uuid, Vec<u8>, i64, CqlTimestamp, Vec<u8>);

/// The rows of one request, a page at a time.
pub struct Paged<R> {
    statement: BoundStatement,
    /// `None` at the end.
    next: Option<PagingState>,
    pub rows: VecDeque<R>,
}

impl<R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>> Paged<R> {
    pub fn new(statement: &PreparedStatement, values: &impl SerializeRow) -> Result<Paged<R>, Failed> {
        let statement = statement.clone().bind(values).map_err(Failed::damaged)?;
        Ok(Paged { statement, next: Some(PagingState::start()), rows: VecDeque::new() })
    }

    /// Reads on until there is a row, or none is left.
    pub async fn fill(&mut self, store: &CqlStore) -> Result<(), Failed> {
        while self.rows.is_empty() && self.next.is_some() {
            self.read_page(store).await?;
        }
        Ok(())
    }

    async fn read_page(&mut self, store: &CqlStore) -> Result<(), Failed> {
        let Some(from) = self.next.take() else { return Ok(()) };
        let _permit = store.reads.acquire().await.expect("it is never closed");
        let (found, after) = store.connected.session.execute_bound_single_page(&self.statement, from).await?;
        store.gate.answered();
        let found = found.into_rows_result().map_err(Failed::damaged)?;
        for row in found.rows::<R>().map_err(Failed::damaged)? {
            self.rows.push_back(row.map_err(Failed::damaged)?);
        }
        if let ControlFlow::Continue(state) = after.into_paging_control_flow() {
            self.next = Some(state);
        }
        Ok(())
    }

    pub async fn all(mut self, store: &CqlStore) -> Result<VecDeque<R>, Failed> {
        while self.next.is_some() {
            self.read_page(store).await?;
        }
        Ok(self.rows)
    }
}

impl CqlStore {
    /// All rows of a request that its own keys bound.
    pub(super) fn select<'a, R, V: SerializeRow>(
        &'a self,
        statement: &PreparedStatement,
        values: V,
    ) -> impl Future<Output = Result<VecDeque<R>, Failed>> + use<'a, R, V>
    where
        R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let paged = Paged::new(statement, &values);
        async move { paged?.all(self).await }
    }

    pub(super) async fn wallets(&self, shard: ShardId, users: &[UserId]) -> Result<Vec<Vec<BalanceRow>>, Failed> {
        let mut by_sub: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for user in users {
            by_sub.entry(self.layout.sub(*user)).or_default().push(place::user(*user));
        }
        let requests = by_sub.iter().flat_map(|(sub, users)| users.chunks(KEYS_MAX).map(move |users| (*sub, users)));
        let asked = requests.map(|(sub, users)| {
            self.select::<BalanceColumns, _>(&self.statements.wallets, (place::shard(shard), sub, users))
        });
        let mut wallets: HashMap<UserId, Vec<BalanceRow>> = HashMap::new();
        for row in together(asked.collect()).await? {
            let row = balance_row(row)?;
            wallets.entry(row.user).or_default().push(row);
        }
        Ok(users.iter().map(|user| wallets.get(user).cloned().unwrap_or_default()).collect())
    }

    pub(super) async fn receipts(
        &self,
        shard: ShardId,
        keys: &[(UserId, EventId)],
    ) -> Result<Vec<Option<StoredEvent>>, Failed> {
        let pointers = self.pointers(shard, keys).await?;
        let places: Vec<Option<SentKey>> = keys
            .iter()
            .map(|(user, id)| match id.time() {
                Some(at) => Some(SentKey::of(*id, at)),
                None => pointers.get(&(*user, *id)).cloned(),
            })
            .collect();
        type Keys<'a> = Vec<(i64, Uuid, &'a [u8])>;
        let mut by_partition: BTreeMap<(i32, Hour), Keys<'_>> = BTreeMap::new();
        for ((user, _), place) in keys.iter().zip(&places) {
            if let Some(key) = place {
                let wanted = (place::user(*user), place::uuid(key.id), &key.head[..]);
                by_partition.entry((self.layout.sub(*user), key.hour())).or_default().push(wanted);
            }
        }
        let requests = by_partition.iter();
        let requests = requests.flat_map(|(at, keys)| keys.chunks(KEYS_MAX).map(move |keys| (*at, keys)));
        let asked = requests.map(|((sub, hour), keys)| {
            let values = (place::shard(shard), sub, hour.column(), keys);
            self.select::<ReceiptColumns, _>(&self.statements.receipts, values)
        });
        let mut events: HashMap<(UserId, SentKey), StoredEvent> = HashMap::new();
        for (user, id, head, seq, at, event) in together(asked.collect()).await? {
            let key = SentKey { id: EventId::from_bytes(id.into_bytes()), head };
            let stored = StoredEvent { shard, seq: place::read_seq(seq), at: place::read_time(at), event };
            events.insert((place::read_user(user), key), stored);
        }
        let of = |(user, _): &(UserId, EventId), place: Option<SentKey>| events.get(&(*user, place?)).cloned();
        Ok(keys.iter().zip(places).map(|(key, place)| of(key, place)).collect())
    }

    /// Where the events of ids without a time lie.
    async fn pointers(
        &self,
        shard: ShardId,
        keys: &[(UserId, EventId)],
    ) -> Result<HashMap<(UserId, EventId), SentKey>, Failed> {
        let mut by_sub: BTreeMap<i32, Vec<(i64, Uuid)>> = BTreeMap::new();
        for (user, id) in keys.iter().filter(|(_, id)| id.time().is_none()) {
            by_sub.entry(self.layout.sub(*user)).or_default().push((place::user(*user), place::uuid(*id)));
        }
        let requests = by_sub.iter().flat_map(|(sub, keys)| keys.chunks(KEYS_MAX).map(move |keys| (*sub, keys)));
        let asked = requests.map(|(sub, keys)| {
            self.select::<(i64, Uuid, Uuid), _>(&self.statements.pointers, (place::shard(shard), sub, keys))
        });
        let mut pointers = HashMap::new();
        for (user, id, stored_as) in together(asked.collect()).await? {
            let id = EventId::from_bytes(id.into_bytes());
            let at = EventId::from_bytes(stored_as.into_bytes()).time().unwrap_or_default();
            pointers.insert((place::read_user(user), id), SentKey::of(id, at));
        }
        Ok(pointers)
    }

    pub(super) async fn stored_checkpoint(&self, shard: ShardId) -> Result<Option<Checkpoint>, Failed> {
        type Halves = (Option<Vec<u8>>, Option<Vec<u8>>);
        let rows = self.select::<Halves, _>(&self.statements.stored_checkpoint, (place::shard(shard),)).await?;
        match rows.into_iter().next() {
            None => Ok(None),
            Some((Some(rows), Some(relays))) => Ok(Some(values::read_checkpoint(shard, &rows, &relays)?)),
            Some(_) => {
                Err(StoreError::Damaged(format!("the row of {shard} in table checkpoint lacks one of its halves"))
                    .into())
            }
        }
    }

    /// Users lie in many partitions, each in order of the user's number with its sign: first the numbers that are not
    /// negative, then, for users above 2^63 − 1, those that are.
    pub(super) async fn scan(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> Result<Vec<BalanceRow>, Failed> {
        const UPPER_HALF: u64 = 1 << 63;
        let limit = limit.min(SCAN_ROWS_MAX);
        let after = after.map(|(user, asset)| (place::user(user), place::asset(asset)));
        let lower = (after.unwrap_or((0, -1)), (i64::MAX, i32::MAX));
        let upper = (after.filter(|after| after.0 < 0).unwrap_or((UPPER_HALF.cast_signed(), -1)), (-1, i32::MAX));
        let mut rows = Vec::new();
        for (after, up_to) in [lower, upper] {
            if after < up_to && rows.len() < limit && (after.0 < 0) == (up_to.0 < 0) {
                self.scan_range(shard, after, up_to, limit, &mut rows).await?;
            }
        }
        Ok(rows)
    }

    async fn scan_range(
        &self,
        shard: ShardId,
        after: (i64, i32),
        up_to: (i64, i32),
        limit: usize,
        rows: &mut Vec<BalanceRow>,
    ) -> Result<(), Failed> {
        // About what each will be asked for, and some more, so that few are asked twice.
        let share = 2 * (limit - rows.len()) / self.layout.subs().count() + 8;
        let mut statement = self.statements.balances.clone();
        statement.set_page_size(i32::try_from(share).unwrap_or(i32::MAX));
        let opening = self.layout.subs().map(|sub| {
            let values = (place::shard(shard), sub, after.0, after.1, up_to.0, up_to.1);
            let part = Paged::<BalanceColumns>::new(&statement, &values);
            async move {
                let mut part = part?;
                part.fill(self).await?;
                Ok::<_, Failed>(part)
            }
        });
        let opening: Vec<_> = opening.collect();
        let mut parts: Vec<_> = stream::iter(opening).buffered(REQUESTS_MAX).try_collect().await?;
        let first_of = |part: &Paged<BalanceColumns>| part.rows.front().map(|row| (row.0, row.1));
        let mut heads: BinaryHeap<_> = (0..parts.len())
            .filter_map(|number| first_of(&parts[number]).map(|first| Reverse((first, number))))
            .collect();
        while rows.len() < limit
            && let Some(Reverse((_, number))) = heads.pop()
        {
            let part = &mut parts[number];
            if let Some(row) = part.rows.pop_front() {
                rows.push(balance_row(row)?);
            }
            part.fill(self).await?;
            heads.extend(first_of(part).map(|first| Reverse((first, number))));
        }
        Ok(())
    }
}

/// The rows of several requests, in no order.
async fn together<R>(asked: Vec<impl Future<Output = Result<VecDeque<R>, Failed>>>) -> Result<Vec<R>, Failed> {
    let found: Vec<VecDeque<R>> = stream::iter(asked).buffer_unordered(REQUESTS_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

fn balance_row((user, asset, amount, seq): BalanceColumns) -> Result<BalanceRow, Failed> {
    let user = place::read_user(user);
    let known = u64::try_from(amount).ok().and_then(Amount::new);
    let damaged = || StoreError::Damaged(format!("table balance gives user {user} an amount of {amount}"));
    let amount = known.ok_or_else(damaged)?;
    Ok(BalanceRow { user, asset: place::read_asset("balance", asset)?, amount, seq: place::read_seq(seq) })
}
