//! Errors as callers read them: `application/problem+json`.
//!
//! A handler answers with a [`Problem`]; it travels in the response's extensions, and the edge writes the body, because
//! only the edge knows the request's trace and language.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use largesse_engine::units::{Amount, Time};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::error::ErrorCode;
use crate::language::Language;
use crate::time_text::Rfc3339;
use crate::trace::Trace;

/// One error with what to tell about it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Problem(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: ErrorCode,
    detail: Cow<'static, str>,
    extras: Extras,
}

/// Members that only some errors have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extras {
    None,
    Prices { seen: Amount, now: Amount },
    Funds { needed: Amount, available: Amount, asset: String },
    RetryAfter(Duration),
    Poll { poll: String, final_after: Time },
    ServerTime(Time),
    Oldest(Time),
    Final(bool),
}

impl Problem {
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::with(code, detail, Extras::None)
    }

    pub fn with(code: ErrorCode, detail: impl Into<Cow<'static, str>>, extras: Extras) -> Problem {
        Problem(Arc::new(Inner { code, detail: detail.into(), extras }))
    }

    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(ErrorCode::BadRequest, detail)
    }

    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(ErrorCode::Forbidden, detail)
    }

    /// A viewer's token that allows to look at rooms, where more is needed.
    pub fn read_only() -> Problem {
        Problem::forbidden(
            "this token is read-only, as its `scope` has `read` and not `write`: it neither sends gifts nor reads accounts",
        )
    }

    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn extras(&self) -> &Extras {
        &self.0.extras
    }

    /// The problem behind an answer that says only a status: what the framework refuses by itself.
    pub(crate) fn of_status(status: StatusCode) -> Problem {
        let code = match status.as_u16() {
            401 => ErrorCode::Unauthenticated,
            403 => ErrorCode::Forbidden,
            404 => ErrorCode::NotFound,
            405 => ErrorCode::MethodNotAllowed,
            413 => ErrorCode::PayloadTooLarge,
            415 => ErrorCode::UnsupportedMediaType,
            429 => ErrorCode::RateLimited,
            503 => ErrorCode::Overloaded,
            400..=499 => ErrorCode::BadRequest,
            _ => ErrorCode::ServiceInternal,
        };
        Problem::new(code, code.title())
    }

    /// Writes the body into an answer, whose other headers stay.
    pub(crate) fn write_into(&self, response: Response, trace: &Trace, language: Language) -> Response {
        let body = self.written(*trace, language);
        let body = serde_json::to_vec(&body).expect("a problem is a map of strings, numbers and booleans");
        let (mut parts, _) = response.into_parts();
        parts.status = self.0.code.status();
        parts.headers.remove(http::header::CONTENT_LENGTH);
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after() {
            parts.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if parts.status == StatusCode::UNAUTHORIZED {
            parts.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Response::from_parts(parts, Body::from(body))
    }

    pub fn written(&self, trace: Trace, language: Language) -> Written {
        Written { problem: self.clone(), trace, language }
    }

    /// Whole seconds, at least one: what a caller should leave in peace an unavailable server.
    fn retry_after(&self) -> Option<u64> {
        match (&self.0.extras, self.0.code.status()) {
            (Extras::RetryAfter(wait), _) => {
                Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).map(|s| s.max(1))
            }
            (_, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => Some(1),
            _ => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.name(), self.0.detail)
    }
}

/// A problem as it stands in a body: of an answer, or of one item of it.
#[derive(Debug)]
pub struct Written {
    problem: Problem,
    trace: Trace,
    language: Language,
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Inner { code, detail, extras } = &*self.problem.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/docs/errors#{}", code.name()))?;
        map.serialize_entry("title", code.title())?;
        map.serialize_entry("status", &code.status().as_u16())?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("code", code.name())?;
        map.serialize_entry("err_code", &code.number())?;
        map.serialize_entry("retryable", &code.is_retryable())?;
        map.serialize_entry("trace_id", &format_args!("{}", self.trace))?;
        match extras {
            Extras::None | Extras::RetryAfter(_) => {}
            Extras::Prices { seen, now } => {
                map.serialize_entry("price_seen", seen)?;
                map.serialize_entry("price", now)?;
            }
            Extras::Funds { needed, available, asset } => {
                map.serialize_entry("needed", needed)?;
                map.serialize_entry("available", available)?;
                map.serialize_entry("asset", asset)?;
                map.serialize_entry("prompt", &prompt(self.language, *needed, *available, asset))?;
            }
            Extras::Poll { poll, final_after } => {
                map.serialize_entry("poll", poll)?;
                map.serialize_entry("final_after", &Rfc3339(*final_after))?;
            }
            Extras::ServerTime(now) => map.serialize_entry("server_time", &Rfc3339(*now))?,
            Extras::Oldest(oldest) => map.serialize_entry("oldest", &Rfc3339(*oldest))?,
            Extras::Final(is_final) => map.serialize_entry("final", is_final)?,
        }
        map.end()
    }
}

/// What an app may show to a user who has not enough.
pub(crate) fn prompt(language: Language, needed: Amount, available: Amount, asset: &str) -> String {
    let missing = needed.get().saturating_sub(available.get());
    match language {
        Language::English => {
            let plural = if missing == 1 { "" } else { "s" };
            format!("You need {missing} more {asset}{plural}. Recharge and send it again.")
        }
        Language::Chinese => {
            let asset = match asset {
                "coin" => "金币",
                "diamond" => "钻石",
                "point" => "积分",
                other => other,
            };
            format!("余额不足，还差 {missing} {asset}，请充值后再送出。")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::FreshIds;

    fn written(problem: &Problem, language: Language) -> serde_json::Value {
        let trace = Trace::of(&http::HeaderMap::new(), &FreshIds::default());
        serde_json::to_value(problem.written(trace, language)).unwrap()
    }

    #[test]
    fn not_enough_is_told_in_the_language_of_the_user() {
        let [needed, available] = [30, 10].map(|units| Amount::new(units).unwrap());
        let funds = Extras::Funds { needed, available, asset: "coin".into() };
        let problem = Problem::with(ErrorCode::InsufficientFunds, "10 is less than 30", funds);
        let english = written(&problem, Language::English);
        assert_eq!(english["prompt"], "You need 20 more coins. Recharge and send it again.");
        assert_eq!((&english["needed"], &english["available"]), (&30.into(), &10.into()));
        let chinese = written(&problem, Language::Chinese);
        assert_eq!(chinese["prompt"], "余额不足，还差 20 金币，请充值后再送出。");
        assert_eq!(chinese["err_code"], 20040);
        assert_eq!(chinese["type"], "/docs/errors#insufficient_funds");
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (millis, want) in [(1, 1), (999, 1), (1_000, 1), (1_001, 2), (0, 1)] {
            let wait = Extras::RetryAfter(Duration::from_millis(millis));
            assert_eq!(Problem::with(ErrorCode::Overloaded, "", wait).retry_after(), Some(want));
        }
        assert_eq!(Problem::new(ErrorCode::StoreUnavailable, "").retry_after(), Some(1));
        assert_eq!(Problem::new(ErrorCode::BadRequest, "").retry_after(), None);
    }
}
