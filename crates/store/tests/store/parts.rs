//! An object store in memory that counts the parts of objects, and refuses one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;

/// What was seen of the parts of all objects.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) parts: usize,
    pub(crate) part_bytes_max: usize,
    pub(crate) running_max: usize,
    pub(crate) completed: usize,
    pub(crate) aborted: usize,
    running: usize,
    /// Counts down to the part that is refused.
    refused_in: usize,
}

#[derive(Debug)]
pub(crate) struct PartsSeen {
    memory: InMemory,
    seen: Arc<Mutex<Seen>>,
}

impl PartsSeen {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { memory: InMemory::new(), seen: Arc::default() })
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.lock()
    }

    /// The part with this number, from 1 on, is refused.
    pub(crate) fn refuse_part(&self, number: usize) {
        self.seen.lock().refused_in = number;
    }
}

impl fmt::Display for PartsSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartsSeen")
    }
}

#[derive(Debug)]
struct Parts {
    object: Box<dyn MultipartUpload>,
    seen: Arc<Mutex<Seen>>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let bytes = payload.content_length();
        let (put, seen) = (self.object.put_part(payload), Arc::clone(&self.seen));
        let is_refused = {
            let mut seen = seen.lock();
            seen.parts += 1;
            seen.part_bytes_max = seen.part_bytes_max.max(bytes);
            seen.running += 1;
            seen.running_max = seen.running_max.max(seen.running);
            let is_refused = seen.refused_in == 1;
            seen.refused_in = seen.refused_in.saturating_sub(1);
            is_refused
        };
        async move {
            // whoever does not wait for it has time to send others
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let done = put.await;
            seen.lock().running -= 1;
            match is_refused {
                true => Err(Error::Generic { store: "PartsSeen", source: "the part is refused".into() }),
                false => done,
            }
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.seen.lock().completed += 1;
        self.object.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.seen.lock().aborted += 1;
        self.object.abort().await
    }
}

#[async_trait]
impl ObjectStore for PartsSeen {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.memory.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let object = self.memory.put_multipart_opts(path, options).await?;
        Ok(Box::new(Parts { object, seen: Arc::clone(&self.seen) }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.memory.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}
