//! Call trees and symbol dictionaries: interning, canonical order, merge, diff, fold, truncate; no I/O, no Arrow.

mod byte_strings;
mod check;
mod dictionary;
mod flame_tree;
mod fold;
mod frame;
mod id_table;
mod interner;
mod levels;
mod merge_dictionaries;
mod merge_trees;
mod retain;
mod seal;
mod stack_arena;
mod symbol_arena;
mod symbols;
mod top;
mod tree_builder;
mod union;
mod value_tree;

pub use byte_strings::ByteStrings;
pub use dictionary::{CallTree, Dictionary, SealedDictionary};
pub use flame_tree::FlameTree;
pub use flamestore_model::{Function, Label, LabelValue, Line, Mapping, NONE};
pub use fold::{FoldOptions, fold};
pub use frame::frame_name;
pub use interner::{Interned, Interner, SealSelection, Sealed};
pub use levels::FlameLevels;
pub use merge_dictionaries::{DictionaryRemap, MergedDictionary, merge_dictionaries};
pub use merge_trees::{MergedTree, merge_trees};
pub use symbols::{Functions, LabelSets, Locations};
pub use top::{TopRow, top};
pub use value_tree::{ValueTree, merge};
