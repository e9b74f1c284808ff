//! Top.

use crate::ValueTree;

/// What one function costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// The frame name.
    pub name: String,
    /// Per column, the values of stacks that end in it.
    pub self_values: Vec<i64>,
    /// Per column, the values of stacks it is on, each counted once.
    pub totals: Vec<i64>,
}

/// What each function costs: by falling self value (columns added), then falling total, then name.
pub fn top(_tree: &ValueTree) -> Vec<TopRow> {
    todo!()
}
