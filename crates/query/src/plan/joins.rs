//! What DataFusion's joins lack in a server: they take turns with others, and end where memory does.
//!
//! DataFusion has leaves and exchanges give others their turn. A join that makes many rows of each batch below it polls no
//! leaf in between: it would hold its thread, and could not be cancelled, until it ends. So what it makes is counted as well. And
//! joins may look at any number of pairs and make nothing of them: the side that they go through is handed to them in parts
//! that they make short work of.
//!
//! A nested loop join whose left side outgrows the memory runs that side a second time, on its way to disk, and goes on in
//! parts. In DataFusion 55 it then loses or repeats rows without a partner (its issues 22641 and 24745, mended after
//! 55.2), and panics where the side has an exchange. So the side is run once only.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};

use super::exec::one_input;

/// For how long a join is to look at one part. Parts of less than some seven hundred rows are more work for it.
const PART_TIME: Duration = Duration::from_millis(300);

/// For how long a join may keep others waiting, if it is done with a part by then.
const TURN_TIME: Duration = Duration::from_millis(10);

/// Rows of the first part.
const FIRST_PART_ROWS: usize = 64;

/// Puts around each join what it lacks. To be run after all other rules.
#[derive(Debug)]
pub(crate) struct FairJoins;

impl PhysicalOptimizerRule for FairJoins {
    fn name(&self) -> &'static str {
        "fair_joins"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let is_nested_loop = node.is::<NestedLoopJoinExec>();
            let fair = if is_nested_loop || node.is::<HashJoinExec>() {
                let [left, right] = node.children()[..] else { return Ok(Transformed::no(node)) };
                let left = Arc::clone(left);
                let left = if is_nested_loop { Arc::new(OnceExec::new(left)) } else { left };
                let sides = vec![left, Arc::new(PartsExec::new(Arc::clone(right)))];
                node.replace_children(sides, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?
            } else if is_other_join(node.as_ref()) {
                node
            } else {
                return Ok(Transformed::no(node));
            };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(fair))))
        })
        .data()
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn is_other_join(node: &dyn ExecutionPlan) -> bool {
    node.is::<CrossJoinExec>() || node.is::<SortMergeJoinExec>() || node.is::<PiecewiseMergeJoinExec>()
}

/// Gives the rows of its one input, which has one partition, the first time that it is run.
#[derive(Debug)]
struct OnceExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    has_run: AtomicBool,
}

impl OnceExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::clone(input.properties());
        Self { input, properties, has_run: AtomicBool::new(false) }
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::new(input)
    }
}

impl DisplayAs for OnceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for OnceExec {
    fn name(&self) -> &'static str {
        "OnceExec"
    }

    one_input!();

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.has_run.swap(true, Ordering::Relaxed) {
            let text = "a join without equal columns cannot hold one of its sides".to_owned();
            return Err(DataFusionError::ResourcesExhausted(text));
        }
        self.input.execute(partition, task)
    }
}

/// Gives the rows of its one input in parts, as large as the join above makes short work of, and others their turn between them.
#[derive(Debug)]
struct PartsExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl PartsExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::clone(input.properties());
        Self { input, properties }
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::new(input)
    }
}

impl DisplayAs for PartsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for PartsExec {
    fn name(&self) -> &'static str {
        "PartsExec"
    }

    one_input!(UnspecifiedDistribution);

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(Parts::new(self.input.execute(partition, task)?)))
    }
}

struct Parts {
    input: SendableRecordBatchStream,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    pace: Pace,
    /// When the last part was given, and its rows.
    given: Option<(Instant, usize)>,
}

impl Parts {
    fn new(input: SendableRecordBatchStream) -> Self {
        Self { input, rest: None, pace: Pace::START, given: None }
    }
}

impl Stream for Parts {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some((given, rows)) = self.given.take()
            && self.pace.after(rows, given.elapsed())
        {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match ready!(self.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            },
        };
        let rows = self.pace.rows.min(batch.num_rows());
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.given = Some((Instant::now(), rows));
        Poll::Ready(Some(Ok(batch.slice(0, rows))))
    }
}

impl RecordBatchStream for Parts {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

/// How much is given at a time.
struct Pace {
    /// The most rows of the next part.
    rows: usize,
    /// How long others were kept waiting.
    kept: Duration,
}

impl Pace {
    const START: Self = Self { rows: FIRST_PART_ROWS, kept: Duration::ZERO };

    /// Takes in that a part of so many rows took so long; whether it is the turn of others.
    fn after(&mut self, rows: usize, took: Duration) -> bool {
        let fitting = rows as u128 * PART_TIME.as_nanos() / took.as_nanos().max(1);
        // A part that is smaller than it might have been does not show that more would be as quick.
        let most = if rows < self.rows { self.rows } else { self.rows.saturating_mul(2) };
        self.rows = match rows {
            0 => self.rows,
            _ => usize::try_from(fitting).map_or(most, |fitting| fitting.clamp(1, most)),
        };
        self.kept += took;
        let is_turn = self.kept >= TURN_TIME;
        if is_turn {
            self.kept = Duration::ZERO;
        }
        is_turn
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::TryStreamExt;

    use super::*;

    /// What comes after a part of `rows` rows, where `most` were allowed, that took so long.
    fn check_rows(most: usize, rows: usize, millis: u64, expected: usize) {
        let mut pace = Pace { rows: most, kept: Duration::ZERO };
        pace.after(rows, Duration::from_millis(millis));
        assert_eq!(pace.rows, expected, "{rows} of {most} rows in {millis} ms");
    }

    #[test]
    fn parts_grow_while_they_are_quick_and_shrink_at_once() {
        check_rows(256, 256, 0, 512);
        check_rows(256, 256, 150, 512);
        check_rows(256, 256, 300, 256);
        check_rows(256, 256, 1200, 64);
        check_rows(256, 256, 100_000, 1);
        check_rows(usize::MAX, usize::MAX, 0, usize::MAX);
    }

    #[test]
    fn small_parts_do_not_make_the_next_larger() {
        check_rows(256, 10, 1, 256);
        check_rows(256, 10, 100, 30);
        check_rows(256, 0, 100, 256);
    }

    #[test]
    fn others_have_their_turn_after_ten_milliseconds() {
        let mut pace = Pace::START;
        let turns = [4, 4, 4, 9, 20, 1].map(|millis| pace.after(1, Duration::from_millis(millis)));
        assert_eq!(turns, [false, false, true, false, true, false]);
    }

    #[tokio::test]
    async fn all_rows_are_given_in_their_order() {
        let schema = Arc::new(Schema::new(vec![Field::new("row", DataType::Int32, false)]));
        let rows = Arc::new(Int32Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![rows]).unwrap();
        let input = [batch.clone(), batch.slice(0, 0), batch.clone()];
        let stream = RecordBatchStreamAdapter::new(Arc::clone(&schema), futures::stream::iter(input.clone().map(Ok)));
        let given: Vec<_> = Parts::new(Box::pin(stream)).try_collect().await.unwrap();
        assert!(given.len() > input.len());
        let joined = |batches| arrow::compute::concat_batches(&schema, batches).unwrap();
        assert_eq!(joined(&given), joined(&input.to_vec()));
    }
}
