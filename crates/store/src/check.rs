//! Looks at a bucket without opening it as a store: nothing is written, so it is safe beside a running one.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_model::Result;
use flamestore_segment::{Table, read_everything};
use xxhash_rust::xxh3::xxh3_64;

use crate::flush::blocking;
use crate::manifest::{SegmentEntry, TableEntry};
use crate::{Bucket, Manifest, ObjectEntry, ObjectKey, commit};

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The newest manifest's version; 0 where there is none.
    pub version: u64,
    /// Live segments.
    pub segments: usize,
    /// Tables read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows of `profiles` in live segments: source profiles times their sample types.
    pub profile_rows: u64,
    /// Rows of `samples` in live segments.
    pub sample_rows: u64,
    /// What is wrong; empty for a sound store.
    pub problems: Vec<Problem>,
    /// Objects that nothing refers to: left by crashes, or just being uploaded; harmless.
    pub garbage: Vec<ObjectEntry>,
}

/// Something wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object, or the segment for what several of its objects do not agree on.
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

/// The newest manifest.
///
/// # Errors
/// What the bucket says; `Corrupt` when the newest manifest is damaged.
pub async fn ls(bucket: &Bucket) -> Result<Listing> {
    let versions = commit::versions(bucket).await?;
    let manifest = match versions.iter().max() {
        Some(version) => Arc::new(commit::read(bucket, *version).await?),
        None => Arc::default(),
    };
    Ok(Listing { manifest, versions: versions.len() })
}

/// Reads every object the newest manifest names and checks it: size, checksum, and every row. One segment is in memory
/// at a time.
///
/// # Errors
/// What the bucket says when it cannot be listed; `Corrupt` when the newest manifest is damaged. What is wrong with
/// segments is in the report.
pub async fn check(bucket: &Bucket) -> Result<CheckReport> {
    // the objects first: what a flush uploads meanwhile is then neither missing nor garbage
    let objects = bucket.list("", None).await?;
    let manifest = ls(bucket).await?.manifest;
    let objects = objects.into_iter().map(|object| (object.path.clone(), object));
    let mut unnamed: HashMap<String, ObjectEntry> = objects.collect();
    unnamed.retain(|path, _| !matches!(path.parse(), Ok(ObjectKey::Manifest(_) | ObjectKey::Wal { .. })));
    let mut report = CheckReport { version: manifest.version, ..CheckReport::default() };
    for entry in &manifest.segments {
        report.check_segment(bucket, entry).await?;
        for table in &entry.tables {
            unnamed.remove(&entry.key(table.table).to_string());
        }
    }
    report.garbage = unnamed.into_values().collect();
    report.garbage.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(report)
}

impl CheckReport {
    async fn check_segment(&mut self, bucket: &Bucket, entry: &Arc<SegmentEntry>) -> Result<()> {
        self.segments += 1;
        self.profile_rows += entry.profile_rows;
        self.sample_rows += entry.sample_rows;
        let problems = self.problems.len();
        let mut tables: Vec<(Table, Bytes)> = Vec::new();
        for table in Table::ALL {
            let path = entry.key(table).to_string();
            let Some(expected) = entry.table(table) else {
                if table.may_be_absent() {
                    continue;
                }
                self.problem(&path, "the manifest does not name this table".to_owned());
                continue;
            };
            match bucket.read(&path).await {
                Ok(bytes) => {
                    self.objects += 1;
                    self.bytes += bytes.len() as u64;
                    match differs(expected, &bytes) {
                        None => tables.push((table, bytes)),
                        Some(what) => self.problem(&path, what),
                    }
                }
                Err(error) => self.problem(&path, error.to_string()),
            }
        }
        if self.problems.len() == problems
            && let Err(error) = blocking(move || read_everything(tables)).await
        {
            self.problem(&entry.id.to_string(), error.to_string());
        }
        Ok(())
    }

    fn problem(&mut self, object: &str, what: String) {
        self.problems.push(Problem { object: object.to_owned(), what });
    }
}

fn differs(expected: &TableEntry, bytes: &Bytes) -> Option<String> {
    if bytes.len() as u64 != expected.bytes {
        return Some(format!("has {} bytes, expected {}", bytes.len(), expected.bytes));
    }
    let (found, expected) = (xxh3_64(bytes), expected.checksum);
    (found != expected).then(|| format!("checksum {found:016x}, expected {expected:016x}"))
}
