//! What a room showed since the last tick, as one frame of a bounded size: the entries most worth showing, and the exact
//! sums of the others.

use std::collections::HashMap;

use bytes::Bytes;
use largesse_engine::catalog::{Catalog, Tier};
use largesse_engine::room::command::Chunk;
use largesse_engine::room::event::{EffectShown, FeedItem, FeedWhat, RoomHead};
use largesse_engine::units::{AssetId, RoomId, RoomSeq};

use crate::rooms::item::{self, TotalBody};
use crate::wire::asset_name;
use crate::ws::frames::{Rest, RestDelta, ServerFrame, Tick, encode, epoch_text, room_text};
use crate::ws::options::TICK_ITEMS_MAX;

/// One frame of everything in `chunks`, which follow each other and end where `head` is.
pub fn frame(room: RoomId, chunks: &[Chunk], head: &RoomHead, catalog: &Catalog, viewers: u64) -> Bytes {
    let totals = item::totals(&head.live_totals, catalog);
    encode(&ServerFrame::Tick(tick(room, chunks, head, catalog, Some(totals), viewers)))
}

/// As [`frame`], of what a client missed.
pub fn frame_again(room: RoomId, chunk: &Chunk, head: &RoomHead, catalog: &Catalog, viewers: u64) -> Bytes {
    encode(&ServerFrame::Tick(tick(room, std::slice::from_ref(chunk), head, catalog, None, viewers)))
}

fn tick<'a>(
    room: RoomId,
    chunks: &'a [Chunk],
    head: &RoomHead,
    catalog: &'a Catalog,
    totals: Option<Vec<TotalBody<'a>>>,
    viewers: u64,
) -> Tick<'a> {
    let all: Vec<(RoomSeq, &FeedItem)> = chunks.iter().flat_map(numbered).collect();
    let (from, to) = match (all.first(), all.last()) {
        (Some((first, _)), Some((last, _))) => (*first, *last),
        _ => (head.next, head.last()),
    };
    let (shown, others) = chosen(all);
    Tick {
        room: room_text(room),
        epoch: epoch_text(head.began),
        from,
        to,
        items: shown.into_iter().map(|(number, one)| item::item(number, one, catalog)).collect(),
        combos_ended: others.iter().filter_map(|(_, one)| ended(one)).collect(),
        rest: rest(&others, catalog),
        totals,
        viewers,
    }
}

fn numbered(chunk: &Chunk) -> impl Iterator<Item = (RoomSeq, &FeedItem)> {
    (chunk.first.get()..).map(RoomSeq).zip(chunk.items.iter())
}

type Numbered<'a> = Vec<(RoomSeq, &'a FeedItem)>;

/// Those that are shown whole, and the others; both in order.
fn chosen(all: Numbered<'_>) -> (Numbered<'_>, Numbered<'_>) {
    if all.len() <= TICK_ITEMS_MAX {
        return (all, Vec::new());
    }
    let mut best: Vec<(Worth, RoomSeq)> = all.iter().map(|(number, one)| (worth(one), *number)).collect();
    // Of equal worth the earlier ones.
    best.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    best.truncate(TICK_ITEMS_MAX);
    let mut shown: Vec<RoomSeq> = best.into_iter().map(|(_, number)| number).collect();
    shown.sort_unstable();
    all.into_iter().partition(|(number, _)| shown.binary_search(number).is_ok())
}

/// How much an entry is worth being shown: what changes the room, then big gifts, then those that play, then by value.
type Worth = (u8, u64);

fn worth(item: &FeedItem) -> Worth {
    match &item.what {
        FeedWhat::LiveStarted { .. } | FeedWhat::LiveEnded { .. } | FeedWhat::Plugin(_) => (4, 0),
        FeedWhat::Gift(gift) => {
            let value = gift.value().get();
            match (gift.tier, gift.effect) {
                (Some(Tier::Grand | Tier::Large), _) => (3, value),
                (_, EffectShown::Play) => (2, value),
                (_, EffectShown::None | EffectShown::Joined) => (1, value),
            }
        }
        FeedWhat::ComboEnded(ended) => (0, ended.value),
    }
}

fn ended(item: &FeedItem) -> Option<RoomSeq> {
    if let FeedWhat::ComboEnded(ended) = &item.what { Some(ended.id) } else { None }
}

fn rest<'a>(others: &[(RoomSeq, &FeedItem)], catalog: &'a Catalog) -> Vec<Rest<'a>> {
    let mut sums: HashMap<AssetId, (u64, u64, u64)> = HashMap::new();
    for (_, one) in others {
        if let FeedWhat::Gift(gift) = &one.what {
            let sum = sums.entry(gift.asset).or_default();
            sum.0 = sum.0.saturating_add(gift.count);
            sum.1 = sum.1.saturating_add(gift.value().get());
            sum.2 += u64::from(gift.events);
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable_by_key(|(asset, _)| *asset);
    let rest = |(asset, (count, value, events))| Rest {
        delta: RestDelta { count, value, asset: asset_name(catalog, asset) },
        events,
    };
    sums.into_iter().map(rest).collect()
}
