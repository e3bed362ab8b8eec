use std::process::{Command, Stdio};

use super::*;

fn open(dir: &Path) -> Result<Arc<DataFolder>, FolderError> {
    DataFolder::open(dir, &LedgerName::default(), LedgerShape::new(16))
}

#[test]
fn a_folder_keeps_what_it_was_created_with() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/on/the/way");
    drop(open(&dir).unwrap());
    let folder = DataFolder::open_read_only(&dir).unwrap();
    assert_eq!((folder.ledger(), folder.shape()), (&LedgerName::default(), LedgerShape::new(16)));
    assert!(folder.is_read_only() && folder.wal().is_dir() && folder.store().is_dir());
    open(&dir).unwrap();
}

#[test]
fn another_ledger_or_shape_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let message =
        |ledger: &str, shape| DataFolder::open(dir.path(), &ledger.parse().unwrap(), shape).unwrap_err().to_string();
    let other = message("shadow", LedgerShape::new(16));
    assert!(other.contains("holds the ledger `main`, not `shadow`: correct"), "{other}");
    let other = message("main", LedgerShape::new(17));
    assert!(other.contains("created with 16 wallet shards and hash version 1"), "{other}");
    assert!(other.contains("the configuration says 17 and 1: these can never change"), "{other}");
    let other = message("main", LedgerShape { hash_version: 2, ..LedgerShape::new(16) });
    assert!(other.contains("says 16 and 2"), "{other}");
}

#[test]
fn a_folder_belongs_to_one_ledger_once_it_was_told_which() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, other) = (LedgerId::from_text("one"), LedgerId::from_text("other"));
    let folder = open(dir.path()).unwrap();
    assert_eq!(folder.id(), None);
    folder.belong_to(&mine).unwrap();
    assert!(matches!(folder.belong_to(&other), Err(FolderError::OtherId { .. })));
    drop(folder);
    assert_eq!(DataFolder::open_read_only(dir.path()).unwrap().id(), Some(&mine));
    let folder = open(dir.path()).unwrap();
    let refused = folder.belong_to(&other).unwrap_err().to_string();
    assert!(refused.contains("the id one, ") && refused.contains("to the one with other: choose another"), "{refused}");
    folder.belong_to(&mine).unwrap();
}

#[test]
fn a_folder_of_the_first_version_is_told_its_id_later() {
    let dir = tempfile::tempdir().unwrap();
    let first = r#"{"format": 1, "ledger": "main", "wallet_shards": 16, "hash_version": 1}"#;
    std::fs::write(dir.path().join("ledger.json"), first).unwrap();
    let folder = open(dir.path()).unwrap();
    assert_eq!(folder.id(), None);
    folder.belong_to(&LedgerId::from_text("late")).unwrap();
    drop(folder);
    assert_eq!(open(dir.path()).unwrap().id(), Some(&LedgerId::from_text("late")));
}

#[test]
fn a_newer_or_damaged_plate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let plate = dir.path().join("ledger.json");
    std::fs::write(&plate, r#"{"format": 2, "everything": "is different"}"#).unwrap();
    let both = || [open(dir.path()).unwrap_err(), DataFolder::open_read_only(dir.path()).unwrap_err()];
    for error in both() {
        assert!(matches!(error, FolderError::Newer { found: 2, known: 1, .. }));
        assert!(error.to_string().ends_with("start the newer program that wrote it"), "{error}");
    }
    for bad in ["", "{", "[]", r#"{"format": 1}"#, r#"{"format": 1, "ledger": "Not A Name"}"#] {
        std::fs::write(&plate, bad).unwrap();
        for error in both() {
            assert!(matches!(error, FolderError::Damaged { .. }), "{bad}: {error}");
        }
    }
}

#[test]
fn a_log_without_its_plate_is_not_taken_for_a_new_folder() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    std::fs::write(dir.path().join("wal/00000000000000000000.wal"), b"x").unwrap();
    std::fs::remove_file(dir.path().join("ledger.json")).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("ledger.json is damaged: it is missing"), "{error}");
}

#[test]
fn a_tool_does_not_create_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = dir.path().join("nothing");
    assert!(matches!(DataFolder::open_read_only(&nothing), Err(FolderError::Missing(path)) if path == nothing));
    assert!(!nothing.exists());
}

#[test]
fn errors_of_the_system_say_what_to_do() {
    let of = |kind| FolderError::from_io("write", Path::new("/data/x"), io::Error::from(kind)).to_string();
    assert!(of(io::ErrorKind::PermissionDenied).contains("no permission to write /data/x: give this user"));
    assert!(of(io::ErrorKind::ReadOnlyFilesystem).contains("read-only file system: remount"));
    assert!(of(io::ErrorKind::StorageFull).contains("no space left on the disk of /data/x: free some"));
    assert!(of(io::ErrorKind::NotADirectory).starts_with("cannot write /data/x: "));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    assert!(open(&dir.path().join("file")).is_err(), "a file is not a folder");
}

const CHILD_DIR: &str = "LARGESSE_TEST_CHILD_DIR";

/// Not a test of its own: what the second process of the next one does.
#[test]
fn child_opens_the_folder_it_is_given() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    match open(Path::new(&dir)) {
        Ok(_) => println!("the child opened it"),
        Err(error) => println!("the child was told: {error}"),
    }
    DataFolder::open_read_only(Path::new(&dir)).expect("reading is always possible");
}

#[test]
fn a_second_process_is_kept_out_until_the_first_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let second_process = || {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "folder::tests::child_opens_the_folder_it_is_given", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(child.status.success());
        String::from_utf8(child.stdout).unwrap()
    };
    let folder = open(dir.path()).unwrap();
    let told = second_process();
    let want = format!(
        "the data folder {} is in use by process {}: stop that process",
        dir.path().display(),
        std::process::id()
    );
    assert!(told.contains(&want), "{told}");
    assert!(matches!(open(dir.path()), Err(FolderError::InUse { .. })), "nor can this process open it twice");
    drop(folder);
    let told = second_process();
    assert!(told.contains("the child opened it"), "{told}");
    // It left its number behind, and that means nothing.
    open(dir.path()).unwrap();
}
