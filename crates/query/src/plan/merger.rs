//! Adds up call trees one after another, holding little more than the sum.

use flamestore_calltree::{Dictionary, ValueTree, merge};
use flamestore_model::{Error, Result};

use crate::budget::Budget;

/// Trees wait until they weigh as much as the sum so far, and are then merged with it at once: each byte is merged a
/// bounded number of times, and what is held stays below a small multiple of the sum and the largest single tree.
#[derive(Debug)]
pub(crate) struct Merger {
    budget: Budget,
    sum: Option<ValueTree>,
    sum_bytes: usize,
    waiting: Vec<ValueTree>,
    waiting_bytes: usize,
    magnitude: u128,
}

/// Below this many bytes it does not pay to merge early.
const WAITING_BYTES_MIN: usize = 4 << 20;

impl Merger {
    /// The sum of nothing; what it holds is reserved in `budget`.
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, sum: None, sum_bytes: 0, waiting: Vec::new(), waiting_bytes: 0, magnitude: 0 }
    }

    /// Adds `tree`, which has one column.
    ///
    /// # Errors
    /// `Exhausted` when the budget has no room, `Invalid` when a sum leaves 64 bits.
    pub(crate) fn add(&mut self, tree: ValueTree) -> Result<()> {
        self.magnitude += magnitude(&tree);
        check_magnitude(self.magnitude)?;
        let bytes = tree_bytes(&tree);
        self.budget.grow(bytes)?;
        self.waiting_bytes += bytes;
        self.waiting.push(tree);
        if self.waiting_bytes >= self.sum_bytes.max(WAITING_BYTES_MIN) {
            self.settle()?;
        }
        Ok(())
    }

    /// The sum, without nodes of no value, and the budget that holds its bytes; the empty tree when nothing was added.
    ///
    /// # Errors
    /// `Exhausted` when the budget has no room.
    pub(crate) fn finish(mut self) -> Result<(ValueTree, Budget)> {
        self.settle()?;
        let sum = self.sum.unwrap_or_else(|| ValueTree::empty(1));
        // Only where values cancelled out can a node have lost all of its own.
        let sum = if magnitude(&sum) == self.magnitude { sum } else { sum.prune() };
        Ok((sum, self.budget))
    }

    fn settle(&mut self) -> Result<()> {
        let mut inputs: Vec<_> = self.sum.take().into_iter().chain(self.waiting.drain(..)).map(|t| (t, 0)).collect();
        let held = self.sum_bytes + self.waiting_bytes;
        let sum = if inputs.len() > 1 {
            // The union is at most as large as its inputs, which live until it is made.
            self.budget.grow(held)?;
            let sum = merge(inputs, 1);
            self.budget.shrink(held);
            Some(sum)
        } else {
            inputs.pop().map(|(tree, _)| tree)
        };
        let bytes = sum.as_ref().map_or(0, tree_bytes);
        match bytes <= held {
            true => self.budget.shrink(held - bytes),
            false => self.budget.grow(bytes - held)?,
        }
        (self.sum, self.sum_bytes, self.waiting_bytes) = (sum, bytes, 0);
        Ok(())
    }
}

/// Refuses sums of magnitudes that leave 64 bits: below that neither a node's value nor a total can overflow.
pub(crate) fn check_magnitude(magnitude: u128) -> Result<()> {
    match magnitude <= u128::from(i64::MAX.cast_unsigned()) {
        true => Ok(()),
        false => Err(Error::invalid("the sum of the selected values leaves 64 bits; select a shorter range")
            .with("limit", i64::MAX)
            .with("sum", magnitude)),
    }
}

/// The sum of the absolute self values of all columns.
pub(crate) fn magnitude(tree: &ValueTree) -> u128 {
    tree.values.iter().flatten().map(|value| u128::from(value.unsigned_abs())).sum()
}

/// Bytes that a tree and its symbols take in memory, about.
pub(crate) fn tree_bytes(tree: &ValueTree) -> usize {
    let nodes = tree.tree.len() * (8 + 8 * tree.values.len());
    nodes + dictionary_bytes(&tree.dictionary)
}

/// Bytes that symbols take in memory, about.
pub(crate) fn dictionary_bytes(dictionary: &Dictionary) -> usize {
    let Dictionary { strings, mappings, functions, locations, label_sets } = dictionary;
    strings.memory_bytes()
        + size_of_val(mappings.as_slice())
        + functions.len() * 20
        + locations.len() * 17
        + locations.line_function.len() * 20
        + label_sets.labels.len() * 24
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::TaskContext;
    use flamestore_calltree::CallTree;
    use flamestore_model::Result;

    use super::{Merger, ValueTree};
    use crate::budget::Budget;

    /// `main` that calls `read`, by two locations without symbols.
    fn tree(main: i64, read: i64) -> ValueTree {
        let mut tree = ValueTree::empty(1);
        let mut dictionary = (*tree.dictionary).clone();
        for address in [1, 2] {
            dictionary.locations.mapping.push(u32::MAX);
            dictionary.locations.address.push(address);
            dictionary.locations.is_folded.push(false);
            dictionary.locations.line_offsets.push(0);
        }
        tree.dictionary = Arc::new(dictionary);
        tree.tree = CallTree { parent: vec![0, 0, 1], location: vec![tree.tree.location[0], 0, 1] };
        tree.values = vec![vec![0, main, read]];
        tree
    }

    #[test]
    fn what_cancels_out_leaves_no_node() -> Result<()> {
        let sum = |trees: Vec<ValueTree>| -> Result<Vec<i64>> {
            let mut sum = Merger::new(Budget::new("sum", &TaskContext::default(), Arc::default()));
            trees.into_iter().try_for_each(|tree| sum.add(tree))?;
            Ok(sum.finish()?.0.values.swap_remove(0))
        };
        assert_eq!(sum(vec![tree(1, 2), tree(3, -2)])?, [0, 4]);
        assert_eq!(sum(vec![tree(1, 2), tree(-1, 2)])?, [0, 0, 4]);
        assert_eq!(sum(vec![tree(1, 2), tree(-1, -2)])?, [0]);
        assert_eq!(sum(vec![])?, [0]);
        Ok(())
    }
}
