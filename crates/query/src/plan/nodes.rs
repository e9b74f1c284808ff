//! Merge and diff in a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use flamestore_model::{Selector, TimeRange};
use flamestore_segment::ReadFrom;

use crate::answer::{Combine, Query};
use crate::codec;
use crate::scope::Scope;
use crate::sink::ReportSink;

/// The sum of the selected profiles of one snapshot: a leaf that yields one row, a call tree with one column.
#[derive(Clone)]
pub(crate) struct MergeNode {
    pub(crate) scope: Arc<Scope>,
    pub(crate) selector: Selector,
    pub(crate) range: TimeRange,
    pub(crate) from: ReadFrom,
    pub(crate) combine: Combine,
    schema: DFSchemaRef,
}

/// Two call trees of one column each as one call tree of two.
#[derive(Clone, Debug)]
pub(crate) struct DiffNode {
    before: LogicalPlan,
    after: LogicalPlan,
    sink: Arc<ReportSink>,
}

impl MergeNode {
    pub(crate) fn new(scope: Arc<Scope>, query: &Query) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(codec::schema(1).as_ref().clone())?);
        let Query { selector, range, read_from, combine, .. } = query.clone();
        Ok(Self { scope, selector, range, from: read_from, combine, schema })
    }

    fn identity(&self) -> (usize, String, i64, i64, ReadFrom, Combine) {
        let Self { scope, selector, range, from, combine, .. } = self;
        (Arc::as_ptr(scope).addr(), selector.to_string(), range.start, range.end, *from, *combine)
    }
}

impl DiffNode {
    pub(crate) fn new(before: LogicalPlan, after: LogicalPlan, sink: Arc<ReportSink>) -> Self {
        Self { before, after, sink }
    }

    pub(crate) fn sink(&self) -> &Arc<ReportSink> {
        &self.sink
    }

    fn identity(&self) -> (&LogicalPlan, &LogicalPlan) {
        (&self.before, &self.after)
    }
}

impl UserDefinedLogicalNodeCore for MergeNode {
    fn name(&self) -> &str {
        "Merge"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Merge: selector={}, range={}", self.selector, self.range)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

impl UserDefinedLogicalNodeCore for DiffNode {
    fn name(&self) -> &str {
        "Diff"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.before, &self.after]
    }

    fn schema(&self) -> &DFSchemaRef {
        codec::diff_schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Diff: columns=[before, after]")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 2]>::try_from(inputs) {
            Ok([before, after]) => Ok(Self::new(before, after, Arc::clone(&self.sink))),
            Err(inputs) => plan_err!("a diff has two inputs, not {}", inputs.len()),
        }
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let all: Vec<usize> = (0..codec::schema(1).fields().len()).collect();
        Some(vec![all.clone(), all])
    }
}

impl PartialEq for MergeNode {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for MergeNode {}

impl PartialOrd for MergeNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.identity().partial_cmp(&other.identity())
    }
}

impl Hash for MergeNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialEq for DiffNode {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for DiffNode {}

impl PartialOrd for DiffNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.identity().partial_cmp(&other.identity())
    }
}

impl Hash for DiffNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for MergeNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(f)
    }
}
