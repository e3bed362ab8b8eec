//! Over real sockets: the slow, the many, and the end.

use std::net::SocketAddr;
use std::time::Duration;

use largesse_api::{ApiOptions, ConnectionLimits, serve_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::world::{SERVICE, World};

pub struct Served {
    pub address: SocketAddr,
    pub stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

pub async fn serve(world: &World, limits: ConnectionLimits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _told_or_dropped = stopped.await;
    };
    let task = tokio::spawn(serve_with(listener, world.public.clone(), limits, Vec::new(), shutdown));
    Served { address, stop, task }
}

/// Sends the text and reads until the server closes the connection.
async fn exchange(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset ends a connection as well.
    let _end = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn requests_come_and_go_over_sockets() {
    let world = World::start().await;
    let served = serve(&world, ConnectionLimits::default()).await;
    let answer = exchange(served.address, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
    let many = "X: y\r\n".repeat(200);
    let answer = exchange(served.address, &format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = "y".repeat(300_000);
    let answer = exchange(served.address, &format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n")).await;
    // It closes with bytes unread, so the refusal itself may be lost on its way.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    served.stop.send(()).unwrap();
    served.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is free again");
    world.stop().await;
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let options = ApiOptions { body_timeout: Duration::from_millis(50), ..ApiOptions::default() };
    let world = World::start_with(1_000, options).await;
    let served = serve(&world, ConnectionLimits::default()).await;
    let head = format!(
        "POST /v1/recharges HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {SERVICE}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let answer = exchange(served.address, &head).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("did not arrive within 50ms"), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn whoever_says_nothing_is_let_go() {
    let world = World::start().await;
    let limits = ConnectionLimits { head_timeout: Duration::from_millis(50), ..ConnectionLimits::default() };
    let served = serve(&world, limits).await;
    for beginning in ["", "P", "GET /healthz HTTP/1.1\r\nHost:"] {
        let answer = exchange(served.address, beginning).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    world.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let world = World::start().await;
    let served = serve(&world, ConnectionLimits { connections_max: 1, ..ConnectionLimits::default() }).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    first.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    let second = exchange(served.address, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut second = std::pin::pin!(second);
    let waits = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
    assert!(waits.is_err(), "{waits:?}");
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200 OK"));
    world.stop().await;
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_end() {
    let world = World::start().await;
    let served = serve(&world, ConnectionLimits::default()).await;
    let body = r#"{"user_id":1,"asset":"coin","amount":5,"channel":"manual","transaction_id":"t"}"#;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "POST /v1/recharges HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SERVICE}\r\nExpect: 100-continue\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: the request is in a handler.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    served.stop.send(()).unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"balance_after\":5"), "{answer}");
    served.task.await.unwrap().unwrap();
    world.stop().await;
}
