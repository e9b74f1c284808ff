//! `DiffExec`: two merges side by side.

use std::fmt;
use std::sync::Arc;

use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};
use flamestore_calltree::{ValueTree, merge};

use super::exec::{one_tree, properties};
use super::merge_final::sum;
use super::merger::tree_bytes;
use crate::budget::Budget;
use crate::codec;
use crate::error::outward;
use crate::sink::ReportSink;

/// Merges two trees of one column into one of two columns; what exists on one side only is kept, with zero on the other.
#[derive(Debug)]
pub(crate) struct DiffExec {
    before: Arc<dyn ExecutionPlan>,
    after: Arc<dyn ExecutionPlan>,
    sink: Arc<ReportSink>,
    properties: Arc<PlanProperties>,
}

impl DiffExec {
    /// The trees of `before` in the first column, those of `after` in the second.
    pub(crate) fn new(before: Arc<dyn ExecutionPlan>, after: Arc<dyn ExecutionPlan>, sink: Arc<ReportSink>) -> Self {
        Self { before, after, sink, properties: properties(codec::schema(2), 1, EmissionType::Final) }
    }
}

async fn diff(sides: [SendableRecordBatchStream; 2], budgets: [Budget; 2]) -> Result<(ValueTree, Budget)> {
    let ([before, after], [budget_before, budget_after]) = (sides, budgets);
    let before = sum(before, budget_before);
    let after = sum(after, budget_after);
    let ((before, held_before), (after, held_after)) = futures::try_join!(before, after)?;
    let budget = held_before.fresh();
    budget.grow(held_before.size() + held_after.size()).map_err(outward)?;
    let tree = merge(vec![(before, 0), (after, 1)], 2);
    drop((held_before, held_after));
    budget.resize(tree_bytes(&tree)).map_err(outward)?;
    Ok((tree, budget))
}

impl DisplayAs for DiffExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiffExec: columns=[before, after]")
    }
}

impl ExecutionPlan for DiffExec {
    fn name(&self) -> &'static str {
        "DiffExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.before, &self.after]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition, Distribution::SinglePartition])
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 2]>::try_from(children) {
            Ok([before, after]) => Ok(Arc::new(Self::new(before, after, Arc::clone(&self.sink)))),
            Err(_) => internal_err!("DiffExec has two inputs"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let budget = |name| Budget::new(name, &task, Arc::clone(&self.sink));
        let budgets = [budget("DiffExec[before]"), budget("DiffExec[after]")];
        let sides = [self.before.execute(partition, Arc::clone(&task))?, self.after.execute(partition, task)?];
        Ok(one_tree(codec::schema(2), diff(sides, budgets)))
    }
}
