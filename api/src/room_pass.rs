//! Room passes: a short-lived proof that a viewer has entered a room, which his gifts there must carry.
//!
//! A script that only has a stolen token cannot send gifts with it before it has asked for a pass, room by room and
//! minute by minute, where that can be seen and limited. Off by default.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use largesse_engine::units::{RoomId, Time, UserId};

use crate::auth::Caller;
use crate::auth::services::{hmac, hmac_fits};
use crate::error::ErrorCode;
use crate::problem::Problem;

pub const HEADER: &str = "largesse-room-pass";
/// Names what the secret is used for.
const PURPOSE: &str = "largesse-room-pass-v1";

#[derive(Clone)]
pub struct RoomPassOptions {
    pub secret: Vec<u8>,
    /// How long a pass is good for.
    pub ttl: Duration,
}

impl std::fmt::Debug for RoomPassOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoomPassOptions").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// `<end in milliseconds>.<HMAC in base64>`, for one viewer in one room.
pub fn issue(options: &RoomPassOptions, user: UserId, room: RoomId, now: Time) -> (String, Time) {
    let ends = now.plus_millis(u64::try_from(options.ttl.as_millis()).unwrap_or(u64::MAX));
    let mac = hmac(&options.secret, text(user, room, ends).as_bytes());
    (format!("{}.{}", ends.get(), URL_SAFE_NO_PAD.encode(mac)), ends)
}

/// Lets a gift pass. Services vouch for their viewers themselves.
pub fn check(
    options: Option<&RoomPassOptions>,
    caller: &Caller,
    room: RoomId,
    headers: &HeaderMap,
    now: impl FnOnce() -> Time,
) -> Result<(), Problem> {
    let (Some(options), Caller::Viewer(user) | Caller::Reader(user)) = (options, caller) else { return Ok(()) };
    let mut passes = headers.get_all(HEADER).iter();
    let pass = passes.next().map(|pass| pass.to_str().unwrap_or_default());
    let pass = if passes.next().is_some() { Some("") } else { pass };
    check_text(Some(options), *user, room, pass, now)
}

/// Lets a viewer's gift pass that brought its pass some other way.
pub fn check_text(
    options: Option<&RoomPassOptions>,
    user: UserId,
    room: RoomId,
    pass: Option<&str>,
    now: impl FnOnce() -> Time,
) -> Result<(), Problem> {
    let Some(options) = options else { return Ok(()) };
    let refused = |detail: &'static str| Problem::new(ErrorCode::RoomPassInvalid, detail);
    let pass = pass.ok_or_else(|| refused("send the room's pass as Largesse-Room-Pass, or `pass` over a socket"))?;
    let malformed = || refused("this is not a room's pass; get a new one");
    let (ends, mac) = pass.split_once('.').ok_or_else(malformed)?;
    let ends = Time(ends.parse().map_err(|_| malformed())?);
    let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| malformed())?;
    if !hmac_fits(&options.secret, text(user, room, ends).as_bytes(), &mac) {
        return Err(refused("the pass is for another viewer or room; get one for this room"));
    }
    if ends <= now() {
        return Err(refused("the pass has ended; get a new one"));
    }
    Ok(())
}

fn text(user: UserId, room: RoomId, ends: Time) -> String {
    format!("{PURPOSE}\n{user}\n{room}\n{}", ends.get())
}

pub mod http_call {
    //! `POST /v1/rooms/{room}/pass`.

    use axum::extract::State;
    use axum::response::Response;

    use super::issue;
    use crate::edge;
    use crate::error::ErrorCode;
    use crate::extract::{RoomPath, Viewer};
    use crate::openapi::errors::PassErrors;
    use crate::openapi::schemas;
    use crate::problem::Problem;
    use crate::state::ApiState;
    use crate::time_text::Rfc3339;
    use crate::wire::IdText;

    /// A pass for a room
    ///
    /// For the viewer himself, who sends it with his gifts as `Largesse-Room-Pass` where passes are asked for.
    #[utoipa::path(
        post, path = "/v1/rooms/{room}/pass", operation_id = "roomPass", tag = "gifts", security(("viewer" = [])),
        params(("room" = inline(schemas::IdPath), Path, example = "1001")),
        responses((status = 200, description = "The pass.", body = schemas::Pass), PassErrors)
    )]
    pub async fn create(
        State(state): State<ApiState>,
        Viewer(user): Viewer,
        RoomPath(room): RoomPath,
    ) -> Result<Response, Problem> {
        let Some(options) = &state.options.room_pass else {
            return Err(Problem::new(ErrorCode::NotFound, "room passes are off here; send gifts without one"));
        };
        if !state.service.control.view().rooms.contains_key(&room) {
            return Err(Problem::new(ErrorCode::RoomUnknown, format!("there is no room {room}")));
        }
        let (pass, ends) = issue(options, user, room, state.service.clock.now());
        let expires_at = Rfc3339(ends).to_string();
        Ok(edge::json(&serde_json::json!({ "room_id": IdText::from(room), "pass": pass, "expires_at": expires_at })))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_pass_is_for_one_viewer_in_one_room_for_a_while() {
        let options = RoomPassOptions { secret: b"a secret for passes only".to_vec(), ttl: Duration::from_secs(120) };
        let (ann, bob, here, there, now) = (UserId(1), UserId(2), RoomId(10), RoomId(11), Time(1_000_000));
        let (pass, ends) = issue(&options, ann, here, now);
        assert_eq!(ends, Time(1_120_000));
        let check = |options, caller: &Caller, room, pass: &[&str], now| {
            let mut map = HeaderMap::new();
            for pass in pass {
                map.append(HEADER, HeaderValue::from_str(pass).unwrap());
            }
            check(options, caller, room, &map, || now).map_err(|problem| problem.code())
        };
        let on = Some(&options);
        let (ann, bob) = (Caller::Viewer(ann), Caller::Viewer(bob));
        assert_eq!(check(on, &ann, here, &[&pass], now), Ok(()));
        assert_eq!(check(on, &ann, here, &[&pass], Time(ends.get() - 1)), Ok(()));
        assert_eq!(check(None, &ann, here, &[], now), Ok(()), "off");
        let refused = Err(ErrorCode::RoomPassInvalid);
        assert_eq!(check(on, &ann, here, &[&pass], ends), refused, "ended");
        assert_eq!(check(on, &bob, here, &[&pass], now), refused, "another viewer's");
        assert_eq!(check(on, &ann, there, &[&pass], now), refused, "another room's");
        let longer = pass.replacen("1120000", "9120000", 1);
        let foreign = RoomPassOptions { secret: b"another secret".to_vec(), ..options.clone() };
        assert_eq!(check(Some(&foreign), &ann, here, &[&pass], now), refused, "another secret's");
        for bad in [longer.as_str(), "", ".", "1120000.", "x.y", "99999999999999999999.AAAA", &pass[..pass.len() - 1]] {
            assert_eq!(check(on, &ann, here, &[bad], now), refused, "{bad}");
        }
        assert_eq!(check(on, &ann, here, &[&pass, &pass], now), refused, "two of them");
        assert_eq!(check(on, &ann, here, &[], now), refused, "none");
    }
}
