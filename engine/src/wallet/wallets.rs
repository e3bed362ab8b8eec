//! The state machine of a wallet shard: a command is decided against the balances; the decision is an event; the event
//! changes the balances.

mod machine;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::codec;
use crate::event_id::EventId;
use crate::ledger::LedgerShape;
use crate::machine::Impossible;
use crate::relay::{Acknowledged, RelayPart};
use crate::sabotage::{self, Rule};
use crate::store::{BalanceRow, Checkpoint, StoredEvent};
use crate::units::{Amount, AssetId, Seq, ShardId, Time, UserId};
use crate::wallet::books::{Books, RoomsSent};
use crate::wallet::event::{AccountChange, Direction, WalletEvent};
use crate::wallet::outbox::{Outbox, Outgoing};
use crate::wallet::outcome::{Applied, Balances, Refusal, WalletOutcome};
use crate::wallet::window::{ID_AHEAD_MILLIS, Remembered, Window, WindowLimits};

/// Everything about a wallet shard that is configured and may differ between two runs.
#[derive(Clone, Copy, Debug)]
pub struct WalletLimits {
    pub window: WindowLimits,
    /// Wallets in memory; beyond, idle ones leave.
    pub wallets_max: usize,
    /// How long history is kept; an id from before is refused.
    pub history_millis: u64,
    /// Guards indexes against keys chosen to collide; changes no answer.
    pub hash_seed: u64,
}

#[derive(Debug)]
pub struct Wallets {
    pub(super) shard: ShardId,
    pub(super) shape: LedgerShape,
    pub(super) limits: WalletLimits,
    pub(super) wallets: HashMap<UserId, Wallet, FixedState>,
    pub(super) window: Window,
    /// Receipts that were asked of the store for commands that wait.
    asked_receipts: HashMap<(UserId, EventId), AskedReceipt, FixedState>,
    pub(super) books: Books,
    to_rooms: RoomsSent,
    outbox: Outbox,
    /// Seq of the last event.
    pub(super) last: Seq,
    pub(super) time: Time,
    /// Seq of the last event that the log has for sure.
    durable: Seq,
    /// What the store has, of what is durable.
    flushed: Seq,
    /// What the store is said to have; the log's answer about the last of it may still be on its way.
    stored: Seq,
}

/// All that one user has. Only the whole of it may be decided on.
#[derive(Debug, Default)]
pub(super) struct Wallet {
    held: SmallVec<[Held; 2]>,
    /// False while only what the log's replay touched is known.
    is_whole: bool,
    /// Touched since the last sweep.
    is_recent: bool,
    /// Commands that wait for it; it stays while there are any.
    asked: u16,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    asset: AssetId,
    amount: Amount,
    /// The event that last changed it.
    seq: Seq,
}

#[derive(Debug, Default)]
struct AskedReceipt {
    waiting: u32,
    /// The id was accepted since the store was asked: that there was nothing then says nothing any more.
    is_overtaken: bool,
    answer: Option<Option<StoredEvent>>,
}

/// What a command can lack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WalletNeed {
    Wallet(UserId),
    Receipt(UserId, EventId),
}

#[derive(Clone, Debug)]
pub enum WalletRow {
    Balances(Vec<BalanceRow>),
    Receipt(Option<StoredEvent>),
}

/// A destination says where this shard stands with it.
#[derive(Clone, Debug)]
pub struct AcknowledgedBy {
    pub destination: ShardId,
    pub answer: Acknowledged,
}

impl Wallets {
    pub fn new(shard: ShardId, shape: LedgerShape, limits: WalletLimits) -> Wallets {
        let hasher = || FixedState::with_seed(limits.hash_seed);
        Wallets {
            shard,
            shape,
            limits,
            wallets: HashMap::with_hasher(hasher()),
            window: Window::new(limits.window, Time::ZERO, limits.hash_seed),
            asked_receipts: HashMap::with_hasher(hasher()),
            books: Books::new(shape),
            to_rooms: RoomsSent::new(shape),
            outbox: Outbox::new(shard.index, shape),
            last: Seq::NONE,
            time: Time::ZERO,
            durable: Seq::NONE,
            flushed: Seq::NONE,
            stored: Seq::NONE,
        }
    }

    pub fn books(&self) -> &Books {
        &self.books
    }

    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Every event up to here has been acknowledged by all it went to. Never beyond what is durable: to an owner that was
    /// replaced, what it decided since is another event in the log than in its memory.
    pub fn settled(&self) -> Seq {
        let acknowledged = self.outbox.first_unsettled().map_or(self.durable, |first| Seq(first.get() - 1));
        acknowledged.min(self.durable)
    }

    /// The last event that the log has for sure.
    pub fn certain(&self) -> Seq {
        self.durable
    }

    /// Seq of the last event, durable or not.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Wallets in memory.
    pub fn resident(&self) -> usize {
        self.wallets.len()
    }

    /// A destination says where this shard stands with it.
    pub fn acknowledged(
        &mut self,
        destination: ShardId,
        answer: &Acknowledged,
        now: Time,
    ) -> Result<Outgoing, Impossible> {
        if answer.watermark > self.last {
            return Err(Impossible(format!(
                "{destination} has applied {} up to event {}, which ends at {}: the log lost records",
                self.shard, answer.watermark, self.last
            )));
        }
        self.outbox.acknowledged(destination, answer, now).map_err(|error| Impossible(error.to_string()))
    }

    /// Balance of a user whose wallet is here, whole.
    pub(super) fn balance(&self, user: UserId, asset: AssetId) -> Amount {
        let wallet = self.wallets.get(&user).expect("a command is decided when every wallet it changes is here");
        debug_assert!(wallet.is_whole, "a wallet is decided on whole or not at all");
        wallet.get(asset)
    }

    pub(super) fn is_mine(&self, user: UserId) -> bool {
        self.shape.wallet_of(user) == self.shard
    }

    /// What came of an id, as far as memory and the answers of the store can tell.
    pub(super) fn find(&self, user: UserId, id: EventId) -> Option<Remembered> {
        self.window.find(user, id).or_else(|| {
            let asked = self.asked_receipts.get(&(user, id))?;
            let stored = asked.answer.as_ref()?.as_ref()?;
            let event = codec::decode(&stored.event).expect("it was checked when it arrived");
            Some(Remembered { seq: stored.seq, at: stored.at, event, encoded: stored.event.clone() })
        })
    }

    /// All balances of a user.
    pub(super) fn balances(&self, user: UserId) -> Balances {
        let wallet = self.wallets.get(&user).expect("a read waits for the wallet");
        let mut amounts: Vec<_> = wallet.held.iter().map(|held| (held.asset, held.amount)).collect();
        amounts.sort_unstable_by_key(|(asset, _)| *asset);
        Balances { amounts, seq: self.last }
    }

    fn misses_wallet(&self, user: UserId) -> bool {
        self.is_mine(user) && self.wallets.get(&user).is_none_or(|wallet| !wallet.is_whole)
    }

    fn misses_receipt(&self, user: UserId, id: EventId) -> bool {
        // One that is too old is refused unless memory happens to know it.
        let is_too_old = id.time().is_some_and(|time| time < self.oldest());
        !is_too_old && self.misses_event(user, id)
    }

    /// Whether only the store can tell what came of an id, however old it is.
    fn misses_event(&self, user: UserId, id: EventId) -> bool {
        if self.window.is_certain(id) {
            return false;
        }
        let is_answered = self.asked_receipts.get(&(user, id)).is_some_and(|asked| asked.answer.is_some());
        !is_answered && !self.window.contains(user, id)
    }

    /// Ids from before this are refused.
    pub(super) fn oldest(&self) -> Time {
        self.time.minus_millis(self.limits.history_millis)
    }

    fn change(&mut self, seq: Seq, change: &AccountChange) {
        let wallet = self.wallets.entry(change.user).or_default();
        wallet.is_recent = true;
        let held = wallet.entry(change.asset);
        if let Some(held) = held {
            let expected = match change.direction {
                Direction::Credit => held.amount.checked_add(change.amount),
                Direction::Debit => held.amount.checked_sub(change.amount),
            };
            assert_eq!(
                expected,
                Some(change.balance),
                "memory and log disagree at event {seq} about user {} asset {}",
                change.user,
                change.asset
            );
            (held.amount, held.seq) = (change.balance, seq);
            return;
        }
        if wallet.is_whole {
            let expected = match change.direction {
                Direction::Credit => Some(change.amount),
                Direction::Debit => None,
            };
            assert_eq!(expected, Some(change.balance), "I2 no overdraft: event {seq}, user {}", change.user);
        }
        wallet.held.push(Held { asset: change.asset, amount: change.balance, seq });
    }

    /// Lets idle wallets go that the store has, when there are too many.
    fn evict_wallets(&mut self) {
        if self.wallets.len() <= self.limits.wallets_max {
            return;
        }
        let goal = self.limits.wallets_max - self.limits.wallets_max / 8;
        // First those that nobody touched since the last sweep; if that is not enough, whoever can go.
        for spare_recent in [true, false] {
            let mut left = self.wallets.len();
            let flushed = self.flushed;
            self.wallets.retain(|_, wallet| {
                let is_spared = spare_recent && std::mem::take(&mut wallet.is_recent);
                let may_go = wallet.asked == 0
                    && wallet.held.iter().all(|held| held.seq <= flushed || sabotage::is(Rule::FlushBeforeEviction));
                let goes = left > goal && may_go && !is_spared;
                left -= usize::from(goes);
                !goes
            });
        }
    }

    fn take_balances(&mut self, user: UserId, rows: Vec<BalanceRow>) -> Result<(), Impossible> {
        let (shard, last) = (self.shard, self.last);
        let wallet = self.wallets.entry(user).or_default();
        if wallet.is_whole {
            return Ok(());
        }
        for row in rows {
            if row.seq > last {
                return Err(Impossible(format!(
                    "the store has a balance of user {user} from event {} of {shard}, whose log ends at {last}: the log \
                     lost records",
                    row.seq
                )));
            }
            // What the replay brought is laid over the row: the higher seq wins.
            match wallet.entry(row.asset) {
                Some(held) if held.seq >= row.seq => {}
                Some(held) => (held.amount, held.seq) = (row.amount, row.seq),
                None => wallet.held.push(Held { asset: row.asset, amount: row.amount, seq: row.seq }),
            }
        }
        wallet.is_whole = true;
        wallet.is_recent = true;
        Ok(())
    }

    fn take_receipt(&mut self, user: UserId, id: EventId, stored: Option<StoredEvent>) -> Result<bool, Impossible> {
        if let Some(stored) = &stored {
            if stored.seq > self.last {
                return Err(Impossible(format!(
                    "the store has event {} of {}, whose log ends at {}: the log lost records",
                    stored.seq, self.shard, self.last
                )));
            }
            codec::decode::<WalletEvent>(&stored.event).map_err(|error| Impossible(error.to_string()))?;
        }
        let Some(asked) = self.asked_receipts.get_mut(&(user, id)) else { return Ok(true) };
        if std::mem::take(&mut asked.is_overtaken) && stored.is_none() {
            return Ok(false); // The store was read before the event got there, which may have left the window since.
        }
        asked.answer = Some(stored);
        Ok(true)
    }
}

impl Wallet {
    fn get(&self, asset: AssetId) -> Amount {
        self.held.iter().find(|held| held.asset == asset).map_or(Amount::ZERO, |held| held.amount)
    }

    fn entry(&mut self, asset: AssetId) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.asset == asset)
    }
}

/// What the asker of a gift, recharge or transfer is told.
pub(super) fn applied(seq: Seq, at: Time, event: &WalletEvent, replayed: bool) -> Applied {
    let (asset, total, balance) = match event {
        WalletEvent::GiftSent(gift) => (gift.asset, gift.total(), gift.balance),
        WalletEvent::Recharged(recharge) => (recharge.said.asset, recharge.said.amount, recharge.balance),
        WalletEvent::Transferred(transfer) => {
            let said = &transfer.said;
            let (asset, total) = match (said.debits.first(), said.credits.first()) {
                (Some((asset, amount)), _) => (*asset, *amount),
                (None, Some(credit)) => (credit.asset, credit.amount),
                (None, None) => Default::default(),
            };
            let mut balance = Amount::ZERO;
            event.for_each_change(|change| {
                if (change.user, change.asset) == (said.user, asset) {
                    balance = change.balance;
                }
            });
            (asset, total, balance)
        }
        WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => Default::default(),
    };
    Applied { seq, at, asset, total, balance, replayed }
}

impl Wallets {
    /// Whether a part goes on exactly where its source stands.
    pub(super) fn is_next(&self, part: &RelayPart) -> bool {
        usize::from(part.source) < self.books.shards()
            && part.up_to > part.after
            && (self.books.received_from(part.source).up_to == part.after || sabotage::is(Rule::WatermarkCheck))
    }

    /// Where the sources of these parts stand here, each once.
    pub(super) fn stands(&self, parts: &[RelayPart]) -> Vec<Acknowledged> {
        let mut stands: Vec<Acknowledged> = Vec::new();
        for source in parts.iter().map(|part| part.source) {
            let is_told = stands.iter().any(|stand| stand.source == source);
            if !is_told && usize::from(source) < self.books.shards() {
                let neighbour = self.books.received_from(source);
                stands.push(Acknowledged { source, watermark: neighbour.up_to, received: neighbour.total.clone() });
            }
        }
        stands
    }
}
