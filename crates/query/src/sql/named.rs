//! Functions of numbers: what the numbers of [`Names`] stand for. Plans have them where names are looked at; nobody can ask
//! for them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, ListArray, MapArray, StringArray,
    StringBuilder, StructArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, UInt32Type};
use datafusion::common::{ScalarValue, exec_err, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use flamestore_model::Error;
use hashbrown::HashMap;

use super::columns::{name_type, texts_type};
use super::names::{Known, Names};
use super::stack_names::function_pattern;
use crate::error::outward;
use crate::tables::batches::labels_type;

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// A text of which few are distinct.
    Name,
    /// A stack.
    Stack,
    /// A set of labels.
    Labels,
}

/// What is asked of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ask {
    /// What it stands for, as columns have it.
    Named(Kind),
    /// What a stack is, its names as a dictionary.
    CodedStack,
    /// The number of the value of a label: null, or the empty text, where there is none.
    Label { is_never_null: bool },
    /// Whether a frame of a stack fits.
    HasFunction,
    /// Whether it is the number of this text.
    Is,
}

/// What the number `of` stands for.
pub(super) fn named(names: &Arc<Names>, kind: Kind, of: Expr) -> Expr {
    function(names, Ask::Named(kind)).call(vec![of])
}

/// The same for an answer, whose stacks may have their names as dictionaries.
pub(super) fn answered(names: &Arc<Names>, kind: Kind, of: Expr) -> Expr {
    match kind {
        Kind::Stack => function(names, Ask::CodedStack).call(vec![of]),
        kind => named(names, kind, of),
    }
}

/// The number of the value that the labels `of` have under the literal `name`.
pub(super) fn label(names: &Arc<Names>, of: Expr, name: Expr, is_never_null: bool) -> Expr {
    function(names, Ask::Label { is_never_null }).call(vec![of, name])
}

/// Whether a frame of the stack `of` fits the literal `pattern`.
pub(super) fn has_function(names: &Arc<Names>, of: Expr, pattern: Expr) -> Expr {
    function(names, Ask::HasFunction).call(vec![of, pattern])
}

/// Whether the text `of` is the literal `text`.
pub(super) fn is(names: &Arc<Names>, of: Expr, text: Expr) -> Expr {
    function(names, Ask::Is).call(vec![of, text])
}

fn function(names: &Arc<Names>, ask: Ask) -> ScalarUDF {
    let arguments = match ask {
        Ask::Named(_) | Ask::CodedStack => 1,
        Ask::Label { .. } | Ask::HasFunction | Ask::Is => 2,
    };
    let signature = Signature::any(arguments, Volatility::Immutable);
    ScalarUDF::new_from_impl(NameFunction { names: Arc::clone(names), ask, signature })
}

#[derive(Debug)]
struct NameFunction {
    names: Arc<Names>,
    ask: Ask,
    signature: Signature,
}

impl PartialEq for NameFunction {
    fn eq(&self, other: &Self) -> bool {
        self.ask == other.ask && Arc::ptr_eq(&self.names, &other.names)
    }
}

impl Eq for NameFunction {}

impl Hash for NameFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ask.hash(state);
    }
}

impl ScalarUDFImpl for NameFunction {
    fn name(&self) -> &str {
        match self.ask {
            Ask::Named(Kind::Text) => "text_of",
            Ask::Named(Kind::Name) => "name_of",
            Ask::Named(Kind::Stack) => "stack_of",
            Ask::Named(Kind::Labels) => "labels_of",
            Ask::CodedStack => "coded_stack_of",
            Ask::Label { is_never_null: false } => "label_of",
            Ask::Label { is_never_null: true } => "label_or_empty_of",
            Ask::HasFunction => "has_function_of",
            Ask::Is => "is_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.ask {
            Ask::Named(Kind::Text) => DataType::Utf8,
            Ask::Named(Kind::Name) => name_type(),
            Ask::Named(Kind::Stack) => texts_type(),
            Ask::Named(Kind::Labels) => labels_type(),
            Ask::CodedStack => DataType::List(Arc::new(Field::new_list_field(name_type(), true))),
            Ask::Label { .. } => DataType::UInt32,
            Ask::HasFunction | Ask::Is => DataType::Boolean,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [of, ..] = args.arg_fields else { return plan_err!("a function of numbers takes one") };
        let nullable = of.is_nullable() || self.ask == Ask::Label { is_never_null: false };
        Ok(Arc::new(Field::new(self.name(), self.return_type(&[])?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let numbers = args.args[0].to_array(args.number_rows)?;
        let Some(numbers) = numbers.as_primitive_opt::<UInt32Type>() else {
            return internal_err!("a number is no {}", numbers.data_type());
        };
        let known = self.names.known();
        Ok(ColumnarValue::Array(match self.ask {
            Ask::Named(Kind::Text) => texts(&known, numbers)?,
            Ask::Named(Kind::Name) => coded(&self.names, &known, numbers)?,
            Ask::Named(Kind::Stack) => stacks(&known, numbers)?,
            Ask::Named(Kind::Labels) => labels(&known, numbers)?,
            Ask::CodedStack => coded_stacks(&self.names, &known, numbers)?,
            Ask::Label { is_never_null } => {
                let name = literal(&args.args[1])?;
                values(&known, numbers, &name, is_never_null)?
            }
            Ask::Is => {
                let wanted = known.find_text(&literal(&args.args[1])?);
                let is = |number: u32| Some(number) == wanted;
                Arc::new(numbers.iter().map(|number| number.map(is)).collect::<BooleanArray>())
            }
            Ask::HasFunction => {
                let pattern = function_pattern(&literal(&args.args[1])?).map_err(outward)?;
                let (mut frames, mut fitting) = (HashMap::new(), HashMap::new());
                let mut frame_fits =
                    |frame: &u32| *frames.entry(*frame).or_insert_with(|| pattern.is_match(known.text(*frame)));
                let mut fits = |stack: u32| {
                    *fitting.entry(stack).or_insert_with(|| known.stack(stack).iter().any(&mut frame_fits))
                };
                Arc::new(numbers.iter().map(|stack| stack.map(&mut fits)).collect::<BooleanArray>())
            }
        }))
    }
}

fn literal(argument: &ColumnarValue) -> Result<String> {
    match argument {
        ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => Ok(text.clone()),
        _ => exec_err!("a function of numbers takes a constant text"),
    }
}

/// Whether so many bytes of text, and so many entries of lists, fit into an array.
fn check_size(bytes: usize, entries: usize) -> Result<()> {
    let max = i32::MAX.unsigned_abs() as usize;
    if bytes <= max && entries <= max {
        return Ok(());
    }
    let error = Error::exhausted("the names of one batch of rows take too many bytes; ask for fewer columns");
    Err(outward(error.with("limit_bytes", max).with("bytes", bytes)))
}

fn texts(known: &Known, numbers: &UInt32Array) -> Result<ArrayRef> {
    let bytes = numbers.iter().flatten().map(|number| known.text(number).len()).sum();
    check_size(bytes, numbers.len())?;
    let mut texts = StringBuilder::with_capacity(numbers.len(), bytes);
    for number in numbers {
        texts.append_option(number.map(|number| known.text(number)));
    }
    Ok(Arc::new(texts.finish()))
}

/// Dictionaries for the names of one batch: all texts of the statement, shared with other batches, where the batch has at least as
/// many names; else the texts that it has, each once.
enum Coding<'a> {
    Shared(Arc<StringArray>),
    Own { known: &'a Known, places: HashMap<u32, i32>, texts: Vec<u32> },
}

impl<'a> Coding<'a> {
    /// A dictionary for so many `entries`.
    fn new(names: &Names, known: &'a Known, entries: usize) -> Self {
        let shared = if known.texts() <= entries { names.dictionary(known) } else { None };
        shared.map_or_else(|| Self::Own { known, places: HashMap::new(), texts: Vec::new() }, Self::Shared)
    }

    /// Appends the keys of `numbers` to `keys`.
    #[inline]
    fn extend(&mut self, keys: &mut Vec<i32>, numbers: &[u32]) {
        match self {
            // There are fewer texts than 2³¹, so that their numbers are keys.
            Self::Shared(_) => keys.extend_from_slice(bytemuck::cast_slice(numbers)),
            Self::Own { places, texts, .. } => keys.extend(numbers.iter().map(|text| {
                *places.entry(*text).or_insert_with(|| {
                    texts.push(*text);
                    i32::try_from(texts.len() - 1).unwrap_or(i32::MAX)
                })
            })),
        }
    }

    fn finish(self, keys: Int32Array) -> Result<ArrayRef> {
        let texts: ArrayRef = match self {
            Self::Shared(texts) => texts,
            Self::Own { known, texts, .. } => {
                let texts = || texts.iter().map(|text| known.text(*text));
                check_size(texts().map(str::len).sum(), keys.len())?;
                Arc::new(StringArray::from_iter_values(texts()))
            }
        };
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, texts)?))
    }
}

fn coded(names: &Names, known: &Known, numbers: &UInt32Array) -> Result<ArrayRef> {
    let mut coding = Coding::new(names, known, numbers.len());
    let mut keys = Vec::with_capacity(numbers.len());
    match numbers.nulls() {
        None => coding.extend(&mut keys, numbers.values()),
        Some(_) => numbers.iter().for_each(|number| match number {
            Some(number) => coding.extend(&mut keys, &[number]),
            None => keys.push(0),
        }),
    }
    coding.finish(Int32Array::try_new(keys.into(), numbers.nulls().cloned())?)
}

/// The offsets of lists of these lengths.
fn offsets(lengths: impl Iterator<Item = usize>) -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths(lengths)
}

fn frame_counts<'a>(known: &'a Known, numbers: &'a UInt32Array) -> impl Iterator<Item = usize> + 'a {
    numbers.iter().map(|number| number.map_or(0, |number| known.stack(number).len()))
}

fn frames<'a>(known: &'a Known, numbers: &'a UInt32Array) -> impl Iterator<Item = u32> + 'a {
    numbers.iter().flatten().flat_map(|number| known.stack(number)).copied()
}

fn stacks(known: &Known, numbers: &UInt32Array) -> Result<ArrayRef> {
    let entries = frame_counts(known, numbers).sum();
    let bytes = frames(known, numbers).map(|frame| known.text(frame).len()).sum();
    check_size(bytes, entries)?;
    let mut names = StringBuilder::with_capacity(entries, bytes);
    frames(known, numbers).for_each(|frame| names.append_value(known.text(frame)));
    list(offsets(frame_counts(known, numbers)), Arc::new(names.finish()), numbers)
}

fn coded_stacks(names: &Names, known: &Known, numbers: &UInt32Array) -> Result<ArrayRef> {
    let entries = frame_counts(known, numbers).sum();
    check_size(0, entries)?;
    let mut coding = Coding::new(names, known, entries);
    let mut keys: Vec<i32> = Vec::with_capacity(entries);
    numbers.iter().flatten().for_each(|number| coding.extend(&mut keys, known.stack(number)));
    let names = coding.finish(Int32Array::from(keys))?;
    list(offsets(frame_counts(known, numbers)), names, numbers)
}

fn list(offsets: OffsetBuffer<i32>, entries: ArrayRef, numbers: &UInt32Array) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(entries.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(field, offsets, entries, numbers.nulls().cloned())?))
}

fn labels(known: &Known, numbers: &UInt32Array) -> Result<ArrayRef> {
    let DataType::Map(field, is_sorted) = labels_type() else { return internal_err!("labels are not a map") };
    let DataType::Struct(fields) = field.data_type() else { return internal_err!("labels are not a map") };
    let pairs = || numbers.iter().flatten().flat_map(|number| known.labels(number));
    let bytes = pairs().map(|(name, value)| known.text(name).len() + known.text(value).len()).sum();
    check_size(bytes, pairs().count())?;
    let column = |texts: &mut dyn Iterator<Item = u32>| -> ArrayRef {
        Arc::new(texts.map(|text| Some(known.text(text))).collect::<StringArray>())
    };
    let columns = vec![column(&mut pairs().map(|(name, _)| name)), column(&mut pairs().map(|(_, value)| value))];
    let lengths = numbers.iter().map(|number| number.map_or(0, |number| known.labels(number).count()));
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let nulls = numbers.nulls().cloned();
    Ok(Arc::new(MapArray::try_new(field, offsets(lengths), entries, nulls, is_sorted)?))
}

fn values(known: &Known, numbers: &UInt32Array, name: &str, is_never_null: bool) -> Result<ArrayRef> {
    let absent = match is_never_null {
        true => Some(known.find_text("").ok_or_else(|| outward(Error::internal("the empty text has no number")))?),
        false => None,
    };
    let name = known.find_text(name);
    let value = |labels: u32| known.labels(labels).find(|(of, _)| Some(*of) == name).map(|(_, value)| value).or(absent);
    // Rows of one series follow each other.
    let mut last = None;
    let mut value_of = |labels: u32| match last {
        Some((of, value)) if of == labels => value,
        _ => {
            let found = value(labels);
            last = Some((labels, found));
            found
        }
    };
    Ok(Arc::new(numbers.iter().map(|labels| labels.and_then(&mut value_of)).collect::<UInt32Array>()))
}
