//! Segments as they lie in the bucket, and the manifest entries their own tables make.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_model::{ErrorKind, ProfileId, Result, SegmentId, Tenant};
use flamestore_segment::{SegmentFacts, Table, TableFacts, inspect};

use crate::flush::blocking;
use crate::manifest::{SegmentEntry, SegmentSource, TableEntry};
use crate::tools::check::Problem;
use crate::{Bucket, Day, ObjectEntry, ObjectKey};

/// The objects of a segment that no manifest describes.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) id: SegmentId,
    pub(super) tenant: Tenant,
    pub(super) day: Day,
    tables: BTreeMap<Table, u64>,
}

/// A whole segment.
#[derive(Clone, Debug)]
pub(super) struct Inspected {
    pub(super) entry: Arc<SegmentEntry>,
    /// Sorted.
    pub(super) profiles: Vec<(ProfileId, u32)>,
    /// Whether the manifest that is built on names it.
    pub(super) is_named: bool,
}

/// The segments that `objects` are tables of; other objects are left aside.
pub(super) fn candidates(objects: Vec<ObjectEntry>) -> Vec<Candidate> {
    let mut found: BTreeMap<(Tenant, Day, SegmentId), BTreeMap<Table, u64>> = BTreeMap::new();
    for object in objects {
        if let Ok(ObjectKey::Segment { tenant, table, day, id }) = object.path.parse() {
            found.entry((tenant, day, id)).or_default().insert(table, object.bytes);
        }
    }
    found.into_iter().map(|((tenant, day, id), tables)| Candidate { id, tenant, day, tables }).collect()
}

impl Candidate {
    pub(super) fn bytes(&self) -> u64 {
        self.tables.values().sum()
    }

    /// When it was made, as its id tells.
    pub(super) fn made_unix_nano(&self) -> i64 {
        let millis = self.id.as_bytes()[..6].iter().fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
        millis.saturating_mul(1_000_000)
    }

    fn key(&self, table: Table) -> ObjectKey {
        ObjectKey::Segment { tenant: self.tenant.clone(), table, day: self.day, id: self.id }
    }
}

/// Reads all of a segment, verifies it, and makes its entry.
///
/// # Errors
/// The outer one when the bucket cannot be reached; the inner one is what is wrong with the segment.
pub(super) async fn inspect_candidate(
    bucket: &Bucket,
    candidate: &Candidate,
) -> Result<std::result::Result<Inspected, Vec<Problem>>> {
    let needed = Table::ALL.into_iter().filter(|table| !table.may_be_absent());
    let missing: Vec<Problem> = needed
        .filter(|table| !candidate.tables.contains_key(table))
        .map(|table| Problem::new(candidate.key(table), "the object is missing: the segment was never whole"))
        .collect();
    if !missing.is_empty() {
        return Ok(Err(missing));
    }
    let mut tables: Vec<(Table, Bytes)> = Vec::new();
    for table in candidate.tables.keys() {
        tables.push((*table, bucket.read(&candidate.key(*table).to_string()).await?));
    }
    let facts = match blocking(move || inspect(tables)).await {
        Ok(facts) => facts,
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
            return Ok(Err(vec![Problem::new(candidate.id, error)]));
        }
        Err(error) => return Err(error),
    };
    let entry = entry(candidate, &facts);
    if facts.profiles.is_empty() && Day::of(entry.time_max) != candidate.day {
        let what = "it repeats days of other segments as sums, and is made anew from them";
        return Ok(Err(vec![Problem::new(candidate.id, what)]));
    }
    Ok(match entry.wrong() {
        None => Ok(Inspected { entry: Arc::new(entry), profiles: facts.profiles, is_named: false }),
        Some(what) => Err(vec![Problem::new(candidate.id, what)]),
    })
}

/// The entry of a segment. Its tables do not say how often it was merged and who made it: it counts as fresh, brought in whole.
fn entry(candidate: &Candidate, facts: &SegmentFacts) -> SegmentEntry {
    let meta = &facts.meta;
    let table = |facts: &TableFacts| TableEntry {
        table: facts.table,
        bytes: facts.bytes,
        rows: facts.rows,
        footer_bytes: facts.footer_bytes,
        checksum: facts.checksum,
    };
    SegmentEntry {
        id: candidate.id,
        tenant: candidate.tenant.clone(),
        day: candidate.day,
        level: 0,
        source: SegmentSource::Import,
        time_min: meta.time_min,
        time_max: meta.time_max,
        profile_types: meta.profile_types.clone(),
        services: meta.services.clone(),
        tables: facts.tables.iter().map(table).collect(),
        sample_rows: meta.sample_rows,
        profile_rows: meta.profile_rows,
        series: meta.series,
        stacks: meta.stacks,
        observed_bytes: meta.observed_bytes,
        created_unix_nano: candidate.made_unix_nano(),
        writer: super::WRITER.to_owned(),
        writer_epoch: 0,
        format_version: meta.format_version,
        covers: Vec::new(),
    }
}
