//! Which profiles a merge leaves out.

use flamestore_model::TimeRange;

use super::DropRule;
use super::series::SeriesName;

/// The rules of a merge.
#[derive(Debug)]
pub(super) struct Rules(Vec<DropRule>);

/// The times within which the profiles of one series are left out.
#[derive(Clone, Debug, Default)]
pub(super) struct DroppedTimes(Vec<TimeRange>);

impl Rules {
    pub(super) fn new(rules: Vec<DropRule>) -> Self {
        Self(rules)
    }

    pub(super) fn of(&self, series: &SeriesName) -> DroppedTimes {
        if self.0.is_empty() {
            return DroppedTimes::default();
        }
        let labels = series.all_labels();
        let fits = |rule: &&DropRule| rule.selector.matches(|name| labels.get(name).unwrap_or_default());
        DroppedTimes(self.0.iter().filter(fits).map(|rule| rule.range).collect())
    }
}

impl DroppedTimes {
    pub(super) fn contains(&self, time: i64) -> bool {
        self.0.iter().any(|range| range.contains(time))
    }

    /// Whether every time from `min` to `max` is within one of the ranges.
    pub(super) fn covers(&self, min: i64, max: i64) -> bool {
        self.0.iter().any(|range| range.covers(min, max))
    }
}
