//! Who comes in: what is asked of every request before its handler runs, and who makes it.

use axum::extract::{MatchedPath, Request};
use http::request::Parts;
use http::{Extensions, HeaderMap, Method};

use crate::auth::{Caller, Door, scopes};
use crate::error::ErrorCode;
use crate::problem::{Extras, Problem};
use crate::rates::{Peer, StandingNote};
use crate::signed::{self, SignedBy};
use crate::state::{ApiState, Phase, Shared};

/// How long a caller should wait who met a process that is about to end: others serve, or it will be back.
pub(crate) const AFTER_LEAVING: std::time::Duration = std::time::Duration::from_secs(2);

/// Lets a request in. What came before the process was asked to end is finished; what comes after is turned away before
/// anything is done, `is_work` being all but questions about the process itself.
pub async fn admit(state: &ApiState, is_work: bool, request: Request) -> Result<Request, Problem> {
    if is_work && state.readiness.phase() == Phase::Draining {
        let detail = "this process is about to end; nothing was done, try again with the same key";
        return Err(Problem::with(ErrorCode::ShardUnavailable, detail, Extras::RetryAfter(AFTER_LEAVING)));
    }
    if is_work && let Some((rates, note)) = state.rates.as_ref().zip(request.extensions().get::<StandingNote>()) {
        let peer = request.extensions().get::<Peer>().copied();
        rates.admit_address(peer, request.headers(), note)?;
    }
    if request.headers().contains_key(signed::KEY) {
        return signed::verified(state, request).await;
    }
    Ok(request)
}

/// Who makes this request, if he may: a service within its scopes, and nobody too often.
pub fn caller(parts: &Parts, state: &Shared, door: Door) -> Result<Caller, Problem> {
    caller_by(&parts.headers, &parts.method, &parts.extensions, state, door)
}

/// As [`caller`], for a route that takes its proof from elsewhere and hands it in as an Authorization header.
pub fn caller_by(
    headers: &HeaderMap,
    method: &Method,
    extensions: &Extensions,
    state: &Shared,
    door: Door,
) -> Result<Caller, Problem> {
    let caller = match extensions.get::<SignedBy>() {
        Some(signed) => Caller::Service(signed.service()),
        None => state.auth.caller(headers, door)?,
    };
    if let (Caller::Service(service), Door::Public) = (&caller, door) {
        let route = extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let scope = scopes::of_route(method, route);
        let may = scope.map_or(service.scopes == scopes::Scopes::ALL, |scope| service.scopes.has(scope));
        if !may {
            let needed = scope.map_or(scopes::ALL, scopes::Scope::name);
            return Err(Problem::forbidden(format!("this key lacks the scope `{needed}`")));
        }
    }
    // A gateway asks for all of its viewers, whose own requests are counted.
    let is_internal = extensions.get::<MatchedPath>().is_some_and(|path| path.as_str().starts_with(scopes::INTERNAL));
    if let Some(rates) = state.rates.as_ref().filter(|_| !is_internal) {
        rates.admit_caller(&caller, extensions.get::<StandingNote>())?;
    }
    Ok(caller)
}
