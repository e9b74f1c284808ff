//! pprof (`perftools.profiles.Profile`): decoded straight into columns, encoded from them.
//!
//! ```text
//! Profile  1 sample_type*  2 sample*  3 mapping*  4 location*  5 function*  6 string_table*
//!          7 drop_frames  8 keep_frames  9 time_nanos  10 duration_nanos  11 period_type  12 period
//!          13 comment*  14 default_sample_type  15 doc_url
//! ```
//!
//! Decoding takes one pass over the fields of `Profile` that notes where each table row lies, then one pass over each
//! table in the order in which they refer to each other: a profile's fields come in any order, and writers put the strings
//! last. Strings stay where they are; no row allocates.
//!
//! What the reference reader refuses is refused: ids that are 0, stand twice or dangle, a first string that is not empty,
//! samples with another number of values than there are types, two profiles in one. What it loses is kept: numeric labels
//! of value 0, strings that are not UTF-8.

mod decode;
mod encode;
mod ids;
mod layout;
mod legacy;
mod legacy_cpu;
mod samples;
mod symbols;

pub use decode::{DecodeScratch, decode_pprof, decode_pprof_with};
pub use encode::encode_pprof;

/// Whether `bytes` start as what gperftools and old runtimes wrote before pprof was protobuf.
pub(crate) fn is_legacy(bytes: &[u8]) -> bool {
    legacy::is_text(bytes) || legacy_cpu::is_binary(bytes)
}
