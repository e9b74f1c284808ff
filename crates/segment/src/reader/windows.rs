//! The table `windows`.

use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use flamestore_model::{Error, Result};

use super::SegmentReader;
use crate::rows::{SeriesTable, WindowRow, WindowTable};
use crate::scan::{column, corrupt};
use crate::schema::Table;
use crate::{Resolution, SeriesRow};

const COLUMNS: [&str; 12] = [
    "window_id",
    "resolution_nano",
    "series_id",
    "time_unix_nano",
    "time_unix_nano_min",
    "time_unix_nano_max",
    "profile_count",
    "unit",
    "total",
    "total_magnitude",
    "row_start",
    "row_count",
];

pub(super) async fn load(reader: &SegmentReader) -> Result<WindowTable> {
    let mut windows = WindowTable::default();
    if !reader.has(Table::Windows) {
        return Ok(windows);
    }
    let series = reader.series().await?;
    let mut each = |batch: &RecordBatch| read(batch, &series, &mut windows.rows);
    reader.scan_all(Table::Windows, &COLUMNS, &mut each).await?;
    Ok(windows)
}

fn read(batch: &RecordBatch, series: &SeriesTable, windows: &mut Vec<WindowRow>) -> Result<()> {
    let table = Table::Windows;
    let ids = |name: &str| column::<UInt32Array>(table, batch, name).map(|column| column.values());
    let numbers = |name: &str| column::<Int64Array>(table, batch, name).map(|column| column.values());
    let (numbered, series_ids) = (ids("window_id")?, ids("series_id")?);
    let (profile_counts, row_counts) = (ids("profile_count")?, ids("row_count")?);
    let (resolutions, times) = (numbers("resolution_nano")?, numbers("time_unix_nano")?);
    let (time_mins, time_maxes) = (numbers("time_unix_nano_min")?, numbers("time_unix_nano_max")?);
    let (units, totals, row_starts) = (numbers("unit")?, numbers("total")?, numbers("row_start")?);
    let magnitudes = batch.column_by_name("total_magnitude").and_then(|c| c.as_any().downcast_ref::<Int64Array>());
    for at in 0..batch.num_rows() {
        let number = windows.len();
        let wrong = |what: &str| wrong(what, number);
        if numbered[at] as usize != number {
            return Err(wrong("windows do not count the rows").with("found", numbered[at]));
        }
        let resolution = Resolution::from_nanos(resolutions[at])
            .ok_or_else(|| wrong("a window has an unknown length").with("found", resolutions[at]))?;
        let of = series.get(series_ids[at]).ok_or_else(|| wrong("a window has no series"))?;
        let row_start = u64::try_from(row_starts[at]).ok().filter(|_| units[at] >= 1);
        let window = WindowRow {
            window: numbered[at],
            resolution,
            series_id: series_ids[at],
            time_unix_nano: times[at],
            time_min: time_mins[at],
            time_max: time_maxes[at],
            profile_count: profile_counts[at],
            unit: units[at],
            total: totals[at],
            total_magnitude: magnitudes.filter(|column| !column.is_null(at)).map(|column| column.value(at)),
            row_start: row_start.ok_or_else(|| wrong("a window has a wrong row or unit"))?,
            row_count: row_counts[at],
        };
        if !fits(&window, of) || !follows(&window, windows) {
            return Err(wrong("a window is not where its series says").with("series", window.series_id));
        }
        windows.push(window);
    }
    Ok(())
}

fn wrong(what: &str, window: usize) -> Error {
    corrupt(Table::Windows, what.to_owned()).with("window_id", window)
}

/// Whether the times of a window lie in it and in its series.
fn fits(window: &WindowRow, series: &SeriesRow) -> bool {
    let WindowRow { resolution, time_min, time_max, .. } = *window;
    let inside = |time: i64| resolution.start_of(time) == window.time_unix_nano;
    time_min <= time_max
        && inside(time_min)
        && inside(time_max)
        && series.time_min <= time_min
        && time_max <= series.time_max
        && window.profile_count > 0
        && window.total_magnitude.is_none_or(|magnitude| magnitude >= 0)
}

/// Whether a window comes after those before it: series ascend, and windows of one length do not overlap. A longer one comes
/// after those inside of it, so that a shorter one after it begins when it has ended.
fn follows(window: &WindowRow, before: &[WindowRow]) -> bool {
    let Some(last) = before.last().filter(|last| last.series_id >= window.series_id) else { return true };
    let fits = match last.resolution < window.resolution {
        true => ends_with(window, last),
        false => last.time_max < window.time_min,
    };
    fits && last.series_id == window.series_id
}

/// Whether a window ends with the shorter one before it.
fn ends_with(window: &WindowRow, inside: &WindowRow) -> bool {
    window.time_max == inside.time_max && window.time_unix_nano <= inside.time_unix_nano
}
