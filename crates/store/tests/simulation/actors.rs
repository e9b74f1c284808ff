//! The actors: a process that writes with two hands and one that only reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use flamestore_calltree::{FoldOptions, ValueTree, fold, merge};
use flamestore_model::{Error, ErrorKind, Result, Selector, Tenant, TimeRange};
use flamestore_segment::{ScanReport, SegmentOptions};
use flamestore_store::{Background, Bucket, Entropy, PushProfile, Snapshot, Store, StoreOptions};
use flamestore_testkit::{FaultyObjects, profile};
use std::sync::Mutex;

use crate::ledger::{Ledger, Owed, labels, questions};
use crate::world::{Place, SECOND, World};

/// What all actors share.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    pub(crate) objects: FaultyObjects,
    pub(crate) told: Arc<Mutex<Told>>,
}

/// What the actors found.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) failures: Vec<String>,
    pub(crate) queries: usize,
}

/// A process: a name in the bucket, and which start of it this is.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) writer: &'static str,
    pub(crate) who: String,
}

impl Stage {
    fn fail(&self, process: &Process, what: &str) {
        self.world.note(format!("FAILED {}: {what}", process.who));
        self.told.lock().unwrap().failures.push(format!("{}: {what}", process.who));
    }

    /// Opens the store of `process`; tries again while the bucket cannot be reached.
    pub(crate) async fn open(&self, process: &Process) -> Option<Arc<Store>> {
        let place = Arc::new(Place { world: self.world.clone(), who: process.who.clone() });
        loop {
            self.world.step(&process.who).await;
            let objects = self.objects.in_weather(place.clone());
            let mut options = StoreOptions::new(Bucket::new(Arc::new(objects), "", "simulation:"));
            process.writer.clone_into(&mut options.writer);
            options.background = Background::Off;
            options.clock = place.clone();
            options.entropy = Arc::new(Entropy::from_seed(self.world.seed()));
            options.segment = SegmentOptions::tiny();
            match Store::open(options).await {
                Ok(store) => return Some(store),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    self.world.note(format!("{} cannot open: {}", process.who, error.kind().as_str()));
                }
                Err(error) => {
                    self.fail(process, &format!("cannot open: {error}"));
                    return None;
                }
            }
        }
    }

    async fn push(&self, process: &Process, store: &Store) {
        // most profiles are of now, some of the day before, so that a flush has several segments
        let late = if self.world.below(8) == 0 { 86_400 * SECOND } else { 0 };
        let time = self.world.now() - late;
        let (number, pushed) = self.ledger.begin(time);
        let push = PushProfile {
            tenant: Tenant::default(),
            labels: labels(pushed.service),
            batch: profile(&pushed.text),
            received: None,
            id: None,
            time_unix_nano: Some(time),
        };
        match store.push(push).await {
            Ok(_) => self.ledger.owe(number, Owed::BySelf(process.who.clone())),
            Err(error) if matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Unavailable | ErrorKind::Exhausted) => {
                self.ledger.owe(number, Owed::Absence);
            }
            Err(error) => self.fail(process, &format!("push: {error}")),
        }
    }

    /// Flushes; whether the process is still the writer.
    async fn flush(&self, process: &Process, store: &Store) -> bool {
        let before = self.ledger.unpublished(&process.who);
        match store.flush().await {
            Ok(report) => {
                self.world
                    .note(format!("{} flushed {} profiles, version {}", process.who, report.profiles, report.version));
                self.ledger.settle(&before, &Owed::ByAll);
                true
            }
            Err(error) if error.kind() == ErrorKind::Fenced => {
                self.world.note(format!("{} is fenced", process.who));
                false
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => true,
            Err(error) => {
                self.fail(process, &format!("flush: {error}"));
                true
            }
        }
    }

    /// Asks everything, and compares it with what is owed and with the oracle.
    async fn query(&self, process: &Process, store: &Store) {
        let must = self.ledger.owed_by(&process.who);
        if let Err(error) = store.refresh().await {
            return self.allow(process, "refresh", &error);
        }
        let snapshot = store.snapshot(&Tenant::default());
        let found = match merged(&snapshot, &Selector::default(), &TimeRange::ALL).await {
            Ok(found) => found,
            Err(error) => return self.allow(process, "query", &error),
        };
        let held = match self.ledger.check(&found, &must) {
            Ok(held) => held,
            Err(what) => return self.fail(process, &format!("version {}: {what}", snapshot.version)),
        };
        let oracle = self.ledger.oracle(&held);
        for (selector, range) in questions() {
            match merged(&snapshot, &selector, &range).await {
                Ok(found) if found == oracle.merge_folded(&selector, &range) => self.told.lock().unwrap().queries += 1,
                Ok(_) => self.fail(process, &format!("{selector} in {range} is not what the oracle says")),
                Err(error) => self.allow(process, "query", &error),
            }
        }
    }

    /// A question may fail while the bucket cannot be reached, and for no other reason.
    fn allow(&self, process: &Process, verb: &str, error: &Error) {
        if error.kind() != ErrorKind::Unavailable {
            self.fail(process, &format!("{verb}: {error}"));
        }
    }

    /// A writer: two tasks, one that pushes and asks, one that flushes, until `steps` are over; then it shuts down.
    pub(crate) async fn write(self, process: Process, steps: usize) {
        let Some(store) = self.open(&process).await else { return };
        let flushing = async {
            for _ in 0..steps / 4 {
                self.world.step(&process.who).await;
                if !self.flush(&process, &store).await {
                    return;
                }
            }
        };
        let pushing = async {
            for _ in 0..steps {
                self.world.step(&process.who).await;
                match self.world.below(6) {
                    0 => self.query(&process, &store).await,
                    _ => self.push(&process, &store).await,
                }
            }
        };
        futures::join!(flushing, pushing);
        let before = self.ledger.unpublished(&process.who);
        match store.shutdown().await {
            Ok(()) => self.ledger.settle(&before, &Owed::ByAll),
            Err(error) => {
                self.world.note(format!("{} ended with {}", process.who, error.kind().as_str()));
                self.ledger.settle(&before, &Owed::Anything);
            }
        }
    }

    /// A reader: asks again and again.
    pub(crate) async fn read(self, process: Process, steps: usize) {
        let Some(store) = self.open(&process).await else { return };
        for _ in 0..steps {
            self.world.step(&process.who).await;
            self.query(&process, &store).await;
        }
    }

    /// A last look at everything.
    pub(crate) async fn audit(self, process: Process) {
        let Some(store) = self.open(&process).await else { return };
        self.query(&process, &store).await;
    }
}

/// The merge over heads and segments, as folded stacks.
async fn merged(snapshot: &Snapshot, selector: &Selector, range: &TimeRange) -> Result<BTreeMap<String, i64>> {
    let mut trees: Vec<ValueTree> = Vec::new();
    let mut report = ScanReport::default();
    for segment in snapshot.segments.iter().filter(|segment| segment.entry.overlaps(range)) {
        trees.extend(segment.reader.merge(selector, range, &mut report).await?);
    }
    for head in &snapshot.head {
        trees.extend(head.select(selector, range).iter().map(|selection| head.merge_dictionary(selection)));
    }
    let tree = merge(trees.into_iter().map(|tree| (tree, 0)).collect(), 1);
    let folded = fold(&tree, &FoldOptions { max_nodes: 0 }).folded();
    Ok(folded.into_iter().map(|(stack, values)| (stack, values[0])).collect())
}
