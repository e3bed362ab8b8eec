//! A simulator that finds nothing could be blind. With each rule broken in turn, it has to find something soon.
#![cfg(feature = "sabotage")]

use largesse_engine::sabotage::{Rule, break_rule};
use largesse_sim::simulate;
use largesse_sim::trace::Mode;

const SEEDS_MAX: u64 = 2_000;

#[test]
fn every_broken_rule_is_noticed() {
    let mut unnoticed = Vec::new();
    for rule in Rule::ALL {
        break_rule(Some(rule));
        let found = (0..SEEDS_MAX).find_map(|seed| simulate(seed, Mode::Off).err());
        break_rule(None);
        match found {
            Some(violation) => println!("{rule:?} broken: seed {}: {}", violation.seed, violation.what),
            None => unnoticed.push(rule),
        }
    }
    assert_eq!(unnoticed, [], "broken for {SEEDS_MAX} seeds each, and nothing was found");
}
