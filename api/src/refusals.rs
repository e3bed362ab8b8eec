//! What the engine says, as the API's errors. Every match is complete, so a new refusal stops the compiler here.

use std::time::Duration;

use largesse_engine::catalog::Catalog;
use largesse_engine::event_id::KeyError;
use largesse_engine::handle::{CallError, ControlError};
use largesse_engine::room::settings::RoomRefusal;
use largesse_engine::service::{InvalidGift, ServiceError};
use largesse_engine::units::Time;
use largesse_engine::wallet::command::Unresolved;
use largesse_engine::wallet::outcome::Refusal;

use crate::error::ErrorCode;
use crate::problem::{Extras, Problem};
use crate::time_text::Rfc3339;

/// How long to wait after a command was not decided for want of time or memory.
const AFTER_EXPIRY: Duration = Duration::from_secs(1);

/// The problem of a failed call. `poll` is where an unknown outcome can be asked for; it is told the time from which on
/// that answer is final.
pub fn of_service(error: ServiceError, catalog: &Catalog, poll: impl FnOnce(Time) -> String) -> Problem {
    match error {
        ServiceError::Refused(refusal) => of_refusal(refusal, catalog),
        ServiceError::Overloaded { retry_after } => overloaded(retry_after),
        ServiceError::ShardUnavailable => shard_unavailable(),
        ServiceError::StoreUnavailable => store_unavailable(),
        ServiceError::StoreBehind => {
            let detail = "the store does not have all of this history yet; nothing is lost, try again";
            Problem::new(ErrorCode::StoreUnavailable, detail)
        }
        ServiceError::CursorInvalid => {
            Problem::new(ErrorCode::CursorInvalid, "the cursor was not made by this list; start without one")
        }
        ServiceError::OutcomeUnknown { final_after } => outcome_unknown(poll(final_after), final_after),
        ServiceError::Internal(what) => {
            tracing::error!(what, "the engine failed");
            Problem::new(ErrorCode::Internal, "the engine failed; the log has the reason under this trace id")
        }
    }
}

/// As [`of_service`], for calls that change nothing and so have no unknown outcome.
pub fn of_read(error: ServiceError, catalog: &Catalog) -> Problem {
    match error {
        ServiceError::OutcomeUnknown { .. } => shard_unavailable(),
        other @ (ServiceError::Refused(_)
        | ServiceError::Overloaded { .. }
        | ServiceError::ShardUnavailable
        | ServiceError::StoreUnavailable
        | ServiceError::StoreBehind
        | ServiceError::CursorInvalid
        | ServiceError::Internal(_)) => of_service(other, catalog, |_| String::new()),
    }
}

pub fn outcome_unknown(poll: String, final_after: Time) -> Problem {
    let detail = "it may or may not have been done; ask at `poll`, or send the same again with the same key";
    Problem::with(ErrorCode::OutcomeUnknown, detail, Extras::Poll { poll, final_after })
}

pub fn store_unavailable() -> Problem {
    Problem::new(ErrorCode::StoreUnavailable, "what was asked for is not in memory, and the store cannot be reached")
}

fn shard_unavailable() -> Problem {
    Problem::new(ErrorCode::ShardUnavailable, "nobody serves this account right now; nothing was decided, try again")
}

fn overloaded(retry_after: Duration) -> Problem {
    let detail = "too much is under way; nothing was decided, try again with the same key";
    Problem::with(ErrorCode::Overloaded, detail, Extras::RetryAfter(retry_after))
}

pub fn of_refusal(refusal: Refusal, catalog: &Catalog) -> Problem {
    match refusal {
        // It waited too long for its turn, which is what an overload looks like from inside.
        Refusal::Expired | Refusal::Overloaded => overloaded(AFTER_EXPIRY),
        Refusal::IdReused => Problem::new(
            ErrorCode::IdReused,
            "this key was used before with another body; a new intent needs a new key, a retry the same body",
        ),
        Refusal::IdTimeAhead { now } => {
            let detail = format!("the key's time is more than a minute ahead of {}; make a new key", Rfc3339(now));
            Problem::with(ErrorCode::IdTimeAhead, detail, Extras::ServerTime(now))
        }
        Refusal::IdTooOld { oldest } => {
            let detail = format!("history is kept since {}; the key is older and cannot be judged", Rfc3339(oldest));
            Problem::with(ErrorCode::IdTooOld, detail, Extras::Oldest(oldest))
        }
        Refusal::Unresolved(why) => of_unresolved(why),
        Refusal::ZeroAmount => Problem::new(ErrorCode::InvalidAmount, refusal.to_string()),
        Refusal::Unbalanced { asset } => {
            let asset = catalog.asset_name(asset);
            Problem::new(ErrorCode::InvalidAmount, format!("credits and debits of `{asset}` differ"))
        }
        Refusal::InsufficientFunds { asset, needed, available } => {
            let asset = catalog.asset_name(asset);
            let detail = format!("{needed} {asset} are needed, {available} are there");
            Problem::with(ErrorCode::InsufficientFunds, detail, Extras::Funds { needed, available, asset })
        }
        Refusal::IssueLimit { asset } => {
            let asset = catalog.asset_name(asset);
            Problem::new(ErrorCode::IssueLimit, format!("no more of `{asset}` can be issued to this shard's accounts"))
        }
        Refusal::StoreUnavailable => store_unavailable(),
    }
}

fn of_unresolved(why: Unresolved) -> Problem {
    let detail = why.to_string();
    match why {
        Unresolved::GiftUnknown(_) | Unresolved::GiftNotInRoom { .. } => Problem::new(ErrorCode::GiftUnknown, detail),
        Unresolved::RoomUnknown(_) => Problem::new(ErrorCode::RoomUnknown, detail),
        Unresolved::RoomClosed(_) => Problem::new(ErrorCode::RoomClosed, detail),
        Unresolved::HostNotInRoom { .. } => Problem::new(ErrorCode::HostNotInRoom, detail),
        Unresolved::PriceChanged { seen, now } => {
            Problem::with(ErrorCode::PriceChanged, detail, Extras::Prices { seen, now })
        }
        Unresolved::TotalTooLarge => Problem::new(ErrorCode::InvalidAmount, detail),
    }
}

impl From<InvalidGift> for Problem {
    fn from(invalid: InvalidGift) -> Problem {
        let code = match invalid {
            InvalidGift::Count => ErrorCode::InvalidAmount,
            InvalidGift::TooManyReceivers(_) => ErrorCode::TooManyReceivers,
            InvalidGift::SelfGift => ErrorCode::SelfGift,
            InvalidGift::NoReceivers | InvalidGift::RepeatedReceiver(_) | InvalidGift::Zero => ErrorCode::BadRequest,
        };
        Problem::new(code, invalid.to_string())
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Problem {
        let code = match error {
            KeyError::Empty => ErrorCode::KeyRequired,
            KeyError::TooLong(_) | KeyError::NotPrintable => ErrorCode::BadRequest,
        };
        Problem::new(code, error.to_string())
    }
}

impl From<RoomRefusal> for Problem {
    fn from(refusal: RoomRefusal) -> Problem {
        let code = match refusal {
            RoomRefusal::GoalTarget => ErrorCode::InvalidAmount,
            RoomRefusal::TooManyPlugins => ErrorCode::BatchTooLarge,
            RoomRefusal::PkHosts => ErrorCode::HostNotInRoom,
            RoomRefusal::Zero | RoomRefusal::Hosts | RoomRefusal::GiftSet | RoomRefusal::TooMany => {
                ErrorCode::BadRequest
            }
        };
        Problem::new(code, refusal.to_string())
    }
}

/// Why something set at run time was not changed, or may have been.
pub fn of_control(error: ControlError, poll: &str, final_after: Time) -> Problem {
    match error {
        ControlError::Invalid(wrong) => Problem::bad_request(wrong.to_string()),
        ControlError::Key(refusal) => Problem::bad_request(refusal.to_string()),
        ControlError::Room(refusal) => refusal.into(),
        ControlError::Call(CallError::Overloaded { retry_after }) => overloaded(retry_after),
        ControlError::Call(CallError::ShardUnavailable) => shard_unavailable(),
        ControlError::Call(CallError::OutcomeUnknown) => outcome_unknown(poll.into(), final_after),
    }
}

#[cfg(test)]
mod tests {
    use largesse_engine::units::{Amount, AssetId, GiftId, RoomId, UserId};

    use super::*;

    #[test]
    fn every_refusal_has_its_code() {
        use ErrorCode as C;
        let amount = |units| Amount::new(units).unwrap();
        let (asset, now, room, gift, host) = (AssetId(1), Time(1), RoomId(1), GiftId(1), UserId(1));
        let unresolved = |why| ServiceError::Refused(Refusal::Unresolved(why));
        let table = [
            (Refusal::Expired.into(), C::Overloaded),
            (Refusal::Overloaded.into(), C::Overloaded),
            (Refusal::IdReused.into(), C::IdReused),
            (Refusal::IdTimeAhead { now }.into(), C::IdTimeAhead),
            (Refusal::IdTooOld { oldest: now }.into(), C::IdTooOld),
            (Refusal::Unbalanced { asset }.into(), C::InvalidAmount),
            (
                Refusal::InsufficientFunds { asset, needed: amount(2), available: amount(1) }.into(),
                C::InsufficientFunds,
            ),
            (Refusal::IssueLimit { asset }.into(), C::IssueLimit),
            (Refusal::StoreUnavailable.into(), C::StoreUnavailable),
            (unresolved(Unresolved::GiftUnknown(gift)), C::GiftUnknown),
            (unresolved(Unresolved::GiftNotInRoom { gift, room }), C::GiftUnknown),
            (unresolved(Unresolved::RoomUnknown(room)), C::RoomUnknown),
            (unresolved(Unresolved::RoomClosed(room)), C::RoomClosed),
            (unresolved(Unresolved::HostNotInRoom { host, room }), C::HostNotInRoom),
            (unresolved(Unresolved::PriceChanged { seen: amount(1), now: amount(2) }), C::PriceChanged),
            (unresolved(Unresolved::TotalTooLarge), C::InvalidAmount),
            (ServiceError::Overloaded { retry_after: Duration::from_millis(5) }, C::Overloaded),
            (ServiceError::ShardUnavailable, C::ShardUnavailable),
            (ServiceError::StoreUnavailable, C::StoreUnavailable),
            (ServiceError::StoreBehind, C::StoreUnavailable),
            (ServiceError::CursorInvalid, C::CursorInvalid),
            (ServiceError::OutcomeUnknown { final_after: now }, C::OutcomeUnknown),
            (ServiceError::Internal("disk".into()), C::Internal),
        ];
        for (error, want) in table {
            let problem = of_service(error.clone(), &Catalog::empty(), |time| format!("/at/{time}"));
            assert_eq!(problem.code(), want, "{error:?}");
        }
    }

    #[test]
    fn extras_carry_what_a_caller_needs_to_go_on() {
        let final_after = Time(1_700_000_000_123);
        let unknown = ServiceError::OutcomeUnknown { final_after };
        let problem = of_service(unknown.clone(), &Catalog::empty(), |time| format!("/v1/gifts/x?final_after={time}"));
        let poll = "/v1/gifts/x?final_after=1700000000123".into();
        assert_eq!(problem.extras(), &Extras::Poll { poll, final_after });
        assert_eq!(of_read(unknown, &Catalog::empty()).code(), ErrorCode::ShardUnavailable);
        let [seen, now] = [1, 2].map(|units| Amount::new(units).unwrap());
        let changed = Refusal::Unresolved(Unresolved::PriceChanged { seen, now });
        assert_eq!(of_refusal(changed, &Catalog::empty()).extras(), &Extras::Prices { seen, now });
        assert!(
            !of_service(ServiceError::Internal("/secret/path".into()), &Catalog::empty(), |_| String::new())
                .detail()
                .contains("secret")
        );
    }

    #[test]
    fn what_is_wrong_with_a_gift_has_its_code() {
        for (invalid, want) in [
            (InvalidGift::Count, ErrorCode::InvalidAmount),
            (InvalidGift::NoReceivers, ErrorCode::BadRequest),
            (InvalidGift::TooManyReceivers(17), ErrorCode::TooManyReceivers),
            (InvalidGift::RepeatedReceiver(UserId(1)), ErrorCode::BadRequest),
            (InvalidGift::SelfGift, ErrorCode::SelfGift),
            (InvalidGift::Zero, ErrorCode::BadRequest),
        ] {
            assert_eq!(Problem::from(invalid).code(), want);
        }
        for (error, want) in [
            (KeyError::Empty, ErrorCode::KeyRequired),
            (KeyError::TooLong(129), ErrorCode::BadRequest),
            (KeyError::NotPrintable, ErrorCode::BadRequest),
        ] {
            assert_eq!(Problem::from(error).code(), want);
        }
    }
}
