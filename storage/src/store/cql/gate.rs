//! Says "not now" at once while nobody answers.
//!
//! Without it each caller would wait for a time-out of its own while the database is away. One request at a time still
//! goes through to find out whether it is back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use largesse_engine::store::StoreError;

/// How often somebody is let through to look.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answered: Instant,
    away: Option<Away>,
}

#[derive(Debug)]
struct Away {
    why: StoreError,
    look_at: Instant,
}

/// One request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    begun: Instant,
}

impl Gate {
    pub fn new() -> Gate {
        Gate { state: Mutex::new(State { answered: Instant::now(), away: None }) }
    }

    pub fn enter(&self) -> Result<Pass, StoreError> {
        self.enter_at(Instant::now())
    }

    fn enter_at(&self, now: Instant) -> Result<Pass, StoreError> {
        let mut state = self.state();
        if let Some(away) = &mut state.away {
            if now < away.look_at {
                return Err(away.why.clone());
            }
            away.look_at = now + LOOK_EVERY;
        }
        Ok(Pass { begun: now })
    }

    pub fn answered(&self) {
        let mut state = self.state();
        state.answered = Instant::now();
        if state.away.take().is_some() {
            tracing::info!("the database answers again");
        }
    }

    /// Nobody answered this one. If nobody answered any other since it was begun, the next ones need not wait.
    pub fn unanswered(&self, pass: Pass, why: &StoreError) {
        let mut state = self.state();
        if state.answered >= pass.begun {
            return;
        }
        if state.away.is_none() {
            tracing::warn!(%why, "the database does not answer");
        }
        state.away = Some(Away { why: why.clone(), look_at: Instant::now() + LOOK_EVERY });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held cannot have left it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_looks_while_nobody_answers() {
        let (gate, why) = (Gate::new(), StoreError::Unavailable("no answer".into()));
        let (slow, other) = (gate.enter().unwrap(), gate.enter().unwrap());
        gate.unanswered(slow, &why);
        assert_eq!(gate.enter().unwrap_err(), why);
        gate.unanswered(other, &why);
        let later = Instant::now() + LOOK_EVERY;
        assert!(gate.enter_at(later).is_ok(), "one looks");
        assert!(gate.enter_at(later).is_err(), "and only one");
        gate.answered();
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn one_slow_request_among_others_shuts_nobody_out() {
        let (gate, why) = (Gate::new(), StoreError::Unavailable("no answer".into()));
        let slow = gate.enter().unwrap();
        gate.answered();
        gate.unanswered(slow, &why);
        assert!(gate.enter().is_ok());
    }
}
