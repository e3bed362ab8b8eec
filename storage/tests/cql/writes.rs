//! Writes that are late, repeated or out of order change nothing.

use largesse_engine::event_id::EventId;
use largesse_engine::room::event::RowGroup;
use largesse_engine::store::{
    BalanceRow, Checkpoint, EndedGroup, FeedQuery, FeedRow, ReceivedEntry, RoomRow, Store, StoredEvent,
};
use largesse_engine::units::{AssetId, Position, RoomId, RoomSeq, Seq, ShardId, UserId};
use largesse_storage::conformance::store::{Batch, received_pages, sent_pages, v4, v7};
use largesse_storage::store::memory::MemoryStore;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::server::Keyspace;

const SHARD: ShardId = ShardId::wallet(3);
const SOURCE: ShardId = ShardId::wallet(1);
const ANN: UserId = UserId(3001);
const BOB: UserId = UserId(2001);
const COIN: AssetId = AssetId(1);
const ROOM: RoomId = RoomId(1001);
const NOON: u64 = 1_700_000_000_000;

/// Flush number `number` of ten events, each with rows of every table; `reach` is how far the relays are.
fn flush(number: u64, reach: u64) -> Batch {
    let (first, last) = (number * 10 + 1, number * 10 + 10);
    let mut batch = Batch::upto(last + 1).balance(ANN, COIN, 1_000 - last, last).balance(BOB, COIN, last, last - 1);
    for seq in first..=last {
        let id = if seq % 3 == 0 { v4(seq) } else { v7(NOON + seq * 400_000, seq) };
        batch = batch.sent(ANN, id, seq);
    }
    let entries: Vec<_> = (first..=last).map(|seq| (NOON + number, seq)).collect();
    batch = batch.received(BOB, SOURCE, &entries);
    batch.0.feed.push(FeedRow { room: ROOM, first: RoomSeq(first), last: RoomSeq(last), items: vec![7; 100] });
    // A live lasts for two flushes: the first of the next one ends it. Each flush opens a streak and ends the last one's.
    let live = RowGroup(100 + number / 2);
    let scores = (first..=last).map(|seq| (live, format!("user {}", seq % 7), "a score", seq));
    let streaks = [(number, "open", first), (number.wrapping_sub(1), "", first + 1)];
    let streaks = streaks.map(|(number, value, seq)| (RowGroup::ROOM, format!("streak {number}"), value, seq));
    batch.0.rooms.extend(scores.chain(streaks).map(|(group, key, value, seq)| RoomRow {
        room: ROOM,
        group,
        key: key.into(),
        value: value.into(),
        seq: Seq(seq),
    }));
    batch.0.rooms.sort_by(|one, other| (one.group, &one.key, other.seq).cmp(&(other.group, &other.key, one.seq)));
    batch.0.rooms.dedup_by(|one, other| (one.group, &one.key) == (other.group, &other.key));
    batch.0.ended.push(EndedGroup { room: ROOM, group: RowGroup(live.0 - 1), seq: Seq(first) });
    batch.0.checkpoint.relay_position = Position(reach * 10);
    batch.0.checkpoint.relay_fold.next = Seq(reach * 10 + 1);
    batch
}

/// Everything that anyone can ask a store.
#[derive(PartialEq)]
struct Everything {
    balances: Vec<BalanceRow>,
    wallets: Vec<Vec<BalanceRow>>,
    receipts: Vec<Option<StoredEvent>>,
    sent: Vec<StoredEvent>,
    received: Vec<ReceivedEntry>,
    room: Vec<RoomRow>,
    feed: Vec<FeedRow>,
    checkpoint: Option<Checkpoint>,
}

async fn everything(store: &impl Store) -> Everything {
    let ids = |seq: u64| -> [EventId; 2] { [v4(seq), v7(NOON + seq * 400_000, seq)] };
    let keys = (1..=60).flat_map(ids).map(|id| (ANN, id)).collect();
    Everything {
        balances: store.scan_balances(SHARD, None, 100).await.unwrap(),
        wallets: store.load_wallets(SHARD, vec![ANN, BOB, UserId(1)]).await.unwrap(),
        receipts: store.load_receipts(SHARD, keys).await.unwrap(),
        sent: sent_pages(store, ANN, 7).await,
        received: received_pages(store, BOB, 7).await,
        room: store.load_room(SHARD, ROOM).await.unwrap(),
        feed: store.page_feed(FeedQuery { shard: SHARD, room: ROOM, after: RoomSeq(5), limit: 100 }).await.unwrap(),
        checkpoint: store.checkpoint(SHARD).await.unwrap(),
    }
}

/// Flushes in any order, each any number of times, and one of them cut short; two flushers whose relays got further or
/// less far.
fn any_order() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0..6u64, 0..4u64), 1..12)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_in_any_order_leave_what_the_model_has() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for case in 0..6u8 {
        let order = any_order().new_tree(&mut runner).unwrap().current();
        let Some(keyspace) = Keyspace::new().await else { return };
        let model = MemoryStore::default();
        let store = keyspace.store().await;
        for (number, reach) in &order {
            let batch = flush(*number, *reach);
            store.write(batch.0.clone()).await.unwrap();
            model.write(batch.0).await.unwrap();
        }
        assert!(everything(&store).await == everything(&model).await, "case {case} differs: {order:?}");
        // All at once, and once more.
        let again = order.iter().map(|(number, reach)| store.write(flush(*number, *reach).0));
        for written in futures::future::join_all(again).await {
            written.unwrap();
        }
        assert!(everything(&store).await == everything(&model).await, "case {case}, once more, differs: {order:?}");
    }
}

/// What keeps late writes out is in the rows for all to see.
#[tokio::test]
async fn rows_carry_their_event_as_timestamp() {
    let Some(keyspace) = Keyspace::new().await else { return };
    let store = keyspace.store().await;
    store.write(flush(1, 1).0).await.unwrap();
    let session = keyspace.session().await;
    for (statement, want) in [
        ("SELECT MAX(WRITETIME(amount)) FROM main_balance", 20),
        ("SELECT MIN(WRITETIME(amount)) FROM main_balance", 19),
        ("SELECT MIN(WRITETIME(event)) FROM main_sent", 11),
        ("SELECT MAX(WRITETIME(packed)) FROM main_received", 20),
        ("SELECT MAX(WRITETIME(packed)) FROM main_room_feed", 20),
        ("SELECT MIN(WRITETIME(value)) FROM main_room_state", 11),
        ("SELECT MAX(WRITETIME(value)) FROM main_room_state", 20),
        ("SELECT MAX(WRITETIME(state)) FROM main_checkpoint", 21),
        ("SELECT MAX(WRITETIME(relay_state)) FROM main_checkpoint", 10),
    ] {
        let found = session.query_unpaged(statement, ()).await.unwrap().into_rows_result().unwrap();
        assert_eq!(found.single_row::<(i64,)>().unwrap(), (want,), "{statement}");
    }
}
