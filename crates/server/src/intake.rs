//! What every door shares on the way in: limits on labels, decoding on the right thread, the store, the counters.

use std::sync::Arc;

use bytes::Bytes;
use flamestore_formats::Limits;
use flamestore_model::{Error, Labels, ProfileBatch, ProfileId, Result, Tenant};
use flamestore_store::{ProfileFormat, PushProfile, Store};

use crate::ServerConfig;
use crate::compute::Compute;
use crate::telemetry::{PUSH_BYTES_TOTAL, PUSH_PROFILES_TOTAL};
use crate::tenants::{Allowed, Tenants};

/// Takes profiles into one store.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(crate) store: Arc<Store>,
    pub(crate) compute: Compute,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) tenants: Arc<Tenants>,
    /// What the tenant may send; what tenants without limits of their own may, until [`Intake::of`].
    pub(crate) allowed: Arc<Allowed>,
}

impl Intake {
    /// The intake for a request of `tenant`.
    pub(crate) fn of(&self, tenant: &Tenant) -> Self {
        Self { allowed: self.tenants.of(tenant), ..self.clone() }
    }

    /// Counts `bytes` that `tenant` sent, and takes them off what it may send.
    ///
    /// # Errors
    /// `Exhausted` when it sends too much.
    pub(crate) fn take_bytes(&self, tenant: &Tenant, bytes: usize) -> Result<()> {
        metrics::counter!(PUSH_BYTES_TOTAL).increment(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.allowed.take(tenant, bytes)
    }

    /// What one profile may hold.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.allowed.profile)
    }

    /// The labels of a pushed profile.
    ///
    /// # Errors
    /// `Invalid` when a name is empty or stands twice; `Exhausted` over `series_labels_max` and `label_bytes_max`.
    pub(crate) fn labels<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Labels> {
        let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        let longest = pairs.iter().map(|(name, value)| name.len().max(value.len())).max().unwrap_or_default();
        let limits = [
            ("series_labels_max", self.allowed.series_labels_max, pairs.len()),
            ("label_bytes_max", self.allowed.label_bytes_max, longest),
        ];
        if let Some((name, limit, found)) = limits.into_iter().find(|(_, limit, found)| found > limit) {
            let error = Error::exhausted(format!("the labels of the profile are over the limit {name}"));
            return Err(error.with("limit", limit).with("found", found));
        }
        Labels::from_pairs(pairs)
    }

    /// `Ok` when a request of `found` profiles is under `push_profiles_max`.
    ///
    /// # Errors
    /// `Exhausted` when it is not.
    pub(crate) fn check_count(&self, found: usize) -> Result<()> {
        if found > self.config.push_profiles_max {
            return Err(Error::exhausted("the request has more profiles than push_profiles_max allows")
                .with("limit", self.config.push_profiles_max)
                .with("found", found));
        }
        Ok(())
    }

    /// The profile in `bytes`.
    ///
    /// # Errors
    /// Those of the format's decoder.
    pub(crate) async fn decode(&self, format: ProfileFormat, bytes: Bytes) -> Result<ProfileBatch> {
        let limits = self.limits();
        self.compute.run_on(bytes.len(), move || format.decode(bytes, &limits)).await
    }

    /// Stores a profile.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn store(&self, profile: PushProfile) -> Result<ProfileId> {
        self.store.push(profile).await
    }

    /// Nanoseconds since 1970 on the store's clock.
    pub(crate) fn now_unix_nano(&self) -> i64 {
        self.store.options().clock.now_unix_nano()
    }
}

/// Counts what became of a profile.
pub(crate) fn count_outcome<T>(stored: &Result<T>) {
    let outcome = stored.as_ref().map_or_else(|error| error.kind().as_str(), |_| "accepted");
    metrics::counter!(PUSH_PROFILES_TOTAL, "outcome" => outcome).increment(1);
}
