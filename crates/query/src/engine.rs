//! The engine: what can be asked of a store.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNode};
use flamestore_calltree::{TopRow, ValueTree, top};
use flamestore_model::{Error, ProfileBatch, ProfileId, ProfileType, Result, Temporality, Tenant};
use flamestore_store::Store;
use futures::StreamExt;

use crate::answer::{
    Answer, Comparison, Pick, ProfileEntry, Query, QueryReport, SeriesEntry, SqlAnswer, SqlDescription, SqlReport,
    Steps, TimeSeries,
};
use crate::budget::Memory;
use crate::plan::{DiffNode, MergeNode};
use crate::scope::Scope;
use crate::session::Session;
use crate::sink::ReportSink;
use crate::sql::{Asked, Form};
use crate::{codec, compare, export, metadata, sql};

/// How often a query is asked at most: of a damaged year its months answer, of a damaged month its days.
const ASKED_MAX: usize = 3;

/// What bounds queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryOptions {
    /// The memory that the operators of all running queries may hold together, in bytes.
    pub memory_bytes_max: usize,
    /// What they may have in temporary files together, in bytes.
    pub spill_bytes_max: u64,
    /// The threads one query may keep busy.
    pub partitions: usize,
    /// The most rows that a SQL statement may answer with; `None` for any number.
    pub sql_rows_max: Option<u64>,
}

impl Default for QueryOptions {
    /// 1 GiB of memory, 8 GiB of files, as many partitions as there are cores, and any number of rows.
    fn default() -> Self {
        let partitions = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { memory_bytes_max: 1 << 30, spill_bytes_max: 8 << 30, partitions, sql_rows_max: None }
    }
}

/// Answers queries over a store.
///
/// Every method reads one snapshot to its end, and can be cancelled by dropping its future. Errors of all methods: `Invalid` for
/// a request that makes no sense, `Exhausted` over [`QueryOptions::memory_bytes_max`], `Unavailable` when the object store
/// cannot be reached. What no series fits is an empty answer.
#[derive(Debug)]
pub struct Engine {
    store: Arc<Store>,
    options: QueryOptions,
    session: Session,
}

impl Engine {
    /// An engine over `store`.
    ///
    /// # Errors
    /// `Invalid` when an option makes no sense.
    pub fn new(store: Arc<Store>, options: QueryOptions) -> Result<Self> {
        if options.partitions == 0 {
            return Err(Error::invalid("a query needs at least one partition").with("partitions", 0));
        }
        let session = Session::new(&options)?;
        Ok(Self { store, options, session })
    }

    /// The sum of all selected profiles as one call tree with one column.
    ///
    /// What the values of a series over time become is [`Query::combine`]; by default it follows the type of the values.
    ///
    /// # Errors
    /// `Invalid` also when profiles of more than one type are selected, or when the sum of magnitudes leaves 64 bits.
    pub async fn merge(&self, query: &Query) -> Result<Answer<ValueTree>> {
        self.without_damaged_stand_ins(|| self.merge_once(query)).await
    }

    /// Two selections as one call tree with two columns, `before` and `after`.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn diff(&self, before: &Query, after: &Query) -> Result<Answer<ValueTree>> {
        self.without_damaged_stand_ins(|| self.diff_once(before, after)).await
    }

    /// The functions of the selected profiles with what they spend, the largest self values first.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn top(&self, query: &Query) -> Result<Answer<Vec<TopRow>>> {
        Ok(self.merge(query).await?.map(|tree| top(&tree)))
    }

    /// The functions of two selections with what they spend in each, those that grew by more than they vary first.
    ///
    /// Reads the two selections, and each again in some twelve slices of time.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn compare_functions(&self, before: &Query, after: &Query) -> Result<Answer<Comparison>> {
        let diff = self.diff(before, after).await?;
        compare::compare(self, diff, before, after).await
    }

    /// The names of the labels of the selected series, those derived from the profile type included, sorted.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn label_names(&self, query: &Query) -> Result<Answer<Vec<String>>> {
        let (scope, sink) = self.scope(&query.tenant);
        let value = metadata::list_label_names(&self.session, &scope, query).await?;
        Ok(self.answer(value, &sink))
    }

    /// The values that label `name` has in the selected series, sorted.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn label_values(&self, query: &Query, name: &str) -> Result<Answer<Vec<String>>> {
        let (scope, sink) = self.scope(&query.tenant);
        let value = metadata::list_label_values(&self.session, &scope, query, name).await?;
        Ok(self.answer(value, &sink))
    }

    /// The selected series that have a profile in the range, sorted.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn series(&self, query: &Query) -> Result<Answer<Vec<SeriesEntry>>> {
        let (scope, sink) = self.scope(&query.tenant);
        let value = metadata::list_series(&self.session, &scope, query).await?;
        Ok(self.answer(value, &sink))
    }

    /// The profile types of the selected series, sorted.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn profile_types(&self, query: &Query) -> Result<Answer<Vec<ProfileType>>> {
        let (scope, sink) = self.scope(&query.tenant);
        let value = metadata::list_profile_types(&self.session, &scope, query).await?;
        Ok(self.answer(value, &sink))
    }

    /// The profile types of the selected series, each with how its values relate over time, sorted. A type is there twice where
    /// its series differ in that.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn temporalities(&self, query: &Query) -> Result<Answer<Vec<(ProfileType, Temporality)>>> {
        let (scope, sink) = self.scope(&query.tenant);
        let value = metadata::list_temporalities(&self.session, &scope, query).await?;
        Ok(self.answer(value, &sink))
    }

    /// Totals of the selected profiles per `step_nano` nanoseconds and per value of the labels `group_by`. Steps start at
    /// multiples of their length; those without a profile are left out.
    ///
    /// # Errors
    /// `Invalid` also when the step is not positive, when profiles of more than one type are selected and the type is not
    /// grouped by, or when a total leaves 64 bits.
    pub async fn time_series(
        &self,
        query: &Query,
        step_nano: i64,
        group_by: &[String],
    ) -> Result<Answer<Vec<TimeSeries>>> {
        self.totals(query, &Steps { step_nano, ..Steps::default() }, group_by).await
    }

    /// The same for steps that start elsewhere, or whose profiles are to be counted.
    ///
    /// # Errors
    /// As [`Engine::time_series`].
    pub async fn totals(&self, query: &Query, steps: &Steps, group_by: &[String]) -> Result<Answer<Vec<TimeSeries>>> {
        let step_nano = steps.step_nano;
        if step_nano <= 0 || step_nano > i64::MAX / 4 {
            return Err(Error::invalid("a step is longer than 0 and at most 73 years").with("step_nano", step_nano));
        }
        self.without_damaged_stand_ins(|| self.totals_once(query, steps, group_by)).await
    }

    /// The newest `limit` of the selected profiles, newest first; 0 stands for all.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn list_profiles(&self, query: &Query, limit: usize) -> Result<Answer<Vec<ProfileEntry>>> {
        self.list_profiles_in(query, limit, &self.memory("list_profiles")).await
    }

    /// The same, reserved in `memory` for as long as that is kept.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn list_profiles_in(
        &self,
        query: &Query,
        limit: usize,
        memory: &Memory,
    ) -> Result<Answer<Vec<ProfileEntry>>> {
        let (scope, sink) = self.scope(&query.tenant);
        let value = metadata::list_profiles(&self.session, &scope, query, limit, memory.budget()).await?;
        Ok(self.answer(value, &sink))
    }

    /// Memory for what is made of answers, for whoever makes it.
    pub fn memory(&self, name: &str) -> Memory {
        Memory::new(self.session.budget(name, &ReportSink::new()))
    }

    /// One profile as it was pushed, with all its sample types.
    ///
    /// # Errors
    /// `NotFound` when there is no such profile.
    pub async fn profile(&self, tenant: &Tenant, id: ProfileId) -> Result<Answer<ProfileBatch>> {
        let (scope, sink) = self.scope(tenant);
        let value = export::profile(&scope, id, self.session.budget("profile", &sink)).await?;
        Ok(self.answer(value, &sink))
    }

    /// The sum of all selected profiles as one profile that keeps the labels of samples: samples of the same stack and labels
    /// are one, those that sum to 0 are left out. Time is the earliest, duration the sum, period the largest.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn merge_pprof(&self, query: &Query) -> Result<Answer<ProfileBatch>> {
        self.merge_picked(query, &Pick::default()).await
    }

    /// The same of what `pick` asks for.
    ///
    /// # Errors
    /// As [`Engine::merge_pprof`].
    pub async fn merge_picked(&self, query: &Query, pick: &Pick) -> Result<Answer<ProfileBatch>> {
        let (scope, sink) = self.scope(&query.tenant);
        let value = export::merge(&scope, query, pick, self.session.budget("merge_pprof", &sink)).await?;
        Ok(self.answer(value, &sink))
    }

    /// The rows of a read-only SQL statement over the tables of `tenant`.
    ///
    /// # Errors
    /// `Invalid` also for a statement that is not a query, or has parameters; `Exhausted` for one that has more rows than
    /// [`QueryOptions::sql_rows_max`], after these.
    pub async fn sql(&self, tenant: &Tenant, statement: &str) -> Result<SqlAnswer> {
        self.sql_bound(tenant, statement, &[]).await
    }

    /// The rows of a read-only SQL statement with `parameters` in the place of `$1`, `$2`, … or of its question marks.
    ///
    /// # Errors
    /// As [`Engine::sql`]; `Invalid` also for a parameter without a value, a value without a parameter, or one that does not fit;
    /// the error names it.
    pub async fn sql_bound(&self, tenant: &Tenant, statement: &str, parameters: &[ScalarValue]) -> Result<SqlAnswer> {
        self.sql_as(tenant, statement, parameters, Form::Plain).await
    }

    /// The rows of [`Engine::sql`] with dictionaries of Arrow where they save memory: the names of stacks are given by their
    /// numbers.
    ///
    /// # Errors
    /// As [`Engine::sql`].
    pub async fn sql_coded(&self, tenant: &Tenant, statement: &str) -> Result<SqlAnswer> {
        self.sql_as(tenant, statement, &[], Form::Coded).await
    }

    async fn sql_as(
        &self,
        tenant: &Tenant,
        statement: &str,
        parameters: &[ScalarValue],
        form: Form,
    ) -> Result<SqlAnswer> {
        let (scope, sink) = self.scope(tenant);
        let report = SqlReport::new(&sink);
        let set_aside = SetAside { store: Arc::clone(&self.store), sink };
        let asked = Asked { tenant, scope: &scope, now_unix_nano: self.store.options().clock.now_unix_nano() };
        let (schema, batches) = sql::run(&self.session, &asked, statement, parameters, form).await?;
        let batches = sql::at_most(batches, self.options.sql_rows_max).inspect(move |_| {
            let _until_the_end = &set_aside;
        });
        Ok(SqlAnswer { schema, batches: batches.boxed(), report })
    }

    /// What a read-only SQL statement takes and gives. Nothing is read.
    ///
    /// # Errors
    /// `Invalid` for a statement that is not a query, or wrong.
    pub async fn describe_sql(&self, tenant: &Tenant, statement: &str) -> Result<SqlDescription> {
        let (scope, _sink) = self.scope(tenant);
        let asked = Asked { tenant, scope: &scope, now_unix_nano: self.store.options().clock.now_unix_nano() };
        sql::describe(&self.session, &asked, statement).await
    }

    /// The plan of a merge as text, with what each of its operators did.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn explain_merge(&self, query: &Query) -> Result<String> {
        let plan = self.merge_plan(query, &ReportSink::new())?;
        let plan = LogicalPlanBuilder::from(plan).explain(true, true).and_then(LogicalPlanBuilder::build);
        sql::explain(&self.session, &plan.map_err(|error| self.session.inward(error))?).await
    }

    /// What bounds this engine's queries.
    pub fn options(&self) -> &QueryOptions {
        &self.options
    }

    /// The store this engine reads.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn scope(&self, tenant: &Tenant) -> (Arc<Scope>, Arc<ReportSink>) {
        let sink = ReportSink::new();
        (Scope::new(self.store.snapshot(tenant), Arc::clone(&sink)), sink)
    }

    fn merge_plan(&self, query: &Query, sink: &Arc<ReportSink>) -> Result<LogicalPlan> {
        let scope = Scope::new(self.store.snapshot(&query.tenant), Arc::clone(sink));
        let node = MergeNode::new(scope, query);
        Ok(extension(node.map_err(|error| self.session.inward(error))?))
    }

    async fn tree(&self, plan: &LogicalPlan, columns: usize) -> Result<ValueTree> {
        let mut tree = ValueTree::empty(columns);
        let take = |batch| {
            if let Some(found) = codec::decode(&batch)?.pop() {
                tree = found;
            }
            Ok(())
        };
        self.session.for_each(plan, take).await?;
        Ok(tree)
    }

    async fn merge_once(&self, query: &Query) -> Result<Answer<ValueTree>> {
        let sink = ReportSink::new();
        let plan = self.merge_plan(query, &sink)?;
        let tree = self.tree(&plan, 1).await?;
        Ok(self.answer(tree, &sink))
    }

    async fn diff_once(&self, before: &Query, after: &Query) -> Result<Answer<ValueTree>> {
        let sink = ReportSink::new();
        let sides = (self.merge_plan(before, &sink)?, self.merge_plan(after, &sink)?);
        let plan = extension(DiffNode::new(sides.0, sides.1, Arc::clone(&sink)));
        let tree = self.tree(&plan, 2).await?;
        Ok(self.answer(tree, &sink))
    }

    async fn totals_once(&self, query: &Query, steps: &Steps, group_by: &[String]) -> Result<Answer<Vec<TimeSeries>>> {
        let (scope, sink) = self.scope(&query.tenant);
        let value = metadata::time_series(&self.session, &scope, query, steps, group_by).await?;
        Ok(self.answer(value, &sink))
    }

    /// Asks again while a segment that stands in for others turns out to be damaged: it is left aside by then.
    async fn without_damaged_stand_ins<T, F>(&self, ask: impl Fn() -> F) -> Result<Answer<T>>
    where
        F: Future<Output = Result<Answer<T>>>,
    {
        let mut answer = ask().await?;
        for _ in 1..ASKED_MAX {
            if !self.lacks_stand_in(&answer.report) {
                break;
            }
            answer = ask().await?;
        }
        Ok(answer)
    }

    /// Whether a segment that stands in for others turned out to be damaged.
    fn lacks_stand_in(&self, report: &QueryReport) -> bool {
        let manifest = self.store.manifest();
        let mut damaged = report.damaged.iter().filter_map(|damaged| damaged.segment.parse().ok());
        damaged.any(|id| manifest.segment(id).is_some_and(|entry| !entry.covers.is_empty()))
    }

    /// The answer with its report; damaged segments are left out of later snapshots.
    fn answer<T>(&self, value: T, sink: &ReportSink) -> Answer<T> {
        for (segment, reason) in sink.corrupt() {
            self.store.quarantine(segment, &reason);
        }
        Answer { value, report: sink.report() }
    }
}

/// Leaves segments that a statement finds damaged out of later snapshots, once it has ended.
struct SetAside {
    store: Arc<Store>,
    sink: Arc<ReportSink>,
}

impl Drop for SetAside {
    fn drop(&mut self) {
        for (segment, reason) in self.sink.corrupt() {
            self.store.quarantine(segment, &reason);
        }
    }
}

fn extension(node: impl UserDefinedLogicalNode + 'static) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}
