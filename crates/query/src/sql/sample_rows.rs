//! The rows of `samples`: what was read of a part, column by column, and the columns that SQL shows of it.
//!
//! ```text
//! runs      place of the profile, end of its rows     a value of a profile or series is made once a run
//! samples   stacks, values, label sets, times, ids    those that were asked for; numbers are given without a copy
//! ```

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, MapBuilder, StringBuilder, TimestampNanosecondArray, UInt32Array};
use arrow::buffer::NullBuffer;
use flamestore_calltree::{LabelBytes, NO_TIME, NONE, Observation, SealedDictionary};
use flamestore_model::{Error, Result, TimeRange};
use flamestore_segment::{ProfileDetail, ProfileRow, ProfileSamples, SampleColumns, SampleParts};

use super::columns::{self, NUMBER_OF, UTC, as_labels, hexadecimal, numbers, texts, times, unknown_column};
use super::rows::{Rows, stack_column};
use super::stack_names::StackNames;
use super::unit_names::UnitNames;
use crate::export::rows_bytes;
use crate::plan::dictionary_bytes;
use crate::selection::Unit;
use crate::tables::batches::label_field_names;

/// What is read of samples for the column `name`; `None` where it is of their profile or series.
pub(super) fn parts_for(name: &str) -> Option<SampleParts> {
    let none = SampleParts::default();
    Some(match name {
        "stack" | "leaf" | "root" | "depth" | "stack_id" => SampleParts { stacks: true, ..none },
        "value" => SampleParts { values: true, ..none },
        "sample_labels" => SampleParts { label_sets: true, ..none },
        "observed_time" => SampleParts { times: true, ..none },
        "ended_time" => SampleParts { end_times: true, ..none },
        "trace_id" => SampleParts { trace_ids: true, ..none },
        "span_id" => SampleParts { span_ids: true, ..none },
        _ => return None,
    })
}

/// Samples of profiles of one dictionary.
pub(super) struct SampleRows {
    unit: Unit,
    unit_names: UnitNames,
    profiles: Vec<ProfileRow>,
    details: Vec<ProfileDetail>,
    /// Rows one after the other that are of one profile: its place, and where they end.
    runs: Vec<(u32, usize)>,
    /// What the samples are, where a column asks for it.
    samples: Samples,
}

/// Columns of samples; empty, or `None`, where they were not asked for or no row has a value.
#[derive(Default)]
struct Samples {
    names: Option<Arc<StackNames>>,
    stacks: Vec<u32>,
    values: Option<Int64Array>,
    label_sets: Vec<u32>,
    times: Option<TimestampNanosecondArray>,
    end_times: Option<TimestampNanosecondArray>,
    trace_ids: Vec<[u8; 16]>,
    span_ids: Vec<[u8; 8]>,
}

impl SampleRows {
    /// All samples of `profiles`, without what they are.
    pub(super) fn of_profiles(
        unit: Unit,
        unit_names: UnitNames,
        profiles: Vec<ProfileRow>,
        details: Vec<ProfileDetail>,
    ) -> Self {
        let mut end = 0;
        let runs = (0..).zip(&profiles).filter(|(_, profile)| profile.row_count > 0).map(|(place, profile)| {
            end += profile.row_count as usize;
            (place, end)
        });
        let runs = runs.collect();
        Self { unit, unit_names, profiles, details, runs, samples: Samples::default() }
    }

    /// Those of `columns` whose stacks pass and that were observed in `observed`, with what they are; `names` are of the stacks
    /// and sets of labels.
    ///
    /// # Errors
    /// `Corrupt` when an id refers to nothing.
    pub(super) fn with_samples(
        mut self,
        names: Option<Arc<StackNames>>,
        columns: SampleColumns,
        passing: Option<&[bool]>,
        observed: &TimeRange,
    ) -> Result<Self> {
        if let Some(names) = &names {
            check_ids(names, &columns.samples)?;
        }
        let SampleColumns { profiles, samples } = passed(columns, passing, observed);
        self.runs.clear();
        for run in profiles.chunk_by(|a, b| a == b) {
            let end = self.runs.last().map_or(0, |(_, end)| *end) + run.len();
            self.runs.push((run[0], end));
        }
        let ProfileSamples { stacks, values, label_sets, observed } = samples;
        self.samples = Samples {
            names,
            stacks,
            values: (!values.is_empty()).then(|| values.into()),
            label_sets,
            times: time_array(observed.times),
            end_times: time_array(observed.end_times),
            trace_ids: observed.trace_ids,
            span_ids: observed.span_ids,
        };
        Ok(self)
    }

    /// The runs of `rows`: the profile of each, and how many of the rows are of it.
    fn runs(&self, rows: &Range<usize>) -> impl Iterator<Item = (usize, usize)> + use<'_> {
        let first = self.runs.partition_point(|(_, end)| *end <= rows.start);
        let (mut at, last) = (rows.start, rows.end);
        self.runs[first..].iter().map_while(move |(place, end)| {
            let count = (*end).min(last).checked_sub(at).filter(|count| *count > 0)?;
            at += count;
            Some((*place as usize, count))
        })
    }

    /// What `value` says of the profile of each of `rows`.
    fn spread<'a, T: Clone + 'a>(
        &'a self,
        rows: &Range<usize>,
        value: impl Fn(&'a ProfileRow) -> T + 'a,
    ) -> impl Iterator<Item = T> + 'a {
        self.runs(rows).flat_map(move |(place, count)| std::iter::repeat_n(value(&self.profiles[place]), count))
    }

    /// The same of the details of profiles.
    fn spread_detail<T: Clone>(
        &self,
        name: &str,
        rows: &Range<usize>,
        value: impl Fn(&ProfileDetail) -> T,
    ) -> Result<Vec<T>> {
        let mut spread = Vec::with_capacity(rows.len());
        for (place, count) in self.runs(rows) {
            let detail = self.details.get(place).ok_or_else(|| unknown_column(name))?;
            spread.extend(std::iter::repeat_n(value(detail), count));
        }
        Ok(spread)
    }

    fn names(&self) -> Result<&Arc<StackNames>> {
        self.samples.names.as_ref().ok_or_else(|| Error::internal("the dictionary of samples was not read"))
    }

    fn sample_column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        let Samples { stacks, values, times, end_times, trace_ids, span_ids, .. } = &self.samples;
        Ok(match name {
            "value" => match values {
                Some(values) => Arc::new(values.slice(rows.start, rows.len())),
                None => return Err(Error::internal("values of samples were not read")),
            },
            "sample_labels" => self.sample_labels(rows)?,
            "observed_time" => time_column(times.as_ref(), rows),
            "ended_time" => time_column(end_times.as_ref(), rows),
            "trace_id" => id_column(trace_ids, rows),
            "span_id" => id_column(span_ids, rows),
            name => stack_column(self.names()?, name, stacks[rows].iter().copied())?,
        })
    }

    /// The numbers of names.
    fn number_column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        if parts_for(name).is_none() {
            let runs: Vec<(usize, usize)> = self.runs(&rows).collect();
            let profiles = runs.iter().map(|(place, _)| &self.profiles[*place]);
            let of_runs = self.unit_names.of_profiles(&self.unit, name, profiles)?;
            let mut numbers = Vec::with_capacity(rows.len());
            for (number, (_, count)) in of_runs.into_iter().zip(runs) {
                numbers.extend(std::iter::repeat_n(number, count));
            }
            return Ok(Arc::new(UInt32Array::from(numbers)));
        }
        let (names, known) = (self.names()?, self.unit_names.names());
        match name {
            "stack" => names.stack_numbers(known, &self.samples.stacks[rows]),
            "leaf" => names.leaf_numbers(known, &self.samples.stacks[rows]),
            "root" => names.root_numbers(known, &self.samples.stacks[rows]),
            "sample_labels" => names.label_numbers(known, &self.label_sets(rows)),
            other => Err(unknown_column(other)),
        }
    }

    fn label_sets(&self, rows: Range<usize>) -> Vec<u32> {
        match self.samples.label_sets.get(rows.clone()) {
            Some(sets) => sets.to_vec(),
            None => vec![NONE; rows.len()],
        }
    }

    fn sample_labels(&self, rows: Range<usize>) -> Result<ArrayRef> {
        let dictionary = &self.names()?.sealed().dictionary;
        let mut maps = MapBuilder::new(Some(label_field_names()), StringBuilder::new(), StringBuilder::new());
        for set in self.label_sets(rows) {
            dictionary.row_labels(set, &Observation::NONE, |key, value| {
                maps.keys().append_value(String::from_utf8_lossy(key));
                match value {
                    LabelBytes::Str(text) => maps.values().append_value(String::from_utf8_lossy(text)),
                    LabelBytes::Num(number, _) => maps.values().append_value(number.to_string()),
                }
            });
            maps.append(true).map_err(columns::wrong)?;
        }
        as_labels(maps.finish())
    }
}

impl Rows for SampleRows {
    fn len(&self) -> usize {
        self.runs.last().map_or(0, |(_, end)| *end)
    }

    fn column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        if let Some(name) = name.strip_prefix(NUMBER_OF) {
            return self.number_column(name, rows);
        }
        if parts_for(name).is_some() {
            return self.sample_column(name, rows);
        }
        Ok(match name {
            "time" => times(self.spread(&rows, |profile| profile.time_unix_nano)),
            "time_unix_nano" => numbers(self.spread(&rows, |profile| profile.time_unix_nano)),
            "profile_id" => {
                let ids = self.spread_detail(name, &rows, |of| hexadecimal(of.meta.id.as_bytes()))?;
                texts(ids.into_iter().map(Some))
            }
            "duration_nano" => numbers(self.spread_detail(name, &rows, |of| of.meta.duration_nano)?.into_iter()),
            "period" => numbers(self.spread_detail(name, &rows, |of| of.meta.period)?.into_iter()),
            "segment" => texts(std::iter::repeat_n(Some(&*self.unit.id), rows.len())),
            name => {
                let series = self.spread(&rows, |profile| profile).map(|row| self.unit.series_of(row));
                let series = series.collect::<Result<Vec<_>>>()?;
                columns::of_series(name, series.into_iter())?.ok_or_else(|| unknown_column(name))?
            }
        })
    }

    fn frames(&self, rows: Range<usize>) -> Result<Vec<u32>> {
        match &self.samples.names {
            Some(names) => names.frame_counts(self.unit_names.names(), &self.samples.stacks[rows]),
            None => Ok(Vec::new()),
        }
    }

    fn memory_bytes(&self) -> usize {
        let Samples { names, stacks, label_sets, values, times, end_times, trace_ids, span_ids } = &self.samples;
        let times = [times, end_times].into_iter().flatten().map(Array::get_array_memory_size).sum::<usize>();
        let numbers = values.as_ref().map_or(0, Array::get_array_memory_size) + times;
        let ids = 4 * (stacks.capacity() + label_sets.capacity());
        let names =
            names.as_ref().map_or(0, |names| dictionary_bytes(&names.sealed().dictionary) + names.memory_bytes());
        rows_bytes(&self.profiles)
            + self.runs.len() * 16
            + numbers
            + ids
            + 16 * trace_ids.len()
            + 8 * span_ids.len()
            + names
    }
}

fn check_ids(names: &StackNames, samples: &ProfileSamples) -> Result<()> {
    let SealedDictionary { dictionary, .. } = names.sealed();
    if let Some(stack) = samples.stacks.iter().max().filter(|stack| **stack as usize >= names.len()) {
        return Err(Error::corrupt("a sample refers to a stack that does not exist").with("stack", stack));
    }
    let sets = samples.label_sets.iter().filter(|set| **set != NONE);
    if let Some(set) = sets.max().filter(|set| **set as usize >= dictionary.label_sets.len()) {
        return Err(Error::corrupt("a sample refers to a label set that does not exist").with("label_set", set));
    }
    Ok(())
}

/// The rows whose stacks pass and that were observed in `observed`.
fn passed(columns: SampleColumns, passing: Option<&[bool]>, observed: &TimeRange) -> SampleColumns {
    let SampleColumns { profiles, samples } = &columns;
    let is_inside =
        |time: i64| time != NO_TIME && observed.start <= time && (time < observed.end || observed.end == i64::MAX);
    let times = &samples.observed.times;
    let fits = |row: usize| {
        passing.is_none_or(|passing| samples.stacks.get(row).is_some_and(|stack| passing[*stack as usize]))
            && (*observed == TimeRange::ALL || times.get(row).copied().is_some_and(is_inside))
    };
    let rows: Vec<usize> = match (passing, *observed == TimeRange::ALL) {
        (None, true) => return columns,
        (None, false) if times.len() == profiles.len() && times.iter().copied().all(is_inside) => return columns,
        _ => (0..profiles.len()).filter(|row| fits(*row)).collect(),
    };
    SampleColumns {
        profiles: rows.iter().map(|row| profiles[*row]).collect(),
        samples: ProfileSamples {
            stacks: rows.iter().filter_map(|row| samples.stacks.get(*row).copied()).collect(),
            values: rows.iter().filter_map(|row| samples.values.get(*row).copied()).collect(),
            label_sets: rows.iter().filter_map(|row| samples.label_sets.get(*row).copied()).collect(),
            observed: samples.observed.take(&rows),
        },
    }
}

/// Times, of which [`NO_TIME`] is none; nothing where there are none at all.
fn time_array(times: Vec<i64>) -> Option<TimestampNanosecondArray> {
    if times.is_empty() {
        return None;
    }
    let has_none = times.contains(&NO_TIME);
    let nulls = has_none.then(|| times.iter().map(|time| *time != NO_TIME).collect::<NullBuffer>());
    Some(TimestampNanosecondArray::new(times.into(), nulls).with_timezone(UTC))
}

fn time_column(times: Option<&TimestampNanosecondArray>, rows: Range<usize>) -> ArrayRef {
    match times {
        Some(times) => Arc::new(times.slice(rows.start, rows.len())),
        None => Arc::new(TimestampNanosecondArray::new_null(rows.len()).with_timezone(UTC)),
    }
}

/// Ids as text; zeros are none.
fn id_column<const BYTES: usize>(ids: &[[u8; BYTES]], rows: Range<usize>) -> ArrayRef {
    texts(rows.map(|row| ids.get(row).filter(|id| **id != [0; BYTES]).map(|id| hexadecimal(id))))
}
