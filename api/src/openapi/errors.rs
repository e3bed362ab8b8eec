//! Which errors each call can answer with, by status, for its description.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::error::ErrorCode;
use crate::openapi::schemas;

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident: $($code:ident)+;)*) => {
        $($(#[$doc])* pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                of_codes(&[$(ErrorCode::$code),+])
            }
        })*
    };
}

errors! {
    /// Of calls without a body, a caller or a shard.
    OpenErrors: BadRequest RateLimited ServiceInternal;
    CatalogErrors: BadRequest RoomUnknown BadSignature RateLimited ShardUnavailable ServiceInternal;
    SendErrors: BadRequest KeyRequired InvalidAmount TooManyReceivers SelfGift PayloadTooLarge UnsupportedMediaType
        Unauthenticated Forbidden BadSignature RoomPassInvalid RateLimited GiftUnknown RoomUnknown RoomClosed HostNotInRoom PriceChanged
        IdReused IdTimeAhead IdTooOld DeadlinePassed InsufficientFunds IssueLimit Overloaded ShardUnavailable StoreUnavailable
        OutcomeUnknown Internal ServiceInternal;
    FindErrors: BadRequest KeyRequired EventUnknown Unauthenticated Forbidden BadSignature RateLimited Overloaded
        ShardUnavailable StoreUnavailable Internal ServiceInternal;
    ReadErrors: BadRequest Unauthenticated Forbidden BadSignature RateLimited Overloaded ShardUnavailable
        StoreUnavailable Internal ServiceInternal;
    HistoryErrors: BadRequest CursorInvalid Unauthenticated Forbidden BadSignature RateLimited Overloaded
        ShardUnavailable StoreUnavailable Internal ServiceInternal;
    QueryErrors: BadRequest BatchTooLarge PayloadTooLarge UnsupportedMediaType Unauthenticated Forbidden BadSignature
        RateLimited ShardUnavailable ServiceInternal;
    RechargeErrors: BadRequest KeyRequired InvalidAmount PayloadTooLarge UnsupportedMediaType Unauthenticated Forbidden
        BadSignature RateLimited IdReused DeadlinePassed IssueLimit Overloaded ShardUnavailable StoreUnavailable
        OutcomeUnknown Internal ServiceInternal;
    TransferErrors: BadRequest BatchTooLarge DeadlinePassed PayloadTooLarge UnsupportedMediaType Unauthenticated Forbidden BadSignature
        RateLimited ShardUnavailable ServiceInternal;
    AdminReadErrors: Unauthenticated Forbidden ShardUnavailable ServiceInternal;
    AdminWriteErrors: BadRequest PayloadTooLarge UnsupportedMediaType Unauthenticated Forbidden Overloaded
        ShardUnavailable OutcomeUnknown Internal ServiceInternal;
    RevokeErrors: BadRequest NotFound Unauthenticated Forbidden Overloaded ShardUnavailable OutcomeUnknown Internal
        ServiceInternal;
    PassErrors: BadRequest NotFound RoomUnknown Unauthenticated Forbidden BadSignature RateLimited ShardUnavailable
        ServiceInternal;
    RoomErrors: BadRequest RoomUnknown Unauthenticated Forbidden BadSignature RateLimited Overloaded ShardUnavailable
        StoreUnavailable Internal ServiceInternal;
    RoomWriteErrors: BadRequest InvalidAmount BatchTooLarge HostNotInRoom PayloadTooLarge UnsupportedMediaType
        Unauthenticated Forbidden BadSignature RateLimited GiftUnknown RoomUnknown Overloaded ShardUnavailable
        StoreUnavailable OutcomeUnknown Internal ServiceInternal;
    CallbackErrors: BadRequest InvalidAmount NotFound PayloadTooLarge Forbidden BadSignature RateLimited IdReused
        IssueLimit Overloaded ShardUnavailable StoreUnavailable OutcomeUnknown Internal ServiceInternal;
    ReadyErrors: ShardUnavailable ServiceInternal;
    AssetErrors: BadRequest NotFound RateLimited ServiceInternal;
}

fn of_codes(codes: &[ErrorCode]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    by_status.into_iter().map(|(status, codes)| (status.to_string(), response(&codes).into())).collect()
}

fn response(codes: &[ErrorCode]) -> Response {
    let lines: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.title())).collect();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new()
        .description(lines.join("; "))
        .content("application/problem+json", content)
        .header("traceparent", HeaderBuilder::new().schema(Some(schemas::text())).build());
    if codes.iter().all(|code| matches!(code.status().as_u16(), 429 | 503)) {
        let seconds = HeaderBuilder::new().schema(Some(schemas::millis_query()));
        response = response.header("Retry-After", seconds.description(Some("Seconds.")).build());
    }
    response.build()
}
