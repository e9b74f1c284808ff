//! What the tree operators have in common.

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

/// Operators that emit what they have once their input ended.
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

enum Row<F> {
    Coming(F),
    Given(Budget),
}
