//! A rule of the optimiser: names are carried by their numbers, and become names where they are looked at.
//!
//! ```text
//! Aggregate: stack, sum(value)              Projection: coded_stack_of(stack), sum(value)
//!   Projection: stack, value        ─▶        Aggregate: stack, sum(value)         a stack is 4 bytes
//!     TableScan: samples                        Projection: #stack AS stack, value
//!                                                 TableScan: samples
//! ```
//!
//! Finds scans of [`ShownTable`]s and reads, in place of each column of names, that of its numbers ([`Names`]). Numbers pass
//! through projections, filters, sorts, limits, joins and as keys of groups, where equal numbers stand for equal names, and
//! equal names have equal numbers. The value of a label is the number of a text in turn. An expression that looks into a
//! name, and any other operator, gets the name itself, made right below. Answers have the names of their stacks as
//! dictionaries, which [`super::plain`] makes plain.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, HashMap, ScalarValue};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, Alias, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator, Projection, Sort, SubqueryAlias, TableScan,
    TableScanBuilder,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::functions::HAS_FUNCTION;
use super::named::{self, Kind};
use super::names::Names;
use super::table::ShownTable;
use crate::tables::LABEL;

/// Carries names by their numbers.
#[derive(Debug)]
pub(super) struct ByNumber;

impl OptimizerRule for ByNumber {
    fn name(&self) -> &'static str {
        "names_by_number"
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !reads_names(&plan)? {
            return Ok(Transformed::no(plan));
        }
        Ok(Transformed::yes(carry(plan)?.answered()?))
    }
}

/// Whether a scan in it reads names that have numbers.
fn reads_names(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= numbered(scan)?.is_some();
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// A plan whose columns may be numbers of names, with the names of the same columns as before.
struct Carried {
    plan: LogicalPlan,
    columns: Columns,
}

/// What a number stands for, and where that is known.
type NumberOf = (Kind, Arc<Names>);

/// The columns that are numbers.
#[derive(Clone, Default)]
struct Columns(HashMap<Column, NumberOf>);

impl Carried {
    fn nothing(plan: LogicalPlan) -> Self {
        Self { plan, columns: Columns::default() }
    }

    /// A plan over others that has their columns, by place or by name.
    fn same(plan: LogicalPlan, columns: Columns) -> Self {
        let kept = plan.schema().columns().into_iter().filter_map(|column| {
            let kind = columns.0.get(&column)?.clone();
            Some((column, kind))
        });
        let columns = Columns(kept.collect());
        Self { plan, columns }
    }

    /// The plan with names for numbers, as an answer has them.
    fn answered(self) -> Result<LogicalPlan> {
        self.with_names(named::answered)
    }

    /// The plan with names for numbers, as they were.
    fn named(self) -> Result<LogicalPlan> {
        self.with_names(named::named)
    }

    fn with_names(self, name: fn(&Arc<Names>, Kind, Expr) -> Expr) -> Result<LogicalPlan> {
        if self.columns.0.is_empty() {
            return Ok(self.plan);
        }
        let columns = self.plan.schema().columns().into_iter().map(|column| match self.columns.0.get(&column) {
            Some((kind, names)) => {
                let (relation, text) = (column.relation.clone(), column.name.clone());
                name(names, *kind, Expr::Column(column)).alias_qualified(relation, text)
            }
            None => Expr::Column(column),
        });
        let columns = columns.collect();
        Projection::try_new(columns, Arc::new(self.plan)).map(LogicalPlan::Projection)
    }
}

/// Carries names through `plan` as far as can be.
fn carry(plan: LogicalPlan) -> Result<Carried> {
    if !reads_names(&plan)? {
        return Ok(Carried::nothing(plan));
    }
    match plan {
        LogicalPlan::TableScan(scan) => scan_numbers(scan),
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            let Carried { plan, columns } = carry(Arc::unwrap_or_clone(input))?;
            let (expr, kinds) = columns.carried_all(expr)?;
            let plan = LogicalPlan::Projection(Projection::try_new(expr, Arc::new(plan))?);
            Ok(by_place(plan, kinds))
        }
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let Carried { plan, columns } = carry(Arc::unwrap_or_clone(input))?;
            let filter = Filter::try_new(columns.named(predicate)?, Arc::new(plan))?;
            Ok(Carried { plan: LogicalPlan::Filter(filter), columns })
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
            let Carried { plan, columns } = carry(Arc::unwrap_or_clone(input))?;
            let kinds = plan.schema().columns().iter().map(|column| columns.0.get(column).cloned()).collect();
            let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias)?);
            Ok(by_place(plan, kinds))
        }
        LogicalPlan::Sort(Sort { expr, input, fetch }) => {
            let Carried { plan, columns } = carry(Arc::unwrap_or_clone(input))?;
            let expr = expr.into_iter().map(|sort| {
                let by = columns.named(sort.expr.clone())?;
                Ok(sort.with_expr(by))
            });
            let expr = expr.collect::<Result<_>>()?;
            Ok(Carried { plan: LogicalPlan::Sort(Sort { expr, input: Arc::new(plan), fetch }), columns })
        }
        LogicalPlan::Limit(mut limit) => {
            let Carried { plan, columns } = carry(Arc::unwrap_or_clone(limit.input))?;
            limit.input = Arc::new(plan);
            Ok(Carried { plan: LogicalPlan::Limit(limit), columns })
        }
        LogicalPlan::Aggregate(aggregate) if !is_of_sets(&aggregate) => group_by_numbers(aggregate),
        LogicalPlan::Join(join) => join_numbers(join),
        other => {
            let named = |input: &LogicalPlan| carry(input.clone())?.named();
            let inputs = other.inputs().into_iter().map(named).collect::<Result<Vec<_>>>()?;
            other.with_new_exprs(other.expressions(), inputs).map(Carried::nothing)
        }
    }
}

fn by_place(plan: LogicalPlan, kinds: Vec<Option<NumberOf>>) -> Carried {
    let columns = plan.schema().columns().into_iter().zip(kinds);
    let columns = Columns(columns.filter_map(|(column, kind)| Some((column, kind?))).collect());
    Carried { plan, columns }
}

fn is_of_sets(aggregate: &Aggregate) -> bool {
    aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)))
}

/// The places of columns in a table, and what they are numbers of.
type Places = Vec<(usize, Option<Kind>)>;

/// The columns of `scan` as places in the table that has numbers; `None` where no column has one.
fn numbered(scan: &TableScan) -> Result<Option<(ShownTable, Places)>> {
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<ShownTable>().and_then(ShownTable::numbered) else { return Ok(None) };
    let all = 0..scan.source.schema().fields().len();
    let projection = scan.projection.clone().unwrap_or_else(|| all.collect());
    let number = |place: usize| match table.place_of_number(place) {
        Some((number, kind)) => (number, Some(kind)),
        None => (place, None),
    };
    let places: Vec<_> = projection.into_iter().map(number).collect();
    Ok(places.iter().any(|(_, kind)| kind.is_some()).then_some((table, places)))
}

fn scan_numbers(scan: TableScan) -> Result<Carried> {
    let Some((table, places)) = numbered(&scan)? else { return Ok(Carried::nothing(LogicalPlan::TableScan(scan))) };
    let before = scan.projected_schema.columns();
    let names = Arc::clone(table.names());
    let source = provider_as_source(Arc::new(table) as Arc<dyn TableProvider>);
    let scan = TableScanBuilder::new(scan.table_name, source)
        .with_projection(Some(places.iter().map(|(place, _)| *place).collect()))
        .with_filters(scan.filters)
        .with_fetch(scan.fetch)
        .with_statistics_requests(scan.statistics_requests)
        .build()?;
    let after = scan.projected_schema.columns();
    let expr = before.into_iter().zip(after).map(|(before, after)| match before == after {
        true => Expr::Column(after),
        false => Expr::Column(after).alias_qualified(before.relation, before.name),
    });
    let expr = expr.collect();
    let plan = Projection::try_new(expr, Arc::new(LogicalPlan::TableScan(scan)))?;
    let kinds = places.into_iter().map(|(_, kind)| kind.map(|kind| (kind, Arc::clone(&names)))).collect();
    Ok(by_place(LogicalPlan::Projection(plan), kinds))
}

fn group_by_numbers(aggregate: Aggregate) -> Result<Carried> {
    let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
    let Carried { plan, columns } = carry(Arc::unwrap_or_clone(input))?;
    let (group_expr, kinds) = columns.carried_all(group_expr)?;
    let saver = NamePreserver::new_for_projection();
    let aggr_expr = aggr_expr.into_iter().map(|expr| {
        let name = saver.save(&expr);
        columns.aggregated(expr).map(|expr| name.restore(expr))
    });
    let aggr_expr = aggr_expr.collect::<Result<_>>()?;
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), group_expr, aggr_expr)?);
    Ok(by_place(plan, kinds))
}

fn join_numbers(join: Join) -> Result<Carried> {
    let left = carry(Arc::unwrap_or_clone(join.left))?;
    let right = carry(Arc::unwrap_or_clone(join.right))?;
    let on = join.on.into_iter().map(|(a, b)| match (left.columns.of(&a), right.columns.of(&b)) {
        (Some((of_a, names_a)), Some((of_b, names_b))) if of_a == of_b && Arc::ptr_eq(names_a, names_b) => Ok((a, b)),
        _ => Ok((left.columns.named(a)?, right.columns.named(b)?)),
    });
    let on = on.collect::<Result<Vec<_>>>()?;
    let mut columns = left.columns;
    columns.0.extend(right.columns.0);
    let filter = join.filter.map(|filter| columns.named(filter)).transpose()?;
    let (left, right) = (Arc::new(left.plan), Arc::new(right.plan));
    let joined = Join::try_new(
        left,
        right,
        on,
        filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok(Carried::same(LogicalPlan::Join(joined), columns))
}

impl Columns {
    /// What the column that `expr` is stands for, if it is a number.
    fn of(&self, expr: &Expr) -> Option<&NumberOf> {
        match expr {
            Expr::Column(column) => self.0.get(column),
            _ => None,
        }
    }

    /// The number of a label's value, where `expr` asks for it.
    fn label(&self, expr: &Expr) -> Option<(Expr, Arc<Names>)> {
        let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
        let [of, Expr::Literal(name, _)] = args.as_slice() else { return None };
        let (Kind::Labels, names) = self.of(of)? else { return None };
        let is_never_null = match func.name() {
            "get_field" => false,
            LABEL => true,
            _ => return None,
        };
        let name = name.try_as_str()??.to_owned();
        let name = Expr::Literal(ScalarValue::Utf8(Some(name)), None);
        Some((named::label(names, of.clone(), name, is_never_null), Arc::clone(names)))
    }

    /// `expr` as a number where it is a name, else with names for the numbers in it.
    fn carried(&self, expr: Expr) -> Result<(Expr, Option<NumberOf>)> {
        if let Some(kind) = self.of(&expr) {
            let kind = kind.clone();
            return Ok((expr, Some(kind)));
        }
        if let Some((label, names)) = self.label(&expr) {
            return Ok((label, Some((Kind::Text, names))));
        }
        match expr {
            Expr::Alias(Alias { expr, relation, name, metadata }) => {
                let (expr, kind) = self.carried(*expr)?;
                let alias = Alias { expr: Box::new(expr), relation, name, metadata };
                Ok((Expr::Alias(alias), kind))
            }
            expr => Ok((self.named(expr)?, None)),
        }
    }

    /// The same of expressions that are columns of a plan, whose names stay.
    fn carried_all(&self, all: Vec<Expr>) -> Result<(Vec<Expr>, Vec<Option<NumberOf>>)> {
        let saver = NamePreserver::new_for_projection();
        let each = all.into_iter().map(|expr| {
            let name = saver.save(&expr);
            let (expr, kind) = self.carried(expr)?;
            Ok((name.restore(expr), kind))
        });
        each.collect()
    }

    /// `expr` with names for the numbers in it.
    fn named(&self, expr: Expr) -> Result<Expr> {
        if self.0.is_empty() {
            return Ok(expr);
        }
        let named = expr.transform_down(|expr| {
            if let Some((kind, names)) = self.of(&expr) {
                let (kind, names) = (*kind, Arc::clone(names));
                return Ok(Transformed::new(named::named(&names, kind, expr), true, TreeNodeRecursion::Jump));
            }
            if let Some((label, names)) = self.label(&expr) {
                let value = named::named(&names, Kind::Text, label);
                return Ok(Transformed::new(value, true, TreeNodeRecursion::Jump));
            }
            if let Some(test) = self.has_function(&expr).or_else(|| self.is_text(&expr)) {
                return Ok(Transformed::new(test, true, TreeNodeRecursion::Jump));
            }
            Ok(Transformed::no(expr))
        })?;
        Ok(named.data)
    }

    fn has_function(&self, expr: &Expr) -> Option<Expr> {
        let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
        let [of, Expr::Literal(pattern, _)] = args.as_slice() else { return None };
        let (Kind::Stack, names) = self.of(of)? else { return None };
        let is_pattern = func.name() == HAS_FUNCTION && pattern.try_as_str()?.is_some();
        is_pattern.then(|| named::has_function(names, of.clone(), args[1].clone()))
    }

    /// A comparison of a name with a text, as one of numbers.
    fn is_text(&self, expr: &Expr) -> Option<Expr> {
        let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }) = expr else {
            return None;
        };
        let (of, text) = match (left.as_ref(), right.as_ref()) {
            (of, Expr::Literal(text, _)) | (Expr::Literal(text, _), of) => (of, text.try_as_str()??),
            _ => return None,
        };
        let (number, names) = match self.of(of) {
            Some((Kind::Text | Kind::Name, names)) => (of.clone(), Arc::clone(names)),
            _ => self.label(of)?,
        };
        let is = named::is(&names, number, Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None));
        Some(if *op == Operator::Eq { is } else { Expr::Not(Box::new(is)) })
    }

    /// An aggregate with names for the numbers in it, but where it only counts them.
    fn aggregated(&self, expr: Expr) -> Result<Expr> {
        let saved = NamePreserver::new_for_projection().save(&expr);
        match expr {
            Expr::AggregateFunction(AggregateFunction { func, mut params })
                if func.name() == "count" && params.order_by.is_empty() =>
            {
                let args =
                    params.args.into_iter().map(|of| if self.of(&of).is_some() { Ok(of) } else { self.named(of) });
                params.args = args.collect::<Result<_>>()?;
                params.filter = params.filter.map(|filter| self.named(*filter).map(Box::new)).transpose()?;
                Ok(saved.restore(Expr::AggregateFunction(AggregateFunction { func, params })))
            }
            expr => self.named(expr),
        }
    }
}
