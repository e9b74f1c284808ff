//! Points in time as people type them.
//!
//! ```text
//! time = RFC 3339 | date | unix number | "now" [ ("-" | "+") duration ]
//! ```
//!
//! A unix number is in seconds, milliseconds, microseconds or nanoseconds by its magnitude: below 10¹¹, 10¹⁴, 10¹⁷, or above.
//! So seconds reach the year 5138, and nanoseconds start in 1973. A fraction is one of seconds.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, SecondsFormat};

use crate::{Error, Result};

const EXAMPLES: &str = "2026-05-01T12:00:00Z, 2026-05-01, 1777636800, now, now-1h30m";

/// A point in time, absolute or relative to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Nanoseconds since 1970.
    At(i64),
    /// Nanoseconds after (before, if negative) now.
    Now(i64),
}

impl Time {
    /// Nanoseconds since 1970, given what is now.
    pub fn resolve(self, now: i64) -> i64 {
        match self {
            Self::At(time) => time,
            Self::Now(offset) => now.saturating_add(offset),
        }
    }
}

impl FromStr for Time {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let parsed = if let Some(rest) = text.strip_prefix("now") { relative(rest) } else { absolute(text) };
        parsed.ok_or_else(|| Error::invalid(format!("not a time; examples: {EXAMPLES}")))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => {
                f.write_str(&DateTime::from_timestamp_nanos(*time).to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            Self::Now(0) => f.write_str("now"),
            Self::Now(offset) => write!(f, "now{offset:+}ns"),
        }
    }
}

fn relative(rest: &str) -> Option<Time> {
    if rest.is_empty() {
        return Some(Time::Now(0));
    }
    let sign = match rest.as_bytes()[0] {
        b'-' => -1,
        b'+' => 1,
        _ => return None,
    };
    let duration = humantime::parse_duration(&rest[1..]).ok()?;
    Some(Time::Now(sign * i64::try_from(duration.as_nanos()).ok()?))
}

fn absolute(text: &str) -> Option<Time> {
    if let Ok(number) = text.parse::<i64>() {
        return unix(number).map(Time::At);
    }
    if let Some((seconds, fraction)) = text.split_once('.')
        && let Some(time) = fractional(seconds, fraction)
    {
        return Some(Time::At(time));
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_nanos_opt().map(Time::At);
    }
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt().map(Time::At)
}

fn unix(number: i64) -> Option<i64> {
    let scale = match number.unsigned_abs() {
        0..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    number.checked_mul(scale)
}

fn fractional(seconds: &str, fraction: &str) -> Option<i64> {
    if seconds.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole = seconds.parse::<u32>().ok()?;
    let nanos = format!("{fraction:0<9}").parse::<i64>().ok()?;
    Some(i64::from(whole) * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_777_636_800_000_000_000;

    fn check(text: &str, expected: Time) {
        assert_eq!(text.parse::<Time>().ok(), Some(expected), "{text}");
    }

    #[test]
    fn a_time_is_rfc_3339_or_a_date() {
        check("2026-05-01T12:00:00Z", Time::At(NOON));
        check("2026-05-01T14:00:00+02:00", Time::At(NOON));
        check("2026-05-01T12:00:00.000000001Z", Time::At(NOON + 1));
        check("2026-05-01", Time::At(NOON - 12 * 3_600_000_000_000));
    }

    #[test]
    fn a_unix_number_tells_its_unit_by_its_magnitude() {
        for text in ["1777636800", "1777636800000", "1777636800000000", "1777636800000000000", "1777636800.0"] {
            check(text, Time::At(NOON));
        }
        check("1777636800.25", Time::At(NOON + 250_000_000));
        check("0", Time::At(0));
    }

    #[test]
    fn a_time_may_be_relative_to_now() {
        check("now", Time::Now(0));
        check("now-1h30m", Time::Now(-5_400_000_000_000));
        check("now+5s", Time::Now(5_000_000_000));
        assert_eq!(Time::Now(-1).resolve(10), 9);
        assert_eq!(Time::At(3).resolve(10), 3);
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for text in
            ["", "yesterday", "now-", "now1h", "now-1parsec", "2026-13-01", "1.2.3", "2026-05-01T12:00:00", "1e9"]
        {
            let error = text.parse::<Time>().unwrap_err().to_string();
            assert!(error.contains("now-1h30m"), "{text}: {error}");
        }
    }
}
