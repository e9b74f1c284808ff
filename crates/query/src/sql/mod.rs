//! Read-only SQL over one snapshot.
//!
//! | schema | tables | for |
//! |---|---|---|
//! | `public` | `profiles`, `samples`, `series`, `stacks`, `functions`, `segments` | people: names, labels and times |
//! | `segment` | one per table of a segment | what is stored, with the ids it is stored with |
//! | `pg_catalog` | some of PostgreSQL's catalog | clients that ask it which tables there are |
//!
//! What the columns and functions mean is in `docs/sql.md`. A statement is refused before it is planned when it is longer than
//! [`statement::BYTES_MAX`] or nests deeper than [`statement::NESTING_MAX`] would allow.

mod aggregates;
mod by_number;
mod catalog;
mod columns;
mod functions;
mod name_tree;
mod named;
mod names;
mod parameters;
mod pg_types;
mod plain;
mod rows;
mod sample_rows;
mod segments;
mod stack_names;
mod statement;
mod table;
mod times;
mod tree_functions;
mod unit_names;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::error::Result as PlanResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::execute_stream;
use flamestore_model::{Error, Result, Tenant, TimeRange};
use flamestore_segment::Table;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::answer::SqlDescription;
use crate::error::outward;
use crate::scope::Scope;
use crate::session::{PUBLIC, SEGMENT, Session};
use crate::tables::{FilesTable, HeadIds, RowsKind, RowsTable};
use by_number::ByNumber;
use columns::Shown;
use names::Names;
use parameters::Parameters;
use plain::Plain;
use segments::SegmentsTable;
use table::ShownTable;
use tree_functions::TreeFunction;

pub use catalog::database_of;
pub(crate) use functions::HAS_FUNCTION;
pub use pg_types::{PgType, PgValue};
pub(crate) use stack_names::{StackTest, function_pattern};
pub use statement::check as check_statement;

/// Rows as they are found.
pub(crate) type Batches = BoxStream<'static, Result<RecordBatch>>;

/// What answers are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// No dictionaries.
    Plain,
    /// Dictionaries where they save memory.
    Coded,
}

/// Whose rows a statement reads, and when it is run.
pub(crate) struct Asked<'a> {
    /// The tenant.
    pub(crate) tenant: &'a Tenant,
    /// What it reads.
    pub(crate) scope: &'a Arc<Scope>,
    /// What `now()` is, in nanoseconds since 1970.
    pub(crate) now_unix_nano: i64,
}

/// Runs `statement` with `values` for its parameters.
///
/// # Errors
/// `Invalid` when it is not a query, or is wrong, or the values do not fit; `Exhausted` when it is too long.
pub(crate) async fn run(
    session: &Session,
    asked: &Asked<'_>,
    statement: &str,
    values: &[ScalarValue],
    form: Form,
) -> Result<(SchemaRef, Batches)> {
    let nesting = statement::nesting(statement)?;
    let state = state(session, asked, statement, Some(values))?;
    let bounds = session.bounds();
    let planned = async {
        let (parameters, plan) = plan(&state, statement, Some(values)).await?;
        let physical = state.create_physical_plan(&parameters.bind(plan, values)?).await?;
        execute_stream(physical, state.task_ctx())
    };
    let batches = statement::on_deep_stack(nesting, planned).await.map_err(|error| bounds.inward(error))?;
    let plain = match form {
        Form::Plain => Plain::new(&batches.schema()),
        Form::Coded => Plain::as_is(&batches.schema()),
    };
    let schema = Arc::clone(plain.schema());
    let batches = batches.map(move |batch| {
        let batch = batch.map_err(|error| bounds.inward(error))?;
        plain.batch(batch)
    });
    Ok((schema, batches.boxed()))
}

/// The rows up to `rows_max` of them, then an error where there are more.
pub(crate) fn at_most(batches: Batches, rows_max: Option<u64>) -> Batches {
    let Some(rows_max) = rows_max else { return batches };
    let state = (batches, rows_max, None);
    let limited = futures::stream::unfold(state, move |(mut batches, left, over)| async move {
        if let Some(error) = over {
            return Some((Err(error), (futures::stream::empty().boxed(), 0, None)));
        }
        let batch = match batches.next().await? {
            Ok(batch) => batch,
            Err(error) => return Some((Err(error), (batches, left, None))),
        };
        let rows = batch.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX));
        let over = (rows < batch.num_rows()).then(|| too_many_rows(rows_max));
        Some((Ok(batch.slice(0, rows)), (batches, left - rows as u64, over)))
    });
    limited.boxed()
}

fn too_many_rows(rows_max: u64) -> Error {
    let text = "a statement has more rows than sql_rows_max allows; narrow its time range, aggregate, or add a LIMIT";
    Error::exhausted(text).with("sql_rows_max", rows_max)
}

/// What `statement` takes and gives, without running it.
///
/// # Errors
/// Those of [`run`], but for what only values can do wrong.
pub(crate) async fn describe(session: &Session, asked: &Asked<'_>, statement: &str) -> Result<SqlDescription> {
    let nesting = statement::nesting(statement)?;
    let state = state(session, asked, statement, None)?;
    let described = async {
        let (parameters, plan) = plan(&state, statement, None).await?;
        let takes = parameters.describe(&plan)?;
        // Without values, types may not suffice to go on; the columns are known all the same.
        let columns = match state.optimize(&plan) {
            Ok(optimized) => Arc::clone(optimized.schema().inner()),
            Err(_) if !takes.fields().is_empty() => Arc::clone(plan.schema().inner()),
            Err(error) => return Err(error),
        };
        Ok(SqlDescription { parameters: takes, columns: Arc::clone(Plain::new(&columns).schema()) })
    };
    statement::on_deep_stack(nesting, described).await.map_err(|error| session.inward(error))
}

/// The state of `statement`; without `values`, its table functions need none.
fn state(
    session: &Session,
    asked: &Asked<'_>,
    statement: &str,
    values: Option<&[ScalarValue]>,
) -> Result<SessionState> {
    let scope = asked.scope;
    let names = Arc::new(Names::new(session.budget("names", scope.sink()))?);
    let mut schemas = vec![(PUBLIC, shown(scope, &names)), (SEGMENT, stored(scope))];
    if catalog::is_named(statement) {
        schemas.push(catalog::schema(&schemas, asked.tenant).map_err(|error| session.inward(error))?);
    }
    let mut state = session.with_schemas(&schemas, asked.now_unix_nano)?;
    for function in TreeFunction::all(asked, values.map(Arc::from)) {
        state.register_udtf(function.name(), Arc::new(function));
    }
    Ok(state)
}

/// The plan of a query, with its parameters still in it.
async fn plan(
    state: &SessionState,
    statement: &str,
    values: Option<&[ScalarValue]>,
) -> PlanResult<(Parameters, LogicalPlan)> {
    let mut parsed = state.sql_to_statement(statement, &state.config().options().sql_parser.dialect)?;
    let parameters = Parameters::number(&mut parsed).map_err(outward)?;
    if let Some(values) = values {
        parameters.check(values).map_err(outward)?;
    }
    let plan = state.statement_to_plan(parsed).await?;
    read_only().verify_plan(&plan)?;
    Ok((parameters, plan))
}

/// The text of the plans that `plan`, an `EXPLAIN`, gives.
///
/// # Errors
/// What the plan says.
pub(crate) async fn explain(session: &Session, plan: &LogicalPlan) -> Result<String> {
    let mut text = String::new();
    let take = |batch: RecordBatch| {
        for row in 0..batch.num_rows() {
            let cell = |column: usize| {
                let column = batch.columns().get(column).and_then(|column| column.as_string_opt::<i32>());
                column.map(|column| column.value(row).to_owned()).unwrap_or_default()
            };
            text.push_str(&format!("{}\n{}\n", cell(0), cell(1)));
        }
        Ok(())
    };
    session.for_each(plan, take).await?;
    Ok(text)
}

/// Makes the functions on stacks known to SQL.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> PlanResult<()> {
    functions::register(registry)?;
    aggregates::register(registry)
}

/// The rules of the optimiser: DataFusion's, then the one that has plans carry names by their numbers. Those that move looks
/// into labels down to the scan are left out, as numbers make them cheap anywhere.
pub(crate) fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    const LEFT_OUT: [&str; 2] = ["extract_leaf_expressions", "push_down_leaf_projections"];
    let mut rules = Optimizer::new().rules;
    rules.retain(|rule| !LEFT_OUT.contains(&rule.name()));
    rules.push(Arc::new(ByNumber));
    rules
}

fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

type Tables = Vec<(&'static str, Arc<dyn TableProvider>)>;

fn shown(scope: &Arc<Scope>, names: &Arc<Names>) -> Tables {
    let table = |shown: Shown| -> (_, Arc<dyn TableProvider>) {
        (shown.as_str(), Arc::new(ShownTable::new(Arc::clone(scope), shown, Arc::clone(names))))
    };
    let mut tables: Tables = Shown::ALL.into_iter().map(table).collect();
    tables.push(("segments", Arc::new(SegmentsTable::new(Arc::clone(scope)))));
    tables
}

fn stored(scope: &Arc<Scope>) -> Tables {
    let table = |table: Table| -> Arc<dyn TableProvider> {
        let rows = |kind| RowsTable::new(Arc::clone(scope), kind, TimeRange::ALL).with_head_ids(HeadIds::Tables);
        match table {
            Table::Series => Arc::new(rows(RowsKind::Series)),
            Table::Profiles => Arc::new(rows(RowsKind::Profiles)),
            table => Arc::new(FilesTable::new(Arc::clone(scope), table)),
        }
    };
    // Only segments that repeat others have windows of 30 days, and their rows would count twice.
    let tables = Table::ALL.into_iter().filter(|table| *table != Table::Rollups30d);
    tables.map(|name| (name.as_str(), table(name))).collect()
}
