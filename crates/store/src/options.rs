//! How a store behaves: every bound, with its default and its reason.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, Result, Tenant};
use flamestore_segment::SegmentOptions;

use crate::{Bucket, CacheOptions, Clock, Entropy, SystemClock, WalOptions};

/// How to open a [`Store`](crate::Store).
#[derive(Clone)]
pub struct StoreOptions {
    /// Where the objects are.
    pub bucket: Bucket,
    /// The name of this writer: 1 to 64 printable characters. Opening the same bucket under the same name fences the
    /// store that used it before; stores of different names write side by side.
    pub writer: String,
    /// Bytes the heads of all tenants may hold, frozen ones included; a push that would pass them is refused.
    pub head_bytes_max: usize,
    /// Series that a tenant may have in its open head; a push of one more is refused until the head is flushed.
    pub series_max: SeriesMax,
    /// Bytes of open heads at which they are flushed.
    pub flush_bytes: usize,
    /// The age of an open head's oldest push at which it is flushed: long heads make small dictionaries.
    pub flush_interval: Duration,
    /// How long the first retry of a failed flush waits; each next one waits twice as long, up to `flush_interval`.
    pub flush_retry_delay: Duration,
    /// How long the id of a published profile is remembered, so that a retried push does not count twice.
    pub retry_window: Duration,
    /// Ids remembered of published profiles, 48 bytes each; the oldest go first.
    pub retry_ids_max: usize,
    /// Whether it takes profiles.
    pub access: Access,
    /// How often what others committed is read, unless nothing happens by itself.
    pub refresh_interval: Duration,
    /// Tables uploaded at one time.
    pub uploads_max: usize,
    /// Bytes of decoded dictionaries kept for queries.
    pub dictionary_cache_bytes: usize,
    /// Bytes of decoded footers, series and postings kept for queries.
    pub footer_cache_bytes: usize,
    /// Parts of segments kept in memory and on disk.
    pub cache: CacheOptions,
    /// How the tables of segments are cut.
    pub segment: SegmentOptions,
    /// What makes a push durable before its head is flushed.
    pub wal: WalOptions,
    /// Whether flushes run by themselves; otherwise only [`Store::flush`](crate::Store::flush) flushes.
    pub background: Background,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Random bits of ids and nonces.
    pub entropy: Arc<Entropy>,
}

/// How many series tenants may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesMax {
    /// A tenant that has no number of its own.
    pub default: usize,
    /// Tenants that have.
    pub by_tenant: HashMap<Tenant, usize>,
}

impl SeriesMax {
    /// How many `tenant` may have.
    pub fn of(&self, tenant: &Tenant) -> usize {
        self.by_tenant.get(tenant).copied().unwrap_or(self.default)
    }
}

impl Default for SeriesMax {
    fn default() -> Self {
        Self { default: 200_000, by_tenant: HashMap::new() }
    }
}

/// Whether a store takes profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It does, as a writer with an epoch of its own.
    ReadWrite,
    /// It only reads; it writes nothing to the bucket and fences nobody.
    ReadOnly,
}

/// Whether a store works by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Heads are flushed when they are old or large.
    Run,
    /// Nothing happens unless called.
    Off,
}

impl StoreOptions {
    /// The defaults, on `bucket`.
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            writer: "flamestore".to_owned(),
            head_bytes_max: 512 << 20,
            series_max: SeriesMax::default(),
            flush_bytes: 192 << 20,
            flush_interval: Duration::from_secs(300),
            flush_retry_delay: Duration::from_secs(1),
            retry_window: Duration::from_secs(600),
            retry_ids_max: 1 << 20,
            access: Access::ReadWrite,
            refresh_interval: Duration::from_secs(10),
            uploads_max: 8,
            dictionary_cache_bytes: 64 << 20,
            footer_cache_bytes: 128 << 20,
            cache: CacheOptions::default(),
            segment: SegmentOptions::default(),
            wal: WalOptions::default(),
            background: Background::Run,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(Entropy::from_system()),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.writer.is_empty() || self.writer.len() > 64 || self.writer.chars().any(char::is_control) {
            return Err(Error::invalid("store: writer is 1 to 64 printable characters")
                .with("writer", format!("{:?}", self.writer)));
        }
        for (name, value) in [
            ("head_bytes_max", self.head_bytes_max),
            ("flush_bytes", self.flush_bytes),
            ("uploads_max", self.uploads_max),
        ] {
            if value == 0 {
                return Err(Error::invalid(format!("store: {name} is 0")));
            }
        }
        if self.flush_interval.is_zero() || self.flush_retry_delay.is_zero() {
            return Err(Error::invalid("store: flush_interval and flush_retry_delay must be longer than 0"));
        }
        if self.refresh_interval.is_zero() {
            return Err(Error::invalid("store: refresh_interval must be longer than 0"));
        }
        self.wal.check(&self.writer)
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("bucket", &self.bucket)
            .field("writer", &self.writer)
            .field("head_bytes_max", &self.head_bytes_max)
            .field("flush_bytes", &self.flush_bytes)
            .field("flush_interval", &self.flush_interval)
            .field("wal", &self.wal)
            .field("background", &self.background)
            .finish_non_exhaustive()
    }
}
