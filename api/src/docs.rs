//! Pages about the API, built into the binary: one to try it with, and the texts of `docs/`. Nothing on them comes from
//! anywhere else.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::assets::AssetPath;
use crate::catalog::is_known;
use crate::error::ErrorCode;
use crate::problem::Problem;

#[derive(RustEmbed)]
#[folder = "../web/docs"]
struct Pages;

/// The page to try the API with, as its makers publish it.
#[derive(RustEmbed)]
#[folder = "../web/vendor/swagger-ui"]
struct SwaggerUi;

/// The client for pages, as `clients/typescript` builds it.
#[derive(RustEmbed)]
#[folder = "../web/client"]
struct Client;

/// The page of a live room.
#[derive(RustEmbed)]
#[folder = "../web/room"]
struct RoomPage;

/// The same over somebody else's picture, for streaming software.
#[derive(RustEmbed)]
#[folder = "../web/overlay"]
struct Overlay;

/// Scripts and styles of this server only. The interactive page sets styles on its elements, and has pictures inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Texts that errors and people point to, by their place below `/docs/`.
static TEXTS: LazyLock<[(&str, String); 9]> = LazyLock::new(|| {
    [
        ("errors", page("Errors", include_str!("../../docs/errors.md"))),
        ("api", page("The API", include_str!("../../docs/api.md"))),
        ("rooms", page("Rooms", include_str!("../../docs/rooms.md"))),
        ("websocket", page("WebSocket", include_str!("../../docs/websocket.md"))),
        ("clients", page("Clients", include_str!("../../docs/clients.md"))),
        ("station", page("The station interface", include_str!("../../docs/station.md"))),
        ("auth", page("Who is who", include_str!("../../docs/auth.md"))),
        ("recharges", page("Payments", include_str!("../../docs/recharges.md"))),
        ("guarantees", page("Guarantees", include_str!("../../docs/guarantees.md"))),
    ]
});

pub async fn index(headers: HeaderMap) -> Result<Response, Problem> {
    find("index.html", &headers)
}

pub async fn file(AssetPath(path): AssetPath, headers: HeaderMap) -> Result<Response, Problem> {
    match TEXTS.iter().find(|(name, _)| *name == path) {
        Some((_, text)) => Ok(answer("text/html; charset=utf-8", None, Body::from(text.as_str()), &headers)),
        None => find(&path, &headers),
    }
}

/// A module of the client: pages import `/client/index.js`.
pub async fn client(AssetPath(path): AssetPath, headers: HeaderMap) -> Result<Response, Problem> {
    embedded(Client::get(&path), &path, &headers)
}

/// The page of a live room; which one it is stands behind `#` or `?`.
pub async fn room(headers: HeaderMap) -> Result<Response, Problem> {
    embedded(RoomPage::get("index.html"), "index.html", &headers)
}

pub async fn room_file(AssetPath(path): AssetPath, headers: HeaderMap) -> Result<Response, Problem> {
    embedded(RoomPage::get(&path), &path, &headers)
}

/// A room as an overlay; which one it is, and the token, stand behind `#`.
pub async fn overlay(headers: HeaderMap) -> Result<Response, Problem> {
    embedded(Overlay::get("index.html"), "index.html", &headers)
}

pub async fn overlay_file(AssetPath(path): AssetPath, headers: HeaderMap) -> Result<Response, Problem> {
    embedded(Overlay::get(&path), &path, &headers)
}

fn find(path: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    embedded(Pages::get(path).or_else(|| SwaggerUi::get(path)), path, headers)
}

fn embedded(file: Option<EmbeddedFile>, path: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let found = file.zip(content_type(path));
    let (EmbeddedFile { data, metadata }, kind) =
        found.ok_or_else(|| Problem::new(ErrorCode::NotFound, "there is no such page"))?;
    let hash: String = metadata.sha256_hash()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let body = match data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    Ok(answer(kind, Some(hash), Body::from(body), headers))
}

fn answer(kind: &'static str, hash: Option<String>, body: Body, headers: &HeaderMap) -> Response {
    let tag = hash.map(|hash| HeaderValue::try_from(format!("\"{hash}\"")).expect("hex digits in quotes"));
    if let Some(tag) = tag.as_ref().filter(|tag| is_known(headers, tag)) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag.clone())]).into_response();
    }
    let common = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    let mut response = (common, body).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn content_type(path: &str) -> Option<&'static str> {
    match path.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        _ => None,
    }
}

/// A text as a page whose headings can be linked to: an error's `type` is one of them.
#[allow(clippy::wildcard_enum_match_arm, reason = "foreign enums that may grow")]
fn page(title: &str, markdown: &str) -> String {
    let options = Options::ENABLE_TABLES;
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, options).collect();
    let mut heading = None;
    for place in 0..events.len() {
        match &events[place] {
            Event::Start(Tag::Heading { .. }) => heading = Some((place, String::new())),
            Event::Text(text) | Event::Code(text) => {
                if let Some((_, words)) = &mut heading {
                    words.push_str(text);
                }
            }
            Event::End(TagEnd::Heading(level)) => {
                let level = *level;
                if let Some((start, words)) = heading.take() {
                    set_id(&mut events[start], level, &words);
                }
            }
            _ => {}
        }
    }
    let events = events.into_iter().map(|event| match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = CowStr::from(dest_url.replace(".md", ""));
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        other => other,
    });
    let mut body = String::new();
    html::push_html(&mut body, events);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title} · Largesse</title><link rel=\"icon\" \
         href=\"data:,\"><link rel=\"stylesheet\" href=\"/docs/text.css\"></head>\n<body><main>\n{body}</main></body>\n</html>\n"
    )
}

fn set_id(event: &mut Event<'_>, level: HeadingLevel, words: &str) {
    let id: String = words
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '_' | '-') => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    let (classes, attrs) = (Vec::new(), Vec::new());
    *event = Event::Start(Tag::Heading { level, id: Some(id.into()), classes, attrs });
}
