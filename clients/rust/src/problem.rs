//! Errors as the server tells them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::parse_time;

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal,)*) => {
        /// The stable names of errors. `docs/errors.md` says what to do about each.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $code,)*
            /// One that this version does not know.
            Other(String),
        }

        impl Code {
            pub const KNOWN: &[&str] = &[$($name,)*];

            pub fn name(&self) -> &str {
                match self { $(Code::$code => $name,)* Code::Other(name) => name }
            }

            fn of(name: &str) -> Code {
                match name { $($name => Code::$code,)* other => Code::Other(other.into()) }
            }
        }
    };
}

codes! {
    BadRequest = "bad_request",
    InvalidAmount = "invalid_amount",
    TooManyReceivers = "too_many_receivers",
    BatchTooLarge = "batch_too_large",
    KeyRequired = "key_required",
    SelfGift = "self_gift",
    CursorInvalid = "cursor_invalid",
    PayloadTooLarge = "payload_too_large",
    UnsupportedMediaType = "unsupported_media_type",
    MethodNotAllowed = "method_not_allowed",
    NotFound = "not_found",
    Unauthenticated = "unauthenticated",
    Forbidden = "forbidden",
    BadSignature = "bad_signature",
    RoomPassInvalid = "room_pass_invalid",
    RateLimited = "rate_limited",
    GiftUnknown = "gift_unknown",
    RoomUnknown = "room_unknown",
    RoomClosed = "room_closed",
    HostNotInRoom = "host_not_in_room",
    PriceChanged = "price_changed",
    InsufficientFunds = "insufficient_funds",
    IssueLimit = "issue_limit",
    EventUnknown = "event_unknown",
    IdReused = "id_reused",
    IdTimeAhead = "id_time_ahead",
    IdTooOld = "id_too_old",
    DeadlinePassed = "deadline_passed",
    Overloaded = "overloaded",
    ShardUnavailable = "shard_unavailable",
    StoreUnavailable = "store_unavailable",
    OutcomeUnknown = "outcome_unknown",
    Internal = "internal",
    ServiceInternal = "service_internal",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
        Ok(Code::of(&String::deserialize(deserializer)?))
    }
}

/// The body of an error. Members that only some errors have are `None` elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Problem {
    pub code: Code,
    pub status: u16,
    pub detail: String,
    pub retryable: bool,
    #[serde(default)]
    pub trace_id: String,
    /// What the gift costs, and what is there: of `insufficient_funds`.
    pub needed: Option<u64>,
    pub available: Option<u64>,
    pub asset: Option<String>,
    /// For the user, in the language of [`crate::Options::language`].
    pub prompt: Option<String>,
    /// The unit price that was seen, and the present one: of `price_changed`.
    pub price_seen: Option<u64>,
    pub price: Option<u64>,
    /// Where to ask, and from when on a 404 there is final: of `outcome_unknown`.
    pub poll: Option<String>,
    pub final_after: Option<String>,
    /// Of errors about times.
    pub server_time: Option<String>,
    /// Of `event_unknown`.
    #[serde(rename = "final")]
    pub is_final: Option<bool>,
}

impl Problem {
    /// Whether the server vouches that the attempt that got this answer moved no money.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the promise of the API is: all but three")]
    pub fn vouches_for_no_effect(&self) -> bool {
        match self.code {
            Code::OutcomeUnknown | Code::Internal | Code::ServiceInternal => false,
            // What a later server may say. It keeps its promise for refusals, which are not its own failures.
            Code::Other(_) => (400..500).contains(&self.status),
            _ => true,
        }
    }

    pub(crate) fn server_time(&self) -> Option<u64> {
        self.server_time.as_deref().and_then(parse_time)
    }

    pub(crate) fn final_after(&self) -> Option<u64> {
        self.final_after.as_deref().and_then(parse_time)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_code_of_the_page_of_errors_is_known() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
        let text = std::fs::read_to_string(page).unwrap();
        let listed: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        assert_eq!(listed, Code::KNOWN.iter().copied().collect());
        for name in Code::KNOWN {
            assert_eq!(Code::of(name).name(), *name);
        }
    }

    #[test]
    fn only_three_codes_leave_it_open_whether_money_moved() {
        let problem = |code: &str, status: u16| -> Problem {
            let body = format!(r#"{{"code":"{code}","status":{status},"detail":"","retryable":false}}"#);
            serde_json::from_str(&body).unwrap()
        };
        let open = Code::KNOWN.iter().filter(|code| !problem(code, 500).vouches_for_no_effect());
        assert_eq!(open.collect::<Vec<_>>(), [&"outcome_unknown", &"internal", &"service_internal"]);
        assert!(problem("frozen", 403).vouches_for_no_effect());
        assert!(!problem("half_done", 500).vouches_for_no_effect());
    }
}
