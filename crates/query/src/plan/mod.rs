//! The operators on call trees: what a logical plan says, and how it is carried out.
//!
//! ```text
//! Diff                       DiffExec            two trees in, one tree with two columns out
//! ├─ Merge (before)    ▸     ├─ MergeFinalExec   all partial trees in, one tree out
//! └─ Merge (after)           │  └─ MergeExec     units of a snapshot in, one partial tree a partition out
//!                            └─ CombineExec       the same for values that are not added up over time
//! ```
//!
//! Trees travel as record batches of one row ([`crate::codec`]).

mod combine;
mod diff;
mod exec;
mod joins;
mod merge;
mod merge_final;
mod merger;
mod nodes;
mod over_time;
mod planner;
mod unit;

pub(crate) use exec::{leaf, one_input, properties};
pub(crate) use joins::FairJoins;
pub(crate) use merge::spread;
pub(crate) use merger::{dictionary_bytes, tree_bytes};
pub(crate) use nodes::{DiffNode, MergeNode};
pub(crate) use planner::TreeQueryPlanner;
pub(crate) use unit::{entry_of, service_of};
