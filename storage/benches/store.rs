//! Rows per second and CPU seconds per million rows of the embedded store, in flush batches of the shape that a busy
//! shard makes: `cargo bench -p largesse-storage --bench store [-- batches shards folder]`.

use std::time::{Duration, Instant};

use largesse_engine::event_id::EventId;
use largesse_engine::fold::Fold;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::store::{
    BalanceRow, Checkpoint, FlushBatch, HistorySlot, ReceivedEntry, ReceivedKind, ReceivedRow, SentRow, Store,
    StoredEvent,
};
use largesse_engine::units::{Amount, AssetId, Epoch, GiftId, Position, RoomId, Seq, ShardId, Time, UserId};
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};

const SENT_PER_BATCH: u64 = 20_000;
const SENDERS: u64 = 400;
const HOSTS: u64 = 40;
const EVENT_BYTES: usize = 110;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |place: usize, default: u64| args.get(place).map_or(default, |text| text.parse().expect("a number"));
    let (batches, shards) = (number(0, 100), number(1, 4));
    let temporary = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = args.get(2).map_or(temporary.path().join("store"), std::path::PathBuf::from);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let store = EmbeddedStore::open(&folder, LedgerName::default(), LedgerShape::new(16), StoreOptions::default())
        .expect("the folder is free");
    let (started, cpu) = (Instant::now(), cpu_time());
    let (mut rows, mut making) = (0, Duration::ZERO);
    for number in 0..batches / shards {
        let made = Instant::now();
        let group: Vec<FlushBatch> = (0..shards)
            .map(|shard| batch(ShardId::wallet(u16::try_from(shard).expect("few shards")), number))
            .collect();
        making += made.elapsed();
        rows += group.iter().map(|one| one.balances.len() + one.sent.len() + one.received.len()).sum::<usize>();
        let written = runtime.block_on(futures::future::join_all(group.into_iter().map(|one| store.write(one))));
        for one in written {
            one.expect("the store takes it");
        }
    }
    // Making the batches is not the store's work, and all of it is CPU time of this thread.
    let (wall, cpu) = (started.elapsed() - making, cpu_time() - cpu - making);
    let per_second = rows as f64 / wall.as_secs_f64();
    println!(
        "{rows} rows in {wall:.2?}: {per_second:.0} rows/s, {:.2} CPU s per million",
        cpu.as_secs_f64() * 1e6 / rows as f64
    );
    let asked = Instant::now();
    const LOADS: u64 = 20_000;
    for load in 0..LOADS {
        let user = UserId(1 + load * 7919 % (SENDERS * 2));
        let found = runtime.block_on(store.load_wallets(ShardId::wallet(0), vec![user])).expect("the store answers");
        assert_eq!(found.len(), 1);
    }
    println!("load of one wallet: {:.2?}", asked.elapsed() / u32::try_from(LOADS).expect("few loads"));
}

fn batch(shard: ShardId, number: u64) -> FlushBatch {
    let first = 1 + number * SENT_PER_BATCH;
    let noon = 1_700_000_000_000 + number * 1_000;
    let at = |place: u64| Time(noon + place * 1_000 / SENT_PER_BATCH);
    let mut sent: Vec<SentRow> = (0..SENT_PER_BATCH)
        .map(|place| {
            let (seq, at) = (Seq(first + place), at(place));
            let mut random = [0; 10];
            random[2..].copy_from_slice(&seq.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            let event = seq.get().to_le_bytes().repeat(EVENT_BYTES / 8);
            let user = UserId(1 + place * 7919 % SENDERS);
            SentRow { user, id: EventId::v7(at, random), stored: StoredEvent { shard, seq, at, event } }
        })
        .collect();
    sent.sort_by_key(|row| (row.user, row.id));
    let next = Seq(first + SENT_PER_BATCH);
    let balances = (1..=SENDERS)
        .map(|user| BalanceRow {
            user: UserId(user),
            asset: AssetId(1),
            amount: Amount::ZERO,
            seq: Seq(next.get() - user),
        })
        .collect();
    let checkpoint = Checkpoint {
        shard,
        position: Position(number + 1),
        relay_position: Position(number + 1),
        relay_fold: Fold { epoch: Some(Epoch(0)), next },
        fold: Fold { epoch: Some(Epoch(0)), next },
        time: at(SENT_PER_BATCH),
        state: vec![0; 4_096],
    };
    FlushBatch {
        balances,
        sent,
        received: (0..HOSTS).map(|host| received(shard, host, first, noon)).collect(),
        ..FlushBatch::new(checkpoint)
    }
}

/// Half of all gifts go to the first host.
fn received(shard: ShardId, host: u64, first: u64, noon: u64) -> ReceivedRow {
    let count = if host == 0 { SENT_PER_BATCH / 2 } else { SENT_PER_BATCH / 2 / HOSTS };
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
    let entries: Vec<ReceivedEntry> = (0..count).map(entry).collect();
    ReceivedRow {
        user: UserId(1_000_000 + host),
        shard: ShardId::wallet(5),
        slot: HistorySlot::of(Time(noon)),
        spread: 0,
        source: shard,
        first: Seq(first),
        last: Seq(first + count - 1),
        entries,
    }
}

/// User and system time of the process so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).expect("below a second");
    Duration::new(u64::try_from(time.tv_sec).expect("time has passed"), nanos)
}
