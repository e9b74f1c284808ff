//! Times as arguments of table functions: timestamps, numbers of nanoseconds, and text as the `flamestore` command takes it.
//!
//! ```text
//! text = RFC 3339 | date | unix number | "now" [ ("-" | "+") duration ]
//! ```
//!
//! A unix number in text is in seconds, milliseconds, microseconds or nanoseconds by its magnitude: below 10¹¹, 10¹⁴, 10¹⁷, or
//! above.

use chrono::{DateTime, NaiveDate};
use datafusion::common::ScalarValue;
use flamestore_model::{Error, Result};

const EXAMPLES: &str = "2026-05-01T12:00:00Z, 2026-05-01, 1777636800, now, now-1h30m";

/// The time that `value` is, in nanoseconds since 1970, given what is now; `None` of null.
///
/// # Errors
/// `Invalid` when it is none, or out of range.
pub(super) fn time_of(value: &ScalarValue, now: i64) -> Result<Option<i64>> {
    let scaled = |value: i64, nanos: i64| value.checked_mul(nanos).ok_or_else(|| out_of_range(&value.to_string()));
    Ok(Some(match value {
        value if value.is_null() => return Ok(None),
        ScalarValue::TimestampNanosecond(Some(time), _) | ScalarValue::Int64(Some(time)) => *time,
        ScalarValue::TimestampMicrosecond(Some(time), _) => scaled(*time, 1_000)?,
        ScalarValue::TimestampMillisecond(Some(time), _) => scaled(*time, 1_000_000)?,
        ScalarValue::TimestampSecond(Some(time), _) => scaled(*time, 1_000_000_000)?,
        ScalarValue::Date32(Some(days)) => scaled(i64::from(*days), 86_400_000_000_000)?,
        ScalarValue::UInt64(Some(time)) => i64::try_from(*time).map_err(|_| out_of_range(&time.to_string()))?,
        value => match value.try_as_str() {
            Some(Some(text)) => parse(text, now).ok_or_else(|| no_time(text))?,
            _ => return Err(no_time(&value.to_string())),
        },
    }))
}

fn no_time(found: &str) -> Error {
    Error::invalid(format!("not a time; examples: {EXAMPLES}")).with("found", found)
}

fn out_of_range(found: &str) -> Error {
    Error::invalid("a time lies between the years 1677 and 2262").with("found", found)
}

fn parse(text: &str, now: i64) -> Option<i64> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("now") {
        return relative(rest, now);
    }
    if let Ok(number) = text.parse::<i64>() {
        return unix(number);
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_nanos_opt();
    }
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
}

fn relative(rest: &str, now: i64) -> Option<i64> {
    let sign = match rest.as_bytes().first() {
        None => return Some(now),
        Some(b'-') => -1,
        Some(b'+') => 1,
        Some(_) => return None,
    };
    let duration = humantime::parse_duration(&rest[1..]).ok()?;
    Some(now.saturating_add(sign * i64::try_from(duration.as_nanos()).ok()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_777_636_800_000_000_000;

    fn check(value: impl Into<ScalarValue>, expected: Option<i64>) {
        let value = value.into();
        assert_eq!(time_of(&value, NOON).ok().flatten(), expected, "{value}");
    }

    #[test]
    fn times_are_timestamps_numbers_or_text() {
        check(ScalarValue::TimestampNanosecond(Some(7), Some("UTC".into())), Some(7));
        check(ScalarValue::TimestampSecond(Some(7), None), Some(7_000_000_000));
        check(7_i64, Some(7));
        check("2026-05-01T14:00:00+02:00", Some(NOON));
        check("2026-05-01", Some(NOON - 43_200_000_000_000));
        check("1777636800", Some(NOON));
        check("now-1h30m", Some(NOON - 5_400_000_000_000));
        check("now", Some(NOON));
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for text in ["", "yesterday", "now-", "now1h", "2026-13-01", "2026-05-01T12:00:00"] {
            let error = time_of(&ScalarValue::from(text), NOON).unwrap_err().to_string();
            assert!(error.contains("now-1h30m"), "{text}: {error}");
        }
        assert!(time_of(&ScalarValue::from(true), NOON).is_err());
        assert!(time_of(&ScalarValue::TimestampSecond(Some(i64::MAX), None), NOON).is_err());
    }
}
