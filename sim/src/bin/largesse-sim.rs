//! `largesse-sim SEED` replays one seed with its trace; `largesse-sim FROM..TO` runs many and stops at the first that
//! finds something.

use largesse_sim::simulate;
use largesse_sim::trace::Mode;

fn main() -> std::process::ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let (seeds, mode) = match argument.split_once("..") {
        Some((from, to)) => (from.parse().ok().zip(to.parse().ok()).map(|(from, to)| from..to), Mode::Off),
        None => (argument.parse().ok().map(|seed: u64| seed..seed + 1), Mode::Print),
    };
    let Some(seeds) = seeds else {
        eprintln!("usage: largesse-sim SEED | FROM..TO");
        return std::process::ExitCode::from(2);
    };
    let keep_going = std::env::args().nth(2).is_some_and(|flag| flag == "--all");
    let (mut events, mut violations, count) = (0, 0u64, seeds.end - seeds.start);
    for seed in seeds {
        match simulate(seed, mode) {
            Ok(summary) => events += summary.events,
            Err(violation) => {
                println!("seed {}: {}", violation.seed, violation.what);
                violations += 1;
                if !keep_going {
                    return std::process::ExitCode::from(4);
                }
            }
        }
    }
    println!("{count} seeds, {events} events, {violations} violations");
    std::process::ExitCode::from(if violations > 0 { 4 } else { 0 })
}
