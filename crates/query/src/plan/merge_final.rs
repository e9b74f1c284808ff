//! `MergeFinalExec`: the merge of partial merges.

use std::fmt;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use flamestore_calltree::ValueTree;
use futures::TryStreamExt;

use super::exec::{one_input, one_tree, properties};
use super::merger::Merger;
use crate::budget::Budget;
use crate::codec;
use crate::error::outward;
use crate::sink::ReportSink;

/// Adds up partial trees as they arrive: one tree of one column, the empty one when there is nothing.
#[derive(Debug)]
pub(crate) struct MergeFinalExec {
    input: Arc<dyn ExecutionPlan>,
    sink: Arc<ReportSink>,
    properties: Arc<PlanProperties>,
}

impl MergeFinalExec {
    /// The sum of the trees of `input`.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, sink: Arc<ReportSink>) -> Self {
        Self { input, sink, properties: properties(codec::schema(1), 1, EmissionType::Final) }
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::new(input, Arc::clone(&self.sink))
    }
}

/// Adds the trees of `input` up; a stream without trees is the empty tree.
pub(super) async fn sum(mut input: SendableRecordBatchStream, budget: Budget) -> Result<(ValueTree, Budget)> {
    let mut sum = Merger::new(budget);
    while let Some(batch) = input.try_next().await? {
        for tree in codec::decode(&batch).map_err(outward)? {
            sum.add(tree).map_err(outward)?;
        }
    }
    sum.finish().map_err(outward)
}

impl DisplayAs for MergeFinalExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MergeFinalExec")
    }
}

impl ExecutionPlan for MergeFinalExec {
    fn name(&self) -> &'static str {
        "MergeFinalExec"
    }

    one_input!();

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let budget = Budget::new("MergeFinalExec", &task, Arc::clone(&self.sink));
        let input = self.input.execute(partition, task)?;
        Ok(one_tree(codec::schema(1), sum(input, budget)))
    }
}
