//! A sealed dictionary: the symbols of one service in canonical order, where comparing ids compares what they stand for.

use std::sync::Arc;

use flamestore_model::{Error, Label, LabelValue, Mapping, NONE, Result};

use crate::{ByteStrings, Functions, LabelBytes, LabelSets, Locations, Observation};

/// Symbols in canonical order, immutable once built. The crate's documentation states the order; [`Dictionary::check`]
/// verifies it for a dictionary that was read from somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dictionary {
    /// Distinct, sorted bytewise; id 0 is the empty string.
    pub strings: ByteStrings,
    /// The mapped files.
    pub mappings: Vec<Mapping>,
    /// The functions.
    pub functions: Functions,
    /// The locations.
    pub locations: Locations,
    /// The label sets of samples.
    pub label_sets: LabelSets,
}

/// A call tree in preorder. Node 0 is the root and stands for no location; siblings are ordered by location id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallTree {
    /// The caller's node; smaller than the node itself, except for the root, which is its own parent.
    pub parent: Vec<u32>,
    /// The location id; [`NONE`] for the root only.
    pub location: Vec<u32>,
}

/// A dictionary, the call tree of its stacks, and the node each stack ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedDictionary {
    /// The symbols.
    pub dictionary: Arc<Dictionary>,
    /// The call tree over its locations.
    pub tree: CallTree,
    /// The node of each stack's leaf, by stack id; 0 for the empty stack.
    pub leaves: Vec<u32>,
}

impl Default for Dictionary {
    /// The dictionary of nothing but the empty string.
    fn default() -> Self {
        let mut strings = ByteStrings::new();
        strings.push(b"");
        Self {
            strings,
            mappings: Vec::new(),
            functions: Functions::default(),
            locations: Locations::default(),
            label_sets: LabelSets::default(),
        }
    }
}

impl Default for CallTree {
    /// The tree of nothing but the root.
    fn default() -> Self {
        Self { parent: vec![0], location: vec![NONE] }
    }
}

impl Dictionary {
    /// Verifies that every id refers to a row, and that every table is in canonical order without duplicates.
    ///
    /// # Errors
    /// `Corrupt`, naming the table and the first row that is wrong.
    pub fn check(&self) -> Result<()> {
        crate::check::dictionary(self)
    }

    /// The address of a location as the profiler saw it: its relative address plus the start of its mapping.
    ///
    /// # Panics
    /// When there is no such location.
    pub fn absolute_address(&self, location: u32) -> u64 {
        let address = self.locations.address[location as usize];
        match self.locations.mapping[location as usize] {
            NONE => address,
            mapping => address.wrapping_add(self.mappings[mapping as usize].memory_start),
        }
    }

    /// Gives `each` the labels of a row of samples, keys and values: those of its label set and those that are columns, in
    /// order of keys.
    ///
    /// # Panics
    /// When there is no such set.
    pub fn row_labels(&self, set: u32, observation: &Observation, mut each: impl FnMut(&[u8], LabelBytes<'_>)) {
        let mut of_set = self.label_sets.get(set).iter().peekable();
        let key = |label: &Label| self.strings.get(label.key);
        let value = |label: &Label| match label.value {
            LabelValue::Str(id) => LabelBytes::Str(self.strings.get(id)),
            LabelValue::Num(number, unit) => LabelBytes::Num(number, self.strings.get(unit)),
        };
        observation.labels(|lifted, lifted_value| {
            while let Some(label) = of_set.next_if(|label| key(label) < lifted) {
                each(key(label), value(label));
            }
            each(lifted, lifted_value);
        });
        for label in of_set {
            each(key(label), value(label));
        }
    }

    /// Bytes of memory held, spare room aside.
    pub fn memory_bytes(&self) -> usize {
        let functions = self.functions.len() * (3 * size_of::<u32>() + size_of::<i64>());
        let locations = self.locations.len() * (2 * size_of::<u32>() + size_of::<u64>() + size_of::<bool>());
        let lines = self.locations.line_function.len() * (size_of::<u32>() + 2 * size_of::<i64>());
        let labels = self.label_sets.len() * size_of::<u32>() + self.label_sets.labels.len() * size_of::<Label>();
        let mappings = self.mappings.len() * size_of::<Mapping>();
        self.strings.memory_bytes() + mappings + functions + locations + lines + labels
    }
}

impl CallTree {
    /// How many nodes there are, the root included.
    pub fn len(&self) -> usize {
        self.parent.len()
    }

    /// Never: the root always exists.
    pub fn is_empty(&self) -> bool {
        self.parent.is_empty()
    }

    /// How far below the root each node lies.
    pub fn depths(&self) -> Vec<u32> {
        let mut depths: Vec<u32> = Vec::with_capacity(self.parent.len());
        for parent in &self.parent {
            // The root is its own parent, and not there yet.
            depths.push(depths.get(*parent as usize).map_or(0, |depth| depth + 1));
        }
        depths
    }

    /// The number of nodes in each node's subtree, itself included: its subtree is the nodes `id..id + size`.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes = vec![1; self.len()];
        for node in (1..self.len()).rev() {
            sizes[self.parent[node] as usize] += sizes[node];
        }
        sizes
    }

    /// Verifies that the tree is in preorder, with siblings ordered by location, over the locations of `dictionary`.
    ///
    /// # Errors
    /// `Corrupt`, naming the first node that is wrong.
    pub fn check(&self, dictionary: &Dictionary) -> Result<()> {
        crate::check::tree(self, dictionary)
    }

    /// The locations from the root to `node`, root first.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn stack(&self, mut node: u32) -> Vec<u32> {
        let mut stack = Vec::new();
        while node != 0 {
            stack.push(self.location[node as usize]);
            node = self.parent[node as usize];
        }
        stack.reverse();
        stack
    }
}

impl SealedDictionary {
    /// Verifies the dictionary, the tree and that every stack ends in a node.
    ///
    /// # Errors
    /// `Corrupt`, naming the table and the first row that is wrong.
    pub fn check(&self) -> Result<()> {
        self.dictionary.check()?;
        self.tree.check(&self.dictionary)?;
        match self.leaves.iter().position(|leaf| *leaf as usize >= self.tree.len()) {
            None => Ok(()),
            Some(stack) => Err(Error::corrupt("a stack ends in a node that is not in the call tree")
                .with("stack", stack)
                .with("node", self.leaves[stack])
                .with("nodes", self.tree.len())),
        }
    }
}

/// What tells one mapping from another, the way pprof merges them: the build id or else the file name, the size in whole
/// pages, the offset in the file.
pub(crate) fn mapping_key(mapping: &Mapping) -> (u32, u64, u64) {
    const PAGE: u64 = 4096;
    let file = if mapping.build_id == 0 { mapping.filename } else { mapping.build_id };
    let size = mapping.memory_limit.wrapping_sub(mapping.memory_start).wrapping_add(PAGE - 1);
    (file, size - size % PAGE, mapping.file_offset)
}
