//! What a room sells, as apps fetch it.

use http::{Method, StatusCode};
use serde_json::json;

use crate::world::{World, call, catalog};

const PATH: &str = "/v1/rooms/1001/catalog";

#[tokio::test]
async fn anyone_gets_the_catalog_in_their_language() {
    let world = World::start().await;
    let english = world.get(PATH).send().await;
    let rose = &english.json()["gifts"][0];
    assert_eq!(
        *rose,
        json!({
            "gift_id": 1, "name": "Rose", "names": { "en": "Rose", "zh": "玫瑰" }, "price": 10, "asset": "coin",
            "category": "classic", "tier": "small", "icon_url": "/assets/icons/rose.svg", "effects_url": null,
            "send_rule": "combo", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"
        })
    );
    assert_eq!((&english.json()["version"], english.header("content-language")), (&json!(1), Some("en")));
    let chinese = world.get(PATH).header("Accept-Language", "zh-CN").send().await;
    assert_eq!((&chinese.json()["gifts"][0]["name"], chinese.header("content-language")), (&json!("玫瑰"), Some("zh")));
    assert_ne!(english.header("etag"), chinese.header("etag"));
    assert_eq!(english.header("vary"), Some("accept-language"));
    world.get("/v1/rooms/9/catalog").send().await.expect_problem("room_unknown");
    world.stop().await;
}

#[tokio::test]
async fn an_administrator_learns_that_nothing_has_changed() {
    let world = World::start().await;
    let get = |tag: &str| {
        call(&world.admin, Method::GET, "/v1/catalog").bearer(crate::world::ADMIN).header("If-None-Match", tag).send()
    };
    let first = get("\"none\"").await;
    let tag = first.header("etag").unwrap();
    assert_eq!((get(tag).await.status, first.status), (StatusCode::NOT_MODIFIED, StatusCode::OK));
    world.put_catalog(&catalog(11)).await;
    assert_eq!(get(tag).await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn an_unchanged_catalog_is_not_sent_again() {
    let world = World::start().await;
    let first = world.get(PATH).send().await;
    let tag = first.header("etag").unwrap();
    let again = world.get(PATH).header("If-None-Match", tag).send().await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (StatusCode::NOT_MODIFIED, 0, Some(tag)));
    let head = call(&world.public, Method::HEAD, PATH).send().await;
    assert_eq!((head.status, head.body.len(), head.header("etag")), (StatusCode::OK, 0, Some(tag)));
    world.put_catalog(&catalog(11)).await;
    let changed = world.get(PATH).header("If-None-Match", tag).send().await;
    assert_eq!((changed.status, &changed.json()["gifts"][0]["price"]), (StatusCode::OK, &json!(11)));
    world.stop().await;
}
