//! The actors: a process that writes with two hands, one that only reads, and one that merges and collects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flamestore_calltree::{FoldOptions, ValueTree, fold, merge};
use flamestore_model::{Error, ErrorKind, ProfileId, Result, Selector, Tenant, TimeRange};
use flamestore_segment::{ScanReport, SegmentOptions};
use flamestore_store::{
    Access, Background, Bucket, CollectorPolicy, Compactor, CompactorOptions, Durability, Entropy, Mode, PushProfile,
    Scope, Snapshot, Store, StoreOptions, check,
};
use flamestore_testkit::{FaultyObjects, profile};
use std::sync::Mutex;

use crate::disk::Disk;
use crate::ledger::{Ledger, Owed, labels, questions};
use crate::world::{Place, SECOND, World};

/// How long a manifest is kept after it was replaced: the least that may be set.
const SNAPSHOT_RETENTION_SECONDS: u64 = 900;
/// The same in nanoseconds.
const RETENTION: i64 = 900 * SECOND;

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
    /// Segments that were merged away.
    pub(crate) merged: usize,
    /// Objects that were collected.
    pub(crate) collected: usize,
}

/// A process: a name in the bucket, and which start of it this is.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) writer: &'static str,
    pub(crate) who: String,
    pub(crate) durability: Durability,
    pub(crate) access: Access,
    /// The disk of its machine.
    pub(crate) disk: Disk,
}

impl Process {
    /// Start number `starts` of `writer`.
    pub(crate) fn new(writer: &'static str, starts: usize, durability: Durability, disk: Disk) -> Self {
        Self { writer, who: format!("{writer}{starts}"), durability, access: Access::ReadWrite, disk }
    }

    /// Whether what it acknowledges outlives it.
    fn outlives(&self) -> bool {
        self.durability != Durability::None
    }
}

impl Stage {
    fn fail(&self, process: &Process, what: &str) {
        self.world.note(format!("FAILED {}: {what}", process.who));
        self.told.lock().unwrap().failures.push(format!("{}: {what}", process.who));
    }

    fn place(&self, process: &Process) -> Arc<Place> {
        Arc::new(Place { world: self.world.clone(), who: process.who.clone() })
    }

    fn bucket(&self, place: &Arc<Place>) -> Bucket {
        Bucket::new(Arc::new(self.objects.in_weather(place.clone())), "", "simulation:")
    }

    /// A store that does nothing by itself and meets the world alone.
    pub(crate) fn options(&self, process: &Process, place: &Arc<Place>) -> StoreOptions {
        let mut options = StoreOptions::new(self.bucket(place));
        process.writer.clone_into(&mut options.writer);
        options.background = Background::Off;
        options.access = process.access;
        options.wal.durability = process.durability;
        options.wal.part_bytes = 2048;
        if process.durability == Durability::Wal {
            options.wal.files = Some(Arc::new(process.disk.mount()));
        }
        options.clock = place.clone();
        options.entropy = Arc::new(Entropy::from_seed(self.world.seed()));
        options.segment = SegmentOptions::tiny();
        options
    }

    /// Opens the store of `process`; tries again while the bucket cannot be reached.
    pub(crate) async fn open(&self, process: &Process) -> Option<Arc<Store>> {
        let place = self.place(process);
        loop {
            self.world.step(&process.who).await;
            match Store::open(self.options(process, &place)).await {
                Ok(store) => {
                    if process.outlives() {
                        self.ledger.takes_over(process.writer, &process.who);
                    }
                    return Some(store);
                }
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

    /// Pushes one profile; the kind of error it came to, if any.
    pub(crate) async fn push(&self, process: &Process, store: &Store) -> Option<ErrorKind> {
        // most profiles are of now, some of the day before, so that a flush has several segments
        let late = if self.world.below(8) == 0 { 86_400 * SECOND } else { 0 };
        let time = self.world.now() - late;
        let (number, pushed) = self.ledger.begin(time);
        let push = PushProfile {
            tenant: Tenant::default(),
            labels: labels(pushed.service),
            batch: profile(&pushed.text),
            received: None,
            id: (self.world.below(2) == 0).then(|| ProfileId::from_parts(number as u64, self.world.seed())),
            time_unix_nano: Some(time),
        };
        for _ in 0..3 {
            match store.push(push.clone()).await {
                Ok(_) => {
                    self.ledger.acknowledged(number, process.writer, &process.who, process.outlives());
                    return None;
                }
                // it may be in the log: one with an id may be sent again, and is counted once
                Err(error) if error.kind() == ErrorKind::Unavailable && process.outlives() => {
                    if push.id.is_none() {
                        return Some(error.kind());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Fenced && process.outlives() => return Some(error.kind()),
                Err(error) if error.kind() == ErrorKind::Exhausted || !process.outlives() => {
                    self.ledger.owe(number, Owed::Absence);
                    return Some(error.kind());
                }
                Err(error) => {
                    self.fail(process, &format!("push: {error}"));
                    return Some(error.kind());
                }
            }
        }
        Some(ErrorKind::Unavailable)
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
            // objects that waited for hours, by a jump of the clock, are uploaded anew by the next flush
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict) => true,
            Err(error) => {
                self.fail(process, &format!("flush: {error}"));
                true
            }
        }
    }

    /// Asks everything, and compares it with what is owed and with the oracle.
    pub(crate) async fn query(&self, process: &Process, store: &Store) {
        let must = self.ledger.owed_by(&process.who);
        if let Err(error) = store.refresh().await {
            return self.allow(process, "refresh", &error);
        }
        let (snapshot, since) = (store.snapshot(&Tenant::default()), self.world.now());
        let found = match merged(&snapshot, &Selector::default(), &TimeRange::ALL).await {
            Ok(found) => found,
            Err(error) => return self.allow_query(process, since, &error),
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
                Err(error) => self.allow_query(process, since, &error),
            }
        }
    }

    /// A question may fail while the bucket cannot be reached, and for no other reason.
    fn allow(&self, process: &Process, verb: &str, error: &Error) {
        if error.kind() != ErrorKind::Unavailable {
            self.fail(process, &format!("{verb}: {error}"));
        }
    }

    /// What a snapshot names is kept for a quarter of an hour: one that a jump of the clock made older may be gone.
    fn allow_query(&self, process: &Process, since: i64, error: &Error) {
        if self.world.now() - since < RETENTION {
            self.allow(process, "query", error);
        }
    }

    /// A compactor with its collector.
    pub(crate) async fn tend(self, process: Process, steps: usize) {
        let place = self.place(&process);
        let mut options = CompactorOptions::new(self.bucket(&place));
        options.clock = place.clone();
        options.entropy = Arc::new(Entropy::from_seed(self.world.seed()));
        options.segment = SegmentOptions::tiny();
        // as short as is safe, so that jumps of the clock make garbage of much
        options.collector = CollectorPolicy {
            grace: Duration::from_secs(12 * 3600),
            snapshot_retention: Duration::from_secs(SNAPSHOT_RETENTION_SECONDS),
        };
        let compactor = match Compactor::new(options) {
            Ok(compactor) => compactor,
            Err(error) => return self.fail(&process, &format!("cannot begin: {error}")),
        };
        for _ in 0..steps {
            self.world.step(&process.who).await;
            let began = self.world.now();
            match self.tend_once(&compactor).await {
                Ok(done) => self.world.note(format!("{} {done}", process.who)),
                Err(error) => self.allow_query(&process, began, &error),
            }
            if let Some((id, reason)) = compactor.damaged().first()
                && self.world.now() - began < RETENTION
            {
                self.fail(&process, &format!("segment {id} is taken for damaged: {reason}"));
            }
        }
    }

    async fn tend_once(&self, compactor: &Compactor) -> Result<String> {
        if self.world.below(4) == 0 {
            let objects = compactor.collect(Mode::Delete).await?.objects;
            self.told.lock().unwrap().collected += objects;
            return Ok(format!("collected {objects} objects"));
        }
        let segments = compactor.compact(Scope::All, &|_, _| {}).await?.segments_in;
        self.told.lock().unwrap().merged += segments;
        Ok(format!("merged {segments} segments"))
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
                    _ => drop(self.push(&process, &store).await),
                }
            }
        };
        futures::join!(flushing, pushing);
        self.shut_down(&process, &store).await;
    }

    /// Shuts down: then all is published, or stays owed as it was, or is gone with the memory.
    pub(crate) async fn shut_down(&self, process: &Process, store: &Store) {
        let before = self.ledger.unpublished(&process.who);
        match store.shutdown().await {
            Ok(()) => self.ledger.settle(&before, &Owed::ByAll),
            Err(error) => {
                self.world.note(format!("{} ended with {}", process.who, error.kind().as_str()));
                if !process.outlives() {
                    self.ledger.settle(&before, &Owed::Anything);
                }
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

    /// A last start of a writer: it answers with everything that was acknowledged, and publishes it.
    pub(crate) async fn conclude(self, process: Process) {
        let Some(store) = self.open(&process).await else { return };
        self.query(&process, &store).await;
        let before = self.ledger.unpublished(&process.who);
        match store.shutdown().await {
            Ok(()) => self.ledger.settle(&before, &Owed::ByAll),
            Err(error) => self.fail(&process, &format!("shutdown: {error}")),
        }
    }

    /// A last look at everything.
    pub(crate) async fn audit(self, process: Process) {
        let Some(store) = self.open(&process).await else { return };
        self.query(&process, &store).await;
        match check(&self.bucket(&self.place(&process))).await {
            Ok(report) if report.problems.is_empty() => {}
            Ok(report) => self.fail(&process, &format!("the check found {:?}", report.problems)),
            Err(error) => self.fail(&process, &format!("check: {error}")),
        }
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
