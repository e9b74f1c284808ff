//! Builds the tables of a segment: numbers, sorts, lays out.
//!
//! Services are sorted by name and numbered, and their ids become segment-global by adding the first id of the service.
//! Stacks are renumbered by falling row count, so that frequent ids are small and near. Series are sorted by
//! (profile type, service, labels), profiles of a series by time, rows of a profile by (stack, label set, observation).

mod days;
mod dictionary;
mod postings;
mod rollups;
mod samples;
mod series;

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use flamestore_model::{Error, NONE, Result};

pub(crate) use days::{DayInput, SeriesDays, ServiceDays, build_days};

use crate::input::{DictionaryInput, SeriesInput};
use crate::rows::{DictionaryEntry, Span};
use crate::schema::{FORMAT_VERSION, Table};
use crate::seal::{SampleWriter, SealedSegment, TRIAL_ROWS, seal_rest};
use crate::{SegmentInput, SegmentMeta, SegmentOptions, SegmentTables};

/// Numbers, sorts and lays out `input` as tables.
///
/// # Errors
/// `Exhausted` when ids do not fit 32 bits, `Internal` when `input` contradicts itself.
pub fn build_tables(input: SegmentInput, options: &SegmentOptions) -> Result<SegmentTables> {
    let mut samples = Vec::new();
    let mut tables = Planned::new(input)?.lay_out(options, &mut |batch| {
        samples.push(batch);
        Ok(())
    })?;
    tables.set(Table::Samples, samples);
    Ok(tables)
}

/// Builds and encodes `input` in one go: the rows of `samples`, most of a segment, are encoded as they are laid out, so
/// that beside `input` itself only their encoded form is in memory.
///
/// # Errors
/// As [`build_tables`] and [`seal`](crate::seal()).
pub fn build_sealed(input: SegmentInput, options: &SegmentOptions) -> Result<SealedSegment> {
    let planned = Planned::new(input)?;
    let values = samples::some_values(&planned.series, TRIAL_ROWS);
    let mut writer = SampleWriter::new(samples::present(&planned.series).schema(), values, options)?;
    let tables = planned.lay_out(options, &mut |batch| writer.write(&batch))?;
    seal_rest(tables, Some(writer.finish()?), options)
}

/// The input of a segment, numbered and sorted.
struct Planned {
    dictionaries: Vec<Numbered>,
    series: Vec<PlannedSeries>,
}

impl Planned {
    fn new(mut input: SegmentInput) -> Result<Self> {
        input.dictionaries.sort_by(|a, b| a.service_name.cmp(&b.service_name));
        check_input(&input)?;
        let mut series = Vec::new();
        let mut dictionaries = Vec::new();
        for (id, dictionary) in input.dictionaries.into_iter().enumerate() {
            let numbered = Numbered::new(id32(id)?, dictionaries.last(), &dictionary, rank_stacks(&dictionary))?;
            let entry = numbered.entry.dictionary_id;
            series.extend(dictionary.series.into_iter().map(|series| PlannedSeries::new(entry, &numbered, series)));
            dictionaries.push(Numbered { sealed: Some(dictionary.sealed), ..numbered });
        }
        series.sort_by(|a, b| a.key().cmp(&b.key()));
        match series.windows(2).find(|pair| pair[0].key() == pair[1].key()) {
            None => Ok(Self { dictionaries, series }),
            Some(pair) => Err(Error::internal("a series stands twice").with("service", &pair[0].service_name)),
        }
    }

    /// All tables but `samples`, whose rows go to `sink`.
    fn lay_out(self, options: &SegmentOptions, sink: &mut samples::Sink<'_>) -> Result<SegmentTables> {
        let Self { mut dictionaries, mut series } = self;
        let mut tables = SegmentTables::new(SegmentMeta::default());
        let observed_bytes = series.iter().flat_map(|series| &series.input.profiles).map(observed_bytes).sum();
        let (laid, sample_rows) = samples::build(&dictionaries, &mut series, options, &mut tables, sink)?;
        tables.set(Table::Series, series::build(&series, &laid)?);
        tables.set(Table::Postings, postings::build(&series)?);
        dictionary::build(&mut dictionaries, options, &mut tables)?;
        tables.meta = SegmentMeta { sample_rows, observed_bytes, ..meta(&tables, &dictionaries, &series, &laid) };
        Ok(tables)
    }
}

/// A dictionary with its place in the segment.
pub(crate) struct Numbered {
    entry: DictionaryEntry,
    /// Stack id as given → id by falling row count.
    stack_ranks: Vec<u32>,
    /// The inverse.
    stack_order: Vec<u32>,
    sealed: Option<flamestore_calltree::SealedDictionary>,
}

/// A series with what it is sorted by.
pub(crate) struct PlannedSeries {
    dictionary_id: u32,
    type_id: String,
    service_name: String,
    input: SeriesInput,
}

impl PlannedSeries {
    fn new(dictionary_id: u32, numbered: &Numbered, mut input: SeriesInput) -> Self {
        for name in flamestore_model::names::DERIVED {
            input.labels = std::mem::take(&mut input.labels).with(name, "");
        }
        let service_name = numbered.entry.service_name.clone();
        Self { dictionary_id, type_id: input.profile_type.to_string(), service_name, input }
    }

    fn key(&self) -> (&str, &str, &flamestore_model::Labels) {
        (&self.type_id, &self.service_name, &self.input.labels)
    }
}

impl Numbered {
    fn new(
        dictionary_id: u32,
        before: Option<&Self>,
        input: &DictionaryInput,
        (stack_ranks, stack_order): (Vec<u32>, Vec<u32>),
    ) -> Result<Self> {
        let (dictionary, tree) = (&input.sealed.dictionary, &input.sealed.tree);
        let before = before.map(|numbered| &numbered.entry);
        let after = |span: fn(&DictionaryEntry) -> Span, count: usize| {
            let first = before.map(span).map_or(Some(0), |span| span.first.checked_add(span.count));
            let count = u32::try_from(count).ok();
            // The highest id must stay below `NONE`.
            match (first, count) {
                (Some(first), Some(count)) if first.checked_add(count).is_some_and(|end| end < NONE) => {
                    Ok(Span { first, count })
                }
                _ => Err(too_many()),
            }
        };
        let entry = DictionaryEntry {
            dictionary_id,
            service_name: input.service_name.clone(),
            strings: after(|e| e.strings, dictionary.strings.len())?,
            mappings: after(|e| e.mappings, dictionary.mappings.len())?,
            functions: after(|e| e.functions, dictionary.functions.len())?,
            locations: after(|e| e.locations, dictionary.locations.len())?,
            location_rows: after(|e| e.location_rows, dictionary::location_rows(dictionary))?,
            label_sets: after(|e| e.label_sets, dictionary.label_sets.len())?,
            label_set_rows: after(|e| e.label_set_rows, dictionary::label_set_rows(dictionary))?,
            call_sites: after(|e| e.call_sites, tree.len())?,
            stacks: after(|e| e.stacks, input.sealed.leaves.len())?,
        };
        Ok(Self { entry, stack_ranks, stack_order, sealed: None })
    }
}

/// Stack ids by falling row count, ties as they are: old → new, new → old.
fn rank_stacks(input: &DictionaryInput) -> (Vec<u32>, Vec<u32>) {
    let profiles = input.series.iter().flat_map(|series| &series.profiles);
    rank(input.sealed.leaves.len(), profiles.flat_map(|profile| &profile.stacks))
}

fn rank<'a>(stacks: usize, used: impl Iterator<Item = &'a u32>) -> (Vec<u32>, Vec<u32>) {
    let mut rows = vec![0_u64; stacks];
    for stack in used {
        rows[*stack as usize] += 1;
    }
    let mut order: Vec<u32> = (0..).take(rows.len()).collect();
    order.sort_by_key(|&stack| std::cmp::Reverse(rows[stack as usize]));
    let mut ranks = vec![0; order.len()];
    for (rank, &stack) in (0..).zip(&order) {
        ranks[stack as usize] = rank;
    }
    (ranks, order)
}

fn check_input(input: &SegmentInput) -> Result<()> {
    if let Some(pair) = input.dictionaries.windows(2).find(|pair| pair[0].service_name == pair[1].service_name) {
        return Err(Error::internal("a service has two dictionaries").with("service", &pair[0].service_name));
    }
    for dictionary in &input.dictionaries {
        check_dictionary(dictionary).map_err(|wrong| wrong.with("service", &dictionary.service_name))?;
    }
    Ok(())
}

fn check_dictionary(input: &DictionaryInput) -> Result<()> {
    let sealed = &input.sealed;
    let refers = |id: u32, rows: usize| id == NONE || (id as usize) < rows;
    if sealed.leaves.iter().any(|leaf| *leaf as usize >= sealed.tree.len()) {
        return Err(Error::internal("a stack has no call site"));
    }
    for profile in input.series.iter().flat_map(|series| &series.profiles) {
        let rows = profile.stacks.len();
        let fits = profile.values.len() == rows
            && (profile.label_sets.is_empty() || profile.label_sets.len() == rows)
            && profile.observed.fits(rows);
        let known = profile.stacks.iter().all(|stack| (*stack as usize) < sealed.leaves.len())
            && profile.label_sets.iter().all(|set| refers(*set, sealed.dictionary.label_sets.len()))
            && refers(profile.meta.main_mapping, sealed.dictionary.mappings.len())
            && profile.meta.value_index < profile.meta.value_count;
        if !fits || !known {
            return Err(Error::internal("a profile contradicts its dictionary").with("profile", profile.meta.id));
        }
    }
    Ok(())
}

fn meta(
    tables: &SegmentTables,
    dictionaries: &[Numbered],
    series: &[PlannedSeries],
    laid: &[samples::LaidSeries],
) -> SegmentMeta {
    let rows = |table| tables.rows(table) as u64;
    let with_profiles = || laid.iter().filter(|series| series.profiles.count > 0);
    SegmentMeta {
        format_version: FORMAT_VERSION,
        time_min: with_profiles().map(|series| series.time_min).min().unwrap_or(0),
        time_max: with_profiles().map(|series| series.time_max).max().unwrap_or(0),
        profile_types: series.iter().map(|s| s.type_id.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
        services: dictionaries.iter().map(|d| d.entry.service_name.clone()).collect(),
        sample_rows: 0,
        profile_rows: rows(Table::Profiles),
        series: rows(Table::Series),
        stacks: rows(Table::Stacks),
        observed_bytes: 0,
    }
}

fn observed_bytes(profile: &crate::ProfileInput) -> u64 {
    profile.observed.memory_bytes() as u64
}

fn id32(id: usize) -> Result<u32> {
    u32::try_from(id).map_err(|_| too_many())
}

fn too_many() -> Error {
    Error::exhausted("a segment has more rows of a table than 32-bit ids can name; seal smaller segments")
}

fn batch(table: Table, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    batch_of(table, table.schema(), columns)
}

fn batch_of(table: Table, schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema, columns)
        .map_err(|wrong| Error::internal("columns do not fit their table").with("table", table).because(wrong))
}

fn slices(batch: &RecordBatch, options: &SegmentOptions) -> Vec<RecordBatch> {
    let (rows, step) = (batch.num_rows(), options.batch_rows.max(1));
    (0..rows).step_by(step).map(|start| batch.slice(start, step.min(rows - start))).collect()
}
