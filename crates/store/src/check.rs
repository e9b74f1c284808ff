//! Looks at a bucket without opening it as a store: nothing is written (API; bodies follow).
use std::sync::Arc;

use flamestore_model::{Error, Result};

use crate::{Bucket, Manifest, ObjectEntry};

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The newest manifest's version; 0 where there is none.
    pub version: u64,
    /// Live segments.
    pub segments: usize,
    /// Objects read, manifest included.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Source profiles × sample types in live segments.
    pub profile_rows: u64,
    /// Rows of samples in live segments.
    pub sample_rows: u64,
    /// What is wrong; empty for a sound store.
    pub problems: Vec<Problem>,
    /// Objects that nothing refers to: left by crashes, harmless.
    pub garbage: Vec<ObjectEntry>,
}

/// Something wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What [`ls`] found.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The newest manifest.
    pub manifest: Arc<Manifest>,
    /// How many manifest versions there are.
    pub versions: usize,
}

/// Reads every object the newest manifest names and checks it: size, checksum, rows, and that its tables can be read.
///
/// # Errors
/// What the bucket says when it cannot be listed. What is wrong with single objects is in the report.
pub async fn check(_bucket: &Bucket) -> Result<CheckReport> {
    Err(Error::internal("not written yet"))
}

/// The newest manifest.
///
/// # Errors
/// What the bucket says; `Corrupt` when the newest manifest is damaged.
pub async fn ls(_bucket: &Bucket) -> Result<Listing> {
    Err(Error::internal("not written yet"))
}
