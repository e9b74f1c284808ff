//! What is read of a unit, part by part, and the columns of what was read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder, UInt32Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use flamestore_calltree::SealedDictionary;
use flamestore_model::{Error, Result, TimeRange};
use flamestore_segment::{
    ProfileDetail, ProfileRow, ProfileSamples, SampleColumns, SampleParts, ScanReport, SeriesRow,
};
use flamestore_store::HeadSelection;

use super::columns::{self, NUMBER_OF, Shown, counts, hexadecimal, numbers, texts, times, unknown_column};
use super::sample_rows::{self, SampleRows};
use super::stack_names::{StackNames, StackTest};
use super::unit_names::UnitNames;
use crate::export::{parts, rows_bytes};
use crate::plan::{dictionary_bytes, entry_of, service_of};
use crate::selection::{Source, Unit};
use crate::tables::with_profiles;

/// Sample rows that a part has at most, if it has more than one profile.
pub(super) const ROWS_AT_ONCE: usize = 1 << 16;

/// Rows whose columns are built when they are asked for.
pub(super) trait Rows: Send {
    /// How many there are.
    fn len(&self) -> usize;

    /// The column `name` of these rows.
    ///
    /// # Errors
    /// `Internal` when there is no such column; `Corrupt` when an id refers to nothing.
    fn column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef>;

    /// How many frames the stacks of these rows have, where they have stacks.
    ///
    /// # Errors
    /// `Exhausted` when there is no memory for their names.
    fn frames(&self, _rows: Range<usize>) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }

    /// Bytes that they hold, about.
    fn memory_bytes(&self) -> usize;
}

/// What is read at one time.
pub(super) enum Part {
    Series(Vec<u32>),
    Profiles(Vec<ProfileRow>),
    /// A dictionary, and the profiles that use it.
    Dictionary(u32, Vec<ProfileRow>),
    /// Profiles with their samples, all of one dictionary.
    Samples(u32, Vec<ProfileRow>),
}

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) rows: Option<Box<dyn Rows>>,
    pub(super) profiles: usize,
    pub(super) stacks_tested: usize,
    pub(super) stacks_fitting: usize,
}

/// What is asked of samples and stacks.
#[derive(Clone, Debug)]
pub(super) struct Tests {
    pub(super) stacks: Arc<[StackTest]>,
    /// When samples were observed; all are wanted with [`TimeRange::ALL`], those of unknown time too.
    pub(super) observed: TimeRange,
}

/// How units are read for one table.
pub(super) struct Reads {
    shown: Shown,
    range: TimeRange,
    tests: Tests,
    /// Whether a column is asked for that only the details of profiles have.
    has_details: bool,
    /// What of samples is asked for: nothing where all columns are of their profiles.
    of_samples: SampleParts,
    /// Whether stacks are asked for, by name or number.
    has_stacks: bool,
}

impl Part {
    /// Bytes that reading it takes, about, dictionaries aside.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Series(series) => series.len() * 4,
            Self::Profiles(profiles) => profiles.len() * 512,
            Self::Dictionary(..) => 0,
            Self::Samples(_, profiles) => rows_bytes(profiles),
        }
    }
}

impl Reads {
    pub(super) fn new(shown: Shown, range: TimeRange, tests: Tests, schema: &SchemaRef) -> Self {
        let is_detail = |name: &str| matches!(name, "profile_id" | "duration_nano" | "period");
        let names = || schema.fields().iter().map(|field| field.name().trim_start_matches(NUMBER_OF));
        let of_tests = SampleParts {
            stacks: !tests.stacks.is_empty(),
            times: tests.observed != TimeRange::ALL,
            ..SampleParts::default()
        };
        let of_samples = names().filter_map(sample_rows::parts_for).fold(of_tests, SampleParts::union);
        let (has_details, has_stacks) = (names().any(is_detail), names().any(|name| name == "stack"));
        Self { shown, range, tests, has_details, of_samples, has_stacks }
    }

    /// Whether stacks are asked for, by name or number.
    pub(super) fn has_stacks(&self) -> bool {
        self.has_stacks
    }

    /// Whether what is asked for is in samples that have expired.
    pub(super) fn misses_samples(&self, unit: &Unit) -> bool {
        matches!(self.shown, Shown::Profiles | Shown::Samples) && !unit.has_samples()
    }

    /// The parts of `unit`.
    ///
    /// # Errors
    /// `Corrupt` when the segment is damaged.
    pub(super) async fn parts(&self, unit: &Unit, scan: &mut ScanReport) -> Result<Vec<Part>> {
        match self.shown {
            Shown::Series => Ok(vec![Part::Series(with_profiles(unit, &self.range, scan).await?.iter().collect())]),
            Shown::Stacks | Shown::Functions => self.dictionaries(unit),
            Shown::Profiles | Shown::Samples if !unit.has_samples() => Ok(Vec::new()),
            Shown::Profiles => {
                let profiles = unit.profiles(&self.range, scan).await?;
                Ok(parts_of(profiles, Part::Profiles))
            }
            Shown::Samples => {
                let mut groups: BTreeMap<u32, Vec<ProfileRow>> = BTreeMap::new();
                for profile in unit.profiles(&self.range, scan).await? {
                    groups.entry(unit.series_of(&profile)?.dictionary_id).or_default().push(profile);
                }
                let parts = groups.into_iter().flat_map(|(dictionary_id, profiles)| {
                    parts(profiles, ROWS_AT_ONCE).into_iter().map(move |part| Part::Samples(dictionary_id, part))
                });
                Ok(parts.collect())
            }
        }
    }

    fn dictionaries(&self, unit: &Unit) -> Result<Vec<Part>> {
        let ids: BTreeSet<u32> = unit.rows().map(|row| row.dictionary_id).collect();
        let part = |id: u32| {
            let profiles = match &unit.source {
                Source::Segment(_) => Vec::new(),
                Source::Head(view) => {
                    let series = unit.rows().filter(|row| row.dictionary_id == id).map(|row| row.series_id);
                    view.profiles(&series.collect(), &TimeRange::ALL)
                }
            };
            Part::Dictionary(id, profiles)
        };
        Ok(ids.into_iter().map(part).collect())
    }

    /// The rows of `part` of `unit`.
    ///
    /// # Errors
    /// `Corrupt` when the segment is damaged; `Invalid` when a test of stacks makes no sense.
    pub(super) async fn rows(&self, unit: &Unit, part: Part, names: &UnitNames, scan: &mut ScanReport) -> Result<Read> {
        match part {
            Part::Series(ids) => {
                let rows: Vec<SeriesRow> = ids.iter().filter_map(|id| unit.table.get(*id)).cloned().collect();
                Ok(Read { rows: Some(Box::new(SeriesRows { segment: Arc::clone(&unit.id), rows })), ..Read::default() })
            }
            Part::Profiles(rows) => {
                let profiles = rows.len();
                let details = if self.has_details { unit.details(&rows, scan).await? } else { Vec::new() };
                let rows = ProfileRows { unit: unit.clone(), names: names.clone(), rows, details };
                Ok(Read { rows: Some(Box::new(rows)), profiles, ..Read::default() })
            }
            Part::Dictionary(id, profiles) => self.dictionary_rows(unit, id, profiles, scan).await,
            Part::Samples(id, profiles) => self.sample_rows(unit, id, profiles, names, scan).await,
        }
    }

    async fn dictionary_rows(
        &self,
        unit: &Unit,
        id: u32,
        profiles: Vec<ProfileRow>,
        scan: &mut ScanReport,
    ) -> Result<Read> {
        let (service_name, sealed) = match &unit.source {
            Source::Segment(stored) => {
                let entry = entry_of(&stored.reader, id).await?;
                (entry.service_name, stored.reader.load_dictionary(id, scan).await?)
            }
            Source::Head(view) => {
                let selection = head_selection(view, id, profiles);
                let service_name = selection.service_name.clone();
                let view = Arc::clone(view);
                (service_name, Arc::new(off_thread(move || view.dictionary(&selection)).await?))
            }
        };
        let segment = Arc::clone(&unit.id);
        if self.shown == Shown::Functions {
            let rows = FunctionRows { segment, service_name, sealed };
            return Ok(Read { rows: Some(Box::new(rows)), ..Read::default() });
        }
        let names = StackNames::new(sealed);
        let (picked, tested) = self.picked(&names)?;
        let read = Read {
            stacks_tested: tested,
            stacks_fitting: if tested > 0 { picked.len() } else { 0 },
            ..Read::default()
        };
        Ok(Read { rows: Some(Box::new(StackRows { segment, service_name, names, picked })), ..read })
    }

    /// The stacks that pass the tests, and how many were tested.
    fn picked(&self, names: &StackNames) -> Result<(Vec<u32>, usize)> {
        let passing = names.passing(&self.tests.stacks)?;
        let tested = if self.tests.stacks.is_empty() { 0 } else { passing.len() };
        Ok(((0..).zip(passing).filter(|(_, passes)| *passes).map(|(stack, _)| stack).collect(), tested))
    }

    async fn sample_rows(
        &self,
        unit: &Unit,
        id: u32,
        profiles: Vec<ProfileRow>,
        unit_names: &UnitNames,
        scan: &mut ScanReport,
    ) -> Result<Read> {
        let mut read = Read { profiles: profiles.len(), ..Read::default() };
        if let (Source::Segment(stored), true) = (&unit.source, self.of_samples == SampleParts::default()) {
            let details =
                if self.has_details { stored.reader.profile_details(&profiles, scan).await? } else { Vec::new() };
            read.rows = Some(Box::new(SampleRows::of_profiles(unit.clone(), unit_names.clone(), profiles, details)));
            return Ok(read);
        }
        let (sealed, of_head) = match &unit.source {
            Source::Segment(stored) if self.of_samples.stacks || self.of_samples.label_sets => {
                (Some(stored.reader.load_dictionary(id, scan).await?), None)
            }
            Source::Segment(_) => (None, None),
            Source::Head(view) => {
                let selection = head_selection(view, id, profiles.clone());
                let view = Arc::clone(view);
                let head = off_thread(move || view.samples(&selection)).await?;
                (Some(Arc::new(head.sealed)), Some((head.details, columns_of(head.samples))))
            }
        };
        let frames = |sealed: &SealedDictionary| match &unit.source {
            Source::Segment(stored) if self.has_stacks => Some(stored.reader.frame_strings(id, sealed)),
            _ => None,
        };
        let names = sealed.map(|sealed| unit_names.stacks(sealed, frames));
        let passing = match &names {
            Some(names) if !self.tests.stacks.is_empty() => {
                let passing = names.passing(&self.tests.stacks)?;
                read.stacks_tested = passing.len();
                read.stacks_fitting = passing.iter().filter(|passes| **passes).count();
                if read.stacks_fitting == 0 {
                    return Ok(read);
                }
                Some(passing)
            }
            _ => None,
        };
        let (details, columns) = match (&unit.source, of_head) {
            (_, Some(of_head)) => of_head,
            (Source::Segment(stored), None) => {
                let details =
                    if self.has_details { stored.reader.profile_details(&profiles, scan).await? } else { Vec::new() };
                let entry = entry_of(&stored.reader, id).await?;
                (details, stored.reader.sample_columns(&entry, &profiles, self.of_samples, scan).await?)
            }
            (Source::Head(_), None) => return Err(Error::internal("a head gave no samples")),
        };
        let of = SampleRows::of_profiles(unit.clone(), unit_names.clone(), profiles, details);
        read.rows = Some(Box::new(of.with_samples(names, columns, passing.as_deref(), &self.tests.observed)?));
        Ok(read)
    }
}

/// The samples of a list of profiles one after the other.
fn columns_of(profiles: Vec<ProfileSamples>) -> SampleColumns {
    let mut columns = SampleColumns::default();
    for (place, samples) in (0..).zip(profiles) {
        columns.push(place, samples);
    }
    columns
}

/// Rows of `profiles` are read in as many parts as keep their details small.
fn parts_of(profiles: Vec<ProfileRow>, part: fn(Vec<ProfileRow>) -> Part) -> Vec<Part> {
    profiles.chunks(ROWS_AT_ONCE / 8).map(|chunk| part(chunk.to_vec())).collect()
}

fn head_selection(view: &flamestore_store::HeadView, dictionary_id: u32, profiles: Vec<ProfileRow>) -> HeadSelection {
    HeadSelection { dictionary_id, service_name: service_of(view, dictionary_id), profiles }
}

async fn off_thread<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let reading = SpawnedTask::spawn_blocking(read).join().await;
    reading.map_err(|error| Error::internal("reading a head broke off").because(error))
}

fn repeated(text: &str, rows: usize) -> ArrayRef {
    texts(std::iter::repeat_n(Some(text), rows))
}

struct SeriesRows {
    segment: Arc<str>,
    rows: Vec<SeriesRow>,
}

impl Rows for SeriesRows {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        let of = &self.rows[rows];
        if let Some(column) = columns::of_series(name, of.iter())? {
            return Ok(column);
        }
        Ok(match name {
            "first_time" => times(of.iter().map(|row| row.time_min)),
            "last_time" => times(of.iter().map(|row| row.time_max)),
            "profile_count" => counts(of.iter().map(|row| row.profiles.count)),
            "segment" => repeated(&self.segment, of.len()),
            other => return Err(unknown_column(other)),
        })
    }

    fn memory_bytes(&self) -> usize {
        self.rows.len() * 512
    }
}

struct ProfileRows {
    unit: Unit,
    names: UnitNames,
    rows: Vec<ProfileRow>,
    /// In the order of `rows`; empty where no column needs them.
    details: Vec<ProfileDetail>,
}

impl Rows for ProfileRows {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        let of = &self.rows[rows.clone()];
        if let Some(name) = name.strip_prefix(NUMBER_OF) {
            let numbers = self.names.of_profiles(&self.unit, name, of.iter())?;
            return Ok(Arc::new(numbers.into_iter().collect::<UInt32Array>()));
        }
        let series = of.iter().map(|row| self.unit.series_of(row)).collect::<Result<Vec<_>>>()?;
        if let Some(column) = columns::of_series(name, series.into_iter())? {
            return Ok(column);
        }
        let details = || {
            let details = self.details.get(rows.clone()).ok_or_else(|| unknown_column(name))?;
            Ok::<_, Error>(details.iter().map(|detail| &detail.meta))
        };
        Ok(match name {
            "time" => times(of.iter().map(|row| row.time_unix_nano)),
            "time_unix_nano" => numbers(of.iter().map(|row| row.time_unix_nano)),
            "total" => numbers(of.iter().map(|row| row.total)),
            "sample_count" => counts(of.iter().map(|row| row.row_count)),
            "profile_id" => texts(details()?.map(|meta| Some(hexadecimal(meta.id.as_bytes())))),
            "duration_nano" => numbers(details()?.map(|meta| meta.duration_nano)),
            "period" => numbers(details()?.map(|meta| meta.period)),
            "segment" => repeated(&self.unit.id, of.len()),
            other => return Err(unknown_column(other)),
        })
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(self.rows.as_slice()) + self.details.len() * 256
    }
}

struct FunctionRows {
    segment: Arc<str>,
    service_name: String,
    sealed: Arc<SealedDictionary>,
}

impl Rows for FunctionRows {
    fn len(&self) -> usize {
        self.sealed.dictionary.functions.len()
    }

    fn column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        let (functions, strings) = (&self.sealed.dictionary.functions, &self.sealed.dictionary.strings);
        let maybe = |ids: &[u32]| texts(ids.iter().map(|id| (*id != 0).then(|| strings.text(*id))));
        Ok(match name {
            "service_name" => repeated(&self.service_name, rows.len()),
            "name" => texts(functions.name[rows].iter().map(|id| Some(strings.text(*id)))),
            "system_name" => maybe(&functions.system_name[rows]),
            "filename" => maybe(&functions.filename[rows]),
            "start_line" => {
                let lines = functions.start_line[rows].iter().map(|line| Some(*line).filter(|line| *line != 0));
                Arc::new(lines.collect::<arrow::array::Int64Array>())
            }
            "segment" => repeated(&self.segment, rows.len()),
            other => return Err(unknown_column(other)),
        })
    }

    fn memory_bytes(&self) -> usize {
        dictionary_bytes(&self.sealed.dictionary)
    }
}

/// The columns of a stack.
pub(super) fn stack_column(names: &StackNames, name: &str, stacks: impl Iterator<Item = u32>) -> Result<ArrayRef> {
    Ok(match name {
        "leaf" => names.leaf_column(stacks)?,
        "root" => names.root_column(stacks)?,
        "depth" => counts(names.depths(stacks)),
        "stack_id" => texts(stacks.map(|stack| Some(hexadecimal(&names.id(stack).to_be_bytes())))),
        "stack" => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for stack in stacks {
                names.for_each_frame(stack, |frame| lists.values().append_value(frame));
                lists.append(true);
            }
            Arc::new(lists.finish())
        }
        other => return Err(unknown_column(other)),
    })
}

struct StackRows {
    segment: Arc<str>,
    service_name: String,
    names: StackNames,
    picked: Vec<u32>,
}

impl Rows for StackRows {
    fn len(&self) -> usize {
        self.picked.len()
    }

    fn column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        match name {
            "service_name" => Ok(repeated(&self.service_name, rows.len())),
            "segment" => Ok(repeated(&self.segment, rows.len())),
            name => stack_column(&self.names, name, self.picked[rows].iter().copied()),
        }
    }

    fn frames(&self, rows: Range<usize>) -> Result<Vec<u32>> {
        Ok(self.names.depths(self.picked[rows].iter().copied()).collect())
    }

    fn memory_bytes(&self) -> usize {
        dictionary_bytes(&self.names.sealed().dictionary) + self.names.memory_bytes()
    }
}
