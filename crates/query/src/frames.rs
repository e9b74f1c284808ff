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
    ArrayRef, BooleanBuilder, Int64Array, Int64Builder, RecordBatch, StringDictionaryBuilder, UInt32Array,
    UInt32Builder, UInt64Builder,
};
use arrow::datatypes::UInt32Type;
use arrow::ipc::writer::StreamWriter;
use flamestore_calltree::{Dictionary, NONE, ValueTree, frame_name};
use flamestore_model::{Error, Result};

/// The frames of `tree` as a table; its columns are documented where this function is defined.
///
/// # Errors
/// `Exhausted` when there are 2³² frames or more.
pub fn frames(tree: &ValueTree) -> Result<RecordBatch> {
    let mut table = FrameTable::new(tree)?;
    for node in 1..tree.tree.len() {
        table.push_node(tree, node)?;
    }
    table.finish(tree)
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

type Names = StringDictionaryBuilder<UInt32Type>;

struct FrameTable {
    /// The innermost row of each node.
    rows: Vec<u32>,
    /// The node of each innermost row, [`NONE`] of others.
    nodes: Vec<u32>,
    parent: UInt32Builder,
    depth: Vec<u32>,
    name: Names,
    system_name: Names,
    filename: Names,
    line: Int64Builder,
    column: Int64Builder,
    address: UInt64Builder,
    is_inlined: BooleanBuilder,
    mapping: Names,
    build_id: Names,
}

impl FrameTable {
    fn new(tree: &ValueTree) -> Result<Self> {
        let mut table = Self {
            rows: Vec::with_capacity(tree.tree.len()),
            nodes: Vec::with_capacity(tree.tree.len()),
            parent: UInt32Builder::new(),
            depth: Vec::new(),
            name: Names::new(),
            system_name: Names::new(),
            filename: Names::new(),
            line: Int64Builder::new(),
            column: Int64Builder::new(),
            address: UInt64Builder::new(),
            is_inlined: BooleanBuilder::new(),
            mapping: Names::new(),
            build_id: Names::new(),
        };
        table.parent.append_null();
        table.depth.push(0);
        table.name.append("total").map_err(wrong)?;
        table.push_source(&tree.dictionary, None);
        table.push_place(&tree.dictionary, None, false);
        table.rows.push(0);
        table.nodes.push(0);
        Ok(table)
    }

    /// Appends the frames of a node, the outermost first.
    fn push_node(&mut self, tree: &ValueTree, node: usize) -> Result<()> {
        let location = tree.tree.location[node];
        let mut parent = self.rows[tree.tree.parent[node] as usize];
        let lines = tree.dictionary.locations.line_rows(location);
        let frames = lines.len().max(1);
        for index in (0..frames).rev() {
            let row = u32::try_from(self.nodes.len()).map_err(|_| too_many())?;
            self.parent.append_value(parent);
            self.depth.push(self.depth[parent as usize] + 1);
            self.name.append(frame_name(&tree.dictionary, location, index)).map_err(wrong)?;
            let line = (!lines.is_empty()).then_some(lines.start + index);
            self.push_source(&tree.dictionary, line);
            self.push_place(&tree.dictionary, Some(location), index + 1 < frames);
            let innermost = index == 0;
            self.nodes.push(if innermost { u32::try_from(node).map_err(|_| too_many())? } else { NONE });
            parent = row;
        }
        self.rows.push(parent);
        Ok(())
    }

    fn push_source(&mut self, dictionary: &Dictionary, row: Option<usize>) {
        let line = row.map(|row| dictionary.locations.line(row));
        let function = line.filter(|line| line.function != NONE).map(|line| dictionary.functions.get(line.function));
        push_string(&mut self.system_name, dictionary, function.map_or(0, |f| f.system_name));
        push_string(&mut self.filename, dictionary, function.map_or(0, |f| f.filename));
        self.line.append_option(line.map(|line| line.line).filter(|line| *line != 0));
        self.column.append_option(line.map(|line| line.column).filter(|column| *column != 0));
    }

    fn push_place(&mut self, dictionary: &Dictionary, location: Option<u32>, is_inlined: bool) {
        let address = location.map(|location| dictionary.absolute_address(location));
        self.address.append_option(address.filter(|address| *address != 0));
        self.is_inlined.append_value(is_inlined);
        let mapping = location.map(|location| dictionary.locations.mapping[location as usize]);
        let mapping = mapping.filter(|mapping| *mapping != NONE).map(|mapping| dictionary.mappings[mapping as usize]);
        push_string(&mut self.mapping, dictionary, mapping.map_or(0, |m| m.filename));
        push_string(&mut self.build_id, dictionary, mapping.map_or(0, |m| m.build_id));
    }

    fn finish(mut self, tree: &ValueTree) -> Result<RecordBatch> {
        let count = u32::try_from(self.nodes.len()).map_err(|_| too_many())?;
        let parents = self.parent.finish();
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("node".to_owned(), Arc::new(UInt32Array::from_iter_values(0..count))),
            ("parent".to_owned(), Arc::new(parents.clone())),
            ("depth".to_owned(), Arc::new(UInt32Array::from(self.depth))),
            ("name".to_owned(), Arc::new(self.name.finish())),
            ("system_name".to_owned(), Arc::new(self.system_name.finish())),
            ("filename".to_owned(), Arc::new(self.filename.finish())),
            ("line".to_owned(), Arc::new(self.line.finish())),
            ("column".to_owned(), Arc::new(self.column.finish())),
            ("address".to_owned(), Arc::new(self.address.finish())),
            ("is_inlined".to_owned(), Arc::new(self.is_inlined.finish())),
            ("mapping".to_owned(), Arc::new(self.mapping.finish())),
            ("build_id".to_owned(), Arc::new(self.build_id.finish())),
        ];
        for (column, values) in tree.values.iter().enumerate() {
            let own = |node: &u32| if *node == NONE { 0 } else { values[*node as usize] };
            let selfs: Vec<i64> = self.nodes.iter().map(own).collect();
            let mut totals = selfs.clone();
            for row in (1..totals.len()).rev() {
                let parent = parents.value(row) as usize;
                totals[parent] = totals[parent].wrapping_add(totals[row]);
            }
            let suffix = suffix(column, tree.values.len());
            columns.push((format!("self{suffix}"), Arc::new(Int64Array::from(selfs))));
            columns.push((format!("total{suffix}"), Arc::new(Int64Array::from(totals))));
        }
        let nullable = |name: &str| !matches!(name, "node" | "depth" | "name" | "is_inlined") && !is_value(name);
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| {
            let nullable = nullable(&name);
            (name, column, nullable)
        }))
        .map_err(wrong)
    }
}

fn is_value(name: &str) -> bool {
    name.starts_with("self") || name.starts_with("total")
}

fn suffix(column: usize, columns: usize) -> &'static str {
    match (columns, column) {
        (1, _) => "",
        (_, 0) => "_before",
        _ => "_after",
    }
}

fn push_string(names: &mut Names, dictionary: &Dictionary, id: u32) {
    match id {
        0 => names.append_null(),
        id => names.append_value(dictionary.strings.text(id)),
    }
}

fn too_many() -> Error {
    Error::exhausted("a call tree has too many frames for a table").with("limit", NONE)
}

fn wrong(error: arrow::error::ArrowError) -> Error {
    Error::internal("a table of frames could not be built").because(error)
}
