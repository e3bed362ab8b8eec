//! Asks a running Largesse over HTTP, and turns its problems into failures that say what to do.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::exit::{Exit, Failure};

pub struct Client {
    http: reqwest::Client,
    /// Without a slash at its end.
    base: String,
    bearer: Option<String>,
}

/// One request. Paths start with `/v1`.
pub struct Call<'a> {
    pub method: Method,
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    /// The idempotency key: with it the call can be made again at will.
    pub key: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub fn get(path: impl Into<String>) -> Call<'a> {
        Call { method: Method::GET, path: path.into(), query: Vec::new(), body: None, key: None }
    }

    pub fn send(method: Method, path: impl Into<String>, body: Value) -> Call<'a> {
        Call { method, path: path.into(), query: Vec::new(), body: Some(body), key: None }
    }

    pub fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Call<'a> {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub fn key(self, key: &'a str) -> Call<'a> {
        Call { key: Some(key), ..self }
    }
}

/// Longer than a server may take to say that it does not know an outcome.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a server lets a stream go on.
const STREAM_PATIENCE: Duration = Duration::from_secs(86_400);

impl Client {
    pub fn new(base: &str, bearer: Option<String>) -> Result<Client, Failure> {
        let base = address(base)?;
        // The server is named outright; a proxy between would only be in the way of a loopback address.
        crate::tls::ready();
        let http =
            reqwest::Client::builder().no_proxy().timeout(PATIENCE).connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|error| Failure::new(format_args!("cannot start an HTTP client: {error}")))?;
        Ok(Client { http, base, bearer })
    }

    pub async fn call(&self, call: Call<'_>) -> Result<Value, Failure> {
        let key = call.key;
        let answer = self.request(call).send().await.map_err(|error| self.lost(&error, key))?;
        self.document(answer, key).await
    }

    /// An answer that goes on, from behind the last event that was read.
    pub async fn stream(&self, call: Call<'_>, last: &str) -> Result<reqwest::Response, Failure> {
        let request = self.request(call).timeout(STREAM_PATIENCE).header("Last-Event-ID", last);
        let answer = request.send().await.map_err(|error| self.lost(&error, None))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        self.document(answer, None).await?;
        Err(Failure::new(format_args!("the server answered {status} instead of a stream")))
    }

    fn request(&self, call: Call<'_>) -> reqwest::RequestBuilder {
        let mut request = self.http.request(call.method, format!("{}{}", self.base, call.path)).query(&call.query);
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(key) = call.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        request
    }

    async fn document(&self, answer: reqwest::Response, key: Option<&str>) -> Result<Value, Failure> {
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.lost(&error, key))?;
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        match json {
            Some(json) if status.is_success() => Ok(json),
            None if status.is_success() && body.is_empty() => Ok(Value::Null),
            Some(problem) => Err(problem_of(status, &problem, key)),
            None => Err(Failure::new(format_args!("{} answered {status} with something that is not JSON", self.base))
                .help("check --addr: is this the public (or admin) address of a Largesse server?")),
        }
    }

    /// No answer, or only half of one.
    fn lost(&self, error: &reqwest::Error, key: Option<&str>) -> Failure {
        if error.is_connect() {
            return Failure::new(format_args!("nobody answers at {}", self.base))
                .exit(Exit::Unreachable)
                .help("start a server (`largesse dev`), or name another address with --addr or LARGESSE_URL");
        }
        let failure = Failure::new(format_args!("no answer from {}: {}", self.base, root_cause(error)));
        match key {
            Some(key) => failure.help(again(key)),
            None => failure.help("try again"),
        }
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn again(key: &str) -> String {
    format!("it may have been done or not; run the same with `--key {key}`, it can only be done once")
}

fn problem_of(status: StatusCode, problem: &Value, key: Option<&str>) -> Failure {
    let field = |name: &str| crate::output::text(problem, &format!("/{name}"));
    let code = field("code");
    let detail = [field("detail"), field("title")].into_iter().find(|text| !text.is_empty());
    let what = match (code.as_str(), detail) {
        ("", None) => format!("the server answered {status}"),
        ("", Some(detail)) => format!("the server answered {status}: {detail}"),
        (code, None) => code.to_owned(),
        (code, Some(detail)) => format!("{code}: {detail}"),
    };
    let trace = field("trace_id");
    let what = if trace.is_empty() { what } else { format!("{what} (trace {trace})") };
    let failure = Failure::new(what);
    match help(&code, problem, key) {
        Some(help) => failure.help(help),
        None => failure,
    }
}

fn help(code: &str, problem: &Value, key: Option<&str>) -> Option<String> {
    let retryable = problem.get("retryable").and_then(Value::as_bool).unwrap_or(false);
    Some(match code {
        "outcome_unknown" | "internal" | "service_internal" if key.is_some() => again(key.unwrap_or_default()),
        "unauthenticated" => "give --token or --service-key; after `largesse dev` run this in the folder above its \
                              largesse-data, or name that with --data"
            .into(),
        "forbidden" => "this caller may not do that; a service key or an admin key may be needed".into(),
        "insufficient_funds" => "recharge first: `largesse account recharge USER --amount N --transaction ID`".into(),
        "gift_unknown" => "see what is sold: `largesse catalog list`".into(),
        "id_reused" => "this key stands for something else already; leave --key out to get a fresh one".into(),
        "id_time_ahead" => "this machine's clock is ahead of the server's; set it, then make a new key".into(),
        _ if retryable => "nothing was done; try again in a moment".into(),
        _ => return None,
    })
}

/// An address as people write it, as a base for paths.
fn address(text: &str) -> Result<String, Failure> {
    let (scheme, host) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (_, Some(host)) => ("https", host),
        (Some(host), None) => ("http", host),
        (None, None) => ("http", text),
    };
    let base = format!("{scheme}://{}", host.trim_end_matches('/'));
    match reqwest::Url::parse(&base) {
        Ok(url) if url.has_host() => Ok(base),
        Ok(_) | Err(_) => Err(Failure::usage(format_args!("`{text}` is not an address"))
            .help("write it as http://127.0.0.1:8080 or 127.0.0.1:8080")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (text, base) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost:1/", "http://localhost:1"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://pay.example.com/", "https://pay.example.com"),
        ] {
            assert_eq!(address(text).unwrap(), base);
        }
        for bad in ["", "http://", "https://", "http://a b"] {
            assert_eq!(address(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn problems_say_what_to_do() {
        let told = |problem: Value, key| problem_of(StatusCode::SERVICE_UNAVAILABLE, &problem, key).to_string();
        assert_eq!(
            told(json!({"code": "insufficient_funds", "detail": "2 is less than 5", "trace_id": "ab"}), Some("k")),
            "error: insufficient_funds: 2 is less than 5 (trace ab)\n help: recharge first: `largesse account \
             recharge USER --amount N --transaction ID`"
        );
        assert!(told(json!({"code": "outcome_unknown"}), Some("k-1")).contains("`--key k-1`"));
        assert!(told(json!({"code": "overloaded", "retryable": true}), None).contains("nothing was done"));
        assert_eq!(told(json!({}), None), "error: the server answered 503 Service Unavailable");
    }

    #[tokio::test]
    async fn nobody_there_is_told_as_unreachable() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = taken.local_addr().unwrap();
        drop(taken);
        let client = Client::new(&free.to_string(), None).unwrap();
        let failure = client.call(Call::get("/v1/me/balances")).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.what.contains(&free.to_string()));
    }
}
