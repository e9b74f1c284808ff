//! Functions by their totals, and the graph of their calls, as messages.

use std::cmp::Reverse;

use flamestore_model::Result;
use flamestore_proto::parca::metastore::v1alpha1 as symbols;
use flamestore_proto::parca::query::v1alpha1 as v1;

use super::compare::Comparison;
use super::functions::{Function, Functions};
use super::stacks::Stacks;

/// The functions of `stacks`, the largest totals first, then by name.
///
/// # Errors
/// `Exhausted` when there is no memory for them.
#[expect(deprecated, reason = "the total of old is still read")]
pub(super) fn top(stacks: &Stacks, comparison: Option<&Comparison>, unit: &str) -> Result<v1::Top> {
    let functions = Functions::of(stacks)?;
    let mut ranked: Vec<(usize, &Function)> = functions.rows.iter().enumerate().collect();
    ranked.sort_by_key(|(_, function)| {
        let name = stacks.frames.rows[function.first as usize].name;
        (Reverse(function.totals[0]), Reverse(function.totals[1]), stacks.frames.texts.get(name))
    });
    let node = |(number, function): (usize, &Function)| {
        let Meta { location, mapping, function: named, line } = Meta::of(stacks, number, function);
        v1::TopNode {
            meta: Some(v1::TopNodeMeta { location: Some(location), mapping, function: named, line }),
            cumulative: function.totals[0],
            flat: function.own[0],
            diff: comparison.map_or(0, |comparison| comparison.diff(function.totals)),
        }
    };
    let list: Vec<v1::TopNode> = ranked.into_iter().map(node).collect();
    Ok(v1::Top {
        reported: i32::try_from(list.len()).unwrap_or(i32::MAX),
        total: i32::try_from(stacks.total[0]).unwrap_or(if stacks.total[0] < 0 { i32::MIN } else { i32::MAX }),
        unit: unit.to_owned(),
        list,
    })
}

/// The functions of `stacks` and the calls between them.
///
/// # Errors
/// `Exhausted` when there is no memory for them.
#[expect(deprecated, reason = "the total of old is still read")]
pub(super) fn graph(stacks: &Stacks) -> Result<v1::Callgraph> {
    let functions = Functions::of(stacks)?;
    let node = |(number, function): (usize, &Function)| {
        let Meta { location, mapping, function: named, line } = Meta::of(stacks, number, function);
        v1::CallgraphNode {
            id: id(number),
            meta: Some(v1::CallgraphNodeMeta { location: Some(location), mapping, function: named, line }),
            cumulative: function.totals[0],
            flat: function.own[0],
        }
    };
    let edge = |(number, call): (usize, &super::functions::Call)| v1::CallgraphEdge {
        id: id(number),
        source: id(call.caller),
        target: id(call.callee),
        cumulative: call.totals[0],
        is_collapsed: false,
    };
    Ok(v1::Callgraph {
        nodes: functions.rows.iter().enumerate().map(node).collect(),
        edges: functions.calls.iter().enumerate().map(edge).collect(),
        cumulative: stacks.total[0],
    })
}

fn id(number: usize) -> String {
    (number + 1).to_string()
}

/// What there is to say of a function; what its frames disagree in is left out.
pub(super) struct Meta {
    pub(super) location: symbols::Location,
    pub(super) mapping: Option<symbols::Mapping>,
    pub(super) function: Option<symbols::Function>,
    pub(super) line: Option<symbols::Line>,
}

impl Meta {
    /// What there is to say of `function`, which is called `number`.
    pub(super) fn of(stacks: &Stacks, number: usize, function: &Function) -> Self {
        let frames = &stacks.frames;
        let (frame, mixed) = (&frames.rows[function.first as usize], &function.mixed);
        let text = |id: u32, is_mixed: bool| if is_mixed { String::new() } else { frames.texts.text(id).into_owned() };
        let number_of = |value: i64, is_mixed: bool| if is_mixed { 0 } else { value };
        let id = id(number);
        let has_mapping = frame.mapping != flamestore_model::NONE && !(mixed.mapping_file || mixed.build_id);
        let mapping = has_mapping.then(|| {
            let row = &frames.mappings[frame.mapping as usize];
            symbols::Mapping {
                id: (u64::from(frame.mapping) + 1).to_string(),
                start: row.memory_start,
                limit: row.memory_limit,
                offset: row.file_offset,
                file: text(row.filename, false),
                build_id: text(row.build_id, false),
                has_functions: row.has_functions,
                has_filenames: row.has_filenames,
                has_line_numbers: row.has_line_numbers,
                has_inline_frames: row.has_inline_frames,
                ..Default::default()
            }
        });
        let named = frame.has_function.then(|| symbols::Function {
            id: id.clone(),
            start_line: number_of(frame.start_line, mixed.start_line),
            name: text(frame.name, false),
            system_name: text(frame.system_name, mixed.system_name),
            filename: text(frame.filename, mixed.filename),
            ..Default::default()
        });
        let line = frame.is_line.then(|| symbols::Line {
            function_id: if frame.has_function { id.clone() } else { String::new() },
            line: number_of(frame.line, mixed.line),
            ..Default::default()
        });
        let location = symbols::Location {
            id,
            address: if mixed.address { 0 } else { frame.address },
            mapping_id: mapping.as_ref().map(|mapping| mapping.id.clone()).unwrap_or_default(),
            is_folded: frame.is_folded,
            lines: line.clone().into_iter().collect(),
            ..Default::default()
        };
        Self { location, mapping, function: named, line }
    }
}
