//! One service of a merge: its merged dictionary, and its series that are yet to be read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flamestore_calltree::{MergedSealed, NONE, SealedDictionary, SealedRemap, merge_sealed};
use flamestore_model::Labels;
use roaring::RoaringBitmap;

use super::piece::{PROFILE_BYTES, Piece, SAMPLE_BYTES, ServicePiece};
use super::rules::{DroppedTimes, Rules};
use super::series::{InputSeries, SeriesName};
use super::{Input, MergeError, MergeLimits, MergeResult, ServiceParts};
use crate::{ProfileDetail, ProfileInput, ProfileRow, ProfileSamples, ScanReport, SeriesInput};

/// Profiles of the series that are listed at one time; one series can pass it.
const LISTED_PROFILES_MAX: u64 = 8192;

/// A service that is being merged.
#[derive(Debug)]
pub(super) struct OpenService {
    name: String,
    sealed: SealedDictionary,
    parts: Vec<Part>,
    series: VecDeque<MergedSeries>,
    listed: VecDeque<Listed>,
    /// The number of the next series to be listed.
    next_series: usize,
    /// Rows of `profiles` left out since this was last asked.
    pub(super) dropped: u64,
}

/// The service in one input.
#[derive(Debug)]
struct Part {
    input: usize,
    dictionary: usize,
    remap: SealedRemap,
}

/// A series of the service, and its rows by part.
#[derive(Debug)]
struct MergedSeries {
    name: Arc<SeriesName>,
    parts: Vec<(usize, u32)>,
    profiles: u64,
    dropped: DroppedTimes,
}

/// A profile that is next to be read.
#[derive(Debug)]
struct Listed {
    series: Arc<MergedSeries>,
    number: usize,
    part: usize,
    row: ProfileRow,
}

impl OpenService {
    /// Merges the dictionaries of a service. The error is not one: it tells how many profiles were left out, when that
    /// is all of them.
    pub(super) async fn open(
        inputs: &[Input],
        service: ServiceParts,
        rules: &Rules,
        limits: &MergeLimits,
        report: &mut ScanReport,
    ) -> MergeResult<std::result::Result<Self, u64>> {
        let (series, dropped) = merged_series(inputs, &service.parts, rules);
        if series.is_empty() {
            return Ok(Err(dropped));
        }
        let (sealed, remaps) = merge_dictionaries(inputs, &service.parts, limits, report).await?;
        let part =
            |((input, dictionary), remap): (&(usize, usize), _)| Part { input: *input, dictionary: *dictionary, remap };
        let parts = service.parts.iter().zip(remaps).map(part).collect();
        let (listed, name) = (VecDeque::new(), service.name);
        Ok(Ok(Self { name, sealed, parts, series: series.into(), listed, next_series: 0, dropped }))
    }

    /// Moves profiles to `piece` until it is full or the service is at its end; whether there is more.
    pub(super) async fn fill(
        &mut self,
        inputs: &[Input],
        piece: &mut Piece,
        report: &mut ScanReport,
    ) -> MergeResult<bool> {
        let mut part = ServicePiece::new(&self.sealed);
        piece.grow_by_dictionary(memory_bytes(&self.sealed));
        let mut last = None;
        let more = loop {
            if self.listed.is_empty() && !self.list(inputs, report).await? {
                break false;
            }
            let chunk = self.take(inputs, piece.room());
            for (listed, profile) in self.read(inputs, chunk, report).await? {
                piece.grow(profile_bytes(&profile));
                let series = &listed.series;
                let make = || SeriesInput {
                    labels: series.name.labels.clone(),
                    profile_type: series.name.profile_type.clone(),
                    profiles: Vec::new(),
                };
                part.push(last != Some(listed.number), make, profile);
                last = Some(listed.number);
            }
            if piece.is_full() {
                break !(self.listed.is_empty() && self.series.is_empty());
            }
        };
        let sealed = match more {
            true => self.sealed.clone(),
            false => std::mem::replace(&mut self.sealed, empty()),
        };
        piece.push(self.name.clone(), part, sealed);
        Ok(more)
    }

    /// Lists the profiles of the next series; whether there are any.
    async fn list(&mut self, inputs: &[Input], report: &mut ScanReport) -> MergeResult<bool> {
        while self.listed.is_empty() {
            let mut batch: Vec<Arc<MergedSeries>> = Vec::new();
            let mut profiles = 0;
            while let Some(next) = self.series.front() {
                if !batch.is_empty() && profiles + next.profiles > LISTED_PROFILES_MAX {
                    break;
                }
                profiles += next.profiles;
                batch.extend(self.series.pop_front().map(Arc::new));
            }
            if batch.is_empty() {
                return Ok(false);
            }
            self.list_batch(inputs, &batch, report).await?;
        }
        Ok(true)
    }

    async fn list_batch(
        &mut self,
        inputs: &[Input],
        batch: &[Arc<MergedSeries>],
        report: &mut ScanReport,
    ) -> MergeResult<()> {
        let first = self.next_series;
        self.next_series += batch.len();
        let mut listed = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            let ids = |(number, series): (usize, &Arc<MergedSeries>)| {
                let of_part = series.parts.iter().filter(|(part, _)| *part == at);
                of_part.map(|(_, id)| (*id, number)).collect::<Vec<_>>()
            };
            let series: BTreeMap<u32, usize> = batch.iter().enumerate().flat_map(ids).collect();
            let ids: RoaringBitmap = series.keys().copied().collect();
            let rows = inputs[part.input].reader.all_profiles(&ids, report).await;
            for row in rows.map_err(MergeError::of(part.input))? {
                let Some(in_batch) = series.get(&row.series_id) else { continue };
                let series = &batch[*in_batch];
                match series.dropped.contains(row.time_unix_nano) {
                    true => self.dropped += 1,
                    false => {
                        listed.push(Listed { series: Arc::clone(series), number: first + in_batch, part: at, row })
                    }
                }
            }
        }
        // rows of one input come by time; the sort is stable, so equal times stay in the order of the inputs
        listed.sort_by_key(|listed| (listed.number, listed.row.time_unix_nano));
        self.listed = listed.into();
        Ok(())
    }

    /// The next profiles that have room in so many bytes, at least one.
    fn take(&mut self, inputs: &[Input], room: u64) -> Vec<Listed> {
        let mut bytes = 0_u64;
        let fits = |listed: &&Listed| {
            let input = &inputs[self.parts[listed.part].input];
            let rows = u64::from(listed.row.row_count).saturating_mul(input.sample_bytes_max);
            bytes = bytes.saturating_add(PROFILE_BYTES + rows);
            bytes <= room
        };
        let count = self.listed.iter().take_while(fits).count().max(1).min(self.listed.len());
        self.listed.drain(..count).collect()
    }

    /// The profiles of `chunk`, in its order, with the ids of the merged dictionary.
    async fn read(
        &self,
        inputs: &[Input],
        chunk: Vec<Listed>,
        report: &mut ScanReport,
    ) -> MergeResult<Vec<(Listed, ProfileInput)>> {
        let mut read: Vec<Option<ProfileInput>> = Vec::new();
        read.resize_with(chunk.len(), || None);
        for (at, part) in self.parts.iter().enumerate() {
            let places: Vec<usize> = (0..chunk.len()).filter(|place| chunk[*place].part == at).collect();
            if places.is_empty() {
                continue;
            }
            let rows: Vec<ProfileRow> = places.iter().map(|place| chunk[*place].row).collect();
            let input = &inputs[part.input];
            let entry = &input.dictionaries[part.dictionary];
            let wrong = MergeError::of(part.input);
            let details = input.reader.profile_details(&rows, report).await.map_err(&wrong)?;
            let samples = input.reader.samples(entry, &rows, report).await.map_err(&wrong)?;
            for (place, (detail, samples)) in places.into_iter().zip(details.into_iter().zip(samples)) {
                read[place] = Some(profile(detail, samples, &part.remap));
            }
        }
        Ok(chunk.into_iter().zip(read).filter_map(|(listed, profile)| Some((listed, profile?))).collect())
    }
}

fn empty() -> SealedDictionary {
    SealedDictionary { dictionary: Arc::default(), tree: flamestore_calltree::CallTree::default(), leaves: Vec::new() }
}

fn memory_bytes(sealed: &SealedDictionary) -> u64 {
    (sealed.dictionary.memory_bytes() + sealed.tree.len() * 8 + sealed.leaves.len() * 4) as u64
}

fn profile_bytes(profile: &ProfileInput) -> u64 {
    PROFILE_BYTES + profile.stacks.len() as u64 * SAMPLE_BYTES + profile.observed.memory_bytes() as u64
}

fn profile(detail: ProfileDetail, samples: ProfileSamples, remap: &SealedRemap) -> ProfileInput {
    let ProfileSamples { mut stacks, mut values, mut label_sets, mut observed } = samples;
    stacks.iter_mut().for_each(|stack| *stack = remap.stacks[*stack as usize]);
    label_sets.iter_mut().filter(|set| **set != NONE).for_each(|set| *set = remap.label_sets[*set as usize]);
    if !label_sets.is_empty() {
        label_sets.resize(stacks.len(), NONE);
    }
    let mut meta = detail.meta;
    if meta.main_mapping != NONE {
        meta.main_mapping = remap.mappings[meta.main_mapping as usize];
    }
    stacks.shrink_to_fit();
    values.shrink_to_fit();
    label_sets.shrink_to_fit();
    observed.shrink_to_fit();
    ProfileInput { meta, stacks, values, label_sets, observed }
}

/// The series of a service, sorted by type and labels, and how many profiles of those that were left out there are.
fn merged_series(inputs: &[Input], parts: &[(usize, usize)], rules: &Rules) -> (Vec<MergedSeries>, u64) {
    let mut merged: BTreeMap<(String, &Labels), MergedSeries> = BTreeMap::new();
    let mut dropped = 0;
    for (part, (input, dictionary)) in parts.iter().enumerate() {
        for InputSeries { name, series_id, profiles, time_min, time_max } in &inputs[*input].series[*dictionary] {
            let profiles = u64::from(*profiles);
            let times = rules.of(name);
            if profiles == 0 || times.covers(*time_min, *time_max) {
                dropped += profiles;
                continue;
            }
            let new = || MergedSeries { name: Arc::clone(name), parts: Vec::new(), profiles: 0, dropped: times };
            let series = merged.entry((name.profile_type.to_string(), &name.labels)).or_insert_with(new);
            series.parts.push((part, *series_id));
            series.profiles += profiles;
        }
    }
    (merged.into_values().collect(), dropped)
}

/// The union of the dictionaries, a few of them in memory at one time, and how to get there from each.
async fn merge_dictionaries(
    inputs: &[Input],
    parts: &[(usize, usize)],
    limits: &MergeLimits,
    report: &mut ScanReport,
) -> MergeResult<(SealedDictionary, Vec<SealedRemap>)> {
    let mut merged: Option<SealedDictionary> = None;
    let mut remaps: Vec<SealedRemap> = Vec::with_capacity(parts.len());
    while remaps.len() < parts.len() {
        let mut batch: Vec<Arc<SealedDictionary>> = Vec::new();
        let mut bytes = 0;
        for (input, dictionary) in &parts[remaps.len()..] {
            let (reader, entry) = (&inputs[*input].reader, &inputs[*input].dictionaries[*dictionary]);
            bytes += entry.decoded_bytes();
            if !batch.is_empty() && bytes > limits.dictionary_bytes_max as u64 {
                break;
            }
            let loaded = reader.load_dictionary(entry.dictionary_id, report).await;
            batch.push(loaded.map_err(MergeError::of(*input))?);
        }
        let all: Vec<&SealedDictionary> = merged.iter().chain(batch.iter().map(|loaded| &**loaded)).collect();
        let MergedSealed { sealed, remaps: mut found } = merge_sealed(&all);
        if merged.is_some() {
            let so_far = found.remove(0);
            remaps = remaps.into_iter().map(|remap| remap.then(&so_far)).collect();
        }
        remaps.append(&mut found);
        merged = Some(sealed);
    }
    Ok((merged.unwrap_or_else(empty), remaps))
}
