//! Real WebSocket viewers in one room: what one costs, what a delivery costs, and how long a gift takes to each of them.
//!
//! The server is a process of its own; all viewers share one thread of this one. At the end every viewer has to have every
//! gift exactly once, counted by what it was shown.

mod viewer;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use serde::Serialize;

pub use self::viewer::ViewerError;
use self::viewer::{Shared, Viewer};
use crate::http::Server;
use crate::latency::Latency;
use crate::machine::{Machine, cpu_of, resident_of};
use crate::progress::{Progress, Stage};

#[derive(Clone, Debug, Serialize)]
pub struct WsBench {
    pub sockets: usize,
    pub duration: Duration,
    /// Gifts a second, evenly.
    pub rate: u64,
}

/// What the viewers need to know.
#[derive(Clone, Debug)]
pub struct Stand {
    pub server: Server,
    pub room: u64,
    pub gift: u32,
    pub host: u64,
    /// Of each viewer; the first one sends and has the money.
    pub tokens: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum WsBenchError {
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Viewer(#[from] ViewerError),
    #[error("the server cannot be looked at; it may have ended")]
    ServerGone,
}

#[derive(Clone, Debug, Serialize)]
pub struct WsReport {
    pub bench: WsBench,
    pub machine: Machine,
    /// Memory of the server's process per socket that is in the room and quiet.
    pub bytes_per_socket: f64,
    /// Processor time of the server to connect one, with token and room.
    pub cpu_us_per_connect: f64,
    /// As many as connected in a second, 64 at a time, until all were in the room.
    pub connects_per_second: f64,
    pub gifts: u64,
    pub ticks: u64,
    pub deliveries: u64,
    pub deliveries_per_second: f64,
    pub bytes_per_frame: f64,
    /// Of the server's process, while gifts were sent; their own work is in it.
    pub cpu_seconds_per_million_deliveries: f64,
    /// From when the sender was told that a gift is durable until a viewer has the frame that shows it.
    pub latency: Latency,
    /// Viewers who did not have every gift once.
    pub wrong: u64,
    pub first_wrong: Option<String>,
}

impl WsReport {
    pub fn is_right(&self) -> bool {
        self.wrong == 0
    }
}

impl WsBench {
    pub fn check(&self) -> Result<(), WsBenchError> {
        let complaint = if !(2..=19_000).contains(&self.sockets) {
            "sockets must be 2 to 19,000: this process can have no more"
        } else if !(1..=1_000).contains(&self.rate) {
            "the rate must be 1 to 1,000 gifts a second"
        } else if self.duration.is_zero() || self.duration > Duration::from_secs(3_600) {
            "a bench must run for 1 second to 1 hour"
        } else {
            return Ok(());
        };
        Err(WsBenchError::Invalid(complaint.into()))
    }
}

/// Connections that are being made at once.
const CONNECTING: usize = 64;
/// How long a process gets to come to rest before it is looked at.
const REST: Duration = Duration::from_secs(2);
/// How long viewers may take to have the last of it.
const LAST_OF_IT: Duration = Duration::from_secs(10);

/// Everything on the calling thread; to be run in a `LocalSet`.
pub async fn run(
    bench: WsBench,
    stand: &Stand,
    machine: Machine,
    progress: Progress<'_>,
) -> Result<WsReport, WsBenchError> {
    bench.check()?;
    let looked = || Some((cpu_of(stand.server.pid)?, resident_of(stand.server.pid)?));
    let look = || looked().ok_or(WsBenchError::ServerGone);
    // The first ones pay for what all of them need.
    let shared = Rc::new(Shared::default());
    let (mut viewers, warm) = (Vec::new(), 32.min(bench.sockets / 2));
    connect(&mut viewers, warm, stand, &shared, progress, bench.sockets).await?;
    tokio::time::sleep(REST).await;
    let (cpu, memory) = look()?;
    let began = Instant::now();
    connect(&mut viewers, bench.sockets, stand, &shared, progress, bench.sockets).await?;
    let (cpu_connected, _) = look()?;
    let connecting = began.elapsed();
    tokio::time::sleep(REST).await;
    let (_, memory_connected) = look()?;
    let connected = (bench.sockets - warm) as f64;

    progress(Stage::Sending { seconds: bench.duration.as_secs(), rate: Some(bench.rate) });
    let (cpu_before, _) = look()?;
    let began = Instant::now();
    let gifts = send(&bench, stand, &mut viewers, &shared).await?;
    let seconds = began.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (cpu_after, _) = look()?;
    progress(Stage::Checking);
    let patience = Instant::now() + LAST_OF_IT;
    while Instant::now() < patience && viewers.iter().any(|viewer| viewer.events() < gifts) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let wrong: Vec<String> = viewers.iter().filter_map(|viewer| viewer.complaint(gifts)).collect();
    let deliveries = shared.deliveries.get();
    let cpu_used = (cpu_after - cpu_before).as_secs_f64();
    Ok(WsReport {
        bytes_per_socket: memory_connected.saturating_sub(memory) as f64 / connected,
        cpu_us_per_connect: (cpu_connected - cpu).as_secs_f64() * 1e6 / connected,
        connects_per_second: connected / connecting.as_secs_f64(),
        gifts,
        ticks: deliveries / bench.sockets as u64,
        deliveries,
        deliveries_per_second: deliveries as f64 / seconds,
        bytes_per_frame: shared.bytes.get() as f64 / deliveries.max(1) as f64,
        cpu_seconds_per_million_deliveries: cpu_used * 1e6 / deliveries.max(1) as f64,
        latency: shared.latencies.borrow().summary(),
        wrong: wrong.len() as u64,
        first_wrong: wrong.into_iter().next(),
        bench,
        machine,
    })
}

/// Connects until there are `count`.
async fn connect(
    viewers: &mut Vec<Rc<Viewer>>,
    count: usize,
    stand: &Stand,
    shared: &Rc<Shared>,
    progress: Progress<'_>,
    of: usize,
) -> Result<(), WsBenchError> {
    let tokens = stand.tokens[viewers.len()..count].iter();
    let connecting = tokens.map(|token| Viewer::connect(address(stand), token, stand.room, Rc::clone(shared)));
    let mut connecting = stream::iter(connecting).buffered(CONNECTING);
    while let Some(viewer) = connecting.next().await {
        viewers.push(viewer?);
        if viewers.len().is_multiple_of(500) {
            progress(Stage::Connecting { done: viewers.len(), of });
        }
    }
    Ok(())
}

fn address(stand: &Stand) -> SocketAddr {
    stand.server.address
}

/// One gift after the other at an even pace; returns how many were sent.
async fn send(
    bench: &WsBench,
    stand: &Stand,
    viewers: &mut [Rc<Viewer>],
    shared: &Rc<Shared>,
) -> Result<u64, WsBenchError> {
    let sender = Rc::clone(&viewers[0]);
    let began = tokio::time::Instant::now();
    let mut sent = 0;
    while began.elapsed() < bench.duration {
        // Its number is how many pieces it has, so that every viewer knows which one it is.
        let number = sent + 1;
        let durable = sender.send(stand, number % 9_999 + 1).await?;
        shared.durable.borrow_mut().insert(number % 9_999 + 1, durable);
        sent += 1;
        tokio::time::sleep_until(began + Duration::from_micros(sent * 1_000_000 / bench.rate)).await;
    }
    Ok(sent)
}
