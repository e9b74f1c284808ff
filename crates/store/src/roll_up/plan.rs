//! Which months to roll up: a function of what exists, a policy and the time.
//!
//! A month of a tenant is rolled up when it is over since `month_grace`. Its days are taken whose segments all carry sums
//! of days and have all reached `level_min`, so that they are not about to be merged; a month with fewer than
//! `days_min` of them is left. A month that is rolled up is rolled up again when its days or their segments have changed,
//! and a segment of sums none of whose days is of use any more is dropped. A month with more rows of sums than
//! `rows_max` is left, since all its rows are in memory while it is rolled up.
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
    /// The most rows of sums of one month; 1 million take about 60 MB while they are rolled up.
    pub rows_max: u64,
}

/// A month to be rolled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUpPlan {
    /// Whose.
    pub tenant: Tenant,
    /// Its days and their segments; empty where the month has nothing to roll up any more.
    pub covers: Vec<DayCover>,
    /// The segments of sums that it replaces.
    pub replaces: Vec<SegmentId>,
}

impl Default for RollUpPolicy {
    /// Six hours after the month's end, from level 2 on, 2 days, 8 million rows.
    fn default() -> Self {
        Self { month_grace: Duration::from_secs(6 * 3600), level_min: 2, days_min: 2, rows_max: 8_000_000 }
    }
}

/// A month of UTC: year and month.
type Month = (i32, u32);

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
        match entry.covers.is_empty() {
            true => found.days.entry(entry.day).or_default().push(entry),
            false => found.sums.push(entry),
        }
    }
    let grace = i64::try_from(policy.month_grace.as_nanos()).unwrap_or(i64::MAX);
    let closed = month_of(Day::of(now_unix_nano.saturating_sub(grace)));
    let plans = months.into_iter().filter(|((_, month), _)| *month < closed);
    plans.filter_map(|((tenant, _), found)| plan_month(tenant, &found, policy)).collect()
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
        [only] => only.covers == covers,
        _ => false,
    };
    let replaces = found.sums.iter().map(|entry| entry.id).collect();
    (!is_there).then(|| RollUpPlan { tenant: tenant.clone(), covers, replaces })
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

fn month_of(day: Day) -> Month {
    let start = DateTime::from_timestamp(i64::from(day.days()) * 86_400, 0).unwrap_or_default();
    let date: NaiveDate = start.date_naive();
    (date.year(), date.month())
}

impl RollUpPlan {
    /// The segments that are read.
    pub fn inputs(&self) -> impl Iterator<Item = SegmentId> {
        self.covers.iter().flat_map(|cover| cover.segments.iter().copied())
    }

    /// Whether `manifest` still has all that the plan reads and replaces.
    pub fn holds(&self, manifest: &Manifest) -> bool {
        let live =
            |id: SegmentId| manifest.segment(id).is_some_and(|entry: &Arc<SegmentEntry>| entry.tenant == self.tenant);
        self.inputs().all(live) && self.replaces.iter().all(|id| live(*id))
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
        let table = |table| TableEntry { table, bytes: 10, rows: 100, footer_bytes: 1, checksum: 0 };
        Arc::new(SegmentEntry {
            id: SegmentId::from_parts(number, 0),
            tenant: Tenant::default(),
            day: Day::of(day * DAY),
            level,
            source: SegmentSource::Compaction,
            time_min: day * DAY + 1,
            time_max: day * DAY + 2,
            profile_types: Vec::new(),
            services: Vec::new(),
            tables: [Table::Windows, Table::Rollups1d].map(table).to_vec(),
            sample_rows: 0,
            profile_rows: 0,
            series: 0,
            stacks: 0,
            created_unix_nano: 0,
            writer: String::new(),
            writer_epoch: 0,
            format_version: 2,
            covers,
        })
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
