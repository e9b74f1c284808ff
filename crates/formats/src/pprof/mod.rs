//! pprof.
use bytes::Bytes;
use flamestore_model::{Error, ProfileBatch, Result};
use crate::Limits;
/// Buffers that decoding reuses.
#[derive(Debug, Default)]
pub struct DecodeScratch {}
impl DecodeScratch {
    /// Takes back the buffers of a batch that is no longer needed.
    pub fn recycle(&mut self, _batch: ProfileBatch) {}
}
/// Decodes a pprof profile.
pub fn decode_pprof(bytes: Bytes, limits: &Limits) -> Result<ProfileBatch> { decode_pprof_with(&mut DecodeScratch::default(), bytes, limits) }
/// Decodes with reused buffers.
pub fn decode_pprof_with(_scratch: &mut DecodeScratch, _bytes: Bytes, _limits: &Limits) -> Result<ProfileBatch> { Err(Error::internal("not there yet")) }
/// Encodes a profile as pprof, not compressed.
pub fn encode_pprof(_batch: &ProfileBatch) -> Vec<u8> { Vec::new() }
