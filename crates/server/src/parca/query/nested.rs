//! Flame graphs of nested messages, as tools of old ask for them.
//!
//! | report | what a node says of its frame |
//! |---|---|
//! | `FLAMEGRAPH_UNSPECIFIED` | location, mapping, function and line, whole |
//! | `FLAMEGRAPH_TABLE` | the place of a location in a table; that names places of mappings and functions, and these of texts |
//!
//! Both are the rows of [`flame`](super::flame) once more; labels have no place in them. Nested messages are written in a time that
//! grows with the nodes times their depth, and few readers take them at any depth: both are bounded.

use std::collections::HashMap;
use std::hash::Hash;

use flamestore_model::{Error, NONE, Result};
use flamestore_proto::parca::metastore::v1alpha1 as symbols;
use flamestore_proto::parca::query::v1alpha1 as v1;

use super::calls::Meta;
use super::compare::Comparison;
use super::flame::{Flame, Kind, Row};
use super::frames::Frames;
use super::functions::Function;
use super::stacks::Stacks;

/// Nodes below each other.
const DEPTH_MAX: usize = 1024;
/// The sum of the depths of all nodes.
const DEPTHS_MAX: usize = 1 << 23;
/// What a node takes with what it says, beside its texts.
const NODE_BYTES: usize = size_of::<v1::FlamegraphNode>() + 256;

/// How nodes say what they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    Tables,
}

/// `flame`, which is made of `stacks`, as a message.
///
/// # Errors
/// `Exhausted` when it is too large or too deep, or there is no memory for it.
#[expect(deprecated, reason = "the totals of old are still read")]
pub(super) fn message(
    flame: &Flame,
    stacks: &Stacks,
    comparison: Option<&Comparison>,
    unit: String,
    form: Form,
) -> Result<v1::Flamegraph> {
    check(&flame.rows)?;
    stacks.memory.grow(flame.rows.len().saturating_mul(NODE_BYTES))?;
    let mut tables = Tables::new(&stacks.frames);
    let mut texts = stacks.memory.in_steps();
    let diff = |row: &Row| comparison.map_or(0, |comparison| comparison.diff(row.totals));
    let root = flame.rows.first().ok_or_else(|| Error::internal("a flame graph has no root"))?;
    let mut children: Vec<Vec<v1::FlamegraphNode>> = Vec::new();
    children.resize_with(flame.rows.len(), Vec::new);
    // Callers come first, so what is below a row is complete when its turn comes.
    for (number, row) in flame.rows.iter().enumerate().skip(1).rev() {
        let mut below = std::mem::take(&mut children[number]);
        below.reverse();
        let meta = match form {
            Form::Whole => {
                let meta = whole(stacks, number, row);
                texts.grow(meta.as_ref().map_or(0, text_bytes))?;
                meta
            }
            Form::Tables => tables.meta(row),
        };
        let node = v1::FlamegraphNode { meta, cumulative: row.totals[0], diff: diff(row), children: below };
        children[row.parent].push(node);
    }
    let mut below = std::mem::take(&mut children[0]);
    below.reverse();
    let Tables { texts, locations, mappings, functions, .. } = tables;
    let table = texts.rows.iter().map(|text| stacks.frames.texts.text(*text).into_owned());
    Ok(v1::Flamegraph {
        root: Some(v1::FlamegraphRootNode { cumulative: root.totals[0], diff: diff(root), children: below }),
        total: root.totals[0],
        unit,
        height: i32::try_from(flame.height).unwrap_or(i32::MAX),
        string_table: if form == Form::Tables { table.collect() } else { Vec::new() },
        locations: locations.rows.iter().map(Place::message).collect(),
        mapping: mappings.rows.iter().map(|row| mapping(&stacks.frames, row)).collect(),
        function: functions.rows.iter().map(Named::message).collect(),
        untrimmed_total: stacks.total[0],
        trimmed: stacks.total[0].saturating_sub(root.totals[0]),
    })
}

/// Whether `rows` may be nested.
fn check(rows: &[Row]) -> Result<()> {
    let deepest = rows.iter().map(|row| row.depth).max().unwrap_or_default();
    let all: usize = rows.iter().map(|row| row.depth).sum();
    if deepest <= DEPTH_MAX && all <= DEPTHS_MAX {
        return Ok(());
    }
    let large = "the flame graph is too large for nested messages: trim it with node_trim_threshold, or ask for \
                 REPORT_TYPE_FLAMEGRAPH_ARROW";
    let large = Error::exhausted(large).with("nodes", rows.len()).with("depth", deepest);
    Err(large.with("depth_max", DEPTH_MAX).with("depths_max", DEPTHS_MAX))
}

/// What a node says that says all.
fn whole(stacks: &Stacks, number: usize, row: &Row) -> Option<v1::FlamegraphNodeMeta> {
    let Kind::Frames { first, mixed, .. } = row.kind else { return None };
    let function = Function { first, mixed, totals: row.totals, own: row.own };
    let Meta { location, mapping, function, line } = Meta::of(stacks, number, &function);
    Some(v1::FlamegraphNodeMeta { location: Some(location), mapping, function, line, ..Default::default() })
}

fn text_bytes(meta: &v1::FlamegraphNodeMeta) -> usize {
    let function = meta.function.as_ref().map_or(0, |of| of.name.len() + of.system_name.len() + of.filename.len());
    function + meta.mapping.as_ref().map_or(0, |of| of.file.len() + of.build_id.len())
}

/// Distinct rows, with the places they have.
#[derive(Debug)]
struct Table<T> {
    places: HashMap<T, u32>,
    rows: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: HashMap::new(), rows: Vec::new() }
    }
}

impl<T: Copy + Eq + Hash> Table<T> {
    /// The place of `row`, from 0 on.
    fn place(&mut self, row: T) -> u32 {
        // No more rows than nodes, and these are bounded.
        let next = u32::try_from(self.rows.len()).unwrap_or(NONE);
        let place = *self.places.entry(row).or_insert(next);
        if place == next {
            self.rows.push(row);
        }
        place
    }
}

/// What all nodes stand for. Rows name texts by their places from 0 on, all else from 1 on; 0 is none.
struct Tables<'a> {
    frames: &'a Frames,
    texts: Table<u32>,
    mappings: Table<(u32, u32, u32)>,
    functions: Table<Named>,
    locations: Table<Place>,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Named {
    name: u32,
    system_name: u32,
    filename: u32,
    start_line: i64,
}

/// A location, of one line at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    address: u64,
    mapping: u32,
    is_folded: bool,
    line: Option<(u32, i64)>,
}

impl Named {
    fn message(&self) -> symbols::Function {
        symbols::Function {
            start_line: self.start_line,
            name_string_index: self.name,
            system_name_string_index: self.system_name,
            filename_string_index: self.filename,
            ..Default::default()
        }
    }
}

impl Place {
    fn message(&self) -> symbols::Location {
        let line = |(function_index, line)| symbols::Line { function_index, line, ..Default::default() };
        symbols::Location {
            address: self.address,
            mapping_index: self.mapping,
            is_folded: self.is_folded,
            lines: self.line.map(line).into_iter().collect(),
            ..Default::default()
        }
    }
}

/// A mapping as nodes share it: the row of the frames, and the places of its file and its build id.
fn mapping(frames: &Frames, (row, file, build_id): &(u32, u32, u32)) -> symbols::Mapping {
    let row = &frames.mappings[*row as usize];
    symbols::Mapping {
        start: row.memory_start,
        limit: row.memory_limit,
        offset: row.file_offset,
        has_functions: row.has_functions,
        has_filenames: row.has_filenames,
        has_line_numbers: row.has_line_numbers,
        has_inline_frames: row.has_inline_frames,
        file_string_index: *file,
        build_id_string_index: *build_id,
        ..Default::default()
    }
}

impl<'a> Tables<'a> {
    fn new(frames: &'a Frames) -> Self {
        let mut texts = Table::default();
        texts.place(0);
        let (mappings, functions, locations) = Default::default();
        Self { frames, texts, mappings, functions, locations }
    }

    /// What the node of `row` says; what its frames disagree in is left out.
    fn meta(&mut self, row: &Row) -> Option<v1::FlamegraphNodeMeta> {
        let Kind::Frames { first, mixed, .. } = row.kind else { return None };
        let frame = &self.frames.rows[first as usize];
        let has_mapping = frame.mapping != NONE && !(mixed.mapping_file || mixed.build_id);
        let mapping = match has_mapping {
            true => {
                let (file, build_id) = (self.texts.place(frame.mapping_file), self.texts.place(frame.build_id));
                self.mappings.place((frame.mapping, file, build_id)) + 1
            }
            false => 0,
        };
        let function = match frame.has_function {
            true => {
                let mut text = |text: u32, is_mixed: bool| self.texts.place(if is_mixed { 0 } else { text });
                let named = Named {
                    name: text(frame.name, false),
                    system_name: text(frame.system_name, mixed.system_name),
                    filename: text(frame.filename, mixed.filename),
                    start_line: if mixed.start_line { 0 } else { frame.start_line },
                };
                self.functions.place(named) + 1
            }
            false => 0,
        };
        let place = Place {
            address: if mixed.address { 0 } else { frame.address },
            mapping,
            is_folded: frame.is_folded,
            line: frame.is_line.then_some((function, if mixed.line { 0 } else { frame.line })),
        };
        Some(v1::FlamegraphNodeMeta { location_index: self.locations.place(place) + 1, ..Default::default() })
    }
}
