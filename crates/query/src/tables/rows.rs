//! `series` and `profiles`: rows that the readers of segments and heads give.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use flamestore_model::{Error, TimeRange};
use flamestore_segment::{ProfileRow, ReadFrom, ScanReport, SeriesRow, WindowRow};
use flamestore_store::HeadView;
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;

use super::batches::{self, ProfileOut};
use super::filters::{Reading, read, read_all};
use super::head_rows;
use crate::budget::Budget;
use crate::error::{is_damage, outward};
use crate::metrics::ScanMetrics;
use crate::plan::{leaf, properties, spread};
use crate::scope::Scope;
use crate::selection::{Selection, Source, Unit};

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowsKind {
    /// Series that have a profile in the range.
    Series,
    /// Profiles of the range, one row per sample type.
    Profiles,
    /// The same for sums over time: a window of a roll-up is one row, at the start of the window. Only the columns that a
    /// window has.
    Totals(ReadFrom),
}

/// Which ids the rows of heads have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadIds {
    /// Those of the head's view: quick, and good for all that does not join.
    View,
    /// Those of the head's tables, as SQL needs them; all rows, since filters are applied again.
    Tables,
}

/// The table of one kind of rows of a snapshot.
#[derive(Debug)]
pub(crate) struct RowsTable {
    scope: Arc<Scope>,
    kind: RowsKind,
    within: TimeRange,
    head_ids: HeadIds,
}

impl RowsTable {
    /// The rows of `kind` that have to do with the times `within`.
    pub(crate) fn new(scope: Arc<Scope>, kind: RowsKind, within: TimeRange) -> Self {
        Self { scope, kind, within, head_ids: HeadIds::View }
    }

    /// The same with other ids of heads.
    pub(crate) fn with_head_ids(self, head_ids: HeadIds) -> Self {
        Self { head_ids, ..self }
    }
}

impl RowsKind {
    /// The columns of the table.
    pub(crate) fn schema(self) -> SchemaRef {
        static SERIES: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(batches::series_schema()));
        static PROFILES: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(batches::profiles_schema()));
        match self {
            Self::Series => Arc::clone(&SERIES),
            Self::Profiles | Self::Totals(_) => Arc::clone(&PROFILES),
        }
    }

    fn exec_name(self) -> &'static str {
        match self {
            Self::Series => "SeriesExec",
            Self::Profiles => "ProfilesExec",
            Self::Totals(_) => "TotalsExec",
        }
    }
}

#[async_trait]
impl TableProvider for RowsTable {
    fn schema(&self) -> SchemaRef {
        self.kind.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        use TableProviderFilterPushDown::{Exact, Inexact, Unsupported};
        let answer = |filter: &&Expr| match (read(filter), self.kind) {
            (Reading::Selector(_), _) | (Reading::Times(_), RowsKind::Profiles | RowsKind::Totals(_)) => {
                match self.head_ids {
                    HeadIds::View => Exact,
                    HeadIds::Tables => Inexact,
                }
            }
            (Reading::Hint(_), _) => Inexact,
            (Reading::Times(_), RowsKind::Series)
            | (Reading::Stacks(_) | Reading::Observed(_) | Reading::Temporality(_) | Reading::Unknown, _) => {
                Unsupported
            }
        };
        Ok(filters.iter().map(answer).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let readings = read_all(filters, &self.within);
        let (selector, range) = (&readings.selector, &readings.range);
        let selection = match self.kind {
            RowsKind::Totals(from) => self.scope.select_sums(selector, range, from).await,
            RowsKind::Series | RowsKind::Profiles => self.scope.select(selector, range).await,
        };
        let selection = selection.map_err(outward)?;
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema(),
        };
        let partitions = state.config().target_partitions();
        Ok(Arc::new(RowsExec::new(self, selection, schema, partitions)))
    }
}

/// Reads the rows of units: one stream a partition, unit after unit. A unit's rows are read as a whole before the first of
/// them is given, so that a damaged segment gives none.
#[derive(Debug)]
struct RowsExec {
    scope: Arc<Scope>,
    kind: RowsKind,
    head_ids: HeadIds,
    selection: Arc<Selection>,
    partitions: Vec<Vec<Unit>>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl RowsExec {
    fn new(table: &RowsTable, selection: Selection, schema: SchemaRef, partitions: usize) -> Self {
        let groups = partitions.clamp(1, selection.units.len().max(1));
        let metrics = ExecutionPlanMetricsSet::new();
        ScanMetrics::planned(&metrics, &selection);
        let properties = properties(schema, groups, EmissionType::Incremental);
        let partitions = spread(&selection.units, groups);
        let scope = Arc::clone(&table.scope);
        let (kind, head_ids) = (table.kind, table.head_ids);
        Self { scope, kind, head_ids, partitions, selection: Arc::new(selection), metrics, properties }
    }
}

impl DisplayAs for RowsExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "{}: {}, columns=[{}]", self.kind.exec_name(), self.selection, columns.join(", "))?;
        self.selection.fmt_decisions(t, f)
    }
}

impl ExecutionPlan for RowsExec {
    fn name(&self) -> &'static str {
        self.kind.exec_name()
    }

    leaf!();

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let name = format!("{}[{partition}]", self.kind.exec_name());
        let job = Arc::new(RowsJob {
            scope: Arc::clone(&self.scope),
            kind: self.kind,
            head_ids: self.head_ids,
            range: self.selection.range,
            schema: self.schema(),
            budget: Budget::new(&name, &task, Arc::clone(self.scope.sink())),
            batch_rows: task.session_config().batch_size(),
            scan: ScanMetrics::new(&self.metrics, partition),
            baseline: BaselineMetrics::new(&self.metrics, partition),
        });
        let units = self.partitions.get(partition).cloned().unwrap_or_default();
        let batches = futures::stream::iter(units).then(move |unit| {
            let job = Arc::clone(&job);
            async move {
                let batches = job.batches(&unit).await?;
                job.scope.sink().end_units(1);
                Ok(futures::stream::iter(batches).map(Ok))
            }
        });
        let batches = batches.map_err(outward).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

struct RowsJob {
    scope: Arc<Scope>,
    kind: RowsKind,
    head_ids: HeadIds,
    range: TimeRange,
    schema: SchemaRef,
    budget: Budget,
    batch_rows: usize,
    scan: ScanMetrics,
    baseline: BaselineMetrics,
}

impl RowsJob {
    /// The rows of `unit` in batches of a bounded size; none when the unit is damaged.
    async fn batches(&self, unit: &Unit) -> flamestore_model::Result<Vec<RecordBatch>> {
        let mut scan = ScanReport::default();
        let batch = match (self.kind, &unit.source, self.head_ids) {
            (kind, Source::Head(view), HeadIds::Tables) => self.head_tables(kind, &unit.id, view).await,
            (RowsKind::Series, ..) => self.series(unit, &mut scan).await,
            (RowsKind::Profiles, ..) => self.profiles(unit, &mut scan).await,
            (RowsKind::Totals(from), ..) => self.totals(unit, from, &mut scan).await,
        };
        self.scope.sink().add_scan(&scan);
        self.scan.add_scan(&scan);
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) if is_damage(&error) && unit.is_segment() => {
                self.scope.sink().damaged_within(&unit.id, &error);
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        // What the previous unit held was passed on by now.
        self.budget.resize(batch.get_array_memory_size())?;
        self.baseline.record_output(batch.num_rows());
        let starts = (0..batch.num_rows()).step_by(self.batch_rows.max(1));
        Ok(starts.map(|at| batch.slice(at, self.batch_rows.min(batch.num_rows() - at))).collect())
    }

    async fn head_tables(
        &self,
        kind: RowsKind,
        id: &str,
        view: &Arc<HeadView>,
    ) -> flamestore_model::Result<RecordBatch> {
        let view = Arc::clone(view);
        let building = SpawnedTask::spawn_blocking(move || view.tables()).join().await;
        let tables =
            building.map_err(|error| Error::internal("building the tables of a head broke off").because(error))??;
        match kind {
            RowsKind::Series => head_rows::series(id, &tables, &self.schema),
            RowsKind::Profiles | RowsKind::Totals(_) => head_rows::profiles(id, &tables, &self.schema),
        }
    }

    async fn series(&self, unit: &Unit, scan: &mut ScanReport) -> flamestore_model::Result<RecordBatch> {
        let found = with_profiles(unit, &self.range, scan).await?;
        let rows: Vec<&SeriesRow> = found.iter().filter_map(|id| unit.table.get(id)).collect();
        self.scope.sink().add_series(rows.len() as u64);
        batches::series_batch(&unit.id, &rows, &self.schema)
    }

    async fn totals(
        &self,
        unit: &Unit,
        from: ReadFrom,
        scan: &mut ScanReport,
    ) -> flamestore_model::Result<RecordBatch> {
        let cover = unit.cover(&self.range, from, scan).await?;
        self.scope.sink().add_cover(&cover);
        self.scan.add_cover(&cover);
        let windows = cover.windows.iter().map(total_of).collect::<flamestore_model::Result<Vec<_>>>()?;
        let out = |row: ProfileRow| Ok(ProfileOut { row, series: unit.series_of(&row)?, detail: None });
        let out = cover.profiles.into_iter().chain(windows).map(out).collect::<flamestore_model::Result<Vec<_>>>()?;
        batches::profiles_batch(&unit.id, &out, &self.schema)
    }

    async fn profiles(&self, unit: &Unit, scan: &mut ScanReport) -> flamestore_model::Result<RecordBatch> {
        if !unit.has_samples() {
            self.scope.sink().add_expired();
            return batches::profiles_batch(&unit.id, &[], &self.schema);
        }
        let rows = unit.profiles(&self.range, scan).await?;
        self.scope.sink().add_profiles(rows.len() as u64);
        self.scan.add_profiles(rows.len());
        let series: BTreeSet<u32> = rows.iter().map(|row| row.series_id).collect();
        self.scope.sink().add_series(series.len() as u64);
        let wanted = self.schema.fields().iter().any(|field| batches::needs_details(field.name()));
        let details = if wanted { unit.details(&rows, scan).await? } else { Vec::new() };
        let mut out = Vec::with_capacity(rows.len());
        for (at, row) in rows.into_iter().enumerate() {
            out.push(ProfileOut { row, series: unit.series_of(&row)?, detail: details.get(at) });
        }
        batches::profiles_batch(&unit.id, &out, &self.schema)
    }
}

/// A window as a row of totals.
///
/// # Errors
/// `Invalid` when its total left 64 bits.
fn total_of(window: &WindowRow) -> flamestore_model::Result<ProfileRow> {
    if window.total_magnitude.is_none() {
        let wrong = Error::invalid("the total of a window leaves 64 bits; ask for shorter steps");
        return Err(wrong.with("time_unix_nano", window.time_unix_nano));
    }
    Ok(ProfileRow {
        profile: window.window,
        series_id: window.series_id,
        time_unix_nano: window.time_unix_nano,
        unit: window.unit,
        total: window.total,
        row_start: window.row_start,
        row_count: window.row_count,
        stack_base: 0,
    })
}

/// The series of `unit` that have a profile in `range`. One whose first or last time lies inside has one; only for those
/// that begin before and end after are `windows` or `profiles` asked.
///
/// # Errors
/// `Corrupt` when the segment is damaged.
pub(crate) async fn with_profiles(
    unit: &Unit,
    range: &TimeRange,
    scan: &mut ScanReport,
) -> flamestore_model::Result<RoaringBitmap> {
    let sure = |row: &&SeriesRow| range.contains(row.time_min) || range.contains(row.time_max);
    let mut found: RoaringBitmap = unit.rows().filter(sure).map(|row| row.series_id).collect();
    let open = &unit.series - &found;
    if !open.is_empty() {
        let open = Unit { series: open, ..unit.clone() };
        let cover = open.cover(range, ReadFrom::Widest, scan).await?;
        found.extend(cover.profiles.iter().map(|profile| profile.series_id));
        found.extend(cover.windows.iter().map(|window| window.series_id));
    }
    Ok(found)
}
