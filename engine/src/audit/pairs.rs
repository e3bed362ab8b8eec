//! Pairs of shards: what a source sent against what a destination applied, credit by credit.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

use super::checkpoint::StoredBooks;
use super::report::{Place, Problems, RelayReport};
use crate::units::{AssetId, Seq, ShardId, UserId};
use crate::wallet::event::{CreditsApplied, RemoteCredit, SourceApplied};

/// A sum for each asset; none is kept at zero.
pub(super) type Sums = BTreeMap<AssetId, u128>;

pub(super) fn add(sums: &mut Sums, asset: AssetId, amount: u128) {
    if amount > 0 {
        *sums.entry(asset).or_default() += amount;
    }
}

/// What is known of a shard's relays before the first event that is read.
#[derive(Debug)]
pub(super) enum Before {
    /// Nothing had been sent or received.
    Nothing,
    Stored(StoredBooks),
    Unknown,
}

#[derive(Debug)]
pub(super) struct Pairs {
    pairs: HashMap<(u16, u16), Pair, foldhash::fast::RandomState>,
    shards: Vec<Side>,
    pub report: RelayReport,
}

#[derive(Debug)]
struct Side {
    before: Before,
    /// All credits from this event on are read.
    known_from: Seq,
}

#[derive(Debug)]
struct Pair {
    /// Sent, read, and not received.
    pending: VecDeque<Pending>,
    /// The source's running total before what is pending, and after; `None` when it cannot be known.
    taken: Option<Sums>,
    sent: Option<Sums>,
    sent_up_to: Seq,
    /// How far the destination is.
    watermark: Option<Seq>,
    received: Option<Sums>,
    /// Only the first problem of a pair is told; the others follow from it.
    is_disputed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    seq: Seq,
    credit: RemoteCredit,
}

impl Pairs {
    pub fn new(befores: Vec<(Before, Seq)>) -> Pairs {
        let shards = befores.into_iter().map(|(before, known_from)| Side { before, known_from }).collect();
        Pairs { pairs: HashMap::default(), shards, report: RelayReport::default() }
    }

    /// The first event that is read of a shard whose log begins somewhere.
    pub fn begins(&mut self, source: u16, first: Seq) {
        let side = &mut self.shards[usize::from(source)];
        side.known_from = side.known_from.min(first);
    }

    fn pair(&mut self, source: u16, destination: u16) -> &mut Pair {
        let shards = &self.shards;
        self.pairs.entry((source, destination)).or_insert_with(|| {
            let (taken, sent_up_to) = match &shards[usize::from(source)].before {
                Before::Nothing => (Some(Sums::new()), Seq::NONE),
                Before::Stored(books) => books.sent_to(destination),
                Before::Unknown => (None, Seq::NONE),
            };
            let (received, watermark) = match &shards[usize::from(destination)].before {
                Before::Nothing => (Some(Sums::new()), Some(Seq::NONE)),
                Before::Stored(books) => {
                    let (received, watermark) = books.received_from(source);
                    (received, Some(watermark))
                }
                Before::Unknown => (None, None),
            };
            let sent = taken.clone();
            Pair { pending: VecDeque::new(), taken, sent, sent_up_to, watermark, received, is_disputed: false }
        })
    }

    /// A credit that its source's checkpoint counts already, read again because it may not have been received.
    pub fn resend(&mut self, source: u16, destination: u16, seq: Seq, credit: RemoteCredit) -> Result<(), Sums> {
        let pair = self.pair(source, destination);
        let amount = u128::from(credit.amount.get());
        if let Some(taken) = &mut pair.taken {
            let before = taken.clone();
            let total = taken.entry(credit.asset).or_default();
            *total = total.checked_sub(amount).ok_or(before)?;
            taken.retain(|_, sum| *sum > 0);
        }
        pair.pending.push_back(Pending { seq, credit });
        Ok(())
    }

    pub fn send(&mut self, source: u16, destination: u16, seq: Seq, credit: RemoteCredit) {
        let pair = self.pair(source, destination);
        pair.sent_up_to = seq;
        if let Some(sent) = &mut pair.sent {
            add(sent, credit.asset, u128::from(credit.amount.get()));
        }
        if pair.watermark.is_some_and(|watermark| seq <= watermark) {
            // The destination had it before it was read.
            if let Some(taken) = &mut pair.taken {
                add(taken, credit.asset, u128::from(credit.amount.get()));
            }
            return;
        }
        pair.pending.push_back(Pending { seq, credit });
    }

    /// What the source sent in all, and the last event of it.
    pub fn sent(&self, source: u16, destination: u16) -> Option<(Sums, Seq)> {
        match self.pairs.get(&(source, destination)) {
            Some(pair) => Some((pair.sent.clone()?, pair.sent_up_to)),
            None => Some((Sums::new(), Seq::NONE)),
        }
    }

    /// What the destination received in all, and how far it is.
    pub fn received(&self, source: u16, destination: u16) -> Option<(Sums, Seq)> {
        match self.pairs.get(&(source, destination)) {
            Some(pair) => Some((pair.received.clone()?, pair.watermark?)),
            None => Some((Sums::new(), Seq::NONE)),
        }
    }

    /// Takes what a destination applied, which its sources' logs have been read for.
    pub fn apply(&mut self, at: Place, applied: &CreditsApplied, last_of: &[Seq], problems: &mut Problems) {
        let mut accounts: BTreeMap<(UserId, AssetId), u128> = BTreeMap::new();
        let mut is_complete = true;
        for source in &applied.sources {
            let Some(last) = last_of.get(usize::from(source.source)) else {
                problems.add(at, "source of credits", format_args!("one of {} shards", last_of.len()), source.source);
                return;
            };
            is_complete &= self.range(at, source, *last, &mut accounts, problems);
        }
        let mut told: BTreeMap<(UserId, AssetId), u128> = BTreeMap::new();
        for credit in &applied.credits {
            *told.entry((credit.user, credit.asset)).or_default() += u128::from(credit.amount.get());
        }
        let mut sums = Sums::new();
        let parts = applied.sources.iter().flat_map(|source| source.sums.iter());
        parts.for_each(|(asset, sum)| add(&mut sums, *asset, u128::from(sum.get())));
        let mut credited = Sums::new();
        told.iter().for_each(|((_, asset), amount)| add(&mut credited, *asset, *amount));
        if credited != sums {
            problems.add(at, "sum of relayed credits per asset", show(&sums), show(&credited));
        } else if is_complete && accounts != told {
            let users = accounts.keys().chain(told.keys());
            let differs = users.filter(|key| accounts.get(*key) != told.get(*key)).min();
            if let Some(key @ (user, asset)) = differs {
                let (sent, got) = (accounts.get(key).unwrap_or(&0), told.get(key).unwrap_or(&0));
                problems.add(at, format_args!("relayed credit to user {user}, asset {asset}"), sent, got);
            }
        }
    }

    /// One range of one source. True when every credit in it is known.
    fn range(
        &mut self,
        at: Place,
        part: &SourceApplied,
        last: Seq,
        accounts: &mut BTreeMap<(UserId, AssetId), u128>,
        problems: &mut Problems,
    ) -> bool {
        let (source, destination) = (ShardId::wallet(part.source), at.shard);
        let known_from = self.shards[usize::from(part.source)].known_from;
        let pair = self.pair(part.source, destination.index);
        let was = pair.watermark;
        let mut tell = |pair: &mut Pair, what: &str, expected: String, found: String| {
            if !std::mem::replace(&mut pair.is_disputed, true) {
                problems.add(at, format_args!("{what} {source}"), expected, found);
            }
        };
        if let Some(watermark) = was.filter(|watermark| part.up_to <= *watermark) {
            let what = "range of credits from";
            tell(pair, what, format!("one after event {watermark}"), format!("one up to event {} again", part.up_to));
        }
        if part.up_to > last {
            tell(pair, "end of credits from", format!("at most its last event {last}"), part.up_to.to_string());
        }
        pair.drop_received(known_from);
        let sent = pair.take(part.up_to, accounts);
        let mut told = Sums::new();
        part.sums.iter().for_each(|(asset, sum)| add(&mut told, *asset, u128::from(sum.get())));
        if let Some(received) = &mut pair.received {
            told.iter().for_each(|(asset, sum)| add(received, *asset, *sum));
        }
        pair.watermark = Some(was.map_or(part.up_to, |watermark| watermark.max(part.up_to)));
        let is_complete = was.is_some_and(|watermark| watermark.next() >= known_from);
        if is_complete && sent != told {
            let what = format!("sum of events {}..={} of", was.unwrap_or_default().next(), part.up_to);
            tell(pair, &what, show(&sent), show(&told));
        }
        let is_reached = part.up_to.next() >= known_from;
        if is_reached
            && let (Some(taken), Some(received)) = (&pair.taken, &pair.received)
            && taken != received
        {
            let (sent, received) = (show(taken), show(received));
            tell(pair, "running total of", sent, received);
        }
        let is_disputed = pair.is_disputed;
        if is_complete {
            self.report.ranges += 1;
        } else {
            self.report.before_log += 1;
        }
        is_complete && !is_disputed
    }

    /// What is in flight at the end; every pair must agree about what is not.
    pub fn finish(&mut self, problems: &mut Problems) -> Sums {
        let mut in_flight = Sums::new();
        self.add_quiet();
        let mut keys: Vec<_> = self.pairs.keys().copied().collect();
        keys.sort_unstable();
        for (source, destination) in keys {
            let known_from = self.shards[usize::from(source)].known_from;
            let pair = self.pair(source, destination);
            pair.drop_received(known_from);
            if !pair.is_disputed
                && let (Some(taken), Some(received)) = (&pair.taken, &pair.received)
                && taken != received
            {
                let what = format!("total from wallet-{source} up to event {}", pair.watermark.unwrap_or_default());
                problems.add(Place::of(ShardId::wallet(destination)), what, show(taken), show(received));
            }
            for pending in &pair.pending {
                add(&mut in_flight, pending.credit.asset, u128::from(pending.credit.amount.get()));
            }
            let waiting = pair.pending.len() as u64;
            self.report.in_flight += waiting;
        }
        in_flight
    }
}

impl Pairs {
    /// Pairs that only the checkpoints know of, since nothing went between them later.
    fn add_quiet(&mut self) {
        let count = u16::try_from(self.shards.len()).expect("a ledger has at most 4096 shards");
        let mut quiet = Vec::new();
        for (index, side) in (0..).zip(&self.shards) {
            if let Before::Stored(books) = &side.before {
                quiet.extend((0..count).filter(|to| books.sent_to(*to).1 > Seq::NONE).map(|to| (index, to)));
                quiet.extend(
                    (0..count).filter(|from| books.received_from(*from).1 > Seq::NONE).map(|from| (from, index)),
                );
            }
        }
        for (source, destination) in quiet {
            self.pair(source, destination);
        }
    }
}

impl Pair {
    /// Forgets what the destination had before it was read.
    fn drop_received(&mut self, known_from: Seq) {
        if let Some(watermark) = self.watermark.filter(|watermark| watermark.next() >= known_from) {
            self.take(watermark, &mut BTreeMap::new());
        }
    }

    fn take(&mut self, up_to: Seq, accounts: &mut BTreeMap<(UserId, AssetId), u128>) -> Sums {
        let mut sums = Sums::new();
        while let Some(Pending { credit, .. }) = self.pending.pop_front_if(|pending| pending.seq <= up_to) {
            let amount = u128::from(credit.amount.get());
            add(&mut sums, credit.asset, amount);
            *accounts.entry((credit.user, credit.asset)).or_default() += amount;
            if let Some(taken) = &mut self.taken {
                add(taken, credit.asset, amount);
            }
        }
        sums
    }
}

pub(super) fn show(sums: &Sums) -> String {
    if sums.is_empty() {
        return "nothing".into();
    }
    let parts: Vec<_> = sums.iter().map(|(asset, sum)| format!("{sum} of asset {asset}")).collect();
    parts.join(", ")
}
