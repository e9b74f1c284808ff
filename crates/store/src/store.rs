//! The store: pushes go in, snapshots come out, flushes run in between.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flamestore_model::{Error, ErrorKind, ProfileId, Result, SegmentId, Tenant};
use flamestore_segment::{DictionaryCache, Table};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cache::SegmentCache;
use crate::commit::{self, Committer};
use crate::debuginfo::Debuginfo;
use crate::flush::{Pending, Publisher, blocking};
use crate::gate::{Gate, Pass};
use crate::head::HeadPart;
use crate::ids::{RecentIds, Seen};
use crate::probe::probe;
use crate::push::Checked;
use crate::state::{Held, State};
use crate::upload::Uploader;
use crate::wal::{Log, Published, Record, Replayed, Wal};
use crate::{Access, Background, FlushReport, Manifest, PushProfile, Snapshot, StoreOptions, metric};

/// Samples from which a push is interned on a thread that may take long.
const INLINE_SAMPLES_MAX: usize = 256;

/// When a push that found the head full may be tried again: a flush takes about as long.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// A store of profiles in a bucket. Dropping it stops its background work without flushing: call [`Store::shutdown`].
pub struct Store {
    inner: Arc<Inner>,
    background: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    debuginfo: Debuginfo,
}

/// What the heads of a store hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadStatus {
    /// Bytes of all heads, frozen ones included.
    pub bytes: usize,
    /// The bound of `bytes`.
    pub bytes_max: usize,
    /// Source profiles of all heads, frozen ones included.
    pub profiles: u64,
    /// Source profiles of frozen heads: those a flush has not published yet.
    pub frozen_profiles: u64,
    /// When the oldest open head was opened, in nanoseconds since 1970.
    pub oldest_unix_nano: Option<i64>,
    /// The last flush's error, if it failed.
    pub flush_error: Option<String>,
}

struct Inner {
    options: StoreOptions,
    publisher: Publisher,
    state: RwLock<State>,
    cache: Arc<SegmentCache>,
    ids: RecentIds,
    budget: Budget,
    /// Held by whoever brings a new manifest: one flush or refresh at a time.
    flushing: tokio::sync::Mutex<Pending>,
    /// Every push is inside, so that a shutdown waits for them.
    accepting: Gate,
    /// Absent when nothing is durable before its flush.
    wal: Option<Wal>,
    /// Which log that is.
    wal_id: u128,
    fenced: AtomicBool,
    flush_error: Mutex<Option<String>>,
    wake: Notify,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in the bucket of `options`: reads the newest manifest and, unless it only reads, probes the bucket
    /// and claims the writer's next epoch, which fences the store that had it.
    ///
    /// # Errors
    /// `Invalid`, naming the setting, when the bucket cannot be used as it is set up, or when a newer Flamestore wrote
    /// it; `Corrupt`, naming the object, when the newest manifest is damaged; `Unavailable` when the bucket cannot be
    /// reached.
    pub async fn open(options: StoreOptions) -> Result<Arc<Self>> {
        options.check()?;
        let cache = SegmentCache::open(&options.cache).await?;
        let newest = commit::newest(&options.bucket).await?;
        let inner = match options.access {
            Access::ReadOnly => Inner::reading(options, newest, cache),
            Access::ReadWrite => Inner::writing(options, newest, cache).await?,
        };
        let inner = Arc::new(inner);
        let debuginfo = Debuginfo::new(&inner.options);
        let stop = CancellationToken::new();
        let background = (inner.options.background == Background::Run).then(|| {
            let (flushing, refreshing) =
                (Arc::clone(&inner).run(stop.clone()), Arc::clone(&inner).keep_fresh(stop.clone()));
            tokio::spawn(async move {
                tokio::join!(flushing, refreshing);
            })
        });
        let guard = stop.clone().drop_guard();
        Ok(Arc::new(Self { inner, background: Mutex::new(background), stop, _stop_on_drop: guard, debuginfo }))
    }

    /// Stores one profile: all its sample types or none. Once this returns queries see it, and it survives what
    /// [`Durability`](crate::Durability) says.
    ///
    /// # Errors
    /// `Invalid` when the batch or the labels are wrong; `Exhausted`, naming `head_bytes_max`, when the head is full;
    /// `Conflict` when the same id is being pushed right now; `Invalid` when the store only reads; `Fenced` when another
    /// store took over this writer; `Unavailable` after [`Self::shutdown`], and when the write-ahead log cannot be written;
    /// then the profile may turn up after a restart.
    pub async fn push(&self, push: PushProfile) -> Result<ProfileId> {
        let pushed = self.inner.push(push).await;
        if let Err(error) = &pushed {
            metrics::counter!(metric::names::REFUSED_PROFILES, "kind" => error.kind().as_str()).increment(1);
        }
        pushed
    }

    /// Publishes everything pushed before this call: seals, uploads, commits.
    ///
    /// # Errors
    /// What the bucket says; `Fenced` when another store took over this writer. What could not be published stays in
    /// memory, is still queried, and is tried again.
    pub async fn flush(&self) -> Result<FlushReport> {
        self.inner.flush().await
    }

    /// Refuses further pushes, waits for those under way, stops the background work and flushes.
    ///
    /// # Errors
    /// As [`Self::flush`], with the number of profiles that were not published.
    pub async fn shutdown(&self) -> Result<()> {
        self.inner.accepting.close().await;
        self.stop.cancel();
        let background = self.background.lock().take();
        if let Some(Err(error)) = match background {
            Some(background) => Some(background.await),
            None => None,
        } {
            tracing::error!(%error, "the background flush did not end");
        }
        let left = |error: Error| error.with("unpublished_profiles", self.head_status().profiles);
        let flushed = self.flush().await.map(drop).map_err(left);
        self.debuginfo.settle().await;
        self.inner.cache.settle().await;
        if let Some(wal) = &self.inner.wal {
            wal.close().await;
        }
        flushed
    }

    /// What `tenant` has stored, now.
    pub fn snapshot(&self, tenant: &Tenant) -> Snapshot {
        self.inner.state.read().snapshot(tenant)
    }

    /// The tenants that have something stored, sorted.
    pub fn tenants(&self) -> Vec<Tenant> {
        self.inner.state.read().tenants()
    }

    /// Reads what other writers committed; returns the manifest's version.
    ///
    /// # Errors
    /// What the bucket says; `Corrupt` when the newest manifest is damaged.
    pub async fn refresh(&self) -> Result<u64> {
        self.inner.refresh().await
    }

    /// Leaves segment `id` out of later snapshots because of `reason`, until a manifest drops it or the store is reopened.
    pub fn quarantine(&self, id: SegmentId, reason: &str) {
        let mut state = self.inner.state.write();
        if state.quarantine(id, reason) {
            tracing::error!(segment = %id, reason, "a segment cannot be read and is left out of answers");
        }
        metrics::gauge!(metric::names::DAMAGED_SEGMENTS).set(gauge(state.damaged()));
    }

    /// The manifest in use.
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(self.inner.state.read().manifest())
    }

    /// What the heads hold.
    pub fn head_status(&self) -> HeadStatus {
        let state = self.inner.state.read();
        let frozen_profiles: u64 = state.frozen_parts().map(|part| part.profiles()).sum();
        HeadStatus {
            bytes: self.inner.budget.used.load(Ordering::Relaxed),
            bytes_max: self.inner.options.head_bytes_max,
            profiles: frozen_profiles + state.open_parts().map(|part| part.profiles()).sum::<u64>(),
            frozen_profiles,
            oldest_unix_nano: state.open_parts().map(|part| part.opened_unix_nano).min(),
            flush_error: self.inner.flush_error.lock().clone(),
        }
    }

    /// Debug information in the same bucket.
    pub fn debuginfo(&self) -> &Debuginfo {
        &self.debuginfo
    }

    /// The options it was opened with.
    pub fn options(&self) -> &StoreOptions {
        &self.inner.options
    }
}

impl Inner {
    /// A store that reads what others write.
    fn reading(options: StoreOptions, newest: Arc<Manifest>, cache: Arc<SegmentCache>) -> Self {
        let (clock, entropy) = (Arc::clone(&options.clock), Arc::clone(&options.entropy));
        let committer = Committer::tending(options.bucket.clone(), options.writer.clone(), clock, entropy);
        let inner = Self::new(options, committer, cache);
        inner.install(newest, None);
        inner
    }

    /// A store that writes in an epoch of its own, with what its log has left taken in.
    async fn writing(options: StoreOptions, newest: Arc<Manifest>, cache: Arc<SegmentCache>) -> Result<Self> {
        probe(&options.bucket, options.entropy.next_u128()).await?;
        let log = Log::open(&options).await?;
        let (clock, entropy) = (Arc::clone(&options.clock), Arc::clone(&options.entropy));
        let wal_id = log.id();
        let writer = (options.writer.clone(), wal_id);
        let claimed = Committer::claim(options.bucket.clone(), newest, writer, clock, entropy).await?;
        let log = log.begin(&options, claimed.committer.epoch()).await?;
        let mut inner = Self { wal_id, ..Self::new(options, claimed.committer, cache) };
        inner.install(claimed.manifest, None);
        inner.remember_published().await;
        inner.wal = inner.replay(log, claimed.published).await?;
        Ok(inner)
    }

    fn new(options: StoreOptions, committer: Committer, cache: Arc<SegmentCache>) -> Self {
        let uploader = Uploader {
            bucket: options.bucket.clone(),
            clock: Arc::clone(&options.clock),
            entropy: Arc::clone(&options.entropy),
            uploads_max: options.uploads_max,
        };
        let publisher = Publisher { committer, uploader, segment: options.segment.clone() };
        let dictionaries =
            Arc::new(DictionaryCache::with_footers(options.dictionary_cache_bytes, options.footer_cache_bytes));
        Self {
            publisher,
            state: RwLock::new(State::new(options.bucket.clone(), dictionaries, Arc::clone(&cache))),
            cache,
            ids: RecentIds::new(options.retry_window, options.retry_ids_max),
            budget: Budget { used: AtomicUsize::new(0), max: options.head_bytes_max },
            flushing: tokio::sync::Mutex::new(Pending { flush: 0, uploaded: None }),
            accepting: Gate::default(),
            wal: None,
            wal_id: Log::NO_WAL,
            fenced: AtomicBool::new(false),
            flush_error: Mutex::default(),
            wake: Notify::new(),
            options,
        }
    }

    async fn refresh(&self) -> Result<u64> {
        let pending = self.flushing.lock().await;
        let known = Arc::clone(self.state.read().manifest());
        let newest = commit::newer(&self.options.bucket, &known).await?;
        let version = newest.version;
        self.install(newest, Some(&pending));
        Ok(version)
    }

    /// Reads what others committed every now and then, until stopped.
    async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.options.clock.sleep(self.options.refresh_interval) => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "what others committed could not be read and will be asked for again");
            }
        }
    }

    async fn push(&self, push: PushProfile) -> Result<ProfileId> {
        if self.options.access == Access::ReadOnly {
            return Err(Error::invalid("store: takes no profiles: it was opened to be read"));
        }
        let accepted = self.accepting.enter();
        if accepted.is_none() {
            return Err(Error::unavailable("store: is shutting down"));
        }
        self.check_fence()?;
        let now = self.options.clock.now_unix_nano();
        let new_id = ProfileId::from_parts(millis(now), self.options.entropy.next_u128());
        let checked = Arc::new(Checked::new(push, new_id, now)?);
        let Some(id) = self.begin(&checked)? else {
            metrics::counter!(metric::names::DUPLICATE_PROFILES).increment(1);
            return Ok(checked.id);
        };
        let reserved = self.budget.reserve(checked.bytes_max())?;
        let (part, inside) = self.enter_part(&checked.tenant, now);
        let series_max = self.options.series_max.of(&checked.tenant);
        part.check_series(&checked, series_max, self.options.flush_interval, now)?;
        if let Some(wal) = &self.wal {
            let appended = wal.append(part.generation, &Record::of(&checked, now)).await;
            appended.inspect_err(|error| self.refused_by_wal(error))?;
        }
        let bytes = append(part, inside, &checked).await?;
        reserved.settle(bytes);
        id.stored();
        self.appended(&checked, bytes);
        Ok(checked.id)
    }

    fn refused_by_wal(&self, error: &Error) {
        match error.kind() {
            ErrorKind::Fenced => self.fenced.store(true, Ordering::Relaxed),
            ErrorKind::Exhausted => self.wake.notify_one(),
            _ => {}
        }
    }

    /// A profile is in a head, which grew by `bytes`.
    fn appended(&self, push: &Checked, bytes: usize) {
        if self.is_full() {
            self.wake.notify_one();
        }
        metrics::counter!(metric::names::INGESTED_PROFILES).increment(1);
        metrics::counter!(metric::names::INGESTED_SAMPLES).increment(push.batch.samples.len() as u64);
        metrics::gauge!(metric::names::HEAD_BYTES).increment(gauge(bytes));
        metrics::gauge!(metric::names::HEAD_PROFILES).increment(1.0);
    }

    /// Takes note of the push's id; `None` when its profile is stored already.
    fn begin<'a>(&'a self, push: &'a Checked) -> Result<Option<InFlight<'a>>> {
        let seen = match push.is_remembered {
            true => self.ids.begin(&push.tenant, push.id),
            false => Seen::Never,
        };
        match seen {
            Seen::Never => Ok(Some(InFlight { ids: &self.ids, push, stored: false })),
            Seen::InFlight => Err(Error::conflict("the same profile is being pushed right now").with("id", push.id)),
            Seen::Stored => Ok(None),
        }
    }

    /// The open head of `tenant`, and the right to append to it.
    fn enter_part(&self, tenant: &Tenant, now: i64) -> (Arc<HeadPart>, Pass) {
        loop {
            let part = self.open_part(tenant, now);
            if let Some(inside) = part.enter() {
                return (part, inside);
            }
        }
    }

    /// Takes note of the ids that were published within the retry window, so that a push whose answer was lost to a crash
    /// counts once when it is sent again. Newest segments first, up to `retry_ids_max` ids; one that cannot be read is left out.
    async fn remember_published(&self) {
        let since = self.options.clock.now_unix_nano().saturating_sub(nanos(self.options.retry_window));
        let mut recent = self.state.read().stored_segments();
        recent
            .retain(|stored| stored.entry.created_unix_nano >= since && stored.entry.table(Table::Profiles).is_some());
        recent.sort_by_key(|stored| std::cmp::Reverse((stored.entry.created_unix_nano, stored.entry.id)));
        for stored in recent {
            let (segment, created) = (stored.entry.id, stored.entry.created_unix_nano);
            let has_room = match stored.reader.profile_ids().await {
                Ok(ids) => self.ids.remember(&stored.entry.tenant, ids, created),
                Err(error) => {
                    tracing::warn!(%error, %segment, "the ids of a segment's profiles are not known again");
                    true
                }
            };
            if !has_room {
                return;
            }
        }
    }

    /// Takes in anew what `log` holds and is not published, then goes on writing to it.
    async fn replay(&self, mut log: Log, published: Published) -> Result<Option<Wal>> {
        let started = Instant::now();
        let mut replayed = Replayed::default();
        while let Some(records) = log.replay(published).await? {
            for record in records {
                replayed.bytes += record.len() as u64;
                match self.take_in(record).await {
                    Ok(true) => replayed.records += 1,
                    Ok(false) => replayed.repeated += 1,
                    Err(error) => {
                        tracing::error!(%error, "a record of the write-ahead log cannot be taken in and is kept aside");
                        replayed.rejected += 1;
                        log.set_aside_last();
                    }
                }
            }
        }
        if replayed != Replayed::default() {
            tracing::info!(?replayed, seconds = started.elapsed().as_secs_f64(), "the write-ahead log was replayed");
        }
        Ok(log.start(&self.options.wal))
    }

    /// Takes in the push of a record; false when its profile is there already.
    async fn take_in(&self, record: bytes::Bytes) -> Result<bool> {
        let checked = blocking(move || Record::read(record).map(Arc::new)).await?;
        let Some(id) = self.begin(&checked)? else { return Ok(false) };
        let (part, inside) = self.enter_part(&checked.tenant, self.options.clock.now_unix_nano());
        let bytes = append(part, inside, &checked).await?;
        // these profiles were in memory before: they are let in even where the bound was lowered since
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        id.stored();
        self.appended(&checked, bytes);
        Ok(true)
    }

    fn open_part(&self, tenant: &Tenant, now: i64) -> Arc<HeadPart> {
        if let Some(part) = self.state.read().open_part(tenant) {
            return Arc::clone(part);
        }
        let seed = u64::try_from(self.options.entropy.next_u128() >> 64).unwrap_or_default();
        let part = Arc::clone(
            self.state.write().open_part_or(tenant, |flush| HeadPart::new(tenant.clone(), now, seed, flush)),
        );
        self.wake.notify_one();
        part
    }

    async fn flush(&self) -> Result<FlushReport> {
        let mut pending = self.flushing.lock().await;
        let result = match self.check_fence() {
            Ok(()) => self.flush_all(&mut pending).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            metrics::counter!(metric::names::FLUSH_FAILURES, "kind" => error.kind().as_str()).increment(1);
            if error.kind() == ErrorKind::Fenced {
                self.fenced.store(true, Ordering::Relaxed);
            }
        }
        *self.flush_error.lock() = result.as_ref().err().map(ToString::to_string);
        result
    }

    /// Freezes what is open, then publishes the frozen heads in the order of their flushes.
    async fn flush_all(&self, pending: &mut Pending) -> Result<FlushReport> {
        self.state.write().freeze();
        let mut total = FlushReport { version: self.state.read().manifest().version, ..FlushReport::default() };
        loop {
            let next = self.state.read().next_flush();
            let Some((flush, parts)) = next else { return Ok(total) };
            if pending.flush != flush {
                *pending = Pending { flush, uploaded: None };
            }
            let started = Instant::now();
            let base = Arc::clone(self.state.read().manifest());
            let report = self.publisher.publish(&parts, base, pending, |manifest| self.install(manifest, None)).await?;
            metrics::histogram!(metric::names::FLUSH_SECONDS).record(started.elapsed().as_secs_f64());
            total.version = report.version;
            total.segments += report.segments;
            total.profiles += report.profiles;
            total.bytes += report.bytes;
        }
    }

    /// Makes `manifest` the one in use and lets go of the heads it holds as segments.
    fn install(&self, manifest: Arc<Manifest>, pending: Option<&Pending>) {
        let committer = &self.publisher.committer;
        let held = match committer.check(&manifest) {
            Ok(()) => Held::Flushes(committer.flushes(&manifest)),
            Err(_) => {
                self.fenced.store(true, Ordering::Relaxed);
                let own = pending.filter(|pending| pending.is_in(&manifest)).map_or(0, |pending| pending.flush);
                let state = manifest.writer_state(&self.options.writer);
                let is_published = Published::by(&state, self.wal_id).holds(committer.epoch(), u64::MAX);
                match self.wal.is_some() && is_published {
                    true => Held::All,
                    false => Held::Flushes(own),
                }
            }
        };
        metrics::gauge!(metric::names::MANIFEST_VERSION)
            .set(gauge(usize::try_from(manifest.version).unwrap_or_default()));
        metrics::gauge!(metric::names::SEGMENTS).set(gauge(manifest.segments.len()));
        let published = self.state.write().install(manifest, held);
        // a log that was taken over is for its new owner to tidy
        if let (Some(wal), Held::Flushes(flushes)) = (&self.wal, held) {
            wal.release(flushes);
        }
        let now = self.options.clock.now_unix_nano();
        for part in published {
            self.budget.release(part.bytes());
            self.ids.published(&part.tenant, part.ids(), now);
            metrics::gauge!(metric::names::HEAD_BYTES).decrement(gauge(part.bytes()));
            metrics::gauge!(metric::names::HEAD_PROFILES)
                .decrement(gauge(usize::try_from(part.profiles()).unwrap_or_default()));
        }
    }

    fn check_fence(&self) -> Result<()> {
        match self.fenced.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Error::fenced("store: another store was opened under this writer's name")
                .with("writer", &self.options.writer)),
        }
    }

    /// Flushes when it is time, until stopped or fenced.
    async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut failures = 0u32;
        loop {
            let wait = if failures > 0 { self.retry_delay(failures) } else { self.due_in() };
            if !wait.is_zero() {
                let woken =
                    async { if failures == 0 { self.wake.notified().await } else { std::future::pending().await } };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = woken => continue,
                    () = self.options.clock.sleep(wait) => {}
                }
            }
            if stop.is_cancelled() {
                return;
            }
            if failures == 0 && !self.due_in().is_zero() {
                continue;
            }
            match self.flush().await {
                Ok(_) => failures = 0,
                Err(error) if error.kind() == ErrorKind::Fenced => {
                    tracing::error!(%error, "this store no longer writes");
                    return;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(%error, failures, "a flush failed and will be tried again");
                }
            }
        }
    }

    /// How long until a flush is due; zero if it is.
    fn due_in(&self) -> Duration {
        let state = self.state.read();
        let full = self.is_full();
        let Some(oldest) = state.open_parts().map(|part| part.opened_unix_nano).min() else {
            return if state.next_flush().is_some() { Duration::ZERO } else { self.options.flush_interval };
        };
        if full || state.next_flush().is_some() {
            return Duration::ZERO;
        }
        let age = self.options.clock.now_unix_nano().saturating_sub(oldest);
        self.options.flush_interval.saturating_sub(Duration::from_nanos(u64::try_from(age).unwrap_or_default()))
    }

    /// Whether so much is not published that a flush should not wait for its time.
    fn is_full(&self) -> bool {
        let wal_wants = self.wal.as_ref().is_some_and(Wal::wants_flush);
        wal_wants || self.budget.used.load(Ordering::Relaxed) >= self.options.flush_bytes
    }

    fn retry_delay(&self, failures: u32) -> Duration {
        let longest = self.options.flush_interval.max(self.options.flush_retry_delay);
        let delay = self.options.flush_retry_delay.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
        delay / 2 + self.options.entropy.jitter(delay / 2)
    }
}

/// Appends `push` to a head, away from the threads that answer requests if it is large.
async fn append(part: Arc<HeadPart>, inside: Pass, push: &Arc<Checked>) -> Result<usize> {
    match push.batch.samples.len() {
        0..=INLINE_SAMPLES_MAX => part.append(push, &inside),
        _ => {
            let push = Arc::clone(push);
            blocking(move || part.append(&push, &inside)).await
        }
    }
}

/// A push whose id is taken note of; lets go of the id unless the profile was stored.
struct InFlight<'a> {
    ids: &'a RecentIds,
    push: &'a Checked,
    stored: bool,
}

impl InFlight<'_> {
    fn stored(mut self) {
        self.stored = true;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.push.is_remembered {
            self.ids.end(&self.push.tenant, self.push.id, self.stored);
        }
    }
}

/// The bytes of all heads.
struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// Bytes set aside for a push.
struct Reserved<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    fn reserve(&self, bytes: usize) -> Result<Reserved<'_>> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let reserved = Reserved { budget: self, bytes };
        if used.saturating_add(bytes) > self.max {
            return Err(Error::exhausted(format!("the head is full: head_bytes_max is {}", self.max))
                .with("head_bytes", used)
                .with("profile_bytes", bytes)
                .retry_after(RETRY_DELAY));
        }
        Ok(reserved)
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reserved<'_> {
    /// The push took `bytes`.
    fn settle(self, bytes: usize) {
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn millis(unix_nano: i64) -> u64 {
    u64::try_from(unix_nano / 1_000_000).unwrap_or_default()
}

fn gauge(value: usize) -> f64 {
    value as f64
}
