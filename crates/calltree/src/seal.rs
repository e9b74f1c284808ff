//! Sealing: from first-seen ids to canonical ones.
//!
//! Only what the selected stacks use is kept. Strings are compared as bytes once, to rank them; from then on functions,
//! locations, stacks and label sets are compared as integers.

use flamestore_model::{Function, Label, LabelValue, Line, Mapping, NONE};

use crate::byte_strings::index;
use crate::dictionary::mapping_key;
use crate::interner::{SealSelection, Sealed};
use crate::stack_arena::StackArena;
use crate::symbol_arena::{SymbolArena, sort_labels};
use crate::symbols::label_order;
use crate::tree_builder::build_tree;
use crate::{ByteStrings, Dictionary, Functions, LabelSets, Locations, SealedDictionary};

/// Which rows of the arena's tables are kept.
struct Used {
    strings: Vec<bool>,
    mappings: Vec<bool>,
    functions: Vec<bool>,
    locations: Vec<bool>,
    label_sets: Vec<bool>,
}

pub(crate) fn seal(arena: &SymbolArena, stacks: &StackArena, select: &SealSelection<'_>) -> Sealed {
    let all: Vec<u32>;
    let selected = match select.stacks {
        Some(selected) => selected,
        None => {
            all = (0..index(stacks.len())).collect();
            &all
        }
    };
    let used = Used::new(arena, stacks, selected, select);
    let (strings, string_remap) = seal_strings(arena, &used.strings);
    let (mappings, mapping_remap) = seal_mappings(arena, &used.mappings, &string_remap);
    let (functions, function_remap) = seal_functions(arena, &used.functions, &string_remap);
    let (locations, location_remap) = seal_locations(arena, &used.locations, &mapping_remap, &function_remap);
    let (label_sets, label_set_remap) = seal_label_sets(arena, &used.label_sets, &string_remap);

    let (offsets, frames) = remap_stacks(stacks, selected, &location_remap);
    let (tree, leaves) = build_tree(offsets.windows(2).map(|ends| &frames[ends[0]..ends[1]]));
    let dictionary = Dictionary { strings, mappings, functions, locations, label_sets }.into();
    Sealed { sealed: SealedDictionary { dictionary, tree, leaves }, mapping_remap, label_set_remap }
}

impl Used {
    fn new(arena: &SymbolArena, stacks: &StackArena, selected: &[u32], select: &SealSelection<'_>) -> Self {
        let mut used = Self {
            strings: vec![false; arena.strings.len()],
            mappings: chosen(arena.mappings.len(), select.keep_mappings),
            functions: vec![false; arena.functions.len()],
            locations: vec![false; arena.locations.len()],
            label_sets: chosen(arena.label_sets.len(), select.keep_label_sets),
        };
        for location in selected.iter().flat_map(|stack| stacks.get(*stack)) {
            used.locations[*location as usize] = true;
        }
        for location in rows(&used.locations) {
            if let Some(mapping) = used.mappings.get_mut(arena.locations[location as usize].mapping as usize) {
                *mapping = true;
            }
            for line in arena.lines_of(location).iter().filter(|line| line.function != NONE) {
                used.functions[line.function as usize] = true;
            }
        }
        used.mark_strings(arena);
        used
    }

    fn mark_strings(&mut self, arena: &SymbolArena) {
        let strings = &mut self.strings;
        strings[0] = true;
        let mut mark = |id: u32| strings[id as usize] = true;
        for mapping in rows(&self.mappings).map(|id| &arena.mappings[id as usize]) {
            mark(mapping.filename);
            mark(mapping.build_id);
        }
        for function in rows(&self.functions).map(|id| &arena.functions[id as usize]) {
            mark(function.name);
            mark(function.system_name);
            mark(function.filename);
        }
        for label in rows(&self.label_sets).flat_map(|id| arena.label_sets.get(id)) {
            mark(label.key);
            mark(label_order(label).3);
        }
    }
}

fn chosen(len: usize, keep: Option<&[u32]>) -> Vec<bool> {
    let mut chosen = vec![keep.is_none(); len];
    for id in keep.into_iter().flatten().filter(|id| **id != NONE) {
        chosen[*id as usize] = true;
    }
    chosen
}

fn rows(used: &[bool]) -> impl Iterator<Item = u32> {
    used.iter().enumerate().filter(|(_, used)| **used).map(|(row, _)| index(row))
}

/// New ids by old id, given the old ids in their new order.
fn remap(len: usize, order: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut remap = vec![NONE; len];
    for (new, old) in order.into_iter().enumerate() {
        remap[old as usize] = index(new);
    }
    remap
}

fn seal_strings(arena: &SymbolArena, used: &[bool]) -> (ByteStrings, Vec<u32>) {
    let mut order: Vec<u32> = rows(used).collect();
    order.sort_unstable_by(|a, b| arena.strings.get(*a).cmp(arena.strings.get(*b)));
    let bytes = order.iter().map(|id| arena.strings.get(*id).len()).sum();
    let mut strings = ByteStrings::with_capacity(order.len(), bytes);
    for id in &order {
        strings.push(arena.strings.get(*id));
    }
    (strings, remap(used.len(), order))
}

fn seal_mappings(arena: &SymbolArena, used: &[bool], strings: &[u32]) -> (Vec<Mapping>, Vec<u32>) {
    let map = |id: u32| {
        let mapping = arena.mappings[id as usize];
        let (filename, build_id) = (strings[mapping.filename as usize], strings[mapping.build_id as usize]);
        (Mapping { filename, build_id, ..mapping }, id)
    };
    let mut sealed: Vec<(Mapping, u32)> = rows(used).map(map).collect();
    sealed.sort_unstable_by_key(|(mapping, _)| mapping_key(mapping));
    let remap = remap(used.len(), sealed.iter().map(|(_, id)| *id));
    (sealed.into_iter().map(|(mapping, _)| mapping).collect(), remap)
}

fn seal_functions(arena: &SymbolArena, used: &[bool], strings: &[u32]) -> (Functions, Vec<u32>) {
    let map = |id: u32| {
        let function = arena.functions[id as usize];
        let [name, system_name, filename] =
            [function.name, function.system_name, function.filename].map(|string| strings[string as usize]);
        (name, system_name, filename, function.start_line, id)
    };
    let mut order: Vec<_> = rows(used).map(map).collect();
    order.sort_unstable();
    let mut functions = Functions::default();
    for &(name, system_name, filename, start_line, _) in &order {
        functions.push(Function { name, system_name, filename, start_line });
    }
    (functions, remap(used.len(), order.into_iter().map(|row| row.4)))
}

fn seal_locations(arena: &SymbolArena, used: &[bool], mappings: &[u32], functions: &[u32]) -> (Locations, Vec<u32>) {
    let mapped = |ids: &[u32], id: u32| if id == NONE { NONE } else { ids[id as usize] };
    let mut unordered = Locations::default();
    let mut order: Vec<(u32, u32, u32)> = Vec::new();
    for old in rows(used) {
        let location = &arena.locations[old as usize];
        let lines = arena.lines_of(old).iter();
        let lines = lines.map(|line| Line { function: mapped(functions, line.function), ..*line });
        let mapping = mapped(mappings, location.mapping);
        let row = unordered.push(mapping, location.address, location.is_folded, lines);
        // What decides most comparisons: nothing, or the outermost function.
        let outermost = unordered.key(row).functions.last().map_or(0, |function| function.saturating_add(1));
        order.push((outermost, row, old));
    }
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| unordered.key(a.1).compare(&unordered.key(b.1))));
    let mut locations = Locations::default();
    for &(_, row, _) in &order {
        let key = unordered.key(row);
        locations.push(key.mapping, key.address, key.is_folded, unordered.lines(row));
    }
    (locations, remap(used.len(), order.into_iter().map(|row| row.2)))
}

fn seal_label_sets(arena: &SymbolArena, used: &[bool], strings: &[u32]) -> (LabelSets, Vec<u32>) {
    let map = |label: &Label| Label {
        key: strings[label.key as usize],
        value: match label.value {
            LabelValue::Str(id) => LabelValue::Str(strings[id as usize]),
            LabelValue::Num(number, unit) => LabelValue::Num(number, strings[unit as usize]),
        },
    };
    let mut order: Vec<(Vec<Label>, u32)> = Vec::new();
    for old in rows(used) {
        let mut labels: Vec<Label> = arena.label_sets.get(old).iter().map(map).collect();
        sort_labels(&mut labels);
        order.push((labels, old));
    }
    order.sort_unstable_by(|a, b| a.0.iter().map(label_order).cmp(b.0.iter().map(label_order)));
    let mut label_sets = LabelSets::default();
    for (labels, _) in &order {
        label_sets.push(labels.iter().copied());
    }
    (label_sets, remap(used.len(), order.into_iter().map(|row| row.1)))
}

fn remap_stacks(stacks: &StackArena, selected: &[u32], locations: &[u32]) -> (Vec<usize>, Vec<u32>) {
    let mut offsets = Vec::with_capacity(selected.len() + 1);
    let mut frames = Vec::new();
    offsets.push(0);
    for stack in selected {
        frames.extend(stacks.get(*stack).iter().map(|location| locations[*location as usize]));
        offsets.push(frames.len());
    }
    (offsets, frames)
}
