//! The collector: deletes what no live snapshot can see, and nothing else.
//!
//! ```text
//! time ──────────────────────────────────────────────────────────────▶ now
//! manifests   1   2   3 │ 4   5   6   7                 replaced longer than snapshot_retention ago: deleted, oldest first
//! objects     named by a kept manifest: kept            named by none: deleted once older than grace
//! ```
//!
//! In this order: list the objects; then read the kept manifests, the newest last known included; then delete the older
//! manifests, the lowest number first; then the objects.
//!
//! Why nothing is lost:
//! - A snapshot is of a manifest that was the newest at most `snapshot_retention` ago, if its process looks for news that
//!   often; its objects are named by a kept manifest.
//! - An object that no manifest names yet is younger than the grace period, or its commit is refused: a segment may be
//!   committed at most six hours after it was made (`UPLOAD_AGE_MAX`), the grace period is at least twelve. The other six
//!   are for a request on its way and for clocks that differ. An object's age is that of its id or that of the object in
//!   the bucket, whichever is less.
//! - The manifests are read after the listing, so a segment that was committed meanwhile is named.
//! - Manifests are deleted from the first one on and never the newest: a process that finds the version it knows, and no
//!   next one, has the newest; one that does not find the version it knows starts from a listing.
//!
//! Of debug information, which no manifest names, files and claims go that nothing beside them names ([`debuginfo`]).
//!
//! Left alone: WAL objects, which their writer deletes, and whatever else is not ours. A collector that is cut short, or
//! runs beside another, leaves the rest to the next.

mod debuginfo;

use std::collections::HashSet;
use std::time::Duration;

use flamestore_model::{Error, Result, SegmentId};
use flamestore_segment::Table;
use futures::{StreamExt, TryStreamExt, stream};

use crate::bucket::{Bucket, ObjectEntry};
use crate::commit::{self, UPLOAD_AGE_MAX};
use crate::key::ObjectKey;
use crate::{Clock, metric};
use debuginfo::DebuginfoObjects;

/// Objects deleted at one time.
const DELETES_MAX: usize = 8;
/// The least time that replaced manifests are kept: no request takes as long.
const SNAPSHOT_RETENTION_MIN: Duration = Duration::from_secs(900);

/// When things may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectorPolicy {
    /// How old an object must be that no manifest names: at least twelve hours.
    pub grace: Duration,
    /// How long a manifest, and what it names, is kept after it was replaced: longer than any query takes, at least 15
    /// minutes.
    pub snapshot_retention: Duration,
}

impl Default for CollectorPolicy {
    fn default() -> Self {
        Self { grace: Duration::from_secs(86_400), snapshot_retention: Duration::from_secs(3600) }
    }
}

impl CollectorPolicy {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// `Invalid`, naming the setting and the least value it may have.
    pub fn check(&self) -> Result<()> {
        for (name, value, least) in [
            ("grace", self.grace, UPLOAD_AGE_MAX * 2),
            ("snapshot_retention", self.snapshot_retention, SNAPSHOT_RETENTION_MIN),
        ] {
            if value < least {
                return Err(Error::invalid(format!("collector: {name} is too short to be safe"))
                    .with("value", format!("{value:?}"))
                    .with("least", format!("{least:?}")));
            }
        }
        Ok(())
    }
}

/// Whether something is done or only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is done.
    Delete,
    /// Nothing is changed; the report tells what would be.
    DryRun,
}

/// What a collection deleted, or would delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// The newest manifest's version.
    pub version: u64,
    /// Old manifests deleted.
    pub manifests: usize,
    /// Other objects deleted.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that no manifest names and that are too young to be deleted.
    pub young: usize,
    /// Objects that are not ours to judge.
    pub foreign: usize,
}

/// An object of ours that may be garbage.
struct Candidate {
    object: ObjectEntry,
    segment: Option<(SegmentId, Table)>,
    /// When it was made, as its name says; 0 where it does not.
    named_unix_millis: u64,
}

/// Deletes what no live snapshot can see.
pub(crate) async fn collect(
    bucket: &Bucket,
    policy: &CollectorPolicy,
    clock: &dyn Clock,
    mode: Mode,
) -> Result<CollectReport> {
    let now = clock.now_unix_nano();
    let mut report = CollectReport::default();
    let known = Kept::read(bucket, policy, now).await?;
    let candidates = candidates(bucket, &known, &mut report).await?;
    let kept = Kept::read(bucket, policy, now).await?;
    report.version = kept.newest;
    report.manifests = kept.replaced.len();
    if mode == Mode::Delete {
        for version in &kept.replaced {
            bucket.delete(&ObjectKey::Manifest(*version).to_string()).await?;
        }
    }
    let oldest = now.saturating_sub(nanos(policy.grace));
    let mut garbage = Vec::new();
    for candidate in candidates.into_iter().filter(|candidate| !kept.names(candidate.segment)) {
        match candidate.made_unix_nano() < oldest {
            true => garbage.push(candidate.object),
            false => report.young += 1,
        }
    }
    report.objects = garbage.len();
    report.bytes = garbage.iter().map(|object| object.bytes).sum();
    if mode == Mode::Delete {
        let deletes = garbage.into_iter().map(|object| async move { bucket.delete(&object.path).await });
        stream::iter(deletes).buffer_unordered(DELETES_MAX).try_collect::<()>().await?;
        metrics::counter!(metric::names::COLLECTED_OBJECTS).increment((report.objects + report.manifests) as u64);
    }
    Ok(report)
}

/// The objects of ours that no kept manifest names.
async fn candidates(bucket: &Bucket, kept: &Kept, report: &mut CollectReport) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    let mut debuginfo = DebuginfoObjects::default();
    let mut objects = std::pin::pin!(bucket.walk());
    while let Some(object) = objects.try_next().await? {
        let segment = match object.path.parse() {
            Ok(ObjectKey::Segment { id, table, .. }) => Some((id, table)),
            Ok(ObjectKey::Probe(_)) => None,
            Ok(ObjectKey::Debuginfo { key, part }) => {
                debuginfo.add(key, part, object);
                continue;
            }
            // a log deletes its own objects: only its writer knows which are published
            Ok(ObjectKey::Manifest(_) | ObjectKey::Wal { .. }) => continue,
            Err(_) => {
                report.foreign += 1;
                continue;
            }
        };
        if !kept.names(segment) {
            let millis = segment.map_or(0, |(id, _)| id.unix_millis());
            candidates.push(Candidate { segment, ..Candidate::of(object, millis) });
        }
    }
    candidates.extend(debuginfo.unnamed(bucket).await?);
    Ok(candidates)
}

impl Candidate {
    /// An object that is of no segment.
    fn of(object: ObjectEntry, named_unix_millis: u64) -> Self {
        Self { object, segment: None, named_unix_millis }
    }

    fn made_unix_nano(&self) -> i64 {
        let named = i64::try_from(self.named_unix_millis).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        named.max(self.object.modified_unix_nano)
    }
}

/// The manifests that are kept and what they name.
struct Kept {
    newest: u64,
    /// The versions below, by number.
    replaced: Vec<u64>,
    named: HashSet<(SegmentId, Table)>,
}

impl Kept {
    /// Reads the manifests that were the newest within the last `snapshot_retention`.
    async fn read(bucket: &Bucket, policy: &CollectorPolicy, now: i64) -> Result<Self> {
        let mut versions = commit::versions(bucket).await?;
        versions.sort_unstable();
        let mut kept =
            Self { newest: versions.last().copied().unwrap_or(0), replaced: Vec::new(), named: HashSet::new() };
        let kept_from = now.saturating_sub(nanos(policy.snapshot_retention));
        while let Some(version) = versions.pop() {
            let manifest = commit::read(bucket, version).await?;
            for entry in &manifest.segments {
                kept.named.extend(entry.tables.iter().map(|table| (entry.id, table.table)));
            }
            // the versions below were replaced when this one was made, or before
            if manifest.created_unix_nano < kept_from {
                break;
            }
        }
        kept.replaced = versions;
        Ok(kept)
    }

    fn names(&self, segment: Option<(SegmentId, Table)>) -> bool {
        segment.is_some_and(|segment| self.named.contains(&segment))
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
