//! The merge of one unit: a segment, dictionary by dictionary, or a head.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use flamestore_calltree::ValueTree;
use flamestore_model::{Error, ProfileType, Result, TimeRange};
use flamestore_segment::{
    Cover, DictionaryEntry, DictionarySelection, ProfileRow, ReadFrom, ScanReport, SegmentReader, StackSums, WindowRow,
};
use flamestore_store::{HeadSelection, HeadView, StoredSegment};
use futures::{StreamExt, TryStreamExt};

use super::merger::{Merger, check_magnitude};
use crate::budget::Budget;
use crate::error::is_damage;
use crate::metrics::ScanMetrics;
use crate::selection::{Source, TypesSeen, Unit};
use crate::sink::ReportSink;

/// What a unit is merged with.
pub(crate) struct UnitJob<'a> {
    pub(crate) sink: &'a Arc<ReportSink>,
    pub(crate) types: &'a TypesSeen,
    pub(crate) range: TimeRange,
    pub(crate) from: ReadFrom,
    pub(crate) dictionaries_at_once: usize,
    /// Whether what is read of a single dictionary stays sums by stack, to be added to those of other segments.
    pub(crate) joins: bool,
    pub(crate) scan: &'a ScanMetrics,
}

/// What a unit comes to.
pub(crate) enum Merged {
    /// A call tree without symbols that no node uses.
    Tree(ValueTree),
    /// The sums by stack of the one dictionary of a segment.
    Sums(StackSums),
}

/// What is selected of one dictionary.
#[derive(Default)]
pub(super) struct Group {
    pub(super) profiles: Vec<ProfileRow>,
    pub(super) windows: Vec<WindowRow>,
}

/// The sum of the selected profiles of `unit`, and the budget that holds its bytes. Where a roll-up is damaged and the
/// segment has its samples, they are read instead.
///
/// # Errors
/// `Corrupt` when the unit is damaged, `Exhausted` over the budget, `Invalid` when types mix or sums leave 64 bits.
pub(crate) async fn merge(unit: &Unit, job: &UnitJob<'_>, budget: Budget) -> Result<(Merged, Budget)> {
    match merge_from(unit, job, job.from, budget.fresh()).await {
        Err(error) if is_damage(&error) && job.from != ReadFrom::Samples && unit.has_samples() && unit.is_segment() => {
            tracing::warn!(segment = %unit.id, %error, "a segment is damaged: its samples are tried");
            merge_from(unit, job, ReadFrom::Samples, budget).await
        }
        merged => merged,
    }
}

async fn merge_from(unit: &Unit, job: &UnitJob<'_>, from: ReadFrom, budget: Budget) -> Result<(Merged, Budget)> {
    let mut scan = ScanReport::default();
    let cover = unit.cover(&job.range, from, &mut scan).await?;
    let rows_budget = budget.fresh();
    rows_budget.grow(size_of_val(cover.profiles.as_slice()) + size_of_val(cover.windows.as_slice()))?;
    report(job, &scan);
    let mut groups = by_dictionary(unit, &cover, job.types)?;
    let single = if job.joins && groups.len() == 1 { groups.pop_first() } else { None };
    let merged = match (&unit.source, single) {
        (Source::Segment(stored), Some((dictionary, group))) => {
            let sums = SpawnedTask::spawn(sum_stacks(Arc::clone(stored), dictionary, group, budget));
            let (sums, budget, scan) = join(sums).await?;
            job.scan.add_dictionary();
            report(job, &scan);
            (Merged::Sums(sums), budget)
        }
        (_, single) => {
            groups.extend(single);
            let (tree, budget) = merge_groups(unit, job, groups, budget).await?;
            (Merged::Tree(tree), budget)
        }
    };
    job.sink.add_cover(&cover);
    job.sink.add_series(count_series(&cover));
    job.scan.add_cover(&cover);
    Ok(merged)
}

async fn merge_groups(
    unit: &Unit,
    job: &UnitJob<'_>,
    groups: BTreeMap<u32, Group>,
    budget: Budget,
) -> Result<(ValueTree, Budget)> {
    let reading = budget.fresh();
    let trees = groups.into_iter().map(|(dictionary, group)| {
        let budget = reading.fresh();
        SpawnedTask::spawn(merge_dictionary(unit.source.clone(), dictionary, group, budget))
    });
    let mut trees = futures::stream::iter(trees).map(join).buffered(job.dictionaries_at_once.max(1));
    let mut sum = Merger::new(budget);
    while let Some((tree, held, scan)) = trees.try_next().await? {
        job.scan.add_dictionary();
        report(job, &scan);
        drop(held);
        sum.add(tree)?;
    }
    sum.finish()
}

fn report(job: &UnitJob<'_>, scan: &ScanReport) {
    job.sink.add_scan(scan);
    job.scan.add_scan(scan);
}

async fn join<T: 'static>(task: SpawnedTask<Result<T>>) -> Result<T> {
    match task.join().await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("the merge of a dictionary broke off").because(error)),
    }
}

/// The sum of what is selected of one dictionary, and the budget that holds what reading it takes.
///
/// # Errors
/// As [`merge`].
pub(super) async fn merge_dictionary(
    source: Source,
    dictionary_id: u32,
    group: Group,
    budget: Budget,
) -> Result<(ValueTree, Budget, ScanReport)> {
    let view = match source {
        Source::Segment(stored) => {
            let (sums, budget, scan) = sum_stacks(stored, dictionary_id, group, budget).await?;
            return Ok((sums.into_tree().prune_symbols(), budget, scan));
        }
        Source::Head(view) => view,
    };
    check_totals(&group)?;
    let service_name = service_of(&view, dictionary_id);
    let selection = HeadSelection { dictionary_id, service_name, profiles: group.profiles };
    let rows = selection.profiles.iter().map(|profile| u64::from(profile.row_count)).sum();
    let scan = ScanReport { rows, ..ScanReport::default() };
    let merged = SpawnedTask::spawn_blocking(move || Ok(view.merge_dictionary(&selection)));
    Ok((join(merged).await?.prune_symbols(), budget, scan))
}

/// The sums by stack of what is selected of one dictionary of a segment, and the budget that holds what reading it takes.
async fn sum_stacks(
    stored: Arc<StoredSegment>,
    dictionary_id: u32,
    group: Group,
    budget: Budget,
) -> Result<(StackSums, Budget, ScanReport)> {
    check_totals(&group)?;
    let Group { profiles, windows } = group;
    let entry = entry_of(&stored.reader, dictionary_id).await?;
    budget.grow(dictionary_bytes(&entry))?;
    let selection = DictionarySelection { entry, profiles, windows };
    let mut scan = ScanReport::default();
    let sums = stored.reader.sum_stacks(&selection, &mut scan).await?;
    Ok((sums, budget, scan))
}

/// The service of a dictionary of a head.
pub(crate) fn service_of(view: &HeadView, dictionary_id: u32) -> String {
    let table = view.series();
    let row = table.rows.iter().find(|row| row.dictionary_id == dictionary_id);
    row.map(|row| row.service_name.clone()).unwrap_or_default()
}

/// The entry of a dictionary of a segment.
///
/// # Errors
/// `Corrupt` when there is no such dictionary.
pub(crate) async fn entry_of(reader: &SegmentReader, dictionary_id: u32) -> Result<DictionaryEntry> {
    let entries = reader.dictionaries().await?;
    let unknown = || Error::corrupt("a series is of an unknown dictionary").with("dictionary", dictionary_id);
    entries.get(dictionary_id as usize).cloned().ok_or_else(unknown)
}

/// Sums of one dictionary wrap inside of the segment crate, so whether they would is asked before, of the totals.
fn check_totals(group: &Group) -> Result<()> {
    let profiles: u128 = group.profiles.iter().map(|profile| u128::from(profile.total.unsigned_abs())).sum();
    // What a window does not tell is more than is allowed.
    let over = 1_u128 << 63;
    let of_window =
        |window: &WindowRow| window.total_magnitude.map_or(over, |magnitude| magnitude.unsigned_abs().into());
    check_magnitude(profiles + group.windows.iter().map(of_window).sum::<u128>())
}

fn count_series(cover: &Cover) -> u64 {
    let profiles = cover.profiles.iter().map(|profile| profile.series_id);
    let mut ids: Vec<u32> = profiles.chain(cover.windows.iter().map(|window| window.series_id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len() as u64
}

/// Groups profiles and windows by the dictionary of their series, and notes their types.
fn by_dictionary(unit: &Unit, cover: &Cover, types: &TypesSeen) -> Result<BTreeMap<u32, Group>> {
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    let mut noted: Option<&ProfileType> = None;
    let mut dictionary_of = |series_id: u32| {
        let series = unit.series_row(series_id)?;
        if noted != Some(&series.profile_type) {
            types.note(&series.profile_type)?;
            noted = Some(&series.profile_type);
        }
        Ok::<u32, Error>(series.dictionary_id)
    };
    for profile in &cover.profiles {
        groups.entry(dictionary_of(profile.series_id)?).or_default().profiles.push(*profile);
    }
    for window in &cover.windows {
        groups.entry(dictionary_of(window.series_id)?).or_default().windows.push(*window);
    }
    Ok(groups)
}

/// Bytes that reading and accumulating a dictionary takes, about: its tables, one sum per stack and per call site.
fn dictionary_bytes(entry: &DictionaryEntry) -> usize {
    let rows = |span: flamestore_segment::Span, bytes: usize| span.count as usize * bytes;
    rows(entry.strings, 64)
        + rows(entry.mappings, 64)
        + rows(entry.functions, 20)
        + rows(entry.locations, 17)
        + rows(entry.location_rows, 20)
        + rows(entry.label_set_rows, 24)
        + rows(entry.call_sites, 8 + 8 + 16)
        + rows(entry.stacks, 4 + 8)
}
