//! Profile wire formats to and from profile batches, with limits; no I/O.
//!
//! ```text
//! bytes ─ recognise ─▶ the format, where they tell it
//! bytes ─ decompress ─▶ raw bytes ─ decode_pprof / decode_folded ─▶ ProfileBatch
//!                                 ├ decode_lines / decode_tree / decode_trie / decode_speedscope ─▶ ProfileBatch, or several
//!                                 ├ decode_jfr ─▶ JfrProfile* ─▶ ProfileBatch
//!                                 ├ ParcaRecords ─ finish ─▶ ParcaRequest ─ profiles ─▶ ProfileBatch*
//!                                 └ decode_otlp / decode_otlp_json ─▶ OtlpRequest ─ profiles ─▶ ProfileBatch*
//! ProfileBatch ─ encode_pprof / encode_folded ─▶ raw bytes ─ gzip ─▶ bytes
//! ```
//!
//! Bytes come from outside: whatever they are, the answer is a batch that passes [`ProfileBatch::check`] or an error, never
//! a panic. [`Limits`] bounds the memory a profile may take, and is looked at before the memory is spent.
//!
//! [`ProfileBatch::check`]: flamestore_model::ProfileBatch::check

mod builder;
mod decompress;
mod equal;
mod folded;
mod gather;
mod jfr;
mod limits;
mod otlp;
mod parca;
mod pprof;
mod recognise;
mod speedscope;
mod stacks;
mod tree;
mod wire;

pub use builder::{LabelText, ProfileBuilder};
pub use decompress::{decompress, gzip};
pub use equal::pprof_equal;
pub use folded::{decode_folded, decode_lines, encode_folded, frame_name};
pub use jfr::{JfrOptions, JfrProfile, decode_jfr};
pub use limits::Limits;
pub use otlp::{
    OtlpLayout, OtlpProfile, OtlpProfiles, OtlpRequest, SPAN_ID, TIMESTAMP, TRACE_ID, decode_otlp, decode_otlp_file,
    decode_otlp_json,
};
pub use parca::{ParcaProfile, ParcaProfiles, ParcaRecords, ParcaRequest, decode_records};
pub use pprof::{DecodeScratch, decode_pprof, decode_pprof_with, encode_pprof};
pub use recognise::{Recognised, recognise};
pub use speedscope::{SpeedscopeProfile, decode_speedscope};
pub use stacks::{FoldedOptions, SampledEvery};
pub use tree::{decode_tree, decode_trie};
