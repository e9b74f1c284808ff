//! What does a query cost in requests and bytes of the bucket, cold and warm, and what is the right size of a block?
//!
//! One segment of a fleet; the query merges all profiles of one service. The bucket counts what is asked of it. Counts do
//! not depend on the machine, so there is nothing to repeat.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use flamestore_benches::{Goal, Report, fleet};
use flamestore_model::{Selector, Tenant, TimeRange};
use flamestore_segment::ScanReport;
use flamestore_store::{Background, Bucket, PushProfile, Store, StoreOptions};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type StoreResult<T> = object_store::Result<T>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let (objects, folder) = (Arc::new(Counting::default()), tempfile::tempdir()?);
    let fleet = fleet();
    fill(&objects).await?;
    let report = Report::new("What does a query cost in requests and bytes of the bucket, cold and warm?");
    let service = fleet.service(fleet.options().services / 2).name();
    report.note(format!(
        "{} services of {} profiles each, {} of segments; the query merges `{service}`",
        fleet.options().services,
        fleet.options().scrapes,
        bytes(objects.stored.load(Ordering::Relaxed))
    ));
    let uncached = open(&objects, None, 0).await?;
    let store = open(&objects, Some(folder.path()), 128 << 20).await?;
    for (what, goal, store) in
        [("cold, nothing kept", None, &uncached), ("cold", None, &store), ("again", Some(0.0), &store)]
    {
        ask(&report, what, goal, &objects, store, &service).await?;
    }
    let other = fleet.service(fleet.options().services / 2 + 1).name();
    ask(&report, "next service, same segment", None, &objects, &store, &other).await?;
    store.shutdown().await?;
    drop(store);
    let restarted = open(&objects, Some(folder.path()), 128 << 20).await?;
    ask(&report, "after a restart, from the folder", Some(0.0), &objects, &restarted, &service).await?;
    Ok(())
}

async fn fill(objects: &Arc<Counting>) -> Outcome<()> {
    let store = open(objects, None, 0).await?;
    for service in fleet().services() {
        for scrape in service.run() {
            let push = PushProfile {
                tenant: Tenant::default(),
                labels: service.labels(),
                batch: service.batch(&scrape),
                received: None,
                id: None,
                time_unix_nano: None,
            };
            store.push(push).await?;
        }
    }
    Ok(store.shutdown().await?)
}

async fn open(objects: &Arc<Counting>, folder: Option<&Path>, memory_bytes_max: u64) -> Outcome<Arc<Store>> {
    let mut options = StoreOptions::new(Bucket::new(objects.clone(), "", "memory:"));
    options.background = Background::Off;
    options.head_bytes_max = 8 << 30;
    options.cache.memory_bytes_max = memory_bytes_max;
    options.cache.folder = folder.map(Path::to_owned);
    // what is decoded is not kept: the figures are those of the cache of bytes
    (options.dictionary_cache_bytes, options.footer_cache_bytes) =
        (0, if memory_bytes_max == 0 { 64 << 20 } else { 0 });
    Ok(Store::open(options).await?)
}

async fn ask(
    report: &Report,
    what: &str,
    goal: Option<f64>,
    objects: &Counting,
    store: &Store,
    service: &str,
) -> Outcome<()> {
    let selector: Selector = format!("{{service_name=\"{service}\"}}").parse()?;
    objects.reset();
    let mut scan = ScanReport::default();
    for segment in store.snapshot(&Tenant::default()).segments.iter() {
        segment.reader.merge(&selector, &TimeRange::ALL, &mut scan).await?;
    }
    let (requests, read) = (objects.requests.load(Ordering::Relaxed), objects.read.load(Ordering::Relaxed));
    match goal {
        Some(goal) => report.goal(&format!("{what}: requests"), requests as f64, "", Goal::AtMost(goal)),
        None => report.figure(&format!("{what}: requests"), requests as f64, ""),
    }
    report.figure(&format!("{what}: bytes read"), read as f64 / 1024.0, "KiB");
    report.figure(&format!("{what}: bytes of the wanted pages"), scan.bytes_read as f64 / 1024.0, "KiB");
    Ok(())
}

fn bytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Memory that counts what is read of it.
#[derive(Debug, Default)]
struct Counting {
    memory: InMemory,
    stored: AtomicU64,
    requests: AtomicU64,
    read: AtomicU64,
}

impl Counting {
    fn reset(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counting")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, at: &ObjectPath, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.stored.fetch_add(payload.content_length() as u64, Ordering::Relaxed);
        self.memory.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> StoreResult<GetResult> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(GetRange::Bounded(Range { start, end })) = options.range {
            self.read.fetch_add(end - start, Ordering::Relaxed);
        }
        self.memory.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &ObjectPath, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        object_store::coalesce_ranges(
            ranges,
            |range| async {
                self.get_opts(at, GetOptions { range: Some(range.into()), ..GetOptions::default() })
                    .await?
                    .bytes()
                    .await
            },
            object_store::OBJECT_STORE_COALESCE_DEFAULT,
        )
        .await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, StoreResult<ObjectPath>>,
    ) -> BoxStream<'static, StoreResult<ObjectPath>> {
        self.memory.delete_stream(at)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> StoreResult<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> StoreResult<()> {
        self.memory.copy_opts(from, to, options).await
    }
}
