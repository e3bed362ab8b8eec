use largesse_engine::units::Amount;
use smallvec::smallvec;

use super::*;

const USER: UserId = UserId(3001);

fn query(limit: usize, filter: Filter) -> Query {
    let (reader, side, from) = (Reader::User, Side::Sent, Cursor::default());
    Query { user: USER, reader, side, filter, since: None, until: None, limit, from }
}

fn item(number: u8, asset: u16) -> Item {
    Item {
        id: EventId::from_bytes([number; 16]),
        key: None,
        kind: if asset == 1 { Kind::Gift } else { Kind::Points },
        peers: smallvec![UserId(2000 + u64::from(number))],
        is_anonymous: false,
        gift: None,
        asset: AssetId(asset),
        amount: Amount::new(u64::from(number)).unwrap(),
        balance_after: None,
        direction: None,
        reference: None,
        at: Time(u64::from(number)),
    }
}

/// Events 9, 8, 7, … as the store would page them, each a gift with its points.
fn chunk(numbers: impl IntoIterator<Item = u8>, next: Option<&'static str>) -> Page<Vec<Item>> {
    let items = numbers.into_iter().map(|number| vec![item(number, 1), item(number, 3)]).collect();
    Page { items, next: next.map(|next| Bytes::from_static(next.as_bytes())) }
}

/// Adds one chunk and says what was gathered, as `9g 9p 8g`, and how it went on.
fn add(query: &Query, skip: u8, page: Page<Vec<Item>>) -> String {
    let mut gathered = Gathered { items: Vec::new(), next: None, scanned: 0 };
    let cut = match gathered.add(page, skip, query) {
        Cut::AtEnd => match gathered.next {
            Some(Cursor { store: Some(store), skip: 0 }) => format!("then {}", String::from_utf8_lossy(&store)),
            Some(other) => format!("then {other:?}"),
            None => "end".into(),
        },
        Cut::After { events, skip, last } => {
            format!("cut after {events} + {skip}, behind {:?}", last.map(|(_, at)| at.get()))
        }
    };
    let letter = |item: &Item| if item.kind == Kind::Gift { 'g' } else { 'p' };
    let items: Vec<_> = gathered.items.iter().map(|item| format!("{}{}", item.at, letter(item))).collect();
    format!("{} | {cut}", items.join(" "))
}

#[test]
fn a_page_is_cut_between_and_within_events() {
    let all = || query(50, Filter::default());
    let of = |limit| query(limit, Filter::default());
    assert_eq!(add(&all(), 0, chunk([9, 8], Some("x"))), "9g 9p 8g 8p | then x");
    assert_eq!(add(&all(), 0, chunk([9, 8], None)), "9g 9p 8g 8p | end");
    assert_eq!(add(&all(), 1, chunk([9, 8], None)), "9p 8g 8p | end");
    assert_eq!(add(&of(1), 0, chunk([9, 8], None)), "9g | cut after 0 + 1, behind None");
    assert_eq!(add(&of(1), 1, chunk([9, 8], None)), "9p | cut after 1 + 0, behind Some(9)");
    assert_eq!(add(&of(2), 0, chunk([9, 8], None)), "9g 9p | cut after 1 + 0, behind Some(9)");
    assert_eq!(add(&of(3), 0, chunk([9, 8], None)), "9g 9p 8g | cut after 1 + 1, behind Some(9)");
    assert_eq!(add(&of(4), 0, chunk([9, 8], Some("x"))), "9g 9p 8g 8p | then x", "full just at the end");
    assert_eq!(add(&all(), 0, chunk([], Some("x"))), " | then x");
}

#[test]
fn filters_drop_items_and_the_cut_stays_exact() {
    let points = || Filter { kind: Some(Kind::Points), ..Filter::default() };
    assert_eq!(add(&query(9, points()), 0, chunk([9, 8, 7], None)), "9p 8p 7p | end");
    assert_eq!(add(&query(2, points()), 0, chunk([9, 8, 7], None)), "9p 8p | cut after 2 + 0, behind Some(8)");
    let asset = Filter { asset: Some(AssetId(1)), ..Filter::default() };
    assert_eq!(add(&query(1, asset), 0, chunk([9, 8, 7], None)), "9g | cut after 0 + 1, behind None");
    let peer = Filter { peer: Some(UserId(2008)), ..Filter::default() };
    assert_eq!(add(&query(9, peer), 0, chunk([9, 8, 7], Some("x"))), "8g 8p | then x");
    let nothing = Filter { room: Some(RoomId(5)), ..Filter::default() };
    assert_eq!(add(&query(9, nothing), 0, chunk([9, 8, 7], Some("x"))), " | then x");
}

#[test]
fn parameters_are_judged() {
    let (catalog, seal) = (Catalog::empty(), CursorSeal::new("secret"));
    let parse = |json: serde_json::Value| {
        let params = serde_json::from_value(json).unwrap();
        Query::parse(USER, Reader::User, params, &catalog, &seal).map_err(|problem| problem.code())
    };
    let bad = |json: serde_json::Value| parse(json).err();
    assert_eq!(parse(serde_json::json!({})).unwrap().limit, LIMIT_DEFAULT);
    for good in [
        serde_json::json!({ "limit": 1 }),
        serde_json::json!({ "limit": 1000, "side": "received", "kind": "gift", "asset": "asset-7", "peer": "1" }),
        serde_json::json!({ "since": "2026-01-01T00:00:00Z", "until": "1800000000000", "room": "18446744073709551615" }),
    ] {
        assert!(parse(good.clone()).is_ok(), "{good}");
    }
    for wrong in [
        serde_json::json!({ "limit": 0 }),
        serde_json::json!({ "limit": 1001 }),
        serde_json::json!({ "asset": "gold" }),
        serde_json::json!({ "room": "one" }),
        serde_json::json!({ "peer": "-1" }),
        serde_json::json!({ "since": "yesterday" }),
    ] {
        assert_eq!(bad(wrong.clone()), Some(ErrorCode::BadRequest), "{wrong}");
    }
    assert_eq!(bad(serde_json::json!({ "cursor": "x" })), Some(ErrorCode::CursorInvalid));
}
