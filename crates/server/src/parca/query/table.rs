//! Functions as the record that Parca's pages show as a table: callers and callees are row numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, Int64Builder, ListBuilder, UInt64Array};
use flamestore_model::Result;

use super::compare::Comparison;
use super::flame::Mixed;
use super::flame_record::known;
use super::frames::Frame;
use super::functions::{Function, Functions};
use super::record::{Columns, utf8};
use super::stacks::Stacks;

/// The record of the functions of `stacks`.
///
/// # Errors
/// `Exhausted` when there are 2³² functions, or no memory for them.
pub(super) fn record(stacks: &Stacks, comparison: Option<&Comparison>) -> Result<Vec<u8>> {
    let functions = Functions::of(stacks)?;
    let rows = &functions.rows;
    let frame = |row: &Function| &stacks.frames.rows[row.first as usize];
    let texts = |value: fn(&Frame, &Mixed) -> Option<u32>, is_narrow: bool| {
        let values: Vec<Option<u32>> = rows.iter().map(|row| value(frame(row), &row.mixed)).collect();
        utf8(&values, &stacks.frames.texts, is_narrow)
    };
    let lines = |value: fn(&Frame, &Mixed) -> Option<i64>| -> ArrayRef {
        let line = |row: &Function| value(frame(row), &row.mixed).filter(|line| *line > 0);
        Arc::new(rows.iter().map(line).collect::<Int64Array>())
    };
    let mut columns = Columns::default();
    columns.push("mapping_file", true, texts(|frame, mixed| known(frame.mapping_file, mixed.mapping_file), true)?);
    columns.push("mapping_build_id", true, texts(|frame, mixed| known(frame.build_id, mixed.build_id), true)?);
    let address = |row: &Function| Some(frame(row).address).filter(|address| *address != 0 && !row.mixed.address);
    columns.push("location_address", true, Arc::new(rows.iter().map(address).collect::<UInt64Array>()));
    columns.push("location_line", true, lines(|frame, mixed| Some(frame.line).filter(|_| !mixed.line)));
    columns.push(
        "function_startline",
        true,
        lines(|frame, mixed| Some(frame.start_line).filter(|_| !mixed.start_line)),
    );
    columns.push("function_name", true, texts(|frame, _| known(frame.name, false), false)?);
    let system_name = texts(|frame, mixed| known(frame.system_name, mixed.system_name), true)?;
    columns.push("function_system_name", true, system_name);
    columns.push("function_file_name", true, texts(|frame, mixed| known(frame.filename, mixed.filename), false)?);
    values(&mut columns, rows, comparison);
    let (callers, callees) = neighbours(&functions)?;
    columns.push("callers", true, callers);
    columns.push("callees", true, callees);
    columns.finish()
}

fn values(columns: &mut Columns, rows: &[Function], comparison: Option<&Comparison>) {
    let number = |value: fn(&Function) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<Int64Array>())
    };
    let diff = |values: fn(&Function) -> super::stacks::Pair| -> ArrayRef {
        let diff = |row| comparison.map(|comparison| comparison.diff(values(row)));
        Arc::new(rows.iter().map(diff).collect::<Int64Array>())
    };
    columns.push("cumulative", false, number(|row| row.totals[0]));
    columns.push("cumulative_diff", true, diff(|row| row.totals));
    columns.push("flat", false, number(|row| row.own[0]));
    columns.push("flat_diff", true, diff(|row| row.own));
}

/// The rows that call each row, and those that it calls.
fn neighbours(functions: &Functions) -> Result<(ArrayRef, ArrayRef)> {
    let mut callers: Vec<Vec<usize>> = vec![Vec::new(); functions.rows.len()];
    let mut callees = callers.clone();
    for call in &functions.calls {
        callers[call.callee].push(call.caller);
        callees[call.caller].push(call.callee);
    }
    Ok((lists(&callers)?, lists(&callees)?))
}

fn lists(rows: &[Vec<usize>]) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for row in rows {
        for number in row {
            let wrong = |error| flamestore_model::Error::internal("a row has no number").because(error);
            lists.values().append_value(i64::try_from(*number).map_err(wrong)?);
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}
