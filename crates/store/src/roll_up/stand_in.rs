//! Which segments answer for others: a segment that repeats the days of others as sums, one dictionary for all of them.
//!
//! A day of such a segment stands for exactly the segments that its entry names. Within a range it answers the whole day
//! when all of them are readable and all their profiles of the day lie inside; then they are left alone. In any other case
//! they answer for themselves and the day of the sums is not looked at. So late segments, segments that were merged anew or
//! rewritten, and damaged ones cost time and never a profile.
//!
//! ```text
//! range            ├──────────────────────────────────────────┤
//! year       ╞═════════╪═════════╪═════════╪═════════╡               windows of 30 days: all days of one or none
//! used                 ╞═════════╪═════════╪═════════╡
//! months     ╞══════════╪══════════╪═════════╪══════════╪═════╡      days, each for itself
//! used             ╞═══╡                             ╞════════╡
//! ```
//!
//! A year has the symbols of all its months, so it is asked first where it saves months: from [`WINDOWS_MIN`] windows on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use flamestore_model::{SegmentId, TimeRange};
use flamestore_segment::Resolution;

use super::plan::RolledUp;
use crate::Day;
use crate::manifest::{DayCover, SegmentEntry};

/// From how many windows of 30 days on a segment of windows of 30 days goes before those of days: fewer are two months or
/// three, which the ends of a range need anyway.
const WINDOWS_MIN: usize = 3;

/// Which segments answer for others within one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandIns {
    /// The starts of the days that a segment answers for others; only segments that answer some are listed.
    pub days: BTreeMap<SegmentId, BTreeSet<i64>>,
    /// The segments whose profiles of the range are all answered by others.
    pub answered: HashSet<SegmentId>,
}

impl StandIns {
    /// Decides for `range`, given all segments that can be read.
    pub fn new(readable: &[&Arc<SegmentEntry>], range: &TimeRange) -> Self {
        let ids: HashSet<SegmentId> = readable.iter().map(|entry| entry.id).collect();
        let mut found = Self::default();
        let years = || readable.iter().filter(|entry| entry.stands_for() == Some(RolledUp::Months));
        for entry in years() {
            found.take(entry, range, &ids, WINDOWS_MIN);
        }
        for entry in readable.iter().filter(|entry| entry.stands_for() == Some(RolledUp::Days)) {
            found.take(entry, range, &ids, 1);
        }
        // Where a month is missing or damaged, a year is better than its days.
        for entry in years() {
            found.take(entry, range, &ids, 1);
        }
        found
    }

    /// The same by windows of days alone.
    pub fn of_days(readable: &[&Arc<SegmentEntry>], range: &TimeRange) -> Self {
        let ids: HashSet<SegmentId> = readable.iter().map(|entry| entry.id).collect();
        let mut found = Self::default();
        for entry in readable.iter().filter(|entry| entry.stands_for() == Some(RolledUp::Days)) {
            found.take(entry, range, &ids, 1);
        }
        found
    }

    /// Lets `entry` answer what it can of `range` and nobody answers yet, if these are `units_min` of its days or windows.
    fn take(&mut self, entry: &SegmentEntry, range: &TimeRange, ids: &HashSet<SegmentId>, units_min: usize) {
        let unit = match entry.stands_for() {
            Some(RolledUp::Months) => Resolution::Month,
            _ => Resolution::Day,
        };
        // A segment that is answered already is answered by an earlier stand-in of the same day.
        let is_free = |id: &SegmentId| ids.contains(id) && !self.answered.contains(id);
        let fits =
            |cover: &DayCover| range.covers(cover.time_min, cover.time_max) && cover.segments.iter().all(is_free);
        let units = entry.covers.chunk_by(|a, b| unit.start_of(start_of(a.day)) == unit.start_of(start_of(b.day)));
        let fitting: Vec<&[DayCover]> = units.filter(|unit| unit.iter().all(fits)).collect();
        if fitting.len() < units_min {
            return;
        }
        for cover in fitting.into_iter().flatten() {
            self.answered.extend(&cover.segments);
            self.days.entry(entry.id).or_default().insert(start_of(cover.day));
        }
    }
}

/// The start of a day, in nanoseconds since 1970, as windows of roll-ups tell it.
fn start_of(day: Day) -> i64 {
    i64::from(day.days()).checked_mul(Resolution::Day.nanos()).unwrap_or(i64::MIN)
}

#[cfg(test)]
mod tests {
    use flamestore_segment::Table;

    use super::*;
    use crate::manifest::{DayCover, SegmentSource, TableEntry};

    const DAY: i64 = 86_400_000_000_000;

    /// A small generator of numbers below `end`.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    /// Days of five windows of 30 days.
    const DAYS: [i64; 6] = [-65, -33, -2, 0, 1, 31];

    fn day(numbers: &mut Numbers) -> i64 {
        usize::try_from(numbers.below(6)).map_or(0, |at| DAYS[at])
    }

    fn entry(number: u64, times: (i64, i64), table: Table, covers: Vec<DayCover>) -> Arc<SegmentEntry> {
        let tables = vec![TableEntry::of_rows(table, 1)];
        let blank = SegmentEntry::blank(SegmentId::from_parts(number, 0), times);
        Arc::new(SegmentEntry { level: 2, source: SegmentSource::Compaction, tables, covers, ..blank })
    }

    /// Two profiles of a segment, each of which has to be answered once.
    fn times(numbers: &mut Numbers) -> (i64, i64) {
        let day = day(numbers);
        let mut time = || day * DAY + i64::try_from(numbers.below(24)).unwrap_or_default() * (DAY / 24);
        let (a, b) = (time(), time());
        (a.min(b), a.max(b))
    }

    #[test]
    fn every_profile_of_a_range_is_answered_once_whatever_covers_what() {
        let (mut numbers, mut years) = (Numbers(7), 0);
        for round in 0..2000 {
            let segments: Vec<_> =
                (0..8).map(|number| entry(number, times(&mut numbers), Table::Samples, Vec::new())).collect();
            let mut all = segments.clone();
            for number in 8..8 + numbers.below(5) {
                let mut by_day: BTreeMap<Day, Vec<&Arc<SegmentEntry>>> = BTreeMap::new();
                for segment in segments.iter().filter(|_| numbers.below(3) > 0) {
                    by_day.entry(segment.day).or_default().push(segment);
                }
                let cover = |(day, of): (Day, Vec<&Arc<SegmentEntry>>)| DayCover {
                    day,
                    time_min: of.iter().map(|segment| segment.time_min).min().unwrap_or_default(),
                    time_max: of.iter().map(|segment| segment.time_max).max().unwrap_or_default(),
                    segments: of.iter().map(|segment| segment.id).collect(),
                };
                let table = if numbers.below(2) == 0 { Table::Rollups1d } else { Table::Rollups30d };
                all.push(entry(number, (0, 0), table, by_day.into_iter().map(cover).collect()));
            }
            // Some were merged away or are damaged.
            let readable: Vec<&Arc<SegmentEntry>> = all.iter().filter(|_| numbers.below(10) > 0).collect();
            let bound = |numbers: &mut Numbers| {
                let hours = i64::try_from(numbers.below(72)).unwrap_or_default() - 24;
                day(numbers) * DAY + hours * (DAY / 24)
            };
            let (a, b) = (bound(&mut numbers), bound(&mut numbers));
            let range = TimeRange { start: a.min(b), end: a.max(b) };
            let stand_ins = StandIns::new(&readable, &range);
            for segment in readable.iter().filter(|segment| segment.covers.is_empty()) {
                for time in [segment.time_min, segment.time_max] {
                    let covers = |other: &&&Arc<SegmentEntry>| {
                        let day = start_of(Day::of(time));
                        let used = stand_ins.days.get(&other.id).is_some_and(|days| days.contains(&day));
                        used && other.covers.iter().any(|c| c.day == segment.day && c.segments.contains(&segment.id))
                    };
                    let by_others = readable.iter().filter(covers).count();
                    let by_itself = usize::from(!stand_ins.answered.contains(&segment.id));
                    assert_eq!(by_others + by_itself, 1, "round {round}, {range}");
                    assert!(by_others == 0 || range.contains(time), "round {round}, {range}");
                }
            }
            // Nothing is answered from a day whose segments are not all there.
            for (id, days) in &stand_ins.days {
                let entry = readable.iter().find(|entry| entry.id == *id);
                let is_year = |entry: &&&Arc<SegmentEntry>| entry.stands_for() == Some(RolledUp::Months);
                for cover in entry.iter().copied().filter(is_year).flat_map(|entry| &entry.covers) {
                    let window = |day: i64| Resolution::Month.start_of(day);
                    let start = start_of(cover.day);
                    let is_used = days.iter().any(|day| window(*day) == window(start));
                    assert_eq!(days.contains(&start), is_used, "a part of a window, round {round}");
                    years += u32::from(is_used);
                }
                let covers = entry.iter().flat_map(|entry| &entry.covers).filter(|c| days.contains(&start_of(c.day)));
                for id in covers.flat_map(|cover| &cover.segments) {
                    assert!(readable.iter().any(|entry| entry.id == *id), "round {round}");
                }
            }
        }
        assert!(years > 100, "{years}");
    }

    #[test]
    fn a_year_goes_before_its_months_where_it_saves_some() {
        // A day of each of four windows, rolled up alone and together.
        let day = |n: i64| n * 30 * DAY;
        let segments: Vec<_> =
            (0..4).map(|n: i64| entry(n.unsigned_abs(), (day(n), day(n) + 1), Table::Samples, Vec::new())).collect();
        let cover = |of: &Arc<SegmentEntry>| DayCover {
            day: of.day,
            time_min: of.time_min,
            time_max: of.time_max,
            segments: vec![of.id],
        };
        let month = |(number, of): (u64, &Arc<SegmentEntry>)| {
            entry(number, (of.time_min, of.time_max), Table::Rollups1d, vec![cover(of)])
        };
        let months: Vec<_> = (10..).zip(&segments).map(month).collect();
        let year = entry(20, (0, day(3) + 1), Table::Rollups30d, segments.iter().map(cover).collect());
        let all: Vec<_> = segments.iter().chain(&months).chain([&year]).collect();
        let used = |all: &[&Arc<SegmentEntry>], start: i64, end: i64| {
            let found = StandIns::new(all, &TimeRange { start, end });
            let number = |id: &SegmentId| all.iter().position(|entry| entry.id == *id).unwrap_or_default();
            found.days.iter().map(|(id, days)| (number(id), days.len())).collect::<Vec<_>>()
        };
        let year_at = all.len() - 1;
        assert_eq!(used(&all, 0, day(4)), [(year_at, 4)]);
        assert_eq!(used(&all, 1, day(4)), [(year_at, 3)]);
        assert_eq!(used(&all, 1, day(3)), [(5, 1), (6, 1)]);
        let without_a_month: Vec<_> = all.iter().copied().filter(|entry| entry.id != months[1].id).collect();
        assert_eq!(used(&without_a_month, 1, day(3)), [(5, 1), (year_at - 1, 1)]);
    }
}
