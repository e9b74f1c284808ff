//! A call tree by frame name: what people look at.

use crate::ByteStrings;

/// A call tree by frame name, in preorder; siblings ordered by name bytewise, the `other` leaf last. Node 0 is the root,
/// named `total`. The root's self values are those of empty stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlameTree {
    /// Distinct names; 0 is `total`. Bytes as the profiles had them.
    pub names: ByteStrings,
    /// The name of each node: an id into `names`.
    pub name: Vec<u32>,
    /// The parent of each node; the root's is itself.
    pub parent: Vec<u32>,
    /// The depth of each node; the root's is 0.
    pub depth: Vec<u32>,
    /// Whether the node is a leaf that stands for the children left out of its parent.
    pub is_other: Vec<bool>,
    /// Columns of self values, one value per node.
    pub self_values: Vec<Vec<i64>>,
    /// Columns of totals, one value per node.
    pub totals: Vec<Vec<i64>>,
}

impl FlameTree {
    /// How many nodes there are, the root included.
    pub fn len(&self) -> usize {
        self.name.len()
    }

    /// Never: the root always exists.
    pub fn is_empty(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether a self value is negative, in which case totals are no widths.
    pub fn has_negatives(&self) -> bool {
        self.self_values.iter().flatten().any(|value| *value < 0)
    }

    /// Self values by stack of names (root first, joined by `;`), sorted bytewise; stacks whose values are all zero are
    /// left out. Invalid UTF-8 is replaced. The empty stack is the empty text.
    pub fn folded(&self) -> Vec<(String, Vec<i64>)> {
        let names: Vec<_> = self.names.iter().map(String::from_utf8_lossy).collect();
        let mut folded: Vec<(String, Vec<i64>)> = Vec::new();
        let mut text = String::new();
        // Where the text of each node of the path ends.
        let mut ends: Vec<usize> = Vec::new();
        for node in 0..self.len() {
            let depth = self.depth[node] as usize;
            ends.truncate(depth);
            text.truncate(ends.last().copied().unwrap_or_default());
            if node > 0 {
                if depth > 1 {
                    text.push(';');
                }
                text.push_str(&names[self.name[node] as usize]);
            }
            ends.push(text.len());
            let values: Vec<i64> = self.self_values.iter().map(|column| column[node]).collect();
            if values.iter().any(|value| *value != 0) {
                folded.push((text.clone(), values));
            }
        }
        sum_equal(folded)
    }
}

/// Sorts by text and adds up the values of equal texts, which names that differ in invalid UTF-8 or contain `;` may have.
fn sum_equal(mut folded: Vec<(String, Vec<i64>)>) -> Vec<(String, Vec<i64>)> {
    folded.sort();
    folded.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1.iter_mut().zip(&next.1).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
        }
        same
    });
    folded.retain(|(_, values)| values.iter().any(|value| *value != 0));
    folded
}
