//! Builds the tables of a segment.
use flamestore_model::Result;

use crate::{SegmentInput, SegmentOptions, SegmentTables};

/// Numbers, sorts and lays out `input` as tables.
///
/// # Errors
/// `Exhausted` when ids do not fit 32 bits, `Internal` when `input` contradicts itself.
pub fn build_tables(_input: SegmentInput, _options: &SegmentOptions) -> Result<SegmentTables> {
    Err(flamestore_model::Error::internal("not written yet"))
}
