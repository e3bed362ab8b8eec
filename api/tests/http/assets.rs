//! Icons and effects out of the binary.

use http::StatusCode;
use largesse_api::ApiOptions;
use largesse_api::dev::{DevOptions, DevViewer};
use largesse_engine::units::UserId;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn every_asset_is_served_with_type_and_tag() {
    let world = World::start().await;
    let paths: Vec<_> = largesse_api::assets::paths().collect();
    assert!(paths.len() > 60, "{}", paths.len());
    for path in paths {
        let path = format!("/assets/{path}");
        let answer = world.get(&path).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, Some("image/svg+xml")), "{path}");
        assert!(answer.body.starts_with(b"<svg"), "{path}");
        assert!(answer.header("cache-control").unwrap().contains("max-age"));
        let again = world.get(&path).header("If-None-Match", answer.header("etag").unwrap()).send().await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    }
    for nothing in
        ["/assets/icons/none.svg", "/assets/../Cargo.toml", "/assets/%2e%2e/errors.md", "/assets/icons", "/assets/"]
    {
        world.get(nothing).send().await.expect_problem("not_found");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_pages_of_a_room_are_there_and_its_helpers_are_not() {
    let world = World::start().await;
    let page = world.get("/room").send().await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(world.get("/room/main.js").send().await.status, 200);
    let page = world.get("/overlay").send().await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for file in ["/overlay/main.js", "/overlay/overlay.css"] {
        assert_eq!(world.get(file).send().await.status, 200, "{file}");
    }
    world.get("/dev/viewers").header("host", "127.0.0.1").send().await.expect_problem("not_found");
    let coins = world.post("/dev/coins").header("host", "127.0.0.1").json(json!({ "user_id": 3001 }));
    coins.send().await.expect_problem("not_found");
    world.stop().await;
}

#[tokio::test]
async fn the_helpers_of_dev_are_for_pages_of_this_machine() {
    let viewer = DevViewer { user: UserId(3001), name: "Viewer 3001".into(), token: "t".into() };
    let options = ApiOptions { dev: Some(DevOptions { viewers: [viewer].into() }), ..ApiOptions::default() };
    let world = World::start_with(100, options).await;
    for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"] {
        let told = world.get("/dev/viewers").header("host", host).send().await;
        assert_eq!((told.status.as_u16(), &told.json()["viewers"][0]["token"]), (200, &json!("t")), "{host}");
    }
    for host in ["evil.example.com", "127.0.0.1.evil.example.com", "192.168.1.2"] {
        world.get("/dev/viewers").header("host", host).send().await.expect_problem("forbidden");
    }
    world.stop().await;
}
