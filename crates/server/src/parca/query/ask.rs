//! What requests ask about: profile types with selectors, ranges, modes and reports, checked.
//!
//! A field that is missing and one that makes no sense are both `Invalid`, and the message says which.

use flamestore_model::{Error, MatchOp, Matcher, ProfileType, Result, Selector, TimeRange, names};
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_request::{self, Mode, ReportType};
use flamestore_proto::parca::query::v1alpha1::{profile_diff_selection, query_request::Options};
use prost_types::Timestamp;

use super::nested::Form;
use crate::translate;

pub(super) const SECOND_NANOS: i64 = 1_000_000_000;
const MILLI_NANOS: i64 = 1_000_000;

/// Which profiles of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) ty: ProfileType,
    /// Whether it is asked for profiles of what happened in a window of time, or for all others.
    pub(super) is_delta: bool,
    /// The conditions beside that on the type.
    pub(super) selector: Selector,
    pub(super) range: TimeRange,
    /// Whether there must be some: a single profile that is not there is an error.
    pub(super) is_single: bool,
}

/// What a report is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    One(Asked),
    Diff { base: Asked, compared: Asked, is_absolute: bool },
}

/// The reports that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    FlameGraph,
    /// The same as nested messages.
    Nested(Form),
    Table,
    Pprof,
    Top,
    CallGraph,
    Metadata,
}

impl Asked {
    /// The selector with the condition on the type `ty`.
    ///
    /// # Errors
    /// None in fact.
    pub(super) fn selector_of(&self, ty: &ProfileType) -> Result<Selector> {
        let mut selector = self.selector.clone();
        selector.matchers.push(Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, ty.to_string())?);
        Ok(selector)
    }
}

/// A type, whether it is one with `:delta`, and the other conditions of a query.
///
/// # Errors
/// `Invalid` when it is no selector, or names no type.
pub(super) fn typed(query: &str) -> Result<(ProfileType, bool, Selector)> {
    if query.is_empty() {
        return Err(Error::invalid("the request has no query"));
    }
    let mut selector = translate::selector(query)?;
    let is_type = |matcher: &Matcher| {
        matcher.op() == MatchOp::Equal
            && (matcher.name() == names::PROFILE_TYPE || matcher.name() == names::NAME && matcher.value().contains(':'))
    };
    let wanted =
        "a query selects a profile type: name:sample_type:sample_unit:period_type:period_unit, with :delta or without";
    let missing = || Error::invalid(wanted).with("query", format!("{query:?}"));
    let at = selector.matchers.iter().position(is_type).ok_or_else(missing)?;
    let text = selector.matchers.remove(at).value().to_owned();
    let (id, is_delta) = text.strip_suffix(":delta").map_or((text.as_str(), false), |id| (id, true));
    let ty: ProfileType = id.parse().map_err(|_| missing())?;
    if ty.name.is_empty() {
        return Err(missing());
    }
    Ok((ty, is_delta, selector))
}

/// The profiles of `query` in a range that must be there.
///
/// # Errors
/// `Invalid` when something is missing, or the range does not end after it starts.
pub(super) fn ranged(query: &str, start: Option<Timestamp>, end: Option<Timestamp>) -> Result<Asked> {
    let (ty, is_delta, selector) = typed(query)?;
    let start = nanos(start.ok_or_else(|| Error::invalid("the request has no start"))?)?;
    let end = nanos(end.ok_or_else(|| Error::invalid("the request has no end"))?)?;
    if end <= start {
        let wrong = Error::invalid("the range must end after it starts, in nanoseconds since 1970");
        return Err(wrong.with("start", start).with("end", end));
    }
    Ok(Asked { ty, is_delta, selector, range: inclusive(start, end)?, is_single: false })
}

/// The range of two times, both of which are part of it, where both are given and neither is 0; else all times.
///
/// # Errors
/// `Invalid` when it ends before it starts.
pub(super) fn range_or_all(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<TimeRange> {
    let is_given = |time: &Timestamp| (time.seconds, time.nanos) != (0, 0);
    match (start.filter(is_given), end.filter(is_given)) {
        (Some(start), Some(end)) => inclusive(nanos(start)?, nanos(end)?),
        _ => Ok(TimeRange::ALL),
    }
}

fn inclusive(start: i64, end: i64) -> Result<TimeRange> {
    if start > end {
        return Err(Error::invalid("the range ends before it starts").with("start", start).with("end", end));
    }
    TimeRange::new(start, end.saturating_add(1))
}

/// Nanoseconds since 1970; times past the last or the first of them are these.
///
/// # Errors
/// `Invalid` when the nanoseconds of a second are no such.
pub(super) fn nanos(time: Timestamp) -> Result<i64> {
    if !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Error::invalid("a time has 0 to 999999999 nanoseconds").with("nanos", time.nanos));
    }
    Ok(time.seconds.saturating_mul(SECOND_NANOS).saturating_add(i64::from(time.nanos)))
}

/// Nanoseconds since 1970 as messages have them.
pub(super) fn timestamp(nanos: i64) -> Timestamp {
    let rest = i32::try_from(nanos.rem_euclid(SECOND_NANOS)).unwrap_or_default();
    Timestamp { seconds: nanos.div_euclid(SECOND_NANOS), nanos: rest }
}

/// What the report of `request` is made of.
///
/// # Errors
/// `Invalid` when the options are missing or not those of the mode.
pub(super) fn subject(request: &v1::QueryRequest) -> Result<Subject> {
    let wrong = |mode: &str| Error::invalid(format!("a request of mode {mode} needs the options of that mode"));
    match (translate::enumeration("mode", request.mode)?, &request.options) {
        (Mode::SingleUnspecified, Some(Options::Single(options))) => Ok(Subject::One(single(options)?)),
        (Mode::Merge, Some(Options::Merge(options))) => Ok(Subject::One(merge(options)?)),
        (Mode::Diff, Some(Options::Diff(options))) => diff(options),
        (Mode::SingleUnspecified, _) => Err(wrong("single")),
        (Mode::Merge, _) => Err(wrong("merge")),
        (Mode::Diff, _) => Err(wrong("diff")),
    }
}

/// The profiles that lie in the millisecond of a time.
fn single(options: &v1::SingleProfile) -> Result<Asked> {
    let (ty, is_delta, selector) = typed(&options.query)?;
    let time = nanos(options.time.ok_or_else(|| Error::invalid("the request has no time"))?)?;
    let start = time.saturating_sub(time.rem_euclid(MILLI_NANOS));
    let range = TimeRange::new(start, start.saturating_add(MILLI_NANOS))?;
    Ok(Asked { ty, is_delta, selector, range, is_single: true })
}

fn merge(options: &v1::MergeProfile) -> Result<Asked> {
    ranged(&options.query, options.start, options.end)
}

fn diff(options: &v1::DiffProfile) -> Result<Subject> {
    let side = |side: Option<&v1::ProfileDiffSelection>, name: &'static str| {
        let side = side.ok_or_else(|| Error::invalid(format!("the diff has no side {name}")));
        side.and_then(diff_side).map_err(|error| error.with("side", name))
    };
    Ok(Subject::Diff {
        base: side(options.a.as_ref(), "a")?,
        compared: side(options.b.as_ref(), "b")?,
        is_absolute: options.absolute.unwrap_or_default(),
    })
}

fn diff_side(side: &v1::ProfileDiffSelection) -> Result<Asked> {
    use profile_diff_selection::{Mode, Options};
    match (translate::enumeration("mode of a side", side.mode)?, &side.options) {
        (Mode::SingleUnspecified, Some(Options::Single(options))) => single(options),
        (Mode::Merge, Some(Options::Merge(options))) => merge(options),
        (Mode::SingleUnspecified, _) => Err(Error::invalid("a side of mode single needs the options of that mode")),
        (Mode::Merge, _) => Err(Error::invalid("a side of mode merge needs the options of that mode")),
    }
}

/// Which report is asked for.
///
/// # Errors
/// `Invalid` where there is none of this number, `Unsupported` for those that are not made.
pub(super) fn report(request: &v1::QueryRequest) -> Result<Report> {
    let unsupported = |why: &str| Err(Error::unsupported(why));
    match translate::enumeration::<query_request::ReportType>("report type", request.report_type)? {
        ReportType::FlamegraphUnspecified => Ok(Report::Nested(Form::Whole)),
        ReportType::Pprof => Ok(Report::Pprof),
        ReportType::Top => Ok(Report::Top),
        ReportType::Callgraph => Ok(Report::CallGraph),
        ReportType::FlamegraphArrow => Ok(Report::FlameGraph),
        ReportType::TableArrow => Ok(Report::Table),
        ReportType::ProfileMetadata => Ok(Report::Metadata),
        ReportType::FlamegraphTable => Ok(Report::Nested(Form::Tables)),
        ReportType::Source => unsupported("no sources are kept, so none are reported"),
        ReportType::Flamechart => {
            unsupported("samples are not reported by their times: ask for REPORT_TYPE_FLAMEGRAPH_ARROW")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

    fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos })
    }

    #[test]
    fn a_query_names_its_type_with_delta_or_without() {
        let check = |query: &str, expected: &str| {
            let told = match typed(query) {
                Ok((ty, is_delta, selector)) => format!("{ty} {is_delta} {selector}"),
                Err(error) => error.to_string(),
            };
            assert!(told.starts_with(expected), "{query}: {told}");
        };
        check(&format!("{CPU}:delta{{a=\"b\"}}"), &format!("{CPU} true {{a=\"b\"}}"));
        check(CPU, &format!("{CPU} false {{}}"));
        check(&format!("{{a=~\"b\",__name__=\"{CPU}:delta\"}}"), &format!("{CPU} true {{a=~\"b\"}}"));
        check("", "the request has no query");
        for missing in
            ["{a=\"b\"}", "cpu", "a:b:c", ":cpu:nanoseconds:cpu:nanoseconds", "a:b:c:d:e:gamma", "{__name__=\"cpu\"}"]
        {
            check(missing, "a query selects a profile type");
        }
        check(&format!("{CPU}{{"), "selector: expected a label name");
        check(&format!("{CPU}{{a=~\"(\"}}"), "label \"a\": \"(\" is not a regular expression");
    }

    #[test]
    fn both_ends_are_part_of_a_range() {
        let asked = ranged(CPU, at(1, 0), at(2, 5)).unwrap();
        assert_eq!(asked.range, TimeRange { start: 1_000_000_000, end: 2_000_000_006 });
        for (start, end) in
            [(None, at(1, 0)), (at(1, 0), None), (at(1, 0), at(1, 0)), (at(2, 0), at(1, 0)), (at(1, -1), at(2, 0))]
        {
            assert!(ranged(CPU, start, end).is_err(), "{start:?} {end:?}");
        }
        assert_eq!(range_or_all(at(0, 0), at(5, 0)).unwrap(), TimeRange::ALL);
        assert_eq!(range_or_all(at(5, 0), at(5, 0)).unwrap(), TimeRange { start: 5_000_000_000, end: 5_000_000_001 });
        assert!(range_or_all(at(6, 0), at(5, 0)).is_err());
        assert_eq!(nanos(Timestamp { seconds: i64::MAX, nanos: 0 }).unwrap(), i64::MAX);
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_999_999 });
    }

    #[test]
    fn a_single_profile_is_that_of_a_millisecond() {
        let asked = single(&v1::SingleProfile { time: at(1, 2_345_678), query: CPU.to_owned() }).unwrap();
        assert_eq!(asked.range, TimeRange { start: 1_002_000_000, end: 1_003_000_000 });
    }

    #[test]
    fn options_are_those_of_the_mode() {
        let merge = v1::MergeProfile { query: CPU.to_owned(), start: at(1, 0), end: at(2, 0) };
        let request = |mode: Mode, options: Option<Options>| v1::QueryRequest {
            mode: mode as i32,
            options,
            ..Default::default()
        };
        assert!(subject(&request(Mode::Merge, Some(Options::Merge(merge.clone())))).is_ok());
        for mode in [Mode::SingleUnspecified, Mode::Diff] {
            assert!(subject(&request(mode, Some(Options::Merge(merge.clone())))).is_err());
            assert!(subject(&request(mode, None)).is_err());
        }
        let side = v1::ProfileDiffSelection {
            mode: profile_diff_selection::Mode::Merge as i32,
            options: Some(profile_diff_selection::Options::Merge(merge)),
        };
        let diff = |a, b| Some(Options::Diff(v1::DiffProfile { a, b, absolute: None }));
        assert!(subject(&request(Mode::Diff, diff(Some(side.clone()), Some(side.clone())))).is_ok());
        let one_sided = subject(&request(Mode::Diff, diff(Some(side), None))).unwrap_err();
        assert_eq!(one_sided.to_string(), "the diff has no side b [side=b]");
        assert!(subject(&v1::QueryRequest { mode: 7, ..Default::default() }).is_err());
        let kind = |report_type| report(&v1::QueryRequest { report_type, ..Default::default() }).map_err(|e| e.kind());
        assert_eq!(kind(5), Ok(Report::FlameGraph));
        assert_eq!(kind(6), Err(flamestore_model::ErrorKind::Unsupported));
        assert_eq!(kind(10), Err(flamestore_model::ErrorKind::Invalid));
    }
}
