//! One run: two writers that crash and come back, a reader, and the weather, all from one seed; then an audit.

use std::sync::Arc;
use std::time::Duration;

use flamestore_testkit::FaultyObjects;
use tokio::task::JoinHandle;

use crate::actors::{Process, Stage, Told};
use crate::ledger::{Ledger, Owed};
use crate::world::{Place, SECOND, Sky, World};

/// Picks after which a run that did not end is given up.
const PICKS_MAX: usize = 200_000;
/// Rounds of waiting for threads and tasks before a pick: more than the jobs on other threads that one step makes in a row.
const ROUNDS: usize = 6;
/// Actions of a writer's start, and of the reader.
const STEPS: usize = 16;

/// What became of a run.
pub(crate) struct Outcome {
    pub(crate) failures: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) profiles: usize,
    pub(crate) queries: usize,
}

/// Runs `seed` on this thread.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(1).thread_keep_alive(Duration::from_secs(60)).build().unwrap();
    runtime.block_on(simulate(seed))
}

/// One name of the bucket: it is started again and again.
struct Slot {
    writer: &'static str,
    starts: usize,
    process: Process,
    task: JoinHandle<()>,
}

async fn simulate(seed: u64) -> Outcome {
    let world = World::new(seed);
    let place = Place { world: world.clone(), who: "nobody".to_owned() };
    let objects = FaultyObjects::new(Arc::new(place));
    let stage = Stage { world: world.clone(), ledger: Ledger::default(), objects, told: Arc::default() };
    let mut slots: Vec<Slot> = ["a", "b"].into_iter().map(|writer| start(&stage, writer, 1)).collect();
    let reader = Process { writer: "reader", who: "reader".to_owned() };
    let mut reading = tokio::spawn(stage.clone().read(reader, STEPS));
    let mut crashes = world.below(5);
    for picks in 0.. {
        settle(&stage, &slots).await;
        if picks > PICKS_MAX {
            stage.told.lock().unwrap().failures.push(format!("it did not end in {PICKS_MAX} steps"));
            break;
        }
        change_weather(&world, picks);
        if crashes > 0 && world.below(60) == 0 {
            crashes -= 1;
            let at = world.below(slots.len());
            crash(&stage, &mut slots[at], seed);
            continue;
        }
        if !world.pick() && slots.iter().all(|slot| slot.task.is_finished()) && reading.is_finished() {
            break;
        }
    }
    for task in slots.iter_mut().map(|slot| &mut slot.task).chain([&mut reading]) {
        if let Err(error) = task.await
            && error.is_panic()
        {
            stage.told.lock().unwrap().failures.push(format!("panicked: {error}"));
        }
    }
    finish(stage).await
}

/// The sky clears, and what is published is counted once more by a process that knows nothing.
async fn finish(stage: Stage) -> Outcome {
    let world = stage.world.clone();
    world.set_sky(Sky::Fair);
    world.note("audit".to_owned());
    let process = Process { writer: "auditor", who: "auditor".to_owned() };
    let auditing = tokio::spawn(stage.clone().audit(process.clone()));
    while !auditing.is_finished() {
        quiet(ROUNDS).await;
        world.pick();
    }
    let Told { failures, queries } = std::mem::take(&mut *stage.told.lock().unwrap());
    let failures = match auditing.await {
        Ok(()) => failures,
        Err(error) => [failures, vec![format!("the auditor panicked: {error}")]].concat(),
    };
    Outcome { failures, trace: world.trace(), profiles: stage.ledger.len(), queries }
}

fn start(stage: &Stage, writer: &'static str, starts: usize) -> Slot {
    let process = Process { writer, who: format!("{writer}{starts}") };
    let task = tokio::spawn(stage.clone().write(process.clone(), STEPS));
    Slot { writer, starts, process, task }
}

/// The process ends at once, or is only thought dead and lives on; another takes its name either way.
fn crash(stage: &Stage, slot: &mut Slot, seed: u64) {
    let lives_on = stage.world.below(3) == 0;
    let old = std::mem::replace(slot, start(stage, slot.writer, slot.starts + 1));
    stage.world.note(format!("{} {}", old.process.who, if lives_on { "is replaced" } else { "crashes" }));
    if lives_on {
        let told = Arc::clone(&stage.told);
        tokio::spawn(async move {
            if let Err(error) = old.task.await {
                told.lock().unwrap().failures.push(format!("seed {seed}: panicked: {error}"));
            }
        });
        return;
    }
    old.task.abort();
    let left = stage.ledger.unpublished(&old.process.who);
    stage.ledger.settle(&left, &Owed::Anything);
}

fn change_weather(world: &World, picks: usize) {
    if picks.is_multiple_of(50) {
        let skies = [Sky::Fair, Sky::Showers, Sky::Showers, Sky::Storm, Sky::Unreachable];
        let sky = skies[world.below(skies.len())];
        world.note(format!("the sky is {sky:?}"));
        world.set_sky(sky);
    }
    if world.below(200) == 0 {
        let jump = [-3600 * SECOND, -SECOND, 60 * SECOND, 7200 * SECOND][world.below(4)];
        world.note(format!("the clock jumps by {} s", jump / SECOND));
        world.jump(jump);
    }
}

/// Returns when nothing runs any more: every job on another thread is done, and every task waits.
async fn settle(stage: &Stage, slots: &[Slot]) {
    quiet(ROUNDS).await;
    // a start reads what it finds in many jobs: it is at rest when it waits for something
    while slots.iter().any(|slot| !slot.task.is_finished() && !stage.world.waits(&slot.process.who)) {
        quiet(1).await;
    }
}

/// Lets jobs and tasks go on for so many rounds. There is one thread for jobs, so one that comes back has seen those before
/// it to their end.
async fn quiet(rounds: usize) {
    for _ in 0..rounds {
        let _ = tokio::task::spawn_blocking(|| ()).await;
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
}
