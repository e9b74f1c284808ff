//! Times and ranges as people type them.
//!
//! ```text
//! range = time ".." time          the end is not included; a time is what [`Time`] says
//! ```

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use flamestore_model::{Error, Result, TimeRange};

pub(crate) use flamestore_model::Time;

/// Two times, `A..B`; the end is not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first moment inside.
    pub(crate) start: Time,
    /// The first moment after it.
    pub(crate) end: Time,
}

/// Nanoseconds since 1970 by the clock of this machine.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// `time_unix_nano` as RFC 3339 in UTC with nanoseconds.
pub(crate) fn rfc3339(time_unix_nano: i64) -> String {
    DateTime::from_timestamp_nanos(time_unix_nano).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// `time_unix_nano` as RFC 3339 in UTC with as many digits as it needs.
pub(crate) fn short(time_unix_nano: i64) -> String {
    DateTime::from_timestamp_nanos(time_unix_nano).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

impl Span {
    /// The range, given what is now.
    ///
    /// # Errors
    /// `Invalid` when it ends before it starts.
    pub(crate) fn resolve(self, now: i64) -> Result<TimeRange> {
        let (start, end) = (self.start.resolve(now), self.end.resolve(now));
        let wrong =
            |_| Error::invalid(format!("the time range ends at {}, before its start at {}", short(end), short(start)));
        TimeRange::new(start, end).map_err(wrong)
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((start, end)) = text.split_once("..") else {
            return Err(Error::invalid("not a range A..B; examples: now-2h..now-1h, 2026-05-01..2026-05-02"));
        };
        Ok(Self { start: start.parse()?, end: end.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_777_636_800_000_000_000;

    #[test]
    fn a_range_has_two_ends_in_order() {
        let span: Span = "now-2h..now-1h".parse().unwrap();
        let range = span.resolve(NOON).unwrap();
        assert_eq!((NOON - range.start, NOON - range.end), (7_200_000_000_000, 3_600_000_000_000));
        assert!("now".parse::<Span>().is_err());
        let backwards: Span = "now..now-1h".parse().unwrap();
        assert!(backwards.resolve(NOON).unwrap_err().to_string().contains("2026-05-01T12:00:00Z"));
    }

    #[test]
    fn times_are_printed_with_nanoseconds() {
        assert_eq!(rfc3339(NOON + 1), "2026-05-01T12:00:00.000000001Z");
        assert_eq!(rfc3339(NOON), "2026-05-01T12:00:00.000000000Z");
        assert_eq!(short(NOON), "2026-05-01T12:00:00Z");
    }
}
