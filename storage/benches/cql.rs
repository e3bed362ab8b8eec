//! Rows per second of flushes into ScyllaDB or Cassandra, through the store and, in turns with it, through a bare loop that
//! sends the same prepared batches: `cargo bench -p largesse-storage --bench cql [-- seconds shards gifts-per-flush]`.
//!
//! The server is the one that `scripts/services up cassandra` starts.

#![expect(clippy::print_stdout, reason = "its figures are what a benchmark is for")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::event_id::EventId;
use largesse_engine::fold::Fold;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::store::{
    BalanceRow, Checkpoint, FlushBatch, HistorySlot, ReceivedEntry, ReceivedKind, ReceivedRow, SentRow, Store,
    StoredEvent,
};
use largesse_engine::units::{Amount, AssetId, Epoch, GiftId, Position, RoomId, Seq, ShardId, Time, UserId};
use largesse_storage::store::cql::{CqlOptions, CqlStore, locate, migrate};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

const SHAPE: LedgerShape = LedgerShape { wallet_shards: 16, hash_version: 1 };
/// Viewers of one shard, and hosts of all.
const SENDERS: u64 = 6_000;
const HOSTS: u64 = 40;
const EVENT_BYTES: usize = 110;
/// Flushes of each shard in one turn.
const ROUNDS: u64 = 3;
const BATCH_ROWS_MAX: usize = 64;
const IN_FLIGHT: usize = 64;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |place: usize, default: u64| args.get(place).map_or(default, |text| text.parse().expect("a number"));
    let (seconds, shards, gifts) = (number(0, 30), number(1, 16), number(2, 2_000));
    let node = std::env::var("LARGESSE_TEST_CASSANDRA").unwrap_or_else(|_| "127.0.0.1:19042".into());
    let (nodes, keyspace) = (vec![node], format!("bench_{}", std::process::id()));
    let options = CqlOptions { nodes: nodes.clone(), keyspace, replication: 1, ..CqlOptions::default() };
    let (through, bare): (LedgerName, LedgerName) =
        ("through".parse().expect("a name"), "bare".parse().expect("a name"));
    for ledger in [&through, &bare] {
        migrate(&options, ledger, SHAPE).await.expect("scripts/services up cassandra");
    }
    let store = CqlStore::open(&through, SHAPE, options.clone()).await.expect("the tables are there");
    let bare = Bare::open(&nodes, &options).await;
    let shards: Vec<ShardId> = (0..u16::try_from(shards).expect("few shards")).map(ShardId::wallet).collect();
    let mut flushes = 4 * SENDERS / gifts + 1;
    let mut next = || {
        flushes += 1;
        shards.iter().map(|shard| batch(*shard, flushes - 1, gifts)).collect::<Vec<_>>()
    };
    // The first gift of a viewer in an hour lists that hour, which over an hour costs next to nothing.
    for shard in &shards {
        let everyone = batch(*shard, 0, 4 * SENDERS);
        store.write(FlushBatch { balances: Vec::new(), received: Vec::new(), ..everyone }).await.expect("it is taken");
    }
    let (mut of_store, mut of_bare) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        of_store.push(
            turn(&mut next, by_shard, async |shards| {
                let flushers = shards.into_values().map(async |flushes| {
                    for flush in flushes {
                        store.write(flush).await.expect("the store takes it");
                    }
                });
                drop(futures::future::join_all(flushers).await);
            })
            .await,
        );
        of_bare.push(turn(&mut next, |rounds| bare.all_prepared(rounds), async |rows| bare.write(rows).await).await);
        let (store, bare) = (of_store[of_store.len() - 1], of_bare[of_bare.len() - 1]);
        println!("store {:.0} rows/s, {:.0} gifts/s; bare {:.0} rows/s", store.0, store.1, bare.0);
    }
    let median = |turns: &mut Vec<(f64, f64)>| {
        turns.sort_by(|one, other| one.0.total_cmp(&other.0));
        turns[turns.len() / 2]
    };
    let (of_store, of_bare) = (median(&mut of_store), median(&mut of_bare));
    let ratio = of_store.0 / of_bare.0;
    println!(
        "median: store {:.0} rows/s, {:.0} gifts/s; bare {:.0} rows/s; ratio {ratio:.2}",
        of_store.0, of_store.1, of_bare.0
    );
    let dropped = bare.session.query_unpaged(format!("DROP KEYSPACE {}", options.keyspace), ()).await;
    dropped.expect("the keyspace is ours");
}

/// Rows and gifts per second of one turn; making them ready is not counted.
async fn turn<T>(
    next: &mut impl FnMut() -> Vec<FlushBatch>,
    ready: impl Fn(Vec<FlushBatch>) -> T,
    write: impl AsyncFn(T),
) -> (f64, f64) {
    let batches: Vec<FlushBatch> = (0..ROUNDS).flat_map(|_| next()).collect();
    let gifts: usize = batches.iter().map(|one| one.sent.len()).sum();
    let rows: usize = batches.iter().map(|one| one.balances.len() + one.sent.len() + one.received.len()).sum();
    let batches = ready(batches);
    let began = Instant::now();
    write(batches).await;
    let seconds = began.elapsed().as_secs_f64();
    (rows as f64 / seconds, gifts as f64 / seconds)
}

/// As flushers do it: those of one shard one after the other, shards side by side.
fn by_shard(flushes: Vec<FlushBatch>) -> BTreeMap<ShardId, Vec<FlushBatch>> {
    let mut shards = BTreeMap::new();
    for flush in flushes {
        shards.entry(flush.shard).or_insert_with(Vec::new).push(flush);
    }
    shards
}

/// The least that sends the same rows.
struct Bare {
    session: Session,
    balance: Vec<Batch>,
    sent: Vec<Batch>,
    received: Vec<Batch>,
    subs: BTreeMap<UserId, i32>,
}

type BalanceColumns = (i32, i32, i64, i32, i64, i64, i64);
type SentColumns = (i32, i32, CqlTimestamp, i64, Uuid, Vec<u8>, i64, CqlTimestamp, Vec<u8>, i64);
type ReceivedColumns = (i32, i32, CqlTimestamp, i32, i64, CqlTimestamp, i32, i64, i64, Vec<u8>, i64);

enum Prepared {
    Balance(Vec<BalanceColumns>),
    Sent(Vec<SentColumns>),
    Received(Vec<ReceivedColumns>),
}

impl Bare {
    async fn open(nodes: &[String], options: &CqlOptions) -> Bare {
        let profile = ExecutionProfile::builder().consistency(Consistency::LocalQuorum).build().into_handle();
        let session = SessionBuilder::new().known_nodes(nodes).default_execution_profile_handle(profile);
        let session = session.build().await.expect("the server runs");
        let prepare = async |table: &str, columns: &str| {
            let marks = vec!["?"; columns.split(',').count()].join(", ");
            let keyspace = &options.keyspace;
            let text = format!("INSERT INTO {keyspace}.bare_{table} ({columns}) VALUES ({marks}) USING TIMESTAMP ?");
            let statement = session.prepare(text).await.expect("the table is there");
            (1..=BATCH_ROWS_MAX).map(|rows| batch_of(&statement, rows)).collect::<Vec<_>>()
        };
        let balance = prepare("balance", "shard, sub, user_id, asset, amount, seq").await;
        let sent = prepare("sent", "shard, sub, hour, user_id, event_id, id_head, seq, at, event").await;
        let received = "shard, sub, hour, spread, user_id, slot, source, first_seq, last_seq, packed";
        let received = prepare("received", received).await;
        let users = (1..=SENDERS).chain(1_000_000..1_000_000 + HOSTS).map(UserId);
        let sub = |user| locate(options, &LedgerName::default(), SHAPE, user).sub;
        Bare { subs: users.map(|user| (user, sub(user))).collect(), session, balance, sent, received }
    }

    fn all_prepared(&self, batches: Vec<FlushBatch>) -> Vec<Prepared> {
        batches.into_iter().flat_map(|batch| self.prepared(batch)).collect()
    }

    async fn write(&self, prepared: Vec<Prepared>) {
        let sending = stream::iter(prepared).map(async |rows| match rows {
            Prepared::Balance(rows) => self.session.batch(&self.balance[rows.len() - 1], rows).await,
            Prepared::Sent(rows) => self.session.batch(&self.sent[rows.len() - 1], rows).await,
            Prepared::Received(rows) => self.session.batch(&self.received[rows.len() - 1], rows).await,
        });
        let sent = sending.buffer_unordered(IN_FLIGHT).try_for_each(async |_| Ok(())).await;
        sent.expect("the server takes it");
    }

    fn prepared(&self, batch: FlushBatch) -> Vec<Prepared> {
        let shard = batch.shard.to_u32().cast_signed();
        let at = |time: Time| CqlTimestamp(time.get().cast_signed());
        let hour = |millis: u64| CqlTimestamp((millis - millis % 3_600_000).cast_signed());
        let (mut balance, mut sent, mut received) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for row in batch.balances {
            let (sub, seq) = (self.subs[&row.user], row.seq.get().cast_signed());
            let columns = (shard, sub, row.user.get().cast_signed(), 1, row.amount.get().cast_signed(), seq, seq);
            balance.entry(sub).or_insert_with(Vec::new).push(columns);
        }
        for row in batch.sent {
            let (sub, seq) = (self.subs[&row.user], row.stored.seq.get().cast_signed());
            let (hour, user) = (hour(row.stored.at.get()), row.user.get().cast_signed());
            let id = Uuid::from_bytes(*row.id.as_bytes());
            let columns = (shard, sub, hour, user, id, Vec::new(), seq, at(row.stored.at), row.stored.event, seq);
            sent.entry((sub, hour)).or_insert_with(Vec::new).push(columns);
        }
        for row in batch.received {
            let (owner, sub) = (row.shard.to_u32().cast_signed(), self.subs[&row.user]);
            let (user, slot) = (row.user.get().cast_signed(), u64::from(row.slot.0) * 1_000);
            let (first, last) = (row.first.get().cast_signed(), row.last.get().cast_signed());
            let packed = largesse_engine::codec::encode(&row.entries);
            let columns =
                (owner, sub, hour(slot), 0, user, CqlTimestamp(slot.cast_signed()), shard, first, last, packed, last);
            received.entry((owner, sub)).or_insert_with(Vec::new).push(columns);
        }
        let mut prepared = Vec::new();
        for rows in balance.into_values() {
            prepared.extend(rows.chunks(BATCH_ROWS_MAX).map(|rows| Prepared::Balance(rows.to_vec())));
        }
        for rows in sent.into_values() {
            prepared.extend(rows.chunks(BATCH_ROWS_MAX).map(|rows| Prepared::Sent(rows.to_vec())));
        }
        for rows in received.into_values() {
            prepared.extend(rows.chunks(2).map(|rows| Prepared::Received(rows.to_vec())));
        }
        prepared
    }
}

fn batch_of(statement: &PreparedStatement, rows: usize) -> Batch {
    let mut batch = Batch::new(BatchType::Unlogged);
    (0..rows).for_each(|_| batch.append_statement(statement.clone()));
    batch
}

/// Gifts of one second: one sender row each, a balance per sender, packed rows of the hosts.
fn batch(shard: ShardId, number: u64, gifts: u64) -> FlushBatch {
    let first = 1 + number * gifts;
    let noon = 1_700_000_000_000 + number * 1_000;
    let at = |place: u64| Time(noon + place * 1_000 / gifts);
    let user = |place: u64| UserId(1 + (first + place).wrapping_mul(0x9e37_79b9_7f4a_7c15) % SENDERS);
    let mut balances = BTreeMap::new();
    let mut sent: Vec<SentRow> = (0..gifts)
        .map(|place| {
            let (seq, at, user) = (Seq(first + place), at(place), user(place));
            let amount = Amount::new(seq.get()).expect("a small number");
            balances.insert(user, BalanceRow { user, asset: AssetId(1), amount, seq });
            let mut random = [0; 10];
            random[2..].copy_from_slice(&seq.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            let event = seq.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(EVENT_BYTES / 8);
            SentRow { user, id: EventId::v7(at, random), stored: StoredEvent { shard, seq, at, event } }
        })
        .collect();
    sent.sort_by_key(|row| (row.user, row.id));
    let next = Seq(first + gifts);
    let fold = Fold { epoch: Some(Epoch(0)), next };
    let position = Position(number + 1);
    let checkpoint = Checkpoint {
        shard,
        position,
        relay_position: position,
        relay_fold: fold,
        fold,
        time: at(gifts),
        state: vec![0; 1_024],
    };
    let received = (0..HOSTS).map(|host| received(shard, host, first, noon, gifts)).collect();
    FlushBatch { balances: balances.into_values().collect(), sent, received, ..FlushBatch::new(checkpoint) }
}

/// Half of all gifts go to the first host.
fn received(shard: ShardId, host: u64, first: u64, noon: u64, gifts: u64) -> ReceivedRow {
    let count = if host == 0 { gifts / 2 } else { (gifts / 2 / HOSTS).max(1) }.min(512);
    let entry = |place: u64| ReceivedEntry {
        source: shard,
        seq: Seq(first + place),
        at: Time(noon),
        id: EventId::v7(Time(noon), place.to_be_bytes().repeat(2)[..10].try_into().expect("ten bytes")),
        kind: ReceivedKind::Gift { room: RoomId(1001), gift: GiftId(1), count: 1 },
        sender: UserId(1 + place % SENDERS),
        asset: AssetId(1),
        amount: Amount::ZERO,
    };
    let user = UserId(1_000_000 + host);
    ReceivedRow {
        user,
        shard: SHAPE.wallet_of(user),
        slot: HistorySlot::of(Time(noon)),
        spread: 0,
        source: shard,
        first: Seq(first),
        last: Seq(first + count - 1),
        entries: (0..count).map(entry).collect(),
    }
}
