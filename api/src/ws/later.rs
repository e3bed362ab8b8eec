//! What is told a moment later, in batches, and can be left out where too much waits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// What waits to be told; beyond, it is not told at all, which has to be harmless.
const WAITING_MAX: usize = 10_000;
/// What is told at once.
pub const BATCH_MAX: usize = 1_000;

/// One task takes out what any thread puts in.
#[derive(Debug)]
pub struct Later<T> {
    waiting: Mutex<Vec<T>>,
    added: Notify,
}

impl<T> Default for Later<T> {
    fn default() -> Self {
        Later { waiting: Mutex::default(), added: Notify::new() }
    }
}

impl<T> Later<T> {
    fn waiting(&self) -> MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, one: T) {
        let mut waiting = self.waiting();
        if waiting.len() < WAITING_MAX {
            waiting.push(one);
        }
        drop(waiting);
        self.added.notify_one();
    }

    /// The next batch, in the order in which it came, once there is something and what follows it closely has come too.
    pub async fn next(&self, gather: Duration) -> Vec<T> {
        while self.waiting().is_empty() {
            self.added.notified().await;
        }
        tokio::time::sleep(gather).await;
        let mut waiting = self.waiting();
        let count = waiting.len().min(BATCH_MAX);
        let batch = waiting.drain(..count).collect();
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
}
