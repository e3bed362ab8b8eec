//! The processes behind a gateway. What was sent to one of them, and may have been done, is never called undone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use metrics::{Counter, counter, describe_counter};

use crate::gateway::GatewayOptions;

/// Connections to one process that are kept for the next request.
const IDLE_MAX: usize = 256;
/// The process behind closes what idles for longer; whoever sends on a connection that is being closed learns nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Largest answer that is read before it is passed on.
const ANSWER_BYTES_MAX: usize = 16 << 20;

pub fn describe() {
    describe_counter!("largesse_gateway_requests_total", "Requests to processes behind this gateway, by outcome");
}

pub struct Upstream {
    client: Client<HttpConnector, Full<Bytes>>,
    addresses: Vec<Authority>,
    /// The one that answered last.
    last: AtomicUsize,
    patience: Duration,
    /// What the gateway itself is known by.
    pub key: HeaderValue,
    answered: Counter,
    unreachable: Counter,
    unknown: Counter,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Sent twice it does no more than once.
    pub is_repeatable: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nobody got the request.
    Unreachable,
    /// Somebody may have got it, and may have done what it asks for.
    Unknown,
}

impl Upstream {
    pub fn new(options: &GatewayOptions, key: HeaderValue) -> Upstream {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.connect_timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        let counted = |outcome: &'static str| counter!("largesse_gateway_requests_total", "outcome" => outcome);
        Upstream {
            client,
            addresses: options.upstreams.clone(),
            last: AtomicUsize::new(0),
            patience: options.patience,
            key,
            answered: counted("answered"),
            unreachable: counted("unreachable"),
            unknown: counted("unknown"),
        }
    }

    /// The first answer of any; its body comes as it comes.
    pub async fn ask(&self, ask: Ask) -> Result<Response<Incoming>, Failed> {
        let asked = tokio::time::timeout(self.patience, self.ask_in_turn(&ask)).await;
        let answered = asked.unwrap_or(Err(Failed::Unknown));
        match answered {
            Ok(_) => self.answered.increment(1),
            Err(Failed::Unreachable) => self.unreachable.increment(1),
            Err(Failed::Unknown) => self.unknown.increment(1),
        }
        answered
    }

    /// The same, and all of its body. One that breaks off is no answer.
    pub async fn ask_whole(&self, ask: Ask) -> Result<(Parts, Bytes), Failed> {
        let (head, body) = self.ask(ask).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
        match tokio::time::timeout(self.patience, body).await {
            Ok(Ok(body)) => Ok((head, body.to_bytes())),
            Ok(Err(_)) | Err(_) => {
                self.unknown.increment(1);
                Err(Failed::Unknown)
            }
        }
    }

    async fn ask_in_turn(&self, ask: &Ask) -> Result<Response<Incoming>, Failed> {
        let first = self.last.load(Ordering::Relaxed);
        // Once more where the first answer was missed, for a connection that was closed just then.
        let tries = self.addresses.len() + usize::from(ask.is_repeatable);
        let is_question = ask.method == Method::GET || ask.method == Method::HEAD;
        let mut failed = Failed::Unreachable;
        for at in 0..tries {
            let place = (first + at) % self.addresses.len();
            match self.client.request(self.request(ask, &self.addresses[place])).await {
                Ok(answer) => {
                    self.last.store(place, Ordering::Relaxed);
                    // An attempt before this one may be under way still. That this one is refused says nothing about it.
                    let is_proof = failed == Failed::Unreachable || is_question || answer.status().is_success();
                    return if is_proof { Ok(answer) } else { Err(Failed::Unknown) };
                }
                Err(error) if error.is_connect() => {
                    tracing::debug!(address = %self.addresses[place], %error, "cannot connect");
                    if at + 1 >= self.addresses.len() && failed == Failed::Unreachable {
                        return Err(failed);
                    }
                }
                Err(error) => {
                    tracing::debug!(address = %self.addresses[place], %error, "no answer came");
                    failed = Failed::Unknown;
                    if !ask.is_repeatable {
                        return Err(failed);
                    }
                }
            }
        }
        Err(failed)
    }

    fn request(&self, ask: &Ask, address: &Authority) -> Request<Full<Bytes>> {
        let uri = Uri::builder().scheme("http").authority(address.clone()).path_and_query(ask.path.as_str());
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri.build().expect("the path was one in the request that came in, or is our own");
        *request.headers_mut() = ask.headers.clone();
        request
    }
}
