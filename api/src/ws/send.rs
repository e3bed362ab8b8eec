//! A gift over a socket: the same rules and the same answers as over HTTP.

use bytes::Bytes;
use largesse_engine::event_id::CallerKey;
use largesse_engine::units::{GiftId, RoomId, Time, UserId};
use largesse_engine::wallet::command::GiftSaid;
use smallvec::SmallVec;

use crate::auth::Caller;
use crate::edge::Arrival;
use crate::gifts;
use crate::language::Language;
use crate::problem::Problem;
use crate::receipts;
use crate::room_pass;
use crate::state::Shared;
use crate::trace::Trace;
use crate::until::Until;
use crate::ws::edge::Sender;
use crate::ws::frames::{SendFrame, ServerFrame, encode};

/// Sends it, and encodes what became of it.
pub async fn send(state: &Shared, from: &Sender, arrival: Arrival, frame: SendFrame) -> Bytes {
    let id = frame.id.clone();
    let sent = match said(state, from, &frame) {
        Ok((said, until)) => {
            let price_seen = frame.price_seen.map(|price| price.amount("price_seen")).transpose();
            match price_seen {
                Ok(price_seen) => {
                    gifts::deliver(state, arrival, &Caller::Viewer(from.user), said, price_seen, until).await
                }
                Err(problem) => Err(problem),
            }
        }
        Err(problem) => Err(problem),
    };
    match sent {
        Ok(receipt) => {
            let view = state.service.control.view();
            let receipt = Some(receipts::gift_body(&receipt, &view.catalog));
            encode(&ServerFrame::Result { id: &id, status: 200, receipt, problem: None })
        }
        Err(problem) => {
            state.gift_meter.failed(problem.code());
            encode(&refused(&id, &problem, arrival.trace))
        }
    }
}

pub fn refused<'a>(id: &'a str, problem: &Problem, trace: Trace) -> ServerFrame<'a> {
    let status = problem.code().status().as_u16();
    ServerFrame::Result { id, status, receipt: None, problem: Some(problem.written(trace, Language::default())) }
}

fn said(state: &Shared, from: &Sender, frame: &SendFrame) -> Result<(GiftSaid, Until), Problem> {
    let user = from.user;
    if let Some(rates) = &state.rates {
        rates.admit_caller(&Caller::Viewer(user), None)?;
    }
    if from.is_read_only {
        return Err(Problem::read_only());
    }
    let room = RoomId(frame.room.0);
    let pass = frame.pass.as_deref();
    room_pass::check_text(state.options.room_pass.as_ref(), user, room, pass, || state.service.clock.now())?;
    let until = Until::checked(frame.deadline.map(Time), state.service.clock.now())?;
    let key = CallerKey::parse(&frame.id)?;
    let count = frame.count.number("count")?;
    let receivers: SmallVec<[UserId; 4]> = frame.to.iter().map(|id| id.user()).collect();
    let combo = frame.combo_id.map(|id| id.0);
    let said = GiftSaid::new(key, user, room, GiftId(frame.gift_id), count, &receivers, combo)?;
    Ok((GiftSaid { anonymous: frame.anonymous, ..said }, until))
}
