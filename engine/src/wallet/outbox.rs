//! The source's side of its relays: what was sent to each other shard, wallets and rooms, and is not acknowledged yet.
//!
//! Nothing in here is believed: after a start it is made again from the log, and each destination is asked where it stands.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::ledger::LedgerShape;
use crate::relay::{Acknowledged, RelayPart, RunningTotal};
use crate::room::gift::{GatheredGifts, RoomGift};
use crate::units::{Amount, AssetId, Seq, ShardId, ShardKind, Time, UserId};
use crate::wallet::books::Neighbour;
use crate::wallet::event::{RemoteCredit, WalletEvent};

/// Most accounts in one part, or gifts of that weight; beyond, an event begins a new one.
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
    shape: LedgerShape,
    /// First those to wallet shards, then those to room shards.
    lanes: Vec<Lane>,
    /// Lanes that something is in, or whose destination has not said where it stands; and some that were so. The others,
    /// most of them at most times, cost nothing.
    busy: Vec<usize>,
    /// Lanes with an open part.
    touched: Vec<usize>,
    /// Lanes with cut parts that are not durable yet.
    uncertain: VecDeque<usize>,
    /// What is noted now was noted before by an owner that is gone.
    is_replaying: bool,
}

/// One destination.
#[derive(Debug, Default)]
struct Lane {
    /// It is among the busy ones.
    is_busy: bool,
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
    sums: RunningTotal,
    accounts: HashMap<(UserId, AssetId), Amount, foldhash::fast::FixedState>,
    gifts: GatheredGifts,
}

#[derive(Clone, Debug)]
struct Part {
    /// First event with a credit in it.
    first: Seq,
    /// Since when it has been durable, as far as this process knows.
    since: Time,
    /// An earlier owner may have sent it: the destination may stand at its end, so it is never merged with the next.
    is_replayed: bool,
    part: RelayPart,
}

/// Parts ready to go, with their destination.
pub type Outgoing = Vec<(ShardId, RelayPart)>;

impl Outbox {
    pub fn new(source: u16, shape: LedgerShape) -> Outbox {
        let count = usize::from(shape.wallet_shards) + usize::from(shape.room_shards());
        let lanes = (0..count).map(|_| Lane { is_anchored: true, ..Lane::default() }).collect();
        let (busy, touched, uncertain) = (Vec::new(), Vec::new(), VecDeque::new());
        Outbox { source, shape, lanes, busy, touched, uncertain, is_replaying: false }
    }

    fn destination(&self, lane: usize) -> ShardId {
        destination(self.shape, lane)
    }

    /// Notes what an event sends elsewhere.
    pub fn apply(&mut self, seq: Seq, at: Time, event: &WalletEvent) {
        let shape = self.shape;
        let mut is_large = false;
        event.for_each_remote(|credit| {
            let open = self.open(lane_of(shape, shape.wallet_of(credit.user)), seq);
            open.add_credit(credit);
            is_large |= open.accounts.len() >= PART_CREDITS_MAX;
        });
        if let WalletEvent::GiftSent(gift) = event {
            let open = self.open(lane_of(shape, shape.room_of(gift.said.room)), seq);
            open.add_gift(RoomGift::new(gift, at));
            is_large |= open.gifts.weight() >= PART_CREDITS_MAX;
        }
        if is_large {
            self.cut();
        }
    }

    /// The open part of a lane, which from now on covers this event.
    fn open(&mut self, number: usize, seq: Seq) -> &mut OpenPart {
        let lane = &mut self.lanes[number];
        if !std::mem::replace(&mut lane.is_busy, true) {
            self.busy.push(number);
        }
        if lane.open.first.is_none() {
            lane.open.first = Some(seq);
            self.touched.push(number);
        }
        lane.open.up_to = seq;
        &mut lane.open
    }

    /// Ends the open parts: at the end of each record, so that a replay cuts at the same places.
    pub fn cut(&mut self) {
        for lane in self.touched.drain(..) {
            self.lanes[lane].cut(self.source);
            self.uncertain.push_back(lane);
        }
    }

    /// The log has everything up to `seq`: what was cut up to there may go.
    pub fn durable(&mut self, seq: Seq, now: Time) -> Outgoing {
        let mut outgoing = Vec::new();
        while let Some(&number) = self.uncertain.front() {
            let destination = self.destination(number);
            let lane = &mut self.lanes[number];
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
        destination: ShardId,
        answer: &Acknowledged,
        now: Time,
    ) -> Result<Outgoing, Box<Disagreement>> {
        let source = self.source;
        let lane = &mut self.lanes[lane_of(self.shape, destination)];
        if lane.is_overtaken(answer) {
            return Ok(Vec::new());
        }
        lane.trim(answer).map_err(|sent| {
            Box::new(Disagreement {
                source_shard: ShardId::wallet(source),
                destination,
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
        self.forget_idle();
        for &number in &self.busy {
            let (destination, lane) = (destination(self.shape, number), &mut self.lanes[number]);
            // A clock that was set back must not keep anyone waiting until it is where it was.
            lane.progress = lane.progress.min(now);
            if lane.progress.plus_millis(RESEND_MILLIS) > now {
                continue;
            }
            if !lane.is_anchored {
                lane.progress = now;
                outgoing.push((destination, RelayPart::question(self.source)));
            } else if !lane.sent.is_empty() {
                lane.progress = now;
                outgoing.extend(lane.sent.iter().map(|part| (destination, part.part.clone())));
            }
        }
        outgoing
    }

    fn forget_idle(&mut self) {
        let lanes = &mut self.lanes;
        self.busy.retain(|&number| {
            let lane = &mut lanes[number];
            lane.is_busy = !lane.is_idle();
            lane.is_busy
        });
    }

    fn busy(&self) -> impl Iterator<Item = &Lane> {
        self.busy.iter().map(|&number| &self.lanes[number])
    }

    /// The first event that not everyone it went to has acknowledged.
    pub fn first_unsettled(&self) -> Option<Seq> {
        self.busy().filter_map(Lane::first_unsettled).min()
    }

    /// Parts that are durable and not acknowledged.
    pub fn waiting(&self) -> usize {
        self.busy().map(|lane| lane.held.len() + lane.sent.len()).sum()
    }

    /// Since when the oldest of them has been waiting.
    pub fn oldest(&self) -> Option<Time> {
        self.busy().filter_map(|lane| lane.sent.front().or(lane.held.front())).map(|part| part.since).min()
    }

    /// After a start: the events between the oldest unsettled one and the checkpoint were applied without their running
    /// totals; the checkpoint's totals say what those were. What comes now is still a replay, until [`Outbox::resend`].
    pub fn resume<'a>(&mut self, sent: impl Iterator<Item = &'a Neighbour>) {
        self.is_replaying = true;
        self.cut();
        self.uncertain.clear();
        for (lane, sent) in self.lanes.iter_mut().zip(sent) {
            lane.resume(sent);
            lane.is_busy = true;
        }
        self.busy = (0..self.lanes.len()).filter(|&number| self.lanes[number].is_busy).collect();
    }
}

fn lane_of(shape: LedgerShape, destination: ShardId) -> usize {
    match destination.kind {
        ShardKind::Wallet => usize::from(destination.index),
        ShardKind::Room => usize::from(shape.wallet_shards) + usize::from(destination.index),
        ShardKind::Control => unreachable!("nothing is relayed to the control shard"),
    }
}

fn destination(shape: LedgerShape, lane: usize) -> ShardId {
    let index = u16::try_from(lane).expect("a ledger has few shards");
    match index.checked_sub(shape.wallet_shards) {
        None => ShardId::wallet(index),
        Some(room) => ShardId::room(room),
    }
}

impl OpenPart {
    fn add_credit(&mut self, credit: RemoteCredit) {
        *self.sums.entry(credit.asset) += u128::from(credit.amount.get());
        add(self.accounts.entry((credit.user, credit.asset)).or_default(), credit.amount);
    }

    fn add_gift(&mut self, gift: RoomGift) {
        *self.sums.entry(gift.asset) += u128::from(gift.value().get());
        self.gifts.add(gift);
    }
}

impl Lane {
    fn cut(&mut self, source: u16) {
        let Some(first) = self.open.first.take() else { return };
        let mut credits: Vec<RemoteCredit> =
            self.open.accounts.drain().map(|((user, asset), amount)| RemoteCredit { user, asset, amount }).collect();
        credits.sort_unstable_by_key(|credit| (credit.user, credit.asset));
        let part = RelayPart {
            source,
            after: self.end,
            up_to: self.open.up_to,
            before: self.total.clone(),
            sums: std::mem::take(&mut self.open.sums),
            credits,
            gifts: self.open.gifts.take(),
        };
        self.total = part.after_total();
        self.end = part.up_to;
        self.cut.push_back(Part { first, since: Time::ZERO, is_replayed: false, part });
    }

    /// Keeps a durable part, merged with the last one that has not been sent where that is small enough.
    fn hold(&mut self, part: Part) {
        let fits = |last: &&mut Part| {
            let is_small = last.part.weight() + part.part.weight() <= PART_CREDITS_MAX;
            is_small && !last.is_replayed && !part.is_replayed
        };
        match self.held.back_mut().filter(fits) {
            Some(last) => last.part.merge(part.part),
            None => self.held.push_back(part),
        }
    }

    fn send(&mut self, destination: ShardId, now: Time, outgoing: &mut Outgoing) {
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

    fn is_idle(&self) -> bool {
        self.is_anchored && self.first_unsettled().is_none()
    }

    fn first_unsettled(&self) -> Option<Seq> {
        let oldest = self.sent.front().or(self.held.front()).or(self.cut.front());
        oldest.map(|part| part.first).or(self.open.first)
    }

    fn resume(&mut self, sent: &Neighbour) {
        // Going backwards from the checkpoint's total gives the total before each part.
        let mut total = sent.total.clone();
        for part in self.cut.iter_mut().rev() {
            for (asset, sum) in part.part.sums.iter() {
                *total.entry(asset) -= sum;
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

/// Two sorted lists of credits as one, an account once.
pub fn merged_credits(one: Vec<RemoteCredit>, other: Vec<RemoteCredit>) -> Vec<RemoteCredit> {
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
