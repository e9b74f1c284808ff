//! Equality of profiles under pprof's rules of merging.
use flamestore_model::ProfileBatch;
/// A profile in a form in which equal profiles are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalProfile {}
/// The normal form of a profile.
pub fn normalize(_batch: &ProfileBatch) -> NormalProfile {
    NormalProfile {}
}
/// Whether two profiles are equal; else the first difference.
pub fn pprof_equal(_a: &ProfileBatch, _b: &ProfileBatch) -> Result<(), String> {
    Ok(())
}
