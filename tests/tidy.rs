//! What no compiler checks: files stay readable, nothing unfinished is left, and crates depend one way only.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 800;

/// Each with why it has no place here. Split so that this file does not hold them.
const BANNED: [(&str, &str); 7] = [
    (concat!("dbg", "!("), "left over from debugging"),
    (concat!("todo", "!("), "unfinished"),
    (concat!("unimplemented", "!("), "unfinished"),
    (concat!("FIX", "ME"), "say what is wrong in an issue, or mend it"),
    (concat!("XX", "X"), "say what is wrong in an issue, or mend it"),
    (concat!("/", "home/"), "a path of one machine"),
    (concat!("master", "/slave"), "say owner and follower, or primary and replica"),
];

/// Which of our crates each may depend on. Order is the direction: nobody depends on what stands below.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("config", &[]),
    ("engine", &[]),
    ("storage", &["config", "engine"]),
    ("cluster", &["config", "engine", "storage"]),
    ("api", &["config", "engine", "storage"]),
    ("loadtest", &["config", "engine", "storage"]),
    ("sim", &["engine", "storage"]),
    ("fuzz", &["api", "config", "engine", "storage"]),
    // For others, so it may know nothing of ours.
    ("clients/rust", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Our own text files, with their path as people write it.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    assert!(found.len() > 50, "only {} files were found, so nothing was checked", found.len());
    found
}

fn collect(dir: &Path, found: &mut Vec<(String, String)>) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let is_ours =
                !matches!(name.as_str(), ".git" | "target" | "largesse-data" | "node_modules" | "vendor" | "dist");
            if is_ours {
                collect(&path, found);
            }
        } else if is_text(&path) {
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((shown, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn is_text(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    name == "test"
        || name == "run"
        || name == "services"
        || matches!(extension, "rs" | "toml" | "md" | "sh" | "js" | "mjs" | "ts" | "css" | "html" | "yml")
}

#[test]
fn files_are_short_and_clean() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if path.ends_with(".rs") && lines > LINES_MAX {
            wrong.push(format!("{path}: {lines} lines; split it below {LINES_MAX}, by what its parts know"));
        }
        for (number, line) in (1..).zip(text.lines()) {
            if line != line.trim_end() && !path.ends_with(".md") {
                wrong.push(format!("{path}:{number}: space at the end of the line"));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            wrong.push(format!("{path}: no newline at the end"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_unfinished_is_left() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (number, line) in (1..).zip(text.lines()) {
            for (word, why) in BANNED {
                if line.contains(word) {
                    wrong.push(format!("{path}:{number}: `{word}`: {why}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Every metric that is named anywhere, also by what runs only beside other servers, which no scrape in a test shows.
#[test]
fn metrics_have_our_prefix_and_a_line_in_the_docs() {
    let docs = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let (mut names, mut wrong) = (BTreeSet::new(), Vec::new());
    for (path, text) in sources().into_iter().filter(|(path, _)| path.ends_with(".rs") && !path.contains("tests/")) {
        for kind in ["counter!(", "gauge!(", "histogram!("] {
            let calls = text.split(kind).skip(1).map(str::trim_start);
            for name in calls.filter_map(|call| call.strip_prefix('"')?.split('"').next()) {
                if !name.starts_with("largesse_") || !docs.contains(&format!("\n| `{name}` |")) {
                    wrong.push(format!("{path}: `{name}` lacks the prefix, or a line in docs/metrics.md"));
                }
                names.insert(name.to_owned());
            }
        }
    }
    assert!(names.len() > 30, "only {names:?} were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Where packages come from is for whoever installs them to say.
#[test]
fn the_lock_file_of_the_typescript_client_names_no_place() {
    let folder = root().join("clients/typescript");
    let text = std::fs::read_to_string(folder.join("package-lock.json")).unwrap();
    assert!(text.contains("\"integrity\""), "packages are known by what is in them");
    assert!(!text.contains("\"resolved\""), "run npm with the .npmrc that lies there");
    let settings = std::fs::read_to_string(folder.join(".npmrc")).unwrap();
    assert!(settings.lines().any(|line| line == "omit-lockfile-registry-resolved=true"));
}

#[test]
fn crates_depend_one_way() {
    for (name, allowed) in ALLOWED {
        let manifest = manifest(root().join(name));
        let mut ours = BTreeSet::new();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(section).and_then(toml::Value::as_table);
            let keys = table.into_iter().flat_map(toml::Table::keys);
            ours.extend(keys.filter_map(|key| key.strip_prefix("largesse-")).map(str::to_owned));
        }
        for dependency in &ours {
            assert!(allowed.contains(&dependency.as_str()), "`{name}` must not depend on `{dependency}`");
        }
    }
}

#[test]
fn every_crate_of_the_workspace_has_its_place() {
    let manifest = manifest(root().into());
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    let placed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, placed, "say in ALLOWED what a new crate may depend on");
}

#[test]
fn every_crate_keeps_the_lints() {
    for (name, _) in ALLOWED {
        let lints = manifest(root().join(name)).get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
        assert_eq!(lints, Some(true), "`{name}` needs `[lints] workspace = true`");
    }
}

#[test]
fn continuous_integration_runs_what_people_run() {
    let script = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let commands: Vec<&str> = script.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(commands, [r#"exec "$(dirname "$0")/../test" "$@""#]);
}

fn manifest(dir: PathBuf) -> toml::Table {
    let path = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap()
}
