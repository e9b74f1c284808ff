//! The table `samples`: the hot path.
//!
//! A profile is a run of rows, so a scan over ascending profiles decodes a few long ranges of rows, and each decoded
//! batch is a sequence of runs with one unit each.

use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use flamestore_model::{NONE, Result};

use super::SegmentReader;
use crate::ScanReport;
use crate::rows::{DictionaryEntry, ProfileRow, ProfileSamples};
use crate::scan::{column, corrupt, join_ranges};
use crate::schema::Table;

pub(super) async fn accumulate(
    reader: &SegmentReader,
    profiles: &[ProfileRow],
    stack_base: u32,
    acc: &mut [i64],
    report: &mut ScanReport,
) -> Result<()> {
    let runs = Runs::new(profiles)?;
    let ranges = runs.ranges()?;
    let mut cursor = Cursor::default();
    let mut each = |batch: &RecordBatch| {
        let stacks = column::<UInt32Array>(Table::Samples, batch, "stack_id")?.values();
        let values = column::<Int64Array>(Table::Samples, batch, "value")?.values();
        cursor.split(&runs, batch.num_rows(), |profile, rows| {
            add(acc, stack_base, &stacks[rows.clone()], &values[rows], profile.unit)
        })
    };
    reader.scan(Table::Samples, &["stack_id", "value"], &ranges, report, &mut each).await?;
    cursor.finish(&runs)
}

/// The inner loop: one bounds check, one multiplication and one addition a row.
fn add(acc: &mut [i64], base: u32, stacks: &[u32], values: &[i64], unit: i64) -> Result<()> {
    for (&stack, &value) in stacks.iter().zip(values) {
        match acc.get_mut(stack.wrapping_sub(base) as usize) {
            Some(sum) => *sum = sum.wrapping_add(value.wrapping_mul(unit)),
            None => return Err(foreign("stack", stack, base, acc.len())),
        }
    }
    Ok(())
}

#[cold]
fn foreign(what: &str, id: u32, base: u32, count: usize) -> flamestore_model::Error {
    corrupt(Table::Samples, format!("a {what} is not in the dictionary"))
        .with("expected", format!("{base}..{}", u64::from(base) + count as u64))
        .with("found", id)
}

pub(super) async fn read(
    reader: &SegmentReader,
    entry: &DictionaryEntry,
    profiles: &[ProfileRow],
    report: &mut ScanReport,
) -> Result<Vec<ProfileSamples>> {
    let runs = Runs::new(profiles)?;
    let ranges = runs.ranges()?;
    let mut cursor = Cursor::default();
    let mut read: Vec<ProfileSamples> = vec![ProfileSamples::default(); profiles.len()];
    let mut each = |batch: &RecordBatch| {
        let stacks = column::<UInt32Array>(Table::Samples, batch, "stack_id")?.values();
        let values = column::<Int64Array>(Table::Samples, batch, "value")?.values();
        let label_sets = batch.column_by_name("label_set_id").and_then(|c| c.as_any().downcast_ref::<UInt32Array>());
        cursor.split_indexed(&runs, batch.num_rows(), |index, profile, rows| {
            let samples = &mut read[index];
            for row in rows {
                samples.stacks.push(local("stack", stacks[row], entry.stacks.first, entry.stacks.count)?);
                samples.values.push(values[row].wrapping_mul(profile.unit));
                let set = label_sets.filter(|sets| !sets.is_null(row)).map(|sets| sets.value(row));
                push_label_set(samples, set, entry)?;
            }
            Ok(())
        })
    };
    reader.scan(Table::Samples, &["stack_id", "value", "label_set_id"], &ranges, report, &mut each).await?;
    cursor.finish(&runs)?;
    Ok(read)
}

/// Label sets are kept only from the first row on that has one.
fn push_label_set(samples: &mut ProfileSamples, set: Option<u32>, entry: &DictionaryEntry) -> Result<()> {
    let set = match set {
        None if samples.label_sets.is_empty() => return Ok(()),
        None => NONE,
        Some(set) => local("label set", set, entry.label_sets.first, entry.label_sets.count)?,
    };
    samples.label_sets.resize(samples.stacks.len() - 1, NONE);
    samples.label_sets.push(set);
    Ok(())
}

fn local(what: &str, id: u32, first: u32, count: u32) -> Result<u32> {
    let local = id.checked_sub(first).filter(|local| *local < count);
    local.ok_or_else(|| foreign(what, id, first, count as usize))
}

/// Profiles in order of their rows, with their place in the list asked for.
struct Runs(Vec<(usize, ProfileRow)>);

impl Runs {
    fn new(profiles: &[ProfileRow]) -> Result<Self> {
        let mut runs: Vec<_> =
            profiles.iter().copied().enumerate().filter(|(_, profile)| profile.row_count > 0).collect();
        if !runs.is_sorted_by_key(|(_, profile)| profile.row_start) {
            runs.sort_by_key(|(_, profile)| profile.row_start);
        }
        let overflow = |profile: &ProfileRow| profile.row_start.checked_add(u64::from(profile.row_count)).is_none();
        match runs.iter().any(|(_, profile)| overflow(profile)) {
            true => Err(corrupt(Table::Profiles, "a profile has rows past the end of samples")),
            false => Ok(Self(runs)),
        }
    }

    fn ranges(&self) -> Result<Vec<std::ops::Range<u64>>> {
        let joined = join_ranges(self.0.iter().map(|(_, profile)| profile.rows()));
        joined.ok_or_else(|| corrupt(Table::Profiles, "the rows of two profiles overlap"))
    }
}

/// How far a scan has come through the runs.
#[derive(Default)]
struct Cursor {
    run: usize,
    rows_of_run: usize,
}

impl Cursor {
    fn split(
        &mut self,
        runs: &Runs,
        rows: usize,
        mut each: impl FnMut(&ProfileRow, std::ops::Range<usize>) -> Result<()>,
    ) -> Result<()> {
        self.split_indexed(runs, rows, |_, profile, rows| each(profile, rows))
    }

    /// Makes sure that all runs were seen whole.
    fn finish(&self, runs: &Runs) -> Result<()> {
        match self.run == runs.0.len() {
            true => Ok(()),
            false => Err(corrupt(Table::Samples, "fewer rows were decoded than asked for")),
        }
    }

    /// Splits the next `rows` decoded rows into runs.
    fn split_indexed(
        &mut self,
        runs: &Runs,
        rows: usize,
        mut each: impl FnMut(usize, &ProfileRow, std::ops::Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        while at < rows {
            let Some((index, profile)) = runs.0.get(self.run) else {
                return Err(corrupt(Table::Samples, "more rows were decoded than asked for"));
            };
            let left = profile.row_count as usize - self.rows_of_run;
            let take = left.min(rows - at);
            each(*index, profile, at..at + take)?;
            at += take;
            self.rows_of_run += take;
            if take == left {
                (self.run, self.rows_of_run) = (self.run + 1, 0);
            }
        }
        Ok(())
    }
}
