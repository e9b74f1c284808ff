//! Totals over time.
//!
//! ```text
//! start ────┬──────────┬──────────┬── end        points at start, start + step, … up to end
//!   (t−step, t]  (t−step, t]                     each of the step that ends there, its end included
//! ```
//!
//! The first step begins before the range, so that it is whole. One that would end after the range is left out: it is not
//! complete.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use flamestore_model::{Error, Labels, MatchOp, Matcher, Result, TimeRange};
use flamestore_proto::querier::v1;
use flamestore_proto::types::v1::{Exemplar, ExemplarType, LabelPair, Point, Series, TimeSeriesAggregationType};
use flamestore_query::{Combine, Memory, ProfileEntry, Steps, TimePoint, TimeSeries};

use super::ask::{self, Asked};
use super::lists::pairs;
use super::merges::call_site;
use super::reader::Reader;

/// Points of a call site in one answer.
const MERGES_MAX: usize = 4096;
/// What a point takes as it is read, added up and answered.
const POINT_BYTES: usize = 64 + size_of::<TimePoint>() + size_of::<Point>();
/// What the profile of a point takes beside its texts.
const KEPT_BYTES: usize = 64 + size_of::<(Labels, i64)>() + size_of::<ProfileEntry>();

/// The totals and the numbers of profiles of steps, by when these end.
type Totals = BTreeMap<i64, (i128, u64)>;

/// The steps of a request, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

impl Grid {
    /// Steps of so many seconds.
    ///
    /// # Errors
    /// `Invalid` when a step makes no sense.
    pub(super) fn new(start: i64, end: i64, step_seconds: f64) -> Result<Self> {
        Ok(Self { start, end, step: ask::step_millis(step_seconds)? })
    }

    /// How many steps end inside of the range.
    pub(super) fn len(&self) -> usize {
        let steps = self.end.saturating_sub(self.start).checked_div(self.step).unwrap_or_default();
        usize::try_from(steps).map_or(0, |steps| steps.saturating_add(1))
    }

    /// Which of them ends at `end`.
    pub(super) fn place(&self, end: i64) -> Option<usize> {
        usize::try_from(end.checked_sub(self.start)?.checked_div(self.step)?).ok()
    }

    /// When the step ends that the time `nanos` lies in, if that is inside of the range.
    pub(super) fn end_around(&self, nanos: i64) -> Option<i64> {
        let into = ask::millis(nanos).checked_sub(self.start)?;
        let steps = into.div_euclid(self.step) + i64::from(into.rem_euclid(self.step) > 0);
        let end = steps.checked_mul(self.step)?.checked_add(self.start)?;
        (end <= self.end && end >= self.start).then_some(end)
    }

    /// The steps as the engine has them. A time in the millisecond in which a step ends is part of it.
    fn steps(&self, is_counted: bool) -> Steps {
        let origin_nano = ask::nanos(self.start.saturating_add(1));
        Steps { step_nano: ask::nanos(self.step), origin_nano, is_counted }
    }

    /// When the step ends that starts at `nanos`, if that is inside of the range.
    fn end_of(&self, nanos: i64) -> Option<i64> {
        let end = ask::millis(nanos).checked_add(self.step - 1)?;
        (end <= self.end).then_some(end)
    }

    /// What is read for all of the steps.
    pub(super) fn widened(&self, mut asked: Asked) -> Asked {
        // one step, less the millisecond that is the end of the step before
        let before = ask::nanos(self.step - 1);
        asked.range.start = asked.range.start.saturating_sub(before);
        asked
    }
}

pub(super) async fn select(reader: &Reader, request: &v1::SelectSeriesRequest) -> Result<v1::SelectSeriesResponse> {
    let asked = Asked::typed(&request.profile_type_id, &request.label_selector, request.start, request.end)?;
    let grid = Grid::new(request.start, request.end, request.step)?;
    let call_site = call_site(request.stack_trace_selector.as_ref())?;
    let average = match request.aggregation.map(TimeSeriesAggregationType::try_from) {
        None | Some(Ok(TimeSeriesAggregationType::Sum)) => false,
        Some(Ok(TimeSeriesAggregationType::Average)) => true,
        Some(Err(_)) => return Err(Error::unsupported("there is no such aggregation")),
    };
    let with_exemplars = match ExemplarType::try_from(request.exemplar_type) {
        Ok(ExemplarType::Unspecified | ExemplarType::None) => false,
        Ok(ExemplarType::Individual) => true,
        Ok(ExemplarType::Span) => return Err(Error::unsupported("series have no exemplars of spans")),
        Err(_) => return Err(Error::unsupported("there is no such type of exemplars")),
    };
    let asked = grid.widened(asked);
    let found = reader.totals(&asked, &grid.steps(average), &request.group_by).await?;
    let memory = reader.engine.memory("series");
    memory.grow(found.iter().map(|of| 2 * pair_bytes(&of.labels) + of.points.len() * POINT_BYTES).sum())?;
    let mut groups = grouped(found, &grid);
    if !call_site.is_empty() {
        groups = below(reader, &asked, &grid, &request.group_by, &call_site, groups).await?;
    }
    let mut series = ranked(groups, average, request.limit);
    if with_exemplars {
        exemplars(reader, &asked, &grid, &request.group_by, &mut series, &memory).await?;
    }
    Ok(v1::SelectSeriesResponse { series })
}

/// Totals of all that is asked for, by the labels `group_by`.
///
/// # Errors
/// Those of the engine.
pub(super) async fn totals(
    reader: &Reader,
    asked: &Asked,
    grid: &Grid,
    group_by: &[String],
    average: bool,
) -> Result<Vec<Series>> {
    let found = reader.totals(&grid.widened(asked.clone()), &grid.steps(average), group_by).await?;
    Ok(ranked(grouped(found, grid), average, None))
}

/// The same totals of stacks that begin with `call_site`: a merge for each of them.
///
/// # Errors
/// `Exhausted` when there are more than [`MERGES_MAX`]; those of the engine.
async fn below(
    reader: &Reader,
    asked: &Asked,
    grid: &Grid,
    group_by: &[String],
    call_site: &[String],
    mut groups: BTreeMap<Labels, Totals>,
) -> Result<BTreeMap<Labels, Totals>> {
    let merges: usize = groups.values().map(BTreeMap::len).sum();
    if merges > MERGES_MAX {
        let many = "too many points of a call site, each of which is a merge; ask for longer steps or fewer series";
        return Err(Error::exhausted(many).with("points_max", MERGES_MAX).with("found", merges));
    }
    for (labels, totals) in &mut groups {
        let mut selector = asked.selector.clone();
        for name in group_by {
            selector.matchers.push(Matcher::new(name, MatchOp::Equal, labels.get(name).unwrap_or_default())?);
        }
        for (end, (total, _)) in totals {
            let start = ask::nanos(end.saturating_sub(grid.step).saturating_add(1));
            let range = TimeRange {
                start: start.max(asked.range.start),
                end: ask::nanos(end.saturating_add(1)).min(asked.range.end),
            };
            let step = Asked { selector: selector.clone(), range };
            let tree = reader.merge(&step, Combine::Sum).await?;
            let call_site = call_site.to_vec();
            let sum = move || Ok(tree.below(&call_site).values[0].iter().map(|value| i128::from(*value)).sum());
            *total = reader.compute.run(sum).await?;
        }
    }
    Ok(groups)
}

/// Gives each point the profile of the largest total that it is made of.
async fn exemplars(
    reader: &Reader,
    asked: &Asked,
    grid: &Grid,
    group_by: &[String],
    series: &mut [Series],
    memory: &Memory,
) -> Result<()> {
    let mut largest: HashMap<(Labels, i64), ProfileEntry> = HashMap::new();
    let profiles = reader.profiles(asked, memory).await?;
    let mut memory = memory.in_steps();
    for entry in profiles {
        let Some(end) = grid.end_around(entry.time_unix_nano) else { continue };
        let group = (group_of(&entry, group_by), end);
        if !largest.contains_key(&group) {
            memory.grow(KEPT_BYTES + pair_bytes(&group.0))?;
        }
        match largest.entry(group) {
            Entry::Occupied(mut kept) if kept.get().total < entry.total => {
                kept.insert(entry);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(free) => {
                free.insert(entry);
            }
        }
    }
    for Series { labels, points } in series {
        let group = labels.iter().fold(Labels::default(), |group, label| group.with(&label.name, &label.value));
        for point in points {
            if let Some(entry) = largest.remove(&(group.clone(), point.timestamp)) {
                memory.grow(exemplar_bytes(&entry))?;
                point.exemplars.push(exemplar(&entry, &group));
            }
        }
    }
    Ok(())
}

/// The labels by which an entry is grouped.
pub(super) fn group_of(entry: &ProfileEntry, group_by: &[String]) -> Labels {
    group_by.iter().fold(Labels::default(), |group, name| {
        let derived = entry.profile_type.derived_label(name);
        group.with(name, entry.labels.get(name).or(derived.as_deref()).unwrap_or_default())
    })
}

/// A profile as an example of what a group is made of: its labels are those that the group does not have.
pub(super) fn exemplar(entry: &ProfileEntry, group: &Labels) -> Exemplar {
    let own = group.iter().fold(entry.labels.clone(), |labels, (name, _)| labels.with(name, ""));
    let id = entry.id.to_string();
    let profile_id = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| id.get(part).unwrap_or_default()).join("-");
    Exemplar {
        timestamp: ask::millis(entry.time_unix_nano),
        profile_id,
        value: entry.total,
        labels: pairs(&own),
        ..Default::default()
    }
}

/// What an exemplar of `entry` takes, about.
pub(super) fn exemplar_bytes(entry: &ProfileEntry) -> usize {
    const ID_BYTES: usize = 36;
    size_of::<Exemplar>() + ID_BYTES + 2 * pair_bytes(&entry.labels)
}

/// What labels take, about.
pub(super) fn pair_bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| size_of::<LabelPair>() + name.len() + value.len()).sum()
}

/// The totals of several tenants by label set and end of step.
fn grouped(found: Vec<TimeSeries>, grid: &Grid) -> BTreeMap<Labels, Totals> {
    let mut groups: BTreeMap<Labels, Totals> = BTreeMap::new();
    for series in found {
        let totals = groups.entry(series.labels).or_default();
        for point in series.points {
            if let Some(end) = grid.end_of(point.time_unix_nano) {
                let (total, profiles) = totals.entry(end).or_default();
                *total += i128::from(point.total);
                *profiles += point.profiles;
            }
        }
    }
    groups.retain(|_, totals| !totals.is_empty());
    groups
}

/// The series of the largest totals, those first, then by labels.
fn ranked(groups: BTreeMap<Labels, Totals>, average: bool, limit: Option<i64>) -> Vec<Series> {
    let mut ranked: Vec<(i128, Labels, Totals)> = groups
        .into_iter()
        .map(|(labels, totals)| (totals.values().map(|(total, _)| total).sum(), labels, totals))
        .collect();
    ranked.sort_by_key(|(total, _, _)| Reverse(*total));
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    ranked.truncate(limit.unwrap_or(usize::MAX));
    let series = |(_, labels, totals): (i128, Labels, Totals)| Series {
        labels: pairs(&labels),
        points: totals.into_iter().map(|(end, total)| point(end, total, average)).collect(),
    };
    ranked.into_iter().map(series).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the protocol has floating point numbers")]
fn point(timestamp: i64, (total, profiles): (i128, u64), average: bool) -> Point {
    let value = match (average, profiles) {
        (true, 1..) => total as f64 / profiles as f64,
        _ => total as f64,
    };
    Point { value, timestamp, annotations: Vec::new(), exemplars: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pod: &str) -> Labels {
        Labels::default().with("pod", pod)
    }

    fn series(pod: &str, points: &[(i64, i64, u64)]) -> TimeSeries {
        let point = |(millis, total, profiles): &(i64, i64, u64)| TimePoint {
            time_unix_nano: ask::nanos(*millis),
            total: *total,
            profiles: *profiles,
        };
        TimeSeries { labels: labels(pod), points: points.iter().map(point).collect() }
    }

    #[test]
    fn steps_end_at_the_start_and_every_step_after_it() {
        let grid = Grid::new(1000, 1050, 0.02).unwrap();
        assert_eq!(grid.steps(false), Steps { step_nano: 20_000_000, origin_nano: 1_001_000_000, is_counted: false });
        let ends = [981, 1001, 1021, 1041].map(|start| grid.end_of(ask::nanos(start)));
        assert_eq!(ends, [Some(1000), Some(1020), Some(1040), None]);
        let asked = Asked::series(&[], 1000, 1050).unwrap();
        assert_eq!(grid.widened(asked).range.start, 981_000_000);
    }

    #[test]
    fn series_come_by_falling_total() {
        let grid = Grid::new(0, 100, 0.01).unwrap();
        let found = vec![series("a", &[(1, 4, 2), (11, 1, 1)]), series("b", &[(1, 9, 3)]), series("a", &[(1, 2, 1)])];
        let groups = grouped(found, &grid);
        let told = |average, limit| {
            let told = |series: Series| {
                let points: Vec<_> = series.points.iter().map(|p| format!("{}@{}", p.value, p.timestamp)).collect();
                format!("{} {}", series.labels[0].value, points.join(" "))
            };
            ranked(groups.clone(), average, limit).into_iter().map(told).collect::<Vec<_>>().join(" | ")
        };
        assert_eq!(told(false, None), "b 9@10 | a 6@10 1@20");
        assert_eq!(told(true, Some(0)), "b 3@10 | a 2@10 1@20");
        assert_eq!(told(false, Some(1)), "b 9@10");
    }
}
