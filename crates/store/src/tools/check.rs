//! Checks what the newest manifest names: that it is there, whole, and what the format promises.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_model::{Error, ErrorKind, Result};
use flamestore_segment::{SegmentFacts, Table, inspect};
use xxhash_rust::xxh3::xxh3_64;

use super::debuginfo::check_debuginfo;
use super::{Progress, Readers};
use crate::flush::blocking;
use crate::manifest::{SegmentEntry, TableEntry};
use crate::{Bucket, Manifest, ObjectEntry, ObjectKey, commit};

/// How closely [`check_at`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Objects are there and as large as they should be, and their footers fit: a small request for each.
    Plain,
    /// All bytes: checksums, every row, references, order, totals.
    Deep,
}

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The newest manifest's version; 0 where there is none.
    pub version: u64,
    /// Live segments.
    pub segments: usize,
    /// Tables looked at.
    pub objects: u64,
    /// Their bytes, as the manifest says.
    pub bytes: u64,
    /// Rows of `profiles` in live segments: source profiles times their sample types.
    pub profile_rows: u64,
    /// Rows of `samples` in live segments.
    pub sample_rows: u64,
    /// Files of debug information.
    pub debuginfo_files: u64,
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
    /// What it should be, where that is a value.
    pub expected: Option<String>,
    /// What it is.
    pub found: Option<String>,
}

impl Problem {
    pub(super) fn new(object: impl ToString, what: impl ToString) -> Self {
        Self { object: object.to_string(), what: what.to_string(), expected: None, found: None }
    }

    pub(super) fn differs(object: impl ToString, what: &str, expected: impl ToString, found: impl ToString) -> Self {
        let (expected, found) = (Some(expected.to_string()), Some(found.to_string()));
        Self { expected, found, ..Self::new(object, what) }
    }
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
/// What the bucket says; `Corrupt` when the newest manifest is damaged; `Invalid` when a newer Flamestore wrote it.
pub async fn ls(bucket: &Bucket) -> Result<Listing> {
    let versions = commit::versions(bucket).await?;
    let manifest = match versions.iter().max() {
        Some(version) => Arc::new(commit::read(bucket, *version).await?),
        None => Arc::default(),
    };
    Ok(Listing { manifest, versions: versions.len() })
}

/// Reads and checks everything the newest manifest names: [`check_at`] in depth, telling nobody how far it has come.
///
/// # Errors
/// As [`check_at`].
pub async fn check(bucket: &Bucket) -> Result<CheckReport> {
    check_at(bucket, Depth::Deep, &|_, _| {}).await
}

/// Checks every object the newest manifest names, and debug information. One segment is in memory at a time when it is read whole.
///
/// # Errors
/// What the bucket says when it cannot be listed or reached; `Invalid` when a newer Flamestore wrote the newest manifest.
/// What is wrong, a damaged manifest included, is in the report.
pub async fn check_at(bucket: &Bucket, depth: Depth, progress: Progress<'_>) -> Result<CheckReport> {
    // the objects first: what a flush uploads meanwhile is then neither missing nor garbage
    let objects = bucket.list("", None).await?;
    let mut report = CheckReport::default();
    let manifest = match ls(bucket).await {
        Ok(listing) => listing.manifest,
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let newest = commit::versions(bucket).await?.into_iter().max().unwrap_or(0);
            report.problems.push(Problem::new(ObjectKey::Manifest(newest), error));
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let mut unnamed: HashMap<String, ObjectEntry> =
        objects.into_iter().map(|object| (object.path.clone(), object)).collect();
    unnamed.retain(|path, _| !matches!(path.parse(), Ok(ObjectKey::Manifest(_) | ObjectKey::Wal { .. })));
    report.version = manifest.version;
    let readers = Readers::new(bucket).await?;
    let total = manifest.segments.iter().map(|entry| entry.bytes()).sum();
    for entry in &manifest.segments {
        let sizes: Vec<Option<u64>> =
            entry.tables.iter().map(|t| unnamed.remove(&entry.key(t.table).to_string()).map(|o| o.bytes)).collect();
        report.count(entry);
        let problems = match depth {
            Depth::Plain => check_footers(&readers, entry, &sizes).await?,
            Depth::Deep => read_whole(bucket, entry).await?.err().unwrap_or_default(),
        };
        report.problems.extend(problems);
        progress(report.bytes, total);
    }
    let (files, problems) = check_debuginfo(bucket, &mut unnamed, depth).await?;
    report.debuginfo_files = files;
    report.problems.extend(problems);
    report.garbage = unnamed.into_values().collect();
    report.garbage.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(report)
}

impl CheckReport {
    fn count(&mut self, entry: &SegmentEntry) {
        self.segments += 1;
        self.objects += entry.tables.len() as u64;
        self.bytes += entry.bytes();
        self.profile_rows += entry.profile_rows;
        self.sample_rows += entry.sample_rows;
    }
}

/// Tables that every segment has and that the manifest does not name.
fn unnamed_tables(entry: &SegmentEntry) -> Vec<Problem> {
    let absent = Table::ALL.into_iter().filter(|table| !table.may_be_absent() && entry.table(*table).is_none());
    absent.map(|table| Problem::new(entry.key(table), "the manifest does not name this table")).collect()
}

async fn check_footers(readers: &Readers, entry: &Arc<SegmentEntry>, sizes: &[Option<u64>]) -> Result<Vec<Problem>> {
    let mut problems = unnamed_tables(entry);
    let reader = readers.reader(entry);
    for (table, size) in entry.tables.iter().zip(sizes) {
        let path = entry.key(table.table);
        match size {
            None => problems.push(Problem::new(path, "the object is missing")),
            Some(size) if *size != table.bytes => {
                problems.push(Problem::differs(path, "the size differs", table.bytes, size));
            }
            Some(_) => match reader.rows(table.table).await {
                Ok(rows) if rows == table.rows => {}
                Ok(rows) => problems.push(Problem::differs(path, "the number of rows differs", table.rows, rows)),
                Err(error) => problems.push(damage(path, error)?),
            },
        }
    }
    Ok(problems)
}

/// A problem, where the error is one of the object and not of reaching it.
fn damage(object: impl ToString, error: Error) -> Result<Problem> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::NotFound => Ok(Problem::new(object, error)),
        _ => Err(error),
    }
}

/// Reads all of a segment and verifies it, by its own rules and against what the manifest says.
///
/// # Errors
/// The outer one when the bucket cannot be reached; the inner one is what is wrong with the segment.
pub(super) async fn read_whole(
    bucket: &Bucket,
    entry: &Arc<SegmentEntry>,
) -> Result<std::result::Result<SegmentFacts, Vec<Problem>>> {
    let mut problems = unnamed_tables(entry);
    let mut tables: Vec<(Table, Bytes)> = Vec::new();
    for expected in &entry.tables {
        let path = entry.key(expected.table).to_string();
        match bucket.read(&path).await {
            Ok(bytes) => match differs(&path, expected, &bytes) {
                None => tables.push((expected.table, bytes)),
                Some(problem) => problems.push(problem),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                problems.push(Problem::new(path, "the object is missing"));
            }
            Err(error) => return Err(error),
        }
    }
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    match blocking(move || inspect(tables)).await {
        Ok(facts) => {
            let problems = disagreements(entry, &facts);
            Ok(if problems.is_empty() { Ok(facts) } else { Err(problems) })
        }
        Err(error) => Ok(Err(vec![damage(entry.id, error)?])),
    }
}

fn differs(path: &str, expected: &TableEntry, bytes: &Bytes) -> Option<Problem> {
    if bytes.len() as u64 != expected.bytes {
        return Some(Problem::differs(path, "the size differs", expected.bytes, bytes.len()));
    }
    let hex = |checksum: u64| format!("{checksum:016x}");
    let found = xxh3_64(bytes);
    (found != expected.checksum)
        .then(|| Problem::differs(path, "the checksum differs", hex(expected.checksum), hex(found)))
}

/// Where the manifest and the segment's own tables disagree.
fn disagreements(entry: &SegmentEntry, facts: &SegmentFacts) -> Vec<Problem> {
    let meta = &facts.meta;
    let mut problems = Vec::new();
    let mut compare = |what: &str, expected: String, found: String| {
        if expected != found {
            problems.push(Problem::differs(entry.id, what, expected, found));
        }
    };
    let list = |names: &[String]| format!("{names:?}");
    if meta.profile_rows > 0 {
        compare("the first time differs", entry.time_min.to_string(), meta.time_min.to_string());
        compare("the last time differs", entry.time_max.to_string(), meta.time_max.to_string());
    }
    compare("the profile types differ", list(&entry.profile_types), list(&meta.profile_types));
    compare("the services differ", list(&entry.services), list(&meta.services));
    // where the tables have expired, the entry tells what they once held
    if entry.table(Table::Samples).is_some() {
        compare("the number of samples differs", entry.sample_rows.to_string(), meta.sample_rows.to_string());
    }
    if entry.table(Table::Profiles).is_some() {
        compare("the number of profiles differs", entry.profile_rows.to_string(), meta.profile_rows.to_string());
    }
    compare("the number of series differs", entry.series.to_string(), meta.series.to_string());
    compare("the number of stacks differs", entry.stacks.to_string(), meta.stacks.to_string());
    for (named, found) in entry.tables.iter().zip(&facts.tables) {
        let what = format!("the number of rows of {} differs", named.table);
        compare(&what, named.rows.to_string(), found.rows.to_string());
        let what = format!("the length of the footer of {} differs", named.table);
        compare(&what, named.footer_bytes.to_string(), found.footer_bytes.to_string());
    }
    problems
}
