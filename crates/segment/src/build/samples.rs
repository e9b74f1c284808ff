//! The tables `samples` and `profiles`, and the profiles of each series in order of time for roll-ups.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, FixedSizeBinaryArray, Int64Array, ListBuilder, RecordBatch, UInt32Array,
};
use arrow::datatypes::SchemaRef;
use flamestore_calltree::Observed;
use flamestore_model::{Error, NONE, Result, Temporality};

use super::rollups::{RollUpBuilder, Rolled};
use super::{Numbered, PlannedSeries, batch, batch_of, id32, too_many};
use crate::input::{ProfileInput, ProfileMeta};
use crate::observed::Present;
use crate::rows::Span;
use crate::schema::{Table, binaries_element};
use crate::{SegmentOptions, SegmentTables};

/// Values of a profile that are looked at to choose an encoding.
const VALUES_OF_PROFILE: usize = 1024;

/// What laying out the profiles of a series told.
pub(super) struct LaidSeries {
    pub(super) profiles: Span,
    pub(super) time_min: i64,
    pub(super) time_max: i64,
    pub(super) temporality: Temporality,
}

/// Where the batches of `samples` go.
pub(super) type Sink<'a> = dyn FnMut(RecordBatch) -> Result<()> + 'a;

/// Lays out all profiles, consuming those of `series`, and hands the rows of `samples` to `sink` batch by batch. Returns
/// what it learned of each series and the number of those rows.
pub(super) fn build(
    dictionaries: &[Numbered],
    series: &mut [PlannedSeries],
    options: &SegmentOptions,
    tables: &mut SegmentTables,
    sink: &mut Sink<'_>,
) -> Result<(Vec<LaidSeries>, u64)> {
    let mut samples = SampleColumns::new(present(series));
    let mut profiles = ProfileColumns::default();
    let mut keys = StackKeys::default();
    let mut rollups = RollUpBuilder::new(options);
    let mut laid = Vec::with_capacity(series.len());
    for (series_id, series) in (0..).zip(series) {
        let numbered = &dictionaries[series.dictionary_id as usize];
        let mut inputs = std::mem::take(&mut series.input.profiles);
        inputs.sort_by_key(|profile| (profile.meta.time_unix_nano, profile.meta.id));
        let duration = inputs.iter().map(|profile| profile.meta.duration_nano).max().unwrap_or(0);
        let temporality = series.input.profile_type.temporality(duration);
        laid.push(LaidSeries {
            profiles: Span { first: id32(profiles.rows())?, count: id32(inputs.len())? },
            time_min: inputs.first().map_or(0, |profile| profile.meta.time_unix_nano),
            time_max: inputs.last().map_or(0, |profile| profile.meta.time_unix_nano),
            temporality,
        });
        rollups.begin_series(series_id, numbered.entry.stacks, temporality == Temporality::Instant)?;
        for input in inputs {
            let row = profiles.push(series_id, numbered, &input, samples.rows_before + samples.rows() as u64)?;
            let start = samples.rows();
            samples.push(series_id, row, numbered, &input);
            let (time, sum) = (input.meta.time_unix_nano, (row.1, profiles.total(row.0)));
            rollups.push(&Rolled::profile(time, sum, &samples.stacks[start..], &samples.values[start..]))?;
            profiles.stack_bases.push(keys.raise(numbered.entry.stacks.first, &mut samples.stacks[start..]));
            if samples.rows() >= options.batch_rows {
                samples.flush(sink)?;
            }
        }
    }
    samples.flush(sink)?;
    rollups.finish(options, tables)?;
    tables.set(Table::Profiles, profiles.finish(options)?);
    Ok((laid, samples.rows_before))
}

/// Which of the columns that may be absent the samples of `series` need.
pub(super) fn present(series: &[PlannedSeries]) -> Present {
    Present::of(series.iter().flat_map(|series| &series.input.profiles).map(|profile| &profile.observed))
}

/// At most about `rows_max` values as `samples` will hold them, from all over `series`.
pub(super) fn some_values(series: &[PlannedSeries], rows_max: usize) -> ArrayRef {
    let profiles = || series.iter().flat_map(|series| &series.input.profiles);
    let step = (profiles().count() * VALUES_OF_PROFILE).div_ceil(rows_max.max(1)).max(1);
    let mut values = Vec::new();
    for profile in profiles().step_by(step) {
        let unit = unit_of(profile.values.iter().copied());
        values.extend(profile.values.iter().take(VALUES_OF_PROFILE).map(|value| value / unit));
    }
    Arc::new(Int64Array::from(values))
}

/// Turns the stack ids of profile after profile into keys that go on rising: differences between neighbours stay small, which
/// is what DELTA_BINARY_PACKED takes few bits for.
#[derive(Default)]
struct StackKeys {
    /// One more than the last key.
    next: u32,
}

impl StackKeys {
    /// Adds to each of `stacks`, the sorted ids of one profile whose dictionary begins with `first`, what is returned.
    fn raise(&mut self, first: u32, stacks: &mut [u32]) -> i64 {
        let highest = stacks.last().map_or(0, |last| last - first);
        if self.next.checked_add(highest).is_none_or(|key| key == NONE) {
            self.next = 0;
        }
        let start = self.next;
        for stack in stacks.iter_mut() {
            *stack = *stack - first + start;
        }
        if let Some(last) = stacks.last() {
            self.next = last + 1;
        }
        i64::from(start) - i64::from(first)
    }
}

struct SampleColumns {
    present: Present,
    schema: SchemaRef,
    rows_before: u64,
    series: Vec<u32>,
    profiles: Vec<u32>,
    times: Vec<i64>,
    stacks: Vec<u32>,
    values: Vec<i64>,
    label_sets: Vec<Option<u32>>,
    observed: Observed,
    order: Vec<(u32, u32, u32)>,
}

impl SampleColumns {
    fn new(present: Present) -> Self {
        Self {
            present,
            schema: present.schema(),
            rows_before: 0,
            series: Vec::new(),
            profiles: Vec::new(),
            times: Vec::new(),
            stacks: Vec::new(),
            values: Vec::new(),
            label_sets: Vec::new(),
            observed: Observed::default(),
            order: Vec::new(),
        }
    }

    fn rows(&self) -> usize {
        self.stacks.len()
    }

    fn push(&mut self, series: u32, row: (u32, i64), numbered: &Numbered, input: &ProfileInput) {
        let (profile, unit) = row;
        let label_set = |at: usize| input.label_sets.get(at).copied().unwrap_or(NONE);
        let ranked = |(at, stack): (u32, &u32)| (numbered.stack_ranks[*stack as usize], label_set(at as usize), at);
        self.order.clear();
        self.order.extend((0..).zip(&input.stacks).map(ranked));
        // Rows without a label set come first, and so do those that say nothing else.
        self.order.sort_unstable_by_key(|&(stack, set, at)| (stack, set.wrapping_add(1), at));
        if !input.observed.is_empty() {
            for same in self.order.chunk_by_mut(|a, b| (a.0, a.1) == (b.0, b.1)) {
                same.sort_by_cached_key(|&(_, _, at)| input.observed.get(at as usize));
            }
            for (row, &(_, _, at)) in (self.stacks.len()..).zip(&self.order) {
                self.observed.push(row, &input.observed.get(at as usize));
            }
        }
        for &(stack, set, at) in &self.order {
            self.stacks.push(numbered.entry.stacks.first + stack);
            self.values.push(input.values[at as usize] / unit);
            self.label_sets.push((set != NONE).then(|| numbered.entry.label_sets.first + set));
        }
        self.series.resize(self.stacks.len(), series);
        self.profiles.resize(self.stacks.len(), profile);
        self.times.resize(self.stacks.len(), input.meta.time_unix_nano);
    }

    fn flush(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        if self.stacks.is_empty() {
            return Ok(());
        }
        let rows = self.rows();
        self.rows_before += rows as u64;
        let u32s = |values: &mut Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(std::mem::take(values))) };
        let i64s = |values: &mut Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(std::mem::take(values))) };
        let mut columns = vec![
            u32s(&mut self.series),
            u32s(&mut self.profiles),
            i64s(&mut self.times),
            u32s(&mut self.stacks),
            i64s(&mut self.values),
            Arc::new(UInt32Array::from(std::mem::take(&mut self.label_sets))),
        ];
        columns.append(&mut self.present.columns(&mut self.observed, rows)?);
        sink(batch_of(Table::Samples, SchemaRef::clone(&self.schema), columns)?)
    }
}

#[derive(Default)]
struct ProfileColumns {
    series: Vec<u32>,
    units: Vec<i64>,
    totals: Vec<i64>,
    row_starts: Vec<i64>,
    row_counts: Vec<u32>,
    stack_bases: Vec<i64>,
    main_mappings: Vec<Option<u32>>,
    metas: Vec<ProfileMeta>,
}

impl ProfileColumns {
    fn rows(&self) -> usize {
        self.series.len()
    }

    /// Adds a profile; its row and its unit.
    fn push(&mut self, series: u32, numbered: &Numbered, input: &ProfileInput, row_start: u64) -> Result<(u32, i64)> {
        let row = u32::try_from(self.rows()).ok().filter(|row| *row < NONE).ok_or_else(too_many)?;
        let unit = unit_of(input.values.iter().copied());
        self.series.push(series);
        self.units.push(unit);
        self.totals.push(input.values.iter().fold(0, |sum: i64, value| sum.wrapping_add(*value)));
        self.row_starts.push(i64::try_from(row_start).map_err(|_| too_many())?);
        self.row_counts.push(id32(input.stacks.len())?);
        let mapping = input.meta.main_mapping;
        self.main_mappings.push((mapping != NONE).then(|| numbered.entry.mappings.first + mapping));
        self.metas.push(input.meta.clone());
        Ok((row, unit))
    }

    fn total(&self, row: u32) -> i64 {
        self.totals[row as usize]
    }

    fn finish(self, options: &SegmentOptions) -> Result<Vec<RecordBatch>> {
        if self.rows() == 0 {
            return Ok(Vec::new());
        }
        let u32s = |values: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(values)) };
        let i64s = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let metas = &self.metas;
        let bytes = |field: fn(&ProfileMeta) -> &Vec<u8>| -> ArrayRef {
            let present = |meta| Some(field(meta).as_slice()).filter(|bytes| !bytes.is_empty());
            Arc::new(metas.iter().map(present).collect::<BinaryArray>())
        };
        let ids = FixedSizeBinaryArray::try_from_iter(metas.iter().map(|meta| meta.id.as_bytes()))
            .map_err(|wrong| Error::internal("profile ids do not fit a column").because(wrong))?;
        let columns = vec![
            u32s((0..id32(metas.len())?).collect()),
            Arc::new(ids),
            u32s(self.series),
            u32s(metas.iter().map(|meta| meta.value_index).collect()),
            u32s(metas.iter().map(|meta| meta.value_count).collect()),
            i64s(metas.iter().map(|meta| meta.time_unix_nano).collect()),
            i64s(metas.iter().map(|meta| meta.duration_nano).collect()),
            i64s(metas.iter().map(|meta| meta.period).collect()),
            i64s(self.units),
            i64s(self.totals),
            i64s(self.row_starts),
            u32s(self.row_counts),
            Arc::new(UInt32Array::from(self.main_mappings)),
            comments(metas),
            bytes(|meta| &meta.default_sample_type),
            bytes(|meta| &meta.doc_url),
            bytes(|meta| &meta.drop_frames),
            bytes(|meta| &meta.keep_frames),
            i64s(self.stack_bases),
        ];
        Ok(super::slices(&batch(Table::Profiles, columns)?, options))
    }
}

fn comments(metas: &[ProfileMeta]) -> ArrayRef {
    let mut builder = ListBuilder::new(BinaryBuilder::new()).with_field(binaries_element());
    for meta in metas {
        for comment in &meta.comments {
            builder.values().append_value(comment);
        }
        builder.append(!meta.comments.is_empty());
    }
    Arc::new(builder.finish())
}

/// What all values are multiples of: their greatest common divisor, at least 1.
pub(super) fn unit_of(values: impl IntoIterator<Item = i64>) -> i64 {
    let mut unit = 0_u64;
    for value in values {
        unit = gcd(value.unsigned_abs(), unit);
        if unit == 1 {
            break;
        }
    }
    i64::try_from(unit).unwrap_or(1).max(1)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_rise_from_profile_to_profile_and_start_anew_before_they_overflow() {
        let mut keys = StackKeys::default();
        let mut raised = |first, mut stacks: Vec<u32>| {
            let base = keys.raise(first, &mut stacks);
            (base, stacks)
        };
        assert_eq!(raised(10, vec![10, 12, 12]), (-10, vec![0, 2, 2]));
        assert_eq!(raised(10, vec![11, 19]), (-7, vec![4, 12]));
        assert_eq!(raised(10, vec![]), (3, vec![]));
        assert_eq!(raised(20, vec![20]), (-7, vec![13]));
        assert_eq!(raised(0, vec![NONE - 15]), (14, vec![NONE - 1]));
        assert_eq!(raised(0, vec![3]), (0, vec![3]), "there is no key above that");
        assert_eq!(raised(7, vec![NONE - 1]), (-3, vec![NONE - 4]));
        assert_eq!(raised(7, vec![10]), (-7, vec![3]), "there is none for 3 more");
    }

    #[test]
    fn a_unit_divides_every_value() {
        for (values, unit) in [
            (vec![], 1),
            (vec![0, 0], 1),
            (vec![0, 30, -20], 10),
            (vec![i64::MIN], 1),
            (vec![i64::MIN, 6], 2),
            (vec![10_000_000, 30_000_000], 10_000_000),
        ] {
            assert_eq!(unit_of(values.iter().copied()), unit, "{values:?}");
        }
    }
}
