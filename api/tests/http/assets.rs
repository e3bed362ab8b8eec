//! Icons and effects out of the binary.

use http::StatusCode;

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
