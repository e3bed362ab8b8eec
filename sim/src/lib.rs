//! Whole nodes driven by one seeded scheduler, with a simulated clock, network, log and store, and everything going wrong.
//!
//! It runs the production state machines of wallet shards, room shards and control shard, gate, belief, parking, window,
//! outbox, accumulators, flusher, recovery, the loading of rows, the resolving of gifts against the catalog, pages of history
//! and the pages of feeds that the store has.
//! Production code that it does **not** execute, and replaces by its own:
//!
//! - `engine::node::actor`, `door`, `relays`, `tasks`, `local` and `Node` itself: the shells on ractor and tokio, with
//!   their mailboxes, permits, timers and pauses; what they do when a node is stopped in order is imitated here;
//! - `engine::node::rooms`, which brings rooms their settings and asks them when their time has come: imitated as well, and so
//!   is how `engine::service` makes one list of a feed out of the owner's memory and the store;
//! - `engine::clock`, of which only the rule is imitated, in half of the worlds;
//! - `engine::service` and everything above it: HTTP, authentication, command line;
//! - `engine::audit`, which folds logs by rules of its own, as `truth` does here;
//! - `storage::log` (embedded and memory) and the embedded store, which have tests of their own; the store's rows and
//!   pages are those of `storage::store::memory`;
//! - scans, `end`, `wait_for` and `room` of the log.
//!
//! A write to the log that was torn is one that was lost here: that readers take what is left of it for nothing is tested
//! where the log's files are. Torn writes of the store are simulated, since their rows come one by one.

pub mod calls;
mod checks;
pub mod clients;
pub mod disk;
pub mod node;
pub mod rng;
mod settle;
mod steps;
pub mod swarm;
pub mod trace;
pub mod truth;
pub mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::trace::{Mode, Trace};
use crate::world::World;

/// How a seed ended that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub events: u64,
    /// Of the trace, if one was made.
    pub hash: u64,
}

/// What a seed found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub seed: u64,
    pub what: String,
}

/// Runs one world from its seed to its end.
pub fn simulate(seed: u64, mode: Mode) -> Result<Summary, Violation> {
    catch_panics();
    let run = || {
        let mut world = World::new(seed, Trace::new(mode));
        world.run();
        Summary { events: world.truth.shards.iter().map(|shard| shard.last().get()).sum(), hash: world.trace.hash() }
    };
    IS_SIMULATING.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    IS_SIMULATING.set(false);
    result.map_err(|_panic| Violation { seed, what: LAST_PANIC.take().unwrap_or_default() })
}

thread_local! {
    static IS_SIMULATING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic of a simulated node is a finding to be told with its seed, not something to print at once.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if IS_SIMULATING.get() {
                LAST_PANIC.set(Some(panic.to_string()));
            } else {
                usual(panic);
            }
        }));
    });
}
