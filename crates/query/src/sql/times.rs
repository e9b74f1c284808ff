//! Times as arguments of table functions: timestamps, numbers of nanoseconds, and text as the `flamestore` command takes it.

use datafusion::common::ScalarValue;
use flamestore_model::{Error, Result, Time};

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
            Some(Some(text)) => text.parse::<Time>().map_err(|error| error.with("found", text))?.resolve(now),
            _ => return Err(Error::invalid("not a time: a timestamp, a number or text").with("found", value)),
        },
    }))
}

fn out_of_range(found: &str) -> Error {
    Error::invalid("a time lies between the years 1677 and 2262").with("found", found)
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
