//! A piece of a merge: the input of one segment, grown service by service.

use flamestore_calltree::{Keep, NONE, SealedDictionary};

use crate::{DictionaryInput, ProfileInput, ProfileMeta, SegmentInput, SeriesInput};

/// Bytes of a decoded sample: stack and value, and room for the label set that some have; what tells observations apart comes
/// on top.
pub(super) const SAMPLE_BYTES: u64 = 13;
/// Bytes of a decoded profile beside its samples, comments included.
pub(super) const PROFILE_BYTES: u64 = size_of::<ProfileInput>() as u64 + 64;

/// What one segment is built from, so far.
#[derive(Debug)]
pub(super) struct Piece {
    input: SegmentInput,
    bytes: u64,
    bytes_max: u64,
}

/// The part of a service that goes into one piece.
#[derive(Debug)]
pub(super) struct ServicePiece {
    series: Vec<SeriesInput>,
    keep: Keep,
}

impl Piece {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { input: SegmentInput::default(), bytes: 0, bytes_max: bytes_max as u64 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.input.dictionaries.is_empty()
    }

    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    /// The bytes there is room for.
    pub(super) fn room(&self) -> u64 {
        self.bytes_max.saturating_sub(self.bytes)
    }

    /// Takes note of bytes that were added.
    pub(super) fn grow(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes note of a dictionary. It counts for half of a piece at most, so that there is room for more than a profile
    /// beside one that is larger than a piece.
    pub(super) fn grow_by_dictionary(&mut self, bytes: u64) {
        self.grow(bytes.min(self.bytes_max / 2));
    }

    /// Adds a service, of whose dictionary only what is used is kept.
    pub(super) fn push(&mut self, service_name: String, part: ServicePiece, sealed: SealedDictionary) {
        if part.series.is_empty() {
            return;
        }
        let ServicePiece { mut series, keep } = part;
        let sealed = match keep.is_all() {
            true => sealed,
            false => {
                let retained = sealed.retain(&keep);
                let profiles = series.iter_mut().flat_map(|series| &mut series.profiles);
                profiles.for_each(|profile| renumber(profile, &retained));
                retained.sealed
            }
        };
        self.input.dictionaries.push(DictionaryInput { service_name, sealed, series });
    }

    /// The piece, unless there is nothing in it.
    pub(super) fn finish(self) -> Option<SegmentInput> {
        (!self.is_empty()).then_some(self.input)
    }
}

fn renumber(profile: &mut ProfileInput, retained: &flamestore_calltree::Retained) {
    for (ids, map) in [(&mut profile.stacks, &retained.stacks), (&mut profile.label_sets, &retained.label_sets)] {
        ids.iter_mut().filter(|id| **id != NONE).for_each(|id| *id = map[*id as usize]);
    }
    let ProfileMeta { main_mapping, .. } = &mut profile.meta;
    if *main_mapping != NONE {
        *main_mapping = retained.mappings[*main_mapping as usize];
    }
}

impl ServicePiece {
    pub(super) fn new(sealed: &SealedDictionary) -> Self {
        Self { series: Vec::new(), keep: Keep::nothing(sealed) }
    }

    /// Adds a profile of the series that `series` makes, unless the last one has this number.
    pub(super) fn push(&mut self, is_new: bool, series: impl FnOnce() -> SeriesInput, profile: ProfileInput) {
        if is_new || self.series.is_empty() {
            self.series.push(series());
        }
        for stack in &profile.stacks {
            self.keep.stacks[*stack as usize] = true;
        }
        for set in profile.label_sets.iter().filter(|set| **set != NONE) {
            self.keep.label_sets[*set as usize] = true;
        }
        if let Some(mapping) = self.keep.mappings.get_mut(profile.meta.main_mapping as usize) {
            *mapping = true;
        }
        if let Some(series) = self.series.last_mut() {
            series.profiles.push(profile);
        }
    }
}
