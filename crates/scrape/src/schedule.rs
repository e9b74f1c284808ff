//! When what is scraped: each target at its own phase of its interval, so that targets are not hit at once.
//!
//! ```text
//! interval │······x·······│······x·······│   x: the hash of the target's key, modulo the interval
//! ```
//!
//! A plain value: time is an argument, counted from the scheduler's start. The phase is one of wall time, so a scraper that
//! restarts goes on at the same times. A target that is being scraped is not due; when its scrape ends it is due at its next
//! time, and those that passed meanwhile are left out. Holds one entry a target.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// The name of a target in the schedule: a hash of its job, URL and labels.
pub(crate) type TargetKey = u128;

/// Which target is due when.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    entries: HashMap<TargetKey, Entry>,
    waiting: BTreeSet<(Duration, TargetKey)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    interval: Duration,
    due: Duration,
}

/// A target that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) key: TargetKey,
    /// When it became due.
    pub(crate) at: Duration,
}

impl Schedule {
    /// Adds a target that is not there yet: it is due at its phase of `interval`, after `now`, which is `now_unix_nano` of wall
    /// time.
    pub(crate) fn insert(&mut self, key: TargetKey, interval: Duration, now: Duration, now_unix_nano: i64) {
        if self.entries.contains_key(&key) {
            return;
        }
        let due = now + wait(key, interval, now_unix_nano);
        self.entries.insert(key, Entry { interval, due });
        self.waiting.insert((due, key));
    }

    /// Forgets a target, whether it waits or is being scraped.
    pub(crate) fn remove(&mut self, key: TargetKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.waiting.remove(&(entry.due, key));
        }
    }

    /// When the next target is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The target that is due longest at `now`; it is being scraped from now on.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<Due> {
        let (at, key) = *self.waiting.first().filter(|(due, _)| *due <= now)?;
        self.waiting.remove(&(at, key));
        Some(Due { key, at })
    }

    /// The scrape of a target has ended: it is due at its next time after `now`. Says how many times passed meanwhile.
    pub(crate) fn finish(&mut self, key: TargetKey, now: Duration) -> u64 {
        let Some(entry) = self.entries.get_mut(&key) else { return 0 };
        if self.waiting.contains(&(entry.due, key)) {
            return 0; // it went and came again meanwhile
        }
        let interval = entry.interval.as_nanos().max(1);
        let passed = now.saturating_sub(entry.due).as_nanos() / interval;
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        entry.due = entry.due.saturating_add(nanos(interval.saturating_mul(u128::from(passed) + 1)));
        self.waiting.insert((entry.due, key));
        passed
    }
}

/// How long until wall time is at the phase of `key`.
fn wait(key: TargetKey, interval: Duration, now_unix_nano: i64) -> Duration {
    let interval = interval.as_nanos().max(1);
    let phase = key % interval;
    let at = u128::try_from(now_unix_nano).unwrap_or_default() % interval;
    nanos((phase + interval - at) % interval)
}

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_128;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(n: u32) -> TargetKey {
        xxh3_128(&n.to_le_bytes())
    }

    #[test]
    fn phases_are_spread_over_the_interval_and_outlive_a_restart() {
        let interval = 15 * SECOND;
        let phases = |now_unix_nano: i64| -> Vec<u128> {
            let phase = |n| {
                (wait(key(n), interval, now_unix_nano).as_nanos() + now_unix_nano.unsigned_abs() as u128)
                    % interval.as_nanos()
            };
            (0..2000).map(phase).collect()
        };
        let first = phases(1_790_000_000_123_456_789);
        assert_eq!(first, phases(1_790_000_777_000_000_001));
        let mut by_second = [0usize; 15];
        first.iter().for_each(|phase| by_second[usize::try_from(phase / 1_000_000_000).unwrap()] += 1);
        assert!(by_second.iter().all(|count| (80..190).contains(count)), "{by_second:?}");
    }

    #[test]
    fn two_thousand_targets_are_scraped_every_interval_for_five_minutes() {
        let (interval, mut schedule) = (15 * SECOND, Schedule::default());
        (0..2000).for_each(|n| schedule.insert(key(n), interval, Duration::ZERO, 7));
        let (mut scrapes, mut last) = (0u32, HashMap::new());
        while let Some(due) = schedule.next_due().filter(|due| *due < 300 * SECOND) {
            let taken = schedule.take_due(due).unwrap();
            if let Some(before) = last.insert(taken.key, due) {
                assert_eq!(due - before, interval);
            }
            assert_eq!(schedule.take_due(due.saturating_sub(Duration::from_nanos(1))), None);
            // each takes as long as its key says, up to an interval
            let takes = Duration::from_millis(u64::try_from(taken.key % 14_000).unwrap());
            assert_eq!(schedule.finish(taken.key, due + takes), 0);
            scrapes += 1;
        }
        assert_eq!(scrapes, 2000 * 20);
    }

    #[test]
    fn a_scrape_longer_than_its_interval_leaves_times_out() {
        let mut schedule = Schedule::default();
        schedule.insert(3, 10 * SECOND, Duration::ZERO, 0);
        let due = schedule.next_due().unwrap();
        assert_eq!(schedule.take_due(due), Some(Due { key: 3, at: due }));
        assert_eq!(schedule.next_due(), None);
        assert_eq!(schedule.finish(3, due + 25 * SECOND), 2);
        assert_eq!(schedule.next_due(), Some(due + 30 * SECOND));
    }

    #[test]
    fn a_target_that_is_gone_is_not_due_again() {
        let mut schedule = Schedule::default();
        (0..2).for_each(|n| schedule.insert(n, SECOND, Duration::ZERO, 0));
        let taken = schedule.take_due(SECOND).unwrap();
        schedule.remove(taken.key);
        assert_eq!(schedule.finish(taken.key, SECOND), 0);
        schedule.remove(1 - taken.key);
        assert_eq!(schedule.next_due(), None);
        // one that comes again while the scrape of its former self runs is due once
        schedule.insert(0, SECOND, Duration::ZERO, 0);
        let taken = schedule.take_due(SECOND).unwrap();
        schedule.remove(taken.key);
        schedule.insert(taken.key, SECOND, Duration::ZERO, 0);
        let due = schedule.next_due();
        assert_eq!(schedule.finish(taken.key, SECOND), 0);
        assert_eq!(schedule.next_due(), due);
        assert!(schedule.take_due(SECOND).is_some() && schedule.next_due().is_none());
    }
}
