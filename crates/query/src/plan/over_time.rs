//! What the values of one series come to over time.
//!
//! ```text
//! sum       v₁ + v₂ + … + vₙ
//! average   the same / n, to the nearest
//! last      vₙ
//! max       per stack the largest; a profile without the stack has 0 of it
//! added     per stack v₂ − v₁, v₃ − v₂, …, added up; after a restart, and where that is negative, the later value
//! ```
//!
//! A series has restarted where its total falls. The first profile of a range is what counting begins at. Of profiles of one
//! time in different segments it is open which is the last one.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use flamestore_calltree::{SealedDictionary, ValueTree, merge};
use flamestore_model::{Error, Result, Temporality};
use flamestore_segment::{ProfileRow, Resolution, ScanReport, WindowRow};
use flamestore_store::HeadSelection;

use super::merger::{check_magnitude, dictionary_bytes, magnitude, tree_bytes};
use super::unit::{Group, entry_of, merge_dictionary, service_of};
use crate::answer::Combine;
use crate::budget::Budget;
use crate::selection::{Source, Unit};

/// Rows of samples that are in memory at one time, or those of one profile.
const ROWS_MAX: usize = 1 << 20;

/// What is selected of one series.
pub(super) struct SeriesParts {
    pub(super) temporality: Temporality,
    pub(super) parts: Vec<Part>,
}

/// What is selected of one series in one unit.
pub(super) struct Part {
    /// The number of the unit.
    pub(super) unit: usize,
    pub(super) dictionary_id: u32,
    pub(super) profiles: Vec<ProfileRow>,
    pub(super) windows: Vec<WindowRow>,
}

/// An error, and the number of the unit it arose in.
type InUnit<T> = std::result::Result<T, (usize, Error)>;

impl Part {
    pub(super) fn new(unit: usize) -> Self {
        Self { unit, dictionary_id: 0, profiles: Vec::new(), windows: Vec::new() }
    }

    /// How many profiles there are.
    fn count(&self) -> u64 {
        let of_windows = self.windows.iter().map(|window| u64::from(window.profile_count)).sum::<u64>();
        self.profiles.len() as u64 + of_windows
    }

    /// The time of its last profile.
    fn last_time(&self) -> i64 {
        let of_profiles = self.profiles.iter().map(|profile| profile.time_unix_nano);
        of_profiles.chain(self.windows.iter().map(|window| window.time_max)).max().unwrap_or(i64::MIN)
    }

    /// Only what has its last profile in it.
    fn into_last(mut self) -> Self {
        let last = self.last_time();
        let profile = self.profiles.iter().rposition(|profile| profile.time_unix_nano == last);
        let window = self.windows.iter().rposition(|window| window.time_max == last).filter(|_| profile.is_none());
        self.profiles = profile.map(|at| self.profiles[at]).into_iter().collect();
        self.windows = window.map(|at| self.windows[at]).into_iter().collect();
        self
    }
}

impl SeriesParts {
    pub(super) fn new(temporality: Temporality) -> Self {
        Self { temporality, parts: Vec::new() }
    }

    /// Trees that add up to what the series comes to.
    ///
    /// # Errors
    /// `Corrupt` when a unit is damaged, `Exhausted` over the budget, `Invalid` when sums leave 64 bits.
    pub(super) async fn combine(
        self,
        combine: Combine,
        units: &[Unit],
        budget: Budget,
        scan: &mut ScanReport,
    ) -> InUnit<Vec<ValueTree>> {
        match combine {
            Combine::Sum | Combine::Auto => self.sums(units, &budget, scan).await,
            Combine::Average => self.average(units, &budget, scan).await,
            Combine::Last => self.last(units, &budget, scan).await,
            Combine::Max => self.max(units, &budget, scan).await,
            Combine::Added => self.added(units, &budget, scan).await,
        }
    }

    async fn sums(self, units: &[Unit], budget: &Budget, scan: &mut ScanReport) -> InUnit<Vec<ValueTree>> {
        let mut trees = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            trees.push(sum(part, units, budget, scan).await?);
        }
        Ok(trees)
    }

    async fn average(self, units: &[Unit], budget: &Budget, scan: &mut ScanReport) -> InUnit<Vec<ValueTree>> {
        let count: u64 = self.parts.iter().map(Part::count).sum();
        let first = self.parts.first().map_or(0, |part| part.unit);
        let trees = self.sums(units, budget, scan).await?;
        check_magnitude(trees.iter().map(magnitude).sum()).map_err(|error| (first, error))?;
        let mut tree = merge(trees.into_iter().map(|tree| (tree, 0)).collect(), 1);
        tree.values[0].iter_mut().for_each(|value| *value = nearest(*value, count.max(1)));
        Ok(vec![tree.prune()])
    }

    async fn last(self, units: &[Unit], budget: &Budget, scan: &mut ScanReport) -> InUnit<Vec<ValueTree>> {
        let Some(part) = self.parts.into_iter().max_by_key(Part::last_time).map(Part::into_last) else {
            return Ok(Vec::new());
        };
        match part.windows.is_empty() {
            true => Ok(vec![sum(part, units, budget, scan).await?]),
            false => Ok(vec![of_window(part, units, scan).await?]),
        }
    }

    async fn max(self, units: &[Unit], budget: &Budget, scan: &mut ScanReport) -> InUnit<Vec<ValueTree>> {
        let mut largest: Option<ValueTree> = None;
        for part in self.parts {
            let unit = part.unit;
            for tree in maxima(part, units, budget, scan).await? {
                let tree = match largest.take() {
                    None => tree,
                    Some(before) => larger(before, tree),
                };
                budget.resize(tree_bytes(&tree)).map_err(|error| (unit, error))?;
                largest = Some(tree);
            }
        }
        Ok(largest.into_iter().map(ValueTree::prune).collect())
    }

    async fn added(self, units: &[Unit], budget: &Budget, scan: &mut ScanReport) -> InUnit<Vec<ValueTree>> {
        let mut profiles: Vec<(usize, u32, ProfileRow)> = Vec::new();
        for part in self.parts {
            profiles.extend(part.profiles.into_iter().map(|profile| (part.unit, part.dictionary_id, profile)));
        }
        profiles.sort_by_key(|(unit, _, profile)| (profile.time_unix_nano, *unit, profile.profile));
        let (mut trees, mut before): (Vec<ValueTree>, Option<(ValueTree, i64)>) = (Vec::new(), None);
        for run in profiles.chunk_by(|a, b| a.0 == b.0) {
            let (unit, dictionary_id) = (run[0].0, run[0].1);
            for rows in parts(run.iter().map(|(_, _, profile)| *profile)) {
                let totals: Vec<i64> = rows.iter().map(|profile| profile.total).collect();
                let here = |error| (unit, error);
                let Loaded { sealed, columns, held } =
                    load(&units[unit], dictionary_id, rows, budget, scan).await.map_err(here)?;
                let tree = |column: &[i64]| tree_of(&sealed, column);
                if let (Some((last, total)), Some(first)) = (before.take(), columns.first()) {
                    trees.push(step(last, tree(first), totals[0] < total));
                }
                trees.push(tree(&added(&columns, &totals).map_err(here)?));
                before = columns.last().zip(totals.last()).map(|(last, total)| (tree(last), *total));
                drop(held);
                budget.resize(trees.iter().map(tree_bytes).sum()).map_err(here)?;
            }
            let first = trees.iter().map(magnitude).sum();
            check_magnitude(first).map_err(|error| (unit, error))?;
            trees = vec![merge(trees.into_iter().map(|tree| (tree, 0)).collect(), 1)];
        }
        Ok(trees.into_iter().map(ValueTree::prune).collect())
    }
}

/// `sum` / `count` to the nearest, halves away from zero.
fn nearest(sum: i64, count: u64) -> i64 {
    let (sum, count) = (i128::from(sum), i128::from(count));
    i64::try_from((2 * sum + sum.signum() * count) / (2 * count)).unwrap_or(i64::MAX)
}

async fn sum(part: Part, units: &[Unit], budget: &Budget, scan: &mut ScanReport) -> InUnit<ValueTree> {
    let Part { unit, dictionary_id, profiles, windows } = part;
    let group = Group { profiles, windows };
    let merged = merge_dictionary(units[unit].source.clone(), dictionary_id, group, budget.fresh()).await;
    let (tree, _, of_part) = merged.map_err(|error| (unit, error))?;
    *scan += of_part;
    budget.grow(tree_bytes(&tree)).map_err(|error| (unit, error))?;
    Ok(tree)
}

/// What the one window of `part` ends with.
async fn of_window(part: Part, units: &[Unit], scan: &mut ScanReport) -> InUnit<ValueTree> {
    let here = |error| (part.unit, error);
    let Source::Segment(stored) = &units[part.unit].source else {
        return Err(here(Error::internal("a head has no windows")));
    };
    let entry = entry_of(&stored.reader, part.dictionary_id).await.map_err(here)?;
    let sealed = stored.reader.load_dictionary(part.dictionary_id, scan).await.map_err(here)?;
    let sums = stored.reader.window_sums(&entry, &part.windows, scan).await.map_err(here)?;
    let mut lasts = vec![0; sealed.leaves.len()];
    for sums in &sums {
        put(&mut lasts, &sums.stacks, &sums.lasts).map_err(here)?;
    }
    Ok(tree_of(&sealed, &lasts))
}

/// Trees of which the largest values are those of `part`.
async fn maxima(part: Part, units: &[Unit], budget: &Budget, scan: &mut ScanReport) -> InUnit<Vec<ValueTree>> {
    let Part { unit, dictionary_id, profiles, windows } = part;
    let here = |error| (unit, error);
    let mut found = Vec::new();
    for rows in parts(profiles.into_iter()) {
        let loaded = load(&units[unit], dictionary_id, rows, budget, scan).await.map_err(here)?;
        found.push(tree_of(&loaded.sealed, &largest(loaded.columns)));
        drop(loaded.held);
    }
    if let (Source::Segment(stored), false) = (&units[unit].source, windows.is_empty()) {
        let entry = entry_of(&stored.reader, dictionary_id).await.map_err(here)?;
        let sealed = stored.reader.load_dictionary(dictionary_id, scan).await.map_err(here)?;
        for resolution in Resolution::ALL {
            let of: Vec<WindowRow> = windows.iter().copied().filter(|w| w.resolution == resolution).collect();
            let rows = of.iter().map(|window| window.row_count as usize).sum::<usize>();
            let held = budget.fresh();
            held.grow(rows * 28 + of.len() * sealed.leaves.len() * 8).map_err(here)?;
            let mut columns = Vec::with_capacity(of.len());
            for sums in stored.reader.window_sums(&entry, &of, scan).await.map_err(here)? {
                let mut column = vec![0; sealed.leaves.len()];
                put(&mut column, &sums.stacks, &sums.maxes).map_err(here)?;
                columns.push(column);
            }
            if !columns.is_empty() {
                found.push(tree_of(&sealed, &largest(columns)));
            }
        }
    }
    Ok(found)
}

/// Per stack the largest of `columns`.
fn largest(columns: Vec<Vec<i64>>) -> Vec<i64> {
    let larger = |mut all: Vec<i64>, column: Vec<i64>| {
        all.iter_mut().zip(column).for_each(|(largest, value)| *largest = value.max(*largest));
        all
    };
    columns.into_iter().reduce(larger).unwrap_or_default()
}

/// Per node the larger value.
fn larger(a: ValueTree, b: ValueTree) -> ValueTree {
    pairwise(a, b, i64::max)
}

/// What was added from the profile `before` to `after`.
fn step(before: ValueTree, after: ValueTree, is_restart: bool) -> ValueTree {
    pairwise(before, after, |before, after| grown(before, after, is_restart))
}

fn pairwise(a: ValueTree, b: ValueTree, both: impl Fn(i64, i64) -> i64) -> ValueTree {
    let ValueTree { dictionary, tree, values } = merge(vec![(a, 0), (b, 1)], 2);
    let column = values[0].iter().zip(&values[1]).map(|(a, b)| both(*a, *b)).collect();
    ValueTree { dictionary, tree, values: vec![column] }
}

fn grown(before: i64, after: i64, is_restart: bool) -> i64 {
    match after.checked_sub(before) {
        Some(more) if more >= 0 && !is_restart => more,
        _ => after,
    }
}

/// What was added from each profile to the next, by stack.
fn added(columns: &[Vec<i64>], totals: &[i64]) -> Result<Vec<i64>> {
    let mut sums = vec![0_i64; columns.first().map_or(0, Vec::len)];
    let mut all = 0_u128;
    for (columns, totals) in columns.windows(2).zip(totals.windows(2)) {
        let is_restart = totals[1] < totals[0];
        for (sum, (before, after)) in sums.iter_mut().zip(columns[0].iter().zip(&columns[1])) {
            let more = grown(*before, *after, is_restart);
            all += u128::from(more.unsigned_abs());
            *sum = sum.wrapping_add(more);
        }
    }
    check_magnitude(all)?;
    Ok(sums)
}

fn tree_of(sealed: &SealedDictionary, column: &[i64]) -> ValueTree {
    let dictionary = Arc::clone(&sealed.dictionary);
    ValueTree::from_stacks(dictionary, &sealed.tree, &sealed.leaves, &[column]).prune_symbols()
}

/// Adds `values` to `column` by stack.
fn put(column: &mut [i64], stacks: &[u32], values: &[i64]) -> Result<()> {
    for (stack, value) in stacks.iter().zip(values) {
        let cell = column.get_mut(*stack as usize);
        let cell = cell.ok_or_else(|| Error::corrupt("a stack is not in the dictionary").with("stack", stack))?;
        *cell = cell.wrapping_add(*value);
    }
    Ok(())
}

/// Profiles in parts of at most [`ROWS_MAX`] rows, or of one profile.
fn parts(profiles: impl Iterator<Item = ProfileRow>) -> Vec<Vec<ProfileRow>> {
    let mut parts: Vec<Vec<ProfileRow>> = Vec::new();
    let mut room = 0;
    for profile in profiles {
        let rows = profile.row_count as usize;
        match parts.last_mut().filter(|part| rows <= room && part.len() < PROFILES_MAX) {
            Some(part) => part.push(profile),
            None => {
                parts.push(vec![profile]);
                room = ROWS_MAX;
            }
        }
        room = room.saturating_sub(rows);
    }
    parts
}

/// Profiles that are in memory at one time, a value a stack each.
const PROFILES_MAX: usize = 64;

/// Values of profiles.
struct Loaded {
    sealed: Arc<SealedDictionary>,
    /// Per profile, a value a stack.
    columns: Vec<Vec<i64>>,
    /// Holds the bytes of all this.
    held: Budget,
}

/// The values of `profiles`, all of one dictionary of `unit`, by stack.
async fn load(
    unit: &Unit,
    dictionary_id: u32,
    profiles: Vec<ProfileRow>,
    budget: &Budget,
    scan: &mut ScanReport,
) -> Result<Loaded> {
    let rows: usize = profiles.iter().map(|profile| profile.row_count as usize).sum();
    let count = profiles.len();
    let (sealed, samples) = match &unit.source {
        Source::Segment(stored) => {
            let entry = entry_of(&stored.reader, dictionary_id).await?;
            let sealed = stored.reader.load_dictionary(dictionary_id, scan).await?;
            (sealed, stored.reader.samples(&entry, &profiles, scan).await?)
        }
        Source::Head(view) => {
            let selection = HeadSelection { dictionary_id, service_name: service_of(view, dictionary_id), profiles };
            let view = Arc::clone(view);
            let loading = SpawnedTask::spawn_blocking(move || view.samples(&selection)).join().await;
            let head = loading.map_err(|error| Error::internal("reading a head broke off").because(error))?;
            (Arc::new(head.sealed), head.samples)
        }
    };
    let held = budget.fresh();
    held.grow(rows * 16 + count * sealed.leaves.len() * 8 + dictionary_bytes(&sealed.dictionary))?;
    let mut columns = Vec::with_capacity(count);
    for samples in samples {
        let mut column = vec![0; sealed.leaves.len()];
        put(&mut column, &samples.stacks, &samples.values)?;
        columns.push(column);
    }
    Ok(Loaded { sealed, columns, held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_the_nearest_number() {
        let check = |sum, count, expected| assert_eq!(nearest(sum, count), expected, "{sum} of {count}");
        check(10, 4, 3);
        check(-10, 4, -3);
        check(9, 4, 2);
        check(0, 4, 0);
        check(i64::MAX, 1, i64::MAX);
        check(i64::MIN, 1, i64::MIN);
    }

    #[test]
    fn what_was_added_survives_restarts() {
        let columns = [vec![5, 3], vec![7, 3], vec![1, 4], vec![9, 2]];
        // 8, 10, 5: a restart; 11: the second stack alone falls
        let totals = [8, 10, 5, 11];
        assert_eq!(added(&columns, &totals).ok(), Some(vec![2 + 1 + 8, 4 + 2]));
        assert_eq!(added(&[], &[]).ok(), Some(Vec::new()));
        assert!(added(&[vec![0], vec![i64::MAX], vec![0], vec![i64::MAX]], &[0, i64::MAX, 0, i64::MAX]).is_err());
    }
}
