//! Stacks as a pprof: what filters kept, as a merge or as the difference of two.

use std::collections::HashMap;

use flamestore_formats::{LabelText, ProfileBuilder, encode_pprof, gzip};
use flamestore_model::{Function, Line, Mapping, NONE, ProfileType, Result, TimeRange};

use super::compare::Comparison;
use super::frames::{Frame, Frames};
use super::stacks::{FrameTree, Group, Stacks};

/// What a pprof says of itself.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) ty: ProfileType,
    pub(super) range: TimeRange,
    /// The labels that stacks are grouped by: they are labels of the samples.
    pub(super) labels: Vec<String>,
}

/// `stacks` as a gzip-compressed pprof. Values of 0 are left out.
///
/// # Errors
/// `Exhausted` when a table of it is too large, or there is no memory for it.
pub(super) fn pprof(stacks: &Stacks, about: &About, comparison: Option<&Comparison>) -> Result<Vec<u8>> {
    stacks.memory.grow(stacks.frames.memory_bytes())?;
    for group in &stacks.groups {
        stacks.memory.grow(rows_bytes(&group.tree))?;
    }
    let ProfileType { sample_type, sample_unit, period_type, period_unit, .. } = &about.ty;
    let mut builder = ProfileBuilder::new();
    builder.sample_type(sample_type, sample_unit);
    builder.period(period_type, period_unit, 0);
    builder.time(about.range.start, about.range.end.saturating_sub(about.range.start).saturating_sub(1));
    let mut writing = Writing { frames: &stacks.frames, builder, locations: HashMap::new() };
    for group in &stacks.groups {
        writing.group(group, &about.labels, comparison);
    }
    gzip(&encode_pprof(&writing.builder.finish()?))
}

/// What the rows of a tree take with their stacks: as rows, and encoded.
fn rows_bytes(tree: &FrameTree) -> usize {
    const ROW_BYTES: usize = 64;
    const FRAME_BYTES: usize = 12;
    let mut depths = vec![0_usize; tree.parent.len()];
    let mut bytes = size_of_val(depths.as_slice());
    for node in 1..tree.parent.len() {
        depths[node] = depths[tree.parent[node] as usize] + 1;
        if tree.own[node] != [0; 2] {
            bytes = bytes.saturating_add(ROW_BYTES + depths[node] * FRAME_BYTES);
        }
    }
    bytes
}

struct Writing<'a> {
    frames: &'a Frames,
    builder: ProfileBuilder,
    /// By their frames, the innermost first.
    locations: HashMap<Vec<u32>, u32>,
}

impl Writing<'_> {
    fn group(&mut self, group: &Group, names: &[String], comparison: Option<&Comparison>) {
        let values = names.iter().zip(&group.labels).filter(|(_, value)| !value.is_empty());
        let labels: Vec<_> = values.map(|(name, value)| self.builder.label(name, LabelText::Str(value))).collect();
        let tree = &group.tree;
        for (node, own) in (0_u32..).zip(&tree.own) {
            let value = comparison.map_or(own[0], |comparison| comparison.diff(*own));
            if value == 0 {
                continue;
            }
            let mut stack = Vec::new();
            let mut lines: Vec<u32> = Vec::new();
            let mut at = node;
            while at != 0 {
                let frame = tree.frame[at as usize];
                if !self.continues(lines.last().copied(), frame) {
                    stack.extend(self.location(&lines));
                    lines.clear();
                }
                lines.push(frame);
                at = tree.parent[at as usize];
            }
            stack.extend(self.location(&lines));
            self.builder.add_row(&stack, &[value], &labels);
        }
    }

    /// Whether `frame` is a line of the same location as the one before it, further out.
    fn continues(&self, inner: Option<u32>, frame: u32) -> bool {
        let row = |frame: u32| &self.frames.rows[frame as usize];
        let is_outer = |inner: u32| row(inner).location == row(frame).location && row(inner).depth < row(frame).depth;
        inner.is_none_or(is_outer)
    }

    /// The location of these lines, the innermost first; none of none.
    fn location(&mut self, lines: &[u32]) -> Option<u32> {
        let first = self.frames.rows[*lines.first()? as usize];
        if let Some(known) = self.locations.get(lines) {
            return Some(*known);
        }
        let mapping = self.mapping(first.mapping);
        let written: Vec<Line> = lines
            .iter()
            .map(|frame| self.frames.rows[*frame as usize])
            .filter(|frame| frame.is_line)
            .map(|frame| self.line(&frame))
            .collect();
        let location = self.builder.location(mapping, first.absolute, first.is_folded, &written);
        self.locations.insert(lines.to_vec(), location);
        Some(location)
    }

    fn mapping(&mut self, row: u32) -> u32 {
        if row == NONE {
            return NONE;
        }
        let mapping = self.frames.mappings[row as usize];
        let filename = self.builder.string(self.frames.texts.get(mapping.filename));
        let build_id = self.builder.string(self.frames.texts.get(mapping.build_id));
        self.builder.mapping(Mapping { filename, build_id, ..mapping })
    }

    fn line(&mut self, frame: &Frame) -> Line {
        let texts = &self.frames.texts;
        let function = match frame.has_function {
            false => NONE,
            true => {
                let function = Function {
                    name: self.builder.string(texts.get(frame.name)),
                    system_name: self.builder.string(texts.get(frame.system_name)),
                    filename: self.builder.string(texts.get(frame.filename)),
                    start_line: frame.start_line,
                };
                self.builder.function(function)
            }
        };
        Line { function, line: frame.line, column: frame.column }
    }
}
