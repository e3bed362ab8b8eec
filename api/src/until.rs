//! Until when a request may be decided, where its caller says so: `Largesse-Deadline`, in milliseconds since 1970.
//!
//! Whoever loses a connection does not know whether his request is still on its way, in a proxy's buffer or before a process
//! that is paused. A refusal of a second attempt would then prove nothing about the first. With a deadline it does: once
//! the shard's time has passed it, a lookup of the key is final for every attempt that carried it.

use axum::extract::FromRequestParts;
use http::request::Parts;
use largesse_engine::service::ServiceError;
use largesse_engine::units::Time;
use largesse_engine::wallet::outcome::Refusal;

use crate::error::ErrorCode;
use crate::problem::{Extras, Problem};
use crate::state::ApiState;

pub const HEADER: &str = "largesse-deadline";

/// What the caller said, if anything.
#[derive(Clone, Copy, Debug)]
pub struct Until(pub Option<Time>);

impl FromRequestParts<ApiState> for Until {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(HEADER).iter();
        let Some(value) = given.next() else { return Ok(Until(None)) };
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let until = digits.and_then(|text| text.parse().ok()).filter(|_| given.next().is_none());
        let until = until
            .map(Time)
            .ok_or_else(|| Problem::bad_request("Largesse-Deadline is one whole number of milliseconds since 1970"))?;
        Until::checked(Some(until), state.service.clock.now())
    }
}

impl Until {
    /// What was said is refused at once if it has passed already.
    pub fn checked(until: Option<Time>, now: Time) -> Result<Until, Problem> {
        if until.is_some_and(|until| now > until) { Err(passed(now)) } else { Ok(Until(until)) }
    }

    /// The problem, if it was the caller's deadline that ended an attempt before it was decided.
    pub fn passed(self, error: &ServiceError, now: Time) -> Option<Problem> {
        let is_expired = matches!(error, ServiceError::Refused(Refusal::Expired));
        (is_expired && self.0.is_some_and(|until| now > until)).then(|| passed(now))
    }
}

fn passed(now: Time) -> Problem {
    let detail = "the request says that it may not be decided so late; this attempt was not decided";
    Problem::with(ErrorCode::DeadlinePassed, detail, Extras::ServerTime(now))
}
