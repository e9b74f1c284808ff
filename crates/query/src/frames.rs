//! A call tree as a table that can be read without knowing Flamestore: the answer format `call tree as Arrow IPC`.
//!
//! One row per frame, in preorder. A location with inlined functions is a chain of frames, the outermost first. Row 0 is the
//! root, which has no location; a frame's `parent` is the row number of its caller.
//!
//! | column | type | |
//! |---|---|---|
//! | `node` | u32 | the row number |
//! | `parent` | u32, null at the root | |
//! | `depth` | u32 | 0 at the root |
//! | `name` | dictionary of UTF-8 | as flame graphs show it; `total` at the root |
//! | `system_name`, `filename` | dictionary of UTF-8, null if unknown | |
//! | `line`, `column` | i64, null if unknown | |
//! | `address` | u64, null if unknown | as the profiler saw it |
//! | `is_inlined` | bool | whether the frame was inlined into its parent |
//! | `mapping`, `build_id` | dictionary of UTF-8, null if unknown | |
//! | `self`, `total` | i64 | with a suffix per column where there are two: `self_before`, `total_before`, `self_after`, … |

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::ipc::writer::StreamWriter;
use flamestore_calltree::{Dictionary, Function, Line, NONE, ValueTree, frame_name};
use flamestore_model::{Error, Mapping, Result};
use hashbrown::HashMap;

/// The frames of `tree` as a table; its columns are documented where this function is defined.
///
/// # Errors
/// `Exhausted` when there are 2³² frames or more.
pub fn frames(tree: &ValueTree) -> Result<RecordBatch> {
    let all: Vec<usize> = (0..schema(tree.values.len()).fields().len()).collect();
    frames_of(tree, &all)
}

/// The columns of [`frames`] at the places `wanted`; no other is made.
///
/// # Errors
/// As [`frames`].
pub(crate) fn frames_of(tree: &ValueTree, wanted: &[usize]) -> Result<RecordBatch> {
    let schema = Arc::new(schema(tree.values.len()).project(wanted).map_err(wrong)?);
    let table = FrameTable::new(tree)?;
    let columns = schema.fields().iter().map(|field| table.column(field.name())).collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(table.len()));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(wrong)
}

/// [`frames`] as an Arrow IPC stream of one record batch.
///
/// # Errors
/// As [`frames`].
pub fn frames_ipc(tree: &ValueTree) -> Result<Vec<u8>> {
    let batch = frames(tree)?;
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).map_err(wrong)?;
    writer.write(&batch).map_err(wrong)?;
    writer.into_inner().map_err(wrong)
}

/// The schema of frames with so many columns of values.
pub(crate) fn schema(values: usize) -> SchemaRef {
    let name = || DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    let mut fields = vec![
        Field::new("node", DataType::UInt32, false),
        Field::new("parent", DataType::UInt32, true),
        Field::new("depth", DataType::UInt32, false),
        Field::new("name", name(), false),
        Field::new("system_name", name(), true),
        Field::new("filename", name(), true),
        Field::new("line", DataType::Int64, true),
        Field::new("column", DataType::Int64, true),
        Field::new("address", DataType::UInt64, true),
        Field::new("is_inlined", DataType::Boolean, false),
        Field::new("mapping", name(), true),
        Field::new("build_id", name(), true),
    ];
    for suffix in suffixes(values) {
        fields.extend(["self", "total"].map(|of| Field::new(format!("{of}{suffix}"), DataType::Int64, false)));
    }
    Arc::new(Schema::new(fields))
}

fn suffixes(values: usize) -> &'static [&'static str] {
    match values {
        1 => &[""],
        _ => &["_before", "_after"],
    }
}

/// A frame: whose it is.
struct Frame {
    node: usize,
    location: u32,
    /// Its row in the lines of all locations, if the location has lines.
    line: Option<usize>,
    /// The place among the frames of the location, the innermost first.
    index: usize,
    /// Whether it is the outermost frame of its location: the others are inlined into the one before.
    is_outermost: bool,
}

/// Which rows the nodes of a tree have.
struct FrameTable<'a> {
    tree: &'a ValueTree,
    /// The innermost row of each node.
    innermost: Vec<u32>,
}

impl<'a> FrameTable<'a> {
    fn new(tree: &'a ValueTree) -> Result<Self> {
        let mut innermost = Vec::with_capacity(tree.tree.len());
        let mut row = 0_u32;
        innermost.push(row);
        for location in tree.tree.location.iter().skip(1) {
            let frames = tree.dictionary.locations.line_rows(*location).len().max(1);
            let next = u32::try_from(frames).ok().and_then(|frames| row.checked_add(frames));
            row = next.filter(|row| *row < NONE).ok_or_else(too_many)?;
            innermost.push(row);
        }
        Ok(Self { tree, innermost })
    }

    fn len(&self) -> usize {
        self.innermost.last().map_or(0, |row| *row as usize + 1)
    }

    fn dictionary(&self) -> &'a Dictionary {
        &self.tree.dictionary
    }

    /// What `of_root` and `of` say of the rows, in order.
    fn rows<T>(&self, of_root: T, mut of: impl FnMut(Frame) -> T) -> Vec<T> {
        let mut rows = Vec::with_capacity(self.len());
        rows.push(of_root);
        for (node, location) in self.tree.tree.location.iter().copied().enumerate().skip(1) {
            let lines = self.dictionary().locations.line_rows(location);
            let frames = lines.len().max(1);
            rows.extend((0..frames).rev().map(|index| {
                let line = (!lines.is_empty()).then_some(lines.start + index);
                of(Frame { node, location, line, index, is_outermost: index + 1 == frames })
            }));
        }
        rows
    }

    /// The rows of the callers; the root's is 0.
    fn parents(&self) -> Vec<u32> {
        let mut row = 0;
        self.rows(0, |frame| {
            row += 1;
            match frame.is_outermost {
                true => self.innermost[self.tree.tree.parent[frame.node] as usize],
                false => row - 1,
            }
        })
    }

    fn column(&self, name: &str) -> Result<ArrayRef> {
        let maybe = |number: i64| Some(number).filter(|number| *number != 0);
        let line = |frame: &Frame| frame.line.map(|row| self.dictionary().locations.line(row));
        Ok(match name {
            "node" => Arc::new(UInt32Array::from_iter_values((0..=NONE).take(self.len()))),
            "parent" => {
                let parents = self.parents().into_iter().enumerate();
                Arc::new(parents.map(|(row, parent)| (row > 0).then_some(parent)).collect::<UInt32Array>())
            }
            "depth" => Arc::new(UInt32Array::from(self.depths())),
            "name" => self.names()?,
            "system_name" => self.strings_of_function(|function| function.system_name)?,
            "filename" => self.strings_of_function(|function| function.filename)?,
            "line" => {
                let lines = self.rows(None, |frame| line(&frame).and_then(|line: Line| maybe(line.line)));
                Arc::new(Int64Array::from(lines))
            }
            "column" => {
                let columns = self.rows(None, |frame| line(&frame).and_then(|line: Line| maybe(line.column)));
                Arc::new(Int64Array::from(columns))
            }
            "address" => {
                let address = |frame: Frame| self.dictionary().absolute_address(frame.location);
                let addresses = self.rows(None, |frame| Some(address(frame)).filter(|address| *address != 0));
                Arc::new(UInt64Array::from(addresses))
            }
            "is_inlined" => Arc::new(BooleanArray::from(self.rows(false, |frame| !frame.is_outermost))),
            "mapping" => self.strings_of_mapping(|mapping| mapping.filename)?,
            "build_id" => self.strings_of_mapping(|mapping| mapping.build_id)?,
            "self" | "self_before" => self.values(0),
            "self_after" => self.values(1),
            "total" | "total_before" => self.totals(0),
            "total_after" => self.totals(1),
            other => return Err(Error::internal("frames have no such column").with("column", other)),
        })
    }

    fn depths(&self) -> Vec<u32> {
        let mut depths: Vec<u32> = Vec::with_capacity(self.len());
        for (row, parent) in self.parents().into_iter().enumerate() {
            depths.push(if row == 0 { 0 } else { depths[parent as usize] + 1 });
        }
        depths
    }

    /// Names as flame graphs show them; each line, and each location without lines, is named once.
    fn names(&self) -> Result<ArrayRef> {
        let dictionary = self.dictionary();
        let locations = &dictionary.locations;
        let mut names: Vec<String> = vec!["total".to_owned()];
        let mut keys: HashMap<String, u32> = HashMap::from_iter([("total".to_owned(), 0)]);
        let (mut of_lines, mut of_locations) = (vec![NONE; locations.line_function.len()], vec![NONE; locations.len()]);
        let rows = self.rows(0, |frame| {
            let key = match frame.line {
                Some(line) => &mut of_lines[line],
                None => &mut of_locations[frame.location as usize],
            };
            if *key == NONE {
                let name = frame_name(dictionary, frame.location, frame.index);
                *key = *keys.entry_ref(name.as_ref()).or_insert_with(|| {
                    names.push(name.clone().into_owned());
                    u32::try_from(names.len() - 1).unwrap_or(NONE)
                });
            }
            *key
        });
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(rows), names).map_err(wrong)?))
    }

    fn strings_of_function(&self, of: impl Fn(Function) -> u32) -> Result<ArrayRef> {
        let Dictionary { locations, functions, .. } = self.dictionary();
        self.strings(|frame| {
            let function = frame.line.map_or(NONE, |row| locations.line_function[row]);
            if function == NONE { 0 } else { of(functions.get(function)) }
        })
    }

    fn strings_of_mapping(&self, of: impl Fn(Mapping) -> u32) -> Result<ArrayRef> {
        let Dictionary { locations, mappings, .. } = self.dictionary();
        self.strings(|frame| {
            let mapping = locations.mapping[frame.location as usize];
            if mapping == NONE { 0 } else { of(mappings[mapping as usize]) }
        })
    }

    /// The strings with the ids that `id` gives; 0 is null, and so is the root's.
    fn strings(&self, id: impl Fn(&Frame) -> u32) -> Result<ArrayRef> {
        let strings = &self.dictionary().strings;
        let mut keys = vec![NONE; strings.len()];
        let mut used = Vec::new();
        let rows = self.rows(None, |frame| {
            let id = id(&frame);
            let key = (id != 0).then(|| &mut keys[id as usize])?;
            if *key == NONE {
                *key = u32::try_from(used.len()).unwrap_or(NONE);
                used.push(id);
            }
            Some(*key)
        });
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(used.iter().map(|id| strings.text(*id))));
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(rows), texts).map_err(wrong)?))
    }

    /// A value belongs to the innermost frame of its node.
    fn values(&self, column: usize) -> ArrayRef {
        let values = &self.tree.values[column];
        let own = |frame: Frame| if frame.index == 0 { values[frame.node] } else { 0 };
        Arc::new(Int64Array::from(self.rows(values[0], own)))
    }

    fn totals(&self, column: usize) -> ArrayRef {
        let mut totals = self.tree.values[column].clone();
        for node in (1..totals.len()).rev() {
            let parent = self.tree.tree.parent[node] as usize;
            totals[parent] = totals[parent].wrapping_add(totals[node]);
        }
        Arc::new(Int64Array::from(self.rows(totals[0], |frame| totals[frame.node])))
    }
}

fn too_many() -> Error {
    Error::exhausted("a call tree has too many frames for a table").with("limit", NONE)
}

fn wrong(error: arrow::error::ArrowError) -> Error {
    Error::internal("a table of frames could not be built").because(error)
}
