//! Which path leads where. Every route, and every path that is none, passes the edge.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, any, delete, get, post};
use tower::ServiceExt;

use crate::edge::{self, RouteEdge};
use crate::error::ErrorCode;
use crate::metrics::RouteMeter;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::transfers;
use crate::{
    assets, balances, callbacks, catalog, dev, docs, gifts, history, internal, keys, openapi, ops, recharges,
    room_pass, rooms, station, ws,
};

/// What viewers and services reach.
pub fn public_router(state: ApiState) -> Router {
    let routes = Routes::new(&state)
        .add_with_action(
            "/v1/rooms/{room}",
            get(rooms::get).put(rooms::settings::put),
            "/v1/rooms/{room}:close",
            post(rooms::settings::close),
        )
        .add("/v1/rooms/{room}/snapshot", get(rooms::snapshot))
        .add("/v1/rooms/{room}/feed", get(rooms::feed::read))
        .add("/v1/rooms/{room}/boards/{period}", get(rooms::boards::read))
        .add("/v1/rooms/{room}/events", get(rooms::events::stream))
        .add("/v1/rooms/{room}/gifts", post(gifts::send))
        .add("/v1/rooms/{room}/catalog", get(catalog::of_room))
        .add("/v1/rooms/{room}/pass", post(room_pass::http_call::create))
        .add("/v1/gifts/{event_id}", get(gifts::find))
        .add("/v1/ws", get(ws::upgrade::connect))
        .add("/v1/me/balances", get(balances::own))
        .add("/v1/users/{user}/balances", get(balances::of_user))
        .add("/v1/me/history", get(history::own))
        .add("/v1/users/{user}/history", get(history::of_user))
        .add("/v1/balances:query", post(balances::query))
        .add("/v1/recharges", post(recharges::recharge))
        .add("/v1/recharges/callbacks/{channel}", post(callbacks::report))
        .add("/v1/transfers:batch", post(transfers::batch))
        .add_as_it_is("/openapi/payment/station/v1/changeassets", any(station::change_assets))
        .add_as_it_is("/openapi/payment/da/v1/getassets", any(station::get_assets))
        .add_as_it_is("/openapi/payment/da/v1/getassetrecords", any(station::get_asset_records))
        .add_as_it_is("/openapi/interaction/gift/v1/sendgift", any(station::send_gift))
        .add_as_it_is("/openapi/interaction/gift/v1/listgift", any(station::list_gift))
        .add_as_it_is("/openapi/{*method}", any(station::unknown_method))
        .add("/internal/rooms/{room}/head", get(internal::head))
        .add("/internal/rooms/{room}/feed", get(internal::feed))
        .add("/internal/catalog", get(internal::catalog))
        .add("/internal/leave", post(internal::leave))
        .add("/internal/warm", post(internal::warm))
        .add("/internal/viewers", post(internal::viewers))
        .add("/openapi.json", get(openapi::description))
        .add("/docs", get(docs::index))
        .add("/docs/{file}", get(docs::file))
        .add("/client/{file}", get(docs::client))
        .add("/room", get(docs::room))
        .add("/room/{file}", get(docs::room_file))
        .add("/overlay", get(docs::overlay))
        .add("/overlay/{file}", get(docs::overlay_file))
        .add("/assets/{*path}", get(assets::asset))
        .add("/healthz", get(ops::healthz))
        .add("/health", get(ops::healthz));
    let routes = match state.options.dev {
        Some(_) => routes.add("/dev/viewers", get(dev::viewers)).add("/dev/coins", post(dev::coins)),
        None => routes,
    };
    let cors = state.options.cors.layer();
    let router = routes.finish(state);
    match cors {
        Some(layer) => router.layer(layer),
        None => router,
    }
}

/// What administrators and machines that watch reach, on a port of its own.
pub fn admin_router(state: ApiState) -> Router {
    let routes = Routes::new(&state)
        .add("/v1/catalog", get(catalog::get).put(catalog::put))
        .add("/v1/keys", get(keys::list).post(keys::create))
        .add("/v1/keys/{name}", delete(keys::revoke))
        .add("/openapi.json", get(openapi::admin_description))
        .add("/docs", get(docs::index))
        .add("/docs/{file}", get(docs::file))
        .add("/healthz", get(ops::healthz))
        .add("/health", get(ops::healthz))
        .add("/readyz", get(ops::readyz))
        .add("/readiness", get(ops::readyz))
        .add("/metrics", get(ops::metrics));
    routes.finish(state)
}

struct Routes {
    router: Router<ApiState>,
    state: ApiState,
}

impl Routes {
    fn new(state: &ApiState) -> Routes {
        Routes { router: Router::new(), state: state.clone() }
    }

    fn add(self, path: &'static str, methods: MethodRouter<ApiState>) -> Routes {
        self.add_as_it_is(path, methods.fallback(wrong_method))
    }

    /// For methods that have an answer of their own to every verb.
    fn add_as_it_is(mut self, path: &'static str, methods: MethodRouter<ApiState>) -> Routes {
        let layer = from_fn_with_state(self.edge(path), edge::pass);
        self.router = self.router.route(path, methods.layer(layer));
        self
    }

    /// A room's path, and that of what can be done to it: the router cannot tell apart what ends within a part of the path.
    fn add_with_action(
        mut self,
        path: &'static str,
        methods: MethodRouter<ApiState>,
        action: &'static str,
        on_action: MethodRouter<ApiState>,
    ) -> Routes {
        let finished = |path, methods: MethodRouter<ApiState>| {
            let layer = from_fn_with_state(self.edge(path), edge::pass);
            methods.fallback(wrong_method).layer(layer).with_state::<()>(self.state.clone())
        };
        let (methods, on_action) = (finished(path, methods), finished(action, on_action));
        let either = tower::service_fn(move |request: Request| {
            let is_action = rooms::settings::is_close(request.uri().path());
            if is_action { on_action.clone().oneshot(request) } else { methods.clone().oneshot(request) }
        });
        self.router = self.router.route_service(path, either);
        self
    }

    fn finish(self, state: ApiState) -> Router {
        let layer = from_fn_with_state(self.edge("none"), edge::pass);
        self.router.fallback(no_such_path.layer(layer)).with_state(state)
    }

    fn edge(&self, route: &'static str) -> RouteEdge {
        // Whoever watches the process is answered to its end.
        let is_work = route.starts_with("/v1") || route.starts_with("/openapi");
        RouteEdge { state: self.state.clone(), meter: Arc::new(RouteMeter::new(route)), is_work }
    }
}

async fn wrong_method() -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, "this path has other methods; the `Allow` header names them")
}

async fn no_such_path() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is nothing at this path; the API begins at /v1")
}
