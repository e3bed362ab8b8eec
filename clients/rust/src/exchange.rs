//! One request and what its answer says about the money.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, Renew};
use crate::outbox::{Entry, Intent};
use crate::problem::{Code, Problem};
use crate::wire::Receipt;

/// Larger answers are none of ours.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What one attempt came to.
#[derive(Debug)]
pub enum Attempt {
    Applied(Receipt),
    /// No connection could be made, so the server never saw it.
    NotSent(String),
    /// The server vouches that this attempt moved nothing.
    Refused(Box<Problem>, Option<Duration>),
    /// It may have been applied, or may be yet.
    Unknown {
        why: String,
        problem: Option<Box<Problem>>,
    },
}

/// What is known of a key.
#[derive(Debug)]
pub enum Look {
    Found(Receipt),
    /// Not there. `true`: no attempt up to the time that was asked for can be decided any more.
    Nothing(bool),
    /// It could not be told.
    Unclear(String, Option<Duration>),
}

#[derive(Deserialize)]
struct Batch {
    results: Vec<Value>,
}

/// An answer as it came, or why there is none.
pub enum Heard {
    Json(Value),
    Problem(Box<Problem>, Option<Duration>),
    /// Nothing that a Largesse would say.
    Garbled(String),
    NotSent(String),
    Lost(String),
}

impl Client {
    /// Sends an entry once. It says until when it may be decided.
    pub(crate) async fn attempt(&self, entry: &Entry, deadline: u64, pass: Option<&str>) -> Attempt {
        let body = entry.intent.body(&entry.key);
        let mut request = self.request(Method::POST, &entry.intent.path()).json(&body);
        request = request.header("Largesse-Deadline", deadline);
        if let Some(pass) = pass {
            request = request.header("Largesse-Room-Pass", pass);
        }
        match self.hear(request).await {
            Heard::Json(json) => applied(&entry.intent, json),
            Heard::Problem(problem, retry_after) => refused(problem, retry_after),
            Heard::NotSent(why) => Attempt::NotSent(why),
            Heard::Garbled(why) | Heard::Lost(why) => Attempt::Unknown { why, problem: None },
        }
    }

    /// Sends up to a thousand transfers as one request: what became of each.
    pub(crate) async fn attempt_batch(&self, entries: &[Entry], deadline: u64) -> Vec<Attempt> {
        let transfers: Vec<_> = entries.iter().map(|entry| entry.intent.item(&entry.key)).collect();
        let body = serde_json::json!({"transfers": transfers});
        let request = self.request(Method::POST, "/v1/transfers:batch").json(&body);
        let all = |one: &dyn Fn() -> Attempt| entries.iter().map(|_| one()).collect();
        match self.hear(request.header("Largesse-Deadline", deadline)).await {
            Heard::Json(json) => match serde_json::from_value::<Batch>(json) {
                Ok(batch) if batch.results.len() == entries.len() => batch.results.into_iter().map(of_item).collect(),
                Ok(_) | Err(_) => {
                    all(&|| Attempt::Unknown { why: "the answer does not fit the batch".into(), problem: None })
                }
            },
            Heard::Problem(problem, retry_after) => all(&|| refused(problem.clone(), retry_after)),
            Heard::NotSent(why) => all(&|| Attempt::NotSent(why.clone())),
            Heard::Garbled(why) | Heard::Lost(why) => all(&|| Attempt::Unknown { why: why.clone(), problem: None }),
        }
    }

    /// Asks what became of a key.
    pub(crate) async fn look(&self, path: &str) -> Look {
        match self.hear(self.request(Method::GET, path)).await {
            Heard::Json(json) => match serde_json::from_value(json) {
                Ok(receipt) => Look::Found(receipt),
                Err(error) => Look::Unclear(format!("the receipt does not fit: {error}"), None),
            },
            Heard::Problem(problem, _) if problem.code == Code::EventUnknown => {
                Look::Nothing(problem.is_final == Some(true))
            }
            Heard::Problem(problem, retry_after) => Look::Unclear(problem.to_string(), retry_after),
            Heard::Garbled(why) | Heard::NotSent(why) | Heard::Lost(why) => Look::Unclear(why, None),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).timeout(self.options.attempt);
        match &self.options.language {
            Some(language) => request.header("Accept-Language", language),
            None => request,
        }
    }

    /// Sends one request, and a second time with a fresh token where the first was not taken.
    pub(crate) async fn hear(&self, request: RequestBuilder) -> Heard {
        let again = request.try_clone();
        let token = match self.options.bearer.token(Renew::No).await {
            Ok(token) => token,
            Err(why) => return Heard::NotSent(format!("there is no token: {why}")),
        };
        let heard = self.hear_once(request.bearer_auth(&token)).await;
        let is_refused = matches!(&heard, Heard::Problem(problem, _) if problem.code == Code::Unauthenticated);
        let Some(again) = again.filter(|_| is_refused && self.options.bearer.can_renew()) else { return heard };
        match self.options.bearer.token(Renew::Yes).await {
            Ok(fresh) if fresh != token => self.hear_once(again.bearer_auth(fresh)).await,
            Ok(_) | Err(_) => heard,
        }
    }

    pub(crate) async fn hear_once(&self, request: RequestBuilder) -> Heard {
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() || error.is_builder() => return Heard::NotSent(cause(&error)),
            Err(error) => return Heard::Lost(cause(&error)),
        };
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(date) = header(DATE) {
            self.clock.saw_date(date);
        }
        let status = answer.status();
        let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let is_problem = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/problem+json"));
        let body = match read(answer).await {
            Ok(body) => body,
            Err(why) => return Heard::Lost(why),
        };
        if status.is_success() {
            return match serde_json::from_slice(&body) {
                Ok(json) => Heard::Json(json),
                Err(error) => Heard::Garbled(format!("{status} with something that is not JSON: {error}")),
            };
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if is_problem => Heard::Problem(Box::new(problem), retry_after),
            // It may be from a proxy in between, which knows nothing about the money.
            Ok(_) | Err(_) => Heard::Garbled(format!("{status} without a problem of Largesse")),
        }
    }
}

async fn read(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| cause(&error))? {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER_BYTES_MAX {
            return Err("the answer has no end".into());
        }
    }
    Ok(body)
}

fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn applied(intent: &Intent, json: Value) -> Attempt {
    match intent {
        Intent::Transfer { .. } => match serde_json::from_value::<Batch>(json).ok().and_then(|mut it| it.results.pop())
        {
            Some(item) => of_item(item),
            None => Attempt::Unknown { why: "the batch was answered without a result".into(), problem: None },
        },
        Intent::Gift { .. } | Intent::Recharge { .. } => match serde_json::from_value(json) {
            Ok(receipt) => Attempt::Applied(receipt),
            Err(error) => Attempt::Unknown { why: format!("the receipt does not fit: {error}"), problem: None },
        },
    }
}

fn of_item(mut item: Value) -> Attempt {
    if item["outcome"] == "applied" {
        return match serde_json::from_value(item) {
            Ok(receipt) => Attempt::Applied(receipt),
            Err(error) => Attempt::Unknown { why: format!("the receipt does not fit: {error}"), problem: None },
        };
    }
    match serde_json::from_value::<Problem>(item["error"].take()) {
        Ok(problem) => refused(Box::new(problem), None),
        Err(error) => Attempt::Unknown { why: format!("the result does not fit: {error}"), problem: None },
    }
}

fn refused(problem: Box<Problem>, retry_after: Option<Duration>) -> Attempt {
    if problem.vouches_for_no_effect() {
        Attempt::Refused(problem, retry_after)
    } else {
        Attempt::Unknown { why: problem.to_string(), problem: Some(problem) }
    }
}
