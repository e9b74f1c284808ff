//! Columns of a record, read by row whatever their encoding: plain, by dictionary, by runs, or one in the other.
//!
//! The Arrow library has checked every key, run and offset of an array that it made; what it has not is how many rows an
//! array of runs or of nothing claims. So nothing here is sized by the rows of such an array.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, BinaryArray, BinaryViewArray, FixedSizeBinaryArray, LargeBinaryArray, LargeStringArray, StringArray,
    StructArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use flamestore_model::{Error, NONE, Result};

use super::tables::TableBuilder;

/// The way from the rows of a column to those of the array that holds its values.
pub(super) struct Column<'a> {
    layers: Vec<Layer<'a>>,
    /// The array of the values.
    pub(super) values: &'a dyn Array,
    nulls: Nulls<'a>,
}

enum Layer<'a> {
    Keys { nulls: Nulls<'a>, keys: Integers<'a> },
    Runs(Runs<'a>),
}

/// Which rows of an array are null, if any is: asked of the array, it is looked up row by row.
#[derive(Clone, Copy)]
struct Nulls<'a>(Option<&'a NullBuffer>);

impl<'a> Nulls<'a> {
    fn of(array: &'a dyn Array) -> Self {
        Self(array.nulls().filter(|nulls| nulls.null_count() > 0))
    }

    #[inline]
    fn is_valid(self, row: usize) -> bool {
        self.0.is_none_or(|nulls| nulls.is_valid(row))
    }
}

struct Runs<'a> {
    ends: Integers<'a>,
    count: usize,
    at: usize,
}

impl<'a> Column<'a> {
    /// The column `array`.
    ///
    /// # Errors
    /// `Invalid` when keys or ends of runs are no integers.
    pub(super) fn of(mut array: &'a dyn Array) -> Result<Self> {
        let mut layers = Vec::new();
        loop {
            if let Some(dictionary) = array.as_any_dictionary_opt() {
                layers.push(Layer::Keys { nulls: Nulls::of(array), keys: Integers::of(dictionary.keys())? });
                array = dictionary.values();
            } else if let Some((ends, count, values)) = runs(array) {
                layers.push(Layer::Runs(Runs { ends, count, at: 0 }));
                array = values;
            } else {
                return Ok(Self { layers, values: array, nulls: Nulls::of(array) });
            }
        }
    }

    /// Whether several rows may have one value.
    pub(super) fn is_shared(&self) -> bool {
        !self.layers.is_empty()
    }

    /// The row of [`Self::values`] that row `row` stands for; none where it is null.
    #[inline]
    pub(super) fn at(&mut self, mut row: usize) -> Option<usize> {
        for layer in &mut self.layers {
            row = match layer {
                Layer::Keys { nulls, keys } if nulls.is_valid(row) => usize::try_from(keys.get(row)).ok()?,
                Layer::Keys { .. } => return None,
                Layer::Runs(runs) => runs.at(row),
            };
        }
        self.nulls.is_valid(row).then_some(row)
    }
}

fn runs(array: &dyn Array) -> Option<(Integers<'_>, usize, &dyn Array)> {
    if let Some(runs) = array.as_run_opt::<Int32Type>() {
        return Some((Integers::I32(runs.run_ends().values()), runs.values().len(), runs.values().as_ref()));
    }
    if let Some(runs) = array.as_run_opt::<Int64Type>() {
        return Some((Integers::I64(runs.run_ends().values()), runs.values().len(), runs.values().as_ref()));
    }
    let runs = array.as_run_opt::<Int16Type>()?;
    Some((Integers::I16(runs.run_ends().values()), runs.values().len(), runs.values().as_ref()))
}

impl Runs<'_> {
    /// The run of row `row`; rows are asked for in order, mostly.
    #[inline]
    fn at(&mut self, row: usize) -> usize {
        let ends_behind = |run: usize| usize::try_from(self.ends.get(run)).is_ok_and(|end| row < end);
        let is = |run: usize| run < self.count && ends_behind(run) && (run == 0 || !ends_behind(run - 1));
        if is(self.at) {
            return self.at;
        }
        self.at = match is(self.at + 1) {
            true => self.at + 1,
            false => partition(self.count, |run| !ends_behind(run)),
        };
        self.at
    }
}

/// The first of `0..count` for which `before` does not hold.
fn partition(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// The numbers of an array of any width.
#[derive(Clone, Copy)]
pub(super) enum Integers<'a> {
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
}

impl<'a> Integers<'a> {
    fn of(array: &'a dyn Array) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Int8 => Self::I8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Self::I16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Self::I32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Self::I64(array.as_primitive::<Int64Type>().values()),
            DataType::UInt8 => Self::U8(array.as_primitive::<UInt8Type>().values()),
            DataType::UInt16 => Self::U16(array.as_primitive::<UInt16Type>().values()),
            DataType::UInt32 => Self::U32(array.as_primitive::<UInt32Type>().values()),
            DataType::UInt64 => Self::U64(array.as_primitive::<UInt64Type>().values()),
            DataType::Timestamp(arrow_schema::TimeUnit::Nanosecond, _) => {
                Self::I64(array.as_primitive::<TimestampNanosecondType>().values())
            }
            other => return Err(wrong_type("an integer", other)),
        })
    }

    /// Number `row`; one of 64 bits without a sign keeps its bits.
    #[inline]
    pub(super) fn get(&self, row: usize) -> i64 {
        match self {
            Self::I8(numbers) => i64::from(numbers[row]),
            Self::I16(numbers) => i64::from(numbers[row]),
            Self::I32(numbers) => i64::from(numbers[row]),
            Self::I64(numbers) => numbers[row],
            Self::U8(numbers) => i64::from(numbers[row]),
            Self::U16(numbers) => i64::from(numbers[row]),
            Self::U32(numbers) => i64::from(numbers[row]),
            Self::U64(numbers) => numbers[row].cast_signed(),
        }
    }
}

/// A column of numbers.
pub(super) struct Numbers<'a> {
    column: Column<'a>,
    numbers: Integers<'a>,
}

impl<'a> Numbers<'a> {
    /// The column `array`.
    ///
    /// # Errors
    /// `Invalid` when it is none of integers.
    pub(super) fn of(array: &'a dyn Array) -> Result<Self> {
        let column = Column::of(array)?;
        let numbers = Integers::of(column.values)?;
        Ok(Self { column, numbers })
    }

    /// The number of `row`, if there is one.
    #[inline]
    pub(super) fn get(&mut self, row: usize) -> Option<i64> {
        self.column.at(row).map(|at| self.numbers.get(at))
    }
}

/// The byte strings of an array of any kind; the reader of the stream leaves no views of text.
enum Texts<'a> {
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
}

impl<'a> Texts<'a> {
    fn of(array: &'a dyn Array) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string()),
            DataType::Binary => Self::Binary(array.as_binary()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Self::Fixed(array.as_fixed_size_binary()),
            other => return Err(wrong_type("text", other)),
        })
    }

    fn get(&self, row: usize) -> &'a [u8] {
        match self {
            Self::Utf8(texts) => texts.value(row).as_bytes(),
            Self::LargeUtf8(texts) => texts.value(row).as_bytes(),
            Self::Binary(texts) => texts.value(row),
            Self::LargeBinary(texts) => texts.value(row),
            Self::BinaryView(texts) => texts.value(row),
            Self::Fixed(texts) => texts.value(row),
        }
    }
}

/// A column of byte strings.
pub(super) struct Strings<'a> {
    column: Column<'a>,
    texts: Texts<'a>,
    /// The numbers of the values, [`NONE`] where not known yet; empty where none is kept.
    ids: Vec<u32>,
}

impl<'a> Strings<'a> {
    /// The column `array`.
    ///
    /// # Errors
    /// `Invalid` when it is none of text or bytes.
    pub(super) fn of(array: &'a dyn Array) -> Result<Self> {
        let column = Column::of(array)?;
        let texts = Texts::of(column.values)?;
        // each value of the others takes four bytes of its array at least
        let is_kept = column.is_shared() && !matches!(texts, Texts::Fixed(_));
        let ids = if is_kept { vec![NONE; column.values.len()] } else { Vec::new() };
        Ok(Self { column, texts, ids })
    }

    /// The bytes of `row`, if there are any.
    pub(super) fn get(&mut self, row: usize) -> Option<&'a [u8]> {
        self.column.at(row).map(|at| self.texts.get(at))
    }

    /// The number that the text of `row` has in `tables`; 0, the empty text, where there is none.
    ///
    /// # Errors
    /// `Exhausted` when the tables are full.
    #[inline]
    pub(super) fn id(&mut self, row: usize, tables: &mut TableBuilder) -> Result<u32> {
        let Some(at) = self.column.at(row) else { return Ok(0) };
        match self.ids.get(at) {
            Some(id) if *id != NONE => return Ok(*id),
            _ => {}
        }
        let id = tables.string(self.texts.get(at))?;
        if let Some(known) = self.ids.get_mut(at) {
            *known = id;
        }
        Ok(id)
    }
}

/// A column of lists.
pub(super) struct Lists<'a> {
    column: Column<'a>,
    bounds: Bounds<'a>,
    /// The array that the lists are ranges of.
    pub(super) values: &'a dyn Array,
}

enum Bounds<'a> {
    Offsets(Integers<'a>),
    Views { offsets: Integers<'a>, sizes: Integers<'a> },
}

impl<'a> Lists<'a> {
    /// The column `array`.
    ///
    /// # Errors
    /// `Invalid` when it is none of lists.
    pub(super) fn of(array: &'a dyn Array) -> Result<Self> {
        let column = Column::of(array)?;
        let (bounds, values) = match column.values.data_type() {
            DataType::List(_) => {
                let lists = column.values.as_list::<i32>();
                (Bounds::Offsets(Integers::I32(lists.offsets())), lists.values())
            }
            DataType::LargeList(_) => {
                let lists = column.values.as_list::<i64>();
                (Bounds::Offsets(Integers::I64(lists.offsets())), lists.values())
            }
            DataType::ListView(_) => {
                let lists = column.values.as_list_view::<i32>();
                let (offsets, sizes) = (Integers::I32(lists.offsets()), Integers::I32(lists.sizes()));
                (Bounds::Views { offsets, sizes }, lists.values())
            }
            DataType::LargeListView(_) => {
                let lists = column.values.as_list_view::<i64>();
                let (offsets, sizes) = (Integers::I64(lists.offsets()), Integers::I64(lists.sizes()));
                (Bounds::Views { offsets, sizes }, lists.values())
            }
            other => return Err(wrong_type("a list", other)),
        };
        Ok(Self { column, bounds, values: values.as_ref() })
    }

    /// The range of `row`; an empty one where it is null.
    pub(super) fn get(&mut self, row: usize) -> Range<usize> {
        let Some(at) = self.column.at(row) else { return 0..0 };
        let number = |numbers: &Integers<'_>, row| usize::try_from(numbers.get(row)).unwrap_or_default();
        match &self.bounds {
            Bounds::Offsets(offsets) => number(offsets, at)..number(offsets, at + 1),
            Bounds::Views { offsets, sizes } => {
                let start = number(offsets, at);
                start..start.saturating_add(number(sizes, at))
            }
        }
    }
}

/// The column `name` of a struct, if it has one.
pub(super) fn child<'a>(parent: &'a StructArray, name: &str) -> Option<&'a dyn Array> {
    parent.column_by_name(name).map(AsRef::as_ref)
}

/// The array as one of structs.
///
/// # Errors
/// `Invalid` when it is none.
pub(super) fn structs(array: &dyn Array) -> Result<&StructArray> {
    array.as_struct_opt().ok_or_else(|| wrong_type("a struct", array.data_type()))
}

#[cold]
fn wrong_type(expected: &str, found: &DataType) -> Error {
    let found: String = found.to_string().chars().take(200).collect();
    Error::invalid(format!("it is not {expected}")).with("type", found)
}
