//! Flame graphs: the frames of stacks laid together by function, trimmed, in the order in which they are drawn.
//!
//! ```text
//! row 0 the root ─▶ its children ─▶ theirs …     breadth first; siblings in the order in which stacks have them
//! x of a child = x of its caller + values of the siblings before it
//! ```
//!
//! What is one row: frames of one function below one row, told apart further by what the request groups by; frames without a
//! function by address and mapped file. What such frames disagree in, the row does not say. With labels to group by, the
//! rows below the root are the groups.
//!
//! A child is left out that has no more than the given part of its caller. In a diff its weight is the larger one of both
//! sides: what the base alone has stays, as wide as nothing.

use std::collections::{HashMap, VecDeque};

use flamestore_model::{Error, NONE, Result};
use flamestore_proto::parca::query::v1alpha1 as v1;

use super::frames::{Frame, Frames};
use super::stacks::{Pair, Stacks, add};

/// Labels that a request may group by.
const LABELS_MAX: usize = 16;

/// What tells rows apart beside their functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grouping {
    pub(super) labels: Vec<String>,
    by_filename: bool,
    by_address: bool,
    by_mapping: bool,
}

/// A trimmed flame graph.
#[derive(Debug)]
pub(super) struct Flame {
    /// The root first.
    pub(super) rows: Vec<Row>,
    /// The longest stack before anything was trimmed, the root included.
    pub(super) height: usize,
}

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// A row before it; itself for the root.
    pub(super) parent: usize,
    pub(super) children: Vec<usize>,
    pub(super) kind: Kind,
    pub(super) totals: Pair,
    pub(super) own: Pair,
    pub(super) depth: usize,
    /// Where it begins, in values from the left.
    pub(super) offset: i64,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Root,
    /// All stacks of a group of labels, by its number.
    Labels(usize),
    /// Frames, of which the first is given, of a group.
    Frames {
        first: u32,
        mixed: Mixed,
        group: usize,
    },
}

/// What the frames of a row disagree in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mixed {
    pub(super) address: bool,
    pub(super) mapping_file: bool,
    pub(super) build_id: bool,
    pub(super) line: bool,
    pub(super) start_line: bool,
    pub(super) system_name: bool,
    pub(super) filename: bool,
    pub(super) is_inlined: bool,
}

impl Mixed {
    /// Notes what `other` has different from the first frame.
    pub(super) fn note(&mut self, first: &Frame, other: &Frame) {
        self.address |= first.address != other.address;
        self.mapping_file |= first.mapping_file != other.mapping_file;
        self.build_id |= first.build_id != other.build_id;
        self.line |= first.line != other.line;
        self.start_line |= first.start_line != other.start_line;
        self.system_name |= first.system_name != other.system_name;
        self.filename |= first.filename != other.filename;
        self.is_inlined |= first.is_inlined != other.is_inlined;
    }
}

impl Grouping {
    /// What `fields` name.
    ///
    /// # Errors
    /// `Invalid` for a name that is none, `Unsupported` for times, `Exhausted` for too many labels.
    pub(super) fn new(fields: &[String]) -> Result<Self> {
        let mut grouping = Self::default();
        for field in fields {
            match field.as_str() {
                "function_name" => {}
                "function_file_name" => grouping.by_filename = true,
                "location_address" => grouping.by_address = true,
                "mapping_file" => grouping.by_mapping = true,
                "timestamp" => return Err(Error::unsupported("flame graphs are not grouped by timestamp")),
                field => match field.strip_prefix("labels.").filter(|name| !name.is_empty()) {
                    Some(name) if grouping.labels.iter().any(|known| known == name) => {}
                    Some(name) => grouping.labels.push(name.to_owned()),
                    None => {
                        let fields = "group_by takes function_name, function_file_name, location_address, mapping_file and \
                                      labels.NAME";
                        return Err(Error::invalid(fields).with("field", format!("{field:?}")));
                    }
                },
            }
        }
        match grouping.labels.len() > LABELS_MAX {
            false => Ok(grouping),
            true => Err(Error::exhausted("too many labels to group by").with("labels_max", LABELS_MAX)),
        }
    }

    fn key(&self, frame: &Frame) -> Key {
        let is_named = frame.name != 0;
        let by = |is_asked: bool, value: u32| if is_asked { value } else { 0 };
        Key {
            name: frame.name,
            filename: by(self.by_filename, frame.filename),
            address: if self.by_address || !is_named { frame.address } else { 0 },
            mapping: by(self.by_mapping || !is_named, frame.mapping_file),
            build_id: by(!is_named, frame.build_id),
        }
    }
}

/// What frames of one row agree in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: u32,
    filename: u32,
    address: u64,
    mapping: u32,
    build_id: u32,
}

/// The part of a caller that a child must have more of.
///
/// # Errors
/// `Invalid` when it is no percentage.
pub(super) fn threshold(request: &v1::QueryRequest) -> Result<f32> {
    let percent = request.node_trim_threshold.unwrap_or_default();
    match (0.0..=100.0).contains(&percent) {
        true => Ok(percent / 100.0),
        false => Err(Error::invalid("node_trim_threshold is a percentage").with("found", percent)),
    }
}

/// The flame graph of `stacks`. The root has what its children have that are kept.
///
/// # Errors
/// `Internal` when a row refers to none.
pub(super) fn flame(stacks: &Stacks, grouping: &Grouping, threshold: f32) -> Result<Flame> {
    let mut laid = Laid::new(&stacks.frames, grouping);
    for (group, tree) in stacks.groups.iter().enumerate().map(|(at, group)| (at, &group.tree)) {
        let top = match grouping.labels.is_empty() {
            true => 0,
            false => laid.push(0, Kind::Labels(group)),
        };
        let mut rows = vec![top; tree.parent.len()];
        add(&mut laid.rows[top].own, tree.own[0]);
        for node in 1..tree.parent.len() {
            let row = laid.frame(rows[tree.parent[node] as usize], tree.frame[node], group);
            rows[node] = row;
            add(&mut laid.rows[row].own, tree.own[node]);
        }
    }
    Ok(trimmed(laid.summed(), threshold))
}

/// All rows, callers first.
struct Laid<'a> {
    frames: &'a Frames,
    grouping: &'a Grouping,
    /// Per frame, the number of its key.
    keys: Vec<u32>,
    numbers: HashMap<Key, u32>,
    ids: HashMap<(usize, u32), usize>,
    rows: Vec<Row>,
}

impl<'a> Laid<'a> {
    fn new(frames: &'a Frames, grouping: &'a Grouping) -> Self {
        let root =
            Row { parent: 0, children: Vec::new(), kind: Kind::Root, totals: [0; 2], own: [0; 2], depth: 0, offset: 0 };
        let keys = vec![NONE; frames.rows.len()];
        Self { frames, grouping, keys, numbers: HashMap::new(), ids: HashMap::new(), rows: vec![root] }
    }

    fn push(&mut self, parent: usize, kind: Kind) -> usize {
        let (row, depth) = (self.rows.len(), self.rows[parent].depth + 1);
        self.rows[parent].children.push(row);
        self.rows.push(Row { parent, children: Vec::new(), kind, totals: [0; 2], own: [0; 2], depth, offset: 0 });
        row
    }

    /// The row of a frame below `parent`.
    fn frame(&mut self, parent: usize, frame: u32, group: usize) -> usize {
        let row = &self.frames.rows[frame as usize];
        if self.keys[frame as usize] == NONE {
            // No more keys than frames.
            let next = u32::try_from(self.numbers.len()).unwrap_or(NONE);
            self.keys[frame as usize] = *self.numbers.entry(self.grouping.key(row)).or_insert(next);
        }
        let key = (parent, self.keys[frame as usize]);
        let Some(known) = self.ids.get(&key).copied() else {
            let made = self.push(parent, Kind::Frames { first: frame, mixed: Mixed::default(), group });
            self.ids.insert(key, made);
            return made;
        };
        if let Kind::Frames { first, mixed, .. } = &mut self.rows[known].kind {
            mixed.note(&self.frames.rows[*first as usize], row);
        }
        known
    }

    /// The rows with their totals.
    fn summed(mut self) -> Vec<Row> {
        for row in (0..self.rows.len()).rev() {
            let own = self.rows[row].own;
            add(&mut self.rows[row].totals, own);
            if row > 0 {
                let (totals, parent) = (self.rows[row].totals, self.rows[row].parent);
                add(&mut self.rows[parent].totals, totals);
            }
        }
        self.rows
    }
}

fn weight(row: &Row) -> i64 {
    row.totals[0].max(row.totals[1])
}

/// The rows that weigh more than a part of their callers, breadth first.
fn trimmed(rows: Vec<Row>, threshold: f32) -> Flame {
    let height = 1 + rows.iter().map(|row| row.depth).max().unwrap_or_default();
    let mut kept: Vec<Row> = Vec::new();
    let mut open = VecDeque::from([(0_usize, 0_usize)]);
    let mut offsets = vec![0_i64; rows.len()];
    while let Some((at, parent)) = open.pop_front() {
        let (row, number) = (&rows[at], kept.len());
        if number > 0 {
            kept[parent].children.push(number);
        }
        let least = part(weight(row), threshold);
        let mut offset = offsets[at];
        for child in row.children.iter().copied().filter(|child| weight(&rows[*child]) > least) {
            offsets[child] = offset;
            offset = offset.saturating_add(rows[child].totals[0].max(0));
            open.push_back((child, number));
        }
        kept.push(Row { parent, children: Vec::new(), offset: offsets[at], ..row.clone() });
    }
    let mut of_children = [0; 2];
    for child in kept.iter().filter(|row| row.depth == 1) {
        add(&mut of_children, child.totals);
    }
    kept[0].totals = of_children;
    Flame { rows: kept, height }
}

/// How much of `value` that part is: as Parca counts it, in single precision, and less than one is none.
fn part(value: i64, threshold: f32) -> i64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a threshold need not be exact")]
    let part = (value as f32 * threshold) as i64;
    part.max(0)
}
