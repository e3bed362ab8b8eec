//! Icons and effects, built into the binary.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::catalog::is_known;
use crate::error::ErrorCode;
use crate::openapi::errors::AssetErrors;
use crate::problem::Problem;

#[derive(RustEmbed)]
#[folder = "../web/assets"]
#[allow_missing = true]
#[exclude = ".*"]
struct Embedded;

/// A picture changes with a release only; browsers ask again after a week.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=604800");

/// The path below `/assets/`.
pub struct AssetPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for AssetPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, _state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, &()).await;
        path.map(|Path(path)| AssetPath(path)).map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

/// An icon or effect of a gift
#[utoipa::path(
    get, path = "/assets/{path}", operation_id = "asset", tag = "gifts", security(()),
    params(("path" = String, Path, example = "icons/rose.svg")),
    responses(
        (status = 200, description = "The picture.", content(("image/svg+xml"), ("image/png"), ("image/webp"), ("application/json"))),
        (status = 304, description = "What is at hand still holds."),
        AssetErrors
    )
)]
pub async fn asset(AssetPath(path): AssetPath, headers: HeaderMap) -> Result<Response, Problem> {
    let nothing = || Problem::new(ErrorCode::NotFound, "there is no such asset");
    let kind = content_type(&path).ok_or_else(nothing)?;
    let EmbeddedFile { data, metadata } = Embedded::get(&path).ok_or_else(nothing)?;
    let hash = metadata.sha256_hash();
    let tag: String = std::iter::once("\"".into())
        .chain(hash[..16].iter().map(|byte| format!("{byte:02x}")))
        .chain(["\"".into()])
        .collect();
    let tag = HeaderValue::try_from(tag).expect("hex digits in quotes make a header");
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag), (CACHE_CONTROL, CACHE)]).into_response());
    }
    let body = match data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (ETAG, tag),
        (CACHE_CONTROL, CACHE),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // Opened by itself, a picture may move but neither run scripts nor load anything.
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'")),
    ];
    Ok((headers, Body::from(body)).into_response())
}

/// Paths of everything that is served below `/assets/`.
pub fn paths() -> impl Iterator<Item = Cow<'static, str>> {
    Embedded::iter()
}

fn content_type(path: &str) -> Option<&'static str> {
    match path.rsplit_once('.')?.1 {
        "svg" => Some("image/svg+xml"),
        "png" => Some("image/png"),
        "webp" => Some("image/webp"),
        "json" => Some("application/json"),
        _ => None,
    }
}
