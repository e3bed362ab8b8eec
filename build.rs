//! Tells `--version` from which commit and when this was built; without git it says so instead of failing.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=LARGESSE_COMMIT");
    println!("cargo:rerun-if-env-changed=LARGESSE_COMMIT_DATE");
    for path in [git(&["rev-parse", "--git-path", "HEAD"]), git(&["rev-parse", "--git-path", "logs/HEAD"])] {
        // A path that is not there would make every build run this again.
        if let Some(path) = path.filter(|path| std::path::Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    let commit = said("LARGESSE_COMMIT").or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    let date = said("LARGESSE_COMMIT_DATE").or_else(|| git(&["log", "-1", "--format=%cs"]));
    println!("cargo:rustc-env=LARGESSE_BUILD_COMMIT={}", commit.unwrap_or_else(|| "unknown commit".into()));
    println!("cargo:rustc-env=LARGESSE_BUILD_DATE={}", date.unwrap_or_else(|| "unknown date".into()));
}

/// What a packager who builds without the repository says.
fn said(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
