//! What is configured about the doors, in the real process: published keys that roll over, payments that are reported,
//! and the moments before the end.

use std::path::Path;
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::harness::{As, Call, Client, Config, Launch, Scratch, Server, claims, root, until};

const PATIENCE: Duration = Duration::from_secs(20);

fn private(name: &str) -> Vec<u8> {
    std::fs::read(root().join("api/tests/keys").join(name)).unwrap()
}

/// One issuer's key, as tokens name it.
struct Issuer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Issuer {
    fn rsa() -> Issuer {
        let key = EncodingKey::from_rsa_pem(&private("rsa.pem")).unwrap();
        Issuer { kid: "one", algorithm: Algorithm::RS256, key }
    }

    fn ec() -> Issuer {
        Issuer { kid: "two", algorithm: Algorithm::ES256, key: EncodingKey::from_ec_pem(&private("ec.pem")).unwrap() }
    }

    fn published(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = self.kid.into();
        jwk
    }

    fn token(&self, user: u64) -> String {
        let header = Header { kid: Some(self.kid.into()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims(user, 600), &self.key).unwrap()
    }
}

fn document(issuers: &[&Issuer]) -> String {
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.published()).collect();
    json!({ "keys": keys }).to_string()
}

async fn is_known(client: &Client, token: &str) -> bool {
    let answer = client.call(Call::get(As::Bearer(token.into()), "/v1/me/balances")).await;
    assert!(answer.status.is_success() || answer.code() == "unauthenticated", "{answer:?}");
    answer.status.is_success()
}

async fn rolls_over(client: &Client, publish: impl Fn(&[&Issuer])) {
    let (old, new) = (Issuer::rsa(), Issuer::ec());
    let (by_old, by_new) = (old.token(3001), new.token(3001));
    assert!(is_known(client, &by_old).await && !is_known(client, &by_new).await);
    publish(&[&old, &new]);
    until("the new key counts", PATIENCE, async || is_known(client, &by_new).await.then_some(())).await;
    assert!(is_known(client, &by_old).await, "the previous one counts beside it");
    publish(&[&new]);
    until("the old key counts no more", PATIENCE, async || (!is_known(client, &by_old).await).then_some(())).await;
    assert!(is_known(client, &by_new).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_viewers_roll_over_in_a_file() {
    let scratch = Scratch::new();
    let path = scratch.path().join("jwks.json");
    let write = |path: &Path, text: &str| {
        // As a careful publisher does it: nobody reads half a document.
        std::fs::write(path.with_extension("new"), text).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    };
    write(&path, &document(&[&Issuer::rsa()]));
    let launch = Launch::serve(&scratch.data(), &Config::new(&[2001]));
    let launch = launch.env("LARGESSE__AUTH__VIEWER__JWKS_FILE", path.to_str().unwrap());
    let server = launch.env("LARGESSE__AUTH__VIEWER__JWKS_EVERY", "1 s").ready().await;
    rolls_over(&server.client, |issuers| write(&path, &document(issuers))).await;
    // A document that cannot be read changes nothing.
    write(&path, "{");
    let by_new = Issuer::ec().token(3001);
    until("it is told", PATIENCE, async || server.stderr().contains("published keys cannot be read").then_some(()))
        .await;
    assert!(is_known(&server.client, &by_new).await);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_viewers_roll_over_at_their_issuer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let (publish, published) = watch::channel(document(&[&Issuer::rsa()]));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _head = stream.read(&mut request).await.unwrap();
            let body = published.borrow().clone();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    let scratch = Scratch::new();
    let launch = Launch::serve(&scratch.data(), &Config::new(&[2001]));
    let launch = launch.env("LARGESSE__AUTH__VIEWER__JWKS_URL", &url);
    let server = launch.env("LARGESSE__AUTH__VIEWER__JWKS_EVERY", "1 s").ready().await;
    rolls_over(&server.client, |issuers| drop(publish.send_replace(document(issuers)))).await;
    server.stop();
}

fn with_channel() -> Config {
    let more = "[[recharge.hmac]]\nname = \"shop\"\nsecret = \"a secret of thirty-two bytes, at least\"\n\
                [[recharge.products]]\nid = \"coins.60\"\nprice = 600\namount = 60\n\
                [log-output]\nformat = \"json\"\n";
    Config { more: more.into(), ..Config::new(&[2001]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_not_believed_is_in_the_log_with_its_trace() {
    let scratch = Scratch::new();
    let server = Launch::serve(&scratch.data(), &with_channel()).ready().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = server.client.http.post(format!("{}/v1/recharges/callbacks/shop", server.client.public));
    let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).body("{}");
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["code"], &answer["trace_id"]), (&json!("bad_signature"), &json!(trace)));
    let lines = server.stderr();
    let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    let told = lines.find(|line| line["trace_id"] == trace).expect("a line of this request");
    assert_eq!((&told["level"], &told["channel"]), (&json!("WARN"), &json!("shop")));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_are_sent_elsewhere_before_the_port_closes() {
    let scratch = Scratch::new();
    let launch = Launch::serve(&scratch.data(), &Config::new(&[2001]));
    let server = launch.env("LARGESSE__HTTP__STOP_NOTICE", "10 s").ready().await;
    server.client.apply_catalog(|_| ()).await;
    server.client.recharge(3001, 1_000_000, "t1").await.ok();
    let Server { process, client, .. } = server;
    let stopping = tokio::task::spawn_blocking(move || process.stop());
    let body = json!({ "gift_id": 1, "count": 1, "to": ["2001"] });
    let turned_away = until("newcomers are turned away", PATIENCE, async || {
        let answer = client.gift(3001, &uuid::Uuid::now_v7().to_string(), &body).await;
        (!answer.status.is_success()).then_some(answer)
    });
    let turned_away = turned_away.await;
    assert_eq!(turned_away.code(), "shard_unavailable", "{turned_away:?}");
    assert_eq!(turned_away.retry_after, Some(Duration::from_secs(2)));
    assert!(stopping.await.unwrap().status.success());
}
