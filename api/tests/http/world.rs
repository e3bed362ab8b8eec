//! A node in a folder of its own, both routers in front of it, and short ways to call them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use jsonwebtoken::{EncodingKey, Header};
use largesse_api::auth::{AuthOptions, NamedKey, TokenAlgorithm, TokenKey};
use largesse_api::{ApiOptions, ApiState, admin_router, public_router};
use largesse_engine::accumulator::AccumulatorLimits;
use largesse_engine::catalog::{Asset, CatalogDraft, Gift, PointsRule, Rules, SendRule, Tier};
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::event_id::EventId;
use largesse_engine::flush::FlushLimits;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::log::Logs;
use largesse_engine::node::{Node, NodeOptions};
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::room::settings::Room;
use largesse_engine::service::Patience;
use largesse_engine::shard::ShardLimits;
use largesse_engine::units::{Amount, AssetId, GiftId, NodeId, RoomId, UserId};
use largesse_engine::wallet::wallets::WalletLimits;
use largesse_engine::wallet::window::WindowLimits;
use largesse_storage::folder::DataFolder;
use largesse_storage::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};
use largesse_storage::store::embedded::{EmbeddedStore, StoreOptions};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tower::ServiceExt;

pub const SECRET: &[u8] = b"a secret that only these tests sign with";
pub const SERVICE: &str = "lgk_shop-of-the-tests";
pub const ADMIN: &str = "lga_admin-of-the-tests";
pub const ANN: u64 = 3001;
pub const BOB: u64 = 3002;
pub const SHARDS: u16 = 4;

pub struct World {
    pub node: Node,
    pub state: ApiState,
    pub public: Router,
    pub admin: Router,
    logs: Arc<EmbeddedLogs>,
    _folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl World {
    pub async fn start() -> World {
        World::start_node(|_| (), ApiOptions::default()).await
    }

    pub async fn start_with(permits_per_shard: usize, options: ApiOptions) -> World {
        World::start_node(|node| node.permits_per_shard = permits_per_shard, options).await
    }

    pub async fn start_node(set: impl FnOnce(&mut NodeOptions), options: ApiOptions) -> World {
        let folder = tempfile::tempdir().unwrap();
        let shape = LedgerShape::new(SHARDS);
        let data = DataFolder::open(folder.path(), &LedgerName::default(), shape).unwrap();
        let logs = Arc::new(EmbeddedLogs::open(&data, EmbeddedLogOptions::default()).unwrap());
        let store = EmbeddedStore::open(&data.store(), LedgerName::default(), shape, StoreOptions::default()).unwrap();
        let shared = Arc::clone(&logs) as Arc<dyn Logs>;
        let mut node = node_options(shape);
        set(&mut node);
        let node = Node::start(node, shared, Arc::new(store), Arc::new(SystemClock)).await.unwrap();
        let state = ApiState::new(node.service(), ApiOptions { auth: auth(), ..options }, metrics()).unwrap();
        let (public, admin) = (public_router(state.clone()), admin_router(state.clone()));
        let world = World { node, state, public, admin, logs, _folder: folder };
        world.put_catalog(&catalog(10)).await;
        world
    }

    pub async fn stop(self) {
        self.node.stop().await;
        drop((self.state, self.public, self.admin));
        self.logs.close();
    }

    pub async fn put_catalog(&self, draft: &CatalogDraft) -> Answer {
        let answer = call(&self.admin, Method::PUT, "/v1/catalog").bearer(ADMIN).json(json!(draft)).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer
    }

    pub async fn recharge(&self, user: u64, amount: u64, transaction: &str) -> Answer {
        let body = json!({ "user_id": user, "asset": "coin", "amount": amount, "channel": "manual",
                           "transaction_id": transaction });
        self.post("/v1/recharges").bearer(SERVICE).json(body).send().await
    }

    /// One piece of gift 1 to the first host unless `body` says otherwise.
    pub async fn send(&self, user: u64, key: &str, body: Value) -> Answer {
        let mut full = json!({ "gift_id": 1, "count": 1, "to": ["2001"] });
        full.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        self.post("/v1/rooms/1001/gifts").bearer(&token(user)).header("Idempotency-Key", key).json(full).send().await
    }

    pub async fn coins(&self, user: u64) -> u64 {
        self.balance(user, "coin", "").await
    }

    pub async fn balance(&self, user: u64, asset: &str, query: &str) -> u64 {
        let answer = self.get(&format!("/v1/users/{user}/balances{query}")).bearer(SERVICE).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let json = answer.json();
        let held = json["balances"].as_array().unwrap().iter().find(|balance| balance["asset"] == asset).cloned();
        held.map_or(0, |balance| balance["amount"].as_u64().unwrap())
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        call(&self.public, Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Call<'_> {
        call(&self.public, Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Call<'_> {
        call(&self.public, Method::PUT, path)
    }
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("{error}: {:?} {:?}", self.status, self.body),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks that it is a complete problem of this code.
    #[track_caller]
    pub fn expect_problem(&self, code: &str) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["code"], code, "{json}");
        assert_eq!(json["status"], self.status.as_u16());
        assert_eq!(json["type"], format!("/docs/errors#{code}"));
        for text in ["title", "detail"] {
            assert!(json[text].as_str().is_some_and(|text| !text.is_empty()), "{json}");
        }
        assert!(json["err_code"].is_u64() && json["retryable"].is_boolean(), "{json}");
        let trace = self.header("traceparent").unwrap().split('-').nth(1).unwrap().to_owned();
        assert_eq!(json["trace_id"], trace);
        json
    }
}

/// A request on its way.
pub struct Call<'a> {
    router: &'a Router,
    request: http::request::Builder,
    body: Body,
}

pub fn call<'a>(router: &'a Router, method: Method, path: &str) -> Call<'a> {
    Call { router, request: Request::builder().method(method).uri(path), body: Body::empty() }
}

impl Call<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value.as_bytes());
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    pub fn json(self, body: Value) -> Self {
        self.header(CONTENT_TYPE.as_str(), "application/json").body(Body::from(body.to_string()))
    }

    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The head of the answer, and its body to be read bit by bit.
    pub async fn open(self) -> (http::response::Parts, Body) {
        let request = self.request.body(self.body).unwrap();
        self.router.clone().oneshot(request).await.unwrap().into_parts()
    }

    pub async fn send(self) -> Answer {
        let (parts, body) = self.open().await;
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

pub fn token(user: u64) -> String {
    token_with(SECRET, user, 600)
}

/// A token that only looks at rooms.
pub fn read_only(user: u64) -> String {
    sign(SECRET, json!({ "sub": user.to_string(), "exp": from_now(600), "scope": "read" }))
}

/// A token that ends in `seconds` from now.
pub fn token_with(secret: &[u8], user: u64, seconds: i64) -> String {
    sign(secret, json!({ "sub": user.to_string(), "exp": from_now(seconds) }))
}

fn from_now(seconds: i64) -> i64 {
    i64::try_from(SystemClock.now().get() / 1_000).unwrap() + seconds
}

fn sign(secret: &[u8], claims: Value) -> String {
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// A fresh key with the present time.
pub fn key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// A fresh key whose time is a few seconds ahead: histories are in the order of the keys' times.
pub fn key_ahead(seconds: u64) -> String {
    let time = largesse_engine::units::Time(SystemClock.now().get() + seconds * 1_000);
    let mut random = [0; 10];
    random.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[6..]);
    EventId::v7(time, random).to_string()
}

/// The process has one recorder; figures of all tests add up in it.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| largesse_api::metrics::install().unwrap()).clone()
}

pub fn auth() -> AuthOptions {
    AuthOptions {
        token_keys: vec![TokenKey { kid: None, algorithm: TokenAlgorithm::Hs256, material: SECRET.into() }],
        service_keys: vec![NamedKey::new("shop", SERVICE)],
        admin_keys: vec![NamedKey::new("root", ADMIN)],
        ..AuthOptions::default()
    }
}

pub fn catalog(price: u64) -> CatalogDraft {
    let gift = |id, name: &str, chinese: &str, price| Gift {
        gift_id: GiftId(id),
        name: name.into(),
        names: [("en".into(), name.into()), ("zh".into(), chinese.into())].into(),
        price: Amount::new(price).unwrap(),
        asset: "coin".into(),
        category: "classic".into(),
        tier: Tier::Small,
        icon_url: "/assets/icons/rose.svg".into(),
        effects_url: None,
        send_rule: SendRule::Combo,
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
    };
    let asset = |id, name: &str| Asset { id: AssetId(id), name: name.into() };
    CatalogDraft {
        assets: vec![asset(1, "coin"), asset(2, "diamond"), asset(3, "point")],
        rules: Rules {
            shares: Vec::new(),
            points: Some(PointsRule { asset: "point".into(), for_asset: "coin".into(), per_thousand: 100 }),
        },
        gifts: vec![gift(1, "Rose", "玫瑰", price), gift(2, "Castle", "城堡", 9_007_199_254_740_991)],
    }
}

fn node_options(shape: LedgerShape) -> NodeOptions {
    let hosts = (2001..=2016).map(UserId).collect();
    NodeOptions {
        node: NodeId(1),
        shape,
        wallets: WalletLimits {
            window: WindowLimits { bytes_max: 64 << 20, age_millis: 120_000 },
            wallets_max: 100_000,
            history_millis: 400 * 86_400_000,
            hash_seed: 7,
        },
        shards: ShardLimits::default(),
        accumulators: AccumulatorLimits::default(),
        flush: FlushLimits::default(),
        flush_every: Duration::from_millis(10),
        permits_per_shard: 1_000,
        workers: 0,
        patience: Patience::default(),
        room_limits: RoomLimits::default(),
        rooms: vec![
            Room::new(RoomId(1001), hosts),
            Room { is_closed: true, ..Room::new(RoomId(1002), vec![UserId(2001)]) },
        ],
    }
}
