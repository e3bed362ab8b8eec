//! A ledger made by a real node audits clean; whatever is tampered with afterwards is found, and named by its place.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::audit::{AuditOptions, Report, Scope, Start, StoreAudit, audit};
use largesse_engine::catalog::{Asset, CatalogDraft, Gift, PointsRule, Rules, SendRule, Tier};
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::codec;
use largesse_engine::event_id::{CallerKey, EventId};
use largesse_engine::flush::FlushLimits;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::{AppendDone, AppendError, Fencing, LogError, LogRoom, Logs, ShardLog};
use largesse_engine::node::{Node, NodeOptions};
use largesse_engine::record::{Claim, LogEntry, RecordHeader, encode_events};
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::room::settings::Room;
use largesse_engine::service::{GiftRequest, Patience, Service};
use largesse_engine::shard::ShardLimits;
use largesse_engine::store::{FlushBatch, Store};
use largesse_engine::units::{
    Amount, AssetId, Epoch, GiftId, NodeId, Position, RoomId, Seq, ShardId, ShardKind, UserId,
};
use largesse_engine::wallet::command::{GiftSaid, RechargeSaid};
use largesse_engine::wallet::event::{Channel, WalletEvent};
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::audit::data_dir;
use largesse_storage::folder::DataFolder;
use largesse_storage::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};

const SHAPE: LedgerShape = LedgerShape { wallet_shards: 4, hash_version: 1 };
const COIN: AssetId = AssetId(1);
const VIEWERS: [UserId; 5] = [UserId(3001), UserId(3002), UserId(3003), UserId(3004), UserId(3005)];
const HOSTS: [UserId; 3] = [UserId(2001), UserId(2002), UserId(2003)];

struct World {
    node: Node,
    service: Service,
    logs: Arc<EmbeddedLogs>,
}

fn node_options() -> NodeOptions {
    NodeOptions {
        node: NodeId(1),
        shape: SHAPE,
        wallets: WalletLimits {
            window: WindowLimits { bytes_max: 64 << 20, age_millis: 120_000 },
            wallets_max: 100_000,
            history_millis: 400 * 86_400_000,
            hash_seed: 7,
        },
        shards: ShardLimits::default(),
        accumulators: AccumulatorLimits::default(),
        flush: FlushLimits::default(),
        flush_every: Duration::from_millis(5),
        permits_per_shard: 1_000,
        workers: 0,
        patience: Patience::default(),
        rooms: vec![Room::new(RoomId(1001), HOSTS.into())],
        room_limits: RoomLimits::default(),
    }
}

fn catalog() -> CatalogDraft {
    let gift = Gift {
        gift_id: GiftId(1),
        name: "Rose".into(),
        names: [("en".into(), "Rose".into()), ("zh".into(), "玫瑰".into())].into(),
        price: Amount::new(5).unwrap(),
        asset: "coin".into(),
        category: "classic".into(),
        tier: Tier::Small,
        icon_url: "/assets/icons/rose.svg".into(),
        effects_url: None,
        send_rule: SendRule::Combo,
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
    };
    CatalogDraft {
        assets: vec![Asset { id: COIN, name: "coin".into() }, Asset { id: AssetId(3), name: "point".into() }],
        rules: Rules {
            shares: Vec::new(),
            points: Some(PointsRule { asset: "point".into(), for_asset: "coin".into(), per_thousand: 1_000 }),
        },
        gifts: vec![gift],
    }
}

fn open_store(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, LedgerName::default(), SHAPE, StoreOptions::default()).unwrap()
}

async fn start(dir: &Path) -> World {
    let folder = DataFolder::open(dir, &LedgerName::default(), SHAPE).unwrap();
    let logs = Arc::new(EmbeddedLogs::open(&folder, EmbeddedLogOptions::default()).unwrap());
    let store: Arc<dyn Store> = Arc::new(open_store(&folder.store()));
    let node = Node::start(node_options(), logs.clone() as Arc<dyn Logs>, store, Arc::new(SystemClock)).await.unwrap();
    let service = node.service();
    World { node, service, logs }
}

impl World {
    async fn stop(self) {
        self.node.stop().await;
        drop(self.service);
        self.logs.close();
    }

    async fn fill(&self, round: u8) {
        let catalog = self.service.control.apply_catalog(catalog(), "test".into(), "first".into());
        catalog.await.unwrap();
        for viewer in VIEWERS {
            let transaction = format!("{round}-{viewer}").into();
            let amount = Amount::new(100_000).unwrap();
            let channel = Channel::Manual;
            let said = RechargeSaid { channel, transaction, user: viewer, asset: COIN, amount };
            self.service.recharge(said, None, None).await.unwrap();
        }
        for turn in 0..20u8 {
            for (place, viewer) in (0..).zip(VIEWERS) {
                let key = EventId::v7(SystemClock.now(), [round, turn, place, 0, 0, 0, 0, 0, 0, 0]);
                let key = CallerKey::parse(&key.to_string()).unwrap();
                let hosts = &HOSTS[..1 + usize::from(turn) % HOSTS.len()];
                let said = GiftSaid::new(key, viewer, RoomId(1001), GiftId(1), 2, hosts, None).unwrap();
                let request = GiftRequest { said, price_seen: None, until: None, trace: None };
                self.service.send_gift(request).await.unwrap();
            }
        }
    }
}

/// A folder with a stopped ledger in it.
async fn ledger() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    world.fill(1).await;
    world.stop().await;
    dir
}

async fn audited(dir: &Path) -> Report {
    data_dir(dir, AuditOptions::default()).await.unwrap()
}

fn first_problem(report: &Report) -> String {
    assert!(!report.is_clean);
    report.problems[0].to_string()
}

/// One record in a segment file.
#[derive(Clone)]
struct Frame {
    file: PathBuf,
    base: u64,
    offset: usize,
    shard: ShardId,
    position: u64,
    record: Bytes,
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// All records of the log, read by a description of the format that is this test's own.
fn frames(dir: &Path) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    files.sort();
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let base = u64::from_le_bytes(bytes[48..56].try_into().unwrap());
        let mut batch = 4096;
        while batch + 32 <= bytes.len() && bytes[batch] != 0 {
            let end = batch + 32 + u32_at(&bytes, batch + 8);
            let mut at = batch + 32;
            while at < end {
                let len = u32_at(&bytes, at + 4);
                let shard = ShardId::from_u32(u32::try_from(u32_at(&bytes, at)).unwrap()).unwrap();
                let record = Bytes::copy_from_slice(&bytes[at + 12..at + 12 + len]);
                let position = base + at as u64;
                frames.push(Frame { file: file.clone(), base, offset: at, shard, position, record });
                at += 12 + len;
            }
            batch = end;
        }
    }
    frames
}

impl Frame {
    fn entry(&self) -> LogEntry {
        LogEntry::decode(Position(self.position), &self.record).unwrap()
    }

    /// Writes other bytes in the place of this frame, with a checksum that fits.
    fn overwrite(&self, shard: u32, record: &[u8]) {
        assert_eq!(record.len(), self.record.len());
        let mut bytes = std::fs::read(&self.file).unwrap();
        let mut head = shard.to_le_bytes().to_vec();
        head.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
        let mut covered = [self.base.to_le_bytes(), self.position.to_le_bytes()].concat();
        covered.extend(&head);
        if shard != u32::MAX {
            covered.extend(record);
        }
        head.extend(crc32c::crc32c(&covered).to_le_bytes());
        bytes[self.offset..self.offset + 12].copy_from_slice(&head);
        bytes[self.offset + 12..self.offset + 12 + record.len()].copy_from_slice(record);
        std::fs::write(&self.file, bytes).unwrap();
    }
}

fn events(entry: &LogEntry) -> Vec<WalletEvent> {
    let RecordHeader::Events(header) = entry.header else { return Vec::new() };
    let mut rest = &entry.events[..];
    (0..header.count)
        .map(|_| {
            let (event, used) = codec::decode_front(rest).unwrap();
            rest = &rest[used..];
            event
        })
        .collect()
}

fn with_events(entry: &LogEntry, events: &[WalletEvent]) -> Bytes {
    let RecordHeader::Events(mut header) = entry.header else { panic!("a claim has no events") };
    header.count = u32::try_from(events.len()).unwrap();
    let body: Vec<u8> = events.iter().flat_map(codec::encode).collect();
    encode_events(header, &body)
}

/// The records of wallet shards whose first event is wanted.
fn records(dir: &Path, is_wanted: impl Fn(&WalletEvent) -> bool) -> Vec<Frame> {
    let is_wallet = |frame: &Frame| frame.shard.kind == ShardKind::Wallet;
    let starts_so = |frame: &Frame| events(&frame.entry()).first().is_some_and(&is_wanted);
    frames(dir).into_iter().filter(is_wallet).filter(starts_so).collect()
}

fn header_of(frame: &Frame) -> (Seq, Epoch) {
    match frame.entry().header {
        RecordHeader::Events(header) => (header.first, header.epoch),
        RecordHeader::Claim(_) => panic!("a claim"),
    }
}

/// The log as a list that a test can change at will.
struct Recorded {
    entries: HashMap<ShardId, Vec<LogEntry>>,
    first: HashMap<ShardId, Position>,
}

struct RecordedLog {
    shard: ShardId,
    entries: Vec<LogEntry>,
    first: Position,
}

impl Recorded {
    fn of(dir: &Path) -> Recorded {
        let mut entries: HashMap<_, Vec<_>> = HashMap::new();
        frames(dir).iter().for_each(|frame| entries.entry(frame.shard).or_default().push(frame.entry()));
        Recorded { entries, first: HashMap::new() }
    }

    /// Gives up what `store` does not need any more.
    async fn truncate(&mut self, store: &dyn Store) {
        for shard in SHAPE.wallet_shards().chain([ShardId::CONTROL]) {
            let checkpoint = store.checkpoint(shard).await.unwrap().unwrap();
            self.first.insert(shard, checkpoint.relay_position);
        }
    }

    async fn audit(&self, store: Result<&dyn Store, String>) -> Report {
        audit(Scope { shape: SHAPE, logs: self, store }, AuditOptions::default()).await.unwrap()
    }
}

impl Logs for Recorded {
    fn shard(&self, shard: ShardId) -> Arc<dyn ShardLog> {
        let entries = self.entries.get(&shard).cloned().unwrap_or_default();
        let first = self.first.get(&shard).copied().unwrap_or_default();
        Arc::new(RecordedLog { shard, entries, first })
    }

    fn room(&self) -> LogRoom {
        LogRoom { bytes_used: 0, bytes_max: u64::MAX, is_tight: false }
    }

    fn is_tight(&self) -> bool {
        false
    }

    fn is_full(&self) -> bool {
        false
    }
}

impl ShardLog for RecordedLog {
    fn claim(&self, _claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        async { Err(LogError::Closed) }.boxed()
    }

    fn append(&self, _epoch: Epoch, _record: Bytes, done: AppendDone) {
        done(Err(AppendError::Failed(LogError::Closed)));
    }

    fn read(&self, from: Position, _bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        let (shard, first) = (self.shard, self.first);
        let next = self.entries.iter().filter(move |entry| entry.position >= from).take(3).cloned().collect();
        let read = if from < first { Err(LogError::Truncated { shard, asked: from, first }) } else { Ok(next) };
        async move { read }.boxed()
    }

    fn wait_for(&self, _from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        async { Err(LogError::Closed) }.boxed()
    }

    fn truncate_before(&self, _position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        async { Ok(()) }.boxed()
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        let end = self.entries.last().map_or(Position::START, |last| last.position.after());
        async move { Ok(end) }.boxed()
    }

    fn fencing(&self) -> Fencing {
        Fencing::ByLog
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_of_a_real_node_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path()).await;
    world.fill(1).await;
    let beside = audited(dir.path()).await;
    assert_eq!(beside.problems, []);
    let StoreAudit::NotCompared(why) = &beside.store else { panic!("the store belongs to the running process") };
    assert!(why.contains("a running process"), "{why}");
    world.stop().await;

    let report = audited(dir.path()).await;
    assert_eq!(report.problems, []);
    assert!(report.is_clean);
    let coin = &report.assets[0];
    assert_eq!((coin.name.as_deref(), coin.issued, coin.burned), (Some("coin"), 500_000, 0));
    // Stopping does not wait for credits on their way; they are sent again after the next start.
    assert_eq!(coin.balances + coin.in_flight, 500_000);
    // 5 recharges and what binds their transactions, each recharge with two ids, and 100 gifts.
    assert_eq!(report.ids, 5 + 2 * 5 + 100);
    let rows = u64::try_from(2 * VIEWERS.len() + HOSTS.len()).unwrap();
    assert_eq!(report.store, StoreAudit::Compared { balances: rows, receipts: 110, checkpoints: 4 });
    assert!(report.relays.ranges > 0 && report.relays.before_log == 0, "{:?}", report.relays);
    assert!(report.shards.iter().all(|shard| shard.start == Start::Beginning));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_balance_is_named() {
    let dir = ledger().await;
    let frame = records(dir.path(), |event| matches!(event, WalletEvent::GiftSent(_))).swap_remove(7);
    let mut changed = events(&frame.entry());
    let WalletEvent::GiftSent(gift) = &mut changed[0] else { panic!("a gift was asked for") };
    let right = gift.balance;
    gift.balance = right.checked_add(Amount::new(1).unwrap()).unwrap();
    let (user, told) = (gift.said.sender, gift.balance);
    frame.overwrite(frame.shard.to_u32(), &with_events(&frame.entry(), &changed));
    let (shard, seq, position) = (frame.shard, header_of(&frame).0, frame.position);
    let report = audited(dir.path()).await;
    assert_eq!(
        first_problem(&report),
        format!(
            "{shard} event {seq} at log position {position}: balance of user {user}, asset 1: expected {right}, found {told}"
        )
    );
    // The receipt in the store still says what was true.
    assert_eq!(report.problems_found, 2, "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_record_is_named() {
    let dir = ledger().await;
    let frame = records(dir.path(), |event| matches!(event, WalletEvent::GiftSent(_))).swap_remove(7);
    let (seq, epoch) = header_of(&frame);
    let next = events(&frame.entry()).len() as u64 + seq.get();
    frame.overwrite(u32::MAX, &frame.record);
    let report = audited(dir.path()).await;
    let first = first_problem(&report);
    let shard = frame.shard;
    assert!(first.starts_with(&format!("{shard} event {seq} at log position ")), "{first}");
    let rest = format!(
        "record: expected one that begins with event {seq}, of epoch {epoch}, found event {next}: a record between was lost"
    );
    assert!(first.ends_with(&rest), "{first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_was_applied_twice_is_named() {
    let dir = ledger().await;
    let relayed = |event: &WalletEvent| matches!(event, WalletEvent::CreditsApplied(_));
    let frame = records(dir.path(), relayed).pop().unwrap();
    let mut recorded = Recorded::of(dir.path());
    let entries = recorded.entries.get_mut(&frame.shard).unwrap();
    // Once more at the end of that shard's log, with balances that go on from where they are.
    let WalletEvent::CreditsApplied(mut again) = events(&frame.entry()).swap_remove(0) else { panic!("not relayed") };
    let last = entries.iter().rev().find(|entry| !events(entry).is_empty()).unwrap().clone();
    for credit in &mut again.credits {
        let mut balance = credit.balance;
        entries.iter().flat_map(events).for_each(|event| {
            event.for_each_change(|change| {
                if (change.user, change.asset) == (credit.user, credit.asset) {
                    balance = change.balance;
                }
            });
        });
        credit.balance = balance.checked_add(credit.amount).unwrap();
    }
    let RecordHeader::Events(mut header) = last.header else { panic!("it has events") };
    header.first = header.next();
    header.number += 1;
    let copy = LogEntry { position: last.position.after(), header: RecordHeader::Events(header), events: Bytes::new() };
    let (seq, up_to, source) = (header.first, again.sources[0].up_to, again.sources[0].source);
    let record = with_events(&copy, &[WalletEvent::CreditsApplied(again)]);
    entries.retain(|entry| entry.position <= last.position);
    entries.push(LogEntry::decode(copy.position, &record).unwrap());
    let report = recorded.audit(Err("left out".into())).await;
    let (shard, position) = (frame.shard, copy.position);
    let first = first_problem(&report);
    let start = format!("{shard} event {seq} at log position {position}: range of credits from wallet-{source}: ");
    assert!(first.starts_with(&start), "{first}");
    assert!(first.ends_with(&format!("found one up to event {up_to} again")), "{first}");
    let everywhere = report.problems.last().unwrap();
    assert!(everywhere.what.starts_with("I1 conserved"), "money was made of nothing: {:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_off_by_one_is_named() {
    let dir = ledger().await;
    let (shard, row) = {
        let store = open_store(&dir.path().join("store"));
        let shard = SHAPE.wallet_of(HOSTS[0]);
        let row = store.scan_balances(shard, None, 100).await.unwrap().into_iter().find(|row| row.user == HOSTS[0]);
        let mut row = row.unwrap();
        row.amount = row.amount.checked_add(Amount::new(1).unwrap()).unwrap();
        let checkpoint = store.checkpoint(shard).await.unwrap().unwrap();
        let batch = FlushBatch { balances: vec![row], ..FlushBatch::new(checkpoint) };
        store.write(batch).await.unwrap();
        (shard, row)
    };
    let report = audited(dir.path()).await;
    assert_eq!(report.problems_found, 1, "{:?}", report.problems);
    let problem = &report.problems[0];
    assert_eq!((problem.shard, problem.what.clone()), (shard, "stored balance of user 2001, asset 1".into()));
    let right = row.amount.get() - 1;
    assert_eq!(problem.expected, format!("{right} of event {}", row.seq));
    assert_eq!(problem.found, format!("{} of event {}", row.amount, row.seq));
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_log_is_audited_from_its_checkpoint() {
    let dir = ledger().await;
    // The store as it was half-way, and a log that begins there and goes on.
    let halfway = dir.path().join("halfway");
    copy_dir(&dir.path().join("store"), &halfway);
    let world = start(dir.path()).await;
    world.fill(2).await;
    world.stop().await;
    let store = open_store(&halfway);
    let mut recorded = Recorded::of(dir.path());
    recorded.truncate(&store).await;

    let report = recorded.audit(Ok(&store)).await;
    assert_eq!(report.problems, []);
    for shard in report.shards.iter().filter(|shard| shard.shard != ShardId::CONTROL) {
        assert_eq!(shard.start, Start::Checkpoint);
        assert!(shard.first > Seq::FIRST, "{shard:?}");
        assert!(shard.from > Position::START, "{shard:?}");
    }
    let coin = &report.assets[0];
    assert_eq!((coin.issued, coin.balances + coin.in_flight), (1_000_000, 1_000_000));

    // Without a store the first balance of each account is believed, and arithmetic goes on from there.
    let report = recorded.audit(Err("left out".into())).await;
    assert_eq!(report.problems, []);
    assert!(report.assets.is_empty());
    assert!(report.shards.iter().any(|shard| shard.start == Start::Middle && shard.events > 0), "{report:?}");

    let shard = SHAPE.wallet_of(VIEWERS[0]);
    let entries = recorded.entries.get_mut(&shard).unwrap();
    let is_gift = |event: &WalletEvent| matches!(event, WalletEvent::GiftSent(_));
    let place = entries.iter().rposition(|entry| events(entry).first().is_some_and(is_gift)).unwrap();
    let mut changed = events(&entries[place]);
    let WalletEvent::GiftSent(gift) = &mut changed[0] else { panic!("a gift was asked for") };
    gift.balance = Amount::ZERO;
    let position = entries[place].position;
    entries[place] = LogEntry::decode(position, &with_events(&entries[place], &changed)).unwrap();
    for store in [Ok(&store as &dyn Store), Err("left out".into())] {
        let report = recorded.audit(store).await;
        let problem = &report.problems[0];
        assert_eq!((problem.shard, problem.position, problem.found.as_str()), (shard, Some(position), "0"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_accepted_twice_is_found_with_little_memory_too() {
    let dir = ledger().await;
    let mut recorded = Recorded::of(dir.path());
    let gifts = records(dir.path(), |event| matches!(event, WalletEvent::GiftSent(_)));
    let later = gifts.last().unwrap();
    let of = |frame: &Frame| {
        let WalletEvent::GiftSent(gift) = events(&frame.entry()).swap_remove(0) else { panic!("not a gift") };
        gift
    };
    let earlier = gifts.iter().find(|frame| of(frame).said.sender == of(later).said.sender).unwrap();
    assert_ne!(earlier.position, later.position);
    let entries = recorded.entries.get_mut(&later.shard).unwrap();
    let place = entries.iter().position(|entry| entry.position.get() == later.position).unwrap();
    let mut changed = events(&entries[place]);
    if let WalletEvent::GiftSent(gift) = &mut changed[0] {
        gift.said.id = of(earlier).said.id;
    }
    entries[place] = LogEntry::decode(entries[place].position, &with_events(&entries[place], &changed)).unwrap();
    for ids_max in [4_000_000, 7] {
        let scope = Scope { shape: SHAPE, logs: &recorded, store: Err("left out".into()) };
        let report = audit(scope, AuditOptions { ids_max, ..AuditOptions::default() }).await.unwrap();
        assert_eq!(report.problems_found, 1, "{:?}", report.problems);
        let problem = &report.problems[0];
        assert!(problem.what.starts_with("I3 once: id "), "{problem}");
        assert_eq!(problem.position, Some(Position(later.position)));
        assert_eq!(problem.found, format!("also event {} of {}", header_of(earlier).0, earlier.shard));
    }
}
