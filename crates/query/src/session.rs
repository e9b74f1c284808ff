//! The one DataFusion session of an engine, and how plans are run in it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::DateTime;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider};
use datafusion::catalog::{CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use flamestore_model::{Error, Result};
use futures::TryStreamExt;

use crate::budget::Budget;
use crate::engine::QueryOptions;
use crate::error::Bounds;
use crate::plan::{FairJoins, TreeQueryPlanner};
use crate::sink::ReportSink;
use crate::{sql, tables};

/// Consumers that an error over the memory limit names.
const CONSUMERS_NAMED: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(4);

/// A session: configuration, planner, functions and the memory that all queries share. The state of a query is a clone.
#[derive(Debug)]
pub(crate) struct Session {
    state: SessionState,
    bounds: Bounds,
}

impl Session {
    /// A session with these bounds.
    ///
    /// # Errors
    /// `Internal` when DataFusion refuses its configuration.
    pub(crate) fn new(options: &QueryOptions) -> Result<Self> {
        let QueryOptions { memory_bytes_max, spill_bytes_max, .. } = *options;
        let pool = TrackConsumersPool::new(FairSpillPool::new(memory_bytes_max), CONSUMERS_NAMED);
        let pool: Arc<dyn MemoryPool> = Arc::new(pool);
        let failed = |error: DataFusionError| Error::internal("the query engine could not be set up").because(error);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool);
        let runtime = runtime.with_max_temp_directory_size(spill_bytes_max);
        let runtime = runtime.build_arc().map_err(failed)?;
        let config = SessionConfig::new()
            .with_target_partitions(options.partitions)
            .with_information_schema(true)
            .with_default_catalog_and_schema(CATALOG, PUBLIC)
            .set_bool("datafusion.sql_parser.collect_spans", true)
            // No exchanges: those that several threads fill come to a standstill when two of them go to disk (DataFusion's issue 24883).
            .with_round_robin_repartition(false)
            .with_repartition_aggregations(false)
            .with_repartition_joins(false)
            .with_repartition_windows(false)
            .set_str("datafusion.execution.time_zone", "UTC");
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_optimizer_rules(sql::optimizer_rules())
            .with_physical_optimizer_rule(Arc::new(FairJoins))
            .with_query_planner(Arc::new(TreeQueryPlanner))
            .build();
        tables::register(&mut state).and_then(|()| sql::register(&mut state)).map_err(failed)?;
        Ok(Self { state, bounds: Bounds { memory_bytes_max, spill_bytes_max } })
    }

    /// A table as the start of a plan.
    ///
    /// # Errors
    /// `Internal` when the table cannot be planned.
    pub(crate) fn table(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<DataFrame> {
        let plan = LogicalPlanBuilder::scan(name, provider_as_source(table), None).and_then(LogicalPlanBuilder::build);
        Ok(DataFrame::new(self.state.clone(), plan.map_err(|error| self.inward(error))?))
    }

    /// The state of a query that may name the tables of `schemas` and is run at `now_unix_nano`.
    ///
    /// # Errors
    /// `Internal` when a table cannot be registered.
    pub(crate) fn with_schemas(&self, schemas: &[Schema], now_unix_nano: i64) -> Result<SessionState> {
        let catalog = MemoryCatalogProvider::new();
        for (name, tables) in schemas {
            let schema = MemorySchemaProvider::new();
            for (name, table) in tables {
                let table = Arc::clone(table);
                schema.register_table((*name).to_owned(), table).map_err(|error| self.inward(error))?;
            }
            catalog.register_schema(name, Arc::new(schema)).map_err(|error| self.inward(error))?;
        }
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let mut state = self.state.clone();
        state.register_catalog_list(Arc::new(list));
        state.mark_start_execution();
        state.execution_props_mut().query_execution_start_time = Some(DateTime::from_timestamp_nanos(now_unix_nano));
        Ok(state)
    }

    /// Runs `plan`.
    ///
    /// # Errors
    /// What planning says.
    pub(crate) async fn stream(&self, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
        let run = async {
            let physical = self.state.create_physical_plan(plan).await?;
            execute_stream(physical, self.state.task_ctx())
        };
        run.await.map_err(|error| self.inward(error))
    }

    /// Runs `plan` and gives each batch to `take`.
    ///
    /// # Errors
    /// What the plan or `take` says.
    pub(crate) async fn for_each(
        &self,
        plan: &LogicalPlan,
        mut take: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let mut batches = self.stream(plan).await?;
        while let Some(batch) = batches.try_next().await.map_err(|error| self.inward(error))? {
            take(batch)?;
        }
        Ok(())
    }

    /// Memory for what is done outside of plans.
    pub(crate) fn budget(&self, name: &str, sink: &Arc<ReportSink>) -> Budget {
        Budget::new(name, &self.state.task_ctx(), Arc::clone(sink))
    }

    /// DataFusion's error as ours.
    pub(crate) fn inward(&self, error: DataFusionError) -> Error {
        self.bounds.inward(error)
    }

    /// What queries may use, for errors that outlive a call.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }
}

const CATALOG: &str = "flamestore";

/// The schema of tables for people, which need not be named.
pub(crate) const PUBLIC: &str = "public";

/// The schema of tables as they are stored.
pub(crate) const SEGMENT: &str = "segment";

/// A schema by its name: its tables by theirs.
pub(crate) type Schema = (&'static str, Vec<(&'static str, Arc<dyn TableProvider>)>);
