//! What the filters above a table say of series, times and stacks.
//!
//! | filter | reading |
//! |---|---|
//! | `selects(labels, profile_type, 'SELECTOR')` | the matchers of the selector |
//! | `service_name = 'X'`, `profile_type = 'X'`, `sample_type = 'X'`, … | one matcher |
//! | `labels['NAME'] = 'X'`, `label(labels, 'NAME') = 'X'` | one matcher |
//! | `labels['NAME'] ~ 'REGEX'`, `LIKE 'PATTERN'` of the same, unless the empty text fits | one matcher, a regular expression |
//! | several of these about one label, joined by `OR`, or `IN` | one matcher, a regular expression |
//! | `time_unix_nano` compared with a number, `time` with a timestamp | a bound of the range |
//! | `has_function(stack, 'REGEX')`, `leaf = 'X'`, `root = 'X'` | a test of stacks |
//! | `observed_time` compared with a timestamp | a bound of when samples were observed |
//! | `temporality = 'X'` | the temporality of series |
//!
//! All of them are exact where the table has the rows of these series, times and stacks only. All else proves nothing and is
//! left to DataFusion.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator};
use flamestore_model::{MatchOp, Matcher, Selector, TimeRange, names};

use super::functions::{LABEL, SELECTS};
use crate::sql::{HAS_FUNCTION, StackTest, function_pattern};

/// What one filter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All of it, as matchers.
    Selector(Selector),
    /// All of it, as one matcher that compares a column.
    Hint(Matcher),
    /// All of it, as a range of times.
    Times(TimeRange),
    /// All of it, as a test of stacks.
    Stacks(StackTest),
    /// All of it, as a range of times of observation.
    Observed(TimeRange),
    /// All of it, as the temporality of series.
    Temporality(String),
    /// Nothing.
    Unknown,
}

/// What all filters say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readings {
    pub(crate) selector: Selector,
    pub(crate) range: TimeRange,
    pub(crate) stacks: Vec<StackTest>,
    /// When samples were observed; those of unknown time are outside of every range but [`TimeRange::ALL`].
    pub(crate) observed: TimeRange,
    /// What the temporality of series is: all of these.
    pub(crate) temporalities: Vec<String>,
}

/// Reads one filter.
pub(crate) fn read(filter: &Expr) -> Reading {
    match filter {
        Expr::ScalarFunction(function) if function.name() == HAS_FUNCTION => {
            read_has_function(function).map_or(Reading::Unknown, Reading::Stacks)
        }
        Expr::ScalarFunction(function) => read_selects(function).map_or(Reading::Unknown, Reading::Selector),
        Expr::Like(like) => read_like(like).unwrap_or(Reading::Unknown),
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) | Expr::InList(_) => read_any_of(filter),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (of, Expr::Literal(value, _)) => compare(of, *op, value),
            (Expr::Literal(value, _), of) => match op.swap() {
                Some(op) => compare(of, op, value),
                None => Reading::Unknown,
            },
            _ => Reading::Unknown,
        },
        _ => Reading::Unknown,
    }
}

/// Reads all filters, which all hold.
pub(crate) fn read_all(filters: &[Expr], within: &TimeRange) -> Readings {
    let mut all = Readings {
        selector: Selector::default(),
        range: *within,
        stacks: Vec::new(),
        observed: TimeRange::ALL,
        temporalities: Vec::new(),
    };
    for filter in filters {
        match read(filter) {
            Reading::Selector(selector) => all.selector.matchers.extend(selector.matchers),
            Reading::Hint(matcher) => all.selector.matchers.push(matcher),
            Reading::Times(range) => all.range = intersect(&all.range, &range),
            Reading::Stacks(test) => all.stacks.push(test),
            Reading::Observed(range) => all.observed = intersect(&all.observed, &range),
            Reading::Temporality(temporality) => all.temporalities.push(temporality),
            Reading::Unknown => {}
        }
    }
    all
}

fn read_selects(function: &ScalarFunction) -> Option<Selector> {
    match function.args.as_slice() {
        [Expr::Column(_), Expr::Column(_), Expr::Literal(text, _)] if function.name() == SELECTS => {
            text.try_as_str()??.parse().ok()
        }
        _ => None,
    }
}

fn read_has_function(function: &ScalarFunction) -> Option<StackTest> {
    match function.args.as_slice() {
        [Expr::Column(column), Expr::Literal(text, _)] if column.name() == "stack" => {
            let pattern = text.try_as_str()??;
            function_pattern(pattern).is_ok().then(|| StackTest::HasFunction(pattern.to_owned()))
        }
        _ => None,
    }
}

/// What asks for one of several values of one label.
fn read_any_of(filter: &Expr) -> Reading {
    let mut all = Vec::new();
    let Some(name) = collect_values(filter, &mut all) else { return Reading::Unknown };
    let values: Vec<String> = all.iter().map(|value| regex::escape(value)).collect();
    Matcher::new(name, MatchOp::Regex, values.join("|")).map_or(Reading::Unknown, Reading::Hint)
}

/// Adds the values that `filter` asks for to `values`; the answer is the label they are of, if it is the same for all.
fn collect_values(filter: &Expr, values: &mut Vec<String>) -> Option<String> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let name = collect_values(left, values)?;
            (collect_values(right, values)? == name).then_some(name)
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let name = label_of(expr)?;
            for value in list {
                let Expr::Literal(value, _) = value else { return None };
                values.push(value.try_as_str()??.to_owned());
            }
            values.iter().all(|value| !value.is_empty()).then_some(name)
        }
        filter => match read(filter) {
            Reading::Hint(matcher) if matcher.op() == MatchOp::Equal && !matcher.value().is_empty() => {
                values.push(matcher.value().to_owned());
                Some(matcher.name().to_owned())
            }
            _ => None,
        },
    }
}

/// The label that an expression gives the value of.
fn label_of(of: &Expr) -> Option<String> {
    let name = match of {
        Expr::Column(column) => match column.name() {
            "service_name" => names::SERVICE_NAME,
            "profile_type" => names::PROFILE_TYPE,
            "profile_name" => names::NAME,
            "sample_type" => names::TYPE,
            "sample_unit" => names::UNIT,
            "period_type" => names::PERIOD_TYPE,
            "period_unit" => names::PERIOD_UNIT,
            _ => return None,
        },
        // Labels that are derived from the type are in no map.
        Expr::ScalarFunction(function) => match (function.name(), function.args.as_slice()) {
            ("get_field" | LABEL, [Expr::Column(column), Expr::Literal(name, _)]) if column.name() == "labels" => {
                name.try_as_str()?.filter(|name| !names::DERIVED.contains(name))?
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(name.to_owned())
}

fn compare(of: &Expr, op: Operator, value: &ScalarValue) -> Reading {
    if let Expr::Column(column) = of {
        match (column.name(), op, value.try_as_str()) {
            ("time_unix_nano" | "time", ..) => return times(op, value).map_or(Reading::Unknown, Reading::Times),
            ("observed_time", ..) => return times(op, value).map_or(Reading::Unknown, Reading::Observed),
            ("temporality", Operator::Eq, Some(Some(of))) => return Reading::Temporality(of.to_owned()),
            ("leaf", Operator::Eq, Some(Some(name))) => return Reading::Stacks(StackTest::Leaf(name.to_owned())),
            ("root", Operator::Eq, Some(Some(name))) => return Reading::Stacks(StackTest::Root(name.to_owned())),
            _ => {}
        }
    }
    let (Some(name), Some(Some(value))) = (label_of(of), value.try_as_str()) else { return Reading::Unknown };
    match op {
        Operator::Eq => {}
        Operator::RegexMatch => return holding(name, value),
        _ => return Reading::Unknown,
    }
    // What a map does not have is null, and equals nothing; the function `label` says the empty text instead.
    let is_map = matches!(of, Expr::ScalarFunction(function) if function.name() != LABEL);
    match is_map && value.is_empty() {
        true => Reading::Unknown,
        false => Matcher::new(name, MatchOp::Equal, value).map_or(Reading::Unknown, Reading::Hint),
    }
}

/// What asks for a match of `regex` anywhere in the value of label `name`. One that also fits the empty text fits what is
/// absent as a matcher, which a filter, to which that is null, does not.
fn holding(name: String, regex: &str) -> Reading {
    match regex::Regex::new(regex).map_or(true, |regex| regex.is_match("")) {
        true => Reading::Unknown,
        false => Matcher::new(name, MatchOp::Regex, format!("(?s:.*)(?:{regex})(?s:.*)"))
            .map_or(Reading::Unknown, Reading::Hint),
    }
}

/// What `LIKE` asks of a label.
fn read_like(like: &Like) -> Option<Reading> {
    let Like { negated: false, expr, pattern, escape_char: None, case_insensitive: false } = like else { return None };
    let Expr::Literal(pattern, _) = pattern.as_ref() else { return None };
    let (name, pattern) = (label_of(expr)?, pattern.try_as_str()??);
    if pattern.contains('\\') {
        return None;
    }
    let mut regex = String::from("^(?s:");
    for letter in pattern.chars() {
        match letter {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            letter => regex.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(")$");
    Some(holding(name, &regex))
}

fn times(op: Operator, value: &ScalarValue) -> Option<TimeRange> {
    let (ScalarValue::Int64(Some(time)) | ScalarValue::TimestampNanosecond(Some(time), _)) = *value else {
        return None;
    };
    let TimeRange { start, end } = TimeRange::ALL;
    let after = time.checked_add(1);
    Some(match op {
        Operator::Eq => TimeRange { start: time, end: after? },
        Operator::GtEq => TimeRange { start: time, end },
        Operator::Gt => TimeRange { start: after?, end },
        Operator::Lt => TimeRange { start, end: time },
        Operator::LtEq => TimeRange { start, end: after? },
        _ => return None,
    })
}

/// The times in both ranges; an empty range when there are none.
fn intersect(a: &TimeRange, b: &TimeRange) -> TimeRange {
    let start = a.start.max(b.start);
    TimeRange { start, end: a.end.min(b.end).max(start) }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::super::functions::selects;
    use super::*;

    fn check(filters: &[Expr], expected: &str) {
        let Readings { selector, range, .. } = read_all(filters, &TimeRange { start: 0, end: 100 });
        assert_eq!(format!("{selector} {range}"), expected);
    }

    #[test]
    fn filters_become_matchers_and_a_range() {
        let selector = r#"{a=~"x|y"}"#;
        let filters = [
            selects(selector),
            col("service_name").eq(lit("api")),
            lit("t").eq(col("profile_type")),
            col("time_unix_nano").gt_eq(lit(10_i64)),
            lit(19_i64).gt_eq(col("time_unix_nano")),
        ];
        check(&filters, r#"{a=~"x|y",service_name="api",__profile_type__="t"} 10..20"#);
    }

    #[test]
    fn what_is_not_understood_proves_nothing() {
        let or = col("service_name").eq(lit("a")).or(col("time_unix_nano").lt(lit(5_i64)));
        check(&[or, col("service_name").not_eq(lit("a")), col("total").gt(lit(5_i64))], "{} 0..100");
    }

    #[test]
    fn bounds_that_exclude_each_other_leave_an_empty_range() {
        check(&[col("time_unix_nano").lt(lit(5_i64)), col("time_unix_nano").gt(lit(50_i64))], "{} 51..51");
    }
}
