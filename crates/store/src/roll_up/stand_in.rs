//! Which segments answer for others: a segment that repeats the days of others as sums, one dictionary for all of them.
//!
//! A day of such a segment stands for exactly the segments that its entry names. Within a range it answers the whole day
//! when all of them are readable and all their profiles of the day lie inside; then they are left alone. In any other case
//! they answer for themselves and the day of the sums is not looked at. So late segments, segments that were merged anew or
//! rewritten, and damaged ones cost time and never a profile.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use flamestore_model::{SegmentId, TimeRange};
use flamestore_segment::Resolution;

use crate::Day;
use crate::manifest::SegmentEntry;

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
        for entry in readable {
            for cover in &entry.covers {
                let whole = range.covers(cover.time_min, cover.time_max);
                // A segment that is answered already is answered by an earlier stand-in of the same day.
                let free = |id: &SegmentId| ids.contains(id) && !found.answered.contains(id);
                if whole && cover.segments.iter().all(free) {
                    found.answered.extend(&cover.segments);
                    found.days.entry(entry.id).or_default().insert(start_of(cover.day));
                }
            }
        }
        found
    }
}

/// The start of a day, in nanoseconds since 1970, as windows of roll-ups tell it.
fn start_of(day: Day) -> i64 {
    i64::from(day.days()).checked_mul(Resolution::Day.nanos()).unwrap_or(i64::MIN)
}

#[cfg(test)]
mod tests {
    use flamestore_model::Tenant;

    use super::*;
    use crate::manifest::{DayCover, SegmentSource};

    const DAY: i64 = 86_400_000_000_000;

    /// A small generator of numbers below `end`.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    fn entry(number: u64, times: (i64, i64), covers: Vec<DayCover>) -> Arc<SegmentEntry> {
        Arc::new(SegmentEntry {
            id: SegmentId::from_parts(number, 0),
            tenant: Tenant::default(),
            day: Day::of(times.0),
            level: 2,
            source: SegmentSource::Compaction,
            time_min: times.0,
            time_max: times.1,
            profile_types: Vec::new(),
            services: Vec::new(),
            tables: Vec::new(),
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

    /// Two profiles of a segment, each of which has to be answered once.
    fn times(numbers: &mut Numbers) -> (i64, i64) {
        let day = i64::try_from(numbers.below(6)).unwrap_or_default() - 3;
        let mut time = || day * DAY + i64::try_from(numbers.below(24)).unwrap_or_default() * (DAY / 24);
        let (a, b) = (time(), time());
        (a.min(b), a.max(b))
    }

    #[test]
    fn every_profile_of_a_range_is_answered_once_whatever_covers_what() {
        let mut numbers = Numbers(7);
        for round in 0..2000 {
            let segments: Vec<_> = (0..8).map(|number| entry(number, times(&mut numbers), Vec::new())).collect();
            let mut all = segments.clone();
            for number in 8..8 + numbers.below(4) {
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
                all.push(entry(number, (0, 0), by_day.into_iter().map(cover).collect()));
            }
            // Some were merged away or are damaged.
            let readable: Vec<&Arc<SegmentEntry>> = all.iter().filter(|_| numbers.below(10) > 0).collect();
            let bound =
                |numbers: &mut Numbers| (i64::try_from(numbers.below(200)).unwrap_or_default() - 100) * (DAY / 24);
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
                let covers = entry.iter().flat_map(|entry| &entry.covers).filter(|c| days.contains(&start_of(c.day)));
                for id in covers.flat_map(|cover| &cover.segments) {
                    assert!(readable.iter().any(|entry| entry.id == *id), "round {round}");
                }
            }
        }
    }
}
