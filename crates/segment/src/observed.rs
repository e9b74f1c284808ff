//! The columns of `samples` that tell one observation from the next, between memory and Arrow.
//!
//! A segment has such a column only where one of its rows has a value; in memory a column is empty where no row of a profile
//! has one, and none is a value that is never stored.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::SchemaRef;
use flamestore_calltree::{NO_TIME, Observed};
use flamestore_model::{Error, Result};

use crate::schema::{ColumnType, OBSERVED, Table};

/// Which of the columns a segment has, in the order of [`OBSERVED`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present([bool; OBSERVED.len()]);

impl Present {
    /// The columns that one of these needs.
    pub(crate) fn of<'a>(all: impl Iterator<Item = &'a Observed>) -> Self {
        let mut present = Self::default();
        for Observed { times, end_times, trace_ids, span_ids } in all {
            let needs = [!times.is_empty(), !end_times.is_empty(), !trace_ids.is_empty(), !span_ids.is_empty()];
            present.0.iter_mut().zip(needs).for_each(|(present, needs)| *present |= needs);
        }
        present
    }

    /// The columns of `samples` that are written.
    pub(crate) fn schema(self) -> SchemaRef {
        let absent = |name: &str| OBSERVED.iter().zip(self.0).any(|(of, present)| of.name == name && !present);
        Table::Samples.schema_without(absent)
    }

    /// The columns that are there, of `rows` rows; `observed` is emptied.
    pub(crate) fn columns(self, observed: &mut Observed, rows: usize) -> Result<Vec<ArrayRef>> {
        let Observed { times, end_times, trace_ids, span_ids } = observed;
        let [has_time, has_end_time, has_trace_id, has_span_id] = self.0;
        let mut columns = Vec::new();
        for (_, times) in [(has_time, times), (has_end_time, end_times)].into_iter().filter(|(has, _)| *has) {
            columns.push(time_column(std::mem::take(times), rows));
        }
        if has_trace_id {
            columns.push(id_column(std::mem::take(trace_ids), rows)?);
        }
        if has_span_id {
            columns.push(id_column(std::mem::take(span_ids), rows)?);
        }
        Ok(columns)
    }
}

fn time_column(mut times: Vec<i64>, rows: usize) -> ArrayRef {
    times.resize(rows, NO_TIME);
    let nulls: NullBuffer = times.iter().map(|time| *time != NO_TIME).collect();
    // What stands below a null does not matter, but packs better if it is small.
    times.iter_mut().filter(|time| **time == NO_TIME).for_each(|time| *time = 0);
    Arc::new(Int64Array::new(times.into(), Some(nulls)))
}

fn id_column<const BYTES: usize>(mut ids: Vec<[u8; BYTES]>, rows: usize) -> Result<ArrayRef> {
    ids.resize(rows, [0; BYTES]);
    let nulls: NullBuffer = ids.iter().map(|id| *id != [0; BYTES]).collect();
    let size = i32::try_from(BYTES).unwrap_or(i32::MAX);
    let column = FixedSizeBinaryArray::try_new(size, Buffer::from_vec(ids.into_flattened()), Some(nulls));
    Ok(Arc::new(column.map_err(|wrong| Error::internal("ids do not fit a column").because(wrong))?))
}

/// The names of the columns, to be scanned for.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OBSERVED.iter().map(|column| column.name)
}

/// The names of the columns, and the bytes of a value in memory.
pub(crate) fn widths() -> impl Iterator<Item = (&'static str, u64)> {
    OBSERVED.iter().map(|column| (column.name, if column.ty == ColumnType::Id128 { 16 } else { 8 }))
}

/// The columns of a batch that was read, where it has them.
pub(crate) struct ObservedBatch<'a> {
    times: Option<&'a Int64Array>,
    end_times: Option<&'a Int64Array>,
    trace_ids: Option<&'a FixedSizeBinaryArray>,
    span_ids: Option<&'a FixedSizeBinaryArray>,
}

impl<'a> ObservedBatch<'a> {
    /// Those of `batch`.
    pub(crate) fn of(batch: &'a RecordBatch) -> Self {
        fn column<A: Array + 'static>(batch: &RecordBatch, at: usize) -> Option<&A> {
            let column = batch.column_by_name(OBSERVED[at].name)?.as_any().downcast_ref::<A>()?;
            (column.null_count() < column.len()).then_some(column)
        }
        Self {
            times: column(batch, 0),
            end_times: column(batch, 1),
            trace_ids: column(batch, 2),
            span_ids: column(batch, 3),
        }
    }

    /// Appends `rows` to `out`, which has `before` rows so far.
    pub(crate) fn read(&self, rows: Range<usize>, before: usize, out: &mut Observed) {
        append_times(self.times, rows.clone(), before, &mut out.times);
        append_times(self.end_times, rows.clone(), before, &mut out.end_times);
        append(self.trace_ids, rows.clone(), before, (&mut out.trace_ids, [0; 16]), id);
        append(self.span_ids, rows, before, (&mut out.span_ids, [0; 8]), id);
    }
}

fn id<const BYTES: usize>(column: &FixedSizeBinaryArray, row: usize) -> [u8; BYTES] {
    column.value(row).try_into().unwrap_or([0; BYTES])
}

/// As [`append`]; where no row is null, by whole slices.
fn append_times(column: Option<&Int64Array>, rows: Range<usize>, before: usize, out: &mut Vec<i64>) {
    match column {
        Some(column) if column.null_count() == 0 && !rows.is_empty() => {
            out.resize(before, NO_TIME);
            out.extend_from_slice(&column.values()[rows]);
        }
        column => append(column, rows, before, (out, NO_TIME), |column, row| column.value(row)),
    }
}

/// A column is kept only from the first row on that has a value.
fn append<A: Array, T: Copy + PartialEq>(
    column: Option<&A>,
    rows: Range<usize>,
    before: usize,
    (out, none): (&mut Vec<T>, T),
    value: impl Fn(&A, usize) -> T,
) {
    let Some(column) = column else {
        return;
    };
    for (at, row) in (before..).zip(rows) {
        let value = if column.is_null(row) { none } else { value(column, row) };
        if value != none || !out.is_empty() {
            out.resize(at, none);
            out.push(value);
        }
    }
}
