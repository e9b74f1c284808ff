//! The tables of dictionaries: symbols, label sets, call sites, stacks, and where each service has its rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use flamestore_calltree::{CallTree, Dictionary, LabelValue, Mapping};
use flamestore_model::{NONE, Result};

use super::{Numbered, batch, slices, too_many};
use crate::rows::{DictionaryEntry, Span};
use crate::schema::Table;
use crate::{SegmentOptions, SegmentTables};

/// Rows of `locations`: one a line, and one for a location without lines.
pub(super) fn location_rows(dictionary: &Dictionary) -> usize {
    let locations = &dictionary.locations;
    locations.line_function.len() + locations.line_offsets.windows(2).filter(|pair| pair[0] == pair[1]).count()
}

/// Rows of `label_sets`: one a label.
pub(super) fn label_set_rows(dictionary: &Dictionary) -> usize {
    dictionary.label_sets.labels.len()
}

/// Lays out the dictionaries one after another, dropping each when done.
pub(super) fn build(dictionaries: &mut [Numbered], options: &SegmentOptions, tables: &mut SegmentTables) -> Result<()> {
    let mut batches: Vec<(Table, Vec<RecordBatch>)> = TABLES.iter().map(|(table, _)| (*table, Vec::new())).collect();
    for numbered in dictionaries.iter_mut() {
        let Some(sealed) = numbered.sealed.take() else { continue };
        let part = Part {
            entry: &numbered.entry,
            dictionary: &sealed.dictionary,
            tree: &sealed.tree,
            leaves: &sealed.leaves,
            stack_order: &numbered.stack_order,
        };
        for ((table, columns), (_, batches)) in TABLES.iter().zip(&mut batches) {
            batches.extend(slices(&batch(*table, columns(&part)?)?, options));
        }
    }
    for (table, batches) in batches {
        tables.set(table, batches);
    }
    if !dictionaries.is_empty() {
        tables.set(Table::Dictionaries, vec![batch(Table::Dictionaries, entries(dictionaries))?]);
    }
    Ok(())
}

/// A dictionary and its place.
struct Part<'a> {
    entry: &'a DictionaryEntry,
    dictionary: &'a Dictionary,
    tree: &'a CallTree,
    leaves: &'a [u32],
    stack_order: &'a [u32],
}

type Columns = fn(&Part<'_>) -> Result<Vec<ArrayRef>>;

const TABLES: [(Table, Columns); 7] = [
    (Table::Strings, strings),
    (Table::Mappings, mappings),
    (Table::Functions, functions),
    (Table::Locations, locations),
    (Table::LabelSets, label_sets),
    (Table::CallSites, call_sites),
    (Table::Stacks, stacks),
];

fn u32s(values: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

fn i64s(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn bools(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(BooleanArray::from_iter(values.map(Some)))
}

fn references(values: impl IntoIterator<Item = Option<u32>>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter(values))
}

fn ids(span: Span) -> ArrayRef {
    u32s(span.first..span.first + span.count)
}

fn strings(part: &Part<'_>) -> Result<Vec<ArrayRef>> {
    let strings = &part.dictionary.strings;
    i32::try_from(strings.bytes().len()).map_err(|_| too_many())?;
    Ok(vec![ids(part.entry.strings), Arc::new(BinaryArray::from_iter_values(strings.iter()))])
}

fn mappings(part: &Part<'_>) -> Result<Vec<ArrayRef>> {
    let mappings = &part.dictionary.mappings;
    let string = part.entry.strings.first;
    let address = |field: fn(&Mapping) -> u64| i64s(mappings.iter().map(|mapping| field(mapping).cast_signed()));
    let flag = |field: fn(&Mapping) -> bool| bools(mappings.iter().map(field));
    Ok(vec![
        ids(part.entry.mappings),
        address(|mapping| mapping.memory_start),
        address(|mapping| mapping.memory_limit),
        address(|mapping| mapping.file_offset),
        u32s(mappings.iter().map(|mapping| string + mapping.filename)),
        u32s(mappings.iter().map(|mapping| string + mapping.build_id)),
        flag(|mapping| mapping.has_functions),
        flag(|mapping| mapping.has_filenames),
        flag(|mapping| mapping.has_line_numbers),
        flag(|mapping| mapping.has_inline_frames),
    ])
}

fn functions(part: &Part<'_>) -> Result<Vec<ArrayRef>> {
    let functions = &part.dictionary.functions;
    let strings = |ids: &[u32]| u32s(ids.iter().map(|id| part.entry.strings.first + id));
    Ok(vec![
        ids(part.entry.functions),
        strings(&functions.name),
        strings(&functions.system_name),
        strings(&functions.filename),
        i64s(functions.start_line.iter().copied()),
    ])
}

fn locations(part: &Part<'_>) -> Result<Vec<ArrayRef>> {
    let (entry, locations) = (part.entry, &part.dictionary.locations);
    let mut rows: Vec<(u32, Option<usize>)> = Vec::with_capacity(entry.location_rows.count as usize);
    for id in 0..entry.locations.count {
        match locations.line_rows(id) {
            lines if lines.is_empty() => rows.push((id, None)),
            lines => rows.extend(lines.map(|line| (id, Some(line)))),
        }
    }
    let global = |id: u32, first: u32| (id != NONE).then(|| first + id);
    let line_index = |&(id, line): &(u32, Option<usize>)| {
        line.and_then(|line| u32::try_from(line).ok()).map(|line| line - locations.line_offsets[id as usize])
    };
    let function = |line: usize| global(locations.line_function[line], entry.functions.first);
    Ok(vec![
        u32s(rows.iter().map(|row| entry.locations.first + row.0)),
        references(rows.iter().map(line_index)),
        references(rows.iter().map(|row| global(locations.mapping[row.0 as usize], entry.mappings.first))),
        i64s(rows.iter().map(|row| locations.address[row.0 as usize].cast_signed())),
        bools(rows.iter().map(|row| locations.is_folded[row.0 as usize])),
        references(rows.iter().map(|row| row.1.and_then(function))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1.map(|line| locations.line_line[line])))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.1.map(|line| locations.line_column[line])))),
    ])
}

fn label_sets(part: &Part<'_>) -> Result<Vec<ArrayRef>> {
    let (entry, sets) = (part.entry, &part.dictionary.label_sets);
    let string = entry.strings.first;
    let set_ids = (0..entry.label_sets.count).flat_map(|id| std::iter::repeat_n(id, sets.get(id).len()));
    let values = || sets.labels.iter().map(|label| label.value);
    let (text, number, unit) = (
        |value| if let LabelValue::Str(id) = value { Some(string + id) } else { None },
        |value| if let LabelValue::Num(number, _) = value { Some(number) } else { None },
        |value| if let LabelValue::Num(_, unit) = value { Some(string + unit) } else { None },
    );
    Ok(vec![
        u32s(set_ids.map(|id| entry.label_sets.first + id)),
        u32s(sets.labels.iter().map(|label| string + label.key)),
        references(values().map(text)),
        Arc::new(Int64Array::from_iter(values().map(number))),
        references(values().map(unit)),
    ])
}

fn call_sites(part: &Part<'_>) -> Result<Vec<ArrayRef>> {
    let (entry, tree) = (part.entry, part.tree);
    let location = |id: &u32| (*id != NONE).then(|| entry.locations.first + id);
    Ok(vec![ids(entry.call_sites), u32s(tree.depths()), references(tree.location.iter().map(location))])
}

fn stacks(part: &Part<'_>) -> Result<Vec<ArrayRef>> {
    let leaf = |stack: &u32| part.entry.call_sites.first + part.leaves[*stack as usize];
    Ok(vec![ids(part.entry.stacks), u32s(part.stack_order.iter().map(leaf))])
}

fn entries(dictionaries: &[Numbered]) -> Vec<ArrayRef> {
    let entries = || dictionaries.iter().map(|numbered| &numbered.entry);
    let mut columns: Vec<ArrayRef> = vec![
        u32s(entries().map(|entry| entry.dictionary_id)),
        Arc::new(StringArray::from_iter_values(entries().map(|entry| &entry.service_name))),
    ];
    for (_, span) in DictionaryEntry::SPANS {
        columns.push(u32s(entries().map(|entry| span(entry).first)));
        columns.push(u32s(entries().map(|entry| span(entry).count)));
    }
    columns
}
