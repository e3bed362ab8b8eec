//! Connections: bounded in number and in how slowly they may speak.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::rates::Peer;

#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Open at a time; further ones wait in the system's backlog. Default: 20,000.
    pub connections_max: usize,
    /// How long the head of a request may take, and how long a connection may idle. Default: 30 s.
    pub head_timeout: Duration,
    /// What a connection reads ahead. A head that has not ended by then is refused, so none is larger than twice this.
    /// Default: 64 KiB.
    pub head_bytes_max: usize,
    /// How long requests under way may take once the server stops. Default: 10 s.
    pub drain_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            connections_max: 20_000,
            head_timeout: Duration::from_secs(30),
            head_bytes_max: 64 << 10,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves until `shutdown` resolves, then answers what is under way and returns.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    serve_with(listener, router, ConnectionLimits::default(), Vec::new(), shutdown).await
}

/// As [`serve`], with limits of its own. Connections are spread over `runtimes`; without any they share the caller's.
pub async fn serve_with(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    runtimes: Vec<Handle>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let runtimes = if runtimes.is_empty() { vec![Handle::current()] } else { runtimes };
    let mut next_runtime = runtimes.iter().cycle();
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    // HTTP/2 needs TLS in browsers, which a proxy in front brings. Without it the protocol need not be guessed from the
    // first bytes, for which a connection would wait without a limit.
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(limits.head_bytes_max);
    let (stop, stopping) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file handles, most likely: let some connections end before the next attempt.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(WithPeer { router: router.clone(), peer: Peer(peer.ip()) });
        let builder = builder.clone();
        let mut stopping = stopping.clone();
        let runtime = next_runtime.next().expect("there is one at least");
        runtime.spawn(async move {
            // It belongs to the runtime that it was made in.
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => return tracing::warn!(%error, "cannot serve a connection"),
            };
            let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = told(&mut stopping) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    stop.send_replace(true);
    // Every connection holds a permit until its end.
    let all = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    if tokio::time::timeout(limits.drain_timeout, permits.acquire_many(all)).await.is_err() {
        tracing::warn!("requests were still under way when the time to stop had passed");
    }
    Ok(())
}

/// The router, with where the connection comes from beside each request.
#[derive(Clone)]
struct WithPeer {
    router: Router,
    peer: Peer,
}

impl<B> tower::Service<http::Request<B>> for WithPeer
where
    Router: tower::Service<http::Request<B>>,
{
    type Response = <Router as tower::Service<http::Request<B>>>::Response;
    type Error = <Router as tower::Service<http::Request<B>>>::Error;
    type Future = <Router as tower::Service<http::Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower::Service::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        tower::Service::call(&mut self.router, request)
    }
}

async fn told(stopping: &mut watch::Receiver<bool>) {
    let _told_or_gone = stopping.wait_for(|is_stopping| *is_stopping).await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream.into_std()?, peer, permit))
}
