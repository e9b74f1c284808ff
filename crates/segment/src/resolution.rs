//! The windows that roll-ups sum over.

use std::fmt;

use crate::Table;

/// How long a window of a roll-up is. Windows start at multiples of their length since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resolution {
    /// One hour.
    Hour,
    /// One day of UTC.
    Day,
    /// Thirty days of UTC.
    Month,
}

/// Which roll-ups a segment is built with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RollUps {
    /// None: a segment of minutes would repeat its rows.
    #[default]
    None,
    /// Those of hours: for segments of about an hour, whose days would repeat their hours.
    Hours,
    /// Those of hours and of days: for segments of about a day.
    HoursAndDays,
    /// Those of days and of 30 days: for segments of a month that stand for others.
    DaysAndMonths,
    /// Those of 30 days: for segments of many months that stand for others.
    Months,
}

impl Resolution {
    /// All resolutions, the finest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// The length of a window in nanoseconds.
    pub fn nanos(self) -> i64 {
        match self {
            Self::Hour => 3_600_000_000_000,
            Self::Day => 86_400_000_000_000,
            Self::Month => 30 * 86_400_000_000_000,
        }
    }

    /// The resolution of windows that are `nanos` long.
    pub fn from_nanos(nanos: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|resolution| resolution.nanos() == nanos)
    }

    /// The table of its rows.
    pub fn table(self) -> Table {
        match self {
            Self::Hour => Table::Rollups1h,
            Self::Day => Table::Rollups1d,
            Self::Month => Table::Rollups30d,
        }
    }

    /// The start of the window that `time` is in; the first time there is, where the window starts before it.
    pub fn start_of(self, time: i64) -> i64 {
        time.div_euclid(self.nanos()).checked_mul(self.nanos()).unwrap_or(i64::MIN)
    }
}

impl RollUps {
    /// The resolutions, the finest first.
    pub fn resolutions(self) -> &'static [Resolution] {
        match self {
            Self::None => &[],
            Self::Hours => &[Resolution::Hour],
            Self::HoursAndDays => &[Resolution::Hour, Resolution::Day],
            Self::DaysAndMonths => &[Resolution::Day, Resolution::Month],
            Self::Months => &[Resolution::Month],
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::Month => "30d",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_start_at_multiples_of_their_length() {
        let hour = Resolution::Hour.nanos();
        for (time, start) in [(0, 0), (hour - 1, 0), (hour, hour), (-1, -hour), (-hour, -hour), (-hour - 1, -2 * hour)]
        {
            assert_eq!(Resolution::Hour.start_of(time), start, "{time}");
        }
        for resolution in Resolution::ALL {
            assert_eq!(resolution.start_of(i64::MIN), i64::MIN);
            assert!(i64::MAX - resolution.start_of(i64::MAX) < resolution.nanos());
            assert_eq!(Resolution::from_nanos(resolution.nanos()), Some(resolution));
        }
    }
}
