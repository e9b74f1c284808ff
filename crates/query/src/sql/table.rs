//! The tables of `public` that are read from the segments and heads of a snapshot, and the operator that reads them.
//!
//! ```text
//! filters ─▶ selector, range, tests of stacks ─▶ units ─▶ parts ─▶ rows ─▶ batches of the columns asked for
//! ```
//!
//! In memory are one part a partition, at most [`super::rows::ROWS_AT_ONCE`] samples or those of one profile, its dictionary,
//! and one batch. A segment that turns out to be damaged before a row of it was given is left out and reported; later the
//! statement ends with `Corrupt`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use flamestore_model::TimeRange;
use flamestore_segment::ScanReport;

use super::columns::{self, Shown};
use super::rows::{Part, Reads, Rows};
use super::stack_names::StackTest;
use crate::budget::Budget;
use crate::error::{is_damage, outward};
use crate::metrics::ScanMetrics;
use crate::plan::{leaf, properties, spread};
use crate::scope::Scope;
use crate::selection::{Selection, Unit};
use crate::tables::filters::{Reading, read, read_all};

/// Frames that the lists of stacks of a batch have at most, if it has more than one row.
const FRAMES_AT_ONCE: u32 = 1 << 19;

/// One table of a snapshot.
#[derive(Debug)]
pub(super) struct ShownTable {
    scope: Arc<Scope>,
    shown: Shown,
}

impl ShownTable {
    /// The table `shown` of what `scope` reads.
    pub(super) fn new(scope: Arc<Scope>, shown: Shown) -> Self {
        Self { scope, shown }
    }

    /// Whether the rows that are read are exactly those that `filter` asks for, or at least all of them.
    fn answer(&self, filter: &Expr) -> TableProviderFilterPushDown {
        use TableProviderFilterPushDown::{Exact, Inexact, Unsupported};
        match read(filter) {
            Reading::Selector(_) | Reading::Hint(_) if self.shown.has_series() => Exact,
            // Of services without a fitting series nothing is read.
            Reading::Hint(matcher) if matcher.name() == flamestore_model::names::SERVICE_NAME => Inexact,
            Reading::Times(_) if self.shown.has_time() => Exact,
            Reading::Stacks(_) if self.shown.has_stack() => Exact,
            _ => Unsupported,
        }
    }
}

#[async_trait]
impl TableProvider for ShownTable {
    fn schema(&self) -> SchemaRef {
        self.shown.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| self.answer(filter)).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let understood = |filter: &&Expr| self.answer(filter) != TableProviderFilterPushDown::Unsupported;
        let filters: Vec<Expr> = filters.iter().filter(understood).cloned().collect();
        let readings = read_all(&filters, &TimeRange::ALL);
        let selection = self.scope.select(&readings.selector, &readings.range).await.map_err(outward)?;
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema(),
        };
        let partitions = state.config().target_partitions();
        Ok(Arc::new(ShownExec::new(self, selection, readings.stacks, schema, partitions)))
    }
}

/// Reads the rows of units: one stream a partition, unit after unit.
#[derive(Debug)]
struct ShownExec {
    scope: Arc<Scope>,
    shown: Shown,
    selection: Arc<Selection>,
    stacks: Arc<[StackTest]>,
    partitions: Vec<Vec<Unit>>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl ShownExec {
    fn new(
        table: &ShownTable,
        selection: Selection,
        stacks: Vec<StackTest>,
        schema: SchemaRef,
        partitions: usize,
    ) -> Self {
        let groups = partitions.clamp(1, selection.units.len().max(1));
        let metrics = ExecutionPlanMetricsSet::new();
        ScanMetrics::planned(&metrics, &selection);
        Self {
            scope: Arc::clone(&table.scope),
            shown: table.shown,
            partitions: spread(&selection.units, groups),
            selection: Arc::new(selection),
            stacks: stacks.into(),
            metrics,
            properties: properties(schema, groups, EmissionType::Incremental),
        }
    }
}

impl DisplayAs for ShownExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "{}: {}", self.shown.exec_name(), self.selection)?;
        if !self.stacks.is_empty() {
            let stacks: Vec<String> = self.stacks.iter().map(ToString::to_string).collect();
            write!(f, ", stacks=[{}]", stacks.join(", "))?;
        }
        write!(f, ", columns=[{}]", columns.join(", "))?;
        self.selection.fmt_decisions(t, f)
    }
}

impl ExecutionPlan for ShownExec {
    fn name(&self) -> &'static str {
        self.shown.exec_name()
    }

    leaf!();

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let name = format!("{}[{partition}]", self.shown.exec_name());
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let job = Job {
            scope: Arc::clone(&self.scope),
            reads: Reads::new(self.shown, self.selection.range, Arc::clone(&self.stacks), &self.schema()),
            schema: self.schema(),
            budget: Budget::new(&name, &task, Arc::clone(self.scope.sink())),
            batch_rows: task.session_config().batch_size().max(1),
            scan: ScanMetrics::new(&self.metrics, partition),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            stacks_tested: counter("stacks_tested"),
            stacks_fitting: counter("stacks_fitting"),
        };
        let units = self.partitions.get(partition).cloned().unwrap_or_default();
        let cursor = Cursor { job, units: units.into(), open: None };
        let batches = futures::stream::try_unfold(cursor, |mut cursor| async move {
            let batch = cursor.next().await.map_err(outward)?;
            Ok(batch.map(|batch| (batch, cursor)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

struct Job {
    scope: Arc<Scope>,
    reads: Reads,
    schema: SchemaRef,
    budget: Budget,
    batch_rows: usize,
    scan: ScanMetrics,
    baseline: BaselineMetrics,
    stacks_tested: Count,
    stacks_fitting: Count,
}

/// Where one partition is.
struct Cursor {
    job: Job,
    units: VecDeque<Unit>,
    open: Option<OpenUnit>,
}

struct OpenUnit {
    unit: Unit,
    parts: VecDeque<Part>,
    rows: Option<(Box<dyn Rows>, usize)>,
    /// Whether a row of it was given.
    given: bool,
}

impl Cursor {
    async fn next(&mut self) -> flamestore_model::Result<Option<RecordBatch>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(unit) = self.units.pop_front() else {
                    self.job.budget.resize(0)?;
                    self.job.baseline.done();
                    return Ok(None);
                };
                self.open = self.job.open(unit).await?;
                continue;
            };
            match self.job.batch_of(open).await {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => self.open = None,
                Err(error) if is_damage(&error) && open.unit.is_segment() && !open.given => {
                    self.job.scope.sink().damaged_within(&open.unit.id, &error);
                    self.open = None;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Job {
    /// Finds out what is to be read of `unit`; `None` when it is damaged.
    async fn open(&self, unit: Unit) -> flamestore_model::Result<Option<OpenUnit>> {
        let mut scan = ScanReport::default();
        let parts = self.reads.parts(&unit, &self.scope, &mut scan).await;
        self.report(&scan);
        match parts {
            Ok(parts) => Ok(Some(OpenUnit { unit, parts: parts.into(), rows: None, given: false })),
            Err(error) if is_damage(&error) && unit.is_segment() => {
                self.scope.sink().damaged_within(&unit.id, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The next rows of `open`; `None` after the last.
    async fn batch_of(&self, open: &mut OpenUnit) -> flamestore_model::Result<Option<RecordBatch>> {
        loop {
            if let Some((rows, at)) = &mut open.rows {
                let wanted = *at..self.end_of_batch(rows.as_ref(), *at);
                if !wanted.is_empty() {
                    let batch = columns::batch(&self.schema, wanted.len(), |name| rows.column(name, wanted.clone()))?;
                    self.budget.resize(rows.memory_bytes() + batch.get_array_memory_size())?;
                    self.baseline.record_output(batch.num_rows());
                    (*at, open.given) = (wanted.end, true);
                    return Ok(Some(batch));
                }
                open.rows = None;
            }
            let Some(part) = open.parts.pop_front() else { return Ok(None) };
            self.budget.resize(part.memory_bytes())?;
            let mut scan = ScanReport::default();
            let read = self.reads.rows(&open.unit, part, &mut scan).await;
            self.report(&scan);
            let read = read?;
            self.stacks_tested.add(read.stacks_tested);
            self.stacks_fitting.add(read.stacks_fitting);
            self.scan.add_profiles(read.profiles);
            self.scope.sink().add_profiles(read.profiles as u64);
            if let Some(rows) = read.rows {
                self.budget.resize(rows.memory_bytes())?;
                open.rows = Some((rows, 0));
            }
        }
    }

    /// Where a batch of `rows` that starts at `start` ends: lists of stacks stay within [`FRAMES_AT_ONCE`], or one row.
    fn end_of_batch(&self, rows: &dyn Rows, start: usize) -> usize {
        let end = rows.len().min(start + self.batch_rows);
        if self.schema.column_with_name("stack").is_none() {
            return end;
        }
        let mut room = FRAMES_AT_ONCE;
        let fits = |row: &usize| {
            let fits = room > 0;
            room = room.saturating_sub(rows.frames(*row));
            fits
        };
        start + (start..end).take_while(fits).count()
    }

    fn report(&self, scan: &ScanReport) {
        self.scope.sink().add_scan(scan);
        self.scan.add_scan(scan);
    }
}
