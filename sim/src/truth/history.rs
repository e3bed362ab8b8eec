//! What every page of history has to show, from the logs alone.

use std::collections::BTreeSet;

use largesse_engine::event_id::EventId;
use largesse_engine::store::{HistorySlot, ReceivedEntry, ReceivedKind, StoredEvent};
use largesse_engine::units::{Seq, ShardId, Time, UserId};
use largesse_engine::wallet::event::WalletEvent;

use super::Truth;

/// First and last moment that was asked for.
pub type Bounds = (Option<Time>, Option<Time>);

fn is_within(at: Time, (since, until): Bounds) -> bool {
    since.is_none_or(|since| since <= at) && until.is_none_or(|until| at <= until)
}

/// What an event says to those who got something out of it.
pub fn entries_of(shard: ShardId, seq: Seq, at: Time, event: &WalletEvent) -> Vec<(UserId, ReceivedEntry)> {
    match event {
        WalletEvent::GiftSent(gift) => {
            let said = &gift.said;
            let (room, gift_id, count) = (said.room, said.gift, said.count.get());
            let kind = match said.anonymous {
                true => ReceivedKind::AnonymousGift { room, gift: gift_id, count },
                false => ReceivedKind::Gift { room, gift: gift_id, count },
            };
            let entry = |amount| ReceivedEntry {
                source: shard,
                seq,
                at,
                id: said.id,
                kind,
                sender: said.sender,
                asset: gift.asset,
                amount,
            };
            gift.credits.iter().map(|credit| (gift.payee(credit), entry(credit.amount))).collect()
        }
        WalletEvent::Transferred(transfer) => {
            let said = &transfer.said;
            let entry = |asset, amount| ReceivedEntry {
                source: shard,
                seq,
                at,
                id: said.id,
                kind: ReceivedKind::Transfer,
                sender: said.user,
                asset,
                amount,
            };
            said.credits.iter().map(|credit| (credit.user, entry(credit.asset, credit.amount))).collect()
        }
        WalletEvent::Recharged(_) | WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => Vec::new(),
    }
}

impl Truth {
    /// Pages of a user's own events: newest first, each once and as it is in the log, and none missing up to `must`.
    /// Returns their ids.
    pub fn check_sent(
        &self,
        user: UserId,
        seen: &[StoredEvent],
        must: Option<Seq>,
        bounds: Bounds,
    ) -> BTreeSet<EventId> {
        let truth = self.shard(self.shape.wallet_of(user));
        let mut ids = BTreeSet::new();
        let mut last: Option<EventId> = None;
        for stored in seen {
            let event: WalletEvent = largesse_engine::codec::decode(&stored.event).expect("rows hold events");
            let (of, id) = event.key().expect("history has what somebody asked for");
            assert_eq!(of, user, "history of user {user} shows what {of} did");
            let known = truth.receipts.get(&(user, id));
            let known = known.unwrap_or_else(|| panic!("history of user {user} shows {id}, which is not believed"));
            assert_eq!(
                (known.seq, known.at, &known.encoded),
                (stored.seq, stored.at, &stored.event),
                "history of {id}"
            );
            assert!(ids.insert(id), "history of user {user} shows {id} twice");
            let stored_as = id.stored_as(stored.at);
            assert!(is_within(stored_as.time().unwrap_or_default(), bounds), "{id} of user {user} was not asked for");
            assert!(last.is_none_or(|last| stored_as <= last), "history of user {user} is out of order at {id}");
            last = Some(stored_as);
        }
        for ((_, id), event) in
            truth.receipts.range((user, EventId::from_bytes([0; 16]))..=(user, EventId::from_bytes([255; 16])))
        {
            let is_due = must.is_some_and(|must| event.seq <= must);
            let is_within = is_within(id.stored_as(event.at).time().unwrap_or_default(), bounds);
            assert!(
                !is_due || !is_within || ids.contains(id),
                "history of user {user} up to {must:?} lacks {id}, which is event {}",
                event.seq
            );
        }
        ids
    }

    /// Pages of what a user received: in order, each credit once and as it is in the log, and none missing up to `must`.
    pub fn check_received(&self, user: UserId, seen: &[ReceivedEntry], must: Option<Time>, bounds: Bounds) {
        let place = |entry: &ReceivedEntry| (HistorySlot::of(entry.at), entry.source, entry.seq);
        let in_order = seen.is_sorted_by(|one, next| place(one) >= place(next));
        assert!(in_order, "what user {user} received is out of order: {seen:?}");
        let empty = Vec::new();
        let mut open: Vec<&ReceivedEntry> = self.received.get(&user).unwrap_or(&empty).iter().collect();
        for entry in seen {
            assert!(is_within(entry.at, bounds), "{} received by user {user} was not asked for", entry.id);
            let found = open.iter().position(|known| *known == entry);
            let found = found.unwrap_or_else(|| panic!("user {user} received {entry:?}: not so, or not twice"));
            open.swap_remove(found);
        }
        let is_due = |entry: &&&ReceivedEntry| must.is_some_and(|must| entry.at <= must) && is_within(entry.at, bounds);
        let missing = open.iter().find(is_due);
        assert!(
            missing.is_none(),
            "what user {user} received is said to be complete until {must:?}: lacks {missing:?}"
        );
    }
}
