//! What is stored is a contract for years: these files hold its bytes as they were first written. A test that fails here
//! means that old logs can no longer be read. Files are added (`LARGESSE_NEW_GOLDEN=1 cargo test -p largesse-engine
//! --test golden` writes those that are missing) and never changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};
use bytes::Bytes;
use largesse_engine::catalog::Tier;
use largesse_engine::codec;
use largesse_engine::control::keys::{KeyCreated, KeyInForce, KeyRevoked};
use largesse_engine::control::rooms::{RoomInForce, RoomSet};
use largesse_engine::control::{CatalogSet, ControlEvent, ControlState};
use largesse_engine::event_id::{CallerKey, EventId};
use largesse_engine::fold::Fold;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::record::{Claim, EventsHeader, LogEntry, RecordHeader, encode_claim, encode_events};
use largesse_engine::room::books::RoomBooks;
use largesse_engine::room::combo::{Combo, ComboKey};
use largesse_engine::room::event::{
    ComboEnd, ComboEnded, ComboNow, EffectShown, FeedItem, FeedWhat, Followed, GiftScores, GiftShown, Period,
    RoomEvent, RoomHead, RoomShown, RoomTotal, RowGroup, Scores, Shown, SourceShown,
};
use largesse_engine::room::person::Person;
use largesse_engine::room::plugin::{Goal, Pk, PluginNews, PluginState};
use largesse_engine::room::state::{ComboRow, RowKey, ScoreRow};
use largesse_engine::store::{Checkpoint, ReceivedEntry, ReceivedKind, StoredEvent};
use largesse_engine::units::{
    Amount, AssetId, CatalogVersion, Epoch, GiftCount, GiftId, NodeId, Position, RoomId, RoomSeq, Seq, ShardId, Time,
    UserId,
};
use largesse_engine::wallet::books::{Books, RoomsSent, encode_state, restored};
use largesse_engine::wallet::command::{GiftSaid, RechargeSaid, TransferCredit, TransferSaid};
use largesse_engine::wallet::event::{
    AccountCredited, Channel, Credit, CreditsApplied, GiftSent, Payee, PointsIssued, Recharged, SourceApplied,
    Transferred, WalletEvent,
};

const COIN: AssetId = AssetId(1);
const SHAPE: u16 = 4;

fn amount(units: u64) -> Amount {
    Amount::new(units).unwrap()
}

fn v7() -> EventId {
    CallerKey::parse("0190a5b0-1c4e-7d3a-8f00-0123456789ab").unwrap().id
}

fn recharge_said(channel: Channel) -> RechargeSaid {
    RechargeSaid { channel, transaction: "tx-9".into(), user: UserId(2001), asset: COIN, amount: amount(500) }
}

/// Every optional field there, every list with more than one entry, numbers of every width.
fn gift_full() -> WalletEvent {
    WalletEvent::GiftSent(GiftSent {
        said: GiftSaid {
            id: v7(),
            key: Some("0190A5B0-1C4E-7D3A-8F00-0123456789AB".into()),
            sender: UserId(2001),
            room: RoomId(1001),
            gift: GiftId(70_000),
            count: GiftCount::new(9_999).unwrap(),
            receivers: [UserId(3001), UserId(u64::MAX)].into_iter().collect(),
            combo: Some(u64::MAX),
            anonymous: false,
        },
        catalog: CatalogVersion(300),
        unit_price: amount(7),
        asset: COIN,
        balance: Amount::MAX,
        credits: [
            Credit { payee: Payee::Receiver(0), amount: amount(69_000), balance: Some(amount(69_001)), spread: 3 },
            Credit { payee: Payee::Receiver(1), amount: amount(70_000), balance: None, spread: 0 },
            Credit { payee: Payee::Account(UserId(9)), amount: amount(986), balance: Some(amount(1_000)), spread: 0 },
        ]
        .into_iter()
        .collect(),
        points: Some(PointsIssued { asset: AssetId(3), amount: amount(139), balance: amount(140) }),
        trace: Some([0xab; 16]),
    })
}

fn gift_bare() -> WalletEvent {
    let WalletEvent::GiftSent(mut gift) = gift_full() else { unreachable!("it is a gift") };
    (gift.said.key, gift.said.combo, gift.points, gift.trace) = (None, None, None, None);
    gift.said.receivers.truncate(1);
    gift.credits.truncate(1);
    gift.credits[0].balance = None;
    WalletEvent::GiftSent(gift)
}

/// The same gift, without telling whose.
fn anonymously(event: WalletEvent) -> WalletEvent {
    let WalletEvent::GiftSent(mut gift) = event else { unreachable!("it is a gift") };
    gift.said.anonymous = true;
    WalletEvent::GiftSent(gift)
}

fn transferred_full() -> WalletEvent {
    let credit = |user, units| TransferCredit { user: UserId(user), asset: COIN, amount: amount(units) };
    WalletEvent::Transferred(Transferred {
        said: TransferSaid {
            id: EventId::hashed("key", &["payout"]),
            key: Some("payout".into()),
            user: UserId(2001),
            debits: [(COIN, amount(5)), (AssetId(2), amount(6))].into_iter().collect(),
            credits: [credit(3001, 2), credit(3002, 3)].into_iter().collect(),
            reference: Some("März".into()),
        },
        debited: [amount(10), amount(0)].into_iter().collect(),
        credited: [Some(amount(2)), None].into_iter().collect(),
        trace: Some([1; 16]),
    })
}

fn transferred_bare() -> WalletEvent {
    WalletEvent::Transferred(Transferred {
        said: TransferSaid {
            id: v7(),
            key: None,
            user: UserId(2001),
            debits: [].into_iter().collect(),
            credits: [].into_iter().collect(),
            reference: None,
        },
        debited: [].into_iter().collect(),
        credited: [].into_iter().collect(),
        trace: None,
    })
}

fn credits_applied() -> WalletEvent {
    let source = |source, up_to| SourceApplied {
        source,
        up_to: Seq(up_to),
        sums: [(COIN, amount(30)), (AssetId(2), amount(1))].into_iter().collect(),
    };
    let credit = |user, units| AccountCredited {
        user: UserId(user),
        asset: COIN,
        amount: amount(units),
        balance: amount(units + 1),
    };
    WalletEvent::CreditsApplied(CreditsApplied {
        sources: [source(2, 17), source(300, 70_000)].into_iter().collect(),
        credits: vec![credit(1, 10), credit(5, 20)],
    })
}

fn wallet_events() -> Vec<(String, WalletEvent)> {
    let mut events = vec![
        ("gift_sent-full".to_owned(), gift_full()),
        ("gift_sent-bare".to_owned(), gift_bare()),
        ("transferred-full".to_owned(), transferred_full()),
        ("transferred-bare".to_owned(), transferred_bare()),
        ("credits_applied-full".to_owned(), credits_applied()),
        (
            "credits_applied-bare".to_owned(),
            WalletEvent::CreditsApplied(CreditsApplied { sources: [].into_iter().collect(), credits: vec![] }),
        ),
        ("transaction_bound".to_owned(), WalletEvent::TransactionBound(recharge_said(Channel::Apple))),
        ("gift_sent_anonymously-full".to_owned(), anonymously(gift_full())),
        ("gift_sent_anonymously-bare".to_owned(), anonymously(gift_bare())),
    ];
    for channel in Channel::ALL {
        let trace = (channel == Channel::Apple).then_some([7; 16]);
        let event = Recharged { said: recharge_said(channel), balance: amount(501), trace };
        events.push((format!("recharged-{}", channel.name()), WalletEvent::Recharged(event)));
    }
    events
}

fn control_events() -> Vec<(String, ControlEvent)> {
    let set = CatalogSet {
        version: CatalogVersion(2),
        by: "ops".into(),
        reason: "spring".into(),
        draft: br#"{"asset":[],"gift":[]}"#.to_vec(),
    };
    let created = key_created();
    let signing = KeyCreated { signing: Some([0xcd; 32]), scopes: Vec::new(), ..created.clone() };
    let revoked = KeyRevoked { name: "shop".into(), by: "ops".into(), reason: "rolled over".into() };
    vec![
        ("catalog_set".to_owned(), ControlEvent::CatalogSet(set)),
        ("key_created".to_owned(), ControlEvent::KeyCreated(created)),
        ("key_created-signing".to_owned(), ControlEvent::KeyCreated(signing)),
        ("key_revoked".to_owned(), ControlEvent::KeyRevoked(revoked)),
        ("room_set".to_owned(), ControlEvent::RoomSet(room_set())),
    ]
}

fn room_set() -> RoomSet {
    RoomSet { room: br#"{"id":1001,"hosts":[2001]}"#.to_vec(), by: "ops".into(), reason: "a new host".into() }
}

fn room_head() -> RoomHead {
    let (goal_asset, hosts) = (COIN, [UserId(3001), UserId(3002)]);
    RoomHead {
        followed: Some(Followed { version: Seq(70_000), fingerprint: u64::MAX }),
        live: 3,
        is_open: true,
        since: Time(1_700_000_000_000),
        day: 19_675,
        week: 2_811,
        live_totals: [(COIN, RoomTotal { value: 300, gifts: 2 })].into_iter().collect(),
        all_totals: [(COIN, RoomTotal { value: u128::MAX, gifts: u64::MAX })].into_iter().collect(),
        plugins: vec![
            PluginState::Goal(Goal { asset: goal_asset, target: amount(1_000), reached: 300 }),
            PluginState::Pk(Pk { hosts, asset: COIN, until: Some(Time(9)), scores: [7, 8], is_over: false }),
        ],
        open_combos: 1,
        next: RoomSeq(70_000),
        ..RoomHead::new(Time(1_600_000_000_000))
    }
}

fn gift_shown() -> GiftShown {
    let scores = |live| Scores { live, day: Some(70_000), week: None };
    GiftShown {
        sender: Person::Named(UserId(2001)),
        receivers: [UserId(3001), UserId(u64::MAX)].into_iter().collect(),
        gift: GiftId(70_000),
        asset: COIN,
        unit_price: amount(150),
        count: 300,
        events: 70_000,
        client_combo: Some(u64::MAX),
        combo: Some(ComboNow {
            id: RoomSeq(5),
            slot: 70_000,
            count: 301,
            value: 90_300,
            expires: Time(1_700_000_005_000),
        }),
        tier: Some(Tier::Grand),
        effect: EffectShown::Joined,
        scores: GiftScores {
            sender: scores(Some(1)),
            receivers: [scores(None), scores(Some(300))].into_iter().collect(),
        },
    }
}

fn combo_key() -> ComboKey {
    let GiftShown { sender, gift, asset, receivers, .. } = gift_shown();
    ComboKey { sender, gift, asset, receivers }
}

/// Every kind of item there is, by one name each.
fn feed_items() -> Vec<(String, FeedItem)> {
    let bare = GiftShown { client_combo: None, combo: None, tier: None, effect: EffectShown::None, ..gift_shown() };
    let combo = gift_shown().combo.unwrap();
    let ended = |cause: ComboEnd| -> ComboEnded { combo_key().ended(&combo, cause) };
    let nobody = Person::Anonymous(UserId(2001));
    let goal = |by| FeedWhat::Plugin(PluginNews::GoalReached { asset: COIN, target: amount(1_000), by });
    let hosts = [UserId(3001), UserId(3002)];
    let mut items = vec![
        ("gift-full".to_owned(), FeedWhat::Gift(gift_shown())),
        ("gift-bare".to_owned(), FeedWhat::Gift(bare)),
        ("live_started".to_owned(), FeedWhat::LiveStarted { live: 3 }),
        ("live_ended".to_owned(), FeedWhat::LiveEnded { live: 3, totals: room_head().live_totals }),
        ("goal_reached".to_owned(), goal(gift_shown().sender)),
        ("gift-anonymous".to_owned(), FeedWhat::Gift(GiftShown { sender: nobody, ..gift_shown() })),
        (
            "combo_ended-anonymous".to_owned(),
            FeedWhat::ComboEnded(ComboEnded { sender: nobody, ..ended(ComboEnd::Time) }),
        ),
        ("goal_reached-anonymous".to_owned(), goal(nobody)),
        ("pk_ended".to_owned(), FeedWhat::Plugin(PluginNews::PkEnded { hosts, asset: COIN, scores: [7, 8] })),
    ];
    for cause in [ComboEnd::Time, ComboEnd::Replaced, ComboEnd::LiveEnded, ComboEnd::Left] {
        items.push((format!("combo_ended-{}", cause.name()), FeedWhat::ComboEnded(ended(cause))));
    }
    let named = |(name, what)| (format!("feed_item-{name}"), FeedItem { at: Time(1_700_000_000_000), what });
    items.into_iter().map(named).collect()
}

fn room_event() -> RoomEvent {
    let sums = [(COIN, 90_000)].into_iter().collect();
    let items = feed_items().into_iter().map(|(_, item)| item).collect();
    let ended = Period::ALL.into_iter().map(|period| RowGroup::of(period, 2)).collect();
    RoomEvent::Shown(Shown {
        sources: [SourceShown { source: 300, up_to: Seq(70_000), sums }].into_iter().collect(),
        rooms: vec![RoomShown { room: RoomId(1001), first: RoomSeq(5), items, ended, head: room_head() }],
    })
}

/// The rows of a room's state, which are stored as these bytes.
fn room_rows() -> (Vec<RowKey>, ComboRow, ScoreRow) {
    let user = UserId(2001);
    let sender = |person| RowKey::Sender(COIN, person);
    let mut keys = vec![RowKey::Head, RowKey::Combo(70_000), RowKey::Host(COIN, user)];
    keys.extend([sender(Person::Named(user)), sender(Person::Anonymous(user))]);
    let combo = Combo { now: gift_shown().combo.unwrap(), client: Some(7) };
    (keys, ComboRow { key: combo_key(), combo }, ScoreRow { value: 70_000, reached: RoomSeq(5) })
}

fn room_books() -> RoomBooks {
    let mut books = RoomBooks::new(LedgerShape::new(2));
    let sums = [(COIN, 90_000)].into_iter().collect();
    let item = FeedItem { at: Time(5), what: FeedWhat::Gift(gift_shown()) };
    let ended = Default::default();
    let room = RoomShown { room: RoomId(1001), first: RoomSeq(5), items: vec![item], ended, head: room_head() };
    let sources = [SourceShown { source: 1, up_to: Seq(70_000), sums }].into_iter().collect();
    books.apply(Seq(1), &Shown { sources, rooms: vec![room] });
    books
}

fn rooms_sent() -> RoomsSent {
    let shape = LedgerShape::new(SHAPE);
    let mut sent = RoomsSent::new(shape);
    sent.apply(Seq(70_000), &gift_full(), shape);
    sent
}

fn key_created() -> KeyCreated {
    KeyCreated {
        name: "shop".into(),
        sha256: [0xab; 32],
        signing: None,
        scopes: vec!["recharges".into(), "read".into()],
        by: "ops".into(),
        reason: "the web shop".into(),
    }
}

/// What the checkpoint of the control shard holds once there is a key.
fn control_state() -> ControlState {
    let keys = vec![KeyInForce { created: key_created(), at: Time(1_700_000_000_000) }];
    ControlState::WithKeys { catalog: None, keys }
}

/// The sums of a shard with something in each of them.
fn books() -> Books {
    let shape = LedgerShape::new(SHAPE);
    let shard = |index| (1..).map(UserId).find(|user| shape.wallet_of(*user).index == index).unwrap();
    let (me, other) = (shard(0), shard(1));
    let mut books = Books::new(shape);
    let said = RechargeSaid { user: me, ..recharge_said(Channel::Manual) };
    let recharged = Recharged { said, balance: amount(500), trace: None };
    books.apply(Seq(1), &WalletEvent::Recharged(recharged), shape);
    let credit = TransferCredit { user: other, asset: COIN, amount: amount(30) };
    let said = TransferSaid {
        id: v7(),
        key: None,
        user: me,
        debits: [(COIN, amount(40))].into_iter().collect(),
        credits: [credit].into_iter().collect(),
        reference: None,
    };
    let (debited, credited) = ([amount(460)].into_iter().collect(), [None].into_iter().collect());
    books.apply(Seq(2), &WalletEvent::Transferred(Transferred { said, debited, credited, trace: None }), shape);
    let source = SourceApplied { source: 2, up_to: Seq(17), sums: [(COIN, amount(5))].into_iter().collect() };
    let credit = AccountCredited { user: me, asset: COIN, amount: amount(5), balance: amount(465) };
    let applied = CreditsApplied { sources: [source].into_iter().collect(), credits: vec![credit] };
    books.apply(Seq(3), &WalletEvent::CreditsApplied(applied), shape);
    books
}

fn checkpoint() -> Checkpoint {
    let fold = |epoch, next| Fold { epoch, next: Seq(next) };
    Checkpoint {
        shard: ShardId::wallet(3),
        position: Position(70_000),
        relay_position: Position(300),
        relay_fold: fold(None, 1),
        fold: fold(Some(Epoch(9)), 4),
        time: Time(1_700_000_000_000),
        state: codec::encode(&books()),
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.hex"))
}

fn to_hex(bytes: &[u8]) -> String {
    let lines: Vec<String> =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    lines.join("\n") + "\n"
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The bytes as they were first written.
fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let path = path(name);
    if !path.exists() && std::env::var_os("LARGESSE_NEW_GOLDEN").is_some() {
        fs::write(&path, to_hex(now)).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; LARGESSE_NEW_GOLDEN=1 writes files that are missing", path.display())
    });
    from_hex(&text)
}

#[track_caller]
fn check<T: Encode + Decode<()> + PartialEq + Debug>(name: &str, value: &T) {
    let stored = golden(name, &codec::encode(value));
    let decoded: T = codec::decode(&stored).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(decoded, *value, "{name} is read as something else");
    assert_eq!(to_hex(&codec::encode(&decoded)), to_hex(&stored), "{name} is written differently now");
}

/// How many variants the decoder knows: it asks for more bytes of those, and refuses the number of the next.
fn variants<T: Decode<()> + Debug>() -> usize {
    (0..=250u8)
        .position(|number| {
            let error = codec::decode::<T>(&[number]).expect_err("no variant is without fields");
            error.why.contains("UnexpectedVariant")
        })
        .unwrap()
}

fn tags<T: Encode>(events: &[(String, T)]) -> BTreeSet<u8> {
    events.iter().map(|(_, event)| codec::encode(event)[0]).collect()
}

#[test]
fn every_event_reads_and_writes_as_it_always_did() {
    wallet_events().iter().for_each(|(name, event)| check(name, event));
    control_events().iter().for_each(|(name, event)| check(name, event));
    check("room_shown", &room_event());
    feed_items().iter().for_each(|(name, item)| check(name, item));
}

/// A program of before there were anonymous gifts meets a variant that it does not know, and stops.
#[test]
fn an_anonymous_gift_is_a_variant_of_its_own_with_the_same_fields() {
    for gift in [gift_full(), gift_bare()] {
        let (named, nameless) = (codec::encode(&gift), codec::encode(&anonymously(gift)));
        assert_eq!((named[0], nameless[0]), (0, 5));
        assert_eq!(to_hex(&named[1..]), to_hex(&nameless[1..]));
    }
}

#[test]
fn every_variant_of_an_event_has_its_file() {
    assert_eq!(tags(&wallet_events()).len(), variants::<WalletEvent>(), "a variant of WalletEvent has no golden file");
    assert_eq!(tags(&control_events()).len(), variants::<ControlEvent>(), "one of ControlEvent has no golden file");
    assert_eq!(variants::<RoomEvent>(), 1, "one of RoomEvent has no golden file");
    assert_eq!(Channel::ALL.len(), variants_without_fields::<Channel>(), "a channel has no golden file");
}

/// As [`variants`], where a number alone is the whole value.
fn variants_without_fields<T: Decode<()>>() -> usize {
    (0..=250u8).position(|number| codec::decode::<T>(&[number]).is_err()).unwrap()
}

#[test]
fn no_file_is_without_its_test() {
    let mut tested: BTreeSet<String> = wallet_events().into_iter().map(|(name, _)| name).collect();
    tested.extend(control_events().into_iter().map(|(name, _)| name));
    tested.extend(
        ["record-claim", "record-events", "checkpoint", "books", "stored_event", "control_state"].map(str::to_owned),
    );
    tested.extend(feed_items().into_iter().map(|(name, _)| name));
    tested.extend(["room_shown", "room_books", "rooms_sent", "control_state-rooms"].map(str::to_owned));
    tested.extend(["room_row-keys", "room_row-combo", "room_row-score", "room_row-head"].map(str::to_owned));
    tested.extend(["gift", "transfer", "anonymous_gift"].map(|kind| format!("received_entry-{kind}")));
    let files: BTreeSet<String> = fs::read_dir(path("books").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(files, tested);
}

#[test]
fn records_read_and_write_as_they_always_did() {
    let header =
        EventsHeader { epoch: Epoch(300), number: 7, first: Seq(70_000), count: 2, time: Time(1_700_000_000_000) };
    let events = codec::encode(&gift_bare());
    let claim = Claim { node: NodeId(3), nonce: [9; 16] };
    for (name, record, want) in [
        ("record-events", encode_events(header, &events), RecordHeader::Events(header)),
        ("record-claim", encode_claim(claim), RecordHeader::Claim(claim)),
    ] {
        let stored = golden(name, &record);
        assert_eq!(to_hex(&record), to_hex(&stored), "{name} is written differently now");
        let entry = LogEntry::decode(Position(1), &Bytes::from(stored)).unwrap();
        assert_eq!(entry.header, want);
    }
}

/// The page shows one record, its bytes in the first column and their meaning in the second.
#[test]
fn the_example_on_the_page_of_records_is_a_real_one() {
    const PAGE: &str = include_str!("../../docs/records.md");
    let lines = PAGE.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().lines();
    let (bytes, meanings): (Vec<&str>, Vec<&str>) = lines.map(|line| line.split_once("  ").unwrap()).unzip();
    assert!(meanings.iter().all(|meaning| !meaning.trim().is_empty()));
    let shown = Bytes::from(from_hex(&bytes.concat()));
    let header =
        EventsHeader { epoch: Epoch(300), number: 7, first: Seq(70_000), count: 1, time: Time(1_700_000_000_000) };
    assert_eq!(to_hex(&shown), to_hex(&encode_events(header, &codec::encode(&gift_bare()))));
    let entry = LogEntry::decode(Position(301), &shown).unwrap();
    assert_eq!(codec::decode::<WalletEvent>(&entry.events).unwrap(), gift_bare());
    // It differs from the golden file in the count of events alone.
    let mut golden = golden("record-events", &shown);
    let count = golden.iter().zip(&shown).position(|(golden, shown)| golden != shown).unwrap();
    golden[count] = 1;
    assert_eq!(to_hex(&golden), to_hex(&shown));
}

#[test]
fn checkpoints_read_and_write_as_they_always_did() {
    check("books", &books());
    check("checkpoint", &checkpoint());
    let stored = StoredEvent { shard: ShardId::CONTROL, seq: Seq(9), at: Time(5), event: codec::encode(&gift_bare()) };
    check("stored_event", &stored);
}

#[test]
fn received_history_reads_and_writes_as_it_always_did() {
    let (room, gift, count) = (RoomId(1001), GiftId(70_000), 9_999);
    for (name, kind) in [
        ("gift", ReceivedKind::Gift { room, gift, count }),
        ("transfer", ReceivedKind::Transfer),
        ("anonymous_gift", ReceivedKind::AnonymousGift { room, gift, count }),
    ] {
        let (source, seq, at) = (ShardId::wallet(3), Seq(70_000), Time(1_700_000_000_000));
        let (id, sender, asset, amount) = (v7(), UserId(2001), COIN, amount(500));
        let entry = ReceivedEntry { source, seq, at, id, kind, sender, asset, amount };
        check(&format!("received_entry-{name}"), &entry);
    }
}

#[test]
fn the_control_state_reads_and_writes_as_it_always_did() {
    check("control_state", &control_state());
    let rooms = vec![RoomInForce { room: room_set().room, seq: Seq(70_000) }];
    let keys = vec![KeyInForce { created: key_created(), at: Time(5) }];
    check("control_state-rooms", &ControlState::WithRooms { catalog: None, keys, rooms });
}

#[test]
fn rooms_read_and_write_as_they_always_did() {
    check("room_books", &room_books());
    check("rooms_sent", &rooms_sent());
    let (keys, combo, score) = room_rows();
    check("room_row-keys", &keys);
    check("room_row-combo", &combo);
    check("room_row-score", &score);
    check("room_row-head", &room_head());
}

/// A wallet shard's checkpoint of before there were rooms: its books, and nothing behind them.
#[test]
fn a_checkpoint_without_rooms_is_read() {
    let shape = LedgerShape::new(SHAPE);
    let (read, to_rooms) = restored(&golden("books", &codec::encode(&books())), shape).unwrap();
    assert_eq!((read, to_rooms), (books(), RoomsSent::new(shape)));
    let state = encode_state(&books(), &rooms_sent());
    assert_eq!(restored(&state, shape).unwrap(), (books(), rooms_sent()));
}
