//! The object store itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::{Counts, Fate, ObjectRequest, RequestKind, Weather};

/// Objects in memory behind a [`Weather`]. Requests run as tasks of their own, so it is for use inside a runtime.
#[derive(Clone, Debug)]
pub struct FaultyObjects {
    objects: Arc<Objects>,
    weather: Arc<dyn Weather>,
}

#[derive(Debug, Default)]
struct Objects {
    memory: InMemory,
    written: Mutex<Written>,
}

#[derive(Clone, Debug, Default)]
struct Written {
    /// When each object was written, in nanoseconds since 1970.
    times: HashMap<Path, i64>,
    /// The paths of all writes that were carried out, in order.
    paths: Vec<String>,
    counts: Counts,
}

impl FaultyObjects {
    /// No objects, in `weather`.
    pub fn new(weather: Arc<dyn Weather>) -> Self {
        Self { objects: Arc::default(), weather }
    }

    /// The same objects as another client sees them, in a weather of its own.
    pub fn in_weather(&self, weather: Arc<dyn Weather>) -> Self {
        Self { objects: Arc::clone(&self.objects), weather }
    }

    /// A copy of the objects, in the same weather; what becomes of either is nothing to the other.
    #[must_use]
    pub fn fork(&self) -> Self {
        let memory = self.objects.memory.fork();
        let written = Mutex::new(self.objects.written.lock().clone());
        Self { objects: Arc::new(Objects { memory, written }), weather: Arc::clone(&self.weather) }
    }

    /// The paths of all objects written so far, in order.
    pub fn written(&self) -> Vec<String> {
        self.objects.written.lock().paths.clone()
    }

    /// What was asked so far, by all clients.
    pub fn counts(&self) -> Counts {
        self.objects.written.lock().counts.clone()
    }

    /// Carries out `act` when and if the weather lets it; the answer is as the weather leaves it.
    fn request<T: Send + 'static>(
        &self,
        request: ObjectRequest,
        act: impl FnOnce(Arc<Objects>, Fate, i64) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        self.objects.written.lock().counts.add(&request);
        let (objects, weather) = (Arc::clone(&self.objects), Arc::clone(&self.weather));
        let path = request.path.clone();
        // a task of its own: a request that was sent is carried out though its client died
        let task = tokio::spawn(async move {
            let fate = weather.arrive(&request).await;
            let done = match fate {
                Fate::Refused => Err(failed("the connection broke")),
                Fate::Throttled => Err(failed("503 SlowDown: please reduce your request rate")),
                fate => act(objects, fate, weather.now_unix_nano()).await,
            };
            let done = match (fate, done) {
                (Fate::AnswerLost, _) => Err(failed("the connection broke before the answer came")),
                (Fate::Repeated, Ok(_)) if request.kind == RequestKind::Create => {
                    Err(Error::AlreadyExists { path, source: "the request was repeated".into() })
                }
                (_, done) => done,
            };
            weather.answer(&request, outcome(&done)).await;
            done
        });
        async move { task.await.unwrap_or_else(|error| Err(failed(&error.to_string()))) }.boxed()
    }
}

impl Objects {
    async fn put(&self, path: &Path, payload: PutPayload, options: PutOptions, now: i64) -> Result<PutResult> {
        let done = self.memory.put_opts(path, payload, options).await?;
        let mut written = self.written.lock();
        written.times.insert(path.clone(), now);
        written.paths.push(path.to_string());
        Ok(done)
    }

    fn dated(&self, meta: ObjectMeta) -> ObjectMeta {
        let time = self.written.lock().times.get(&meta.location).copied().unwrap_or_default();
        ObjectMeta { last_modified: DateTime::from_timestamp_nanos(time), ..meta }
    }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyObjects")
    }
}

fn failed(what: &str) -> Error {
    Error::Generic { store: "FaultyObjects", source: what.into() }
}

fn outcome<T>(done: &Result<T>) -> &'static str {
    match done {
        Ok(_) => "ok",
        Err(Error::AlreadyExists { .. }) => "exists",
        Err(Error::NotFound { .. }) => "not found",
        Err(_) => "failed",
    }
}

/// A body that ends with an error when half of it was read.
fn cut_short(bytes: &Bytes) -> BoxStream<'static, Result<Bytes>> {
    let half = bytes.slice(..bytes.len() / 2);
    stream::iter([Ok(half), Err(failed("the connection broke in the middle of the body"))]).boxed()
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let kind = if options.mode == PutMode::Create { RequestKind::Create } else { RequestKind::Put };
        let request = ObjectRequest { kind, path: location.to_string(), bytes: payload.content_length() as u64 };
        let location = location.clone();
        let act = move |objects: Arc<Objects>, fate, now| {
            let mode = if fate == Fate::Overwrites { PutMode::Overwrite } else { options.mode.clone() };
            let options = PutOptions { mode, ..options };
            async move { objects.put(&location, payload, options, now).await }.boxed()
        };
        self.request(request, act).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotSupported { source: "FaultyObjects takes objects in one request".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let bytes = match &options.range {
            Some(GetRange::Bounded(range)) => range.end.saturating_sub(range.start),
            _ => 0,
        };
        let kind = if options.head { RequestKind::Head } else { RequestKind::Get };
        let request = ObjectRequest { kind, path: location.to_string(), bytes };
        let location = location.clone();
        let act = move |objects: Arc<Objects>, fate, _| {
            let read = async move {
                let found = objects.memory.get_opts(&location, options).await?;
                let (meta, range, attributes) =
                    (objects.dated(found.meta.clone()), found.range.clone(), found.attributes.clone());
                let bytes = found.bytes().await?;
                if kind == RequestKind::Get {
                    objects.written.lock().counts.read(bytes.len());
                }
                let body = match fate {
                    Fate::CutShort => cut_short(&bytes),
                    _ => stream::once(async { Ok(bytes) }).boxed(),
                };
                Ok(GetResult { payload: GetResultPayload::Stream(body), meta, range, attributes })
            };
            read.boxed()
        };
        self.request(request, act).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Path| {
            let request = ObjectRequest { kind: RequestKind::Delete, path: location.to_string(), bytes: 0 };
            let act = move |objects: Arc<Objects>, _, _| {
                async move {
                    objects.memory.delete(&location).await?;
                    Ok(location)
                }
                .boxed()
            };
            this.request(request, act)
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        let path = prefix.as_ref().map(ToString::to_string).unwrap_or_default();
        let request = ObjectRequest { kind: RequestKind::List, path, bytes: 0 };
        let act = move |objects: Arc<Objects>, _, _| {
            let list = async move {
                let metas: Vec<ObjectMeta> = objects.memory.list(prefix.as_ref()).try_collect().await?;
                Ok(metas.into_iter().map(|meta| objects.dated(meta)).collect::<Vec<_>>())
            };
            list.boxed()
        };
        let listing = self.request(request, act);
        stream::once(listing).map_ok(|metas| stream::iter(metas.into_iter().map(Ok))).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned();
        let path = prefix.as_ref().map(ToString::to_string).unwrap_or_default();
        let request = ObjectRequest { kind: RequestKind::List, path, bytes: 0 };
        let act = move |objects: Arc<Objects>, _, _| {
            let list = async move {
                let mut found = objects.memory.list_with_delimiter(prefix.as_ref()).await?;
                found.objects = found.objects.into_iter().map(|meta| objects.dated(meta)).collect();
                Ok(found)
            };
            list.boxed()
        };
        self.request(request, act).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotSupported { source: "FaultyObjects copies nothing".into() })
    }
}
