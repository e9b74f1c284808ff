//! The tables of roll-ups: per series and window the sum of each stack, and for instant values the last and the largest.
//!
//! Profiles arrive by series and time, so one window a resolution is open at a time: a sum per stack of the service. Hours
//! close before the day they are in, and windows are numbered as they close.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use flamestore_model::Result;

use super::samples::unit_of;
use super::{batch, id32, too_many};
use crate::resolution::Resolution;
use crate::rows::Span;
use crate::schema::Table;
use crate::{RollUps, SegmentOptions, SegmentTables};

/// Makes the tables of roll-ups while profiles pass by.
pub(crate) struct RollUpBuilder {
    levels: Vec<Level>,
    windows: WindowColumns,
    series: OpenSeries,
}

/// One profile of the open series, or the sums of several. Stacks are ids of the segment and ascend.
pub(crate) struct Rolled<'a> {
    /// The first and the last time of a profile, in one window of every resolution that is built.
    pub(crate) times: (i64, i64),
    pub(crate) profiles: u32,
    pub(crate) unit: i64,
    pub(crate) total: i64,
    /// The sum of the absolute totals; `None` for too much.
    pub(crate) magnitude: Option<u64>,
    pub(crate) stacks: &'a [u32],
    pub(crate) values: &'a [i64],
    /// Last and largest value of each row, where they are not the value.
    pub(crate) instants: Option<(&'a [i64], &'a [i64])>,
}

impl<'a> Rolled<'a> {
    /// A profile.
    pub(crate) fn profile(time: i64, (unit, total): (i64, i64), stacks: &'a [u32], values: &'a [i64]) -> Self {
        let magnitude = Some(total.unsigned_abs());
        Self { times: (time, time), profiles: 1, unit, total, magnitude, stacks, values, instants: None }
    }
}

/// The series that profiles are added to.
#[derive(Clone, Copy, Default)]
struct OpenSeries {
    id: u32,
    stacks: Span,
    is_instant: bool,
}

/// One resolution: its open window and its rows.
struct Level {
    resolution: Resolution,
    open: Option<OpenWindow>,
    sums: StackSums,
    rows: RollUpColumns,
}

#[derive(Clone, Copy)]
struct OpenWindow {
    start: i64,
    time_min: i64,
    time_max: i64,
    profiles: u32,
    parts: u32,
    total: i64,
    magnitude: u128,
}

/// A magnitude that 63 bits do not hold.
const TOO_MUCH: u64 = u64::MAX;

impl RollUpBuilder {
    pub(crate) fn new(options: &SegmentOptions) -> Self {
        let level = |resolution: &Resolution| Level {
            resolution: *resolution,
            open: None,
            sums: StackSums::default(),
            rows: RollUpColumns::new(resolution.table(), options.batch_rows),
        };
        let levels = options.rollups.resolutions().iter().map(level).collect();
        Self { levels, windows: WindowColumns::default(), series: OpenSeries::default() }
    }

    /// Begins series `id`, whose stacks are `stacks`; the profiles that follow are its own, in order of time.
    pub(crate) fn begin_series(&mut self, id: u32, stacks: Span, is_instant: bool) -> Result<()> {
        self.close()?;
        self.series = OpenSeries { id, stacks, is_instant };
        self.levels.iter_mut().for_each(|level| level.sums.begin(stacks.count as usize));
        Ok(())
    }

    /// Adds a profile of the open series, or the sums of several.
    pub(crate) fn push(&mut self, rolled: &Rolled<'_>) -> Result<()> {
        for level in &mut self.levels {
            let start = level.resolution.start_of(rolled.times.0);
            if level.open.is_some_and(|open| open.start != start) {
                level.close(&self.series, &mut self.windows)?;
            }
            let open = level.open.get_or_insert_with(|| OpenWindow::new(start, rolled.times.0));
            open.add(rolled);
            level.sums.add(&self.series, open.parts, rolled);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.levels.iter_mut().try_for_each(|level| level.close(&self.series, &mut self.windows))
    }

    /// Sets the tables that `options` ask for.
    pub(crate) fn finish(mut self, options: &SegmentOptions, tables: &mut SegmentTables) -> Result<()> {
        self.close()?;
        if options.rollups != RollUps::None {
            tables.set(Table::Windows, self.windows.finish(options)?);
        }
        for level in self.levels {
            tables.set(level.resolution.table(), level.rows.finish()?);
        }
        Ok(())
    }
}

impl OpenWindow {
    fn new(start: i64, time: i64) -> Self {
        Self { start, time_min: time, time_max: time, profiles: 0, parts: 0, total: 0, magnitude: 0 }
    }

    fn add(&mut self, rolled: &Rolled<'_>) {
        self.time_min = self.time_min.min(rolled.times.0);
        self.time_max = self.time_max.max(rolled.times.1);
        self.profiles = self.profiles.saturating_add(rolled.profiles);
        self.parts += 1;
        self.total = self.total.wrapping_add(rolled.total);
        self.magnitude += u128::from(rolled.magnitude.unwrap_or(TOO_MUCH));
    }
}

impl Level {
    fn close(&mut self, series: &OpenSeries, windows: &mut WindowColumns) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let rows = self.sums.take(series, open.parts);
        let instants = rows.iter().filter_map(|row| row.instant).flat_map(<[i64; 2]>::from);
        let unit = unit_of(rows.iter().map(|row| row.sum).chain(instants));
        let window = windows.push(series.id, self.resolution, &open, unit, (self.rows.rows(), rows.len()))?;
        for row in &rows {
            self.rows.push(series, window, open.start, row, unit);
        }
        self.rows.flush_full()
    }
}

/// What one stack comes to in a window.
struct StackSum {
    /// Counted from the first stack of the service.
    stack: u32,
    sum: i64,
    /// Last and largest value.
    instant: Option<(i64, i64)>,
}

/// Sums by stack of one service. What was not touched is zero.
#[derive(Default)]
struct StackSums {
    cells: Vec<Cell>,
    touched: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    sum: i64,
    max: i64,
    last: i64,
    /// The number of the last part that had the stack; 0 for none.
    last_part: u32,
    parts: u32,
}

impl StackSums {
    fn begin(&mut self, stacks: usize) {
        self.cells.clear();
        self.cells.resize(stacks, Cell::default());
    }

    /// Adds part number `number` of the window, counted from 1.
    fn add(&mut self, series: &OpenSeries, number: u32, rolled: &Rolled<'_>) {
        let mut at = 0;
        while let Some(&stack) = rolled.stacks.get(at) {
            let (first, mut value) = (at, 0_i64);
            while rolled.stacks.get(at) == Some(&stack) {
                value = value.wrapping_add(rolled.values[at].wrapping_mul(rolled.unit));
                at += 1;
            }
            let (last, max) = rolled.instants.map_or((value, value), |(lasts, maxes)| (lasts[first], maxes[first]));
            let local = stack - series.stacks.first;
            let cell = &mut self.cells[local as usize];
            if cell.parts == 0 {
                self.touched.push(local);
                cell.max = max;
            }
            *cell = Cell {
                sum: cell.sum.wrapping_add(value),
                max: cell.max.max(max),
                last,
                last_part: number,
                parts: cell.parts + 1,
            };
        }
    }

    /// What was added since the window opened, by stack; zero again. A profile without a stack has 0 of it.
    fn take(&mut self, series: &OpenSeries, parts: u32) -> Vec<StackSum> {
        self.touched.sort_unstable();
        let mut rows = Vec::with_capacity(self.touched.len());
        for stack in self.touched.drain(..) {
            let cell = std::mem::take(&mut self.cells[stack as usize]);
            let last = if cell.last_part == parts { cell.last } else { 0 };
            let max = if cell.parts < parts { cell.max.max(0) } else { cell.max };
            let instant = series.is_instant.then_some((last, max));
            if cell.sum != 0 || instant.is_some_and(|instant| instant != (0, 0)) {
                rows.push(StackSum { stack, sum: cell.sum, instant });
            }
        }
        rows
    }
}

struct RollUpColumns {
    table: Table,
    batch_rows: usize,
    batches: Vec<RecordBatch>,
    rows_before: usize,
    series: Vec<u32>,
    windows: Vec<u32>,
    times: Vec<i64>,
    stacks: Vec<u32>,
    values: Vec<i64>,
    lasts: Vec<Option<i64>>,
    maxes: Vec<Option<i64>>,
}

impl RollUpColumns {
    fn new(table: Table, batch_rows: usize) -> Self {
        Self {
            table,
            batch_rows,
            batches: Vec::new(),
            rows_before: 0,
            series: Vec::new(),
            windows: Vec::new(),
            times: Vec::new(),
            stacks: Vec::new(),
            values: Vec::new(),
            lasts: Vec::new(),
            maxes: Vec::new(),
        }
    }

    fn rows(&self) -> usize {
        self.rows_before + self.stacks.len()
    }

    fn push(&mut self, series: &OpenSeries, window: u32, time: i64, row: &StackSum, unit: i64) {
        self.series.push(series.id);
        self.windows.push(window);
        self.times.push(time);
        self.stacks.push(series.stacks.first + row.stack);
        self.values.push(row.sum / unit);
        self.lasts.push(row.instant.map(|(last, _)| last / unit));
        self.maxes.push(row.instant.map(|(_, max)| max / unit));
    }

    fn flush_full(&mut self) -> Result<()> {
        if self.stacks.len() < self.batch_rows { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        if self.stacks.is_empty() {
            return Ok(());
        }
        self.rows_before += self.stacks.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(std::mem::take(&mut self.series))),
            Arc::new(UInt32Array::from(std::mem::take(&mut self.windows))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.times))),
            Arc::new(UInt32Array::from(std::mem::take(&mut self.stacks))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.values))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.lasts))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.maxes))),
        ];
        self.batches.push(batch(self.table, columns)?);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<RecordBatch>> {
        self.flush()?;
        Ok(self.batches)
    }
}

#[derive(Default)]
struct WindowColumns {
    resolutions: Vec<i64>,
    series: Vec<u32>,
    times: Vec<i64>,
    time_mins: Vec<i64>,
    time_maxes: Vec<i64>,
    profiles: Vec<u32>,
    units: Vec<i64>,
    totals: Vec<i64>,
    magnitudes: Vec<Option<i64>>,
    row_starts: Vec<i64>,
    row_counts: Vec<u32>,
}

impl WindowColumns {
    /// Adds a window with its rows (first, count); its number.
    fn push(
        &mut self,
        series: u32,
        resolution: Resolution,
        open: &OpenWindow,
        unit: i64,
        rows: (usize, usize),
    ) -> Result<u32> {
        let window = id32(self.series.len())?;
        self.resolutions.push(resolution.nanos());
        self.series.push(series);
        self.times.push(open.start);
        self.time_mins.push(open.time_min);
        self.time_maxes.push(open.time_max);
        self.profiles.push(open.profiles);
        self.units.push(unit);
        self.totals.push(open.total);
        self.magnitudes.push(i64::try_from(open.magnitude).ok());
        self.row_starts.push(i64::try_from(rows.0).map_err(|_| too_many())?);
        self.row_counts.push(id32(rows.1)?);
        Ok(window)
    }

    fn finish(self, options: &SegmentOptions) -> Result<Vec<RecordBatch>> {
        let windows = id32(self.series.len())?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values(0..windows)),
            Arc::new(Int64Array::from(self.resolutions)),
            Arc::new(UInt32Array::from(self.series)),
            Arc::new(Int64Array::from(self.times)),
            Arc::new(Int64Array::from(self.time_mins)),
            Arc::new(Int64Array::from(self.time_maxes)),
            Arc::new(UInt32Array::from(self.profiles)),
            Arc::new(Int64Array::from(self.units)),
            Arc::new(Int64Array::from(self.totals)),
            Arc::new(Int64Array::from(self.magnitudes)),
            Arc::new(Int64Array::from(self.row_starts)),
            Arc::new(UInt32Array::from(self.row_counts)),
        ];
        Ok(super::slices(&batch(Table::Windows, columns)?, options))
    }
}
