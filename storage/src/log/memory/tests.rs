use std::sync::mpsc;

use expect_test::{Expect, expect};
use futures::executor::block_on;
use largesse_engine::fold::{Fold, Verdict};
use largesse_engine::record::{EventsHeader, encode_events};
use largesse_engine::units::{NodeId, Seq, Time};

use super::*;
use crate::conformance::log::LogUnderTest;

struct InMemory(MemoryLogs);

impl LogUnderTest for InMemory {
    fn open(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        let logs: Arc<dyn Logs> = Arc::new(self.0.clone());
        async move { logs }.boxed()
    }

    fn second(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.open()
    }

    fn reopen(&mut self) -> BoxFuture<'_, Arc<dyn Logs>> {
        self.open()
    }

    fn record_bytes_max(&self) -> usize {
        largesse_engine::record::RECORD_BYTES_MAX
    }
}

crate::log_conformance!(InMemory(MemoryLogs::automatic()));

const SHARD: ShardId = ShardId::wallet(0);

/// What one asked for, by its name in the script.
enum Asked {
    Claim(BoxFuture<'static, Result<Epoch, LogError>>),
    Append(mpsc::Receiver<Result<Position, AppendError>>),
}

/// Runs a script against a log by hand and tells what everybody was told, and what the fold makes of the log.
///
/// `claim NAME`, `append NAME @CLAIM FIRST+COUNT` ask; `land NAME` and `answer NAME landed|unknown|failed` happen;
/// `cut POSITION` truncates, and `read POSITION` reads.
#[track_caller]
fn check(script: &str, want: Expect) {
    let logs = MemoryLogs::by_hand();
    let log = logs.shard(SHARD);
    let mut asked: BTreeMap<&str, (Ticket, Asked)> = BTreeMap::new();
    let mut told = String::new();
    for line in script.split(';') {
        let words: Vec<_> = line.split_whitespace().collect();
        let ticket = |name: &str| asked[name].0;
        match words[..] {
            ["claim", name] => {
                let claim = Claim { node: NodeId(1), nonce: [name.as_bytes()[0]; 16] };
                let log = log.clone();
                let mut waiting: BoxFuture<'static, _> = async move { log.claim(claim).await }.boxed();
                assert!(waiting.as_mut().now_or_never().is_none(), "it waits for its answer");
                asked.insert(name, (logs.pending().pop().unwrap().ticket, Asked::Claim(waiting)));
            }
            ["append", name, epoch, events] => {
                let epoch = Epoch(epoch.trim_start_matches('@').parse().unwrap());
                let (first, count) = events.split_once('+').unwrap();
                let (first, count) = (Seq(first.parse().unwrap()), count.parse().unwrap());
                let header = EventsHeader { epoch, number: 1, first, count, time: Time(0) };
                let (tell, answer) = mpsc::sync_channel(1);
                let done = move |result| tell.send(result).unwrap();
                log.append(epoch, encode_events(header, b""), Box::new(done));
                asked.insert(name, (logs.pending().pop().unwrap().ticket, Asked::Append(answer)));
            }
            ["land", name] => told += &format!("{name} lands at {}\n", logs.land(ticket(name))),
            ["answer", name, answer] => {
                let answer = match answer {
                    "landed" => Answer::Landed,
                    "unknown" => Answer::Unknown,
                    "failed" => Answer::Failed(LogError::Unavailable("by script".into())),
                    other => panic!("no answer is called {other}"),
                };
                logs.answer(ticket(name), answer);
                let answer = match &mut asked.get_mut(name).unwrap().1 {
                    Asked::Claim(waiting) => format!("{:?}", block_on(waiting)),
                    Asked::Append(answer) => format!("{:?}", answer.try_recv().unwrap()),
                };
                told += &format!("{name} is told {answer}\n");
            }
            ["cut", position] => block_on(log.truncate_before(Position(position.parse().unwrap()))).unwrap(),
            ["read", position] => {
                let entries = block_on(log.read(Position(position.parse().unwrap()), usize::MAX));
                let entries = entries.map(|entries| entries.len());
                told += &format!("read from {position}: {entries:?}\n");
            }
            _ => panic!("not understood: {line}"),
        }
    }
    let first = logs.lock().shards.entry(SHARD).or_default().first;
    let mut fold = Fold::default();
    for entry in block_on(log.read(Position(first), usize::MAX)).unwrap() {
        let verdict = match fold.offer(&entry) {
            Verdict::Claimed(_) => "claimed".into(),
            Verdict::Believed(header) => format!("believed {}+{}", header.first, header.count),
            Verdict::Skipped(why) => format!("skipped {why:?}"),
        };
        told += &format!("{}: {verdict}\n", entry.position);
    }
    want.assert_eq(&told);
}

#[test]
fn on_a_good_day_all_is_believed() {
    check(
        "claim a; land a; answer a landed; append x @0 1+2; append y @0 3+1; land x; land y; answer x landed; \
         answer y landed",
        expect![[r#"
            a lands at 0
            a is told Ok(Epoch(0))
            x lands at 1
            y lands at 2
            x is told Ok(Position(1))
            y is told Ok(Position(2))
            0: claimed
            1: believed 1+2
            2: believed 3+1
        "#]],
    );
}

#[test]
fn a_lost_record_in_the_middle_takes_those_behind_it_along() {
    check(
        "claim a; land a; answer a landed; append x @0 1+1; append y @0 2+1; append z @0 3+1; \
         land x; land z; answer x landed; answer y failed; answer z landed",
        expect![[r#"
            a lands at 0
            a is told Ok(Epoch(0))
            x lands at 1
            z lands at 2
            x is told Ok(Position(1))
            y is told Err(Failed(Unavailable("by script")))
            z is told Ok(Position(2))
            0: claimed
            1: believed 1+1
            2: skipped AfterLoss
        "#]],
    );
}

#[test]
fn a_copy_counts_once() {
    check(
        "claim a; land a; answer a landed; append x @0 1+1; append y @0 2+1; land x; land x; land y; land y; land x; \
         answer x landed; answer y landed",
        expect![[r#"
            a lands at 0
            a is told Ok(Epoch(0))
            x lands at 1
            x lands at 2
            y lands at 3
            y lands at 4
            x lands at 5
            x is told Ok(Position(1))
            y is told Ok(Position(3))
            0: claimed
            1: believed 1+1
            2: skipped Copy
            3: believed 2+1
            4: skipped Copy
            5: skipped Copy
        "#]],
    );
}

#[test]
fn unknown_may_mean_written_or_not() {
    check(
        "claim a; land a; answer a landed; append x @0 1+1; append y @0 2+1; land x; answer x unknown; answer y unknown",
        expect![[r#"
            a lands at 0
            a is told Ok(Epoch(0))
            x lands at 1
            x is told Err(Unknown)
            y is told Err(Unknown)
            0: claimed
            1: believed 1+1
        "#]],
    );
}

#[test]
fn what_arrives_behind_another_owners_claim_is_not_believed() {
    check(
        "claim a; land a; answer a landed; append x @0 1+1; answer x unknown; claim b; land b; answer b landed; \
         land x; append z @1 1+1; land z; answer z landed",
        expect![[r#"
            a lands at 0
            a is told Ok(Epoch(0))
            x is told Err(Unknown)
            b lands at 1
            b is told Ok(Epoch(1))
            x lands at 2
            z lands at 3
            z is told Ok(Position(3))
            0: claimed
            1: claimed
            2: skipped OldEpoch
            3: believed 1+1
        "#]],
    );
}

#[test]
fn a_claim_that_lands_late_fences_who_came_in_between() {
    check(
        "claim a; answer a unknown; claim b; land b; answer b landed; append x @0 1+1; land x; answer x landed; \
         land a; append y @0 2+1; land y; answer y landed",
        expect![[r#"
            a is told Err(Unavailable("the claim is not in the log"))
            b lands at 0
            b is told Ok(Epoch(0))
            x lands at 1
            x is told Ok(Position(1))
            a lands at 2
            y lands at 3
            y is told Ok(Position(3))
            0: claimed
            1: believed 1+1
            2: claimed
            3: skipped OldEpoch
        "#]],
    );
}

#[test]
fn a_claim_of_unknown_position_is_found_by_its_nonce() {
    check(
        "claim a; claim b; land b; land a; answer b landed; answer a unknown",
        expect![[r#"
        b lands at 0
        a lands at 1
        b is told Ok(Epoch(0))
        a is told Ok(Epoch(1))
        0: claimed
        1: claimed
    "#]],
    );
}

#[test]
fn a_log_may_be_cut_under_its_reader() {
    check(
        "claim a; land a; answer a landed; append x @0 1+1; land x; answer x landed; read 0; cut 1; read 0; read 1; \
         cut 9; read 1; read 2",
        expect![[r#"
            a lands at 0
            a is told Ok(Epoch(0))
            x lands at 1
            x is told Ok(Position(1))
            read from 0: Ok(2)
            read from 0: Err(Truncated { shard: ShardId { kind: Wallet, index: 0 }, asked: Position(0), first: Position(1) })
            read from 1: Ok(1)
            read from 1: Err(Truncated { shard: ShardId { kind: Wallet, index: 0 }, asked: Position(1), first: Position(2) })
            read from 2: Ok(0)
        "#]],
    );
}

#[test]
fn planned_faults_happen_once_and_in_order() {
    let logs = MemoryLogs::automatic();
    let log = logs.shard(SHARD);
    let claim = |nonce| block_on(log.claim(Claim { node: NodeId(1), nonce: [nonce; 16] }));
    let append = |first| {
        let (tell, told) = mpsc::sync_channel(1);
        let header = EventsHeader { epoch: Epoch(0), number: 1, first: Seq(first), count: 1, time: Time(0) };
        let done = move |result| tell.send(result).unwrap();
        log.append(Epoch(0), encode_events(header, b""), Box::new(done));
        told.try_recv().unwrap()
    };
    assert_eq!(claim(1), Ok(Epoch(0)));
    for fault in [Fault::Lost, Fault::LostUnknown, Fault::LandedUnknown, Fault::Copied, Fault::Late] {
        logs.plan(SHARD, fault);
    }
    assert!(matches!(append(1), Err(AppendError::Failed(LogError::Unavailable(_)))));
    assert_eq!(append(2), Err(AppendError::Unknown));
    assert_eq!(append(3), Err(AppendError::Unknown));
    assert_eq!(append(4), Ok(Position(2)));
    assert_eq!(append(5), Err(AppendError::Unknown));
    assert_eq!(append(6), Ok(Position(4)));
    let late = logs.pending();
    assert_eq!(late.len(), 1);
    assert_eq!(logs.land(late[0].ticket), Position(5));
    let firsts = |header| match header {
        RecordHeader::Events(EventsHeader { first, .. }) => first.get(),
        RecordHeader::Claim(_) => 0,
    };
    let entries = block_on(log.read(Position::START, usize::MAX)).unwrap();
    assert_eq!(entries.iter().map(|entry| firsts(entry.header)).collect::<Vec<_>>(), [0, 3, 4, 4, 6, 5]);

    logs.plan(SHARD, Fault::LandedUnknown);
    assert_eq!(claim(2), Ok(Epoch(6)), "found by its nonce");
    logs.plan(SHARD, Fault::LostUnknown);
    assert!(claim(3).is_err());
    logs.plan_read_error(SHARD, LogError::Unavailable("away".into()));
    assert_eq!(block_on(log.read(Position::START, 1)), Err(LogError::Unavailable("away".into())));
    assert!(block_on(log.read(Position::START, 1)).is_ok());
}

#[test]
#[should_panic(expected = "an earlier append of the same epoch has no answer yet")]
fn answers_out_of_order_are_a_mistake_of_the_test() {
    check(
        "claim a; land a; answer a landed; append x @0 1+1; append y @0 2+1; land y; answer y landed",
        expect![[r#""#]],
    );
}
