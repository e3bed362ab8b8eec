//! What a bench is doing: some of it takes minutes.

/// Told now and then; never from where something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Funding {
        done: u64,
        of: u64,
    },
    Sending {
        seconds: u64,
        rate: Option<u64>,
    },
    /// Finding out what the store digests.
    Probing {
        seconds: u64,
    },
    Draining {
        events: u64,
    },
    Opening,
    Connecting {
        done: usize,
        of: usize,
    },
    Checking,
    /// Writing flushes again into an empty store.
    Replaying,
    Auditing,
}

pub type Progress<'a> = &'a (dyn Fn(Stage) + Send + Sync);
