use largesse_engine::units::{Seq, ShardId, Time};

use super::*;

fn letter(id: &str) -> Letter {
    Letter {
        id: id.into(),
        reason: Reason::TooLarge,
        why: "too large".into(),
        origin: Origin {
            topic: None,
            partition: None,
            offset: 8_192,
            shard: ShardId::wallet(3),
            seq: Seq(17),
            last_seq: Seq(17),
            at: Time(5),
        },
        filed_at: Time(10),
        next_try: Some(Time(20)),
        content: Content::Message(Message { id: id.into(), key: "1".into(), headers: Vec::new(), value: "{}".into() }),
    }
}

fn filed(id: &str) -> Entry {
    Entry::Filed(Box::new(letter(id)))
}

fn discarded(id: &str, at: u64) -> Entry {
    Entry::Discarded { id: id.into(), at: Time(at), by: "ann".into(), reason: "known".into() }
}

fn tried(id: &str, next_try: Option<u64>) -> Entry {
    Entry::Tried { id: id.into(), at: Time(20), why: "still".into(), next_try: next_try.map(Time) }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    futures::executor::block_on(work)
}

fn read(letters: &dyn LetterLog) -> Book {
    let mut book = Book::default();
    run(letters.read(&mut book)).unwrap();
    book
}

#[test]
fn what_was_settled_stays_settled() {
    let mut book = Book::default();
    book.take(filed("a"));
    assert_eq!(book.get("a").unwrap().state, State::Waiting { next_try: Time(20) });
    book.take(tried("a", None));
    let held = book.get("a").unwrap();
    assert_eq!((&held.state, held.tries, held.last_why.as_str()), (&State::Dead, 2, "still"));
    book.take(discarded("a", 30));
    // An attempt that was under way, and a copy that a crash brought back.
    book.take(tried("a", Some(99)));
    book.take(Entry::Published { id: "a".into(), at: Time(31), by: "retry".into() });
    book.take(filed("a"));
    let want = State::Discarded { at: Time(30), by: "ann".into(), discard_reason: "known".into() };
    assert_eq!(book.get("a").unwrap().state, want);
    assert_eq!(book.open().count(), 0);
    // Nobody can settle what was never filed.
    book.take(discarded("b", 30));
    assert!(book.get("b").is_none());
}

#[test]
fn the_folder_keeps_what_it_was_given_and_forgets_only_what_is_old() {
    let data = tempfile::tempdir().unwrap();
    let letters = LetterFolder::new(data.path());
    assert_eq!(read(&letters).letters().count(), 0, "no folder is no letters");
    run(letters.trim(Time(1))).unwrap();
    assert!(!data.path().join("dead-letters").exists(), "looking makes nothing");
    for entry in [filed("a"), filed("b"), filed("c"), discarded("a", 30), discarded("c", 90)] {
        run(letters.append(entry)).unwrap();
    }
    let mut book = read(&letters);
    assert_eq!(book.open().map(|held| held.letter.id.as_str()).collect::<Vec<_>>(), ["b"]);
    // Another process adds one; who read before reads only that.
    run(LetterFolder::new(data.path()).append(filed("d"))).unwrap();
    run(letters.read(&mut book)).unwrap();
    assert_eq!(book.open().count(), 2);

    run(letters.trim(Time(60))).unwrap();
    let kept: Vec<_> = read(&letters).letters().map(|held| held.letter.id.clone()).collect();
    assert_eq!(kept, ["b", "c", "d"], "what was settled long ago is gone, what is open never");
}

#[test]
fn an_unfinished_line_was_never_told_and_an_odd_one_is_counted() {
    let data = tempfile::tempdir().unwrap();
    let letters = LetterFolder::new(data.path());
    run(letters.append(filed("a"))).unwrap();
    let file = data.path().join("dead-letters/letters.jsonl");
    let whole = std::fs::read(&file).unwrap();
    let mut torn = whole.clone();
    torn.extend(br#"{"entry":"filed","id":"b","#);
    std::fs::write(&file, &torn).unwrap();
    let book = read(&letters);
    assert_eq!((book.letters().count(), book.unreadable), (1, 0));
    run(letters.append(filed("c"))).unwrap();
    let text = std::fs::read(&file).unwrap();
    assert!(text.starts_with(&whole), "what was whole is as it was");
    assert_eq!((read(&letters).letters().count(), read(&letters).unreadable), (2, 0));
    // A newer program's entry is neither dropped nor taken for something else.
    std::fs::write(&file, [text, b"{\"entry\":\"forwarded\",\"id\":\"a\"}\n".to_vec()].concat()).unwrap();
    assert_eq!((read(&letters).letters().count(), read(&letters).unreadable), (2, 1));
    run(letters.trim(Time(1_000))).unwrap();
    assert_eq!(read(&letters).unreadable, 1);
}

#[test]
fn a_full_folder_takes_no_letter_and_still_settles_some() {
    let data = tempfile::tempdir().unwrap();
    let letters = LetterFolder::with_limit(data.path(), 500);
    run(letters.append(filed("a"))).unwrap();
    assert_eq!(run(letters.append(filed("b"))), Err(LettersError::Full(500)));
    run(letters.append(discarded("a", 30))).unwrap();
    assert_eq!(read(&letters).open().count(), 0);
}

/// The form of an entry is a contract: topics and folders keep it for months.
#[test]
fn entries_are_written_as_they_always_were() {
    let lines = [filed("wallet-3.17.0"), tried("x", Some(5)), discarded("x", 30)].map(|entry| {
        let line = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
        line + "\n"
    });
    expect_test::expect![[r#"
        {"entry":"filed","id":"wallet-3.17.0","reason":"too_large","why":"too large","origin":{"topic":null,"partition":null,"offset":8192,"shard":{"kind":"wallet","index":3},"seq":17,"last_seq":17,"at":5},"filed_at":10,"next_try":20,"content":{"message":{"id":"wallet-3.17.0","key":"1","headers":[],"value":"{}"}}}
        {"entry":"tried","id":"x","at":20,"why":"still","next_try":5}
        {"entry":"discarded","id":"x","at":30,"by":"ann","reason":"known"}
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn hexadecimal_digits_come_back() {
    assert_eq!(from_hex(&to_hex(&[0, 0xff, 0x1a])), Some(vec![0, 0xff, 0x1a]));
    assert_eq!(from_hex("0g"), None);
}
