//! `DIR/dev.env`: where the process of `largesse dev` listens, and keys to talk to it. Shells can source it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub const FILE: &str = "dev.env";

/// Names in the file; a viewer's token is `LARGESSE_TOKEN_` and the user's id.
pub const URL: &str = "LARGESSE_URL";
pub const ADMIN_URL: &str = "LARGESSE_ADMIN_URL";
pub const SERVICE_KEY: &str = "LARGESSE_SERVICE_KEY";
pub const ADMIN_KEY: &str = "LARGESSE_ADMIN_KEY";
pub const TOKEN: &str = "LARGESSE_TOKEN_";

/// The file's variables. Values are addresses, ids, keys and tokens, none of which a shell would touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevEnv(BTreeMap<String, String>);

impl DevEnv {
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn token(&self, user: u64) -> Option<&str> {
        self.get(&format!("{TOKEN}{user}"))
    }

    /// No file is no variables: most servers are not `largesse dev`.
    pub fn read(dir: &Path) -> io::Result<DevEnv> {
        match fs::read_to_string(dir.join(FILE)) {
            Ok(text) => Ok(DevEnv::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DevEnv::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> DevEnv {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        DevEnv(pairs.map(|(name, value)| (name.into(), value.trim_matches('"').into())).collect())
    }

    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let mut text = String::from("# Written by `largesse dev` at every start.\n");
        for (name, value) in &self.0 {
            let quote = if value.contains(' ') { "\"" } else { "" };
            text.push_str(&format!("{name}={quote}{value}{quote}\n"));
        }
        write_private(&dir.join(FILE), &text)
    }
}

/// Writes a file that only its owner can read, in one step: a reader finds the old one or the new one, never a half.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // Left over from a start that was cut short.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_nobody_else_can() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DevEnv::read(dir.path()).unwrap(), DevEnv::default());
        let mut env = DevEnv::default();
        env.set(URL, "http://127.0.0.1:8080");
        env.set("LARGESSE_HOSTS", "2001 2002");
        env.set("LARGESSE_TOKEN_3001", "a.b.c");
        for _ in 0..2 {
            env.write(dir.path()).unwrap();
        }
        assert_eq!(DevEnv::read(dir.path()).unwrap(), env);
        assert_eq!(env.token(3001), Some("a.b.c"));
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
