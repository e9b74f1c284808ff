//! Parameters of statements: what stands in for them, and what is known of their types.
//!
//! ```text
//! text ─▶ parsed, ? numbered as $1, $2, … ─▶ plan with them in it ─▶ types ─▶ values in their place
//!                          │                        ▲
//!                          └─ count, selectors      └─ table functions take their values while they are planned
//! ```
//!
//! A type is told by what a parameter is compared with, or by the function that takes it. Where it is told, a value of another
//! kind is made one of it (text, say, a time); numbers and times are left as they are, for comparisons know several.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, TypeSignature};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Location;
use flamestore_model::{Error, Result};

use super::plain::plain_type;
use super::tree_functions::TreeFunction;

/// The parameters that a statement names: `$1` to `$count`.
#[derive(Debug)]
pub(super) struct Parameters {
    count: usize,
    /// Those that are the selector of a table function.
    selectors: Vec<String>,
}

impl Parameters {
    /// Those of `statement`, in which `?` becomes `$1`, `$2`, … from left to right.
    ///
    /// # Errors
    /// `Invalid` for names, for both forms in one statement, and for numbers with gaps.
    pub(super) fn number(statement: &mut Statement) -> Result<Self> {
        let mut found = Found::default();
        visit(statement, &mut found);
        let Found { mut marks, numbers } = found;
        if let (Some(_), Some((_, text))) = (marks.first(), numbers.first()) {
            return Err(Error::invalid("parameters are either ? or $1, $2, …, not both").with("found", text));
        }
        marks.sort();
        let count = if marks.is_empty() { highest(&numbers)? } else { marks.len() };
        let mut numbering = Numbering { marks, selectors: Vec::new() };
        visit(statement, &mut numbering);
        Ok(Self { count, selectors: numbering.selectors })
    }

    /// Whether `values` are as many as there are parameters.
    ///
    /// # Errors
    /// `Invalid` when they are not; it names the first without a value, or without a place.
    pub(super) fn check(&self, values: &[ScalarValue]) -> Result<()> {
        let (name, said) = match values.len() {
            few if few < self.count => (few + 1, "a parameter of the statement has no value"),
            many if many > self.count => (self.count + 1, "a value is of no parameter of the statement"),
            _ => return Ok(()),
        };
        Err(Error::invalid(said).with("parameter", format!("${name}")).with("values", values.len()))
    }

    /// What is known of their types in `plan`: a field each, of type null where nothing is.
    pub(super) fn describe(&self, plan: &LogicalPlan) -> PlanResult<SchemaRef> {
        let mut told = types(plan)?;
        for name in &self.selectors {
            told.entry(name.clone()).or_insert(Some(DataType::Utf8));
        }
        let field = |number| {
            let name = format!("${number}");
            let ty = told.get(&name).cloned().flatten().unwrap_or(DataType::Null);
            Field::new(name, ty, true)
        };
        Ok(std::sync::Arc::new(Schema::new((1..=self.count).map(field).collect::<Fields>())))
    }

    /// `plan` with `values` in the place of its parameters.
    ///
    /// # Errors
    /// `Invalid` when a value cannot be what its place asks for.
    pub(super) fn bind(&self, plan: LogicalPlan, values: &[ScalarValue]) -> PlanResult<LogicalPlan> {
        if self.count == 0 {
            return Ok(plan);
        }
        let told = types(&plan)?;
        let fitting = values.iter().enumerate().map(|(at, value)| {
            let name = format!("${}", at + 1);
            match told.get(&name) {
                Some(Some(ty)) => fit(&name, value, ty).map_err(crate::error::outward),
                _ => Ok(value.clone()),
            }
        });
        let fitting = fitting.collect::<PlanResult<Vec<_>>>()?;
        plan.with_param_values(fitting)
    }
}

/// The value of the parameter called `name`.
///
/// # Errors
/// `Invalid` when it has none.
pub(super) fn value<'a>(name: &str, values: &'a [ScalarValue]) -> Result<&'a ScalarValue> {
    let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
    let value = number.and_then(|number| values.get(number.checked_sub(1)?));
    value.ok_or_else(|| Error::invalid("a parameter of the statement has no value").with("parameter", name))
}

fn fit(name: &str, value: &ScalarValue, ty: &DataType) -> Result<ScalarValue> {
    let found = value.data_type();
    let is_known_to_comparisons =
        (found.is_numeric() && ty.is_numeric()) || (found.is_temporal() && ty.is_temporal()) || found == *ty;
    if is_known_to_comparisons {
        return Ok(value.clone());
    }
    value.cast_to(ty).map_err(|error| {
        let error = error.strip_backtrace();
        Error::invalid("the value of a parameter does not fit").with("parameter", name).with("type", ty).because(error)
    })
}

/// The types of the parameters in `plan` by name: none of what is told nothing of, or different things.
fn types(plan: &LogicalPlan) -> PlanResult<BTreeMap<String, Option<DataType>>> {
    let mut told: BTreeMap<String, Option<DataType>> = BTreeMap::new();
    let mut tell = |name: &str, ty: DataType| {
        let known = told.entry(name.to_owned()).or_insert_with(|| Some(ty.clone()));
        if known.as_ref() != Some(&ty) {
            *known = None;
        }
    };
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Limit(limit) = plan {
            for bound in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(Placeholder { id, .. }) = bound.as_ref() {
                    tell(id, DataType::Int64);
                }
            }
        }
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Placeholder(Placeholder { id, field: Some(field) }) => {
                        tell(id, parameter_type(field.data_type()));
                    }
                    Expr::ScalarFunction(function) => taken_types(function, &mut tell),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(told)
}

/// Tells the types of parameters that are arguments of a function which takes one type there.
fn taken_types(function: &ScalarFunction, tell: &mut impl FnMut(&str, DataType)) {
    let TypeSignature::Exact(types) = &function.func.signature().type_signature else { return };
    for (argument, ty) in function.args.iter().zip(types) {
        if let Expr::Placeholder(Placeholder { id, field: None }) = argument {
            tell(id, parameter_type(ty));
        }
    }
}

/// The type of values for what has the type `ty`.
fn parameter_type(ty: &DataType) -> DataType {
    match plain_type(ty) {
        DataType::LargeUtf8 => DataType::Utf8,
        DataType::LargeBinary => DataType::Binary,
        ty => ty,
    }
}

/// The highest of `numbers`, all below which are there.
fn highest(numbers: &[(Location, String)]) -> Result<usize> {
    let mut seen = std::collections::BTreeSet::new();
    for (_, text) in numbers {
        let number = text.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        let wrong = || Error::invalid("parameters are $1, $2, … or ?, without names").with("found", text);
        seen.insert(number.filter(|number| *number > 0 && *text == format!("${number}")).ok_or_else(wrong)?);
    }
    match seen.iter().zip(1..).find(|(number, expected)| *number != expected) {
        None => Ok(seen.len()),
        Some((found, missing)) => {
            let error = Error::invalid("the numbers of parameters have a gap");
            Err(error.with("missing", format!("${missing}")).with("found", format!("${found}")))
        }
    }
}

/// Where the parameters of a statement stand, and how they are written.
#[derive(Default)]
struct Found {
    marks: Vec<Location>,
    numbers: Vec<(Location, String)>,
}

impl VisitorMut for Found {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        match &value.value {
            Value::Placeholder(text) if text == "?" => self.marks.push(value.span.start),
            Value::Placeholder(text) => self.numbers.push((value.span.start, text.clone())),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Numbers marks by their order, and finds what is known of them before planning.
struct Numbering {
    marks: Vec<Location>,
    selectors: Vec<String>,
}

impl Numbering {
    fn number(&self, value: &mut ValueWithSpan) {
        if let (Value::Placeholder(text), Ok(at)) = (&mut value.value, self.marks.binary_search(&value.span.start)) {
            *text = format!("${}", at + 1);
        }
    }
}

impl VisitorMut for Numbering {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        self.number(value);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        let (name, arguments) = match table {
            TableFactor::Table { name, args: Some(arguments), .. } => (name, &mut arguments.args),
            TableFactor::Function { name, args, .. } => (name, args),
            _ => return ControlFlow::Continue(()),
        };
        let is_ours = TreeFunction::NAMES.iter().any(|of| name.to_string().eq_ignore_ascii_case(of));
        if let (true, Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Value(value))))) =
            (is_ours, arguments.first_mut())
        {
            self.number(value);
            if let Value::Placeholder(name) = &value.value {
                self.selectors.push(name.clone());
            }
        }
        ControlFlow::Continue(())
    }
}

fn visit(statement: &mut Statement, visitor: &mut impl VisitorMut<Break = ()>) {
    match statement {
        Statement::Statement(statement) => {
            // no visitor of this module breaks off
            let _ = statement.visit(visitor);
        }
        Statement::Explain(explained) => visit(&mut explained.statement, visitor),
        // refused when it is planned
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {}
    }
}
