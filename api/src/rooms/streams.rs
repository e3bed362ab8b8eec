//! How many streams are open: in the process, and of one caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use largesse_engine::units::UserId;
use metrics::{Gauge, gauge};

use super::hub::Hub;
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::problem::{Extras, Problem};

/// How long a caller should wait who found no place.
const AFTER_FULL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Streams of a process. Default: 1,000.
    pub all_max: usize,
    /// Streams of one viewer, or of one service's key. Default: 16.
    pub caller_max: usize,
    /// How long one stays open. It then ends, and whoever still may goes on with a new one. Default: 30 min.
    pub longest: Duration,
    /// How often something is sent where nothing happens. Default: 15 s.
    pub heartbeat: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        let (longest, heartbeat) = (Duration::from_secs(1_800), Duration::from_secs(15));
        StreamLimits { all_max: 1_000, caller_max: 16, longest, heartbeat }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Viewer(UserId),
    Key(Arc<str>),
}

#[derive(Default)]
struct Open {
    all: usize,
    by_caller: HashMap<Whose, usize>,
}

pub struct Streams {
    pub limits: StreamLimits,
    pub hub: Arc<Hub>,
    open: Arc<Mutex<Open>>,
    gauge: Gauge,
}

/// A place, given back when this is dropped.
pub struct StreamPlace {
    open: Arc<Mutex<Open>>,
    whose: Whose,
    gauge: Gauge,
}

impl Streams {
    pub fn new(limits: StreamLimits) -> Streams {
        Streams { limits, hub: Arc::default(), open: Arc::default(), gauge: gauge!("largesse_room_streams") }
    }

    pub fn enter(&self, caller: &Caller) -> Result<StreamPlace, Problem> {
        let whose = match caller {
            Caller::Viewer(user) | Caller::Reader(user) => Whose::Viewer(*user),
            Caller::Service(service) => Whose::Key(Arc::clone(&service.name)),
            Caller::Admin(name) => Whose::Key(Arc::clone(name)),
        };
        let full = |what: &str, max: usize| {
            let detail = format!("{what} has {max} streams open, as many as it may; end one, or try again later");
            Problem::with(ErrorCode::Overloaded, detail, Extras::RetryAfter(AFTER_FULL))
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.limits.all_max {
            return Err(full("this process", self.limits.all_max));
        }
        let own = open.by_caller.entry(whose.clone()).or_default();
        if *own >= self.limits.caller_max {
            return Err(full("this caller", self.limits.caller_max));
        }
        *own += 1;
        open.all += 1;
        self.gauge.increment(1.0);
        Ok(StreamPlace { open: Arc::clone(&self.open), whose, gauge: self.gauge.clone() })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(own) = open.by_caller.get_mut(&self.whose) {
            *own -= 1;
            if *own == 0 {
                open.by_caller.remove(&self.whose);
            }
        }
        self.gauge.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_one_and_for_all_and_come_back() {
        let limits = StreamLimits { all_max: 3, caller_max: 2, ..StreamLimits::default() };
        let streams = Streams::new(limits);
        let enter = |user| streams.enter(&Caller::Viewer(UserId(user))).map_err(|problem| problem.code());
        let (one, _two) = (enter(1).unwrap(), enter(1).unwrap());
        assert_eq!(enter(1).err(), Some(ErrorCode::Overloaded), "as many as one may have");
        let third = enter(2).unwrap();
        assert_eq!(enter(3).err(), Some(ErrorCode::Overloaded), "as many as there may be");
        drop(third);
        let _fourth = enter(3).unwrap();
        assert_eq!(enter(1).err(), Some(ErrorCode::Overloaded));
        drop(one);
        enter(1).unwrap();
        assert_eq!(streams.open.lock().unwrap().by_caller.len(), 2, "who has left is forgotten");
    }
}
