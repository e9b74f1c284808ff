//! The symbol tables of a dictionary in columns: functions, locations with their lines, label sets.

use std::cmp::Ordering;
use std::ops::Range;

use flamestore_model::{Function, Label, LabelValue, Line, NONE};

use crate::byte_strings::index;

/// Functions in columns; a row is a function id. Strings are ids of the same dictionary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Functions {
    /// The name as people read it.
    pub name: Vec<u32>,
    /// The name as the linker knows it.
    pub system_name: Vec<u32>,
    /// The source file.
    pub filename: Vec<u32>,
    /// The line the function starts at; 0 if unknown.
    pub start_line: Vec<i64>,
}

/// Locations in columns; a row is a location id. The lines of location `i` are the rows
/// `line_offsets[i]..line_offsets[i + 1]` of the `line_` columns, innermost inlined function first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// The mapping, or [`NONE`].
    pub mapping: Vec<u32>,
    /// The address less the start of the mapping (wrapping); absolute where there is no mapping.
    pub address: Vec<u64>,
    /// Whether several places were folded into this one.
    pub is_folded: Vec<bool>,
    /// One more than there are locations; starts at 0.
    pub line_offsets: Vec<u32>,
    /// The function, or [`NONE`].
    pub line_function: Vec<u32>,
    /// The source line; 0 if unknown.
    pub line_line: Vec<i64>,
    /// The column; 0 if unknown.
    pub line_column: Vec<i64>,
}

/// Label sets; a row is a label set id. The set `i` is `labels[offsets[i]..offsets[i + 1]]`, never empty, ordered by key,
/// strings before numbers, equal ones in the order of the source. The empty set has no row: it is [`NONE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSets {
    /// One more than there are sets; starts at 0.
    pub offsets: Vec<u32>,
    /// The labels of all sets.
    pub labels: Vec<Label>,
}

impl Default for Locations {
    fn default() -> Self {
        Self {
            mapping: Vec::new(),
            address: Vec::new(),
            is_folded: Vec::new(),
            line_offsets: vec![0],
            line_function: Vec::new(),
            line_line: Vec::new(),
            line_column: Vec::new(),
        }
    }
}

impl Default for LabelSets {
    fn default() -> Self {
        Self { offsets: vec![0], labels: Vec::new() }
    }
}

impl Functions {
    /// How many functions there are.
    pub fn len(&self) -> usize {
        self.name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.name.is_empty()
    }

    /// The function `id`.
    ///
    /// # Panics
    /// When there is no such function.
    #[inline]
    pub fn get(&self, id: u32) -> Function {
        let id = id as usize;
        Function {
            name: self.name[id],
            system_name: self.system_name[id],
            filename: self.filename[id],
            start_line: self.start_line[id],
        }
    }

    /// Appends a function and returns its id.
    pub fn push(&mut self, function: Function) -> u32 {
        self.name.push(function.name);
        self.system_name.push(function.system_name);
        self.filename.push(function.filename);
        self.start_line.push(function.start_line);
        index(self.len() - 1)
    }
}

impl Locations {
    /// How many locations there are.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty()
    }

    /// The rows of the `line_` columns that belong to location `id`, innermost first.
    ///
    /// # Panics
    /// When there is no such location.
    #[inline]
    pub fn line_rows(&self, id: u32) -> Range<usize> {
        self.line_offsets[id as usize] as usize..self.line_offsets[id as usize + 1] as usize
    }

    /// The line in row `row` of the `line_` columns.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn line(&self, row: usize) -> Line {
        Line { function: self.line_function[row], line: self.line_line[row], column: self.line_column[row] }
    }

    /// The lines of location `id`, innermost first.
    ///
    /// # Panics
    /// When there is no such location.
    pub fn lines(&self, id: u32) -> impl ExactSizeIterator<Item = Line> + DoubleEndedIterator {
        self.line_rows(id).map(|row| self.line(row))
    }

    /// Appends a location with these lines, innermost first, and returns its id.
    pub fn push(&mut self, mapping: u32, address: u64, is_folded: bool, lines: impl IntoIterator<Item = Line>) -> u32 {
        self.mapping.push(mapping);
        self.address.push(address);
        self.is_folded.push(is_folded);
        for line in lines {
            self.line_function.push(line.function);
            self.line_line.push(line.line);
            self.line_column.push(line.column);
        }
        self.line_offsets.push(index(self.line_function.len()));
        index(self.len() - 1)
    }
}

impl LabelSets {
    /// How many sets there are.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels of set `id`; none for [`NONE`].
    ///
    /// # Panics
    /// When there is no such set.
    #[inline]
    pub fn get(&self, id: u32) -> &[Label] {
        if id == NONE {
            return &[];
        }
        &self.labels[self.offsets[id as usize] as usize..self.offsets[id as usize + 1] as usize]
    }

    /// Appends a set and returns its id.
    pub fn push(&mut self, labels: impl IntoIterator<Item = Label>) -> u32 {
        self.labels.extend(labels);
        self.offsets.push(index(self.labels.len()));
        index(self.len() - 1)
    }
}

/// A location as canonical order sees it.
#[derive(Clone, Copy)]
pub(crate) struct LocationKey<'a> {
    /// The functions of its lines, innermost first, in the id space of the comparison.
    pub(crate) functions: &'a [u32],
    pub(crate) lines: &'a [i64],
    pub(crate) columns: &'a [i64],
    pub(crate) mapping: u32,
    pub(crate) address: u64,
    pub(crate) is_folded: bool,
}

impl Locations {
    pub(crate) fn key(&self, id: u32) -> LocationKey<'_> {
        let rows = self.line_rows(id);
        LocationKey {
            functions: &self.line_function[rows.clone()],
            lines: &self.line_line[rows.clone()],
            columns: &self.line_column[rows],
            mapping: self.mapping[id as usize],
            address: self.address[id as usize],
            is_folded: self.is_folded[id as usize],
        }
    }
}

impl LocationKey<'_> {
    /// Canonical order: functions outermost first, then lines and columns, then the place.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let functions = self.functions.iter().rev().cmp(other.functions.iter().rev());
        let positions = || {
            let own = self.lines.iter().zip(self.columns).rev();
            own.cmp(other.lines.iter().zip(other.columns).rev())
        };
        functions.then_with(positions).then_with(|| {
            (self.mapping, self.address, self.is_folded).cmp(&(other.mapping, other.address, other.is_folded))
        })
    }
}

/// A label as canonical order sees it: key, kind, number, string or unit.
pub(crate) fn label_order(label: &Label) -> (u32, bool, i64, u32) {
    match label.value {
        LabelValue::Str(id) => (label.key, false, 0, id),
        LabelValue::Num(number, unit) => (label.key, true, number, unit),
    }
}
