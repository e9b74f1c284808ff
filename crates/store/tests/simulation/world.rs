//! The world of a simulation: one queue of everything that waits, and one hand that picks what happens next.
//!
//! ```text
//! actors ── step ──────────┐
//! stores ── request ───────┤                    settle: until nothing runs
//! bucket ── answer ────────┼──▶ waiting ──▶ pick by the seed ──▶ it goes on, until all wait again
//! clocks ── sleep ─────────┘
//! ```
//!
//! Holds always: between two picks everything waits here, so the order of picks is the whole schedule and the seed is the
//! order of picks. Time passes only when a sleep is picked, or by a jump.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use flamestore_store::{Clock, Entropy};
use flamestore_testkit::{Fate, ObjectRequest, RequestKind, Weather};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Mutex;
use tokio::sync::oneshot;

/// 2026-11-22T00:00:00Z.
pub(crate) const DAY_START: i64 = 1_795_305_600_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;

/// Something that waits for its turn.
enum Waiting {
    Step(oneshot::Sender<()>),
    Sleep(i64, oneshot::Sender<()>),
    Request(ObjectRequest, oneshot::Sender<Fate>),
    Answer(oneshot::Sender<()>),
}

struct Entry {
    /// Who waits: a process and its number of starts.
    who: String,
    line: String,
    waiting: Waiting,
}

/// One in so many requests meets a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sky {
    Fair,
    Showers,
    Storm,
    /// Nothing gets through.
    Unreachable,
}

struct State {
    entropy: Entropy,
    now: i64,
    sky: Sky,
    /// Whether sleeps end only when nothing else can happen.
    is_swift: bool,
    /// So many further requests are refused: a broken connection takes those after it along.
    broken: usize,
    queue: Vec<Entry>,
    /// How often anything began to wait.
    waits: u64,
    trace: Vec<String>,
}

/// Clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let entropy = Entropy::from_seed(u128::from(seed));
        let (queue, trace) = (Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(State {
            entropy,
            now: DAY_START,
            sky: Sky::Fair,
            is_swift: false,
            broken: 0,
            queue,
            waits: 0,
            trace,
        })))
    }

    /// A number below `end`, from the seed.
    pub(crate) fn below(&self, end: usize) -> usize {
        self.0.lock().unwrap().below(end)
    }

    /// Random bits for a store.
    pub(crate) fn seed(&self) -> u128 {
        self.0.lock().unwrap().entropy.next_u128()
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.lock().unwrap().now
    }

    pub(crate) fn jump(&self, nanos: i64) {
        self.0.lock().unwrap().now += nanos;
    }

    pub(crate) fn set_sky(&self, sky: Sky) {
        let mut state = self.0.lock().unwrap();
        (state.sky, state.broken) = (sky, 0);
    }

    /// From now on requests take no time.
    pub(crate) fn make_swift(&self) {
        self.0.lock().unwrap().is_swift = true;
    }

    /// Writes a line of the trace.
    pub(crate) fn note(&self, line: String) {
        self.0.lock().unwrap().trace.push(line);
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.0.lock().unwrap().trace.clone()
    }

    /// Waits until this actor's next step is picked.
    pub(crate) async fn step(&self, who: &str) {
        let (go, told) = oneshot::channel();
        self.wait(who, "step".to_owned(), Waiting::Step(go));
        let _ = told.await;
    }

    /// Returns when nothing runs any more. All runs on this thread, so that is when nothing more begins to wait.
    pub(crate) async fn settle(&self) {
        let waits = || self.0.lock().unwrap().waits;
        loop {
            let before = waits();
            for _ in 0..32 {
                tokio::task::yield_now().await;
            }
            if waits() == before {
                return;
            }
        }
    }

    /// Lets one thing happen; false when nothing waits.
    pub(crate) fn pick(&self) -> bool {
        self.0.lock().unwrap().pick()
    }

    fn wait(&self, who: &str, line: String, waiting: Waiting) {
        let mut state = self.0.lock().unwrap();
        state.waits += 1;
        state.queue.push(Entry { who: who.to_owned(), line, waiting });
    }
}

impl State {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.entropy.next_u128() % end as u128).unwrap()
    }

    fn pick(&mut self) -> bool {
        // whoever gave up waiting is out of the queue; a request goes on without its client
        self.queue.retain(|entry| match &entry.waiting {
            Waiting::Step(go) | Waiting::Sleep(_, go) => !go.is_closed(),
            Waiting::Request(..) | Waiting::Answer(_) => true,
        });
        let first_sleep = self.queue.iter().filter_map(Entry::until).min();
        let is_swift = self.is_swift && self.queue.iter().any(|entry| entry.until().is_none());
        let may = |entry: &Entry| {
            (entry.until().is_none() || !is_swift) && entry.until().is_none_or(|until| Some(until) == first_sleep)
        };
        let choices: Vec<usize> = (0..self.queue.len()).filter(|at| may(&self.queue[*at])).collect();
        if choices.is_empty() {
            return false;
        }
        let at = self.below(choices.len());
        let Entry { who, line, waiting } = self.queue.remove(choices[at]);
        let said = match waiting {
            Waiting::Step(go) | Waiting::Answer(go) => {
                let _ = go.send(());
                String::new()
            }
            Waiting::Sleep(until, go) => {
                self.now = self.now.max(until);
                let _ = go.send(());
                String::new()
            }
            Waiting::Request(request, go) => {
                let fate = self.fate(&request);
                let _ = go.send(fate);
                format!(" -> {fate:?}")
            }
        };
        self.trace.push(format!("{} {who} {line}{said}", (self.now - DAY_START) / 1_000_000));
        true
    }

    fn fate(&mut self, request: &ObjectRequest) -> Fate {
        if self.broken > 0 {
            self.broken -= 1;
            return Fate::Refused;
        }
        let one_in = match self.sky {
            Sky::Fair => return Fate::Done,
            Sky::Unreachable => return Fate::Refused,
            Sky::Showers => 25,
            Sky::Storm => 5,
        };
        if self.below(one_in) > 0 {
            return Fate::Done;
        }
        let fates: &[Fate] = match request.kind {
            RequestKind::Create => {
                &[Fate::Refused, Fate::Throttled, Fate::AnswerLost, Fate::AnswerLost, Fate::Repeated]
            }
            RequestKind::Get => &[Fate::Refused, Fate::Throttled, Fate::AnswerLost, Fate::CutShort],
            _ => &[Fate::Refused, Fate::Throttled, Fate::AnswerLost],
        };
        let fate = fates[self.below(fates.len())];
        if fate == Fate::AnswerLost {
            self.broken = self.below(4);
        }
        fate
    }
}

impl Entry {
    fn until(&self) -> Option<i64> {
        match self.waiting {
            Waiting::Sleep(until, _) => Some(until),
            _ => None,
        }
    }
}

/// The world as one process meets it: its weather and its clock.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) who: String,
}

impl Weather for Place {
    fn arrive(&self, request: &ObjectRequest) -> BoxFuture<'static, Fate> {
        let (go, told) = oneshot::channel();
        self.world.wait(&self.who, request.to_string(), Waiting::Request(request.clone(), go));
        told.map(|fate| fate.unwrap_or(Fate::Refused)).boxed()
    }

    fn answer(&self, request: &ObjectRequest, outcome: &str) -> BoxFuture<'static, ()> {
        let (go, told) = oneshot::channel();
        let line = format!("{:?} {}: {outcome}", request.kind, request.path);
        self.world.wait(&self.who, line, Waiting::Answer(go));
        told.map(drop).boxed()
    }

    fn now_unix_nano(&self) -> i64 {
        self.world.now()
    }
}

impl Clock for Place {
    fn now_unix_nano(&self) -> i64 {
        self.world.now()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let (world, who) = (self.world.clone(), self.who.clone());
        let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        async move {
            let (go, told) = oneshot::channel();
            let until = world.now().saturating_add(nanos);
            world.wait(&who, "sleep".to_owned(), Waiting::Sleep(until, go));
            let _ = told.await;
        }
        .boxed()
    }
}
