//! Processes of this same binary that a bench needs beside itself. None outlives it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::exit::Failure;

/// A process that has said, in one line of JSON, that it is ready.
pub struct Ready {
    child: Child,
    pub told: Value,
    what: &'static str,
}

/// This binary with none of the variables that name a server, a ledger or an environment; those that set single keys of the
/// configuration (`LARGESSE__…`) stay, so that other settings can be measured.
pub fn own_binary() -> Result<Command, Failure> {
    let path = std::env::current_exe();
    let path = path.map_err(|error| Failure::new(format_args!("cannot find this program's own file: {error}")))?;
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("LARGESSE_") && !name.starts_with("LARGESSE__") {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

impl Ready {
    /// Starts it and waits for its line. Its stdin stays open as long as this lives: whoever watches it knows when to end.
    pub fn start(what: &'static str, command: &mut Command) -> Result<Ready, Failure> {
        let told = |error: &dyn std::fmt::Display| Failure::new(format_args!("{what} could not be started: {error}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| told(&error))?;
        let mut line = String::new();
        let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let mut ready = Ready { child, told: Value::Null, what };
        match read {
            Some(Ok(bytes)) if bytes > 0 => {
                ready.told = serde_json::from_str(&line).map_err(|error| told(&format_args!("{error}: {line}")))?;
                Ok(ready)
            }
            Some(Err(error)) => Err(told(&error)),
            Some(Ok(_)) | None => {
                let status = ready.child.wait().map_err(|error| told(&error))?;
                Err(told(&format_args!("it ended with {status} before it was ready")))
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Result<(), Failure> {
        let what = self.what;
        let told = |error: &dyn std::fmt::Display| Failure::new(format_args!("{what} did not end: {error}"));
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(|error| told(&error))?;
        let status = self.child.wait().map_err(|error| told(&error))?;
        if status.success() { Ok(()) } else { Err(told(&format_args!("{status}"))) }
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) -> Result<ExitStatus, Failure> {
        self.end().map_err(|error| Failure::new(format_args!("{} could not be killed: {error}", self.what)))
    }

    fn end(&mut self) -> std::io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // Ended already when all went well.
        let _ended = self.end();
    }
}

/// For a process that was started so: resolves when whoever started it is gone.
pub async fn parent_gone() {
    let (gone, seen) = tokio::sync::oneshot::channel();
    // A thread of its own, which the runtime does not wait for: nobody may ever write or hang up.
    let watched = std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let _read_or_failed = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ended_before = gone.send(());
    });
    if watched.is_ok() {
        let _gone = seen.await;
    }
}
