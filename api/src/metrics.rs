//! What the edge counts. Handles are looked up once; no label ever names a user or a room.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::StatusCode;
use largesse_engine::catalog::Catalog;
use largesse_engine::service::Moments;
use largesse_engine::wallet::outcome::Applied;
use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, histogram};
pub use metrics_exporter_prometheus::PrometheusHandle as Handle;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::ErrorCode;

/// Borders of the duration histograms, in seconds.
const DURATION_BUCKETS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Borders for the stages of a gift, in seconds: some take a few millionths.
const STAGE_BUCKETS: [f64; 16] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.5, 2.5,
];
/// Borders of the size histograms, in bytes: from one small event to the largest group commit.
const SIZE_BUCKETS: [f64; 8] = [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 8_388_608.0];
/// How often samples are folded into their buckets when nobody scrapes, so that they do not pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Makes the process's recorder; to be called once, before any router is built, within a runtime.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let sizes = Matcher::Suffix("_bytes".into());
    let stages = Matcher::Full("largesse_gift_duration_seconds".into());
    let builder = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS)?;
    let builder =
        builder.set_buckets_for_metric(sizes, &SIZE_BUCKETS)?.set_buckets_for_metric(stages, &STAGE_BUCKETS)?;
    let handle = builder.install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

pub(crate) fn describe() {
    describe_counter!("largesse_http_requests_total", "Requests answered, by route and status");
    describe_histogram!("largesse_http_request_seconds", "Time from a request's head to its answer, by route");
    describe_counter!("largesse_gift_requests_total", "Gifts asked for over HTTP, by outcome and reason");
    describe_histogram!("largesse_gift_duration_seconds", "Where the time of gifts goes, by stage");
    describe_counter!("largesse_gift_value_total", "What new gifts debited, by asset");
    describe_counter!("largesse_limit_rejections_total", "Requests turned away by a rate, by rule");
    describe_gauge!("largesse_verified_tokens", "Viewers' tokens that are remembered as verified");
    describe_gauge!("largesse_room_streams", "Streams of rooms' events that are open");
    describe_counter!("largesse_recharge_callbacks_total", "Notices of payment providers, by channel and outcome");
}

/// Requests of one route.
pub struct RouteMeter {
    route: &'static str,
    seconds: Histogram,
    by_status: [OnceLock<Counter>; 600],
}

impl RouteMeter {
    pub fn new(route: &'static str) -> RouteMeter {
        let seconds = histogram!("largesse_http_request_seconds", "route" => route);
        RouteMeter { route, seconds, by_status: [const { OnceLock::new() }; 600] }
    }

    pub fn record(&self, status: StatusCode, took: Duration) {
        let Some(counter) = self.by_status.get(usize::from(status.as_u16())) else { return };
        let make =
            || counter!("largesse_http_requests_total", "route" => self.route, "status" => status.as_u16().to_string());
        counter.get_or_init(make).increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

/// Gifts by what came of them, and how long they took at the edge.
pub struct GiftMeter {
    applied: Counter,
    replayed: Counter,
    failed: [OnceLock<Counter>; ErrorCode::ALL.len()],
    /// What new gifts debited, by the asset's number; assets beyond are looked up each time.
    value: [OnceLock<Counter>; 64],
    admit: Histogram,
    reply: Histogram,
}

impl Default for GiftMeter {
    fn default() -> Self {
        GiftMeter {
            applied: gift_counter("applied", "new"),
            replayed: gift_counter("applied", "replayed"),
            failed: [const { OnceLock::new() }; ErrorCode::ALL.len()],
            value: [const { OnceLock::new() }; 64],
            admit: gift_stage("admit"),
            reply: gift_stage("reply"),
        }
    }
}

impl GiftMeter {
    pub fn applied(&self, applied: &Applied, catalog: &Catalog) {
        if applied.replayed {
            self.replayed.increment(1);
            return;
        }
        self.applied.increment(1);
        let make = || counter!("largesse_gift_value_total", "asset" => catalog.asset_name(applied.asset));
        match self.value.get(usize::from(applied.asset.get())) {
            Some(counter) => counter.get_or_init(make).increment(applied.total.get()),
            None => make().increment(applied.total.get()),
        }
    }

    /// A gift that its shard answered, whatever it said; to be called when the response is made.
    pub fn took(&self, arrived: Instant, moments: Option<Moments>) {
        let Some(Moments { entered, answered }) = moments else { return };
        self.admit.record(entered.duration_since(arrived));
        self.reply.record(Instant::now().duration_since(answered));
    }

    pub fn failed(&self, code: ErrorCode) {
        let outcome = if code.vouches_for_no_effect() { "refused" } else { "unknown" };
        self.failed[code.place()].get_or_init(|| gift_counter(outcome, code.name())).increment(1);
    }
}

fn gift_counter(outcome: &'static str, reason: &'static str) -> Counter {
    counter!("largesse_gift_requests_total", "outcome" => outcome, "reason" => reason)
}

/// The other stages are the shard's.
fn gift_stage(stage: &'static str) -> Histogram {
    histogram!("largesse_gift_duration_seconds", "stage" => stage)
}
