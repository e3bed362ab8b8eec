//! What happened, line by line. Two runs of one seed must write the same.

use std::hash::{DefaultHasher, Hash, Hasher};

#[derive(Default)]
pub struct Trace {
    mode: Mode,
    hasher: DefaultHasher,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Off,
    /// Only a hash of it.
    Hash,
    Print,
}

impl Trace {
    pub fn new(mode: Mode) -> Trace {
        Trace { mode, ..Trace::default() }
    }

    pub fn note(&mut self, now: u64, line: impl FnOnce() -> String) {
        match self.mode {
            Mode::Off => {}
            Mode::Hash => line().hash(&mut self.hasher),
            Mode::Print => println!("{:>10.3} ms  {}", now as f64 / 1_000.0, line()),
        }
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
