//! The sustained rate: the highest that was found at which the store keeps up, so that the lag stays flat.
//!
//! Two steps. First callers go on as fast as they are answered, but hold back whenever the store is [`LAG_MAX`] events
//! behind; what was accepted less what the lag grew is what the store digested meanwhile. Then gifts come by the clock at
//! [`SHARES`] of that rate, the highest first, each after the store has caught up. A rate holds if callers were served all
//! of it, and over the second half of the run the lag's slope was at most [`GROWTH_MAX`] of the rate. The first that holds
//! is the sustained rate, and all other figures are of that run.

use std::time::Duration;

use serde::Serialize;

use super::callers::{Drive, Told};
use super::world::World;
use super::{BenchError, Measured, measure};
use crate::progress::{Progress, Stage};

/// What callers may be ahead of the store while its pace is found out.
pub const LAG_MAX: u64 = 200_000;
/// Parts of the digested rate that are tried, in this order.
pub const SHARES: [f64; 4] = [0.95, 0.85, 0.7, 0.5];
/// Events a second that the lag may gain, as a part of the rate, and still count as flat: noise of flushes and
/// compactions.
pub const GROWTH_MAX: f64 = 0.02;
/// Part of the offered gifts that must have been accepted.
const SERVED_MIN: f64 = 0.98;

#[derive(Clone, Debug, Serialize)]
pub struct Sustained {
    /// None if no rate that was tried held.
    pub gifts_per_second: Option<f64>,
    /// Gifts a second that the store digested while callers held back for it.
    pub digested_per_second: f64,
    pub holds: Vec<Hold>,
}

/// One rate that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Hold {
    pub rate: u64,
    pub accepted_per_second: f64,
    pub lag_events_max: u64,
    /// Events a second over the second half.
    pub lag_growth_per_second: f64,
    pub holds: bool,
}

/// Takes half the drive's time to find the store's pace, and the drive's time for each rate that is tried.
pub(super) async fn search(world: &World, drive: &Drive, progress: Progress<'_>) -> Result<Measured, BenchError> {
    let mut all = Told::new(world.crowd.shape.wallet_shards);
    let half = drive.duration / 2;
    progress(Stage::Probing { seconds: half.as_secs() });
    let probed = measure(world, Drive { duration: half, lag_max: Some(LAG_MAX), rate: None, ..drive.clone() }).await?;
    all.add(&probed.all);
    let digested = probed.driven.told.gifts.saturating_sub(probed.flush_lag_events);
    let digested_per_second = digested as f64 / probed.driven.seconds;
    let mut found = Sustained { gifts_per_second: None, digested_per_second, holds: Vec::new() };
    let mut last = probed;
    for share in SHARES {
        world.drain(progress).await;
        let rate = whole(digested_per_second * share);
        progress(Stage::Sending { seconds: drive.duration.as_secs(), rate: Some(rate) });
        let measured = measure(world, Drive { rate: Some(rate), lag_max: None, ..drive.clone() }).await?;
        all.add(&measured.all);
        let hold = judge(rate, &measured, drive.duration);
        let holds = hold.holds;
        found.gifts_per_second = holds.then_some(hold.accepted_per_second);
        found.holds.push(hold);
        last = measured;
        if holds {
            break;
        }
    }
    Ok(Measured { sustained: Some(found), all, ..last })
}

fn judge(rate: u64, measured: &Measured, duration: Duration) -> Hold {
    let driven = &measured.driven;
    let half = duration.as_secs_f64() / 2.0;
    let later: Vec<_> = driven.lags.iter().copied().filter(|(at, _)| *at >= half).collect();
    let accepted_per_second = driven.told.gifts as f64 / driven.seconds;
    let lag_growth_per_second = slope(&later);
    let is_served = accepted_per_second >= rate as f64 * SERVED_MIN;
    Hold {
        rate,
        accepted_per_second,
        lag_events_max: driven.lags.iter().map(|(_, lag)| *lag).max().unwrap_or_default(),
        lag_growth_per_second,
        holds: is_served && lag_growth_per_second <= rate as f64 * GROWTH_MAX,
    }
}

/// The line through the points that fits best, by least squares: what it gains per second.
fn slope(points: &[(f64, u64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, u64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (at, lag) = (mean(|point| point.0), mean(|point| point.1 as f64));
    let spread: f64 = points.iter().map(|point| (point.0 - at).powi(2)).sum();
    if spread <= 0.0 {
        return 0.0;
    }
    points.iter().map(|point| (point.0 - at) * (point.1 as f64 - lag)).sum::<f64>() / spread
}

fn whole(rate: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "a rate is far below 2^63")]
    let rate = rate.round() as i64;
    u64::try_from(rate).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_lag_is_what_it_gains_a_second() {
        let rising: Vec<_> = (0..50).map(|step| (f64::from(step) / 10.0, 1_000 + 20 * step as u64)).collect();
        assert!((slope(&rising) - 200.0).abs() < 1e-6);
        let saw: Vec<_> = (0..400).map(|step| (f64::from(step) / 40.0, u64::from(step % 8 != 0) * 900)).collect();
        assert!(slope(&saw).abs() < 20.0, "{}", slope(&saw));
        assert_eq!((slope(&[]), slope(&[(1.0, 5)])), (0.0, 0.0));
    }

    #[test]
    fn a_rate_is_at_least_one_gift_a_second() {
        assert_eq!([whole(0.2), whole(1_234.6), whole(f64::NAN)], [1, 1_235, 1]);
    }
}
