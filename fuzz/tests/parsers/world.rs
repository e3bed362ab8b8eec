//! Both doors in front of a node in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::BodyExt;
use largesse_api::auth::{AuthOptions, NamedKey};
use largesse_api::{ApiOptions, ApiState, admin_router, public_router};
use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::clock::SystemClock;
use largesse_engine::flush::FlushLimits;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::log::Logs;
use largesse_engine::node::{Node, NodeOptions};
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::room::settings::Room;
use largesse_engine::service::Patience;
use largesse_engine::shard::ShardLimits;
use largesse_engine::units::{NodeId, RoomId, UserId};
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::log::memory::MemoryLogs;
use largesse_storage::store::memory::MemoryStore;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const SERVICE: &str = "lgk_of-the-fuzz-targets";
const ADMIN: &str = "lga_of-the-fuzz-targets";

pub struct World {
    runtime: Runtime,
    public: Router,
    admin: Router,
    _node: Node,
}

// A panic ends the target, so nobody looks at a world that one has passed through.
impl std::panic::UnwindSafe for World {}
impl std::panic::RefUnwindSafe for World {}

impl World {
    pub fn start() -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (node, state) = runtime.block_on(async {
            let logs = Arc::new(MemoryLogs::automatic()) as Arc<dyn Logs>;
            let node =
                Node::start(options(), logs, Arc::new(MemoryStore::default()), Arc::new(SystemClock)).await.unwrap();
            let auth = AuthOptions {
                service_keys: vec![NamedKey::new("fuzz", SERVICE)],
                admin_keys: vec![NamedKey::new("fuzz", ADMIN)],
                ..AuthOptions::default()
            };
            // Targets share a process, which has one recorder; these count for nobody.
            let metrics = metrics_handle();
            let state = ApiState::new(node.service(), api_options(auth), metrics).unwrap();
            (node, state)
        });
        World { runtime, public: public_router(state.clone()), admin: admin_router(state), _node: node }
    }

    pub fn post(&self, path: &str, body: &[u8]) {
        self.send(Method::POST, path, &HeaderMap::new(), body);
    }

    pub fn put_catalog(&self, body: &[u8]) {
        self.ask(&self.admin, ADMIN, Method::PUT, "/v1/catalog", &HeaderMap::new(), body);
    }

    pub fn send(&self, method: Method, path: &str, headers: &HeaderMap, body: &[u8]) {
        self.ask(&self.public, SERVICE, method, path, headers, body);
    }

    fn ask(&self, router: &Router, key: &str, method: Method, path: &str, headers: &HeaderMap, body: &[u8]) {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        // Not every text is a path.
        let Ok(mut request) = request.body(Body::from(body.to_vec())) else { return };
        let bearer = HeaderValue::try_from(format!("Bearer {key}")).unwrap();
        request.headers_mut().insert(AUTHORIZATION, bearer);
        request.headers_mut().extend(headers.clone());
        let (status, body) = self.runtime.block_on(async {
            let response = router.clone().oneshot(request).await.unwrap();
            (response.status(), response.into_body().collect().await.unwrap().to_bytes())
        });
        assert!(!status.is_server_error(), "{path} got {status}: {}", String::from_utf8_lossy(&body));
    }
}

fn api_options(auth: AuthOptions) -> ApiOptions {
    ApiOptions { auth, payments: crate::reports::options(), ..ApiOptions::default() }
}

fn metrics_handle() -> largesse_api::metrics::Handle {
    use std::sync::OnceLock;
    static HANDLE: OnceLock<largesse_api::metrics::Handle> = OnceLock::new();
    HANDLE.get_or_init(|| largesse_api::metrics::install().unwrap()).clone()
}

fn options() -> NodeOptions {
    NodeOptions {
        node: NodeId(1),
        shape: LedgerShape::new(4),
        wallets: WalletLimits {
            window: WindowLimits { bytes_max: 16 << 20, age_millis: 60_000 },
            wallets_max: 10_000,
            history_millis: 400 * 86_400_000,
            hash_seed: 7,
        },
        shards: ShardLimits::default(),
        accumulators: AccumulatorLimits::default(),
        flush: FlushLimits::default(),
        flush_every: Duration::from_millis(50),
        permits_per_shard: 1_000,
        workers: 0,
        patience: Patience::default(),
        room_limits: RoomLimits::default(),
        rooms: vec![Room::new(RoomId(1001), vec![UserId(2001)])],
    }
}
