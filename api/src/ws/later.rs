//! What is told a moment later, in batches, and can be left out where too much waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What waits to be told; beyond, it is not told at all, which has to be harmless.
const WAITING_MAX: usize = 10_000;
/// What is told at once.
pub const BATCH_MAX: usize = 1_000;

/// One task takes out what any thread puts in.
#[derive(Debug)]
pub struct Later<T> {
    /// With when it came.
    waiting: Mutex<VecDeque<(Instant, T)>>,
    added: Notify,
}

impl<T> Default for Later<T> {
    fn default() -> Self {
        Later { waiting: Mutex::default(), added: Notify::new() }
    }
}

impl<T> Later<T> {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Instant, T)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, one: T) {
        let mut waiting = self.waiting();
        if waiting.len() < WAITING_MAX {
            waiting.push_back((Instant::now(), one));
        }
        drop(waiting);
        self.added.notify_one();
    }

    /// The next batch, in the order in which it came, once something has waited for so long: all of it has.
    pub async fn next(&self, wait: Duration) -> Vec<T> {
        let first = loop {
            let first = self.waiting().front().map(|(came, _)| *came);
            match first {
                Some(came) => break came,
                None => self.added.notified().await,
            }
        };
        tokio::time::sleep_until(first + wait).await;
        let (mut waiting, now) = (self.waiting(), Instant::now());
        let count = waiting.partition_point(|(came, _)| *came + wait <= now).min(BATCH_MAX);
        let batch = waiting.drain(..count).map(|(_, one)| one).collect();
        if waiting.is_empty() {
            // A crowd that has passed keeps no memory.
            waiting.shrink_to(BATCH_MAX);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_together_is_told_together_and_too_much_is_left_out() {
        let later = Later::default();
        (0..WAITING_MAX + 5).for_each(|one| later.add(one));
        let mut told = Vec::new();
        while told.len() < WAITING_MAX {
            let batch = later.next(Duration::from_millis(100)).await;
            assert_eq!(batch.len(), BATCH_MAX);
            told.extend(batch);
        }
        assert!(told.into_iter().eq(0..WAITING_MAX));
        let nothing = tokio::time::timeout(Duration::from_secs(60), later.next(Duration::ZERO)).await;
        assert!(nothing.is_err(), "nothing more waits");
        later.add(7);
        assert_eq!(later.next(Duration::ZERO).await, [7]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_waits_as_long_whatever_came_before_it() {
        let (later, wait) = (Later::default(), Duration::from_millis(200));
        later.add(1);
        tokio::time::advance(Duration::from_millis(199)).await;
        later.add(2);
        assert_eq!(later.next(wait).await, [1]);
        let began = Instant::now();
        assert_eq!(later.next(wait).await, [2]);
        assert!(began.elapsed() >= Duration::from_millis(198), "{:?}", began.elapsed());
    }
}
