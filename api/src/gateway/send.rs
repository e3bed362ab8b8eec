//! A gift that came over a socket, sent on with the viewer's own token; the answer goes back in the words it came in.

use std::ops::Not;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use largesse_engine::event_id::CallerKey;
use largesse_engine::units::Time;
use serde::Serialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::edge::Arrival;
use crate::error::ErrorCode;
use crate::extract::IDEMPOTENCY_KEY;
use crate::gateway::upstream::{Ask, Failed};
use crate::gateway::{Gateway, unavailable};
use crate::problem::Problem;
use crate::trace::TRACEPARENT;
use crate::wire::{Id, IdText, Whole};
use crate::ws::edge::Sender;
use crate::ws::frames::{SendFrame, ServerFrame, encode};
use crate::ws::send::refused;
use crate::{refusals, room_pass, until};

/// The body of `POST /v1/rooms/{room}/gifts`.
#[derive(Serialize)]
struct GiftOut {
    gift_id: u32,
    count: Whole,
    to: SmallVec<[IdText; 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    combo_id: Option<IdText>,
    #[serde(skip_serializing_if = "Not::not")]
    anonymous: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_seen: Option<Whole>,
}

impl GiftOut {
    fn of(frame: &SendFrame) -> GiftOut {
        GiftOut {
            gift_id: frame.gift_id,
            count: frame.count,
            to: frame.to.iter().map(|Id(id)| IdText(*id)).collect(),
            combo_id: frame.combo_id.map(|Id(id)| IdText(id)),
            anonymous: frame.anonymous,
            price_seen: frame.price_seen,
        }
    }
}

/// Sends it on, and encodes what became of it.
pub async fn send(gateway: &Gateway, from: &Sender, arrival: Arrival, frame: SendFrame) -> Bytes {
    let result = async {
        if from.is_read_only {
            return Err(Problem::read_only());
        }
        let key = CallerKey::parse(&frame.id)?;
        let final_after = frame.deadline.map_or_else(|| gateway.deadline(), Time);
        let unknown = || {
            let poll = format!("/v1/gifts/{}?final_after={final_after}", key.id);
            refusals::outcome_unknown(poll, final_after)
        };
        let ask = ask(gateway, from, arrival, &frame, final_after)?;
        let (head, body) = gateway.upstream.ask_whole(ask).await.map_err(|failed| match failed {
            Failed::Unreachable => unavailable(),
            Failed::Unknown => unknown(),
        })?;
        answered(&frame.id, head.status, &body).ok_or_else(unknown)
    };
    match result.await {
        Ok(frame) => frame,
        Err(problem) => encode(&refused(&frame.id, &problem, arrival.trace)),
    }
}

/// None of an answer that is not one of this program's.
fn answered(id: &str, status: StatusCode, body: &[u8]) -> Option<Bytes> {
    let told: &RawValue = serde_json::from_slice(body).ok()?;
    let (receipt, problem) = if status.is_success() { (Some(told), None) } else { (None, Some(told)) };
    Some(encode(&ServerFrame::Answered { id, status: status.as_u16(), receipt, problem }))
}

fn ask(
    gateway: &Gateway,
    from: &Sender,
    arrival: Arrival,
    frame: &SendFrame,
    final_after: Time,
) -> Result<Ask, Problem> {
    let token = from.token.as_deref().unwrap_or_default();
    let unfit = |what: &str| Problem::bad_request(format!("`{what}` has characters that it cannot have"));
    let header = |what: &str, text: String| HeaderValue::try_from(text).map_err(|_| unfit(what));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(AUTHORIZATION, header("token", format!("Bearer {token}"))?);
    headers.insert(IDEMPOTENCY_KEY, header("id", quoted(&frame.id))?);
    headers.insert(until::HEADER, HeaderValue::from(final_after.get()));
    headers.insert(TRACEPARENT, arrival.trace.header(gateway.fresh_ids.span()));
    if let Some(pass) = &frame.pass {
        headers.insert(HeaderName::from_static(room_pass::HEADER), header("pass", pass.clone())?);
    }
    if frame.room.0 == 0 {
        return Err(Problem::new(ErrorCode::RoomUnknown, "room 0 does not exist"));
    }
    Ok(Ask {
        method: Method::POST,
        path: format!("/v1/rooms/{}/gifts", frame.room.0),
        headers,
        body: serde_json::to_vec(&GiftOut::of(frame)).expect("a gift is plain data").into(),
        is_repeatable: true,
    })
}

/// As a string of structured fields, so that it is read as it is whatever it begins with.
fn quoted(key: &str) -> String {
    let mut text = String::with_capacity(key.len() + 2);
    text.push('"');
    for c in key.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_passed_on_in_its_own_words() {
        let frame = answered("k", StatusCode::OK, br#"{"b":1,"a":[2.50]}"#).unwrap();
        let text = String::from_utf8_lossy(&frame[2..]).into_owned();
        assert_eq!(text, r#"{"type":"result","id":"k","status":200,"receipt":{"b":1,"a":[2.50]}}"#);
        let frame = answered("k", StatusCode::PAYMENT_REQUIRED, br#"{"code":"insufficient_funds"}"#).unwrap();
        assert!(String::from_utf8_lossy(&frame).contains(r#""status":402,"problem":{"code":"insufficient_funds"}"#));
        assert_eq!(answered("k", StatusCode::BAD_GATEWAY, b"<html>"), None);
    }

    #[test]
    fn a_gift_is_passed_on_as_it_was_said() {
        for (said, want) in [
            ("", r#"{"gift_id":9,"count":2,"to":["2001"]}"#),
            (r#""anonymous":false,"#, r#"{"gift_id":9,"count":2,"to":["2001"]}"#),
            (r#""anonymous":true,"#, r#"{"gift_id":9,"count":2,"to":["2001"],"anonymous":true}"#),
        ] {
            let frame = format!(r#"{{"id":"k","room":1001,{said}"gift_id":9,"count":2,"to":[2001]}}"#);
            let frame: SendFrame = serde_json::from_str(&frame).unwrap();
            assert_eq!(serde_json::to_string(&GiftOut::of(&frame)).unwrap(), want);
        }
    }

    #[test]
    fn a_key_is_read_as_it_is() {
        for (key, want) in [("plain", r#""plain""#), (r#"a"b\c"#, r#""a\"b\\c""#), (r#""q""#, r#""\"q\"""#)] {
            assert_eq!(quoted(key), want);
        }
    }
}
