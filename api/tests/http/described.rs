//! What the API says about itself: its description, the page to try it with, and the texts that errors point to.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use largesse_api::error::ErrorCode;
use serde_json::Value;

use crate::world::{World, call};

/// Paths that are described, with their methods.
fn described(api: &Value) -> BTreeSet<(String, String)> {
    let paths = api["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|verb| (path.clone(), verb.to_uppercase())))
        .collect()
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let world = World::start().await;
    // What is not for programs, and other names of what is described.
    let pages = ["/docs", "/docs/{file}", "/client/{file}", "/room", "/room/{file}", "/overlay", "/overlay/{file}"];
    let aliases = ["/health", "/readiness", "/openapi/{*method}"];
    // A socket is no call that this format can tell about, and the helpers are there in `largesse dev` alone.
    let others = ["/v1/ws", "/dev/viewers"];
    // For gateways, in bytes that are nobody else's business.
    let internal = [
        "/internal/rooms/{room}/head",
        "/internal/rooms/{room}/feed",
        "/internal/catalog",
        "/internal/leave",
        "/internal/warm",
        "/internal/viewers",
    ];
    let left_out = [&pages[..], &aliases, &others, &internal].concat();
    for (router, source) in [(&world.public, "public_router"), (&world.admin, "admin_router")] {
        let api = call(router, Method::GET, "/openapi.json").send().await.json();
        assert_eq!(api["openapi"], "3.1.0");
        let code = include_str!("../../src/router.rs");
        let code = code.split(&format!("pub fn {source}")).nth(1).unwrap().split("\n}\n").next().unwrap();
        let routes: BTreeSet<_> =
            code.lines().filter_map(|line| line.split('"').nth(1)).map(|path| path.replace("{*", "{")).collect();
        let left_out: BTreeSet<_> = left_out.iter().map(|path| path.replace("{*", "{")).collect();
        let described = described(&api);
        let paths: BTreeSet<_> = described.iter().map(|(path, _)| path.clone()).collect();
        let routes: BTreeSet<_> = routes.difference(&left_out).cloned().collect();
        assert_eq!(paths, routes, "{source}");
        for (path, verb) in described {
            let sample = path
                .replace("{room}", "1001")
                .replace("{user}", "3001")
                .replace("{period}", "live")
                .replace("{event_id}", "k")
                .replace("{path}", "icons/rose.svg");
            let verb: Method = verb.parse().unwrap();
            let answer = call(router, verb.clone(), &sample).send().await;
            // An unknown channel is a channel's own 404, and needs no proof of who asks.
            let is_known = path.contains("{channel}") || answer.status != StatusCode::NOT_FOUND;
            assert!(is_known && answer.status != StatusCode::METHOD_NOT_ALLOWED, "{verb} {sample}: {answer:?}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn the_description_refers_to_nothing_that_is_not_there() {
    let world = World::start().await;
    for router in [&world.public, &world.admin] {
        let answer = call(router, Method::GET, "/openapi.json").send().await;
        let api = answer.json();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(api.pointer(reference).is_some(), "{reference}");
        }
        let ids: Vec<_> =
            text.split("\"operationId\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(ids.len() >= 5, "{ids:?}");
        let again = call(router, Method::GET, "/openapi.json").header("If-None-Match", answer.header("etag").unwrap());
        assert_eq!(again.send().await.status, StatusCode::NOT_MODIFIED);
    }
    world.stop().await;
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let world = World::start().await;
    let page = world.get("/docs").send().await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!text.contains("http:") && !text.contains("https:"), "{text}");
    let sources = text.split("src=\"").chain(text.split("href=\"")).filter(|rest| rest.starts_with('/'));
    let paths: BTreeSet<_> = sources.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert!(paths.len() >= 4, "{paths:?}");
    for path in paths {
        let answer = world.get(&path).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.body.is_empty(), "{path}");
    }
    world.get("/docs/../../Cargo.toml").send().await.expect_problem("not_found");
    world.get("/docs/nothing.js").send().await.expect_problem("not_found");
    let module = world.get("/client/index.js").send().await;
    assert_eq!(
        (module.status, module.header("content-type")),
        (StatusCode::OK, Some("text/javascript; charset=utf-8"))
    );
    world.get("/client/nothing.js").send().await.expect_problem("not_found");
    world.stop().await;
}

#[tokio::test]
async fn the_type_of_an_error_leads_to_its_paragraph() {
    let world = World::start().await;
    let page = world.get("/docs/errors").send().await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    for code in ErrorCode::ALL {
        assert!(text.contains(&format!("<h3 id=\"{}\">", code.name())), "{}", code.name());
    }
    let problem = world.get("/nowhere").send().await.expect_problem("not_found");
    assert_eq!(problem["type"], "/docs/errors#not_found");
    for text in ["/docs/api", "/docs/rooms", "/docs/clients", "/docs/station", "/docs/guarantees"] {
        assert_eq!(world.get(text).send().await.status, StatusCode::OK);
    }
    world.stop().await;
}
