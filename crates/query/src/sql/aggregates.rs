//! Aggregates of stacks: what is asked for is a flame graph of any rows, not numbers.
//!
//! - `folded(stack, value)`: folded text, `root;caller;leaf value` a line.
//! - `flamegraph(stack, value)`: the flame graph of all frames as JSON, with the fields of `flamestore.v1.FlameGraph`.
//! - `pprof(stack, value)`, `pprof(stack, value, profile_type)`: a profile of pprof, compressed with gzip.
//!
//! Each holds a tree of names ([`NameTree`]), accounted to the memory of queries. Rows whose stack or value is null are left
//! out; of no rows the answer is null.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StringArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, UInt32Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility};
use flamestore_formats::{encode_pprof, gzip};
use flamestore_model::{Error, ProfileType};

use super::columns::texts_type;
use super::functions::Stacks;
use super::name_tree::NameTree;
use crate::error::outward;

/// Makes the aggregates known to SQL.
pub(super) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for form in [Form::Folded, Form::FlameGraph, Form::Pprof] {
        registry.register_udaf(Arc::new(AggregateUDF::new_from_impl(StackAggregate::new(form))))?;
    }
    Ok(())
}

/// What the stacks become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Folded,
    FlameGraph,
    Pprof,
}

#[derive(Debug)]
struct StackAggregate {
    form: Form,
    signature: Signature,
}

impl StackAggregate {
    fn new(form: Form) -> Self {
        let plain = TypeSignature::Exact(vec![texts_type(), DataType::Int64]);
        let typed = TypeSignature::Exact(vec![texts_type(), DataType::Int64, DataType::Utf8]);
        let signature = match form {
            Form::Folded | Form::FlameGraph => Signature::new(plain, Volatility::Immutable),
            Form::Pprof => Signature::one_of(vec![plain, typed], Volatility::Immutable),
        };
        Self { form, signature }
    }
}

impl PartialEq for StackAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form
    }
}

impl Eq for StackAggregate {}

impl Hash for StackAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.form.hash(state);
    }
}

impl AggregateUDFImpl for StackAggregate {
    fn name(&self) -> &str {
        match self.form {
            Form::Folded => "folded",
            Form::FlameGraph => "flamegraph",
            Form::Pprof => "pprof",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.form {
            Form::Folded | Form::FlameGraph => DataType::Utf8,
            Form::Pprof => DataType::Binary,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |ty: DataType| DataType::List(Arc::new(Field::new_list_field(ty, true)));
        let fields = [
            ("names", list(DataType::Utf8)),
            ("parents", list(DataType::UInt32)),
            ("node_names", list(DataType::UInt32)),
            ("values", list(DataType::Int64)),
            ("profile_type", DataType::Utf8),
        ];
        let field = |(name, ty)| Arc::new(Field::new(format_state_name(args.name, name), ty, true));
        Ok(fields.map(field).to_vec())
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(StackSum { form: self.form, tree: None, ty: None }))
    }
}

#[derive(Debug)]
struct StackSum {
    form: Form,
    /// `None` before the first row.
    tree: Option<NameTree>,
    ty: Option<String>,
}

impl StackSum {
    fn note_type(&mut self, found: &str) -> Result<()> {
        match &self.ty {
            Some(ty) if ty != found => {
                let error = Error::invalid("values of more than one profile type cannot be added; select one of them");
                Err(outward(error.with("profile_types", format!("{ty} {found}"))))
            }
            Some(_) => Ok(()),
            None => {
                self.ty = Some(found.to_owned());
                Ok(())
            }
        }
    }

    fn text(&self, tree: &NameTree) -> Result<ScalarValue> {
        Ok(match self.form {
            Form::Folded => ScalarValue::from(tree.folded()),
            Form::FlameGraph => ScalarValue::from(flame_graph(tree)),
            Form::Pprof => {
                let ty = match &self.ty {
                    Some(ty) => ty.parse().map_err(outward)?,
                    None => ProfileType { sample_type: "value".to_owned(), ..ProfileType::default() },
                };
                let batch = tree.profile(&ty).map_err(outward)?;
                ScalarValue::Binary(Some(gzip(&encode_pprof(&batch)).map_err(outward)?))
            }
        })
    }
}

/// The flame graph as JSON.
fn flame_graph(tree: &NameTree) -> String {
    let levels = tree.flame_tree().levels();
    let rows = levels.levels.iter().map(|values| serde_json::json!({ "values": values }));
    serde_json::json!({
        "names": levels.names,
        "levels": rows.collect::<Vec<_>>(),
        "total": levels.totals.first().copied().unwrap_or_default(),
        "max_self": levels.max_self,
    })
    .to_string()
}

impl Accumulator for StackSum {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let [stacks, values, types @ ..] = columns else {
            return exec_err!("an aggregate of stacks takes a stack and a value");
        };
        let (stacks, values) = (Stacks::of(stacks)?, values.as_primitive::<Int64Type>());
        let types = types.first().map(|types| cast(types, &DataType::Utf8)).transpose()?;
        let types = types.as_ref().map(|types| types.as_string::<i32>());
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let Some(frames) = stacks.frames(row) else { continue };
            if let Some(types) = types.filter(|types| types.is_valid(row)) {
                self.note_type(types.value(row))?;
            }
            self.tree.get_or_insert_default().add(frames, values.value(row)).map_err(outward)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match &self.tree {
            Some(tree) => self.text(tree),
            None if self.form == Form::Pprof => Ok(ScalarValue::Binary(None)),
            None => Ok(ScalarValue::Utf8(None)),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.tree.as_ref().map_or(0, NameTree::memory_bytes)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
        let empty = NameTree::default();
        let (names, nodes) = self.tree.as_ref().unwrap_or(&empty).parts();
        let nodes: Vec<(u32, u32, i64)> = if self.tree.is_some() { nodes.collect() } else { Vec::new() };
        Ok(vec![
            list(Arc::new(names.iter().map(Some).collect::<StringArray>())),
            list(Arc::new(UInt32Array::from_iter_values(nodes.iter().map(|(parent, ..)| *parent)))),
            list(Arc::new(UInt32Array::from_iter_values(nodes.iter().map(|(_, name, _)| *name)))),
            list(Arc::new(Int64Array::from_iter_values(nodes.iter().map(|(.., value)| *value)))),
            ScalarValue::Utf8(self.ty.clone()),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [names, parents, node_names, values, types] = states else {
            return exec_err!("the state of an aggregate of stacks has five columns");
        };
        let lists: Vec<&ListArray> =
            [names, parents, node_names, values].map(|column| column.as_list::<i32>()).to_vec();
        let types = types.as_string::<i32>();
        for row in 0..types.len() {
            let parts: Vec<ArrayRef> = lists.iter().map(|list| list.value(row)).collect();
            let (parents, names) = (parts[1].as_primitive::<UInt32Type>(), parts[2].as_primitive::<UInt32Type>());
            if parents.is_empty() {
                continue;
            }
            if types.is_valid(row) {
                self.note_type(types.value(row))?;
            }
            let values = parts[3].as_primitive::<Int64Type>().values().iter();
            let nodes = parents.values().iter().zip(names.values()).zip(values);
            let nodes = nodes.map(|((parent, name), value)| (*parent, *name, *value));
            let texts = parts[0].as_string::<i32>().iter().map(Option::unwrap_or_default);
            self.tree.get_or_insert_default().add_parts(texts, nodes).map_err(outward)?;
        }
        Ok(())
    }
}
