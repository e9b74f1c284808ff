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
use flamestore_segment::{ReadFrom, StackSums};
use futures::StreamExt;

use super::exec::{leaf, one_tree, properties};
use super::merger::{Merger, check_magnitude};
use super::unit::{self, Merged, UnitJob};
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
///
/// Where segments stand in for others, the sums by stack of all segments are added up before they become a call tree: the
/// union of their dictionaries is kept like a dictionary, so a range of any start costs little more than its rows.
#[derive(Debug)]
pub(crate) struct MergeExec {
    scope: Arc<Scope>,
    selection: Arc<Selection>,
    range: TimeRange,
    from: ReadFrom,
    partitions: Vec<Vec<Unit>>,
    units_at_once: usize,
    dictionaries_at_once: usize,
    joins: bool,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl MergeExec {
    /// A merge of `selection` in at most `partitions` partitions.
    pub(crate) fn new(scope: Arc<Scope>, selection: Selection, from: ReadFrom, partitions: usize) -> Self {
        let units = selection.units.len().max(1);
        let at_once = partitions.clamp(1, units);
        let joins = joins(&selection.units);
        let groups = if joins { 1 } else { at_once };
        let properties = properties(codec::schema(1), groups, EmissionType::Final);
        let metrics = ExecutionPlanMetricsSet::new();
        ScanMetrics::planned(&metrics, &selection);
        Self {
            scope,
            partitions: spread(&selection.units, groups),
            range: selection.range,
            selection: Arc::new(selection),
            from,
            units_at_once: at_once.div_ceil(groups),
            dictionaries_at_once: partitions.div_ceil(at_once),
            joins,
            metrics,
            properties,
        }
    }
}

/// How many segments are added up by stack at most: all of their dictionaries are in memory at one time.
const JOINED_MAX: usize = 16;

/// Whether the segments are added up by stack: each has one dictionary to read, and some stand in for others, so that the same
/// ones are asked again for days or weeks. Unions of what is merged away within hours would mostly be made in vain.
fn joins(units: &[Unit]) -> bool {
    let segments = || units.iter().filter(|unit| unit.is_segment());
    let has_one_dictionary = |unit: &Unit| {
        let mut dictionaries = unit.rows().map(|row| row.dictionary_id);
        dictionaries.next().is_none_or(|first| dictionaries.all(|other| other == first))
    };
    (2..=JOINED_MAX).contains(&segments().count())
        && segments().any(|unit| unit.days.is_some())
        && segments().all(has_one_dictionary)
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
        let joined = if self.joins { ", joined" } else { "" };
        write!(f, "MergeExec: {}{from}{joined}", self.selection)?;
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
            units_at_once: self.units_at_once,
            dictionaries_at_once: self.dictionaries_at_once,
            joins: self.joins,
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
    units_at_once: usize,
    dictionaries_at_once: usize,
    joins: bool,
    scan: ScanMetrics,
    baseline: BaselineMetrics,
}

impl Job {
    async fn run(self, budget: Budget) -> flamestore_model::Result<(ValueTree, Budget)> {
        let unit_budget = budget.fresh();
        let mut sum = Merger::new(budget);
        let mut joined = Joined::default();
        let merges: Vec<_> = self.units.iter().map(|unit| self.merge(unit, unit_budget.fresh())).collect();
        let mut merges = futures::stream::iter(merges).buffered(self.units_at_once.max(1));
        while let Some((unit, merged)) = merges.next().await {
            match merged {
                Ok((Merged::Tree(tree), held)) => {
                    drop(held);
                    sum.add(tree)?;
                }
                Ok((Merged::Sums(sums), held)) => joined.add(sums, held, &mut sum)?,
                Err(error) if is_damage(&error) && unit.is_segment() => {
                    self.scope.sink().damaged_within(&unit.id, &error);
                }
                Err(error) => return Err(error),
            }
            self.scope.sink().end_units(1);
        }
        drop(merges);
        joined.finish(&unit_budget, &mut sum)?;
        let sum = sum.finish()?;
        self.baseline.record_output(1);
        self.baseline.done();
        Ok(sum)
    }

    async fn merge<'a>(
        &self,
        unit: &'a Unit,
        budget: Budget,
    ) -> (&'a Unit, flamestore_model::Result<(Merged, Budget)>) {
        let job = UnitJob {
            sink: self.scope.sink(),
            types: &self.selection.types,
            range: self.range,
            from: self.from,
            dictionaries_at_once: self.dictionaries_at_once,
            joins: self.joins,
            scan: &self.scan,
        };
        (unit, unit::merge(unit, &job, budget).await)
    }
}

/// Sums by stack that wait to be added up, and what holds their bytes: at most a quarter of what queries may hold. What is
/// more is not joined.
#[derive(Default)]
struct Joined {
    parts: Vec<(StackSums, Budget)>,
    magnitude: u128,
}

impl Joined {
    fn add(&mut self, part: StackSums, held: Budget, sum: &mut Merger) -> flamestore_model::Result<()> {
        self.magnitude += part.magnitude();
        check_magnitude(self.magnitude)?;
        let bytes_max = held.limit() / 4;
        self.parts.push((part, held));
        if self.bytes() <= bytes_max {
            return Ok(());
        }
        for (part, held) in self.parts.drain(..) {
            sum.add(part.into_tree().prune_symbols())?;
            drop(held);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, held)| held.size()).sum()
    }

    /// Adds what waits to `sum`.
    fn finish(self, budget: &Budget, sum: &mut Merger) -> flamestore_model::Result<()> {
        if self.parts.is_empty() {
            return Ok(());
        }
        // A union is at most as large as all of its parts, which live until it is made.
        let union = budget.fresh();
        union.grow(self.bytes())?;
        let (parts, held): (Vec<_>, Vec<_>) = self.parts.into_iter().unzip();
        let tree = StackSums::merge(parts).prune_symbols();
        drop((held, union));
        sum.add(tree)
    }
}
