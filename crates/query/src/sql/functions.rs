//! Functions on stacks: lists of the names of frames, root first.
//!
//! - `has_function(stack, 'REGEX')`: whether the name of a frame holds a match. Tables with stacks answer it as a filter, once
//!   a distinct stack.
//! - `leaf(stack)`, `root(stack)`: the innermost and the outermost frame; null of a stack without frames.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, ListArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use hashbrown::HashMap;
use regex::Regex;

use super::columns::texts_type;
use super::stack_names::function_pattern;
use crate::error::outward;

/// The name of the function that looks for a frame.
pub(crate) const HAS_FUNCTION: &str = "has_function";

/// Makes the functions known to SQL.
pub(super) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in [Question::HasFunction, Question::Leaf, Question::Root] {
        registry.register_udf(Arc::new(ScalarUDF::new_from_impl(StackFunction::new(function))))?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    HasFunction,
    Leaf,
    Root,
}

#[derive(Debug)]
struct StackFunction {
    function: Question,
    signature: Signature,
}

impl StackFunction {
    fn new(function: Question) -> Self {
        let arguments = match function {
            Question::HasFunction => vec![texts_type(), DataType::Utf8],
            Question::Leaf | Question::Root => vec![texts_type()],
        };
        Self { function, signature: Signature::exact(arguments, Volatility::Immutable) }
    }
}

impl PartialEq for StackFunction {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for StackFunction {}

impl Hash for StackFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl ScalarUDFImpl for StackFunction {
    fn name(&self) -> &str {
        match self.function {
            Question::HasFunction => HAS_FUNCTION,
            Question::Leaf => "leaf",
            Question::Root => "root",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            Question::HasFunction => DataType::Boolean,
            Question::Leaf | Question::Root => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let stacks = Stacks::of(&array)?;
        let column: ArrayRef = match self.function {
            Question::HasFunction => {
                let Some(pattern) = literal(&args.args[1])? else {
                    return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)));
                };
                Arc::new(stacks.having(&function_pattern(&pattern).map_err(outward)?))
            }
            Question::Leaf => Arc::new(stacks.ends(|frames| frames.last())),
            Question::Root => Arc::new(stacks.ends(|mut frames| frames.next())),
        };
        Ok(ColumnarValue::Array(column))
    }
}

fn literal(argument: &ColumnarValue) -> Result<Option<String>> {
    match argument {
        ColumnarValue::Scalar(value) => match value.try_as_str() {
            Some(text) => Ok(text.map(str::to_owned)),
            None => exec_err!("a pattern is a string, not {value}"),
        },
        ColumnarValue::Array(_) => exec_err!("has_function takes one pattern for all rows"),
    }
}

/// A column of stacks.
pub(super) struct Stacks<'a> {
    lists: &'a ListArray,
    names: &'a StringArray,
}

impl<'a> Stacks<'a> {
    /// `column` as stacks.
    ///
    /// # Errors
    /// When it is no list of text.
    pub(super) fn of(column: &'a ArrayRef) -> Result<Self> {
        let lists = column.as_any().downcast_ref::<ListArray>();
        let names = lists.and_then(|lists| lists.values().as_any().downcast_ref::<StringArray>());
        match (lists, names) {
            (Some(lists), Some(names)) => Ok(Self { lists, names }),
            _ => exec_err!("a stack is a list of names, not {}", column.data_type()),
        }
    }

    /// The frames of row `row`, root first; `None` where the stack is null. Names that are null are left out.
    pub(super) fn frames(&self, row: usize) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        if self.lists.is_null(row) {
            return None;
        }
        let offsets = self.lists.value_offsets();
        let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or_default();
        let (names, entries) = (self.names, bound(row)..bound(row + 1));
        Some(entries.filter(move |at| names.is_valid(*at)).map(move |at| names.value(at)))
    }

    fn having(&self, pattern: &Regex) -> BooleanArray {
        let mut known: HashMap<&str, bool> = HashMap::new();
        let mut fits = |name: &'a str| *known.entry(name).or_insert_with(|| pattern.is_match(name));
        (0..self.lists.len()).map(|row| self.frames(row).map(|mut frames| frames.any(&mut fits))).collect()
    }

    fn ends(&self, end: impl Fn(Box<dyn Iterator<Item = &'a str> + 'a>) -> Option<&'a str>) -> StringArray {
        (0..self.lists.len()).map(|row| self.frames(row).and_then(|frames| end(Box::new(frames)))).collect()
    }
}
