//! A minute without the bucket, under load: what was acknowledged is there, memory stays within its bound, the load resumes.

use std::sync::Arc;
use std::time::Duration;

use flamestore_model::ErrorKind;
use flamestore_store::{Background, Clock, Durability, Entropy, Store, StoreOptions};
use flamestore_testkit::FaultyObjects;

use crate::actors::{Process, Stage};
use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::world::{DAY_START, Place, SECOND, Sky, World};

/// The time between two pushes.
const PACE: Duration = Duration::from_millis(250);
/// When the bucket is gone, and for how long the load goes on, in seconds.
const GONE: std::ops::Range<i64> = 20..80;
const END: i64 = 110;
/// Bytes of the head: less than a minute's load.
const HEAD_BYTES_MAX: usize = 96 << 10;

/// What became of the pushes of one stretch of time.
#[derive(Debug, Default)]
struct Pushes {
    accepted: usize,
    full: usize,
    unavailable: usize,
}

#[derive(Debug, Default)]
struct Outage {
    before: Pushes,
    during: Pushes,
    /// From ten seconds after the bucket came back.
    after: Pushes,
    head_bytes: usize,
    failures: Vec<String>,
}

fn options(stage: &Stage, process: &Process, place: &Arc<Place>) -> StoreOptions {
    let mut options = stage.options(process, place);
    options.background = Background::Run;
    options.entropy = Arc::new(Entropy::from_seed(stage.world.seed()));
    options.head_bytes_max = HEAD_BYTES_MAX;
    options.flush_bytes = HEAD_BYTES_MAX / 4;
    options.flush_interval = Duration::from_secs(5);
    options
}

async fn load(stage: Stage, process: Process) -> Outage {
    let place = Arc::new(Place { world: stage.world.clone(), who: process.who.clone() });
    let store = Store::open(options(&stage, &process, &place)).await.unwrap();
    let mut outage = Outage::default();
    loop {
        let second = (stage.world.now() - DAY_START) / SECOND;
        stage.world.set_sky(if GONE.contains(&second) { Sky::Unreachable } else { Sky::Fair });
        if second >= END {
            break;
        }
        let mut nowhere = Pushes::default();
        let pushes = match second {
            second if second < GONE.start => &mut outage.before,
            second if second < GONE.end => &mut outage.during,
            second if second < GONE.end + 10 => &mut nowhere,
            _ => &mut outage.after,
        };
        match stage.push(&process, &store).await {
            None => pushes.accepted += 1,
            Some(ErrorKind::Exhausted) => pushes.full += 1,
            Some(_) => pushes.unavailable += 1,
        }
        outage.head_bytes = outage.head_bytes.max(store.head_status().bytes);
        place.sleep(PACE).await;
    }
    stage.query(&process, &store).await;
    stage.shut_down(&process, &store).await;
    outage
}

fn check_outage(durability: Durability) -> Outage {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let world = World::new(7);
        world.make_swift();
        let objects = FaultyObjects::new(Arc::new(Place { world: world.clone(), who: "nobody".to_owned() }));
        let stage = Stage { world: world.clone(), ledger: Ledger::default(), objects, told: Arc::default() };
        let process = Process::new("w", 1, durability, Disk::dependable(&world));
        let auditor = Process::new("auditor", 1, Durability::None, Disk::dependable(&world));
        let mut outage = run(&world, load(stage.clone(), process)).await;
        run(&world, stage.clone().audit(auditor)).await;
        outage.failures = std::mem::take(&mut stage.told.lock().unwrap().failures);
        outage
    })
}

/// Lets the world go on until `actor` ends.
async fn run<T: Send + 'static>(world: &World, actor: impl Future<Output = T> + Send + 'static) -> T {
    let acting = tokio::spawn(actor);
    while !acting.is_finished() {
        world.settle().await;
        world.pick();
    }
    acting.await.unwrap()
}

#[test]
fn a_minute_without_the_bucket_loses_nothing_and_the_load_resumes() {
    for durability in [Durability::Wal, Durability::Bucket, Durability::None] {
        let outage = check_outage(durability);
        let Outage { before, during, after, head_bytes, failures } = &outage;
        assert!(failures.is_empty(), "{durability:?}: {failures:?}");
        assert!(*head_bytes <= HEAD_BYTES_MAX, "{durability:?}: {outage:?}");
        assert_eq!(
            (before.full, before.unavailable, after.full, after.unavailable),
            (0, 0, 0, 0),
            "{durability:?}: {outage:?}"
        );
        assert!(before.accepted > 60 && after.accepted > 70, "{durability:?}: {outage:?}");
        match durability {
            // an acknowledgement needs the bucket
            Durability::Bucket => assert!(during.unavailable > 0 && during.accepted == 0, "{outage:?}"),
            // the head takes what it can, then says that it is full
            _ => assert!(
                during.accepted > 30 && during.full > 0 && during.unavailable == 0,
                "{durability:?}: {outage:?}"
            ),
        }
    }
}
