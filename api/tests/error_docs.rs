//! `docs/errors.md` has a paragraph for every code, with the same numbers as the code itself.

use std::collections::BTreeMap;

use largesse_api::error::ErrorCode;

const DOCS: &str = include_str!("../../docs/errors.md");

#[test]
fn the_table_and_the_docs_are_in_step() {
    let mut documented = BTreeMap::new();
    for section in DOCS.split("\n### ").skip(1) {
        let mut lines = section.lines();
        let name = lines.next().unwrap_or_default().trim();
        let facts = lines.next().unwrap_or_default().trim();
        let advice: usize = lines.map(|line| line.split_whitespace().count()).sum();
        assert!(advice >= 10, "{name}: says too little about what to do");
        assert!(documented.insert(name, facts).is_none(), "{name} is there twice");
    }
    let coded: BTreeMap<_, _> = ErrorCode::ALL.iter().map(|code| (code.name(), facts(*code))).collect();
    assert_eq!(documented.keys().collect::<Vec<_>>(), coded.keys().collect::<Vec<_>>());
    for (name, facts) in documented {
        assert_eq!(facts, coded[name], "{name}");
    }
}

/// A code that no test ever sees is a promise that nobody has tried.
#[test]
fn every_code_is_provoked_by_a_test() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http");
    let files =
        std::fs::read_dir(folder).expect("the tests are there").map(|file| file.expect("it is readable").path());
    let texts: Vec<_> =
        files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).expect("it is text")).collect();
    assert!(texts.len() > 10, "only {} files of tests were found", texts.len());
    for code in ErrorCode::ALL {
        let quoted = format!("\"{}\"", code.name());
        assert!(texts.iter().any(|text| text.contains(&quoted)), "{quoted}");
    }
}

fn facts(code: ErrorCode) -> String {
    let retryable = if code.is_retryable() { "yes" } else { "no" };
    format!("HTTP {} · err_code {} · retryable: {retryable}", code.status().as_u16(), code.number())
}
