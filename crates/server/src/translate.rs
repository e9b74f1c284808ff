//! Between the messages of the API and the values of the workspace.

use std::collections::BTreeSet;

use flamestore_calltree::{FlameLevels, Neighbour, TopRow};
use flamestore_model::{Error, Labels, ProfileId, Result, Selector, Tenant, TimeRange};
use flamestore_proto::v1;
use flamestore_query::{
    Combine, Comparison, FunctionChange, ProfileEntry, Query, QueryReport, ReadFrom, SeriesEntry, TimeSeries,
};

/// Nodes of a flame graph where the request does not say.
pub(crate) const MAX_NODES_DEFAULT: usize = 8192;
/// Bytes of one selector.
const SELECTOR_BYTES_MAX: usize = 64 << 10;

/// What `selection` asks for. Without any times it asks for all times.
///
/// # Errors
/// `Invalid` when it is missing, its selector does not follow the grammar, or it ends before it starts.
pub(crate) fn query(tenant: &Tenant, selection: Option<v1::Selection>) -> Result<Query> {
    let selection = selection.ok_or_else(|| Error::invalid("the request has no selection"))?;
    let range = match (selection.start_unix_nano, selection.end_unix_nano) {
        (0, 0) => TimeRange::ALL,
        (start, end) => TimeRange::new(start, end)?,
    };
    Ok(Query::new(tenant.clone(), selector(&selection.query)?, range))
}

/// The selector that `text` is.
///
/// # Errors
/// `Invalid` when it does not follow the grammar, `Exhausted` when it is too long.
pub(crate) fn selector(text: &str) -> Result<Selector> {
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(Error::exhausted("the selector is too long")
            .with("selector_bytes_max", SELECTOR_BYTES_MAX)
            .with("found", text.len()));
    }
    text.parse()
}

/// What a merge may be answered from.
///
/// # Errors
/// `Invalid` when there is no such resolution.
pub(crate) fn read_from(resolution: i32) -> Result<ReadFrom> {
    Ok(match enumeration("resolution", resolution)? {
        v1::Resolution::Unspecified | v1::Resolution::Auto => ReadFrom::Widest,
        v1::Resolution::Samples => ReadFrom::Samples,
    })
}

/// What values of a series over time become.
///
/// # Errors
/// `Invalid` when there is no such way.
pub(crate) fn combine(combine: i32) -> Result<Combine> {
    Ok(match enumeration("combine", combine)? {
        v1::Combine::Unspecified | v1::Combine::Auto => Combine::Auto,
        v1::Combine::Sum => Combine::Sum,
        v1::Combine::Average => Combine::Average,
        v1::Combine::Last => Combine::Last,
        v1::Combine::Max => Combine::Max,
        v1::Combine::Added => Combine::Added,
    })
}

/// How many nodes `max_nodes` of a request stands for, 0 meaning all.
///
/// # Errors
/// `Invalid` below -1.
pub(crate) fn max_nodes(max_nodes: i64) -> Result<usize> {
    match max_nodes {
        0 => Ok(MAX_NODES_DEFAULT),
        -1 => Ok(0),
        nodes => usize::try_from(nodes)
            .map_err(|_| Error::invalid("max_nodes is -1, 0 or more").with("max_nodes", max_nodes)),
    }
}

/// A limit of a request, 0 standing for `default`.
pub(crate) fn limit(limit: u32, default: usize) -> usize {
    match limit {
        0 => default,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    }
}

/// The enum value of `number`.
///
/// # Errors
/// `Invalid` when there is none.
pub(crate) fn enumeration<T: TryFrom<i32>>(name: &str, number: i32) -> Result<T> {
    T::try_from(number).map_err(|_| Error::invalid(format!("there is no {name} of number {number}")))
}

/// The id a pushed profile brings with it.
///
/// # Errors
/// `Invalid` when it is not 16 bytes.
pub(crate) fn profile_id(bytes: &[u8]) -> Result<Option<ProfileId>> {
    match bytes {
        [] => Ok(None),
        bytes => match bytes.try_into() {
            Ok(bytes) => Ok(Some(ProfileId::from_bytes(bytes))),
            Err(_) => Err(Error::invalid("a profile id is 16 bytes").with("found", bytes.len())),
        },
    }
}

pub(crate) fn label_pairs(labels: &Labels) -> Vec<v1::Label> {
    labels.iter().map(|(name, value)| v1::Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

/// The distinct series of `entries` with only the labels `names`; all labels when `names` is empty.
pub(crate) fn series(entries: &[SeriesEntry], names: &[String]) -> Vec<v1::Series> {
    let kept = |entry: &SeriesEntry| match names {
        [] => entry.labels.clone(),
        names => names.iter().fold(Labels::default(), |labels, name| {
            let derived = entry.profile_type.derived_label(name);
            labels.with(name, entry.labels.get(name).or(derived.as_deref()).unwrap_or_default())
        }),
    };
    let distinct: BTreeSet<(Labels, String)> =
        entries.iter().map(|entry| (kept(entry), entry.profile_type.to_string())).collect();
    let message = |(labels, profile_type): (Labels, String)| v1::Series { labels: label_pairs(&labels), profile_type };
    distinct.into_iter().map(message).collect()
}

pub(crate) fn time_series(lines: Vec<TimeSeries>) -> Vec<v1::TimeSeriesLine> {
    let points = |line: &TimeSeries| {
        let point =
            |p: &flamestore_query::TimePoint| v1::TimeSeriesPoint { time_unix_nano: p.time_unix_nano, total: p.total };
        line.points.iter().map(point).collect()
    };
    lines.iter().map(|line| v1::TimeSeriesLine { labels: label_pairs(&line.labels), points: points(line) }).collect()
}

pub(crate) fn profile_summary(entry: &ProfileEntry) -> v1::ProfileSummary {
    v1::ProfileSummary {
        id: entry.id.to_string(),
        time_unix_nano: entry.time_unix_nano,
        duration_nano: entry.duration_nano,
        profile_type: entry.profile_type.to_string(),
        labels: label_pairs(&entry.labels),
        total: entry.total,
    }
}

/// One column of `row`: the first.
pub(crate) fn top_function(row: TopRow) -> v1::TopFunction {
    let first = |values: &[i64]| values.first().copied().unwrap_or_default();
    v1::TopFunction { self_: first(&row.self_values), total: first(&row.totals), name: row.name }
}

/// The first `limit` functions of a comparison.
pub(crate) fn comparison(found: Comparison, limit: usize, report: QueryReport) -> v1::CompareFunctionsResponse {
    let change = |change: FunctionChange| v1::FunctionChange {
        name: change.name,
        self_before: change.self_values[0],
        total_before: change.totals[0],
        self_after: change.self_values[1],
        total_after: change.totals[1],
        self_significance: change.self_significance,
        total_significance: change.total_significance,
    };
    v1::CompareFunctionsResponse {
        functions: found.functions.into_iter().take(limit).map(change).collect(),
        total_before: found.totals[0],
        total_after: found.totals[1],
        slices_before: found.slices[0],
        slices_after: found.slices[1],
        report: Some(self::report(report)),
    }
}

/// One column of `one`: the first.
pub(crate) fn neighbour(one: Neighbour) -> v1::Neighbour {
    v1::Neighbour { total: one.totals.first().copied().unwrap_or_default(), name: one.name }
}

pub(crate) fn flame_graph(levels: FlameLevels) -> v1::FlameGraph {
    v1::FlameGraph {
        total: column(&levels.totals, 0),
        max_self: levels.max_self,
        names: levels.names,
        levels: levels.levels.into_iter().map(|values| v1::Level { values }).collect(),
    }
}

pub(crate) fn flame_graph_diff(levels: FlameLevels) -> v1::FlameGraphDiff {
    let (left, right) = (column(&levels.totals, 0), column(&levels.totals, 1));
    v1::FlameGraphDiff {
        total: left.wrapping_add(right),
        max_self: levels.max_self,
        left_ticks: left,
        right_ticks: right,
        names: levels.names,
        levels: levels.levels.into_iter().map(|values| v1::Level { values }).collect(),
    }
}

fn column(totals: &[i64], column: usize) -> i64 {
    totals.get(column).copied().unwrap_or_default()
}

/// Folded text: a line per stack, its values split by spaces.
pub(crate) fn folded_text(lines: &[(String, Vec<i64>)]) -> String {
    let mut text = String::new();
    for (stack, values) in lines {
        text.push_str(stack);
        for value in values {
            text.push(' ');
            text.push_str(&value.to_string());
        }
        text.push('\n');
    }
    text
}

pub(crate) fn report(report: QueryReport) -> v1::QueryReport {
    let damaged = |d: flamestore_query::DamagedSegment| v1::DamagedSegment { segment: d.segment, error: d.error };
    v1::QueryReport {
        segments_total: report.segments_total,
        segments_read: report.segments_read,
        segments_pruned_by_time: report.segments_pruned_time,
        segments_pruned_by_profile_type: report.segments_pruned_type,
        segments_pruned_by_service: report.segments_pruned_service,
        segments_pruned_by_postings: report.segments_pruned_postings,
        rows_read: report.rows,
        bytes_read: report.bytes_read,
        damaged: report.damaged.into_iter().map(damaged).collect(),
        series: report.series,
        profiles_read: report.profiles,
        row_groups_read: report.row_groups_read,
        row_groups_skipped: report.row_groups_skipped,
        pages_read: report.pages_read,
        pages_skipped: report.pages_skipped,
        memory_bytes_peak: report.memory_bytes_peak,
        windows_1d: report.days,
        windows_1h: report.hours,
        rollup_rows: report.rollup_rows,
        widened: report.widened.map(|range| v1::TimeSpan { start_unix_nano: range.start, end_unix_nano: range.end }),
        segments_expired: report.segments_expired,
        segments_pruned_by_stand_in: report.segments_pruned_stand_in,
        windows_30d: report.months,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(query: &str, start: i64, end: i64) -> Option<v1::Selection> {
        Some(v1::Selection { query: query.to_owned(), start_unix_nano: start, end_unix_nano: end })
    }

    #[test]
    fn a_selection_without_times_means_all_times_and_a_wrong_one_says_why() {
        let check = |selection, expected: &str| {
            let told = match query(&Tenant::default(), selection) {
                Ok(query) => format!("{} {}", query.selector, query.range),
                Err(error) => error.to_string(),
            };
            assert_eq!(told, expected);
        };
        check(selection("{a=\"b\"}", 0, 0), &format!("{{a=\"b\"}} {}..{}", i64::MIN, i64::MAX));
        check(selection("", 0, 5), "{} 0..5");
        check(None, "the request has no selection");
        check(selection("", 5, 0), "a time range ends before it starts [start=5, end=0]");
        check(selection("{a}", 0, 5), "selector: expected '=', '!=', '=~' or '!~' [position=2, near=\"}\"]");
        check(
            selection(&"a".repeat(SELECTOR_BYTES_MAX + 1), 0, 0),
            "the selector is too long [selector_bytes_max=65536, found=65537]",
        );
    }

    #[test]
    fn node_limits_have_a_default_and_a_way_to_say_all() {
        assert_eq!(max_nodes(0).unwrap(), MAX_NODES_DEFAULT);
        assert_eq!(max_nodes(-1).unwrap(), 0);
        assert_eq!(max_nodes(7).unwrap(), 7);
        assert!(max_nodes(-2).is_err());
        assert_eq!((limit(0, 9), limit(3, 9)), (9, 3));
    }

    #[test]
    fn series_that_differ_in_left_out_labels_only_are_one() {
        let entry = |pod: &str| SeriesEntry {
            labels: Labels::from_pairs([("pod", pod), ("service_name", "api")]).unwrap(),
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".parse().unwrap(),
        };
        let entries = [entry("1"), entry("2")];
        assert_eq!(series(&entries, &[]).len(), 2);
        let kept = series(&entries, &["service_name".to_owned(), "__type__".to_owned(), "gone".to_owned()]);
        let labels: Vec<_> = kept[0].labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
        assert_eq!((kept.len(), labels), (1, vec![("__type__", "cpu"), ("service_name", "api")]));
    }

    #[test]
    fn folded_text_has_a_line_per_stack() {
        assert_eq!(folded_text(&[("a;b".to_owned(), vec![1, -2]), ("c".to_owned(), vec![0, 3])]), "a;b 1 -2\nc 0 3\n");
    }
}
