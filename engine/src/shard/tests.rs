//! Whom an owner believes in a log that anyone can append to.

use expect_test::{Expect, expect};

use crate::log::{AppendError, Fencing, LogError};
use crate::record::{Claim, EventsHeader, LogEntry, encode_claim, encode_events};
use crate::shard::belief::{Belief, Conclusion, Lost};
use crate::units::{Epoch, NodeId, Position, Seq, Time};

/// An owner that claimed at position 9, whose first record has number 1 and event 1. Each word is a piece of news:
///
/// ```text
/// +2           appended a record with two events      1@10      record 1 lies at 10
/// 1?           nobody knows about record 1            1!12      it was refused for a claim at 12
/// 1x           the log failed                         read:… …  what was read back: see below
/// ```
///
/// In `read`, `10=1` is the owner's record 1 at position 10, `10=old` one of an older epoch, `10=claim` a claim; a word
/// `end` says that nothing lies behind.
#[track_caller]
fn check_with(fencing: Fencing, script: &str, want: Expect) {
    let mut owner = Owner { belief: Belief::new(fencing, Epoch(9), Seq::FIRST), records: Vec::new() };
    let told: String = script.split_whitespace().map(|word| format!("{word}: {}\n", owner.hear(word))).collect();
    want.assert_eq(&told);
}

#[track_caller]
fn check(script: &str, want: Expect) {
    check_with(Fencing::ByPosition, script, want);
}

struct Owner {
    belief: Belief,
    records: Vec<EventsHeader>,
}

impl Owner {
    fn hear(&mut self, word: &str) -> String {
        if let Some(count) = word.strip_prefix('+') {
            let first = self.records.last().map_or(Seq::FIRST, EventsHeader::next);
            let (number, count) = (self.records.len() as u64 + 1, count.parse().unwrap());
            let header = EventsHeader { epoch: Epoch(9), number, first, count, time: Time(0) };
            self.belief.appended(number, header.next());
            self.records.push(header);
            return format!("record {number} is under way");
        }
        if let Some(entries) = word.strip_prefix("read:") {
            let words: Vec<&str> = entries.split(',').filter(|word| !word.is_empty()).collect();
            let entries: Vec<LogEntry> =
                words.iter().filter(|word| **word != "end").map(|word| self.entry(word)).collect();
            let told = self.belief.read(&entries, words.contains(&"end"));
            let again = self.belief.reading_from().map_or(String::new(), |from| format!(", still reading from {from}"));
            return text(told) + &again;
        }
        let split = word.find(['@', '?', '!', 'x']).unwrap();
        let (number, rest) = (word[..split].parse().unwrap(), &word[split + 1..]);
        text(self.belief.answered(
            number,
            match &word[split..=split] {
                "@" => Ok(Position(rest.parse().unwrap())),
                "?" => Err(AppendError::Unknown),
                "!" => Err(AppendError::Fenced(Epoch(rest.parse().unwrap()))),
                _ => Err(AppendError::Failed(LogError::Closed)),
            },
        ))
    }

    fn entry(&self, word: &str) -> LogEntry {
        let (position, what) = word.split_once('=').unwrap();
        let bytes = match what {
            "claim" => encode_claim(Claim { node: NodeId(2), nonce: [2; 16] }),
            "old" => {
                let header = EventsHeader { epoch: Epoch(3), number: 1, first: Seq(1), count: 1, time: Time(0) };
                encode_events(header, b"")
            }
            number => encode_events(self.records[number.parse::<usize>().unwrap() - 1], b""),
        };
        LogEntry::decode(Position(position.parse().unwrap()), &bytes).unwrap()
    }
}

fn text(conclusion: Result<Conclusion, Lost>) -> String {
    match conclusion {
        Ok(Conclusion::Nothing) => "nothing follows".into(),
        Ok(Conclusion::Believed { number, last }) => format!("believed up to record {number}, event {last}"),
        Ok(Conclusion::ReadBack(from)) => format!("read back from {from}"),
        Err(lost) => format!("lost: {lost}"),
    }
}

#[test]
fn contiguous_positions_are_believed_at_once() {
    check(
        "+2 +1 1@10 +0 2@11 3@12",
        expect![[r#"
        +2: record 1 is under way
        +1: record 2 is under way
        1@10: believed up to record 1, event 2
        +0: record 3 is under way
        2@11: believed up to record 2, event 3
        3@12: believed up to record 3, event 3
    "#]],
    );
}

#[test]
fn after_a_gap_the_log_is_read_before_anyone_is_answered() {
    check(
        "+1 +1 1@11 2@12 read:10=old,11=1,12=2,end +1 3@13",
        expect![[r#"
            +1: record 1 is under way
            +1: record 2 is under way
            1@11: read back from 10
            2@12: nothing follows
            read:10=old,11=1,12=2,end: believed up to record 2, event 2
            +1: record 3 is under way
            3@13: believed up to record 3, event 3
        "#]],
    );
}

#[test]
fn under_constant_load_reading_back_comes_to_an_end() {
    check(
        "+1 +1 1@11 +1 2@12 read:10=old,11=1 3@13 +1 read:end 4@14",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        1@11: read back from 10
        +1: record 3 is under way
        2@12: nothing follows
        read:10=old,11=1: believed up to record 1, event 1, still reading from 12
        3@13: nothing follows
        +1: record 4 is under way
        read:end: believed up to record 3, event 3
        4@14: believed up to record 4, event 4
    "#]],
    );
}

#[test]
fn an_unknown_append_is_resolved_by_the_log_and_not_by_a_guess() {
    check(
        "+1 +1 1? read:10=1,11=2,end 2@11 +1 3@12",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        1?: read back from 10
        read:10=1,11=2,end: believed up to record 2, event 2
        2@11: nothing follows
        +1: record 3 is under way
        3@12: believed up to record 3, event 3
    "#]],
    );
    check(
        "+1 +1 1? read:end",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        1?: read back from 10
        read:end: lost: a record of its own did not get into the log
    "#]],
    );
    check(
        "+1 +1 1? 2@10 read:10=2,end",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        1?: read back from 10
        2@10: nothing follows
        read:10=2,end: lost: a record of its own did not get into the log, still reading from 11
    "#]],
    );
}

#[test]
fn what_becomes_unknown_while_the_log_is_read_is_looked_for_once_more() {
    check(
        "+1 +1 1? read:10=1 2? read:end read:11=2,end",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        1?: read back from 10
        read:10=1: believed up to record 1, event 1, still reading from 11
        2?: nothing follows
        read:end: nothing follows, still reading from 11
        read:11=2,end: believed up to record 2, event 2
    "#]],
    );
    check(
        "+1 +1 1? read:10=1 2? read:end read:end",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        1?: read back from 10
        read:10=1: believed up to record 1, event 1, still reading from 11
        2?: nothing follows
        read:end: nothing follows, still reading from 11
        read:end: lost: a record of its own did not get into the log
    "#]],
    );
}

#[test]
fn a_record_that_was_found_by_reading_is_no_news_when_its_answer_comes() {
    check(
        "+1 +1 1@11 read:10=old,11=1,12=2,end 2@12 +1 3@13",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        1@11: read back from 10
        read:10=old,11=1,12=2,end: believed up to record 2, event 2
        2@12: nothing follows
        +1: record 3 is under way
        3@13: believed up to record 3, event 3
    "#]],
    );
}

#[test]
fn a_copy_of_a_record_counts_once() {
    check(
        "+1 1@10 +1 2@12 read:11=1,12=2,end +1 3@13",
        expect![[r#"
        +1: record 1 is under way
        1@10: believed up to record 1, event 1
        +1: record 2 is under way
        2@12: read back from 11
        read:11=1,12=2,end: believed up to record 2, event 2
        +1: record 3 is under way
        3@13: believed up to record 3, event 3
    "#]],
    );
}

#[test]
fn a_newer_claim_in_the_gap_fences_the_owner() {
    check(
        "+1 +1 1@10 2@12 read:11=claim,12=2,end",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        1@10: believed up to record 1, event 1
        2@12: read back from 11
        read:11=claim,12=2,end: lost: another owner claimed the shard at 11, still reading from 12
    "#]],
    );
    check(
        "+1 1? read:10=claim,11=1,end",
        expect![[r#"
        +1: record 1 is under way
        1?: read back from 10
        read:10=claim,11=1,end: lost: another owner claimed the shard at 10, still reading from 11
    "#]],
    );
    check(
        "+1 1!12",
        expect![[r#"
        +1: record 1 is under way
        1!12: lost: another owner claimed the shard at 12
    "#]],
    );
}

#[test]
fn a_record_that_arrives_late_is_waited_for_only_while_it_can_still_count() {
    // Record 1 is nowhere when its answer says that nobody knows; whoever owns the shard next replays without it.
    check(
        "+1 1? read:10=old,end",
        expect![[r#"
        +1: record 1 is under way
        1?: read back from 10
        read:10=old,end: lost: a record of its own did not get into the log
    "#]],
    );
    // Record 2 came in before record 1, and so will never count.
    check(
        "+1 +1 2@10 read:10=2,end",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        2@10: read back from 10
        read:10=2,end: lost: a record of its own did not get into the log, still reading from 11
    "#]],
    );
}

#[test]
fn an_owner_ends_as_soon_as_it_reads_that_a_record_of_its_own_came_too_early() {
    check(
        "+1 +1 2@11 read:10=old,11=2",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        2@11: read back from 10
        read:10=old,11=2: lost: a record of its own did not get into the log, still reading from 12
    "#]],
    );
}

#[test]
fn a_reader_that_lags_behind_what_was_acknowledged_reads_on() {
    check(
        "+1 1@12 read:10=old,end read:end read:11=old,12=1,end",
        expect![[r#"
            +1: record 1 is under way
            1@12: read back from 10
            read:10=old,end: nothing follows, still reading from 11
            read:end: nothing follows, still reading from 11
            read:11=old,12=1,end: believed up to record 1, event 1
        "#]],
    );
}

#[test]
fn a_failed_append_ends_the_owner() {
    check(
        "+1 1x",
        expect![[r#"
        +1: record 1 is under way
        1x: lost: the log failed: the log was closed
    "#]],
    );
    check_with(
        Fencing::ByLog,
        "+1 1x",
        expect![[r#"
        +1: record 1 is under way
        1x: lost: the log failed: the log was closed
    "#]],
    );
}

#[test]
fn a_log_that_fences_vouches_for_what_it_accepts() {
    check_with(
        Fencing::ByLog,
        "+1 +1 +1 1@10 2@50 3@51",
        expect![[r#"
        +1: record 1 is under way
        +1: record 2 is under way
        +1: record 3 is under way
        1@10: believed up to record 1, event 1
        2@50: believed up to record 2, event 2
        3@51: believed up to record 3, event 3
    "#]],
    );
    check_with(
        Fencing::ByLog,
        "+1 1?",
        expect![[r#"
        +1: record 1 is under way
        1?: lost: the log failed: the log cannot say whether the record was written
    "#]],
    );
    check_with(
        Fencing::ByLog,
        "+1 1!12",
        expect![[r#"
        +1: record 1 is under way
        1!12: lost: another owner claimed the shard at 12
    "#]],
    );
}
