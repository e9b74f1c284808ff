//! Debug information of builds: files that agents upload, each once.
//!
//! ```text
//! <tenant>/debuginfo/<build>/<kind>/claim-<slot>       who uploads, since when
//!                                   <upload id>        a file
//!                                   uploaded           which file it is, how long, its checksum
//!
//! find ─▶ begin: claim created ─▶ open ─▶ write … ─▶ finish: the file is complete, `uploaded` created, claim deleted
//! ```
//!
//! Holds always: an object is created once and never changed. A file counts once `uploaded` names it, which is created after it;
//! so of several uploads of one build the first that ends counts. A claim is of the slot of [`UPLOAD_TIME_MAX`] in which it was
//! made, and stands for that long: of those who begin in one slot one succeeds, and whoever has claimed a slot looks at those
//! before and behind it, and lets go if there is a claim. So as long as clocks differ by less than a slot, one server uploads, or
//! none of two that began at the same time at the turn of a slot. If they differ more, two upload, and one counts.
//!
//! Bounds: a question costs one request to the bucket for what is there, four for what is not, none for what is remembered
//! ([`known`]); an upload holds about three parts of 8 MiB ([`parts`]) and ends in [`UPLOAD_TIME_MAX`]. Nothing is ever listed.
//!
//! What is left behind: an upload that fails deletes its parts and its claim. A process that dies leaves parts of objects, which
//! a rule of the bucket deletes; a claim, which becomes stale; or a file that nothing names. The collector deletes the last two.

mod known;
mod name;
mod parts;
mod record;
mod upload;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, ErrorKind, Result, UploadId};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::bucket::{Bucket, Created};
use crate::key::{DebuginfoPart, ObjectKey};
use crate::{Access, Clock, Entropy, StoreOptions};
use known::Known;
use upload::Running;

pub use name::{BuildName, DebuginfoKey, DebuginfoKind};
pub(crate) use record::Record;
pub use upload::DebuginfoUpload;

/// How long an upload may take. Then it is stale, and another one may begin.
pub const UPLOAD_TIME_MAX: Duration = Duration::from_secs(900);

/// Debug information in a bucket. Clones share it.
#[derive(Clone)]
pub struct Debuginfo(Arc<Inner>);

struct Inner {
    bucket: Bucket,
    access: Access,
    clock: Arc<dyn Clock>,
    entropy: Arc<Entropy>,
    known: Mutex<Known>,
    /// The uploads whose files this process is writing.
    running: Mutex<HashSet<UploadId>>,
    /// Ends of uploads, good and bad.
    tasks: TaskTracker,
}

/// What there is of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DebuginfoState {
    /// Nothing.
    Absent,
    /// An upload that did not end in its time.
    Stale,
    /// An upload that runs.
    InProgress,
    /// The file.
    Uploaded,
}

/// What a client says of a file before it uploads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebuginfoClaim {
    /// The build id, as it is.
    pub build_id: String,
    /// The number that the client's protocol has for where the build id is from.
    pub build_id_type: u32,
    /// What the client calls the file's hash: an agent's is of the executable, whatever it uploads of it.
    pub hash: String,
    /// How long the file is; 0 where it is not known.
    pub bytes: u64,
    /// Whether the file takes the place of what is there.
    pub force: bool,
}

/// What became of a wish to upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The upload may begin, under this id.
    New(UploadId),
    /// Somebody else uploads the file.
    InProgress,
    /// The file is there.
    Uploaded,
}

/// What became of an upload's first bytes.
#[derive(Debug)]
pub enum Opened {
    /// The file can be written.
    Upload(Box<DebuginfoUpload>),
    /// A file is there already.
    Uploaded,
    /// It began too long ago.
    Stale,
    /// It never began, or it has failed.
    Unknown,
}

/// What is known of an upload that is said to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The file is there, by this upload or by another.
    Uploaded,
    /// It began, and its file is not there.
    Unfinished,
    /// It never began, or it has failed.
    Unknown,
}

impl std::fmt::Debug for Debuginfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Debuginfo").field("bucket", &self.0.bucket).finish_non_exhaustive()
    }
}

impl Debuginfo {
    /// What is in the bucket of `options`.
    pub(crate) fn new(options: &StoreOptions) -> Self {
        Self(Arc::new(Inner {
            bucket: options.bucket.clone(),
            access: options.access,
            clock: Arc::clone(&options.clock),
            entropy: Arc::clone(&options.entropy),
            known: Mutex::default(),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// What there is of a file.
    ///
    /// # Errors
    /// What the bucket says.
    pub async fn find(&self, key: &DebuginfoKey) -> Result<DebuginfoState> {
        match self.0.is_uploaded(key).await? {
            true => Ok(DebuginfoState::Uploaded),
            false => {
                let slot = slot_of_time(self.0.clock.now_unix_nano());
                self.0.claimed(key, &[slot.saturating_sub(1), slot, slot + 1]).await
            }
        }
    }

    /// Claims the upload of a file.
    ///
    /// # Errors
    /// `Invalid` when the store only reads, and what the bucket says; then a claim may stand until it is stale.
    pub async fn begin(&self, key: &DebuginfoKey, claim: DebuginfoClaim) -> Result<Begun> {
        self.0.check_access()?;
        match self.find(key).await? {
            DebuginfoState::Uploaded if !claim.force => return Ok(Begun::Uploaded),
            DebuginfoState::InProgress => return Ok(Begun::InProgress),
            _ => {}
        }
        let now = self.0.clock.now_unix_nano();
        let id = UploadId::from_parts(u64::try_from(now / 1_000_000).unwrap_or_default(), self.0.entropy.next_u128());
        let force = claim.force;
        if !self.0.claim(key, id, claim, now).await? {
            return Ok(Begun::InProgress);
        }
        let begun = self.0.begun(key, id, force).await;
        if !matches!(begun, Ok(Begun::New(_))) {
            self.0.release(key, id).await;
        }
        begun
    }

    /// Opens the file of upload `id` for at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `Conflict` when it is being written; `Invalid` when the store only reads, and what the bucket says.
    pub async fn open(&self, key: &DebuginfoKey, id: UploadId, bytes_max: u64) -> Result<Opened> {
        self.0.check_access()?;
        let Some(claim) = self.0.claim_of(key, id).await? else {
            let is_uploaded = self.0.is_uploaded(key).await?;
            return Ok(if is_uploaded { Opened::Uploaded } else { Opened::Unknown });
        };
        if !is_live(&claim, self.0.clock.now_unix_nano()) {
            return Ok(Opened::Stale);
        }
        let twice = || Error::conflict("the same upload is under way").with("upload", id);
        let running = Running::enter(&self.0, id).ok_or_else(twice)?;
        Ok(Opened::Upload(Box::new(DebuginfoUpload::new(running, key.clone(), claim, bytes_max))))
    }

    /// Lets go of the claim of upload `id`, unless its file is being written here: the next one may begin at once.
    pub async fn abandon(&self, key: &DebuginfoKey, id: UploadId) {
        let is_running = self.0.running.lock().contains(&id);
        if !is_running {
            self.0.release(key, id).await;
        }
    }

    /// What became of upload `id`.
    ///
    /// # Errors
    /// What the bucket says.
    pub async fn ended(&self, key: &DebuginfoKey, id: UploadId) -> Result<Ended> {
        if self.0.is_uploaded(key).await? {
            return Ok(Ended::Uploaded);
        }
        let claim = self.0.claim_of(key, id).await?;
        Ok(if claim.is_some() { Ended::Unfinished } else { Ended::Unknown })
    }

    /// Waits until every upload that ended has ended in the bucket too.
    pub(crate) async fn settle(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Inner {
    fn path(&self, key: &DebuginfoKey, part: DebuginfoPart) -> String {
        ObjectKey::Debuginfo { key: key.clone(), part }.to_string()
    }

    fn check_access(&self) -> Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Error::invalid("store: takes no debug information: it was opened to be read")),
        }
    }

    async fn is_uploaded(&self, key: &DebuginfoKey) -> Result<bool> {
        if self.known.lock().contains(key) {
            return Ok(true);
        }
        let found = self.bucket.size(&self.path(key, DebuginfoPart::Uploaded)).await?.is_some();
        if found {
            self.known.lock().insert(key.clone());
        }
        Ok(found)
    }

    /// The record at `part`; none where there is no object.
    async fn read(&self, key: &DebuginfoKey, part: DebuginfoPart) -> Result<Option<Record>> {
        let path = self.path(key, part);
        match self.bucket.read(&path).await {
            Ok(bytes) => Record::from_bytes(&path, &bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &DebuginfoKey, part: DebuginfoPart) -> Result<()> {
        self.bucket.delete(&self.path(key, part)).await
    }

    /// What the claims of `slots` say.
    async fn claimed(&self, key: &DebuginfoKey, slots: &[u64]) -> Result<DebuginfoState> {
        let states = futures::future::try_join_all(slots.iter().map(|slot| self.state(key, *slot))).await?;
        Ok(states.into_iter().max().unwrap_or(DebuginfoState::Absent))
    }

    async fn state(&self, key: &DebuginfoKey, slot: u64) -> Result<DebuginfoState> {
        match self.read(key, DebuginfoPart::Claim(slot)).await {
            Ok(None) => Ok(DebuginfoState::Absent),
            Ok(Some(claim)) if is_live(&claim, self.clock.now_unix_nano()) => Ok(DebuginfoState::InProgress),
            Ok(Some(_)) => Ok(DebuginfoState::Stale),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::error!(%error, "a damaged claim holds until its time is over");
                Ok(DebuginfoState::InProgress)
            }
            Err(error) => Err(error),
        }
    }

    /// Creates the claim of `id`; false where another one stands.
    async fn claim(&self, key: &DebuginfoKey, id: UploadId, claim: DebuginfoClaim, now: i64) -> Result<bool> {
        let DebuginfoClaim { build_id, build_id_type, hash, bytes, force } = claim;
        let known = Record { build_id, build_id_type, hash, bytes, force, ..Record::of(id) };
        let record = Record { started_unix_nano: now, ..known };
        let part = DebuginfoPart::Claim(slot_of(id));
        match self.bucket.create(&self.path(key, part), record.to_bytes()).await {
            Ok(Created::New) => Ok(true),
            // taken, or no answer: the id tells whose it is
            created => match (self.claim_of(key, id).await?, created) {
                (Some(_), _) => Ok(true),
                (None, Ok(_)) => Ok(false),
                (None, Err(error)) => Err(error),
            },
        }
    }

    /// Whether the upload `id`, whose claim stands, is still to be done by it: somebody may have finished since it was looked for,
    /// or have claimed a slot beside this one.
    async fn begun(&self, key: &DebuginfoKey, id: UploadId, force: bool) -> Result<Begun> {
        if !force && self.is_uploaded(key).await? {
            return Ok(Begun::Uploaded);
        }
        let slot = slot_of(id);
        let mut others = vec![slot + 1];
        others.extend(slot.checked_sub(1));
        match self.claimed(key, &others).await? {
            DebuginfoState::InProgress => Ok(Begun::InProgress),
            _ => Ok(Begun::New(id)),
        }
    }

    /// The claim of upload `id`, if it stands.
    async fn claim_of(&self, key: &DebuginfoKey, id: UploadId) -> Result<Option<Record>> {
        let claim = self.read(key, DebuginfoPart::Claim(slot_of(id))).await?;
        Ok(claim.filter(|claim| claim.upload().is_ok_and(|found| found == id)))
    }

    /// Deletes the claim of upload `id`, if it stands; where that fails it becomes stale.
    async fn release(&self, key: &DebuginfoKey, id: UploadId) {
        let released = match self.claim_of(key, id).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => self.delete(key, DebuginfoPart::Claim(slot_of(id))).await,
            Err(error) => Err(error),
        };
        if let Err(error) = released {
            tracing::warn!(%error, upload = %id, "the claim of an upload stays until it is stale");
        }
    }
}

fn is_live(claim: &Record, now: i64) -> bool {
    claim.started_unix_nano.saturating_add(nanos(UPLOAD_TIME_MAX)) > now
}

/// When `slot` begins, in milliseconds since 1970.
pub(crate) fn slot_unix_millis(slot: u64) -> u64 {
    slot.saturating_mul(slot_millis())
}

/// The slot in which upload `id` began.
fn slot_of(id: UploadId) -> u64 {
    id.unix_millis() / slot_millis()
}

fn slot_of_time(unix_nano: i64) -> u64 {
    u64::try_from(unix_nano / 1_000_000).unwrap_or_default() / slot_millis()
}

fn slot_millis() -> u64 {
    UPLOAD_TIME_MAX.as_secs() * 1000
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
