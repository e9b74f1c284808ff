//! Brings back a store whose manifest or segments are damaged, by committing one manifest version that names what is whole.
//!
//! ```text
//! newest manifest that can be read ─▶ its segments ───────────┐
//! objects in the bucket ─▶ whole segments it does not name ───┴▶ verify ─▶ no profile twice ─▶ one new version
//! ```
//!
//! Which segments that are not named may come back:
//!
//! | newest manifest | without `rebuild` | with |
//! |---|---|---|
//! | can be read | none: what it does not name was merged, deleted, or never committed | all |
//! | damaged, an older one can be read | those made since the older one | all |
//! | none can be read | all | all |
//!
//! Nothing is moved, overwritten or deleted: segments that are left out stay as objects that no manifest names, until the
//! collector takes them. Every known writer's epoch is raised, so a store that runs meanwhile notices at its next commit and
//! stops. Whole segments are in memory one at a time, the profile ids of one day of a tenant all at once.

mod find;
mod overlap;

use std::collections::BTreeMap;
use std::sync::Arc;

use flamestore_model::{Error, ErrorKind, Result, SegmentId, Tenant};

use super::Progress;
use super::check::{Problem, read_whole};
use crate::bucket::Created;
use crate::commit;
use crate::manifest::{SegmentEntry, WriterState};
use crate::{Bucket, Clock, Day, Entropy, Manifest, ObjectKey};
use find::{Candidate, Inspected};
use overlap::Judged;

/// The name in the manifest versions that a repair makes.
const WRITER: &str = "store repair";

/// The writer a store has unless named otherwise: its epoch is raised also where no manifest tells of it.
const DEFAULT_WRITER: &str = "flamestore";

/// How to repair.
pub struct RepairOptions {
    /// Take in every whole segment in the bucket, also where the newest manifest can be read.
    pub rebuild: bool,
    /// Say what would be done and write nothing.
    pub dry_run: bool,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Random bits of the commit.
    pub entropy: Arc<Entropy>,
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was named, is whole, and stays.
    Kept,
    /// It was not named and is now.
    Restored,
    /// It is not whole, and no longer named.
    Damaged(Vec<Problem>),
    /// All its profiles are in others that are named: it was merged.
    Superseded(Vec<SegmentId>),
    /// Some of its profiles are in others, so it would count them twice; `lost` are in no other.
    Overlaps {
        /// The others.
        with: Vec<SegmentId>,
        /// Profiles that are in no segment that is named.
        lost: usize,
    },
}

/// A segment that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub id: SegmentId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The day of its profiles.
    pub day: Day,
    /// The bytes of its objects.
    pub bytes: u64,
    /// What became of it.
    pub verdict: Verdict,
}

/// What [`repair`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// The version that was built on; `None` where none can be read.
    pub base: Option<u64>,
    /// Manifest versions newer than it that are damaged.
    pub manifests: Vec<Problem>,
    /// The segments, by tenant, day and id.
    pub segments: Vec<Found>,
    /// Whether there is anything to mend.
    pub needed: bool,
    /// The version that was committed; `None` when there was nothing to do, or only to be said.
    pub committed: Option<u64>,
}

/// Finds what is whole and commits a manifest that names it, if the newest one does not.
///
/// # Errors
/// What the bucket says; `Invalid`, and nothing is touched, when a newer Flamestore wrote a manifest; `Conflict` when a store
/// committed meanwhile.
pub async fn repair(bucket: &Bucket, options: &RepairOptions, progress: Progress<'_>) -> Result<RepairReport> {
    let mut versions = commit::versions(bucket).await?;
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let (base, manifests) = newest_readable(bucket, &versions).await?;
    let mut report =
        RepairReport { base: base.as_ref().map(|base| base.version), manifests, ..RepairReport::default() };
    let unnamed = unnamed(bucket, base.as_ref(), options.rebuild, !report.manifests.is_empty()).await?;
    let base = base.unwrap_or_default();
    let mut days: BTreeMap<(Tenant, Day), OfDay> = BTreeMap::new();
    for entry in &base.segments {
        days.entry((entry.tenant.clone(), entry.day)).or_default().named.push(Arc::clone(entry));
    }
    for candidate in unnamed {
        days.entry((candidate.tenant.clone(), candidate.day)).or_default().unnamed.push(candidate);
    }
    let total = days.values().map(OfDay::bytes).sum();
    let mut work = Work { bucket, progress, done: 0, total, segments: Vec::new() };
    for of_day in days.into_values() {
        work.day(of_day, &mut report).await?;
    }
    let segments = work.segments;
    let ids = |segments: &[Arc<SegmentEntry>]| segments.iter().map(|entry| entry.id).collect::<Vec<_>>();
    let mut mended = Manifest { segments, ..Manifest::default() };
    mended.sort();
    report.needed = !report.manifests.is_empty() || ids(&mended.segments) != ids(&base.segments);
    if report.needed && !options.dry_run {
        let newest = versions.first().copied().unwrap_or(0);
        report.committed = Some(publish(bucket, options, newest, &base, mended).await?);
    }
    Ok(report)
}

/// The newest version that can be read, and what is wrong with those after it.
async fn newest_readable(bucket: &Bucket, versions: &[u64]) -> Result<(Option<Manifest>, Vec<Problem>)> {
    let mut problems = Vec::new();
    for version in versions {
        match commit::read(bucket, *version).await {
            Ok(manifest) => return Ok((Some(manifest), problems)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                problems.push(Problem::new(ObjectKey::Manifest(*version), error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((None, problems))
}

/// Segments in the bucket that `base` does not name and that may come back.
async fn unnamed(
    bucket: &Bucket,
    base: Option<&Manifest>,
    rebuild: bool,
    newest_is_damaged: bool,
) -> Result<Vec<Candidate>> {
    let since = match base {
        // a later version may name what was made before this one, as long as an upload may wait for its commit
        Some(base) if !rebuild && newest_is_damaged => {
            base.created_unix_nano.saturating_sub(i64::try_from(commit::UPLOAD_AGE_MAX.as_nanos()).unwrap_or(i64::MAX))
        }
        Some(_) if !rebuild => return Ok(Vec::new()),
        _ => i64::MIN,
    };
    let mut candidates = find::candidates(bucket.list("", None).await?);
    candidates.retain(|candidate| {
        candidate.made_unix_nano() >= since && base.is_none_or(|base| base.segment(candidate.id).is_none())
    });
    Ok(candidates)
}

/// The segments of one day of one tenant.
#[derive(Default)]
struct OfDay {
    named: Vec<Arc<SegmentEntry>>,
    unnamed: Vec<Candidate>,
}

impl OfDay {
    fn bytes(&self) -> u64 {
        let named = self.named.iter().map(|entry| entry.bytes()).sum::<u64>();
        named + self.unnamed.iter().map(Candidate::bytes).sum::<u64>()
    }
}

struct Work<'a> {
    bucket: &'a Bucket,
    progress: Progress<'a>,
    done: u64,
    total: u64,
    /// What the new version names.
    segments: Vec<Arc<SegmentEntry>>,
}

impl Work<'_> {
    /// Looks at all segments of one day of one tenant.
    async fn day(&mut self, of_day: OfDay, report: &mut RepairReport) -> Result<()> {
        let OfDay { named, unnamed } = of_day;
        let mut whole: Vec<Inspected> = Vec::new();
        let mut found: Vec<Found> = Vec::new();
        for entry in named {
            self.looked_at(entry.bytes());
            match read_whole(self.bucket, &entry).await? {
                Ok(facts) => whole.push(Inspected { entry, profiles: facts.profiles, is_named: true }),
                Err(problems) => found.push(verdict(&entry, Verdict::Damaged(problems))),
            }
        }
        for candidate in unnamed {
            self.looked_at(candidate.bytes());
            match find::inspect_candidate(self.bucket, &candidate).await? {
                Ok(inspected) => whole.push(inspected),
                Err(problems) => found.push(Found {
                    id: candidate.id,
                    tenant: candidate.tenant.clone(),
                    day: candidate.day,
                    bytes: candidate.bytes(),
                    verdict: Verdict::Damaged(problems),
                }),
            }
        }
        for (inspected, judged) in overlap::judge(whole) {
            let entry = inspected.entry;
            found.push(match judged {
                Judged::In if inspected.is_named => verdict(&entry, Verdict::Kept),
                Judged::In => verdict(&entry, Verdict::Restored),
                Judged::Superseded(by) => verdict(&entry, Verdict::Superseded(by)),
                Judged::Overlaps { with, lost } => verdict(&entry, Verdict::Overlaps { with, lost }),
            });
            if matches!(found.last().map(|found| &found.verdict), Some(Verdict::Kept | Verdict::Restored)) {
                self.segments.push(entry);
            }
        }
        found.sort_by_key(|found| found.id);
        report.segments.extend(found);
        Ok(())
    }

    fn looked_at(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done, self.total);
    }
}

fn verdict(entry: &SegmentEntry, verdict: Verdict) -> Found {
    let (tenant, day) = (entry.tenant.clone(), entry.day);
    Found { id: entry.id, tenant, day, bytes: entry.bytes(), verdict }
}

/// Creates the version after `newest`.
async fn publish(
    bucket: &Bucket,
    options: &RepairOptions,
    newest: u64,
    base: &Manifest,
    mut mended: Manifest,
) -> Result<u64> {
    let now = options.clock.now_unix_nano();
    mended.version = newest + 1;
    mended.nonce = options.entropy.next_u128();
    mended.writer = WRITER.to_owned();
    mended.created_unix_nano = now;
    mended.writers = base.writers.clone();
    for state in mended.writers.values_mut() {
        *state = state.clone().claimed(state.wal);
    }
    // with no manifest to tell, an epoch that no store has reached by being opened
    let unknown = WriterState { epoch: u64::try_from(now / 1_000_000_000).unwrap_or(1), ..WriterState::default() };
    mended.writers.entry(DEFAULT_WRITER.to_owned()).or_insert(unknown);
    let path = ObjectKey::Manifest(mended.version).to_string();
    let created = bucket.create(&path, mended.to_bytes()).await;
    if let Ok(Created::New) = created {
        return Ok(mended.version);
    }
    match (commit::read(bucket, mended.version).await, created) {
        (Ok(found), _) if found.nonce == mended.nonce => Ok(mended.version),
        (_, Err(error)) => Err(error),
        _ => Err(Error::conflict("a store committed while it was being repaired: stop it and repair again")
            .with("object", path)),
    }
}
