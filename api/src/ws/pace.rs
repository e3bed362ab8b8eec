//! How often a room's ticks come.

use std::time::Duration;

use crate::ws::options::WsOptions;

/// How long after ticks became slower a pace is tried that frames just do not seem to fit in.
const TRY_FASTER_AFTER: Duration = Duration::from_secs(2);

/// Another pace, if writing a frame, which takes `lag`, does not keep up with this one, or has time to spare.
pub fn other(options: &WsOptions, tick: Duration, lag: Duration, since_slowed: Duration) -> Option<Duration> {
    if lag > tick.mul_f64(0.95) && tick < options.tick_longest {
        return Some((tick * 2).min(options.tick_longest));
    }
    // A pace that was too fast is tried again after a while: frames that follow each other closely cost less, since the
    // processor still knows the sockets.
    let share = if since_slowed < TRY_FASTER_AFTER { 0.4 } else { 0.6 };
    let is_relaxed = lag < tick.mul_f64(share) && tick > options.tick;
    is_relaxed.then(|| (tick / 2).max(options.tick))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paced(tick: u64, lag: u64, since_slowed: u64) -> Option<u64> {
        let [tick, lag, since_slowed] = [tick, lag, since_slowed].map(Duration::from_millis);
        let other = other(&WsOptions::default(), tick, lag, since_slowed);
        other.map(|tick| u64::try_from(tick.as_millis()).unwrap())
    }

    #[test]
    fn ticks_are_slower_only_when_a_frame_takes_longer_than_one() {
        assert_eq!([90, 96].map(|lag| paced(100, lag, 60_000)), [None, Some(200)]);
        assert_eq!(paced(8_000, 9_000, 0), Some(10_000));
        assert_eq!(paced(10_000, 60_000, 0), None, "there is nothing slower");
    }

    #[test]
    fn a_pace_that_was_given_up_is_tried_again_but_not_at_once() {
        // As cold sockets cost it: more than the half of what there was before.
        assert_eq!(paced(200, 110, 1_999), None);
        assert_eq!(paced(200, 110, 2_000), Some(100));
        assert_eq!(paced(200, 70, 0), Some(100), "with time to spare it need not wait");
        assert_eq!(paced(200, 130, 60_000), None);
        assert_eq!(paced(100, 1, 60_000), None, "there is nothing faster");
    }
}
