//! Thousands of worlds. `LARGESSE_SIM_SEEDS=100000` runs more of them, `LARGESSE_SIM_FROM` begins elsewhere, and after
//! `LARGESSE_SIM_SECONDS` none begins; what one finds is replayed by `cargo run -p largesse-sim -- SEED`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use largesse_sim::trace::Mode;
use largesse_sim::{Violation, simulate};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[test]
fn no_seed_finds_anything() {
    let (from, count) = (number("LARGESSE_SIM_FROM", 0), number("LARGESSE_SIM_SEEDS", 2_000));
    println!("seeds {from} to {}", from + count - 1);
    let (began, longest) = (Instant::now(), Duration::from_secs(number("LARGESSE_SIM_SECONDS", 600)));
    let next = AtomicU64::new(from);
    let (ran, events) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || -> Vec<Violation> {
        let mut found = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count || found.len() >= 3 || began.elapsed() > longest {
                return found;
            }
            ran.fetch_add(1, Ordering::Relaxed);
            match simulate(seed, Mode::Off) {
                Ok(summary) => drop(events.fetch_add(summary.events, Ordering::Relaxed)),
                Err(violation) => found.push(violation),
            }
        }
    };
    let found: Vec<Violation> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let told: Vec<String> = found
        .iter()
        .map(|violation| {
            format!("seed {0}: {1}\nreplay: cargo run -p largesse-sim -- {0}", violation.seed, violation.what)
        })
        .collect();
    assert!(found.is_empty(), "{}", told.join("\n\n"));
    let (ran, events) = (ran.into_inner(), events.into_inner());
    assert!(events > ran * 10, "{events} events in {ran} worlds: nothing happens in them");
    println!("{ran} worlds, {events} events");
    assert!(ran >= count.min(2_000), "only {ran} worlds in {longest:?}");
}

#[test]
fn a_seed_always_leaves_the_same_trace() {
    for seed in 0..40 {
        let (one, other) = (simulate(seed, Mode::Hash), simulate(seed, Mode::Hash));
        assert_eq!(one, other, "seed {seed} left two traces: something else than the seed decides");
    }
    assert_ne!(simulate(1, Mode::Hash), simulate(2, Mode::Hash), "the trace tells worlds apart");
}
