//! The queue before a log: records wait together, are committed together, and each push is told what became of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flamestore_model::{Error, Result};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::{Entry, Medium, Record, WalOptions};
use crate::metric;

/// Records that wait for their turn; further pushes wait for a place.
const QUEUE_RECORDS_MAX: usize = 1024;
/// Bytes of a commit, from which on no further record joins it.
const COMMIT_BYTES_MAX: usize = 8 << 20;
/// When a push that found the log full may be tried again: a flush takes about as long.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The write-ahead log of a store.
pub(crate) struct Wal {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    room: Arc<Semaphore>,
    room_max: u32,
    bytes: Arc<Shared>,
    released: watch::Sender<u64>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Bytes of the log, and whether it is closed in order rather than dropped.
struct Shared {
    is_closing: AtomicBool,
    max: u64,
    kept: AtomicU64,
    waiting: AtomicU64,
}

/// A record that waits, and who waits for it.
struct Waiting {
    entry: Entry,
    done: oneshot::Sender<Result<()>>,
    _room: OwnedSemaphorePermit,
    _counted: Counted,
}

/// Bytes that are counted as waiting until dropped.
struct Counted(Arc<Shared>, u64);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Wal {
    /// Starts to write to `medium`, whose old parts were replayed.
    pub(crate) fn start(medium: Box<dyn Medium>, options: &WalOptions) -> Self {
        let (queue, records) = mpsc::channel(QUEUE_RECORDS_MAX);
        let (released, releases) = watch::channel(0);
        let room_max = kib(options.queue_bytes_max).max(1);
        let kept = AtomicU64::new(medium.bytes(0));
        let waiting = AtomicU64::new(0);
        let bytes = Arc::new(Shared { is_closing: AtomicBool::new(false), max: options.bytes_max, kept, waiting });
        let task = tokio::spawn(run(medium, records, releases, Arc::clone(&bytes)));
        Self {
            queue: Mutex::new(Some(queue)),
            room: Arc::new(Semaphore::new(room_max as usize)),
            room_max,
            bytes,
            released,
            task: Mutex::new(Some(task)),
        }
    }

    /// Bytes that are not published.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.kept.load(Ordering::Relaxed) + self.bytes.waiting.load(Ordering::Relaxed)
    }

    /// Whether so much is not published that a flush should not wait for its time.
    pub(crate) fn wants_flush(&self) -> bool {
        self.bytes() >= self.bytes.max / 2
    }

    /// Makes `record` durable as one of `generation`.
    ///
    /// # Errors
    /// `Exhausted` when too much is not published; `Fenced` when another store took over the log; otherwise what the
    /// medium says, and then the record may be durable or not.
    pub(crate) async fn append(&self, generation: u64, record: &Record) -> Result<()> {
        let payload = record.encode_to_vec();
        let counted = self.bytes.count(payload.len() as u64)?;
        let Some(queue) = self.queue.lock().clone() else { return Err(Error::unavailable("wal: is closed")) };
        let room = Arc::clone(&self.room).acquire_many_owned(kib(payload.len()).clamp(1, self.room_max));
        let gone = || Error::unavailable("wal: ended before the record was written");
        let room = room.await.map_err(|_| gone())?;
        let (done, answer) = oneshot::channel();
        let waiting = Waiting { entry: Entry { generation, payload }, done, _room: room, _counted: counted };
        queue.send(waiting).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// All records of generations up to `generation` are published.
    pub(crate) fn release(&self, generation: u64) {
        self.released.send_if_modified(|released| {
            let is_later = generation > *released;
            *released = generation.max(*released);
            is_later
        });
    }

    /// Writes what waits, deletes what is published, and lets go of the medium.
    pub(crate) async fn close(&self) {
        self.bytes.is_closing.store(true, Ordering::Relaxed);
        self.queue.lock().take();
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the write-ahead log did not end");
        }
    }
}

impl Shared {
    fn count(self: &Arc<Self>, bytes: u64) -> Result<Counted> {
        let counted = Counted(Arc::clone(self), bytes);
        let found = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes + self.kept.load(Ordering::Relaxed);
        match found > self.max {
            true => Err(Error::exhausted(format!("the write-ahead log is full: wal_bytes_max is {}", self.max))
                .with("wal_bytes", found - bytes)
                .with("record_bytes", bytes)
                .retry_after(RETRY_DELAY)),
            false => Ok(counted),
        }
    }
}

async fn run(
    mut medium: Box<dyn Medium>,
    mut records: mpsc::Receiver<Waiting>,
    mut releases: watch::Receiver<u64>,
    bytes: Arc<Shared>,
) {
    let (mut generation, mut is_behind) = (0, false);
    loop {
        tokio::select! {
            biased;
            Ok(()) = releases.changed() => {
                (generation, is_behind) = (*releases.borrow_and_update(), true);
                // what is published makes room at once, whether or not it is deleted yet
                keep(medium.as_ref(), generation, &bytes);
            }
            first = records.recv() => match first {
                Some(first) => {
                    medium.ready().await;
                    commit(medium.as_mut(), first, &mut records, (generation, &bytes)).await;
                }
                None => break,
            },
            () = std::future::ready(()), if is_behind => {}
        }
        if is_behind {
            is_behind = medium.release(generation).await;
        }
    }
    if bytes.is_closing.load(Ordering::Relaxed) {
        generation = *releases.borrow();
        medium.close(generation).await;
        keep(medium.as_ref(), generation, &bytes);
    }
}

/// Takes note of the bytes that are not published, where generations up to `generation` are.
fn keep(medium: &dyn Medium, generation: u64, bytes: &Shared) {
    let kept = medium.bytes(generation);
    bytes.kept.store(kept, Ordering::Relaxed);
    metrics::gauge!(metric::names::WAL_BYTES).set(kept as f64);
}

/// Commits `first` and what else waits.
async fn commit(
    medium: &mut dyn Medium,
    first: Waiting,
    records: &mut mpsc::Receiver<Waiting>,
    (generation, bytes): (u64, &Shared),
) {
    let mut size = first.entry.payload.len();
    let (mut entries, mut waiting) = (vec![first.entry], vec![(first.done, first._room, first._counted)]);
    while size < COMMIT_BYTES_MAX
        && let Ok(next) = records.try_recv()
    {
        size += next.entry.payload.len();
        entries.push(next.entry);
        waiting.push((next.done, next._room, next._counted));
    }
    let started = Instant::now();
    let count = entries.len() as u64;
    let committed = medium.commit(entries).await;
    keep(medium, generation, bytes);
    metrics::histogram!(metric::names::WAL_COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
    match &committed {
        Ok(()) => {
            metrics::counter!(metric::names::WAL_COMMITS).increment(1);
            metrics::counter!(metric::names::WAL_RECORDS).increment(count);
        }
        Err(error) => {
            metrics::counter!(metric::names::WAL_FAILURES, "kind" => error.kind().as_str()).increment(1);
            tracing::warn!(%error, records = count, "records could not be made durable");
        }
    }
    for (done, ..) in waiting {
        let told = match &committed {
            Ok(()) => Ok(()),
            Err(error) => Err(repeated(error)),
        };
        // whoever is gone does not want to know
        let _ = done.send(told);
    }
}

/// What `error` says, for one more of those who are told.
fn repeated(error: &Error) -> Error {
    let repeated = Error::new(error.kind(), error.to_string());
    match error.retry_delay() {
        Some(delay) => repeated.retry_after(delay),
        None => repeated,
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4)
}
