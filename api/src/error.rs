//! The errors that callers can meet: one closed list, with stable names and numbers.

use http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal, $status:ident, $number:literal, $retry:ident, $title:literal;)*) => {
        /// Every error of the API. A name or number that was published is never given another meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $code,)*
        }

        impl ErrorCode {
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$code,)*];

            /// The stable name, `code` on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$code => $name,)* }
            }

            pub const fn status(self) -> StatusCode {
                match self { $(ErrorCode::$code => StatusCode::$status,)* }
            }

            /// `err_code` on the wire.
            pub const fn number(self) -> u32 {
                match self { $(ErrorCode::$code => $number,)* }
            }

            /// Whether the very same request can succeed later without anything else being changed.
            pub const fn is_retryable(self) -> bool {
                match self { $(ErrorCode::$code => codes!(@ $retry),)* }
            }

            pub const fn title(self) -> &'static str {
                match self { $(ErrorCode::$code => $title,)* }
            }
        }
    };
    (@ retry) => { true };
    (@ final_) => { false };
}

codes! {
    BadRequest = "bad_request", BAD_REQUEST, 10001, final_, "The request cannot be understood";
    InvalidAmount = "invalid_amount", UNPROCESSABLE_ENTITY, 10002, final_, "A count or an amount is out of range";
    TooManyReceivers = "too_many_receivers", UNPROCESSABLE_ENTITY, 10003, final_, "Too many receivers";
    BatchTooLarge = "batch_too_large", UNPROCESSABLE_ENTITY, 10004, final_, "Too many items in one request";
    KeyRequired = "key_required", BAD_REQUEST, 10005, final_, "An idempotency key is needed";
    SelfGift = "self_gift", UNPROCESSABLE_ENTITY, 10006, final_, "A gift cannot go to its sender";
    CursorInvalid = "cursor_invalid", BAD_REQUEST, 10007, final_, "The cursor was not made by this list";
    PayloadTooLarge = "payload_too_large", PAYLOAD_TOO_LARGE, 10008, final_, "The body is too large";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, 10009, final_, "The body must be JSON";
    Unauthenticated = "unauthenticated", UNAUTHORIZED, 10010, final_, "Who is asking is not proven";
    Forbidden = "forbidden", FORBIDDEN, 10011, final_, "Not allowed to this caller";
    BadSignature = "bad_signature", UNAUTHORIZED, 10012, final_, "The request's signature does not fit";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, 10013, final_, "The path has no such method";
    RoomPassInvalid = "room_pass_invalid", FORBIDDEN, 10015, final_, "A pass for this room is needed";
    NotFound = "not_found", NOT_FOUND, 10014, final_, "There is nothing at this path";
    GiftUnknown = "gift_unknown", NOT_FOUND, 10020, final_, "The gift is not sold here";
    RoomUnknown = "room_unknown", NOT_FOUND, 10021, final_, "The room does not exist";
    EventUnknown = "event_unknown", NOT_FOUND, 10022, final_, "No event has this id";
    PriceChanged = "price_changed", CONFLICT, 10030, final_, "The price has changed";
    RoomClosed = "room_closed", CONFLICT, 10031, final_, "The room is closed";
    HostNotInRoom = "host_not_in_room", UNPROCESSABLE_ENTITY, 10032, final_, "A receiver is not a host of this room";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, 10050, retry, "Too many requests";
    IdReused = "id_reused", CONFLICT, 20030, final_, "The key was used for something else";
    IdTimeAhead = "id_time_ahead", UNPROCESSABLE_ENTITY, 20031, final_, "The key's time is ahead of the server's";
    IdTooOld = "id_too_old", UNPROCESSABLE_ENTITY, 20032, final_, "The key is older than history";
    DeadlinePassed = "deadline_passed", UNPROCESSABLE_ENTITY, 20033, final_, "The caller's deadline has passed";
    InsufficientFunds = "insufficient_funds", PAYMENT_REQUIRED, 20040, final_, "Not enough on the account";
    IssueLimit = "issue_limit", UNPROCESSABLE_ENTITY, 20041, final_, "No more of this asset can be issued";
    /// Nothing was decided.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, 20050, retry, "Too much is under way";
    ShardUnavailable = "shard_unavailable", SERVICE_UNAVAILABLE, 20051, retry, "The account's shard is not served right now";
    /// It may have happened; only a lookup of the same key can tell.
    OutcomeUnknown = "outcome_unknown", GATEWAY_TIMEOUT, 20052, retry, "The outcome is not known";
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, 20053, retry, "The store cannot be reached";
    Internal = "internal", INTERNAL_SERVER_ERROR, 20000, retry, "Something went wrong in the engine";
    ServiceInternal = "service_internal", INTERNAL_SERVER_ERROR, 10000, retry, "Something went wrong at the edge";
}

impl ErrorCode {
    /// Whether the server vouches that this attempt moved no money.
    pub const fn vouches_for_no_effect(self) -> bool {
        !matches!(self, ErrorCode::OutcomeUnknown | ErrorCode::Internal | ErrorCode::ServiceInternal)
    }

    pub(crate) fn place(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_in_their_ranges() {
        let names: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        let numbers: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
        assert_eq!((names.len(), numbers.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len()));
        for code in ErrorCode::ALL {
            assert!((10_000..30_000).contains(&code.number()), "{code:?}");
            assert_eq!(ErrorCode::ALL[code.place()], *code);
        }
    }

    #[test]
    fn what_asks_to_try_again_says_why_it_may() {
        for code in ErrorCode::ALL {
            let is_server_side = code.status().is_server_error() || *code == ErrorCode::RateLimited;
            assert_eq!(code.is_retryable(), is_server_side, "{code:?}");
        }
    }
}
