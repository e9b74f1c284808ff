//! Which months to roll up: a function of what exists, a policy and the time.
//!
//! A month of a tenant is rolled up when it is over since `month_grace`. Its days are taken whose segments all carry sums
//! of days and have all reached `level_min`, so that they are not about to be merged; a month with fewer than
//! `days_min` of them is left. A month that is rolled up is rolled up again when its days or their segments have changed,
//! and a segment of sums none of whose days is of use any more is dropped. A month that goes on is rolled up whenever it has
//! `days_step` days more, and when a segment of its days is gone. A month with more rows of sums than `rows_max` is left,
//! since all its rows are in memory while it is rolled up.
//!
//! Holds always: a segment is an input of one plan at most; after a plan is carried out nothing is planned for its month
//! until something changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate};
use flamestore_model::{SegmentId, Tenant};
use flamestore_segment::{Resolution, Table};

use crate::Day;
use crate::manifest::{DayCover, Manifest, SegmentEntry};

/// When months are rolled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUpPolicy {
    /// How long after its end a month is rolled up.
    pub month_grace: Duration,
    /// The level from which on segments of a day are settled.
    pub level_min: u32,
    /// The least days that are worth a segment; at least 2, so that a segment of sums can be told by its times.
    pub days_min: usize,
    /// How many days more a month that goes on is rolled up for.
    pub days_step: usize,
    /// The least months that are worth a segment of their own.
    pub months_min: usize,
    /// The most rows of sums of one segment; 1 million take about 60 MB while they are rolled up.
    pub rows_max: u64,
}

/// A month, or several of a year, to be rolled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUpPlan {
    /// Whose.
    pub tenant: Tenant,
    /// What the new segment is made of: days, or months that were rolled up before.
    pub of: RolledUp,
    /// The segments that are read: those of the days, or the months.
    pub inputs: Vec<SegmentId>,
    /// The days it stands for, and their segments; empty where there is nothing to roll up any more.
    pub covers: Vec<DayCover>,
    /// The segments of sums that it replaces.
    pub replaces: Vec<SegmentId>,
}

/// What is rolled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolledUp {
    /// The days of a month.
    Days,
    /// Months of a year.
    Months,
}

impl Default for RollUpPolicy {
    /// Six hours after the month's end and a week at a time before, from level 2 on, 2 days, 3 months, 8 million rows.
    fn default() -> Self {
        Self {
            month_grace: Duration::from_secs(6 * 3600),
            level_min: 2,
            days_min: 2,
            days_step: 7,
            months_min: 3,
            rows_max: 8_000_000,
        }
    }
}

/// A month of UTC: year and month.
pub(super) type Month = (i32, u32);

/// What a month has.
#[derive(Default)]
struct Found<'a> {
    days: BTreeMap<Day, Vec<&'a SegmentEntry>>,
    sums: Vec<&'a SegmentEntry>,
}

/// What is to be rolled up, by tenant and month.
pub fn plan_roll_ups(manifest: &Manifest, policy: &RollUpPolicy, now_unix_nano: i64) -> Vec<RollUpPlan> {
    let mut months: BTreeMap<(&Tenant, Month), Found<'_>> = BTreeMap::new();
    for entry in &manifest.segments {
        let found = months.entry((&entry.tenant, month_of(entry.day))).or_default();
        match entry.stands_for() {
            None => found.days.entry(entry.day).or_default().push(entry),
            Some(RolledUp::Days) => found.sums.push(entry),
            Some(RolledUp::Months) => {}
        }
    }
    let open = first_open(policy, now_unix_nano);
    let due = |((tenant, month), found): ((&Tenant, Month), Found<'_>)| {
        plan_month(tenant, &found, policy).filter(|plan| month < open || is_worth_it(manifest, &found, plan, policy))
    };
    months.into_iter().filter_map(due).collect()
}

/// The first month that is not over since its grace.
pub(super) fn first_open(policy: &RollUpPolicy, now_unix_nano: i64) -> Month {
    let grace = i64::try_from(policy.month_grace.as_nanos()).unwrap_or(i64::MAX);
    month_of(Day::of(now_unix_nano.saturating_sub(grace)))
}

/// Whether a month that goes on has enough days that are not rolled up, or sums of segments that are gone.
fn is_worth_it(manifest: &Manifest, found: &Found<'_>, plan: &RollUpPlan, policy: &RollUpPolicy) -> bool {
    let rolled: Vec<&DayCover> = found.sums.iter().flat_map(|entry| &entry.covers).collect();
    let is_gone = |id: &SegmentId| manifest.segment(*id).is_none();
    let more = plan.covers.iter().filter(|cover| !rolled.contains(cover)).count();
    more >= policy.days_step || rolled.iter().any(|cover| cover.segments.iter().any(is_gone))
}

fn plan_month(tenant: &Tenant, found: &Found<'_>, policy: &RollUpPolicy) -> Option<RollUpPlan> {
    let settled = found.days.iter().filter(|(_, segments)| segments.iter().all(|segment| is_settled(segment, policy)));
    let mut covers: Vec<DayCover> = settled.map(|(day, segments)| cover(*day, segments)).collect();
    let rows: u64 = found.days.values().flatten().map(|segment| rows_of_days(segment)).sum();
    if covers.len() < policy.days_min.max(2) || rows > policy.rows_max {
        covers.clear();
    }
    let is_there = match found.sums[..] {
        [] => covers.is_empty(),
        // One of an earlier build has no windows of 30 days.
        [only] => only.covers == covers && only.table(Resolution::Month.table()).is_some(),
        _ => false,
    };
    let replaces = found.sums.iter().map(|entry| entry.id).collect();
    let inputs = covers.iter().flat_map(|cover| cover.segments.iter().copied()).collect();
    (!is_there).then(|| RollUpPlan { tenant: tenant.clone(), of: RolledUp::Days, inputs, covers, replaces })
}

fn is_settled(segment: &SegmentEntry, policy: &RollUpPolicy) -> bool {
    segment.level >= policy.level_min
        && segment.table(Table::Windows).is_some()
        && segment.table(Resolution::Day.table()).is_some()
}

fn rows_of_days(segment: &SegmentEntry) -> u64 {
    segment.table(Resolution::Day.table()).map_or(0, |table| table.rows)
}

fn cover(day: Day, segments: &[&SegmentEntry]) -> DayCover {
    let mut ids: Vec<SegmentId> = segments.iter().map(|segment| segment.id).collect();
    ids.sort_unstable();
    DayCover {
        day,
        time_min: segments.iter().map(|segment| segment.time_min).min().unwrap_or_default(),
        time_max: segments.iter().map(|segment| segment.time_max).max().unwrap_or_default(),
        segments: ids,
    }
}

pub(super) fn month_of(day: Day) -> Month {
    let start = DateTime::from_timestamp(i64::from(day.days()) * 86_400, 0).unwrap_or_default();
    let date: NaiveDate = start.date_naive();
    (date.year(), date.month())
}

impl RollUpPlan {
    /// Whether `manifest` still has all that the plan reads and replaces.
    pub fn holds(&self, manifest: &Manifest) -> bool {
        let live =
            |id: SegmentId| manifest.segment(id).is_some_and(|entry: &Arc<SegmentEntry>| entry.tenant == self.tenant);
        self.inputs.iter().all(|id| live(*id)) && self.replaces.iter().all(|id| live(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{SegmentSource, TableEntry};

    const DAY: i64 = 86_400_000_000_000;
    /// 2026-03-01.
    const MARCH: i64 = 20_513;

    fn segment(day: i64, number: u64, level: u32, covers: Vec<DayCover>) -> Arc<SegmentEntry> {
        let tables = [Table::Windows, Table::Rollups1d, Table::Rollups30d].map(|table| TableEntry::of_rows(table, 100));
        let blank = SegmentEntry::blank(SegmentId::from_parts(number, 0), (day * DAY + 1, day * DAY + 2));
        Arc::new(SegmentEntry { level, source: SegmentSource::Compaction, tables: tables.to_vec(), covers, ..blank })
    }

    /// Plans as lines: the days with how many segments each, and how many segments are replaced.
    fn check(segments: &[Arc<SegmentEntry>], now_day: i64, expected: &str) {
        let manifest = Manifest { segments: segments.to_vec(), ..Manifest::default() };
        let plans = plan_roll_ups(&manifest, &RollUpPolicy::default(), now_day * DAY);
        assert!(plans.iter().all(|plan| plan.holds(&manifest)));
        let day = |cover: &DayCover| format!("{}:{}", cover.day, cover.segments.len());
        let line = |plan: &RollUpPlan| {
            let days: Vec<String> = plan.covers.iter().map(day).collect();
            format!("{} -{}", days.join(" "), plan.replaces.len())
        };
        assert_eq!(plans.iter().map(line).collect::<Vec<_>>().join("; "), expected);
    }

    #[test]
    fn a_month_that_goes_on_is_rolled_up_a_week_at_a_time() {
        let days = |count: u64| (0..).zip(1..=count).map(|(day, number)| segment(MARCH + day, number, 2, vec![]));
        let plan = |segments: &[Arc<SegmentEntry>]| {
            let manifest = Manifest { segments: segments.to_vec(), ..Manifest::default() };
            let mut plans = plan_roll_ups(&manifest, &RollUpPolicy::default(), (MARCH + 20) * DAY);
            assert!(plans.len() < 2 && plans.iter().all(|plan| plan.holds(&manifest)));
            plans.pop()
        };
        let with_sums = |count, covers: &[DayCover]| -> Vec<Arc<SegmentEntry>> {
            days(count).chain([segment(MARCH, 99, 0, covers.to_vec())]).collect()
        };
        assert_eq!(plan(&days(6).collect::<Vec<_>>()), None);
        let week = plan(&days(7).collect::<Vec<_>>()).map(|plan| plan.covers).unwrap_or_default();
        assert_eq!(week.len(), 7);
        assert_eq!(plan(&with_sums(13, &week)), None);
        let more = plan(&with_sums(14, &week));
        assert_eq!(more.map(|plan| (plan.covers.len(), plan.replaces.len())), Some((14, 1)));
        // A day that was deleted must not stay in the sums.
        let without_a_day: Vec<_> = with_sums(8, &week).into_iter().skip(1).collect();
        let again = plan(&without_a_day);
        assert_eq!(again.map(|plan| (plan.covers.len(), plan.replaces.len())), Some((7, 1)));
    }

    #[test]
    fn a_month_without_windows_of_30_days_is_rolled_up_again() {
        let days = [segment(MARCH, 1, 2, vec![]), segment(MARCH + 1, 2, 2, vec![])];
        let covers: Vec<DayCover> = days.iter().map(|entry| cover(entry.day, &[entry])).collect();
        let mut sums = segment(MARCH, 9, 0, covers);
        check(&[days.to_vec(), vec![Arc::clone(&sums)]].concat(), MARCH + 40, "");
        Arc::make_mut(&mut sums).tables.retain(|table| table.table != Table::Rollups30d);
        check(&[days.to_vec(), vec![sums]].concat(), MARCH + 40, "2026-03-01:1 2026-03-02:1 -1");
    }

    #[test]
    fn a_closed_month_is_rolled_up_once_and_again_when_it_changes() {
        let days = [segment(MARCH, 1, 2, vec![]), segment(MARCH + 1, 2, 2, vec![]), segment(MARCH + 1, 3, 3, vec![])];
        let (april, may) = (MARCH + 31, MARCH + 61);
        check(&days, april - 1, "");
        check(&days, april, "");
        check(&days, april + 1, "2026-03-01:1 2026-03-02:2 -0");
        let manifest = Manifest { segments: days.to_vec(), ..Manifest::default() };
        let plan = plan_roll_ups(&manifest, &RollUpPolicy::default(), may * DAY).remove(0);
        let sums = segment(MARCH, 9, 0, plan.covers);
        let rolled = [days.to_vec(), vec![Arc::clone(&sums)]].concat();
        check(&rolled, may, "");
        let late = segment(MARCH + 1, 4, 2, vec![]);
        check(&[rolled.clone(), vec![late]].concat(), may, "2026-03-01:1 2026-03-02:3 -1");
        let fresh = segment(MARCH + 1, 4, 0, vec![]);
        check(&[rolled.clone(), vec![fresh]].concat(), may, " -1");
        check(&[sums], may, " -1");
        check(&[rolled, vec![segment(april, 5, 2, vec![]), segment(april + 3, 6, 2, vec![])]].concat(), may, "");
    }

    #[test]
    fn months_that_are_not_worth_it_or_too_large_are_left() {
        check(&[segment(MARCH, 1, 2, vec![])], MARCH + 40, "");
        let fresh = [segment(MARCH, 1, 0, vec![]), segment(MARCH + 1, 2, 2, vec![])];
        check(&fresh, MARCH + 40, "");
        let days = [segment(MARCH, 1, 2, vec![]), segment(MARCH + 1, 2, 2, vec![])];
        let manifest = Manifest { segments: days.to_vec(), ..Manifest::default() };
        let policy = RollUpPolicy { rows_max: 199, ..RollUpPolicy::default() };
        assert_eq!(plan_roll_ups(&manifest, &policy, (MARCH + 40) * DAY), []);
    }
}
