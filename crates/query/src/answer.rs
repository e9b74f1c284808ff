//! What is asked and what is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use flamestore_model::{Labels, ProfileId, ProfileType, Result, Selector, Temporality, Tenant, TimeRange};
use flamestore_segment::ReadFrom;
use futures::stream::BoxStream;

use crate::sink::ReportSink;

/// Which profiles a query is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Whose.
    pub tenant: Tenant,
    /// Of which series.
    pub selector: Selector,
    /// Taken when.
    pub range: TimeRange,
    /// What sums are answered from; what keeps single profiles or labels of samples reads samples in any case.
    pub read_from: ReadFrom,
    /// What values of a series over time become in a merge, a diff or top functions. Other queries add totals up.
    pub combine: Combine,
}

/// What the values of a series over time become; series are added up after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Combine {
    /// What suits the type: the average of instant values, the last of cumulative ones, the sum of all others.
    #[default]
    Auto,
    /// The sum.
    Sum,
    /// The average, to the nearest whole number: the sum divided by the number of profiles.
    Average,
    /// Those of the last profile.
    Last,
    /// The largest of each stack.
    Max,
    /// By how much they grew from the first profile on, restarts of the process aside.
    Added,
}

impl Combine {
    /// What it is for values of `temporality`.
    pub(crate) fn of(self, temporality: Temporality) -> Self {
        match (self, temporality) {
            (Self::Auto, Temporality::Instant) => Self::Average,
            (Self::Auto, Temporality::Cumulative) => Self::Last,
            (Self::Auto, Temporality::Delta | Temporality::Unknown) => Self::Sum,
            (named, _) => named,
        }
    }

    /// What it may be read from at most: roll-ups keep the last and the largest of instant values only.
    pub(crate) fn read_from(self, temporality: Temporality) -> ReadFrom {
        match (self.of(temporality), temporality) {
            (Self::Added, _) => ReadFrom::Samples,
            (Self::Last | Self::Max, temporality) if temporality != Temporality::Instant => ReadFrom::Samples,
            _ => ReadFrom::Widest,
        }
    }
}

impl fmt::Display for Combine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Sum => "sum",
            Self::Average => "average",
            Self::Last => "last",
            Self::Max => "max",
            Self::Added => "added",
        })
    }
}

impl Query {
    /// The profiles of `tenant` that `selector` and `range` ask for, combined as suits their type, from the widest windows that
    /// fit.
    pub fn new(tenant: Tenant, selector: Selector, range: TimeRange) -> Self {
        Self { tenant, selector, range, read_from: ReadFrom::Widest, combine: Combine::Auto }
    }
}

/// What of the selected profiles is asked for. Each set that is not empty must hold what it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    /// Profiles.
    pub profiles: BTreeSet<ProfileId>,
    /// Spans of samples, by their label `span_id`, or `profile_id` as older clients of Pyroscope call it.
    pub spans: BTreeSet<[u8; 8]>,
    /// Traces of samples, by their label `trace_id`.
    pub traces: BTreeSet<[u8; 16]>,
}

impl Pick {
    /// Whether everything is asked for.
    pub fn is_all(&self) -> bool {
        self.profiles.is_empty() && self.spans.is_empty() && self.traces.is_empty()
    }
}

/// An answer and how it came about.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// What was skipped, read and found damaged.
    pub report: QueryReport,
}

impl<T> Answer<T> {
    /// The same report with another value.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: map(self.value), report: self.report }
    }
}

/// A segment that could not be read, and so is missing from the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedSegment {
    /// The segment's id.
    pub segment: String,
    /// What was wrong with it.
    pub error: String,
}

/// What a query skipped, read and found damaged.
///
/// A segment is counted in exactly one of `segments_pruned_*`, `segments_read` and `damaged`. A diff counts each of its sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryReport {
    /// Segments of the snapshot, the head not counted.
    pub segments_total: u64,
    /// Segments skipped because the manifest says that their times lie outside of the range.
    pub segments_pruned_time: u64,
    /// Segments skipped because the manifest says that they have no such profile type.
    pub segments_pruned_type: u64,
    /// Segments skipped because the manifest says that they have no such service.
    pub segments_pruned_service: u64,
    /// Segments skipped because their postings and series prove that none fits.
    pub segments_pruned_postings: u64,
    /// Segments skipped because another segment answers what they hold of the range.
    pub segments_pruned_stand_in: u64,
    /// Segments read.
    pub segments_read: u64,
    /// Series of segments and of the head that fit.
    pub series: u64,
    /// Profiles that the answer is made of, each sample type counted, whether they were read or are summed in a roll-up.
    pub profiles: u64,
    /// Rows read.
    pub rows: u64,
    /// Windows of 30 days that roll-ups answered.
    pub months: u64,
    /// Windows of a day that roll-ups answered.
    pub days: u64,
    /// Windows of an hour that roll-ups answered.
    pub hours: u64,
    /// Rows of these windows.
    pub rollup_rows: u64,
    /// The range that was answered instead of the one asked for, because the samples at its ends have expired.
    pub widened: Option<TimeRange>,
    /// Segments left out because what was asked for is only in their samples, which have expired.
    pub segments_expired: u64,
    /// Row groups of `samples` read.
    pub row_groups_read: u64,
    /// Row groups of `samples` skipped.
    pub row_groups_skipped: u64,
    /// Pages of `samples` read.
    pub pages_read: u64,
    /// Pages of `samples` skipped, in row groups that were read.
    pub pages_skipped: u64,
    /// Bytes asked of the object store for this query; what caches answered is not counted.
    pub bytes_read: u64,
    /// The largest amount of memory the query's operators had reserved at once, in bytes.
    pub memory_bytes_peak: u64,
    /// Segments that are missing from the answer, by id.
    pub damaged: Vec<DamagedSegment>,
}

/// One series of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesEntry {
    /// Its labels, without those derived from the type.
    pub labels: Labels,
    /// What it measures.
    pub profile_type: ProfileType,
}

/// One stored profile of one sample type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileEntry {
    /// The id it shares with the other sample types of its source.
    pub id: ProfileId,
    /// When it was taken, in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// How long it took, in nanoseconds.
    pub duration_nano: i64,
    /// What it measures.
    pub profile_type: ProfileType,
    /// The labels of its series.
    pub labels: Labels,
    /// The sum of its values.
    pub total: i64,
}

/// The steps that totals over time are added up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// How long a step is, in nanoseconds.
    pub step_nano: i64,
    /// Where one of them starts, in nanoseconds since 1970.
    pub origin_nano: i64,
    /// Whether profiles are to be counted. Then windows of roll-ups, which do not tell how many they are the sum of, answer
    /// nothing, and where samples have expired there is no answer.
    pub is_counted: bool,
}

/// The total of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePoint {
    /// The start of the step, in nanoseconds since 1970; a multiple of the step from its origin.
    pub time_unix_nano: i64,
    /// The sum of the totals of all profiles of the step.
    pub total: i64,
    /// How many profiles that is, where [`Steps::is_counted`]; else 0.
    pub profiles: u64,
}

/// Totals over time of the series that share the labels grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSeries {
    /// The labels grouped by; one that is absent is left out.
    pub labels: Labels,
    /// One point per step that has a profile, in order of time.
    pub points: Vec<TimePoint>,
}

/// What functions spend in two periods.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Functions whose own share of all grew significantly come first, the most grown first; then all others, by how much their
    /// own share changed.
    pub functions: Vec<FunctionChange>,
    /// What all functions spend, before and after.
    pub totals: [i64; 2],
    /// In how many slices of either period functions were looked at.
    pub slices: [u32; 2],
}

/// What one function spends in two periods.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionChange {
    /// The frame name.
    pub name: String,
    /// The values of stacks that end in it, before and after.
    pub self_values: [i64; 2],
    /// The values of stacks it is on, before and after.
    pub totals: [i64; 2],
    /// By how many standard errors the function's own share of all changed: how far the change lies outside of what slices of
    /// either period vary by. Positive where it grew; infinite where nothing varies; `None` where a period has less than two slices
    /// with values.
    pub self_significance: Option<f64>,
    /// The same of its total share.
    pub total_significance: Option<f64>,
}

/// What a statement takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlDescription {
    /// Its parameters, called `$1`, `$2`, …; of type null where the statement does not tell.
    pub parameters: SchemaRef,
    /// The columns of its rows.
    pub columns: SchemaRef,
}

/// The rows of a statement.
pub struct SqlAnswer {
    /// Their columns.
    pub schema: SchemaRef,
    /// The rows, as they are found. Dropping the stream cancels the statement.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
    /// What is read for them.
    pub report: SqlReport,
}

/// What a statement reads, and what it could not.
#[derive(Clone, Debug, Default)]
pub struct SqlReport(Arc<ReportSink>);

impl SqlReport {
    pub(crate) fn new(sink: &Arc<ReportSink>) -> Self {
        Self(Arc::clone(sink))
    }

    /// The report so far; complete once the last row was read.
    pub fn report(&self) -> QueryReport {
        self.0.report()
    }
}

impl fmt::Debug for SqlAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlAnswer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl QueryReport {
    /// The damaged segments by id, each once.
    pub fn damaged_by_segment(&self) -> BTreeMap<&str, &str> {
        self.damaged.iter().map(|damaged| (damaged.segment.as_str(), damaged.error.as_str())).collect()
    }
}
