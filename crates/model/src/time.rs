//! Ranges of time.

use std::fmt;

use crate::{Error, Result};

/// A half-open range of nanoseconds since 1970: `start <= t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// The first nanosecond inside.
    pub start: i64,
    /// The first nanosecond after the range.
    pub end: i64,
}

impl TimeRange {
    /// Every time but the very last nanosecond that 64 bits can tell.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// The range from `start` up to, not including, `end`.
    ///
    /// # Errors
    /// `Invalid` when `end` lies before `start`.
    pub fn new(start: i64, end: i64) -> Result<Self> {
        if end < start {
            return Err(Error::invalid("a time range ends before it starts").with("start", start).with("end", end));
        }
        Ok(Self { start, end })
    }

    /// Whether no time lies inside.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether `time` lies inside.
    pub fn contains(&self, time: i64) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether a time from `min` to `max`, both included, lies inside.
    pub fn overlaps(&self, min: i64, max: i64) -> bool {
        self.start <= max && min < self.end
    }

    /// Whether all times from `min` to `max`, both included, lie inside.
    pub fn covers(&self, min: i64, max: i64) -> bool {
        self.start <= min && max < self.end
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}
