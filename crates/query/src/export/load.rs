//! Whole profiles of one dictionary, from a segment or from a head.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use flamestore_calltree::SealedDictionary;
use flamestore_model::{Error, ProfileId, Result, Selector, TimeRange};
use flamestore_segment::{ProfileDetail, ProfileRow, ProfileSamples, ScanReport};
use flamestore_store::HeadSelection;
use futures::{StreamExt, TryStreamExt};

use crate::error::is_damage;
use crate::plan::{dictionary_bytes, entry_of, service_of};
use crate::scope::Scope;
use crate::selection::{Source, Unit};

/// Units searched for a profile at one time.
const SEARCHES_AT_ONCE: usize = 16;

/// Profiles with their samples and what their ids refer to.
pub(super) struct Loaded {
    pub(super) sealed: Arc<SealedDictionary>,
    pub(super) details: Vec<ProfileDetail>,
    pub(super) samples: Vec<ProfileSamples>,
}

impl Loaded {
    /// Bytes that the dictionary and the maps out of it take in memory, about.
    pub(super) fn dictionary_bytes(&self) -> usize {
        let nodes = self.sealed.tree.len() * 12 + self.sealed.leaves.len() * 4;
        nodes + dictionary_bytes(&self.sealed.dictionary)
    }

    /// Bytes that what tells observations apart takes in memory.
    pub(super) fn observed_bytes(&self) -> usize {
        self.samples.iter().map(|samples| samples.observed.memory_bytes()).sum()
    }
}

/// The unit that holds the profile `id`, and its rows there.
pub(super) async fn find(scope: &Arc<Scope>, id: ProfileId) -> Result<Option<(Unit, Vec<ProfileRow>)>> {
    let selection = scope.select(&Selector::default(), &TimeRange::ALL).await?;
    let mut left = selection.units.len();
    let searches = selection.units.into_iter().map(|unit| search(scope, unit, id));
    let mut found = futures::stream::iter(searches).buffer_unordered(SEARCHES_AT_ONCE);
    while let Some((unit, rows)) = found.try_next().await? {
        scope.sink().end_units(1);
        left -= 1;
        if !rows.is_empty() {
            scope.sink().end_units(left);
            return Ok(Some((unit, rows)));
        }
    }
    Ok(None)
}

async fn search(scope: &Arc<Scope>, unit: Unit, id: ProfileId) -> Result<(Unit, Vec<ProfileRow>)> {
    let mut scan = ScanReport::default();
    if !unit.has_samples() {
        return Ok((unit, Vec::new()));
    }
    let rows = match &unit.source {
        Source::Segment(stored) => stored.reader.find_profile(id, &mut scan).await,
        Source::Head(view) => Ok(view.find_profile(id)),
    };
    scope.sink().add_scan(&scan);
    match rows {
        Ok(rows) => Ok((unit, rows)),
        Err(error) if is_damage(&error) && unit.is_segment() => {
            scope.sink().damaged_within(&unit.id, &error);
            Ok((unit, Vec::new()))
        }
        Err(error) => Err(error),
    }
}

/// Profiles in parts of at most `rows` sample rows each, or of one profile.
pub(crate) fn parts(profiles: Vec<ProfileRow>, rows: usize) -> Vec<Vec<ProfileRow>> {
    let mut parts: Vec<Vec<ProfileRow>> = Vec::new();
    let mut room = 0;
    for profile in profiles {
        let count = profile.row_count as usize;
        match parts.last_mut() {
            Some(part) if count <= room => {
                part.push(profile);
                room -= count;
            }
            _ => {
                parts.push(vec![profile]);
                room = rows.saturating_sub(count);
            }
        }
    }
    parts
}

/// Bytes that the samples of `profiles` take in memory, about.
pub(crate) fn rows_bytes(profiles: &[ProfileRow]) -> usize {
    profiles.iter().map(|profile| 256 + profile.row_count as usize * 16).sum()
}

/// The samples of `profiles`, all of one dictionary of `unit`.
///
/// # Errors
/// `Corrupt` when the segment is damaged.
pub(super) async fn load(
    unit: &Unit,
    dictionary_id: u32,
    profiles: Vec<ProfileRow>,
    scan: &mut ScanReport,
) -> Result<Loaded> {
    match &unit.source {
        Source::Segment(stored) => {
            let reader = &stored.reader;
            let entry = entry_of(reader, dictionary_id).await?;
            let sealed = reader.load_dictionary(dictionary_id, scan).await?;
            let details = reader.profile_details(&profiles, scan).await?;
            let samples = reader.samples(&entry, &profiles, scan).await?;
            Ok(Loaded { sealed, details, samples })
        }
        Source::Head(view) => {
            let service_name = service_of(view, dictionary_id);
            let selection = HeadSelection { dictionary_id, service_name, profiles };
            let view = Arc::clone(view);
            let loading = SpawnedTask::spawn_blocking(move || view.samples(&selection)).join().await;
            let head = loading.map_err(|error| Error::internal("reading a head broke off").because(error))?;
            Ok(Loaded { sealed: Arc::new(head.sealed), details: head.details, samples: head.samples })
        }
    }
}
