//! What does steady ingest cost in requests and bytes of the bucket, and how many bytes does a sample take all in?
//!
//! A store and a compactor as `flamestore serve` runs them, with their defaults, on a clock that the benchmark moves: a fleet
//! pushes a profile of each service every 15 s, evenly spread over them, for some hours (`FLAMESTORE_BENCH_HOURS`, 3), of
//! which the last one is counted. These are counts: they do not depend on the machine.
//!
//! What is replaced is deleted a day later, so an hour that is counted this early has hardly any DELETE of segments; how many
//! there are to come is told by what the hour leaves behind.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flamestore_benches::{Report, fleet_of, size};
use flamestore_model::Tenant;
use flamestore_segment::Table;
use flamestore_store::{
    Bucket, Clock, Compactor, CompactorOptions, Durability, Entropy, ManualClock, Mode, ObjectKey, OsFiles,
    ProfileFormat, PushProfile, Scope, Store, StoreOptions,
};
use flamestore_testkit::{
    Fate, FaultyObjects, FleetRun, FleetService, ObjectRequest, RequestKind, Weather, pack_pprof,
};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Profiles of a service in an hour.
const SCRAPES_OF_HOUR: usize = 240;
/// How far the clock moves at one time: less than anything that waits for it.
const TICK: Duration = Duration::from_millis(50);
/// Turns of all tasks without a request, after which nothing goes on until the clock moves.
const QUIET_TURNS: usize = 64;

fn main() -> Outcome<()> {
    let (services, hours) = (size("FLAMESTORE_BENCH_SERVICES", 8), size("FLAMESTORE_BENCH_HOURS", 3).max(1));
    for durability in [Durability::Wal, Durability::Bucket] {
        // one thread: what takes long is done in place, so that the clock stands still meanwhile
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(durability, services, hours))?;
    }
    Ok(())
}

/// What objects are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Segments,
    Manifests,
    Log,
    Other,
}

/// Fair weather that counts.
#[derive(Debug)]
struct Counting {
    clock: Arc<ManualClock>,
    asked: Mutex<BTreeMap<(What, RequestKind), u64>>,
}

impl Counting {
    fn asked(&self) -> BTreeMap<(What, RequestKind), u64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn total(&self) -> u64 {
        self.asked().values().sum()
    }
}

impl Weather for Counting {
    fn arrive(&self, request: &ObjectRequest) -> BoxFuture<'static, Fate> {
        let what = match request.path.parse() {
            Ok(ObjectKey::Segment { .. }) => What::Segments,
            Ok(ObjectKey::Manifest(_)) => What::Manifests,
            Ok(ObjectKey::Wal { .. }) => What::Log,
            _ if request.path.starts_with(ObjectKey::MANIFESTS) => What::Manifests,
            _ => What::Other,
        };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked.entry((what, request.kind)).or_default() += 1;
        ready(Fate::Done).boxed()
    }

    fn answer(&self, _: &ObjectRequest, _: &str) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn now_unix_nano(&self) -> i64 {
        self.clock.now_unix_nano()
    }
}

/// The store of one run, and what it is made of.
struct World {
    clock: Arc<ManualClock>,
    counting: Arc<Counting>,
    objects: FaultyObjects,
    store: Arc<Store>,
    compactor: Arc<Compactor>,
}

/// What the bucket was asked at one moment.
struct Asked {
    by_kind: BTreeMap<(What, RequestKind), u64>,
    traffic: BTreeMap<RequestKind, u64>,
}

async fn run(durability: Durability, services: usize, hours: usize) -> Outcome<()> {
    let fleet = fleet_of(services, hours * SCRAPES_OF_HOUR);
    let services: Vec<FleetService> = fleet.services().collect();
    let mut runs: Vec<Peekable<FleetRun<'_>>> = services.iter().map(|service| service.run().peekable()).collect();
    let start = runs.iter_mut().filter_map(|run| Some(run.peek()?.time_unix_nano)).min().ok_or("the fleet is empty")?;
    let folder = tempfile::tempdir()?;
    let world = World::open(durability, start, folder.path()).await?;
    let tending = {
        let (compactor, store) = (Arc::clone(&world.compactor), Arc::clone(&world.store));
        tokio::spawn(async move { compactor.run(Some(&store)).await })
    };
    let pause = Duration::from_secs(15) / u32::try_from(services.len())?;
    let (mut garbage, mut before) = (0, world.asked());
    for scrape in 0..hours * SCRAPES_OF_HOUR {
        if scrape == (hours - 1) * SCRAPES_OF_HOUR {
            garbage = world.garbage().await?;
            before = world.asked();
        }
        for (service, run) in services.iter().zip(&mut runs) {
            let Some(scrape) = run.next() else { continue };
            let batch = service.batch(&scrape);
            let received = Some((ProfileFormat::Pprof, pack_pprof(&batch).into()));
            let (tenant, labels) = (Tenant::default(), service.labels());
            let push = PushProfile { tenant, labels, batch, received, id: None, time_unix_nano: None };
            let store = Arc::clone(&world.store);
            let pushing = tokio::spawn(async move { store.push(push).await });
            world.pass(pause).await;
            // what is pushed is acknowledged within the time to the next push or two
            while !pushing.is_finished() {
                world.pass(TICK).await;
            }
            pushing.await??;
        }
    }
    let after = world.asked();
    let garbage = world.garbage().await?.saturating_sub(garbage);
    tell(durability, services.len(), (&before, &after), garbage);
    world.compactor.stop();
    world.pass(TICK).await;
    tending.await?;
    world.finish(durability).await
}

impl World {
    async fn open(durability: Durability, start_unix_nano: i64, folder: &std::path::Path) -> Outcome<Self> {
        let clock = Arc::new(ManualClock::new(start_unix_nano));
        let counting = Arc::new(Counting { clock: Arc::clone(&clock), asked: Mutex::default() });
        let objects = FaultyObjects::new(counting.clone());
        let bucket = Bucket::new(Arc::new(objects.clone()), "", "memory:");
        let mut options = StoreOptions::new(bucket.clone());
        options.wal.durability = durability;
        options.wal.files = (durability == Durability::Wal).then(|| Arc::new(OsFiles::new(folder.join("wal"))) as _);
        (options.clock, options.entropy) = (clock.clone(), Arc::new(Entropy::from_seed(1)));
        let mut tended = CompactorOptions::new(bucket);
        (tended.clock, tended.entropy) = (clock.clone(), Arc::new(Entropy::from_seed(2)));
        let (store, compactor) = (Store::open(options).await?, Arc::new(Compactor::new(tended)?));
        Ok(Self { clock, counting, objects, store, compactor })
    }

    /// Moves the clock by `time`, and lets go on whatever waited for it.
    async fn pass(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let tick = left.min(TICK);
            self.clock.advance(tick);
            self.settle().await;
            left -= tick;
        }
    }

    async fn settle(&self) {
        loop {
            let before = self.counting.total();
            for _ in 0..QUIET_TURNS {
                tokio::task::yield_now().await;
            }
            if self.counting.total() == before {
                return;
            }
        }
    }

    fn asked(&self) -> Asked {
        let by_kind = self.counting.asked();
        let counts = self.objects.counts();
        let kinds = [RequestKind::Create, RequestKind::Put, RequestKind::Get];
        let traffic = kinds.into_iter().map(|kind| (kind, counts.of(kind).bytes)).collect();
        Asked { by_kind, traffic }
    }

    /// Objects that nothing refers to. What this asks is not the store's, so it is not to be counted.
    async fn garbage(&self) -> Outcome<usize> {
        let found = self.compactor.collect(Mode::DryRun).await?;
        Ok(found.young + found.objects)
    }

    /// Publishes and merges everything, and says how many bytes a sample takes.
    async fn finish(&self, durability: Durability) -> Outcome<()> {
        self.tell_sizes(&format!("all in, as it is at the end, {durability}"));
        let store = Arc::clone(&self.store);
        let closing = tokio::spawn(async move { store.shutdown().await });
        while !closing.is_finished() {
            self.pass(TICK).await;
        }
        closing.await??;
        let mut options = CompactorOptions::new(self.store.options().bucket.clone());
        (options.clock, options.entropy) = (self.clock.clone(), Arc::new(Entropy::from_seed(3)));
        Compactor::new(options)?.compact(Scope::All, &|_, _| {}).await?;
        self.store.refresh().await?;
        self.tell_sizes("all in, everything merged");
        Ok(())
    }

    fn tell_sizes(&self, what: &str) {
        let report = Report::new(what);
        let manifest = self.store.manifest();
        let samples: u64 = manifest.segments.iter().map(|entry| entry.sample_rows).sum();
        let bytes = |counts: &dyn Fn(Table) -> bool| {
            let tables = manifest.segments.iter().flat_map(|entry| &entry.tables);
            tables.filter(|table| counts(table.table)).map(|table| table.bytes).sum::<u64>() as f64 / samples as f64
        };
        report.note(format!("{} segments, {samples} samples", manifest.segments.len()));
        report.figure("all", bytes(&|_| true), "B/sample");
        report.figure("  of these samples", bytes(&|table| table == Table::Samples), "B/sample");
        let profiles = [Table::Profiles, Table::Series, Table::Postings];
        report.figure("  of these profiles, series, postings", bytes(&|table| profiles.contains(&table)), "B/sample");
        report.figure("  of these roll-ups", bytes(&|table| Table::ROLLUPS.contains(&table)), "B/sample");
    }
}

fn tell(durability: Durability, services: usize, (before, after): (&Asked, &Asked), garbage: usize) {
    let report = Report::new(&format!("What does an hour of steady ingest ask of the bucket? durability {durability}"));
    let profiles = services * SCRAPES_OF_HOUR;
    report.note(format!("{services} services × {SCRAPES_OF_HOUR} profiles"));
    let own = |what: What, kind: RequestKind| {
        let of = |asked: &Asked| asked.by_kind.get(&(what, kind)).copied().unwrap_or_default();
        (of(after) - of(before)) as f64
    };
    let kinds = [
        ("PUT", &[RequestKind::Create, RequestKind::Put][..]),
        ("GET", &[RequestKind::Get]),
        ("HEAD", &[RequestKind::Head]),
        ("LIST", &[RequestKind::List]),
        ("DELETE", &[RequestKind::Delete]),
    ];
    let places = [What::Segments, What::Manifests, What::Log, What::Other];
    let mut total = 0.0;
    for (name, kinds) in kinds {
        let of = |what| kinds.iter().map(|kind| own(what, *kind)).sum::<f64>();
        let all: f64 = places.into_iter().map(of).sum();
        total += all;
        let parts: Vec<String> = places.into_iter().map(|what| format!("{what:?} {}", of(what))).collect();
        report.figure(&format!("{name} ({})", parts.join(", ").to_lowercase()), all, "an hour");
    }
    report.figure("all requests", total, "an hour");
    report.figure("requests a profile", total / profiles as f64, "");
    report.figure("objects left to be deleted, a DELETE each", garbage as f64, "an hour");
    let mib = |kinds: &[RequestKind]| {
        let of = |asked: &Asked| kinds.iter().filter_map(|kind| asked.traffic.get(kind)).sum::<u64>();
        (of(after) - of(before)) as f64 / f64::from(1 << 20)
    };
    report.figure("bytes written", mib(&[RequestKind::Create, RequestKind::Put]), "MiB an hour");
    report.figure("bytes read", mib(&[RequestKind::Get]), "MiB an hour");
}
