//! `MergeExec`: partial merges of the units of a snapshot.

use std::fmt;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use flamestore_calltree::ValueTree;
use flamestore_model::TimeRange;
use flamestore_segment::ReadFrom;

use super::exec::{leaf, one_tree, properties};
use super::merger::Merger;
use super::unit::{self, UnitJob};
use crate::budget::Budget;
use crate::codec;
use crate::error::{is_damage, outward};
use crate::metrics::ScanMetrics;
use crate::scope::Scope;
use crate::selection::{Selection, Unit};

/// Merges the selected profiles of the units of a snapshot: one partial tree per partition.
///
/// Per unit, one dictionary after another is accumulated into a dense array by stack and folded into a call tree of what is
/// not zero; a segment's trees join the partition's sum only when all of them could be read, so a damaged segment leaves no
/// trace but a line of the report. Memory: the sum, the segment's sum, and the dictionaries in work.
#[derive(Debug)]
pub(crate) struct MergeExec {
    scope: Arc<Scope>,
    selection: Arc<Selection>,
    range: TimeRange,
    from: ReadFrom,
    partitions: Vec<Vec<Unit>>,
    dictionaries_at_once: usize,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl MergeExec {
    /// A merge of `selection` in at most `partitions` partitions.
    pub(crate) fn new(scope: Arc<Scope>, selection: Selection, from: ReadFrom, partitions: usize) -> Self {
        let units = selection.units.len().max(1);
        let groups = partitions.clamp(1, units);
        let properties = properties(codec::schema(1), groups, EmissionType::Final);
        let metrics = ExecutionPlanMetricsSet::new();
        ScanMetrics::planned(&metrics, &selection);
        Self {
            scope,
            partitions: spread(&selection.units, groups),
            range: selection.range,
            selection: Arc::new(selection),
            from,
            dictionaries_at_once: partitions.div_ceil(groups),
            metrics,
            properties,
        }
    }
}

/// Spreads units over `groups`, the largest first and each to the group with the least to do.
pub(crate) fn spread(units: &[Unit], groups: usize) -> Vec<Vec<Unit>> {
    let mut order: Vec<&Unit> = units.iter().collect();
    order.sort_by_key(|unit| std::cmp::Reverse(unit.weight()));
    let mut spread = vec![(0_u64, Vec::new()); groups];
    for unit in order {
        if let Some(least) = spread.iter_mut().min_by_key(|group| group.0) {
            least.0 += unit.weight().max(1);
            least.1.push(unit.clone());
        }
    }
    spread.into_iter().map(|(_, units)| units).collect()
}

impl DisplayAs for MergeExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.from == ReadFrom::Samples { ", from=samples" } else { "" };
        write!(f, "MergeExec: {}{from}", self.selection)?;
        self.selection.fmt_decisions(t, f)
    }
}

impl ExecutionPlan for MergeExec {
    fn name(&self) -> &'static str {
        "MergeExec"
    }

    leaf!();

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let budget = Budget::new(&format!("MergeExec[{partition}]"), &task, Arc::clone(self.scope.sink()));
        let job = Job {
            scope: Arc::clone(&self.scope),
            selection: Arc::clone(&self.selection),
            units: self.partitions.get(partition).cloned().unwrap_or_default(),
            range: self.range,
            from: self.from,
            dictionaries_at_once: self.dictionaries_at_once,
            scan: ScanMetrics::new(&self.metrics, partition),
            baseline: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(one_tree(codec::schema(1), async move { job.run(budget).await.map_err(outward) }))
    }
}

/// What one partition does.
struct Job {
    scope: Arc<Scope>,
    selection: Arc<Selection>,
    units: Vec<Unit>,
    range: TimeRange,
    from: ReadFrom,
    dictionaries_at_once: usize,
    scan: ScanMetrics,
    baseline: BaselineMetrics,
}

impl Job {
    async fn run(self, budget: Budget) -> flamestore_model::Result<(ValueTree, Budget)> {
        let unit_budget = budget.fresh();
        let mut sum = Merger::new(budget);
        for unit in &self.units {
            let job = UnitJob {
                sink: self.scope.sink(),
                types: &self.selection.types,
                range: self.range,
                from: self.from,
                dictionaries_at_once: self.dictionaries_at_once,
                scan: &self.scan,
            };
            match unit::merge(unit, &job, unit_budget.fresh()).await {
                Ok((tree, held)) => {
                    drop(held);
                    sum.add(tree)?;
                }
                Err(error) if is_damage(&error) && unit.is_segment() => {
                    self.scope.sink().damaged_within(&unit.id, &error);
                }
                Err(error) => return Err(error),
            }
        }
        let sum = sum.finish()?;
        self.baseline.record_output(1);
        self.baseline.done();
        Ok(sum)
    }
}
