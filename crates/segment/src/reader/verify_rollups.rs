//! Checks roll-ups: windows follow each other, their rows add up to their totals and, where the segment still has samples,
//! to the sums of their profiles.

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use flamestore_model::{Error, Result};

use super::verify::count;
use super::{SegmentReader, bounded};
use crate::rows::{DictionaryEntry, ProfileRow, WindowRow, WindowTable};
use crate::scan::{column, corrupt};
use crate::schema::Table;
use crate::{Resolution, ScanReport};

/// Checks every window of the segment against `profiles`, which are all it has.
pub(super) async fn check(reader: &SegmentReader, profiles: &[ProfileRow]) -> Result<()> {
    let windows = reader.windows().await?;
    for resolution in Resolution::ALL.into_iter().filter(|resolution| reader.has(resolution.table())) {
        check_rows(reader, &windows, resolution).await?;
        for window in windows.rows.iter().filter(|window| window.resolution == resolution) {
            check_sums(reader, window, profiles).await?;
        }
    }
    Ok(())
}

/// Rows of a window follow those of the window before, name it, and are sorted by stack.
async fn check_rows(reader: &SegmentReader, windows: &WindowTable, resolution: Resolution) -> Result<()> {
    let table = resolution.table();
    let own: Vec<&WindowRow> = windows.rows.iter().filter(|window| window.resolution == resolution).collect();
    let mut end = 0;
    for window in &own {
        if window.row_start != end {
            return Err(wrong("rows of a window do not follow those before", window)
                .with("expected", end)
                .with("found", window.row_start));
        }
        end = window.rows().end;
    }
    count(reader, table, end).await?;
    let (mut row, mut at, mut last_stack) = (0_u64, 0_usize, None);
    let mut each = |batch: &RecordBatch| {
        let ids = |name| column::<UInt32Array>(table, batch, name).map(|column| column.values());
        let (series, numbers, stacks) = (ids("series_id")?, ids("window_id")?, ids("stack_id")?);
        let times = column::<Int64Array>(table, batch, "time_unix_nano")?.values();
        for of_batch in 0..batch.num_rows() {
            while own.get(at).is_some_and(|window| window.rows().end <= row) {
                (at, last_stack) = (at + 1, None);
            }
            let found = (series[of_batch], numbers[of_batch], times[of_batch]);
            let of_window = |window: &&&WindowRow| (window.series_id, window.window, window.time_unix_nano) == found;
            if own.get(at).filter(of_window).is_none() {
                return Err(corrupt(table, "a row is not of the window it names").with("row", row));
            }
            if last_stack.is_some_and(|last| last >= stacks[of_batch]) {
                return Err(corrupt(table, "the stacks of a window are not sorted").with("row", row));
            }
            (row, last_stack) = (row + 1, Some(stacks[of_batch]));
        }
        Ok(())
    };
    reader.scan_all(table, &["series_id", "window_id", "time_unix_nano", "stack_id"], &mut each).await
}

async fn check_sums(reader: &SegmentReader, window: &WindowRow, profiles: &[ProfileRow]) -> Result<()> {
    let entry = entry_of(reader, window).await?;
    let mut sums = vec![0; bounded(reader, Table::Stacks, entry.stacks.rows()).await?];
    let mut report = ScanReport::default();
    let first = entry.stacks.first;
    reader.accumulate_windows(std::slice::from_ref(window), first, &mut sums, &mut report).await?;
    let total = sums.iter().fold(0, |sum: i64, value| sum.wrapping_add(*value));
    if total != window.total {
        return Err(wrong("the rows of a window are not its total", window)
            .with("expected", window.total)
            .with("found", total));
    }
    if !reader.has(Table::Profiles) {
        return Ok(());
    }
    let start = profiles.partition_point(|profile| key(profile) < (window.series_id, window.time_min));
    let end = profiles.partition_point(|profile| key(profile) <= (window.series_id, window.time_max));
    let own = profiles.get(start..end).unwrap_or_default();
    let magnitude = own.iter().map(|profile| u128::from(profile.total.unsigned_abs())).sum::<u128>();
    if own.len() != window.profile_count as usize || i64::try_from(magnitude).ok() != window.total_magnitude {
        return Err(wrong("the profiles of a window are not those it counts", window)
            .with("expected", window.profile_count)
            .with("found", own.len()));
    }
    if reader.has(Table::Samples) {
        let mut expected = vec![0; sums.len()];
        reader.accumulate(own, first, &mut expected, &mut report).await?;
        if sums != expected {
            return Err(wrong("the rows of a window are not the sums of its profiles", window));
        }
    }
    Ok(())
}

fn key(profile: &ProfileRow) -> (u32, i64) {
    (profile.series_id, profile.time_unix_nano)
}

async fn entry_of(reader: &SegmentReader, window: &WindowRow) -> Result<DictionaryEntry> {
    let (series, entries) = (reader.series().await?, reader.dictionaries().await?);
    let entry = series.get(window.series_id).and_then(|series| entries.get(series.dictionary_id as usize));
    entry.cloned().ok_or_else(|| wrong("a window has no dictionary", window))
}

fn wrong(what: &str, window: &WindowRow) -> Error {
    corrupt(window.resolution.table(), what.to_owned()).with("window", window.window)
}
