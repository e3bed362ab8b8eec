//! What is published: one message per change of an account, under the field names that the station interface uses.

use std::borrow::Cow;
use std::ops::Not;
use std::time::{Duration, UNIX_EPOCH};

use largesse_engine::codec::{self, Undecodable};
use largesse_engine::event_id::EventId;
use largesse_engine::ledger::LedgerName;
use largesse_engine::units::{Amount, AssetId, Seq, ShardId, Time, UserId};
use largesse_engine::wallet::event::{Channel, TraceId, WalletEvent};
use serde::Serialize;

use crate::letters::Message;

/// Where an event is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub ledger: &'a LedgerName,
    pub shard: ShardId,
    pub seq: Seq,
    pub at: Time,
}

/// The value of a message. Fields are only added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    event_id: &'a str,
    op_user_id: u64,
    event_type: &'a str,
    /// Only of a gift whose sender is not to be told to hosts and viewers.
    #[serde(skip_serializing_if = "Not::not")]
    anonymous: bool,
    message_body: Body<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    message_id: &'a str,
    user_id: u64,
    /// 1: who acted; 2: who received.
    op_user_type: u8,
    biz_id: u64,
    biz_type: u8,
    obj_id: &'a str,
    asset_type: u16,
    incr: i64,
    /// The balance afterwards; `null` where the account lives on another shard and is credited a moment later.
    asset_cn: Option<u64>,
    created_at: String,
}

/// What an event belongs to.
struct Belongs<'a> {
    event_id: Cow<'a, str>,
    op_user: UserId,
    event_type: &'a str,
    biz_id: u64,
    biz_type: u8,
    obj_id: Cow<'a, str>,
    is_anonymous: bool,
    trace: Option<TraceId>,
}

/// One account's part of an event.
struct Change {
    user: UserId,
    asset: AssetId,
    incr: i64,
    balance: Option<Amount>,
    is_actor: bool,
}

/// The events of one record from `first` on, each with the messages it makes, and what is left when one cannot be read.
pub fn of_record(place: Place<'_>, count: u64, events: &[u8]) -> (Vec<Message>, Option<(Seq, usize, Undecodable)>) {
    let (mut messages, mut used) = (Vec::new(), 0);
    for number in 0..count {
        let seq = place.seq.plus(number);
        match codec::decode_front::<WalletEvent>(&events[used..]) {
            Ok((event, size)) => {
                used += size;
                messages.extend(of_event(Place { seq, ..place }, &event));
            }
            Err(error) => return (messages, Some((seq, used, error))),
        }
    }
    (messages, None)
}

/// An event that changes no account, or only books credits that were published with the gift they come from, makes none.
pub fn of_event(place: Place<'_>, event: &WalletEvent) -> Vec<Message> {
    let Some(belongs) = belongs_to(event) else { return Vec::new() };
    let changes = changes(event);
    changes.iter().enumerate().map(|(number, change)| message(place, &belongs, number, change)).collect()
}

fn belongs_to(event: &WalletEvent) -> Option<Belongs<'_>> {
    Some(match event {
        WalletEvent::GiftSent(gift) => Belongs {
            event_id: id(gift.said.id, gift.said.key.as_deref()),
            op_user: gift.said.sender,
            event_type: "interactGift",
            biz_id: gift.said.room.get(),
            biz_type: 1,
            obj_id: gift.said.gift.to_string().into(),
            is_anonymous: gift.said.anonymous,
            trace: gift.trace,
        },
        WalletEvent::Recharged(recharge) => Belongs {
            event_id: id(recharge.said.id(), None),
            op_user: recharge.said.user,
            event_type: order(recharge.said.channel),
            biz_id: 0,
            biz_type: 2,
            obj_id: (&*recharge.said.transaction).into(),
            is_anonymous: false,
            trace: recharge.trace,
        },
        WalletEvent::Transferred(transfer) => {
            let reference = transfer.said.reference.as_deref().unwrap_or_default();
            let (event_type, biz_type, biz_id, obj_id) = station(reference).unwrap_or(("none", 0, 0, reference));
            Belongs {
                event_id: id(transfer.said.id, transfer.said.key.as_deref()),
                op_user: transfer.said.user,
                event_type,
                biz_id,
                biz_type,
                obj_id: obj_id.into(),
                is_anonymous: false,
                trace: transfer.trace,
            }
        }
        WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => return None,
    })
}

/// As the caller wrote it.
fn id(id: EventId, key: Option<&str>) -> Cow<'_, str> {
    key.map_or_else(|| id.to_string().into(), Cow::Borrowed)
}

fn order(channel: Channel) -> &'static str {
    match channel {
        Channel::Apple => "orderApple",
        Channel::Wechat => "orderWX",
        Channel::Alipay => "orderAlipay",
        Channel::Douyin => "orderDouyin",
        Channel::Manual => "recharge",
    }
}

/// A transfer that came through the station interface says in its reference what it belongs to:
/// `station:eventType:bizType:bizId:objId`.
fn station(reference: &str) -> Option<(&str, u8, u64, &str)> {
    let mut parts = reference.strip_prefix("station:")?.splitn(4, ':');
    Some((parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?))
}

/// All accounts that an event changes, wherever they live.
fn changes(event: &WalletEvent) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut change = |user, asset, incr, balance, is_actor| {
        changes.push(Change { user, asset, incr, balance, is_actor });
    };
    match event {
        WalletEvent::GiftSent(gift) => {
            change(gift.said.sender, gift.asset, minus(gift.total()), Some(gift.balance), true);
            for credit in &gift.credits {
                change(gift.payee(credit), gift.asset, plus(credit.amount), credit.balance, false);
            }
            if let Some(points) = gift.points {
                change(gift.said.sender, points.asset, plus(points.amount), Some(points.balance), true);
            }
        }
        WalletEvent::Recharged(recharge) => {
            let said = &recharge.said;
            change(said.user, said.asset, plus(said.amount), Some(recharge.balance), true);
        }
        WalletEvent::Transferred(transfer) => {
            let user = transfer.said.user;
            for ((asset, amount), balance) in transfer.said.debits.iter().zip(&transfer.debited) {
                change(user, *asset, minus(*amount), Some(*balance), true);
            }
            for (credit, balance) in transfer.said.credits.iter().zip(&transfer.credited) {
                change(credit.user, credit.asset, plus(credit.amount), *balance, credit.user == user);
            }
        }
        WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => {}
    }
    changes
}

/// An amount is below 2^53.
fn plus(amount: Amount) -> i64 {
    amount.get().cast_signed()
}

fn minus(amount: Amount) -> i64 {
    -plus(amount)
}

fn message(place: Place<'_>, belongs: &Belongs<'_>, number: usize, change: &Change) -> Message {
    let id = format!("{}.{}.{number}", place.shard, place.seq);
    let value = Value {
        event_id: &belongs.event_id,
        op_user_id: belongs.op_user.get(),
        event_type: belongs.event_type,
        anonymous: belongs.is_anonymous,
        message_body: Body {
            message_id: &id,
            user_id: change.user.get(),
            op_user_type: if change.is_actor { 1 } else { 2 },
            biz_id: belongs.biz_id,
            biz_type: belongs.biz_type,
            obj_id: &belongs.obj_id,
            asset_type: change.asset.get(),
            incr: change.incr,
            asset_cn: change.balance.map(Amount::get),
            created_at: humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(place.at.get()))
                .to_string(),
        },
    };
    let value = serde_json::to_string(&value).expect("numbers and text are valid JSON");
    let mut headers = vec![
        ("messageId".to_owned(), id.clone()),
        ("eventType".to_owned(), belongs.event_type.to_owned()),
        ("ledger".to_owned(), place.ledger.to_string()),
        ("shard".to_owned(), place.shard.to_string()),
        ("seq".to_owned(), place.seq.to_string()),
    ];
    if let Some(trace) = belongs.trace {
        headers.push(("traceId".to_owned(), crate::letters::to_hex(&trace)));
    }
    Message { key: change.user.to_string(), id, headers, value }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use largesse_engine::event_id::CallerKey;
    use largesse_engine::units::{CatalogVersion, GiftCount, GiftId, RoomId};
    use largesse_engine::wallet::command::{GiftSaid, RechargeSaid, TransferCredit, TransferSaid};
    use largesse_engine::wallet::event::{
        Credit, CreditsApplied, GiftSent, Payee, PointsIssued, Recharged, Transferred,
    };

    use super::*;

    const COIN: AssetId = AssetId(1);

    fn amount(units: u64) -> Amount {
        Amount::new(units).unwrap()
    }

    fn gift() -> WalletEvent {
        let key = CallerKey::parse("0190a5b0-1c4e-7d3a-8f00-0123456789ab").unwrap();
        WalletEvent::GiftSent(GiftSent {
            said: GiftSaid {
                id: key.id,
                key: key.text,
                sender: UserId(3001),
                room: RoomId(1001),
                gift: GiftId(9),
                count: GiftCount::new(2).unwrap(),
                receivers: [UserId(2001), UserId(2002)].into_iter().collect(),
                combo: None,
                anonymous: false,
            },
            catalog: CatalogVersion(1),
            unit_price: amount(5),
            asset: COIN,
            balance: amount(80),
            credits: [
                Credit { payee: Payee::Receiver(0), amount: amount(10), balance: Some(amount(10)), spread: 0 },
                Credit { payee: Payee::Receiver(1), amount: amount(10), balance: None, spread: 0 },
            ]
            .into_iter()
            .collect(),
            points: Some(PointsIssued { asset: AssetId(3), amount: amount(2), balance: amount(7) }),
            trace: Some([0xab; 16]),
        })
    }

    #[track_caller]
    fn check(event: &WalletEvent, want: Expect) {
        let place = Place {
            ledger: &LedgerName::default(),
            shard: ShardId::wallet(3),
            seq: Seq(17),
            at: Time(1_769_904_000_999),
        };
        let told = of_event(place, event).into_iter().map(|message| {
            let headers: Vec<_> = message.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {}\n  {}\n", message.key, headers.join(" "), message.value)
        });
        want.assert_eq(&told.collect::<String>());
    }

    #[test]
    fn an_anonymous_gift_says_so_to_those_who_are_told_everything() {
        let WalletEvent::GiftSent(mut gift) = gift() else { unreachable!("it is a gift") };
        gift.said.anonymous = true;
        (gift.points, gift.trace) = (None, None);
        gift.credits.truncate(1);
        check(
            &WalletEvent::GiftSent(gift),
            expect![[r#"
            3001 messageId=wallet-3.17.0 eventType=interactGift ledger=main shard=wallet-3 seq=17
              {"eventId":"0190a5b0-1c4e-7d3a-8f00-0123456789ab","opUserId":3001,"eventType":"interactGift","anonymous":true,"messageBody":{"messageId":"wallet-3.17.0","userId":3001,"opUserType":1,"bizId":1001,"bizType":1,"objId":"9","assetType":1,"incr":-20,"assetCn":80,"createdAt":"2026-02-01T00:00:00.999Z"}}
            2001 messageId=wallet-3.17.1 eventType=interactGift ledger=main shard=wallet-3 seq=17
              {"eventId":"0190a5b0-1c4e-7d3a-8f00-0123456789ab","opUserId":3001,"eventType":"interactGift","anonymous":true,"messageBody":{"messageId":"wallet-3.17.1","userId":2001,"opUserType":2,"bizId":1001,"bizType":1,"objId":"9","assetType":1,"incr":10,"assetCn":10,"createdAt":"2026-02-01T00:00:00.999Z"}}
            "#]],
        );
    }

    #[test]
    fn a_gift_is_a_message_for_each_account_it_changes() {
        check(
            &gift(),
            expect![[r#"
            3001 messageId=wallet-3.17.0 eventType=interactGift ledger=main shard=wallet-3 seq=17 traceId=abababababababababababababababab
              {"eventId":"0190a5b0-1c4e-7d3a-8f00-0123456789ab","opUserId":3001,"eventType":"interactGift","messageBody":{"messageId":"wallet-3.17.0","userId":3001,"opUserType":1,"bizId":1001,"bizType":1,"objId":"9","assetType":1,"incr":-20,"assetCn":80,"createdAt":"2026-02-01T00:00:00.999Z"}}
            2001 messageId=wallet-3.17.1 eventType=interactGift ledger=main shard=wallet-3 seq=17 traceId=abababababababababababababababab
              {"eventId":"0190a5b0-1c4e-7d3a-8f00-0123456789ab","opUserId":3001,"eventType":"interactGift","messageBody":{"messageId":"wallet-3.17.1","userId":2001,"opUserType":2,"bizId":1001,"bizType":1,"objId":"9","assetType":1,"incr":10,"assetCn":10,"createdAt":"2026-02-01T00:00:00.999Z"}}
            2002 messageId=wallet-3.17.2 eventType=interactGift ledger=main shard=wallet-3 seq=17 traceId=abababababababababababababababab
              {"eventId":"0190a5b0-1c4e-7d3a-8f00-0123456789ab","opUserId":3001,"eventType":"interactGift","messageBody":{"messageId":"wallet-3.17.2","userId":2002,"opUserType":2,"bizId":1001,"bizType":1,"objId":"9","assetType":1,"incr":10,"assetCn":null,"createdAt":"2026-02-01T00:00:00.999Z"}}
            3001 messageId=wallet-3.17.3 eventType=interactGift ledger=main shard=wallet-3 seq=17 traceId=abababababababababababababababab
              {"eventId":"0190a5b0-1c4e-7d3a-8f00-0123456789ab","opUserId":3001,"eventType":"interactGift","messageBody":{"messageId":"wallet-3.17.3","userId":3001,"opUserType":1,"bizId":1001,"bizType":1,"objId":"9","assetType":3,"incr":2,"assetCn":7,"createdAt":"2026-02-01T00:00:00.999Z"}}
        "#]],
        );
    }

    #[test]
    fn recharges_and_transfers_say_what_they_belong_to() {
        let said = RechargeSaid {
            channel: Channel::Wechat,
            transaction: "wx-1".into(),
            user: UserId(3001),
            asset: COIN,
            amount: amount(600),
        };
        check(
            &WalletEvent::Recharged(Recharged { said, balance: amount(700), trace: None }),
            expect![[r#"
            3001 messageId=wallet-3.17.0 eventType=orderWX ledger=main shard=wallet-3 seq=17
              {"eventId":"68a1e795-4a33-45c3-bf18-171580b206b1","opUserId":3001,"eventType":"orderWX","messageBody":{"messageId":"wallet-3.17.0","userId":3001,"opUserType":1,"bizId":0,"bizType":2,"objId":"wx-1","assetType":1,"incr":600,"assetCn":700,"createdAt":"2026-02-01T00:00:00.999Z"}}
        "#]],
        );
        let mut transfer = Transferred {
            said: TransferSaid {
                id: EventId::hashed("key", &["change-1"]),
                key: Some("change-1".into()),
                user: UserId(3001),
                debits: [(COIN, amount(5))].into_iter().collect(),
                credits: [TransferCredit { user: UserId(2001), asset: COIN, amount: amount(5) }].into_iter().collect(),
                reference: Some("station:interactGift:1:1001:a:b".into()),
            },
            debited: [amount(95)].into_iter().collect(),
            credited: [None].into_iter().collect(),
            trace: None,
        };
        check(
            &WalletEvent::Transferred(transfer.clone()),
            expect![[r#"
            3001 messageId=wallet-3.17.0 eventType=interactGift ledger=main shard=wallet-3 seq=17
              {"eventId":"change-1","opUserId":3001,"eventType":"interactGift","messageBody":{"messageId":"wallet-3.17.0","userId":3001,"opUserType":1,"bizId":1001,"bizType":1,"objId":"a:b","assetType":1,"incr":-5,"assetCn":95,"createdAt":"2026-02-01T00:00:00.999Z"}}
            2001 messageId=wallet-3.17.1 eventType=interactGift ledger=main shard=wallet-3 seq=17
              {"eventId":"change-1","opUserId":3001,"eventType":"interactGift","messageBody":{"messageId":"wallet-3.17.1","userId":2001,"opUserType":2,"bizId":1001,"bizType":1,"objId":"a:b","assetType":1,"incr":5,"assetCn":null,"createdAt":"2026-02-01T00:00:00.999Z"}}
        "#]],
        );
        transfer.said.reference = Some("rent \"of\" May".into());
        transfer.said.credits.clear();
        transfer.credited.clear();
        check(
            &WalletEvent::Transferred(transfer),
            expect![[r#"
            3001 messageId=wallet-3.17.0 eventType=none ledger=main shard=wallet-3 seq=17
              {"eventId":"change-1","opUserId":3001,"eventType":"none","messageBody":{"messageId":"wallet-3.17.0","userId":3001,"opUserType":1,"bizId":0,"bizType":0,"objId":"rent \"of\" May","assetType":1,"incr":-5,"assetCn":95,"createdAt":"2026-02-01T00:00:00.999Z"}}
        "#]],
        );
    }

    #[test]
    fn what_arrives_from_other_shards_was_published_there() {
        let applied = CreditsApplied { sources: [].into_iter().collect(), credits: Vec::new() };
        check(&WalletEvent::CreditsApplied(applied), expect![[""]]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let mut events = codec::encode(&gift());
        let good = events.len();
        events.extend([0xff, 0xff, 1, 2, 3]);
        let ledger = LedgerName::default();
        let place = Place { ledger: &ledger, shard: ShardId::wallet(3), seq: Seq(17), at: Time(0) };
        let (messages, broken) = of_record(place, 2, &events);
        assert_eq!(messages.len(), 4);
        let (seq, from, _) = broken.unwrap();
        assert_eq!((seq, from), (Seq(18), good));
        assert!(of_record(place, 1, &events).1.is_none());
    }
}
