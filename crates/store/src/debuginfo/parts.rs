//! Writes an object of any size while it comes in.
//!
//! Bound: [`PART_BYTES`] that fill up, and [`PARTS_AT_ONCE`] parts of that size on their way; whoever writes waits for them.
//! What is shorter than a part is one request. Until it is finished there is no object. What is dropped without
//! [`PartWriter::abort`] may leave parts in the bucket that nobody sees.

use bytes::Bytes;
use flamestore_model::{Error, Result};
use object_store::{MultipartUpload, PutPayload};
use tokio::task::JoinSet;

use crate::bucket::{Bucket, Created};

/// The bytes of each part but the last.
pub(super) const PART_BYTES: usize = 8 << 20;
/// The most parts on their way.
pub(super) const PARTS_AT_ONCE: usize = 2;

/// An object that is being written.
pub(super) struct PartWriter {
    bucket: Bucket,
    path: String,
    part: Vec<u8>,
    sent: Option<Sent>,
}

/// The parts that were sent.
struct Sent {
    object: Box<dyn MultipartUpload>,
    running: JoinSet<object_store::Result<()>>,
}

impl PartWriter {
    /// Writes the object at `path`, which is nobody else's.
    pub(super) fn new(bucket: Bucket, path: String) -> Self {
        Self { bucket, path, part: Vec::new(), sent: None }
    }

    /// Adds `bytes` to the object.
    ///
    /// # Errors
    /// What the bucket says; then the object is to be aborted.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (fitting, rest) = bytes.split_at(bytes.len().min(PART_BYTES - self.part.len()));
            if self.part.capacity() - self.part.len() < fitting.len() {
                // a short object takes what it needs, a longer one a whole part
                let more = if self.part.is_empty() { fitting.len() } else { PART_BYTES - self.part.len() };
                self.part.reserve_exact(more);
            }
            self.part.extend_from_slice(fitting);
            bytes = rest;
            if self.part.len() == PART_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        let part = PutPayload::from_bytes(Bytes::from(std::mem::take(&mut self.part)));
        let Self { bucket, path, sent, .. } = self;
        let sent = match sent {
            Some(sent) => sent,
            None => sent.insert(Sent { object: bucket.start(path).await?, running: JoinSet::new() }),
        };
        sent.wait(bucket, path, PARTS_AT_ONCE - 1).await?;
        sent.running.spawn(sent.object.put_part(part));
        Ok(())
    }

    /// Makes the object exist.
    ///
    /// # Errors
    /// What the bucket says; then it may exist or not, and is to be aborted.
    pub(super) async fn finish(&mut self) -> Result<()> {
        if self.sent.is_none() {
            return self.create().await;
        }
        if !self.part.is_empty() {
            self.send().await?;
        }
        let Self { bucket, path, sent, .. } = self;
        if let Some(sent) = sent {
            sent.wait(bucket, path, 0).await?;
            sent.object.complete().await.map_err(|error| bucket.explain(error, "complete", path))?;
        }
        self.sent = None;
        Ok(())
    }

    async fn create(&mut self) -> Result<()> {
        let part = Bytes::from(std::mem::take(&mut self.part));
        let bytes = part.len() as u64;
        match self.bucket.create(&self.path, part).await? {
            Created::New => Ok(()),
            // the path is ours alone: a repeated request found what the first one made
            Created::Exists if self.bucket.size(&self.path).await? == Some(bytes) => Ok(()),
            Created::Exists => Err(Error::conflict("the object exists already").with("object", &self.path)),
        }
    }

    /// Forgets the object and what was sent of it.
    pub(super) async fn abort(mut self) {
        let Some(mut sent) = self.sent.take() else { return };
        sent.running.shutdown().await;
        if let Err(error) = sent.object.abort().await {
            let error = self.bucket.explain(error, "abort", &self.path);
            tracing::warn!(%error, "parts of an object that was given up may stay in the bucket");
        }
    }
}

impl Sent {
    /// Waits until at most `running_max` parts are on their way.
    async fn wait(&mut self, bucket: &Bucket, path: &str, running_max: usize) -> Result<()> {
        while self.running.len() > running_max {
            match self.running.join_next().await {
                Some(Ok(Err(error))) => return Err(bucket.explain(error, "write a part of", path)),
                Some(Err(error)) => return Err(Error::internal("a part was not written to its end").because(error)),
                Some(Ok(Ok(()))) | None => {}
            }
        }
        Ok(())
    }
}
