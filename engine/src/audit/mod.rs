//! An independent audit: folds the logs of all shards again, by arithmetic of its own, and compares.
//!
//! Every balance in every event, every gift's debit with its credits, every credit with what arrived on the other shard,
//! every id, and the store's rows: whatever differs is named with shard, event and place in the log. Memory is bounded by
//! the number of accounts and by what was in flight between shards at one time, not by the number of events.
//!
//! Shards are read side by side in order of time, each only as far as the credits that others received of it ask for.

pub mod account;
mod checkpoint;
mod cursor;
mod fold;
mod ids;
mod pairs;
mod report;

use std::collections::{BTreeMap, HashMap};

use self::checkpoint::{Receipts, StoredBooks};
use self::cursor::{Chain, Cursor, Step};
use self::fold::{Totals, WalletFold};
use self::ids::Ids;
use self::pairs::{Before, Pairs, Sums};
pub use self::report::{AssetReport, Problem, RelayReport, Report, ShardReport, Start, StoreAudit};
use self::report::{Place, Problems};
use crate::catalog::CatalogDraft;
use crate::codec;
use crate::control::{CatalogSet, ControlEvent, ControlState};
use crate::fold::Fold;
use crate::ledger::LedgerShape;
use crate::log::{LogError, Logs};
use crate::store::{Checkpoint, Store, StoreError, StoredEvent};
use crate::units::{AssetId, Position, Seq, ShardId, Time};
use crate::wallet::event::WalletEvent;

/// What is audited. Nobody may write to the store meanwhile; the logs may grow.
pub struct Scope<'a> {
    pub shape: LedgerShape,
    pub logs: &'a dyn Logs,
    /// Or why it cannot be asked.
    pub store: Result<&'a dyn Store, String>,
}

#[derive(Clone, Copy, Debug)]
pub struct AuditOptions {
    /// Ids in memory at once; beyond, the logs are read once more for each slice. Default: 4,000,000, about 200 MB.
    pub ids_max: usize,
    /// Problems that are listed; all are counted. Default: 100.
    pub problems_max: usize,
    /// How much of each shard's log is read at once. Default: 256 KiB.
    pub read_bytes: usize,
    /// Look up the receipt of every n-th event; 1 is all of them. Default: 1.
    pub receipts_every: u64,
}

impl Default for AuditOptions {
    fn default() -> Self {
        AuditOptions { ids_max: 4_000_000, problems_max: 100, read_bytes: 256 << 10, receipts_every: 1 }
    }
}

/// Why an audit could not be done. What it finds is not an error but a [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Folds all the logs of a ledger and compares them with themselves, with each other and with the store.
pub async fn audit(scope: Scope<'_>, options: AuditOptions) -> Result<Report, AuditError> {
    let mut problems = Problems::new(options.problems_max);
    let mut wallets = Vec::new();
    let mut befores = Vec::new();
    for shard in scope.shape.wallet_shards() {
        let (wallet, before) = open(&scope, options, shard, &mut problems).await?;
        befores.push((before, wallet.known_from));
        wallets.push(wallet);
    }
    let mut audit = Audit {
        pairs: Pairs::new(befores),
        ids: Ids::new(options.ids_max),
        last_of: wallets.iter().map(|wallet| wallet.cursor.last()).collect(),
        scope,
        options,
        balances: wallets.iter().map(|wallet| wallet.rows).sum(),
        checkpoints: wallets.iter().filter(|wallet| wallet.start == Start::Checkpoint).count() as u64,
        wallets,
        problems,
    };
    for index in 0..audit.wallets.len() {
        audit.read_again(index).await?;
    }
    audit.fold_all().await?;
    audit.ids_again().await?;
    audit.finish().await
}

struct Audit<'a> {
    scope: Scope<'a>,
    options: AuditOptions,
    wallets: Vec<Wallet>,
    pairs: Pairs,
    ids: Ids,
    /// By shard: the last event that was taken.
    last_of: Vec<Seq>,
    problems: Problems,
    balances: u64,
    checkpoints: u64,
}

/// One wallet shard under audit.
struct Wallet {
    shard: ShardId,
    start: Start,
    cursor: Cursor<WalletEvent>,
    fold: WalletFold,
    checkpoint: Option<Checkpoint>,
    receipts: Receipts,
    /// Every credit from this event on is read.
    known_from: Seq,
    first: Seq,
    from: Position,
    /// Of the store, that the proof begins with.
    rows: u64,
}

async fn open(
    scope: &Scope<'_>,
    options: AuditOptions,
    shard: ShardId,
    problems: &mut Problems,
) -> Result<(Wallet, Before), AuditError> {
    let log = scope.logs.shard(shard);
    let checkpoint = match &scope.store {
        Ok(store) => store.checkpoint(shard).await?,
        Err(_) => None,
    };
    let kept_from = match log.read(Position::START, 1).await {
        Err(LogError::Truncated { first, .. }) => Some(first),
        Err(LogError::Damaged { .. }) | Ok(_) => None,
        Err(error) => return Err(error.into()),
    };
    let beginning = Chain { fold: Fold::default(), is_anchored: true, time: Time::ZERO };
    let mut fold = WalletFold::new(shard, scope.shape, kept_from.is_some() && checkpoint.is_none());
    let mut rows = 0;
    let (start, position, chain, known_from, before) = match (kept_from, &checkpoint, &scope.store) {
        (None, _, _) => (Start::Beginning, Position::START, beginning, Seq::FIRST, Before::Nothing),
        (Some(_), Some(at), Ok(store)) => {
            let before = match StoredBooks::decode(&at.state) {
                Ok(books) => {
                    fold.totals = books.totals();
                    Before::Stored(books)
                }
                Err(error) => {
                    problems.add(Place::of(shard), "state of the checkpoint", "sums that can be read", error);
                    Before::Unknown
                }
            };
            rows = checkpoint::load_balances(*store, shard, &mut fold, at, problems).await?;
            let place = Place { position: Some(at.position), ..Place::of(shard) };
            fold.check_adopted(place, problems);
            let chain = Chain { fold: at.relay_fold, is_anchored: true, time: Time::ZERO };
            (Start::Checkpoint, at.relay_position, chain, at.relay_fold.next, before)
        }
        (Some(first), _, _) => {
            let chain = Chain { is_anchored: false, ..beginning };
            (Start::Middle, first, chain, Seq(u64::MAX), Before::Unknown)
        }
    };
    let mut cursor = Cursor::new(shard, log, options.read_bytes, position, chain);
    cursor.stop_at = checkpoint.as_ref().map(|checkpoint| checkpoint.position);
    let first = chain.fold.next;
    let receipts = Receipts::default();
    Ok((Wallet { shard, start, cursor, fold, checkpoint, receipts, known_from, first, from: position, rows }, before))
}

impl Audit<'_> {
    /// Before the checkpoint that a truncated log is audited from, events are read for what may be in flight of them.
    async fn read_again(&mut self, index: usize) -> Result<(), AuditError> {
        let wallet = &mut self.wallets[index];
        if wallet.start != Start::Checkpoint {
            return Ok(());
        }
        let (source, shape) = (wallet.shard, self.scope.shape);
        loop {
            match wallet.cursor.load(&mut self.problems).await? {
                Step::Stopped => break,
                Step::Record => {
                    let Some(record) = wallet.cursor.next.take() else { continue };
                    let mut seq = record.header.first;
                    for (event, _) in &record.events {
                        event.for_each_remote(|credit| {
                            let destination = shape.wallet_of(credit.user).index;
                            if let Err(sent) = self.pairs.resend(source.index, destination, seq, credit) {
                                let what = format_args!("total sent to wallet-{destination} before the checkpoint");
                                let at = Place::at(source, seq, record.position);
                                self.problems.add(at, what, "at least this credit", pairs::show(&sent));
                            }
                        });
                        seq = seq.next();
                    }
                }
                Step::End => {
                    self.problems.add_lost(wallet.shard, wallet.cursor.position, wallet.checkpoint.as_ref());
                    break;
                }
            }
        }
        if let Some(at) = &wallet.checkpoint {
            if wallet.cursor.chain.fold != at.fold {
                let place = Place { position: Some(at.position), ..Place::of(wallet.shard) };
                let (expected, found) = (at.fold.next, wallet.cursor.chain.fold.next);
                self.problems.add(place, "next event at the checkpoint", expected, found);
            }
            wallet.cursor.chain = Chain { fold: at.fold, is_anchored: true, time: at.time };
        }
        (wallet.cursor.records, wallet.cursor.events) = (0, 0);
        wallet.first = wallet.cursor.chain.fold.next;
        wallet.from = wallet.cursor.position;
        self.last_of[index] = wallet.cursor.last();
        Ok(())
    }

    /// Takes every record, about in order of time, and never one before what it rests on.
    async fn fold_all(&mut self) -> Result<(), AuditError> {
        let mut heap = std::collections::BinaryHeap::new();
        for index in 0..self.wallets.len() {
            if let Some(time) = self.next_time(index).await? {
                heap.push(std::cmp::Reverse((time, index)));
            }
        }
        while let Some(std::cmp::Reverse((time, index))) = heap.pop() {
            match self.next_time(index).await? {
                // It was taken ahead of its turn, because another shard's record rests on it.
                Some(now) if now != time => heap.push(std::cmp::Reverse((now, index))),
                Some(_) => {
                    self.take_with_sources(index).await?;
                    if let Some(next) = self.next_time(index).await? {
                        heap.push(std::cmp::Reverse((next, index)));
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Time of the shard's next record; compares with the store on the way when the checkpoint is reached.
    async fn next_time(&mut self, index: usize) -> Result<Option<Time>, AuditError> {
        loop {
            let wallet = &mut self.wallets[index];
            match wallet.cursor.load(&mut self.problems).await? {
                Step::Record => return Ok(wallet.cursor.next.as_ref().map(|record| record.header.time)),
                Step::Stopped => self.compare_checkpoint(index).await?,
                Step::End => return Ok(None),
            }
        }
    }

    async fn take_with_sources(&mut self, index: usize) -> Result<(), AuditError> {
        let mut stack = vec![index];
        while let Some(&top) = stack.last() {
            let wanted = self.source_behind(top);
            // A circle cannot be: of two records that rest on each other neither could have been written.
            let is_open = wanted.is_some_and(|wanted| !stack.contains(&wanted));
            match wanted.filter(|_| is_open) {
                Some(source) if self.next_time(source).await?.is_some() => stack.push(source),
                Some(_) | None => {
                    self.take(top).await?;
                    stack.pop();
                    self.next_time(top).await?;
                }
            }
        }
        Ok(())
    }

    /// A source that must be read further before this shard's next record.
    fn source_behind(&self, index: usize) -> Option<usize> {
        let record = self.wallets[index].cursor.next.as_ref()?;
        let applied = record.events.iter().filter_map(|(event, _)| match event {
            WalletEvent::CreditsApplied(applied) => Some(applied),
            WalletEvent::GiftSent(_)
            | WalletEvent::Recharged(_)
            | WalletEvent::Transferred(_)
            | WalletEvent::TransactionBound(_) => None,
        });
        let mut sources = applied.flat_map(|applied| applied.sources.iter());
        let behind = sources.find(|part| {
            let last = self.last_of.get(usize::from(part.source));
            usize::from(part.source) != index && last.is_some_and(|last| *last < part.up_to)
        });
        let behind = usize::from(behind?.source);
        // Read to its end it cannot go further; what that means is told when the record is taken.
        (self.wallets[behind].cursor.next.is_some()).then_some(behind)
    }

    async fn take(&mut self, index: usize) -> Result<(), AuditError> {
        let wallet = &mut self.wallets[index];
        let Some(record) = wallet.cursor.next.take() else { return Ok(()) };
        let shard = wallet.shard;
        self.pairs.begins(shard.index, record.header.first);
        if wallet.start == Start::Middle && wallet.cursor.records == 1 {
            wallet.first = record.header.first;
        }
        let flushed = wallet.checkpoint.as_ref().filter(|_| wallet.start == Start::Beginning);
        let flushed = flushed.map_or(Seq::NONE, |at| Seq(at.fold.next.get().saturating_sub(1)));
        let mut seq = record.header.first;
        for (event, bytes) in &record.events {
            let at = Place::at(shard, seq, record.position);
            let problems = &mut self.problems;
            if let WalletEvent::CreditsApplied(applied) = event {
                self.pairs.apply(at, applied, &self.last_of, problems);
            }
            wallet.fold.event(at, event, &mut self.pairs, problems);
            self.ids.note(shard, seq, event, |what, shard, first| {
                problems.add(
                    at,
                    format_args!("I3 once: {what}"),
                    "once",
                    format_args!("also event {first} of {shard}"),
                );
            });
            if let Some(key) = event.key()
                && seq <= flushed
                && seq.get().is_multiple_of(self.options.receipts_every)
            {
                let stored = StoredEvent { shard, seq, at: record.header.time, event: bytes.to_vec() };
                wallet.receipts.want(at, key, stored);
            }
            self.last_of[index] = seq;
            seq = seq.next();
            if wallet.receipts.is_full()
                && let Ok(store) = &self.scope.store
            {
                wallet.receipts.compare(*store, shard, problems).await?;
            }
        }
        Ok(())
    }

    async fn compare_checkpoint(&mut self, index: usize) -> Result<(), AuditError> {
        let wallet = &mut self.wallets[index];
        let (Ok(store), Some(checkpoint)) = (&self.scope.store, &wallet.checkpoint) else { return Ok(()) };
        let at = Place { shard: wallet.shard, seq: Some(wallet.cursor.last()), position: Some(checkpoint.position) };
        let (chain, shards) = (wallet.cursor.chain, self.scope.shape.wallet_shards);
        let (fold, problems) = (&mut wallet.fold, &mut self.problems);
        let chain = (chain.fold, chain.time);
        self.balances +=
            checkpoint::compare(*store, checkpoint, at, chain, fold, &self.pairs, shards, problems).await?;
        self.checkpoints += 1;
        Ok(())
    }

    /// The logs once more for each slice of the ids that did not fit.
    async fn ids_again(&mut self) -> Result<(), AuditError> {
        while self.ids.next_pass() {
            for wallet in &self.wallets {
                let log = self.scope.logs.shard(wallet.shard);
                let chain = Chain {
                    fold: Fold { epoch: None, next: wallet.first },
                    is_anchored: wallet.start == Start::Beginning,
                    time: Time::ZERO,
                };
                let mut cursor =
                    Cursor::<WalletEvent>::new(wallet.shard, log, self.options.read_bytes, wallet.from, chain);
                // Whatever is wrong with the records has been told.
                let mut told = Problems::new(0);
                while cursor.load(&mut told).await? == Step::Record && cursor.last() <= wallet.cursor.last() {
                    let Some(record) = cursor.next.take() else { break };
                    for (seq, (event, _)) in (record.header.first.get()..).zip(&record.events) {
                        let (at, problems) = (Place::at(wallet.shard, Seq(seq), record.position), &mut self.problems);
                        self.ids.note(wallet.shard, Seq(seq), event, |what, shard, first| {
                            let found = format!("also event {first} of {shard}");
                            problems.add(at, format_args!("I3 once: {what}"), "once", found);
                        });
                    }
                }
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Report, AuditError> {
        let mut shards = Vec::new();
        let mut totals: BTreeMap<AssetId, Totals> = BTreeMap::new();
        let mut receipts = 0;
        for wallet in &mut self.wallets {
            if let Ok(store) = &self.scope.store {
                wallet.receipts.compare(*store, wallet.shard, &mut self.problems).await?;
            }
            receipts += wallet.receipts.compared;
            if wallet.cursor.stop_at.is_some() && wallet.start == Start::Beginning {
                self.problems.add_lost(wallet.shard, wallet.cursor.position, wallet.checkpoint.as_ref());
            }
            wallet.fold.check_ahead(wallet.cursor.last(), &mut self.problems);
            if wallet.start != Start::Middle {
                wallet.fold.check_totals(Place::of(wallet.shard), &mut self.problems);
            }
            for (asset, part) in &wallet.fold.totals {
                let sum = totals.entry(*asset).or_default();
                sum.issued += part.issued;
                sum.burned += part.burned;
                sum.balances += part.balances;
            }
            shards.push(shard_report(wallet.shard, wallet.start, wallet.from, wallet.first, &wallet.cursor));
            if let Some(report) = shards.last_mut() {
                report.accounts = wallet.fold.accounts();
            }
        }
        let in_flight = self.pairs.finish(&mut self.problems);
        let (control, names) = audit_control(&self.scope, self.options, &mut self.problems).await?;
        shards.extend(control);
        let knows_sums = self.wallets.iter().all(|wallet| wallet.start != Start::Middle);
        let assets = if knows_sums { self.assets(&totals, &in_flight, &names) } else { Vec::new() };
        let store = match &self.scope.store {
            Ok(_) => StoreAudit::Compared { balances: self.balances, receipts, checkpoints: self.checkpoints },
            Err(why) => StoreAudit::NotCompared(why.clone()),
        };
        Ok(Report {
            is_clean: self.problems.found == 0,
            store,
            shards,
            assets,
            ids: self.ids.count,
            relays: self.pairs.report,
            problems_found: self.problems.found,
            problems: self.problems.list,
        })
    }

    /// I1 conserved, over all shards: issued − burned = Σ balances + in flight.
    fn assets(
        &mut self,
        totals: &BTreeMap<AssetId, Totals>,
        in_flight: &Sums,
        names: &HashMap<AssetId, String>,
    ) -> Vec<AssetReport> {
        let mut assets = Vec::new();
        for (asset, sum) in totals {
            let in_flight = in_flight.get(asset).copied().unwrap_or_default();
            let (issued, burned, balances) = (sum.issued, sum.burned, sum.balances);
            if issued != burned + balances + in_flight {
                let what = format_args!("I1 conserved, asset {asset}, over all shards: issued");
                let expected = format!("burned + balances + in flight = {}", burned + balances + in_flight);
                self.problems.add(Place::of(ShardId::wallet(0)), what, expected, issued);
            }
            let name = names.get(asset).cloned();
            assets.push(AssetReport { asset: *asset, name, issued, burned, balances, in_flight });
        }
        assets
    }
}

impl Problems {
    fn add_lost(&mut self, shard: ShardId, end: Position, checkpoint: Option<&Checkpoint>) {
        let Some(checkpoint) = checkpoint else { return };
        let at = Place { shard, seq: Some(checkpoint.fold.next), position: Some(end) };
        let expected = format!("to reach the store's checkpoint at position {}", checkpoint.position);
        self.add(at, "end of the log", expected, "it ends here: the log lost records");
    }
}

fn shard_report<E: bincode::Decode<()>>(
    shard: ShardId,
    start: Start,
    from: Position,
    first: Seq,
    cursor: &Cursor<E>,
) -> ShardReport {
    ShardReport {
        shard,
        start,
        from,
        to: cursor.position,
        first,
        last: cursor.last(),
        time: cursor.chain.time,
        events: cursor.events,
        records: cursor.records,
        skipped: cursor.skipped,
        accounts: 0,
    }
}

/// The control shard holds no money: its chain is checked, and what it calls the assets.
async fn audit_control(
    scope: &Scope<'_>,
    options: AuditOptions,
    problems: &mut Problems,
) -> Result<(Option<ShardReport>, HashMap<AssetId, String>), AuditError> {
    let shard = ShardId::CONTROL;
    let log = scope.logs.shard(shard);
    let checkpoint = match &scope.store {
        Ok(store) => store.checkpoint(shard).await?,
        Err(_) => None,
    };
    let mut latest: Option<CatalogSet> = None;
    let (start, from) = match log.read(Position::START, 1).await {
        Err(LogError::Truncated { first, .. }) => match &checkpoint {
            Some(at) => (Start::Checkpoint, at.position),
            None => (Start::Middle, first),
        },
        Err(LogError::Damaged { .. }) | Ok(_) => (Start::Beginning, Position::START),
        Err(error) => return Err(error.into()),
    };
    let mut chain = Chain { fold: Fold::default(), is_anchored: start != Start::Middle, time: Time::ZERO };
    if let (Start::Checkpoint, Some(at)) = (start, &checkpoint) {
        (chain.fold, chain.time) = (at.fold, at.time);
        let state = codec::decode::<ControlState>(&at.state).unwrap_or_else(|error| {
            problems.add(Place::of(shard), "state of the checkpoint", "catalog and keys that can be read", error);
            ControlState::Empty
        });
        (latest, _, _) = state.into_parts();
    }
    let first = chain.fold.next;
    let mut cursor = Cursor::<ControlEvent>::new(shard, log, options.read_bytes, from, chain);
    while cursor.load(problems).await? == Step::Record {
        let Some(record) = cursor.next.take() else { break };
        for (seq, (event, _)) in (record.header.first.get()..).zip(record.events) {
            let set = match event {
                ControlEvent::CatalogSet(set) => set,
                ControlEvent::KeyCreated(_) | ControlEvent::KeyRevoked(_) | ControlEvent::RoomSet(_) => continue,
            };
            let at = Place::at(shard, Seq(seq), record.position);
            let expected = latest.as_ref().map(|latest| latest.version.get() + 1);
            let expected = expected.or((start == Start::Beginning).then_some(1));
            if expected.is_some_and(|expected| expected != set.version.get()) {
                problems.add(at, "version of the catalog", expected.unwrap_or_default(), set.version);
            }
            latest = Some(set);
        }
    }
    let draft = latest.and_then(|set| serde_json::from_slice::<CatalogDraft>(&set.draft).ok());
    let names = draft.map(|draft| draft.assets.into_iter().map(|asset| (asset.id, asset.name)).collect());
    Ok((Some(shard_report(shard, start, from, first, &cursor)), names.unwrap_or_default()))
}
