//! Times as Pyroscope's profilers write them.
//!
//! | text | means |
//! |---|---|
//! | 8 digits | a day: `YYYYMMDD` |
//! | 13, 16, 19 digits | milliseconds, microseconds, nanoseconds since 1970 |
//! | other digits | seconds since 1970 |
//! | `now`, `now-1h`, `now-1d12h` | relative: s, m or min, h, d, w, mon (30 days), y (365 days) |

use chrono::NaiveDate;
use flamestore_model::{Error, Result};

const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970 of `text`; `_`, `,` and space do not count.
///
/// # Errors
/// `Invalid` when it is none of the forms, or out of the range of 64 bits.
pub(crate) fn parse(name: &str, text: &str, now_unix_nano: i64) -> Result<i64> {
    let plain: String = text.chars().filter(|c| !matches!(c, '_' | ',' | ' ')).collect();
    let is_number = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit());
    let parsed = if is_number { absolute(&plain) } else { relative(&plain, now_unix_nano) };
    parsed.ok_or_else(|| Error::invalid(format!("{name}: not a time")).with("found", format!("{text:?}")))
}

fn absolute(digits: &str) -> Option<i64> {
    if digits.len() == 8 {
        let number = |at: std::ops::Range<usize>| digits[at].parse::<u32>().ok();
        let year = i32::try_from(number(0..4)?).ok()?;
        let day = NaiveDate::from_ymd_opt(year, number(4..6)?, number(6..8)?)?;
        return day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_nanos_opt();
    }
    let unit = match digits.len() {
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => SECOND,
    };
    digits.parse::<i64>().ok()?.checked_mul(unit)
}

fn relative(text: &str, now: i64) -> Option<i64> {
    let offset = text.strip_prefix("now").unwrap_or(text);
    if offset.is_empty() {
        return (!text.is_empty()).then_some(now);
    }
    let (sign, mut rest) = match offset.split_at_checked(1)? {
        ("-", rest) => (-1, rest),
        ("+", rest) => (1, rest),
        _ => return None,
    };
    if rest.is_empty() {
        return None;
    }
    let mut time = now;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: i64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let nanos = number.checked_mul(unit_seconds(&tail[..letters])?)?.checked_mul(SECOND)?;
        time = time.checked_add(nanos.checked_mul(sign)?)?;
        rest = &tail[letters..];
    }
    Some(time)
}

fn unit_seconds(unit: &str) -> Option<i64> {
    const DAY: i64 = 86_400;
    Some(match unit {
        u if u.starts_with('s') => 1,
        u if u.starts_with("mon") => 30 * DAY,
        u if u.starts_with('m') => 60,
        u if u.starts_with('h') => 3600,
        u if u.starts_with('d') => DAY,
        u if u.starts_with('w') => 7 * DAY,
        u if u.starts_with('y') => 365 * DAY,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000 * SECOND;

    #[test]
    fn times_come_in_many_forms() {
        for (text, expected) in [
            ("1795339413", 1_795_339_413 * SECOND),
            ("1795339413123", 1_795_339_413_123_000_000),
            ("1795339413123456", 1_795_339_413_123_456_000),
            ("1795339413123456789", 1_795_339_413_123_456_789),
            ("20261122", 1_795_305_600 * SECOND),
            ("2026_11_22", 1_795_305_600 * SECOND),
            ("0", 0),
            ("now", NOW),
            ("now-1h", NOW - 3600 * SECOND),
            ("now-1d12h", NOW - 129_600 * SECOND),
            ("-5min", NOW - 300 * SECOND),
            ("now+2s", NOW + 2 * SECOND),
            ("now - 1mon", NOW - 2_592_000 * SECOND),
        ] {
            assert_eq!(parse("from", text, NOW).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_named() {
        for text in
            ["", "yesterday", "now-", "now-h", "now-1x", "20261399", "99999999999999999999", "now-9999999999y", "é"]
        {
            let told = parse("until", text, NOW).map_err(|error| error.to_string());
            assert_eq!(told, Err(format!("until: not a time [found={text:?}]")));
        }
    }
}
