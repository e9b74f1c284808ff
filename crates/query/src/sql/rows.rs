//! What is read of a unit, part by part, and the columns of what was read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, MapBuilder, StringBuilder};
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use flamestore_calltree::{LabelBytes, NO_TIME, NONE, Observation, SealedDictionary};
use flamestore_model::{Error, Result, TimeRange};
use flamestore_segment::{ProfileDetail, ProfileRow, ProfileSamples, ScanReport, SeriesRow};
use flamestore_store::HeadSelection;

use super::columns::{self, Shown, as_labels, counts, hexadecimal, maybe_times, numbers, texts, times, unknown_column};
use super::stack_names::{StackNames, StackTest};
use crate::export::{parts, rows_bytes};
use crate::plan::{dictionary_bytes, entry_of, service_of};
use crate::scope::Scope;
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
        let has_details = schema.fields().iter().any(|field| is_detail(field.name()));
        Self { shown, range, stacks, has_details }
    }

    /// The parts of `unit`.
    ///
    /// # Errors
    /// `Corrupt` when the segment is damaged.
    pub(super) async fn parts(&self, unit: &Unit, scope: &Scope, scan: &mut ScanReport) -> Result<Vec<Part>> {
        match self.shown {
            Shown::Series => Ok(vec![Part::Series(with_profiles(unit, &self.range, scan).await?.iter().collect())]),
            Shown::Stacks | Shown::Functions => self.dictionaries(unit),
            Shown::Profiles | Shown::Samples if !unit.has_samples() => {
                scope.sink().add_expired();
                Ok(Vec::new())
            }
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
    pub(super) async fn rows(&self, unit: &Unit, part: Part, scan: &mut ScanReport) -> Result<Read> {
        match part {
            Part::Series(ids) => {
                let rows: Vec<SeriesRow> = ids.iter().filter_map(|id| unit.table.get(*id)).cloned().collect();
                Ok(Read { rows: Some(Box::new(SeriesRows { segment: Arc::clone(&unit.id), rows })), ..Read::default() })
            }
            Part::Profiles(rows) => {
                let profiles = rows.len();
                let details = if self.has_details { unit.details(&rows, scan).await? } else { Vec::new() };
                let rows = ProfileRows { unit: unit.clone(), rows, details };
                Ok(Read { rows: Some(Box::new(rows)), profiles, ..Read::default() })
            }
            Part::Dictionary(id, profiles) => self.dictionary_rows(unit, id, profiles, scan).await,
            Part::Samples(id, profiles) => self.sample_rows(unit, id, profiles, scan).await,
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
        scan: &mut ScanReport,
    ) -> Result<Read> {
        let mut read = Read { profiles: profiles.len(), ..Read::default() };
        let (sealed, head) = match &unit.source {
            Source::Segment(stored) => (stored.reader.load_dictionary(id, scan).await?, None),
            Source::Head(view) => {
                let selection = head_selection(view, id, profiles.clone());
                let view = Arc::clone(view);
                let head = off_thread(move || view.samples(&selection)).await?;
                (Arc::new(head.sealed), Some((head.details, head.samples)))
            }
        };
        let names = StackNames::new(sealed);
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
        let unit = unit.clone();
        let rows = SampleRows::new(unit, names, profiles, details, samples, passing.as_deref())?;
        read.rows = Some(Box::new(rows));
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
    names: StackNames,
    profiles: Vec<ProfileRow>,
    details: Vec<ProfileDetail>,
    samples: Vec<ProfileSamples>,
    /// Those that pass: the profile and the row in it.
    rows: Vec<(u32, u32)>,
}

impl SampleRows {
    fn new(
        unit: Unit,
        names: StackNames,
        profiles: Vec<ProfileRow>,
        details: Vec<ProfileDetail>,
        samples: Vec<ProfileSamples>,
        passing: Option<&[bool]>,
    ) -> Result<Self> {
        let label_sets = names.sealed().dictionary.label_sets.len();
        let mut rows = Vec::new();
        for (profile, of) in (0..).zip(&samples) {
            if let Some(stack) = of.stacks.iter().find(|stack| **stack as usize >= names.len()) {
                return Err(Error::corrupt("a sample refers to a stack that does not exist").with("stack", stack));
            }
            if let Some(set) = of.label_sets.iter().find(|set| **set != NONE && **set as usize >= label_sets) {
                return Err(Error::corrupt("a sample refers to a label set that does not exist").with("label_set", set));
            }
            let passes = |(_, stack): &(u32, &u32)| passing.is_none_or(|passing| passing[**stack as usize]);
            rows.extend((0..).zip(&of.stacks).filter(passes).map(|(row, _)| (profile, row)));
        }
        Ok(Self { unit, names, profiles, details, samples, rows })
    }

    fn sample_labels(&self, rows: &[(u32, u32)]) -> Result<ArrayRef> {
        let dictionary = &self.names.sealed().dictionary;
        let names = label_field_names();
        let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        for (profile, row) in rows {
            let set = self.samples[*profile as usize].label_sets.get(*row as usize).copied().unwrap_or(NONE);
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
        let profiles = || of.iter().map(|(profile, _)| &self.profiles[*profile as usize]);
        let samples = || of.iter().map(|(profile, row)| (&self.samples[*profile as usize], *row as usize));
        let observed = || samples().map(|(samples, row)| samples.observed.get(row));
        let time = |time: i64| Some(time).filter(|time| *time != NO_TIME);
        Ok(match name {
            "time" => times(profiles().map(|row| row.time_unix_nano)),
            "time_unix_nano" => numbers(profiles().map(|row| row.time_unix_nano)),
            "value" => numbers(samples().map(|(samples, row)| samples.values[row])),
            "profile_id" => {
                let details = of.iter().map(|(profile, _)| self.details.get(*profile as usize));
                let details = details.collect::<Option<Vec<_>>>().ok_or_else(|| unknown_column(name))?;
                texts(details.into_iter().map(|detail| Some(hexadecimal(detail.meta.id.as_bytes()))))
            }
            "sample_labels" => self.sample_labels(of)?,
            "observed_time" => maybe_times(observed().map(|of| time(of.time))),
            "ended_time" => maybe_times(observed().map(|of| time(of.end_time))),
            "trace_id" => texts(observed().map(|of| (of.trace_id != [0; 16]).then(|| hexadecimal(&of.trace_id)))),
            "span_id" => texts(observed().map(|of| (of.span_id != [0; 8]).then(|| hexadecimal(&of.span_id)))),
            "segment" => repeated(&self.unit.id, of.len()),
            "stack" | "leaf" | "root" | "depth" | "stack_id" => {
                stack_column(&self.names, name, samples().map(|(samples, row)| samples.stacks[row]))?
            }
            name => {
                let series = profiles().map(|row| self.unit.series_of(row)).collect::<Result<Vec<_>>>()?;
                columns::of_series(name, series.into_iter())?.ok_or_else(|| unknown_column(name))?
            }
        })
    }

    fn frames(&self, row: usize) -> u32 {
        let (profile, row) = self.rows[row];
        self.names.depth(self.samples[profile as usize].stacks[row as usize])
    }

    fn memory_bytes(&self) -> usize {
        let observed: usize = self.samples.iter().map(|samples| samples.observed.memory_bytes()).sum();
        let names = dictionary_bytes(&self.names.sealed().dictionary) + self.names.memory_bytes();
        rows_bytes(&self.profiles) + self.rows.len() * 8 + observed + names
    }
}
