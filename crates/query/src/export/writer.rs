//! Sums samples by stack and labels across dictionaries.
//!
//! Places are interned by content: a mapping by pprof's merge key, a location by its address relative to the mapping, a stack
//! as a path in one tree. So the same place of two segments is one place, even when the binary was loaded elsewhere.

use flamestore_calltree::{Dictionary, LabelBytes, NONE, Observation};
use flamestore_formats::ProfileBuilder;
use flamestore_model::{Error, Label, LabelValue, Mapping, ProfileBatch, ProfileType, Result, ValueType};
use flamestore_segment::ProfileSamples;
use hashbrown::HashMap;

use super::load::Loaded;
use super::output::{self, Header};
use crate::budget::Budget;

/// What becomes of samples of the same stack and the same labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// Each stays a sample; so do samples of 0.
    Keep,
    /// They are one sample; sums of 0 are left out.
    Sum,
}

/// A profile in the making.
pub(super) struct Writer {
    types: Vec<ProfileType>,
    repeats: Repeats,
    budget: Budget,
    builder: ProfileBuilder,
    /// By pprof's merge key: the mapping, and where it starts in the output.
    mappings: HashMap<MappingKey, (u32, u64)>,
    /// Stacks as paths: (parent, location) of each, node 0 is the empty stack.
    nodes: Vec<(u32, u32)>,
    node_ids: HashMap<(u32, u32), u32>,
    label_sets: Vec<Vec<Label>>,
    label_set_ids: HashMap<Vec<Label>, u32>,
    /// By stack, label set and number of the repetition: the row of `sums`.
    rows: HashMap<(u32, u32, u32), usize>,
    keys: Vec<(u32, u32)>,
    sums: Vec<i64>,
    header: Header,
    undo: Option<Undo>,
}

type MappingKey = (u64, u64, Vec<u8>);

/// What is needed to take back what was added since a mark.
struct Undo {
    sums: Vec<i64>,
    rows: usize,
    header: Header,
}

/// A place to return to.
pub(super) struct Mark(());

/// Bytes that a new row, node or label takes in the tables above, what is kept to undo included, about.
const ENTRY_BYTES: usize = 96;

impl Writer {
    pub(super) fn new(types: Vec<ProfileType>, repeats: Repeats, budget: Budget) -> Self {
        Self {
            types,
            repeats,
            budget,
            builder: ProfileBuilder::new(),
            mappings: HashMap::new(),
            nodes: vec![(0, NONE)],
            node_ids: HashMap::new(),
            label_sets: Vec::new(),
            label_set_ids: HashMap::new(),
            rows: HashMap::new(),
            keys: Vec::new(),
            sums: Vec::new(),
            header: Header::default(),
            undo: None,
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Names the columns, once they are known.
    pub(super) fn set_types(&mut self, types: Vec<ProfileType>) {
        self.types = types;
    }

    /// Remembers the sums.
    pub(super) fn mark(&mut self) -> Mark {
        self.undo = Some(Undo { sums: self.sums.clone(), rows: self.keys.len(), header: self.header.clone() });
        Mark(())
    }

    /// Takes back what was added since the mark. Symbols stay; nothing refers to them.
    pub(super) fn undo(&mut self, _mark: Mark) {
        if let Some(undo) = self.undo.take() {
            self.sums = undo.sums;
            self.keys.truncate(undo.rows);
            self.rows.retain(|_, row| *row < undo.rows);
            self.header = undo.header;
        }
    }

    fn width(&self) -> usize {
        self.types.len().max(1)
    }

    /// Adds profiles.
    ///
    /// # Errors
    /// `Invalid` when a sum leaves 64 bits, `Exhausted` over the budget, `Corrupt` when an id refers to nothing.
    pub(super) fn add(&mut self, loaded: &Loaded) -> Result<()> {
        let mut places = Places::new(loaded);
        let entries = self.entries();
        for (detail, samples) in loaded.details.iter().zip(&loaded.samples) {
            let main = match detail.meta.main_mapping {
                NONE => NONE,
                mapping => self.mapping(&loaded.sealed.dictionary, mapping)?.0,
            };
            if self.repeats == Repeats::Sum || detail.meta.value_index == 0 {
                self.header.add(&detail.meta, main);
            }
            let column = if self.repeats == Repeats::Sum { 0 } else { detail.meta.value_index as usize };
            self.add_samples(samples, column, loaded, &mut places)?;
        }
        self.budget.grow((self.entries() - entries) * ENTRY_BYTES)
    }

    fn entries(&self) -> usize {
        self.keys.len() + self.nodes.len() + self.label_sets.iter().map(Vec::len).sum::<usize>()
    }

    fn add_samples(
        &mut self,
        samples: &ProfileSamples,
        column: usize,
        loaded: &Loaded,
        places: &mut Places,
    ) -> Result<()> {
        let width = self.width();
        let mut repeats: HashMap<(u32, u32), u32> = HashMap::new();
        for (at, (stack, value)) in samples.stacks.iter().zip(&samples.values).enumerate() {
            let label_set = samples.label_sets.get(at).copied().unwrap_or(NONE);
            let node = self.stack(*stack, loaded, places)?;
            let labels = self.labels(label_set, &samples.observed.get(at), &loaded.sealed.dictionary, places)?;
            let repeat = match self.repeats {
                Repeats::Sum => 0,
                Repeats::Keep => {
                    let seen = repeats.entry((node, labels)).or_default();
                    *seen += 1;
                    *seen - 1
                }
            };
            let row = *self.rows.entry((node, labels, repeat)).or_insert_with(|| {
                self.keys.push((node, labels));
                self.sums.resize(self.keys.len() * width, 0);
                self.keys.len() - 1
            });
            let sum = self.sums.get_mut(row * width + column).ok_or_else(|| wrong("sample type", column as u64))?;
            *sum = sum.checked_add(*value).ok_or_else(|| {
                Error::invalid("the sum of the selected values leaves 64 bits; select a shorter range")
                    .with("limit", i64::MAX)
            })?;
        }
        Ok(())
    }

    /// The path of a stack of `loaded`.
    fn stack(&mut self, stack: u32, loaded: &Loaded, places: &mut Places) -> Result<u32> {
        let sealed = &loaded.sealed;
        let mut node = *sealed.leaves.get(stack as usize).ok_or_else(|| wrong("stack", stack.into()))?;
        let mut path = Vec::new();
        while node != 0 && places.nodes[node as usize] == NONE {
            path.push(node);
            node = sealed.tree.parent[node as usize];
        }
        let mut parent = if node == 0 { 0 } else { places.nodes[node as usize] };
        for node in path.into_iter().rev() {
            let location = self.location(sealed.tree.location[node as usize], &sealed.dictionary, places)?;
            let next = u32::try_from(self.nodes.len()).map_err(|_| wrong("node", self.nodes.len() as u64))?;
            let id = *self.node_ids.entry((parent, location)).or_insert(next);
            if id == next {
                self.nodes.push((parent, location));
            }
            places.nodes[node as usize] = id;
            parent = id;
        }
        Ok(parent)
    }

    fn location(&mut self, location: u32, dictionary: &Dictionary, places: &mut Places) -> Result<u32> {
        let known = *places.locations.get(location as usize).ok_or_else(|| wrong("location", location.into()))?;
        if known != NONE {
            return Ok(known);
        }
        let at = location as usize;
        let (mapping, start) = match dictionary.locations.mapping[at] {
            NONE => (NONE, 0),
            mapping => self.mapping(dictionary, mapping)?,
        };
        let mut lines = Vec::new();
        for mut line in dictionary.locations.lines(location) {
            if line.function != NONE {
                let mut function = dictionary.functions.get(line.function);
                function.name = self.string(dictionary, function.name);
                function.system_name = self.string(dictionary, function.system_name);
                function.filename = self.string(dictionary, function.filename);
                line.function = self.builder.function(function);
            }
            lines.push(line);
        }
        let address = dictionary.locations.address[at].wrapping_add(start);
        let id = self.builder.location(mapping, address, dictionary.locations.is_folded[at], &lines);
        places.locations[at] = id;
        Ok(id)
    }

    /// A mapping of the output and where it starts there: the first one of its key stands for all.
    fn mapping(&mut self, dictionary: &Dictionary, mapping: u32) -> Result<(u32, u64)> {
        let found = *dictionary.mappings.get(mapping as usize).ok_or_else(|| wrong("mapping", mapping.into()))?;
        let key = mapping_key(dictionary, &found);
        if let Some(known) = self.mappings.get(&key) {
            return Ok(*known);
        }
        let filename = self.string(dictionary, found.filename);
        let build_id = self.string(dictionary, found.build_id);
        let id = self.builder.mapping(Mapping { filename, build_id, ..found });
        self.mappings.insert(key, (id, found.memory_start));
        Ok((id, found.memory_start))
    }

    fn labels(
        &mut self,
        set: u32,
        observation: &Observation,
        dictionary: &Dictionary,
        places: &mut Places,
    ) -> Result<u32> {
        if observation.is_none() {
            return self.label_set(set, dictionary, places);
        }
        if set != NONE && set as usize >= dictionary.label_sets.len() {
            return Err(wrong("label set", set.into()));
        }
        self.row_labels(set, observation, dictionary)
    }

    fn label_set(&mut self, set: u32, dictionary: &Dictionary, places: &mut Places) -> Result<u32> {
        if set == NONE {
            return Ok(NONE);
        }
        let known = *places.label_sets.get(set as usize).ok_or_else(|| wrong("label set", set.into()))?;
        if known != NONE {
            return Ok(known);
        }
        let id = self.row_labels(set, &Observation::NONE, dictionary)?;
        places.label_sets[set as usize] = id;
        Ok(id)
    }

    /// The labels of a row as a set of the output.
    fn row_labels(&mut self, set: u32, observation: &Observation, dictionary: &Dictionary) -> Result<u32> {
        let builder = &mut self.builder;
        let mut labels = Vec::new();
        dictionary.row_labels(set, observation, |key, value| {
            let value = match value {
                LabelBytes::Str(text) => LabelValue::Str(builder.string(text)),
                LabelBytes::Num(number, unit) => LabelValue::Num(number, builder.string(unit)),
            };
            labels.push(Label { key: builder.string(key), value });
        });
        let next = u32::try_from(self.label_sets.len()).map_err(|_| wrong("label set", set.into()))?;
        match self.label_set_ids.get(&labels) {
            Some(known) => Ok(*known),
            None => {
                self.label_set_ids.insert(labels.clone(), next);
                self.label_sets.push(labels);
                Ok(next)
            }
        }
    }

    fn string(&mut self, dictionary: &Dictionary, id: u32) -> u32 {
        self.builder.string(dictionary.strings.get(id))
    }

    /// The profile.
    ///
    /// # Errors
    /// `Exhausted` when a table has too many rows.
    pub(super) fn finish(mut self) -> Result<ProfileBatch> {
        let width = self.width();
        let types = std::mem::take(&mut self.types);
        for ty in &types {
            self.builder.sample_type(&ty.sample_type, &ty.sample_unit);
        }
        if let Some(ty) = types.first() {
            let period_type =
                ValueType { ty: self.builder.string(&ty.period_type), unit: self.builder.string(&ty.period_unit) };
            self.builder.header_mut().period_type = period_type;
        }
        let mut stack = Vec::new();
        for (row, (node, labels)) in self.keys.iter().enumerate() {
            let values = &self.sums[row * width..(row + 1) * width];
            if self.repeats == Repeats::Sum && values.iter().all(|value| *value == 0) {
                continue;
            }
            stack.clear();
            let mut node = *node;
            while node != 0 {
                let (parent, location) = self.nodes[node as usize];
                stack.push(location);
                node = parent;
            }
            let labels = self.label_sets.get(*labels as usize).map_or(&[][..], Vec::as_slice);
            self.builder.add_row(&stack, values, labels);
        }
        output::finish(self.builder, &self.header)
    }
}

/// New ids by old id of one dictionary, [`NONE`] where not met yet.
struct Places {
    nodes: Vec<u32>,
    locations: Vec<u32>,
    label_sets: Vec<u32>,
}

impl Places {
    fn new(loaded: &Loaded) -> Self {
        let dictionary = &loaded.sealed.dictionary;
        Self {
            nodes: vec![NONE; loaded.sealed.tree.len()],
            locations: vec![NONE; dictionary.locations.len()],
            label_sets: vec![NONE; dictionary.label_sets.len()],
        }
    }
}

/// pprof's merge key: size in pages of 4 KiB, offset, and build id or else file name.
fn mapping_key(dictionary: &Dictionary, mapping: &Mapping) -> MappingKey {
    let size = mapping.memory_limit.wrapping_sub(mapping.memory_start);
    let pages = size.wrapping_add(0xfff) & !0xfff;
    let name = if mapping.build_id == 0 { mapping.filename } else { mapping.build_id };
    (pages, mapping.file_offset, dictionary.strings.get(name).to_vec())
}

fn wrong(what: &str, id: u64) -> Error {
    Error::corrupt(format!("a sample refers to {what} {id}, which does not exist"))
}
