//! What is read of a unit, part by part, and the columns of what was read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, MapBuilder, StringBuilder, UInt32Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use flamestore_calltree::{LabelBytes, NO_TIME, NONE, Observation, SealedDictionary};
use flamestore_model::{Error, Result, TimeRange};
use flamestore_segment::{ProfileDetail, ProfileRow, ProfileSamples, ScanReport, SeriesRow};
use flamestore_store::HeadSelection;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::columns::{
    self, NUMBER_OF, Shown, as_labels, counts, hexadecimal, maybe_times, numbers, texts, times, unknown_column,
};
use super::names::Names;
use super::stack_names::{StackNames, StackTest};
use crate::export::{parts, rows_bytes};
use crate::plan::{dictionary_bytes, entry_of, service_of};
use crate::selection::{Source, Unit};
use crate::tables::batches::label_field_names;
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

    /// How many frames the stack of a row has, where rows have stacks.
    fn frames(&self, _row: usize) -> u32 {
        0
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

/// How units are read for one table.
pub(super) struct Reads {
    shown: Shown,
    range: TimeRange,
    stacks: Arc<[StackTest]>,
    /// Whether a column is asked for that only the details of profiles have.
    has_details: bool,
    /// Whether a column is asked for that only samples have.
    has_samples: bool,
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
    pub(super) fn new(shown: Shown, range: TimeRange, stacks: Arc<[StackTest]>, schema: &SchemaRef) -> Self {
        let is_detail = |name: &str| matches!(name, "profile_id" | "duration_nano" | "period");
        let names = || schema.fields().iter().map(|field| field.name().trim_start_matches(NUMBER_OF));
        let has_samples = !stacks.is_empty() || names().any(is_of_sample);
        let (has_details, has_stacks) = (names().any(is_detail), names().any(|name| name == "stack"));
        Self { shown, range, stacks, has_details, has_samples, has_stacks }
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
        let passing = names.passing(&self.stacks)?;
        let tested = if self.stacks.is_empty() { 0 } else { passing.len() };
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
        if let (Source::Segment(stored), false) = (&unit.source, self.has_samples) {
            let details =
                if self.has_details { stored.reader.profile_details(&profiles, scan).await? } else { Vec::new() };
            read.rows = Some(Box::new(SampleRows::of_profiles(unit.clone(), unit_names.clone(), profiles, details)));
            return Ok(read);
        }
        let (sealed, head) = match &unit.source {
            Source::Segment(stored) => (stored.reader.load_dictionary(id, scan).await?, None),
            Source::Head(view) => {
                let selection = head_selection(view, id, profiles.clone());
                let view = Arc::clone(view);
                let head = off_thread(move || view.samples(&selection)).await?;
                (Arc::new(head.sealed), Some((head.details, head.samples)))
            }
        };
        let names = unit_names.stacks(sealed);
        let passing = match self.stacks.is_empty() {
            true => None,
            false => {
                let passing = names.passing(&self.stacks)?;
                read.stacks_tested = passing.len();
                read.stacks_fitting = passing.iter().filter(|passes| **passes).count();
                if read.stacks_fitting == 0 {
                    return Ok(read);
                }
                Some(passing)
            }
        };
        let (details, samples) = match (&unit.source, head) {
            (_, Some(head)) => head,
            (Source::Segment(stored), None) => {
                let details =
                    if self.has_details { stored.reader.profile_details(&profiles, scan).await? } else { Vec::new() };
                let entry = entry_of(&stored.reader, id).await?;
                (details, stored.reader.samples(&entry, &profiles, scan).await?)
            }
            (Source::Head(_), None) => return Err(Error::internal("a head gave no samples")),
        };
        let of = SampleRows::of_profiles(unit.clone(), unit_names.clone(), profiles, details);
        read.rows = Some(Box::new(of.with_samples(names, samples, passing.as_deref())?));
        Ok(read)
    }
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
fn stack_column(names: &StackNames, name: &str, stacks: impl Iterator<Item = u32>) -> Result<ArrayRef> {
    Ok(match name {
        "leaf" => names.leaf_column(stacks)?,
        "root" => names.root_column(stacks)?,
        "depth" => counts(stacks.map(|stack| names.depth(stack))),
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

    fn frames(&self, row: usize) -> u32 {
        self.names.depth(self.picked[row])
    }

    fn memory_bytes(&self) -> usize {
        dictionary_bytes(&self.names.sealed().dictionary) + self.names.memory_bytes()
    }
}

struct SampleRows {
    unit: Unit,
    unit_names: UnitNames,
    profiles: Vec<ProfileRow>,
    details: Vec<ProfileDetail>,
    /// What the samples are, where a column asks for them.
    samples: Option<(Arc<StackNames>, Vec<ProfileSamples>)>,
    /// Those that pass: the profile and the row in it.
    rows: Vec<(u32, u32)>,
}

impl SampleRows {
    /// All samples of `profiles`, without what they are.
    fn of_profiles(unit: Unit, unit_names: UnitNames, profiles: Vec<ProfileRow>, details: Vec<ProfileDetail>) -> Self {
        let of = |(profile, row): (u32, &ProfileRow)| (0..row.row_count).map(move |row| (profile, row));
        let rows = (0..).zip(&profiles).flat_map(of).collect();
        Self { unit, unit_names, profiles, details, samples: None, rows }
    }

    /// Those whose stacks pass, with what they are.
    fn with_samples(
        mut self,
        names: Arc<StackNames>,
        samples: Vec<ProfileSamples>,
        passing: Option<&[bool]>,
    ) -> Result<Self> {
        let label_sets = names.sealed().dictionary.label_sets.len();
        self.rows.clear();
        for (profile, of) in (0..).zip(&samples) {
            if let Some(stack) = of.stacks.iter().find(|stack| **stack as usize >= names.len()) {
                return Err(Error::corrupt("a sample refers to a stack that does not exist").with("stack", stack));
            }
            if let Some(set) = of.label_sets.iter().find(|set| **set != NONE && **set as usize >= label_sets) {
                return Err(Error::corrupt("a sample refers to a label set that does not exist").with("label_set", set));
            }
            let passes = |(_, stack): &(u32, &u32)| passing.is_none_or(|passing| passing[**stack as usize]);
            self.rows.extend((0..).zip(&of.stacks).filter(passes).map(|(row, _)| (profile, row)));
        }
        self.samples = Some((names, samples));
        Ok(self)
    }

    fn samples(&self) -> Result<(&Arc<StackNames>, &[ProfileSamples])> {
        let samples = self.samples.as_ref().map(|(names, samples)| (names, samples.as_slice()));
        samples.ok_or_else(|| Error::internal("samples were not read"))
    }

    fn sample_column(&self, name: &str, of: &[(u32, u32)]) -> Result<ArrayRef> {
        let (names, samples) = self.samples()?;
        let samples = || of.iter().map(|(profile, row)| (&samples[*profile as usize], *row as usize));
        let observed = || samples().map(|(samples, row)| samples.observed.get(row));
        let time = |time: Option<&i64>| time.copied().filter(|time| *time != NO_TIME);
        Ok(match name {
            "value" => numbers(samples().map(|(samples, row)| samples.values[row])),
            "sample_labels" => self.sample_labels(of)?,
            "observed_time" => maybe_times(samples().map(|(of, row)| time(of.observed.times.get(row)))),
            "ended_time" => maybe_times(samples().map(|(of, row)| time(of.observed.end_times.get(row)))),
            "trace_id" => texts(observed().map(|of| (of.trace_id != [0; 16]).then(|| hexadecimal(&of.trace_id)))),
            "span_id" => texts(observed().map(|of| (of.span_id != [0; 8]).then(|| hexadecimal(&of.span_id)))),
            name => stack_column(names, name, samples().map(|(samples, row)| samples.stacks[row]))?,
        })
    }

    /// The numbers of names.
    fn number_column(&self, name: &str, of: &[(u32, u32)]) -> Result<ArrayRef> {
        if !is_of_sample(name) {
            let profiles = of.iter().map(|(profile, _)| &self.profiles[*profile as usize]);
            let numbers = self.unit_names.of_profiles(&self.unit, name, profiles)?;
            return Ok(Arc::new(numbers.into_iter().collect::<UInt32Array>()));
        }
        let (names, samples) = self.samples()?;
        let known = &self.unit_names.names;
        let stacks = of.iter().map(|(profile, row)| samples[*profile as usize].stacks[*row as usize]);
        let sets = of
            .iter()
            .map(|(profile, row)| samples[*profile as usize].label_sets.get(*row as usize).copied().unwrap_or(NONE));
        match name {
            "stack" => names.stack_numbers(known, stacks),
            "leaf" => names.leaf_numbers(known, stacks),
            "root" => names.root_numbers(known, stacks),
            "sample_labels" => names.label_numbers(known, sets),
            other => Err(unknown_column(other)),
        }
    }

    fn sample_labels(&self, rows: &[(u32, u32)]) -> Result<ArrayRef> {
        let (names, samples) = self.samples()?;
        let dictionary = &names.sealed().dictionary;
        let mut maps = MapBuilder::new(Some(label_field_names()), StringBuilder::new(), StringBuilder::new());
        for (profile, row) in rows {
            let set = samples[*profile as usize].label_sets.get(*row as usize).copied().unwrap_or(NONE);
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
        self.rows.len()
    }

    fn column(&self, name: &str, rows: Range<usize>) -> Result<ArrayRef> {
        let of = &self.rows[rows];
        if let Some(name) = name.strip_prefix(NUMBER_OF) {
            return self.number_column(name, of);
        }
        if is_of_sample(name) {
            return self.sample_column(name, of);
        }
        let profiles = || of.iter().map(|(profile, _)| &self.profiles[*profile as usize]);
        let metas = || {
            let details = of.iter().map(|(profile, _)| self.details.get(*profile as usize).map(|detail| &detail.meta));
            details.collect::<Option<Vec<_>>>().ok_or_else(|| unknown_column(name))
        };
        Ok(match name {
            "time" => times(profiles().map(|row| row.time_unix_nano)),
            "time_unix_nano" => numbers(profiles().map(|row| row.time_unix_nano)),
            "profile_id" => texts(metas()?.into_iter().map(|meta| Some(hexadecimal(meta.id.as_bytes())))),
            "duration_nano" => numbers(metas()?.into_iter().map(|meta| meta.duration_nano)),
            "period" => numbers(metas()?.into_iter().map(|meta| meta.period)),
            "segment" => repeated(&self.unit.id, of.len()),
            name => {
                let series = profiles().map(|row| self.unit.series_of(row)).collect::<Result<Vec<_>>>()?;
                columns::of_series(name, series.into_iter())?.ok_or_else(|| unknown_column(name))?
            }
        })
    }

    fn frames(&self, row: usize) -> u32 {
        let (profile, row) = self.rows[row];
        let depth = |(names, samples): &(Arc<StackNames>, Vec<ProfileSamples>)| {
            names.depth(samples[profile as usize].stacks[row as usize])
        };
        self.samples.as_ref().map_or(0, depth)
    }

    fn memory_bytes(&self) -> usize {
        let of_samples = self.samples.as_ref().map_or(0, |(names, samples)| {
            let observed: usize = samples.iter().map(|samples| samples.observed.memory_bytes()).sum();
            observed + dictionary_bytes(&names.sealed().dictionary) + names.memory_bytes()
        });
        rows_bytes(&self.profiles) + self.rows.len() * 8 + of_samples
    }
}

/// Whether the column `name` of `samples` is of the samples themselves, and not of their profile or series.
fn is_of_sample(name: &str) -> bool {
    matches!(
        name,
        "value"
            | "stack"
            | "leaf"
            | "root"
            | "depth"
            | "stack_id"
            | "sample_labels"
            | "observed_time"
            | "ended_time"
            | "trace_id"
            | "span_id"
    )
}

/// The numbers of what a unit has names for, found once for a series, a stack or a set of labels.
#[derive(Clone)]
pub(super) struct UnitNames {
    names: Arc<Names>,
    found: Arc<Mutex<Found>>,
}

#[derive(Default)]
struct Found {
    /// The stacks of the dictionary that was read last.
    stacks: Option<Arc<StackNames>>,
    /// By column, then by series.
    series: HashMap<String, HashMap<u32, u32>>,
}

impl UnitNames {
    /// Nothing found yet.
    pub(super) fn new(names: Arc<Names>) -> Self {
        Self { names, found: Arc::default() }
    }

    /// The stacks of `sealed` by name.
    fn stacks(&self, sealed: Arc<SealedDictionary>) -> Arc<StackNames> {
        let mut found = self.found.lock();
        match &found.stacks {
            Some(stacks) if stacks.is_of(&sealed) => Arc::clone(stacks),
            _ => Arc::clone(found.stacks.insert(Arc::new(StackNames::new(sealed)))),
        }
    }

    /// The numbers of what the column `name` says of the series of `profiles`.
    ///
    /// # Errors
    /// `Internal` when there is no such column; `Corrupt` when a series does not exist; `Exhausted` when there are too many
    /// names.
    fn of_profiles<'a>(
        &self,
        unit: &Unit,
        name: &str,
        profiles: impl Iterator<Item = &'a ProfileRow>,
    ) -> Result<Vec<u32>> {
        let mut found = self.found.lock();
        let numbers = found.series.entry_ref(name).or_default();
        let mut last = None;
        let number = |profile: &ProfileRow| match last {
            Some((series, number)) if series == profile.series_id => Ok(number),
            _ => {
                let number = match numbers.get(&profile.series_id) {
                    Some(number) => *number,
                    None => {
                        let number = self.number(unit, name, profile)?;
                        numbers.insert(profile.series_id, number);
                        number
                    }
                };
                last = Some((profile.series_id, number));
                Ok(number)
            }
        };
        profiles.map(number).collect()
    }

    fn number(&self, unit: &Unit, name: &str, profile: &ProfileRow) -> Result<u32> {
        let series = unit.series_of(profile)?;
        self.names.add(|known| match name {
            "segment" => known.add_text(&unit.id),
            name => columns::number_of_series(name, series, known)?.ok_or_else(|| unknown_column(name)),
        })
    }
}
