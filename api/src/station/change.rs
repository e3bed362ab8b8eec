//! Changes of assets: each item becomes a transfer, or a recharge where it reports a payment.

use axum::extract::{Request, State};
use axum::response::Response;
use futures::future::join_all;
use largesse_engine::catalog::Catalog;
use largesse_engine::codec::Few;
use largesse_engine::event_id::CallerKey;
use largesse_engine::service::{Patience, Receipt, Service, ServiceError};
use largesse_engine::units::UserId;
use largesse_engine::wallet::command::{RechargeSaid, TransferCredit, TransferSaid};
use largesse_engine::wallet::outcome::Applied;

use crate::auth::scopes::Scope;
use crate::error::ErrorCode;
use crate::extract::{self, parse_json};
use crate::language::Language;
use crate::problem::{Extras, Problem};
use crate::recharges;
use crate::refusals;
use crate::state::ApiState;
use crate::station::fields::{BizType, EventType, Incr, asset};
use crate::station::shapes::{BizEventAssetChange, ChangeAssetsAnswer, ChangeAssetsBody, ChangeAssetsData};
use crate::station::shapes::{ChangeResult, UserAsset};
use crate::station::{self, Call};
use crate::trace::Trace;
use crate::transfers;

/// Longest `objId` of an event that is no payment.
const OBJ_ID_CHARS_MAX: usize = 64;

/// What an item asks for.
enum Asked {
    Transfer(TransferSaid),
    Recharge(RechargeSaid),
}

/// Change assets
///
/// Up to 50 events, each carried out or refused for itself. Answered within a second: what is not known by then has no
/// `changeRes`, and the whole answer has `errCode` 20052. Sending the same again is safe.
#[utoipa::path(
    post, path = "/openapi/payment/station/v1/changeassets", operation_id = "stationChangeAssets", tag = "station",
    request_body(content = ChangeAssetsBody, example = json!({ "bizAssetChanges": [{
        "eventId": "example-change", "opUserId": 3001, "eventType": 1, "bizId": 1001, "bizType": 1, "objId": "9",
        "opUserAssetChange": { "userId": 3001, "assetType": 1, "incr": -5 },
        "toUserAssetChange": { "userId": 2001, "assetType": 1, "incr": 5 }
    }] })),
    responses((status = 200, description = "Also of an error.", body = ChangeAssetsAnswer)),
    security(("service" = []))
)]
pub async fn change_assets(
    State(state): State<ApiState>,
    trace: Trace,
    language: Language,
    request: Request,
) -> Response {
    let call = match Call::read(&state, request).await {
        Ok(call) => call,
        Err(problem) => return station::refuse(&problem, None::<()>, &trace, language),
    };
    match read(&call) {
        Ok((service, body)) => carry_out(&state, &service, &body.biz_asset_changes, &trace, language).await,
        Err(problem) => station::refuse(&problem, None::<()>, &trace, language),
    }
}

fn read(call: &Call) -> Result<(extract::Service, ChangeAssetsBody<'_>), Problem> {
    let service = station::for_services(&call.caller)?;
    let body: ChangeAssetsBody<'_> = parse_json(&call.body)?;
    station::too_many("bizAssetChanges", body.biz_asset_changes.len())?;
    Ok((service, body))
}

async fn carry_out(
    state: &ApiState,
    caller: &extract::Service,
    items: &[BizEventAssetChange<'_>],
    trace: &Trace,
    language: Language,
) -> Response {
    let view = state.service.control.view();
    let asked: Vec<_> = items.iter().map(|item| understand(item, caller, &view.catalog)).collect();
    let (mut transfers, mut recharges) = (Vec::new(), Vec::new());
    for asked in asked.iter().filter_map(|asked| asked.as_ref().ok()) {
        match asked {
            Asked::Transfer(said) => transfers.push(said.clone()),
            Asked::Recharge(said) => recharges.push(said.clone()),
        }
    }
    let service = station::service(state);
    let patient = in_two_steps(&service);
    let recharges = join_all(recharges.into_iter().map(|said| patient.recharge(said, None, Some(trace.id))));
    let transfers = service.transfers(transfers, caller.may_issue(), None, Some(trace.id));
    let (transfers, recharges) = tokio::join!(transfers, recharges);
    let (mut transfers, mut recharges) = (transfers.into_iter(), recharges.into_iter());
    let mut unknown = None;
    let results = items.iter().zip(asked).map(|(item, asked)| {
        let outcome = match asked {
            Err(problem) => Err(problem),
            Ok(Asked::Transfer(said)) => {
                let outcome = transfers.next().expect("one outcome per transfer");
                applied(outcome).map_err(|error| transfers::of_service(&error, &said, &view.catalog))
            }
            Ok(Asked::Recharge(said)) => {
                let outcome = recharges.next().expect("one outcome per recharge");
                applied(outcome)
                    .map_err(|error| refusals::of_service(error, &view.catalog, |time| recharges::poll(&said, time)))
            }
        };
        if let Err(problem) = &outcome
            && !problem.code().vouches_for_no_effect()
        {
            unknown = Some(problem.clone());
        }
        result(item, outcome)
    });
    let data = ChangeAssetsData { biz_asset_change_res_list: results.collect() };
    match unknown {
        None => station::answer(Ok(data), trace, language),
        // Whoever looks at the envelope only must not take the rest for failed.
        Some(problem) => station::refuse(&of_the_whole(&problem), Some(data), trace, language),
    }
}

fn of_the_whole(problem: &Problem) -> Problem {
    let detail = "what became of some items is not known yet; send the same again, which is safe";
    Problem::new(problem.code(), detail)
}

/// A recharge asks two shards one after the other, and both together have the time of one.
fn in_two_steps(service: &Service) -> Service {
    let Patience { deadline, answer, read } = service.patience;
    Service { patience: Patience { deadline: deadline / 2, answer: answer / 2, read }, ..service.clone() }
}

fn applied<Said>(outcome: Result<Receipt<Said>, ServiceError>) -> Result<Applied, ServiceError> {
    outcome.map(|receipt| receipt.applied)
}

fn result<'a>(item: &'a BizEventAssetChange<'_>, outcome: Result<Applied, Problem>) -> ChangeResult<'a> {
    let mut result = ChangeResult {
        event_id: &item.event_id,
        change_res: Some(true),
        fail_msg: String::new(),
        err_code: 0,
        op_user_asset: None,
        poll: None,
    };
    match outcome {
        Ok(applied) => {
            result.op_user_asset = Some(UserAsset {
                user_id: item.op_user_id.0,
                asset_type: applied.asset.get(),
                asset_cn: applied.balance.get(),
            });
        }
        Err(problem) => {
            result.change_res = problem.code().vouches_for_no_effect().then_some(false);
            result.fail_msg = problem.detail().to_owned();
            result.err_code = station::number(problem.code());
            if let Extras::Poll { poll, .. } = problem.extras() {
                result.poll = Some(poll.clone());
            }
        }
    }
    result
}

fn understand(item: &BizEventAssetChange<'_>, caller: &extract::Service, catalog: &Catalog) -> Result<Asked, Problem> {
    let (event_type, biz_type) = (EventType::read(&item.event_type)?, BizType::read(&item.biz_type)?);
    if item.op_user_asset_change.user_id != item.op_user_id {
        return Err(Problem::bad_request("`opUserAssetChange` is of another user than `opUserId`"));
    }
    match biz_type {
        BizType::Recharge if !caller.0.scopes.has(Scope::Recharges) => {
            Err(Problem::forbidden(format!("this key lacks the scope `{}`", Scope::Recharges.name())))
        }
        BizType::Recharge => recharge(item, event_type, catalog).map(Asked::Recharge),
        BizType::None | BizType::Live => transfer(item, event_type, biz_type, catalog).map(Asked::Transfer),
    }
}

fn recharge(item: &BizEventAssetChange<'_>, event_type: EventType, catalog: &Catalog) -> Result<RechargeSaid, Problem> {
    let channel = event_type.channel().ok_or_else(|| {
        Problem::bad_request(
            "a recharge has the `eventType` of its channel: orderApple, orderWX, orderAlipay, orderDouyin",
        )
    })?;
    // Its own key is not what counts, but one that is none would be a mistake all the same.
    CallerKey::parse(&item.event_id)?;
    let others = item.to_user_asset_change.as_ref().map_or(Ok(Incr::Nothing), |change| Incr::read(change.incr))?;
    if others != Incr::Nothing {
        return Err(Problem::bad_request("a recharge gives to the one who acts only"));
    }
    let Incr::Credit(amount) = Incr::read(item.op_user_asset_change.incr)? else {
        return Err(Problem::new(ErrorCode::InvalidAmount, "a recharge has an `incr` above 0"));
    };
    let asset = asset(&item.op_user_asset_change.asset_type, catalog)?;
    recharges::said(channel, &item.obj_id, item.op_user_id.user(), asset, amount)
}

fn transfer(
    item: &BizEventAssetChange<'_>,
    event_type: EventType,
    biz_type: BizType,
    catalog: &Catalog,
) -> Result<TransferSaid, Problem> {
    let key = CallerKey::parse(&item.event_id)?;
    let (mut debits, mut credits) = (Few::default(), Few::<TransferCredit>::default());
    let user = item.op_user_id.user();
    match Incr::read(item.op_user_asset_change.incr)? {
        Incr::Nothing => {}
        Incr::Debit(amount) => debits.push((asset(&item.op_user_asset_change.asset_type, catalog)?, amount)),
        Incr::Credit(amount) => {
            credits.push(TransferCredit {
                user,
                asset: asset(&item.op_user_asset_change.asset_type, catalog)?,
                amount,
            });
        }
    }
    if let Some(to) = &item.to_user_asset_change {
        match Incr::read(to.incr)? {
            Incr::Nothing => {}
            Incr::Debit(_) => {
                let detail = "`toUserAssetChange` cannot take anything: only the one who acts can be debited";
                return Err(Problem::new(ErrorCode::InvalidAmount, detail));
            }
            Incr::Credit(amount) => {
                let user: UserId = to.user_id.user();
                credits.push(TransferCredit { user, asset: asset(&to.asset_type, catalog)?, amount });
            }
        }
    }
    if item.obj_id.chars().count() > OBJ_ID_CHARS_MAX {
        return Err(Problem::bad_request(format!("`objId` has at most {OBJ_ID_CHARS_MAX} characters")));
    }
    let reference = Reference { event_type: event_type.name(), biz_type: biz_type.number(), biz_id: item.biz_id.0 };
    transfers::said(key, user, debits, credits, Some(&reference.written(&item.obj_id)))
}

/// What an event belongs to, as it stands in the transfer's reference.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub event_type: &'a str,
    pub biz_type: u8,
    pub biz_id: u64,
}

const REFERENCE_PREFIX: &str = "station";

impl<'a> Reference<'a> {
    fn written(&self, obj_id: &str) -> String {
        let Reference { event_type, biz_type, biz_id } = self;
        format!("{REFERENCE_PREFIX}:{event_type}:{biz_type}:{biz_id}:{obj_id}")
    }

    /// And the `objId` behind it. `None` for a transfer that did not come through this interface.
    pub fn parse(text: &'a str) -> Option<(Reference<'a>, &'a str)> {
        let mut parts = text.splitn(5, ':');
        if parts.next()? != REFERENCE_PREFIX {
            return None;
        }
        let (event_type, biz_type, biz_id) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((Reference { event_type, biz_type, biz_id }, parts.next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfers::REFERENCE_CHARS_MAX;

    #[test]
    fn what_an_event_belongs_to_comes_back_from_its_reference() {
        let reference = Reference { event_type: "interactGift", biz_type: 1, biz_id: u64::MAX };
        let obj_id = "a:b".repeat(OBJ_ID_CHARS_MAX / 3);
        let written = reference.written(&obj_id);
        assert!(written.chars().count() <= REFERENCE_CHARS_MAX);
        assert_eq!(Reference::parse(&written), Some((reference, obj_id.as_str())));
        for other in ["", "rent of May", "station:", "station:x:y:1:2", "station:none:1:2"] {
            assert_eq!(Reference::parse(other), None, "{other}");
        }
    }
}
