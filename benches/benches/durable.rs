//! What does it cost a push to be durable on the local disk before it is acknowledged?
//!
//! Pushes from 1, 16 and 64 tasks at a time into a store without a log, and into one with a log in a folder of the disk that
//! TMPDIR names. Floor: a thread that appends the same bytes to a file and syncs it, once for as many profiles as push at
//! a time, which is the most that a group commit could gather. All in turns, profiles of a fleet, flushes left out.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flamestore_benches::{Report, fleet, process_cpu, rounds, size};
use flamestore_model::Tenant;
use flamestore_store::{Background, Bucket, Durability, OsFiles, ProfileFormat, PushProfile, Store, StoreOptions};
use flamestore_testkit::pack_pprof;
use object_store::memory::InMemory;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const PUSHERS: [usize; 3] = [1, 16, 64];

/// One run, per profile.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let pushes = pushes(size("FLAMESTORE_BENCH_PUSHES", 1024));
    let bytes: usize = pushes.iter().filter_map(|push| push.received.as_ref()).map(|(_, bytes)| bytes.len()).sum();
    let report = Report::new("What does it cost a push to be durable on the local disk?");
    report.note(format!(
        "{} profiles of {:.1} KiB as received",
        pushes.len(),
        bytes as f64 / pushes.len() as f64 / 1024.0
    ));
    for pushers in PUSHERS {
        let (mut none, mut wal, mut floor) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds() {
            none.push(runtime.block_on(push_all(&pushes, Durability::None, pushers))?);
            wal.push(runtime.block_on(push_all(&pushes, Durability::Wal, pushers))?);
            floor.push(write_all(&pushes, pushers)?);
        }
        tell(&report, pushers, [&none, &wal, &floor]);
    }
    Ok(())
}

/// So many profiles of the fleet, no two the same.
fn pushes(count: usize) -> Vec<PushProfile> {
    let fleet = fleet();
    let services: Vec<_> = fleet.services().collect();
    let of = |service: &flamestore_testkit::FleetService| {
        let push = |scrape| {
            let batch = service.batch(&scrape);
            let received = Some((ProfileFormat::Pprof, pack_pprof(&batch).into()));
            let (tenant, labels) = (Tenant::default(), service.labels());
            PushProfile { tenant, labels, batch, received, id: None, time_unix_nano: Some(0) }
        };
        service.run().map(push).collect::<Vec<_>>()
    };
    let all: Vec<PushProfile> = services.iter().flat_map(of).collect();
    let mut pushes: Vec<PushProfile> = all.into_iter().cycle().take(count).collect();
    (0..).zip(&mut pushes).for_each(|(number, push)| push.time_unix_nano = Some(number));
    pushes
}

async fn push_all(pushes: &[PushProfile], durability: Durability, pushers: usize) -> Outcome<Cost> {
    let folder = tempfile::tempdir()?;
    let mut options = StoreOptions::new(Bucket::new(Arc::new(InMemory::new()), "", "memory:"));
    options.background = Background::Off;
    options.head_bytes_max = 8 << 30;
    options.wal.durability = durability;
    options.wal.files = (durability == Durability::Wal).then(|| Arc::new(OsFiles::new(folder.path())) as _);
    options.wal.bytes_max = 8 << 30;
    let store = Store::open(options).await?;
    let shares: Vec<Vec<PushProfile>> =
        (0..pushers).map(|first| pushes.iter().skip(first).step_by(pushers).cloned().collect()).collect();
    let (started, cpu) = (Instant::now(), process_cpu());
    let pushing: Vec<_> = shares
        .into_iter()
        .map(|share| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for push in share {
                    store.push(push).await?;
                }
                Ok::<(), flamestore_model::Error>(())
            })
        })
        .collect();
    for task in pushing {
        task.await??;
    }
    Ok(Cost::of(started, cpu, pushes.len()))
}

/// Appends what was received to a file, and syncs it after every `together` profiles.
fn write_all(pushes: &[PushProfile], together: usize) -> Outcome<Cost> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create_new(folder.path().join("log"))?;
    let (started, cpu) = (Instant::now(), process_cpu());
    for group in pushes.chunks(together) {
        let bytes: Vec<&[u8]> =
            group.iter().filter_map(|push| push.received.as_ref()).map(|(_, bytes)| bytes.as_ref()).collect();
        file.write_all(&bytes.concat())?;
        file.sync_data()?;
    }
    Ok(Cost::of(started, cpu, pushes.len()))
}

impl Cost {
    fn of(started: Instant, cpu: Duration, profiles: usize) -> Self {
        let each = |time: Duration| time / u32::try_from(profiles).unwrap_or(u32::MAX);
        Self { wall: each(started.elapsed()), cpu: each(process_cpu() - cpu) }
    }
}

fn tell(report: &Report, pushers: usize, [none, wal, floor]: [&Vec<Cost>; 3]) {
    let median = |costs: &[Cost], of: fn(&Cost) -> Duration| {
        let mut times: Vec<Duration> = costs.iter().map(of).collect();
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    for (what, of) in [("wall", (|cost| cost.wall) as fn(&Cost) -> Duration), ("CPU", |cost| cost.cpu)] {
        let [none, wal, floor] = [median(none, of), median(wal, of), median(floor, of)];
        report.figure(&format!("{pushers} at a time, {what}: without a log"), none, "µs a profile");
        report.figure(&format!("{pushers} at a time, {what}: with the log"), wal, "µs a profile");
        report.figure(&format!("{pushers} at a time, {what}: floor, write and sync"), floor, "µs a profile");
        report.figure("  with the log, of without", wal / none, "×");
        report.figure("  with the log, of without and the floor together", wal / (none + floor), "×");
    }
}
