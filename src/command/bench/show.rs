//! What people see of a bench: how far it is, and figures in units that can be read.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use largesse_engine::audit::Report;
use largesse_loadtest::latency::Latency;
use largesse_loadtest::machine::Machine;
use largesse_loadtest::progress::Stage;

use crate::output;

/// Tells on stderr what a bench is doing; funding has a bar where there is a terminal.
pub struct Watch {
    bar: ProgressBar,
    /// Tenths of the funding that were told.
    tenths: Mutex<u64>,
}

impl Watch {
    pub fn new() -> Watch {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("funding viewers {bar:30} {human_pos} of {human_len}") {
            bar.set_style(style);
        }
        Watch { bar, tenths: Mutex::new(0) }
    }

    pub fn tell(&self, stage: Stage) {
        if let Stage::Funding { done, of } = stage {
            self.funding(done, of);
            return;
        }
        self.bar.finish_and_clear();
        match stage {
            Stage::Sending { seconds: 0, rate: _ } => output::remark("sending gifts that the store does not get"),
            Stage::Sending { seconds, rate: None } => output::remark(&format!("sending for {seconds} s")),
            Stage::Sending { seconds, rate: Some(rate) } => {
                output::remark(&format!("sending {rate} gifts a second for {seconds} s"));
            }
            Stage::Probing { seconds } => output::remark(&format!("finding the store's pace for {seconds} s")),
            Stage::Draining { events: 0 } | Stage::Funding { .. } => {}
            Stage::Draining { events } => output::remark(&format!("waiting for the store, {events} events behind")),
            Stage::Connecting { done, of } => output::remark(&format!("connected {done} of {of}")),
            Stage::Opening => output::remark("opening the ledger again"),
            Stage::Checking => output::remark("comparing balances"),
            Stage::Replaying => output::remark("writing some flushes again, into an empty store"),
            Stage::Auditing => output::remark("auditing"),
        }
    }

    fn funding(&self, done: u64, of: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_length(of);
            self.bar.set_position(done);
            return;
        }
        let mut told = self.tenths.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let tenths = done * 10 / of.max(1);
        if tenths > *told {
            *told = tenths;
            output::remark(&format!("funded {done} of {of} viewers"));
        }
    }
}

pub fn latency(latency: &Latency) -> [(&'static str, String); 4] {
    [
        ("latency p50", millis(latency.p50_us)),
        ("latency p99", millis(latency.p99_us)),
        ("latency p99.9", millis(latency.p999_us)),
        ("latency max", millis(latency.max_us)),
    ]
}

pub fn millis(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1_000.0)
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

pub fn machine(machine: &Machine) -> String {
    let build = if machine.is_optimized { "optimized" } else { "a development build: slower than it could be" };
    let disk = if machine.is_on_disk { "" } else { "; data in memory: syncs cost nothing" };
    let memory = machine.memory_bytes >> 30;
    format!("{} cores, {}, {memory} GiB, Linux {}, {build}{disk}", machine.cores, machine.cpu, machine.kernel)
}

pub fn verdict(audit: Option<&Report>) -> String {
    match audit {
        None => "left out".into(),
        Some(found) if found.is_clean => "everything adds up".into(),
        Some(found) => format!("{} problems", found.problems_found),
    }
}
