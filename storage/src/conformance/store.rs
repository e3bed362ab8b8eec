//! What every [`Store`] must do. `store_conformance!` makes one test of each function here, and of those about rooms.
//!
//! Each function panics with what went wrong.

use std::collections::BTreeSet;
use std::future::Future;

use bytes::Bytes;
use largesse_engine::event_id::EventId;
use largesse_engine::fold::Fold;
use largesse_engine::store::{
    BalanceRow, Checkpoint, FlushBatch, HistorySlot, ReceivedEntry, ReceivedKind, ReceivedQuery, ReceivedRow,
    SentQuery, SentRow, Store, StoreError, StoredEvent,
};
use largesse_engine::units::{Amount, AssetId, Epoch, GiftId, Position, RoomId, Seq, ShardId, Time, UserId};

/// Where a store lives. It starts empty.
pub trait Fixture: Send + Sync {
    type Store: Store;

    /// Opens what was stored before. The suite drops one store before it opens the next.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;
}

/// One test per rule, each with a fixture of its own.
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr) => {
        $crate::store_conformance!(
            $fixture,
            rooms:
            feed_rows_come_back,
            a_feed_starts_anywhere,
            a_long_feed_is_read_from_end_to_end,
            a_fuller_feed_row_replaces_its_shorter_self_only,
            overlapping_rows_give_every_entry,
            rooms_and_shards_do_not_mix,
            room_rows_only_go_forward,
            an_empty_value_deletes,
            an_ended_group_stays_ended,
            a_large_group_is_loaded_and_ends_as_a_whole,
            rooms_are_there_after_reopening,
        );
        $crate::store_conformance!(
            $fixture,
            store:
            rows_come_back,
            users_and_shards_do_not_mix,
            balances_only_go_forward,
            checkpoints_only_go_forward,
            what_was_handed_on_only_goes_forward,
            a_repeated_batch_changes_nothing,
            receipts_are_found_by_the_callers_id,
            a_made_up_id_does_not_hide_an_event,
            many_keys_are_answered_in_the_order_asked,
            sent_pages_give_each_event_once_newest_first,
            sent_pages_keep_to_their_bounds,
            received_pages_give_each_entry_once_newest_first,
            received_pages_keep_to_their_bounds,
            a_hot_receiver_is_paged_in_full,
            a_fuller_row_replaces_its_shorter_self_only,
            overlapping_rows_give_each_event_once,
            interleaved_rows_are_put_in_order,
            several_entries_of_one_event_all_count,
            foreign_cursors_are_refused,
            limits_are_brought_into_range,
            what_is_written_meanwhile_disturbs_no_page,
            balances_are_scanned_in_order,
            what_was_acknowledged_is_there_after_reopening,
        );
    };
    ($fixture:expr, $part:ident: $($rule:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $rule() {
                $crate::conformance::$part::$rule(&$fixture).await;
            }
        )+
    };
}

const SHARD: ShardId = ShardId::wallet(3);
const OTHER: ShardId = ShardId::wallet(4);
const COIN: AssetId = AssetId(1);
const POINT: AssetId = AssetId(2);
const ANN: UserId = UserId(3001);
const BOB: UserId = UserId(2001);
/// A round second, so that slots are easy to reckon with.
const NOON: u64 = 1_700_000_000_000;

pub async fn rows_come_back(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.checkpoint(SHARD).await, Ok(None));
    assert_eq!(store.load_wallets(SHARD, vec![ANN]).await, Ok(vec![vec![]]));
    let batch = Batch::upto(9)
        .balance(ANN, COIN, 70, 8)
        .balance(ANN, POINT, 3, 8)
        .balance(BOB, COIN, 30, 5)
        .sent(ANN, v7(NOON, 1), 8)
        .received(BOB, OTHER, &[(NOON, 5), (NOON + 10, 7)]);
    write(&store, &batch).await;
    let wallets = store.load_wallets(SHARD, vec![BOB, UserId(1), ANN]).await.expect("wallets are there");
    let row = |user, asset, amount, seq| BalanceRow { user, asset, amount: coins(amount), seq: Seq(seq) };
    assert_eq!(wallets, [vec![row(BOB, COIN, 30, 5)], vec![], vec![row(ANN, COIN, 70, 8), row(ANN, POINT, 3, 8)]]);
    assert_eq!(store.load_receipts(SHARD, vec![(ANN, v7(NOON, 1))]).await, Ok(vec![Some(event(NOON, 8))]));
    assert_eq!(sent_pages(&store, ANN, 10).await, [event(NOON, 8)]);
    let received = received_pages(&store, BOB, 10).await;
    assert_eq!(received, [entry(OTHER, NOON + 10, 7), entry(OTHER, NOON, 5)]);
    assert_eq!(store.checkpoint(SHARD).await, Ok(Some(batch.0.checkpoint)));
}

pub async fn users_and_shards_do_not_mix(fixture: &impl Fixture) {
    let store = fixture.open().await;
    // Neighbours in bytes as well as in numbers.
    let users = [1, 255, 256, 257, 1 << 40, u64::MAX - 1, u64::MAX].map(UserId);
    let mut batch = Batch::upto(100);
    for (seq, user) in (1..).zip(users) {
        batch = batch
            .balance(user, COIN, seq, seq)
            .balance(user, AssetId(u16::MAX), seq, seq)
            .sent(user, v7(NOON, seq), seq)
            .received(user, OTHER, &[(NOON, seq)]);
    }
    write(&store, &batch).await;
    for (seq, user) in (1..).zip(users) {
        let wallets = store.load_wallets(SHARD, vec![user]).await.expect("wallets are there");
        assert!(wallets[0].iter().all(|row| row.user == user && row.seq == Seq(seq)), "{user}: {wallets:?}");
        assert_eq!(wallets[0].len(), 2, "{user}");
        assert_eq!(sent_pages(&store, user, 10).await, [event(NOON, seq)], "{user}");
        assert_eq!(received_pages(&store, user, 10).await, [entry(OTHER, NOON, seq)], "{user}");
        assert_eq!(store.load_wallets(OTHER, vec![user]).await, Ok(vec![vec![]]), "another shard has none");
        let elsewhere = store.load_receipts(OTHER, vec![(user, v7(NOON, seq))]).await;
        assert_eq!(elsewhere, Ok(vec![None]), "another shard has none");
    }
    assert_eq!(store.load_receipts(SHARD, vec![(users[0], v7(NOON, 2))]).await, Ok(vec![None]), "the id is another's");
}

pub async fn balances_only_go_forward(fixture: &impl Fixture) {
    let store = fixture.open().await;
    write(&store, &Batch::upto(20).balance(ANN, COIN, 200, 20)).await;
    write(&store, &Batch::upto(10).balance(ANN, COIN, 100, 10).balance(BOB, COIN, 5, 9)).await;
    assert_eq!(balance(&store, ANN).await, Some((200, 20)), "an older row replaced a newer one");
    assert_eq!(balance(&store, BOB).await, Some((5, 9)), "a late row that nothing is newer than counts");
    // The same end, reached from elsewhere: what is newer counts, what is older does not.
    write(&store, &Batch::upto(20).balance(ANN, COIN, 190, 19).balance(BOB, COIN, 7, 15)).await;
    assert_eq!((balance(&store, ANN).await, balance(&store, BOB).await), (Some((200, 20)), Some((7, 15))));
    write(&store, &Batch::upto(31).balance(ANN, COIN, 300, 30)).await;
    assert_eq!(balance(&store, ANN).await, Some((300, 30)));
}

pub async fn checkpoints_only_go_forward(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let at = |next: u64, position: u64, state: u8| {
        let mut batch = Batch::upto(next);
        batch.0.checkpoint.position = Position(position);
        batch.0.checkpoint.state = vec![state];
        batch
    };
    let steps = [
        (at(5, 10, 1), 1, "the first"),
        (at(4, 20, 2), 1, "fewer events, though read further"),
        (at(5, 9, 3), 1, "the same events, not read as far"),
        (at(5, 11, 4), 4, "the same events, read further"),
        (at(6, 12, 5), 5, "more events"),
        (at(5, 11, 6), 5, "late"),
    ];
    for (batch, want, what) in steps {
        write(&store, &batch).await;
        let stored = store.checkpoint(SHARD).await.expect("it is there").expect("it is there");
        assert_eq!(stored.state, [want], "{what}");
    }
    assert_eq!(store.checkpoint(OTHER).await, Ok(None), "each shard has its own");
    let mut other = Batch::upto(2);
    other.0.shard = OTHER;
    other.0.checkpoint.shard = OTHER;
    write(&store, &other).await;
    assert_eq!(store.checkpoint(OTHER).await, Ok(Some(other.0.checkpoint)));
}

pub async fn what_was_handed_on_only_goes_forward(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let at = |next: u64, relay: u64| {
        let mut batch = Batch::upto(next);
        batch.0.checkpoint.relay_position = Position(relay);
        batch.0.checkpoint.relay_fold.next = Seq(relay);
        batch
    };
    let steps = [
        (at(10, 4), (10, 4), "the first"),
        (at(12, 3), (12, 4), "further in the rows, by a flusher that knows less of the relays"),
        (at(8, 8), (12, 8), "the other way round: its log may now be cut to there"),
        (at(12, 2), (12, 8), "late"),
        (at(13, 13), (13, 13), "further in both"),
    ];
    for (batch, (next, relay), what) in steps {
        write(&store, &batch).await;
        let stored = store.checkpoint(SHARD).await.expect("it is there").expect("it is there");
        assert_eq!((stored.fold.next, stored.position), (Seq(next), Position(next)), "{what}");
        assert_eq!((stored.relay_fold.next, stored.relay_position), (Seq(relay), Position(relay)), "{what}");
    }
}

pub async fn a_repeated_batch_changes_nothing(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let batches = [1, 2, 3].map(|number| {
        let seq = number * 10;
        let at = NOON + number;
        Batch::upto(seq + 1)
            .balance(ANN, COIN, seq, seq)
            .sent(ANN, v7(at, seq), seq)
            .sent(ANN, v4(seq), seq - 1)
            .received(BOB, OTHER, &[(at, seq)])
    });
    for batch in &batches {
        write(&store, batch).await;
    }
    let all = || async {
        let receipts = store.load_receipts(SHARD, vec![(ANN, v4(10)), (ANN, v7(NOON + 1, 10))]).await;
        let checkpoint = store.checkpoint(SHARD).await;
        let pages = (sent_pages(&store, ANN, 2).await, received_pages(&store, BOB, 2).await);
        (balance(&store, ANN).await, receipts, checkpoint, pages)
    };
    let before = all().await;
    assert_eq!(before.0, Some((30, 30)));
    assert_eq!((before.3.0.len(), before.3.1.len()), (6, 3));
    for batch in batches.iter().chain(batches.iter().rev()) {
        write(&store, batch).await;
        assert_eq!(all().await, before);
    }
}

pub async fn receipts_are_found_by_the_callers_id(fixture: &impl Fixture) {
    let store = fixture.open().await;
    // A v7 id's own time need not be that of its event.
    let timed = v7(NOON - 5_000, 1);
    let batch = Batch::upto(9).sent(ANN, timed, 1).sent(ANN, v4(2), 2).sent(BOB, v4(2), 3);
    write(&store, &batch).await;
    let keys = vec![(ANN, timed), (ANN, v4(2)), (BOB, v4(2)), (BOB, timed), (ANN, v4(3)), (ANN, v7(NOON, 9))];
    let found = store.load_receipts(SHARD, keys).await.expect("the store answers");
    assert_eq!(found, [Some(event(NOON, 1)), Some(event(NOON, 2)), Some(event(NOON, 3)), None, None, None]);
    assert_eq!(sent_pages(&store, ANN, 10).await, [event(NOON, 2), event(NOON, 1)], "in order of the stored ids");
}

/// Someone may send an id that equals what another of their ids was stored under. It must neither find that event nor
/// replace it, or a receipt is gone and the event could be judged afresh.
pub async fn a_made_up_id_does_not_hide_an_event(fixture: &impl Fixture) {
    let store = fixture.open().await;
    write(&store, &Batch::upto(2).sent(ANN, v4(1), 1)).await;
    let made_up = v4(1).stored_as(Time(NOON));
    assert_eq!(store.load_receipts(SHARD, vec![(ANN, made_up)]).await, Ok(vec![None]));
    let mut twin = *v4(1).as_bytes();
    twin[0] ^= 1;
    let twin = EventId::from_bytes(twin);
    write(&store, &Batch::upto(4).sent(ANN, made_up, 2).sent(ANN, twin, 3)).await;
    let found = store.load_receipts(SHARD, vec![(ANN, v4(1)), (ANN, made_up), (ANN, twin)]).await;
    assert_eq!(found, Ok(vec![Some(event(NOON, 1)), Some(event(NOON, 2)), Some(event(NOON, 3))]));
    for limit in 1..=4 {
        let seqs: BTreeSet<_> = sent_pages(&store, ANN, limit).await.iter().map(|event| event.seq.get()).collect();
        assert_eq!(seqs, BTreeSet::from([1, 2, 3]), "pages of {limit}");
    }
}

pub async fn many_keys_are_answered_in_the_order_asked(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(1_000);
    for seq in 1..=300 {
        batch = batch.balance(UserId(seq), COIN, seq, seq).sent(UserId(seq), v4(seq), seq);
    }
    write(&store, &batch).await;
    let users: Vec<UserId> = (1..=300).rev().map(|id| UserId(id * 2)).collect();
    let wallets = store.load_wallets(SHARD, users.clone()).await.expect("wallets are there");
    let keys = users.iter().map(|user| (*user, v4(user.get()))).collect();
    let receipts = store.load_receipts(SHARD, keys).await.expect("receipts are there");
    for ((user, wallet), receipt) in users.iter().zip(wallets).zip(receipts) {
        let known = user.get() <= 300;
        assert_eq!(wallet.first().map(|row| row.user), known.then_some(*user));
        assert_eq!(receipt, known.then(|| event(NOON, user.get())), "{user}");
    }
}

pub async fn sent_pages_give_each_event_once_newest_first(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(1_000);
    // Several within a millisecond, some by ids without a time.
    for seq in 1..=40 {
        let id = if seq % 5 == 0 { v4(seq) } else { v7(NOON - 20 + seq / 3, seq) };
        batch = batch.sent(ANN, id, seq).sent(BOB, v7(NOON, seq), 500 + seq);
    }
    write(&store, &batch).await;
    let whole = sent_pages(&store, ANN, 1_000).await;
    let mut want: Vec<_> = batch.0.sent.iter().filter(|row| row.user == ANN).collect();
    want.sort_by_key(|row| std::cmp::Reverse(row.id.stored_as(row.stored.at)));
    assert_eq!(whole, want.iter().map(|row| row.stored.clone()).collect::<Vec<_>>());
    for limit in [1, 2, 3, 7, 39, 40, 41] {
        assert_eq!(sent_pages(&store, ANN, limit).await, whole, "pages of {limit}");
    }
}

pub async fn sent_pages_keep_to_their_bounds(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(100);
    for seq in 1..=9 {
        batch = batch.sent(ANN, v7(NOON + seq, seq), seq);
    }
    write(&store, &batch).await;
    let bounds = [
        (None, None, 1..=9),
        (Some(3), None, 3..=9),
        (None, Some(3), 1..=3),
        (Some(4), Some(6), 4..=6),
        (Some(5), Some(5), 5..=5),
        (Some(9), Some(u64::MAX - NOON), 9..=9),
        #[allow(clippy::reversed_empty_ranges, reason = "nothing lies between")]
        (Some(6), Some(5), 1..=0),
    ];
    for (since, until, want) in bounds {
        let time = |offset: Option<u64>| offset.map(|offset| Time(NOON + offset));
        for limit in [1, 2, 100] {
            let pages = all_sent(&store, sent_query(ANN, limit), time(since), time(until)).await;
            let seqs: Vec<u64> = pages.iter().map(|event| event.seq.get()).collect();
            assert_eq!(seqs, want.clone().rev().collect::<Vec<_>>(), "{since:?} to {until:?}, pages of {limit}");
        }
    }
}

pub async fn received_pages_give_each_entry_once_newest_first(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(1_000);
    for second in 0..6 {
        for source in [ShardId::wallet(0), ShardId::wallet(7), SHARD] {
            let entries: Vec<_> = (0..=second).map(|n| (NOON + second * 1_000 + n, 1 + second * 20 + n)).collect();
            batch = batch.received(BOB, source, &entries).received(ANN, source, &entries[..1]);
        }
    }
    write(&store, &batch).await;
    let want = in_documented_order(&batch, BOB);
    assert_eq!(want.len(), 63);
    for limit in [1, 2, 3, 5, 62, 63, 64, 1_000] {
        assert_eq!(received_pages(&store, BOB, limit).await, want, "pages of {limit}");
    }
}

pub async fn received_pages_keep_to_their_bounds(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(1_000);
    for second in 0..4 {
        let entries: Vec<_> = (0..5).map(|n| (NOON + second * 1_000 + n * 200, 1 + second * 5 + n)).collect();
        batch = batch.received(BOB, OTHER, &entries).received(BOB, SHARD, &entries);
    }
    write(&store, &batch).await;
    let want = in_documented_order(&batch, BOB);
    for (since, until) in [(0, 4_000), (400, 4_000), (0, 2_600), (1_400, 1_400), (1_401, 1_599), (900, 3_300), (9, 8)] {
        let (since, until) = (Time(NOON + since), Time(NOON + until));
        let want: Vec<_> = want.iter().filter(|entry| since <= entry.at && entry.at <= until).cloned().collect();
        for limit in [1, 3, 100] {
            let got = all_received(&store, received_query(BOB, limit), Some(since), Some(until)).await;
            assert_eq!(got, want, "{since} to {until}, pages of {limit}");
        }
    }
}

/// Thousands of entries in few seconds, from many rows and sources.
pub async fn a_hot_receiver_is_paged_in_full(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut want = Vec::new();
    for flush in 0..30 {
        let mut batch = Batch::upto((flush + 1) * 1_000);
        for source in [0, 1, 2] {
            let entries: Vec<_> = (0..40).map(|n| (NOON + flush * 50 + n, 1 + flush * 1_000 + n)).collect();
            batch = batch.received(BOB, ShardId::wallet(source), &entries);
        }
        write(&store, &batch).await;
        want.extend(batch.0.received);
    }
    let mut all = Batch::upto(1);
    all.0.received = want;
    let want = in_documented_order(&all, BOB);
    assert_eq!(want.len(), 3_600);
    for limit in [17, 100, 1_000] {
        let got = received_pages(&store, BOB, limit).await;
        assert!(got == want, "pages of {limit} differ first at {:?}", got.iter().zip(&want).position(|(a, b)| a != b));
    }
}

pub async fn a_fuller_row_replaces_its_shorter_self_only(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let seqs = |upto: u64| (1..=upto).map(|seq| (NOON + seq, seq)).collect::<Vec<_>>();
    for (upto, want, what) in [(2, 2, "short"), (4, 4, "fuller"), (3, 4, "late"), (4, 4, "repeated"), (6, 6, "full")] {
        write(&store, &Batch::upto(upto + 1).received(BOB, OTHER, &seqs(upto))).await;
        assert_eq!(received_pages(&store, BOB, 3).await.len(), want, "{what}");
    }
}

/// Two flushers that both thought they owned a shard cut their batches differently.
pub async fn overlapping_rows_give_each_event_once(fixture: &impl Fixture) {
    let rows: [(&str, &[(u64, u64)]); 5] = [
        ("one after the other", &[(1, 4), (5, 9)]),
        ("the end of one is the start of the other", &[(1, 6), (4, 9)]),
        ("one within the other", &[(1, 9), (3, 5)]),
        ("a chain", &[(1, 5), (4, 7), (6, 9)]),
        ("all at once", &[(1, 9), (2, 9), (3, 4), (4, 8), (9, 9)]),
    ];
    let store = fixture.open().await;
    for (number, (what, ranges)) in (0..).zip(rows) {
        let user = UserId(100 + number);
        for (first, last) in ranges {
            let entries: Vec<_> = (*first..=*last).map(|seq| (NOON + seq, seq)).collect();
            write(&store, &Batch::upto(100).received(user, OTHER, &entries).received(user, SHARD, &entries)).await;
        }
        let mut want = Vec::new();
        for source in [OTHER, SHARD] {
            want.extend((1..=9).rev().map(|seq| entry(source, NOON + seq, seq)));
        }
        for limit in [1, 2, 4, 18, 50] {
            assert_eq!(received_pages(&store, user, limit).await, want, "{what}, pages of {limit}");
        }
    }
}

/// Not even rows that each lack what the other has are lost or out of order.
pub async fn interleaved_rows_are_put_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for seqs in [&[1, 3, 5, 9][..], &[2, 4, 5, 9], &[3, 6, 10]] {
        let entries: Vec<_> = seqs.iter().map(|seq| (NOON + seq, *seq)).collect();
        write(&store, &Batch::upto(100).received(BOB, OTHER, &entries)).await;
    }
    let want: Vec<_> = [10, 9, 6, 5, 4, 3, 2, 1].map(|seq| entry(OTHER, NOON + seq, seq)).into();
    for limit in 1..=9 {
        assert_eq!(received_pages(&store, BOB, limit).await, want, "pages of {limit}");
    }
}

/// A transfer can credit one user in two assets.
pub async fn several_entries_of_one_event_all_count(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(10).received(BOB, OTHER, &[(NOON, 4), (NOON, 5), (NOON, 5), (NOON, 5), (NOON, 6)]);
    let entries = &mut batch.0.received[0].entries;
    entries[2].asset = POINT;
    entries[3].asset = AssetId(3);
    let want: Vec<_> = entries.iter().rev().cloned().collect();
    write(&store, &batch).await;
    // And a row of another flusher that has the same event.
    let mut again = batch;
    again.0.received[0].first = Seq(5);
    again.0.received[0].entries.remove(0);
    write(&store, &again).await;
    for limit in 1..=6 {
        assert_eq!(received_pages(&store, BOB, limit).await, want, "pages of {limit}");
    }
}

pub async fn foreign_cursors_are_refused(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(100);
    for user in [ANN, BOB] {
        for seq in 1..=3 {
            batch = batch.sent(user, v7(NOON + seq, seq), seq).received(user, OTHER, &[(NOON, seq)]);
        }
    }
    write(&store, &batch).await;
    let sent = store.page_sent(sent_query(ANN, 1)).await.expect("a page").next.expect("there is more");
    let received = store.page_received(received_query(ANN, 1)).await.expect("a page").next.expect("there is more");
    let mut longer = sent.to_vec();
    longer.push(0);
    let wrong = [
        (ANN, SHARD, &received, &sent),
        (BOB, SHARD, &sent, &received),
        (ANN, OTHER, &sent, &received),
        (ANN, SHARD, &Bytes::new(), &Bytes::new()),
        (ANN, SHARD, &Bytes::from_static(b"made up by someone"), &Bytes::from_static(&[1, 2, 3])),
        (ANN, SHARD, &sent.slice(..sent.len() - 1), &received.slice(..received.len() - 1)),
        (ANN, SHARD, &Bytes::from(longer.clone()), &Bytes::from(longer)),
    ];
    for (user, shard, for_sent, for_received) in wrong {
        let query = SentQuery { shard, cursor: Some(for_sent.clone()), ..sent_query(user, 2) };
        assert_eq!(store.page_sent(query).await, Err(StoreError::CursorInvalid), "{for_sent:?}");
        let query = ReceivedQuery { shard, cursor: Some(for_received.clone()), ..received_query(user, 2) };
        assert_eq!(store.page_received(query).await, Err(StoreError::CursorInvalid), "{for_received:?}");
    }
}

pub async fn limits_are_brought_into_range(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(9_999);
    let entries: Vec<_> = (1..=1_100).map(|seq| (NOON, seq)).collect();
    for seq in 1..=1_100 {
        batch = batch.sent(ANN, v7(NOON, seq), seq);
    }
    write(&store, &batch.received(ANN, OTHER, &entries)).await;
    for (limit, want) in [(0, 1), (1_000, 1_000), (usize::MAX, 1_000)] {
        let sent = store.page_sent(sent_query(ANN, limit)).await.expect("a page");
        let received = store.page_received(received_query(ANN, limit)).await.expect("a page");
        assert_eq!((sent.items.len(), received.items.len()), (want, want), "limit {limit}");
        assert!(sent.next.is_some() && received.next.is_some(), "limit {limit}");
    }
}

pub async fn what_is_written_meanwhile_disturbs_no_page(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let gift = |batch: Batch, n: u64| batch.sent(ANN, v7(NOON + n, n), n).received(BOB, OTHER, &[(NOON + n, n)]);
    write(&store, &[10, 20, 30, 40].into_iter().fold(Batch::upto(41), gift)).await;
    let sent = store.page_sent(sent_query(ANN, 2)).await.expect("a page");
    let received = store.page_received(received_query(BOB, 2)).await.expect("a page");
    // One above the page, one below it.
    write(&store, &[15, 50].into_iter().fold(Batch::upto(51), gift)).await;
    let rest = store.page_sent(SentQuery { cursor: sent.next, ..sent_query(ANN, 9) }).await.expect("a page");
    let seqs: Vec<u64> = sent.items.iter().chain(&rest.items).map(|event| event.seq.get()).collect();
    assert_eq!(seqs, [40, 30, 20, 15, 10]);
    let query = ReceivedQuery { cursor: received.next, ..received_query(BOB, 9) };
    let rest = store.page_received(query).await.expect("a page");
    let seqs: Vec<u64> = received.items.iter().chain(&rest.items).map(|entry| entry.seq.get()).collect();
    assert_eq!(seqs, [40, 30, 20, 15, 10]);
}

pub async fn balances_are_scanned_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut batch = Batch::upto(100);
    for user in [1, 255, 256, 70_000, u64::MAX] {
        batch = batch.balance(UserId(user), COIN, 1, 1).balance(UserId(user), AssetId(300), 2, 2);
    }
    write(&store, &batch).await;
    for shard in [ShardId::CONTROL, ShardId::wallet(2), OTHER] {
        let mut neighbour = Batch::upto(2).balance(ANN, COIN, 9, 1);
        neighbour.0.shard = shard;
        neighbour.0.checkpoint.shard = shard;
        write(&store, &neighbour).await;
    }
    for limit in [1, 3, 10, 100] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let rows = store.scan_balances(SHARD, after, limit).await.expect("a scan");
            assert!(rows.len() <= limit);
            let Some(last) = rows.last() else { break };
            after = Some((last.user, last.asset));
            all.extend(rows);
        }
        assert_eq!(all, batch.0.balances, "{limit} at a time");
    }
}

pub async fn what_was_acknowledged_is_there_after_reopening(fixture: &impl Fixture) {
    for round in 1..=3u64 {
        let store = fixture.open().await;
        let last = (round - 1) * 10;
        assert_eq!(balance(&store, ANN).await, (round > 1).then_some((last, last)));
        assert_eq!(sent_pages(&store, ANN, 2).await.len() as u64, (round - 1) * 2);
        assert_eq!(received_pages(&store, BOB, 2).await.len() as u64, round - 1);
        let next = store.checkpoint(SHARD).await.expect("it answers").map(|checkpoint| checkpoint.fold.next.get());
        assert_eq!(next, (round > 1).then_some(last + 1));
        let seq = round * 10;
        let batch = Batch::upto(seq + 1).balance(ANN, COIN, seq, seq).sent(ANN, v7(NOON + round, seq), seq);
        write(&store, &batch.sent(ANN, v4(seq), seq - 1).received(BOB, OTHER, &[(NOON, seq)])).await;
        // What is older stays out after a restart, too.
        write(&store, &Batch::upto(seq - 5).balance(ANN, COIN, 1, 1)).await;
    }
}

/// A batch in the making.
#[derive(Clone, Debug)]
pub struct Batch(pub FlushBatch);

impl Batch {
    /// Of events below `next`, which lies at the same position as its number.
    pub fn upto(next: u64) -> Batch {
        let checkpoint = Checkpoint {
            shard: SHARD,
            position: Position(next),
            relay_position: Position(next / 2),
            relay_fold: Fold { epoch: Some(Epoch(0)), next: Seq((next / 2).max(1)) },
            fold: Fold { epoch: Some(Epoch(0)), next: Seq(next) },
            time: Time(NOON + next),
            state: vec![7; 5],
        };
        Batch(FlushBatch::new(checkpoint))
    }

    pub fn balance(mut self, user: UserId, asset: AssetId, amount: u64, seq: u64) -> Batch {
        self.0.balances.push(BalanceRow { user, asset, amount: coins(amount), seq: Seq(seq) });
        self.0.balances.sort_by_key(|row| (row.user, row.asset));
        self
    }

    /// An event at noon, whatever time its id has.
    pub fn sent(mut self, user: UserId, id: EventId, seq: u64) -> Batch {
        self.0.sent.push(SentRow { user, id, stored: event(NOON, seq) });
        self.0.sent.sort_by_key(|row| (row.user, row.id.stored_as(row.stored.at)));
        self
    }

    /// One row of entries `(at, seq)`, which must lie in the slot of the first.
    pub fn received(mut self, user: UserId, source: ShardId, entries: &[(u64, u64)]) -> Batch {
        let entries: Vec<_> = entries.iter().map(|(at, seq)| entry(source, *at, *seq)).collect();
        let slot = HistorySlot::of(entries[0].at);
        assert!(entries.iter().all(|entry| HistorySlot::of(entry.at) == slot), "a row is of one slot");
        let (first, last) = (entries[0].seq, entries[entries.len() - 1].seq);
        let row = ReceivedRow { user, shard: SHARD, slot, spread: 0, source, first, last, entries };
        self.0.received.push(row);
        self.0.received.sort_by_key(|row| (row.user, row.slot, row.source, row.first));
        self
    }
}

pub fn coins(amount: u64) -> Amount {
    Amount::new(amount).expect("tests use small amounts")
}

pub fn v7(at: u64, number: u64) -> EventId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    EventId::v7(Time(at), random)
}

pub fn v4(number: u64) -> EventId {
    EventId::hashed("test", &[&number.to_string()])
}

pub fn event(at: u64, seq: u64) -> StoredEvent {
    StoredEvent { shard: SHARD, seq: Seq(seq), at: Time(at), event: seq.to_le_bytes().repeat(4) }
}

/// Of all kinds, one after the other.
pub fn entry(source: ShardId, at: u64, seq: u64) -> ReceivedEntry {
    let (room, gift, count) = (RoomId(1001), GiftId(1), 2);
    ReceivedEntry {
        source,
        seq: Seq(seq),
        at: Time(at),
        id: v7(at, seq),
        kind: match seq % 3 {
            0 => ReceivedKind::AnonymousGift { room, gift, count },
            1 => ReceivedKind::Gift { room, gift, count },
            _ => ReceivedKind::Transfer,
        },
        sender: ANN,
        asset: COIN,
        amount: coins(seq),
    }
}

/// By slot, source and seq, all falling, for rows that do not overlap.
fn in_documented_order(batch: &Batch, user: UserId) -> Vec<ReceivedEntry> {
    let rows = batch.0.received.iter().filter(|row| row.user == user);
    let mut all: Vec<_> = rows.flat_map(|row| row.entries.iter().map(move |entry| (row.slot, entry))).collect();
    all.sort_by_key(|(slot, entry)| std::cmp::Reverse((*slot, entry.source, entry.seq)));
    all.into_iter().map(|(_, entry)| entry.clone()).collect()
}

async fn write(store: &impl Store, batch: &Batch) {
    store.write(batch.0.clone()).await.expect("a healthy store takes every batch");
}

async fn balance(store: &impl Store, user: UserId) -> Option<(u64, u64)> {
    let wallets = store.load_wallets(SHARD, vec![user]).await.expect("a healthy store answers");
    wallets[0].iter().find(|row| row.asset == COIN).map(|row| (row.amount.get(), row.seq.get()))
}

pub fn sent_query(user: UserId, limit: usize) -> SentQuery {
    SentQuery { shard: SHARD, user, since: None, until: None, cursor: None, limit }
}

pub fn received_query(user: UserId, limit: usize) -> ReceivedQuery {
    ReceivedQuery { shard: SHARD, user, since: None, until: None, cursor: None, limit }
}

/// All pages of this many items, one after the other.
pub async fn sent_pages(store: &impl Store, user: UserId, limit: usize) -> Vec<StoredEvent> {
    all_sent(store, sent_query(user, limit), None, None).await
}

/// All pages of this many items, one after the other.
pub async fn received_pages(store: &impl Store, user: UserId, limit: usize) -> Vec<ReceivedEntry> {
    all_received(store, received_query(user, limit), None, None).await
}

async fn all_sent(
    store: &impl Store,
    mut query: SentQuery,
    since: Option<Time>,
    until: Option<Time>,
) -> Vec<StoredEvent> {
    (query.since, query.until) = (since, until);
    let mut all = Vec::new();
    loop {
        let page = store.page_sent(query.clone()).await.expect("a healthy store answers");
        assert!(page.items.len() <= query.limit, "a page of {} has {}", query.limit, page.items.len());
        all.extend(page.items);
        assert!(page.next.is_none() || page.next != query.cursor, "a page leads to itself");
        query.cursor = page.next;
        if query.cursor.is_none() {
            return all;
        }
    }
}

async fn all_received(
    store: &impl Store,
    mut query: ReceivedQuery,
    since: Option<Time>,
    until: Option<Time>,
) -> Vec<ReceivedEntry> {
    (query.since, query.until) = (since, until);
    let mut all = Vec::new();
    loop {
        let page = store.page_received(query.clone()).await.expect("a healthy store answers");
        assert!(page.items.len() <= query.limit, "a page of {} has {}", query.limit, page.items.len());
        all.extend(page.items);
        assert!(page.next.is_none() || page.next != query.cursor, "a page leads to itself");
        query.cursor = page.next;
        if query.cursor.is_none() {
            return all;
        }
    }
}
