//! One wallet shard, folded from its log.

use super::rooms::ToldGift;
use super::*;

impl ShardTruth {
    pub(super) fn new(shard: ShardId, shape: LedgerShape) -> ShardTruth {
        let shards = usize::from(shape.wallet_shards);
        let (books, to_rooms) = (Books::new(shape), RoomsSent::new(shape));
        ShardTruth {
            shard,
            epoch: None,
            next: Seq::FIRST,
            time: Time::ZERO,
            balances: BTreeMap::new(),
            history: BTreeMap::new(),
            receipts: BTreeMap::new(),
            sent: vec![Vec::new(); shards],
            received: vec![(Seq::NONE, Sums::new()); shards],
            issued: Sums::new(),
            burned: Sums::new(),
            told: vec![Vec::new(); shards],
            books_after: vec![codec::encode(&books)],
            books,
            to_rooms_after: vec![codec::encode(&to_rooms)],
            to_rooms,
            epochs: Vec::new(),
            folds: Vec::new(),
        }
    }

    pub fn last(&self) -> Seq {
        Seq(self.next.get() - 1)
    }

    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    pub fn books_now(&self) -> &Books {
        &self.books
    }

    pub(super) fn fold_before(&self, position: Position) -> Fold {
        let place = usize::try_from(position.get()).expect("positions are few");
        self.folds.get(place).copied().unwrap_or(Fold { epoch: self.epoch, next: self.next })
    }

    pub fn held_at(&self, user: UserId, seq: Seq) -> Held {
        let history = self.history.get(&user).map(Vec::as_slice).unwrap_or_default();
        let upto = history.partition_point(|(changed, _)| *changed <= seq);
        upto.checked_sub(1).map(|last| history[last].1.clone()).unwrap_or_default()
    }

    pub fn users(&self) -> impl Iterator<Item = UserId> + '_ {
        self.history.keys().copied()
    }

    pub(super) fn sent_up_to(&self, destination: usize, seq: Seq) -> Sums {
        let sent = &self.sent[destination];
        let upto = sent.partition_point(|(at, _, _)| *at <= seq);
        upto.checked_sub(1).map(|last| sent[last].2.clone()).unwrap_or_default()
    }

    /// What rooms of this shard were told of this wallet shard's events within `(after, up_to]`.
    pub(super) fn told(&self, rooms: usize, after: Seq, up_to: Seq) -> impl Iterator<Item = &ToldGift> {
        let told = self.told[rooms].iter().map(|(_, gift)| gift);
        told.filter(move |gift| gift.seq > after && gift.seq <= up_to)
    }

    /// All that room shards were told by events before `position` and do not have at these watermarks.
    pub(super) fn untold_before(&self, rooms: usize, position: Position, watermark: Seq) -> Option<&ToldGift> {
        let mut told = self.told[rooms].iter();
        told.find(|(at, gift)| *at < position && gift.seq > watermark).map(|(_, gift)| gift)
    }

    /// The last event that told something to this shard of rooms.
    pub(super) fn last_told(&self, rooms: usize) -> Seq {
        self.told[rooms].last().map_or(Seq::NONE, |(_, gift)| gift.seq)
    }

    /// The state of a checkpoint before event `next`.
    pub(super) fn state_before(&self, next: Seq) -> Vec<u8> {
        let place = usize::try_from(next.get() - 1).expect("events are few");
        [&self.books_after[place][..], &self.to_rooms_after[place]].concat()
    }

    fn credit(&mut self, user: UserId, asset: AssetId, amount: Amount) {
        *self.balances.entry((user, asset)).or_default() += amount.get();
    }

    fn debit(&mut self, user: UserId, asset: AssetId, amount: Amount, seq: Seq) {
        let balance = self.balances.entry((user, asset)).or_default();
        assert!(
            *balance >= amount.get(),
            "I2 no overdraft: user {user} had {balance} of {asset}, {seq} takes {amount}"
        );
        *balance -= amount.get();
    }

    fn send(&mut self, to: ShardId, seq: Seq, position: Position, asset: AssetId, amount: Amount) {
        let sent = &mut self.sent[usize::from(to.index)];
        let mut sums = sent.last().map(|(_, _, sums)| sums.clone()).unwrap_or_default();
        *sums.entry(asset).or_default() += u128::from(amount.get());
        match sent.last_mut() {
            Some(last) if last.0 == seq => last.2 = sums,
            Some(_) | None => sent.push((seq, position, sums)),
        }
    }

    fn give(&mut self, user: UserId, asset: AssetId, amount: Amount, at: (Seq, Position), shape: LedgerShape) {
        let home = shape.wallet_of(user);
        if home == self.shard {
            self.credit(user, asset, amount);
        } else {
            self.send(home, at.0, at.1, asset, amount);
        }
    }

    pub(super) fn apply_money(
        &mut self,
        (seq, at): (Seq, Time),
        position: Position,
        event: &WalletEvent,
        shape: LedgerShape,
    ) {
        match event {
            WalletEvent::GiftSent(gift) => {
                self.told[usize::from(shape.room_of(gift.said.room).index)]
                    .push((position, ToldGift::new(seq, at, gift)));
                let pieces = u64::from(gift.said.count.get()) * gift.said.receivers.len() as u64;
                let total = gift.unit_price.times(pieces).expect("totals fit");
                self.debit(gift.said.sender, gift.asset, total, seq);
                let mut given = 0;
                for credit in &gift.credits {
                    given += credit.amount.get();
                    self.give(gift.payee(credit), gift.asset, credit.amount, (seq, position), shape);
                }
                assert_eq!(given, total.get(), "I1 conserved: a gift gives what it takes");
                if let Some(points) = gift.points {
                    self.credit(gift.said.sender, points.asset, points.amount);
                    *self.issued.entry(points.asset).or_default() += u128::from(points.amount.get());
                }
            }
            WalletEvent::Recharged(recharge) => {
                let said = &recharge.said;
                self.credit(said.user, said.asset, said.amount);
                *self.issued.entry(said.asset).or_default() += u128::from(said.amount.get());
            }
            WalletEvent::Transferred(transfer) => {
                let mut net: BTreeMap<AssetId, i128> = BTreeMap::new();
                for (asset, amount) in &transfer.said.debits {
                    self.debit(transfer.said.user, *asset, *amount, seq);
                    *net.entry(*asset).or_default() -= i128::from(amount.get());
                }
                for credit in &transfer.said.credits {
                    self.give(credit.user, credit.asset, credit.amount, (seq, position), shape);
                    *net.entry(credit.asset).or_default() += i128::from(credit.amount.get());
                }
                for (asset, net) in net {
                    let into = if net > 0 { &mut self.issued } else { &mut self.burned };
                    *into.entry(asset).or_default() += net.unsigned_abs();
                }
            }
            WalletEvent::CreditsApplied(applied) => {
                applied.credits.iter().for_each(|credit| self.credit(credit.user, credit.asset, credit.amount));
            }
            WalletEvent::TransactionBound(_) => {}
        }
        self.note_history(seq, event);
    }

    /// Compares the balances in the event with those summed up here, and keeps them.
    fn note_history(&mut self, seq: Seq, event: &WalletEvent) {
        let mut stated: BTreeMap<(UserId, AssetId), Amount> = BTreeMap::new();
        event.for_each_change(|change| {
            assert!(matches!(change.direction, Direction::Debit | Direction::Credit));
            stated.insert((change.user, change.asset), change.balance);
        });
        for ((user, asset), balance) in stated {
            let summed = self.balances.get(&(user, asset)).copied().unwrap_or_default();
            assert_eq!(
                balance.get(),
                summed,
                "I6 replay: event {seq} of {} says another balance of user {user}, asset {asset}",
                self.shard
            );
            let all = self.balances.range((user, AssetId(0))..=(user, AssetId(u16::MAX)));
            let held: Held = all.map(|((_, asset), amount)| (*asset, *amount)).collect();
            let history = self.history.entry(user).or_default();
            if history.last().is_some_and(|(last, _)| *last == seq) {
                history.pop();
            }
            history.push((seq, held));
        }
    }

    pub(super) fn check_conserved(&self, seq: Seq) {
        for (asset, totals) in self.books.totals() {
            assert!(totals.is_conserved(), "I1 conserved: {} asset {asset} at {seq}: {totals:?}", self.shard);
        }
    }
}

pub(super) fn short(event: &WalletEvent) -> String {
    let id = |event: &WalletEvent| {
        event.key().map_or(String::new(), |(user, id)| format!("{user}:{}", &id.to_string()[24..]))
    };
    match event {
        WalletEvent::GiftSent(gift) => format!("gift({} -{})", id(event), gift.total()),
        WalletEvent::Recharged(recharge) => format!("recharge({} +{})", id(event), recharge.said.amount),
        WalletEvent::Transferred(_) => format!("transfer({})", id(event)),
        WalletEvent::CreditsApplied(applied) => {
            let sources: Vec<String> =
                applied.sources.iter().map(|source| format!("wallet-{}≤{}", source.source, source.up_to)).collect();
            format!("credits({})", sources.join(" "))
        }
        WalletEvent::TransactionBound(_) => format!("bound({})", id(event)),
    }
}
