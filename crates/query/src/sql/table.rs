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
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use flamestore_model::TimeRange;
use flamestore_segment::ScanReport;

use super::columns::{self, NUMBER_OF, Shown};
use super::named::Kind;
use super::names::Names;
use super::rows::{Part, Reads, Rows, Tests};
use super::unit_names::{SharedNames, UnitNames};
use crate::budget::Budget;
use crate::error::{is_damage, outward};
use crate::metrics::ScanMetrics;
use crate::plan::{leaf, properties, spread};
use crate::scope::Scope;
use crate::selection::{Selection, Source, Unit};
use crate::tables::filters::{Reading, read, read_all};

/// Frames that the lists of stacks of a batch have at most, if it has more than one row.
const FRAMES_AT_ONCE: u32 = 1 << 19;

/// Profiles from which on several partitions share a unit: of fewer, handing rows over takes longer than reading them.
const SHARED_PROFILES_MIN: u64 = 16;

/// One table of a snapshot.
#[derive(Debug)]
pub(super) struct ShownTable {
    scope: Arc<Scope>,
    shown: Shown,
    names: Arc<Names>,
    /// Its columns, and those of numbers behind them where they were asked for.
    schema: SchemaRef,
}

impl ShownTable {
    /// The table `shown` of what `scope` reads; numbers of its names are those of `names`.
    pub(super) fn new(scope: Arc<Scope>, shown: Shown, names: Arc<Names>) -> Self {
        Self { scope, shown, names, schema: shown.schema() }
    }

    /// The table with the columns of numbers; `None` where it has none, or has them already.
    pub(super) fn numbered(&self) -> Option<Self> {
        let schema = self.shown.schema_with_numbers();
        let (scope, names) = (Arc::clone(&self.scope), Arc::clone(&self.names));
        (schema.fields().len() > self.schema.fields().len()).then_some(Self { scope, shown: self.shown, names, schema })
    }

    /// The column of the numbers that stand for the names of column `place`, and what they are.
    pub(super) fn place_of_number(&self, place: usize) -> Option<(usize, Kind)> {
        let column = self.schema.fields().get(place)?.name();
        let (_, kind) = self.shown.numbered().find(|(name, _)| name == column)?;
        Some((self.schema.index_of(&format!("{NUMBER_OF}{column}")).ok()?, kind))
    }

    /// What the numbers stand for.
    pub(super) fn names(&self) -> &Arc<Names> {
        &self.names
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
            Reading::Observed(_) if self.shown == Shown::Samples => Exact,
            Reading::Temporality(_) if self.shown.has_series() => Exact,
            _ => Unsupported,
        }
    }
}

#[async_trait]
impl TableProvider for ShownTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let mut selection = self.scope.select(&readings.selector, &readings.range).await.map_err(outward)?;
        let units = selection.units.len();
        if !readings.temporalities.is_empty() {
            selection.keep_series(|row| readings.temporalities.iter().all(|of| of == row.temporality.as_str()));
        }
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema(),
        };
        self.scope.sink().end_units(units - selection.units.len());
        let partitions = state.config().target_partitions();
        let tests = Tests { stacks: readings.stacks.into(), observed: readings.observed };
        Ok(Arc::new(ShownExec::new(self, selection, tests, schema, partitions)))
    }
}

impl Shown {
    /// About how many rows `unit` has, whatever its range.
    fn rows_about(self, unit: &Unit) -> u64 {
        match (self, &unit.source) {
            (Self::Series, _) => unit.series.len(),
            (Self::Samples, Source::Segment(stored)) => {
                let entry = &stored.entry;
                unit.weight().saturating_mul(entry.sample_rows.div_ceil(entry.profile_rows.max(1)))
            }
            // A head does not tell; programs have some hundred samples a profile.
            (Self::Samples, Source::Head(_)) => unit.weight().saturating_mul(256),
            _ => unit.weight(),
        }
    }
}

/// Reads the rows of units: one stream a partition, unit after unit.
#[derive(Debug)]
struct ShownExec {
    scope: Arc<Scope>,
    shown: Shown,
    selection: Arc<Selection>,
    tests: Tests,
    names: Arc<Names>,
    partitions: Vec<Vec<Share>>,
    /// About how many rows there are; `None` where that is not known.
    rows_about: Option<u64>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl ShownExec {
    fn new(table: &ShownTable, selection: Selection, tests: Tests, schema: SchemaRef, partitions: usize) -> Self {
        let (shares, groups) = Share::of_all(table.shown, &selection.units, partitions);
        let rows_of = |sum: u64, unit| sum.saturating_add(table.shown.rows_about(unit));
        let rows_about = table.shown.has_series().then(|| selection.units.iter().fold(0, rows_of));
        let metrics = ExecutionPlanMetricsSet::new();
        ScanMetrics::planned(&metrics, &selection);
        Self {
            scope: Arc::clone(&table.scope),
            shown: table.shown,
            names: Arc::clone(&table.names),
            partitions: shares,
            rows_about,
            selection: Arc::new(selection),
            tests,
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
        if !self.tests.stacks.is_empty() {
            let stacks: Vec<String> = self.tests.stacks.iter().map(ToString::to_string).collect();
            write!(f, ", stacks=[{}]", stacks.join(", "))?;
        }
        if self.tests.observed != TimeRange::ALL {
            write!(f, ", observed={}", self.tests.observed)?;
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

    /// About how many rows there are, so that a join holds the side of few.
    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if args.partition().is_none()
            && let Some(rows) = self.rows_about
        {
            statistics.num_rows = Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        Ok(Arc::new(statistics))
    }

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let name = format!("{}[{partition}]", self.shown.exec_name());
        let counter = |name| MetricBuilder::new(&self.metrics).counter(name, partition);
        let job = Job {
            scope: Arc::clone(&self.scope),
            reads: Reads::new(self.shown, self.selection.range, self.tests.clone(), &self.schema()),
            names: Arc::clone(&self.names),
            schema: self.schema(),
            budget: Budget::new(&name, &task, Arc::clone(self.scope.sink())),
            batch_rows: task.session_config().batch_size().max(1),
            scan: ScanMetrics::new(&self.metrics, partition),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            stacks_tested: counter("stacks_tested"),
            stacks_fitting: counter("stacks_fitting"),
        };
        let shares = self.partitions.get(partition).cloned().unwrap_or_default();
        let cursor = Cursor { job, shares: shares.into(), open: None };
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
    names: Arc<Names>,
    schema: SchemaRef,
    budget: Budget,
    batch_rows: usize,
    scan: ScanMetrics,
    baseline: BaselineMetrics,
    stacks_tested: Count,
    stacks_fitting: Count,
}

/// What one partition reads of a unit: of its parts, each `of`th from number `at` on.
#[derive(Clone, Debug)]
struct Share {
    unit: Unit,
    at: usize,
    of: usize,
    fate: Arc<Fate>,
}

/// What became of a unit, for all who read a share of it: either rows of it were given, or it is left out. How many of them are
/// done with it. And the numbers of its names, while one of them reads it.
#[derive(Debug, Default)]
struct Fate {
    was: AtomicU8,
    ended: AtomicUsize,
    names: SharedNames,
}

impl Fate {
    const GIVEN: u8 = 1;
    const LEFT_OUT: u8 = 2;

    /// Notes that rows are given; whether they may be.
    fn give(&self) -> bool {
        self.set(Self::GIVEN) != Self::LEFT_OUT
    }

    /// Leaves the unit out; whether that is so, and whether it was not before.
    fn leave_out(&self) -> (bool, bool) {
        let before = self.set(Self::LEFT_OUT);
        (before != Self::GIVEN, before == 0)
    }

    /// Sets what is not set yet; gives what was.
    fn set(&self, fate: u8) -> u8 {
        self.was.compare_exchange(0, fate, Ordering::AcqRel, Ordering::Acquire).unwrap_or_else(|before| before)
    }
}

impl Share {
    /// The shares of so many partitions, and how many these are. Units of samples are shared where there are fewer of them.
    fn of_all(shown: Shown, units: &[Unit], partitions: usize) -> (Vec<Vec<Self>>, usize) {
        let share = |unit: Unit, at: usize, of: usize, fate: &Arc<Fate>| Self { unit, at, of, fate: Arc::clone(fate) };
        let weight = || units.iter().map(Unit::weight).sum::<u64>();
        if shown == Shown::Samples && (1..partitions).contains(&units.len()) && weight() >= SHARED_PROFILES_MIN {
            let fates: Vec<Arc<Fate>> = units.iter().map(|_| Arc::default()).collect();
            let of_one =
                |at| units.iter().zip(&fates).map(|(unit, fate)| share(unit.clone(), at, partitions, fate)).collect();
            return ((0..partitions).map(of_one).collect(), partitions);
        }
        let groups = partitions.clamp(1, units.len().max(1));
        let whole = |units: Vec<Unit>| units.into_iter().map(|unit| share(unit, 0, 1, &Arc::default())).collect();
        (spread(units, groups).into_iter().map(whole).collect(), groups)
    }

    fn is_first(&self) -> bool {
        self.at == 0
    }
}

/// Where one partition is.
struct Cursor {
    job: Job,
    shares: VecDeque<Share>,
    open: Option<OpenUnit>,
}

struct OpenUnit {
    share: Share,
    names: UnitNames,
    parts: VecDeque<Part>,
    rows: Option<(Box<dyn Rows>, usize)>,
}

impl Cursor {
    async fn next(&mut self) -> flamestore_model::Result<Option<RecordBatch>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(share) = self.shares.pop_front() else {
                    self.job.budget.resize(0)?;
                    self.job.baseline.done();
                    return Ok(None);
                };
                self.open = self.job.open(share).await?;
                continue;
            };
            match self.job.batch_of(open).await {
                Ok(Some(batch)) if open.share.fate.give() => return Ok(Some(batch)),
                Ok(_) => {
                    self.job.end(&open.share);
                    self.open = None;
                }
                Err(error) => {
                    self.job.leave_out(&open.share, error)?;
                    self.open = None;
                }
            }
        }
    }
}

impl Job {
    /// Finds out what is to be read of a unit; `None` when it is damaged.
    async fn open(&self, share: Share) -> flamestore_model::Result<Option<OpenUnit>> {
        let mut scan = ScanReport::default();
        let parts = self.reads.parts(&share.unit, &mut scan).await;
        // What all who share the unit look up is reported once.
        if share.is_first() {
            self.report(&scan);
            if self.reads.misses_samples(&share.unit) {
                self.scope.sink().add_expired();
            }
        }
        match parts {
            Ok(parts) => {
                let parts = parts.into_iter().skip(share.at).step_by(share.of).collect();
                let names = share.fate.names.open(&self.names);
                Ok(Some(OpenUnit { share, names, parts, rows: None }))
            }
            Err(error) => self.leave_out(&share, error).map(|()| None),
        }
    }

    /// Leaves a damaged segment out, if no row of it was given.
    ///
    /// # Errors
    /// `error` where it is none that is left out.
    fn leave_out(&self, share: &Share, error: flamestore_model::Error) -> flamestore_model::Result<()> {
        if !is_damage(&error) || !share.unit.is_segment() {
            return Err(error);
        }
        let (is_left_out, is_new) = share.fate.leave_out();
        if !is_left_out {
            return Err(error);
        }
        if is_new {
            self.scope.sink().damaged_within(&share.unit.id, &error);
        }
        self.end(share);
        Ok(())
    }

    /// Notes that `share` is done with; the last of a unit's ends the unit.
    fn end(&self, share: &Share) {
        if share.fate.ended.fetch_add(1, Ordering::AcqRel) + 1 == share.of {
            self.scope.sink().end_units(1);
        }
    }

    /// The next rows of `open`; `None` after the last.
    async fn batch_of(&self, open: &mut OpenUnit) -> flamestore_model::Result<Option<RecordBatch>> {
        loop {
            if let Some((rows, at)) = &mut open.rows {
                let wanted = *at..self.end_of_batch(rows.as_ref(), *at)?;
                if !wanted.is_empty() {
                    let batch = columns::batch(&self.schema, wanted.len(), |name| rows.column(name, wanted.clone()))?;
                    self.budget.resize(rows.memory_bytes() + batch.get_array_memory_size())?;
                    self.baseline.record_output(batch.num_rows());
                    *at = wanted.end;
                    return Ok(Some(batch));
                }
                open.rows = None;
            }
            let Some(part) = open.parts.pop_front() else { return Ok(None) };
            self.budget.resize(part.memory_bytes())?;
            let mut scan = ScanReport::default();
            let read = self.reads.rows(&open.share.unit, part, &open.names, &mut scan).await;
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
    fn end_of_batch(&self, rows: &dyn Rows, start: usize) -> flamestore_model::Result<usize> {
        let end = rows.len().min(start + self.batch_rows);
        if !self.reads.has_stacks() {
            return Ok(end);
        }
        let mut room = FRAMES_AT_ONCE;
        let mut fits = |frames: &u32| {
            let fits = room > 0;
            room = room.saturating_sub(*frames);
            fits
        };
        Ok(start + rows.frames(start..end)?.iter().take_while(|frames| fits(frames)).count())
    }

    fn report(&self, scan: &ScanReport) {
        self.scope.sink().add_scan(scan);
        self.scan.add_scan(scan);
    }
}
