//! Read-only SQL over the tables of one snapshot.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use datafusion::catalog::TableProvider;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use flamestore_model::{Result, TimeRange};
use flamestore_segment::Table;
use futures::{StreamExt, TryStreamExt};

use crate::answer::SqlAnswer;
use crate::error::inward;
use crate::scope::Scope;
use crate::session::Session;
use crate::tables::{FilesTable, HeadIds, RowsKind, RowsTable};

/// Runs `statement`.
///
/// # Errors
/// `Invalid` when it is not a query, or is wrong.
pub(crate) async fn run(session: &Session, scope: &Arc<Scope>, statement: &str) -> Result<SqlAnswer> {
    let state = session.with_tables(tables(scope))?;
    let memory_bytes_max = session.memory_bytes_max();
    let planned = async {
        let plan = state.create_logical_plan(statement).await?;
        read_only().verify_plan(&plan)?;
        let physical = state.create_physical_plan(&plan).await?;
        execute_stream(physical, state.task_ctx())
    };
    let batches = planned.await.map_err(|error| inward(error, memory_bytes_max))?;
    let schema = batches.schema();
    let batches = batches.map_err(move |error| inward(error, memory_bytes_max)).boxed();
    Ok(SqlAnswer { schema, batches })
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

fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

fn tables(scope: &Arc<Scope>) -> Vec<(&'static str, Arc<dyn TableProvider>)> {
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
