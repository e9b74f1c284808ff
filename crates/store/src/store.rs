//! The store (API; bodies follow).
use std::sync::Arc;

use flamestore_model::{Error, ProfileId, Result, SegmentId, Tenant};

use crate::{FlushReport, Manifest, PushProfile, Snapshot, StoreOptions};

/// A store of profiles in a bucket.
#[derive(Debug)]
pub struct Store {}

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
    /// When the oldest open head got its first profile, in nanoseconds since 1970.
    pub oldest_unix_nano: Option<i64>,
    /// The last flush's error, if it failed.
    pub flush_error: Option<String>,
}

fn unwritten<T>() -> Result<T> {
    Err(Error::internal("not written yet"))
}

impl Store {
    /// Opens the store in the bucket of `options`: probes it, reads the newest manifest and claims the writer's next epoch.
    ///
    /// # Errors
    /// `Invalid`, naming the setting, when the bucket cannot be used as it is set up; `Corrupt`, naming the object, when
    /// the newest manifest is damaged; `Unavailable` when the bucket cannot be reached.
    pub async fn open(_options: StoreOptions) -> Result<Arc<Self>> {
        unwritten()
    }

    /// Stores one profile: all its sample types or none. Once this returns queries see it.
    ///
    /// # Errors
    /// `Invalid` when the batch or the labels are wrong; `Exhausted`, naming `head_bytes_max`, when the head is full;
    /// `Conflict` when the same id is being pushed right now; `Fenced` when another store took over this writer;
    /// `Unavailable` after [`Self::shutdown`].
    pub async fn push(&self, _push: PushProfile) -> Result<ProfileId> {
        unwritten()
    }

    /// Publishes everything pushed before this call: seals, uploads, commits.
    ///
    /// # Errors
    /// What the bucket says. What could not be published stays in memory, is still queried, and is tried again.
    pub async fn flush(&self) -> Result<FlushReport> {
        unwritten()
    }

    /// Refuses further pushes, stops the background work and flushes.
    ///
    /// # Errors
    /// As [`Self::flush`]; the message says how many profiles were not published.
    pub async fn shutdown(&self) -> Result<()> {
        unwritten()
    }

    /// What `tenant` has stored, now.
    pub fn snapshot(&self, tenant: &Tenant) -> Snapshot {
        Snapshot {
            tenant: tenant.clone(),
            version: 0,
            segments: Arc::from([]),
            head: Vec::new(),
            damaged: Arc::from([]),
        }
    }

    /// The tenants that have something stored, sorted.
    pub fn tenants(&self) -> Vec<Tenant> {
        Vec::new()
    }

    /// Reads what other writers committed; returns the manifest's version.
    ///
    /// # Errors
    /// What the bucket says; `Corrupt` when the newest manifest is damaged.
    pub async fn refresh(&self) -> Result<u64> {
        unwritten()
    }

    /// Leaves segment `id` out of later snapshots because of `reason`, until a manifest drops it or the store is reopened.
    pub fn quarantine(&self, _id: SegmentId, _reason: &str) {}

    /// The manifest in use.
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::default()
    }

    /// What the heads hold.
    pub fn head_status(&self) -> HeadStatus {
        HeadStatus::default()
    }
}
