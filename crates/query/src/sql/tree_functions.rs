//! Table functions that answer with call trees: the engine's own merge, as rows.
//!
//! - `merge('SELECTOR', from, to)`: the frames of the sum, as [`crate::frames`] has them.
//! - `diff('SELECTOR', a_from, a_to, b_from, b_to)`: the frames of two ranges side by side.
//! - `top_functions('SELECTOR', from, to)`: functions with what they spend.
//!
//! `from` and `to` may be left out, from the right: then all that is stored counts. The end of a range is not part of it. What a
//! statement is described for without the values of its parameters is never read.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, TableType, UserDefinedLogicalNode};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use flamestore_calltree::{Dictionary, ValueTree, top};
use flamestore_model::{Error, Selector, Tenant, TimeRange};
use futures::{StreamExt, TryStreamExt};
use hashbrown::HashMap;

use super::Asked;
use super::columns::{numbers, texts, wrong};
use super::parameters;
use super::times::time_of;
use crate::answer::Query;
use crate::budget::Budget;
use crate::codec;
use crate::error::outward;
use crate::plan::{DiffNode, MergeNode, one_input, properties};
use crate::scope::Scope;

/// One of the functions, for one statement.
#[derive(Clone, Debug)]
pub(super) struct TreeFunction {
    kind: Kind,
    scope: Arc<Scope>,
    tenant: Tenant,
    now_unix_nano: i64,
    /// The values of the statement's parameters; none when it is described only.
    values: Option<Arc<[ScalarValue]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Merge,
    Diff,
    Top,
}

impl TreeFunction {
    /// What they are called.
    pub(super) const NAMES: [&str; 3] = [Kind::Merge.name(), Kind::Diff.name(), Kind::Top.name()];

    /// All of them.
    pub(super) fn all(asked: &Asked<'_>, values: Option<Arc<[ScalarValue]>>) -> [Self; 3] {
        [Kind::Merge, Kind::Diff, Kind::Top].map(|kind| Self {
            kind,
            scope: Arc::clone(asked.scope),
            tenant: asked.tenant.clone(),
            now_unix_nano: asked.now_unix_nano,
            values: values.clone(),
        })
    }

    /// The name in SQL.
    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn queries(&self, arguments: &[Expr]) -> flamestore_model::Result<Vec<Query>> {
        let (least, most) = if self.kind == Kind::Diff { (5, 5) } else { (1, 3) };
        let usage = || Error::invalid(format!("{} takes {}", self.name(), self.kind.usage()));
        if !(least..=most).contains(&arguments.len()) {
            return Err(usage().with("arguments", arguments.len()));
        }
        let is_parameter = |argument: &Expr| matches!(argument, Expr::Placeholder(_));
        let given = match &self.values {
            Some(values) => values,
            None if arguments.iter().any(is_parameter) => return Ok(Vec::new()),
            None => &Arc::default(),
        };
        let mut values = arguments.iter().map(|argument| match argument {
            Expr::Literal(value, _) => Ok(value),
            Expr::Placeholder(Placeholder { id, .. }) => parameters::value(id, given),
            other => Err(usage().with("found", other)),
        });
        let named = |at: usize, error: Error| match arguments.get(at) {
            Some(Expr::Placeholder(Placeholder { id, .. })) => error.with("parameter", id),
            _ => error,
        };
        let selector = match values.next().transpose()?.and_then(|value| value.try_as_str()) {
            Some(Some(text)) => text.parse::<Selector>().map_err(|error| named(0, error))?,
            _ => return Err(named(0, usage())),
        };
        let time = |(at, value): (usize, flamestore_model::Result<_>)| {
            time_of(value?, self.now_unix_nano).map_err(|error| named(at, error))
        };
        let times = (1..).zip(values).map(time).collect::<flamestore_model::Result<Vec<_>>>()?;
        let mut queries = Vec::new();
        for ends in [times.get(..2).unwrap_or(&times), times.get(2..).unwrap_or_default()] {
            if queries.is_empty() || !ends.is_empty() {
                let end = |at: usize, default| ends.get(at).copied().flatten().unwrap_or(default);
                let range = TimeRange::new(end(0, TimeRange::ALL.start), end(1, TimeRange::ALL.end))?;
                queries.push(Query::new(self.tenant.clone(), selector.clone(), range));
            }
        }
        Ok(queries)
    }
}

impl TableFunctionImpl for TreeFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let queries = self.queries(args.exprs()).map_err(outward)?;
        let schema = self.kind.schema().map_err(outward)?;
        Ok(Arc::new(TreeTable { kind: self.kind, scope: Arc::clone(&self.scope), queries, schema }))
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Diff => "diff",
            Self::Top => "top_functions",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Merge | Self::Top => "a selector, then from and to, which may be left out: constants or parameters",
            Self::Diff => "a selector, then from and to of each of two ranges: constants or parameters",
        }
    }

    fn schema(self) -> flamestore_model::Result<SchemaRef> {
        Ok(match self {
            Self::Merge => crate::frames::schema(1),
            Self::Diff => crate::frames::schema(2),
            Self::Top => top_rows(&ValueTree::empty(1))?.schema(),
        })
    }

    /// The columns at the places `wanted` of the rows of `tree`.
    fn rows(self, tree: &ValueTree, wanted: &[usize]) -> flamestore_model::Result<RecordBatch> {
        match self {
            Self::Merge | Self::Diff => crate::frames::frames_of(tree, wanted),
            Self::Top => top_rows(tree)?.project(wanted).map_err(wrong),
        }
    }
}

/// Functions by name; where several share a name, file and line are those of the first that has a file.
fn top_rows(tree: &ValueTree) -> flamestore_model::Result<RecordBatch> {
    let rows = top(tree);
    let places = places(&tree.dictionary);
    let place = |name: &str| places.get(name).copied();
    let files: StringArray =
        rows.iter().map(|row| place(&row.name).map(|(file, _)| tree.dictionary.strings.text(file))).collect();
    let lines: Int64Array =
        rows.iter().map(|row| place(&row.name).map(|(_, line)| line).filter(|line| *line != 0)).collect();
    let first = |values: &[i64]| values.first().copied().unwrap_or_default();
    let fields = [
        ("name", DataType::Utf8, false),
        ("filename", DataType::Utf8, true),
        ("start_line", DataType::Int64, true),
        ("self", DataType::Int64, false),
        ("total", DataType::Int64, false),
    ];
    let schema = Schema::new(fields.map(|(name, ty, nullable)| Field::new(name, ty, nullable)).to_vec());
    let columns = vec![
        texts(rows.iter().map(|row| Some(&row.name))),
        Arc::new(files),
        Arc::new(lines),
        numbers(rows.iter().map(|row| first(&row.self_values))),
        numbers(rows.iter().map(|row| first(&row.totals))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).map_err(wrong)
}

/// Where functions begin: file and line by name.
fn places(dictionary: &Dictionary) -> HashMap<String, (u32, i64)> {
    let mut places = HashMap::new();
    let functions = &dictionary.functions;
    let with_file = (0..functions.len()).filter(|row| functions.filename[*row] != 0);
    for row in with_file {
        let name = dictionary.strings.text(functions.name[row]).into_owned();
        places.entry(name).or_insert((functions.filename[row], functions.start_line[row]));
    }
    places
}

/// Whether what was read is all there is: when a segment that repeats the sums of others turns out to be damaged, the others
/// answer the next statement.
///
/// # Errors
/// `Unavailable` when one did.
fn check_stand_ins(scope: &Scope) -> flamestore_model::Result<()> {
    let report = scope.sink().report();
    let repeats = |segment: &str| {
        let stored = segment.parse().ok().and_then(|id| scope.snapshot().segment(id));
        stored.is_some_and(|stored| !stored.entry.covers.is_empty())
    };
    match report.damaged.iter().find(|damaged| repeats(&damaged.segment)) {
        None => Ok(()),
        Some(damaged) => {
            Err(Error::unavailable("a segment that repeats others is damaged and was set aside; ask again")
                .with("segment", &damaged.segment))
        }
    }
}

/// What one call gives.
#[derive(Debug)]
struct TreeTable {
    kind: Kind,
    scope: Arc<Scope>,
    queries: Vec<Query>,
    schema: SchemaRef,
}

impl TreeTable {
    fn plan(&self) -> Result<LogicalPlan> {
        let mut merges = Vec::new();
        for query in &self.queries {
            merges.push(extension(MergeNode::new(Arc::clone(&self.scope), query)?));
        }
        match (merges.pop(), merges.pop()) {
            (Some(after), Some(before)) => Ok(extension(DiffNode::new(before, after, Arc::clone(self.scope.sink())))),
            (Some(merge), None) => Ok(merge),
            (None, _) => internal_err!("a call tree is of a range"),
        }
    }
}

fn extension(node: impl UserDefinedLogicalNode + 'static) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

#[async_trait]
impl TableProvider for TreeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = state.create_physical_plan(&self.plan()?).await?;
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        Ok(Arc::new(TreeExec::new(self.kind, Arc::clone(&self.scope), input, &self.schema, projection)?))
    }
}

/// The one tree of its input as rows.
#[derive(Debug)]
struct TreeExec {
    kind: Kind,
    scope: Arc<Scope>,
    input: Arc<dyn ExecutionPlan>,
    projection: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl TreeExec {
    fn new(
        kind: Kind,
        scope: Arc<Scope>,
        input: Arc<dyn ExecutionPlan>,
        schema: &SchemaRef,
        projection: Vec<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(schema.project(&projection)?);
        Ok(Self { kind, scope, input, projection, properties: properties(schema, 1, EmissionType::Final) })
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            kind: self.kind,
            scope: Arc::clone(&self.scope),
            input,
            projection: self.projection.clone(),
            properties: Arc::clone(&self.properties),
        }
    }
}

impl DisplayAs for TreeExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeExec: {}", self.kind.name())
    }
}

impl ExecutionPlan for TreeExec {
    fn name(&self) -> &'static str {
        "TreeExec"
    }

    one_input!();

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let budget = Budget::new("TreeExec", &task, Arc::clone(self.scope.sink()));
        let batch_rows = task.session_config().batch_size().max(1);
        let mut input = self.input.execute(partition, task)?;
        let (kind, projection, scope) = (self.kind, self.projection.clone(), Arc::clone(&self.scope));
        let rows = async move {
            let mut given = Vec::new();
            while let Some(batch) = input.try_next().await? {
                for tree in codec::decode(&batch).map_err(outward)? {
                    // The tree is held by its own operator; a frame is a row of about this many bytes.
                    budget.grow(tree.tree.len().saturating_mul(96)).map_err(outward)?;
                    check_stand_ins(&scope).map_err(outward)?;
                    given.push(kind.rows(&tree, &projection).map_err(outward)?);
                }
            }
            let slices = move |batch: RecordBatch| {
                let starts = (0..batch.num_rows()).step_by(batch_rows);
                let slice = |at| batch.slice(at, batch_rows.min(batch.num_rows() - at));
                starts.map(slice).collect::<Vec<_>>()
            };
            // The rows stay reserved until the last of them was taken.
            let slices: Vec<RecordBatch> = given.into_iter().flat_map(slices).collect();
            Ok::<_, DataFusionError>(futures::stream::iter(slices).map(move |batch| {
                let _held = &budget;
                Ok(batch)
            }))
        };
        let rows = futures::stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
