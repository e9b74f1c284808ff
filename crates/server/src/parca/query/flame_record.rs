//! A flame graph as the record that Parca's pages draw.
//!
//! | column | type | |
//! |---|---|---|
//! | `labels_only` | bool, null for the root | whether the row is a group of labels |
//! | `location_address` | u64 | null, as all that follows, where the frames of a row disagree or nothing is known |
//! | `mapping_file`, `mapping_build_id` | dictionary of bytes | |
//! | `location_line` | u8 … u64 | |
//! | `inlined` | bool | |
//! | `function_startline` | u8 … u64 | |
//! | `function_name`, `function_system_name`, `function_file_name` | dictionary of bytes | |
//! | `children` | list of u32 | row numbers; null for a leaf |
//! | `parent` | i32 | -1 for the root |
//! | `cumulative`, `flat` | u8 … u64 | |
//! | `diff` | i8 … i64 | of the totals; null where nothing is compared |
//! | `timestamp` | i64 | 0 |
//! | `depth`, `value_offset` | u8 … u64 | |
//! | `labels.NAME` | dictionary of bytes | one for each label grouped by |
//!
//! Numbers and keys are as narrow as the largest of them allows.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, UInt32Builder, UInt64Array};
use flamestore_model::{Error, Result};

use super::compare::Comparison;
use super::flame::{Flame, Grouping, Kind, Mixed, Row};
use super::frames::Frame;
use super::record::{Columns, binaries, binary_texts, signed, unsigned};
use super::stacks::Stacks;

/// The record of `flame`, which is made of `stacks`.
///
/// # Errors
/// `Exhausted` when there are 2³¹ rows.
pub(super) fn record(
    flame: &Flame,
    stacks: &Stacks,
    grouping: &Grouping,
    comparison: Option<&Comparison>,
) -> Result<Vec<u8>> {
    let rows = &flame.rows;
    let texts = &stacks.frames.texts;
    let of = |value: fn(&Frame, &Mixed) -> Option<u32>| -> Vec<Option<u32>> {
        rows.iter().map(|row| framed(row, stacks).and_then(|(frame, mixed)| value(frame, mixed))).collect()
    };
    let numbers = |value: fn(&Frame, &Mixed) -> Option<i64>| -> Vec<Option<u64>> {
        let number = |row| framed(row, stacks).and_then(|(frame, mixed)| value(frame, mixed));
        rows.iter().map(|row| number(row).and_then(|number| u64::try_from(number).ok())).collect()
    };
    let mut columns = Columns::default();
    let labels_only: BooleanArray = rows.iter().map(|row| is_labels(row.kind)).collect();
    columns.push("labels_only", true, Arc::new(labels_only));
    let address = |row| framed(row, stacks).filter(|(frame, mixed)| frame.address != 0 && !mixed.address);
    let addresses: UInt64Array = rows.iter().map(|row| address(row).map(|(frame, _)| frame.address)).collect();
    columns.push("location_address", true, Arc::new(addresses));
    let mapping_file = of(|frame, mixed| known(frame.mapping_file, mixed.mapping_file));
    columns.push("mapping_file", true, binaries(&mapping_file, texts)?);
    let build_id = of(|frame, mixed| known(frame.build_id, mixed.build_id));
    columns.push("mapping_build_id", true, binaries(&build_id, texts)?);
    let line = numbers(|frame, mixed| Some(frame.line).filter(|line| *line > 0 && !mixed.line));
    columns.push("location_line", true, unsigned(line));
    let inlined = |row| framed(row, stacks).filter(|(_, mixed)| !mixed.is_inlined).map(|(frame, _)| frame.is_inlined);
    columns.push("inlined", true, Arc::new(rows.iter().map(inlined).collect::<BooleanArray>()));
    let start_line = numbers(|frame, mixed| Some(frame.start_line).filter(|line| *line > 0 && !mixed.start_line));
    columns.push("function_startline", true, unsigned(start_line));
    columns.push("function_name", true, binaries(&of(|frame, _| known(frame.name, false)), texts)?);
    let system_name = of(|frame, mixed| known(frame.system_name, mixed.system_name));
    columns.push("function_system_name", true, binaries(&system_name, texts)?);
    let filename = of(|frame, mixed| known(frame.filename, mixed.filename));
    columns.push("function_file_name", true, binaries(&filename, texts)?);
    tree(&mut columns, rows)?;
    values(&mut columns, rows, comparison);
    for (at, name) in grouping.labels.iter().enumerate() {
        let value = |row: &Row| label(row.kind, stacks, at);
        let values: Vec<Option<&str>> = rows.iter().map(value).collect();
        columns.push(format!("labels.{name}"), true, binary_texts(&values)?);
    }
    columns.finish()
}

fn tree(columns: &mut Columns, rows: &[Row]) -> Result<()> {
    let number = |row: usize| {
        let many = |_| Error::exhausted("the flame graph has too many nodes").with("found", rows.len());
        i32::try_from(row).map_err(many)
    };
    let mut children = ListBuilder::new(UInt32Builder::new());
    for row in rows {
        for child in &row.children {
            children.values().append_value(number(*child)?.unsigned_abs());
        }
        children.append(!row.children.is_empty());
    }
    columns.push("children", true, Arc::new(children.finish()));
    let parent = |(at, row): (usize, &Row)| if at == 0 { Ok(-1) } else { number(row.parent) };
    let parents = rows.iter().enumerate().map(parent).collect::<Result<Vec<i32>>>()?;
    columns.push("parent", false, Arc::new(Int32Array::from(parents)));
    Ok(())
}

fn values(columns: &mut Columns, rows: &[Row], comparison: Option<&Comparison>) {
    let positive = |value: fn(&Row) -> i64| -> ArrayRef {
        unsigned(rows.iter().map(|row| Some(u64::try_from(value(row)).unwrap_or_default())).collect())
    };
    columns.push("cumulative", false, positive(|row| row.totals[0]));
    columns.push("flat", false, positive(|row| row.own[0]));
    let diff = |row: &Row| comparison.map(|comparison| comparison.diff(row.totals));
    columns.push("diff", true, signed(rows.iter().map(diff).collect()));
    columns.push("timestamp", false, Arc::new(Int64Array::from(vec![0; rows.len()])));
    columns.push("depth", false, unsigned(rows.iter().map(|row| Some(row.depth as u64)).collect()));
    columns.push("value_offset", false, positive(|row| row.offset));
}

/// A text, unless it is unknown or not one alone.
pub(super) fn known(text: u32, is_mixed: bool) -> Option<u32> {
    Some(text).filter(|text| *text != 0 && !is_mixed)
}

fn framed<'a>(row: &'a Row, stacks: &'a Stacks) -> Option<(&'a Frame, &'a Mixed)> {
    match &row.kind {
        Kind::Frames { first, mixed, .. } => Some((&stacks.frames.rows[*first as usize], mixed)),
        Kind::Root | Kind::Labels(_) => None,
    }
}

fn is_labels(kind: Kind) -> Option<bool> {
    match kind {
        Kind::Root => None,
        Kind::Labels(_) => Some(true),
        Kind::Frames { .. } => Some(false),
    }
}

/// The value of the label `at` of a row's group; none where it is absent.
fn label(kind: Kind, stacks: &Stacks, at: usize) -> Option<&str> {
    let group = match kind {
        Kind::Root => return None,
        Kind::Labels(group) | Kind::Frames { group, .. } => group,
    };
    stacks.groups[group].labels.get(at).map(String::as_str).filter(|value| !value.is_empty())
}
