//! Which functions changed between two periods, and how far outside of what they vary by anyway.
//!
//! ```text
//! before, after ──diff──▶ what each function spends on either side
//! before ─┬ slice ─top─▶ shares ─┐
//!         └ slice ─top─▶ shares ─┴▶ mean and variance ─┐
//! after ──  the same ──────────────▶ mean and variance ─┴▶ Welch's t
//! ```
//!
//! The share of a function is what it spends of the total of its slice, so that a period of more load, or a longer one, is no
//! change. A slice without values says nothing. What is kept are some 100 bytes a function.

use std::collections::HashMap;

use flamestore_calltree::{TopRow, ValueTree, top};
use flamestore_model::{Result, TimeRange};

use crate::answer::{Answer, Comparison, FunctionChange, Query};
use crate::engine::Engine;

/// Slices of a period, about.
const SLICES: i64 = 12;
const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;
/// From how many standard errors on a change is taken to be one.
const SIGNIFICANT: f64 = 3.0;

/// What `diff`, the two periods as one call tree, says of functions, and how that lies in their slices.
///
/// # Errors
/// As [`Engine::merge`].
pub(crate) async fn compare(
    engine: &Engine,
    diff: Answer<ValueTree>,
    before: &Query,
    after: &Query,
) -> Result<Answer<Comparison>> {
    let mut sides = [Side::default(), Side::default()];
    for (side, query) in sides.iter_mut().zip([before, after]) {
        for range in slices(&query.range) {
            let slice = engine.merge(&Query { range, ..query.clone() }).await?;
            // Where samples have expired, an hour may answer for several slices: that is no variation.
            if slice.report.widened.is_none() {
                side.add(&slice.value);
            }
        }
    }
    Ok(diff.map(|tree| comparison(&tree, &sides)))
}

/// Parts of `range`, of the same length. Longer ones are whole hours or days, which roll-ups answer; then the ends of the range
/// may be in none.
fn slices(range: &TimeRange) -> Vec<TimeRange> {
    let width = (i128::from(range.end) - i128::from(range.start)) / i128::from(SLICES);
    let width = i64::try_from(width).unwrap_or_default();
    let unit = [DAY, HOUR].into_iter().find(|unit| width >= *unit).unwrap_or(1);
    let width = width.saturating_add(unit - 1) / unit * unit;
    let into_unit = range.start.rem_euclid(unit);
    let mut start = if into_unit == 0 { range.start } else { range.start.saturating_add(unit - into_unit) };
    let mut slices = Vec::new();
    while let Some(end) = start.checked_add(width).filter(|end| width > 0 && *end <= range.end) {
        slices.push(TimeRange { start, end });
        start = end;
    }
    slices
}

/// The shares of functions in the slices of one period.
#[derive(Debug, Default)]
struct Side {
    /// Slices with values.
    slices: u32,
    /// Own and total share, by function.
    functions: HashMap<String, [Moments; 2]>,
}

impl Side {
    fn add(&mut self, tree: &ValueTree) {
        let all = total(tree, 0);
        if all == 0 {
            return;
        }
        self.slices += 1;
        for row in top(tree) {
            let [own, total] = self.functions.entry(row.name).or_default();
            own.push(ratio(row.self_values[0], all));
            total.push(ratio(row.totals[0], all));
        }
    }

    /// Own and total share of a function over all slices; 0 in those that do not have it.
    fn moments(&self, name: &str) -> [Moments; 2] {
        self.functions.get(name).copied().unwrap_or_default().map(|moments| moments.with_zeros_up_to(self.slices))
    }
}

/// Mean and variance of numbers that come one by one (Welford's algorithm).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    count: u32,
    mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
}

impl Moments {
    fn push(&mut self, value: f64) {
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / f64::from(self.count);
        self.squares += distance * (value - self.mean);
    }

    /// The moments of these numbers and as many zeros as are missing to `count` (Chan's rule for two sets).
    fn with_zeros_up_to(self, count: u32) -> Self {
        if count <= self.count {
            return self;
        }
        let (all, own, zeros) = (f64::from(count), f64::from(self.count), f64::from(count - self.count));
        let squares = self.squares + self.mean * self.mean * own * zeros / all;
        Self { count, mean: self.mean * own / all, squares }
    }

    /// The variance of the mean.
    fn error_squared(self) -> f64 {
        let count = f64::from(self.count);
        self.squares / (count - 1.0) / count
    }
}

/// The change of the mean in standard errors (Welch's t); `None` where a side has less than two numbers.
fn significance(before: Moments, after: Moments) -> Option<f64> {
    if before.count < 2 || after.count < 2 {
        return None;
    }
    let change = after.mean - before.mean;
    Some(if change == 0.0 { 0.0 } else { change / (before.error_squared() + after.error_squared()).sqrt() })
}

fn comparison(tree: &ValueTree, sides: &[Side; 2]) -> Comparison {
    let totals = [total(tree, 0), total(tree, 1)];
    let change = |row: TopRow| {
        let [before, after] = [sides[0].moments(&row.name), sides[1].moments(&row.name)];
        FunctionChange {
            self_significance: significance(before[0], after[0]),
            total_significance: significance(before[1], after[1]),
            self_values: [row.self_values[0], row.self_values[1]],
            totals: [row.totals[0], row.totals[1]],
            name: row.name,
        }
    };
    let mut functions: Vec<FunctionChange> = top(tree).into_iter().map(change).collect();
    // Stable: what changed as much stays in the order of values.
    functions.sort_by(|a, b| {
        let growth = |change: &FunctionChange| {
            let [before, after] = change.self_shares(&totals);
            after - before
        };
        let regressed = |change: &FunctionChange| change.self_significance.is_some_and(|t| t >= SIGNIFICANT);
        regressed(b).cmp(&regressed(a)).then_with(|| match regressed(a) && regressed(b) {
            true => growth(b).total_cmp(&growth(a)),
            false => growth(b).abs().total_cmp(&growth(a).abs()),
        })
    });
    Comparison { functions, totals, slices: [sides[0].slices, sides[1].slices] }
}

fn total(tree: &ValueTree, column: usize) -> i64 {
    tree.values[column].iter().fold(0, |sum, value| sum.wrapping_add(*value))
}

#[allow(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

impl FunctionChange {
    /// What part of all the function spends by itself, before and after; 0 of a side without values.
    pub fn self_shares(&self, totals: &[i64; 2]) -> [f64; 2] {
        shares(&self.self_values, totals)
    }

    /// What part of all the function spends with what it calls, before and after.
    pub fn total_shares(&self, totals: &[i64; 2]) -> [f64; 2] {
        shares(&self.totals, totals)
    }
}

fn shares(values: &[i64; 2], totals: &[i64; 2]) -> [f64; 2] {
    [0, 1].map(|side| if totals[side] == 0 { 0.0 } else { ratio(values[side], totals[side]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ranges_are_sliced_at_hours_and_days() {
        let day = slices(&TimeRange { start: 30 * HOUR + 5, end: 54 * HOUR + 5 });
        assert_eq!(day.first(), Some(&TimeRange { start: 31 * HOUR, end: 33 * HOUR }));
        assert_eq!((day.len(), day.last().unwrap().end), (11, 53 * HOUR));
        let months = slices(&TimeRange { start: HOUR, end: HOUR + 40 * DAY });
        assert_eq!(months.first(), Some(&TimeRange { start: DAY, end: 5 * DAY }));
        assert!(months.iter().all(|slice| slice.start % DAY == 0 && slice.end - slice.start == 4 * DAY));
        assert_eq!(slices(&TimeRange { start: 7, end: 7 + 24 }).len(), 12);
        assert_eq!(slices(&TimeRange { start: 7, end: 9 }), []);
        assert!(slices(&TimeRange::ALL).len() <= 12);
    }

    #[test]
    fn moments_count_the_zeros_that_were_never_said() {
        let mut all = Moments::default();
        let mut said = Moments::default();
        for value in [0.25, 0.0, 0.5, 0.0, 0.0] {
            all.push(value);
            if value != 0.0 {
                said.push(value);
            }
        }
        let filled = said.with_zeros_up_to(5);
        assert_eq!(filled.count, 5);
        assert!((filled.mean - all.mean).abs() < 1e-15 && (filled.squares - all.squares).abs() < 1e-15);
    }

    #[test]
    fn what_never_varies_is_endlessly_significant() {
        let of = |values: &[f64]| {
            let mut moments = Moments::default();
            values.iter().for_each(|value| moments.push(*value));
            moments
        };
        assert_eq!(significance(of(&[0.5, 0.5]), of(&[0.5, 0.5])), Some(0.0));
        assert_eq!(significance(of(&[0.5, 0.5]), of(&[0.25, 0.25])), Some(f64::NEG_INFINITY));
        assert_eq!(significance(of(&[0.5]), of(&[0.25, 0.25])), None);
        // means 2 and 5, variances 1 and 1, three numbers each: 3 / √(1/3 + 1/3)
        let t = significance(of(&[1.0, 2.0, 3.0]), of(&[4.0, 5.0, 6.0])).unwrap();
        assert!((t - 3.674_234_614_174_767).abs() < 1e-12);
    }
}
