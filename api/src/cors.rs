//! Which web pages may call: those of the listed origins, and none by default.

use std::time::Duration;

use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, DATE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what it was told.
const MAX_AGE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, Default)]
pub struct CorsOptions {
    /// `https://app.example.com`, without a path.
    pub origins: Vec<HeaderValue>,
}

impl CorsOptions {
    /// Whether this can be the `Origin` of a page: scheme, host and perhaps port, and nothing else.
    pub fn is_origin(text: &str) -> bool {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']');
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(fits))
    }

    /// None where no page may call: then nothing is added to any answer.
    pub fn layer(&self) -> Option<CorsLayer> {
        if self.origins.is_empty() {
            return None;
        }
        let name = HeaderName::from_static;
        let sent = [AUTHORIZATION, CONTENT_TYPE, ACCEPT_LANGUAGE, IF_NONE_MATCH, name("idempotency-key")];
        let own = [crate::room_pass::HEADER, crate::until::HEADER, crate::rooms::events::LAST_EVENT_ID];
        let sent = sent.into_iter().chain([name("traceparent")]).chain(own.map(name));
        let read = [DATE, ETAG, RETRY_AFTER, name("idempotency-replayed"), name("traceparent"), name("ratelimit")];
        let read = read.into_iter().chain([name("ratelimit-policy")]);
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.origins.clone()))
            .allow_methods([Method::GET, Method::POST, Method::PUT])
            .allow_headers(sent.collect::<Vec<_>>())
            .expose_headers(read.collect::<Vec<_>>())
            .max_age(MAX_AGE);
        Some(layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for good in ["https://app.example.com", "http://localhost:3000", "http://[::1]:8080"] {
            assert!(CorsOptions::is_origin(good), "{good}");
        }
        for bad in ["", "*", "null", "https://", "app.example.com", "https://a/", "https://A.com", "ftp://a"] {
            assert!(!CorsOptions::is_origin(bad), "{bad}");
        }
    }
}
