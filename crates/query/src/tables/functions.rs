//! Functions on labels, for SQL and for the engine's own plans.
//!
//! - `selects(labels, profile_type, 'SELECTOR')`: whether a series fits. Tables read it as a filter they can prune by.
//! - `label(labels, profile_type, 'NAME')`, `label(labels, 'NAME')`: a label's value, empty when absent; the first form also
//!   knows the labels derived from the type.
//! - `label_names(labels, profile_type)`: the names of all labels, derived ones included.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBuilder, ListBuilder, MapArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::{col, lit};
use flamestore_model::{ProfileType, Selector, names};

use crate::error::outward;

/// The name of the function that selects series.
pub(super) const SELECTS: &str = "selects";

/// The name of the function that gives the value of a label.
pub(crate) const LABEL: &str = "label";

/// The filter of `selector` on a table that has `labels` and `profile_type`.
pub(crate) fn selects(selector: &str) -> Expr {
    udf(Function::Selects).call(vec![col("labels"), col("profile_type"), lit(selector)])
}

/// The value of label `name`, empty when absent, of a table that has `labels` and `profile_type`.
pub(crate) fn label(name: &str) -> Expr {
    udf(Function::Label).call(vec![col("labels"), col("profile_type"), lit(name)])
}

/// The names of all labels of a table that has `labels` and `profile_type`.
pub(crate) fn label_names() -> Expr {
    udf(Function::LabelNames).call(vec![col("labels"), col("profile_type")])
}

/// Makes the functions known to SQL.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in [Function::Selects, Function::Label, Function::LabelNames] {
        registry.register_udf(Arc::new(udf(function)))?;
    }
    Ok(())
}

fn udf(function: Function) -> ScalarUDF {
    ScalarUDF::new_from_impl(LabelFunction { function, signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Function {
    Selects,
    Label,
    LabelNames,
}

#[derive(Debug)]
struct LabelFunction {
    function: Function,
    signature: Signature,
}

impl PartialEq for LabelFunction {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for LabelFunction {}

impl Hash for LabelFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl ScalarUDFImpl for LabelFunction {
    fn name(&self) -> &str {
        match self.function {
            Function::Selects => SELECTS,
            Function::Label => LABEL,
            Function::LabelNames => "label_names",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let expected = match self.function {
            Function::Selects => 3..=3,
            Function::Label => 2..=3,
            Function::LabelNames => 2..=2,
        };
        if !expected.contains(&args.len()) || !matches!(args.first(), Some(DataType::Map(_, _))) {
            return plan_err!("{} takes labels, a map, and {} more arguments", self.name(), expected.end() - 1);
        }
        Ok(match self.function {
            Function::Selects => DataType::Boolean,
            Function::Label => DataType::Utf8,
            Function::LabelNames => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let labels = args.args[0].to_array(rows)?;
        let Some(labels) = labels.as_any().downcast_ref::<MapArray>() else {
            return exec_err!("labels are a map, not {}", labels.data_type());
        };
        let array: ArrayRef = match self.function {
            Function::Selects => {
                let types = texts(&args.args[1], rows)?;
                let selector: Selector = literal(&args.args[2], "selector")?.parse().map_err(outward)?;
                select_rows(labels, &types, &selector)
            }
            Function::Label => {
                let types = if args.args.len() == 3 { Some(texts(&args.args[1], rows)?) } else { None };
                let name = literal(&args.args[args.args.len() - 1], "label name")?;
                label_rows(labels, types.as_ref(), &name)
            }
            Function::LabelNames => name_rows(labels, &texts(&args.args[1], rows)?),
        };
        Ok(ColumnarValue::Array(array))
    }
}

fn texts(argument: &ColumnarValue, rows: usize) -> Result<StringArray> {
    let array = cast(&argument.to_array(rows)?, &DataType::Utf8)?;
    match array.as_any().downcast_ref::<StringArray>() {
        Some(texts) => Ok(texts.clone()),
        None => exec_err!("a profile type is a string"),
    }
}

fn literal(argument: &ColumnarValue, what: &str) -> Result<String> {
    match argument {
        ColumnarValue::Scalar(value) => match value.try_as_str() {
            Some(Some(text)) => Ok(text.to_owned()),
            _ => exec_err!("the {what} must be a string, not {value}"),
        },
        ColumnarValue::Array(array) => match ScalarValue::try_from_array(array, 0) {
            Ok(value) if array.len() == 1 => literal(&ColumnarValue::Scalar(value), what),
            _ => exec_err!("the {what} must be one string for all rows"),
        },
    }
}

/// The labels of one row, in the order of their names.
struct Row<'a> {
    keys: &'a StringArray,
    values: &'a StringArray,
    entries: std::ops::Range<usize>,
}

impl<'a> Row<'a> {
    fn of(labels: &'a MapArray, row: usize) -> Option<Self> {
        let keys = labels.keys().as_any().downcast_ref::<StringArray>()?;
        let values = labels.values().as_any().downcast_ref::<StringArray>()?;
        let offsets = labels.value_offsets();
        let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or_default();
        Some(Self { keys, values, entries: bound(row)..bound(row + 1) })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let at = self.entries.clone().find(|at| self.keys.value(*at) == name)?;
        Some(self.values.value(at))
    }
}

/// A label of a row or of its type; empty when absent.
fn value_of(row: &Row<'_>, ty: Option<&ProfileType>, name: &str) -> String {
    let derived = || ty.and_then(|ty| ty.derived_label(name));
    row.get(name).map(str::to_owned).or_else(derived).unwrap_or_default()
}

/// Types repeat from row to row, so the last one read is kept.
#[derive(Default)]
struct LastType(Option<(String, ProfileType)>);

impl LastType {
    fn read(&mut self, text: &str) -> Option<&ProfileType> {
        if self.0.as_ref().is_none_or(|(last, _)| last != text) {
            self.0 = text.parse().ok().map(|ty| (text.to_owned(), ty));
        }
        self.0.as_ref().map(|(_, ty)| ty)
    }
}

fn select_rows(labels: &MapArray, types: &StringArray, selector: &Selector) -> ArrayRef {
    let mut fits = BooleanBuilder::with_capacity(labels.len());
    let mut last = LastType::default();
    for at in 0..labels.len() {
        let ty = last.read(types.value(at));
        let row = Row::of(labels, at);
        let value = |name: &str| row.as_ref().map(|row| value_of(row, ty, name)).unwrap_or_default();
        fits.append_value(selector.matchers.iter().all(|matcher| matcher.matches(&value(matcher.name()))));
    }
    Arc::new(fits.finish())
}

fn label_rows(labels: &MapArray, types: Option<&StringArray>, name: &str) -> ArrayRef {
    let mut values = StringBuilder::new();
    let mut last = LastType::default();
    for at in 0..labels.len() {
        let ty = types.and_then(|types| last.read(types.value(at)));
        values.append_value(Row::of(labels, at).map(|row| value_of(&row, ty, name)).unwrap_or_default());
    }
    Arc::new(values.finish())
}

fn name_rows(labels: &MapArray, types: &StringArray) -> ArrayRef {
    let mut all = ListBuilder::new(StringBuilder::new());
    let mut last = LastType::default();
    for at in 0..labels.len() {
        if let Some(row) = Row::of(labels, at) {
            row.entries.clone().for_each(|entry| all.values().append_value(row.keys.value(entry)));
        }
        if let Some(ty) = last.read(types.value(at)) {
            let known =
                names::DERIVED.iter().filter(|name| ty.derived_label(name).is_some_and(|value| !value.is_empty()));
            known.for_each(|name| all.values().append_value(name));
        }
        all.append(true);
    }
    Arc::new(all.finish())
}
