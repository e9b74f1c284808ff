//! What the operators have in common.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{Partitioning, PlanProperties, SendableRecordBatchStream};
use flamestore_calltree::ValueTree;

use crate::budget::Budget;
use crate::codec;
use crate::error::outward;

/// What holds of an operator with `partitions` of `schema`, whose rows come to an end.
pub(crate) fn properties(schema: SchemaRef, partitions: usize, emission: EmissionType) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(partitions),
        emission,
        Boundedness::Bounded,
    ))
}

/// A stream of the one row that `tree` resolves to. The row's memory stays reserved until the stream ends.
pub(crate) fn one_tree(
    schema: SchemaRef,
    tree: impl Future<Output = Result<(ValueTree, Budget)>> + Send + 'static,
) -> SendableRecordBatchStream {
    let row = async move {
        let (tree, budget) = tree.await?;
        Ok((codec::encode(tree).map_err(outward)?, budget))
    };
    let rows = futures::stream::unfold(Some(Row::Coming(Box::pin(row))), |state| async move {
        match state? {
            Row::Coming(row) => match row.await {
                Ok((batch, budget)) => Some((Ok(batch), Some(Row::Given(budget)))),
                Err(error) => Some((Err(error), None)),
            },
            Row::Given(budget) => {
                drop(budget);
                None
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// What all nodes of a plan say that read what they answer themselves, and have fields `properties` and `metrics`.
macro_rules! leaf {
    () => {
        fn properties(&self) -> &Arc<::datafusion::physical_plan::PlanProperties> {
            &self.properties
        }

        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            Vec::new()
        }

        fn apply_expressions(
            &self,
            _f: &mut dyn FnMut(
                &Arc<dyn ::datafusion::physical_plan::PhysicalExpr>,
            ) -> ::datafusion::error::Result<::datafusion::common::tree_node::TreeNodeRecursion>,
        ) -> ::datafusion::error::Result<::datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(::datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: Arc<Self>,
            _children: Vec<Arc<dyn ExecutionPlan>>,
            _options: ::datafusion::physical_plan::ReplaceChildrenOptions,
        ) -> ::datafusion::error::Result<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }

        fn with_new_children(
            self: Arc<Self>,
            _children: Vec<Arc<dyn ExecutionPlan>>,
        ) -> ::datafusion::error::Result<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }

        fn metrics(&self) -> Option<::datafusion::physical_plan::metrics::MetricsSet> {
            Some(self.metrics.clone_inner())
        }
    };
}

pub(crate) use leaf;

/// What all nodes of a plan say that have one input, in fields `input` and `properties`; in one partition, if not said otherwise.
/// `with_input` of theirs is the same node over another input.
macro_rules! one_input {
    () => {
        crate::plan::one_input!(SinglePartition);
    };
    ($distribution:ident) => {
        fn properties(&self) -> &Arc<::datafusion::physical_plan::PlanProperties> {
            &self.properties
        }

        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            vec![&self.input]
        }

        fn input_distribution_requirements(&self) -> ::datafusion::physical_plan::InputDistributionRequirements {
            ::datafusion::physical_plan::InputDistributionRequirements::new(vec![
                ::datafusion::physical_expr::Distribution::$distribution,
            ])
        }

        fn apply_expressions(
            &self,
            _f: &mut dyn FnMut(
                &Arc<dyn ::datafusion::physical_plan::PhysicalExpr>,
            ) -> ::datafusion::error::Result<::datafusion::common::tree_node::TreeNodeRecursion>,
        ) -> ::datafusion::error::Result<::datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(::datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: Arc<Self>,
            mut children: Vec<Arc<dyn ExecutionPlan>>,
            _options: ::datafusion::physical_plan::ReplaceChildrenOptions,
        ) -> ::datafusion::error::Result<Arc<dyn ExecutionPlan>> {
            match children.pop() {
                Some(input) if children.is_empty() => Ok(Arc::new(self.with_input(input))),
                _ => ::datafusion::common::internal_err!("{} has one input", self.name()),
            }
        }

        fn with_new_children(
            self: Arc<Self>,
            children: Vec<Arc<dyn ExecutionPlan>>,
        ) -> ::datafusion::error::Result<Arc<dyn ExecutionPlan>> {
            use ::datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
            self.replace_children(children, ::datafusion::physical_plan::ReplaceChildrenOptions::new(Recompute))
        }
    };
}

pub(crate) use one_input;

enum Row<F> {
    Coming(F),
    Given(Budget),
}
