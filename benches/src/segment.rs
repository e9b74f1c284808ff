//! The segment that the profiles of a fleet make.

use flamestore_calltree::{Interner, Observed, SealSelection};
use flamestore_model::{NONE, ProfileId, Result};
use flamestore_segment::{
    DictionaryInput, ProfileInput, ProfileMeta, SealedSegment, SegmentInput, SegmentOptions, SeriesInput, build_tables,
    seal,
};
use flamestore_testkit::{Fleet, FleetService, Scrape};

use crate::{ServiceRows, observing};

/// A segment and what it was made of.
#[derive(Debug)]
pub struct FleetSegment {
    /// Its tables.
    pub sealed: SealedSegment,
    /// Profiles.
    pub profiles: u64,
    /// Samples.
    pub rows: u64,
    /// Distinct stacks, counted per service.
    pub stacks: u64,
}

impl FleetSegment {
    /// The segment of all profiles of `fleet`.
    ///
    /// # Errors
    /// Those of building and sealing.
    pub fn build(fleet: &Fleet, options: &SegmentOptions) -> Result<Self> {
        let dictionaries = fleet.services().map(|service| dictionary(&service)).collect::<Result<Vec<_>>>()?;
        let profiles = dictionaries.iter().flat_map(|d| &d.series).map(|series| series.profiles.len() as u64).sum();
        let stacks = dictionaries.iter().map(|dictionary| dictionary.sealed.leaves.len() as u64).sum();
        let sealed = seal(build_tables(SegmentInput { dictionaries }, options)?, options)?;
        Ok(Self { profiles, rows: sealed.meta.sample_rows, stacks, sealed })
    }
}

/// The segment of all profiles of `service`, their samples plain or with labels that differ from one to the next.
///
/// # Errors
/// Those of interning, building and sealing.
pub fn observations_segment(service: &FleetService, is_observing: bool) -> Result<SealedSegment> {
    let mut interner = Interner::new(1);
    let mut profiles = Vec::new();
    for (number, scrape) in (0..).zip(service.run()) {
        let batch = match is_observing {
            true => observing(&service.batch(&scrape), number)?,
            false => service.batch(&scrape),
        };
        let interned = interner.intern(&batch)?;
        let plain = profile(number.into(), scrape, NONE);
        let values = batch.samples.values;
        let (stacks, label_sets, observed) = (interned.stacks, interned.label_sets, interned.observed);
        profiles.push(ProfileInput { stacks, values, label_sets, observed, ..plain });
    }
    let sealed = interner.seal(&SealSelection::default());
    let sets = profiles.iter_mut().flat_map(|profile| &mut profile.label_sets);
    sets.filter(|set| **set != NONE).for_each(|set| *set = sealed.label_set_remap[*set as usize]);
    let series = SeriesInput { labels: service.labels(), profile_type: service.profile_type(), profiles };
    let dictionary = DictionaryInput { service_name: service.name(), sealed: sealed.sealed, series: vec![series] };
    let options = SegmentOptions::default();
    seal(build_tables(SegmentInput { dictionaries: vec![dictionary] }, &options)?, &options)
}

fn dictionary(service: &FleetService) -> Result<DictionaryInput> {
    let rows = ServiceRows::new(service)?;
    let main_mapping = if service.has_addresses() { 0 } else { NONE };
    let profiles = (0..).zip(rows.scrapes).map(|(number, scrape)| profile(number, scrape, main_mapping)).collect();
    let series = SeriesInput { labels: service.labels(), profile_type: service.profile_type(), profiles };
    Ok(DictionaryInput { service_name: service.name(), sealed: rows.sealed, series: vec![series] })
}

fn profile(number: u128, scrape: Scrape, main_mapping: u32) -> ProfileInput {
    let millis = u64::try_from(scrape.time_unix_nano / 1_000_000).unwrap_or_default();
    let meta = ProfileMeta {
        period: 10_000_000,
        duration_nano: 15_000_000_000,
        main_mapping,
        ..ProfileMeta::new(ProfileId::from_parts(millis, number), scrape.time_unix_nano)
    };
    ProfileInput {
        meta,
        stacks: scrape.stacks,
        values: scrape.values,
        label_sets: Vec::new(),
        observed: Observed::default(),
    }
}
