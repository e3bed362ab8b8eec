//! What every log must do, whatever it is made of.
//!
//! Each case is a function over a [`LogUnderTest`]; [`log_conformance!`](crate::log_conformance) makes a test of each.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use futures::{FutureExt, future};
use largesse_engine::fold::{Fold, Verdict};
use largesse_engine::log::{AppendError, Fencing, LogError, Logs, ShardLog};
use largesse_engine::record::{Claim, EventsHeader, LogEntry, RecordHeader, encode_events};
use largesse_engine::units::{Epoch, NodeId, Position, Seq, ShardId, Time};

/// Makes the log that is tested. Everything it opens shares the same records.
pub trait LogUnderTest: Send {
    /// The log, empty the first time.
    fn open(&mut self) -> BoxFuture<'_, Arc<dyn Logs>>;

    /// The log as another owner sees it at the same time. Where only one process can write, that is the same one.
    fn second(&mut self) -> BoxFuture<'_, Arc<dyn Logs>>;

    /// Ends all that was opened, as if the process had ended, and opens the log again.
    fn reopen(&mut self) -> BoxFuture<'_, Arc<dyn Logs>>;

    /// Size of the largest record it takes.
    fn record_bytes_max(&self) -> usize;
}

/// One test per case: `log_conformance!(MyLog::new())`.
#[macro_export]
macro_rules! log_conformance {
    ($make:expr) => {
        $crate::log_conformance! { @each $make =>
            starts_empty
            what_was_appended_is_read_back
            is_read_in_pieces
            takes_records_of_every_size
            answers_in_order
            a_newer_claim_replaces_the_owner
            many_owners_and_one_truth
            gives_up_what_was_truncated
            wakes_who_waits
            the_end_comes_after_everything
            shards_do_not_disturb_each_other
            keeps_what_it_answered_for
            an_owner_before_the_restart_is_not_believed
        }
    };
    (@each $make:expr => $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let mut log = $make;
                $crate::conformance::log::run($crate::conformance::log::$case(&mut log));
            }
        )*
    };
}

/// Runs one case on a runtime with several threads. A case that hangs is a failure too.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system has threads to spare");
    let in_time = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), case).await });
    in_time.expect("the log answers within two minutes");
}

const SHARD: ShardId = ShardId::wallet(0);
const ALL: usize = usize::MAX;

/// An owner that writes records of events without gaps, as an actor would.
struct Owner {
    log: Arc<dyn ShardLog>,
    epoch: Epoch,
    number: u64,
    next: Seq,
}

impl Owner {
    async fn claim(logs: &Arc<dyn Logs>, shard: ShardId, node: u64, next: Seq) -> Owner {
        let log = logs.shard(shard);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&node.to_le_bytes());
        nonce[8..].copy_from_slice(&next.get().to_le_bytes());
        let epoch = log.claim(Claim { node: NodeId(node), nonce }).await.expect("claims");
        Owner { log, epoch, number: 0, next }
    }

    fn header(&mut self, count: u32) -> EventsHeader {
        self.number += 1;
        let header = EventsHeader { epoch: self.epoch, number: self.number, first: self.next, count, time: Time(1) };
        self.next = header.next();
        header
    }

    /// Queues a record of `count` events whose bytes are `events`; the answer can be awaited.
    fn append(&mut self, count: u32, events: &[u8]) -> oneshot::Receiver<Result<Position, AppendError>> {
        let record = encode_events(self.header(count), events);
        let (tell, told) = oneshot::channel();
        let done = move |result| drop(tell.send(result));
        self.log.append(self.epoch, record, Box::new(done));
        told
    }

    async fn write(&mut self, count: u32, events: &[u8]) -> Result<Position, AppendError> {
        self.append(count, events).await.expect("every append is answered")
    }
}

async fn read_all(log: &dyn ShardLog, from: Position, bytes_max: usize) -> Vec<LogEntry> {
    let (mut all, mut from): (Vec<LogEntry>, _) = (Vec::new(), from);
    loop {
        let entries = log.read(from, bytes_max).await.expect("reads");
        let Some(last) = entries.last() else { return all };
        from = last.position.after();
        all.extend(entries);
    }
}

/// Positions of the records that count.
fn believed(entries: &[LogEntry]) -> Vec<Position> {
    let mut fold = Fold::default();
    let believed = entries.iter().filter(|entry| matches!(fold.offer(entry), Verdict::Believed(_)));
    believed.map(|entry| entry.position).collect()
}

fn is_events(entry: &LogEntry) -> bool {
    matches!(entry.header, RecordHeader::Events(_))
}

/// Bytes that tell one record from another.
fn content(number: u64, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

pub async fn starts_empty(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let log = logs.shard(SHARD);
    assert_eq!(log.read(Position::START, ALL).await, Ok(Vec::new()));
    assert_eq!(log.wait_for(Position::START).now_or_never(), None);
    let end = log.end().await.expect("has an end");
    assert_eq!(log.read(end, ALL).await, Ok(Vec::new()));
    assert!(!logs.room().is_tight);
}

pub async fn what_was_appended_is_read_back(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut owner = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    let mut want = Vec::new();
    for number in 0..50 {
        let events = content(number, 100);
        let position = owner.write(u32::from(number != 7), &events).await.expect("appends");
        want.push((position, Bytes::from(events)));
    }
    let entries = read_all(&*owner.log, Position::START, ALL).await;
    assert!(matches!(entries[0].header, RecordHeader::Claim(Claim { node: NodeId(1), .. })));
    assert_eq!(entries[0].position.get(), owner.epoch.get(), "the claim's position is the epoch");
    let got: Vec<_> = entries[1..].iter().map(|entry| (entry.position, entry.events.clone())).collect();
    assert_eq!(got, want);
    assert!(want.is_sorted_by(|one, next| one.0 < next.0), "positions grow");
    assert_eq!(believed(&entries), want.iter().map(|(position, _)| *position).collect::<Vec<_>>());
}

pub async fn is_read_in_pieces(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut owner = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    let answers: Vec<_> = (0..200).map(|number| owner.append(1, &content(number, 300))).collect();
    let answers = future::join_all(answers).await;
    let all = read_all(&*owner.log, Position::START, ALL).await;
    assert_eq!(all.len(), 201);
    for bytes_max in [0, 1, 299, 1_000, 20_000] {
        assert_eq!(read_all(&*owner.log, Position::START, bytes_max).await, all, "{bytes_max} bytes at a time");
    }
    assert_eq!(owner.log.read(Position::START, 0).await.map(|entries| entries.len()), Ok(1), "one if there is one");
    let piece = owner.log.read(Position::START, 1_000).await.expect("reads");
    assert!(piece.len() < 10, "about as much as was asked for, not {} records", piece.len());
    for at in [1, 57, 199] {
        let position = answers[at].clone().expect("answered").expect("appended");
        let from_there = read_all(&*owner.log, position, ALL).await;
        assert_eq!(from_there, all[at + 1..], "from its own position");
        let after = read_all(&*owner.log, position.after(), ALL).await;
        assert_eq!(after, all[at + 2..], "from just behind it");
    }
}

pub async fn takes_records_of_every_size(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut owner = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    let header_bytes = encode_events(owner.header(0), &[]).len();
    owner.number = 0;
    // A header's numbers may take more bytes as they grow.
    let largest = under_test.record_bytes_max() - header_bytes - 16;
    let sizes = [0, 1, 511, 512, 513, largest / 2, largest, largest, 0, largest - 1, largest];
    let answers: Vec<_> =
        sizes.iter().zip(0..).map(|(size, number)| owner.append(1, &content(number, *size))).collect();
    for answer in future::join_all(answers).await {
        answer.expect("answered").expect("appended");
    }
    let entries = read_all(&*owner.log, Position::START, ALL).await;
    for ((entry, size), number) in entries.iter().filter(|entry| is_events(entry)).zip(sizes).zip(0..) {
        assert!(entry.events == content(number, size), "record {number} of {size} bytes came back otherwise");
    }
    assert_eq!(entries.len(), 1 + sizes.len());
}

pub async fn answers_in_order(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut owner = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    let (tell, told) = mpsc::sync_channel(2_000);
    for number in 0..2_000 {
        let record = encode_events(owner.header(1), &content(number, 20));
        let tell = tell.clone();
        owner.log.append(owner.epoch, record, Box::new(move |result| tell.send((number, result)).expect("is read")));
    }
    drop(tell);
    let answers = tokio::task::spawn_blocking(move || told.into_iter().collect::<Vec<_>>()).await.expect("collects");
    let numbers: Vec<_> = answers.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..2_000).collect::<Vec<u64>>(), "each once, in order");
    let positions: Vec<_> = answers.into_iter().map(|(_, result)| result.expect("appended")).collect();
    assert!(positions.is_sorted_by(|one, next| one < next));
    let entries = read_all(&*owner.log, Position::START, ALL).await;
    assert_eq!(believed(&entries), positions);
}

pub async fn a_newer_claim_replaces_the_owner(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut old = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    let first = old.write(3, b"old").await.expect("appends");
    let second = under_test.second().await;
    let mut new = Owner::claim(&second, SHARD, 2, old.next).await;
    assert!(new.epoch > old.epoch);

    let leftover = old.write(1, b"leftover").await;
    let taken_over = new.write(2, b"new").await.expect("appends");
    match logs.shard(SHARD).fencing() {
        Fencing::ByLog => assert_eq!(leftover, Err(AppendError::Fenced(new.epoch))),
        Fencing::ByPosition => assert!(leftover.is_ok(), "anyone can append"),
    }
    let entries = read_all(&*new.log, Position::START, ALL).await;
    assert_eq!(believed(&entries), [first, taken_over]);
}

/// Owners take the shard from each other while all of them write as fast as they can.
pub async fn many_owners_and_one_truth(under_test: &mut dyn LogUnderTest) {
    let (first, second) = (under_test.open().await, under_test.second().await);
    let mut accepted = Vec::new();
    let mut next = Seq::FIRST;
    let mut owners: Vec<(Owner, Vec<_>)> = Vec::new();
    for round in 0..20_u64 {
        let logs = if round % 2 == 0 { &first } else { &second };
        let mut owner = Owner::claim(logs, SHARD, round, next).await;
        // What the fold believes so far is where a new owner goes on.
        let log = logs.shard(SHARD);
        let mut fold = Fold::default();
        for entry in read_all(&*log, Position::START, ALL).await {
            fold.offer(&entry);
        }
        assert_eq!(fold.epoch, Some(owner.epoch));
        owner.next = fold.next;
        next = fold.next;
        for (older, answers) in &mut owners {
            answers.push(older.append(1, b"from the past"));
        }
        let answers = (0..50).map(|number| owner.append(1, &content(number, 30))).collect();
        owners.push((owner, answers));
    }
    let mut unwelcome = 0;
    for (owner, answers) in owners {
        let mut contiguous = Some(Position(owner.epoch.get()));
        for answer in future::join_all(answers).await {
            match (answer.expect("answered"), owner.log.fencing()) {
                (Ok(position), Fencing::ByLog) => accepted.push(position),
                (Ok(position), Fencing::ByPosition) => {
                    contiguous = contiguous.filter(|last| last.after() == position).map(|_| position);
                    accepted.extend(contiguous);
                }
                (Err(AppendError::Fenced(epoch)), _) => {
                    assert!(epoch > owner.epoch);
                    unwelcome += 1;
                }
                (Err(error), _) => panic!("nothing is wrong with the log, but: {error}"),
            }
        }
    }
    let log = first.shard(SHARD);
    let believed = believed(&read_all(&*log, Position::START, ALL).await);
    assert!(accepted.iter().all(|position| believed.contains(position)), "what an owner may believe, all believe");
    match log.fencing() {
        Fencing::ByLog => {
            assert_eq!(accepted.len(), believed.len());
            assert!(unwelcome > 0, "some were replaced while they wrote");
        }
        Fencing::ByPosition => assert!(accepted.len() <= believed.len()),
    }
}

pub async fn gives_up_what_was_truncated(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut owner = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    let other = Owner::claim(&logs, ShardId::wallet(1), 1, Seq::FIRST).await;
    let mut positions = Vec::new();
    for number in 0..20 {
        positions.push(owner.write(1, &content(number, 100)).await.expect("appends"));
    }
    let cut = positions[12];
    owner.log.truncate_before(cut).await.expect("truncates");
    let kept: Vec<_> = read_all(&*owner.log, cut, ALL).await.iter().map(|entry| entry.position).collect();
    assert_eq!(kept, positions[12..]);
    for asked in [Position::START, positions[0], positions[11]] {
        match owner.log.read(asked, ALL).await {
            Err(LogError::Truncated { shard, asked: told, first }) => {
                assert_eq!((shard, told), (SHARD, asked));
                assert!(asked < first && first <= cut, "{first} is what can be asked for");
                assert!(owner.log.read(first, ALL).await.is_ok());
            }
            // It was only a permission.
            Ok(entries) => assert!(entries.iter().any(|entry| entry.position >= asked && entry.position < cut)),
            Err(error) => panic!("{error}"),
        }
    }
    // Going back changes nothing, and the end can be given up too.
    owner.log.truncate_before(positions[3]).await.expect("truncates");
    let end = owner.log.end().await.expect("has an end");
    owner.log.truncate_before(end).await.expect("truncates");
    assert_eq!(owner.log.read(end, ALL).await, Ok(Vec::new()));
    let next = owner.write(1, b"after it").await.expect("appends");
    let entries = read_all(&*owner.log, end, ALL).await;
    assert_eq!(entries.iter().map(|entry| entry.position).collect::<Vec<_>>(), [next]);
    assert_eq!(read_all(&*other.log, Position::START, ALL).await.len(), 1, "other shards keep theirs");
}

pub async fn wakes_who_waits(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut owner = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    owner.log.wait_for(Position::START).await.expect("the claim is there already");
    let log = owner.log.clone();
    for number in 0..10 {
        let end = log.end().await.expect("has an end");
        let mut waiting = log.wait_for(end);
        assert_eq!(futures::poll!(&mut waiting), std::task::Poll::Pending, "nothing is there yet");
        let answer = owner.append(1, &content(number, 10));
        waiting.await.expect("wakes");
        let entries = log.read(end, ALL).await.expect("reads");
        assert_eq!(entries.len(), 1, "what one was woken for can be read");
        let position = answer.await.expect("answered").expect("appended");
        assert_eq!(entries[0].position, position);
        log.wait_for(position).await.expect("is there");
        assert_eq!(log.wait_for(position.after()).now_or_never(), None, "nothing lies behind it");
    }
}

pub async fn the_end_comes_after_everything(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut owner = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    let mut last = Position(owner.epoch.get());
    for number in 0..30 {
        let end = owner.log.end().await.expect("has an end");
        assert!(last < end, "the end lies behind what is durable");
        assert_eq!(owner.log.read(end, ALL).await, Ok(Vec::new()));
        last = owner.write(1, &content(number, 500)).await.expect("appends");
        assert!(end <= last, "and before what comes later");
    }
}

pub async fn shards_do_not_disturb_each_other(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let shards = (0..8).map(ShardId::wallet).chain((0..4).map(ShardId::room)).chain([ShardId::CONTROL]);
    let tasks = shards.map(|shard| {
        let logs = logs.clone();
        tokio::spawn(async move {
            let mut owner = Owner::claim(&logs, shard, 1, Seq::FIRST).await;
            let of_shard = u64::from(shard.to_u32()) << 32;
            let mut positions = Vec::new();
            for round in 0..20 {
                let answers: Vec<_> =
                    (0..10).map(|number| owner.append(1, &content(of_shard + round * 10 + number, 50))).collect();
                for answer in future::join_all(answers).await {
                    positions.push(answer.expect("answered").expect("appended"));
                }
                if round == 10 {
                    owner.log.truncate_before(positions[40]).await.expect("truncates");
                }
            }
            (shard, of_shard, positions)
        })
    });
    for task in future::join_all(tasks).await {
        let (shard, of_shard, positions) = task.expect("writes");
        let entries = read_all(&*logs.shard(shard), positions[40], ALL).await;
        assert_eq!(entries.len(), 160);
        for (entry, number) in entries.iter().zip(40..) {
            assert!(entry.events == content(of_shard + number, 50), "{shard} reads its own record {number}");
        }
    }
}

pub async fn keeps_what_it_answered_for(under_test: &mut dyn LogUnderTest) {
    let mut logs = under_test.open().await;
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut next = Seq::FIRST;
    let mut last_end = Position::START;
    for round in 0..5 {
        let mut owner = Owner::claim(&logs, SHARD, round, next).await;
        assert!(owner.epoch.get() >= last_end.get(), "positions are never used twice");
        for number in 0..40 {
            let record = encode_events(owner.header(1), &content(number, 200));
            let answered = answered.clone();
            let done = move |result: Result<Position, AppendError>| {
                answered.lock().expect("not poisoned").push(result.expect("appended"));
            };
            owner.log.append(owner.epoch, record, Box::new(done));
        }
        owner.write(0, b"").await.expect("appends");
        next = owner.next;
        last_end = owner.log.end().await.expect("has an end");
        drop((owner, logs));
        logs = under_test.reopen().await;
        let log = logs.shard(SHARD);
        let entries = read_all(&*log, Position::START, ALL).await;
        let believed = believed(&entries);
        let answered = answered.lock().expect("not poisoned").clone();
        assert!(answered.iter().all(|position| believed.contains(position)), "after restart {round}");
        assert_eq!(answered.len() + usize::try_from(round).expect("small") + 1, believed.len());
        assert!(log.end().await.expect("has an end") >= last_end);
    }
}

pub async fn an_owner_before_the_restart_is_not_believed(under_test: &mut dyn LogUnderTest) {
    let logs = under_test.open().await;
    let mut before = Owner::claim(&logs, SHARD, 1, Seq::FIRST).await;
    let first = before.write(1, b"before").await.expect("appends");
    drop(logs);
    let logs = under_test.reopen().await;
    let mut after = Owner::claim(&logs, SHARD, 1, before.next).await;
    assert!(after.epoch > before.epoch);
    before.log = logs.shard(SHARD);
    let ghost = before.write(1, b"ghost").await;
    let second = after.write(1, b"after").await.expect("appends");
    let entries = read_all(&*after.log, Position::START, ALL).await;
    assert_eq!(believed(&entries), [first, second], "the ghost was told {ghost:?}");
}
