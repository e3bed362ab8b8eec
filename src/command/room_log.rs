//! What the events of rooms say, for `largesse log`: in the numbers that are stored, without any catalog.

use largesse_engine::control::rooms::RoomSet;
use largesse_engine::per_asset::PerAsset;
use largesse_engine::room::event::{FeedItem, FeedWhat, RoomEvent, RoomShown, RoomTotal};
use largesse_engine::room::person::Person;
use largesse_engine::room::plugin::PluginNews;
use serde_json::{Value, json};

/// A room's settings, as an administrator or a service set them.
pub fn set(set: &RoomSet) -> Value {
    let room: Value =
        serde_json::from_slice(&set.room).unwrap_or_else(|_| String::from_utf8_lossy(&set.room).into_owned().into());
    json!({"room": room, "by": set.by, "reason": set.reason})
}

pub fn room(event: &RoomEvent) -> (&'static str, Value) {
    let RoomEvent::Shown(shown) = event;
    let sources = shown.sources.iter();
    let sources = sources.map(|part| json!({"source": part.source, "up_to": part.up_to, "sums": sums(&part.sums)}));
    let rooms: Vec<Value> = shown.rooms.iter().map(room_shown).collect();
    ("shown", json!({"sources": sources.collect::<Vec<_>>(), "rooms": rooms}))
}

fn sums(sums: &[(largesse_engine::units::AssetId, u128)]) -> Vec<Value> {
    // Beyond what JSON numbers here can be, the digits are shown.
    sums.iter().map(|(asset, sum)| json!({"asset": asset, "sum": number(*sum)})).collect()
}

fn room_shown(shown: &RoomShown) -> Value {
    let numbered = (shown.first.get()..).zip(&shown.items);
    let items: Vec<Value> = numbered.map(|(room_seq, item)| entry(room_seq, item)).collect();
    let head = &shown.head;
    json!({
        "room": shown.room, "epoch": head.began, "next": head.next, "live": head.live, "is_open": head.is_open,
        "open_combos": head.open_combos, "items": items,
    })
}

fn entry(room_seq: u64, item: &FeedItem) -> Value {
    let mut entry = match &item.what {
        FeedWhat::Gift(gift) => json!({
            "kind": "gift", "sender": gift.sender.user(), "to": *gift.receivers, "gift": gift.gift, "asset": gift.asset,
            "count": gift.count, "value": gift.value(), "events": gift.events, "combo": gift.combo.map(|combo| combo.id),
        }),
        FeedWhat::ComboEnded(ended) => json!({
            "kind": "combo_end", "combo": ended.id, "sender": ended.sender.user(), "to": *ended.receivers, "gift": ended.gift,
            "asset": ended.asset, "count": ended.count, "value": ended.value, "cause": ended.cause.name(),
        }),
        FeedWhat::LiveStarted { live } => json!({"kind": "live_start", "live": live}),
        FeedWhat::LiveEnded { live, totals } => json!({"kind": "live_end", "live": live, "totals": all(totals)}),
        FeedWhat::Plugin(PluginNews::GoalReached { asset, target, by }) => {
            json!({"kind": "goal_reached", "asset": asset, "target": target, "by": by.user()})
        }
        FeedWhat::Plugin(PluginNews::PkEnded { hosts, asset, scores }) => {
            json!({"kind": "pk_end", "hosts": hosts, "asset": asset, "scores": scores})
        }
    };
    if person(&item.what).is_some_and(Person::is_anonymous) {
        entry["anonymous"] = true.into();
    }
    (entry["room_seq"], entry["at"]) = (room_seq.into(), item.at.get().into());
    entry
}

/// Who did it, where somebody did.
fn person(what: &FeedWhat) -> Option<Person> {
    match what {
        FeedWhat::Gift(gift) => Some(gift.sender),
        FeedWhat::ComboEnded(ended) => Some(ended.sender),
        FeedWhat::Plugin(PluginNews::GoalReached { by, .. }) => Some(*by),
        FeedWhat::LiveStarted { .. } | FeedWhat::LiveEnded { .. } | FeedWhat::Plugin(PluginNews::PkEnded { .. }) => {
            None
        }
    }
}

fn all(totals: &PerAsset<RoomTotal>) -> Vec<Value> {
    let total =
        |(asset, total): (_, &RoomTotal)| json!({"asset": asset, "value": number(total.value), "gifts": total.gifts});
    totals.iter().map(total).collect()
}

fn number(sum: u128) -> Value {
    u64::try_from(sum).map_or_else(|_| sum.to_string().into(), Value::from)
}
