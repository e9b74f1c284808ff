//! How much of a value is more or less than the base it is compared with.

use super::stacks::Pair;

/// The difference of two sides: of their values as they are, or of what these are of one and the same total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// By what the values of each side are multiplied and divided.
    scales: [(i64, i64); 2],
}

impl Comparison {
    /// The comparison of two sides with these totals. Unless it is absolute, the smaller side is scaled up to the total of the
    /// other one; where one of the totals is not positive, there is nothing to scale to.
    pub(super) fn new(totals: Pair, is_absolute: bool) -> Self {
        let [compared, base] = totals;
        let scales = match is_absolute || compared <= 0 || base <= 0 {
            true => [(1, 1), (1, 1)],
            false if compared > base => [(1, 1), (compared, base)],
            false => [(base, compared), (1, 1)],
        };
        Self { scales }
    }

    /// What of `values` is more than the base: the root's totals differ by exactly as much as the sides do.
    pub(super) fn diff(&self, values: Pair) -> i64 {
        let [compared, base] = values;
        let diff = scaled(compared, self.scales[0]) - scaled(base, self.scales[1]);
        i64::try_from(diff).unwrap_or(if diff > 0 { i64::MAX } else { i64::MIN })
    }
}

/// To the nearest whole number.
fn scaled(value: i64, (by, of): (i64, i64)) -> i128 {
    let (product, of) = (i128::from(value) * i128::from(by), i128::from(of));
    product.div_euclid(of) + i128::from(2 * product.rem_euclid(of) >= of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_side_is_scaled_to_the_total_of_the_other_one() {
        let check = |totals, is_absolute, values, expected| {
            assert_eq!(Comparison::new(totals, is_absolute).diff(values), expected, "{totals:?} {values:?}");
        };
        check([10, 5], false, [10, 5], 0);
        check([10, 5], false, [4, 3], -2);
        check([10, 5], true, [4, 3], 1);
        check([5, 10], false, [5, 10], 0);
        check([5, 10], false, [0, 4], -4);
        check([5, 10], false, [3, 0], 6);
        check([3, 2], false, [0, 1], -2);
        check([0, 10], false, [0, 10], -10);
        check([7, 0], false, [7, 0], 7);
        check([i64::MAX, i64::MAX - 1], false, [i64::MAX, i64::MAX - 1], 0);
        check([i64::MAX, 1], true, [i64::MIN, i64::MAX], i64::MIN);
    }
}
