//! Cuts a job short before or after any one of its steps: each request to the bucket, each call on the files of the log.
//!
//! ```text
//! scene, at rest ─▶ job, whole: the names of its steps, s0 … sn
//!       └ a copy ─▶ job, cut before or after sk ─▶ crash ─▶ a new process: answers? ─▶ job again, whole ─▶ answers, check
//! ```
//!
//! Holds always: a job makes the same steps every time, up to the one at which it is cut, so going through all `k` leaves none
//! out. A step that changes nothing is cut before it only, as nobody can tell what it left from what it found.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use flamestore_model::{ErrorKind, Result, Selector, TimeRange};
use flamestore_store::{
    Bucket, Compactor, CompactorOptions, Durability, ManualClock, ObjectKey, Store, StoreOptions, WalFile, WalFiles,
    check,
};
use flamestore_testkit::{Fate, FaultyObjects, ObjectRequest, Oracle, RequestKind, Strikes, Weather};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::support::{DAY_START, assert_equals_oracle, bucket, merged_all, options};
use crate::wal_files::MemoryFiles;

/// A step as it is called in a failure, and whether it changes anything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: String,
    changes: bool,
}

#[derive(Clone, Copy, Debug)]
enum When {
    Before,
    After,
}

/// What becomes of a step.
enum Outcome {
    Done,
    Refused,
    DoneThenEnded,
}

/// Counts the steps of a process and ends it at one of them.
#[derive(Clone, Debug)]
struct Cutter(Arc<Mutex<Cutting>>);

#[derive(Debug)]
struct Cutting {
    is_armed: bool,
    is_over: bool,
    steps: Vec<Step>,
    cut: Option<(usize, When)>,
    now_unix_nano: i64,
}

impl Cutter {
    fn step(&self, name: impl FnOnce() -> String, changes: bool) -> Outcome {
        let mut cutting = self.0.lock().unwrap();
        if cutting.is_over {
            return Outcome::Refused;
        }
        if !cutting.is_armed {
            return Outcome::Done;
        }
        let at = cutting.steps.len();
        cutting.steps.push(Step { name: name(), changes });
        match cutting.cut {
            Some((cut, when)) if cut == at => {
                cutting.is_over = true;
                match when {
                    When::Before => Outcome::Refused,
                    When::After => Outcome::DoneThenEnded,
                }
            }
            _ => Outcome::Done,
        }
    }

    fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().steps.clone()
    }
}

fn request_name(request: &ObjectRequest) -> String {
    let what = match request.path.parse() {
        Ok(ObjectKey::Segment { table, .. }) => table.to_string(),
        Ok(ObjectKey::Manifest(_)) => "manifest".to_owned(),
        Ok(ObjectKey::Wal { .. }) => "log".to_owned(),
        Ok(ObjectKey::Probe(_)) => "probe".to_owned(),
        Ok(ObjectKey::Debuginfo { part, .. }) => format!("debug information {part}"),
        Err(_) => format!("{}/", request.path),
    };
    format!("{} {what}", format!("{:?}", request.kind).to_lowercase())
}

impl Weather for Cutter {
    fn arrive(&self, request: &ObjectRequest) -> BoxFuture<'static, Fate> {
        let changes = matches!(request.kind, RequestKind::Create | RequestKind::Put | RequestKind::Delete);
        let fate = match self.step(|| request_name(request), changes) {
            Outcome::Done => Fate::Done,
            Outcome::Refused => Fate::Refused,
            Outcome::DoneThenEnded => Fate::AnswerLost,
        };
        ready(fate).boxed()
    }

    fn answer(&self, _: &ObjectRequest, _: &str) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn now_unix_nano(&self) -> i64 {
        self.0.lock().unwrap().now_unix_nano
    }
}

/// The folder of a log, whose calls are steps.
#[derive(Clone)]
struct CutFiles {
    files: MemoryFiles,
    cutter: Cutter,
}

struct CutFile {
    file: Box<dyn WalFile>,
    part: String,
    cutter: Cutter,
}

fn file_name(name: &str) -> String {
    match name.trim_start_matches(|c: char| c.is_ascii_digit()) {
        ".wal" => "part".to_owned(),
        other => other.to_owned(),
    }
}

fn cut<T>(
    cutter: &Cutter,
    name: impl FnOnce() -> String,
    changes: bool,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let ended = || io::Error::other("the process has ended");
    match cutter.step(name, changes) {
        Outcome::Done => act(),
        Outcome::Refused => Err(ended()),
        Outcome::DoneThenEnded => act().and(Err(ended())),
    }
}

impl WalFiles for CutFiles {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        self.files.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        cut(&self.cutter, || "list files".to_owned(), false, || self.files.list())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        cut(&self.cutter, || format!("read {}", file_name(name)), false, || self.files.read(name))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let part = file_name(name);
        let file = cut(&self.cutter, || format!("create {part}"), true, || self.files.create(name))?;
        Ok(Box::new(CutFile { file, part, cutter: self.cutter.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        cut(&self.cutter, || format!("rename {}", file_name(from)), true, || self.files.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        cut(&self.cutter, || format!("remove {}", file_name(name)), true, || self.files.remove(name))
    }

    fn shown(&self) -> String {
        self.files.shown()
    }
}

impl WalFile for CutFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        cut(&self.cutter, || format!("append {}", self.part), true, || self.file.append(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        cut(&self.cutter, || format!("sync {}", self.part), true, || self.file.sync())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        cut(&self.cutter, || format!("truncate {}", self.part), true, || self.file.truncate(bytes))
    }
}

/// A store at rest: what a job starts from, and what its answers must be before and after.
pub(crate) struct Scene {
    objects: FaultyObjects,
    files: MemoryFiles,
    pub(crate) durability: Durability,
    pub(crate) now_unix_nano: i64,
    pub(crate) before: Oracle,
    pub(crate) after: Oracle,
    /// Whether only a merge of everything can be compared: the job takes samples away, and windows do not fit all ranges.
    pub(crate) is_asked_whole: bool,
}

/// A process in a scene.
pub(crate) struct Process {
    pub(crate) bucket: Bucket,
    files: CutFiles,
    cutter: Cutter,
    durability: Durability,
    clock: Arc<ManualClock>,
    seed: u128,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Process {
    /// From here on what it does is the job.
    pub(crate) fn arm(&self) {
        self.cutter.0.lock().unwrap().is_armed = true;
    }

    /// A store that flushes when it is told to.
    pub(crate) async fn open(&self) -> Result<Arc<Store>> {
        let mut options = self.options();
        options.wal.durability = self.durability;
        options.wal.files = (self.durability == Durability::Wal).then(|| Arc::new(self.files.clone()) as _);
        options.wal.put_interval = std::time::Duration::ZERO;
        Store::open(options).await
    }

    fn options(&self) -> StoreOptions {
        StoreOptions { clock: self.clock.clone(), ..options(&self.bucket, "w", self.seed) }
    }

    /// A compactor with small limits, changed by `set`.
    pub(crate) fn compactor(&self, set: impl FnOnce(&mut CompactorOptions)) -> Compactor {
        let store = self.options();
        let mut options = CompactorOptions::new(self.bucket.clone());
        (options.segment, options.entropy, options.clock) = (store.segment, store.entropy, store.clock);
        options.memory_bytes_max = 1 << 20;
        set(&mut options);
        Compactor::new(options).unwrap()
    }
}

impl Scene {
    /// Nothing yet.
    pub(crate) fn new(durability: Durability) -> Self {
        Self {
            objects: FaultyObjects::new(Arc::new(Strikes::default())),
            files: MemoryFiles::default(),
            durability,
            now_unix_nano: DAY_START,
            before: Oracle::new(),
            after: Oracle::new(),
            is_asked_whole: false,
        }
    }

    /// A process that nothing befalls.
    pub(crate) fn process(&self, seed: u128) -> Process {
        self.cut_process(seed, None)
    }

    /// Ends all processes: what they did not sync is gone.
    pub(crate) fn crash(&self) {
        self.files.crash(0);
    }

    fn cut_process(&self, seed: u128, cut: Option<(usize, When)>) -> Process {
        let now_unix_nano = self.now_unix_nano;
        let cutting = Cutting { is_armed: false, is_over: false, steps: Vec::new(), cut, now_unix_nano };
        let cutter = Cutter(Arc::new(Mutex::new(cutting)));
        Process {
            bucket: bucket(Arc::new(self.objects.in_weather(Arc::new(cutter.clone())))),
            files: CutFiles { files: self.files.process(), cutter: cutter.clone() },
            cutter,
            durability: self.durability,
            clock: Arc::new(ManualClock::new(now_unix_nano)),
            seed,
        }
    }

    /// The same objects and files, to be changed by themselves.
    fn copy(&self) -> Self {
        let (before, after) = Default::default();
        let (objects, files) = (self.objects.fork(), MemoryFiles::of(self.files.contents()));
        Self { objects, files, before, after, ..*self }
    }

    /// A new process answers as before the job, or as after it; as after it if `is_done`.
    async fn audit(&self, owed: &Self, seed: u128, is_done: bool, name: &str) {
        let store = self.process(seed).open().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = merged_all(&store).await;
        let all = |oracle: &Oracle| oracle.merge_folded(&Selector::default(), &TimeRange::ALL);
        let is_after = is_done || found == all(&owed.after);
        let oracle = if is_after { &owed.after } else { &owed.before };
        assert_eq!(found, all(oracle), "{name}");
        // the job done again is asked for everything only: whatever it left behind was asked in full before
        if !owed.is_asked_whole && !is_done {
            assert_equals_oracle(&store, oracle, name).await;
        }
        drop(store);
        self.crash();
    }
}

/// Cuts `job` before and after every step, and checks what is left. `expected` are steps that it must have.
pub(crate) async fn check_every_step(scene: &Scene, expected: &[&str], job: impl AsyncFn(&Process) -> Result<()>) {
    let whole = scene.copy().process(1);
    job(&whole).await.unwrap();
    let steps = whole.cutter.steps();
    for name in expected {
        assert!(steps.iter().any(|step| step.name == *name), "no step {name:?} in {steps:?}");
    }
    for (at, step) in steps.iter().enumerate() {
        let whens: &[When] = if step.changes { &[When::Before, When::After] } else { &[When::Before] };
        for when in whens {
            let name = format!("cut {when:?} step {at} of {}, {}", steps.len(), step.name);
            check_cut(scene, &steps, (at, *when), &job, &name).await;
        }
    }
}

async fn check_cut(
    scene: &Scene,
    steps: &[Step],
    (at, when): (usize, When),
    job: impl AsyncFn(&Process) -> Result<()>,
    name: &str,
) {
    let place = scene.copy();
    let process = place.cut_process(1, Some((at, when)));
    let done = job(&process).await;
    assert_eq!(process.cutter.steps(), steps[..=at], "{name}: the steps are others than before");
    if let Err(error) = &done {
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict), "{name}: {error}");
    }
    drop(process);
    place.crash();
    place.audit(scene, 2, done.is_ok(), name).await;

    job(&place.process(3)).await.unwrap_or_else(|error| panic!("{name}, then again: {error}"));
    place.crash();
    place.audit(scene, 4, true, &format!("{name}, then again")).await;
    assert_eq!(check(&place.process(5).bucket).await.unwrap().problems, [], "{name}");
}
