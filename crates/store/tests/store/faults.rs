//! An object store that fails on demand.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::sync::Mutex;

/// What goes wrong with a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutFault {
    /// It fails and nothing is written.
    Refused,
    /// It is done, and then fails.
    AnswerLost,
    /// It is done, and then is told as done twice: what a client sees that repeats a request whose answer was lost.
    Repeated,
    /// It overwrites what exists, whatever was asked.
    Overwrites,
}

/// Memory with faults; clones of the `Arc` share them.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    memory: InMemory,
    rules: Mutex<Vec<(PutFault, &'static str, usize)>>,
    puts: Mutex<Vec<String>>,
}

impl Faulty {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The next `times` PUTs of paths that contain `part` meet `fault`.
    pub(crate) fn strike(&self, fault: PutFault, part: &'static str, times: usize) {
        self.rules.lock().unwrap().push((fault, part, times));
    }

    /// The paths of all PUTs so far that were carried out, in order.
    pub(crate) fn puts(&self) -> Vec<String> {
        self.puts.lock().unwrap().clone()
    }

    fn fault(&self, path: &Path) -> Option<PutFault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|(_, part, times)| *times > 0 && path.as_ref().contains(part))?;
        rule.2 -= 1;
        Some(rule.0)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

fn failed() -> object_store::Error {
    object_store::Error::Generic { store: "Faulty", source: "the test says so".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.fault(location);
        if fault == Some(PutFault::Refused) {
            return Err(failed());
        }
        let options = match fault {
            Some(PutFault::Overwrites) => PutOptions { mode: PutMode::Overwrite, ..options },
            _ => options,
        };
        let done = self.memory.put_opts(location, payload, options).await?;
        self.puts.lock().unwrap().push(location.to_string());
        match fault {
            Some(PutFault::AnswerLost) => Err(failed()),
            Some(PutFault::Repeated) => {
                Err(object_store::Error::AlreadyExists { path: location.to_string(), source: "repeated".into() })
            }
            _ => Ok(done),
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.memory.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.memory.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(locations)
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
