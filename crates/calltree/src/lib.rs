//! Call trees and symbol dictionaries: interning, canonical order, merge, diff, fold, truncate; no I/O, no Arrow, no clock,
//! no threads.
//!
//! ```text
//! ProfileBatch ──▶ Interner ──seal──▶ SealedDictionary ──values──▶ ValueTree ──merge, diff──▶ ValueTree
//!                  first-seen ids     canonical ids                                 │
//!                                     on disk, in queries            fold ──▶ FlameTree ──▶ folded text, levels
//!                                                                    top  ──▶ TopRow
//!                                                                    neighbours ──▶ callers, callees
//! ```
//!
//! # Canonical order
//!
//! Ids of a sealed dictionary are ranks: to compare two ids is to compare what they stand for, in any process, machine or
//! segment. Only strings are ever compared as bytes; each table above is ordered by ids of the tables below it.
//!
//! ```text
//! call tree    preorder; siblings by location               root ─┬─ main ─┬─ parse     node 0 1 2
//!    │                                                            │        └─ read           3
//!    ▼                                                            └─ start                   4
//! locations    by functions, outermost first; then lines and columns in that order; then mapping, address, folded
//!    │    └──▶ mappings    by build id, else file name; then size in pages, file offset
//!    ▼
//! functions    by name, system name, file name, start line
//!    ▼
//! strings      by bytes; 0 is the empty one                 label sets   by key, kind, value
//! ```
//!
//! - Locations without lines come before those with; [`NONE`], for no mapping and no function, comes last.
//! - Everything is distinct. The addresses of a mapping's locations are relative to its start, so the same binary at
//!   another address has the same locations.
//! - Two dictionaries merge as sorted runs, table by table, and the maps from old to new ids rise strictly. So two call
//!   trees merge as sorted runs as well ([`merge_trees`]), and merging neither hashes nor sorts anything.
//! - Siblings whose outermost function has the same name are neighbours, which is what folding by name needs. A flame
//!   tree is folded from the call tree when somebody asks; it is never stored.
//!
//! An id means nothing without its dictionary. What was read from somewhere is verified once ([`Dictionary::check`],
//! [`CallTree::check`], [`SealedDictionary::check`]); everything else relies on it and asserts lengths at the door.

mod byte_strings;
mod dictionary;
mod symbols;

mod check;

mod fingerprint;
mod id_table;
mod interner;
mod observed;
mod seal;
mod stack_arena;
mod symbol_arena;
mod tree_builder;

mod merge_dictionaries;
mod merge_sealed;
mod merge_trees;
mod retain;
mod union;
mod value_tree;

mod call_site;
mod flame_tree;
mod fold;
mod frame;
mod lay_over;
mod levels;
mod neighbours;
mod top;

pub use byte_strings::ByteStrings;
pub use dictionary::{CallTree, Dictionary, SealedDictionary};
pub use flame_tree::FlameTree;
pub use flamestore_model::{Function, Label, LabelValue, Line, Mapping, NONE};
pub use fold::{FoldOptions, fold};
pub use frame::{FrameStrings, frame_name};
pub use interner::{Interned, Interner, SealSelection, Sealed};
pub use lay_over::lay_over;
pub use levels::FlameLevels;
pub use merge_dictionaries::{DictionaryRemap, MergedDictionary, merge_dictionaries};
pub use merge_sealed::{MergedSealed, SealedRemap, merge_sealed};
pub use merge_trees::{MergedTree, merge_trees};
pub use neighbours::{Neighbour, Neighbours, neighbours};
pub use observed::{LabelBytes, NO_TIME, Observation, Observed};
pub use retain::{Keep, Retained};
pub use symbols::{Functions, LabelSets, Locations};
pub use top::{TopRow, top};
pub use value_tree::{ValueTree, merge};
