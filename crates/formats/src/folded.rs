//! Folded text: `root;caller;leaf value` lines.
use crate::Limits;
use bytes::Bytes;
use flamestore_model::{Error, ProfileBatch, Result};
use std::borrow::Cow;
/// What folded text does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldedOptions {
    /// The sample type.
    pub sample_type: String,
    /// Its unit.
    pub sample_unit: String,
    /// When the profile was taken, in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// How many nanoseconds it took.
    pub duration_nano: i64,
}
/// Reads folded text.
pub fn decode_folded(_bytes: Bytes, _options: &FoldedOptions, _limits: &Limits) -> Result<ProfileBatch> {
    Err(Error::internal("not there yet"))
}
/// Writes the values of one sample type as folded text.
pub fn encode_folded(_batch: &ProfileBatch, _value_index: usize) -> String {
    String::new()
}
/// The name of a frame.
pub fn frame_name(_batch: &ProfileBatch, _location: u32, _line_index: usize) -> Cow<'_, str> {
    Cow::Borrowed("")
}
