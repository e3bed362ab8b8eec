//! One turn of one server: all connections ask and wait, over and over.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use largesse_engine::clock::{Clock, SystemClock};
use memchr::memmem;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::connection::{Answer, Connection};
use super::requests::GiftRequest;
use super::{HttpBench, HttpBenchError, Server, Sides};
use crate::latency::Latencies;
use crate::machine::{cpu_of, thread_cpu_seconds};
use crate::popularity::{Weighted, zipf};

/// The first part of a turn, which is not measured: connections open and caches fill.
const WARM_UP: f64 = 0.1;
/// A process is at rest when it used at most a hundredth of a second of processor time in this span.
const REST: Duration = Duration::from_millis(250);
const REST_PATIENCE: Duration = Duration::from_secs(60);

pub struct Callers {
    requests: Vec<GiftRequest>,
    senders: Weighted,
    connections: usize,
    /// By viewer: gifts that the server said it applied.
    accepted: Vec<Cell<u64>>,
    /// Gifts that were sent and not answered, or not understood.
    unknown: Cell<u64>,
}

/// What was measured in one turn.
#[derive(Default)]
pub struct Turn {
    pub requests: u64,
    pub seconds: f64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub latencies: Latencies,
    pub server: Duration,
    pub server_at_rest: Duration,
    pub client_seconds: f64,
}

/// What connections note while a turn lasts.
struct Notes {
    /// Nothing before this moment counts, and nothing is asked after the other.
    from: Instant,
    until: Instant,
    counts: bool,
    requests: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    latencies: RefCell<Latencies>,
}

impl Callers {
    pub fn new(bench: &HttpBench, sides: &Sides) -> Callers {
        let request = |(place, viewer)| {
            let host = sides.hosts[place % sides.hosts.len()];
            GiftRequest::new(sides.gifts.address, sides.room, sides.gift, viewer, host)
        };
        let weights: Vec<f64> = (0..).take(sides.viewers.len()).map(zipf).collect();
        Callers {
            requests: sides.viewers.iter().enumerate().map(request).collect(),
            senders: Weighted::new(&weights).expect("there is at least one viewer"),
            connections: bench.connections,
            accepted: vec![Cell::new(0); sides.viewers.len()],
            unknown: Cell::new(0),
        }
    }

    pub fn accepted(&self) -> Vec<u64> {
        self.accepted.iter().map(Cell::get).collect()
    }

    pub fn unknown(&self) -> u64 {
        self.unknown.get()
    }

    /// Everybody sends to this server for a while; only what moves money is booked.
    pub async fn turn(&self, server: &Server, span: Duration, moves_money: bool) -> Result<Turn, HttpBenchError> {
        at_rest(server).await?;
        let began = Instant::now();
        let from = began + span.mul_f64(WARM_UP);
        let notes = Notes {
            from,
            until: from + span,
            counts: moves_money,
            requests: Cell::new(0),
            errors: Cell::new(0),
            first_error: RefCell::default(),
            latencies: RefCell::default(),
        };
        let callers = (0..self.connections).map(|number| self.call(server, &notes, number));
        let watch = async {
            tokio::time::sleep_until(from.into()).await;
            let before = (used(server)?, thread_cpu_seconds());
            tokio::time::sleep_until(notes.until.into()).await;
            Ok::<_, HttpBenchError>((before, (used(server)?, thread_cpu_seconds())))
        };
        let (_called, watched) = tokio::join!(futures::future::join_all(callers), watch);
        let ((server_before, client_before), (server_after, client_after)) = watched?;
        at_rest(server).await?;
        Ok(Turn {
            requests: notes.requests.get(),
            seconds: span.as_secs_f64(),
            errors: notes.errors.get(),
            first_error: notes.first_error.take(),
            latencies: notes.latencies.take(),
            server: server_after.saturating_sub(server_before),
            server_at_rest: used(server)?.saturating_sub(server_before),
            client_seconds: client_after - client_before,
        })
    }

    async fn call(&self, server: &Server, notes: &Notes, number: usize) {
        let mut random = SmallRng::seed_from_u64(number as u64 + 1);
        let mut connection = None;
        while Instant::now() < notes.until {
            let mut open = match connection.take() {
                Some(open) => open,
                None => match Connection::open(server.address).await {
                    Ok(open) => open,
                    Err(error) => {
                        notes.failed(format!("cannot connect: {error}"));
                        // A server that is gone will not be back within this turn.
                        return;
                    }
                },
            };
            if self.gift(&mut open, notes, &mut random).await {
                connection = Some(open);
            }
        }
    }

    /// Says whether the connection is still good.
    async fn gift(&self, connection: &mut Connection, notes: &Notes, random: &mut SmallRng) -> bool {
        let viewer = self.senders.draw(random);
        let mut bytes = [0; 10];
        random.fill_bytes(&mut bytes);
        // A copy, since another connection may send for the same viewer meanwhile.
        let mut request = self.requests[viewer].clone();
        let (request, key) = request.with_key(SystemClock.now(), bytes);
        let began = Instant::now();
        match connection.ask(request).await {
            Ok(answer) => match complaint(&answer, key) {
                None => {
                    notes.answered(began);
                    if notes.counts {
                        self.accepted[viewer].set(self.accepted[viewer].get() + 1);
                    }
                    true
                }
                Some(complaint) => {
                    // A refusal moved nothing; only a 200 that cannot be understood, or an outcome that the server does
                    // not know, may have.
                    let is_refused = (400..500).contains(&answer.status) || answer.status == 503;
                    if notes.counts && !is_refused {
                        self.unknown.set(self.unknown.get() + 1);
                    }
                    notes.failed(complaint);
                    true
                }
            },
            Err(error) => {
                if notes.counts {
                    self.unknown.set(self.unknown.get() + 1);
                }
                notes.failed(error.to_string());
                false
            }
        }
    }
}

impl Notes {
    fn answered(&self, began: Instant) {
        let now = Instant::now();
        // By when it was answered, so that every turn counts what the server did within it.
        if now >= self.from && now < self.until {
            self.requests.set(self.requests.get() + 1);
            self.latencies.borrow_mut().note(now - began, 1);
        }
    }

    fn failed(&self, why: String) {
        self.errors.set(self.errors.get() + 1);
        self.first_error.borrow_mut().get_or_insert(why);
    }
}

/// What is wrong with an answer to a gift with this key.
fn complaint(answer: &Answer<'_>, key: &[u8]) -> Option<String> {
    let says = |text: &[u8]| memmem::find(answer.body, text).is_some();
    if answer.status == 200 && says(key) && says(br#""outcome":"applied""#) && says(br#""replayed":false"#) {
        return None;
    }
    let shown = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]);
    Some(format!("{} {shown}", answer.status))
}

fn used(server: &Server) -> Result<Duration, HttpBenchError> {
    cpu_of(server.pid).ok_or_else(|| HttpBenchError::Server(format!("process {} is gone", server.pid)))
}

/// Waits until nothing is left to do of what came before; a server that never rests is measured all the same.
async fn at_rest(server: &Server) -> Result<(), HttpBenchError> {
    let began = Instant::now();
    let mut before = used(server)?;
    while began.elapsed() < REST_PATIENCE {
        tokio::time::sleep(REST).await;
        let now = used(server)?;
        if now.saturating_sub(before) <= Duration::from_millis(10) {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_receipt_of_this_very_gift_is_an_answer() {
        let key = b"01234567-89ab-7000-8000-000000000000";
        let body = |key: &str, outcome: &str, replayed: bool| {
            format!(r#"{{"event_id":"{key}","outcome":"{outcome}","replayed":{replayed}}}"#)
        };
        let judge = |status, body: &str| complaint(&Answer { status, body: body.as_bytes() }, key);
        let own = String::from_utf8_lossy(key).into_owned();
        assert_eq!(judge(200, &body(&own, "applied", false)), None);
        for (status, wrong) in [
            (402, body(&own, "applied", false)),
            (200, body("another", "applied", false)),
            (200, body(&own, "applied", true)),
            (200, body(&own, "refused", false)),
            (200, String::new()),
        ] {
            assert!(judge(status, &wrong).unwrap().starts_with(&status.to_string()), "{wrong}");
        }
    }
}
