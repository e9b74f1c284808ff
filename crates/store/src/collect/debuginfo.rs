//! Which objects of debug information are garbage: files that do not count, and claims of uploads that never ended.
//!
//! A file counts from the moment `uploaded` names it, at most a quarter of an hour after its upload began. So what is older than
//! the grace period and is not named never will be. Nothing is read for a build that has one file, which is the one that counts.

use std::collections::HashMap;

use flamestore_model::{ErrorKind, Result};

use super::Candidate;
use crate::bucket::{Bucket, ObjectEntry};
use crate::debuginfo::{DebuginfoKey, Record, slot_unix_millis};
use crate::key::{DebuginfoPart, ObjectKey};

/// The objects of a listing, by what they tell of.
#[derive(Default)]
pub(super) struct DebuginfoObjects(HashMap<DebuginfoKey, Objects>);

#[derive(Default)]
struct Objects {
    is_uploaded: bool,
    files: Vec<Candidate>,
    claims: Vec<Candidate>,
}

impl DebuginfoObjects {
    pub(super) fn add(&mut self, key: DebuginfoKey, part: DebuginfoPart, object: ObjectEntry) {
        let objects = self.0.entry(key).or_default();
        match part {
            DebuginfoPart::Uploaded => objects.is_uploaded = true,
            DebuginfoPart::File(id) => objects.files.push(Candidate::of(object, id.unix_millis())),
            DebuginfoPart::Claim(slot) => objects.claims.push(Candidate::of(object, slot_unix_millis(slot))),
        }
    }

    /// Those that nothing names.
    pub(super) async fn unnamed(self, bucket: &Bucket) -> Result<Vec<Candidate>> {
        let mut unnamed = Vec::new();
        for (key, objects) in self.0 {
            unnamed.extend(objects.claims);
            match (objects.is_uploaded, objects.files.len()) {
                (false, _) => unnamed.extend(objects.files),
                (true, 0 | 1) => {}
                (true, _) => {
                    let Some(named) = named(bucket, &key).await? else { continue };
                    unnamed.extend(objects.files.into_iter().filter(|file| file.object.path != named));
                }
            }
        }
        Ok(unnamed)
    }
}

/// The file that counts; none where nobody can tell.
async fn named(bucket: &Bucket, key: &DebuginfoKey) -> Result<Option<String>> {
    let path = |part| ObjectKey::Debuginfo { key: key.clone(), part }.to_string();
    let uploaded = path(DebuginfoPart::Uploaded);
    let read = bucket.read(&uploaded).await;
    match read.and_then(|bytes| Record::from_bytes(&uploaded, &bytes)?.upload()) {
        Ok(id) => Ok(Some(path(DebuginfoPart::File(id)))),
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Invalid) => {
            tracing::warn!(%error, "files of debug information are kept, as none of them is known to count");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
