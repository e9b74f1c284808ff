//! What requests ask about: selectors, ranges and numbers of nodes, checked.
//!
//! A field that is missing and one that is malformed are both `Invalid`, and the message says which.

use flamestore_model::{Error, MatchOp, Matcher, ProfileType, Result, Selector, TimeRange, names};

use crate::translate::{self, MAX_NODES_DEFAULT};

/// Nodes that may be asked for.
const MAX_NODES_MAX: i64 = 1 << 20;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// Which profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) selector: Selector,
    pub(super) range: TimeRange,
}

impl Asked {
    /// Series that fit all of `matchers`, in a range that must be there.
    ///
    /// # Errors
    /// `Invalid` when a matcher is no selector, or there is no range or one that ends before it starts.
    pub(super) fn series(matchers: &[String], start: i64, end: i64) -> Result<Self> {
        let mut all = Selector::default();
        for matcher in matchers {
            all.matchers.extend(translate::selector(matcher)?.matchers);
        }
        Ok(Self { selector: all, range: range(start, end)? })
    }

    /// Profiles of one type.
    ///
    /// # Errors
    /// As [`Asked::series`]; `Invalid` also when the type or the selector is missing.
    pub(super) fn typed(profile_type: &str, label_selector: &str, start: i64, end: i64) -> Result<Self> {
        if profile_type.is_empty() {
            return Err(Error::invalid("the request has no profile_typeID"));
        }
        let profile_type: ProfileType = profile_type.parse()?;
        if label_selector.trim().is_empty() {
            return Err(Error::invalid("the request has no label_selector; {} selects everything"));
        }
        let mut selector = translate::selector(label_selector)?;
        selector.matchers.push(Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, profile_type.to_string())?);
        Ok(Self { selector, range: range(start, end)? })
    }
}

/// The range of milliseconds `start..end`.
///
/// # Errors
/// `Invalid` when both are 0, which is how requests say none, or it ends before it starts.
pub(super) fn range(start: i64, end: i64) -> Result<TimeRange> {
    if start == 0 && end == 0 {
        return Err(Error::invalid("missing time range in the query: start and end are milliseconds since 1970"));
    }
    if start > end {
        return Err(Error::invalid("the range ends before it starts").with("start", start).with("end", end));
    }
    TimeRange::new(nanos(start), nanos(end))
}

/// Milliseconds as nanoseconds; what lies past the last of them is the last.
pub(super) fn nanos(millis: i64) -> i64 {
    millis.saturating_mul(NANOS_PER_MILLI)
}

/// Nanoseconds as the milliseconds that they lie in.
pub(super) fn millis(nanos: i64) -> i64 {
    nanos.div_euclid(NANOS_PER_MILLI)
}

/// How many nodes a flame graph keeps.
///
/// # Errors
/// `Invalid` when it is negative or more than [`MAX_NODES_MAX`].
pub(super) fn max_nodes(max_nodes: Option<i64>) -> Result<usize> {
    Ok(stated_max_nodes(max_nodes)?.unwrap_or(MAX_NODES_DEFAULT))
}

/// How many nodes are to be kept, if that is said: 0 says nothing.
///
/// # Errors
/// As [`max_nodes`].
pub(super) fn stated_max_nodes(max_nodes: Option<i64>) -> Result<Option<usize>> {
    let stated = max_nodes.unwrap_or_default();
    match usize::try_from(stated) {
        Ok(nodes) if stated <= MAX_NODES_MAX => Ok(Some(nodes).filter(|nodes| *nodes > 0)),
        _ => Err(Error::invalid("max_nodes is out of its bounds").with("found", stated).with("max", MAX_NODES_MAX)),
    }
}

/// The bytes of the id of a span or a trace: two hexadecimal digits a byte.
///
/// # Errors
/// `Invalid` when it has more or fewer, or other characters.
pub(super) fn hexadecimal<const BYTES: usize>(what: &str, text: &str) -> Result<[u8; BYTES]> {
    let wrong =
        || Error::invalid(format!("a {what} id is {} hexadecimal digits", 2 * BYTES)).with("id", format!("{text:?}"));
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let bytes: Vec<u8> =
        digits.ok_or_else(wrong)?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if text.len() == 2 * BYTES { bytes.try_into().map_err(|_| wrong()) } else { Err(wrong()) }
}

/// How long a step is, in milliseconds.
///
/// # Errors
/// `Invalid` when it is shorter than one, or longer than all of time.
pub(super) fn step_millis(seconds: f64) -> Result<i64> {
    const MAX: f64 = 1e12;
    let millis = seconds * 1000.0;
    // neither less nor more, nor no number
    if !(1.0..=MAX).contains(&millis) {
        return Err(Error::invalid("step must be >= 1ms and at most 30 years").with("step", seconds));
    }
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and 1e12")]
    Ok(millis as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

    fn told(asked: Result<Asked>) -> String {
        match asked {
            Ok(asked) => format!("{} {}", asked.selector, asked.range),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_question_has_a_type_a_selector_and_a_range() {
        let check = |ty: &str, selector: &str, start, end, expected: &str| {
            assert_eq!(told(Asked::typed(ty, selector, start, end)), expected);
        };
        let typed = format!("{{a=\"b\",__profile_type__=\"{CPU}\"}} 1000000..2000000");
        check(CPU, r#"{a="b"}"#, 1, 2, &typed);
        check(CPU, "{}", -1, i64::MAX, &format!("{{__profile_type__=\"{CPU}\"}} -1000000..{}", i64::MAX));
        check("", "{}", 1, 2, "the request has no profile_typeID");
        check(CPU, "", 1, 2, "the request has no label_selector; {} selects everything");
        check(CPU, "{", 1, 2, "selector: expected a label name [position=1, near=\"\"]");
        check(CPU, "{}", 3, 2, "the range ends before it starts [start=3, end=2]");
        assert!(told(Asked::typed(CPU, "{}", 0, 0)).starts_with("missing time range"));
        assert!(told(Asked::typed("cpu", "{}", 1, 2)).starts_with("a profile type has five parts"));
    }

    #[test]
    fn matchers_must_all_hold() {
        let matchers = [r#"{a="b"}"#.to_owned(), r#"{c=~"d",e!=""}"#.to_owned()];
        assert_eq!(told(Asked::series(&matchers, 0, 1)), r#"{a="b",c=~"d",e!=""} 0..1000000"#);
        assert_eq!(told(Asked::series(&[], 0, 1)), "{} 0..1000000");
        assert!(Asked::series(&["{".to_owned()], 0, 1).is_err());
    }

    #[test]
    fn nodes_and_steps_have_bounds() {
        assert_eq!(max_nodes(None).unwrap(), 8192);
        assert_eq!(max_nodes(Some(0)).unwrap(), 8192);
        assert_eq!(max_nodes(Some(1 << 20)).unwrap(), 1 << 20);
        assert_eq!(stated_max_nodes(Some(0)).unwrap(), None);
        assert!(max_nodes(Some(-1)).is_err() && max_nodes(Some((1 << 20) + 1)).is_err());
        assert_eq!(step_millis(0.001).unwrap(), 1);
        assert_eq!(step_millis(15.0).unwrap(), 15_000);
        for wrong in [0.0, -1.0, 0.0009, f64::NAN, f64::INFINITY] {
            assert!(step_millis(wrong).is_err(), "{wrong}");
        }
        assert_eq!(hexadecimal("span", "00ff10A0").unwrap(), [0, 255, 16, 160]);
        assert!(hexadecimal::<4>("span", "00ff10").is_err() && hexadecimal::<1>("span", "0x").is_err());
        assert_eq!((millis(-1), millis(1_999_999), nanos(i64::MAX)), (-1, 1, i64::MAX));
    }
}
