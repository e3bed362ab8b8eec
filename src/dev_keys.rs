//! The keys of `largesse dev`, made on first start and kept in its data folder as a piece of configuration.

use std::io;
use std::path::{Path, PathBuf};

use crate::dev_env::write_private;
use crate::exit::Failure;

/// The file, which `--config` could read as well.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("dev-keys.toml")
}

/// Makes the keys unless they are there; tokens that were handed out stay good over restarts.
pub fn ensure(dir: &Path) -> Result<PathBuf, Failure> {
    let path = path(dir);
    let told = |error: io::Error| Failure::new(format_args!("cannot write {}: {error}", path.display()));
    if path.try_exists().map_err(told)? {
        return Ok(path);
    }
    let text = format!(
        "# Made by `largesse dev` for this folder only. Whoever can read them can spend here.\n\n\
         [auth]\nadmin-key = \"lga_{}\"\n\n[auth.viewer]\nsecret = \"{}\"\n\n\
         [[auth.service-keys]]\nname = \"dev\"\nkey = \"lgk_{}\"\n",
        random_text(),
        random_text(),
        random_text()
    );
    write_private(&path, &text).map_err(told)?;
    Ok(path)
}

/// 32 random bytes as hexadecimal digits.
pub fn random_text() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use largesse_config::{Profile, Sources};

    use super::*;

    #[test]
    fn keys_are_a_valid_configuration_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = ensure(dir.path()).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        let sources = Sources { profile: Some(Profile::Dev), file: Some(path.clone()), ..Sources::default() };
        let auth = sources.load().unwrap().config.auth;
        assert!(auth.viewer.key().is_some() && auth.admin_key().is_some());
        assert_eq!(auth.service_keys.len(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        ensure(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    }

    #[test]
    fn no_two_keys_are_the_same() {
        assert_ne!(random_text(), random_text());
        assert_eq!(random_text().len(), 64);
    }
}
