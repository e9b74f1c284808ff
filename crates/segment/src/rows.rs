//! Rows of the small tables, decoded.

use std::ops::Range;

use flamestore_calltree::Observed;
use flamestore_model::{Labels, NONE, ProfileType, Temporality, names};

use crate::{ProfileMeta, Resolution, observed};

/// Consecutive rows or ids: `first..first + count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Span {
    /// The span as rows of a table.
    pub fn rows(self) -> Range<u64> {
        u64::from(self.first)..u64::from(self.first) + u64::from(self.count)
    }
}

/// Where the rows of one service are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DictionaryEntry {
    /// The row of `dictionaries`.
    pub dictionary_id: u32,
    /// The service.
    pub service_name: String,
    /// Ids and rows of `strings`.
    pub strings: Span,
    /// Ids and rows of `mappings`.
    pub mappings: Span,
    /// Ids and rows of `functions`.
    pub functions: Span,
    /// Ids of locations.
    pub locations: Span,
    /// Rows of `locations`.
    pub location_rows: Span,
    /// Ids of label sets.
    pub label_sets: Span,
    /// Rows of `label_sets`.
    pub label_set_rows: Span,
    /// Ids and rows of `call_sites`.
    pub call_sites: Span,
    /// Ids and rows of `stacks`.
    pub stacks: Span,
}

/// One of the spans of an entry.
pub(crate) type SpanOf = fn(&DictionaryEntry) -> Span;

impl DictionaryEntry {
    /// The spans by the names of their columns (`…_first`, `…_count`), in the order of the columns.
    pub(crate) const SPANS: [(&str, SpanOf); 9] = [
        ("strings", |entry| entry.strings),
        ("mappings", |entry| entry.mappings),
        ("functions", |entry| entry.functions),
        ("locations", |entry| entry.locations),
        ("location_rows", |entry| entry.location_rows),
        ("label_sets", |entry| entry.label_sets),
        ("label_set_rows", |entry| entry.label_set_rows),
        ("call_sites", |entry| entry.call_sites),
        ("stacks", |entry| entry.stacks),
    ];
}

/// One series of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRow {
    /// The row of `series`.
    pub series_id: u32,
    /// The dictionary its profiles use.
    pub dictionary_id: u32,
    /// The service.
    pub service_name: String,
    /// What the values measure.
    pub profile_type: ProfileType,
    /// How values relate to those of the next profile.
    pub temporality: Temporality,
    /// The labels, without derived ones.
    pub labels: Labels,
    /// The first time of a profile; 0 without profiles.
    pub time_min: i64,
    /// The last time of a profile; 0 without profiles.
    pub time_max: i64,
    /// Its rows of `profiles`, in order of time.
    pub profiles: Span,
}

impl SeriesRow {
    /// All labels a selector may ask for: with `service_name` and those derived from the profile type.
    pub fn all_labels(&self) -> Labels {
        all_labels(&self.labels, &self.profile_type, &self.service_name)
    }
}

/// `labels` with `service_name` and the labels derived from the profile type.
pub fn all_labels(labels: &Labels, profile_type: &ProfileType, service_name: &str) -> Labels {
    profile_type.add_derived_labels(labels.clone().with(names::SERVICE_NAME, service_name))
}

/// The series of a segment; row `i` has id `i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesTable {
    /// The rows.
    pub rows: Vec<SeriesRow>,
}

impl SeriesTable {
    /// The series `id`, if it exists.
    pub fn get(&self, id: u32) -> Option<&SeriesRow> {
        self.rows.get(id as usize)
    }
}

/// What a merge needs of a stored profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileRow {
    /// The row of `profiles`.
    pub profile: u32,
    /// Its series.
    pub series_id: u32,
    /// When it was taken, in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// What values in `samples` are multiplied by; at least 1.
    pub unit: i64,
    /// The sum of its values, wrapping.
    pub total: i64,
    /// Its first row of `samples`.
    pub row_start: u64,
    /// How many rows it has there.
    pub row_count: u32,
    /// What their stack keys are above the stack ids; between -2³² and 2³².
    pub stack_base: i64,
}

impl ProfileRow {
    /// Its rows of `samples`.
    pub fn rows(&self) -> Range<u64> {
        self.row_start..self.row_start + u64::from(self.row_count)
    }
}

/// A stored profile with all it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileDetail {
    /// Its place and its total.
    pub row: ProfileRow,
    /// What it says of itself; the main mapping is local to the dictionary.
    pub meta: ProfileMeta,
}

/// The samples of one stored profile; ids are local to the dictionary, values are as measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileSamples {
    /// The stack of each row.
    pub stacks: Vec<u32>,
    /// The value of each row.
    pub values: Vec<i64>,
    /// The label set of each row or `NONE`; empty where no row has one.
    pub label_sets: Vec<u32>,
    /// What else the labels of each row say.
    pub observed: Observed,
}

impl ProfileSamples {
    /// Extends the columns that not every row has a value of, but some row has, to `rows` rows.
    pub(crate) fn extend_to(&mut self, rows: usize) {
        if !self.label_sets.is_empty() {
            self.label_sets.resize(rows, NONE);
        }
        self.observed.extend_to(rows);
    }
}

/// Which columns of samples are read; the others stay empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleParts {
    /// The stack of each row.
    pub stacks: bool,
    /// The value of each row.
    pub values: bool,
    /// The label set of each row.
    pub label_sets: bool,
    /// When each row was observed.
    pub times: bool,
    /// When that which each row measured ended.
    pub end_times: bool,
    /// The trace of each row.
    pub trace_ids: bool,
    /// The span of each row.
    pub span_ids: bool,
}

impl SampleParts {
    /// Every column.
    pub const ALL: Self = Self {
        stacks: true,
        values: true,
        label_sets: true,
        times: true,
        end_times: true,
        trace_ids: true,
        span_ids: true,
    };

    /// What either asks for.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            stacks: self.stacks || other.stacks,
            values: self.values || other.values,
            label_sets: self.label_sets || other.label_sets,
            times: self.times || other.times,
            end_times: self.end_times || other.end_times,
            trace_ids: self.trace_ids || other.trace_ids,
            span_ids: self.span_ids || other.span_ids,
        }
    }

    /// Their names in the table.
    pub(crate) fn columns(self, stack_column: &'static str) -> Vec<&'static str> {
        let observed = [self.times, self.end_times, self.trace_ids, self.span_ids];
        let own = [(stack_column, self.stacks), ("value", self.values), ("label_set_id", self.label_sets)];
        own.into_iter()
            .chain(observed::names().zip(observed))
            .filter(|(_, wanted)| *wanted)
            .map(|(name, _)| name)
            .collect()
    }
}

/// The samples of several profiles as columns, in order of their rows in the segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleColumns {
    /// Whose each row is: the place of its profile in the list that was asked for.
    pub profiles: Vec<u32>,
    /// What was asked for of each row.
    pub samples: ProfileSamples,
}

impl SampleColumns {
    /// Appends all `samples` of the profile `place`, of which no column was left out.
    pub fn push(&mut self, place: u32, mut samples: ProfileSamples) {
        let before = self.profiles.len();
        let rows = before + samples.stacks.len();
        self.profiles.resize(rows, place);
        let all = &mut self.samples;
        all.stacks.append(&mut samples.stacks);
        all.values.append(&mut samples.values);
        if !samples.label_sets.is_empty() {
            all.label_sets.resize(before, NONE);
            all.label_sets.append(&mut samples.label_sets);
        }
        all.observed.append(before, samples.observed);
        all.extend_to(rows);
    }
}

/// One window of a roll-up of a series: what its profiles come to is a row per stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRow {
    /// The row of `windows`.
    pub window: u32,
    /// How long the window is.
    pub resolution: Resolution,
    /// The series.
    pub series_id: u32,
    /// The start of the window, in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// The time of its first profile.
    pub time_min: i64,
    /// The time of its last profile.
    pub time_max: i64,
    /// How many profiles it sums; at least 1.
    pub profile_count: u32,
    /// What values of its rows are multiplied by; at least 1.
    pub unit: i64,
    /// The sum of the totals of its profiles, wrapping.
    pub total: i64,
    /// The sum of the absolute totals of its profiles; `None` where 63 bits do not hold it.
    pub total_magnitude: Option<i64>,
    /// Its first row in the table of its resolution.
    pub row_start: u64,
    /// How many rows it has there.
    pub row_count: u32,
}

impl WindowRow {
    /// Its rows in the table of its resolution.
    pub fn rows(&self) -> Range<u64> {
        self.row_start..self.row_start + u64::from(self.row_count)
    }
}

/// The sums of one window by stack; ids are local to the dictionary, values are as measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowSums {
    /// The stack of each row.
    pub stacks: Vec<u32>,
    /// The sum of each row.
    pub values: Vec<i64>,
    /// The last value of each row; 0 where the values are not instant.
    pub lasts: Vec<i64>,
    /// The largest value of each row; 0 where the values are not instant.
    pub maxes: Vec<i64>,
}

/// The windows of a segment; row `i` is window `i`. Those of a series are neighbours and in order of time, each one after
/// the shorter ones inside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowTable {
    /// The rows.
    pub rows: Vec<WindowRow>,
}

impl WindowTable {
    /// The windows of series `id`, of every resolution.
    pub fn of(&self, id: u32) -> &[WindowRow] {
        let start = self.rows.partition_point(|window| window.series_id < id);
        let end = self.rows.partition_point(|window| window.series_id <= id);
        &self.rows[start..end]
    }
}

/// The selected profiles and windows of one dictionary: the unit of merging.
#[derive(Clone, Debug)]
pub struct DictionarySelection {
    /// The dictionary.
    pub entry: DictionaryEntry,
    /// The profiles, by row.
    pub profiles: Vec<ProfileRow>,
    /// The windows of roll-ups, by row; none of their profiles is among `profiles`.
    pub windows: Vec<WindowRow>,
}
