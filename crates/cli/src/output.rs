//! Where answers go: standard output or a file; and their plain forms: tables, JSON arrays, numbers with units.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// Columns for people.
    Table,
    /// One JSON array.
    Json,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column<'a> {
    /// Text, to the left.
    Text(&'a str),
    /// Numbers, to the right.
    Number(&'a str),
}

/// Writes `text` to standard output; a reader that went away ends the command quietly.
pub(crate) fn print(text: &str) -> Outcome {
    print_bytes(text.as_bytes())
}

/// Writes `line` and the end of a line to standard error, where notes go that are no part of the answer.
pub(crate) fn note(line: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes an answer in text to `file`, or to standard output when it is absent or `-`.
pub(crate) fn write_text(file: Option<&Path>, text: &str) -> Outcome {
    match destination(file) {
        Some(file) => write_file(file, text.as_bytes()),
        None => print(text),
    }
}

/// Writes an answer in bytes to `file`, or to standard output unless that is a terminal.
pub(crate) fn write_binary(file: Option<&Path>, bytes: &[u8]) -> Outcome {
    match destination(file) {
        Some(file) => write_file(file, bytes),
        None if io::stdout().is_terminal() => Err(would_garble()),
        None => print_bytes(bytes),
    }
}

/// Why no binary answer is written to a terminal.
pub(crate) fn would_garble() -> Failure {
    Failure::new("the answer is binary and would garble the terminal")
        .hint("add `--output FILE`, or redirect the output to a file or a pipe")
}

/// `header` and `rows` as an aligned table; the header is bold on a terminal.
pub(crate) fn table(header: &[Column<'_>], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|column| Cell::new(column.name()).add_attribute(Attribute::Bold)));
    table.add_rows(rows);
    for (shown, column) in table.column_iter_mut().zip(header) {
        shown.set_padding((0, 2));
        if matches!(column, Column::Number(_)) {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `rows` as one JSON array with a row a line.
pub(crate) fn json<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Outcome<String> {
    let mut text = String::from("[");
    for (at, row) in rows.into_iter().enumerate() {
        let row = serde_json::to_string(&row)
            .map_err(|e| Failure::new(format!("the answer cannot be written as JSON: {e}")))?;
        text.push_str(if at == 0 { "\n  " } else { ",\n  " });
        text.push_str(&row);
    }
    text.push_str(if text.len() == 1 { "]\n" } else { "\n]\n" });
    Ok(text)
}

/// `value` with its unit: times and bytes scaled for reading, others as they are.
pub(crate) fn quantity(value: i64, unit: &str) -> String {
    const TIMES: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    const BYTES: [(f64, &str); 5] = [
        ((1u64 << 40) as f64, "TiB"),
        ((1 << 30) as f64, "GiB"),
        ((1 << 20) as f64, "MiB"),
        (1024.0, "KiB"),
        (1.0, "B"),
    ];
    let scale: (f64, &[(f64, &str)]) = match unit {
        "nanoseconds" => (1.0, &TIMES),
        "microseconds" => (1e3, &TIMES),
        "milliseconds" => (1e6, &TIMES),
        "seconds" => (1e9, &TIMES),
        "bytes" => (1.0, &BYTES),
        _ => return value.to_string(),
    };
    let number = value as f64 * scale.0;
    let fits = scale.1.iter().find(|(size, _)| number.abs() >= *size);
    match fits {
        Some((size, name)) if *size > 1.0 => format!("{:.2}{name}", number / size),
        Some((_, name)) => format!("{number}{name}"),
        None => "0".to_owned(),
    }
}

/// `part` of `whole` in per cent; empty where there is no whole.
pub(crate) fn percent(part: i64, whole: i64) -> String {
    if whole == 0 { String::new() } else { format!("{:.1}%", part as f64 * 100.0 / whole as f64) }
}

impl<'a> Column<'a> {
    fn name(self) -> &'a str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

/// The file to write to; none stands for standard output.
pub(crate) fn destination(file: Option<&Path>) -> Option<&Path> {
    file.filter(|file| *file != Path::new("-"))
}

fn write_file(file: &Path, bytes: &[u8]) -> Outcome {
    std::fs::write(file, bytes).map_err(|e| Failure::io(PathBuf::from(file).display(), &e))
}

fn print_bytes(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io("standard output", &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_one_array_with_a_row_a_line() {
        assert_eq!(json(["a", "b\""]).unwrap(), "[\n  \"a\",\n  \"b\\\"\"\n]\n");
        assert_eq!(json(Vec::<String>::new()).unwrap(), "[]\n");
    }

    #[test]
    fn tables_align_numbers_to_the_right_and_end_without_spaces() {
        let rows = [vec!["1".to_owned(), "x".to_owned()], vec!["100".to_owned(), "long name".to_owned()]];
        assert_eq!(table(&[Column::Number("n"), Column::Text("name")], rows), "  n  name\n  1  x\n100  long name\n");
    }

    #[test]
    fn quantities_are_scaled_by_their_unit() {
        for (value, unit, expected) in [
            (1_500_000_000, "nanoseconds", "1.50s"),
            (-20_000_000, "nanoseconds", "-20.00ms"),
            (7, "nanoseconds", "7ns"),
            (3, "milliseconds", "3.00ms"),
            (0, "nanoseconds", "0"),
            (512, "bytes", "512B"),
            (1_572_864, "bytes", "1.50MiB"),
            (1234, "count", "1234"),
        ] {
            assert_eq!(quantity(value, unit), expected, "{value} {unit}");
        }
        assert_eq!((percent(1, 3).as_str(), percent(1, 0).as_str()), ("33.3%", ""));
    }
}
