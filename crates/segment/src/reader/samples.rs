//! The tables `samples` and `rollups_*`: the hot path.
//!
//! A profile, and a window of a roll-up, is a run of rows, so a scan over ascending ones decodes a few long ranges of rows,
//! and each decoded batch is a sequence of runs with one unit and one stack base each.

use std::ops::Range;

use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use flamestore_model::{NONE, Result};

use super::SegmentReader;
use crate::ScanReport;
use crate::observed::ObservedBatch;
use crate::rows::{
    DictionaryEntry, ProfileRow, ProfileSamples, SampleColumns, SampleParts, Span, WindowRow, WindowSums,
};
use crate::scan::{column, corrupt, join_ranges};
use crate::schema::Table;

/// Adds the rows of `runs`, in column `value` of `table`, into `acc`.
pub(super) async fn accumulate(
    reader: &SegmentReader,
    table: Table,
    value: &str,
    runs: Vec<Run>,
    target: (u32, &mut [i64]),
    report: &mut ScanReport,
) -> Result<()> {
    let (first, acc) = target;
    let runs = Runs::new(table, runs)?;
    let ranges = runs.ranges()?;
    let mut cursor = Cursor::default();
    let mut each = |stacks: &[u32], values: &[i64]| {
        cursor.split(&runs, stacks.len(), |_, run, rows| {
            add(table, (first, acc), run, &stacks[rows.clone()], &values[rows])
        })
    };
    let stacks = stack_column(reader, table).await?;
    reader.scan_pair(table, [stacks, value], &ranges, report, &mut each).await?;
    cursor.finish(&runs)
}

/// The column of `table` that says whose stack a row is.
async fn stack_column(reader: &SegmentReader, table: Table) -> Result<&'static str> {
    Ok(table.stack_column(reader.file(table).await?.version()))
}

/// The inner loop: one bounds check, one multiplication and one addition a row.
fn add(table: Table, target: (u32, &mut [i64]), run: &Run, stacks: &[u32], values: &[i64]) -> Result<()> {
    let (first, acc) = target;
    let (first, unit) = (first.wrapping_add(run.stack_base), run.unit);
    for (&stack, &value) in stacks.iter().zip(values) {
        match acc.get_mut(stack.wrapping_sub(first) as usize) {
            Some(sum) => *sum = sum.wrapping_add(value.wrapping_mul(unit)),
            None => return Err(foreign(table, "stack", stack, first, acc.len())),
        }
    }
    Ok(())
}

#[cold]
fn foreign(table: Table, what: &str, id: u32, first: u32, count: usize) -> flamestore_model::Error {
    corrupt(table, format!("a {what} is not in the dictionary"))
        .with("expected", format!("{first}..{}", u64::from(first) + count as u64))
        .with("found", id)
}

pub(super) async fn read(
    reader: &SegmentReader,
    entry: &DictionaryEntry,
    profiles: &[ProfileRow],
    report: &mut ScanReport,
) -> Result<Vec<ProfileSamples>> {
    let mut read: Vec<ProfileSamples> = vec![ProfileSamples::default(); profiles.len()];
    let take = |batch: &SampleBatch<'_>, index: usize, run: &Run, rows: Range<usize>| {
        let samples = &mut read[index];
        batch.read(run, rows, entry, (samples.stacks.len(), samples))
    };
    scan_samples(reader, profiles, SampleParts::ALL, report, take).await?;
    read.iter_mut().for_each(|samples| samples.extend_to(samples.stacks.len()));
    Ok(read)
}

pub(super) async fn read_columns(
    reader: &SegmentReader,
    entry: &DictionaryEntry,
    profiles: &[ProfileRow],
    parts: SampleParts,
    report: &mut ScanReport,
) -> Result<SampleColumns> {
    let mut read = SampleColumns::default();
    let take = |batch: &SampleBatch<'_>, index: usize, run: &Run, rows: Range<usize>| {
        let before = read.profiles.len();
        batch.read(run, rows.clone(), entry, (before, &mut read.samples))?;
        read.profiles.resize(before + rows.len(), u32::try_from(index).unwrap_or(NONE));
        Ok(())
    };
    scan_samples(reader, profiles, parts, report, take).await?;
    read.samples.extend_to(read.profiles.len());
    Ok(read)
}

/// Scans the samples of `profiles` and gives each piece of a profile to `take`: the decoded batch, the place of the profile in
/// the list, its run and the rows of the batch.
async fn scan_samples(
    reader: &SegmentReader,
    profiles: &[ProfileRow],
    parts: SampleParts,
    report: &mut ScanReport,
    mut take: impl FnMut(&SampleBatch<'_>, usize, &Run, Range<usize>) -> Result<()> + Send,
) -> Result<()> {
    let runs = Runs::new(Table::Samples, profiles.iter().map(Run::from).collect())?;
    let ranges = runs.ranges()?;
    let mut cursor = Cursor::default();
    let stack_column = stack_column(reader, Table::Samples).await?;
    let mut each = |batch: &RecordBatch| {
        let of = SampleBatch::new(batch, parts, stack_column)?;
        cursor.split(&runs, batch.num_rows(), |index, run, rows| take(&of, index, run, rows))
    };
    reader.scan(Table::Samples, &parts.columns(stack_column), &ranges, report, &mut each).await?;
    cursor.finish(&runs)
}

/// The columns of a decoded batch, where they were asked for.
struct SampleBatch<'a> {
    stacks: Option<&'a [u32]>,
    values: Option<&'a [i64]>,
    label_sets: Option<&'a UInt32Array>,
    observed: ObservedBatch<'a>,
}

impl<'a> SampleBatch<'a> {
    fn new(batch: &'a RecordBatch, parts: SampleParts, stack_column: &str) -> Result<Self> {
        let stacks = || column::<UInt32Array>(Table::Samples, batch, stack_column);
        let values = || column::<Int64Array>(Table::Samples, batch, "value");
        let sets = batch.column_by_name("label_set_id").and_then(|c| c.as_any().downcast_ref::<UInt32Array>());
        Ok(Self {
            stacks: parts.stacks.then(stacks).transpose()?.map(|stacks| stacks.values().as_ref()),
            values: parts.values.then(values).transpose()?.map(|values| values.values().as_ref()),
            label_sets: sets.filter(|sets| sets.null_count() < sets.len()),
            observed: ObservedBatch::of(batch),
        })
    }

    /// Appends `rows`, which are of `run`, to the samples `out`, of which there are `before` so far.
    fn read(
        &self,
        run: &Run,
        rows: Range<usize>,
        entry: &DictionaryEntry,
        (before, out): (usize, &mut ProfileSamples),
    ) -> Result<()> {
        if let Some(stacks) = self.stacks {
            out.stacks.reserve(rows.len());
            for stack in &stacks[rows.clone()] {
                out.stacks.push(local(Table::Samples, "stack", stack.wrapping_sub(run.stack_base), entry.stacks)?);
            }
        }
        if let Some(values) = self.values {
            out.values.extend(values[rows.clone()].iter().map(|value| value.wrapping_mul(run.unit)));
        }
        if let Some(sets) = self.label_sets {
            for (at, row) in (before..).zip(rows.clone()).filter(|(_, row)| !sets.is_null(*row)) {
                let set = local(Table::Samples, "label set", sets.value(row), entry.label_sets)?;
                out.label_sets.resize(at, NONE);
                out.label_sets.push(set);
            }
        }
        self.observed.read(rows, before, &mut out.observed);
        Ok(())
    }
}

/// The rows of `windows`, which are all of one resolution and of dictionary `entry`, in the order given.
pub(super) async fn read_windows(
    reader: &SegmentReader,
    entry: &DictionaryEntry,
    windows: &[WindowRow],
    report: &mut ScanReport,
) -> Result<Vec<WindowSums>> {
    let Some(table) = windows.first().map(|window| window.resolution.table()) else { return Ok(Vec::new()) };
    let runs = Runs::new(table, windows.iter().map(Run::from).collect())?;
    let ranges = runs.ranges()?;
    let mut cursor = Cursor::default();
    let mut read: Vec<WindowSums> = vec![WindowSums::default(); windows.len()];
    let mut each = |batch: &RecordBatch| {
        let stacks = column::<UInt32Array>(table, batch, "stack_id")?.values();
        let values = column::<Int64Array>(table, batch, "value")?.values();
        let instants = |name: &str| batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<Int64Array>());
        let (lasts, maxes) = (instants("last"), instants("max"));
        cursor.split(&runs, batch.num_rows(), |index, run, rows| {
            let sums = &mut read[index];
            for row in rows {
                let instant = |column: Option<&Int64Array>| {
                    column
                        .filter(|column| !column.is_null(row))
                        .map_or(0, |column| column.value(row).wrapping_mul(run.unit))
                };
                sums.stacks.push(local(table, "stack", stacks[row], entry.stacks)?);
                sums.values.push(values[row].wrapping_mul(run.unit));
                sums.lasts.push(instant(lasts));
                sums.maxes.push(instant(maxes));
            }
            Ok(())
        })
    };
    reader.scan(table, &["stack_id", "value", "last", "max"], &ranges, report, &mut each).await?;
    cursor.finish(&runs)?;
    Ok(read)
}

fn local(table: Table, what: &str, id: u32, span: Span) -> Result<u32> {
    let local = id.checked_sub(span.first).filter(|local| *local < span.count);
    local.ok_or_else(|| foreign(table, what, id, span.first, span.count as usize))
}

/// Consecutive rows of one unit and one stack base: a profile of `samples`, or a window of a roll-up.
#[derive(Clone, Copy)]
pub(super) struct Run {
    row_start: u64,
    row_count: u32,
    unit: i64,
    /// A stack key less this, wrapping, is a stack id.
    stack_base: u32,
}

impl From<&ProfileRow> for Run {
    fn from(profile: &ProfileRow) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "keys and ids are 32 bits, and wrap"
        )]
        let stack_base = profile.stack_base as u32;
        Self { row_start: profile.row_start, row_count: profile.row_count, unit: profile.unit, stack_base }
    }
}

impl From<&WindowRow> for Run {
    fn from(window: &WindowRow) -> Self {
        Self { row_start: window.row_start, row_count: window.row_count, unit: window.unit, stack_base: 0 }
    }
}

/// Runs in order of their rows, with their place in the list asked for.
struct Runs {
    table: Table,
    runs: Vec<(usize, Run)>,
}

impl Runs {
    fn new(table: Table, runs: Vec<Run>) -> Result<Self> {
        let mut runs: Vec<_> = runs.into_iter().enumerate().filter(|(_, run)| run.row_count > 0).collect();
        if !runs.is_sorted_by_key(|(_, run)| run.row_start) {
            runs.sort_by_key(|(_, run)| run.row_start);
        }
        let overflow = |run: &Run| run.row_start.checked_add(u64::from(run.row_count)).is_none();
        match runs.iter().any(|(_, run)| overflow(run)) {
            true => Err(corrupt(table, "rows past the end of the table are referred to")),
            false => Ok(Self { table, runs }),
        }
    }

    fn ranges(&self) -> Result<Vec<Range<u64>>> {
        let rows = |run: &Run| run.row_start..run.row_start + u64::from(run.row_count);
        let joined = join_ranges(self.runs.iter().map(|(_, run)| rows(run)));
        joined.ok_or_else(|| corrupt(self.table, "rows are referred to twice"))
    }
}

/// How far a scan has come through the runs.
#[derive(Default)]
struct Cursor {
    run: usize,
    rows_of_run: usize,
}

impl Cursor {
    /// Makes sure that all runs were seen whole.
    fn finish(&self, runs: &Runs) -> Result<()> {
        match self.run == runs.runs.len() {
            true => Ok(()),
            false => Err(corrupt(runs.table, "fewer rows were decoded than asked for")),
        }
    }

    /// Splits the next `rows` decoded rows into runs: their place in the list, what they are, their rows.
    fn split(
        &mut self,
        runs: &Runs,
        rows: usize,
        mut each: impl FnMut(usize, &Run, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        while at < rows {
            let Some((index, run)) = runs.runs.get(self.run) else {
                return Err(corrupt(runs.table, "more rows were decoded than asked for"));
            };
            let left = run.row_count as usize - self.rows_of_run;
            let take = left.min(rows - at);
            each(*index, run, at..at + take)?;
            at += take;
            self.rows_of_run += take;
            if take == left {
                (self.run, self.rows_of_run) = (self.run + 1, 0);
            }
        }
        Ok(())
    }
}
