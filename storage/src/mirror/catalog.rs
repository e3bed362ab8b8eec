//! Gifts and rooms as keys: one for each, and a list of those in force, since a withdrawn one may live on for a while.

use largesse_engine::catalog::CatalogDraft;
use largesse_engine::room::settings::Room;
use largesse_engine::units::{CatalogVersion, ShardId};
use serde_json::{Value, json};

use super::MirrorError;
use super::connection::Connection;
use super::entry::{AsOf, Entry, Keys, Listed, shard_field};

/// Everything of one kind that is in force, with its ids.
struct List {
    kind: Listed,
    records: Vec<(u64, String)>,
    more: Vec<(&'static str, String)>,
}

/// Writes all gifts and rooms, takes those away that are no longer in force, and then says which are.
pub(super) async fn put_lists(
    connection: &Connection,
    keys: &Keys,
    as_of: AsOf,
    catalog: Option<&(CatalogVersion, CatalogDraft)>,
    rooms: &[Room],
) -> Result<(), MirrorError> {
    if let Some((version, draft)) = catalog {
        let record =
            |gift: &largesse_engine::catalog::Gift| Ok((u64::from(gift.gift_id.get()), serde_json::to_string(gift)?));
        let records: Result<_, serde_json::Error> = draft.gifts.iter().map(record).collect();
        let records = records.map_err(|error| MirrorError::Catalog(error.to_string()))?;
        let more = vec![("version", version.to_string())];
        put_list(connection, keys, as_of, List { kind: Listed::Gift, records, more }).await?;
    }
    let records = rooms.iter().map(|room| (room.id.get(), room_record(room).to_string())).collect();
    put_list(connection, keys, as_of, List { kind: Listed::Room, records, more: Vec::new() }).await
}

/// Ids of users and rooms are strings, as in every answer of the API.
fn room_record(room: &Room) -> Value {
    let hosts: Vec<String> = room.hosts.iter().map(ToString::to_string).collect();
    json!({"room_id": room.id.to_string(), "hosts": hosts, "closed": room.is_closed})
}

async fn put_list(connection: &Connection, keys: &Keys, as_of: AsOf, list: List) -> Result<(), MirrorError> {
    let (kind, shard) = (list.kind, shard_field(ShardId::CONTROL));
    let ttl = keys.ttl(kind);
    let ids: Vec<u64> = list.records.iter().map(|(id, _)| *id).collect();
    let before = connection.fields(&[keys.list(kind)], &["ids"]).await?;
    let before = before.into_iter().flatten().flatten().next().unwrap_or_default();
    let gone = before.split(' ').filter_map(|id| id.parse().ok()).filter(|id| !ids.contains(id));
    let withdrawn = gone.map(|id| Entry { key: keys.listed(kind, id), as_of, ttl: Default::default(), fields: vec![] });
    let records = list.records.into_iter().map(|(id, record)| {
        let fields = vec![("record", record), ("shard", shard.clone())];
        Entry { key: keys.listed(kind, id), as_of, ttl, fields }
    });
    connection.put(&withdrawn.chain(records).collect::<Vec<_>>()).await?;
    let words: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let mut fields = vec![("ids", words.join(" ")), ("shard", shard.clone())];
    fields.extend(list.more);
    // Last, so that what it names is there.
    connection.put(&[Entry { key: keys.list(kind), as_of, ttl, fields }]).await?;
    Ok(())
}
