//! Gifts over HTTP, one a request on connections that stay open, against a bare axum handler in the same run.
//!
//! Both are processes of their own and take turns, so that a machine which is slower for a while is slower for both. A turn
//! begins when the other process has come to rest. The callers have one thread for all connections.

pub mod bare;
mod books;
mod connection;
mod requests;
mod turn;

use std::net::SocketAddr;
use std::time::Duration;

use largesse_engine::audit::Report;
use serde::Serialize;

pub use self::books::Mismatch;
pub use self::connection::WireError;
pub use self::requests::Viewer;
use self::turn::{Callers, Turn};
use crate::engine::Books;
use crate::latency::{Latencies, Latency};
use crate::machine::Machine;
use crate::progress::{Progress, Stage};

#[derive(Clone, Debug, Serialize)]
pub struct HttpBench {
    pub viewers: u64,
    pub hosts: u64,
    /// Each with one request under way.
    pub connections: usize,
    /// How long each of the two is measured, all turns together.
    pub duration: Duration,
    /// How often each has its turn.
    pub turns: usize,
}

impl Default for HttpBench {
    fn default() -> Self {
        HttpBench { viewers: 10_000, hosts: 1, connections: 64, duration: Duration::from_secs(30), turns: 3 }
    }
}

/// The two processes that are compared.
#[derive(Clone, Debug)]
pub struct Sides {
    pub gifts: Server,
    pub bare: Server,
    pub service_key: String,
    pub room: u64,
    /// Of what is sold for one coin.
    pub gift: u32,
    pub hosts: Vec<u64>,
    pub viewers: Vec<Viewer>,
}

#[derive(Clone, Copy, Debug)]
pub struct Server {
    pub address: SocketAddr,
    pub pid: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpBenchError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Server(String),
    #[error(transparent)]
    Wire(#[from] WireError),
}

#[derive(Clone, Debug, Serialize)]
pub struct HttpReport {
    pub bench: HttpBench,
    pub machine: Machine,
    pub gifts: Side,
    pub bare: Side,
    /// Requests a second with gifts, as a part of those of the bare handler.
    pub ratio: f64,
    /// The same, turn by turn: how far they differ is the noise.
    pub ratios: Vec<f64>,
    pub books: Books,
    /// Gifts whose outcome the callers were not told.
    pub unknown: u64,
    /// Viewers whose balance is not what their accepted gifts say; the first few.
    pub mismatches: Vec<Mismatch>,
    /// Filled by whoever can stop the server.
    pub audit: Option<Report>,
}

/// What one of the two came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Side {
    pub requests: u64,
    pub seconds: f64,
    pub requests_per_second: f64,
    /// Turn by turn.
    pub turns: Vec<f64>,
    /// Answers other than 200, answers that are not to the question, and connections that broke.
    pub errors: u64,
    pub first_error: Option<String>,
    pub latency: Latency,
    pub server_cpu_us_per_request: f64,
    /// With what the server went on to do after the last answer: moving events into the store.
    pub server_cpu_us_per_request_at_rest: f64,
    pub client_cpu_us_per_request: f64,
}

impl HttpBench {
    pub fn check(&self) -> Result<(), HttpBenchError> {
        let complaint = if !(1..=1_000_000).contains(&self.viewers) {
            "viewers must be 1 to 1,000,000"
        } else if !(1..=1_000).contains(&self.hosts) {
            "hosts must be 1 to 1,000"
        } else if !(1..=10_000).contains(&self.connections) {
            "connections must be 1 to 10,000"
        } else if !(1..=1_000).contains(&self.turns) {
            "turns must be 1 to 1,000"
        } else if self.duration.is_zero() || self.duration > Duration::from_secs(86_400) {
            "a bench must run for 1 second to 1 day"
        } else {
            return Ok(());
        };
        Err(HttpBenchError::Invalid(complaint.into()))
    }
}

impl HttpReport {
    pub fn is_right(&self) -> bool {
        let no_errors = self.gifts.errors == 0 && self.bare.errors == 0;
        let Books { paid, received } = self.books;
        let adds_up = (paid..=paid + self.unknown).contains(&received) && self.mismatches.is_empty();
        no_errors && adds_up && self.audit.as_ref().is_none_or(|audit| audit.is_clean)
    }
}

/// Funds the viewers, lets both have their turns, and checks every balance over the API. The calling thread is the
/// callers'.
pub async fn run(
    bench: HttpBench,
    sides: &Sides,
    machine: Machine,
    progress: Progress<'_>,
) -> Result<HttpReport, HttpBenchError> {
    bench.check()?;
    books::fund(&bench, sides, progress).await?;
    let callers = Callers::new(&bench, sides);
    let (mut gifts, mut bare) = (Total::default(), Total::default());
    let each = bench.duration.div_f64(bench.turns as f64);
    progress(Stage::Sending { seconds: bench.duration.as_secs() * 2, rate: None });
    for _ in 0..bench.turns {
        gifts.add(callers.turn(&sides.gifts, each, true).await?);
        bare.add(callers.turn(&sides.bare, each, false).await?);
    }
    progress(Stage::Checking);
    let unknown = callers.unknown();
    let (books, mismatches) = books::check(sides, &callers.accepted(), unknown).await?;
    let (gifts, bare) = (gifts.side(), bare.side());
    let per_turn = gifts.turns.iter().zip(&bare.turns).map(|(gifts, bare)| gifts / bare);
    Ok(HttpReport {
        ratio: gifts.requests_per_second / bare.requests_per_second,
        ratios: per_turn.collect(),
        bench,
        machine,
        gifts,
        bare,
        books,
        unknown,
        mismatches,
        audit: None,
    })
}

/// All turns of one side.
#[derive(Default)]
struct Total {
    side: Side,
    latencies: Latencies,
    server: Duration,
    server_at_rest: Duration,
    client_seconds: f64,
}

impl Total {
    fn add(&mut self, turn: Turn) {
        self.side.requests += turn.requests;
        self.side.seconds += turn.seconds;
        self.side.turns.push(turn.requests as f64 / turn.seconds);
        self.side.errors += turn.errors;
        self.side.first_error = self.side.first_error.take().or(turn.first_error);
        self.latencies.add(&turn.latencies);
        self.server += turn.server;
        self.server_at_rest += turn.server_at_rest;
        self.client_seconds += turn.client_seconds;
    }

    fn side(self) -> Side {
        let per_request = |seconds: f64| seconds * 1e6 / self.side.requests.max(1) as f64;
        Side {
            requests_per_second: self.side.requests as f64 / self.side.seconds,
            latency: self.latencies.summary(),
            server_cpu_us_per_request: per_request(self.server.as_secs_f64()),
            server_cpu_us_per_request_at_rest: per_request(self.server_at_rest.as_secs_f64()),
            client_cpu_us_per_request: per_request(self.client_seconds),
            ..self.side
        }
    }
}
