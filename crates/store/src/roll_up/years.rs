//! Which months of a year to roll up further: one dictionary for all of them, and windows of 30 days only.
//!
//! Taken are the months that are closed and rolled up, all of whose segments are live. Those of one year become one segment,
//! or several where they have more rows than `rows_max`; fewer than `months_min` are left. A year grows with each month that
//! is closed, and is rolled up again when one of its months was. What no month stands behind any more is dropped.
//!
//! Holds always: what a year stands for is what its months stand for, so a year that is gone costs time and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use flamestore_model::{SegmentId, Tenant};
use flamestore_segment::Resolution;

use super::plan::{RollUpPlan, RollUpPolicy, RolledUp, first_open, month_of};
use crate::manifest::{DayCover, Manifest, SegmentEntry};

/// What a year has.
#[derive(Default)]
struct Found<'a> {
    months: Vec<&'a Arc<SegmentEntry>>,
    sums: Vec<&'a Arc<SegmentEntry>>,
}

/// What is to be rolled up of months, by tenant and year.
pub fn plan_years(manifest: &Manifest, policy: &RollUpPolicy, now_unix_nano: i64) -> Vec<RollUpPlan> {
    let open = first_open(policy, now_unix_nano);
    let mut years: BTreeMap<(&Tenant, i32), Found<'_>> = BTreeMap::new();
    for entry in &manifest.segments {
        let Some(of) = entry.stands_for() else { continue };
        let month = month_of(entry.day);
        let found = years.entry((&entry.tenant, month.0)).or_default();
        match of {
            RolledUp::Months => found.sums.push(entry),
            RolledUp::Days if month < open && is_whole(manifest, entry) => found.months.push(entry),
            RolledUp::Days => {}
        }
    }
    years.into_iter().flat_map(|((tenant, _), found)| plan_year(tenant, found, policy)).collect()
}

/// Whether all that a month stands for is there: its windows cannot be told apart.
fn is_whole(manifest: &Manifest, month: &SegmentEntry) -> bool {
    let is_live = |id: &SegmentId| manifest.segment(*id).is_some();
    month.table(Resolution::Month.table()).is_some() && month.covers.iter().all(|c| c.segments.iter().all(is_live))
}

fn plan_year(tenant: &Tenant, found: Found<'_>, policy: &RollUpPolicy) -> Vec<RollUpPlan> {
    let Found { mut months, sums } = found;
    months.sort_by_key(|month| month.day);
    let plan = |group: &[&Arc<SegmentEntry>]| RollUpPlan {
        tenant: tenant.clone(),
        of: RolledUp::Months,
        inputs: group.iter().map(|month| month.id).collect(),
        covers: covers(group),
        replaces: Vec::new(),
    };
    let mut plans: Vec<RollUpPlan> = groups(&months, policy).into_iter().map(plan).collect();
    let mut stale = Vec::new();
    for entry in sums {
        match plans.iter().position(|plan| plan.covers == entry.covers) {
            Some(at) => drop(plans.remove(at)),
            None => stale.push(entry.id),
        }
    }
    if plans.is_empty() && !stale.is_empty() {
        plans.push(plan(&[]));
    }
    if let Some(first) = plans.first_mut() {
        first.replaces = stale;
    }
    plans
}

fn covers(group: &[&Arc<SegmentEntry>]) -> Vec<DayCover> {
    group.iter().flat_map(|month| month.covers.iter().cloned()).collect()
}

/// Neighbouring months, as many as `rows_max` allows.
fn groups<'m, 'e>(months: &'m [&'e Arc<SegmentEntry>], policy: &RollUpPolicy) -> Vec<&'m [&'e Arc<SegmentEntry>]> {
    let (mut groups, mut start, mut rows) = (Vec::new(), 0, 0_u64);
    for (at, month) in months.iter().enumerate() {
        let more = month.table(Resolution::Month.table()).map_or(0, |table| table.rows);
        if rows.saturating_add(more) > policy.rows_max {
            groups.push(&months[start..at]);
            (start, rows) = (at, 0);
        }
        rows = rows.saturating_add(more);
    }
    groups.push(&months[start..]);
    // A month alone that has too many rows is left too.
    groups.retain(|group| group.len() >= policy.months_min.max(2));
    groups
}

#[cfg(test)]
mod tests {
    use flamestore_segment::Table;

    use super::*;
    use crate::manifest::{SegmentSource, TableEntry};

    const DAY: i64 = 86_400_000_000_000;
    /// 2026-01-01.
    const JANUARY: i64 = 20_454;
    const STARTS: [i64; 6] = [0, 31, 59, 90, 120, 151];

    fn entry(number: u64, day: i64, tables: &[Table], covers: Vec<DayCover>) -> Arc<SegmentEntry> {
        let tables = tables.iter().map(|table| TableEntry::of_rows(*table, 100)).collect();
        let blank = SegmentEntry::blank(SegmentId::from_parts(number, 0), (day * DAY, day * DAY + 1));
        Arc::new(SegmentEntry { level: 2, source: SegmentSource::RollUp, tables, covers, ..blank })
    }

    /// Months from January on: a day of one segment each, number 10 + month, rolled up by number 20 + month.
    fn months(count: usize) -> Vec<Arc<SegmentEntry>> {
        let month = |(number, start): (u64, &i64)| {
            let day = JANUARY + start;
            let samples = entry(10 + number, day, &[Table::Samples, Table::Rollups1d], Vec::new());
            let cover = DayCover {
                day: samples.day,
                time_min: samples.time_min,
                time_max: samples.time_max,
                segments: vec![samples.id],
            };
            [samples, entry(20 + number, day, &[Table::Windows, Table::Rollups1d, Table::Rollups30d], vec![cover])]
        };
        (0..).zip(&STARTS[..count]).flat_map(month).collect()
    }

    fn plan(segments: &[Arc<SegmentEntry>], now_day: i64, policy: &RollUpPolicy) -> Vec<RollUpPlan> {
        let manifest = Manifest { segments: segments.to_vec(), ..Manifest::default() };
        let plans = plan_years(&manifest, policy, (JANUARY + now_day) * DAY);
        assert!(plans.iter().all(|plan| plan.holds(&manifest) && plan.of == RolledUp::Months));
        plans
    }

    /// Plans as lines: how many months, and how many segments are replaced.
    fn check(segments: &[Arc<SegmentEntry>], now_day: i64, policy: &RollUpPolicy, expected: &str) {
        let line = |plan: &RollUpPlan| {
            assert_eq!(plan.covers.len(), plan.inputs.len());
            format!("{} -{}", plan.inputs.len(), plan.replaces.len())
        };
        assert_eq!(plan(segments, now_day, policy).iter().map(line).collect::<Vec<_>>().join("; "), expected);
    }

    #[test]
    fn a_year_grows_with_its_closed_months() {
        let policy = RollUpPolicy::default();
        check(&months(2), 70, &policy, "");
        check(&months(3), 80, &policy, "");
        check(&months(3), 91, &policy, "3 -0");
        let covers = plan(&months(3), 91, &policy).remove(0).covers;
        let sums = entry(40, JANUARY, &[Table::Windows, Table::Rollups30d], covers);
        check(&[months(3), vec![Arc::clone(&sums)]].concat(), 91, &policy, "");
        check(&[months(4), vec![Arc::clone(&sums)]].concat(), 121, &policy, "4 -1");
        // Of a month whose segments were merged anew nothing is taken.
        let gone = |number: u64| {
            let mut left = [months(4), vec![Arc::clone(&sums)]].concat();
            left.retain(|entry| entry.id != SegmentId::from_parts(number, 0));
            left
        };
        check(&gone(11), 121, &policy, "3 -1");
        check(&gone(13), 121, &policy, "");
        check(&[months(1), vec![sums]].concat(), 121, &policy, "0 -1");
    }

    #[test]
    fn a_year_of_many_rows_becomes_several_segments() {
        let policy = RollUpPolicy { rows_max: 350, ..RollUpPolicy::default() };
        check(&months(6), 200, &policy, "3 -0; 3 -0");
        check(&months(5), 200, &policy, "3 -0");
        let covers = plan(&months(6), 200, &policy).remove(1).covers;
        let sums = entry(40, JANUARY + STARTS[3], &[Table::Windows, Table::Rollups30d], covers);
        check(&[months(6), vec![sums]].concat(), 200, &policy, "3 -0");
        check(&months(6), 200, &RollUpPolicy { rows_max: 99, ..policy }, "");
    }
}
