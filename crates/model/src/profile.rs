//! A decoded profile in columns: what every wire format is decoded into, and what interning reads.
//!
//! ```text
//! ProfileBatch
//! ├─ header   sample types, period, time, comments, …            one per profile
//! ├─ symbols  strings ◀ functions ◀ lines ◀ locations ▶ mappings  tables, ids are row numbers
//! └─ samples  stack_offsets ▶ stack_locations (leaf first)        one row per sample
//!             values: row-major, one per sample type
//!             label_offsets ▶ labels
//! ```
//!
//! The batch keeps everything pprof can say: duplicate, negative and zero samples, numeric labels with units, repeated keys,
//! inlined lines, columns, bytes that are not UTF-8. Ids are local to the batch and dense from 0, whatever the source used;
//! [`NONE`] stands for "no mapping" and "no function". [`ProfileBatch::check`] states the invariants.

use bytes::Bytes;

use crate::{Error, Result};

/// The id that refers to nothing.
pub const NONE: u32 = u32::MAX;

/// Byte strings by id. They are slices of one shared buffer, so a decoder that keeps its input copies none.
/// Id 0 is always the empty string.
#[derive(Clone, Debug)]
pub struct Strings {
    bytes: Bytes,
    spans: Vec<(u32, u32)>,
}

/// What a column of values measures: ids into [`Strings`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValueType {
    /// The type's name.
    pub ty: u32,
    /// The unit's name.
    pub unit: u32,
}

/// What a profile says of itself as a whole. Strings are ids into [`Strings`]; 0 means absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileHeader {
    /// One per column of values; never empty.
    pub sample_types: Vec<ValueType>,
    /// The name of the sample type shown first.
    pub default_sample_type: u32,
    /// What is counted between two samples.
    pub period_type: ValueType,
    /// How much of it.
    pub period: i64,
    /// When the profile was taken, in nanoseconds since 1970; 0 if unknown.
    pub time_unix_nano: i64,
    /// How long it took; 0 for snapshots.
    pub duration_nano: i64,
    /// Free text.
    pub comments: Vec<u32>,
    /// A page that explains the profile.
    pub doc_url: u32,
    /// A regular expression of frames to drop when the profile is shown.
    pub drop_frames: u32,
    /// A regular expression of frames to keep although `drop_frames` matches.
    pub keep_frames: u32,
}

/// A file mapped into the profiled process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// First address.
    pub memory_start: u64,
    /// First address after it.
    pub memory_limit: u64,
    /// Where in the file the first address lies.
    pub file_offset: u64,
    /// The file's name: an id into [`Strings`].
    pub filename: u32,
    /// The file's build id: an id into [`Strings`].
    pub build_id: u32,
    /// Whether the profile names the functions of this mapping.
    pub has_functions: bool,
    /// Whether it names their files.
    pub has_filenames: bool,
    /// Whether it gives line numbers.
    pub has_line_numbers: bool,
    /// Whether it gives inlined frames.
    pub has_inline_frames: bool,
}

/// A function: ids into [`Strings`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Function {
    /// The name as people read it.
    pub name: u32,
    /// The name as the linker knows it; may be empty or equal `name`.
    pub system_name: u32,
    /// The source file.
    pub filename: u32,
    /// The line the function starts at; 0 if unknown.
    pub start_line: i64,
}

/// One source line of a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// A row of [`Symbols::functions`], or [`NONE`].
    pub function: u32,
    /// The line; 0 if unknown.
    pub line: i64,
    /// The column; 0 if unknown.
    pub column: i64,
}

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// A row of [`Symbols::mappings`], or [`NONE`].
    pub mapping: u32,
    /// The address as sent; 0 if unknown.
    pub address: u64,
    /// Whether several places were folded into this one.
    pub is_folded: bool,
    /// Its first row of [`Symbols::lines`]; innermost inlined function first, the physical function last.
    pub lines_start: u32,
    /// The row after its last.
    pub lines_end: u32,
}

/// The tables that samples refer to. Ids are row numbers.
#[derive(Clone, Debug)]
pub struct Symbols {
    /// All strings.
    pub strings: Strings,
    /// The mapped files; the first one is the main binary by convention.
    pub mappings: Vec<Mapping>,
    /// The functions.
    pub functions: Vec<Function>,
    /// The lines of all locations.
    pub lines: Vec<Line>,
    /// The locations.
    pub locations: Vec<Location>,
}

/// The value of a sample's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelValue {
    /// A string: an id into [`Strings`].
    Str(u32),
    /// A number and its unit (an id into [`Strings`]; 0 if absent).
    Num(i64, u32),
}

/// A label of one sample. Keys may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// The key: an id into [`Strings`].
    pub key: u32,
    /// The value.
    pub value: LabelValue,
}

/// The samples, in the order of the source; row `i` has stack `stack_locations[stack_offsets[i]..stack_offsets[i + 1]]`.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// One more than there are samples; starts at 0.
    pub stack_offsets: Vec<u32>,
    /// Rows of [`Symbols::locations`], leaf first.
    pub stack_locations: Vec<u32>,
    /// `sample_types` values a sample, row-major.
    pub values: Vec<i64>,
    /// One more than there are samples; starts at 0. Empty where no sample has a label.
    pub label_offsets: Vec<u32>,
    /// The labels of all samples.
    pub labels: Vec<Label>,
}

/// One decoded profile.
#[derive(Clone, Debug)]
pub struct ProfileBatch {
    /// What the profile says of itself.
    pub header: ProfileHeader,
    /// The tables its samples refer to.
    pub symbols: Symbols,
    /// The samples.
    pub samples: Samples,
}

impl Strings {
    /// Strings that are the `(offset, length)` slices `spans` of `bytes`.
    ///
    /// # Errors
    /// `Invalid` when the first is not empty or one lies outside of `bytes`.
    pub fn from_spans(bytes: Bytes, spans: Vec<(u32, u32)>) -> Result<Self> {
        if spans.first().is_none_or(|span| span.1 != 0) {
            return Err(Error::invalid("string 0 is not the empty string"));
        }
        let outside = |&(offset, length): &(u32, u32)| offset as usize + length as usize > bytes.len();
        if let Some(at) = spans.iter().position(outside) {
            return Err(Error::invalid(format!("string {at} lies outside of the profile")));
        }
        Ok(Self { bytes, spans })
    }

    /// The shared buffer and the `(offset, length)` slices of it, to be used again.
    pub fn into_parts(self) -> (Bytes, Vec<(u32, u32)>) {
        (self.bytes, self.spans)
    }

    /// The string `id`.
    ///
    /// # Panics
    /// When there is no such string: [`ProfileBatch::check`] or the decoder has made sure of every id of a batch.
    #[inline]
    pub fn get(&self, id: u32) -> &[u8] {
        let (offset, length) = self.spans[id as usize];
        &self.bytes[offset as usize..offset as usize + length as usize]
    }

    /// The string `id` with invalid UTF-8 replaced.
    pub fn text(&self, id: u32) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.get(id))
    }

    /// How many strings there are; at least 1.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Never: string 0 always exists.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl Samples {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.stack_offsets.len().saturating_sub(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The locations of sample `row`, leaf first.
    #[inline]
    pub fn stack(&self, row: usize) -> &[u32] {
        &self.stack_locations[self.stack_offsets[row] as usize..self.stack_offsets[row + 1] as usize]
    }

    /// The labels of sample `row`.
    #[inline]
    pub fn labels(&self, row: usize) -> &[Label] {
        if self.label_offsets.is_empty() {
            return &[];
        }
        &self.labels[self.label_offsets[row] as usize..self.label_offsets[row + 1] as usize]
    }
}

impl ProfileBatch {
    /// The values of sample `row`, one per sample type.
    #[inline]
    pub fn values(&self, row: usize) -> &[i64] {
        let width = self.header.sample_types.len();
        &self.samples.values[row * width..(row + 1) * width]
    }

    /// The lines of location `id`, innermost first.
    #[inline]
    pub fn lines(&self, id: u32) -> &[Line] {
        let location = &self.symbols.locations[id as usize];
        &self.symbols.lines[location.lines_start as usize..location.lines_end as usize]
    }

    /// Checks every id and length of the batch, so that nothing that reads it can go out of bounds.
    ///
    /// # Errors
    /// `Invalid`, naming the first row that is wrong.
    pub fn check(&self) -> Result<()> {
        let Self { header, symbols, samples } = self;
        let strings = symbols.strings.len();
        let string = |id: u32, what: &str, row: usize| match (id as usize) < strings {
            true => Ok(()),
            false => Err(Error::invalid(format!("{what} {row}: string {id} is not in the string table"))),
        };
        if header.sample_types.is_empty() {
            return Err(Error::invalid("the profile has no sample types"));
        }
        for (row, ty) in header.sample_types.iter().enumerate() {
            string(ty.ty, "sample type", row)?;
            string(ty.unit, "sample type", row)?;
        }
        let single = [
            header.default_sample_type,
            header.period_type.ty,
            header.period_type.unit,
            header.doc_url,
            header.drop_frames,
            header.keep_frames,
        ];
        for id in single.iter().chain(&header.comments) {
            string(*id, "profile", 0)?;
        }
        for (row, mapping) in symbols.mappings.iter().enumerate() {
            string(mapping.filename, "mapping", row)?;
            string(mapping.build_id, "mapping", row)?;
        }
        for (row, function) in symbols.functions.iter().enumerate() {
            string(function.name, "function", row)?;
            string(function.system_name, "function", row)?;
            string(function.filename, "function", row)?;
        }
        let refers = |id: u32, rows: usize| id == NONE || (id as usize) < rows;
        for (row, line) in symbols.lines.iter().enumerate() {
            if !refers(line.function, symbols.functions.len()) {
                return Err(Error::invalid(format!(
                    "line {row}: function {} is not in the function table",
                    line.function
                )));
            }
        }
        for (row, location) in symbols.locations.iter().enumerate() {
            if !refers(location.mapping, symbols.mappings.len()) {
                let id = location.mapping;
                return Err(Error::invalid(format!("location {row}: mapping {id} is not in the mapping table")));
            }
            if location.lines_start > location.lines_end || location.lines_end as usize > symbols.lines.len() {
                return Err(Error::invalid(format!("location {row}: its lines are not in the line table")));
            }
        }
        let rows = samples.len();
        offsets(&samples.stack_offsets, samples.stack_locations.len(), "stack")?;
        if !samples.label_offsets.is_empty() {
            offsets(&samples.label_offsets, samples.labels.len(), "label")?;
            if samples.label_offsets.len() != rows + 1 {
                return Err(Error::invalid("label offsets and stack offsets differ in length"));
            }
        }
        if let Some(id) = samples.stack_locations.iter().find(|id| **id as usize >= symbols.locations.len()) {
            return Err(Error::invalid(format!("a stack has location {id}, which is not in the location table")));
        }
        if samples.values.len() != rows * header.sample_types.len() {
            return Err(Error::invalid("the number of values is not samples times sample types")
                .with("values", samples.values.len())
                .with("samples", rows)
                .with("sample_types", header.sample_types.len()));
        }
        for (row, label) in samples.labels.iter().enumerate() {
            string(label.key, "label", row)?;
            match label.value {
                LabelValue::Str(id) | LabelValue::Num(_, id) => string(id, "label", row)?,
            }
        }
        Ok(())
    }
}

fn offsets(offsets: &[u32], end: usize, what: &str) -> Result<()> {
    let ordered = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    match (offsets.first(), offsets.last()) {
        (Some(0), Some(&last)) if last as usize == end && ordered => Ok(()),
        (None, None) if end == 0 => Ok(()),
        _ => Err(Error::invalid(format!("{what} offsets do not cover their column"))),
    }
}
