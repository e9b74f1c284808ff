//! One run: two writers and a compactor that crash and come back, a reader, and the weather, all from one seed; then an audit.

use std::sync::Arc;

use flamestore_store::{Access, Durability};
use flamestore_testkit::FaultyObjects;
use tokio::task::JoinHandle;

use crate::actors::{Process, Stage, Told};
use crate::disk::Disk;
use crate::ledger::{Ledger, Owed};
use crate::world::{Place, SECOND, Sky, World};

/// Picks after which a run that did not end is given up.
const PICKS_MAX: usize = 200_000;
/// Actions of a writer's start, and of the reader.
const STEPS: usize = 16;

/// What became of a run.
pub(crate) struct Outcome {
    pub(crate) told: Told,
    pub(crate) trace: Vec<String>,
    pub(crate) profiles: usize,
}

/// Runs `seed` on this thread.
pub(crate) fn run(seed: u64) -> Outcome {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(simulate(seed))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Writer,
    Compactor,
}

/// One name of the bucket: it is started again and again.
struct Slot {
    role: Role,
    starts: usize,
    process: Process,
    task: JoinHandle<()>,
}

async fn simulate(seed: u64) -> Outcome {
    let world = World::new(seed);
    let place = Place { world: world.clone(), who: "nobody".to_owned() };
    let objects = FaultyObjects::new(Arc::new(place));
    let stage = Stage { world: world.clone(), ledger: Ledger::default(), objects, told: Arc::default() };
    let roles = [(Role::Writer, "a"), (Role::Writer, "b"), (Role::Compactor, "compactor")];
    let begin = |(role, writer)| {
        let durability = [Durability::None, Durability::Wal, Durability::Bucket][world.below(3)];
        let process = Process::new(writer, 1, durability, Disk::new(&world));
        world.note(format!("{writer} is {role:?} with durability {durability:?}"));
        start(&stage, role, process, 1)
    };
    let mut slots: Vec<Slot> = roles.into_iter().map(begin).collect();
    let reader = Process::new("reader", 1, Durability::None, Disk::new(&world));
    let reader = Process { access: Access::ReadOnly, ..reader };
    let mut reading = tokio::spawn(stage.clone().read(reader, STEPS));
    let mut crashes = world.below(5);
    for picks in 0.. {
        world.settle().await;
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
        if !world.pick() {
            break;
        }
    }
    let unfinished = slots.iter().filter(|slot| !slot.task.is_finished());
    for who in unfinished.map(|slot| slot.process.who.clone()) {
        stage.told.lock().unwrap().failures.push(format!("{who} waits for ever"));
    }
    slots.iter().for_each(|slot| slot.task.abort());
    reading.abort();
    for task in slots.iter_mut().map(|slot| &mut slot.task).chain([&mut reading]) {
        if let Err(error) = task.await
            && error.is_panic()
        {
            stage.told.lock().unwrap().failures.push(format!("panicked: {error}"));
        }
    }
    finish(stage, slots).await
}

/// The sky clears, and what is published is counted once more by a process that knows nothing.
async fn finish(stage: Stage, slots: Vec<Slot>) -> Outcome {
    let world = stage.world.clone();
    world.set_sky(Sky::Fair);
    world.note("audit".to_owned());
    let (last, all) = (stage.clone(), stage.clone());
    let auditing = tokio::spawn(async move {
        for Slot { starts, process, .. } in slots.into_iter().filter(|slot| slot.role == Role::Writer) {
            last.clone().conclude(Process::new(process.writer, starts + 1, process.durability, process.disk)).await;
        }
        last.audit(Process::new("auditor", 1, Durability::None, Disk::new(&all.world))).await;
    });
    while !auditing.is_finished() {
        world.settle().await;
        world.pick();
    }
    let mut told = std::mem::take(&mut *stage.told.lock().unwrap());
    if let Err(error) = auditing.await {
        told.failures.push(format!("the auditor panicked: {error}"));
    }
    Outcome { told, trace: world.trace(), profiles: stage.ledger.len() }
}

fn start(stage: &Stage, role: Role, process: Process, starts: usize) -> Slot {
    let task = match role {
        Role::Writer => tokio::spawn(stage.clone().write(process.clone(), STEPS)),
        Role::Compactor => tokio::spawn(stage.clone().tend(process.clone(), STEPS * 4)),
    };
    Slot { role, starts, process, task }
}

/// The process ends at once, or is only thought dead and lives on; another takes its name either way.
fn crash(stage: &Stage, slot: &mut Slot, seed: u64) {
    // a folder is held by one process at a time, so nobody takes it from one that lives
    let lives_on = stage.world.below(3) == 0 && slot.process.durability != Durability::Wal;
    let Process { writer, durability, disk, .. } = slot.process.clone();
    let next = Process::new(writer, slot.starts + 1, durability, disk.clone());
    let old = std::mem::replace(slot, start(stage, slot.role, next, slot.starts + 1));
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
    disk.crash();
    if durability == Durability::None {
        let left = stage.ledger.unpublished(&old.process.who);
        stage.ledger.settle(&left, &Owed::Anything);
    }
}

fn change_weather(world: &World, picks: usize) {
    if picks.is_multiple_of(50) {
        let skies = [Sky::Fair, Sky::Showers, Sky::Showers, Sky::Storm, Sky::Unreachable];
        let sky = skies[world.below(skies.len())];
        world.note(format!("the sky is {sky:?}"));
        world.set_sky(sky);
    }
    if world.below(200) == 0 {
        let jump =
            [-3600 * SECOND, -SECOND, 60 * SECOND, 1200 * SECOND, 7200 * SECOND, 50_000 * SECOND][world.below(6)];
        world.note(format!("the clock jumps by {} s", jump / SECOND));
        world.jump(jump);
    }
}
