//! A head as queries see it: what was pushed up to one moment, with the rows and ids of a segment's reader.
//!
//! Taking a view counts the pushes of each service; the rows are listed when first asked for. Profiles are numbered along
//! the series, each series by time, as in a segment. Sums wrap at 64 bits, as everywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use flamestore_calltree::{NONE, SealSelection, Sealed, SealedDictionary, ValueTree};
use flamestore_model::{Labels, ProfileId, ProfileType, Result, Selector, TimeRange};
use flamestore_segment::{
    DictionaryInput, ProfileDetail, ProfileInput, ProfileMeta, ProfileRow, ProfileSamples, SegmentInput,
    SegmentOptions, SegmentTables, SeriesInput, SeriesRow, SeriesTable, Span, build_tables,
};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::Day;
use crate::head::{HeadProfile, SeriesAt, ServiceHead, Watermark};

/// A head at one moment: pushes after it do not show. Rows and ids are as those of a segment's reader.
pub struct HeadView {
    services: Vec<(Arc<ServiceHead>, Watermark)>,
    listing: OnceLock<Listing>,
    tables: Mutex<Option<Arc<SegmentTables>>>,
}

/// The selected profiles of one service: the unit of merging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadSelection {
    /// The service's number in this view: `SeriesRow::dictionary_id`.
    pub dictionary_id: u32,
    /// The service.
    pub service_name: String,
    /// The profiles.
    pub profiles: Vec<ProfileRow>,
}

/// Whole profiles of one service, with the dictionary their ids refer to.
#[derive(Clone, Debug)]
pub struct HeadSamples {
    /// The symbols, tree and stacks of these profiles only.
    pub sealed: SealedDictionary,
    /// What each profile says of itself, in the order asked for.
    pub details: Vec<ProfileDetail>,
    /// The samples of each profile, in the order asked for.
    pub samples: Vec<ProfileSamples>,
}

struct Listing {
    series: Arc<SeriesTable>,
    profiles: Vec<Arc<HeadProfile>>,
    rows: Vec<ProfileRow>,
}

impl fmt::Debug for HeadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadView").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

impl HeadView {
    pub(crate) fn new(services: Vec<(Arc<ServiceHead>, Watermark)>) -> Self {
        Self { services, listing: OnceLock::new(), tables: Mutex::new(None) }
    }

    /// The series; those of one service are neighbours. Their `profiles` spans are rows of this view.
    pub fn series(&self) -> Arc<SeriesTable> {
        Arc::clone(&self.listing().series)
    }

    /// The ids of the series `selector` fits.
    pub fn select_series(&self, selector: &Selector) -> RoaringBitmap {
        let fits = |row: &&SeriesRow| {
            let labels = row.all_labels();
            selector.matches(|name| labels.get(name).unwrap_or_default())
        };
        self.listing().series.rows.iter().filter(fits).map(|row| row.series_id).collect()
    }

    /// Label names with their values and how many of `series` (all if `None`) have each, derived labels included; sorted.
    pub fn labels(&self, series: Option<&RoaringBitmap>) -> Vec<(String, String, u64)> {
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        let chosen = |row: &&SeriesRow| series.is_none_or(|series| series.contains(row.series_id));
        for row in self.listing().series.rows.iter().filter(chosen) {
            for (name, value) in row.all_labels().iter() {
                *counts.entry((name.to_owned(), value.to_owned())).or_default() += 1;
            }
        }
        counts.into_iter().map(|((name, value), count)| (name, value, count)).collect()
    }

    /// The profiles of `series` taken within `range`, by row.
    pub fn profiles(&self, series: &RoaringBitmap, range: &TimeRange) -> Vec<ProfileRow> {
        let Listing { series: table, rows, .. } = self.listing();
        let of =
            |row: &SeriesRow| row.profiles.first as usize..row.profiles.first as usize + row.profiles.count as usize;
        let chosen = series.iter().filter_map(|id| table.get(id));
        chosen.flat_map(|row| &rows[of(row)]).filter(|row| range.contains(row.time_unix_nano)).copied().collect()
    }

    /// The rows of the source profile `id`: one per sample type; empty if it is not here.
    pub fn find_profile(&self, id: ProfileId) -> Vec<ProfileRow> {
        let Listing { profiles, rows, .. } = self.listing();
        profiles.iter().zip(rows).filter(|(profile, _)| profile.meta.id == id).map(|(_, row)| *row).collect()
    }

    /// What the profiles say of themselves, in the order given. The main mapping is left out: its id means something
    /// only beside [`Self::samples`].
    ///
    /// # Panics
    /// When a row is not of this view.
    pub fn profile_details(&self, profiles: &[ProfileRow]) -> Vec<ProfileDetail> {
        let listing = self.listing();
        let detail = |row: &ProfileRow| {
            let meta = listing.profiles[row.profile as usize].meta.clone();
            ProfileDetail { row: *row, meta: ProfileMeta { main_mapping: NONE, ..meta } }
        };
        profiles.iter().map(detail).collect()
    }

    /// The profiles that `selector` and `range` ask for, by service.
    pub fn select(&self, selector: &Selector, range: &TimeRange) -> Vec<HeadSelection> {
        let series = &self.listing().series;
        let mut selections: Vec<HeadSelection> = Vec::new();
        for row in self.profiles(&self.select_series(selector), range) {
            let Some(of) = series.get(row.series_id) else { continue };
            match selections.last_mut() {
                Some(last) if last.dictionary_id == of.dictionary_id => last.profiles.push(row),
                _ => selections.push(HeadSelection {
                    dictionary_id: of.dictionary_id,
                    service_name: of.service_name.clone(),
                    profiles: vec![row],
                }),
            }
        }
        selections
    }

    /// The merge of the profiles of one service: one column of self values, without nodes of no value. Takes as long as
    /// sealing the stacks they touch: not for a thread that must not wait.
    ///
    /// # Panics
    /// When the selection is not of this view.
    pub fn merge_dictionary(&self, selection: &HeadSelection) -> ValueTree {
        let profiles: Vec<&HeadProfile> = self.chosen(&selection.profiles);
        let stacks_end = profiles.iter().flat_map(|profile| profile.stacks.iter()).max().map_or(0, |max| max + 1);
        let mut sums = vec![0i64; stacks_end as usize];
        for profile in profiles {
            for (stack, value) in profile.stacks.iter().zip(&profile.values) {
                let sum = &mut sums[*stack as usize];
                *sum = sum.wrapping_add(*value);
            }
        }
        let touched: Vec<u32> = (0..stacks_end).filter(|stack| sums[*stack as usize] != 0).collect();
        let column: Vec<i64> = touched.iter().map(|stack| sums[*stack as usize]).collect();
        let select = SealSelection { stacks: Some(&touched), keep_mappings: Some(&[]), keep_label_sets: Some(&[]) };
        let sealed = self.service(selection.dictionary_id).interner.read().seal(&select).sealed;
        ValueTree::from_stacks(sealed.dictionary, &sealed.tree, &sealed.leaves, &[&column])
    }

    /// Whole profiles of one service, as export needs them.
    ///
    /// # Panics
    /// When the selection is not of this view.
    pub fn samples(&self, selection: &HeadSelection) -> HeadSamples {
        let profiles = self.chosen(&selection.profiles);
        let part = seal_part(self.service(selection.dictionary_id), &profiles);
        let inputs = profiles.iter().map(|profile| part.input(profile));
        let (details, samples) = inputs
            .zip(&selection.profiles)
            .map(|(ProfileInput { meta, stacks, values, label_sets, observed }, row)| {
                (ProfileDetail { row: *row, meta }, ProfileSamples { stacks, values, label_sets, observed })
            })
            .unzip();
        HeadSamples { sealed: part.sealed, details, samples }
    }

    /// The symbols, call tree and stacks of some profiles of one service. Takes as long as sealing them.
    ///
    /// # Panics
    /// When the selection is not of this view.
    pub fn dictionary(&self, selection: &HeadSelection) -> SealedDictionary {
        seal_part(self.service(selection.dictionary_id), &self.chosen(&selection.profiles)).sealed
    }

    /// All of it as the tables of a segment; built when first asked for. Not for a thread that must not wait.
    ///
    /// # Errors
    /// `Internal` when the tables cannot be built.
    pub fn tables(&self) -> Result<Arc<SegmentTables>> {
        let mut tables = self.tables.lock();
        if let Some(tables) = &*tables {
            return Ok(Arc::clone(tables));
        }
        let built = Arc::new(build_tables(self.segment_input(None), &SegmentOptions::default())?);
        *tables = Some(Arc::clone(&built));
        Ok(built)
    }

    /// The days of its profiles, sorted.
    pub(crate) fn days(&self) -> Vec<Day> {
        let mut days: Vec<Day> = self.listing().rows.iter().map(|row| Day::of(row.time_unix_nano)).collect();
        days.sort();
        days.dedup();
        days
    }

    /// The profiles of `day` (all if `None`) as a segment is built from them.
    pub(crate) fn segment_input(&self, day: Option<Day>) -> SegmentInput {
        let Listing { series, profiles, .. } = self.listing();
        let mut dictionaries = Vec::new();
        for (number, (service, _)) in self.services.iter().enumerate() {
            let rows = series.rows.iter().filter(|row| row.dictionary_id as usize == number);
            let chosen: Vec<(&SeriesRow, Vec<&HeadProfile>)> = rows
                .map(|row| {
                    let all = profiles[row.profiles.first as usize..].iter().take(row.profiles.count as usize);
                    let of_day = all.filter(|p| day.is_none_or(|day| Day::of(p.meta.time_unix_nano) == day));
                    (row, of_day.map(AsRef::as_ref).collect::<Vec<_>>())
                })
                .filter(|(_, profiles)| !profiles.is_empty())
                .collect();
            if !chosen.is_empty() {
                dictionaries.push(dictionary_input(service, chosen));
            }
        }
        SegmentInput { dictionaries }
    }

    fn chosen(&self, rows: &[ProfileRow]) -> Vec<&HeadProfile> {
        let profiles = &self.listing().profiles;
        rows.iter().map(|row| profiles[row.profile as usize].as_ref()).collect()
    }

    fn service(&self, dictionary_id: u32) -> &ServiceHead {
        &self.services[dictionary_id as usize].0
    }

    fn listing(&self) -> &Listing {
        self.listing.get_or_init(|| {
            let mut listing = Listing { series: Arc::default(), profiles: Vec::new(), rows: Vec::new() };
            let mut series = Vec::new();
            for (dictionary_id, (service, watermark)) in (0u32..).zip(&self.services) {
                for one in service.series_at(*watermark) {
                    series.push(listing.add(count(series.len()), dictionary_id, &service.name, one));
                }
            }
            listing.series = Arc::new(SeriesTable { rows: series });
            listing
        })
    }
}

impl Listing {
    fn add(&mut self, series_id: u32, dictionary_id: u32, service_name: &str, series: SeriesAt) -> SeriesRow {
        let SeriesAt { labels, profile_type, profiles } = series;
        let first = count(self.profiles.len());
        self.rows.extend((first..).zip(&profiles).map(|(number, profile)| profile.row(number, series_id)));
        let row = SeriesRow {
            series_id,
            dictionary_id,
            service_name: service_name.to_owned(),
            profile_type: ProfileType::clone(&profile_type),
            temporality: profile_type.temporality(profiles.first().map_or(0, |profile| profile.meta.duration_nano)),
            labels: Labels::clone(&labels),
            time_min: profiles.first().map_or(0, |profile| profile.meta.time_unix_nano),
            time_max: profiles.last().map_or(0, |profile| profile.meta.time_unix_nano),
            profiles: Span { first, count: count(profiles.len()) },
        };
        self.profiles.extend(profiles);
        row
    }
}

impl HeadProfile {
    fn row(&self, number: u32, series_id: u32) -> ProfileRow {
        ProfileRow {
            profile: number,
            series_id,
            time_unix_nano: self.meta.time_unix_nano,
            unit: 1,
            total: self.values.iter().fold(0, |sum, value| sum.wrapping_add(*value)),
            row_start: 0,
            row_count: count(self.values.len()),
            stack_base: 0,
        }
    }
}

/// A number of rows of a head, which its bound in bytes keeps far below 2³².
fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

/// The dictionary of some profiles of a service, and the way of their ids into it.
struct SealedPart {
    sealed: SealedDictionary,
    stack_remap: Vec<u32>,
    mapping_remap: Vec<u32>,
    label_set_remap: Vec<u32>,
}

impl SealedPart {
    fn input(&self, profile: &HeadProfile) -> ProfileInput {
        let mapped = |remap: &[u32], id: u32| if id == NONE { NONE } else { remap[id as usize] };
        let main_mapping = mapped(&self.mapping_remap, profile.meta.main_mapping);
        ProfileInput {
            meta: ProfileMeta { main_mapping, ..profile.meta.clone() },
            stacks: profile.stacks.iter().map(|id| mapped(&self.stack_remap, *id)).collect(),
            values: profile.values.clone(),
            label_sets: profile.label_sets.iter().map(|id| mapped(&self.label_set_remap, *id)).collect(),
            observed: profile.observed.as_deref().cloned().unwrap_or_default(),
        }
    }
}

/// Seals exactly what `profiles` use.
fn seal_part(service: &ServiceHead, profiles: &[&HeadProfile]) -> SealedPart {
    let stacks = distinct(profiles.iter().flat_map(|profile| profile.stacks.iter().copied()));
    let mappings = distinct(profiles.iter().map(|profile| profile.meta.main_mapping));
    let label_sets = distinct(profiles.iter().flat_map(|profile| profile.label_sets.iter().copied()));
    let select =
        SealSelection { stacks: Some(&stacks), keep_mappings: Some(&mappings), keep_label_sets: Some(&label_sets) };
    let Sealed { sealed, mapping_remap, label_set_remap } = service.interner.read().seal(&select);
    let mut stack_remap = vec![NONE; stacks.last().map_or(0, |last| *last as usize + 1)];
    for (new, old) in (0u32..).zip(&stacks) {
        stack_remap[*old as usize] = new;
    }
    SealedPart { sealed, stack_remap, mapping_remap, label_set_remap }
}

/// The ids that occur, sorted, each once, [`NONE`] left out.
fn distinct(ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut seen: Vec<bool> = Vec::new();
    for id in ids.filter(|id| *id != NONE) {
        if seen.len() <= id as usize {
            seen.resize(id as usize + 1, false);
        }
        seen[id as usize] = true;
    }
    (0u32..).zip(seen).filter(|(_, seen)| *seen).map(|(id, _)| id).collect()
}

fn dictionary_input(service: &ServiceHead, series: Vec<(&SeriesRow, Vec<&HeadProfile>)>) -> DictionaryInput {
    let all: Vec<&HeadProfile> = series.iter().flat_map(|(_, profiles)| profiles.iter().copied()).collect();
    let part = seal_part(service, &all);
    let input = |(row, profiles): (&SeriesRow, Vec<&HeadProfile>)| SeriesInput {
        labels: row.labels.clone(),
        profile_type: row.profile_type.clone(),
        profiles: profiles.into_iter().map(|profile| part.input(profile)).collect(),
    };
    let series = series.into_iter().map(input).collect();
    DictionaryInput { service_name: service.name.clone(), series, sealed: part.sealed }
}
