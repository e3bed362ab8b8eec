//! The command line of Largesse, and nothing else: it parses arguments, puts the crates together, and prints.

use std::process::ExitCode;

mod args;
mod client;
mod command;
mod connect;
mod dev_env;
mod dev_keys;
mod events_out;
mod exit;
mod gateway;
mod jwks;
mod logs;
mod mirrors;
mod output;
mod payments;
mod run;
mod stores;
mod telemetry;
mod tls;

#[cfg(test)]
mod tests;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    take_all_files();
    match command::run(<args::Cli as clap::Parser>::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

/// Shells start processes with few open files, for programs of long ago; a socket is one. What the system allows is taken.
fn take_all_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _as_it_was = rustix::process::setrlimit(rustix::process::Resource::Nofile, all);
}
