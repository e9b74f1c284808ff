//! An object store that fails on demand.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

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
#[derive(Debug)]
pub(crate) struct Faulty {
    memory: InMemory,
    rules: Mutex<Vec<(PutFault, &'static str, usize)>>,
    puts: Mutex<Vec<String>>,
    requests: AtomicUsize,
    /// How many requests are answered; those after fail.
    answered: AtomicUsize,
    gets: Mutex<Vec<String>>,
}

impl Faulty {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(InMemory::new())
    }

    fn with(memory: InMemory) -> Arc<Self> {
        let (rules, puts) = (Mutex::default(), Mutex::default());
        Arc::new(Self {
            memory,
            rules,
            puts,
            gets: Mutex::default(),
            requests: AtomicUsize::new(0),
            answered: AtomicUsize::new(usize::MAX),
        })
    }

    /// A copy of the objects, without rules.
    pub(crate) fn fork(&self) -> Arc<Self> {
        Self::with(self.memory.fork())
    }

    /// Answers so many further requests; those after fail and change nothing.
    pub(crate) fn answer(&self, requests: usize) {
        self.requests.store(0, Ordering::SeqCst);
        self.answered.store(requests, Ordering::SeqCst);
    }

    /// Requests since [`Self::answer`], the failed ones included.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Puts other bytes in place of an object.
    pub(crate) async fn overwrite(&self, path: &str, bytes: impl Into<PutPayload>) {
        self.memory.put_opts(&Path::from(path), bytes.into(), PutOptions::default()).await.unwrap();
    }

    fn request(&self) -> Result<()> {
        match self.requests.fetch_add(1, Ordering::SeqCst) < self.answered.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(failed()),
        }
    }

    /// The next `times` PUTs of paths that contain `part` meet `fault`.
    pub(crate) fn strike(&self, fault: PutFault, part: &'static str, times: usize) {
        self.rules.lock().unwrap().push((fault, part, times));
    }

    /// Nothing fails any more.
    pub(crate) fn clear(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// The paths of all PUTs so far that were carried out, in order.
    pub(crate) fn puts(&self) -> Vec<String> {
        self.puts.lock().unwrap().clone()
    }

    /// The paths of all GETs since the last call of this, in order.
    pub(crate) fn take_gets(&self) -> Vec<String> {
        std::mem::take(&mut *self.gets.lock().unwrap())
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
        self.request()?;
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
        self.request()?;
        self.gets.lock().unwrap().push(location.to_string());
        self.memory.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.request()?;
        self.gets.lock().unwrap().push(location.to_string());
        self.memory.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.request() {
            Ok(()) => self.memory.delete_stream(locations),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.request() {
            Ok(()) => self.memory.list(prefix),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.request()?;
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}
