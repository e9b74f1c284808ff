//! The commit: a change becomes the next manifest version, or is rebased on what others committed meanwhile.
//!
//! ```text
//! base ──apply──▶ version n+1 ──create──▶ created: done
//!  ▲                                └───▶ exists: ours by its nonce? done. Otherwise base = newest, try again
//! ```
//!
//! Holds always: a version is created, never replaced. A change is applied once: a flush by its number, which the manifest
//! keeps per writer, so a commit whose answer was lost is recognised even after its segments were merged away. A writer
//! whose epoch is not the newest under its name cannot commit.

use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, ErrorKind, Result, SegmentId};

use crate::bucket::{Bucket, Created};
use crate::key::ObjectKey;
use crate::manifest::{Manifest, SegmentEntry};
use crate::wal::Published;
use crate::{Clock, Entropy, metric};

/// How often one commit is rebased before it gives up.
const ATTEMPTS_MAX: u32 = 100;
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// How old the objects of a segment may be when they are committed. Older ones may be collected: they have to be uploaded
/// anew. The collector's grace period is at least twice as long.
pub(crate) const UPLOAD_AGE_MAX: Duration = Duration::from_secs(6 * 3600);

/// A change to what exists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// Segments that come into being; their objects are uploaded.
    pub(crate) add: Vec<Arc<SegmentEntry>>,
    /// Segments that cease to be.
    pub(crate) remove: Vec<SegmentId>,
    /// The number of the flush this is.
    pub(crate) flush: Option<u64>,
}

/// Commits for one writer in one epoch, or for whoever tends the store and needs none.
#[derive(Clone)]
pub(crate) struct Committer {
    bucket: Bucket,
    writer: String,
    /// `None` for changes that stand for themselves: they replace segments, and of two that replace the same one loses.
    epoch: Option<u64>,
    clock: Arc<dyn Clock>,
    entropy: Arc<Entropy>,
}

/// An epoch that was claimed.
pub(crate) struct Claimed {
    pub(crate) committer: Committer,
    /// The newest manifest.
    pub(crate) manifest: Arc<Manifest>,
    /// What is published of the log that the epoch goes on with.
    pub(crate) published: Published,
}

/// The version numbers in the bucket, without order.
pub(crate) async fn versions(bucket: &Bucket) -> Result<Vec<u64>> {
    let entries = bucket.list_folder(ObjectKey::MANIFESTS).await?;
    Ok(entries.iter().filter_map(|entry| version(&entry.path)).collect())
}

fn version(path: &str) -> Option<u64> {
    match path.parse() {
        Ok(ObjectKey::Manifest(version)) => Some(version),
        _ => None,
    }
}

/// One version.
pub(crate) async fn read(bucket: &Bucket, version: u64) -> Result<Manifest> {
    Manifest::from_bytes(version, &bucket.read(&ObjectKey::Manifest(version).to_string()).await?)
}

/// The newest version; the empty manifest of version 0 where there is none.
pub(crate) async fn newest(bucket: &Bucket) -> Result<Arc<Manifest>> {
    match versions(bucket).await?.into_iter().max() {
        Some(version) => read(bucket, version).await.map(Arc::new),
        None => Ok(Arc::default()),
    }
}

/// The newest version, given one that is known: two small requests when nothing happened since.
///
/// The collector deletes old versions from the first one on. So `known` is the newest if the next one does not exist and,
/// looked at afterwards, `known` still does.
pub(crate) async fn newer(bucket: &Bucket, known: &Arc<Manifest>) -> Result<Arc<Manifest>> {
    let next = match read(bucket, known.version + 1).await {
        Ok(next) => Arc::new(next),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match exists(bucket, known.version).await? {
                true => Ok(Arc::clone(known)),
                false => newest(bucket).await,
            };
        }
        Err(error) => return Err(error),
    };
    let after = ObjectKey::Manifest(next.version).to_string();
    let later = bucket.list(ObjectKey::MANIFESTS, Some(&after)).await?;
    match later.iter().filter_map(|entry| version(&entry.path)).max() {
        Some(version) => read(bucket, version).await.map(Arc::new),
        None => Ok(next),
    }
}

/// Whether `version` exists; version 0, the empty store, does as long as there is no other.
async fn exists(bucket: &Bucket, version: u64) -> Result<bool> {
    match version {
        0 => Ok(versions(bucket).await?.is_empty()),
        version => Ok(bucket.size(&ObjectKey::Manifest(version).to_string()).await?.is_some()),
    }
}

impl Committer {
    /// Claims the next epoch of `writer`, which fences whoever wrote under that name before; from now on it writes the log
    /// `wal`. `base` is the newest known.
    pub(crate) async fn claim(
        bucket: Bucket,
        base: Arc<Manifest>,
        (writer, wal): (String, u128),
        clock: Arc<dyn Clock>,
        entropy: Arc<Entropy>,
    ) -> Result<Claimed> {
        let mut this = Self { bucket, writer, epoch: None, clock, entropy };
        let writer = this.writer.clone();
        let claimed = this
            .advance(base, |manifest| {
                let state = manifest.writer_state(&writer).claimed(wal);
                manifest.writers.insert(writer.clone(), state);
                Ok(Step::Write)
            })
            .await?;
        // a later claim may stand already; ours is the one in the version we wrote, and the next commit will tell
        let state = claimed.written.writer_state(&this.writer);
        this.epoch = Some(state.epoch);
        Ok(Claimed { committer: this, manifest: claimed.newest, published: Published::of(&state, wal) })
    }

    /// A committer of changes that tend the store. It has no epoch, so it neither fences nor is fenced.
    pub(crate) fn tending(bucket: Bucket, writer: String, clock: Arc<dyn Clock>, entropy: Arc<Entropy>) -> Self {
        Self { bucket, writer, epoch: None, clock, entropy }
    }

    /// This writer's epoch; 0 without one.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.unwrap_or(0)
    }

    /// Whether these segments were uploaded not too long ago to be committed now.
    ///
    /// # Errors
    /// `Conflict`, naming a segment, when its objects may have been collected.
    pub(crate) fn check_age<'a>(&self, entries: impl IntoIterator<Item = &'a Arc<SegmentEntry>>) -> Result<()> {
        let oldest = self.clock.now_unix_nano().saturating_sub(nanos(UPLOAD_AGE_MAX));
        match entries.into_iter().find(|entry| entry.created_unix_nano < oldest) {
            None => Ok(()),
            Some(entry) => Err(Error::conflict("a segment waited too long for its commit and has to be uploaded anew")
                .with("segment", entry.id)
                .with("age_max", format!("{UPLOAD_AGE_MAX:?}"))),
        }
    }

    /// This writer's name.
    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }

    /// Whether `manifest` says that another store took over.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<()> {
        let newest = manifest.writer_state(&self.writer).epoch;
        match self.epoch {
            Some(epoch) if epoch != newest => {
                Err(Error::fenced("store: another store was opened under this writer's name")
                    .with("writer", &self.writer)
                    .with("epoch", epoch)
                    .with("newest_epoch", newest))
            }
            _ => Ok(()),
        }
    }

    /// The number of this writer's last committed flush, as `manifest` tells.
    pub(crate) fn flushes(&self, manifest: &Manifest) -> u64 {
        manifest.writer_state(&self.writer).flushes
    }

    /// Makes `change` part of the newest version and returns a version that has it. `base` is the newest known.
    ///
    /// # Errors
    /// `Fenced` when another store took over; `Conflict` when a removed segment is gone, an added one was uploaded too long
    /// ago, or the race was never won;
    /// otherwise what the bucket says, and then the change may be committed or not: try again with the same change.
    pub(crate) async fn commit(&self, base: Arc<Manifest>, change: &Change) -> Result<Arc<Manifest>> {
        let advanced = self
            .advance(base, |manifest| {
                self.check(manifest)?;
                if change.flush.is_some_and(|flush| self.flushes(manifest) >= flush) {
                    return Ok(Step::Done);
                }
                if change.flush.is_none() && is_applied(manifest, change) {
                    return Ok(Step::Done);
                }
                // an entry that replaces one of the same id names objects that were committed before
                let is_new = |entry: &&Arc<SegmentEntry>| !change.remove.contains(&entry.id);
                self.check_age(change.add.iter().filter(is_new))?;
                apply(manifest, change)?;
                if let (Some(flush), Some(state)) = (change.flush, manifest.writers.get_mut(&self.writer)) {
                    state.flushed(flush);
                }
                Ok(Step::Write)
            })
            .await?;
        Ok(advanced.newest)
    }

    async fn advance(&self, mut base: Arc<Manifest>, edit: impl Fn(&mut Manifest) -> Result<Step>) -> Result<Advanced> {
        // after a version that was collected, a version could be created that nobody ever reads
        if !exists(&self.bucket, base.version).await? {
            base = newest(&self.bucket).await?;
        }
        for attempt in 0..ATTEMPTS_MAX {
            let mut next = Manifest::clone(&base);
            if let Step::Done = edit(&mut next)? {
                return Ok(Advanced { written: Arc::clone(&base), newest: base });
            }
            next.version = base.version + 1;
            next.nonce = self.entropy.next_u128();
            next.writer.clone_from(&self.writer);
            next.created_unix_nano = self.clock.now_unix_nano();
            next.sort();
            let next = Arc::new(next);
            match self.create(&next).await? {
                Outcome::Won => return Ok(Advanced { newest: Arc::clone(&next), written: next }),
                Outcome::WonLater(newest) => return Ok(Advanced { newest, written: next }),
                Outcome::Lost(newest) => base = newest,
            }
            metrics::counter!(metric::names::COMMIT_CONFLICTS).increment(1);
            let wait = (Duration::from_millis(5) * 2u32.saturating_pow(attempt.min(10))).min(WAIT_MAX);
            self.clock.sleep(self.entropy.jitter(wait)).await;
        }
        Err(Error::conflict(format!("store: {ATTEMPTS_MAX} commits in a row lost against other writers")))
    }

    /// Creates the object of `next` and finds out whose it is.
    async fn create(&self, next: &Arc<Manifest>) -> Result<Outcome> {
        let path = ObjectKey::Manifest(next.version).to_string();
        let created = self.bucket.create(&path, next.to_bytes()).await;
        if let Ok(Created::New) = created {
            return Ok(Outcome::Won);
        }
        // taken, or no answer: the nonce tells whether it was this very call that made it
        match (read(&self.bucket, next.version).await, created) {
            (Ok(found), _) => {
                let ours = found.nonce == next.nonce;
                let newest = newer(&self.bucket, &Arc::new(found)).await?;
                Ok(if ours { Outcome::WonLater(newest) } else { Outcome::Lost(newest) })
            }
            (Err(_), Err(error)) => Err(error),
            (Err(error), Ok(_)) => Err(error),
        }
    }
}

/// What an edit decided.
enum Step {
    /// The edited manifest is to be written.
    Write,
    /// There is nothing to write.
    Done,
}

struct Advanced {
    written: Arc<Manifest>,
    newest: Arc<Manifest>,
}

enum Outcome {
    Won,
    WonLater(Arc<Manifest>),
    Lost(Arc<Manifest>),
}

/// Whether `change`, which is no flush, was made already: an answer was lost. Without a segment that it adds nobody can
/// tell.
fn is_applied(manifest: &Manifest, change: &Change) -> bool {
    !change.add.is_empty()
        && change.add.iter().all(|entry| manifest.segment(entry.id).is_some_and(|found| found == entry))
        && change
            .remove
            .iter()
            .all(|id| manifest.segment(*id).is_none() || change.add.iter().any(|entry| entry.id == *id))
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn apply(manifest: &mut Manifest, change: &Change) -> Result<()> {
    for id in &change.remove {
        let at = manifest.segments.iter().position(|entry| entry.id == *id);
        let at = at.ok_or_else(|| Error::conflict("a segment is gone").with("segment", id))?;
        manifest.segments.remove(at);
    }
    manifest.segments.extend(change.add.iter().cloned());
    Ok(())
}
