//! One upload: bytes in, then either the file is there and named, or nothing of it is.
//!
//! Dropped before its end it aborts by itself, in a task of its own: what was sent is deleted and its claim is let go, so that
//! the next agent that asks may begin. The end is a task of its own too: what was sent whole is kept though the client is gone.

use std::sync::Arc;

use flamestore_model::{Error, ErrorKind, Result, UploadId};
use tokio::runtime::Handle;
use xxhash_rust::xxh3::Xxh3;

use super::parts::PartWriter;
use super::record::Record;
use super::{DebuginfoKey, Inner, UPLOAD_TIME_MAX, nanos};
use crate::bucket::Created;
use crate::key::DebuginfoPart;

/// A file that is being uploaded.
#[must_use = "a file is there once it is finished"]
pub struct DebuginfoUpload {
    target: Target,
    claim: Record,
    bytes_max: u64,
    bytes: u64,
    checksum: Box<Xxh3>,
    /// What is to be aborted; gone once the file is complete.
    parts: Option<PartWriter>,
    running: Option<Running>,
}

/// Where the file is to go.
#[derive(Clone)]
struct Target {
    inner: Arc<Inner>,
    key: DebuginfoKey,
    id: UploadId,
}

/// The right to be the only one in this process that writes an upload's file.
pub(super) struct Running {
    inner: Arc<Inner>,
    id: UploadId,
}

impl Running {
    /// The right; none while another one has it.
    pub(super) fn enter(inner: &Arc<Inner>, id: UploadId) -> Option<Self> {
        inner.running.lock().insert(id).then(|| Self { inner: Arc::clone(inner), id })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.inner.running.lock().remove(&self.id);
    }
}

impl std::fmt::Debug for DebuginfoUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebuginfoUpload")
            .field("id", &self.target.id)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl DebuginfoUpload {
    /// Takes in the file that `claim` announces, up to `bytes_max` bytes.
    pub(super) fn new(running: Running, key: DebuginfoKey, claim: Record, bytes_max: u64) -> Self {
        let (inner, id) = (Arc::clone(&running.inner), running.id);
        let path = inner.path(&key, DebuginfoPart::File(id));
        let parts = Some(PartWriter::new(inner.bucket.clone(), path));
        let checksum = Box::new(Xxh3::new());
        let target = Target { inner, key, id };
        Self { target, claim, bytes_max, bytes: 0, checksum, parts, running: Some(running) }
    }

    /// Adds `chunk` to the file; returns once there is room for more.
    ///
    /// # Errors
    /// `Exhausted` over the limit; `Invalid` when the file is longer than was announced; `Unavailable` when it takes too long,
    /// and what the bucket says. The upload cannot go on after an error.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.check_time()?;
        let bytes = self.bytes.saturating_add(chunk.len() as u64);
        if bytes > self.bytes_max {
            return Err(
                Error::exhausted("the file is over the limit debuginfo_bytes_max").with("limit", self.bytes_max)
            );
        }
        if self.claim.bytes > 0 && bytes > self.claim.bytes {
            return Err(self.wrong_size(bytes));
        }
        self.checksum.update(chunk);
        self.bytes = bytes;
        match &mut self.parts {
            Some(parts) => parts.write(chunk).await,
            None => Err(Error::internal("the file is complete already")),
        }
    }

    fn check_time(&self) -> Result<()> {
        let taken = self.target.inner.clock.now_unix_nano().saturating_sub(self.claim.started_unix_nano);
        if taken > nanos(UPLOAD_TIME_MAX) {
            return Err(Error::unavailable("the upload takes too long, so that somebody else may begin")
                .with("time_max", format!("{UPLOAD_TIME_MAX:?}")));
        }
        Ok(())
    }

    fn wrong_size(&self, bytes: u64) -> Error {
        Error::invalid("the file is not as long as was announced")
            .with("announced", self.claim.bytes)
            .with("bytes", bytes)
    }

    /// The file is whole: makes it the one of its build, unless another one was faster. Says how long it is.
    ///
    /// # Errors
    /// `Invalid` when it is empty or not as long as was announced, and what the bucket says.
    pub async fn finish(self) -> Result<u64> {
        self.check_time()?;
        if self.bytes == 0 {
            return Err(Error::invalid("the file is empty"));
        }
        if self.claim.bytes > 0 && self.claim.bytes != self.bytes {
            return Err(self.wrong_size(self.bytes));
        }
        let tasks = self.target.inner.tasks.clone();
        let finished = tasks.spawn(self.publish()).await;
        finished.map_err(|error| Error::internal("an upload did not come to its end").because(error))?
    }

    async fn publish(mut self) -> Result<u64> {
        if let Some(parts) = &mut self.parts {
            parts.finish().await?;
        }
        self.parts = None;
        let record = Record {
            bytes: self.bytes,
            checksum: self.checksum.digest(),
            finished_unix_nano: self.target.inner.clock.now_unix_nano(),
            ..self.claim.clone()
        };
        self.target.name(&record).await?;
        Ok(self.bytes)
    }
}

impl Target {
    /// Makes the file the one of its build. On an error it is not known whether it is, so nothing is deleted: the collector does
    /// that.
    async fn name(&self, record: &Record) -> Result<()> {
        let path = self.inner.path(&self.key, DebuginfoPart::Uploaded);
        let mut replaced = None;
        loop {
            let created = self.inner.bucket.create(&path, record.to_bytes()).await;
            if let Ok(Created::New) = created {
                break;
            }
            // taken, or no answer: the id tells whose it is
            let found = self.inner.read(&self.key, DebuginfoPart::Uploaded).await;
            let is_damaged = matches!(&found, Err(error) if error.kind() == ErrorKind::Corrupt);
            match (found, created) {
                (Ok(Some(found)), _) if found.upload()? == self.id => break,
                (Ok(Some(found)), _) if record.force && replaced.is_none() => replaced = Some(found.upload().ok()),
                (Err(_), _) if is_damaged && record.force && replaced.is_none() => replaced = Some(None),
                (Ok(Some(_)), _) => {
                    self.settle(Some(self.id)).await;
                    return Ok(());
                }
                (_, Err(error)) | (Err(error), _) => return Err(error),
                (Ok(None), Ok(_)) => return Err(Error::conflict("debug information was deleted just now")),
            }
            self.inner.delete(&self.key, DebuginfoPart::Uploaded).await?;
        }
        self.settle(replaced.flatten()).await;
        Ok(())
    }

    /// A file is there that counts: deletes the one that does not, and the claim.
    async fn settle(&self, garbage: Option<UploadId>) {
        self.inner.known.lock().insert(self.key.clone());
        if let Some(garbage) = garbage
            && let Err(error) = self.inner.delete(&self.key, DebuginfoPart::File(garbage)).await
        {
            tracing::warn!(%error, "a file of debug information that does not count stays for the collector");
        }
        self.inner.release(&self.key, self.id).await;
    }
}

impl Drop for DebuginfoUpload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        // without a runtime the process ends, and the claim becomes stale
        let Ok(runtime) = Handle::try_current() else { return };
        let (target, running) = (self.target.clone(), self.running.take());
        let abort = async move {
            parts.abort().await;
            target.inner.release(&target.key, target.id).await;
            drop(running);
        };
        self.target.inner.tasks.spawn_on(abort, &runtime);
    }
}
