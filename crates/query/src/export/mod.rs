//! Stored profiles as one profile again: [`profile`] gives back what was pushed, [`merge`] sums what is selected and keeps
//! the labels of samples, as pprof's own merge does.

mod load;
mod output;
mod picked;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use flamestore_model::{Error, ProfileBatch, ProfileId, ProfileType, Result};
use flamestore_segment::{ProfileRow, ScanReport};

use crate::answer::{Pick, Query};
use crate::budget::Budget;
use crate::error::is_damage;
use crate::scope::Scope;
use crate::selection::{Selection, Unit};
use load::Loaded;
pub(crate) use load::{parts, rows_bytes};
use writer::{Repeats, Writer};

/// Sample rows that are in memory at one time.
const ROWS_AT_ONCE: usize = 1 << 18;

/// The profile `id` with all its sample types.
///
/// # Errors
/// `NotFound` when there is none; `Corrupt` when a sample type of it is missing.
pub(crate) async fn profile(scope: &Arc<Scope>, id: ProfileId, budget: Budget) -> Result<ProfileBatch> {
    let Some((unit, profiles)) = load::find(scope, id).await? else {
        return Err(Error::not_found("there is no such profile").with("profile", id));
    };
    let mut scan = ScanReport::default();
    let types = types_of(&unit, &profiles)?;
    let dictionary_id = match profiles.first() {
        Some(profile) => unit.series_of(profile)?.dictionary_id,
        None => return Err(Error::internal("a profile was found without rows")),
    };
    budget.grow(load::rows_bytes(&profiles))?;
    let loaded = load::load(&unit, dictionary_id, profiles, &mut scan).await?;
    scope.sink().add_scan(&scan);
    scope.sink().add_profiles(types.len() as u64);
    budget.grow(loaded.observed_bytes())?;
    let columns = column_types(&loaded, &types, id)?;
    let mut writer = Writer::new(columns, Repeats::Keep, budget);
    writer.add(&loaded)?;
    writer.finish()
}

/// The sum of what `pick` asks for of the profiles that `query` selects.
///
/// # Errors
/// `Invalid` when they are of more than one type, or when a sum leaves 64 bits; `Exhausted` over the budget.
pub(crate) async fn merge(scope: &Arc<Scope>, query: &Query, pick: &Pick, budget: Budget) -> Result<ProfileBatch> {
    let selection = scope.select(&query.selector, &query.range).await?;
    let mut writer = Writer::new(Vec::new(), Repeats::Sum, budget);
    for unit in &selection.units {
        // A damaged segment must leave no trace, so what it adds is undone by starting from what was there before.
        let before = writer.mark();
        match merge_unit(scope, &selection, unit, pick, &mut writer).await {
            Ok(()) => {}
            Err(error) if is_damage(&error) && unit.is_segment() => {
                writer.undo(before);
                scope.sink().damaged_within(&unit.id, &error);
            }
            Err(error) => return Err(error),
        }
        scope.sink().end_units(1);
    }
    let ty = selection.types.one().or_else(|| asked_for(query)).unwrap_or_default();
    writer.set_types(vec![ty]);
    writer.finish()
}

async fn merge_unit(
    scope: &Arc<Scope>,
    selection: &Selection,
    unit: &Unit,
    pick: &Pick,
    writer: &mut Writer,
) -> Result<()> {
    let mut scan = ScanReport::default();
    if !unit.has_samples() {
        scope.sink().add_expired();
        return Ok(());
    }
    let mut profiles = unit.profiles(&selection.range, &mut scan).await?;
    if !pick.profiles.is_empty() {
        profiles = picked::profiles(unit, &profiles, pick, &mut scan).await?;
    }
    scope.sink().add_profiles(profiles.len() as u64);
    let mut groups: BTreeMap<u32, Vec<ProfileRow>> = BTreeMap::new();
    for profile in profiles {
        let series = unit.series_of(&profile)?;
        selection.types.note(&series.profile_type)?;
        groups.entry(series.dictionary_id).or_default().push(profile);
    }
    for (dictionary_id, profiles) in groups {
        for part in load::parts(profiles, ROWS_AT_ONCE) {
            let loading = writer.budget().fresh();
            loading.grow(load::rows_bytes(&part))?;
            let mut loaded = load::load(unit, dictionary_id, part, &mut scan).await?;
            picked::samples(&mut loaded, pick);
            loading.grow(loaded.dictionary_bytes() + loaded.observed_bytes())?;
            writer.add(&loaded)?;
        }
    }
    scope.sink().add_scan(&scan);
    Ok(())
}

/// The type that the selector names, for an answer without profiles.
fn asked_for(query: &Query) -> Option<ProfileType> {
    query.selector.equal(flamestore_model::names::PROFILE_TYPE)?.parse().ok()
}

fn types_of(unit: &Unit, profiles: &[ProfileRow]) -> Result<Vec<ProfileType>> {
    profiles.iter().map(|profile| Ok(unit.series_of(profile)?.profile_type.clone())).collect()
}

/// The type of each column of the source, by its index there.
fn column_types(loaded: &Loaded, types: &[ProfileType], id: ProfileId) -> Result<Vec<ProfileType>> {
    let count = loaded.details.first().map_or(0, |detail| detail.meta.value_count) as usize;
    let mut columns: Vec<Option<ProfileType>> = vec![None; count.min(loaded.details.len())];
    for (detail, ty) in loaded.details.iter().zip(types) {
        if let Some(column) = columns.get_mut(detail.meta.value_index as usize) {
            *column = Some(ty.clone());
        }
    }
    let found = columns.iter().flatten().count();
    columns.into_iter().collect::<Option<Vec<_>>>().filter(|columns| columns.len() == count && count > 0).ok_or_else(
        || {
            Error::corrupt("sample types of a profile are missing")
                .with("profile", id)
                .with("expected", count)
                .with("found", found)
        },
    )
}
