//! The source's side of its relays: what was sent to each other shard and is not acknowledged yet.
//!
//! Nothing in here is believed: after a start it is made again from the log, and each destination is asked where it stands.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::ledger::LedgerShape;
use crate::per_asset::PerAsset;
use crate::relay::{Acknowledged, CreditPart, RunningTotal};
use crate::units::{Amount, AssetId, Seq, ShardId, Time, UserId};
use crate::wallet::books::Books;
use crate::wallet::event::{RemoteCredit, WalletEvent};

/// Most accounts in one part; beyond, an event's credits begin a new one.
pub const PART_CREDITS_MAX: usize = 4_096;
/// Parts on their way to one destination at once. More wait, merged.
const SENT_MAX: usize = 32;
/// Without an answer for this long, everything unacknowledged is sent again.
pub const RESEND_MILLIS: u64 = 500;

/// Source and destination disagree about what went between them: something was lost or doubled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{source_shard} and {destination} disagree at event {watermark}: sent {sent:?}, received {received:?}; \
     something between them was lost or doubled"
)]
pub struct Disagreement {
    pub source_shard: ShardId,
    pub destination: ShardId,
    pub watermark: Seq,
    pub sent: RunningTotal,
    pub received: RunningTotal,
}

#[derive(Debug)]
pub struct Outbox {
    source: u16,
    lanes: Vec<Lane>,
    /// Lanes with an open part.
    touched: Vec<u16>,
    /// Lanes with cut parts that are not durable yet.
    uncertain: VecDeque<u16>,
    /// What is noted now was noted before by an owner that is gone.
    is_replaying: bool,
}

/// One destination.
#[derive(Debug, Default)]
struct Lane {
    open: OpenPart,
    /// Where the next part begins, and the running total there.
    end: Seq,
    total: RunningTotal,
    /// Cut, but the record is not durable yet.
    cut: VecDeque<Part>,
    /// Durable, waiting for room among the sent.
    held: VecDeque<Part>,
    /// Handed on and not acknowledged.
    sent: VecDeque<Part>,
    acknowledged: Seq,
    acknowledged_total: RunningTotal,
    /// False after a start until the destination has said where it stands.
    is_anchored: bool,
    /// When something was last sent or acknowledged.
    progress: Time,
}

#[derive(Debug, Default)]
struct OpenPart {
    first: Option<Seq>,
    up_to: Seq,
    sums: PerAsset<Amount>,
    accounts: HashMap<(UserId, AssetId), Amount, foldhash::fast::FixedState>,
}

#[derive(Clone, Debug)]
struct Part {
    /// First event with a credit in it.
    first: Seq,
    /// Since when it has been durable, as far as this process knows.
    since: Time,
    /// An earlier owner may have sent it: the destination may stand at its end, so it is never merged with the next.
    is_replayed: bool,
    part: CreditPart,
}

/// Parts ready to go, with their destination.
pub type Outgoing = Vec<(u16, CreditPart)>;

impl Outbox {
    pub fn new(source: u16, shape: LedgerShape) -> Outbox {
        let lanes = (0..shape.wallet_shards).map(|_| Lane { is_anchored: true, ..Lane::default() }).collect();
        Outbox { source, lanes, touched: Vec::new(), uncertain: VecDeque::new(), is_replaying: false }
    }

    /// Notes what an event sends elsewhere.
    pub fn apply(&mut self, seq: Seq, event: &WalletEvent, shape: LedgerShape) {
        let (lanes, touched) = (&mut self.lanes, &mut self.touched);
        let mut is_large = false;
        event.for_each_remote(|credit| {
            let destination = shape.wallet_of(credit.user).index;
            let open = &mut lanes[usize::from(destination)].open;
            if open.first.is_none() {
                open.first = Some(seq);
                touched.push(destination);
            }
            open.add(seq, credit);
            is_large |= open.accounts.len() >= PART_CREDITS_MAX;
        });
        if is_large {
            self.cut();
        }
    }

    /// Ends the open parts: at the end of each record, so that a replay cuts at the same places.
    pub fn cut(&mut self) {
        for destination in self.touched.drain(..) {
            self.lanes[usize::from(destination)].cut(self.source);
            self.uncertain.push_back(destination);
        }
    }

    /// The log has everything up to `seq`: what was cut up to there may go.
    pub fn durable(&mut self, seq: Seq, now: Time) -> Outgoing {
        let mut outgoing = Vec::new();
        while let Some(&destination) = self.uncertain.front() {
            let lane = &mut self.lanes[usize::from(destination)];
            match lane.cut.front() {
                Some(part) if part.part.up_to > seq => break,
                Some(_) => {
                    let mut part = lane.cut.pop_front().expect("it was just looked at");
                    part.since = now;
                    part.is_replayed = self.is_replaying;
                    lane.hold(part);
                    lane.send(destination, now, &mut outgoing);
                }
                None => {}
            }
            self.uncertain.pop_front();
        }
        outgoing
    }

    /// A destination says where it stands.
    pub fn acknowledged(
        &mut self,
        destination: u16,
        answer: &Acknowledged,
        now: Time,
    ) -> Result<Outgoing, Box<Disagreement>> {
        let source = self.source;
        let lane = &mut self.lanes[usize::from(destination)];
        if lane.is_overtaken(answer) {
            return Ok(Vec::new());
        }
        lane.trim(answer).map_err(|sent| {
            Box::new(Disagreement {
                source_shard: ShardId::wallet(source),
                destination: ShardId::wallet(destination),
                watermark: answer.watermark,
                sent,
                received: answer.received.clone(),
            })
        })?;
        lane.progress = now;
        let mut outgoing = Vec::new();
        lane.send(destination, now, &mut outgoing);
        Ok(outgoing)
    }

    /// What has had no answer for too long, again; and questions to those who have not said where they stand.
    pub fn resend(&mut self, now: Time) -> Outgoing {
        if std::mem::take(&mut self.is_replaying) {
            self.lanes.iter_mut().for_each(|lane| lane.replayed(now));
        }
        let mut outgoing = Vec::new();
        for (destination, lane) in (0u16..).zip(&mut self.lanes) {
            // A clock that was set back must not keep anyone waiting until it is where it was.
            lane.progress = lane.progress.min(now);
            if lane.progress.plus_millis(RESEND_MILLIS) > now {
                continue;
            }
            if !lane.is_anchored {
                lane.progress = now;
                outgoing.push((destination, question(self.source)));
            } else if !lane.sent.is_empty() {
                lane.progress = now;
                outgoing.extend(lane.sent.iter().map(|part| (destination, part.part.clone())));
            }
        }
        outgoing
    }

    /// The first event that not everyone it went to has acknowledged.
    pub fn first_unsettled(&self) -> Option<Seq> {
        self.lanes.iter().filter_map(Lane::first_unsettled).min()
    }

    /// Parts that are durable and not acknowledged.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.held.len() + lane.sent.len()).sum()
    }

    /// Since when the oldest of them has been waiting.
    pub fn oldest(&self) -> Option<Time> {
        self.lanes.iter().filter_map(|lane| lane.sent.front().or(lane.held.front())).map(|part| part.since).min()
    }

    /// After a start: the events between the oldest unsettled one and the checkpoint were applied without their running
    /// totals; the checkpoint's totals say what those were. What comes now is still a replay, until [`Outbox::resend`].
    pub fn resume(&mut self, books: &Books) {
        self.is_replaying = true;
        self.cut();
        self.uncertain.clear();
        for (destination, lane) in (0u16..).zip(&mut self.lanes) {
            lane.resume(books, destination);
        }
    }
}

/// A part that covers nothing: its answer says where the destination stands.
fn question(source: u16) -> CreditPart {
    CreditPart {
        source,
        after: Seq::NONE,
        up_to: Seq::NONE,
        before: RunningTotal::default(),
        sums: PerAsset::default(),
        credits: Vec::new(),
    }
}

impl OpenPart {
    fn add(&mut self, seq: Seq, credit: RemoteCredit) {
        self.up_to = seq;
        add(self.sums.entry(credit.asset), credit.amount);
        add(self.accounts.entry((credit.user, credit.asset)).or_default(), credit.amount);
    }
}

impl Lane {
    fn cut(&mut self, source: u16) {
        let Some(first) = self.open.first.take() else { return };
        let mut credits: Vec<RemoteCredit> =
            self.open.accounts.drain().map(|((user, asset), amount)| RemoteCredit { user, asset, amount }).collect();
        credits.sort_unstable_by_key(|credit| (credit.user, credit.asset));
        let part = CreditPart {
            source,
            after: self.end,
            up_to: self.open.up_to,
            before: self.total.clone(),
            sums: std::mem::take(&mut self.open.sums),
            credits,
        };
        self.total = part.after_total();
        self.end = part.up_to;
        self.cut.push_back(Part { first, since: Time::ZERO, is_replayed: false, part });
    }

    /// Keeps a durable part, merged with the last one that has not been sent where that is small enough.
    fn hold(&mut self, part: Part) {
        let fits = |last: &&mut Part| {
            let is_small = last.part.credits.len() + part.part.credits.len() <= PART_CREDITS_MAX;
            is_small && !last.is_replayed && !part.is_replayed
        };
        match self.held.back_mut().filter(fits) {
            Some(last) => last.merge(part),
            None => self.held.push_back(part),
        }
    }

    fn send(&mut self, destination: u16, now: Time, outgoing: &mut Outgoing) {
        while self.is_anchored && self.sent.len() < SENT_MAX {
            let Some(part) = self.held.pop_front() else { return };
            if self.sent.is_empty() {
                self.progress = now;
            }
            outgoing.push((destination, part.part.clone()));
            self.sent.push_back(part);
        }
    }

    /// Whether the destination has said something later already: to this owner or, which the checkpoint shows, to one
    /// before it, whose answers may still be under way.
    fn is_overtaken(&self, answer: &Acknowledged) -> bool {
        let (known, total) = match self.held.front().filter(|_| !self.is_anchored) {
            Some(first) => (Seq(first.first.0 - 1), &first.part.before),
            None => (self.acknowledged, &self.acknowledged_total),
        };
        if self.is_anchored {
            return answer.watermark < known;
        }
        let is_within = |(asset, sum): (AssetId, &u128)| total.get(asset).is_some_and(|total| sum <= total);
        answer.watermark <= known && answer.received != *total && answer.received.iter().all(is_within)
    }

    /// Drops what the watermark covers, or tells what was sent where it should have been received.
    fn trim(&mut self, answer: &Acknowledged) -> Result<(), RunningTotal> {
        let (mut reached, mut total) = (self.acknowledged, self.acknowledged_total.clone());
        if let Some(first) = self.held.front().filter(|_| !self.is_anchored) {
            // What lies before the oldest part that was read again has been acknowledged before the restart.
            (reached, total) = (answer.watermark.min(Seq(first.first.0 - 1)), first.part.before.clone());
        }
        let is_covered = |part: &mut Part| part.part.up_to <= answer.watermark;
        // An owner before may have sent more than this one has: what is still held can be covered as well.
        while let Some(part) = self.sent.pop_front_if(is_covered).or_else(|| match self.sent.is_empty() {
            true => self.held.pop_front_if(is_covered),
            false => None,
        }) {
            (reached, total) = (part.part.up_to, part.part.after_total());
        }
        if reached != answer.watermark || total != answer.received {
            return Err(total);
        }
        if let Some(first) = self.held.front_mut().filter(|_| !self.is_anchored) {
            first.part.after = answer.watermark;
        }
        (self.acknowledged, self.acknowledged_total) = (reached, total);
        self.is_anchored = true;
        Ok(())
    }

    fn first_unsettled(&self) -> Option<Seq> {
        let oldest = self.sent.front().or(self.held.front()).or(self.cut.front());
        oldest.map(|part| part.first).or(self.open.first)
    }

    fn resume(&mut self, books: &Books, destination: u16) {
        let sent = books.sent_to(destination);
        // Going backwards from the checkpoint's total gives the total before each part.
        let mut total = sent.total.clone();
        for part in self.cut.iter_mut().rev() {
            for (asset, sum) in part.part.sums.iter() {
                *total.entry(asset) -= u128::from(sum.get());
            }
            part.is_replayed = true;
            part.part.before = total.iter().filter(|(_, sum)| **sum > 0).map(|(asset, sum)| (asset, *sum)).collect();
        }
        self.held = std::mem::take(&mut self.cut);
        (self.end, self.total) = (sent.up_to, sent.total.clone());
        (self.acknowledged, self.acknowledged_total) = (sent.up_to, sent.total.clone());
        self.is_anchored = false;
    }

    /// The replay is over. A destination to which nothing was ever sent need not be asked where it stands.
    fn replayed(&mut self, now: Time) {
        self.is_anchored |= self.end == Seq::NONE;
        self.held.iter_mut().for_each(|part| part.since = now);
    }
}

impl Part {
    fn merge(&mut self, next: Part) {
        debug_assert_eq!(self.part.up_to, next.part.after, "parts of one lane follow each other");
        self.part.up_to = next.part.up_to;
        for (asset, sum) in next.part.sums.iter() {
            add(self.part.sums.entry(asset), *sum);
        }
        self.part.credits = merged(std::mem::take(&mut self.part.credits), next.part.credits);
    }
}

/// Two sorted lists of credits as one, an account once.
pub fn merged(one: Vec<RemoteCredit>, other: Vec<RemoteCredit>) -> Vec<RemoteCredit> {
    let mut all = Vec::with_capacity(one.len() + other.len());
    all.extend(one);
    all.extend(other);
    all.sort_by_key(|credit| (credit.user, credit.asset));
    all.dedup_by(|next, kept| {
        let is_same = (next.user, next.asset) == (kept.user, kept.asset);
        if is_same {
            add(&mut kept.amount, next.amount);
        }
        is_same
    });
    all
}

fn add(sum: &mut Amount, amount: Amount) {
    *sum = sum.checked_add(amount).expect("all money there is fits an amount");
}
