use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use largesse_engine::units::Time;
use serde_json::{Value, json};

use super::*;

const RSA: &[u8] = include_bytes!("../../tests/keys/rsa.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../../tests/keys/rsa.pub.pem");
const EC: &[u8] = include_bytes!("../../tests/keys/ec.pem");
const EC_PUBLIC: &[u8] = include_bytes!("../../tests/keys/ec.pub.pem");
const SECRET: &[u8] = b"a secret of thirty-two bytes, at least";
const OLD_SECRET: &[u8] = b"the secret before that, also long enough";
const NOW: u64 = 1_800_000_000;

struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed) * 1_000)
    }
}

fn key(kid: &str, algorithm: TokenAlgorithm, material: &[u8]) -> TokenKey {
    TokenKey { kid: Some(kid.into()), algorithm, material: material.into() }
}

fn options() -> AuthOptions {
    AuthOptions {
        token_keys: vec![
            key("new", TokenAlgorithm::Hs256, SECRET),
            key("old", TokenAlgorithm::Hs256, OLD_SECRET),
            key("rsa", TokenAlgorithm::Rs256, RSA_PUBLIC),
            key("ec", TokenAlgorithm::Es256, EC_PUBLIC),
        ],
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(30),
        service_keys: vec![NamedKey::new("shop", "lgk_shop"), NamedKey::new("app", "lgk_app")],
        admin_keys: vec![NamedKey::new("root", "lga_root")],
    }
}

fn auth(options: &AuthOptions) -> (Auth, Arc<SetClock>) {
    let clock = Arc::new(SetClock(AtomicU64::new(NOW)));
    (Auth::new(options, 1_000, Arc::clone(&clock) as Arc<dyn Clock>).unwrap(), clock)
}

fn claims() -> Value {
    json!({ "sub": "3001", "exp": NOW + 60 })
}

fn token(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: kid.map(Into::into), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn hs256(kid: Option<&str>, secret: &[u8], claims: &Value) -> String {
    token(Algorithm::HS256, kid, &EncodingKey::from_secret(secret), claims)
}

fn headers(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}

fn ask(auth: &Auth, token: &str) -> Result<Caller, ErrorCode> {
    auth.caller(&headers(&format!("Bearer {token}")), Door::Public).map_err(|problem| problem.code())
}

fn service(name: &str) -> Caller {
    let key = format!("lgk_{name}");
    let signing = Some(SigningSecret::of(&key));
    Caller::Service(Arc::new(ServiceKey { name: name.into(), scopes: Scopes::ALL, signing }))
}

const VIEWER: Result<Caller, ErrorCode> = Ok(Caller::Viewer(UserId(3001)));
const REFUSED: Result<Caller, ErrorCode> = Err(ErrorCode::Unauthenticated);

#[test]
fn each_algorithm_verifies_with_its_own_key() {
    let (auth, _) = auth(&options());
    let rsa = EncodingKey::from_rsa_pem(RSA).unwrap();
    let ec = EncodingKey::from_ec_pem(EC).unwrap();
    let (rsa, ec) =
        (token(Algorithm::RS256, Some("rsa"), &rsa, &claims()), token(Algorithm::ES256, Some("ec"), &ec, &claims()));
    for good in [hs256(Some("new"), SECRET, &claims()), hs256(Some("old"), OLD_SECRET, &claims()), rsa, ec] {
        assert_eq!(ask(&auth, &good), VIEWER);
        assert_eq!(ask(&auth, &good), VIEWER, "also from the cache");
    }
    assert_eq!(ask(&auth, &hs256(None, OLD_SECRET, &claims())), VIEWER, "without a kid every key may fit");
}

#[test]
fn a_token_chooses_neither_key_nor_algorithm() {
    let (auth, _) = auth(&options());
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", encode(json!({ "alg": "none", "typ": "JWT" })), encode(claims()));
    assert_eq!(ask(&auth, &unsigned), REFUSED);
    // The public key is public: as an HMAC secret it must prove nothing.
    for kid in [Some("rsa"), None] {
        assert_eq!(ask(&auth, &hs256(kid, RSA_PUBLIC, &claims())), REFUSED);
    }
    assert_eq!(ask(&auth, &hs256(Some("new"), OLD_SECRET, &claims())), REFUSED, "another key than it names");
    assert_eq!(ask(&auth, &hs256(Some("unknown"), SECRET, &claims())), REFUSED);
    assert_eq!(ask(&auth, &hs256(None, b"a foreign secret, long enough to sign", &claims())), REFUSED);
    let hs512 = token(Algorithm::HS512, Some("new"), &EncodingKey::from_secret(SECRET), &claims());
    assert_eq!(ask(&auth, &hs512), REFUSED);
    let good = hs256(Some("new"), SECRET, &claims());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let forged = format!("{header}.{}.{signature}", encode(json!({ "sub": "1", "exp": NOW + 60 })));
    assert_eq!(ask(&auth, &forged), REFUSED);
}

#[test]
fn subjects_are_user_ids() {
    let (auth, _) = auth(&options());
    for sub in ["0", "", "ann", "-1", "+3001", "03001", "3001.0", "18446744073709551616", " 3001"] {
        assert_eq!(ask(&auth, &hs256(None, SECRET, &json!({ "sub": sub, "exp": NOW + 60 }))), REFUSED, "{sub}");
    }
    for claims in [json!({ "exp": NOW + 60 }), json!({ "sub": 3001, "exp": NOW + 60 }), json!({ "sub": "3001" })] {
        assert_eq!(ask(&auth, &hs256(None, SECRET, &claims)), REFUSED, "{claims}");
    }
    assert_eq!(ask(&auth, &hs256(None, SECRET, &json!({ "sub": "3001", "exp": NOW as f64 + 0.5 }))), VIEWER);
}

#[test]
fn a_scope_with_read_and_without_write_is_read_only() {
    let (auth, _) = auth(&options());
    let with = |scope: &Value| hs256(None, SECRET, &json!({ "sub": "3001", "exp": NOW + 60, "scope": scope }));
    let viewers = [
        json!("write"),
        json!("read write"),
        json!(["read", "write"]),
        json!(["read write"]),
        json!("openid email"),
        json!("Read"),
        json!("read:none"),
        json!("already"),
        json!(""),
        json!([]),
        json!([["read"]]),
        json!({ "read": true }),
        json!(true),
        json!(7),
        json!(null),
    ];
    for scope in &viewers {
        assert_eq!(ask(&auth, &with(scope)), VIEWER, "{scope}");
    }
    let readers = [
        json!("read"),
        json!("openid read email"),
        json!(["openid", "read"]),
        json!("read Write"),
        json!("read write:none"),
    ];
    for scope in &readers {
        let token = with(scope);
        for which in ["at first", "from the cache"] {
            assert_eq!(ask(&auth, &token), Ok(Caller::Reader(UserId(3001))), "{which}: {scope}");
        }
    }
}

#[test]
fn a_token_ends_with_its_time_even_when_it_is_remembered() {
    let (auth, clock) = auth(&options());
    let good = hs256(None, SECRET, &claims());
    assert_eq!(ask(&auth, &good), VIEWER);
    clock.0.store(NOW + 60 + 29, Ordering::Relaxed);
    assert_eq!(ask(&auth, &good), VIEWER, "within the leeway");
    clock.0.store(NOW + 60 + 30, Ordering::Relaxed);
    assert_eq!(ask(&auth, &good), REFUSED);
    assert_eq!(ask(&auth, &hs256(None, SECRET, &json!({ "sub": "3001", "exp": -5 }))), REFUSED);
    let early = hs256(None, SECRET, &json!({ "sub": "3001", "exp": NOW + 1_000, "nbf": NOW + 200 }));
    assert_eq!(ask(&auth, &early), REFUSED);
    clock.0.store(NOW + 170, Ordering::Relaxed);
    assert_eq!(ask(&auth, &early), VIEWER);
}

#[test]
fn issuer_and_audience_are_needed_where_they_are_configured() {
    let (strict, _) = auth(&AuthOptions { issuer: Some("app".into()), audience: Some("largesse".into()), ..options() });
    let with = |more: Value| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        hs256(None, SECRET, &claims)
    };
    assert_eq!(ask(&strict, &with(json!({ "iss": "app", "aud": "largesse" }))), VIEWER);
    assert_eq!(ask(&strict, &with(json!({ "iss": "app", "aud": ["x", "largesse"] }))), VIEWER);
    for bad in [
        json!({}),
        json!({ "iss": "app" }),
        json!({ "aud": "largesse" }),
        json!({ "iss": "other", "aud": "largesse" }),
        json!({ "iss": "app", "aud": "other" }),
        json!({ "iss": "app", "aud": [] }),
    ] {
        assert_eq!(ask(&strict, &with(bad.clone())), REFUSED, "{bad}");
    }
    let (lax, _) = auth(&options());
    assert_eq!(ask(&lax, &with(json!({ "iss": "any", "aud": "any" }))), VIEWER);
}

#[test]
fn when_keys_change_nothing_old_is_remembered() {
    let (auth, _) = auth(&options());
    let (new, old) = (hs256(Some("new"), SECRET, &claims()), hs256(Some("old"), OLD_SECRET, &claims()));
    assert_eq!((ask(&auth, &new), ask(&auth, &old)), (VIEWER, VIEWER));
    let mut rotated = options();
    rotated.token_keys.remove(1);
    rotated.service_keys.remove(0);
    auth.replace(&rotated).unwrap();
    assert_eq!((ask(&auth, &new), ask(&auth, &old)), (VIEWER, REFUSED));
    assert_eq!(ask(&auth, "lgk_shop"), REFUSED);
    assert_eq!(ask(&auth, "lgk_app"), Ok(service("app")));
}

#[test]
fn keys_count_at_their_own_door() {
    let (auth, _) = auth(&options());
    let at =
        |token: &str, door| auth.caller(&headers(&format!("Bearer {token}")), door).map_err(|problem| problem.code());
    for (token, public, admin) in [
        ("lgk_shop", Ok(service("shop")), Ok(service("shop"))),
        ("lga_root", REFUSED, Ok(Caller::Admin("root".into()))),
        ("lgk_none", REFUSED, REFUSED),
        ("lgk_", REFUSED, REFUSED),
        ("lga_none", REFUSED, REFUSED),
    ] {
        assert_eq!((at(token, Door::Public), at(token, Door::Admin)), (public, admin), "{token}");
    }
}

#[test]
fn the_header_is_read_strictly() {
    let (auth, _) = auth(&options());
    let ask = |value: &str| auth.caller(&headers(value), Door::Public).map_err(|problem| problem.code());
    let shop = || Ok(service("shop"));
    assert_eq!((ask("Bearer lgk_shop"), ask("bearer  lgk_shop")), (shop(), shop()));
    for bad in ["", "Bearer", "Bearer ", "lgk_shop", "Basic lgk_shop", "Bearer lgk_shop x", "Bearer a.b.c"] {
        assert_eq!(ask(bad), REFUSED, "{bad}");
    }
    assert_eq!(ask(&format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1))), REFUSED);
    let mut twice = headers("Bearer lgk_shop");
    twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer lgk_app"));
    assert!(auth.caller(&twice, Door::Public).is_err());
    assert!(auth.caller(&HeaderMap::new(), Door::Public).is_err());
}

#[test]
fn bad_keys_are_refused_at_the_start() {
    let with = |key: TokenKey| {
        let options = AuthOptions { token_keys: vec![key], ..options() };
        Auth::new(&options, 1, Arc::new(SetClock(AtomicU64::new(NOW)))).err()
    };
    assert_eq!(with(key("k", TokenAlgorithm::Hs256, b"short")), Some(AuthError::ShortSecret(5)));
    assert!(matches!(
        with(key("k", TokenAlgorithm::Rs256, EC_PUBLIC)),
        Some(AuthError::BadPem(TokenAlgorithm::Rs256, _))
    ));
    assert!(matches!(with(key("k", TokenAlgorithm::Es256, b"?")), Some(AuthError::BadPem(TokenAlgorithm::Es256, _))));
    assert!(!format!("{:?}", options()).contains("secret of thirty-two"));
}

#[test]
fn what_is_remembered_is_bounded_and_only_what_passed() {
    let clock = Arc::new(SetClock(AtomicU64::new(NOW)));
    let auth = Auth::new(&options(), 100, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    for user in 1..=2_000_u64 {
        let claims = json!({ "sub": user.to_string(), "exp": NOW + 60 });
        assert_eq!(ask(&auth, &hs256(Some("new"), SECRET, &claims)), Ok(Caller::Viewer(UserId(user))));
    }
    let remembered = auth.tokens.remembered();
    assert!((1..=400).contains(&remembered), "{remembered} tokens of some 130 bytes in 100 times 512 bytes");

    let (auth, clock) = self::auth(&options());
    for bad in [
        hs256(Some("new"), OLD_SECRET, &claims()),
        hs256(None, SECRET, &json!({ "sub": "3001", "exp": NOW - 60 })),
        hs256(None, SECRET, &json!({ "sub": "3001", "exp": NOW + 1_000, "nbf": NOW + 200 })),
    ] {
        assert_eq!(ask(&auth, &bad), REFUSED);
    }
    assert_eq!(auth.tokens.remembered(), 0);
    let good = hs256(None, SECRET, &claims());
    assert_eq!((ask(&auth, &good), auth.tokens.remembered()), (VIEWER, 1));
    clock.0.store(NOW + 1_000, Ordering::Relaxed);
    assert_eq!((ask(&auth, &good), auth.tokens.remembered()), (REFUSED, 0), "an expired one is forgotten");
}

fn published(keys: &[Value]) -> Result<Vec<TokenKey>, jwks::JwksError> {
    jwks::parse(json!({ "keys": keys }).to_string().as_bytes())
}

/// A private key as its issuer publishes it.
fn jwk(key: &EncodingKey, algorithm: Algorithm, kid: &str) -> Value {
    let mut jwk = serde_json::to_value(jsonwebtoken::jwk::Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    jwk["kid"] = kid.into();
    jwk["use"] = "sig".into();
    jwk
}

#[tokio::test]
async fn published_keys_roll_over() {
    let only_published = AuthOptions { token_keys: Vec::new(), ..options() };
    let (auth, _) = auth(&only_published);
    let (rsa, ec) = (EncodingKey::from_rsa_pem(RSA).unwrap(), EncodingKey::from_ec_pem(EC).unwrap());
    let by_rsa = token(Algorithm::RS256, Some("one"), &rsa, &claims());
    let by_ec = token(Algorithm::ES256, Some("two"), &ec, &claims());
    assert_eq!((ask(&auth, &by_rsa), ask(&auth, &by_ec)), (REFUSED, REFUSED));
    auth.tokens().key_wanted().await;

    let (one, two) = (jwk(&rsa, Algorithm::RS256, "one"), jwk(&ec, Algorithm::ES256, "two"));
    auth.tokens().replace_published(published(std::slice::from_ref(&one)).unwrap()).unwrap();
    assert_eq!((ask(&auth, &by_rsa), ask(&auth, &by_ec)), (VIEWER, REFUSED));
    // The new one beside the previous one, then alone.
    auth.tokens().replace_published(published(&[two.clone(), one]).unwrap()).unwrap();
    assert_eq!((ask(&auth, &by_rsa), ask(&auth, &by_ec)), (VIEWER, VIEWER));
    auth.tokens().replace_published(published(&[two]).unwrap()).unwrap();
    assert_eq!((ask(&auth, &by_rsa), ask(&auth, &by_ec)), (REFUSED, VIEWER), "not even from memory");
    // A published key does not become a secret by being named by a token.
    let confused = hs256(Some("two"), EC_PUBLIC, &claims());
    assert_eq!(ask(&auth, &confused), REFUSED);
}

#[test]
fn only_keys_that_can_verify_are_taken_from_a_document() {
    use jwks::JwksError;
    let ec = EncodingKey::from_ec_pem(EC).unwrap();
    let good = jwk(&ec, Algorithm::ES256, "two");
    let with = |field: &str, value: Value| {
        let mut other = good.clone();
        other[field] = value;
        other
    };
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "s" });
    let short = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r" });
    for bad in [secret, short, with("use", "enc".into()), with("alg", "ES384".into()), json!({}), json!(7)] {
        assert_eq!(published(std::slice::from_ref(&bad)).err(), Some(JwksError::Empty), "{bad}");
        assert_eq!(published(&[bad, good.clone()]).unwrap().len(), 1);
    }
    assert_eq!(published(&vec![good.clone(); 17]).err(), Some(JwksError::TooMany(17)));
    assert!(matches!(jwks::parse(b"{"), Err(JwksError::Malformed(_))));
    assert_eq!(jwks::parse(&vec![b' '; jwks::JWKS_BYTES_MAX + 1]).err(), Some(JwksError::TooLarge));
}
