//! What the filters above a table say of series and times.
//!
//! | filter | reading |
//! |---|---|
//! | `selects(labels, profile_type, 'SELECTOR')` | the matchers of the selector; exact |
//! | `service_name = 'X'`, `profile_type = 'X'` | one matcher; inexact, since SQL compares again |
//! | `time_unix_nano` compared with a number | a bound of the range; exact in `profiles` |
//!
//! All else proves nothing and is left to DataFusion.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use flamestore_model::{MatchOp, Matcher, Selector, TimeRange, names};

use super::functions::SELECTS;

/// What one filter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All of it, as matchers.
    Selector(Selector),
    /// Enough to skip by, as a matcher.
    Hint(Matcher),
    /// All of it, as a range of times.
    Times(TimeRange),
    /// Nothing.
    Unknown,
}

/// What all filters say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readings {
    pub(crate) selector: Selector,
    pub(crate) range: TimeRange,
}

/// Reads one filter.
pub(crate) fn read(filter: &Expr) -> Reading {
    match filter {
        Expr::ScalarFunction(function) => read_selects(function).map_or(Reading::Unknown, Reading::Selector),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => compare(column.name(), *op, value),
            (Expr::Literal(value, _), Expr::Column(column)) => match op.swap() {
                Some(op) => compare(column.name(), op, value),
                None => Reading::Unknown,
            },
            _ => Reading::Unknown,
        },
        _ => Reading::Unknown,
    }
}

/// Reads all filters, which all hold.
pub(crate) fn read_all(filters: &[Expr], within: &TimeRange) -> Readings {
    let mut all = Readings { selector: Selector::default(), range: *within };
    for filter in filters {
        match read(filter) {
            Reading::Selector(selector) => all.selector.matchers.extend(selector.matchers),
            Reading::Hint(matcher) => all.selector.matchers.push(matcher),
            Reading::Times(range) => all.range = intersect(&all.range, &range),
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

fn compare(column: &str, op: Operator, value: &ScalarValue) -> Reading {
    let name = match column {
        "service_name" => names::SERVICE_NAME,
        "profile_type" => names::PROFILE_TYPE,
        "time_unix_nano" => return times(op, value).map_or(Reading::Unknown, Reading::Times),
        _ => return Reading::Unknown,
    };
    match (op, value.try_as_str()) {
        (Operator::Eq, Some(Some(value))) => {
            Matcher::new(name, MatchOp::Equal, value).map_or(Reading::Unknown, Reading::Hint)
        }
        _ => Reading::Unknown,
    }
}

fn times(op: Operator, value: &ScalarValue) -> Option<TimeRange> {
    let ScalarValue::Int64(Some(time)) = *value else {
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
        let Readings { selector, range } = read_all(filters, &TimeRange { start: 0, end: 100 });
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
