//! Data goes to stdout, as a table for people or as JSON for programs. Everything else goes to stderr.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::exit::Failure;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one document, on one line.
    Json,
}

/// Prints data in one of the two forms.
pub fn print(format: Format, json: &Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
    match format {
        Format::Table => line(&table()),
        Format::Json => line(&json.to_string()),
    }
}

/// One line, or several, on stdout. A reader that has gone away, `| head` say, is nobody's failure.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format_args!("cannot write the answer: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A remark for the person at the terminal.
#[expect(clippy::print_stderr, reason = "remarks are not data")]
pub fn remark(text: &str) {
    eprintln!("{text}");
}

/// Rows under a header. Columns whose header starts with `#` hold numbers and stand to the right.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.trim_start_matches('#').to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for (name, column) in header.iter().zip(table.column_iter_mut()) {
        if name.starts_with('#') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    flush_left(&table)
}

/// One thing with its fields, a line each; fields without a value are left out.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([name, &value]);
    }
    flush_left(&table)
}

fn flush_left(table: &Table) -> String {
    let lines = table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// A field of an answer as text: strings as they are, lists with spaces, what is not there as nothing.
pub fn text(json: &Value, path: &str) -> String {
    match json.pointer(path) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| text(item, "")).collect::<Vec<_>>().join(" "),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => other.to_string(),
    }
}

/// `3:17` of a `position` object, the way `--after` takes it.
pub fn position(json: &Value) -> String {
    match json.get("position") {
        Some(position @ Value::Object(_)) => format!("{}:{}", text(position, "/shard"), text(position, "/seq")),
        Some(_) | None => text(json, "/position"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_line_up_and_have_nothing_at_their_edges() {
        let rows = [vec!["1".into(), "Rose".into(), "1".into()], vec!["77".into(), "Paper Crane".into(), "99".into()]];
        expect![[r#"
            ID  NAME         PRICE
            1   Rose             1
            77  Paper Crane     99"#]]
        .assert_eq(&table(&["id", "name", "#price"], rows));
    }

    #[test]
    fn a_single_thing_shows_the_fields_it_has() {
        let receipt = json!({"event_id": "e", "to": ["2001", "2002"], "total": 10, "replayed": false});
        let shown =
            ["event_id", "to", "total", "combo", "replayed"].map(|name| (name, text(&receipt, &format!("/{name}"))));
        expect![[r#"
            event_id  e
            to        2001 2002
            total     10
            replayed  false"#]]
        .assert_eq(&fields(shown));
    }

    #[test]
    fn positions_are_written_the_way_they_are_read() {
        assert_eq!(position(&json!({"position": {"shard": 3, "seq": 17}})), "3:17");
        assert_eq!(position(&json!({"position": "3:17"})), "3:17");
        assert_eq!(position(&json!({})), "");
    }
}
