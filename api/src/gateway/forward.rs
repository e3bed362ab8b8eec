//! Requests that are passed on as they are, and their answers.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use largesse_engine::event_id::CallerKey;
use largesse_engine::units::Time;

use crate::auth::{SERVICE_KEY_PREFIX, scopes};
use crate::edge::Arrival;
use crate::error::ErrorCode;
use crate::extract::{IDEMPOTENCY_KEY, read_limited};
use crate::gateway::upstream::{Ask, Failed};
use crate::gateway::{GatewayState, unavailable};
use crate::problem::Problem;
use crate::rates::Peer;
use crate::refusals;
use crate::trace::TRACEPARENT;
use crate::until;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What concerns one connection only.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Beside an answer that is another process's: its body stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded;

/// Any path that is not served here.
pub async fn forward(State(gateway): State<GatewayState>, request: Request) -> Result<Response, Problem> {
    if request.uri().path().starts_with(scopes::INTERNAL) {
        return Err(Problem::new(ErrorCode::NotFound, "there is nothing at this path; the API begins at /v1"));
    }
    let ask = ask(&gateway, request).await?;
    let is_question = ask.method == Method::GET || ask.method == Method::HEAD || ask.method == Method::OPTIONS;
    if is_question {
        let answer = gateway.upstream.ask(ask).await.map_err(|_failed| unavailable())?;
        let (mut head, body) = answer.into_parts();
        without_hops(&mut head.headers);
        let is_stream = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let body = if is_stream { until_draining(&gateway, body) } else { Body::new(body) };
        return Ok(passed_on(Response::from_parts(head, body)));
    }
    let unknown = Unknown::of(&gateway, &ask);
    match gateway.upstream.ask_whole(ask).await {
        Ok((mut head, body)) => {
            without_hops(&mut head.headers);
            Ok(passed_on(Response::from_parts(head, Body::from(body))))
        }
        Err(Failed::Unreachable) => Err(unavailable()),
        Err(Failed::Unknown) => Err(unknown.problem()),
    }
}

async fn ask(gateway: &GatewayState, request: Request) -> Result<Ask, Problem> {
    let arrival = request.extensions().get::<Arrival>().copied();
    let peer = request.extensions().get::<Peer>().copied();
    let (method, path) = (request.method().clone(), request.uri().path_and_query().map_or("/", |path| path.as_str()));
    let (path, mut headers) = (path.to_owned(), request.headers().clone());
    without_hops(&mut headers);
    for name in [EXPECT, CONTENT_LENGTH] {
        headers.remove(name);
    }
    if let Some(peer) = peer {
        forwarded_for(&mut headers, peer);
    }
    if let Some(arrival) = arrival {
        headers.insert(TRACEPARENT, arrival.trace.header(gateway.fresh_ids.span()));
    }
    // A gift is only said to be finally undone where no copy of it can be decided later.
    if method == Method::POST && is_gift(&path) && !headers.contains_key(until::HEADER) {
        headers.insert(until::HEADER, HeaderValue::from(gateway.deadline().get()));
    }
    let plain = path.split('?').next().unwrap_or_default();
    let is_question = method == Method::GET || method == Method::HEAD || plain.ends_with(":query");
    let is_repeatable = is_question || headers.contains_key(IDEMPOTENCY_KEY);
    let body = read_limited(request, gateway.options.body_bytes_max, gateway.options.body_timeout).await?;
    Ok(Ask { method, path, headers, body, is_repeatable })
}

fn is_gift(path: &str) -> bool {
    path.starts_with("/v1/rooms/") && path.split('?').next().is_some_and(|path| path.ends_with("/gifts"))
}

/// The address that this process was asked by, behind those that others noted.
fn forwarded_for(headers: &mut HeaderMap, peer: Peer) {
    let mut all: Vec<&[u8]> = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let peer = peer.0.to_string();
    all.push(peer.as_bytes());
    let all = HeaderValue::from_bytes(&all.join(&b", "[..])).expect("addresses behind what a header held are a header");
    headers.insert(FORWARDED_FOR, all);
}

/// Removes what concerns one connection only, and what `Connection` names as such.
fn without_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn passed_on(mut answer: Response) -> Response {
    answer.extensions_mut().insert(Forwarded);
    answer
}

/// A stream that would go on for ever ends with this process.
fn until_draining(gateway: &GatewayState, body: hyper::body::Incoming) -> Body {
    let gateway = gateway.clone();
    let draining = async move { gateway.readiness.draining().await };
    Body::from_stream(body.into_data_stream().take_until(Box::pin(draining)))
}

/// What to say where a request may have been carried out, or may be yet.
pub struct Unknown {
    poll: String,
    final_after: Time,
}

impl Unknown {
    fn of(gateway: &GatewayState, ask: &Ask) -> Unknown {
        let path = ask.path.split('?').next().unwrap_or_default().to_owned();
        let text = |name: &str| ask.headers.get(name).and_then(|value| value.to_str().ok());
        let said = text(until::HEADER).and_then(|text| text.parse().ok()).map(Time);
        let final_after = said.unwrap_or_else(|| gateway.deadline());
        let key = text(IDEMPOTENCY_KEY).map(str::to_owned).or_else(|| in_body(&ask.body, "event_id"));
        let key = key.filter(|_| is_gift(&path)).and_then(|key| CallerKey::parse(key.trim_matches('"')).ok());
        let is_service = text(AUTHORIZATION.as_str()).is_some_and(|proof| proof.contains(SERVICE_KEY_PREFIX));
        let poll = match key.map(|key| key.id) {
            Some(id) => match in_body(&ask.body, "sender").filter(|_| is_service) {
                Some(sender) => format!("/v1/gifts/{id}?sender={sender}&final_after={final_after}"),
                None => format!("/v1/gifts/{id}?final_after={final_after}"),
            },
            None => path,
        };
        Unknown { poll, final_after }
    }

    fn problem(self) -> Problem {
        refusals::outcome_unknown(self.poll, self.final_after)
    }
}

fn in_body(body: &Bytes, field: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let value = body.get(field)?;
    value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn what_concerns_one_connection_is_left_out() {
        let mut given = headers(&[
            ("connection", "close, X-Mine"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-mine", "1"),
            ("x-other", "2"),
        ]);
        without_hops(&mut given);
        assert_eq!(given, headers(&[("x-other", "2")]));
    }

    #[test]
    fn addresses_are_noted_one_behind_the_other() {
        let mut given = headers(&[("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "203.0.113.9")]);
        forwarded_for(&mut given, Peer([127, 0, 0, 1].into()));
        assert_eq!(given, headers(&[("x-forwarded-for", "198.51.100.7, 203.0.113.9, 127.0.0.1")]));
    }

    #[test]
    fn gifts_are_told_from_other_paths() {
        for (path, is) in [
            ("/v1/rooms/1001/gifts", true),
            ("/v1/rooms/1001/gifts?x=1", true),
            ("/v1/rooms/1001", false),
            ("/v1/gifts/abc", false),
            ("/v1/recharges?x=/gifts", false),
        ] {
            assert_eq!(is_gift(path), is, "{path}");
        }
    }
}
