//! From logical nodes to operators: the place where segments are pruned.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use flamestore_model::Temporality;
use flamestore_segment::ReadFrom;

use super::combine::CombineExec;
use super::diff::DiffExec;
use super::merge::MergeExec;
use super::merge_final::MergeFinalExec;
use super::nodes::{DiffNode, MergeNode};
use crate::answer::Combine;
use crate::error::outward;
use crate::selection::Unit;

/// DataFusion's planner, which also knows merge and diff.
#[derive(Debug)]
pub(crate) struct TreeQueryPlanner;

/// Plans [`MergeNode`] as [`MergeFinalExec`] over [`MergeExec`], or as [`CombineExec`] where values are not added up over time,
/// and [`DiffNode`] as [`DiffExec`].
struct TreeExtensionPlanner;

#[async_trait]
impl QueryPlanner for TreeQueryPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(TreeExtensionPlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

#[async_trait]
impl ExtensionPlanner for TreeExtensionPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(node) = node.as_any().downcast_ref::<MergeNode>() {
            let scope = Arc::clone(&node.scope);
            let mut selection = scope.look_sums(&node.selector, &node.range, node.from).await.map_err(outward)?;
            let found: HashSet<Temporality> =
                selection.units.iter().flat_map(Unit::rows).map(|row| row.temporality).collect();
            let from = found.iter().map(|of| node.combine.read_from(*of)).fold(node.from, ReadFrom::max);
            if from != node.from {
                selection = scope.look_sums(&node.selector, &node.range, from).await.map_err(outward)?;
            }
            scope.report(&selection);
            if found.iter().any(|of| node.combine.of(*of) != Combine::Sum) {
                return Ok(Some(Arc::new(CombineExec::new(scope, selection, from, node.combine))));
            }
            let partitions = session.config().target_partitions();
            let leaf = MergeExec::new(Arc::clone(&scope), selection, from, partitions);
            return Ok(Some(Arc::new(MergeFinalExec::new(Arc::new(leaf), Arc::clone(scope.sink())))));
        }
        if let Some(node) = node.as_any().downcast_ref::<DiffNode>() {
            let [before, after] = inputs else {
                return plan_err!("a diff has two inputs, not {}", inputs.len());
            };
            return Ok(Some(Arc::new(DiffExec::new(Arc::clone(before), Arc::clone(after), Arc::clone(node.sink())))));
        }
        Ok(None)
    }
}

impl fmt::Debug for TreeExtensionPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TreeExtensionPlanner")
    }
}
